//! A conversation through pipes, and what else the program says about it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::program::{CLOCK, CONTEXT_TOKENS, Finished, Home, messages, replies, user_texts};

const LINES: &str = "Hello, is anybody there?\n\nMy sister Ana lives in Oslo.\nThat is all.\n";

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// A line of `chat --json` without the times that the event took, byte for byte.
fn without_seconds(line: &str) -> String {
    ["seconds", "first_token_seconds"].iter().fold(line.to_owned(), |line, name| {
        let name = format!("\"{name}\":");
        let (before, rest) = line.split_once(&name).expect("times in the line");
        let end = rest.find([',', '}']).expect("something after the time");
        before.to_string() + &rest[end..]
    })
}

#[test]
fn a_line_is_an_event_and_an_event_is_an_object() {
    let home = Home::new();
    let events = home.json(&["chat", "--window", "2048", "--temp", "0.9"], LINES);
    assert_eq!(events.len(), 3, "the empty line is no event");
    for event in &events {
        assert_eq!(
            keys(event),
            [
                "replies",
                "plan",
                "calls",
                "tokens",
                "context",
                "evicted",
                "seconds",
                "first_token_seconds"
            ]
            .into(),
            "{event}"
        );
        assert_eq!(
            keys(&event["tokens"]),
            ["prefilled", "reused", "generated", "forced", "passes"].into()
        );
        assert_eq!(event["context"]["window"], 2048);
        assert!(event["context"]["used"].as_u64().is_some_and(|used| used > 0 && used <= 2048));
        assert!(event["evicted"].is_u64() && event["seconds"].is_f64());
        assert!(event["tokens"]["generated"].as_u64() > Some(0));
        let mut said = Vec::new();
        for call in event["calls"].as_array().expect("calls") {
            assert_eq!(keys(call), ["function", "arguments", "status", "result"].into(), "{call}");
            assert!(["ok", "failed"].map(Value::from).contains(&call["status"]), "{call}");
            if call["function"] == "send_message" {
                said.push(call["arguments"]["message"].clone());
            }
        }
        assert_eq!(event["replies"], Value::Array(said));
    }
    // What the first prompt and the second have in common is not read twice.
    assert!(events[1]["tokens"]["reused"].as_u64() > Some(100), "{}", events[1]["tokens"]);

    let export = home.export();
    let lines: Vec<&str> = LINES.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(user_texts(&export), lines);
    let said: Vec<&Value> =
        events.iter().flat_map(|event| event["replies"].as_array().unwrap()).collect();
    assert_eq!(replies(&export), said);
}

#[test]
fn the_same_seed_and_clock_say_the_same() {
    let talk = |seed: &str| -> Vec<String> {
        let home = Home::new();
        let arguments = ["chat", "--json", "--window", "1536", "--temp", "1.2", "--seed", seed];
        let finished = home.run(&arguments, LINES.repeat(6));
        finished.succeeded(&arguments);
        finished.stdout.lines().map(without_seconds).collect()
    };
    let first = talk("7");
    assert_eq!(first, talk("7"));
    assert_ne!(first, talk("8"));
}

#[test]
fn a_restart_goes_on_where_the_conversation_was() {
    let home = Home::new();
    home.json(&["chat"], "My sister Ana lives in Oslo.\n");
    let prompt = &home.json(&["chat"], "/prompt\n")[0]["prompt"];
    assert!(prompt.as_str().is_some_and(|prompt| prompt.contains("Ana lives in Oslo")), "{prompt}");
    home.json(&["chat"], "And my brother in Rome.\n");
    let export = home.export();
    assert_eq!(user_texts(&export), ["My sister Ana lives in Oslo.", "And my brother in Rome."]);
    let logins = messages(&export).iter().filter(|message| message["kind"] == "login").count();
    assert_eq!(logins, 2, "one for each time the user came back");

    // Each agent has its own memory.
    assert!(
        home.json(&["chat", "--agent", "other"], "/prompt\n")[0].to_string().contains("persona")
    );
    assert_eq!(user_texts(&home.json_value(&["memory", "export", "--agent", "other"])), [""; 0]);
}

#[test]
fn without_json_replies_are_all_there_is_on_stdout() {
    let home = Home::new();
    let arguments = ["run", "Hello", "--temp", "0.9"];
    let Finished { status, stdout, stderr } = home.run(&arguments, "");
    assert!(status.success(), "{stderr}");
    assert_eq!(stdout, replies(&home.export()).join("\n") + "\n");
}

#[test]
fn memory_is_shown_corrected_searched_and_exported() {
    let home = Home::new();
    home.json(&["chat"], "The boiler was repaired by Mr Quimby.\nHello again.\n");

    let edited = home.json_value(&["memory", "edit", "human", "--set", "Likes marzipan."]);
    let human = |blocks: &Value| {
        let blocks = blocks["blocks"].as_array().expect("blocks");
        blocks.iter().find(|block| block["label"] == "human").expect("the block human")["value"]
            .clone()
    };
    assert_eq!(human(&edited), "Likes marzipan.");
    home.json_value(&["memory", "edit", "human", "--append", "Sails."]);
    home.json_value(&["memory", "edit", "human", "--replace", "marzipan", "nougat"]);
    let shown = home.json_value(&["memory", "show"]);
    assert_eq!(human(&shown), "Likes nougat.\nSails.");
    assert_eq!(shown["messages"], messages(&home.export()).len());

    let found = home.json_value(&["memory", "search", "quimby", "boiler"]);
    assert_eq!(found["hits"][0]["text"], "The boiler was repaired by Mr Quimby.", "{found}");
    assert!(found["total"].as_u64() >= Some(1));

    let file = home.join("backup.json");
    // An export that was stopped, by a program that let everybody read it.
    std::fs::write(home.join("backup.part"), "{").unwrap();
    home.json_value(&["memory", "export", file.to_str().unwrap()]);
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(written, home.export());
    assert!(!home.join("backup.part").exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "all that was ever said is for its owner alone");
    }
}

#[test]
fn memory_is_edited_once_the_agent_has_blocks() {
    let home = Home::new();
    let edit = ["memory", "edit", "persona", "--set", "I am a lighthouse keeper."];
    let refused = |code: i32, says: &str| {
        let finished = home.run(&edit, "");
        assert_eq!(finished.status.code(), Some(code), "{}", finished.stderr);
        assert_eq!(finished.stderr, says);
    };
    refused(
        1,
        "error: there is no agent \"default\"\nhint: there is none yet; `pagewise chat` makes one\n",
    );
    let note = home.join("note.txt");
    std::fs::write(&note, "The anchor weighs forty kilograms.").unwrap();
    home.json_value(&["ingest", note.to_str().unwrap()]);
    refused(
        2,
        "error: the agent has no blocks before its first chat\nhint: `pagewise chat` makes them; \
         Ctrl-D leaves it\n",
    );
    home.run(&["chat"], "").succeeded(&["chat"]);
    let edited = home.json_value(&edit);
    let mut blocks = edited["blocks"].as_array().unwrap().iter();
    let persona = blocks.find(|block| block["label"] == "persona").unwrap();
    assert_eq!(persona["value"], "I am a lighthouse keeper.");
}

#[test]
fn what_the_libraries_note_is_talk() {
    let home = Home::new();
    let run = |flags: &[&str]| {
        let finished = home.run(&[&["run", "Hello"], flags].concat(), "");
        finished.succeeded(flags);
        finished
    };
    let Finished { stdout, stderr, .. } = run(&["--verbose"]);
    assert!(stderr.contains("model loaded (path ") && !stdout.contains("model loaded"), "{stderr}");
    let snapshot = home.join("agents/default/main_context.kv");
    std::fs::write(&snapshot, "x".repeat(10_000)).unwrap();
    let Finished { stderr, .. } = run(&["--verbose"]);
    assert!(stderr.contains("the KV cache of the last run is not used: "), "{stderr}");
    std::fs::write(&snapshot, "x".repeat(10_000)).unwrap();
    let Finished { stderr, .. } = run(&[]);
    assert!(!stderr.contains("model loaded") && !stderr.contains("KV cache"), "{stderr}");
}

#[test]
fn what_the_user_corrects_is_in_the_next_prompt() {
    let home = Home::new();
    home.json(&["chat"], "Hello.\n");
    home.json_value(&["memory", "edit", "human", "--set", "Answers to the name of Zebedee."]);
    let prompt = &home.json(&["chat"], "/prompt\n")[0]["prompt"];
    assert!(prompt.as_str().is_some_and(|prompt| prompt.contains("Zebedee")), "{prompt}");
}

#[test]
fn documents_are_put_in_once_and_found() {
    let home = Home::new();
    let (text, markdown) = (home.join("boat.txt"), home.join("house.md"));
    std::fs::write(&text, "The mast is of spruce.\n\nThe anchor weighs forty kilograms.\n")
        .unwrap();
    std::fs::write(&markdown, "# House\n\n## Roof\n\nThe roof is slate.\n\n## Cellar\n\nDry.\n")
        .unwrap();
    let files = [text.to_str().unwrap(), markdown.to_str().unwrap()];
    let report = home.json_value(&["ingest", files[0], files[1]]);
    let documents = report["documents"].as_array().expect("documents");
    assert_eq!(documents.len(), 2);
    for document in documents {
        assert!(document["passages"].as_u64() > Some(0), "{document}");
        assert_eq!(document["new"], document["passages"]);
    }
    for (words, source, part) in
        [("anchor kilograms", "boat.txt", "forty kilograms"), ("roof slate", "house.md", "slate")]
    {
        let found = home.json_value(&["memory", "search", "--archival", words]);
        let first = &found["hits"][0];
        assert_eq!(first["source"], source, "{found}");
        assert!(first["text"].as_str().is_some_and(|text| text.contains(part)), "{found}");
    }
    let n_messages = messages(&home.export()).len();
    let again = home.json_value(&["ingest", files[0], files[1]]);
    for document in again["documents"].as_array().unwrap() {
        assert_eq!(document["new"], 0, "{document}");
    }
    assert_eq!(messages(&home.export()).len(), n_messages, "nothing new is no event");
}

#[test]
fn agents_are_listed_and_removed() {
    let home = Home::new();
    assert_eq!(home.json_value(&["agents", "ls"]), json!({"agents": []}));
    home.json(&["run", "Hello", "--agent", "anna"], "");
    home.json(&["run", "Hello", "--agent", "bert"], "");
    let listed = home.json_value(&["agents", "ls"]);
    let names: Vec<&Value> =
        listed["agents"].as_array().unwrap().iter().map(|agent| &agent["name"]).collect();
    assert_eq!(names, ["anna", "bert"]);
    assert!(listed["agents"][0]["messages"].as_u64() >= Some(2), "{listed}");

    let unasked = home.run(&["agents", "rm", "anna"], "");
    assert_eq!(unasked.status.code(), Some(2), "there is nobody to ask: {}", unasked.stderr);
    home.json_value(&["agents", "rm", "anna", "--yes"]);
    let listed = home.json_value(&["agents", "ls"]);
    assert_eq!(listed["agents"].as_array().unwrap().len(), 1);
    assert_eq!(listed["agents"][0]["name"], "bert");
}

#[test]
fn models_on_disk_and_in_the_catalog_are_listed() {
    let home = Home::new();
    let listed = home.json_value(&["models", "ls"]);
    let models = listed["models"].as_array().expect("models");
    let model =
        |name: &str| models.iter().find(|model| model["name"] == name).unwrap_or(&Value::Null);
    for key in ["name", "path", "bytes", "family", "quant", "context"] {
        for model in models {
            assert!(model.get(key).is_some(), "{model} has no {key}");
        }
    }
    assert_eq!(model("tiny")["path"], home.model().to_str().unwrap());
    assert_eq!(model("tiny")["context"], CONTEXT_TOKENS);
    assert_eq!(model("smollm2-135m-instruct-q4_1")["path"], Value::Null);
}

#[test]
fn stdout_is_data_and_stderr_talk() {
    let home = Home::new();
    let note = home.join("note.txt");
    std::fs::write(&note, "A note.").unwrap();
    let commands: [&[&str]; 14] = [
        &["run", "Hello", "--verbose"],
        &["chat", "--verbose"],
        &["ingest", note.to_str().unwrap()],
        &["memory", "show"],
        &["memory", "search", "hello"],
        &["memory", "search", "--archival", "note"],
        &["memory", "log"],
        &["memory", "diff"],
        &["memory", "export"],
        &["agents", "ls"],
        &["models", "ls"],
        &["models", "show", "tiny"],
        &["doctor"],
        &["run", "  "],
    ];
    for command in commands {
        let stdin = "One.\n/context\n/memory\n/search hello\n/prompt\n/nonsense\nTwo.\n";
        let finished = home.run(&[command, &["--json"]].concat(), stdin);
        assert!(!finished.json_lines().is_empty(), "{command:?} says nothing: {}", finished.stderr);
        for line in finished.stderr.lines() {
            assert!(!line.starts_with('{'), "{command:?} puts data on stderr: {line}");
        }
        assert!(
            !finished.stdout.contains('\x1b') && !finished.stderr.contains('\x1b'),
            "{command:?}"
        );
    }
}

#[test]
fn the_clock_is_the_one_that_is_given() {
    let home = Home::new();
    home.json(&["run", "Hello"], "");
    let export = home.export();
    let first = messages(&export)[0]["at"].as_str().unwrap();
    assert!(first.starts_with(&CLOCK[..16]), "{first}");
}
