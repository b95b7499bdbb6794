//! Random weights that write short replies, or one that goes on.
//!
//! The first number of every hidden state is nearly constant, so that the first column of the
//! head works as a bias: the quotation mark and the end of the turn are made likely, or letters
//! are. The vocabulary is single bytes and the beginnings of the words of the prompts, so that
//! these take about as many tokens as under a real tokenizer.

use std::collections::BTreeSet;

use pagewise_testkit::{GgufValue, GgufWriter};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The longest window of the tiny model, in tokens.
pub(crate) const CONTEXT_TOKENS: u32 = 4096;

const HIDDEN: usize = 32;
const FEED_FORWARD: usize = 32;
const N_HEADS: usize = 2;
/// The nearly constant first number of every hidden state.
const CONSTANT: f32 = 4.0;
/// In the first column of the head: about one token in five of a text ends it.
const ENDING_BIAS: f32 = 1.8;
/// In the first column of the head: a text is letters as long as the grammar lets it.
const LETTER_BIAS: f32 = 8.0;
/// So many that a token takes milliseconds, and a reply longer than it takes to stop it.
const LONG_WINDED_LAYERS: usize = 64;
/// How much the logits differ: at temperature 1 replies vary, at 0 they are one of many.
const HEAD_SCALE: f32 = 1.0;

/// What the prompts say, and what the tests say to the model.
const TEXTS: [&str; 7] = [
    include_str!("../../crates/pagewise-agent/src/prompts/frame_system.md"),
    include_str!("../../crates/pagewise-agent/src/prompts/frame_examples.md"),
    include_str!("../../crates/pagewise-agent/src/prompts/summary_system.md"),
    include_str!("../../crates/pagewise-agent/src/prompts/summary_request.md"),
    "# Working context\n[persona] who you are\nI am a friendly, attentive assistant. I answer \
     briefly and truthfully.\n[human] what you know about the user\n(nothing yet)\n# Conversation\n\
     # Summary of what you no longer see\n# What you did just now\n# Now\nToday is Monday\nUser: \
     The user says: The user said: You: you said characters shown found failed results Page",
    "- send_message(message): say this to the user; the only text the user sees\n- \
     working_context_append(block, text): add a line to working context, for a lasting fact\n- \
     working_context_replace(old, new): change a line of working context that is no longer \
     true\n- conversation_search(words): search recall storage by words and meaning\n- \
     conversation_search_date(from, to): list what was said between two days, both included\n- \
     archival_insert(text): put a longer note into archival storage\n- archival_search(words): \
     search archival storage (documents and notes) by words and meaning",
    "{\"function\": \"send_message\", \"args\": {\"message\": \"\", \"block\": \"human\", \"text\": \"",
];

/// Returns a model of the `llama` architecture; the same each time.
pub(crate) fn tiny_model() -> GgufWriter {
    model(1, |token| if ["\"", END].contains(&token) { ENDING_BIAS } else { 0.0 })
}

/// Returns a model that writes replies as long as they may be, one letter after the other, slowly.
pub(crate) fn long_winded_model() -> GgufWriter {
    let is_letter = |token: &str| token.len() == 1 && token.as_bytes()[0].is_ascii_alphabetic();
    model(LONG_WINDED_LAYERS, |token| if is_letter(token) { LETTER_BIAS } else { 0.0 })
}

fn model(n_layers: usize, bias: impl Fn(&str) -> f32) -> GgufWriter {
    let vocabulary = Vocabulary::of(&TEXTS);
    let n_tokens = vocabulary.tokens.len();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut numbers = |count: usize, scale: f32| -> Vec<f32> {
        (0..count).map(|_| scale * normal(&mut rng)).collect()
    };

    let mut embedding = numbers(n_tokens * HIDDEN, 0.7);
    embedding.iter_mut().step_by(HIDDEN).for_each(|first| *first = CONSTANT);
    let mut head = numbers(n_tokens * HIDDEN, HEAD_SCALE);
    for (row, token) in head.chunks_exact_mut(HIDDEN).zip(&vocabulary.tokens) {
        row[0] = bias(token);
    }

    let mut model = GgufWriter::new("llama");
    model
        .set("general.name", "tiny")
        .set("llama.block_count", n_layers as u32)
        .set("llama.context_length", CONTEXT_TOKENS)
        .set("llama.embedding_length", HIDDEN as u32)
        .set("llama.feed_forward_length", FEED_FORWARD as u32)
        .set("llama.attention.head_count", N_HEADS as u32)
        .set("llama.attention.head_count_kv", 1_u32)
        .set("llama.attention.layer_norm_rms_epsilon", 1e-5_f32)
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", "gpt-2")
        .set("tokenizer.ggml.eos_token_id", 1_u32)
        .set("tokenizer.ggml.add_bos_token", false)
        .set("tokenizer.ggml.token_type", GgufValue::I32s(vocabulary.kinds()))
        .set("tokenizer.ggml.merges", vocabulary.merges)
        .set("tokenizer.ggml.tokens", vocabulary.tokens);
    let kv = HIDDEN / N_HEADS;
    model
        .tensor_f32("token_embd.weight", &[n_tokens, HIDDEN], &embedding)
        .tensor_f32("output.weight", &[n_tokens, HIDDEN], &head)
        .tensor_f32("output_norm.weight", &[HIDDEN], &[1.0; HIDDEN]);
    // What many layers add must not drown the bias.
    let scale = 0.15 / n_layers as f32;
    for layer in 0..n_layers {
        for norm in ["attn_norm", "ffn_norm"] {
            model.tensor_f32(&format!("blk.{layer}.{norm}.weight"), &[HIDDEN], &[1.0; HIDDEN]);
        }
        for (name, rows, columns) in [
            ("attn_q", HIDDEN, HIDDEN),
            ("attn_k", kv, HIDDEN),
            ("attn_v", kv, HIDDEN),
            ("attn_output", HIDDEN, HIDDEN),
            ("ffn_gate", FEED_FORWARD, HIDDEN),
            ("ffn_up", FEED_FORWARD, HIDDEN),
            ("ffn_down", HIDDEN, FEED_FORWARD),
        ] {
            let name = format!("blk.{layer}.{name}.weight");
            model.tensor_f32(&name, &[rows, columns], &numbers(rows * columns, scale));
        }
    }
    model
}

/// Begins and ends a turn.
const START: &str = "<|im_start|>";
const END: &str = "<|im_end|>";

struct Vocabulary {
    tokens: Vec<String>,
    merges: Vec<String>,
}

impl Vocabulary {
    /// Every byte is a token, and so is every beginning of a word of `texts`.
    fn of(texts: &[&str]) -> Self {
        let mut tokens: Vec<String> = [START, END].map(String::from).to_vec();
        tokens.extend((0..=u8::MAX).map(|byte| byte_char(byte).to_string()));
        let mut merges = Vec::new();
        let words: BTreeSet<String> = texts.iter().flat_map(|text| words(text)).collect();
        // Words after a space first: their merges must come before those of words without.
        let (spaced, bare): (Vec<&String>, Vec<&String>) =
            words.iter().partition(|word| word.starts_with(byte_char(b' ')));
        let mut known = BTreeSet::new();
        for word in spaced.into_iter().chain(bare) {
            let chars: Vec<char> = word.chars().collect();
            for end in 2..=chars.len() {
                let (start, last) = (&chars[..end - 1], chars[end - 1]);
                let start: String = start.iter().collect();
                let whole = format!("{start}{last}");
                if known.insert(whole.clone()) {
                    merges.push(format!("{start} {last}"));
                    tokens.push(whole);
                }
            }
        }
        Self { tokens, merges }
    }

    /// For each token whether it is text (1) or structure (3).
    fn kinds(&self) -> Vec<i32> {
        self.tokens
            .iter()
            .map(|token| if [START, END].contains(&token.as_str()) { 3 } else { 1 })
            .collect()
    }
}

/// Cuts a text about as the pre-tokenizer does: a word with the space before it, a run of signs.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for byte in text.bytes() {
        let class = match byte {
            b'0'..=b'9' => '0',
            b' ' => ' ',
            b'\n' => 'n',
            _ if byte.is_ascii_alphabetic() || !byte.is_ascii() => 'a',
            _ => '.',
        };
        match (words.last_mut(), last) {
            (Some(word), Some(before)) if before == class || (before == ' ' && class != 'n') => {
                word.push(byte_char(byte));
            }
            _ => words.push(byte_char(byte).to_string()),
        }
        last = Some(class);
    }
    words
}

/// The character that byte-level vocabularies write for a byte.
fn byte_char(byte: u8) -> char {
    let is_itself = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_itself(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !is_itself(*byte)).count() as u32;
    char::from_u32(0x100 + before).expect("a letter")
}

/// A normally distributed number: the sum of twelve evenly distributed ones.
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
}
