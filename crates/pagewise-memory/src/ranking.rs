//! Queries, and the order and the pages of what they find.

use std::collections::{HashMap, HashSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use pagewise_core::{Message, MessageId, Role};
use serde::{Deserialize, Serialize};

use crate::Passage;

/// The constant of reciprocal rank fusion. It was published as 60, for lists of a thousand; a page
/// here has a handful of hits, and at 60 the first in meaning falls off it behind texts that are
/// merely fair in both lists. At 5, the first of either list is always among the first few.
const RANK_CONSTANT: f64 = 5.0;

/// A search of recall storage.
#[derive(Debug, Clone)]
pub struct RecallQuery {
    /// What to look for; `None` or blank lists everything in scope: oldest first, as days are read, if days
    /// are asked for, else newest first.
    pub words: Option<String>,
    /// Who spoke; empty is the user and the assistant.
    pub roles: Vec<Role>,
    /// The first day, from its start.
    pub from: Option<Date>,
    /// The last day, to its end.
    pub to: Option<Date>,
    /// Where the days begin and end.
    pub time_zone: TimeZone,
    /// Only messages before this one.
    pub before: Option<MessageId>,
    /// The page, from 1.
    pub page: u32,
    /// Hits on a page, at least 1.
    pub page_size: u32,
    /// What makes a hit.
    pub mode: SearchMode,
}

/// A search of archival storage.
#[derive(Debug, Clone)]
pub struct ArchivalQuery {
    /// What to look for; blank lists everything in scope, newest first.
    pub words: String,
    /// Only passages with all of these tags.
    pub tags: Vec<String>,
    /// The page, from 1.
    pub page: u32,
    /// Hits on a page, at least 1.
    pub page_size: u32,
    /// What makes a hit.
    pub mode: SearchMode,
}

/// What makes a text a hit. In all modes the total is the number of hits on all pages together, and
/// ties are ordered newest first, but for [`SearchMode::Substring`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchMode {
    /// Any of the words, or of their other forms; ordered by BM25. Texts that hold an identifier
    /// of the query whole come first.
    Words,
    /// Nearness in meaning: the best 100 texts whose cosine with the query is above 0.1.
    Meaning,
    /// A hit of either of the two, ordered by reciprocal rank fusion of both; texts that hold an
    /// identifier of the query whole come first.
    Fused,
    /// The query as one string, in any case, anywhere in the text; ordered oldest first. Nothing is
    /// embedded. It is what the MemGPT paper's nested key-value experiment searches with.
    Substring,
}

/// One page of what a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The hits on this page, best first; empty beyond the last page.
    pub hits: Vec<T>,
    /// How many hits there are on all pages together.
    pub total: u64,
    /// Which page this is, from 1.
    pub page: u32,
    /// How many pages there are; 0 if nothing was found.
    pub n_pages: u32,
}

/// A message that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct RecallHit {
    /// The message, with the time at which it was stored.
    pub message: Message,
    /// What was said in it.
    pub spoken: String,
    /// How well it fits; comparable within one search only.
    pub score: f64,
}

/// A passage that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct ArchivalHit {
    /// The passage, with the time at which it was stored.
    pub passage: Passage,
    /// How well it fits; comparable within one search only.
    pub score: f64,
}

/// The number of a row and how well it fits.
pub(crate) type Ranked = (i64, f64);

impl Page<Ranked> {
    /// Cuts the page with this number, from 1, out of all hits.
    pub(crate) fn cut(all: &[Ranked], page: u32, page_size: u32) -> Self {
        let (page, size) = (page.max(1), page_size.max(1) as usize);
        let start = (page as usize - 1).saturating_mul(size).min(all.len());
        let end = start.saturating_add(size).min(all.len());
        Self {
            hits: all[start..end].to_vec(),
            total: all.len() as u64,
            page,
            n_pages: u32::try_from(all.len().div_ceil(size)).unwrap_or(u32::MAX),
        }
    }

    /// Makes hits of the rows.
    pub(crate) fn try_map<T, E>(
        self,
        hit: impl FnMut(Ranked) -> Result<T, E>,
    ) -> Result<Page<T>, E> {
        let hits = self.hits.into_iter().map(hit).collect::<Result<_, E>>()?;
        Ok(Page { hits, total: self.total, page: self.page, n_pages: self.n_pages })
    }
}

/// Joins two lists, each best first, by reciprocal rank fusion.
pub(crate) fn fuse(words: &[Ranked], meaning: &[Ranked]) -> Vec<Ranked> {
    let mut scores: HashMap<i64, f64> = HashMap::new();
    for list in [words, meaning] {
        for (index, (id, _)) in list.iter().enumerate() {
            *scores.entry(*id).or_default() += 1.0 / (RANK_CONSTANT + index as f64 + 1.0);
        }
    }
    scores.into_iter().collect()
}

/// Puts hits in order: those in `first`, then by score, then the newest.
pub(crate) fn order(hits: &mut [Ranked], first: &HashSet<i64>) {
    hits.sort_by(|(a, a_score), (b, b_score)| {
        first.contains(b).cmp(&first.contains(a)).then(b_score.total_cmp(a_score)).then(b.cmp(a))
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fusion_prefers_what_both_lists_have() {
        let mut hits = fuse(&[(1, 9.0), (2, 8.0)], &[(3, 0.9), (2, 0.8)]);
        order(&mut hits, &HashSet::new());
        assert_eq!(hits.iter().map(|hit| hit.0).collect::<Vec<_>>(), [2, 3, 1]);
        order(&mut hits, &HashSet::from([1]));
        assert_eq!(hits.iter().map(|hit| hit.0).collect::<Vec<_>>(), [1, 2, 3]);
    }

    proptest! {
        #[test]
        fn pages_partition_the_hits(n in 0usize..60, size in 1u32..12) {
            let all: Vec<Ranked> = (0..n).map(|id| (id as i64, 0.0)).collect();
            let first = Page::cut(&all, 1, size);
            let mut joined = Vec::new();
            for page in 1..=first.n_pages {
                let page = Page::cut(&all, page, size);
                prop_assert!(!page.hits.is_empty());
                prop_assert_eq!(page.total, n as u64);
                joined.extend(page.hits);
            }
            prop_assert_eq!(&joined, &all);
            let beyond = Page::cut(&all, first.n_pages + 1, size);
            prop_assert!(beyond.hits.is_empty());
            prop_assert_eq!(beyond.total, n as u64);
        }
    }

    #[test]
    fn extreme_pages_do_not_overflow() {
        let all = [(1, 0.0)];
        assert_eq!(Page::cut(&all, u32::MAX, u32::MAX).hits, []);
        assert_eq!(Page::cut(&all, 0, 0).hits, [(1, 0.0)]);
        assert_eq!(Page::cut(&[], 1, 5).n_pages, 0);
    }
}
