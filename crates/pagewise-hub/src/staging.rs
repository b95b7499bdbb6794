//! The one place where half-made things are: `.partial/NAME` in the store, under a lock.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::error::IoContext;
use crate::store::create_private_dir;
use crate::{HubError, Progress, Store};

/// A folder that this process alone works in, on one set of weights.
///
/// The lock is the operating system's, so it ends with the process, whichever way that ends. The
/// lock file itself stays: removing it would let two processes hold locks on two files of one name.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: PathBuf,
    // Held until this is dropped.
    _lock: File,
}

const POLL: Duration = Duration::from_millis(100);

impl Staging {
    /// Waits for the lock, then makes the folder, and removes what dead processes left of others.
    pub(crate) fn open(
        store: &Store,
        name: &str,
        progress: &mut dyn Progress,
    ) -> Result<Self, HubError> {
        store.create()?;
        let locks = store.dir().join(".locks");
        create_private_dir(&locks)?;
        let lock = lock_file(&locks, name)?;
        let mut said = false;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    if !said {
                        progress.message(&format!(
                            "another process is fetching {name}; waiting for it"
                        ));
                        said = true;
                    }
                    if progress.cancelled() {
                        return Err(HubError::Cancelled);
                    }
                    thread::sleep(POLL);
                }
                Err(TryLockError::Error(source)) => {
                    return Err(HubError::Io { action: "lock", path: locks.join(name), source });
                }
            }
        }
        let partial = store.dir().join(".partial");
        let dir = partial.join(name);
        create_private_dir(&dir)?;
        remove_abandoned(&partial, &locks, name);
        Ok(Self { dir, _lock: lock })
    }

    /// Returns a folder in it for one source; what an earlier process left there is kept.
    pub(crate) fn source_dir(&self, id: &str) -> Result<PathBuf, HubError> {
        let dir = self.dir.join(id);
        create_private_dir(&dir)?;
        Ok(dir)
    }

    /// Removes the folder of one source.
    pub(crate) fn clear_source(&self, id: &str) {
        // What cannot be removed now is removed at the next pull.
        let _ = fs::remove_dir_all(self.dir.join(id));
    }

    /// Removes everything half-made.
    pub(crate) fn remove(self) {
        let _ = fs::remove_dir_all(&self.dir);
        if let Some(partial) = self.dir.parent() {
            // Only succeeds when no other pull is under way.
            let _ = fs::remove_dir(partial);
        }
    }
}

fn lock_file(locks: &Path, name: &str) -> Result<File, HubError> {
    let path = locks.join(format!("{name}.lock"));
    File::options().create(true).truncate(false).write(true).open(&path).context("open", &path)
}

/// Removes what pulls of other names left when their processes died.
fn remove_abandoned(partial: &Path, locks: &Path, own_name: &str) {
    for folder in fs::read_dir(partial).into_iter().flatten().flatten() {
        let Ok(name) = folder.file_name().into_string() else {
            continue;
        };
        if name == own_name {
            continue;
        }
        if let Ok(lock) = lock_file(locks, &name)
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}
