//! `memory log`, `diff` and `undo`: working context through time.

use serde_json::{Value, json};

use crate::program::{CLOCK, Finished, Home};

/// A home whose default agent has blocks, and whose block `human` was edited by hand three times.
fn edited() -> Home {
    let home = Home::new();
    home.run(&["chat"], "").succeeded(&["chat"]);
    home.json_value(&["memory", "edit", "human", "--set", "Likes marzipan."]);
    home.json_value(&["memory", "edit", "human", "--append", "Sails."]);
    home.json_value(&["memory", "edit", "human", "--replace", "marzipan", "nougat"]);
    home
}

/// What a block says now, of what a command has printed.
fn value(printed: &Value, label: &str) -> String {
    let mut blocks = printed["blocks"].as_array().expect("blocks").iter();
    let block = blocks.find(|block| block["label"] == label).expect("the block");
    block["value"].as_str().expect("a text").to_owned()
}

fn human(home: &Home) -> String {
    value(&home.json_value(&["memory", "show"]), "human")
}

/// The lines that a command prints without `--json`.
fn lines(home: &Home, arguments: &[&str]) -> Vec<String> {
    let finished = home.run(arguments, "");
    finished.succeeded(arguments);
    finished.stdout.lines().map(str::to_owned).collect()
}

/// The same without the times, which are those of this machine's zone.
fn without_times(lines: &[String]) -> Vec<String> {
    let without = |line: &String| match line.split_once("  20") {
        Some((before, rest)) => format!("{before}{}", &rest["26-01-05 09:00".len()..]),
        None => line.clone(),
    };
    lines.iter().map(without).collect()
}

#[test]
fn versions_are_listed_newest_first() {
    let home = edited();
    let versions = home.json(&["memory", "log"], "");
    let numbers: Vec<(&str, u64)> = versions
        .iter()
        .map(|version| (version["block"].as_str().unwrap(), version["version"].as_u64().unwrap()))
        .collect();
    let expected = [("human", 4), ("human", 3), ("human", 2), ("human", 1), ("persona", 1)];
    assert_eq!(numbers, expected);
    assert_eq!(
        versions[0],
        json!({
            "block": "human", "version": 4, "at": CLOCK, "cause": null, "function": null,
            "removed": ["Likes marzipan."], "added": ["Likes nougat."],
        })
    );
    assert_eq!((&versions[1]["removed"], &versions[1]["added"]), (&json!([]), &json!(["Sails."])));

    let shown = lines(&home, &["memory", "log", "human"]);
    assert_eq!(
        without_times(&shown),
        [
            "human 4  by hand: + Likes nougat. (and another line)",
            "human 3  by hand: + Sails.",
            "human 2  by hand: + Likes marzipan.",
            "human 1  at first: (empty)",
        ]
    );
    assert!(shown[0].starts_with("human 4  2026-01-0"), "{}", shown[0]);
    assert_eq!(lines(&home, &["memory", "log", "-n", "2"]), shown[..2]);
    assert_eq!(lines(&home, &["memory", "log", "human", "--limit", "9"]), shown);
    assert_eq!(home.json(&["memory", "log", "persona"], ""), versions[4..]);
}

#[test]
fn versions_are_compared() {
    let home = edited();
    let check = |arguments: &[&str], expected: &[&str]| {
        let shown = lines(&home, &[&["memory", "diff"], arguments].concat());
        assert_eq!(without_times(&shown), expected, "{arguments:?}");
    };
    let last = [
        "--- human 3",
        "+++ human 4",
        "@@ -1,2 +1,2 @@",
        "-Likes marzipan.",
        "+Likes nougat.",
        " Sails.",
    ];
    check(&[], &last);
    check(&["human"], &last);
    check(&["human", "3"], &last);
    check(&["human", "3", "4"], &last);
    check(
        &["human", "2"],
        &[
            "--- human 2",
            "+++ human 4",
            "@@ -1,1 +1,2 @@",
            "-Likes marzipan.",
            "+Likes nougat.",
            "+Sails.",
        ],
    );
    check(
        &["human", "2", "1"],
        &["--- human 2", "+++ human 1", "@@ -1,1 +0,0 @@", "-Likes marzipan."],
    );
    let line = |change: &str, text: &str| json!({"change": change, "text": text});
    assert_eq!(
        home.json_value(&["memory", "diff"]),
        json!({"diffs": [{
            "block": "human",
            "from": 3,
            "to": 4,
            "lines": [
                line("removed", "Likes marzipan."),
                line("added", "Likes nougat."),
                line("same", "Sails."),
            ],
        }]})
    );

    // Where nothing differs, only talk says so.
    let said = |arguments: &[&str]| {
        let finished = home.run(&[&["memory", "diff"], arguments].concat(), "");
        finished.succeeded(arguments);
        assert_eq!(finished.stdout, "");
        finished.stderr
    };
    assert_eq!(said(&["human", "2", "2"]), "Versions 2 and 2 are the same.\n");
    assert_eq!(said(&["persona"]), "Nothing has changed yet.\n");
    assert_eq!(home.json_value(&["memory", "diff", "persona"]), json!({"diffs": []}));

    // Each block that has changed has a part of its own.
    home.json_value(&["memory", "edit", "persona", "--set", "I am a lighthouse keeper."]);
    let shown = without_times(&lines(&home, &["memory", "diff"]));
    assert_eq!(shown[..2], ["--- persona 1", "+++ persona 2"]);
    assert!(shown.ends_with(&last.map(String::from)), "{shown:?}");
}

#[test]
fn the_last_change_is_undone_and_redone() {
    let home = edited();
    let n_versions = || home.export()["blocks"].as_array().expect("blocks").len();
    let before = n_versions();
    let arguments = ["memory", "undo"];
    let Finished { status, stdout, stderr } = home.run(&arguments, "");
    assert!(status.success(), "{stderr}");
    assert_eq!(stderr, "human is as in version 3 again.\n");
    assert!(stdout.ends_with("Likes marzipan.\nSails.\n"), "{stdout}");
    assert_eq!(human(&home), "Likes marzipan.\nSails.");
    // Undoing twice gives back what was undone, and every state is kept.
    assert_eq!(
        value(&home.json_value(&["memory", "undo", "human"]), "human"),
        "Likes nougat.\nSails."
    );
    assert_eq!(n_versions(), before + 2);

    home.json_value(&["memory", "undo", "human", "--to", "1"]);
    assert_eq!(human(&home), "");
    let again = home.run(&["memory", "undo", "human", "--to", "1"], "");
    assert!(again.status.success() && again.stderr == "Nothing was changed.\n", "{again:?}");
    assert_eq!(n_versions(), before + 3, "what is as it was makes no version");
    home.json_value(&["memory", "undo", "human", "--to", "2"]);
    assert_eq!(human(&home), "Likes marzipan.");

    // The block that was changed last; that it is read-only holds for the model.
    let persona = value(&home.json_value(&["memory", "show"]), "persona");
    home.json_value(&["memory", "edit", "persona", "--set", "I am a lighthouse keeper."]);
    assert_eq!(value(&home.json_value(&["memory", "undo"]), "persona"), persona);
    assert_eq!(human(&home), "Likes marzipan.");
}

#[test]
fn what_was_undone_is_gone_from_the_next_prompt() {
    let home = edited();
    let prompt = |home: &Home| home.json(&["chat"], "/prompt\n")[0]["prompt"].to_string();
    assert!(prompt(&home).contains("nougat"));
    home.json_value(&["memory", "undo", "human", "--to", "2"]);
    let next = prompt(&home);
    assert!(next.contains("marzipan") && !next.contains("nougat"), "{next}");
}

#[test]
fn before_the_first_chat_there_is_nothing_to_undo() {
    let home = Home::new();
    let note = home.join("note.txt");
    std::fs::write(&note, "The anchor weighs forty kilograms.").unwrap();
    home.json_value(&["ingest", note.to_str().unwrap()]);
    let no_blocks = "error: the agent has no blocks before its first chat\nhint: `pagewise chat` \
                     makes them; Ctrl-D leaves it\n";
    for arguments in
        [&["memory", "undo"][..], &["memory", "undo", "human"], &["memory", "log", "human"]]
    {
        let refused = home.run(arguments, "");
        assert_eq!((refused.status.code(), &*refused.stderr), (Some(2), no_blocks));
    }
    let log = home.run(&["memory", "log"], "");
    assert_eq!((&*log.stdout, &*log.stderr), ("", "There are no blocks before the first chat.\n"));
    assert_eq!(home.json_value(&["memory", "diff"]), json!({"diffs": []}));

    home.run(&["chat"], "").succeeded(&["chat"]);
    let refused = home.run(&["memory", "undo"], "");
    assert_eq!(
        (refused.status.code(), &*refused.stderr),
        (Some(2), "error: no block has changed yet\n")
    );
}
