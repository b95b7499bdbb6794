//! `pagewise models` as a person uses it: weights in other forms, in and out of the store.

use std::process::ExitStatus;

use serde_json::Value;

use crate::program::{Finished, Home};

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
