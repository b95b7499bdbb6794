//! How main context is spent, region by region.

use std::fmt;

use serde::Serialize;

/// The tokens of each region of main context, as it would be rendered now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContextReport {
    /// The regions, the queue with its summary last.
    pub regions: Vec<Region>,
    /// All of them together.
    pub used: usize,
    /// The context window.
    pub window: usize,
    /// The memory pressure warning is given at this many tokens.
    pub warning: usize,
    /// No prompt has more tokens than this; the rest of the window is for the answer.
    pub budget: usize,
    /// Messages in view.
    pub messages_in_view: usize,
    /// Messages that were evicted, all flushes together.
    pub messages_evicted: u64,
}

/// One region of main context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Region {
    /// What it is called in the MemGPT paper.
    pub name: &'static str,
    /// Its tokens.
    pub tokens: usize,
}

impl fmt::Display for ContextReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Region { name, tokens } in &self.regions {
            writeln!(f, "{name:<22}{tokens:>7} tokens")?;
        }
        let percent = 100 * self.used / self.window.max(1);
        writeln!(f, "{:<22}{:>7} of {} ({percent}%)", "used", self.used, self.window)?;
        write!(
            f,
            "warning at {}, flush at {}; {} messages in view, {} evicted",
            self.warning, self.budget, self.messages_in_view, self.messages_evicted
        )
    }
}
