//! Names of tensors, as GGUF and as Hugging Face has them.

use crate::families::{Family, HF_NAMES};

/// What stands before the names of a language model's tensors, and before that of its head, in a
/// folder that has nothing else.
pub(crate) const PLAIN: (&str, &str) = ("model.", "");

/// Returns what Hugging Face calls a tensor that GGUF calls `name`.
pub(crate) fn to_hf(family: &Family, (prefix, head_prefix): (&str, &str), name: &str) -> String {
    let known = |part: &str| {
        let mut names = family.hf_names.iter().chain(&HF_NAMES);
        names
            .find(|(gguf, _)| *gguf == part)
            .map_or_else(|| part.to_owned(), |(_, hf)| (*hf).into())
    };
    let (whole, kind) = name.rsplit_once('.').unwrap_or((name, "weight"));
    if whole == "output" {
        return format!("{head_prefix}lm_head.{kind}");
    }
    let layer = whole.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    let Some((index, part)) = layer else {
        return format!("{prefix}{}.{kind}", known(whole));
    };
    // Experts are numbered below their kind in one, and above it in the other.
    if let Some((part, expert)) = part.rsplit_once('.').filter(|(_, n)| n.parse::<usize>().is_ok())
    {
        let part = known(part);
        let (network, part) = part.split_once('.').unwrap_or(("mlp", &part));
        return format!("{prefix}layers.{index}.{network}.experts.{expert}.{part}.{kind}");
    }
    format!("{prefix}layers.{index}.{}.{kind}", known(part))
}

/// Returns what GGUF calls a tensor that Hugging Face calls `name`, if such a tensor can be one of
/// the family's.
pub(crate) fn to_gguf(
    family: &Family,
    (prefix, head_prefix): (&str, &str),
    name: &str,
) -> Option<String> {
    let known = |part: &str| {
        let mut names = family.hf_names.iter().chain(&HF_NAMES);
        names.find(|(_, hf)| *hf == part).map(|(gguf, _)| *gguf)
    };
    let (whole, kind) = name.rsplit_once('.')?;
    if whole.strip_prefix(head_prefix) == Some("lm_head") {
        return Some(format!("output.{kind}"));
    }
    let whole = whole.strip_prefix(prefix)?;
    let Some((index, part)) = whole.strip_prefix("layers.").and_then(|rest| rest.split_once('.'))
    else {
        return Some(format!("{}.{kind}", known(whole)?));
    };
    if let Some((network, rest)) = part.split_once(".experts.") {
        let (expert, part) = rest.split_once('.')?;
        let part = known(&format!("{network}.{part}"))?;
        return Some(format!("blk.{index}.{part}.{expert}.{kind}"));
    }
    Some(format!("blk.{index}.{}.{kind}", known(part)?))
}
