//! What is made of records of `bench memory`, on small ones that are made up: reports, differences, one
//! leaderboard of several runs, a judge. And suites, on a tiny model that knows nothing.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::program::Home;

/// What a made-up record says.
#[derive(Clone, Copy)]
struct Made<'a> {
    arm: &'a str,
    prompts: &'a str,
    id: usize,
    reply: &'a str,
    correct: bool,
}

fn record(made: Made<'_>) -> Value {
    let Made { arm, prompts, id, reply, correct } = made;
    json!({
        "settings": {
            "format": 2, "task": "doc-qa", "source": "generated", "model": "made-up", "weights": "00ff",
            "arm": arm, "window": 4096, "seed": 0, "embedder": "none", "prompts": prompts,
            "documents": {"n_max": 6, "truncation": "whole"}, "agent": {},
        },
        "case": {
            "id": format!("q-{id}"), "labels": {"kind": "harbour"},
            "messages": [{"text": "When was the harbour built?"}],
            "gold": {"metric": "subspan", "answers": ["1901"], "evidence": [], "tier": "archival"},
        },
        "events": [{"steps": [], "replies": [reply], "evicted": 0}],
        "reply": reply,
        "tokens": {"prefilled": 900, "reused": 0, "generated": 9, "forced": 4, "passes": 10},
        "seconds": 1.5,
        "score": {"correct": correct, "parts": {}},
        "failure": if correct { "none" } else { "misread" },
    })
}

/// Writes records of one arm, of which the first `n_right` are right.
fn write(folder: &Path, arm: &str, prompts: &str, n: usize, n_right: usize) {
    fs::create_dir_all(folder).unwrap();
    let lines: String = (0..n)
        .map(|id| {
            let correct = id < n_right;
            let reply = if correct { "In 1901." } else { "</script><b>In 1902.</b>" };
            format!("{}\n", record(Made { arm, prompts, id, reply, correct }))
        })
        .collect();
    fs::write(folder.join(format!("doc-qa.made-up.{arm}.4096.jsonl")), lines).unwrap();
}

#[test]
fn a_report_in_every_form() {
    let home = Home::new();
    let runs = home.join("runs");
    write(&runs, "memgpt", "p", 20, 18);
    write(&runs, "no-memory", "p", 20, 5);
    let runs = runs.to_str().unwrap();
    let report = |flags: &[&str]| {
        let command = [&["bench", "report", runs], flags].concat();
        let finished = home.run(&command, "");
        finished.succeeded(&command);
        finished.stdout
    };
    let table = report(&[]);
    assert!(table.contains("| doc-qa | made-up | memgpt    | 4096   | 20 | 0.900"), "{table}");
    assert!(table.contains("| made-up | 4096   | 0.90 (0.70 to 0.97, n 20) |"), "{table}");
    let csv = report(&["--format", "csv"]);
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.lines().nth(1).unwrap().starts_with("doc-qa,\"doc-qa\",\"generated\",\"made-up\""));
    let value: Value = serde_json::from_str(&report(&["--json"])).unwrap();
    assert_eq!(value["cells"][1]["accuracy"], 0.25);
    assert_eq!(value["leaderboard"]["standings"][0]["n_tasks"], 1);
    let card = report(&["-f", "card"]);
    assert!(card.starts_with("# made-up as a manager of its memory"), "{card}");
    assert!(card.contains("+0.65 (+0.3"), "{card}");
    for (flags, code, says) in [
        (["-f", "pdf"], 2, "one of table, csv, json, html, card"),
        (["-o", runs], 1, "cannot be written"),
        (["-q", "nowhere"], 1, "nowhere: "),
        (
            ["-q", home.models().to_str().unwrap()],
            2,
            "has no records\nhint: give the folder of --out",
        ),
    ] {
        let finished = home.run(&[&["bench", "report", runs], &flags[..]].concat(), "");
        assert_eq!(finished.status.code(), Some(code), "{}", finished.stderr);
        assert!(finished.stderr.contains(says), "{}", finished.stderr);
    }
    let file = home.join("page.html");
    let said = report(&["-f", "html", "-o", file.to_str().unwrap()]);
    assert!(said.is_empty(), "{said}");
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(page.contains("&lt;/script&gt;&lt;b&gt;In 1902.&lt;/b&gt;") && !page.contains("<b>In"));
}

#[test]
fn two_runs_are_compared_case_by_case() {
    let home = Home::new();
    let [a, b, other] = ["a", "b", "other"].map(|name| home.join(name));
    write(&a, "memgpt", "p", 20, 10);
    write(&b, "memgpt", "q", 20, 16);
    write(&other, "no-memory", "p", 4, 1);
    let [a, b, other] = [&a, &b, &other].map(|path| path.to_str().unwrap());
    let command = ["bench", "diff", a, b];
    let finished = home.run(&command, "");
    finished.succeeded(&command);
    for line in [
        "doc-qa, made-up, memgpt, window 4096: 20 cases",
        "0.500 and 0.800: +0.300",
        "McNemar p = 0.031",
        "gained: q-10, q-11, q-12, q-13, q-14, q-15",
        "lost: none",
        "prompts: \"p\" and \"q\"",
    ] {
        assert!(finished.stdout.contains(line), "no {line:?} in {}", finished.stdout);
    }
    let diff = home.json_value(&command);
    assert_eq!(diff["cells"][0]["n"], 20);
    let finished = home.run(&["bench", "diff", a, other], "");
    assert_eq!(finished.status.code(), Some(2));
    assert!(finished.stderr.contains("no case in common"), "{}", finished.stderr);
}

#[test]
fn runs_are_joined_and_never_mixed() {
    let home = Home::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| home.join(name));
    write(&a, "memgpt", "p", 10, 8);
    write(&b, "memgpt", "p", 20, 7);
    write(&c, "memgpt", "q", 5, 1);
    let out = home.join("all");
    let [a, b, c, out] = [&a, &b, &c, &out].map(|path| path.to_str().unwrap());
    let command = ["bench", "merge", a, b, "-o", out];
    let finished = home.run(&command, "");
    finished.succeeded(&command);
    assert!(finished.stdout.contains("0.40 (0.22 to 0.61, n 20)"), "{}", finished.stdout);
    let said = "20 records in 1 files; 9 were there twice and agree, 1 disagree";
    assert!(finished.stderr.contains(said), "{}", finished.stderr);
    assert!(finished.stderr.contains("warning: q-7 is otherwise in"), "{}", finished.stderr);

    let apart = home.join("apart");
    let command = ["bench", "merge", a, c, "-o", apart.to_str().unwrap()];
    let finished = home.run(&command, "");
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
    assert!(finished.stderr.contains("was run with other prompts"), "{}", finished.stderr);
    assert!(finished.stderr.contains("--keep-apart"), "{}", finished.stderr);
    let command = [&command[..], &["--keep-apart"]].concat();
    let finished = home.run(&command, "");
    finished.succeeded(&command);
    for row in ["| made-up, prompts p |", "| made-up, prompts q |"] {
        assert!(finished.stdout.contains(row), "no {row:?} in {}", finished.stdout);
    }
    assert_eq!(fs::read_dir(&apart).unwrap().count(), 2);
}

#[test]
fn cases_that_have_only_their_names_in_common_are_never_taken_for_one() {
    let home = Home::new();
    let [a, b] = ["a", "b"].map(|name| home.join(name));
    write(&a, "memgpt", "p", 3, 3);
    write(&b, "memgpt", "p", 3, 3);
    let file = b.join("doc-qa.made-up.memgpt.4096.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("When was the harbour built?", "The harbour is of when?"))
        .unwrap();
    let out = home.join("all");
    let [a, b, out] = [&a, &b, &out].map(|path| path.to_str().unwrap());
    let finished = home.run(&["bench", "diff", a, b], "");
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
    let says = "left out of doc-qa, made-up, memgpt, window 4096: 3 cases that have another text";
    assert!(finished.stdout.contains(says), "{}", finished.stdout);
    let command = ["bench", "merge", a, b, "-o", out];
    let finished = home.run(&command, "");
    finished.succeeded(&command);
    assert!(
        finished.stderr.contains("warning: q-0 asks for something else in"),
        "{}",
        finished.stderr
    );
    assert!(finished.stderr.contains("3 disagree"), "{}", finished.stderr);
}

#[test]
fn a_judge_is_measured_before_it_judges() {
    let home = Home::new();
    let runs = home.join("runs");
    write(&runs, "memgpt", "p", 3, 2);
    let data = home.join("locomo_audit");
    fs::create_dir(&data).unwrap();
    for (file, answer) in [("v1", "in 1950"), ("v2", "long ago")] {
        let row = |id: usize| {
            json!({
                "question_id": format!("a{id}"), "question": "When did Ada move?",
                "golden_answer": "in 1949", "generated_answer": answer,
            })
        };
        let lines: String = (0..3).map(|id| format!("{}\n", row(id))).collect();
        fs::write(data.join(format!("wrong_answers_{file}.jsonl")), lines).unwrap();
    }
    let data = home.path().to_str().unwrap();
    let folder = runs.to_str().unwrap();
    let unmeasured = home.run(&["bench", "judge", folder], "");
    assert_eq!(unmeasured.status.code(), Some(2), "{}", unmeasured.stderr);
    assert!(
        unmeasured.stderr.contains("how often the judge tiny is wrong"),
        "{}",
        unmeasured.stderr
    );
    let file = runs.join("doc-qa.made-up.memgpt.4096.jsonl");
    assert!(!fs::read_to_string(&file).unwrap().contains("judged"));

    let command = ["bench", "judge", folder, "--data", data, "--limit", "2"];
    let judged = home.json_value(&command);
    let sets = judged["judges"][0]["sets"].as_array().unwrap();
    assert_eq!(sets.len(), 4);
    assert!(sets.iter().all(|set| set["n"] == 2), "{judged}");
    assert_eq!(judged["judged"][0]["n"], 3, "{judged}");
    let records = fs::read_to_string(&file).unwrap();
    assert_eq!(records.matches("\"judged\":[{\"judge\":\"tiny\"").count(), 3, "{records}");
    assert_eq!(
        records.matches("\"correct\":true").count(),
        2,
        "what it says takes no score's place"
    );

    // It has said what it says, and its errors stand with it wherever that is shown.
    let again = home.run(&["bench", "judge", folder], "");
    assert!(again.stderr.contains("0 of 3 records judged"), "{}", again.stderr);
    let report = home.run(&["bench", "report", folder], "");
    for text in ["| tiny  | wrong_answers_v1", "golden answers in a sentence", "| compared |"] {
        assert!(report.stdout.contains(text), "no {text:?} in {}", report.stdout);
    }
    let empty = home.join("empty");
    fs::create_dir(&empty).unwrap();
    let none = home.run(&["bench", "judge", "--data", empty.to_str().unwrap()], "");
    assert_eq!(none.status.code(), Some(2));
    assert!(none.stderr.contains("has no answers to measure a judge"), "{}", none.stderr);
}

#[test]
fn a_suite_runs_its_tasks_and_leaves_out_windows_that_a_model_does_not_have() {
    let home = Home::new();
    let out = home.join("runs");
    let folder = out.to_str().unwrap();
    let suite = |flags: &[&str]| {
        let command = [&["bench", "memory", "--out", folder], flags].concat();
        let finished = home.run(&command, "");
        finished.succeeded(&command);
        finished
    };
    let full = suite(&["--suite", "full", "--arm", "no-memory", "--limit", "1", "--json"]);
    let cells: Vec<(String, u64)> = full
        .json_lines()
        .iter()
        .map(|cell| (cell["task"].as_str().unwrap().into(), cell["window"].as_u64().unwrap()))
        .collect();
    for cell in [("nested-kv", 2048), ("nested-kv", 4096), ("core-memory", 4096)] {
        assert!(cells.contains(&(cell.0.into(), cell.1)), "{cells:?}");
    }
    assert!(cells.iter().all(|(_, window)| *window <= 4096), "{cells:?}");
    assert!(full.stderr.contains("left out: "), "{}", full.stderr);
    assert!(full.stderr.contains(" in all"), "{}", full.stderr);
    // A folder of data need not have all of it.
    let data = home.join("data");
    fs::create_dir(&data).unwrap();
    let quick = ["--suite", "quick", "--arm", "no-memory", "--limit", "1", "--data"];
    let quick = suite(&[&quick[..], &[data.to_str().unwrap()]].concat());
    assert!(quick.stderr.contains("has no data for dmr"), "{}", quick.stderr);
    assert!(quick.stderr.contains("its cases are generated"), "{}", quick.stderr);
    let none = home.run(&["bench", "memory", "--suite", "best"], "");
    assert_eq!(none.status.code(), Some(2));
    assert!(none.stderr.contains("one of quick, paper, full"), "{}", none.stderr);
}
