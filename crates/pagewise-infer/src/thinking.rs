//! The thinking region of models that reason before they answer.
//!
//! Such a model writes `<think>`, its reasoning, `</think>`, and only then its answer. The region
//! is free text, bounded in tokens; when the bound is reached it is closed for the model. Where no
//! thinking is wanted the region is empty, as the models were trained to read it then.

use pagewise_grammar::TokenMask;

use crate::{ChatTemplate, Tokenizer};

/// The tokens that mark the region.
#[derive(Debug, Clone)]
pub(crate) struct Thinking {
    open: u32,
    close: u32,
    line_end: Vec<u32>,
    blank_line: Vec<u32>,
    /// What may be written in the region: text, its end, and the end of the turn.
    mask: TokenMask,
    /// The longest region, in tokens; 0 if there is to be none.
    max_tokens: usize,
}

/// How far the region has got where a prompt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Region {
    Before,
    Within,
    Behind,
}

impl Thinking {
    /// Returns how a model thinks that was trained to: its vocabulary has the marks, and its template
    /// knows of them.
    pub(crate) fn of(
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
        text_mask: &TokenMask,
        max_tokens: usize,
    ) -> Option<Self> {
        if !template.knows_thinking() {
            return None;
        }
        let mark = |name: &str| {
            let ids = tokenizer.encode_rendered(name);
            ids.into_iter().find(|id| tokenizer.token_bytes(*id) == name.as_bytes())
        };
        let (open, close) = (mark("<think>")?, mark("</think>")?);
        let mut mask = TokenMask::none(text_mask.len());
        // A region within a region has no end that counts.
        text_mask.iter().filter(|token| *token != open).for_each(|token| mask.allow(token));
        mask.allow(close);
        let (line_end, blank_line) =
            (tokenizer.encode_bytes(b"\n"), tokenizer.encode_bytes(b"\n\n"));
        Some(Self { open, close, line_end, blank_line, mask, max_tokens })
    }

    /// Returns the longest region, in tokens; 0 if there is to be none.
    pub(crate) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Returns what may be written in the region.
    pub(crate) fn mask(&self) -> &TokenMask {
        &self.mask
    }

    /// Whether `token` ends the region.
    pub(crate) fn ends_with(&self, token: u32, tokenizer: &Tokenizer) -> bool {
        token == self.close || tokenizer.is_end(token)
    }

    /// Returns what opens the region behind `prompt`; `None` if it is closed already.
    pub(crate) fn opening(&self, prompt: &[u32], tokenizer: &Tokenizer) -> Option<Vec<u32>> {
        match self.region(prompt, tokenizer) {
            Region::Before => Some([&[self.open], self.line_end.as_slice()].concat()),
            Region::Within => Some(Vec::new()),
            Region::Behind => None,
        }
    }

    /// Returns what closes the region.
    pub(crate) fn closing(&self) -> Vec<u32> {
        [&[self.close], self.blank_line.as_slice()].concat()
    }

    /// Returns an empty region, or the rest of one, behind `prompt`.
    pub(crate) fn skipping(&self, prompt: &[u32], tokenizer: &Tokenizer) -> Vec<u32> {
        match self.region(prompt, tokenizer) {
            Region::Before => [&[self.open], self.blank_line.as_slice(), &self.closing()].concat(),
            Region::Within => self.closing(),
            Region::Behind => Vec::new(),
        }
    }

    /// Looks at what the template has written of the model's turn. Before it is a control token: a
    /// mark in what somebody said is none.
    fn region(&self, prompt: &[u32], tokenizer: &Tokenizer) -> Region {
        for token in prompt.iter().rev() {
            match *token {
                token if token == self.close => return Region::Behind,
                token if token == self.open => return Region::Within,
                token if tokenizer.is_control(token) => return Region::Before,
                _ => {}
            }
        }
        Region::Before
    }
}
