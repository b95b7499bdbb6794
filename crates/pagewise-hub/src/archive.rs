//! Zip archives from the outside world.

use std::fs::File;
use std::path::Path;

use zip::ZipArchive;

use crate::error::IoContext;
use crate::hash::{CopyError, copy_bounded};
use crate::store::{create_empty_dir, create_private_dir};
use crate::{HubError, Progress};

/// An archive with more members than this is refused.
const MEMBERS_MAX: usize = 10_000;

/// Opens an archive and checks how many members it claims.
pub(crate) fn open(path: &Path) -> Result<ZipArchive<File>, HubError> {
    let file = File::open(path).context("open", path)?;
    let archive = ZipArchive::new(file).map_err(|error| refuse(path, error.to_string()))?;
    if archive.len() > MEMBERS_MAX {
        return Err(refuse(path, format!("it has {} members", archive.len())));
    }
    Ok(archive)
}

pub(crate) fn refuse(path: &Path, reason: impl Into<String>) -> HubError {
    HubError::Archive { path: path.to_owned(), reason: reason.into() }
}

/// Unpacks all of an archive into `folder`, which is emptied first.
///
/// Refused whole: a member whose path leaves the folder, a link, and more than `limit_bytes` of
/// contents, counted as they come out and not as the archive claims.
pub(crate) fn unpack(
    path: &Path,
    folder: &Path,
    limit_bytes: u64,
    progress: &mut dyn Progress,
) -> Result<(), HubError> {
    create_empty_dir(folder)?;
    let mut archive = open(path)?;
    let mut left = limit_bytes;
    progress.start(Some(limit_bytes));
    for index in 0..archive.len() {
        let mut member =
            archive.by_index(index).map_err(|error| refuse(path, error.to_string()))?;
        let name = member.name().map_err(|error| refuse(path, error.to_string()))?.into_owned();
        let inside = member
            .enclosed_name()
            .filter(|_| crate::catalog::is_safe_relative(name.trim_end_matches('/')))
            .ok_or_else(|| refuse(path, format!("its member `{name}` leaves the folder")))?;
        let to = folder.join(inside);
        if member.is_dir() {
            create_private_dir(&to)?;
            continue;
        }
        if !member.is_file() || member.is_symlink() {
            return Err(refuse(path, format!("its member `{name}` is a link")));
        }
        if let Some(parent) = to.parent() {
            create_private_dir(parent)?;
        }
        let mut out = File::create_new(&to).context("create", &to)?;
        let bytes = copy_bounded(&mut member, &mut out, left, progress)
            .map_err(|error| copy_error(error, path, &to))?;
        left = left
            .checked_sub(bytes)
            .ok_or_else(|| refuse(path, format!("its contents exceed {limit_bytes} bytes")))?;
    }
    progress.finish();
    Ok(())
}

/// Names the side of a copy out of an archive that failed.
pub(crate) fn copy_error(error: CopyError, archive: &Path, to: &Path) -> HubError {
    match error {
        CopyError::Read(error) => refuse(archive, error.to_string()),
        CopyError::Write(source) => HubError::Io { action: "write", path: to.to_owned(), source },
        CopyError::Cancelled => HubError::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::NoProgress;

    fn check(members: &[(&str, &[u8])], limit: u64) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.zip");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in members {
            if *bytes == b"->" {
                writer.add_symlink(*name, "/etc/passwd", SimpleFileOptions::default()).unwrap();
                continue;
            }
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap();
        let folder = dir.path().join("deep/folder");
        let result = unpack(&path, &folder, limit, &mut NoProgress);
        let outside: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!(outside.len(), 2, "something was written outside the folder");
        assert_eq!(fs::read_dir(dir.path().join("deep")).unwrap().count(), 1);
        result.map_err(|error| error.to_string())?;
        let mut names: Vec<String> = members.iter().map(|(name, _)| name.to_string()).collect();
        names.retain(|name| folder.join(name).is_file());
        Ok(names)
    }

    #[test]
    fn unpacks_files_and_folders() {
        let names = check(&[("config.json", b"{}"), ("1_Pooling/config.json", b"{}")], 4).unwrap();
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn refuses_paths_that_leave_the_folder() {
        for name in ["../out", "a/../../out", "/abs", "..\\out", "c:out", "a/../b"] {
            let error = check(&[(name, b"x")], 100).unwrap_err();
            assert!(error.contains("leaves the folder"), "{name}: {error}");
        }
    }

    #[test]
    fn refuses_links_and_too_much() {
        assert!(check(&[("link", b"->")], 100).unwrap_err().contains("is a link"));
        assert!(
            check(&[("a", &[0; 60]), ("b", &[0; 60])], 100)
                .unwrap_err()
                .contains("exceed 100 bytes")
        );
    }

    #[test]
    fn refuses_what_is_no_archive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.zip");
        fs::write(&path, b"PK\x03\x04 but not really").unwrap();
        let result = unpack(&path, &dir.path().join("out"), 100, &mut NoProgress);
        assert!(matches!(result, Err(HubError::Archive { .. })));
    }
}
