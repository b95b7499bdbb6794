//! Whole JSON schemas to token masks.
//!
//! The agent's functions do not need this: their specs say less than a schema can, and have a walker that
//! closes what was cut off. Here llguidance alone decides what a schema means. What it does not support is
//! refused, never guessed at; a `$ref` that leaves the schema is, too, since nothing is fetched. A value may
//! have white space between its parts, and the keys of an object come in the order of its `properties`.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory};
use serde_json::Value;
use toktrie::{TokEnv, TokenizerEnv as _};

use crate::vocabulary::Environment;
use crate::{GrammarError, TokenMask, Vocabulary};

/// The largest schema, in bytes of compact JSON.
pub const MAX_SCHEMA_BYTES: usize = 1 << 20;

/// The most values in one another in a schema.
pub const MAX_SCHEMA_LEVELS: usize = 100;

/// What compiling a schema may cost, in steps of the engine: some hundredths of a second.
const COMPILE_STEPS: u64 = 1_000_000;

/// What one mask may cost, in steps of the lexer and in items of the parser.
const MASK_STEPS: u64 = 200_000;
const MASK_ITEMS: usize = 50_000;

/// The most symbols of a compiled schema, and the most states of its lexer: some ten megabytes each.
const MAX_SYMBOLS: usize = 500_000;
const MAX_LEXER_STATES: usize = 20_000;

/// The vocabulary of a model, prepared for JSON schemas; made once per model.
pub struct JsonSchemaGrammar {
    environment: Arc<Environment>,
    factory: ParserFactory,
}

impl JsonSchemaGrammar {
    /// Prepares `vocabulary`: a second or so for the largest.
    pub fn new(vocabulary: Vocabulary) -> Result<Self, GrammarError> {
        let environment = Arc::new(Environment::new(vocabulary)?);
        let tok_env: TokEnv = environment.clone();
        let classes = SlicedBiasComputer::json_slices();
        let mut factory = ParserFactory::new(&tok_env, InferenceCapabilities::default(), &classes)
            .map_err(GrammarError::engine)?;
        // Otherwise the engine writes warnings to stderr.
        factory.quiet();
        let limits = factory.limits_mut();
        limits.verbose_errors = false;
        limits.initial_lexer_fuel = COMPILE_STEPS;
        limits.step_lexer_fuel = MASK_STEPS;
        limits.step_max_items = MASK_ITEMS;
        limits.max_grammar_size = MAX_SYMBOLS;
        limits.max_lexer_states = MAX_LEXER_STATES;
        Ok(Self { environment, factory })
    }

    /// Returns a matcher at the beginning of a value that `schema` allows.
    ///
    /// Fails with [`GrammarError::Schema`] if the schema is too large, cannot be satisfied, or says
    /// something that is not supported.
    pub fn matcher(&self, schema: &Value) -> Result<JsonSchemaMatcher, GrammarError> {
        let refused = |reason: String| GrammarError::Schema { reason };
        if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
            return Err(refused("a schema is an object, true or false".into()));
        }
        if !has_levels(schema, MAX_SCHEMA_LEVELS) {
            return Err(refused(format!("more than {MAX_SCHEMA_LEVELS} values in one another")));
        }
        let n_bytes = schema.to_string().len();
        if n_bytes > MAX_SCHEMA_BYTES {
            return Err(refused(format!("{n_bytes} bytes, at most {MAX_SCHEMA_BYTES} are read")));
        }
        let parser = self
            .factory
            .create_parser(TopLevelGrammar::from_json_schema(schema.clone()))
            .map_err(|error| refused(GrammarError::engine(error).reason()))?;
        Ok(JsonSchemaMatcher {
            mask: TokenMask::none(self.environment.n_tokens()),
            engine: Matcher::new(Ok(parser)),
            environment: self.environment.clone(),
        })
    }

    /// Returns the tokens of a text, as the model's tokenizer would write it.
    pub fn tokens(&self, text: &str) -> Vec<u32> {
        self.tokens_of_bytes(text.as_bytes())
    }

    /// Returns the same for a text that may begin within a character.
    pub fn tokens_of_bytes(&self, text: &[u8]) -> Vec<u32> {
        self.environment.tokenize_bytes(text)
    }

    /// Returns the bytes of token `id`; empty for what no text contains.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.environment.bytes(id)
    }
}

/// Follows one JSON value, token by token.
pub struct JsonSchemaMatcher {
    environment: Arc<Environment>,
    engine: Matcher,
    mask: TokenMask,
}

impl Clone for JsonSchemaMatcher {
    /// Returns a matcher at the same place that shares nothing with this one: what went wrong in one is no
    /// matter of the other.
    fn clone(&self) -> Self {
        Self {
            environment: self.environment.clone(),
            engine: self.engine.deep_clone(),
            mask: self.mask.clone(),
        }
    }
}

impl JsonSchemaMatcher {
    /// Returns which tokens may come next; none if the value is complete and nothing may follow it.
    ///
    /// Where the schema has decided the next bytes, only the tokens are allowed that the model's tokenizer
    /// would write them with.
    pub fn token_mask(&mut self) -> Result<&TokenMask, GrammarError> {
        if self.engine.is_stopped() && self.engine.get_error().is_none() {
            self.mask.set_words(&[]);
            return Ok(&self.mask);
        }
        let allowed = self.engine.compute_mask_or_eos().map_err(GrammarError::engine)?;
        self.mask.set_words(allowed.as_slice());
        Ok(&self.mask)
    }

    /// Goes on by a token that the mask allows.
    pub fn advance(&mut self, token: u32) -> Result<(), GrammarError> {
        if self.environment.bytes(token).is_empty() {
            return Err(GrammarError::Refused { token, text: String::new() });
        }
        self.engine.consume_token(token).map_err(GrammarError::engine)
    }

    /// Returns whether what was written is a whole value that the schema allows.
    pub fn is_accepting(&mut self) -> Result<bool, GrammarError> {
        self.engine.is_accepting().map_err(GrammarError::engine)
    }
}

/// Whether at most `levels` values are in one another.
fn has_levels(value: &Value, levels: usize) -> bool {
    let Some(inner) = levels.checked_sub(1) else { return false };
    match value {
        Value::Array(values) => values.iter().all(|value| has_levels(value, inner)),
        Value::Object(fields) => fields.values().all(|value| has_levels(value, inner)),
        _ => true,
    }
}
