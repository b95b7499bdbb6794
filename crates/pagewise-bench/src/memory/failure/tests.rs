use std::collections::BTreeMap;
use std::sync::Arc;

use pagewise_agent::AgentConfig;
use pagewise_core::{Status, TokenUsage};
use pagewise_memory::Block;
use serde_json::Map;

use super::*;
use crate::memory::arm::Truncation;
use crate::memory::case::{Baseline, Case, EditGold, GameTask, Gold, Metric, UserMessage};
use crate::memory::record::{Documents, EventRecord, PromptRecord, Settings, Step};
use crate::memory::score::Score;
use crate::memory::task::Task;

fn settings(arm: Arm) -> Settings {
    Settings {
        format: Settings::FORMAT,
        task: Task::NestedKv,
        source: "generated".into(),
        model: "m".into(),
        weights: "w".into(),
        arm,
        window: 4096,
        seed: 0,
        now: Settings::CASE_START,
        embedder: "none".into(),
        prompts: Settings::prompts(),
        documents: Documents { n_max: 6, truncation: Truncation::Whole },
        agent: AgentConfig::default(),
    }
}

/// A case whose answer is `Wilhelm Röntgen`, in a passage.
fn record(arm: Arm, reply: &str, steps: Vec<Step>) -> Record {
    Record {
        settings: settings(arm),
        made_by: None,
        case: Case {
            id: "c".into(),
            labels: BTreeMap::new(),
            memory: Arc::default(),
            messages: vec![UserMessage { text: "Who got the prize?".into(), after_reset: false }],
            baseline: Baseline::default(),
            gold: Gold {
                metric: Metric::Contains,
                answers: vec!["Wilhelm Röntgen".into()],
                decoys: Vec::new(),
                evidence: vec!["The prize went to Wilhelm Röntgen".into()],
                tier: Tier::Archival,
                edit: None,
            },
            tasks: Vec::new(),
        },
        events: vec![EventRecord { steps, replies: vec![reply.into()], ..EventRecord::default() }],
        reply: reply.into(),
        blocks: Vec::new(),
        store: String::new(),
        prompt: None,
        asked: String::new(),
        nearness: None,
        told: None,
        told_tokens: None,
        tokens: TokenUsage::default(),
        seconds: 0.0,
        error: None,
        score: Score::default(),
        failure: Failure::default(),
        judged: Vec::new(),
    }
}

const ALL: &[&str] = &["send_message", "archival_search", "conversation_search"];

fn step(function: &str, words: &str, result: &str) -> Step {
    offered(ALL, function, words, result)
}

fn offered(functions: &[&str], function: &str, words: &str, result: &str) -> Step {
    Step {
        functions: functions.iter().map(ToString::to_string).collect(),
        function: function.into(),
        arguments: Map::from_iter([("words".to_string(), words.into())]),
        status: Status::Ok,
        result: result.into(),
        tokens: TokenUsage::default(),
        seconds: 0.0,
        by_runtime: false,
    }
}

fn check(mut record: Record, expected: Failure) {
    record.grade();
    assert_eq!(record.failure, expected, "{:?}", record.reply);
}

const FOUND: &str = "Page 1 of 1:\n- In 1901\n- The prize went to  Wilhelm Röntgen, a physicist.";

#[test]
fn what_was_in_view_was_miscopied_misread_or_not_used() {
    let with = |reply: &str| {
        record(
            Arm::Memgpt,
            reply,
            vec![step("archival_search", "prize", FOUND), step("send_message", "", "")],
        )
    };
    check(with("It was Wilhelm Röntgen."), Failure::None);
    check(with("It was Wilhelm Röntgem."), Failure::Miscopied);
    check(with("It was in 1901."), Failure::Misread);
    check(with("It was Marie Curie."), Failure::UnsupportedAnswer);
    check(with("I don’t know."), Failure::Abstained);
    check(with(" "), Failure::Abstained);
}

#[test]
fn what_was_not_in_view_was_sought_in_the_wrong_place_or_not_long_enough() {
    let with = |steps: Vec<Step>| record(Arm::Memgpt, "It was Marie Curie.", steps);
    let reply = || step("send_message", "", "");
    let last_reply = || offered(&["send_message"], "send_message", "", "");
    check(with(vec![reply()]), Failure::StoppedEarly);
    check(with(vec![step("archival_search", "a", "nothing"), reply()]), Failure::StoppedEarly);
    check(with(vec![step("conversation_search", "a", "nothing"), reply()]), Failure::WrongTier);
    let twice = || vec![step("archival_search", "a", "no"), step("archival_search", "a", "no")];
    check(with([twice(), vec![last_reply()]].concat()), Failure::Loop);
    let others = || vec![step("archival_search", "a", "no"), step("archival_search", "b", "no")];
    check(with([others(), vec![last_reply()]].concat()), Failure::NotFound);
    check(with([others(), vec![reply()]].concat()), Failure::StoppedEarly);
}

#[test]
fn what_was_said_and_left_main_context_was_lost() {
    let mut told = record(Arm::Memgpt, "I see.", vec![step("send_message", "", "")]);
    told.case.messages.insert(
        0,
        UserMessage { text: "The prize went to Wilhelm Röntgen.".into(), after_reset: false },
    );
    check(told.clone(), Failure::StoppedEarly);
    told.events[0].evicted = 4;
    check(told, Failure::LostInFlush);
}

#[test]
fn what_is_not_known_was_not_said() {
    let mut told = record(Arm::Memgpt, "I see.", vec![step("send_message", "", "")]);
    told.case.gold.evidence.clear();
    told.events[0].evicted = 4;
    check(told, Failure::StoppedEarly);
}

const HALL: &str = "Turn 3. In the hall you see the brass globe.";
const LOFT: &str = "Turn 9. From the hall you go north into the loft.";

/// A game of one task that needs two of the sentences which were told.
fn game(reply: &str, in_queue: Option<&[usize]>, found: &str) -> Record {
    let steps = vec![step("conversation_search", "globe", found), step("send_message", "", "")];
    let mut game = record(Arm::Memgpt, reply, steps);
    game.case.gold = Gold {
        metric: Metric::Only,
        answers: vec!["hall".into()],
        decoys: vec!["loft".into(), "cellar".into()],
        evidence: vec![HALL.into(), LOFT.into()],
        tier: Tier::Recall,
        edit: None,
    };
    game.case.tasks = vec![GameTask { labels: BTreeMap::new(), gold: game.case.gold.clone() }];
    game.events[0].in_queue = in_queue.map(<[usize]>::to_vec);
    game
}

#[test]
fn what_was_told_in_a_game_is_in_view_found_again_or_lost() {
    let check = |in_queue: Option<&[usize]>, found: &str, expected: Failure| {
        let mut game = game("The cellar.", in_queue, found);
        game.grade();
        assert_eq!((game.score.tasks[0].failure, game.failure), (expected, expected), "{found}");
        let is_seen = game.score.parts["seen"] > 0.0;
        assert_eq!(is_seen, !matches!(expected, Failure::LostInFlush | Failure::StoppedEarly));
    };
    let both = format!("{HALL}\n{LOFT}\nTurn 4. You see the cellar.");
    check(Some(&[]), "Nothing was found.", Failure::LostInFlush);
    check(Some(&[]), HALL, Failure::LostInFlush);
    check(Some(&[0]), HALL, Failure::LostInFlush);
    check(Some(&[1]), HALL, Failure::Misread);
    check(Some(&[0, 1]), "Nothing was found.", Failure::Misread);
    check(Some(&[]), &both, Failure::Misread);
    check(Some(&[]), &format!("{HALL}\n{LOFT}"), Failure::UnsupportedAnswer);
    // An older record does not say what was in the queue.
    check(None, HALL, Failure::StoppedEarly);

    let mut right = game("The hall.", Some(&[]), "Nothing was found.");
    right.grade();
    assert_eq!(right.score.tasks[0].failure, Failure::None);
}

#[test]
fn of_a_wrong_choice_it_is_known_whether_anything_was_read() {
    let with = |arm: Arm, reply: &str, steps: Vec<Step>| {
        let mut record = record(arm, reply, steps);
        record.case.gold.metric = Metric::Choice;
        record.case.gold.answers = vec!["(B) Wilhelm Röntgen".into()];
        record.case.gold.decoys = vec!["(A) Wilhelm Röntgem".into(), "(C) Nobody".into()];
        record.case.gold.evidence.clear();
        record
    };
    let reply = || step("send_message", "", "");
    let read = || vec![step("archival_search", "prize", "In 1901"), reply()];
    check(with(Arm::Memgpt, "ANSWER: (B), DOCUMENT: Nobody got it.", read()), Failure::None);
    check(with(Arm::Memgpt, "(A) Wilhelm Röntgem", read()), Failure::UnsupportedAnswer);
    check(with(Arm::Memgpt, "(C)", read()), Failure::Misread);
    check(with(Arm::Memgpt, "I don't know.", read()), Failure::Abstained);
    check(with(Arm::Memgpt, "(C)", vec![reply()]), Failure::StoppedEarly);
    let elsewhere = vec![step("conversation_search", "prize", "(B)"), reply()];
    check(with(Arm::Memgpt, "(C)", elsewhere), Failure::WrongTier);
    for (n_pieces, expected) in [(0, Failure::UnsupportedAnswer), (3, Failure::Misread)] {
        let mut record = with(Arm::FullContext, "C", Vec::new());
        record.prompt = Some(PromptRecord {
            n_pieces,
            n_pieces_all: 9,
            tokens: 9,
            has_evidence: false,
            evidence_share: None,
        });
        check(record, expected);
    }
    for (reply, decoy, several) in [("C", 1.0, 0.0), ("B or C", 0.0, 1.0), ("None", 0.0, 0.0)] {
        let mut record = with(Arm::Memgpt, reply, read());
        record.grade();
        let parts = &record.score.parts;
        assert_eq!((parts["decoy"], parts["several"]), (decoy, several), "{reply}");
        // What the record holds is enough to score it again.
        let mut again: Record =
            serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        (again.score, again.failure) = (Score::default(), Failure::default());
        again.grade();
        assert_eq!((again.score, again.failure), (record.score, record.failure));
    }
}

#[test]
fn an_arm_without_memory_guesses_or_says_that_it_does_not_know() {
    let prompt = |has_evidence| {
        Some(PromptRecord {
            n_pieces: 1,
            n_pieces_all: 2,
            tokens: 9,
            has_evidence,
            evidence_share: None,
        })
    };
    let with = |reply: &str, has_evidence: bool| Record {
        prompt: prompt(has_evidence),
        ..record(Arm::FullContext, reply, Vec::new())
    };
    check(with("Marie Curie", false), Failure::UnsupportedAnswer);
    check(with("INSUFFICIENT INFORMATION", false), Failure::Abstained);
    check(with("Marie Curie", true), Failure::Misread);
    check(with("Wilhelm Röntgem", true), Failure::Miscopied);
    check(with("Wilhelm Röntgen", false), Failure::None);
}

#[test]
fn an_edit_that_is_not_as_it_should_be_comes_first() {
    let block = |value: &str| Block {
        label: "facts".into(),
        description: String::new(),
        value: value.into(),
        limit_chars: 100,
        read_only: false,
    };
    let with = |reply: &str, value: &str| {
        let mut record = record(Arm::Memgpt, reply, Vec::new());
        record.case.gold.tier = Tier::WorkingContext;
        record.case.gold.evidence = vec!["Wilhelm Röntgen".into()];
        record.case.gold.edit = Some(EditGold {
            new: vec!["Wilhelm Röntgen".into()],
            old: vec!["1. The prize went to Marie Curie.".into()],
            kept: vec!["2. It rains.".into()],
        });
        record.blocks = vec![block(value)];
        record
    };
    let right = "The prize went to Wilhelm Röntgen.\n2. It rains.";
    check(with("Wilhelm Röntgen", right), Failure::None);
    // The block is right, so the answer alone is wrong.
    check(with("Marie Curie", right), Failure::UnsupportedAnswer);
    check(with("It rains.", right), Failure::Misread);
    for wrong in [
        "1. The prize went to Marie Curie.\n2. It rains.",
        "1. The prize went to Marie Curie.\n2. It rains.\nThe prize went to Wilhelm Röntgen.",
        "The prize went to Lise Meitner.\n2. It rains.",
    ] {
        check(with("Wilhelm Röntgen", wrong), Failure::WrongEdit);
    }
    let mut lost = with("Wilhelm Röntgen", "The prize went to Wilhelm Röntgen.");
    lost.grade();
    assert_eq!((lost.score.correct, lost.score.parts["all"]), (true, 0.0));
    // A note in archival storage counts as saved.
    let mut noted = with("Wilhelm Röntgen", "2. It rains.");
    let mut note = step("archival_insert", "", "Stored.");
    note.arguments = Map::from_iter([("text".to_string(), "It was Wilhelm Röntgen".into())]);
    noted.events[0].steps.push(note);
    check(noted, Failure::None);
}

#[test]
fn a_case_that_could_not_be_run_failed() {
    let mut record = record(Arm::Memgpt, "", Vec::new());
    record.error = Some("the prompt is too long".into());
    check(record, Failure::Failed);
}

#[test]
fn levenshtein_by_hand() {
    let distance = |a: &str, b: &str| {
        edit_distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
    };
    assert_eq!(distance("kitten", "sitting"), 3);
    assert_eq!(distance("", "abc"), 3);
    assert_eq!(distance("abc", "abc"), 0);
}
