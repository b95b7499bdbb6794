//! What made a record, beside the settings by which runs are compared.
//!
//! Where runs of several machines were joined it says whose the seconds are.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::record::Record;

/// The program, the machine and the day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MadeBy {
    /// The program's version.
    pub version: String,
    /// The processor's name, where the system says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// Where the model ran: `cpu`, `cuda` or `metal`.
    pub device: String,
    /// Our own kernels, where they computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<String>,
    /// How many threads of the processor a case had.
    pub threads: usize,
    /// How many cases were run at once.
    pub jobs: usize,
    /// When the run began, in UTC.
    pub date: Date,
}

/// For people, in a line.
impl fmt::Display for MadeBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, processor, device, kernels, threads, jobs, date } = self;
        let processor = processor.as_deref().unwrap_or("unknown processor");
        write!(f, "pagewise {version}, {processor}, {device}")?;
        if let Some(kernels) = kernels {
            write!(f, ", {kernels}")?;
        }
        write!(f, ", threads {threads}, jobs {jobs}, {date}")
    }
}

/// How many of some records one program, machine and day made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Made {
    /// What made them.
    #[serde(flatten)]
    pub by: MadeBy,
    /// How many.
    pub n: usize,
}

impl Made {
    /// Counts records by what made them, as far as they say.
    pub(crate) fn counted(records: &[&Record]) -> Vec<Self> {
        let mut counts: BTreeMap<&MadeBy, usize> = BTreeMap::new();
        for by in records.iter().filter_map(|record| record.made_by.as_ref()) {
            *counts.entry(by).or_default() += 1;
        }
        counts.into_iter().map(|(by, n)| Self { by: by.clone(), n }).collect()
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (n {})", self.by, self.n)
    }
}
