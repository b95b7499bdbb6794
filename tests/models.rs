//! `pagewise models` as a person uses it: weights in other forms, in and out of the store.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus};

use pagewise_testkit::{TinyFamily, TinyModel};
use serde_json::{Value, json};

use crate::program::{Finished, Home, finish};

fn run(home: &Home, args: &[&str]) -> Finished {
    home.run(args, "")
}

fn json(finished: &Finished) -> Value {
    assert!(finished.status.success(), "{finished:?}");
    serde_json::from_str(&finished.stdout).expect("JSON")
}

fn code(status: ExitStatus) -> Option<i32> {
    status.code()
}

#[test]
fn a_model_goes_into_a_folder_and_the_folder_into_the_store() {
    let home = Home::new();
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("As-Folder");
    let (file, folder) = (home.model(), folder.to_str().expect("text").to_owned());
    let file = file.to_str().expect("text");

    let converted = json(&run(&home, &["models", "convert", file, &folder, "--json"]));
    assert_eq!(
        (&converted["path"], &converted["tokenizer"]),
        (&folder.clone().into(), &true.into())
    );
    let again = run(&home, &["models", "convert", file, &folder]);
    assert_eq!(code(again.status), Some(2));
    assert!(again.stderr.contains("is there already"), "{}", again.stderr);

    let imported = json(&run(&home, &["models", "import", &folder, "--json"]));
    assert_eq!((&imported["name"], &imported["supported"]), (&"as-folder".into(), &true.into()));
    assert_eq!((&imported["quant"], &imported["context"]), (&"F32".into(), &4096.into()));
    let verified = json(&run(&home, &["models", "verify", "as-folder", "--json"]));
    assert_eq!(verified["verified"][0]["ok"], true);
    let listed = json(&run(&home, &["models", "ls", "--json"]));
    let models = listed["models"].as_array().expect("a list");
    assert!(models.iter().any(|model| model["name"] == "as-folder"));

    let shown = json(&run(&home, &["models", "show", "as-folder", "--json"]));
    assert_eq!(shown["model"]["supported"], true);
    assert_eq!(shown["contents"]["tensors"][0]["type"], "F32");
    assert!(shown["contents"]["tokenizer"]["tokens"].as_u64() > Some(256));

    let removed = run(&home, &["models", "rm", "as-folder"]);
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(code(run(&home, &["models", "verify", "as-folder"]).status), Some(3));
}

/// However it is written: `here/folder` looks like a repository of the hub.
#[test]
fn a_folder_that_is_there_is_a_model() {
    let home = Home::new();
    fs::create_dir(home.join("here")).expect("a folder");
    let (file, folder) = (home.model(), home.join("here/folder"));
    let paths = [&file, &folder].map(|path| path.to_str().expect("text"));
    json(&run(&home, &["models", "convert", paths[0], paths[1], "--json"]));
    let here = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.current_dir(home.path());
        finish(command, b"")
    };
    for model in ["here/folder", "./here/folder", "here/folder/"] {
        let said = here(&["run", "Hello", "--model", model]);
        assert!(said.status.success(), "{model}: {}", said.stderr);
    }
    let shown = json(&here(&["models", "show", "here/folder", "--json"]));
    assert_eq!(shown["model"]["supported"], true);
    let plan = json(&here(&["models", "plan", "here/folder", "--json"]));
    assert_eq!(plan["on_disk"], true);
    let report = json(&here(&["doctor", "--model", "here/folder", "--json"]));
    assert_eq!(report["weights"][0]["usable"], true, "{report}");
    // Without what weights need it is none.
    fs::remove_file(folder.join("config.json")).expect("removed");
    for (model, number, says) in [
        ("here/folder", 2, "a Hugging Face folder (./folder), or owner/repo:QUANT"),
        ("./here/folder", 3, "is no folder of weights: it needs config.json"),
    ] {
        let said = here(&["run", "Hello", "--model", model]);
        assert_eq!(code(said.status), Some(number), "{}", said.stderr);
        assert!(said.stderr.contains(says), "{}", said.stderr);
    }
}

/// How it pools stands in a folder below, without which it would be another embedder.
#[test]
fn an_embedder_goes_into_the_store_with_its_steps() {
    let home = Home::new();
    let folder = home.join("My-Embedder");
    fs::create_dir_all(folder.join("1_Pooling")).expect("a folder");
    for entry in fs::read_dir(home.embedder()).expect("the embedder") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, folder.join(path.file_name().expect("a name"))).expect("copied");
    }
    let step = |path: &str, name: &str| {
        let name = format!("sentence_transformers.models.{name}");
        json!({"idx": 0, "name": "", "path": path, "type": name})
    };
    let steps = json!([step("", "Transformer"), step("1_Pooling", "Pooling")]);
    fs::write(folder.join("modules.json"), steps.to_string()).expect("written");
    let pooling = json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false});
    fs::write(folder.join("1_Pooling/config.json"), pooling.to_string()).expect("written");

    let folder = folder.to_str().expect("text");
    let imported = run(&home, &["models", "import", folder]);
    assert!(imported.status.success(), "{}", imported.stderr);
    let says = "my-embedder is in the store; `--embedder my-embedder` takes it.";
    assert!(imported.stderr.contains(says), "{}", imported.stderr);
    assert!(home.models().join("my-embedder/1_Pooling/config.json").is_file());
    let verified = json(&run(&home, &["models", "verify", "my-embedder", "--json"]));
    assert_eq!(verified["verified"][0]["ok"], true);
    let shown = json(&run(&home, &["models", "show", "my-embedder", "--json"]));
    assert_eq!(
        (&shown["model"]["kind"], &shown["model"]["supported"]),
        (&"embedder".into(), &true.into())
    );
    let said = run(&home, &["run", "Hello", "--embedder", "my-embedder"]);
    assert!(said.status.success(), "{}", said.stderr);
    // The environment names it where no flag does.
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagewise"));
    command.args(["doctor", "--json"]).env("PAGEWISE_HOME", home.path());
    command.env("PAGEWISE_MODEL", "tiny").env("PAGEWISE_EMBEDDER", "my-embedder");
    let report = json(&finish(command, b""));
    assert_eq!(report["weights"][1]["name"], "my-embedder");
    assert_eq!(report["weights"][1]["usable"], true, "{report}");
}

/// What is read to see how likely models find it.
const TEXT: &str = include_str!("../LICENSE-APACHE");

/// Returns the logarithm of the perplexity of the text.
fn loss(home: &Home, model: &Path) -> f64 {
    let text = home.join("text.txt");
    std::fs::write(&text, TEXT).expect("written");
    let (text, model) = (text.to_str().expect("text"), model.to_str().expect("text"));
    let command = ["bench", "perplexity", "-f", text, "--window", "64", "--chunks", "4"];
    let report = home.json_value(&[&command[..], &["--model", model]].concat());
    report["perplexity"].as_f64().expect("a number").ln()
}

/// Converts, and returns in which ways matrices are stored and how many there are of each.
fn convert(home: &Home, from: &Path, to: &Path, quant: &str) -> Vec<(String, u64)> {
    let paths = [from, to].map(|path| path.to_str().expect("text"));
    let report = home.json_value(&["models", "convert", paths[0], paths[1], "--quant", quant]);
    assert_eq!(report["bytes"], to.metadata().expect("the file").len());
    let matrices = report["matrices"].as_array().expect("a list").iter();
    let stored = matrices.map(|row| {
        (row["type"].as_str().expect("a name").to_owned(), row["count"].as_u64().expect("a number"))
    });
    stored.collect()
}

/// Of rows that hold whole blocks of every type: the program writes each type that it offers, runs it,
/// and finds a text as likely as before.
#[test]
fn a_model_in_fewer_bits_says_about_the_same() {
    let home = Home::new();
    let whole = home.join("whole.gguf");
    TinyModel::new(TinyFamily::Llama, 3).wide().write(&whole).expect("written");
    let expected = loss(&home, &whole);
    let mut bytes = whole.metadata().expect("the file").len() + 1000;
    // Random logits are off by 0.1 with 8 bits and by 1.2 with 4; the loss is a mean of 124 of them.
    for (quant, tables, bound) in [
        ("F32", "F32", 0.001),
        ("F16", "F16", 0.01),
        ("Q8_0", "Q8_0", 0.05),
        ("Q4_K", "Q8_0", 0.5),
        ("Q4_0", "Q8_0", 0.5),
    ] {
        let [small, again] = ["", "-again"].map(|end| home.join(&format!("{quant}{end}.gguf")));
        let stored = convert(&home, &whole, &small, quant);
        // The table and the head are never in few bits.
        let all = if quant == tables {
            vec![(quant.to_owned(), 16)]
        } else {
            vec![(quant.to_owned(), 14), (tables.to_owned(), 2)]
        };
        assert_eq!(stored, all);
        let smaller = small.metadata().expect("the file").len();
        // Both types of 4 bits take 18 bytes for 32 numbers.
        assert!(smaller <= bytes, "{quant}: {smaller} bytes, {bytes} before");
        bytes = smaller;
        let shown = json(&run(&home, &["models", "show", small.to_str().expect("text"), "--json"]));
        assert_eq!(shown["model"]["supported"], true, "{quant}");
        let found = loss(&home, &small);
        // The same numbers in full precision: what differs is how activations are rounded.
        convert(&home, &small, &again, "F32");
        let exact = loss(&home, &again);
        let said = format!("{quant}: {found:.4}, of its numbers {exact:.4}, not {expected:.4}");
        assert!((found - exact).abs() < 0.05 && (found - expected).abs() < bound, "{said}");
    }
}

/// Rows of 32 numbers are no blocks of 256: what comes next to the type in more bits is taken, and the
/// program says so.
#[test]
fn what_rows_cannot_hold_is_stored_in_more_bits() {
    let home = Home::new();
    let small = home.join("small.gguf");
    let stored = convert(&home, &home.model(), &small, "Q4_K");
    let of = |name: &str| stored.iter().find(|(stored, _)| stored == name).map(|(_, count)| *count);
    assert_eq!((stored.len(), of("Q8_0"), of("Q5_0")), (2, Some(2), Some(7)), "{stored:?}");
    let difference = loss(&home, &small) - loss(&home, &home.model());
    assert!(difference.abs() < 0.05, "{difference}");

    let (from, to) = (home.model(), home.join("smaller.gguf"));
    let paths = [&from, &to].map(|path| path.to_str().expect("text"));
    let refused = run(&home, &["models", "convert", paths[0], paths[1], "--quant", "Q2_K"]);
    assert_eq!(code(refused.status), Some(2));
    let says = "one of F32, F16, BF16, Q8_0, Q4_0, Q4_K";
    assert!(refused.stderr.contains(says) && !to.exists(), "{}", refused.stderr);
}

#[test]
fn a_plan_says_what_a_model_takes() {
    let home = Home::new();
    let file = home.model();
    let file = file.to_str().expect("text");
    let plan = json(&run(&home, &["models", "plan", file, "--window", "100", "--json"]));
    let number = |plan: &Value, key: &str| plan["memory"][key].as_u64().expect("a number");
    let sum = ["weights", "kv_cache", "scratch"].map(|key| number(&plan, key)).iter().sum::<u64>();
    assert_eq!((number(&plan, "total"), &plan["window"]), (sum, &100.into()));
    let larger = json(&run(&home, &["models", "plan", file, "--window", "200", "--json"]));
    assert_eq!(number(&larger, "kv_cache"), 2 * number(&plan, "kv_cache"));
    assert_eq!(larger["default_window"], 4096);
    let refused = run(&home, &["models", "plan", file, "--window", "1000000"]);
    assert_eq!(code(refused.status), Some(2));

    let absent = "qwen2.5-coder-1.5b-instruct-q4_k_m";
    let plan = json(&run(&home, &["models", "plan", absent, "--device", "cpu", "--json"]));
    assert_eq!((&plan["on_disk"], &plan["memory"]["kv_cache"]), (&false.into(), &Value::Null));
    assert!(number(&plan, "weights") > 1_000_000_000);
    assert!(!plan["unknown"].as_array().expect("a list").is_empty());
}

/// For a device that is asked for, and not for another one.
#[test]
fn a_plan_is_for_the_device_that_is_asked_for() {
    let home = Home::new();
    let file = home.model();
    let file = file.to_str().expect("text");
    let plan = json(&run(&home, &["models", "plan", file, "--device", "cpu", "--json"]));
    assert_eq!(plan["device"], "cpu");
    for name in ["decode", "prefill"] {
        assert!(plan["speed"][name].as_f64() > Some(0.0), "{plan}");
    }
    for device in ["cuda", "metal"] {
        for model in [file, "qwen2.5-coder-1.5b-instruct-q4_k_m"] {
            let plan = run(&home, &["models", "plan", model, "--device", device]);
            if plan.status.success() {
                let plan = run(&home, &["models", "plan", model, "--device", device, "--json"]);
                let plan = json(&plan);
                assert_eq!((&plan["device"], &plan["speed"]), (&device.into(), &Value::Null));
                assert_eq!(plan["memory"]["available"], Value::Null);
                continue;
            }
            // As every other command says it.
            let other = run(&home, &["bench", "perf", "--model", file, "--device", device]);
            assert_eq!((code(plan.status), &plan.stderr), (Some(3), &other.stderr));
            assert!(plan.stderr.contains(device) && plan.stdout.is_empty(), "{plan:?}");
        }
    }
}

#[test]
fn show_says_why_weights_cannot_be_used() {
    let home = Home::new();
    let dir = tempfile::tempdir().expect("a folder");
    let show = |change: &dyn Fn(&mut pagewise_testkit::GgufWriter)| {
        let path = dir.path().join("changed.gguf");
        let mut writer = crate::program::tiny_model();
        change(&mut writer);
        writer.write(&path).expect("written");
        json(&run(&home, &["models", "show", path.to_str().expect("text"), "--json"]))
    };
    let whole = show(&|_| {});
    assert_eq!(
        (&whole["model"]["supported"], &whole["model"]["reason"]),
        (&true.into(), &Value::Null)
    );
    for (key, value, reason) in [
        ("general.architecture", "mamba", "\"mamba\" are not supported"),
        ("tokenizer.ggml.pre", "unheard-of", "by the rule \"unheard-of\""),
        ("tokenizer.chat_template", "{% if %}", "template is not valid"),
    ] {
        let shown = show(&|writer| writer.replace(key, value));
        assert_eq!(shown["model"]["supported"], false, "{key}");
        let said = shown["model"]["reason"].as_str().expect("a reason").to_owned();
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn a_model_in_several_files_is_shown_and_not_imported() {
    let home = Home::new();
    let dir = tempfile::tempdir().expect("a folder");
    let parts = crate::program::tiny_model().write_split(dir.path(), "tiny", 3).expect("written");
    let part = parts[1].to_str().expect("text");
    let shown = json(&run(&home, &["models", "show", part, "--json"]));
    assert_eq!(shown["contents"]["files"].as_array().map(Vec::len), Some(3));
    assert_eq!(shown["model"]["supported"], true);
    let imported = run(&home, &["models", "import", part]);
    assert_eq!(code(imported.status), Some(3));
    assert!(imported.stderr.contains("makes one file of them"), "{}", imported.stderr);
}
