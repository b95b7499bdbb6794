//! How text is cut into words before byte-pair encoding, by the name the file gives.
//!
//! A wrong cut gives wrong token ids without any sign of it, so a name that is not known here is
//! refused.

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";

/// The longest run of white space that is cut into words as a whole, in characters. The patterns
/// go back over such a run, and the regex engine silently gives up after a million steps.
const MAX_WHITE_SPACE: usize = 1 << 18;

/// What a file's `tokenizer.ggml.pre` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    /// Cut with each in turn.
    patterns: &'static [&'static str],
    /// Whether a word that is a token is taken whole, without merging.
    pub(super) ignore_merges: bool,
    /// Whether a prompt begins with the token for that, unless the file says otherwise.
    pub(super) add_bos: bool,
}

/// Names with what they stand for.
const KNOWN: [(&[&str], PreTokenizer); 5] = [
    (
        &["gpt-2", "phi-2", "mpt", "olmo", "jais"],
        PreTokenizer { patterns: &[GPT_2], ignore_merges: false, add_bos: false },
    ),
    (
        &["smollm", "starcoder", "refact", "command-r", "codeshell"],
        PreTokenizer { patterns: &[DIGIT, GPT_2], ignore_merges: false, add_bos: false },
    ),
    (
        &["qwen2", "stablelm2", "deepseek-r1-qwen"],
        PreTokenizer { patterns: &[QWEN_2], ignore_merges: false, add_bos: false },
    ),
    (
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "lfm2"],
        PreTokenizer { patterns: &[LLAMA_3], ignore_merges: true, add_bos: true },
    ),
    (
        &["dbrx", "smaug-bpe"],
        PreTokenizer { patterns: &[LLAMA_3], ignore_merges: false, add_bos: false },
    ),
];

impl PreTokenizer {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        KNOWN.iter().find(|(names, _)| names.contains(&name)).map(|(_, known)| *known)
    }

    pub(super) fn known_names() -> String {
        KNOWN.map(|(names, _)| names.join(", ")).join(", ")
    }

    pub(super) fn build(self) -> tokenizers::Result<Sequence> {
        let mut steps = Vec::new();
        for pattern in self.patterns {
            let pattern = SplitPattern::Regex((*pattern).to_owned());
            steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into());
        }
        steps.push(ByteLevel::new(false, false, false).into());
        Ok(Sequence::new(steps))
    }
}

/// Returns `text` in parts without runs of white space longer than [`MAX_WHITE_SPACE`]: one part
/// for any text that a person wrote.
pub(super) fn cut_long_white_space(text: &str) -> Vec<&str> {
    if text.len() <= MAX_WHITE_SPACE {
        return vec![text];
    }
    let mut parts = Vec::new();
    let (mut start, mut run) = (0, 0);
    for (at, character) in text.char_indices() {
        run = if character.is_whitespace() { run + 1 } else { 0 };
        if run > MAX_WHITE_SPACE {
            parts.extend(text.get(start..at));
            (start, run) = (at, 1);
        }
    }
    parts.extend(text.get(start..));
    parts
}

#[cfg(test)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    use super::*;

    fn check(name: &str, text: &str, expected: &[&str]) {
        let mut words = PreTokenizedString::from(text);
        let sequence = PreTokenizer::from_name(name).unwrap().build().unwrap();
        sequence.pre_tokenize(&mut words).unwrap();
        let words: Vec<&str> = words
            .get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .map(|(_, (start, end), _)| &text[start..end])
            .collect();
        assert_eq!(words, expected, "{name}");
    }

    #[test]
    fn each_name_cuts_in_its_way() {
        let text = "It'S $x1234  don't\n\n  go!";
        check(
            "gpt-2",
            text,
            &["It", "'", "S", " $", "x", "1234", " ", " don", "'t", "\n\n ", " go", "!"],
        );
        check(
            "smollm",
            text,
            &[
                "It", "'", "S", " $", "x", "1", "2", "3", "4", " ", " don", "'t", "\n\n ", " go",
                "!",
            ],
        );
        check(
            "qwen2",
            text,
            &[
                "It", "'S", " $", "x", "1", "2", "3", "4", " ", " don", "'t", "\n\n", " ", " go",
                "!",
            ],
        );
        check(
            "llama-bpe",
            text,
            &["It", "'S", " $", "x", "123", "4", " ", " don", "'t", "\n\n", " ", " go", "!"],
        );
    }

    #[test]
    fn only_long_white_space_is_cut() {
        let long = " ".repeat(MAX_WHITE_SPACE);
        for (text, n_parts) in [
            (String::new(), 1),
            (format!("a{long}b"), 1),
            (format!("a {long}b"), 2),
            (format!("{long}{long} b{long}"), 3),
            ("ab".repeat(MAX_WHITE_SPACE), 1),
        ] {
            let parts = cut_long_white_space(&text);
            assert_eq!((parts.len(), parts.concat() == text), (n_parts, true));
        }
    }
}
