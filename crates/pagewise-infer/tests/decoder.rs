//! The forward pass on tiny random weights: however tokens are fed, the logits are the same, and
//! they are those of another implementation.

#![allow(missing_docs, clippy::unwrap_used, clippy::result_large_err)]

use std::cell::Cell;
use std::io::Cursor;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::{quantized_llama, quantized_qwen2};
use pagewise_infer::{
    Compute, Decoder, DeviceChoice, Gguf, InferError, LoadError, PREFILL_CHUNK_TOKENS, Session,
};
use pagewise_testkit::{GgufWriter, TinyFamily, TinyModel};
use proptest::prelude::*;

const FAMILIES: [TinyFamily; 2] = [TinyFamily::Llama, TinyFamily::Qwen2];
const WINDOW_TOKENS: usize = 1024;

fn load(writer: &GgufWriter) -> Result<Decoder, LoadError> {
    load_on(writer, &Compute::new(DeviceChoice::Cpu, Some(2)).unwrap().without_tiles())
}

fn load_on(writer: &GgufWriter, compute: &Compute) -> Result<Decoder, LoadError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    writer.write(&path).unwrap();
    let gguf = Gguf::open(&path)?;
    Decoder::load(&gguf, WINDOW_TOKENS, compute)
}

fn tiny(family: TinyFamily) -> Decoder {
    load(&TinyModel::new(family, 1).writer()).unwrap()
}

fn tokens(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 7919 + 13) % 283).collect()
}

#[track_caller]
fn assert_close(actual: &[f32], expected: &[f32]) {
    assert_within(1e-4, actual, expected);
}

#[track_caller]
fn assert_within(tolerance: f32, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len());
    let difference = actual.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(difference < tolerance, "logits differ by {difference}");
}

#[test]
fn logits_are_those_of_another_implementation() {
    for family in FAMILIES {
        let writer = TinyModel::new(family, 1).writer();
        let tokens = tokens(40);
        let input = Tensor::new(tokens.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let mut file = Cursor::new(writer.to_bytes());
        let content = Content::read(&mut file).unwrap();
        let oracle = match family {
            TinyFamily::Llama => {
                quantized_llama::ModelWeights::from_gguf(content, &mut file, &Device::Cpu)
                    .unwrap()
                    .forward(&input, 0)
            }
            TinyFamily::Qwen2 => {
                quantized_qwen2::ModelWeights::from_gguf(content, &mut file, &Device::Cpu)
                    .unwrap()
                    .forward(&input, 0)
            }
        };
        let expected: Vec<f32> = oracle.unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(expected.iter().any(|logit| logit.abs() > 2.0), "the model says nothing");
        let logits =
            |decoder: Decoder| decoder.forward(&tokens, &mut decoder.new_cache().unwrap()).unwrap();
        assert_close(&logits(load_on(&writer, &Compute::tensors()).unwrap()), &expected);
        // Keys and values in half precision, which has eleven bits.
        assert_within(0.02, &logits(tiny(family)), &expected);
    }
}

#[test]
fn all_positions_are_those_of_the_prefixes() {
    for family in FAMILIES {
        let decoder = tiny(family);
        let tokens = tokens(12);
        let all = decoder.forward_all(&tokens, &mut decoder.new_cache().unwrap()).unwrap();
        for (n, logits) in (1..).zip(&all) {
            let mut cache = decoder.new_cache().unwrap();
            assert_close(&decoder.forward(&tokens[..n], &mut cache).unwrap(), logits);
        }
    }
}

/// From within any chunk, in batches of rows of whatever length.
#[test]
fn positions_from_a_first_one_on_are_those_of_all() {
    let decoder = tiny(TinyFamily::Qwen2);
    let tokens = tokens(2 * PREFILL_CHUNK_TOKENS + 50);
    let all = decoder.forward_all(&tokens, &mut decoder.new_cache().unwrap()).unwrap();
    assert_eq!(all.len(), tokens.len());
    for first in [0, 1, PREFILL_CHUNK_TOKENS - 1, PREFILL_CHUNK_TOKENS, 300, tokens.len()] {
        let mut cache = decoder.new_cache().unwrap();
        let mut rows = all[first..].iter();
        decoder
            .forward_each(&|| false, &tokens, first, &mut cache, &mut |logits| {
                assert_close(logits, rows.next().unwrap());
            })
            .unwrap();
        assert_eq!((rows.len(), cache.len()), (0, tokens.len()), "from {first}");
    }
}

/// Logits that are wanted are those that there are when all are, to the last bit.
#[test]
fn few_logits_are_those_of_all() {
    for compute in [Compute::new(DeviceChoice::Cpu, Some(2)).unwrap(), Compute::tensors()] {
        for family in FAMILIES {
            let decoder = load_on(&TinyModel::new(family, 1).writer(), &compute).unwrap();
            let tokens = tokens(PREFILL_CHUNK_TOKENS + 50);
            let (mut cache, mut other) =
                (decoder.new_cache().unwrap(), decoder.new_cache().unwrap());
            for tokens in [&tokens[..], &tokens[..1], &tokens[..3]] {
                let all = decoder.forward(tokens, &mut cache).unwrap();
                let wanted = [0, 7, 30];
                let few = decoder.forward_among(&|| false, tokens, &wanted, &mut other).unwrap();
                assert_eq!(few.len(), all.len());
                for id in wanted {
                    assert_eq!(few[id as usize], all[id as usize]);
                }
                assert_eq!(cache.len(), other.len());
            }
            let n_tokens = other.len();
            let beyond = [decoder.config().vocabulary as u32];
            assert!(decoder.forward_among(&|| false, &[1], &beyond, &mut other).is_err());
            assert!(decoder.forward_among(&|| false, &[], &[1], &mut other).is_err());
            assert_eq!(other.len(), n_tokens);
        }
    }
}

/// A step in the life of a cache.
#[derive(Debug, Clone)]
enum Step {
    /// Feed this many of the tokens that come next.
    Feed(usize),
    /// Forget this many, and feed other tokens in their place that are then forgotten.
    Detour(usize),
    /// Go on with a copy, and spoil the original.
    Copy,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Feed(1)),
        3 => (2usize..40).prop_map(Step::Feed),
        1 => (260usize..300).prop_map(Step::Feed),
        2 => (1usize..50).prop_map(Step::Detour),
        1 => Just(Step::Copy),
    ];
    prop::collection::vec(step, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn logits_do_not_depend_on_how_tokens_came(
        steps in steps(),
        is_llama in any::<bool>(),
        is_portable in any::<bool>(),
    ) {
        let family = if is_llama { TinyFamily::Llama } else { TinyFamily::Qwen2 };
        let decoder = if is_portable {
            load_on(&TinyModel::new(family, 1).writer(), &Compute::tensors()).unwrap()
        } else {
            tiny(family)
        };
        let tokens = tokens(WINDOW_TOKENS);
        let mut cache = decoder.new_cache().unwrap();
        let mut logits = decoder.forward(&tokens[..3], &mut cache).unwrap();
        for step in steps {
            let len = cache.len();
            match step {
                Step::Feed(n) if len + n <= WINDOW_TOKENS => {
                    logits = decoder.forward(&tokens[len..len + n], &mut cache).unwrap();
                }
                Step::Feed(_) => {}
                Step::Detour(n) => {
                    let kept = len.saturating_sub(n).max(1);
                    cache.truncate(kept);
                    decoder.forward(&[5, 6, 7, 8], &mut cache).unwrap();
                    cache.truncate(kept);
                    if kept < len {
                        logits = decoder.forward(&tokens[kept..len], &mut cache).unwrap();
                    }
                }
                Step::Copy => {
                    let copy = cache.try_clone().unwrap();
                    cache.truncate(1);
                    let _ = decoder.forward(&[9; 30], &mut cache);
                    cache = copy;
                }
            }
        }
        let mut fresh = decoder.new_cache().unwrap();
        let expected = decoder.forward(&tokens[..cache.len()], &mut fresh).unwrap();
        assert_close(&logits, &expected);
    }
}

#[test]
fn quantised_weights_say_about_the_same() {
    for family in FAMILIES {
        let tokens = tokens(20);
        let model = TinyModel::new(family, 1);
        let run =
            |decoder: Decoder| decoder.forward(&tokens, &mut decoder.new_cache().unwrap()).unwrap();
        let full = run(load(&model.writer()).unwrap());
        let quantised = run(load(&model.quantised().writer()).unwrap());
        let square = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
        let difference: Vec<f32> = full.iter().zip(&quantised).map(|(a, b)| a - b).collect();
        let share = square(&difference) / square(&full);
        assert!(share > 0.0 && share < 0.01, "{share}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let decoder = tiny(TinyFamily::Llama);
    let mut cache = decoder.new_cache().unwrap();
    decoder.forward(&tokens(10), &mut cache).unwrap();
    let too_many = decoder.forward(&tokens(WINDOW_TOKENS - 9), &mut cache);
    assert!(matches!(
        too_many,
        Err(InferError::WindowFull { n_tokens: 1025, window_tokens: 1024 })
    ));
    let unknown = decoder.forward(&[352], &mut cache);
    assert!(matches!(unknown, Err(InferError::UnknownToken { token: 352, vocabulary: 352 })));
    assert!(matches!(decoder.forward(&[], &mut cache), Err(InferError::NoTokens)));
    assert_eq!(cache.len(), 10);
    let next = decoder.forward(&[3], &mut cache).unwrap();
    let whole = [tokens(10), vec![3]].concat();
    assert_close(&next, &decoder.forward(&whole, &mut decoder.new_cache().unwrap()).unwrap());
}

#[test]
fn a_session_runs_only_what_is_new() {
    let decoder = tiny(TinyFamily::Qwen2);
    let mut session = Session::new(&decoder).unwrap();
    let tokens = tokens(600);
    let mut sync = |tokens: &[u32], prefilled, reused| {
        let synced = session.sync(&decoder, tokens, &|| false).unwrap();
        assert_eq!((synced.prefilled, synced.reused), (prefilled, reused));
        assert_eq!(session.tokens(), tokens);
        let mut fresh = Session::new(&decoder).unwrap();
        let expected = fresh.sync(&decoder, tokens, &|| false).unwrap();
        assert_close(&synced.logits, &expected.logits);
    };
    sync(&tokens[..550], 550, 0);
    sync(&tokens, 50, 550);
    sync(&tokens, 1, 599);
    sync(&tokens[..100], 1, 99);
    let mut other = tokens.clone();
    other[50] = 0;
    sync(&other, 550, 50);
}

#[test]
fn a_cancelled_session_stops_within_a_chunk_and_keeps_those_before() {
    const N_LAYERS: usize = 2;
    let prompt = tokens(2 * PREFILL_CHUNK_TOKENS + 20);
    // Of the same beginning, so that what is kept is used, and what was half done would show.
    let other = [&prompt[..2 * PREFILL_CHUNK_TOKENS - 10], &[1, 2, 3]].concat();
    for compute in
        [Compute::tensors(), Compute::new(DeviceChoice::Cpu, Some(2)).unwrap().without_tiles()]
    {
        let decoder = load_on(&TinyModel::new(TinyFamily::Llama, 1).writer(), &compute).unwrap();
        for n_layers_run in 0..3 * N_LAYERS {
            let mut session = Session::new(&decoder).unwrap();
            let n_asked = Cell::new(0);
            let is_cancelled = || n_asked.replace(n_asked.get() + 1) == n_layers_run;
            let result = session.sync(&decoder, &prompt, &is_cancelled);
            assert!(matches!(result, Err(InferError::Cancelled)), "layer {n_layers_run} is run");
            assert_eq!(n_asked.get(), n_layers_run + 1, "it goes on");
            let n_kept = n_layers_run / N_LAYERS * PREFILL_CHUNK_TOKENS;
            assert_eq!(session.tokens(), &prompt[..n_kept]);

            for (next, n_shared) in [(&other, other.len() - 3), (&prompt, prompt.len())] {
                let mut fresh = Session::new(&decoder).unwrap();
                let expected = fresh.sync(&decoder, next, &|| false).unwrap();
                let mut resumed = session.try_clone().unwrap();
                let synced = resumed.sync(&decoder, next, &|| false).unwrap();
                assert_eq!(synced.reused, n_kept.min(n_shared));
                assert_eq!(resumed.tokens(), next);
                assert_close(&synced.logits, &expected.logits);
            }
        }
    }
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut GgufWriter), expected: &str) {
    let mut writer = TinyModel::new(TinyFamily::Llama, 1).writer();
    change(&mut writer);
    let error = load(&writer).err().expect(expected).to_string();
    assert!(error.contains(expected), "{error} does not say {expected:?}");
}

/// Writes a tiny model with one piece of metadata changed.
#[track_caller]
fn check_metadata(key: &str, value: u32, expected: &str) {
    check_refused(|writer| writer.replace(key, value), expected);
}

#[test]
fn weights_that_do_not_fit_their_metadata_are_refused() {
    check_metadata("llama.block_count", 3, "blk.2.attn_norm.weight");
    check_metadata("llama.block_count", u32::MAX, "asks for 4294967295 layers");
    check_metadata("llama.feed_forward_length", 65, "[65, 32]");
    check_metadata("llama.attention.head_count", 0, "no attention heads");
    check_metadata("llama.attention.head_count", 3, "2 key and value heads among 3 heads");
    check_metadata("llama.attention.head_count_kv", 4, "[32, 32]");
    check_metadata("llama.rope.dimension_count", 9, "turns 9 of 8");
    check_metadata("llama.attention.key_length", 16, "[64, 32]");
    check_metadata("llama.attention.key_length", 1 << 23, "out of all proportion");
    check_metadata("llama.feed_forward_length", 1 << 23, "out of all proportion");
    check_metadata("llama.expert_count", 8, "mixture of experts");
    let architecture = |writer: &mut GgufWriter| writer.replace("general.architecture", "mamba");
    check_refused(architecture, "\"mamba\" are not supported; supported are llama, qwen2");
    let scaling = |writer: &mut GgufWriter| writer.replace("llama.rope.scaling.type", "dynamic");
    check_refused(scaling, "type \"dynamic\", which is not supported");
}
