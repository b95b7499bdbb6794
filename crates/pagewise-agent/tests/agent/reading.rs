//! What was found is read by itself, and what was read is checked.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pagewise_agent::{AgentConfig, Event};
use pagewise_core::SessionSlot;
use pagewise_memory::{NewPassage, SearchMode, Store};
use pagewise_testkit::{HashEmbedder, ScriptedModel, call};

use crate::{Fixture, quiet, reply, substrings};

/// A home with these passages in archival storage.
fn holding(passages: &[&str]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let mut store = Store::open(home.path(), Arc::new(HashEmbedder::new())).unwrap();
    let at = "2026-01-05T09:00:00Z".parse().unwrap();
    store
        .transact(|tx| {
            passages.iter().try_for_each(|text| {
                let text = (*text).into();
                let passage = NewPassage { text, tags: Vec::new(), source: None, at };
                tx.insert_passage(&passage).map(|_| ())
            })
        })
        .unwrap();
    home
}

fn search(words: &str) -> String {
    call("archival_search", &[("words", words)])
}

#[test]
fn what_was_read_is_the_reply_beside_the_line_that_it_rests_on() {
    let home =
        holding(&["The pump has a fuse of ten amperes.", "The heater has a fuse of six amperes."]);
    let search = call("archival_search", &[("words", "fuse heater")]);
    for reading in [true, false] {
        let said = if reading { "It has \"six\"\namperes." } else { "Six amperes." };
        let script = [search.clone(), reply(said)];
        let model = ScriptedModel::new(4096, script).reading(&["It has \"six\"\namperes."]);
        let config = AgentConfig { reading, ..quiet() };
        let mut fixture = Fixture::open(home.path(), model, config).unwrap();
        let outcome = fixture.say("Which fuse does the heater have?");
        let read = outcome.plan.unwrap().reading;
        assert_eq!(read.as_deref(), reading.then_some(said));
        assert_eq!(outcome.replies, [said]);
        let prompts = fixture.asked_in(SessionSlot::Reading);
        let read = prompts.iter().any(|prompt| prompt.contains("The heater has"));
        assert_eq!(read, reading);
        let prompt = fixture.last_prompt();
        let (_, shown) = prompt.split_once("# What you did just now").unwrap();
        if reading {
            insta::assert_snapshot!(shown);
        } else {
            assert!(shown.contains("The pump has") && shown.contains("The heater has"));
        }
    }
}

#[test]
fn an_answer_is_all_that_a_reply_can_say_unless_the_message_says_more_than_it_asks() {
    let home = holding(&["The heater has a fuse of six amperes."]);
    let question = "Which fuse does the heater have?";
    for (asked, is_free) in
        [(question.to_string(), false), (format!("{question} Answer in French, please."), true)]
    {
        let script = [search("fuse heater"), reply("Six ampères.")];
        let model = ScriptedModel::new(4096, script).reading(&["It has six amperes."]);
        let mut fixture = Fixture::open(home.path(), model, quiet()).unwrap();
        let event = Event::UserMessage { text: asked };
        let outcome = fixture.agent.handle(event, &mut (), &AtomicBool::new(false));
        match is_free {
            true => assert_eq!(outcome.unwrap().replies, ["Six ampères."]),
            false => {
                let error = outcome.unwrap_err().to_string();
                assert!(error.contains("message"), "{error}");
            }
        }
    }
}

const TOWN: &str = "The heater was made in Umberleigh.";
const RIVER: &str = "Umberleigh lies on the Alme.";
const ON_THE_WAY: &str = "The heater was made in Umberleigh, which is on the way.";

#[test]
fn what_is_only_on_the_way_to_the_answer_is_searched_on_from() {
    let home = holding(&[TOWN, RIVER, "The pump was made in Querndale."]);
    let script = [search("heater"), search("Umberleigh"), reply("It is the Alme.")];
    let model = ScriptedModel::new(4096, script).reading(&[ON_THE_WAY, "It is the Alme."]);
    let mut fixture = Fixture::open(home.path(), model, substrings()).unwrap();
    let outcome = fixture.say("On which river is the town where the heater was made?");
    let called: Vec<&str> = outcome.calls.iter().map(|call| call.function.as_str()).collect();
    assert_eq!(called, ["archival_search", "archival_search", "send_message"]);
    assert_eq!(outcome.plan.unwrap().reading.as_deref(), Some("It is the Alme."));
    // What was read is a fact of the second request, beside its line and what is new.
    let read = fixture.asked_in(SessionSlot::Reading);
    assert!(read[0].contains(TOWN) && !read[0].contains(RIVER), "{}", read[0]);
    assert!(read[1].contains(&format!("Request: {ON_THE_WAY} On which river")), "{}", read[1]);
    assert!(read[1].contains(RIVER), "{}", read[1]);
    assert_eq!(read[1].matches(TOWN).count(), 1, "{}", read[1]);
    insta::assert_snapshot!(fixture.asked_in(SessionSlot::Checking)[0]);
    // There is no reply before the second search.
    let functions = fixture.functions();
    assert!(functions[..2].iter().all(|names| !names.contains(&"send_message".into())));
    assert!(functions[2].contains(&"send_message".into()), "{functions:?}");
}

/// As a small model does: its own words are the same again, so that only what was read makes it another search.
#[test]
fn a_search_on_starts_from_what_was_read() {
    let mut passages = vec![TOWN.to_string(), RIVER.to_string()];
    passages.extend((0..30).map(|n| format!("The heater of house {n} was checked in May.")));
    let passages: Vec<&str> = passages.iter().map(String::as_str).collect();
    let home = holding(&passages);
    let again = search("heater made");
    let model = ScriptedModel::new(4096, [again.clone(), again, reply("It is the Alme.")]);
    let model = model.reading(&[ON_THE_WAY, "It is the Alme."]);
    let config = AgentConfig { search_mode: SearchMode::Words, ..quiet() };
    let mut fixture = Fixture::open(home.path(), model, config).unwrap();
    let outcome = fixture.say("On which river is the town where the heater was made?");
    assert_eq!(outcome.replies, ["It is the Alme."]);
    assert!(outcome.calls[1].result.contains(RIVER), "{}", outcome.calls[1].result);
    assert!(outcome.calls[1].arguments.get("page").is_none());
}

#[test]
fn what_leads_nowhere_is_no_fact_of_the_next_request() {
    let home = holding(&[TOWN, RIVER]);
    let nothing = "No line says it; that is not even on the way.";
    let script = [search("heater"), search("Umberleigh"), reply("I do not know.")];
    let model = ScriptedModel::new(4096, script).reading(&[nothing, "", "never asked"]);
    let mut fixture = Fixture::open(home.path(), model, substrings()).unwrap();
    let outcome = fixture.say("On which river is the town where the heater was made?");
    let read = fixture.asked_in(SessionSlot::Reading);
    assert!(read[1].contains("Request: On which river") && read[1].contains(TOWN), "{}", read[1]);
    // Nothing was read the second time, so it stays with what was read first.
    assert_eq!(outcome.plan.unwrap().reading.as_deref(), Some(nothing));
    assert_eq!(read.len(), 2);
}

#[test]
fn a_search_that_finds_nothing_more_ends_it() {
    let home = holding(&[TOWN, RIVER]);
    let script = [search("heater"), search("heater"), reply("I only know the town.")];
    let model = ScriptedModel::new(4096, script).reading(&[ON_THE_WAY]);
    let mut fixture = Fixture::open(home.path(), model, substrings()).unwrap();
    let outcome = fixture.say("On which river is the town where the heater was made?");
    // It is no answer, so that main context may know better.
    assert_eq!(outcome.replies, ["I only know the town."]);
    assert_eq!(outcome.plan.unwrap().reading.as_deref(), Some(ON_THE_WAY));
    assert_eq!(fixture.asked_in(SessionSlot::Reading).len(), 1);
    assert!(fixture.last_prompt().contains("Tell the user what you read"));
}

#[test]
fn after_the_last_search_nothing_is_checked_nor_without_the_setting() {
    let home = holding(&[TOWN, RIVER]);
    let last = AgentConfig { searches_per_event: 1, ..substrings() };
    let unchecked = AgentConfig { checking: false, ..substrings() };
    for config in [last, unchecked] {
        let model = ScriptedModel::new(4096, [search("heater"), reply(ON_THE_WAY)]);
        let model = model.reading(&[ON_THE_WAY]);
        let mut fixture = Fixture::open(home.path(), model, config).unwrap();
        fixture.say("On which river is the town where the heater was made?");
        assert_eq!(fixture.asked_in(SessionSlot::Reading).len(), 1);
        assert!(fixture.asked_in(SessionSlot::Checking).is_empty());
    }
}
