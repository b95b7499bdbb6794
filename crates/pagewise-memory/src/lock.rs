//! One process at a time in an agent's folder.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use pagewise_core::for_owner_alone;

use crate::StoreError;

/// Holds the folder for as long as it lives. The system lets go of it when the process ends,
/// however it ends.
#[derive(Debug)]
pub(crate) struct FolderLock {
    file: File,
}

impl FolderLock {
    /// Takes the folder, which must be there.
    pub(crate) fn take(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("lock");
        let mut file =
            for_owner_alone(OpenOptions::new().read(true).write(true).create(true).truncate(false))
                .open(&path)
                .map_err(|error| StoreError::of_io(&path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    path: folder.into(),
                    pid: written_pid(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::of_io(&path, &error)),
        }
        // The number only serves the other process's message, so a full disk must not stop us.
        if file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).is_err() {
            tracing::debug!("the process number could not be written to the lock file");
        }
        Ok(Self { file })
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that was started a moment ago may still have a copy of it.
        // Should this fail, the lock goes when that does.
        let _ = self.file.unlock();
    }
}

fn written_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Makes the folder if it is not there, for its owner alone.
pub(crate) fn make_folder(folder: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| StoreError::of_io(folder, &error))?;
    let metadata = fs::metadata(folder).map_err(|error| StoreError::of_io(folder, &error))?;
    if !metadata.is_dir() {
        return Err(StoreError::NotWritable { path: folder.into(), reason: "not a folder".into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_file_does_not_hold_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        let copy = lock.file.try_clone().unwrap();
        assert!(matches!(FolderLock::take(folder.path()), Err(StoreError::Locked { .. })));
        drop(lock);
        FolderLock::take(folder.path()).unwrap();
        drop(copy);
    }
}
