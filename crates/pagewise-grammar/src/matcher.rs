use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory};
use pagewise_core::{CallFormat, FunctionSpec};
use toktrie::TokEnv;

use crate::plan::Plan;
use crate::vocabulary::Environment;
use crate::walker::{Place, Walker};
use crate::{GrammarError, TokenMask, Vocabulary, lark, specs};

/// Texts whose tokens are looked at together: if a whole class may come next, no walk over its
/// tokens is needed. The inside of a string; the same near the end of its room; its beginning.
const TOKEN_CLASSES: [&str; 3] = [
    r#"[^"\\\x00-\x1f]{1,30}"#,
    r#"[^"\\\x00-\x1f]{1,10}"#,
    r#"[^"\\\x00-\x1f\s][^"\\\x00-\x1f]{0,29}"#,
];

/// The vocabulary of a model, prepared for grammars; made once per model.
pub struct CallGrammar {
    environment: Arc<Environment>,
    factory: ParserFactory,
}

impl CallGrammar {
    /// Prepares `vocabulary`: a second or so for the largest.
    pub fn new(vocabulary: Vocabulary) -> Result<Self, GrammarError> {
        let environment = Arc::new(Environment::new(vocabulary)?);
        let tok_env: TokEnv = environment.clone();
        let classes = TOKEN_CLASSES.map(str::to_owned);
        let mut factory = ParserFactory::new(&tok_env, InferenceCapabilities::default(), &classes)
            .map_err(GrammarError::engine)?;
        // Otherwise the engine writes warnings to stderr.
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self { environment, factory })
    }

    /// Returns a matcher at the beginning of a call of one of `specs`.
    pub fn matcher(
        &self,
        specs: &[FunctionSpec<'_>],
        format: &CallFormat,
    ) -> Result<CallMatcher, GrammarError> {
        specs::check(specs, format)?;
        let text = lark::grammar_text(specs, format);
        let parser = self
            .factory
            .create_parser(TopLevelGrammar::from_lark(text))
            .map_err(GrammarError::engine)?;
        let walker = Walker::new(Plan::new(specs, format));
        let place = walker.start();
        Ok(CallMatcher {
            environment: self.environment.clone(),
            engine: Matcher::new(Ok(parser)),
            mask: TokenMask::none(self.environment.n_tokens()),
            bytes: Vec::new(),
            place,
            n_settled_bytes: 0,
            settled_place: place,
            walker,
        })
    }
}

/// Follows one call, token by token.
///
/// The text is the call so far up to the last whole character: bytes of a character, and the
/// backslash of an escape, are held back until the rest of it is there.
pub struct CallMatcher {
    environment: Arc<Environment>,
    engine: Matcher,
    mask: TokenMask,
    walker: Walker,
    bytes: Vec<u8>,
    place: Place,
    /// How many of `bytes` are whole characters; `settled_place` is the place behind them.
    n_settled_bytes: usize,
    settled_place: Place,
}

impl CallMatcher {
    /// Returns the tokens that the grammar has already decided and advances over them.
    ///
    /// Empty if the next token is open, or if the call is complete. The tokens are the model's own
    /// for this text, as far as what follows cannot change them. They must not be given to
    /// [`advance`](Self::advance) again; the caller feeds them to the model and samples behind them.
    pub fn take_forced(&mut self) -> Result<Vec<u32>, GrammarError> {
        let mut taken = Vec::new();
        while !self.is_complete() {
            let forced = self.engine.compute_ff_tokens();
            if let Some(reason) = self.engine.get_error() {
                return Err(GrammarError::engine(reason));
            }
            if forced.is_empty() {
                break;
            }
            for &token in &forced {
                self.advance(token)?;
            }
            taken.extend(forced);
        }
        Ok(taken)
    }

    /// Returns which tokens may come next; at least one, unless the vocabulary cannot spell the
    /// call.
    ///
    /// Fails with [`GrammarError::Complete`] behind the closing brace. Where the grammar has
    /// decided the next token, that alone is allowed.
    pub fn token_mask(&mut self) -> Result<&TokenMask, GrammarError> {
        if self.is_complete() {
            return Err(GrammarError::Complete);
        }
        let allowed = self.engine.compute_mask().map_err(GrammarError::engine)?;
        self.mask.set_words(allowed.as_slice());
        Ok(&self.mask)
    }

    /// Goes on by the token that was sampled.
    ///
    /// Any token that the call can go on with is taken, also one that the mask left out because
    /// the model's tokenizer would write the same text otherwise. A token that is refused changes
    /// nothing.
    pub fn advance(&mut self, token: u32) -> Result<(), GrammarError> {
        let bytes = self.environment.bytes(token);
        let mut place = self.place;
        let mut settled = (self.n_settled_bytes, self.settled_place);
        let mut is_refused = bytes.is_empty();
        for (n, &byte) in (self.bytes.len() + 1..).zip(bytes) {
            let Some(next) = self.walker.step(place, byte) else {
                is_refused = true;
                break;
            };
            place = next;
            if self.walker.is_between_characters(place) {
                settled = (n, place);
            }
        }
        if is_refused {
            return Err(GrammarError::Refused { token, text: self.text().to_owned() });
        }
        self.engine.consume_token(token).map_err(GrammarError::engine)?;
        self.bytes.extend_from_slice(bytes);
        self.place = place;
        (self.n_settled_bytes, self.settled_place) = settled;
        Ok(())
    }

    /// Returns whether the closing brace is written; no end-of-turn token is needed.
    pub fn is_complete(&self) -> bool {
        self.walker.is_complete(self.place)
    }

    /// Returns the call so far, up to the last whole character.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.n_settled_bytes]).unwrap_or_default()
    }

    /// Returns what makes [`text`](Self::text) a valid call without the model, for when the token
    /// budget has run out; empty if the call is complete.
    ///
    /// A string ends where it is (a string without a character becomes `…`), a list or an object as soon as
    /// it may, a number becomes the one nearest to zero that begins as written, a day the first that does,
    /// a choice the first in byte order, a boolean false. If no function is named yet, it is the first
    /// spec's.
    pub fn close(&self) -> String {
        self.walker.close(self.settled_place)
    }
}

#[cfg(test)]
impl CallMatcher {
    /// Returns how many of `tokens` the engine alone would take from here.
    pub(crate) fn engine_validates(&mut self, tokens: &[u32]) -> usize {
        self.engine.validate_tokens(tokens).expect("the engine has failed")
    }

    /// Returns whether the walker alone would take `bytes` from here.
    pub(crate) fn walker_takes(&self, bytes: &[u8]) -> bool {
        !bytes.is_empty()
            && bytes
                .iter()
                .try_fold(self.place, |place, &byte| self.walker.step(place, byte))
                .is_some()
    }

    /// Returns how many bytes could come next.
    pub(crate) fn n_next_bytes(&self) -> usize {
        (0..=255).filter(|&byte| self.walker.step(self.place, byte).is_some()).count()
    }
}
