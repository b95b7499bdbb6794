//! `bench memory`, on a tiny model that knows nothing.

use std::fs;

use serde_json::Value;

use crate::program::Home;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const FLAGS: [&str; 7] = ["bench", "memory", "--task", "nested-kv", "--limit", "2", "--json"];

#[test]
fn every_arm_leaves_its_records_and_its_sums() {
    let home = Home::new();
    let out = home.join("runs");
    let out = out.to_str().unwrap();
    let command =
        [&FLAGS[..], &["--arm", "memgpt,full-context,no-memory", "--out", out, "--window", "4096"]]
            .concat();
    let first = home.run(&command, "");
    first.succeeded(&command);
    assert!(
        first.stderr.contains("nested-kv, tiny, memgpt, window 4096: 2 cases"),
        "{}",
        first.stderr
    );
    let summaries = lines(&first.stdout);
    let arms: Vec<&str> =
        summaries.iter().map(|summary| summary["arm"].as_str().unwrap()).collect();
    assert_eq!(arms, ["memgpt", "full-context", "no-memory"]);
    for summary in &summaries {
        assert_eq!((&summary["task"], &summary["window"]), (&"nested-kv".into(), &4096.into()));
        assert_eq!(summary["n"], 1);
        assert_eq!(
            summary["runtime_searches"].is_number(),
            summary["arm"] == "memgpt",
            "{summary}"
        );
        assert!(summary["control"].is_number() && summary["ci95"][1].is_number(), "{summary}");
        assert!(summary["tokens_per_case"].as_f64().unwrap() > 0.0, "{summary}");
    }
    let file = home.join("runs/nested-kv.tiny.memgpt.4096.jsonl");
    let records = lines(&fs::read_to_string(&file).unwrap());
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["case"]["labels"]["ask"], "nested");
    assert!(records[0]["events"][0]["steps"][0]["functions"].is_array(), "{}", records[0]);

    let made_by = &records[0]["made_by"];
    for name in ["version", "device", "kernels", "date"] {
        assert!(made_by[name].is_string(), "{name}: {made_by}");
    }
    assert_eq!((&made_by["jobs"], made_by["threads"].is_number()), (&1.into(), true));
    assert_eq!(summaries[0]["made_by"][0]["n"], 2);
    let n_written = summaries[0]["calls_written"].as_u64();
    assert!(n_written > summaries[0]["calls"].as_u64(), "{}", summaries[0]);
    assert_eq!(summaries[0]["invalid_calls"], 0, "{}", summaries[0]);

    // Nothing is run again, and another seed or another time is another run.
    let second = home.run(&command, "");
    assert_eq!(second.stdout, first.stdout);
    let later = home.run(&[&command[..], &["--now", "2026-01-05T21:00:00Z"]].concat(), "");
    assert_eq!(later.status.code(), Some(2), "{}", later.stderr);
    assert!(later.stderr.contains("were made with other now"), "{}", later.stderr);
    let other = home.run(&[&command[..], &["--seed", "5"]].concat(), "");
    assert_eq!(other.status.code(), Some(2), "{}", other.stderr);
    assert!(other.stderr.contains("were made with other seed"), "{}", other.stderr);

    // So are other weights, whatever their name.
    let weights = fs::read(home.model()).unwrap();
    fs::write(home.model(), [&weights[..], &[0]].concat()).unwrap();
    let other = home.run(&command, "");
    assert_eq!(other.status.code(), Some(2), "{}", other.stderr);
    assert!(other.stderr.contains("were made with other weights:"), "{}", other.stderr);
    fs::write(home.model(), weights).unwrap();

    // Scores are made from the records: one that holds the answer is right.
    let mut record = records[0].clone();
    record["reply"] = record["case"]["gold"]["answers"][0].clone();
    fs::write(&file, format!("{record}\n{}\n", records[1])).unwrap();
    let graded = ["bench", "memory", "--regrade", out, "--json"];
    let said = home.run(&graded, "");
    said.succeeded(&graded);
    assert!(said.stderr.contains("memgpt.4096.jsonl: 1 of 2 records changed"), "{}", said.stderr);
    let memgpt =
        lines(&said.stdout).into_iter().find(|summary| summary["arm"] == "memgpt").unwrap();
    assert_eq!(memgpt["accuracy"], 1.0);
    assert_eq!(lines(&fs::read_to_string(&file).unwrap())[0]["score"]["correct"], true);
}

#[test]
fn jobs_leave_the_records_that_one_leaves() {
    let home = Home::new();
    let records = |jobs: &str, threads: &str| {
        let out = home.join(jobs);
        let flags = ["--arm", "no-memory", "--limit", "6", "--out", out.to_str().unwrap()];
        let command = [&FLAGS[..4], &flags, &["--jobs", jobs, "-t", threads]].concat();
        home.run(&command, "").succeeded(&command);
        let file = out.join("nested-kv.tiny.no-memory.4096.jsonl");
        let mut records = lines(&fs::read_to_string(file).unwrap());
        records.sort_by_key(|record| record["case"]["id"].to_string());
        for record in &mut records {
            record["seconds"] = 0.into();
            assert_eq!(record["made_by"].take()["jobs"].to_string(), jobs);
        }
        records
    };
    let together = records("2", "2");
    assert_eq!(together.len(), 6);
    assert_eq!(together, records("1", "1"));
}

#[test]
fn functions_of_others_are_called_by_both_of_their_arms() {
    let home = Home::new();
    let command = [
        "bench",
        "memory",
        "--task",
        "function-calls",
        "--limit",
        "2",
        "--arm",
        "memgpt,no-memory",
        "--json",
        "--window",
        "2048",
    ];
    let said = home.run(&command, "");
    said.succeeded(&command);
    let summaries = lines(&said.stdout);
    assert_eq!(summaries.len(), 2);
    // A model that knows nothing writes calls all the same, under the grammar.
    let (under, free) = (&summaries[0], &summaries[1]);
    assert_eq!(
        (&under["arm"], &under["scores"]["readable"]["mean"]),
        (&"memgpt".into(), &1.0.into())
    );
    assert_eq!((&free["arm"], &free["steps_per_case"]), (&"no-memory".into(), &0.0.into()));
    assert_eq!(under["by"]["category"]["simple"]["n"], 1);
    let refused =
        home.run(&["bench", "memory", "--task", "function-calls", "--arm", "full-context"], "");
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("function-calls has no arm full-context"),
        "{}",
        refused.stderr
    );
}

#[test]
fn schemas_are_measured_without_a_model() {
    let home = Home::new();
    let out = home.join("runs");
    let command = [
        "bench",
        "memory",
        "--task",
        "grammar",
        "--limit",
        "24",
        "--json",
        "--out",
        out.to_str().unwrap(),
    ];
    let said = home.run(&command, "");
    said.succeeded(&command);
    let summary = &lines(&said.stdout)[0];
    let named = ["task", "model", "arm", "source"].map(|name| summary[name].as_str().unwrap());
    assert_eq!(named, ["grammar", "tiny", "grammar", "generated"]);
    assert_eq!((&summary["n"], &summary["by"]["family"]["lists"]["n"]), (&24.into(), &4.into()));
    assert_eq!(summary["accuracy"], 1.0, "{summary}");
    for name in ["compiled", "valid_accepted", "invalid_refused"] {
        assert_eq!(summary[name]["accuracy"], 1.0, "{name}: {summary}");
    }
    assert!(summary["mask_us"]["p99"].as_f64() >= summary["mask_us"]["p50"].as_f64(), "{summary}");
    let records = lines(&fs::read_to_string(out.join("grammar.jsonl")).unwrap());
    assert_eq!(records.len(), 24);
    // What was summed up then is what a report says.
    let folder = out.to_str().unwrap();
    let report = home.run(&["bench", "report", folder, "--json"], "").stdout;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["grammar"][0]["by"], summary["by"]);
    assert_eq!(report["grammar"][0]["mask_us"], summary["mask_us"]);
    let html = home.run(&["bench", "report", folder, "-f", "html"], "");
    assert!(html.stdout.contains("<h2>Schemas</h2>"), "{}", html.stderr);
    let again = home.run(&["bench", "memory", "--regrade", folder], "");
    assert!(again.stderr.contains("has no records"), "{}", again.stderr);
    let table = home.run(&["bench", "memory", "--task", "grammar", "--only", "family=texts"], "");
    assert!(table.stdout.contains("by family: texts 1.000 of 8"), "{}", table.stdout);
    let none = home.run(&["bench", "memory", "--task", "grammar", "--only", "family=x"], "");
    assert_eq!(none.status.code(), Some(2), "{}", none.stderr);
    assert!(none.stderr.contains("--only leave none of them"), "{}", none.stderr);
}

#[test]
fn what_cannot_be_run_is_refused_with_a_sentence() {
    let home = Home::new();
    let folder = home.join("data");
    fs::create_dir(&folder).unwrap();
    let folder = folder.to_str().unwrap();
    let check = |flags: &[&str], code: i32, says: &str| {
        let finished = home.run(&[&["bench", "memory"], flags].concat(), "");
        assert_eq!(finished.status.code(), Some(code), "{}", finished.stderr);
        assert!(finished.stderr.contains(says), "{}", finished.stderr);
        assert!(finished.stdout.is_empty(), "{}", finished.stdout);
    };
    check(&["--task", "poetry"], 2, "one of nested-kv");
    check(&[], 2, "hint: give --task or --suite");
    check(&["--task", "nested-kv", "--arm", "retrieval"], 2, "nested-kv has no arm retrieval");
    check(&["--task", "nested-kv", "--data", folder], 2, "has no data for nested-kv");
    check(&["--task", "nested-kv", "--only", "lookups=9"], 2, "none of them has the labels");
    check(&["--task", "nested-kv", "--window", "5000"], 2, "was trained for at most 4096");
    check(&["--task", "nested-kv", "--model", "./none.gguf"], 3, "none.gguf");
    check(
        &["--task", "nested-kv", "--jobs", "3", "-t", "2"],
        2,
        "3 jobs need a thread each, and there are 2 threads\nhint: try --jobs 2",
    );
    check(&["--regrade", folder], 2, "has no records\nhint: give the folder of --out");
    let file = home.join("data/kv-retrieval-140_keys.jsonl");
    fs::write(&file, "{\"ordered_kv_records\": [[\"a\"]]}\n").unwrap();
    check(
        &["--task", "nested-kv", "--data", folder],
        1,
        "kv-retrieval-140_keys.jsonl, line 1: not as",
    );
}

#[test]
fn long_conversations_are_asked_about() {
    let home = Home::new();
    let command = [
        "bench",
        "memory",
        "--task",
        "opener,locomo,longmemeval",
        "--limit",
        "1",
        "--window",
        "2048",
        "--json",
    ];
    let finished = home.run(&command, "");
    finished.succeeded(&command);
    let summaries = lines(&finished.stdout);
    let tasks: Vec<&str> = summaries.iter().map(|one| one["task"].as_str().unwrap()).collect();
    assert_eq!(tasks, ["opener", "locomo", "longmemeval"]);
    for summary in &summaries {
        assert_eq!((&summary["n"], &summary["arm"]), (&1.into(), &"memgpt".into()), "{summary}");
        let accuracy = summary["accuracy"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&accuracy), "{summary}");
    }
    assert!(summaries[0]["scores"]["sim_3"]["mean"].is_number(), "{}", summaries[0]);
    assert!(summaries[1]["by"]["category"].is_object(), "{}", summaries[1]);
    assert!(summaries[2]["by"]["type"].is_object(), "{}", summaries[2]);
}

#[test]
fn searches_are_measured_without_a_model() {
    let home = Home::new();
    let folder = home.join("data");
    fs::create_dir(&folder).unwrap();
    let folder = folder.to_str().unwrap();
    let command =
        ["bench", "memory", "--task", "retrieval", "--data", folder, "--model", "./none.gguf"];
    let refused = home.run(&command, "");
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("has no data for retrieval"), "{}", refused.stderr);

    let paragraph = |text: &str, id: &str, question: &str| {
        serde_json::json!({"context": text, "qas": [
            {"id": id, "question": question, "answers": [{"text": "x"}]},
        ]})
    };
    let article = serde_json::json!({"title": "Quay", "paragraphs": [
        paragraph("Rope was made in the long shed.", "a", "Where was rope made?"),
        paragraph("The crane was moved by hand.", "b", "How was the crane moved?"),
    ]});
    fs::write(home.join("data/xquad.en.jsonl"), article.to_string()).unwrap();
    let finished = home.run(&command, "");
    finished.succeeded(&command);
    assert!(finished.stdout.starts_with("| set   | search  | embedder "), "{}", finished.stdout);

    let out = home.join("runs");
    let out = out.to_str().unwrap();
    let flags = ["--json", "--limit", "1", "--only", "half=second", "--out", out];
    let command = [&command[..], &flags].concat();
    let finished = home.run(&command, "");
    finished.succeeded(&command);
    let reports = lines(&finished.stdout);
    let arms: Vec<&str> = reports.iter().map(|report| report["arm"].as_str().unwrap()).collect();
    assert_eq!(arms, ["bm25", "words", "meaning", "fused"]);
    for report in &reports {
        assert_eq!((&report["task"], &report["source"]), (&"retrieval".into(), &"xquad".into()));
        assert_eq!((&report["n"], &report["n_documents"]), (&1.into(), &2.into()));
        assert_eq!((&report["accuracy"], &report["recall"]["10"]), (&1.0.into(), &1.0.into()));
    }
    let report = home.run(&["bench", "report", out], "");
    assert_eq!(report.stdout.matches("| xquad, half=second, limit 1 |").count(), 4);
    let diff = ["bench", "diff", out, out];
    assert_eq!(
        home.json_value(&diff)["searches"][0]["scores"][0][1],
        serde_json::json!([1.0, 1.0])
    );
    let merged = home.join("merged");
    let merge = ["bench", "merge", out, "-o", merged.to_str().unwrap()];
    home.run(&merge, "").succeeded(&merge);
    assert!(merged.join("retrieval.jsonl").exists());
    let nothing = home.run(&[&command[..], &["--offset", "5"]].concat(), "");
    assert_eq!(nothing.status.code(), Some(2), "{}", nothing.stderr);
    assert!(nothing.stderr.contains("retrieval has 2, and the flags"), "{}", nothing.stderr);
}
