//! The embedder against sentence-transformers, on 100 sentences.
//!
//! The fixture is made by `scripts/make-embedder-fixture`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use pagewise_core::Embedder;
use pagewise_infer::BertEmbedder;
use pagewise_testkit::test_weights;
use serde::Deserialize;

const MODEL: &str = "all-minilm-l6-v2";

#[derive(Deserialize)]
struct Sentence {
    text: String,
    vector: Vec<f32>,
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn vectors_are_the_references() {
    let sentences: Vec<Sentence> =
        serde_json::from_str(include_str!("data/embedder/sentences.json")).unwrap();
    let embedder = BertEmbedder::load(&test_weights(MODEL)).unwrap();
    let texts: Vec<&str> = sentences.iter().map(|sentence| sentence.text.as_str()).collect();
    let vectors = embedder.embed(&texts).unwrap();
    assert_eq!(vectors.len(), 100);
    for (sentence, vector) in sentences.iter().zip(&vectors) {
        assert_eq!(vector.len(), embedder.dimensions());
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((length - 1.0).abs() < 1e-5, "{:?} has length {length}", sentence.text);
        let cosine = cosine(vector, &sentence.vector);
        assert!(cosine >= 0.9999, "{:?} has cosine {cosine}", sentence.text);
    }
    // Alone, without padding, a text means the same.
    let alone = embedder.embed(&texts[..1]).unwrap();
    assert!(cosine(&alone[0], &vectors[0]) >= 0.999_99);
    assert_eq!(embedder.embed(&[]).unwrap(), Vec::<Vec<f32>>::new());
    assert!(embedder.id().starts_with("minilm-l6-h384-uncased-"), "{}", embedder.id());
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let original = test_weights(MODEL);
    let check = |file: &str, content: Option<&str>, expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            let link = dir.path().join(name);
            match content {
                _ if name != file => link_or_copy(&original.join(name), &link),
                Some(content) => std::fs::write(link, content).unwrap(),
                None => {}
            }
        }
        let error = BertEmbedder::load(dir.path()).err().expect(expected).to_string();
        assert!(error.contains(expected) && error.contains(file), "{error}, not {expected}");
    };
    check("config.json", None, "an embedder is a folder with");
    check("tokenizer.json", None, "an embedder is a folder with");
    check("model.safetensors", None, "an embedder is a folder with");
    check("config.json", Some("{"), "is not valid JSON");
    check("config.json", Some(r#"{"model_type": "llama"}"#), "only \"bert\"");
    let config = std::fs::read_to_string(original.join("config.json")).unwrap();
    let heads = config.replace("\"num_attention_heads\": 12", "\"num_attention_heads\": 0");
    check("config.json", Some(&heads), "cannot be");
    check("tokenizer.json", Some("[]"), "is not a tokenizer");
    check("model.safetensors", Some("0123456789"), "does not hold the weights");
}

fn link_or_copy(from: &Path, to: &Path) {
    std::fs::hard_link(from, to).or_else(|_| std::fs::copy(from, to).map(|_| ())).unwrap();
}
