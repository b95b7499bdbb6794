//! Grammar quality: what becomes of JSON schemas under a token mask. No language model is involved.
//!
//! Each schema is compiled, and its instances go through the masks of a real tokenizer. A valid one must
//! pass; an invalid one must be refused before its end, or at it. A schema that is not supported is refused
//! when it is compiled, which is honest; one that lets an invalid instance pass is a bug.
//!
//! An instance is written without white space, its keys in the order of the data, and its tokens are the
//! tokenizer's own. Where the mask has decided the next bytes and holds other tokens for them, those are
//! taken, and the rest of the text is divided into tokens anew: what counts is whether the text can be
//! written under the masks.

mod measured;
mod summary;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use pagewise_grammar::{GrammarError, JsonSchemaGrammar, JsonSchemaMatcher, TokenMask, Vocabulary};
use serde_json::Value;

use super::error::MemoryBenchError;
use super::{generate, load};
pub use measured::{MeasuredSchema, Verdict};
pub use summary::{GrammarSummary, Percentiles, grammar_table};
pub(crate) use summary::{MeasuredSet, grammar_rows, title};

/// A schema with values that it allows, and values that it does not.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaCase {
    /// Its name, unique within the set.
    pub id: String,
    /// What it is counted under: the collection that it is from, or the keyword that it is about.
    pub family: String,
    /// What it uses, if the set says so.
    pub features: Vec<String>,
    /// The schema.
    pub schema: Value,
    /// Values to try.
    pub instances: Vec<Instance>,
}

/// A value to try.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// The value.
    pub value: Value,
    /// Whether the schema allows it.
    pub is_valid: bool,
}

/// The schemas of a set.
#[derive(Debug)]
pub struct SchemaSet {
    /// `generated`, or the name of the data set.
    pub source: String,
    /// All of them.
    pub cases: Vec<SchemaCase>,
}

impl SchemaSet {
    /// Makes `n` schemas from `seed`. Each depends on the seed and on its place alone.
    pub fn generate(seed: u64, n: usize) -> Self {
        Self { source: "generated".into(), cases: generate::schemas::cases(seed).take(n).collect() }
    }

    /// Reads the data set in `folder`, or in the one of its folders that is named as the set is: MaskBench,
    /// JSONSchemaBench or the JSON Schema Test Suite, whichever it is.
    pub fn load(folder: &Path) -> Result<Self, MemoryBenchError> {
        load::schemas::set(folder)
    }

    /// Keeps at most `limit` schemas, as many of each family as of any other while it has them, from all
    /// places in it.
    pub fn sample(&mut self, limit: usize) {
        let mut families: Vec<(String, Vec<SchemaCase>)> = Vec::new();
        for case in self.cases.drain(..) {
            match families.iter_mut().find(|(family, _)| *family == case.family) {
                Some((_, cases)) => cases.push(case),
                None => families.push((case.family.clone(), vec![case])),
            }
        }
        let mut kept = vec![0; families.len()];
        let mut n_left = limit;
        while n_left > 0 {
            let with_room =
                (0..families.len()).filter(|at| kept[*at] < families[*at].1.len()).take(n_left);
            let with_room: Vec<usize> = with_room.collect();
            if with_room.is_empty() {
                break;
            }
            n_left -= with_room.len();
            with_room.into_iter().for_each(|at| kept[at] += 1);
        }
        for ((_, cases), n_kept) in families.into_iter().zip(kept) {
            let n = cases.len();
            let is_kept = |at: usize| (at + 1) * n_kept / n > at * n_kept / n;
            self.cases.extend(
                cases.into_iter().enumerate().filter(|(at, _)| is_kept(*at)).map(|(_, case)| case),
            );
        }
    }
}

/// Measures all schemas of a set with the vocabulary of `model`. `on_done` is told how many are done. Setting
/// `cancelled` stops it.
pub fn measure_schemas(
    model: &str,
    vocabulary: Vocabulary,
    set: &SchemaSet,
    cancelled: &AtomicBool,
    on_done: &mut dyn FnMut(usize),
) -> Result<Vec<MeasuredSchema>, MemoryBenchError> {
    let grammar = JsonSchemaGrammar::new(vocabulary)?;
    let mut measured = Vec::with_capacity(set.cases.len());
    for case in &set.cases {
        if cancelled.load(Ordering::Relaxed) {
            return Err(MemoryBenchError::Cancelled);
        }
        measured.push(measure(&grammar, case, MeasuredSchema::of(&set.source, model, case)));
        on_done(measured.len());
    }
    Ok(measured)
}

fn measure(
    grammar: &JsonSchemaGrammar,
    case: &SchemaCase,
    mut measured: MeasuredSchema,
) -> MeasuredSchema {
    let started = Instant::now();
    // The first mask is where the engine does what it put off.
    let compiled = grammar.matcher(&case.schema).and_then(|matcher| {
        matcher.clone().token_mask()?;
        Ok(matcher)
    });
    measured.compile_us = micros(started);
    let matcher = match compiled {
        Ok(matcher) => matcher,
        Err(error) => {
            measured.unsupported = Some(reason(&error));
            return measured;
        }
    };
    for instance in &case.instances {
        let text = instance.value.to_string();
        let passed = passes(grammar, matcher.clone(), &text, &mut measured.mask_us);
        measured.count(instance.is_valid, passed);
    }
    measured
}

/// Whether a text can be written under the masks. What the engine gives up on cannot.
fn passes(
    grammar: &JsonSchemaGrammar,
    mut matcher: JsonSchemaMatcher,
    text: &str,
    mask_us: &mut Vec<f64>,
) -> Result<bool, GrammarError> {
    let mut n_bytes = 0;
    let mut tokens = grammar.tokens(text).into_iter();
    while n_bytes < text.len() {
        let rest = &text.as_bytes()[n_bytes..];
        let started = Instant::now();
        let mask = matcher.token_mask()?;
        mask_us.push(micros(started));
        let (token, is_usual) = match tokens.next() {
            Some(token) if mask.allows(token) => (token, true),
            _ => match longest(grammar, mask, rest) {
                Some(token) => (token, false),
                None => return Ok(false),
            },
        };
        matcher.advance(token)?;
        n_bytes += grammar.token_bytes(token).len();
        if !is_usual {
            let rest = &text.as_bytes()[n_bytes..];
            tokens = grammar.tokens_of_bytes(rest).into_iter();
        }
    }
    matcher.is_accepting()
}

/// Returns the longest token of the mask that `rest` begins with.
fn longest(grammar: &JsonSchemaGrammar, mask: &TokenMask, rest: &[u8]) -> Option<u32> {
    mask.iter()
        .filter(|token| {
            let bytes = grammar.token_bytes(*token);
            !bytes.is_empty() && rest.starts_with(bytes)
        })
        .max_by_key(|token| grammar.token_bytes(*token).len())
}

fn micros(started: Instant) -> f64 {
    // In whole nanoseconds, so that it has few digits where it is written.
    started.elapsed().as_nanos() as f64 / 1e3
}

/// Says why a schema is not supported, in so few words that schemas with the same reason can be counted.
fn reason(error: &GrammarError) -> String {
    /// Enough for a keyword and what is wrong with it.
    const REASON_CHARS: usize = 80;
    let text = match error {
        GrammarError::Schema { reason } => reason.clone(),
        other => other.to_string(),
    };
    let line = text.lines().next().unwrap_or_default();
    // What is quoted or counted is of the one schema, but for the names of keywords.
    let is_of_keywords = line.contains("nimplemented");
    let words: Vec<String> = line
        .split_whitespace()
        .map(|word| {
            let is_own = word.chars().any(|c| c.is_ascii_digit())
                || word.contains(['/', '#', '{', '\''])
                || (word.contains('"') && !is_of_keywords);
            if is_own { "…".into() } else { word.to_string() }
        })
        .collect();
    words.join(" ").chars().take(REASON_CHARS).collect()
}

#[cfg(test)]
mod tests;
