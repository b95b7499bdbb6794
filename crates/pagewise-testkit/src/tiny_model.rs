//! Tiny language models with random weights: they know nothing and behave like any other.

use std::io;
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{GgufValue, GgufWriter};

const N_LAYERS: usize = 2;
const HIDDEN: usize = 32;
/// As long as the longest blocks of quantised weights.
const WIDE_HIDDEN: usize = 256;
const N_HEADS: usize = 4;
const N_KV_HEADS: usize = 2;
const CONTEXT_LENGTH: u32 = 4096;
/// More than there are tokens, as in many real models: the last logits stand for nothing.
const N_LOGITS: usize = 352;

/// Pairs that the tokenizer joins, in order of preference; `Ġ` is a space.
const MERGES: [&str; 24] = [
    "t h", "Ġ t", "h e", "i n", "e r", "o n", "a n", "r e", "Ġ a", "Ġt he", "o u", "e n", "in g",
    "Ġ \"", "\" :", "\" ,", "{ \"", "} }", "a r", "m e", "s s", "a g", "me ss", "ag e",
];

const CHAT_TEMPLATE: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// What the template of a model that can think writes when it shall not.
const NO_THINKING: &str = "{% if enable_thinking is defined and not enable_thinking %}\
    {{ '<think>\n\n</think>\n\n' }}{% endif %}";

/// What kind of tiny model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TinyFamily {
    /// Neighbours turned together by RoPE, no biases, a head of its own.
    Llama,
    /// Halves turned together by RoPE, biases, the embedding table as head.
    Qwen2,
}

/// Describes a tiny model: 2 layers of 32 numbers (if not told otherwise), 283 tokens (every byte, a few
/// joined, three control tokens), windows of up to 4,096 tokens, a chat template; below 200 kB. The
/// same description always gives the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TinyModel {
    /// Its architecture.
    pub family: TinyFamily,
    /// Chooses the weights.
    pub seed: u64,
    /// Whether matrices are stored as Q8_0; else as F32.
    pub is_quantised: bool,
    /// How many layers it has.
    pub n_layers: usize,
    /// Whether its rows are as long as the longest blocks; else they are short.
    pub is_wide: bool,
    /// Whether its vocabulary has the marks of a thinking region.
    pub thinks: bool,
}

impl TinyModel {
    /// Describes a model of full precision.
    pub fn new(family: TinyFamily, seed: u64) -> Self {
        Self {
            family,
            seed,
            is_quantised: false,
            n_layers: N_LAYERS,
            is_wide: false,
            thinks: false,
        }
    }

    /// Describes the same model, its matrices stored as Q8_0.
    pub fn quantised(self) -> Self {
        Self { is_quantised: true, ..self }
    }

    /// Describes a model of so many layers.
    pub fn with_layers(self, n_layers: usize) -> Self {
        Self { n_layers, ..self }
    }

    /// Describes a model of 256 numbers, whose rows can be stored in blocks of every type. It has no more
    /// logits than tokens, because other programs would not read it; 6 MB in full precision.
    pub fn wide(self) -> Self {
        Self { is_wide: true, ..self }
    }

    /// Describes a model whose vocabulary has the marks of a thinking region as well. Its template
    /// writes an empty one when it is told that there is to be no thinking.
    pub fn thinking(self) -> Self {
        Self { thinks: true, ..self }
    }

    fn hidden(&self) -> usize {
        if self.is_wide { WIDE_HIDDEN } else { HIDDEN }
    }

    fn feed_forward(&self) -> usize {
        2 * self.hidden()
    }

    fn head_dim(&self) -> usize {
        self.hidden() / N_HEADS
    }

    /// Writes the GGUF file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        self.writer().write(path)
    }

    /// Returns the GGUF file before it is written, for tests that change something in it.
    pub fn writer(&self) -> GgufWriter {
        let architecture = match self.family {
            TinyFamily::Llama => "llama",
            TinyFamily::Qwen2 => "qwen2",
        };
        let mut writer = GgufWriter::new(architecture);
        writer.set("general.name", "Tiny");
        let numbers = [
            ("block_count", self.n_layers),
            ("embedding_length", self.hidden()),
            ("feed_forward_length", self.feed_forward()),
            ("attention.head_count", N_HEADS),
            ("attention.head_count_kv", N_KV_HEADS),
            ("rope.dimension_count", self.head_dim()),
        ];
        for (key, number) in numbers {
            writer.set(&format!("{architecture}.{key}"), number as u32);
        }
        writer.set(&format!("{architecture}.context_length"), CONTEXT_LENGTH);
        writer.set(&format!("{architecture}.attention.layer_norm_rms_epsilon"), 1e-5f32);
        writer.set(&format!("{architecture}.rope.freq_base"), 10_000f32);
        let n_tokens = self.put_vocabulary(&mut writer);
        self.put_weights(&mut writer, if self.is_wide { n_tokens } else { N_LOGITS });
        writer
    }

    /// Returns how many tokens it has put.
    fn put_vocabulary(&self, writer: &mut GgufWriter) -> usize {
        let mut tokens: Vec<String> = byte_characters().map(String::from).to_vec();
        tokens.extend(MERGES.map(|merge| merge.replace(' ', "")));
        let n_texts = tokens.len();
        tokens.extend(["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned));
        let mut types: Vec<i32> =
            (0..tokens.len()).map(|id| if id < n_texts { 1 } else { 3 }).collect();
        if self.thinks {
            tokens.extend(["<think>", "</think>"].map(str::to_owned));
            // User-defined, as in real models: text that is one token.
            types.extend([4, 4]);
        }
        let n_tokens = tokens.len();
        let thinking = if self.thinks { NO_THINKING } else { "" };
        let id_of = |name: &str| tokens.iter().position(|token| token == name).unwrap_or(0) as u32;
        let (end_of_text, end_of_turn) = (id_of("<|endoftext|>"), id_of("<|im_end|>"));
        let pre = match self.family {
            TinyFamily::Llama => "smollm",
            TinyFamily::Qwen2 => "qwen2",
        };
        writer
            .set("tokenizer.ggml.model", "gpt2")
            .set("tokenizer.ggml.pre", pre)
            .set("tokenizer.ggml.tokens", tokens)
            .set("tokenizer.ggml.token_type", GgufValue::I32s(types))
            .set("tokenizer.ggml.merges", MERGES.map(String::from).to_vec())
            .set("tokenizer.ggml.bos_token_id", end_of_text)
            .set("tokenizer.ggml.eos_token_id", end_of_turn)
            .set("tokenizer.ggml.add_bos_token", false)
            .set("tokenizer.chat_template", format!("{CHAT_TEMPLATE}{thinking}").as_str());
        n_tokens
    }

    fn put_weights(&self, writer: &mut GgufWriter, n_logits: usize) {
        let (hidden, feed_forward) = (self.hidden(), self.feed_forward());
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut uniform = |n: usize, middle: f32, width: f32| -> Vec<f32> {
            (0..n).map(|_| middle + width * rng.random_range(-1f32..1.0)).collect()
        };
        let mut put_matrix =
            |writer: &mut GgufWriter, name: &str, rows: usize, columns: usize, gain: f32| {
                let width = gain * (3.0 / columns as f32).sqrt();
                let numbers = uniform(rows * columns, 0.0, width);
                if self.is_quantised {
                    let dimensions = [columns as u64, rows as u64];
                    writer.tensor_raw(name, &dimensions, 8, q8_0(&numbers), None);
                } else {
                    writer.tensor_f32(name, &[rows, columns], &numbers);
                }
            };
        put_matrix(writer, "token_embd.weight", n_logits, hidden, 3.0);
        if self.family == TinyFamily::Llama {
            put_matrix(writer, "output.weight", n_logits, hidden, 3.0);
        }
        let (query_dim, kv_dim) = (N_HEADS * self.head_dim(), N_KV_HEADS * self.head_dim());
        for layer in 0..self.n_layers {
            let matrices = [
                ("attn_q", query_dim, hidden),
                ("attn_k", kv_dim, hidden),
                ("attn_v", kv_dim, hidden),
                ("attn_output", hidden, query_dim),
                ("ffn_gate", feed_forward, hidden),
                ("ffn_up", feed_forward, hidden),
                ("ffn_down", hidden, feed_forward),
            ];
            for (part, rows, columns) in matrices {
                put_matrix(writer, &format!("blk.{layer}.{part}.weight"), rows, columns, 1.5);
            }
        }
        let mut put_vector = |writer: &mut GgufWriter, name: &str, len: usize, middle, width| {
            writer.tensor_f32(name, &[len], &uniform(len, middle, width));
        };
        put_vector(writer, "output_norm.weight", hidden, 1.0, 0.2);
        for layer in 0..self.n_layers {
            for part in ["attn_norm", "ffn_norm"] {
                put_vector(writer, &format!("blk.{layer}.{part}.weight"), hidden, 1.0, 0.2);
            }
            if self.family == TinyFamily::Qwen2 {
                for (part, len) in [("attn_q", query_dim), ("attn_k", kv_dim), ("attn_v", kv_dim)] {
                    put_vector(writer, &format!("blk.{layer}.{part}.bias"), len, 0.0, 0.5);
                }
            }
        }
    }
}

/// Stores numbers, a multiple of 32, as Q8_0: an f16 scale and 32 bytes each.
fn q8_0(numbers: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(numbers.len() / 32 * 34);
    for block in numbers.chunks_exact(32) {
        let largest = block.iter().fold(0f32, |largest, number| largest.max(number.abs()));
        let scale = half::f16::from_f32(largest / 127.0);
        bytes.extend(scale.to_le_bytes());
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        bytes.extend(block.iter().map(|number| (number * inverse).round() as i8 as u8));
    }
    bytes
}

/// Returns the character that stands for each byte in a byte-level vocabulary: itself if it can be
/// seen, else one from U+0100 on.
fn byte_characters() -> [char; 256] {
    let mut next_hidden = 0x100u32;
    std::array::from_fn(|byte| match byte {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte as u8),
        _ => {
            let character = char::from_u32(next_hidden).unwrap_or('?');
            next_hidden += 1;
            character
        }
    })
}
