//! Tokenizers from one form into the other: the metadata of GGUF as the files of a folder, and back.
//!
//! What is read is read as the two sources of tokenizers do; what is written is compared with what it
//! was made from, by [`difference`]. Two things are lost on purpose, as they are in the converters of
//! others: GGUF has no Unicode normal forms, and SentencePiece vocabularies that merge by score become
//! merges in the order of the scores.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::encoder::{Encoder, Form, Prefix};
use super::folder::{self, Details};
use super::pre_tokenizer::PreTokenizer;
use super::spelling::{SPACE_MARK, Spelling};
use super::{Kind, Parts, Tokenizer, TokenizerError, gguf as gguf_source};
use crate::convert::Metadatum;
use crate::gguf::{Gguf, Strings};

/// The numbers by which GGUF tells kinds of tokens.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// The longest run of a character with which it is tried whether two orders join it alike.
const MAX_TRIED_RUN: usize = 128;

/// The most characters of which there may be runs in an order of their own; Gemma has three.
const MAX_CHARACTERS_OF_RUNS: usize = 8;

/// What a folder has of a tokenizer.
pub(crate) struct ExportedFolder {
    /// Files with their contents.
    pub(crate) files: Vec<(&'static str, Value)>,
    /// What `config.json` says of special tokens.
    pub(crate) ids: Map<String, Value>,
}

/// Returns the tokenizer of `gguf` as a folder has it, with its chat template.
pub(crate) fn to_folder(
    gguf: &Gguf,
    template: Option<&str>,
    context_length: usize,
) -> Result<ExportedFolder, TokenizerError> {
    let parts = gguf_source::parts(gguf)?;
    let Parts { texts, kinds, specials, encoder, .. } = &parts;
    let text = |id: Option<u32>| id.and_then(|id| texts.get(id as usize)).map(String::as_str);
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(&parts),
        "normalizer": normalizer(encoder),
        "pre_tokenizer": words(encoder)?,
        "post_processor": post_processor(&parts),
        "decoder": decoder(&parts),
        "model": model(gguf, &parts)?,
    });
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "model_max_length": context_length,
        "add_bos_token": specials.add_bos,
        "bos_token": text(specials.bos),
        "eos_token": text(specials.eos),
    });
    let mut ids = Map::new();
    if let Some(bos) = specials.bos {
        ids.insert("bos_token_id".into(), json!(bos));
    }
    // All that end a turn, since the file may name one that nothing else gives away; the first of
    // them is taken for the one that the file names.
    let named = specials.eos.map(|eos| [&[eos], specials.turn_ends.as_slice()].concat());
    let mut ends = named.unwrap_or_default();
    let mut seen = HashSet::new();
    ends.retain(|id| seen.insert(*id) && kinds.get(*id as usize) == Some(&Kind::Control));
    if !ends.is_empty() {
        ids.insert("eos_token_id".into(), json!(ends));
    }
    if let Some(template) = template {
        config["chat_template"] = json!(template);
    }
    let files = vec![
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", config),
        ("generation_config.json", Value::Object(ids.clone())),
    ];
    Ok(ExportedFolder { files, ids })
}

fn added_tokens(parts: &Parts) -> Vec<Value> {
    let is_special = |kind: &Kind| matches!(kind, Kind::Control | Kind::UserDefined);
    let tokens = (0u32..).zip(parts.texts.iter().zip(&parts.kinds));
    let added = tokens.filter(|(_, (text, kind))| is_special(kind) && !text.is_empty());
    added
        .map(|(id, (text, kind))| {
            let strip = parts.strips.get(&id).copied().unwrap_or_default();
            json!({
                "id": id,
                "content": text,
                "single_word": false,
                "lstrip": strip.left,
                "rstrip": strip.right,
                "normalized": false,
                "special": *kind == Kind::Control,
            })
        })
        .collect()
}

fn normalizer(encoder: &Encoder) -> Value {
    if !encoder.marks_spaces {
        return Value::Null;
    }
    let mark = SPACE_MARK.to_string();
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": mark});
    match encoder.prefix {
        None => replace,
        Some(_) => json!({
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": mark}, replace],
        }),
    }
}

fn words(encoder: &Encoder) -> Result<Value, TokenizerError> {
    let words = encoder.words.as_ref().map(serde_json::to_value).transpose();
    let words = words.map_err(|error| TokenizerError::Rejected { reason: error.to_string() })?;
    Ok(words.unwrap_or(Value::Null))
}

fn post_processor(parts: &Parts) -> Value {
    let Some(bos) = parts.specials.bos.filter(|_| parts.specials.add_bos) else {
        return Value::Null;
    };
    let name = parts.texts.get(bos as usize);
    let first = json!({"SpecialToken": {"id": name, "type_id": 0}});
    let text = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
    let mut tokens = Map::new();
    if let Some(name) = name {
        tokens.insert(name.clone(), json!({"id": name, "ids": [bos], "tokens": [name]}));
    }
    json!({
        "type": "TemplateProcessing",
        "single": [first, text("A", 0)],
        "pair": [first, text("A", 0), first, text("B", 1)],
        "special_tokens": tokens,
    })
}

fn decoder(parts: &Parts) -> Value {
    if matches!(parts.spelling, Spelling::ByteLevel(_)) {
        return json!({
            "type": "ByteLevel",
            "add_prefix_space": true,
            "trim_offsets": true,
            "use_regex": true,
        });
    }
    let mark = SPACE_MARK.to_string();
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": mark}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if parts.encoder.prefix.is_some() {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}

fn model(gguf: &Gguf, parts: &Parts) -> Result<Value, TokenizerError> {
    let Parts { texts, kinds, spelling, .. } = parts;
    let mut vocab = Map::new();
    for (id, (text, kind)) in texts.iter().zip(kinds).enumerate() {
        // Numbers without a meaning are left out, and stay so.
        if *kind != Kind::Unused {
            vocab.insert(text.clone(), json!(id));
        }
    }
    let kind: &str = gguf.require("tokenizer.ggml.model")?;
    let merges = if kind == "llama" {
        merges_of_scores(texts, kinds, &gguf.require::<Vec<f32>>("tokenizer.ggml.scores")?)
    } else {
        let merges: Strings<'_> = gguf.require("tokenizer.ggml.merges")?;
        let parse = |(index, merge)| super::merges::parse(index, merge);
        merges.enumerate().map(parse).collect::<Result<_, _>>()?
    };
    let marks_spaces = matches!(spelling, Spelling::Marked);
    let rule = gguf.get::<&str>("tokenizer.ggml.pre")?.and_then(PreTokenizer::from_name);
    let ignore_merges = kind == "gpt2" && rule.is_some_and(|rule| rule.ignore_merges);
    let unknown: Option<u32> = match gguf.get("tokenizer.ggml.unknown_token_id")? {
        None if kind == "llama" => Some(gguf_source::DEFAULT_UNKNOWN),
        unknown => unknown,
    };
    let unknown = unknown.filter(|_| marks_spaces).and_then(|id| texts.get(id as usize));
    Ok(json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": unknown,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": marks_spaces,
        "byte_fallback": marks_spaces,
        "ignore_merges": ignore_merges,
        "vocab": vocab,
        "merges": merges,
    }))
}

/// Returns all pairs of pieces that are a piece together, in the order in which scores join them.
fn merges_of_scores(texts: &[String], kinds: &[Kind], scores: &[f32]) -> Vec<(String, String)> {
    let is_piece = |kind: &Kind| matches!(kind, Kind::Normal | Kind::UserDefined);
    let pieces = (0..).zip(texts.iter().zip(kinds)).filter(|(_, (_, kind))| is_piece(kind));
    let ids: HashMap<&str, usize> = pieces.map(|(id, (text, _))| (text.as_str(), id)).collect();
    let mut merges: Vec<(f32, usize, usize, (&str, &str))> = Vec::new();
    for (text, id) in &ids {
        let score = scores.get(*id).copied().unwrap_or_default() + 0.0;
        for (at, _) in text.char_indices().skip(1) {
            let (first, second) = text.split_at(at);
            if let (Some(first_id), Some(second_id)) = (ids.get(first), ids.get(second)) {
                merges.push((score, *first_id, *second_id, (first, second)));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    merges.into_iter().map(|(.., (first, second))| (first.to_owned(), second.to_owned())).collect()
}

/// Returns the tokenizer in `folder` as GGUF has it, for a table of `n_rows` embeddings.
pub(crate) fn to_metadata(
    folder: &Path,
    n_rows: usize,
) -> Result<Vec<(String, Metadatum)>, TokenizerError> {
    let parts = folder::parts(folder)?;
    let details = folder::details(folder)?;
    let mut metadata = Vec::new();
    let mut set = |key: &str, value: Metadatum| {
        metadata.push((format!("tokenizer.ggml.{key}"), value));
    };
    let Parts { texts, kinds, specials, encoder, spelling, .. } = &parts;
    if !matches!(encoder.form, None | Some(Form::Nfc)) {
        return no_word_for("a form of Unicode other than NFC");
    }
    let marks_spaces = matches!(spelling, Spelling::Marked);
    if marks_spaces {
        let adds_prefix = match encoder.prefix {
            None => false,
            Some(Prefix { only_at_start: false, doubles: true }) => true,
            Some(_) => return no_word_for("a space before some texts and not before others"),
        };
        if details.patterns.as_deref().is_none_or(|patterns| !patterns.is_empty()) {
            return no_word_for("words, beside spaces that are marked");
        }
        set("model", "llama".into());
        set("pre", "default".into());
        set("add_space_prefix", Metadatum::Bool(adds_prefix));
        set("scores", Metadatum::F32s(scores_of_merges(&parts, &details, n_rows)?));
    } else {
        let patterns = details.patterns.as_deref();
        let name = patterns.and_then(|p| PreTokenizer::name_of(p, details.ignore_merges));
        let Some(name) = name.filter(|_| encoder.prefix.is_none()) else {
            return no_word_for("a way of cutting text into words");
        };
        set("model", "gpt2".into());
        set("pre", name.into());
        let merges = details.merges.iter().map(|(first, second)| format!("{first} {second}"));
        set("merges", Metadatum::Texts(merges.collect()));
    }
    let unknown = details.unknown.as_ref().and_then(|name| super::folder::id_of(texts, name));
    let (mut names, mut types) = (Vec::new(), Vec::new());
    for id in 0..texts.len().max(n_rows) {
        let kind = kinds.get(id).copied().unwrap_or(Kind::Unused);
        let text = texts.get(id).filter(|text| !text.is_empty()).cloned();
        names.push(text.unwrap_or_else(|| format!("[PAD{id}]")));
        types.push(match kind {
            Kind::Normal => NORMAL,
            Kind::Control if marks_spaces && unknown.is_some_and(|u| u as usize == id) => UNKNOWN,
            Kind::Control => CONTROL,
            Kind::UserDefined => USER_DEFINED,
            Kind::Unused => UNUSED,
            Kind::Byte => BYTE,
        });
    }
    set("tokens", Metadatum::Texts(names));
    set("token_type", Metadatum::I32s(types));
    set("add_bos_token", Metadatum::Bool(specials.add_bos));
    let ends = specials.turn_ends.iter().copied().filter(|id| Some(*id) != specials.eos);
    // What ends a turn under a name that is known need not be said.
    let is_unknown = |id: &u32| {
        texts.get(*id as usize).is_none_or(|name| !super::END_NAMES.contains(&name.as_str()))
    };
    let mut ends = ends.filter(is_unknown);
    let ids = [
        ("bos_token_id", specials.bos),
        ("eos_token_id", specials.eos),
        ("unknown_token_id", unknown),
        ("eot_token_id", ends.next()),
        ("eom_token_id", ends.next()),
    ];
    for (key, id) in ids {
        if let Some(id) = id {
            set(key, Metadatum::U32(id));
        }
    }
    Ok(metadata)
}

fn no_word_for<T>(what: &'static str) -> Result<T, TokenizerError> {
    Err(TokenizerError::NoWord { what })
}

/// Returns scores by which the merges of a folder are made in their order.
///
/// Scores join any two pieces that are a piece together, so that the list must have all of these,
/// and those that make one piece must not have others between them.
fn scores_of_merges(
    parts: &Parts,
    details: &Details,
    n_rows: usize,
) -> Result<Vec<f32>, TokenizerError> {
    let ranks = ranks_of_pieces(details.merges.iter()).or_else(|| {
        let is_of_run = |merge: &&(String, String)| character_of_run(merge).is_some();
        let n_runs = details.merges.iter().take_while(is_of_run).count();
        let (runs, others) = details.merges.split_at(n_runs);
        ranks_of_pieces(by_length(runs)?.into_iter().chain(others))
    });
    let Some(ranks) = ranks else {
        return no_word_for("merges in an order that scores do not have");
    };
    let known: HashSet<(&str, &str)> =
        details.merges.iter().map(|(first, second)| (first.as_str(), second.as_str())).collect();
    let is_piece = |kind: &Kind| matches!(kind, Kind::Normal | Kind::UserDefined);
    let tokens = parts.texts.iter().zip(&parts.kinds);
    // These are found before text is cut to characters, and never in what is left, if marks of spaces
    // make no more of them.
    let user_defined: HashSet<&str> = tokens
        .clone()
        .filter(|(_, kind)| **kind == Kind::UserDefined)
        .map(|(text, _)| text.as_str())
        .collect();
    let is_cut_out = |piece: &str| user_defined.contains(piece) && !piece.contains(SPACE_MARK);
    let pieces: HashSet<&str> =
        tokens.filter(|(_, kind)| is_piece(kind)).map(|(text, _)| text.as_str()).collect();
    for piece in &pieces {
        for (at, _) in piece.char_indices().skip(1) {
            let (first, second) = piece.split_at(at);
            let is_pair = pieces.contains(first) && pieces.contains(second);
            if is_pair && !known.contains(&(first, second)) && !is_cut_out(piece) {
                return no_word_for("fewer merges than there are pieces");
            }
        }
    }
    // What is never merged is found by its characters, whatever its score.
    let score = |id: usize| {
        let rank = parts.texts.get(id).and_then(|text| ranks.get(text));
        rank.map_or(0.0, |rank| -((rank + 1) as f32))
    };
    Ok((0..parts.texts.len().max(n_rows)).map(score).collect())
}

/// Returns at which place merges lead to each piece; `None` if those to one piece have others between
/// them.
fn ranks_of_pieces<'m>(
    merges: impl Iterator<Item = &'m (String, String)>,
) -> Option<HashMap<String, usize>> {
    let mut ranks: HashMap<String, usize> = HashMap::new();
    let mut last = None;
    for (first, second) in merges {
        let joined = format!("{first}{second}");
        if last.as_ref() != Some(&joined) {
            let rank = ranks.len();
            if ranks.insert(joined.clone(), rank).is_some() {
                return None;
            }
        }
        last = Some(joined);
    }
    Some(ranks)
}

/// Returns the character of which both sides of a merge are runs.
fn character_of_run((first, second): &(String, String)) -> Option<char> {
    let mut characters = first.chars().chain(second.chars());
    let character = characters.next()?;
    characters.all(|other| other == character).then_some(character)
}

/// Puts the merges of runs of one character in the order of the runs' lengths, the longest first, if
/// that joins them as their own order does.
///
/// Gemma's list begins with runs of each white space, by turns and by the lengths of their first
/// halves. All of them are joined before a piece of two characters is, so that characters can be taken
/// one by one. Whether lengths can be, is tried with runs that become several pieces.
fn by_length(merges: &[(String, String)]) -> Option<Vec<&(String, String)>> {
    let n_characters = |text: &String| text.chars().count();
    let lengths = |(first, second): &(String, String)| (n_characters(first), n_characters(second));
    let mut of_characters: BTreeMap<Option<char>, Vec<&(String, String)>> = BTreeMap::new();
    for merge in merges {
        of_characters.entry(character_of_run(merge)).or_default().push(merge);
    }
    if of_characters.len() > MAX_CHARACTERS_OF_RUNS {
        return None;
    }
    for merges in of_characters.values_mut() {
        let ranks: HashMap<(usize, usize), usize> =
            merges.iter().enumerate().map(|(rank, merge)| (lengths(merge), rank)).collect();
        let length = |(first, second)| ranks.get(&(first, second)).map(|_| Reverse(first + second));
        merges.sort_by_key(|merge| length(lengths(merge)));
        let longest = ranks.keys().map(|(first, second)| first + second).max()?;
        for n_characters in 0..MAX_TRIED_RUN.min(3 * longest + 3) {
            let by_rank = joined_run(n_characters, |pair| ranks.get(&pair));
            if by_rank != joined_run(n_characters, length) {
                return None;
            }
        }
    }
    Some(of_characters.into_values().flatten().collect())
}

/// Returns the lengths of the pieces that a run becomes: of all neighbours, those of the lowest rank
/// join first, and of equal ones the leftmost.
fn joined_run<R: Ord>(
    n_characters: usize,
    rank: impl Fn((usize, usize)) -> Option<R>,
) -> Vec<usize> {
    let mut pieces = vec![1; n_characters];
    loop {
        let pairs = pieces.iter().zip(pieces.iter().skip(1)).enumerate();
        let ranked = pairs.filter_map(|(at, (a, b))| Some((rank((*a, *b))?, at, a + b)));
        let Some((_, at, both)) = ranked.min() else { return pieces };
        pieces.splice(at..at + 2, [both]);
    }
}

/// Texts on which tokenizers that are not the same show it.
const PROBE: &str = "Hello, World! It's 12345.678 o'clock;  two   spaces\tand\ttabs\r\n\n\n \
    don't DON'T we'll x1234567 0x1F <b>&amp;</b> {\"a\": [1, 2.5e-3]} // #!? ümläut ß ñ Ωμέγα \
    Привет 你好世界 日本語テキスト 한국어 עברית العربية हिन्दी ไทย 👩‍👩‍👧‍👦🏳️‍🌈 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \u{a0}\u{200b}\u{3000} \
    fn main() { println!(\"{}\", i32::MAX); }\n    indented\n\tmore\n ▁▁ <0x0A> Ġ  ";

/// Returns, in words, what `new` does otherwise than `old`; `None` if nothing was found.
pub(crate) fn difference(old: &Tokenizer, new: &Tokenizer) -> Option<String> {
    let (a, b) = (&*old.inner, &*new.inner);
    let kind = |kinds: &[Kind], id: usize| match kinds.get(id) {
        Some(Kind::Byte) => Kind::Normal,
        Some(kind) => *kind,
        None => Kind::Unused,
    };
    for id in 0..a.kinds.len().max(b.kinds.len()) {
        let (old_kind, new_kind) = (kind(&a.kinds, id), kind(&b.kinds, id));
        let token = u32::try_from(id).unwrap_or(u32::MAX);
        let same_bytes = old.token_bytes(token) == new.token_bytes(token);
        if old_kind != new_kind || (old_kind != Kind::Unused && !same_bytes) {
            let name = String::from_utf8_lossy(old.token_bytes(token)).into_owned();
            return Some(format!("token {id}, {name:?}, would be another"));
        }
    }
    if (old.named_bos(), old.bos(), old.eos()) != (new.named_bos(), new.bos(), new.eos()) {
        return Some("other tokens would begin and end texts".into());
    }
    if old.end_tokens() != new.end_tokens() {
        return Some("other tokens would end a turn".into());
    }
    if old.encode(PROBE) != new.encode(PROBE) {
        return Some("a text would be other tokens".into());
    }
    let specials = (0u32..).zip(&a.kinds);
    let specials = specials.filter(|(_, kind)| matches!(kind, Kind::Control | Kind::UserDefined));
    for (id, _) in specials {
        let name = String::from_utf8_lossy(old.token_bytes(id));
        let text = format!("a  {name}  b");
        if old.encode_rendered(&text) != new.encode_rendered(&text) {
            return Some(format!("the white space beside {name:?} would be other tokens"));
        }
    }
    None
}
