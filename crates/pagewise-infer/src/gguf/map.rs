//! The map of the weights file: the one place where inference needs `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::Mmap;

/// A whole file, mapped read-only.
#[derive(Debug)]
pub(crate) struct FileMap(Mmap);

impl FileMap {
    /// Maps `file`.
    ///
    /// The file must not change while it is mapped: the store never rewrites weights in place. A
    /// file that somebody else cuts short makes the process end with SIGBUS; nothing here can
    /// prevent that.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is private to this module and read-only, and its bytes are never taken
        // as anything but bytes: whatever is read from them is checked anew each time, so that
        // a file changed underneath gives wrong numbers at worst.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self(map))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Tells the operating system that the pages of `range` are not needed soon, so that packed
    /// weights and the file they came from do not both stay in memory.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            // Only whole pages inside the range: its first and last page may belong to others.
            const PAGE_BYTES: usize = 64 << 10;
            let start = range.start.next_multiple_of(PAGE_BYTES);
            let end = range.end / PAGE_BYTES * PAGE_BYTES;
            if start < end {
                // SAFETY: the map is a read-only view of a file, so dropped pages are read from
                // the file again when touched; no content is lost.
                let _ = unsafe {
                    self.0.unchecked_advise_range(
                        memmap2::UncheckedAdvice::DontNeed,
                        start,
                        end - start,
                    )
                };
            }
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}
