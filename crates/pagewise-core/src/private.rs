//! Files that only their owner may read: what was said stands in them.

#[cfg(unix)]
use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

/// Lets only the owner read a file that is made with these options. One that is there keeps its mode.
pub fn for_owner_alone(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Lets only the owner read a file that another library has made.
pub fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
