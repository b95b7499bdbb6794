//! The tokenizer of an embedder, from its `tokenizer.json`.
//!
//! The `tokenizers` library believes what such a file says, up to a crash: a template may name tokens
//! that are not there, a table of characters point outside of itself, a text be doubled thirty
//! times. So the file is read here, within bounds; the library gets single steps that were looked at,
//! and what it would make of all the file is made here where that is simple: the special tokens
//! around a text, and its end where it is too long.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeOwned, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;
use tokenizers::normalizers::Precompiled;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizedString, Normalizer, NormalizerWrapper,
    PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl, TruncationParams,
};

use super::pieces::{Pieces, Scores, Words};
use crate::json::{ShortList, ShortMap, SmallValue};
use crate::tokenizer::{Patterns, PlainMerges, plain_merges};

/// The most tokens; real tokenizers have up to 502,000.
pub(super) const MAX_TOKENS: usize = 1 << 20;
/// Their length in all, in bytes; real ones have up to some five million.
const MAX_VOCABULARY_BYTES: usize = 16 << 20;
/// The most tokens of a vocabulary with merges, which takes more memory than others; real embedders
/// of that kind have some 50,000.
const MAX_MERGED_TOKENS: usize = 1 << 17;
/// The most tokens beside those of the model, and their length in all, in bytes; real ones have five.
const MAX_ADDED_TOKENS: usize = 1 << 12;
const MAX_ADDED_BYTES: usize = 1 << 16;
/// The most steps of normalising, or of cutting into words; model2vec writes one for each
/// punctuation mark.
const MAX_STEPS: usize = 128;
/// The most tokens that are put around a text.
const MAX_AROUND: usize = 64;
/// The longest text that one character is replaced by, in bytes.
const MAX_REPLACEMENT_BYTES: usize = 256;
/// The largest table of characters, in bytes; those of SentencePiece have some 250,000.
const MAX_TABLE_BYTES: usize = 1 << 20;
/// How much longer than it was, and besides, a text may become before it is cut, in bytes.
const MAX_GROWTH: usize = 16;
const MAX_GROWTH_BYTES: usize = 1 << 12;

/// Cuts texts into tokens.
pub(super) struct EmbedderTokenizer {
    cutter: Cutter,
    /// What stands before and behind every text.
    around: Around,
    /// Stands for what the tokenizer does not know.
    unknown: Option<u32>,
}

type Cutter =
    TokenizerImpl<Words, Steps, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// `tokenizer.json` without its vocabulary.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    added_tokens: Option<ShortList<Added, MAX_ADDED_TOKENS>>,
    normalizer: Option<SmallValue>,
    pre_tokenizer: Option<SmallValue>,
    post_processor: Option<SmallValue>,
    model: ModelHead,
}

#[derive(Deserialize)]
struct Added {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

/// What a model has besides its vocabulary tells, in files that do not say it, what kind it is of.
#[derive(Deserialize)]
struct ModelHead {
    #[serde(rename = "type")]
    kind: Option<String>,
    merges: Option<IgnoredAny>,
    max_input_chars_per_word: Option<IgnoredAny>,
    unk_token: Option<String>,
    unk_id: Option<u32>,
}

#[derive(Deserialize)]
struct Body<M> {
    model: M,
}

#[derive(Deserialize)]
struct WordPieceModel {
    vocab: NumberedPieces,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    max_input_chars_per_word: Option<usize>,
}

#[derive(Deserialize)]
struct WordLevelModel {
    vocab: NumberedPieces,
    unk_token: Option<String>,
}

#[derive(Deserialize)]
struct UnigramModel {
    vocab: ScoredPieces,
    unk_id: Option<u32>,
    #[serde(default)]
    byte_fallback: bool,
}

/// Names with numbers: `{"a": 0}`
struct NumberedPieces(Pieces);

/// Names with scores, their places being their numbers: `[["a", -1.5]]`
struct ScoredPieces(Pieces, Vec<f64>);

impl<'de> Deserialize<'de> for NumberedPieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor;

        impl<'de> Visitor<'de> for MapVisitor {
            type Value = NumberedPieces;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tokens with their numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut pieces, mut n_tokens) = (Pieces::default(), 0);
                while let Some((text, id)) = map.next_entry::<String, u32>()? {
                    if n_tokens == MAX_TOKENS || pieces.n_bytes() > MAX_VOCABULARY_BYTES {
                        return Err(A::Error::custom("more or longer tokens than any model has"));
                    }
                    pieces.add(&text, id);
                    n_tokens += 1;
                }
                pieces.sort();
                Ok(NumberedPieces(pieces))
            }
        }

        deserializer.deserialize_map(MapVisitor)
    }
}

impl<'de> Deserialize<'de> for ScoredPieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;

        impl<'de> Visitor<'de> for ListVisitor {
            type Value = ScoredPieces;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tokens with their scores")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let (mut pieces, mut scores) = (Pieces::default(), Vec::new());
                while let Some((text, score)) = list.next_element::<(String, f64)>()? {
                    if scores.len() == MAX_TOKENS || pieces.n_bytes() > MAX_VOCABULARY_BYTES {
                        return Err(A::Error::custom("more or longer tokens than any model has"));
                    }
                    pieces.add(&text, scores.len() as u32);
                    scores.push(score);
                }
                pieces.sort();
                Ok(ScoredPieces(pieces, scores))
            }
        }

        deserializer.deserialize_seq(ListVisitor)
    }
}

impl EmbedderTokenizer {
    /// Reads `bytes`, the file, for a model that knows `n_known` tokens, and that wants what the file
    /// puts around a text if `has_around`. What is wrong is said as the rest of a sentence about the file.
    pub(super) fn read(bytes: &[u8], n_known: usize, has_around: bool) -> Result<Self, String> {
        let Head { added_tokens, normalizer, pre_tokenizer, post_processor, model } =
            serde_json::from_slice(bytes).map_err(damaged)?;
        let (words, last_id) = read_words(bytes, &model)?;
        let mut cutter = Cutter::new(words);
        let steps = Steps::read(normalizer.as_ref().map(|step| &step.0))?;
        cutter.with_normalizer(Some(steps)).map_err(|error| error.to_string())?;
        cutter.with_pre_tokenizer(read_pre_tokenizer(pre_tokenizer.as_ref().map(|step| &step.0))?);
        let added_tokens = added_tokens.unwrap_or_default().0;
        let n_bytes: usize = added_tokens.iter().map(|token| token.content.len()).sum();
        if n_bytes > MAX_ADDED_BYTES {
            return Err(format!("adds tokens of {n_bytes} bytes"));
        }
        let added = added_tokens.into_iter().map(|token| AddedToken {
            normalized: token.normalized.unwrap_or(!token.special),
            content: token.content,
            single_word: token.single_word,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
            special: token.special,
        });
        cutter.add_tokens(added).map_err(|error| format!("adds impossible tokens: {error}"))?;
        let post_processor = post_processor.as_ref().filter(|_| has_around);
        let around = Around::read(post_processor.map(|step| &step.0))?;
        let last_id = cutter
            .get_added_vocabulary()
            .get_added_tokens_decoder()
            .keys()
            .chain(&around.before)
            .chain(&around.behind)
            .copied()
            .chain(last_id)
            .max();
        if let Some(last) = last_id.filter(|last| *last as usize >= n_known) {
            return Err(format!("has a token {last}, and the model knows {n_known}"));
        }
        let unknown = match model.unk_token {
            Some(name) => cutter.token_to_id(&name),
            None => model.unk_id,
        };
        Ok(Self { cutter, around, unknown })
    }

    /// Leaves room for `max_tokens` in all, and cuts longer texts.
    pub(super) fn with_limit(mut self, max_tokens: Option<usize>) -> Result<Self, String> {
        let Some(max_tokens) = max_tokens else { return Ok(self) };
        let n_around = self.around.before.len() + self.around.behind.len();
        let room = max_tokens.checked_sub(n_around).filter(|room| *room > 0);
        let max_length = room.ok_or_else(|| {
            format!("puts {n_around} tokens around a text, and {max_tokens} is all there may be")
        })?;
        let truncation = TruncationParams { max_length, ..TruncationParams::default() };
        self.cutter.with_truncation(Some(truncation)).map_err(|error| error.to_string())?;
        Ok(self)
    }

    /// Returns the token that stands for what the tokenizer does not know.
    pub(super) fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// Returns the tokens of `text`.
    pub(super) fn encode(&self, text: String) -> tokenizers::Result<Vec<u32>> {
        let encoding = self.cutter.encode_fast(text, false)?;
        Ok([self.around.before.as_slice(), encoding.get_ids(), &self.around.behind].concat())
    }
}

/// Reads how words become tokens, and the highest number of these.
fn read_words(bytes: &[u8], head: &ModelHead) -> Result<(Words, Option<u32>), String> {
    let guessed = match head {
        ModelHead { merges: Some(_), .. } => "BPE",
        ModelHead { max_input_chars_per_word: Some(_), .. } => "WordPiece",
        ModelHead { unk_token: Some(_), .. } => "WordLevel",
        _ => "Unigram",
    };
    match head.kind.as_deref().unwrap_or(guessed) {
        "WordPiece" => {
            let model: WordPieceModel = parse_model(bytes)?;
            let last_id = model.vocab.0.last_id();
            let words = Words::Longest {
                pieces: model.vocab.0,
                unknown: model.unk_token.unwrap_or_else(|| "[UNK]".into()),
                continuing: model.continuing_subword_prefix.unwrap_or_else(|| "##".into()),
                max_word_chars: model.max_input_chars_per_word.unwrap_or(100),
            };
            Ok((words, last_id))
        }
        "WordLevel" => {
            let model: WordLevelModel = parse_model(bytes)?;
            let last_id = model.vocab.0.last_id();
            let unknown = model.unk_token.unwrap_or_else(|| "<unk>".into());
            Ok((Words::Whole { pieces: model.vocab.0, unknown }, last_id))
        }
        "Unigram" => {
            let UnigramModel { vocab: ScoredPieces(pieces, scores), unk_id, byte_fallback } =
                parse_model(bytes)?;
            if unk_id.is_some_and(|id| id as usize >= scores.len()) {
                return Err("names an unknown token that is not there".into());
            }
            let last_id = pieces.last_id();
            let scores = Scores::new(scores);
            Ok((Words::Likeliest { pieces, scores, unknown: unk_id, byte_fallback }, last_id))
        }
        "BPE" => {
            let PlainMerges { bpe, n_tokens, last_id } =
                plain_merges::<MAX_MERGED_TOKENS, MAX_MERGED_TOKENS>(bytes)
                    .map_err(|error| format!("is not a tokenizer: {error}"))?;
            Ok((Words::Merges { bpe: Box::new(bpe), n_tokens }, last_id))
        }
        other => Err(format!("has a model of the kind \"{other}\", which is not supported")),
    }
}

fn parse_model<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, String> {
    serde_json::from_slice::<Body<M>>(bytes).map(|body| body.model).map_err(damaged)
}

fn damaged(error: serde_json::Error) -> String {
    format!("is not a tokenizer: {error}")
}

/// What is done to a text before it is cut into words.
struct Steps(Vec<NormalizerWrapper>);

impl Steps {
    fn read(step: Option<&Value>) -> Result<Self, String> {
        let mut steps = Self(Vec::new());
        steps.add(step, &mut Patterns::default())?;
        Ok(steps)
    }

    fn add(&mut self, step: Option<&Value>, patterns: &mut Patterns) -> Result<(), String> {
        let Some(step) = step.filter(|step| !step.is_null()) else { return Ok(()) };
        let text = |path: &str| step.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let is_short = |text: &str| match text.len() > MAX_REPLACEMENT_BYTES {
            true => Err(format!("puts {} bytes in the place of a character", text.len())),
            false => Ok(()),
        };
        let kind = text("/type");
        match kind {
            "Sequence" => return each(step, "normalizers", |step| self.add(Some(step), patterns)),
            "BertNormalizer" | "Lowercase" | "NFC" | "NFD" | "NFKC" | "NFKD" | "Nmt" | "Strip"
            | "StripAccents" | "ByteLevel" => {}
            "Prepend" => is_short(text("/prepend"))?,
            "Replace" => {
                is_short(text("/content"))?;
                patterns.add(text("/pattern/Regex")).map_err(has_patterns)?;
                patterns.add(text("/pattern/String")).map_err(has_patterns)?;
            }
            "Precompiled" => {
                self.push(read_table(text("/precompiled_charsmap"))?.into())?;
                return Ok(());
            }
            _ => {
                return Err(format!(
                    "asks for the change \"{kind}\" of all text, which is not supported"
                ));
            }
        }
        self.push(typed(step)?)
    }

    fn push(&mut self, step: NormalizerWrapper) -> Result<(), String> {
        if self.0.len() == MAX_STEPS {
            return Err("asks for more steps than any known tokenizer".into());
        }
        self.0.push(step);
        Ok(())
    }
}

impl Normalizer for Steps {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        let most = text.get().len().saturating_mul(MAX_GROWTH).saturating_add(MAX_GROWTH_BYTES);
        for step in &self.0 {
            step.normalize(text)?;
            if text.get().len() > most {
                return Err("the tokenizer makes far more of a text than it was".into());
            }
        }
        Ok(())
    }
}

/// Reads how text is cut into words.
fn read_pre_tokenizer(step: Option<&Value>) -> Result<Option<PreTokenizerWrapper>, String> {
    let mut reader = PreTokenizerReader::default();
    reader.check(step)?;
    step.filter(|step| !step.is_null()).map(typed).transpose()
}

#[derive(Default)]
struct PreTokenizerReader {
    n_steps: usize,
    /// Of those that make text longer, each of which is there once at most.
    growing: Vec<String>,
    patterns: Patterns,
}

impl PreTokenizerReader {
    fn check(&mut self, step: Option<&Value>) -> Result<(), String> {
        let Some(step) = step.filter(|step| !step.is_null()) else { return Ok(()) };
        let text = |path: &str| step.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let kind = text("/type");
        self.n_steps += 1;
        if self.n_steps > MAX_STEPS {
            return Err("asks for more steps than any known tokenizer".into());
        }
        match kind {
            "Sequence" => each(step, "pretokenizers", |step| self.check(Some(step))),
            "BertPreTokenizer" | "Whitespace" | "WhitespaceSplit" | "Punctuation" | "Digits"
            | "UnicodeScripts" | "Delimiter" | "CharDelimiterSplit" => Ok(()),
            "ByteLevel" | "Metaspace" => {
                if self.growing.iter().any(|known| known == kind) {
                    return Err(format!("asks for the step \"{kind}\" twice"));
                }
                self.growing.push(kind.to_owned());
                Ok(())
            }
            "Split" => {
                self.patterns.add(text("/pattern/Regex")).map_err(has_patterns)?;
                self.patterns.add(text("/pattern/String")).map_err(has_patterns)
            }
            _ => Err(format!(
                "asks for the rule \"{kind}\" for cutting text into words, which is not supported"
            )),
        }
    }
}

/// Does something with each step of a sequence.
fn each<'v>(
    step: &'v Value,
    key: &str,
    then: impl FnMut(&'v Value) -> Result<(), String>,
) -> Result<(), String> {
    step.get(key).and_then(Value::as_array).into_iter().flatten().try_for_each(then)
}

fn has_patterns(what: String) -> String {
    format!("has {what}, which is not supported")
}

fn typed<T: DeserializeOwned>(step: &Value) -> Result<T, String> {
    serde_json::from_value(step.clone()).map_err(damaged)
}

/// The tokens around a text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Around {
    before: Vec<u32>,
    behind: Vec<u32>,
}

/// A part of a template.
#[derive(Deserialize)]
enum Part {
    SpecialToken { id: String },
    Sequence { id: String },
}

/// A token as templates name it, which may be several.
#[derive(Deserialize)]
struct Named {
    ids: ShortList<u32, MAX_AROUND>,
}

impl Around {
    fn read(step: Option<&Value>) -> Result<Self, String> {
        let mut around = Self::default();
        around.add(step)?;
        if around.before.len() + around.behind.len() > MAX_AROUND {
            return Err("puts more tokens around a text than any known tokenizer".into());
        }
        Ok(around)
    }

    fn add(&mut self, step: Option<&Value>) -> Result<(), String> {
        let Some(step) = step.filter(|step| !step.is_null()) else { return Ok(()) };
        let part = |key: &str| step.get(key).cloned().unwrap_or_default();
        match step.get("type").and_then(Value::as_str).unwrap_or_default() {
            "Sequence" => return each(step, "processors", |step| self.add(Some(step))),
            // It changes places in the text alone.
            "ByteLevel" => {}
            "BertProcessing" | "RobertaProcessing" => {
                let (_, first): (String, u32) = typed(&part("cls"))?;
                let (_, last): (String, u32) = typed(&part("sep"))?;
                self.before.insert(0, first);
                self.behind.push(last);
            }
            "TemplateProcessing" => {
                let parts: ShortList<Part, MAX_AROUND> = typed(&part("single"))?;
                let named: ShortMap<Named, MAX_AROUND> = typed(&part("special_tokens"))?;
                let (mut before, mut behind) = (Vec::new(), Vec::new());
                let mut n_texts = 0;
                for part in parts.0 {
                    match part {
                        Part::Sequence { id } if id == "A" => n_texts += 1,
                        Part::Sequence { .. } => return Err("asks for a second text".into()),
                        Part::SpecialToken { id } => {
                            let ids =
                                named.0.get(&id).ok_or("asks for a token that it does not name")?;
                            let side = if n_texts == 0 { &mut before } else { &mut behind };
                            side.extend(&ids.ids.0);
                        }
                    }
                }
                if n_texts != 1 {
                    return Err(format!("asks for the text {n_texts} times"));
                }
                before.append(&mut self.before);
                self.before = before;
                self.behind.append(&mut behind);
            }
            other => {
                return Err(format!("asks for the last step \"{other}\", which is not supported"));
            }
        }
        Ok(())
    }
}

/// Reads the table by which SentencePiece replaces characters: a tree in an array, each unit of which
/// leads to a block of 256, and the texts that its leaves point to, each with a zero behind it.
///
/// It is looked at as a whole, because the library follows it wherever it leads.
fn read_table(text: &str) -> Result<Precompiled, String> {
    const BLOCK: usize = 256;
    let wrong = || "has a table of characters that is damaged".to_owned();
    let bytes =
        decode_base64(text).filter(|bytes| bytes.len() <= MAX_TABLE_BYTES).ok_or_else(wrong)?;
    let (n_bytes, rest) = bytes.split_first_chunk::<4>().ok_or_else(wrong)?;
    let n_bytes = u32::from_le_bytes(*n_bytes) as usize;
    let (units, texts) = rest.split_at_checked(n_bytes).ok_or_else(wrong)?;
    let texts = std::str::from_utf8(texts).map_err(|_| wrong())?;
    if texts.split('\0').any(|text| text.len() > MAX_REPLACEMENT_BYTES) {
        return Err("puts a long text in the place of a character".into());
    }
    let (units, rest) = units.as_chunks::<4>();
    let units: Vec<usize> = units.iter().map(|unit| u32::from_le_bytes(*unit) as usize).collect();
    // Whole blocks: what lies within one block with a unit that is there, is there too.
    if units.is_empty() || !rest.is_empty() || !units.len().is_multiple_of(BLOCK) {
        return Err(wrong());
    }
    let points_to_text = |at: usize| {
        let place = units[at] & ((1 << 31) - 1);
        place < texts.len() && texts.is_char_boundary(place)
    };
    for (at, unit) in units.iter().enumerate() {
        let is_leaf = unit >> 31 == 1;
        let next = at ^ ((unit >> 10) << ((unit & (1 << 9)) >> 6));
        let has_leaf = (unit >> 8) & 1 == 1;
        if !is_leaf && (next >= units.len() || (has_leaf && !points_to_text(next))) {
            return Err(wrong());
        }
    }
    Precompiled::from(&bytes).map_err(|_| wrong())
}

/// Returns the bytes that a text stands for, four letters for three of them.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (groups, rest) = text.as_bytes().as_chunks::<4>();
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    for (index, group) in groups.iter().enumerate() {
        let is_last = index + 1 == groups.len();
        let n_letters = 4 - group.iter().rev().take_while(|letter| **letter == b'=').count();
        if n_letters < 2 || (n_letters < 4 && !is_last) {
            return None;
        }
        let mut bits = 0_u32;
        for letter in &group[..n_letters] {
            bits = bits << 6 | LETTERS.iter().position(|known| known == letter)? as u32;
        }
        bits <<= 6 * (4 - n_letters);
        bytes.extend_from_slice(&bits.to_be_bytes()[1..n_letters]);
    }
    rest.is_empty().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What the trainer of SentencePiece makes of these rules: `ａ` and `A` become `a`, `™` becomes
    /// `TM`, `ff` becomes `F`, `ﬁ` becomes `fi`.
    const TABLE: &str = include_str!("../../tests/data/embedder/characters.txt");

    fn normalized(step: &Value, text: &str) -> Result<String, String> {
        let mut text = NormalizedString::from(text);
        Steps::read(Some(step))?.normalize(&mut text).map_err(|error| error.to_string())?;
        Ok(text.get().to_owned())
    }

    #[test]
    fn a_table_of_characters_is_followed() {
        let step = json!({"type": "Precompiled", "precompiled_charsmap": TABLE});
        assert_eq!(normalized(&step, "ａ™ bAﬁx").unwrap(), "aTM bafix");
        assert!(read_table(&TABLE[..TABLE.len() - 4]).is_err(), "the last text is cut");
        assert!(read_table(&format!("{TABLE}=")).is_err());
    }

    #[test]
    fn no_text_is_made_many_times_longer() {
        let doubled = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        let steps = |n| json!({"type": "Sequence", "normalizers": vec![&doubled; n]});
        assert_eq!(normalized(&steps(3), "ab").unwrap(), "aaaaaaaab");
        let error = normalized(&steps(40), "ab").unwrap_err();
        assert_eq!(error, "the tokenizer makes far more of a text than it was");
    }

    #[test]
    fn tokens_around_a_text_are_put_together() {
        let template = json!({"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "a", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "b", "type_id": 0}}],
            "special_tokens": {"a": {"id": "a", "ids": [1, 2]}, "b": {"id": "b", "ids": [3]}}});
        let roberta = json!({"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 9]});
        let both =
            json!({"type": "Sequence", "processors": [roberta, {"type": "ByteLevel"}, template]});
        let around = Around::read(Some(&both)).unwrap();
        assert_eq!(around, Around { before: vec![1, 2, 0], behind: vec![9, 3] });
        assert_eq!(Around::read(Some(&Value::Null)), Ok(Around::default()));
    }

    #[test]
    fn base64_is_read_back() {
        let read = |text| decode_base64(text).map(|bytes| String::from_utf8(bytes).unwrap());
        for (text, expected) in
            [("", ""), ("YQ==", "a"), ("YWI=", "ab"), ("YWJj", "abc"), ("fn5+YQ==", "~~~a")]
        {
            assert_eq!(read(text).as_deref(), Some(expected));
        }
        for wrong in ["Y", "YQ", "YQ=", "====", "Y===", "YQ==YQ==", "Y!==", "YW=j"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
