//! Files that only their owner may read: what was said stands in them.

use std::fs::OpenOptions;

/// Lets only the owner read a file that is made with these options. One that is there keeps its mode.
pub fn for_owner_alone(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}
