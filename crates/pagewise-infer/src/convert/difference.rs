//! What two models differ by.

use super::tensors::{attention_scale, close};
use crate::decoder::{DecoderConfig, Rope, RopeScaling};

/// Returns, in words, what `written` does otherwise than `expected`; `None` if they are the same but
/// for rounding.
pub(super) fn between(expected: &DecoderConfig, written: &DecoderConfig) -> Option<&'static str> {
    let (a, b) = (expected, written);
    let both = |a: Option<f32>, b: Option<f32>| match (a, b) {
        (Some(a), Some(b)) => close(a, b),
        (a, b) => a == b,
    };
    let checks = [
        (a.layers.len() == b.layers.len(), "number of layers"),
        (a.layers == b.layers, "layers, or the windows of these"),
        ((a.hidden, a.feed_forward) == (b.hidden, b.feed_forward), "widths"),
        (
            (a.n_heads, a.n_kv_heads, a.head_dim) == (b.n_heads, b.n_kv_heads, b.head_dim),
            "attention heads",
        ),
        (a.vocabulary == b.vocabulary, "vocabulary"),
        (a.context_length == b.context_length, "context length"),
        (a.ropes.len() == b.ropes.len(), "kinds of RoPE"),
        (a.ropes.iter().zip(&b.ropes).all(|(a, b)| same_rope(a, b)), "kind of RoPE"),
        (a.biases == b.biases, "biases"),
        (close(a.rms_epsilon, b.rms_epsilon), "RMS norm epsilon"),
        ((a.norms, a.norm_plus_one) == (b.norms, b.norm_plus_one), "norms"),
        (a.qk_norm == b.qk_norm, "norms of queries and keys"),
        (a.activation == b.activation, "activation"),
        (a.experts == b.experts, "mixture of experts"),
        (close(a.embedding_scale, b.embedding_scale), "embedding scale"),
        (close(attention_scale(a), attention_scale(b)), "attention scale"),
        (close(a.residual_scale, b.residual_scale), "residual scale"),
        (close(a.logit_scale, b.logit_scale), "logit scale"),
        (both(a.attention_softcap, b.attention_softcap), "attention softcap"),
        (both(a.logit_softcap, b.logit_softcap), "logit softcap"),
        (a.is_tied == b.is_tied, "head"),
    ];
    checks.into_iter().find(|(is_same, _)| !is_same).map(|(_, what)| what)
}

fn same_rope(a: &Rope, b: &Rope) -> bool {
    (a.dim, a.pairing) == (b.dim, b.pairing)
        && close(a.theta, b.theta)
        && close(a.magnitude, b.magnitude)
        && same_scaling(&a.scaling, &b.scaling)
}

fn same_scaling(a: &RopeScaling, b: &RopeScaling) -> bool {
    use RopeScaling::{Divisors, LongRope};
    let same = |a: &[f32], b: &[f32]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs())
    };
    match (a, b) {
        (Divisors(a), Divisors(b)) => same(a, b),
        // The one as the other writes it, for short and long windows alike.
        (Divisors(divisors), LongRope { short, long, .. })
        | (LongRope { short, long, .. }, Divisors(divisors)) => {
            same(divisors, short) && same(divisors, long)
        }
        (a, b) => a == b,
    }
}
