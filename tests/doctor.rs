//! `pagewise doctor`: what it finds, and what it says where something is wrong.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::{Finished, Home, tiny_model};

/// Runs `doctor --json`, which ends with this exit code; returns its report and its sentence.
fn doctor(home: &Home, arguments: &[&str], code: i32) -> (Value, String) {
    let Finished { status, stdout, stderr } =
        home.run(&[&["doctor", "--json"], arguments].concat(), "");
    assert_eq!(status.code(), Some(code), "{stderr}{stdout}");
    let report = stdout.lines().next().expect("a report");
    (serde_json::from_str(report).expect("JSON"), stderr)
}

/// The one problem of a report.
fn problem(report: &Value) -> &str {
    let problems = report["problems"].as_array().expect("problems");
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].as_str().expect("a sentence")
}

fn bytes(path: &Path) -> u64 {
    path.metadata().expect("a file").len()
}

#[test]
fn a_machine_in_good_order_has_no_problems() {
    let home = Home::new();
    home.json(&["run", "Hello"], "");
    let (report, _) = doctor(&home, &[], 0);
    assert_eq!(report["problems"], Value::Array(Vec::new()));
    assert_eq!(report["home"]["writable"], true);
    let [model, embedder] = ["model", "embedder"].map(|what| {
        let all = report["weights"].as_array().expect("weights");
        all.iter().find(|weights| weights["what"] == what).expect("one of each").clone()
    });
    assert_eq!(model["bytes"], bytes(&home.model()));
    assert_eq!(embedder["bytes"], bytes(&home.embedder().join("model.safetensors")));
    assert_eq!((&model["usable"], &embedder["usable"]), (&true.into(), &true.into()));
    assert_eq!(report["agents"][0]["ok"], true);
}

#[test]
fn the_device_is_named() {
    let home = Home::new();
    let (report, _) = doctor(&home, &["--device", "cpu"], 0);
    assert_eq!(
        (&report["device"]["asked"], &report["device"]["used"]),
        (&"cpu".into(), &"cpu".into())
    );
    let (report, _) = doctor(&home, &[], 0);
    assert_eq!(report["device"]["asked"], "auto");
    let used = report["device"]["used"].as_str().expect("a device").to_owned();
    let said = home.run(&["doctor"], "").stdout;
    assert!(said.contains(&format!("device    {used}, by --device auto\n")), "{said}");
    #[cfg(not(feature = "cuda"))]
    {
        let (report, said) = doctor(&home, &["--device", "cuda"], 3);
        assert_eq!(report["device"]["used"], Value::Null);
        assert!(problem(&report).contains("built without CUDA") && said.contains("CUDA"), "{said}");
    }
}

#[test]
fn all_files_of_a_model_count() {
    let home = Home::new();
    let parts = tiny_model().write_split(home.path(), "parts", 3).expect("the parts");
    let (report, _) = doctor(&home, &["--model", parts[0].to_str().expect("text")], 0);
    assert_eq!(report["weights"][0]["bytes"], parts.iter().map(|part| bytes(part)).sum::<u64>());

    let folder = home.join("folder");
    let [file, folder_text] = [home.model(), folder.clone()];
    let [file, folder_text] = [file.to_str().expect("text"), folder_text.to_str().expect("text")];
    home.json(&["models", "convert", file, folder_text], "");
    let (report, _) = doctor(&home, &["--model", folder_text], 0);
    assert_eq!(report["weights"][0]["bytes"], bytes(&folder.join("model.safetensors")));
}

#[test]
fn weights_that_cannot_be_used_are_a_problem() {
    let home = Home::new();
    let whole = tiny_model().to_bytes();
    let file = home.join("bad.gguf");
    let mut other = tiny_model();
    other.replace("tokenizer.ggml.pre", "unheard-of");
    for (contents, says) in [
        (&whole[..whole.len() / 2], "incomplete"),
        (b"\x7fELF", "not a GGUF file"),
        (b"", "is empty"),
        (&other.to_bytes(), "by the rule \"unheard-of\""),
    ] {
        fs::write(&file, contents).expect("the file");
        let (report, said) = doctor(&home, &["--model", file.to_str().expect("text")], 3);
        assert!(problem(&report).contains(says) && said.contains(says), "{said}");
        assert_eq!(report["weights"][0]["usable"], false);
        assert_eq!(report["weights"][0]["bytes"], contents.len());
    }
    let (report, _) = doctor(&home, &["--model", "smollm2-135m-instruct-q4_1"], 0);
    assert_eq!(report["weights"][0]["usable"], Value::Null, "it is not there");
}

#[test]
fn what_to_do_about_a_problem_is_said() {
    let home = Home::new();
    let (report, said) = doctor(&home, &["--model", "smollm2-135m-instruct-q4"], 3);
    assert!(problem(&report).contains("did you mean smollm2-135m-instruct-q4_1"), "{report}");
    let hints = report["hints"].as_array().expect("hints");
    assert_eq!(hints.len(), 1, "{report}");
    let hint = hints[0].as_str().expect("a sentence");
    assert!(hint.starts_with("`pagewise models ls` lists the catalog"), "{hint}");
    assert!(said.contains(&format!("\nhint: {hint}\n")), "{said}");
    let (report, said) = doctor(&home, &[], 0);
    assert_eq!(report["hints"], Value::Array(Vec::new()));
    assert!(!said.contains("hint: "), "{said}");
}

#[test]
fn a_damaged_embedder_is_no_damage_to_an_agent() {
    let home = Home::new();
    home.json(&["run", "Hello"], "");
    let weights = home.embedder().join("model.safetensors");
    let whole = fs::read(&weights).expect("the weights");
    fs::write(&weights, &whole[..whole.len() / 2]).expect("the weights are cut");
    let (report, _) = doctor(&home, &[], 3);
    assert!(problem(&report).contains("model.safetensors"), "{report}");
    assert_eq!(report["weights"][1]["usable"], false);
    assert_eq!(report["agents"][0]["ok"], true);
}

#[test]
fn a_damaged_store_is_a_problem() {
    let home = Home::new();
    home.json(&["run", "Hello"], "");
    fs::write(home.database(), [0xA5; 5000]).expect("the database is overwritten");
    let (report, _) = doctor(&home, &[], 4);
    assert!(problem(&report).starts_with("agent default: "), "{report}");
    assert_eq!(report["agents"][0]["ok"], false);
}

#[test]
fn a_home_that_cannot_be_written_is_a_problem() {
    let home = Home::new();
    let file = home.join("file");
    fs::write(&file, b"").expect("a file");
    let check = |path: &Path, says: &str| {
        let path = path.to_str().expect("text");
        let (report, said) = doctor(&home, &["--home", path], 4);
        assert!(problem(&report).contains(says) && said.contains(says), "{said}");
        assert_eq!(report["home"]["writable"], false);
    };
    check(&file, "is not a folder");
    check(&file.join("home"), "file is not a folder");
    // Root may write anywhere but where nobody may.
    #[cfg(target_os = "linux")]
    {
        check(Path::new("/proc/self/nowhere"), "cannot be made in /proc/self");
        check(Path::new("/proc/self"), "is not writable");
    }
    // One that is yet to be made is none.
    let (report, _) = doctor(&home, &["--home", home.join("new/home").to_str().unwrap()], 0);
    assert_eq!(
        (&report["home"]["exists"], &report["home"]["writable"]),
        (&false.into(), &true.into())
    );
    assert!(!home.join("new").exists());
}
