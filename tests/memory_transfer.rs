//! `memory export` and `memory import`: all of a memory as a file, and back.

use std::fs;

use serde_json::{Value, json};

use crate::program::{Finished, Home, messages};

/// Small, so that messages leave it and a summary takes their place.
const WINDOW: &str = "1536";

const BOILER: &str = "The boiler was repaired by Mr Quimby.";
const ANCHOR: &str = "The anchor weighs forty kilograms.";

/// What an agent may have exported whose model has made one edit, by the call 2.
fn document() -> Value {
    let at = "2026-01-05T09:00:00Z";
    let block = |value: &str, cause: Value| {
        json!({
            "label": "human", "description": "what you know about the user", "value": value,
            "limit_chars": 40, "read_only": false, "at": at, "cause": cause,
        })
    };
    json!({
        "format": 1,
        "messages": [
            {"id": 1, "at": at, "kind": "user", "text": "I sail."},
            {"id": 2, "at": at, "kind": "call", "function": "working_context_append",
             "args": {"block": "human", "text": "Sails."}},
            {"id": 3, "at": at, "kind": "result", "function": "working_context_append",
             "status": "ok", "message": "Saved."},
        ],
        "queue": {"first_in_view": 1, "summary": null, "warned": false},
        "blocks": [block("", Value::Null), block("Sails.", json!(2))],
        "passages": [
            {"id": 1, "text": "The boat is called Heron.", "tags": [], "source": null, "at": at},
        ],
    })
}

fn export(home: &Home, agent: &str) -> String {
    let arguments = ["memory", "export", "--agent", agent];
    let finished = home.run(&arguments, "");
    finished.succeeded(&arguments);
    finished.stdout
}

#[test]
fn an_imported_agent_is_the_one_that_was_exported() {
    let home = Home::new();
    let story = "The boat sailed past the lighthouse once more. ".repeat(20);
    let told: String = (0..16).map(|n| format!("Story {n}: {story}\n")).collect();
    let chat = ["chat", "--window", WINDOW, "--temp", "1.2", "--seed", "7"];
    let outcomes = home.json(&chat, format!("{BOILER}\n{told}"));
    assert!(outcomes.iter().any(|outcome| outcome["evicted"].as_u64() > Some(0)), "no summary");
    let note = home.join("note.txt");
    fs::write(&note, ANCHOR).unwrap();
    home.json_value(&["ingest", note.to_str().unwrap()]);
    home.json_value(&["memory", "edit", "human", "--set", "Likes \"marzipan\".\nSails."]);

    let (file, again) = (home.join("all.json"), home.join("again.json"));
    home.json_value(&["memory", "export", file.to_str().unwrap()]);
    let imported =
        home.json_value(&["memory", "import", file.to_str().unwrap(), "--agent", "copy"]);
    let all = home.export();
    assert!(all["queue"]["summary"].is_object(), "{}", all["queue"]);
    assert_eq!(
        imported,
        json!({
            "imported": file,
            "agent": "copy",
            "messages": messages(&all).len(),
            "block_versions": all["blocks"].as_array().unwrap().len(),
            "passages": all["passages"].as_array().unwrap().len(),
        })
    );
    // Byte for byte, in both layouts.
    assert_eq!(export(&home, "copy"), export(&home, "default"));
    home.json_value(&["memory", "export", again.to_str().unwrap(), "--agent", "copy"]);
    assert!(fs::read(&again).unwrap() == fs::read(&file).unwrap(), "the two files differ");

    // Both find what was said and what was put in, and go on from the same main context.
    let prompts = ["default", "copy"].map(|agent| {
        let of = |arguments: &[&str]| {
            home.json(&[arguments, &["--agent", agent]].concat(), "/prompt\n").remove(0)
        };
        let found = of(&["memory", "search", "quimby", "boiler"]);
        assert_eq!(found["hits"][0]["text"], BOILER, "{agent}: {found}");
        let found = of(&["memory", "search", "--archival", "anchor"]);
        assert_eq!(found["hits"][0]["text"], ANCHOR, "{agent}: {found}");
        of(&["chat", "--window", WINDOW])["prompt"].to_string()
    });
    assert!(prompts[0].contains("marzipan"), "{}", prompts[0]);
    assert_eq!(prompts[0], prompts[1]);
    home.json(&["doctor"], "");
}

#[test]
fn a_document_comes_from_a_pipe_and_its_causes_are_told() {
    let home = Home::new();
    let document = document().to_string();
    let finished = home.run(&["memory", "import", "-"], &document);
    finished.succeeded(&["memory", "import", "-"]);
    assert_eq!(finished.stdout, "");
    assert_eq!(
        finished.stderr,
        "Imported 3 messages, 2 versions of blocks and 1 passages into the agent default.\n"
    );
    assert_eq!(export(&home, "default"), document + "\n");

    let log = home.json(&["memory", "log"], "");
    assert_eq!(log[0]["cause"], 2);
    assert_eq!(log[0]["function"], "working_context_append");
    assert_eq!((&log[1]["cause"], &log[1]["function"]), (&Value::Null, &Value::Null));
    let log = home.run(&["memory", "log", "-n", "1"], "").stdout;
    let says = "  by the model (working_context_append, message 2): + Sails.\n";
    assert!(log.starts_with("human 2  ") && log.ends_with(says), "{log}");

    // What the model did can be undone as well.
    home.json_value(&["memory", "undo"]);
    assert_eq!(home.export()["blocks"][2]["value"], "");
    home.json(&["run", "Hello"], "");
}

#[test]
fn an_agent_with_a_memory_takes_nothing_in() {
    let home = Home::new();
    let file = home.join("all.json");
    fs::write(&file, document().to_string()).unwrap();
    let import = ["memory", "import", file.to_str().unwrap()];
    let note = home.join("note.txt");
    fs::write(&note, ANCHOR).unwrap();
    home.json_value(&["ingest", note.to_str().unwrap(), "--agent", "reader"]);
    home.run(&["chat", "--agent", "listener"], "").succeeded(&["chat"]);
    home.json(&["run", "Hello", "--agent", "talker"], "");
    for agent in ["reader", "listener", "talker"] {
        let before = export(&home, agent);
        let Finished { status, stdout, stderr } =
            home.run(&[&import[..], &["--agent", agent]].concat(), "");
        assert_eq!(status.code(), Some(4), "{stderr}");
        assert_eq!(stdout, "");
        let says = format!("error: the agent {agent:?} has a memory already: there are ");
        assert!(stderr.starts_with(&says), "{stderr}");
        assert!(
            stderr.ends_with("\nhint: an import makes a new agent: name it with --agent\n"),
            "{stderr}"
        );
        assert_eq!(export(&home, agent), before);
    }
    home.json_value(&[&import[..], &["--agent", "new"]].concat());
    assert_eq!(export(&home, "new"), document().to_string() + "\n");
}

#[test]
fn a_bad_document_is_refused_whole() {
    type Edit = fn(&mut Value);
    let edits: [(Edit, &str); 13] = [
        (|all| *all = json!([1, 2]), "it cannot be read as an export (line 1, "),
        (|all| all["format"] = json!(2), "format is 2, and this program reads 1"),
        (|all| all["facts"] = json!([]), "unknown field `facts`"),
        (
            |all| all["passages"][0]["mood"] = json!("good"),
            "passages[0] has an unknown field \"mood\"",
        ),
        (|all| all["messages"][0]["kind"] = json!("dream"), "messages[0]: unknown variant `dream`"),
        (|all| all["messages"][1]["id"] = json!(1), "messages[1].id is 1 a second time"),
        (|all| all["messages"][2]["id"] = json!(1), "messages[2].id is 1, after 2"),
        (|all| all["messages"][0]["at"] = json!("12026-01-01T00:00:00Z"), "messages[0]: "),
        (
            |all| all["queue"]["first_in_view"] = json!(5),
            "queue.first_in_view is 5, and the last message is 3",
        ),
        (
            |all| all["blocks"][1]["limit_chars"] = json!(5),
            "blocks[1].value has 6 characters; the block's limit is 5",
        ),
        (|all| all["blocks"][1]["cause"] = json!(7), "blocks[1].cause is 7, which is no call"),
        (
            |all| all["blocks"][1]["label"] = json!("\u{1B}[2J"),
            "blocks[1].label is not 1 to 128 characters",
        ),
        (|all| all["passages"][0]["id"] = json!(-1), "passages[0].id is -1"),
    ];
    let home = Home::new();
    let file = home.join("bad.json");
    let import = ["memory", "import", file.to_str().unwrap(), "--agent", "new"];
    let check = |text: &[u8], code: i32, says: &str| {
        fs::write(&file, text).unwrap();
        let Finished { status, stdout, stderr } = home.run(&import, "");
        assert_eq!((status.code(), stdout.as_str()), (Some(code), ""), "{says}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(says), "{says:?}: {stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains('\x1b'), "{stderr}");
        assert!(!home.join("agents").exists(), "{says}: an agent was made");
    };
    for (edit, says) in edits {
        let mut all = document();
        edit(&mut all);
        check(all.to_string().as_bytes(), 2, says);
    }
    let whole = document().to_string();
    check(
        b"",
        2,
        "bad.json cannot be imported: it cannot be read as an export (line 1, column 0): EOF",
    );
    check(&whole.as_bytes()[..whole.len() / 2], 2, "EOF");
    check(b"\xff\xfe\0{", 2, "it cannot be read as an export (line 1, ");
    check((whole.clone() + "{}").as_bytes(), 2, "trailing characters");
    check("[".repeat(1 << 20).as_bytes(), 2, "it cannot be read as an export (line 1, ");
    check(
        whole.replace("I sail.", &"x".repeat(17 << 20)).as_bytes(),
        2,
        "takes more than 16777216 bytes",
    );
    let missing = home.run(&["memory", "import", "none.json", "--agent", "new"], "");
    assert_eq!(missing.status.code(), Some(1), "{}", missing.stderr);
    assert!(missing.stderr.starts_with("error: cannot read none.json: "), "{}", missing.stderr);
    let folder = home.models();
    let folder = home.run(&["memory", "import", folder.to_str().unwrap(), "--agent", "new"], "");
    assert_eq!(folder.status.code(), Some(1), "{}", folder.stderr);
    assert!(folder.stderr.contains("cannot read "), "{}", folder.stderr);
    // With all of them put right, it is taken in.
    fs::write(&file, &whole).unwrap();
    home.json_value(&import);
}
