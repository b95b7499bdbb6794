//! Function specs in, token masks and forced tokens out.
//!
//! A call that does not parse, names no function or breaks its spec cannot be sampled: the specs of
//! a step become a grammar, the grammar becomes a [`TokenMask`] before every token, and what the
//! grammar has already decided is handed out as forced tokens and never sampled. A call is valid
//! even when the token budget runs out in the middle: [`CallMatcher::close`] writes the rest.
//!
//! ```text
//! loop {
//!     let forced = matcher.take_forced()?;      // joins the next prefill chunk
//!     if matcher.is_complete() { break }
//!     if out_of_budget { text = matcher.text() + matcher.close(); break }
//!     let logits = decode(forced);
//!     matcher.token_mask()?.apply(&mut logits);
//!     matcher.advance(sample(&logits))?;        // joins the next prefill chunk as well
//! }
//! ```
//!
//! There are no tensors here, no I/O and no sampling. Masks come from llguidance; a small automaton
//! of our own, the walker, follows the same text, closes calls, and is the truth that the masks are
//! tested against.
//!
//! [`JsonSchemaGrammar`] does the same for values of any JSON schema, with llguidance alone.

mod error;
mod json_schema;
mod lark;
mod mask;
mod matcher;
mod plan;
mod specs;
mod vocabulary;
mod walker;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use error::GrammarError;
pub use json_schema::{JsonSchemaGrammar, JsonSchemaMatcher, MAX_SCHEMA_BYTES, MAX_SCHEMA_LEVELS};
pub use mask::TokenMask;
pub use matcher::{CallGrammar, CallMatcher};
pub use specs::check as check_specs;
pub use vocabulary::{Encoder, Vocabulary};

/// The longest text argument or thought that a spec may ask for, in characters.
///
/// Each character of a text costs the matcher about 10 kB while the text is being written, so that
/// one of this length needs 80 MB; masks take no longer than in a short text.
pub const MAX_TEXT_CHARS: usize = 8_192;

/// The most items of a list or an object that a spec may ask for, and the most arguments of a function.
pub const MAX_ITEMS: usize = 64;

/// The most lists and objects in one another that a spec may ask for.
pub const MAX_LEVELS: usize = 6;

/// The first year that a date argument may name.
pub const FIRST_YEAR: u16 = 1900;

/// The last year that a date argument may name.
pub const LAST_YEAR: u16 = 2199;
