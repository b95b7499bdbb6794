use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;

use candle_core::quantized::gguf_file::Content;
use pagewise_testkit::{GgufValue, GgufWriter, test_weights};
use proptest::prelude::*;

use super::header::Header;
use super::*;

const F32: u32 = 0;
const Q8_0: u32 = 8;
const Q4_K: u32 = 12;

fn valid() -> GgufWriter {
    let mut writer = GgufWriter::new("llama");
    writer
        .set("llama.block_count", 2)
        .set("llama.rope.freq_base", 10_000.0)
        .set("tokenizer.ggml.add_bos_token", true)
        .set("tokenizer.ggml.tokens", vec!["a".to_owned(), "é".into(), String::new()])
        .set("llama.attention.head_count_kv", GgufValue::U32s(vec![1, 2]))
        .set("tokenizer.ggml.token_type", GgufValue::I32s(vec![1, 3, -1]))
        .tensor_f32("a", &[2, 4], &[1.0; 8])
        .tensor_raw("b", &[32, 3], Q8_0, vec![7; 3 * 34], None);
    writer
}

fn with(change: impl FnOnce(&mut GgufWriter)) -> Vec<u8> {
    let mut writer = valid();
    change(&mut writer);
    writer.to_bytes()
}

fn with_tensor(
    dimensions: &[u64],
    type_number: u32,
    n_bytes: usize,
    offset: Option<u64>,
) -> Vec<u8> {
    with(|w| {
        w.tensor_raw("c", dimensions, type_number, vec![0; n_bytes], offset);
    })
}

fn with_value(type_number: u32, bytes: &[&[u8]]) -> Vec<u8> {
    with(|w| {
        w.set("hostile", GgufValue::Raw(type_number, bytes.concat()));
    })
}

fn open(bytes: &[u8]) -> Result<Gguf, GgufError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.gguf");
    fs::write(&path, bytes).unwrap();
    Gguf::open(&path)
}

#[test]
fn reads_what_was_written() {
    for version in [2, 3] {
        let gguf = open(&with(|w| w.version = version)).unwrap();
        assert_eq!(gguf.architecture(), "llama");
        assert_eq!(gguf.require_for_architecture::<usize>("block_count").unwrap(), 2);
        assert_eq!(gguf.get::<f32>("llama.rope.freq_base").unwrap(), Some(10_000.0));
        assert_eq!(gguf.get::<bool>("tokenizer.ggml.add_bos_token").unwrap(), Some(true));
        assert_eq!(gguf.get::<u32>("no such key").unwrap(), None);
        let tokens: Strings<'_> = gguf.require("tokenizer.ggml.tokens").unwrap();
        assert_eq!(tokens.len(), 3);
        assert_eq!(tokens.collect::<Vec<_>>(), ["a", "é", ""]);
        let heads: OneOrMany = gguf.require("llama.attention.head_count_kv").unwrap();
        assert_eq!([0, 1, 2].map(|layer| heads.get(layer)), [Some(1), Some(2), None]);
        let layers: OneOrMany = gguf.require("llama.block_count").unwrap();
        assert_eq!(layers.get(9), Some(2));
        let types: Vec<i32> = gguf.require("tokenizer.ggml.token_type").unwrap();
        assert_eq!(types, [1, 3, -1]);

        let tensor = gguf.require_tensor("a").unwrap();
        assert_eq!((tensor.shape(), tensor.n_elements()), (&[2, 4][..], 8));
        assert_eq!(tensor.bytes(), 1.0_f32.to_le_bytes().repeat(8));
        let held = gguf.tensor("b").unwrap().hold();
        gguf.tensor("b").unwrap().release();
        assert_eq!(gguf.tensor("b").unwrap().tensor_type(), TensorType::Q8_0);
        drop(gguf);
        assert_eq!(*held, [7; 102]);
    }
}

#[test]
fn says_which_metadata_are_missing_or_wrong() {
    let gguf = open(&valid().to_bytes()).unwrap();
    let sentence = |error: GgufError| error.problem.to_string();
    let sentences = [
        sentence(gguf.require::<u32>("llama.vocab_size").unwrap_err()),
        sentence(gguf.require::<u32>("llama.rope.freq_base").unwrap_err()),
        sentence(gguf.get::<&str>("llama.block_count").unwrap_err()),
        sentence(gguf.get::<Vec<u32>>("tokenizer.ggml.token_type").unwrap_err()),
        sentence(gguf.get::<Vec<f32>>("tokenizer.ggml.tokens").unwrap_err()),
        sentence(gguf.require_tensor("output.weight").unwrap_err()),
    ];
    insta::assert_snapshot!(sentences.join("\n"));
    let shown: Vec<String> =
        gguf.metadata().map(|(key, value)| format!("{key} = {value}")).collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    general.architecture = llama
    llama.attention.head_count_kv = a list of 2 whole numbers
    llama.block_count = 2
    llama.rope.freq_base = 10000
    tokenizer.ggml.add_bos_token = true
    tokenizer.ggml.token_type = a list of 3 whole numbers
    tokenizer.ggml.tokens = a list of 3 texts
    ");
}

/// What is wrong, the file, the variant that says so.
fn hostile_files() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let n = |number: u64| number.to_le_bytes();
    let of = |type_number: u32| type_number.to_le_bytes();
    let big_endian = [b"GGUF", &3_u32.to_be_bytes()[..], &[0; 16]].concat();
    let mut cut = valid().to_bytes();
    cut.pop();
    vec![
        ("empty", vec![], "Empty"),
        ("one byte", b"G".to_vec(), "NotGguf"),
        ("other magic", b"GGML\x03\0\0\0".to_vec(), "NotGguf"),
        ("a web page", b"<!DOCTYPE html><html>".to_vec(), "NotGguf"),
        ("big-endian", big_endian, "BigEndian"),
        ("version 0", with(|w| w.version = 0), "Version"),
        ("version 1", with(|w| w.version = 1), "Version"),
        ("version 99", with(|w| w.version = 99), "Version"),
        ("magic only", b"GGUF".to_vec(), "HeaderTruncated"),
        ("header cut", valid().to_bytes()[..60].to_vec(), "HeaderTruncated"),
        ("last byte missing", cut, "Truncated"),
        ("2^63 tensors", with(|w| w.n_tensors = Some(1 << 63)), "Count"),
        ("2^63 entries", with(|w| w.n_entries = Some(1 << 63)), "Count"),
        ("a few tensors too many", with(|w| w.n_tensors = Some(4)), "Shape"),
        ("one entry too many", with(|w| w.n_entries = Some(8)), "Count"),
        (
            "alignment 0",
            with(|w| {
                w.set("general.alignment", 0);
            }),
            "Alignment",
        ),
        (
            "alignment 3",
            with(|w| {
                w.set("general.alignment", 3);
            }),
            "Alignment",
        ),
        (
            "alignment 4",
            with(|w| {
                w.set("general.alignment", 4);
            }),
            "Alignment",
        ),
        (
            "alignment 2^40",
            with(|w| {
                w.set("general.alignment", GgufValue::U64(1 << 40));
            }),
            "Alignment",
        ),
        (
            "alignment as text",
            with(|w| {
                w.set("general.alignment", "32");
            }),
            "IllTyped",
        ),
        (
            "duplicate key",
            with(|w| {
                w.set("llama.block_count", 3);
            }),
            "DuplicateKey",
        ),
        ("text of 2^63 bytes", with_value(8, &[&n(1 << 63)]), "Count"),
        ("text longer than the file", with_value(8, &[&n(5_000), b"abc"]), "HeaderTruncated"),
        ("text not UTF-8", with_value(8, &[&n(2), b"\xC3\x28"]), "NotUtf8"),
        ("text in array not UTF-8", with_value(9, &[&of(8), &n(1), &n(1), b"\xFF"]), "NotUtf8"),
        ("2^60 bytes in an array", with_value(9, &[&of(0), &n(1 << 60)]), "Count"),
        ("2^62 numbers in an array", with_value(9, &[&of(10), &n(1 << 62)]), "Count"),
        ("2^40 texts in an array", with_value(9, &[&of(8), &n(1 << 40)]), "Count"),
        ("array of arrays", with_value(9, &[&of(9), &n(1), &of(9), &n(1)]), "NestedArray"),
        ("array of unknown type", with_value(9, &[&of(42), &n(1)]), "ValueType"),
        ("value of unknown type", with_value(13, &[]), "ValueType"),
        ("no architecture", GgufWriter::default().to_bytes(), "MissingKey"),
        (
            "architecture not a text",
            GgufWriter::default().set("general.architecture", 1).to_bytes(),
            "IllTyped",
        ),
        ("no dimensions", with_tensor(&[], F32, 4, None), "Shape"),
        ("five dimensions", with_tensor(&[1; 5], F32, 4, None), "Shape"),
        ("dimension 0", with_tensor(&[4, 0], F32, 4, None), "Shape"),
        ("dimension 2^63", with_tensor(&[1 << 63], F32, 4, None), "TooLarge"),
        ("dimensions that wrap to 0", with_tensor(&[1 << 32, 1 << 32], F32, 4, None), "TooLarge"),
        ("bytes that wrap", with_tensor(&[1 << 62], F32, 4, None), "TooLarge"),
        ("larger than the file", with_tensor(&[1 << 40], F32, 4, None), "Truncated"),
        ("type IQ2_XS", with_tensor(&[256], 17, 74, None), "TensorType"),
        ("type 777", with_tensor(&[256], 777, 74, None), "TensorType"),
        ("Q4_K row of 128", with_tensor(&[128, 2], Q4_K, 144, None), "PartialBlock"),
        ("Q8_0 row of 33", with_tensor(&[33], Q8_0, 68, None), "PartialBlock"),
        ("offset not aligned", with_tensor(&[4], F32, 16, Some(33)), "Unaligned"),
        ("offset past the end", with_tensor(&[4], F32, 16, Some(1 << 20)), "Truncated"),
        ("offset 2^64-32", with_tensor(&[4], F32, 16, Some(u64::MAX - 31)), "Truncated"),
        ("same place twice", with_tensor(&[8], F32, 32, Some(0)), "Overlap"),
        ("inside another", with_tensor(&[8], F32, 32, Some(64)), "Overlap"),
        (
            "duplicate tensor",
            with(|w| {
                w.tensor_f32("a", &[1], &[0.0]);
            }),
            "DuplicateTensor",
        ),
    ]
}

#[test]
fn hostile_files_are_refused_with_a_sentence() {
    let mut sentences = Vec::new();
    for (name, bytes, variant) in hostile_files() {
        let problem = match open(&bytes) {
            Ok(_) => panic!("{name} was accepted"),
            Err(error) => error.problem,
        };
        let debug = format!("{problem:?}");
        assert_eq!(debug.split([' ', '(', '{']).next(), Some(variant), "{name}: {problem}");
        sentences.push(format!("{name}: {problem}"));
    }
    insta::assert_snapshot!(sentences.join("\n"));
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let problem = |path: &Path| Gguf::open(path).unwrap_err().problem;
    assert!(matches!(problem(folder.path()), GgufProblem::NotAFile));
    let missing = folder.path().join("none.gguf");
    assert!(matches!(problem(&missing), GgufProblem::Unreadable(_)));
    let sentence = Gguf::open(&missing).unwrap_err().to_string();
    assert!(sentence.starts_with(&missing.display().to_string()), "{sentence}");
}

#[test]
fn every_truncation_is_refused() {
    let bytes = valid().to_bytes();
    assert!(Header::read(&bytes).is_ok());
    for length in 0..bytes.len() {
        assert!(Header::read(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}

#[test]
fn the_fingerprint_tells_weights_apart() {
    let fingerprint = |bytes: Vec<u8>| open(&bytes).unwrap().fingerprint();
    let original = fingerprint(valid().to_bytes());
    assert_eq!(original, fingerprint(valid().to_bytes()));
    let mut other_data = valid().to_bytes();
    *other_data.last_mut().unwrap() ^= 1;
    assert_ne!(original, fingerprint(other_data));
    assert_ne!(
        original,
        fingerprint(with(|w| {
            w.set("x", 1);
        }))
    );
    assert_ne!(original, fingerprint([valid().to_bytes(), vec![0]].concat()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// A damaged file is refused, or every view into it stays inside it.
    #[test]
    fn damage_never_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = valid().to_bytes();
        for (index, value) in flips {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len() + 1));
        }
        if let Ok(header) = Header::read(&bytes) {
            prop_assert!(header.tensors.len() <= bytes.len() / 32);
            prop_assert!(header.entries.len() <= bytes.len() / 13);
            for tensor in &header.tensors {
                prop_assert!(bytes.get(tensor.range.clone()).is_some());
                let elements: usize = tensor.shape.iter().product();
                let block = tensor.tensor_type.block_len();
                prop_assert_eq!(
                    elements / block * tensor.tensor_type.block_bytes(),
                    tensor.range.len()
                );
            }
            for entry in &header.entries {
                let value = MetadataValue { value: &entry.value, bytes: &bytes };
                let _ = (value.to_string(), value.convert::<Vec<u32>>(), value.convert::<f32>());
                if let Ok(strings) = value.convert::<Strings<'_>>() {
                    prop_assert!(strings.count() <= bytes.len() / 8);
                }
            }
        }
    }
}

/// Candle's reader is the slow truth: it reads the same real files.
#[test]
fn real_files_read_as_candle_reads_them() {
    for file in [
        "smollm2-135m-instruct-q4_1.gguf",
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    ] {
        let path = test_weights(file);
        let gguf = Gguf::open(&path).unwrap();
        let candle = Content::read(&mut BufReader::new(File::open(&path).unwrap())).unwrap();
        assert_eq!(gguf.metadata().len(), candle.metadata.len());
        let ours: BTreeMap<&str, _> = gguf
            .tensors()
            .map(|t| {
                let start = t.info.range.start as u64;
                (t.name(), (t.shape().to_vec(), t.tensor_type().to_candle(), start))
            })
            .collect();
        let theirs: BTreeMap<&str, _> = candle
            .tensor_infos
            .iter()
            .map(|(name, info)| {
                let start = candle.tensor_data_offset + info.offset;
                (name.as_str(), (info.shape.dims().to_vec(), info.ggml_dtype, start))
            })
            .collect();
        assert_eq!(ours, theirs, "{file}");
        let embedding = gguf.require_tensor("token_embd.weight").unwrap();
        let before = embedding.bytes()[..1 << 20].to_vec();
        embedding.release();
        assert_eq!(embedding.bytes()[..1 << 20], before);
        for name in ours.keys() {
            assert_eq!(gguf.tensor(name).unwrap().name(), *name);
        }
    }
}
