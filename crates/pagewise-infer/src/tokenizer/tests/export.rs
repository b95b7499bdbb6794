//! Tokenizers from one form into the other give the same tokens.

use std::fs;

use pagewise_testkit::GgufWriter;
use serde_json::json;

use super::super::export::{difference, to_folder, to_metadata};
use super::tiny::{
    TINY_BPE, TINY_SPM, TINY_TEXTS, bpe_json, bpe_writer, folder, spm_json, spm_writer,
};
use super::*;
use crate::convert::{Metadatum, file_of_metadata};

fn open(writer: &GgufWriter) -> Gguf {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.gguf");
    writer.write(&path).unwrap();
    Gguf::open(&path).unwrap()
}

#[track_caller]
fn check_same(what: &str, old: &Tokenizer, new: &Tokenizer) {
    assert_eq!(difference(old, new), None, "{what}");
    let mut n_ids = 0;
    for text in TINY_TEXTS.plain.iter().chain(&TINY_TEXTS.rendered) {
        let ids = old.encode(text);
        assert_eq!(ids, new.encode(text), "{what}: {text:?}");
        assert_eq!(old.encode_rendered(text), new.encode_rendered(text), "{what}: {text:?}");
        n_ids += ids.len();
    }
    assert!(n_ids > 1000, "{n_ids}");
}

/// Checks a tokenizer of a GGUF file as a folder has it, and that again as a GGUF file has it.
#[track_caller]
fn check_both_ways(what: &str, gguf: &Gguf) {
    let original = Tokenizer::from_gguf(gguf).unwrap();
    let exported = to_folder(gguf, None, 100).unwrap();
    let folder = folder(&exported.files);
    let of_folder = Tokenizer::from_folder(folder.path()).unwrap();
    check_same(what, &original, &of_folder);
    let again = from_metadata(folder.path(), original.n_tokens() + 7).unwrap();
    assert_eq!(again.n_tokens(), original.n_tokens() + 7, "{what}");
    check_same(what, &original, &again);
}

pub(super) fn from_metadata(folder: &Path, n_rows: usize) -> Result<Tokenizer, TokenizerError> {
    let path = folder.join("again.gguf");
    let mut metadata = to_metadata(folder, n_rows)?;
    // By its name Phi-3 is known, whose special tokens take white space.
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    metadata.push(("general.name".into(), Metadatum::Text(name)));
    fs::write(&path, file_of_metadata(metadata)).unwrap();
    Tokenizer::from_gguf(&Gguf::open(&path).unwrap())
}

#[test]
fn real_vocabularies_are_the_same_both_ways() {
    for file in ["smollm2-135m-instruct-q4_1.gguf", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"] {
        check_both_ways(file, &Gguf::open(&test_weights(file)).unwrap());
    }
}

#[test]
fn every_rule_is_the_same_both_ways() {
    for rule in TINY_BPE.rules.iter().filter_map(|rule| rule.gguf.as_ref()) {
        check_both_ways(rule, &open(&bpe_writer(rule)));
    }
}

#[test]
fn scores_become_merges_and_merges_scores() {
    check_both_ways("prefix", &open(&spm_writer()));
    check_both_ways("no prefix", &open(spm_writer().set("tokenizer.ggml.add_space_prefix", false)));
}

/// A folder is written as GGUF with the same tokens, or refused; but for NFC, which GGUF has not, and
/// for white space beside special tokens.
#[test]
fn a_folder_is_written_as_it_is_or_refused() {
    let files = TINY_BPE.rules.iter().map(bpe_json).chain(TINY_SPM.rules.iter().map(spm_json));
    let (mut n_same, mut refused) = (0, Vec::new());
    for mut file in files {
        for token in file["added_tokens"].as_array_mut().unwrap() {
            token["lstrip"] = false.into();
            token["rstrip"] = false.into();
        }
        let is_nfc = file["normalizer"].to_string().contains("NFC");
        // GGUF has these for every SentencePiece vocabulary, said or not.
        let names = json!({"bos_token": "<s>", "eos_token": "</s>"});
        let folder = folder(&[("tokenizer.json", file), ("tokenizer_config.json", names)]);
        let original = Tokenizer::from_folder(folder.path()).unwrap();
        match from_metadata(folder.path(), original.n_tokens()) {
            Ok(_) if is_nfc => {}
            Ok(again) => {
                check_same(&folder.path().display().to_string(), &original, &again);
                n_same += 1;
            }
            Err(error) => refused.push(error.to_string()),
        }
    }
    refused.sort();
    refused.dedup();
    insta::assert_snapshot!(refused.join("\n"));
    assert!(n_same > 10, "{n_same}");
}
