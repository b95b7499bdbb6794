//! Which tensors are written, what they are made from, and how their numbers are stored.

use std::collections::BTreeMap;

use super::ConvertError;
use crate::decoder::{DecoderConfig, QkNorm, RopePairing};
use crate::families::{self, Family};
use crate::hf::names;
use crate::weights::Weight;
use crate::{Gguf, HfFolder, TensorType, Weights};

use super::WITH_METADATA;

/// A tensor that will be written.
#[derive(Debug)]
pub(super) struct Planned {
    /// As its file will have it.
    pub(super) name: String,
    /// Row-major.
    pub(super) shape: Vec<usize>,
    pub(super) stored: TensorType,
    pub(super) made_of: Parts,
    pub(super) change: Change,
}

/// What a tensor is made of.
#[derive(Debug)]
pub(super) enum Parts {
    /// Tensors that lie in a file, one after the other; each as a matrix, a vector as rows of one
    /// number.
    Stored(Vec<Weight>),
    /// Numbers that the settings ask for.
    Computed(Vec<f32>),
}

impl Planned {
    /// A vector of F32.
    pub(super) fn computed(name: &str, numbers: &[f32]) -> Self {
        Self {
            name: name.to_owned(),
            shape: vec![numbers.len()],
            stored: TensorType::F32,
            made_of: Parts::Computed(numbers.to_vec()),
            change: Change::NONE,
        }
    }
}

/// What happens to numbers on the way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    pub(super) rows: RowOrder,
    pub(super) add: f32,
    /// After the addition.
    pub(super) multiply: f32,
}

/// In which order rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowOrder {
    Same,
    /// Of each head, those that RoPE turns together come side by side.
    ToNeighbours(Heads),
    /// Back.
    ToHalves(Heads),
}

/// The rows of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heads {
    pub(super) head_dim: usize,
    /// How many of them are turned, from the first on; even, and not 0.
    pub(super) turned: usize,
}

impl Change {
    const NONE: Self = Self { rows: RowOrder::Same, add: 0.0, multiply: 1.0 };

    pub(super) fn is_order_alone(&self) -> bool {
        self.add == 0.0 && self.multiply == 1.0
    }
}

/// How the two forms differ in the numbers of a family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quirks {
    /// What the rows of queries and keys are put in.
    rows: RowOrder,
    pairing: RopePairing,
    /// What is added to the weights of norms.
    norm_add: f32,
    norm_plus_one: bool,
    /// What queries are multiplied with, because the attention scale cannot be said.
    query_factor: f32,
    query_norm: bool,
    attention_scale: Option<f32>,
}

impl Quirks {
    /// From a folder to a GGUF file.
    pub(super) fn to_gguf(family: &Family, config: &DecoderConfig) -> Self {
        let scale = attention_scale(config);
        let attention_scale = match family.gguf {
            "granite" => scale,
            _ => families::unsaid_attention_scale(family, config),
        };
        let turns_neighbours = turns_neighbours(family);
        Self {
            rows: match heads(config) {
                Some(heads) if turns_neighbours => RowOrder::ToNeighbours(heads),
                _ => RowOrder::Same,
            },
            pairing: if turns_neighbours { RopePairing::Norm } else { RopePairing::Neox },
            norm_add: if config.norm_plus_one { 1.0 } else { 0.0 },
            norm_plus_one: false,
            query_factor: if close(scale, attention_scale) { 1.0 } else { scale / attention_scale },
            query_norm: config.qk_norm != QkNorm::None,
            attention_scale: Some(attention_scale),
        }
    }

    /// From a GGUF file to a folder.
    pub(super) fn to_hf(family: &Family, config: &DecoderConfig) -> Self {
        let norm_plus_one = is_gemma(family);
        Self {
            rows: match heads(config) {
                Some(heads) if turns_neighbours(family) => RowOrder::ToHalves(heads),
                _ => RowOrder::Same,
            },
            pairing: RopePairing::Neox,
            norm_add: if norm_plus_one { -1.0 } else { 0.0 },
            norm_plus_one,
            query_factor: 1.0,
            query_norm: false,
            attention_scale: config.attention_scale,
        }
    }

    /// Returns what a model must be when it was written.
    pub(super) fn applied_to(&self, config: &DecoderConfig) -> DecoderConfig {
        let mut config = config.clone();
        config.norm_plus_one = self.norm_plus_one;
        config.attention_scale = self.attention_scale;
        config.ropes.iter_mut().for_each(|rope| rope.pairing = self.pairing);
        config
    }

    /// Returns what happens to `weight`, which GGUF calls `name`.
    fn change(&self, name: &str, weight: &Weight) -> Result<Change, ConvertError> {
        let part = name.rsplit_once('.').map_or(name, |(whole, _)| whole);
        let part = part.rsplit('.').next().unwrap_or(part);
        let query = if self.query_norm { "attn_q_norm" } else { "attn_q" };
        let rows = if ["attn_q", "attn_k"].contains(&part) { self.rows } else { RowOrder::Same };
        if let RowOrder::ToNeighbours(heads) | RowOrder::ToHalves(heads) = rows
            && !weight.n_rows().is_multiple_of(heads.head_dim)
        {
            return Err(ConvertError::Refused {
                path: weight.path.clone(),
                reason: format!("has rows in {name} that are no whole heads"),
            });
        }
        Ok(Change {
            rows,
            add: if part.ends_with("norm") { self.norm_add } else { 0.0 },
            multiply: if part == query { self.query_factor } else { 1.0 },
        })
    }
}

fn heads(config: &DecoderConfig) -> Option<Heads> {
    let turned = config.ropes.first()?.dim;
    Some(Heads { head_dim: config.head_dim, turned })
}

/// Whether GGUF has the numbers that RoPE turns together side by side, as the first Llama had them.
fn turns_neighbours(family: &Family) -> bool {
    ["llama", "smollm3", "granite"].contains(&family.gguf)
}

pub(super) fn is_gemma(family: &Family) -> bool {
    family.gguf.starts_with("gemma")
}

pub(super) fn attention_scale(config: &DecoderConfig) -> f32 {
    config.attention_scale.unwrap_or_else(|| (config.head_dim as f32).sqrt().recip())
}

/// Whether two numbers differ by rounding alone.
pub(super) fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
}

/// Plans all tensors of a GGUF file for another one.
pub(super) fn of_gguf(
    gguf: &Gguf,
    quant: Option<TensorType>,
) -> Result<Vec<Planned>, ConvertError> {
    let weights = Weights::from(gguf);
    let is_tied = gguf.tensor("output.weight").is_none();
    let mut planned = Vec::new();
    for tensor in gguf.tensors() {
        let Some(weight) = weights.tensor(tensor.name())? else { continue };
        let stored = stored_in_gguf(tensor.name(), &weight, quant, is_tied);
        planned.push(Planned {
            name: tensor.name().to_owned(),
            shape: weight.shape.clone(),
            stored,
            made_of: Parts::Stored(vec![flat(weight)]),
            change: Change::NONE,
        });
    }
    Ok(planned)
}

/// Plans the tensors of a folder for a GGUF file.
pub(super) fn of_folder(
    folder: &HfFolder,
    quirks: &Quirks,
    quant: Option<TensorType>,
) -> Result<Vec<Planned>, ConvertError> {
    let is_lfm2 = folder.family().gguf == "lfm2";
    let mut planned = Vec::new();
    let mut experts: BTreeMap<String, BTreeMap<usize, Weight>> = BTreeMap::new();
    let is_tied = folder.is_tied();
    for name in folder.gguf_names()? {
        let weight = folder.tensor(&name)?.ok_or_else(|| folder.missing(&name))?;
        let numbered = name.strip_suffix(".weight").and_then(|whole| whole.rsplit_once('.'));
        if let Some((whole, expert)) = numbered
            && let Ok(expert) = expert.parse()
        {
            let list = experts.entry(format!("{whole}_exps.weight")).or_default();
            list.insert(expert, weight);
            continue;
        }
        let stored = stored_in_gguf(&name, &weight, quant, is_tied);
        // What LFM2 calls by this name stands at the end all the same.
        let is_last_norm = is_lfm2 && name == "output_norm.weight";
        planned.push(Planned {
            shape: weight.shape.clone(),
            stored,
            change: quirks.change(&name, &weight)?,
            made_of: Parts::Stored(vec![flat(weight)]),
            name: if is_last_norm { "token_embd_norm.weight".into() } else { name },
        });
    }
    for (name, list) in experts {
        // Experts are all alike, and none is left out: the family reads them by these numbers.
        let sources: Vec<Weight> = list.into_values().collect();
        let Some(first) = sources.first() else { continue };
        if let Some(other) = sources.iter().find(|weight| weight.shape != first.shape) {
            let reason = format!("has experts of different shapes in {}", other.name);
            return Err(ConvertError::Refused { path: other.path.clone(), reason });
        }
        let mut shape = vec![sources.len()];
        shape.extend(&first.shape);
        let stored = stored_in_gguf(&name, first, quant, is_tied);
        let made_of = Parts::Stored(sources);
        planned.push(Planned { name, shape, stored, made_of, change: Change::NONE });
    }
    Ok(planned)
}

/// Plans the tensors of a GGUF file for a folder.
pub(super) fn of_gguf_as_hf(
    gguf: &Gguf,
    family: &Family,
    quirks: &Quirks,
    quant: Option<TensorType>,
) -> Result<Vec<Planned>, ConvertError> {
    let weights = Weights::from(gguf);
    let mut planned = Vec::new();
    let mut add = |name: &str, weight: Weight| -> Result<(), ConvertError> {
        let mut shape = weight.shape.clone();
        // A convolution of each number by itself has one input; GGUF leaves that out.
        if name.ends_with("shortconv.conv.weight") {
            shape.insert(1, 1);
        }
        let own = weight.tensor_type;
        let stored = match quant {
            // Vectors keep what precision they have; they are little.
            _ if shape.len() == 1 && own == TensorType::F32 => own,
            Some(float) => float,
            None if own.block_len() == 1 => own,
            None => TensorType::F16,
        };
        planned.push(Planned {
            name: names::to_hf(family, names::PLAIN, name),
            shape,
            stored,
            change: quirks.change(name, &weight)?,
            made_of: Parts::Stored(vec![flat(weight)]),
        });
        Ok(())
    };
    for tensor in gguf.tensors() {
        let name = tensor.name();
        if WITH_METADATA.contains(&name) {
            continue;
        }
        let Some(weight) = weights.tensor(name)? else { continue };
        match name.strip_suffix("_exps.weight") {
            Some(whole) if weight.shape.len() == 3 => {
                let (n_experts, n_rows) = (weight.shape[0], weight.shape[1]);
                let all = flat(weight);
                for expert in 0..n_experts {
                    let rows = expert * n_rows..(expert + 1) * n_rows;
                    add(&format!("{whole}.{expert}.weight"), all.rows(rows))?;
                }
            }
            _ if name == "token_embd_norm.weight" && family.gguf == "lfm2" => {
                add("output_norm.weight", weight)?;
            }
            _ => add(name, weight)?,
        }
    }
    Ok(planned)
}

/// Views a tensor as a matrix of all its rows, a vector as rows of one number.
fn flat(mut weight: Weight) -> Weight {
    let n_cols = match weight.shape.as_slice() {
        [] | [_] => 1,
        [.., n_cols] => *n_cols,
    };
    let n_numbers: usize = weight.shape.iter().product();
    weight.shape = vec![n_numbers / n_cols.max(1), n_cols];
    weight
}

/// Returns how a tensor is stored in a GGUF file.
///
/// Vectors and what is small and sensitive are F32. The head, and the table where it is one too, are
/// never in fewer than 8 bits, and neither is the table otherwise: it costs little time.
fn stored_in_gguf(
    name: &str,
    weight: &Weight,
    quant: Option<TensorType>,
    is_tied: bool,
) -> TensorType {
    let own = weight.tensor_type;
    let is_small = ["ffn_gate_inp.", "shortconv.conv."].iter().any(|part| name.contains(part));
    if weight.shape.len() < 2 || is_small {
        // Blocks would have to be unpacked; nobody stores vectors so.
        return if own.block_len() == 1 { TensorType::F32 } else { own };
    }
    let Some(wanted) = quant else { return own };
    let is_table = name == "token_embd.weight" || (name == "output.weight" && !is_tied);
    let wanted = match wanted {
        _ if !is_table => wanted,
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => wanted,
        _ => TensorType::Q8_0,
    };
    fitting(wanted, weight.shape.last().copied().unwrap_or_default())
}

/// Returns `wanted`, or where rows of `n_cols` numbers are no whole blocks of it, what comes next to
/// it in more bits, as llama.cpp does.
fn fitting(wanted: TensorType, n_cols: usize) -> TensorType {
    let mut stored = wanted;
    while !n_cols.is_multiple_of(stored.block_len()) {
        stored = match stored {
            TensorType::Q4_K => TensorType::Q5_0,
            TensorType::Q5_K => TensorType::Q5_1,
            TensorType::Q6_K => TensorType::Q8_0,
            _ => TensorType::F16,
        };
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_no_whole_blocks_are_stored_in_more_bits() {
        for (wanted, n_cols, stored) in [
            (TensorType::Q4_K, 512, TensorType::Q4_K),
            (TensorType::Q4_K, 576, TensorType::Q5_0),
            (TensorType::Q4_K, 40, TensorType::F16),
            (TensorType::Q8_0, 96, TensorType::Q8_0),
            (TensorType::Q8_0, 8, TensorType::F16),
            (TensorType::F32, 7, TensorType::F32),
        ] {
            assert_eq!(fitting(wanted, n_cols), stored, "{wanted} in rows of {n_cols}");
        }
    }
}
