//! The tokenizer in the metadata of a GGUF file, as llama.cpp reads it.

use std::collections::HashMap;

use super::encoder::{Encoder, Model, Prefix};
use super::merges::{self, MergeOptions};
use super::pre_tokenizer::PreTokenizer;
use super::scores::Scores;
use super::special::Strip;
use super::spelling::{Spelling, byte_of_name};
use super::{Kind, MAX_TOKENS, Parts, Specials, TokenizerError, check_room};
use crate::gguf::{Gguf, Strings};

/// Ids that a SentencePiece vocabulary has if the file does not say otherwise.
pub(super) const DEFAULT_UNKNOWN: u32 = 0;
const DEFAULT_BOS: u32 = 1;
const DEFAULT_EOS: u32 = 2;

/// The tokens of Phi-3 that do not take white space to their right, unlike all its other ones.
const PHI_3_KEEPS_SPACES: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

pub(super) fn parts(gguf: &Gguf) -> Result<Parts, TokenizerError> {
    let kind: &str = gguf.require("tokenizer.ggml.model")?;
    let rule = match kind {
        "llama" => None,
        "gpt2" => Some(gguf.require("tokenizer.ggml.pre")?),
        "gemma4" => Some("gemma4"),
        _ => return Err(TokenizerError::Kind { kind: kind.into() }),
    };
    let rule = rule.map(|name| {
        PreTokenizer::from_name(name)
            .ok_or_else(|| TokenizerError::PreTokenizer { name: name.into() })
    });
    let rule = rule.transpose()?;

    let texts: Strings<'_> = gguf.require("tokenizer.ggml.tokens")?;
    let n_tokens = texts.len();
    if !(1..=MAX_TOKENS).contains(&n_tokens) {
        let wanted = format!("1 to {MAX_TOKENS}");
        return Err(TokenizerError::Count { what: "tokens", found: n_tokens, wanted });
    }
    let merges: Option<Strings<'_>> = gguf.get("tokenizer.ggml.merges")?;
    check_room(n_tokens, merges.map_or(0, |merges| merges.len()), gguf.file_bytes())?;
    let texts: Vec<String> = texts.map(str::to_owned).collect();
    let mut kinds = kinds(gguf, n_tokens)?;
    let default = |id| Some(id).filter(|id| rule.is_none() && (*id as usize) < n_tokens);
    let special_id = |key| special_id(gguf, key, n_tokens);
    let eos = special_id("tokenizer.ggml.eos_token_id")?.or(default(DEFAULT_EOS));
    let eot = special_id("tokenizer.ggml.eot_token_id")?;
    let eom = special_id("tokenizer.ggml.eom_token_id")?;
    let specials = Specials {
        bos: special_id("tokenizer.ggml.bos_token_id")?.or(default(DEFAULT_BOS)),
        eos,
        turn_ends: eos.into_iter().chain(eot).chain(eom).collect(),
        add_bos: gguf
            .get("tokenizer.ggml.add_bos_token")?
            .unwrap_or(rule.is_none_or(|rule| rule.add_bos)),
    };
    let specials = specials.settle(&texts, &mut kinds);

    let spelling = match rule {
        Some(rule) if !rule.marks_spaces => Spelling::byte_level(),
        _ => Spelling::Marked,
    };
    if matches!(spelling, Spelling::Marked) {
        for (kind, text) in kinds.iter_mut().zip(&texts) {
            if *kind == Kind::Normal && byte_of_name(text).is_some() {
                *kind = Kind::Byte;
            }
        }
    }
    let unknown = special_id("tokenizer.ggml.unknown_token_id")?;
    let encoder = match rule {
        Some(rule) => by_merges(gguf, rule, &texts, &kinds, unknown)?,
        None => by_scores(gguf, &texts, &kinds, unknown.or(default(DEFAULT_UNKNOWN)))?,
    };
    let strips = strips(gguf, &texts, &kinds)?;
    Ok(Parts { texts, kinds, strips, spelling, encoder, specials })
}

fn special_id(
    gguf: &Gguf,
    key: &'static str,
    n_tokens: usize,
) -> Result<Option<u32>, TokenizerError> {
    match gguf.get(key)? {
        Some(id) if id as usize >= n_tokens => Err(TokenizerError::TokenId { key, id, n_tokens }),
        id => Ok(id),
    }
}

fn kinds(gguf: &Gguf, n_tokens: usize) -> Result<Vec<Kind>, TokenizerError> {
    let Some(types) = gguf.get::<Vec<u32>>("tokenizer.ggml.token_type")? else {
        return Ok(vec![Kind::Normal; n_tokens]);
    };
    if types.len() != n_tokens {
        let wanted = n_tokens.to_string();
        return Err(TokenizerError::Count { what: "token types", found: types.len(), wanted });
    }
    let kind = |number| match number {
        // The unknown token is as little text as a control token.
        2 | 3 => Kind::Control,
        4 => Kind::UserDefined,
        5 => Kind::Unused,
        _ => Kind::Normal,
    };
    Ok(types.into_iter().map(kind).collect())
}

fn by_merges(
    gguf: &Gguf,
    rule: PreTokenizer,
    texts: &[String],
    kinds: &[Kind],
    unknown: Option<u32>,
) -> Result<Encoder, TokenizerError> {
    let in_file: Strings<'_> = gguf.require("tokenizer.ggml.merges")?;
    let merges = in_file.enumerate().map(|(index, merge)| merges::parse(index, merge));
    let options = MergeOptions {
        ignore_merges: rule.ignore_merges,
        byte_fallback: rule.marks_spaces,
        unknown: unknown.filter(|_| rule.marks_spaces),
        fuse_unknown: rule.marks_spaces,
    };
    let texts = (0..).zip(texts.iter().map(String::as_str));
    let bpe = merges::build(texts, kinds, merges, options)?;
    Ok(Encoder {
        form: None,
        prefix: None,
        marks_spaces: rule.marks_spaces,
        words: Some(rule.build()?),
        model: Model::Merges(Box::new(bpe)),
    })
}

fn by_scores(
    gguf: &Gguf,
    texts: &[String],
    kinds: &[Kind],
    unknown: Option<u32>,
) -> Result<Encoder, TokenizerError> {
    let in_file: Vec<f32> = gguf.require("tokenizer.ggml.scores")?;
    if in_file.len() != texts.len() {
        let wanted = texts.len().to_string();
        return Err(TokenizerError::Count { what: "scores", found: in_file.len(), wanted });
    }
    let mut scores = Scores::new(unknown);
    for (((id, text), kind), score) in (0..).zip(texts).zip(kinds).zip(in_file) {
        match (kind, byte_of_name(text)) {
            // Control tokens are left out, so that no content can become one.
            (Kind::Control, _) => {}
            (Kind::Byte, Some(byte)) => scores.add_byte(byte, id),
            _ => scores.add(text, id, score),
        }
    }
    let adds_prefix = gguf.get("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    Ok(Encoder {
        form: None,
        prefix: Some(Prefix { only_at_start: false, doubles: true }).filter(|_| adds_prefix),
        marks_spaces: true,
        words: None,
        model: Model::Scores(scores),
    })
}

/// Returns which tokens take the white space beside them.
///
/// The format has no place for this. Of the models that llama.cpp knows by name to need it, only
/// Phi-3 writes text.
fn strips(
    gguf: &Gguf,
    texts: &[String],
    kinds: &[Kind],
) -> Result<HashMap<u32, Strip>, TokenizerError> {
    let name = gguf.get("general.name")?.unwrap_or("").to_lowercase();
    if !name.contains("phi-3") && !name.contains("phi3") {
        return Ok(HashMap::new());
    }
    let takes_space = |(text, kind): (&String, &Kind)| {
        let special = matches!(kind, Kind::Control | Kind::UserDefined) || text == "</s>";
        special && !PHI_3_KEEPS_SPACES.contains(&text.as_str())
    };
    Ok((0..)
        .zip(texts.iter().zip(kinds))
        .filter(|(_, token)| takes_space(*token))
        .map(|(id, _)| (id, Strip { left: false, right: true }))
        .collect())
}
