//! What a message tells is noted by itself.

use pagewise_agent::AgentConfig;
use pagewise_core::Status;
use pagewise_testkit::ScriptedModel;

use super::{Fixture, call, quiet, reply};

fn fixture(facts: &[&str], config: AgentConfig, script: Vec<String>) -> Fixture {
    let home = tempfile::tempdir().unwrap();
    let model = ScriptedModel::new(4096, script).noting(facts);
    Fixture::open(home.path(), model, config).unwrap().keep(home)
}

fn called(outcome: &pagewise_agent::Outcome) -> Vec<(&str, Status)> {
    outcome.calls.iter().map(|call| (call.function.as_str(), call.status)).collect()
}

fn noted(fixture: &Fixture) -> Vec<String> {
    let working_context = fixture.agent.store().working_context().unwrap();
    working_context.lines("human").into_iter().map(str::to_string).collect()
}

#[test]
fn every_fact_is_kept_before_the_first_step() {
    let facts = ["The user's aunt moved to Elm Street.", "The user never eats fish."];
    let mut fixture = fixture(&facts, quiet(), vec![reply("I see.")]);
    let outcome = fixture.say("My aunt moved to Elm Street. I never eat fish.");
    let append = ("working_context_append", Status::Ok);
    assert_eq!(called(&outcome), [append, append, ("send_message", Status::Ok)]);
    assert_eq!(noted(&fixture), facts);
    // What is noted needs no edit any more.
    assert_eq!(fixture.functions_of_calls(), [["send_message"]]);
    let plan = outcome.plan.unwrap();
    assert!(plan.saves && !plan.searches);
}

#[test]
fn a_message_can_tell_and_ask() {
    let told = "The user's aunt moved to Elm Street.";
    let search = call("archival_search", &[("words", "bus")]);
    let mut fixture = fixture(&[told], quiet(), vec![search, reply("The 12.")]);
    let timetable = pagewise_memory::NewPassage {
        text: "The bus to Elm Street is the 12.".into(),
        tags: Vec::new(),
        source: None,
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    fixture.agent.store_mut().transact(|tx| tx.insert_passage(&timetable)).unwrap();
    let outcome = fixture.say("My aunt moved to Elm Street. Which bus goes there?");
    // Noted before, it would be found, and taken for the answer.
    let expected = ["archival_search", "send_message", "working_context_append"];
    assert_eq!(called(&outcome), expected.map(|function| (function, Status::Ok)));
    let plan = outcome.plan.unwrap();
    assert!(plan.saves && plan.searches);
    assert_eq!(noted(&fixture), [told]);
}

#[test]
fn a_fact_takes_the_place_of_what_it_outdates() {
    let moved = "The user's aunt lives in Leeds.";
    let first = call(
        "working_context_append",
        &[("block", "human"), ("text", "The user's aunt lives in Bath.")],
    );
    let home = tempfile::tempdir().unwrap();
    let before = ScriptedModel::new(4096, vec![first, reply("I see.")]);
    Fixture::open(home.path(), before, quiet()).unwrap().say("My aunt lives in Bath.");
    let model = ScriptedModel::new(4096, vec![reply("I see.")]).noting(&[moved]);
    let mut fixture = Fixture::open(home.path(), model, quiet()).unwrap().keep(home);
    let outcome = fixture.say("My aunt lives in Leeds now.");
    let replaced = ("working_context_replace", Status::Ok);
    assert_eq!(called(&outcome), [replaced, ("send_message", Status::Ok)]);
    assert_eq!(noted(&fixture), [moved]);
}

#[test]
fn a_full_block_leaves_facts_to_archival_storage() {
    let config = AgentConfig { human_block_chars: 40, ..quiet() };
    let fact = "The user never eats fish.";
    let mut fixture = fixture(&[fact], config, vec![reply("I see.")]);
    let outcome = fixture.say("I never eat fish.");
    assert_eq!(called(&outcome)[0], ("archival_insert", Status::Ok));
    assert_eq!(fixture.agent.store().n_passages().unwrap(), 1);
    assert!(noted(&fixture).is_empty());
}

#[test]
fn noting_can_be_turned_off() {
    let config = AgentConfig { noting: false, ..quiet() };
    let mut fixture = fixture(&["The user never eats fish."], config, vec![reply("I see.")]);
    fixture.say("I never eat fish.");
    assert!(noted(&fixture).is_empty());
    assert!(fixture.functions_of_calls()[0].contains(&"working_context_append".to_string()));
}
