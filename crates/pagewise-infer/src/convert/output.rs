//! Where things are written until they are whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::ConvertError;

/// A file or folder under a temporary name beside its final one; gone when this is dropped before
/// [`Self::finish`].
pub(super) struct Partial {
    temporary: PathBuf,
    to: PathBuf,
    is_finished: bool,
}

impl Partial {
    /// Begins a file.
    pub(super) fn file(to: &Path) -> Result<Self, ConvertError> {
        let partial = Self::new(to)?;
        File::create_new(&partial.temporary).map_err(ConvertError::io("write", to))?;
        Ok(partial)
    }

    /// Begins a folder.
    pub(super) fn folder(to: &Path) -> Result<Self, ConvertError> {
        let partial = Self::new(to)?;
        fs::create_dir(&partial.temporary).map_err(ConvertError::io("create", to))?;
        Ok(partial)
    }

    fn new(to: &Path) -> Result<Self, ConvertError> {
        if fs::symlink_metadata(to).is_ok() {
            return Err(ConvertError::Exists { path: to.to_owned() });
        }
        let Some(name) = to.file_name() else {
            let reason = "cannot be the name of a file or a folder".to_owned();
            return Err(ConvertError::Refused { path: to.to_owned(), reason });
        };
        // With the number of this process: two that write the same thing do not meet. The end of
        // the name stays, since by it readers tell files.
        let mut temporary = std::ffi::OsString::from(format!(".partial-{}-", std::process::id()));
        temporary.push(name);
        Ok(Self { temporary: to.with_file_name(temporary), to: to.to_owned(), is_finished: false })
    }

    /// Returns where to write.
    pub(super) fn path(&self) -> &Path {
        &self.temporary
    }

    /// Gives it its name; everything in it must be synced.
    pub(super) fn finish(mut self) -> Result<(), ConvertError> {
        // A rename would put it in the place of what came in the meantime.
        if fs::symlink_metadata(&self.to).is_ok() {
            return Err(ConvertError::Exists { path: self.to.clone() });
        }
        fs::rename(&self.temporary, &self.to).map_err(ConvertError::io("write", &self.to))?;
        self.is_finished = true;
        let parent = self.to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        if cfg!(unix) {
            let synced = File::open(parent).and_then(|folder| folder.sync_all());
            synced.map_err(ConvertError::io("sync", parent))?;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        // There is an error already, which is the one to tell.
        let _ = if self.temporary.is_dir() {
            fs::remove_dir_all(&self.temporary)
        } else {
            fs::remove_file(&self.temporary)
        };
    }
}
