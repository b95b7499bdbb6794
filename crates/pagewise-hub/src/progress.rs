/// Watches weights being fetched or verified, and can stop it.
pub trait Progress {
    /// A step of `total_bytes` begins; `None` if its size is not known.
    fn start(&mut self, _total_bytes: Option<u64>) {}
    /// So many more bytes are done.
    fn advance(&mut self, _n_bytes: u64) {}
    /// A sentence for the user: which source is tried, and why another failed.
    fn message(&mut self, _text: &str) {}
    /// The step that began last has ended.
    fn finish(&mut self) {}
    /// Whether to stop; asked several times a second.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Watches nothing and never stops.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoProgress;

impl Progress for NoProgress {}
