//! One layer: what mixes tokens, and the feed-forward network.

use candle_core::Tensor;

use super::{DecoderConfig, Experts, LayerKind, NormPlacement, QkNorm};
use crate::LoadError;
use crate::linear::Linear;
use crate::rows::Vector;
use crate::weights::Loader;

/// One layer of a decoder.
pub(super) struct Layer {
    pub(super) mixer: Mixer,
    pub(super) mixer_norms: Norms,
    pub(super) feed_forward: FeedForward,
    pub(super) feed_forward_norms: Norms,
}

/// The norms around one half of a layer.
pub(super) struct Norms {
    pub(super) before: Option<Vector>,
    pub(super) behind: Option<Vector>,
}

/// What mixes tokens.
pub(super) enum Mixer {
    Attention(AttentionLayer),
    ShortConv(ShortConvLayer),
}

pub(super) struct AttentionLayer {
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) output: Linear,
    /// For queries and for keys.
    pub(super) norms: Option<[Vector; 2]>,
    pub(super) rope: Option<usize>,
    pub(super) window: Option<usize>,
}

pub(super) struct ShortConvLayer {
    /// What gates the input, what gates the output, and what is convolved.
    pub(super) input: [Linear; 3],
    pub(super) output: Linear,
    /// `(kernel, hidden)`, the newest token last.
    pub(super) taps: Vec<f32>,
    /// The same for candle.
    pub(super) taps_tensor: Tensor,
}

/// What each token goes through by itself.
pub(super) enum FeedForward {
    One(Box<Network>),
    Experts(ExpertsLayer),
}

pub(super) struct Network {
    pub(super) gate: Linear,
    pub(super) up: Linear,
    pub(super) down: Linear,
}

pub(super) struct ExpertsLayer {
    /// Scores the experts.
    pub(super) router: Linear,
    pub(super) experts: Vec<Network>,
    pub(super) n_used: usize,
    pub(super) shares_add_up: bool,
}

impl Layer {
    pub(super) fn load(
        loader: &Loader<'_>,
        index: usize,
        kind: LayerKind,
    ) -> Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let DecoderConfig { hidden, norms, .. } = *loader.config();
        let norms = |before: &str, behind: &str| -> Result<Norms, LoadError> {
            let norm = |part: &str| loader.norm(&name(part), hidden);
            Ok(Norms {
                before: (norms != NormPlacement::Post).then(|| norm(before)).transpose()?,
                behind: (norms != NormPlacement::Pre).then(|| norm(behind)).transpose()?,
            })
        };
        Ok(Self {
            mixer_norms: norms("attn_norm", "post_attention_norm")?,
            mixer: match kind {
                LayerKind::Attention { rope, window } => {
                    Mixer::Attention(AttentionLayer::load(loader, &name, rope, window)?)
                }
                LayerKind::ShortConv { kernel } => {
                    Mixer::ShortConv(ShortConvLayer::load(loader, &name, kernel)?)
                }
            },
            feed_forward: FeedForward::load(loader, index, &name)?,
            feed_forward_norms: norms("ffn_norm", "post_ffw_norm")?,
        })
    }
}

impl AttentionLayer {
    fn load(
        loader: &Loader<'_>,
        name: &dyn Fn(&str) -> String,
        rope: Option<usize>,
        window: Option<usize>,
    ) -> Result<Self, LoadError> {
        let config = loader.config();
        let DecoderConfig { hidden, head_dim, biases, .. } = *config;
        let (query_dim, kv_dim) = (config.n_heads * head_dim, config.n_kv_heads * head_dim);
        let fused = name("attn_qkv");
        let [query, key, value] = if loader.has(&format!("{fused}.weight"))? {
            loader.fused(&fused, [query_dim, kv_dim, kv_dim], hidden, biases.qkv)?
        } else {
            let linear = |part, out_dim| loader.linear(&name(part), (out_dim, hidden), biases.qkv);
            [linear("attn_q", query_dim)?, linear("attn_k", kv_dim)?, linear("attn_v", kv_dim)?]
        };
        let norms = match config.qk_norm {
            QkNorm::None => None,
            QkNorm::PerHead => Some([head_dim, head_dim]),
            QkNorm::Whole => Some([query_dim, kv_dim]),
        };
        let norms = norms.map(|[query, key]| -> Result<_, LoadError> {
            Ok([loader.norm(&name("attn_q_norm"), query)?, loader.norm(&name("attn_k_norm"), key)?])
        });
        let output =
            loader.linear(&name("attn_output"), (hidden, query_dim), biases.attention_output)?;
        Ok(Self { query, key, value, output, norms: norms.transpose()?, rope, window })
    }
}

impl ShortConvLayer {
    fn load(
        loader: &Loader<'_>,
        name: &dyn Fn(&str) -> String,
        kernel: usize,
    ) -> Result<Self, LoadError> {
        let hidden = loader.config().hidden;
        let taps = loader.tensor(&name("shortconv.conv.weight"), &[hidden, kernel])?.floats()?;
        let taps = Tensor::from_vec(taps, (hidden, kernel), loader.compute().device())?;
        let taps = taps.t()?.contiguous()?;
        let input = name("shortconv.in_proj");
        Ok(Self {
            input: loader.fused(&input, [hidden; 3], hidden, false)?,
            output: loader.linear(&name("shortconv.out_proj"), (hidden, hidden), false)?,
            taps: taps.flatten_all()?.to_vec1()?,
            taps_tensor: taps,
        })
    }
}

impl FeedForward {
    fn load(
        loader: &Loader<'_>,
        index: usize,
        name: &dyn Fn(&str) -> String,
    ) -> Result<Self, LoadError> {
        match &loader.config().experts {
            Some(experts) if experts.layers[index] => {
                Ok(Self::Experts(ExpertsLayer::load(loader, experts, name)?))
            }
            _ => Ok(Self::One(Box::new(Network::load(loader, name)?))),
        }
    }
}

impl Network {
    fn load(loader: &Loader<'_>, name: &dyn Fn(&str) -> String) -> Result<Self, LoadError> {
        let DecoderConfig { hidden, feed_forward, biases, .. } = *loader.config();
        let has_bias = biases.feed_forward;
        let (gate, up) = (name("ffn_gate"), name("ffn_up"));
        // One matrix for both has no gate of its own.
        let [gate, up] = if loader.has(&format!("{gate}.weight"))? {
            let linear = |name| loader.linear(name, (feed_forward, hidden), has_bias);
            [linear(&gate)?, linear(&up)?]
        } else {
            loader.fused(&up, [feed_forward; 2], hidden, has_bias)?
        };
        let down = loader.linear(&name("ffn_down"), (hidden, feed_forward), has_bias)?;
        Ok(Self { gate, up, down })
    }
}

impl ExpertsLayer {
    fn load(
        loader: &Loader<'_>,
        experts: &Experts,
        name: &dyn Fn(&str) -> String,
    ) -> Result<Self, LoadError> {
        let hidden = loader.config().hidden;
        let Experts { n_experts, n_used, feed_forward, shares_add_up, .. } = *experts;
        let router = loader.linear(&name("ffn_gate_inp"), (n_experts, hidden), false)?;
        let part = |part, shape| loader.experts(&name(part), n_experts, shape);
        let gates = part("ffn_gate", (feed_forward, hidden))?;
        let ups = part("ffn_up", (feed_forward, hidden))?;
        let downs = part("ffn_down", (hidden, feed_forward))?;
        let experts = gates.into_iter().zip(ups).zip(downs);
        let experts = experts.map(|((gate, up), down)| Network { gate, up, down }).collect();
        Ok(Self { router, experts, n_used, shares_add_up })
    }

    /// Returns the tokens that each expert is to have, and each one's share of the result; `scores`
    /// is `(T, n_experts)`.
    pub(super) fn route(&self, scores: &[f32]) -> Vec<(Vec<u32>, Vec<f32>)> {
        let mut routes = vec![(Vec::new(), Vec::new()); self.experts.len()];
        for (token, scores) in (0u32..).zip(scores.chunks(self.experts.len())) {
            let highest = scores.iter().copied().fold(f32::MIN, f32::max);
            let weights: Vec<f32> = scores.iter().map(|score| (score - highest).exp()).collect();
            let mut order: Vec<usize> = (0..weights.len()).collect();
            order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
            order.truncate(self.n_used);
            let total: f32 = if self.shares_add_up {
                order.iter().map(|expert| weights[*expert]).sum()
            } else {
                weights.iter().sum()
            };
            for expert in order {
                let (tokens, shares) = &mut routes[expert];
                tokens.push(token);
                shares.push(weights[expert] / total);
            }
        }
        routes
    }
}
