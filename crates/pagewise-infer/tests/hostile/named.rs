//! Files that are wrong on purpose: what once did harm here, or did to others.

use super::cases::Case;

#[path = "named/embedders.rs"]
mod embedders;
#[path = "named/templates.rs"]
mod templates;
#[path = "named/tokenizers.rs"]
mod tokenizers;
#[path = "named/vocabularies.rs"]
mod vocabularies;
#[path = "named/weights.rs"]
mod weights;

/// A name, and the file.
pub(crate) type Named = (&'static str, fn() -> Case);

/// By what reads them.
const GROUPS: [&[Named]; 5] =
    [templates::CASES, tokenizers::CASES, weights::CASES, vocabularies::CASES, embedders::CASES];

/// All of them.
pub(crate) fn cases() -> impl Iterator<Item = &'static Named> {
    GROUPS.into_iter().flatten()
}

pub(crate) fn name(index: usize) -> &'static str {
    cases().nth(index).expect("a case of this number").0
}

pub(crate) fn case(index: usize) -> Case {
    let (name, make) = cases().nth(index).expect("a case of this number");
    Case { name: (*name).to_owned(), ..make() }
}
