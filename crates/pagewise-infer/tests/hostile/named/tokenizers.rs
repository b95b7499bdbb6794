//! Tokenizers in JSON.

use serde_json::{Value, json};

use super::Named;
use crate::cases::{Case, Way};
use crate::seeds;

pub(super) const CASES: &[Named] = &[
    ("a token with the highest number", || {
        tokenizer(|json| json["model"]["vocab"]["far"] = json!(u32::MAX))
    }),
    ("a token with a high number", || {
        tokenizer(|json| json["model"]["vocab"]["far"] = json!((1 << 22) - 1))
    }),
    ("an added token with a high number", || {
        tokenizer(|json| json["added_tokens"][0]["id"] = json!((1 << 22) - 1))
    }),
    ("one number for all tokens", || {
        tokenizer(|json| {
            for id in json["model"]["vocab"].as_object_mut().unwrap().values_mut() {
                *id = json!(5);
            }
        })
    }),
    ("a merge of nothing", || tokenizer(|json| json["model"]["merges"] = json!([["", ""]]))),
    ("a merge with itself", || {
        tokenizer(|json| {
            json["model"]["vocab"]["tt"] = json!(100);
            json["model"]["vocab"]["tttt"] = json!(101);
            json["model"]["merges"] = json!(["t t", "tt tt", "t t", "tt t"]);
        })
    }),
    ("a merge that needs itself", || {
        tokenizer(|json| json["model"]["merges"] = json!(["th t", "t h"]))
    }),
    ("many steps before words", || {
        tokenizer(|json| {
            let step = json!({"type": "Digits", "individual_digits": true});
            json["pre_tokenizer"] =
                json!({"type": "Sequence", "pretokenizers": vec![step; 50_000]});
        })
    }),
    ("steps within steps", || {
        tokenizer(|json| {
            let mut step = json!({"type": "NFC"});
            for _ in 0..60 {
                step = json!({"type": "Sequence", "normalizers": [step]});
            }
            json["normalizer"] = step;
        })
    }),
    ("post-processors within post-processors", || {
        tokenizer(|json| {
            let mut step = json!({"type": "None"});
            for _ in 0..60 {
                step = json!({"type": "Sequence", "processors": [step]});
            }
            json["post_processor"] = step;
        })
    }),
    ("a long list where settings are", || {
        tokenizer(|json| json["normalizer"] = json!({"type": "NFC", "x": vec![0; 3_000_000]}))
    }),
    ("a pattern that goes back", || pattern(r"(a+)+$")),
    ("a pattern that goes back for long", || pattern(r"(a|a)*(a|a)*(a|a)*b(?!c)")),
    ("a pattern that refers back", || pattern(r"(a*)*\1b")),
    ("a pattern that looks around", || pattern(r"(?=(a+)+)(?<=a)(?!b)b*")),
    ("a pattern of many repetitions", || pattern(r"((\pL{99}){99}){99}")),
    ("a pattern of many repetitions that looks ahead", || pattern(r"(?=((\pL{99}){99}){99})a")),
    ("a pattern of a large class, often", || pattern(r"[\pL\pN\pS]{400}")),
    ("many patterns of large classes", || {
        tokenizer(|json| {
            let step = json!({"type": "Split", "pattern": {"Regex": r"[\pL\pN\pS]{150}"},
                              "behavior": "Isolated", "invert": false});
            json["pre_tokenizer"]["pretokenizers"] = json!(vec![step; 30]);
        })
    }),
    ("a pattern of many alternatives", || pattern(&"a|".repeat(4_000))),
    ("a pattern of many parentheses", || pattern(&"(".repeat(8_000))),
    ("a pattern of many groups", || {
        pattern(&format!("{}a{}", "(".repeat(4_000), ")".repeat(4_000)))
    }),
    ("a pattern of many look-aheads", || {
        pattern(&format!("{}a{}", "(?=".repeat(2_000), ")".repeat(2_000)))
    }),
    ("a pattern that takes nothing", || pattern("a*?")),
    ("a pattern that splits bytes", || pattern(r"(?s-u:.)")),
    ("names as lists", || {
        folder("tokenizer_config.json", json!({"bos_token": ["<s>"], "chat_template": {"a": 1}}))
    }),
    ("a list of numbers for a name", || {
        folder("tokenizer_config.json", json!({"bos_token": vec![0; 2_000_000]}))
    }),
    ("many ends", || folder("generation_config.json", json!({"eos_token_id": vec![1; 2_000_000]}))),
    ("settings within settings", || {
        let mut deep = json!({});
        for _ in 0..60 {
            deep = json!({"text_config": deep});
        }
        folder("generation_config.json", deep)
    }),
];

fn tokenizer(change: impl FnOnce(&mut Value)) -> Case {
    let mut files = seeds::tokenizer_json_files();
    let (_, bytes) = files.iter_mut().find(|(name, _)| name == "tokenizer.json").unwrap();
    let mut json: Value = serde_json::from_slice(bytes).unwrap();
    change(&mut json);
    *bytes = json.to_string().into_bytes();
    Case::folder("", Way::FolderTokenizer, files)
}

fn pattern(pattern: &str) -> Case {
    tokenizer(|json| {
        json["pre_tokenizer"]["pretokenizers"][1]["pattern"] = json!({"Regex": pattern});
    })
}

fn folder(name: &str, json: Value) -> Case {
    let mut files = seeds::tokenizer_json_files();
    files.retain(|(known, _)| known != name);
    files.push((name.to_owned(), json.to_string().into_bytes()));
    Case::folder("", Way::FolderTokenizer, files)
}
