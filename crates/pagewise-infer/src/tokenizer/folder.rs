//! The tokenizer in a folder as the Hugging Face hub has them: `tokenizer.json`, and what the other
//! files of the folder say about special tokens.
//!
//! What is read is followed exactly or refused. Two things differ from the `tokenizers` library on
//! purpose: control tokens are not seen in content, and all special tokens are looked for in the
//! text as it is, also those for which the file says `normalized`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use thiserror::Error;
use tokenizers::PreTokenizerWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::encoder::{Encoder, Form, Model, Prefix};
use super::merges::{self, MAX_MERGES, MergeOptions};
use super::pre_tokenizer::{BYTES, DIGIT, GPT_2, PreTokenizer};
use super::special::Strip;
use super::spelling::{SPACE_MARK, Spelling, byte_of_name};
use super::{Kind, MAX_TOKENS, Parts, Specials, TokenizerError, check_room};
use crate::brief::brief;
use crate::json::{self, ShortList, ShortMap, SmallValue, short_list};

/// The largest `tokenizer.json`, in bytes; real ones have up to 35 million.
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;
/// The largest of the other files, in bytes; real ones have up to 1.2 million.
const MAX_CONFIG_BYTES: u64 = 8 << 20;
/// The most tokens beside those of the model; real ones have up to 6,500.
const MAX_ADDED_TOKENS: usize = 1 << 16;
/// The most tokens that end a turn; real ones have up to 5.
const MAX_ENDS: usize = 1 << 10;
/// The most chat templates of a model; real ones have up to 3.
const MAX_TEMPLATES: usize = 64;
/// The most numbers without a token that a small vocabulary may have.
const MAX_UNUSED: usize = 4096;
/// The most steps of normalising, or of cutting into words; real files have up to six.
const MAX_STEPS: usize = 16;
/// The most bytes of all patterns together; real ones have up to 1,200.
const MAX_PATTERN_BYTES: usize = 4 << 10;
/// How often all patterns together may have a part repeated; real ones say `{1,3}`. The engine writes
/// a repetition out, and one of all letters a thousand times takes 10 MB and a second.
const MAX_REPETITIONS: usize = 100;

/// A file of the folder cannot be used.
#[derive(Debug, Error)]
#[error("{file} {}", brief(reason))]
pub struct FolderError {
    /// The name of the file.
    pub file: &'static str,
    /// What is wrong, as the rest of a sentence about the file.
    pub reason: String,
}

/// Returns what is in `file`, or `None` if it is not there.
pub(crate) fn read(
    folder: &Path,
    file: &'static str,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, FolderError> {
    let unreadable =
        |error: std::io::Error| FolderError { file, reason: format!("cannot be read: {error}") };
    match json::read_file(&folder.join(file), max_bytes) {
        Ok(Some(bytes)) => Ok(Some(bytes)),
        Ok(None) => {
            let reason = format!("is larger than the {max_bytes} bytes that are allowed");
            Err(FolderError { file, reason })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}

fn parse<T: DeserializeOwned>(file: &'static str, bytes: &[u8]) -> Result<T, FolderError> {
    serde_json::from_slice(bytes)
        .map_err(|error| FolderError { file, reason: format!("is damaged: {error}") })
}

fn read_config<T: DeserializeOwned>(
    folder: &Path,
    file: &'static str,
) -> Result<Option<T>, FolderError> {
    read(folder, file, MAX_CONFIG_BYTES)?.map(|bytes| parse(file, &bytes)).transpose()
}

/// Returns the chat template of the model in `folder`, if it has one.
pub(crate) fn chat_template(folder: &Path) -> Result<Option<String>, FolderError> {
    #[derive(Deserialize)]
    struct Config {
        chat_template: Option<Templates>,
    }
    const FILE: &str = "chat_template.jinja";

    if let Some(bytes) = read(folder, FILE, MAX_CONFIG_BYTES)? {
        let not_text = |_| FolderError { file: FILE, reason: "is not UTF-8 text".into() };
        return String::from_utf8(bytes).map(Some).map_err(not_text);
    }
    for file in ["chat_template.json", "tokenizer_config.json"] {
        let config: Option<Config> = read_config(folder, file)?;
        match config.and_then(|config| config.chat_template) {
            Some(Templates::One(template)) => return Ok(Some(template)),
            Some(Templates::Named(templates)) => {
                let default = templates.iter().position(|named| named.name == "default");
                let chosen = templates.into_iter().nth(default.unwrap_or(0));
                return Ok(chosen.map(|named| named.template));
            }
            None => {}
        }
    }
    Ok(None)
}

/// The chat template, or several by their names.
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

/// `tokenizer.json` without its model.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    added_tokens: ShortList<AddedToken, MAX_ADDED_TOKENS>,
    normalizer: Option<SmallValue>,
    pre_tokenizer: Option<SmallValue>,
    post_processor: Option<SmallValue>,
    model: ModelHead,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
}

#[derive(Deserialize)]
struct ModelHead {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Option<Counted>,
    merges: Option<Counted>,
}

/// How many parts a list or an object has.
#[derive(Default, Clone, Copy)]
struct Counted(usize);

#[derive(Deserialize)]
struct Body<const TOKENS: usize, const MERGES: usize> {
    model: Bpe<TOKENS, MERGES>,
}

#[derive(Deserialize)]
struct Bpe<const TOKENS: usize, const MERGES: usize> {
    vocab: ShortMap<u32, TOKENS>,
    merges: ShortList<Merge, MERGES>,
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

/// A merge as older and as newer versions write it.
enum Merge {
    Text(String),
    Pair(String, String),
}

/// What `tokenizer_config.json` and `special_tokens_map.json` say.
#[derive(Deserialize, Default)]
struct Names {
    bos_token: Option<Name>,
    eos_token: Option<Name>,
    add_bos_token: Option<bool>,
}

/// The name of a token, or the token with its name.
struct Name(String);

/// What `generation_config.json` and `config.json` say.
#[derive(Deserialize, Default)]
struct Ids {
    bos_token_id: Option<OneOrMany>,
    eos_token_id: Option<OneOrMany>,
    /// Where models that also see images have what is said of text.
    text_config: Option<Box<Ids>>,
}

/// An id, or a list of them.
struct OneOrMany(Vec<i64>);

impl OneOrMany {
    /// Returns the ids; negative ones mean that there is none.
    fn ids(list: Option<&Self>) -> Vec<u32> {
        list.iter().flat_map(|list| &list.0).filter_map(|id| u32::try_from(*id).ok()).collect()
    }
}

/// Reads what is written in one of two ways without keeping it until it is known which one it is.
macro_rules! either {
    ($name:ident: $wanted:literal, $($visit:item)*) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct EitherVisitor;

                impl<'de> Visitor<'de> for EitherVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($wanted)
                    }

                    $($visit)*
                }

                deserializer.deserialize_any(EitherVisitor)
            }
        }
    };
}

either! { Templates: "a template or a list of them",
    fn visit_str<E>(self, template: &str) -> Result<Templates, E> {
        Ok(Templates::One(template.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Templates, A::Error> {
        short_list(list, MAX_TEMPLATES).map(Templates::Named)
    }
}

either! { Merge: "a merge",
    fn visit_str<E>(self, merge: &str) -> Result<Merge, E> {
        Ok(Merge::Text(merge.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Merge, A::Error> {
        use serde::de::Error as _;

        let mut next = || pair.next_element()?.ok_or_else(|| A::Error::custom("a merge of fewer than two"));
        let merge = Merge::Pair(next()?, next()?);
        match pair.next_element::<IgnoredAny>()? {
            None => Ok(merge),
            Some(_) => Err(A::Error::custom("a merge of more than two")),
        }
    }
}

either! { Counted: "a list or an object",
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Counted, A::Error> {
        let mut counted = Counted(0);
        while list.next_element::<IgnoredAny>()?.is_some() {
            counted.0 += 1;
        }
        Ok(counted)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counted, A::Error> {
        let mut counted = Counted(0);
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            counted.0 += 1;
        }
        Ok(counted)
    }
}

either! { Name: "the name of a token",
    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(Name(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, token: A) -> Result<Name, A::Error> {
        #[derive(Deserialize)]
        struct Token {
            content: String,
        }
        Token::deserialize(MapAccessDeserializer::new(token)).map(|token| Name(token.content))
    }
}

either! { OneOrMany: "an id or a list of them",
    fn visit_u64<E: serde::de::Error>(self, id: u64) -> Result<OneOrMany, E> {
        i64::try_from(id).map(|id| OneOrMany(vec![id])).map_err(E::custom)
    }

    fn visit_i64<E>(self, id: i64) -> Result<OneOrMany, E> {
        Ok(OneOrMany(vec![id]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<OneOrMany, A::Error> {
        short_list(list, MAX_ENDS).map(OneOrMany)
    }
}

pub(super) fn parts(folder: &Path) -> Result<Parts, TokenizerError> {
    const FILE: &str = "tokenizer.json";
    let bytes = read(folder, FILE, MAX_TOKENIZER_BYTES)?
        .ok_or_else(|| FolderError { file: FILE, reason: "is not in the folder".into() })?;
    let head: Head = parse(FILE, &bytes)?;
    let kind = head.model.kind.as_deref();
    let kind = kind.unwrap_or(if head.model.merges.is_some() { "BPE" } else { "no kind" });
    if kind != "BPE" {
        return unsupported(format!("a model of the kind \"{kind}\""));
    }
    let counts = [head.model.vocab, head.model.merges].map(|counted| counted.unwrap_or_default().0);
    check_room(counts[0] + head.added_tokens.0.len(), counts[1], bytes_below(folder))?;
    let model = parse::<Body<MAX_TOKENS, MAX_MERGES>>(FILE, &bytes)?.model;
    drop(bytes);
    model.check()?;

    let mut steps = Steps::default();
    steps.read_normalizer(head.normalizer.as_ref().map(|step| &step.0))?;
    steps.read_pre_tokenizer(head.pre_tokenizer.as_ref().map(|step| &step.0))?;
    let spelling = match (steps.byte_level, steps.marks_spaces) {
        (true, false) => Spelling::byte_level(),
        (false, true) => Spelling::Marked,
        _ => return unsupported("spaces that are written neither as bytes nor as \"▁\"".into()),
    };

    let (texts, mut kinds) = tokens(&model.vocab.0, &head.added_tokens.0)?;
    if matches!(spelling, Spelling::Marked) {
        for (kind, text) in kinds.iter_mut().zip(&texts) {
            if *kind == Kind::Normal && byte_of_name(text).is_some() {
                *kind = Kind::Byte;
            }
        }
    }
    let specials = specials(folder, head.post_processor.as_ref().map(|step| &step.0), &texts)?;
    let specials = specials.settle(&texts, &mut kinds);

    let mut strips = HashMap::new();
    for token in &head.added_tokens.0 {
        if token.single_word {
            return unsupported(format!("\"{}\" as a word of its own", token.content));
        }
        if token.lstrip || token.rstrip {
            strips.insert(token.id, Strip { left: token.lstrip, right: token.rstrip });
        }
    }
    let options = MergeOptions {
        ignore_merges: model.ignore_merges,
        byte_fallback: model.byte_fallback,
        unknown: model.unk_token.as_ref().and_then(|name| id_of(&texts, name)),
        fuse_unknown: model.fuse_unk,
    };
    let in_model = model.vocab.0.iter().map(|(text, id)| (*id, text.as_str()));
    let in_file = model.merges.0.into_iter().enumerate().map(Merge::parts);
    let bpe = merges::build(in_model, &kinds, in_file, options)?;
    let encoder = Encoder {
        form: steps.form,
        prefix: steps.prefix,
        marks_spaces: steps.marks_spaces,
        words: Some(Sequence::new(steps.words)).filter(|words| !words.as_ref().is_empty()),
        model: Model::Merges(Box::new(bpe)),
    };
    Ok(Parts { texts, kinds, strips, spelling, encoder, specials })
}

/// Returns the size of all files in a folder.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| std::fs::metadata(entry.path()).ok());
    files.filter(|metadata| metadata.is_file()).map(|metadata| metadata.len()).sum()
}

impl<const TOKENS: usize, const MERGES: usize> Bpe<TOKENS, MERGES> {
    fn check(&self) -> Result<(), TokenizerError> {
        let affixes = [&self.continuing_subword_prefix, &self.end_of_word_suffix];
        if affixes.into_iter().flatten().any(|affix| !affix.is_empty()) {
            return unsupported("marks at the start or the end of words".into());
        }
        if self.dropout.is_some_and(|dropout| dropout != 0.0) {
            return unsupported("merges that are left out by chance".into());
        }
        Ok(())
    }
}

impl Merge {
    fn parts((index, merge): (usize, Self)) -> Result<(String, String), TokenizerError> {
        match merge {
            Self::Text(text) => merges::parse(index, &text),
            Self::Pair(first, second) => Ok((first, second)),
        }
    }
}

/// A vocabulary with merges as it stands in a file, every token being text.
pub(crate) struct PlainMerges {
    pub(crate) bpe: BPE,
    pub(crate) n_tokens: usize,
    /// The highest number.
    pub(crate) last_id: Option<u32>,
}

/// Reads the vocabulary with merges of the `tokenizer.json` with these bytes.
pub(crate) fn plain_merges<const TOKENS: usize, const MERGES: usize>(
    bytes: &[u8],
) -> Result<PlainMerges, TokenizerError> {
    let model = parse::<Body<TOKENS, MERGES>>("tokenizer.json", bytes)?.model;
    model.check()?;
    let options = MergeOptions {
        ignore_merges: model.ignore_merges,
        byte_fallback: model.byte_fallback,
        unknown: model.unk_token.and_then(|name| model.vocab.0.get(&name).copied()),
        fuse_unknown: model.fuse_unk,
    };
    let in_model = model.vocab.0.iter().map(|(text, id)| (*id, text.as_str()));
    let in_file = model.merges.0.into_iter().enumerate().map(Merge::parts);
    let bpe = merges::build(in_model, &[], in_file, options)?;
    let last_id = model.vocab.0.values().copied().max();
    Ok(PlainMerges { bpe, n_tokens: model.vocab.0.len(), last_id })
}

/// What else is in `tokenizer.json`, for those who write it in another form.
pub(super) struct Details {
    /// In order.
    pub(super) merges: Vec<(String, String)>,
    pub(super) ignore_merges: bool,
    /// The name of the unknown token.
    pub(super) unknown: Option<String>,
    /// The patterns with which text is cut into words, one after the other, with [`BYTES`] among
    /// them; `None` if it is cut in ways that are no patterns. None at all for white space where that
    /// is marked.
    pub(super) patterns: Option<Vec<String>>,
}

/// Reads what [`parts`] makes of a tokenizer and does not keep; what is wrong with it was found there.
pub(super) fn details(folder: &Path) -> Result<Details, TokenizerError> {
    const FILE: &str = "tokenizer.json";
    let bytes = read(folder, FILE, MAX_TOKENIZER_BYTES)?
        .ok_or_else(|| FolderError { file: FILE, reason: "is not in the folder".into() })?;
    let head: Head = parse(FILE, &bytes)?;
    let model = parse::<Body<MAX_TOKENS, MAX_MERGES>>(FILE, &bytes)?.model;
    let merges = model.merges.0.into_iter().enumerate().map(Merge::parts);
    Ok(Details {
        merges: merges.collect::<Result<_, _>>()?,
        ignore_merges: model.ignore_merges,
        unknown: model.unk_token,
        patterns: patterns(head.pre_tokenizer.as_ref().map(|step| &step.0)),
    })
}

/// Returns the patterns of a step that cuts text into words, and of all steps within it.
fn patterns(step: Option<&Value>) -> Option<Vec<String>> {
    let Some(step) = step.filter(|step| !step.is_null()) else { return Some(Vec::new()) };
    let flag = |key: &str| step.get(key).and_then(Value::as_bool);
    let text = |path: &str| step.pointer(path).and_then(Value::as_str).unwrap_or_default();
    match step.get("type").and_then(Value::as_str)? {
        "Sequence" => {
            let steps = step.get("pretokenizers").and_then(Value::as_array)?;
            let patterns: Option<Vec<_>> = steps.iter().map(|step| patterns(Some(step))).collect();
            Some(patterns?.concat())
        }
        "ByteLevel" => match flag("use_regex") {
            Some(false) => Some(vec![BYTES.to_owned()]),
            _ => Some(vec![GPT_2.to_owned(), BYTES.to_owned()]),
        },
        "Digits" if flag("individual_digits") == Some(true) => Some(vec![DIGIT.to_owned()]),
        // Spaces are marked before, so that there is nothing to cut.
        "Split" if text("/pattern/String") == " " => Some(Vec::new()),
        "Split" if text("/behavior") == "Isolated" && flag("invert") != Some(true) => {
            Some(vec![step.pointer("/pattern/Regex")?.as_str()?.to_owned()])
        }
        "Split" if leaves_out_the_rest(step) => {
            let pattern = step.pointer("/pattern/Regex")?.as_str()?;
            PreTokenizer::covers_all_text(pattern).then(|| vec![pattern.to_owned()])
        }
        _ => None,
    }
}

/// Returns whether a step that splits text keeps what its pattern matches, and nothing else.
fn leaves_out_the_rest(step: &Value) -> bool {
    let is = |key: &str, value: &Value| step.get(key) == Some(value);
    is("behavior", &Value::from("Removed")) && is("invert", &Value::from(true))
}

fn unsupported<T>(what: String) -> Result<T, TokenizerError> {
    Err(TokenizerError::Unsupported { what })
}

pub(super) fn id_of(texts: &[String], name: &str) -> Option<u32> {
    if name.is_empty() {
        return None;
    }
    texts.iter().position(|text| text == name).and_then(|id| u32::try_from(id).ok())
}

/// Returns the names and kinds of all tokens; numbers without a token have none and are unused.
fn tokens(
    vocab: &BTreeMap<String, u32>,
    added: &[AddedToken],
) -> Result<(Vec<String>, Vec<Kind>), TokenizerError> {
    let ids = vocab.values().copied().chain(added.iter().map(|token| token.id));
    let n_tokens = ids.max().map_or(0, |id| id as usize + 1);
    if !(1..=MAX_TOKENS).contains(&n_tokens) {
        let wanted = format!("1 to {MAX_TOKENS}");
        return Err(TokenizerError::Count { what: "tokens", found: n_tokens, wanted });
    }
    let n_named = vocab.len() + added.len();
    if n_tokens > 2 * n_named + MAX_UNUSED {
        let wanted = format!("about {n_named}, as many as have a name");
        return Err(TokenizerError::Count { what: "numbers for tokens", found: n_tokens, wanted });
    }
    let mut texts = vec![String::new(); n_tokens];
    let mut kinds = vec![Kind::Unused; n_tokens];
    let in_vocab = vocab.iter().map(|(text, id)| (text, *id, Kind::Normal));
    let in_list = added.iter().map(|token| {
        let kind = if token.special { Kind::Control } else { Kind::UserDefined };
        (&token.content, token.id, kind)
    });
    for (text, id, kind) in in_vocab.chain(in_list) {
        let (Some(slot), Some(slot_kind)) =
            (texts.get_mut(id as usize), kinds.get_mut(id as usize))
        else {
            continue;
        };
        if !slot.is_empty() && slot != text {
            let mut names = [slot.clone(), text.clone()];
            names.sort();
            let [first, second] = names;
            return Err(TokenizerError::SharedId { first, second, id });
        }
        slot.clone_from(text);
        *slot_kind = kind;
    }
    Ok((texts, kinds))
}

/// Finds out what begins and ends texts, from all the files that may say so.
fn specials(
    folder: &Path,
    post_processor: Option<&Value>,
    texts: &[String],
) -> Result<Specials, TokenizerError> {
    let config: Names = read_config(folder, "tokenizer_config.json")?.unwrap_or_default();
    let map: Names = read_config(folder, "special_tokens_map.json")?.unwrap_or_default();
    let generation: Ids = read_config(folder, "generation_config.json")?.unwrap_or_default();
    let model: Ids = read_config(folder, "config.json")?.unwrap_or_default();
    let of_text = model.text_config.as_deref();

    let named = |name: Option<&Name>| name.and_then(|name| id_of(texts, &name.0));
    let n_tokens = texts.len();
    let checked = |key, ids: Vec<u32>| match ids.iter().find(|id| **id as usize >= n_tokens) {
        Some(id) => Err(TokenizerError::TokenId { key, id: *id, n_tokens }),
        None => Ok(ids),
    };
    let mut bos_ids = OneOrMany::ids(generation.bos_token_id.as_ref());
    bos_ids.extend(OneOrMany::ids(model.bos_token_id.as_ref()));
    let first = first_of_template(post_processor, texts);
    let bos = named(config.bos_token.as_ref())
        .or(named(map.bos_token.as_ref()))
        .or(first)
        .or(checked("bos_token_id", bos_ids)?.first().copied());
    let mut eos_ids = OneOrMany::ids(generation.eos_token_id.as_ref());
    eos_ids.extend(OneOrMany::ids(model.eos_token_id.as_ref()));
    eos_ids.extend(of_text.iter().flat_map(|text| OneOrMany::ids(text.eos_token_id.as_ref())));
    let mut turn_ends = checked("eos_token_id", eos_ids)?;
    let eos = named(config.eos_token.as_ref())
        .or(named(map.eos_token.as_ref()))
        .or(turn_ends.first().copied());
    turn_ends.extend(eos);
    let add_bos = config.add_bos_token.unwrap_or(first.is_some() && first == bos);
    Ok(Specials { bos, eos, turn_ends, add_bos })
}

/// Returns the token that the post-processor puts before a text.
fn first_of_template(post_processor: Option<&Value>, texts: &[String]) -> Option<u32> {
    let processor = post_processor?;
    match processor.get("type")?.as_str()? {
        "Sequence" => processor
            .get("processors")?
            .as_array()?
            .iter()
            .find_map(|processor| first_of_template(Some(processor), texts)),
        "TemplateProcessing" => {
            let name = processor.pointer("/single/0/SpecialToken/id")?.as_str()?;
            id_of(texts, name)
        }
        _ => None,
    }
}

/// What `normalizer` and `pre_tokenizer` come to.
#[derive(Default)]
struct Steps {
    n_read: usize,
    form: Option<Form>,
    prefix: Option<Prefix>,
    marks_spaces: bool,
    byte_level: bool,
    words: Vec<PreTokenizerWrapper>,
    patterns: Patterns,
}

/// The patterns of a file so far, which are looked at before they are compiled.
pub(crate) struct Patterns {
    /// The length of all.
    n_bytes: usize,
    /// How often they repeat a part, at most.
    n_repetitions: usize,
}

#[derive(Deserialize)]
struct ByteLevelStep {
    #[serde(default)]
    add_prefix_space: bool,
    #[serde(default = "yes")]
    use_regex: bool,
}

#[derive(Deserialize)]
struct MetaspaceStep {
    replacement: char,
    add_prefix_space: Option<bool>,
    prepend_scheme: Option<PrependScheme>,
    #[serde(default = "yes")]
    split: bool,
}

fn yes() -> bool {
    true
}

impl Default for Patterns {
    fn default() -> Self {
        Self { n_bytes: 0, n_repetitions: 1 }
    }
}

impl Patterns {
    /// Takes in the next; what is too much about all of them is said.
    pub(crate) fn add(&mut self, pattern: &str) -> Result<(), String> {
        self.n_bytes += pattern.len();
        if self.n_bytes > MAX_PATTERN_BYTES {
            return Err(format!("patterns of {} bytes", self.n_bytes));
        }
        self.n_repetitions = self.n_repetitions.saturating_mul(repetitions(pattern));
        if self.n_repetitions > MAX_REPETITIONS {
            return Err("patterns that repeat a part too often".into());
        }
        Ok(())
    }
}

/// Returns how often `pattern` may have a part repeated, as if all counts were within each other.
fn repetitions(pattern: &str) -> usize {
    let braces = pattern.match_indices('{').filter_map(|(at, _)| {
        let (before, rest) = (pattern.get(..at)?, pattern.get(at + 1..)?);
        // `\x{3000}` is a character.
        let name = before.strip_suffix(['x', 'u', 'U']).unwrap_or_default();
        let is_character = (name.len() - name.trim_end_matches('\\').len()) % 2 == 1;
        rest.split_once('}').filter(|_| !is_character)
    });
    braces
        .flat_map(|(counts, _)| counts.split(','))
        .filter_map(|count| count.trim().parse().ok())
        .filter(|count| *count > 1)
        .fold(1, |product: usize, count: usize| product.saturating_mul(count))
}

impl Steps {
    fn read_normalizer(&mut self, step: Option<&Value>) -> Result<(), TokenizerError> {
        let Some(step) = step.filter(|step| !step.is_null()) else { return Ok(()) };
        let kind = self.kind(step)?;
        let text = |path: &str| step.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let mark = SPACE_MARK.to_string();
        let form = match kind {
            "Sequence" => {
                let steps = step.get("normalizers").and_then(Value::as_array);
                return steps
                    .into_iter()
                    .flatten()
                    .try_for_each(|step| self.read_normalizer(Some(step)));
            }
            "Prepend" if text("/prepend") == mark => {
                self.prefix = Some(Prefix { only_at_start: false, doubles: true });
                return Ok(());
            }
            "Replace" if text("/pattern/String") == " " && text("/content") == mark => {
                self.marks_spaces = true;
                return Ok(());
            }
            "NFC" => Form::Nfc,
            "NFD" => Form::Nfd,
            "NFKC" => Form::Nfkc,
            "NFKD" => Form::Nfkd,
            _ => return unsupported(format!("the change \"{kind}\" of all text")),
        };
        if self.form.replace(form).is_some_and(|other| other != form) {
            return unsupported("two forms of Unicode".into());
        }
        Ok(())
    }

    fn read_pre_tokenizer(&mut self, step: Option<&Value>) -> Result<(), TokenizerError> {
        let Some(step) = step.filter(|step| !step.is_null()) else { return Ok(()) };
        let kind = self.kind(step)?;
        match kind {
            "Sequence" => {
                let steps = step.get("pretokenizers").and_then(Value::as_array);
                return steps
                    .into_iter()
                    .flatten()
                    .try_for_each(|step| self.read_pre_tokenizer(Some(step)));
            }
            "ByteLevel" => {
                let parsed: ByteLevelStep = typed(step)?;
                if parsed.add_prefix_space {
                    if !self.words.is_empty() {
                        return unsupported("a space before every word".into());
                    }
                    self.prefix = Some(Prefix { only_at_start: false, doubles: false });
                }
                self.byte_level = true;
                self.words.push(ByteLevel::new(false, false, parsed.use_regex).into());
            }
            "Metaspace" => {
                let parsed: MetaspaceStep = typed(step)?;
                if parsed.replacement != SPACE_MARK || !self.words.is_empty() {
                    return unsupported("spaces that are marked otherwise than by \"▁\"".into());
                }
                let scheme = match (parsed.prepend_scheme, parsed.add_prefix_space) {
                    (None | Some(PrependScheme::Never), Some(false)) => PrependScheme::Never,
                    (scheme, None | Some(true)) => scheme.unwrap_or(PrependScheme::Always),
                    _ => return unsupported("a space before texts, and none".into()),
                };
                self.prefix = match scheme {
                    PrependScheme::Never => self.prefix,
                    PrependScheme::First => Some(Prefix { only_at_start: true, doubles: false }),
                    PrependScheme::Always => Some(Prefix { only_at_start: false, doubles: false }),
                };
                self.marks_spaces = true;
                if parsed.split {
                    let split = Metaspace::new(SPACE_MARK, PrependScheme::Never, true);
                    self.words.push(split.into());
                }
            }
            "Split" => {
                let pattern = ["/pattern/Regex", "/pattern/String"]
                    .iter()
                    .find_map(|path| step.pointer(path).and_then(Value::as_str))
                    .unwrap_or_default();
                self.patterns.add(pattern).or_else(unsupported)?;
                let mut split: Split = typed(step)?;
                let empty = match &split.pattern {
                    SplitPattern::String(text) | SplitPattern::Regex(text) => text.is_empty(),
                };
                // Written as what is left out between the words, and there is nothing between them.
                if leaves_out_the_rest(step) && PreTokenizer::covers_all_text(pattern) {
                    split = Split::new(split.pattern, SplitDelimiterBehavior::Isolated, false)?;
                }
                if empty || split.behavior == SplitDelimiterBehavior::Removed {
                    return unsupported("words with text left out between them".into());
                }
                self.words.push(split.into());
            }
            "Digits" => self.words.push(typed::<Digits>(step)?.into()),
            "Punctuation" => {
                if step.get("behavior").and_then(Value::as_str) == Some("Removed") {
                    return unsupported("words with text left out between them".into());
                }
                self.words.push(typed::<Punctuation>(step)?.into());
            }
            _ => return unsupported(format!("the rule \"{kind}\" for cutting text into words")),
        }
        Ok(())
    }

    fn kind<'v>(&mut self, step: &'v Value) -> Result<&'v str, TokenizerError> {
        self.n_read += 1;
        if self.n_read > 2 * MAX_STEPS {
            return unsupported("more steps than any known model has".into());
        }
        Ok(step.get("type").and_then(Value::as_str).unwrap_or_default())
    }
}

fn typed<T: DeserializeOwned>(step: &Value) -> Result<T, TokenizerError> {
    let damaged = |error: serde_json::Error| FolderError {
        file: "tokenizer.json",
        reason: format!("is damaged: {error}"),
    };
    Ok(serde_json::from_value(step.clone()).map_err(damaged)?)
}

#[cfg(test)]
mod tests {
    use super::repetitions;

    #[test]
    fn what_a_pattern_repeats_is_counted() {
        for (pattern, expected) in [
            ("", 1),
            (r"\p{N}{1,3}|\p{L}+", 3),
            (r"[\x{3000}-\u{3040}]{2}", 2),
            (r"\\x{3000}", 3000),
            (r"((a{99}){99,}){ 9 }", 99 * 99 * 9),
            (r"a{2}b{3}", 6),
            ("{", 1),
            ("{99999999999999999999}", 1),
            (r"(a{18446744073709551615}){2}", usize::MAX),
        ] {
            assert_eq!(repetitions(pattern), expected, "{pattern}");
        }
    }
}
