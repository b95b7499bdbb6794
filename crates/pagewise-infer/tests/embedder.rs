//! Embedders against sentence-transformers and model2vec: all-MiniLM-L6-v2 on 100 sentences, and
//! tiny ones with random weights, so that every kind is compared wherever the tests run.
//!
//! The fixtures are made by `scripts/make-embedder-fixtures`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use pagewise_core::{Embedder, Purpose};
use pagewise_infer::SentenceEmbedder;
use pagewise_testkit::test_weights;
use serde::Deserialize;

const MODEL: &str = "all-minilm-l6-v2";

#[derive(Deserialize)]
struct Sentence {
    text: String,
    vector: Vec<f32>,
}

/// What a tiny embedder makes of a text.
#[derive(Deserialize)]
struct Expected {
    text: String,
    query: Vec<f32>,
    passage: Vec<f32>,
}

/// What a cosine may lack where many tokens go through weights that were rounded.
const ROUNDED: f64 = 1e-4;

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[test]
fn vectors_are_the_references() {
    let sentences: Vec<Sentence> =
        serde_json::from_str(include_str!("data/embedder/sentences.json")).unwrap();
    let embedder = SentenceEmbedder::load(&test_weights(MODEL), None).unwrap();
    let texts: Vec<&str> = sentences.iter().map(|sentence| sentence.text.as_str()).collect();
    let vectors = embedder.embed(&texts, Purpose::Passage).unwrap();
    assert_eq!(vectors.len(), 100);
    for (sentence, vector) in sentences.iter().zip(&vectors) {
        assert_eq!(vector.len(), embedder.dimensions());
        assert!((length(vector) - 1.0).abs() < 1e-5, "{:?}", sentence.text);
        let cosine = cosine(vector, &sentence.vector);
        assert!(cosine >= 0.9999, "{:?} has cosine {cosine}", sentence.text);
    }
    // Alone, as a query, and with other threads, a text means the same.
    let alone = embedder.embed(&texts[..1], Purpose::Query).unwrap();
    assert!(cosine(&alone[0], &vectors[0]) > 1.0 - ROUNDED);
    let single = SentenceEmbedder::load(&test_weights(MODEL), Some(1)).unwrap();
    assert_eq!(single.embed(&texts, Purpose::Passage).unwrap(), vectors);
    assert_eq!(embedder.embed(&[], Purpose::Passage).unwrap(), Vec::<Vec<f32>>::new());
    assert_eq!(embedder.id(), single.id());
    assert!(embedder.id().starts_with("minilm-l6-h384-uncased-"), "{}", embedder.id());
}

fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/embedder").join(name)
}

fn check_tiny(name: &str, folder: &Path) {
    let embedder = SentenceEmbedder::load(folder, Some(2)).unwrap();
    let expected = std::fs::read_to_string(tiny(name).join("expected.json")).unwrap();
    let expected: Vec<Expected> = serde_json::from_str(&expected).unwrap();
    let texts: Vec<&str> = expected.iter().map(|expected| expected.text.as_str()).collect();
    for purpose in [Purpose::Query, Purpose::Passage] {
        let together = embedder.embed(&texts, purpose).unwrap();
        for ((expected, text), together) in expected.iter().zip(&texts).zip(&together) {
            let of_reference = match purpose {
                Purpose::Query => &expected.query,
                Purpose::Passage => &expected.passage,
            };
            let alone = &embedder.embed(&[text], purpose).unwrap()[0];
            if length(of_reference) == 0.0 {
                assert_eq!([alone, together], [of_reference; 2], "{name}, {text:?}");
                continue;
            }
            let is_short = embedder.n_tokens(text, purpose).unwrap() < 64;
            let bounds = [(alone, if is_short { 1e-6 } else { ROUNDED }), (together, ROUNDED)];
            for (found, bound) in bounds {
                let cosine = cosine(found, of_reference);
                assert!(cosine > 1.0 - bound, "{name}, {text:?}: cosine {cosine}");
                assert!((length(found) - 1.0).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn every_kind_of_embedder_is_as_its_maker_has_it() {
    for name in ["bge", "e5", "xlm-roberta", "table", "shared-table"] {
        check_tiny(name, &tiny(name));
    }
}

/// Copies the files of a tiny embedder, one of them changed or left out.
fn copy_changed(name: &str, to: &Path, file: &str, content: Option<&[u8]>) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(tiny(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let inner = to.join(path.file_name().unwrap());
            std::fs::create_dir_all(&inner).unwrap();
            std::fs::copy(path.join("config.json"), inner.join("config.json")).unwrap();
        } else if path.file_name().unwrap() != file {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
    if let Some(content) = content {
        std::fs::write(to.join(file), content).unwrap();
    }
}

#[test]
fn prefixes_that_no_file_says_are_known_by_the_name() {
    let dir = tempfile::tempdir().unwrap();
    // As it lies in the cache of another program.
    let named = dir.path().join("models--intfloat--e5-small-v2/snapshots/0a1b");
    let unnamed = dir.path().join("unnamed");
    for folder in [&named, &unnamed] {
        copy_changed("e5", folder, "config_sentence_transformers.json", None);
    }
    check_tiny("e5", &named);
    let [named, unnamed] =
        [named, unnamed].map(|folder| SentenceEmbedder::load(&folder, Some(1)).unwrap());
    let embed = |embedder: &SentenceEmbedder, purpose| embedder.embed(&["cat"], purpose).unwrap();
    assert_eq!(embed(&unnamed, Purpose::Query), embed(&unnamed, Purpose::Passage));
    assert_ne!(embed(&named, Purpose::Query), embed(&named, Purpose::Passage));
    assert_ne!(named.id(), unnamed.id(), "other vectors, another name");
}

#[test]
fn the_id_changes_whenever_the_vectors_would() {
    let dir = tempfile::tempdir().unwrap();
    let id = |folder: &Path| SentenceEmbedder::load(folder, Some(1)).unwrap().id().to_owned();
    let original = id(&tiny("bge"));
    let copy = dir.path().join("copy");
    copy_changed("bge", &copy, "", None);
    assert_eq!(id(&copy), original, "a copy is the same embedder");
    let text = |file: &str| std::fs::read_to_string(tiny("bge").join(file)).unwrap();
    let mut weights = std::fs::read(tiny("bge").join("model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    let changes: [(&str, Vec<u8>); 4] = [
        ("config.json", text("config.json").replace("1e-12", "1e-5").into_bytes()),
        ("tokenizer.json", text("tokenizer.json").replace("true", "false").into_bytes()),
        (
            "config_sentence_transformers.json",
            text("config_sentence_transformers.json").replace("Represent", "Show").into_bytes(),
        ),
        ("model.safetensors", weights),
    ];
    for (index, (file, content)) in changes.iter().enumerate() {
        let changed = dir.path().join(index.to_string());
        copy_changed("bge", &changed, file, Some(content));
        assert_ne!(id(&changed), original, "{file}");
    }
    let first = dir.path().join("first");
    copy_changed("bge", &first, "", None);
    std::fs::write(first.join("1_Pooling/config.json"), r#"{"pooling_mode": "mean"}"#).unwrap();
    assert_ne!(id(&first), original, "pooling");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let check = |name: &str, file: &str, content: Option<&str>, expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        copy_changed(name, dir.path(), file, content.map(str::as_bytes));
        let error = SentenceEmbedder::load(dir.path(), Some(1)).err().expect(expected).to_string();
        assert!(error.contains(expected) && error.contains(file), "{error}, not {expected}");
    };
    let text = |name: &str, file: &str| std::fs::read_to_string(tiny(name).join(file)).unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        check("bge", file, None, "an embedder is a folder with");
        check("table", file, None, "an embedder is a folder with");
    }
    check("bge", "config.json", Some("{"), "is not valid JSON");
    check("bge", "config.json", Some(r#"{"model_type": "llama"}"#), "only \"bert\"");
    check("bge", "config.json", Some(r#"{"model_type": "bert"}"#), "does not describe a BERT");
    let config = text("bge", "config.json");
    let changed = |from: &str, to: &str| config.replace(from, to);
    for impossible in ["0", "3", "99999999"] {
        let to = format!("\"num_attention_heads\": {impossible}");
        check("bge", "config.json", Some(&changed("\"num_attention_heads\": 2", &to)), "cannot be");
    }
    let negative = changed("\"hidden_size\": 16", "\"hidden_size\": -16");
    check("bge", "config.json", Some(&negative), "does not describe a BERT");
    check("bge", "config.json", Some(&changed("\"gelu\"", "\"silu\"")), "the activation");
    let small = changed("\"max_position_embeddings\": 40", "\"max_position_embeddings\": 2");
    check("bge", "config.json", Some(&small), "without room");
    check("bge", "tokenizer.json", Some("[]"), "is not a tokenizer");
    check("table", "tokenizer.json", Some("[]"), "is not");
    check("bge", "model.safetensors", Some("0123456789"), "does not hold the weights");
    let other = std::fs::read(tiny("table").join("model.safetensors")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy_changed("bge", dir.path(), "model.safetensors", Some(&other));
    let error = SentenceEmbedder::load(dir.path(), Some(1)).err().unwrap().to_string();
    assert!(error.contains("is missing"), "{error}");
    check("bge", "modules.json", Some("{}"), "is not what it should be");
    let modules = text("bge", "modules.json");
    let dense = modules.replace("normalize.Normalize", "dense.Dense");
    check("bge", "modules.json", Some(&dense), "the step \"Dense\"");
    let outside = modules.replace("1_Pooling", "../elsewhere");
    check("bge", "modules.json", Some(&outside), "names the folder");
    check("table", "config.json", Some(r#"{"model_type":"model2vec","max_length":0}"#), "no room");
}

/// Weights cut short or changed anywhere are refused or give other numbers; nothing panics.
#[test]
fn damaged_weights_do_no_harm() {
    for name in ["bge", "shared-table"] {
        let bytes = std::fs::read(tiny(name).join("model.safetensors")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for round in 0..60 {
            let mut damaged = bytes.clone();
            let place = round * 131 % bytes.len();
            match round % 3 {
                0 => damaged.truncate(place),
                1 => damaged[round * 17 % 2000] ^= 1 << (round % 8),
                _ => damaged[place] = 0xff,
            }
            let folder = dir.path().join(round.to_string());
            copy_changed(name, &folder, "model.safetensors", Some(&damaged));
            if let Ok(embedder) = SentenceEmbedder::load(&folder, Some(1)) {
                let embedded = embedder.embed(&["the cat", "sat"], Purpose::Passage);
                assert!(embedded.is_err() || embedded.is_ok_and(|vectors| vectors.len() == 2));
            }
        }
    }
}
