//! Weights in another form are the same model: real ones, and tiny ones with all that comes with them.

#![allow(missing_docs, clippy::unwrap_used, clippy::result_large_err)]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use pagewise_core::{Prompt, PromptMessage, PromptRole};
use pagewise_infer::{
    Compute, ConvertError, ConvertOptions, Converted, DeviceChoice, Gguf, LoadedModel, TensorType,
    Tokenizer, convert,
};
use pagewise_testkit::{TinyFamily, TinyModel, test_weights};
use proptest::prelude::*;

/// What is read to see how likely models find it.
const TEXT: &str = include_str!("../../../LICENSE-APACHE");
const N_TOKENS: usize = 300;

fn to(from: &Path, to: &Path, quant: Option<TensorType>) -> Result<Converted, ConvertError> {
    convert(
        from,
        to,
        &ConvertOptions { quant, n_threads: 2 },
        &mut |_, _| ControlFlow::Continue(()),
    )
}

fn load(path: &Path) -> LoadedModel {
    let compute = Compute::new(DeviceChoice::Cpu, Some(2)).unwrap().exact();
    LoadedModel::load(path, &compute, |_, _| Ok(N_TOKENS)).unwrap()
}

/// Returns the tokens of the text, and the logits behind each of them.
fn read(path: &Path) -> (Vec<u32>, Vec<Vec<f32>>) {
    let model = load(path);
    let mut tokens = model.tokenizer.encode(TEXT);
    tokens.truncate(N_TOKENS);
    let mut cache = model.decoder.new_cache().unwrap();
    let logits = model.decoder.forward_all(&tokens, &mut cache).unwrap();
    (tokens, logits)
}

fn best(logits: &[f32]) -> usize {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token)
}

/// Returns the mean negative logarithm of the probability of each next token.
fn loss(tokens: &[u32], logits: &[Vec<f32>]) -> f64 {
    let of_token = |logits: &Vec<f32>, token: &u32| {
        let most = logits.iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
        sum.ln() - f64::from(logits[*token as usize] - most)
    };
    let losses = logits.iter().zip(&tokens[1..]).map(|(logits, token)| of_token(logits, token));
    losses.sum::<f64>() / (tokens.len() - 1) as f64
}

/// Returns how many of the likeliest tokens are the same, from 0 to 1.
fn agreement(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    let same = a.iter().zip(b).filter(|(a, b)| best(a) == best(b)).count();
    same as f64 / a.len() as f64
}

#[test]
fn real_weights_are_the_same_model_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let original = test_weights("smollm2-135m-instruct-q4_1.gguf");
    let (tokens, expected) = read(&original);
    let expected_loss = loss(&tokens, &expected);

    // The same numbers in a file and in a folder, whose rows stand in another order.
    to(&original, &path("half.gguf"), Some(TensorType::F16)).unwrap();
    to(&original, &path("half"), None).unwrap();
    let (of_file, of_folder) = (read(&path("half.gguf")), read(&path("half")));
    assert_eq!((&of_file.0, &of_folder.0), (&tokens, &tokens));
    for (a, b) in of_file.1.iter().flatten().zip(of_folder.1.iter().flatten()) {
        assert!((a - b).abs() < 0.01, "{a} and {b}");
    }

    for (name, quant) in
        [("8.gguf", TensorType::Q8_0), ("4k.gguf", TensorType::Q4_K), ("4.gguf", TensorType::Q4_0)]
    {
        to(&path("half"), &path(name), Some(quant)).unwrap();
        let (again, logits) = read(&path(name));
        assert_eq!(again, tokens);
        let (same, drift) = (agreement(&expected, &logits), loss(&tokens, &logits) - expected_loss);
        eprintln!("{quant}: {same:.3} of the tokens, loss {expected_loss:.4} {drift:+.4}");
        let (least, most) = match quant {
            TensorType::Q8_0 => (0.92, 0.02),
            TensorType::Q4_K => (0.75, 0.2),
            _ => (0.55, 0.4),
        };
        assert!(same >= least && drift.abs() <= most, "{quant}: {same} {drift}");
    }
}

#[test]
fn a_tiny_model_is_the_same_with_all_that_comes_with_it() {
    let message = |role, content: &str| PromptMessage { role, content: content.to_owned() };
    let prompt = Prompt {
        messages: vec![
            message(PromptRole::System, "The mess in the thing."),
            message(PromptRole::User, "Then on and on?"),
        ],
    };
    for family in [TinyFamily::Llama, TinyFamily::Qwen2] {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["tiny.gguf", "folder", "again.gguf", "copy.gguf"].map(|p| dir.path().join(p));
        TinyModel::new(family, 7).write(&paths[0]).unwrap();
        let converted = to(&paths[0], &paths[1], None).unwrap();
        assert!(converted.has_tokenizer && converted.n_tensors > 10);
        to(&paths[1], &paths[2], None).unwrap();
        to(&paths[2], &paths[3], None).unwrap();
        let [expected, others @ ..] = paths.each_ref().map(|path| {
            let model = load(path);
            let tokens = model.encode(&prompt).unwrap();
            let logits =
                model.decoder.forward(&tokens, &mut model.decoder.new_cache().unwrap()).unwrap();
            (tokens, model.tokenizer.end_tokens().to_vec(), best(&logits), logits)
        });
        for other in others {
            assert_eq!((&other.0, &other.1, other.2), (&expected.0, &expected.1, expected.2));
            for (a, b) in other.3.iter().zip(&expected.3) {
                assert!((a - b).abs() < 1e-3, "{a} and {b}");
            }
        }
        // What goes from file to file is the same to the byte, but for what says how it is stored.
        let metadata = |path| {
            let gguf = Gguf::open(path).unwrap();
            let entries = gguf.metadata().map(|(key, value)| format!("{key}={value}"));
            entries.collect::<Vec<_>>()
        };
        assert_eq!(metadata(&paths[2]), metadata(&paths[3]));
    }
}

#[test]
fn a_model_in_several_files_becomes_one() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole.gguf");
    let writer = TinyModel::new(TinyFamily::Llama, 2).writer();
    let parts = writer.write_split(dir.path(), "tiny", 3).unwrap();
    to(&parts[1], &whole, None).unwrap();
    let gguf = Gguf::open(&whole).unwrap();
    assert_eq!((gguf.paths().len(), gguf.get::<u32>("split.count").unwrap()), (1, None));
    let of_parts = Gguf::open(&parts[0]).unwrap();
    for tensor in of_parts.tensors() {
        assert_eq!(gguf.require_tensor(tensor.name()).unwrap().bytes(), tensor.bytes());
    }
    Tokenizer::from_gguf(&gguf).unwrap();
}

/// Rows of 32 and 64 numbers are no blocks of 256.
#[test]
fn what_a_quantisation_cannot_hold_is_stored_in_more_bits() {
    let dir = tempfile::tempdir().unwrap();
    let (file, small) = (dir.path().join("tiny.gguf"), dir.path().join("small.gguf"));
    TinyModel::new(TinyFamily::Llama, 2).write(&file).unwrap();
    let converted = to(&file, &small, Some(TensorType::Q4_K)).unwrap();
    let gguf = Gguf::open(&small).unwrap();
    let stored = |name: &str| gguf.require_tensor(name).unwrap().tensor_type();
    assert_eq!(stored("token_embd.weight"), TensorType::Q8_0);
    assert_eq!(stored("output.weight"), TensorType::Q8_0);
    assert_eq!(stored("blk.0.attn_q.weight"), TensorType::Q5_0);
    assert_eq!(stored("blk.0.attn_norm.weight"), TensorType::F32);
    assert_eq!(converted.stored.len(), 2);
    load(&small);
}

#[test]
fn what_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tiny.gguf");
    // A tensor that no llama has is found when the folder is whole.
    let mut writer = TinyModel::new(TinyFamily::Llama, 2).writer();
    writer.remove("llama.attention.layer_norm_rms_epsilon");
    writer.write(&file).unwrap();
    to(&file, &dir.path().join("folder"), None).unwrap_err();
    let mut writer = TinyModel::new(TinyFamily::Llama, 2).writer();
    writer.set("llama.rope.scaling.attn_factor", 2.0f32);
    writer.write(&file).unwrap();
    let error = to(&file, &dir.path().join("folder"), None).unwrap_err().to_string();
    let expected = "cannot be written as a folder, which has no words for its kind of RoPE";
    assert!(error.ends_with(expected), "{error}");
    let error = to(&file, &dir.path().join("none/x.gguf"), None).unwrap_err().to_string();
    assert!(error.starts_with("cannot write "), "{error}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["tiny.gguf"]);
}

#[test]
fn what_is_cancelled_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tiny.gguf");
    TinyModel::new(TinyFamily::Llama, 2).write(&file).unwrap();
    for name in ["again.gguf", "folder"] {
        let mut n_told = 0;
        let mut until_third = |n_done, n_tensors| {
            n_told += 1;
            assert!(n_done == n_told && n_tensors > 3);
            if n_done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let options = ConvertOptions { quant: None, n_threads: 2 };
        let error = convert(&file, &dir.path().join(name), &options, &mut until_third).unwrap_err();
        assert!(matches!(error, ConvertError::Cancelled), "{error}");
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["tiny.gguf"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever a file says: it is converted or refused, and what is refused leaves nothing.
    #[test]
    fn damaged_files_do_no_harm(
        source in prop::sample::select(vec!["gguf", "granite", "lfm2", "qwen3moe", "gemma3"]),
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(prop_oneof![Just(b'9'), Just(0), any::<u8>()], 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let damage = |path: &Path| {
            let mut file = fs::read(path).unwrap();
            // The header; what follows are numbers.
            let at = at.index(file.len().min(6_000));
            let end = file.len().min(at + bytes.len());
            file[at..end].copy_from_slice(&bytes[..end - at]);
            fs::write(path, file).unwrap();
        };
        let from = dir.path().join("from.gguf");
        let from = if source == "gguf" {
            TinyModel::new(TinyFamily::Llama, 1).write(&from).unwrap();
            damage(&from);
            from
        } else {
            let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/families");
            let from = dir.path().join("from");
            fs::create_dir(&from).unwrap();
            for file in ["config.json", "model.safetensors"] {
                fs::copy(fixture.join(source).join(file), from.join(file)).unwrap();
            }
            let file = if bytes[0] % 2 == 0 { "config.json" } else { "model.safetensors" };
            damage(&from.join(file));
            from
        };
        for (name, quant) in [("to", None), ("to.gguf", Some(TensorType::Q8_0))] {
            let result = to(&from, &dir.path().join(name), quant);
            prop_assert_eq!(result.is_ok(), dir.path().join(name).exists());
        }
        let partial = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        prop_assert!(partial.into_iter().all(|name| !name.to_string_lossy().starts_with('.')));
    }
}
