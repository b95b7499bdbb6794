//! How text is cut into words before byte-pair encoding, by the name the file gives.
//!
//! A wrong cut gives wrong token ids without any sign of it, so a name that is not known here is
//! refused.

use tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

pub(super) const GPT_2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_3_5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const BAILING: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const MINICPM_5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const EXAONE_MOE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
/// Stands among patterns for the step that writes bytes as characters.
pub(super) const BYTES: &str = "";
pub(super) const DIGIT: &str = r"\p{N}";
const UP_TO_3_DIGITS: &str = r"\p{N}{1,3}";
const DIGITS_FROM_THE_RIGHT: &str = r"\d{1,3}(?=(?:\d{3})*\b)";
const DEEPSEEK_LLM: [&str; 6] = [
    r"[\r\n]",
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
    r"\s?[!-/:-~！-／：-～‘-‟\x{3000}-。]+",
    r"\s+$",
    r"[一-龥ࠀ-一가-\x{D7FF}]+",
    r"\p{N}+",
];
const DEEPSEEK_CODER: [&str; 5] =
    [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-\x{D7FF}]+", r"\p{N}"];
const DEEPSEEK_3: [&str; 3] = [
    r"\p{N}{1,3}",
    r"[一-龥\x{3040}-ゟ゠-ヿ]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
];
const FALCON: [&str; 2] = [r"[\p{P}\$\+<=>\^~\|`]+", GPT_2];
/// Some bytes within characters stand as characters that are numbers: ², ³, ¹, ¼, ½ and ¾.
const FALCON_BYTES: [&str; 2] = [r"\p{N}+", r"[0-9][0-9][0-9]"];

/// The longest run of white space that is cut into words as a whole, in characters. The patterns
/// go back over such a run, and the regex engine silently gives up after a million steps.
const MAX_WHITE_SPACE: usize = 1 << 18;

/// What a file's `tokenizer.ggml.pre` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    /// Cut with each in turn.
    patterns: &'static [&'static str],
    /// The same once bytes are written as characters.
    patterns_of_bytes: &'static [&'static str],
    /// Whether a word that is a token is taken whole, without merging.
    pub(super) ignore_merges: bool,
    /// Whether a prompt begins with the token for that, unless the file says otherwise.
    pub(super) add_bos: bool,
    /// Whether the vocabulary is not byte-level, but has marks for spaces and `<0x0A>` for bytes.
    pub(super) marks_spaces: bool,
}

/// Names with what they stand for: the pattern of the model's own `tokenizer.json`, where the
/// patterns of llama.cpp only come near to it.
///
/// These were compared with real vocabularies and the ids that the models' own tokenizers give:
/// `gpt-2`, `phi-2`, `mpt`, `olmo`, `smollm`, `starcoder`, `refact` (Granite 3), `command-r`, `qwen2`,
/// `qwen35`, `llama-bpe`, `smaug-bpe` (SmolLM3), `dbrx` (OLMo 2), `tekken`, `gpt-4o` (Phi-4-mini),
/// `deepseek-llm`, `deepseek-coder`, `deepseek-v3`, `joyai-llm`, `falcon` and `gemma4`. The other
/// names, `lfm2` among them, stand beside one of these, or with a pattern of their own, because
/// llama.cpp has them so; their models' files were not at hand. (LFM2.5-8B-A1B is called `lfm2` too, and
/// is said to have a slightly other pattern.)
const KNOWN: [(&[&str], PreTokenizer); 19] = [
    (
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "exaone4",
            "trillion",
            "granite-docling",
        ],
        PreTokenizer::new(&[GPT_2]),
    ),
    (
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        PreTokenizer::new(&[DIGIT, GPT_2]),
    ),
    (
        &[
            "qwen2",
            "stablelm2",
            "deepseek-r1-qwen",
            "kormo",
            "megrez",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        PreTokenizer::new(&[QWEN_2]),
    ),
    (&["qwen35"], PreTokenizer::new(&[QWEN_3_5])),
    (
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        PreTokenizer::new(&[LLAMA_3]).with_whole_words().with_bos(),
    ),
    // SmolLM3 is of this name; llama.cpp joins by merges alone, which misses 588 of its tokens.
    (&["glm4", "glm5", "smaug-bpe"], PreTokenizer::new(&[LLAMA_3]).with_whole_words()),
    (&["dbrx", "chatglm-bpe"], PreTokenizer::new(&[LLAMA_3])),
    (&["tekken"], PreTokenizer::new(&[TEKKEN]).with_whole_words().with_bos()),
    (&["gpt-4o", "llama4", "kanana2"], PreTokenizer::new(&[GPT_4O])),
    (&["tiny_aya", "cohere2moe"], PreTokenizer::new(&[DIGITS_FROM_THE_RIGHT, GPT_4O])),
    (&["deepseek-llm"], PreTokenizer::new(&DEEPSEEK_LLM)),
    (&["deepseek-coder"], PreTokenizer::new(&DEEPSEEK_CODER)),
    (&["deepseek-v3", "hunyuan-dense", "joyai-llm"], PreTokenizer::new(&DEEPSEEK_3)),
    (&["falcon"], PreTokenizer::new(&FALCON).then_bytes(&FALCON_BYTES)),
    (&["seed-coder"], PreTokenizer::new(&[SEED_CODER])),
    (&["bailingmoe", "bailingmoe2", "llada-moe"], PreTokenizer::new(&[BAILING])),
    (&["exaone-moe"], PreTokenizer::new(&[EXAONE_MOE])),
    (&["minicpm5"], PreTokenizer::new(&[UP_TO_3_DIGITS, MINICPM_5]).with_whole_words()),
    // Only under this name does the rule come with spaces that are marked.
    (&["gemma4"], PreTokenizer::new(&[r"[^\n]+|[\n]+"]).with_marked_spaces().with_bos()),
];

impl PreTokenizer {
    const fn new(patterns: &'static [&'static str]) -> Self {
        Self {
            patterns,
            patterns_of_bytes: &[],
            ignore_merges: false,
            add_bos: false,
            marks_spaces: false,
        }
    }

    const fn then_bytes(mut self, patterns: &'static [&'static str]) -> Self {
        self.patterns_of_bytes = patterns;
        self
    }

    const fn with_whole_words(mut self) -> Self {
        self.ignore_merges = true;
        self
    }

    const fn with_bos(mut self) -> Self {
        self.add_bos = true;
        self
    }

    const fn with_marked_spaces(mut self) -> Self {
        self.marks_spaces = true;
        self
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        KNOWN.iter().find(|(names, _)| names.contains(&name)).map(|(_, known)| *known)
    }

    /// Returns the name of the rule that cuts with each of `patterns` in turn, one of which is
    /// [`BYTES`].
    pub(super) fn name_of(patterns: &[String], ignore_merges: bool) -> Option<&'static str> {
        let is_it = |known: &Self| {
            let of_known = known.patterns.iter().chain([&BYTES]).chain(known.patterns_of_bytes);
            of_known.copied().eq(patterns.iter().map(String::as_str))
                && known.ignore_merges == ignore_merges
                && !known.marks_spaces
        };
        let (names, _) = KNOWN.iter().find(|(_, known)| is_it(known))?;
        names.first().copied()
    }

    /// Returns whether every character of every text is part of some match of `pattern`, which is so
    /// for all patterns that cut text into words by themselves.
    pub(super) fn covers_all_text(pattern: &str) -> bool {
        KNOWN.iter().any(|(_, known)| *known.patterns == [pattern])
    }

    pub(super) fn known_names() -> String {
        KNOWN.map(|(names, _)| names.join(", ")).join(", ")
    }

    pub(super) fn build(self) -> tokenizers::Result<Sequence> {
        let cut = |pattern: &&str| {
            let pattern = SplitPattern::Regex((*pattern).to_owned());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map(PreTokenizerWrapper::from)
        };
        let mut steps: Vec<_> = self.patterns.iter().map(cut).collect::<Result<_, _>>()?;
        if !self.marks_spaces {
            steps.push(ByteLevel::new(false, false, false).into());
        }
        for pattern in self.patterns_of_bytes {
            steps.push(cut(pattern)?);
        }
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
    fn a_pattern_alone_leaves_no_text_out() {
        let all: String = (0..=0x2_FFFF).filter_map(char::from_u32).collect();
        let texts = [all, " \t\r\n a1'ſ's\u{301}\u{300}".repeat(9), "\r \n\r'LL\u{0}½".into()];
        let alone = KNOWN.iter().filter(|(_, known)| known.patterns.len() == 1);
        for pattern in alone.map(|(_, known)| known.patterns[0]) {
            assert!(PreTokenizer::covers_all_text(pattern));
            let regex = SplitPattern::Regex(pattern.to_owned());
            let matches = Split::new(regex, SplitDelimiterBehavior::Removed, true).unwrap();
            for text in &texts {
                let mut words = PreTokenizedString::from(text.as_str());
                matches.pre_tokenize(&mut words).unwrap();
                let kept: String = words
                    .get_splits(OffsetReferential::Original, OffsetType::Byte)
                    .into_iter()
                    .map(|(word, ..)| word)
                    .collect();
                assert!(kept == *text, "{pattern}");
            }
        }
        assert!(!PreTokenizer::covers_all_text(DIGIT));
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
