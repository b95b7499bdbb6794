//! The memory that weights are in, a map of their file or a copy in large pages: the one place where
//! inference needs `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::{Mmap, MmapRaw};
use pagewise_kernels::ThreadPool;

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

/// Where copies begin: at cache lines.
const ALIGNMENT: usize = 64;

/// Memory that the system hands out in pages of 2 MiB if it has them. Through the pages of 4 KiB of a
/// file's map the same bytes are read more slowly: two threads read 24 GB/s of a map and 31 GB/s of
/// this on a 2-core Xeon (medians of 7).
#[derive(Debug)]
pub(crate) struct LargePages {
    map: MmapRaw,
    used: AtomicUsize,
}

/// Bytes that were copied and never change again.
#[derive(Clone, Debug)]
pub(crate) struct Copied {
    pages: Arc<LargePages>,
    range: Range<usize>,
}

impl LargePages {
    /// Asks for `len` bytes; `None` where there are no large pages to ask for.
    pub(crate) fn new(len: usize) -> Option<Self> {
        #[cfg(target_os = "linux")]
        {
            let map = memmap2::MmapOptions::new().len(len).map_anon().ok()?;
            map.advise(memmap2::Advice::HugePage).ok()?;
            Some(Self { map: map.into(), used: AtomicUsize::new(0) })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = len;
            None
        }
    }

    /// Copies bytes, if there is still room for them; `copied` is told of each piece that is.
    pub(crate) fn copy(
        self: &Arc<Self>,
        from: &[u8],
        pool: &ThreadPool,
        copied: &(dyn Fn(Range<usize>) + Sync),
    ) -> Option<Copied> {
        /// What a thread copies at once: a large page.
        const PIECE_BYTES: usize = 2 << 20;
        let len = from.len().checked_next_multiple_of(ALIGNMENT)?;
        let room = |used: usize| used.checked_add(len).filter(|end| *end <= self.map.len());
        let start = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        // SAFETY: `start..start + len` lies in the map, and nobody else has it: `used` only grows.
        // Nothing else refers to it before the copy is made.
        let to =
            unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().add(start), from.len()) };
        let pieces = to.chunks_mut(PIECE_BYTES).zip(from.chunks(PIECE_BYTES)).enumerate();
        let pieces = Mutex::new(pieces);
        pool.run(from.len().div_ceil(PIECE_BYTES), &|_| {
            let next = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
            if let Some((index, (to, from))) = next {
                to.copy_from_slice(from);
                copied(index * PIECE_BYTES..index * PIECE_BYTES + from.len());
            }
        });
        Some(Copied { pages: Arc::clone(self), range: start..start + from.len() })
    }
}

impl Copied {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: a `Copied` is made by `LargePages::copy` once its range, which lies in the map, is
        // written, and nobody writes there again.
        unsafe {
            std::slice::from_raw_parts(
                self.pages.map.as_ptr().add(self.range.start),
                self.range.len(),
            )
        }
    }
}
