//! What a message tells is noted by itself.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pagewise_agent::{Agent, AgentConfig, Event, Observer, Outcome, Plan, Rendering};
use pagewise_core::{
    FixedClock, Generation, GenerationRequest, LanguageModel, ModelError, Prompt, SessionSlot,
    Status, Weighing, WeighingRequest,
};
use pagewise_memory::Store;
use pagewise_testkit::{HashEmbedder, ScriptedModel};

use super::{Fixture, call, quiet, reply};

fn fixture(facts: &[&str], config: AgentConfig, script: Vec<String>) -> Fixture {
    let home = tempfile::tempdir().unwrap();
    let model = ScriptedModel::new(4096, script).noting(facts);
    Fixture::open(home.path(), model, config).unwrap().keep(home)
}

impl Fixture {
    /// What the model was given to note.
    fn noted_of(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let notings = asked.iter().filter(|asked| asked.slot == SessionSlot::Noting);
        notings.map(|asked| asked.prompt.messages.last().unwrap().content.clone()).collect()
    }
}

fn called(outcome: &Outcome) -> Vec<(&str, Status)> {
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
fn a_note_keeps_the_day_that_was_meant() {
    let facts = ["The user's aunt moved to Elm Street yesterday."];
    let mut fixture = fixture(&facts, quiet(), vec![reply("I see.")]);
    fixture.say("My aunt moved to Elm Street yesterday.");
    assert_eq!(noted(&fixture), [format!("{} (yesterday: 4 January 2026)", facts[0])]);
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
    assert_eq!(fixture.noted_of(), ["Message: My aunt moved to Elm Street."]);
}

#[test]
fn a_message_that_only_tells_is_noted_whole() {
    let birthday = "The user's sister has her birthday on 4 May.";
    let mut fixture = fixture(&[birthday], quiet(), vec![reply("I will.")]);
    let told = "My sister's book \"The long way to the sea\" came out in May. I am proud of her.";
    fixture.say(told);
    assert_eq!(fixture.noted_of(), [format!("Message: {told}")]);
}

#[test]
fn what_one_message_tells_does_not_outdate_what_else_it_tells() {
    let facts = ["The user's boat is red.", "The user's boat is fast."];
    let mut fixture = fixture(&facts, quiet(), vec![reply("I see.")]);
    let outcome = fixture.say("My boat is red and fast.");
    assert_eq!(noted(&fixture), facts);
    assert!(outcome.calls.iter().all(|call| call.status == Status::Ok));
}

#[test]
fn the_transcript_shows_what_was_noted() {
    let config = AgentConfig { rendering: Rendering::Transcript, ..quiet() };
    let script = vec![reply("I see."), reply("None.")];
    let mut fixture = fixture(&["The user never eats fish."], config, script);
    fixture.say("I never eat fish.");
    fixture.say("Which fish do you like best?");
    assert!(fixture.last_prompt().contains("The user never eats fish."));
}

/// Stops the agent when it has planned.
struct Stop<'a>(&'a AtomicBool);

impl Observer for Stop<'_> {
    fn plan(&mut self, _: &Plan) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_message_that_is_stopped_is_kept_and_answered_no_more() {
    let mut fixture = fixture(&["The user never eats fish."], quiet(), vec![reply("I see.")]);
    let stopped = AtomicBool::new(false);
    let event = Event::UserMessage { text: "I never eat fish.".into() };
    let outcome = fixture.agent.handle(event, &mut Stop(&stopped), &stopped).unwrap();
    assert!(outcome.error.is_some() && outcome.replies.is_empty());
    assert!(fixture.agent.store().n_messages().unwrap() >= 1);
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

/// A model that cannot note.
struct Forgetful(ScriptedModel);

impl LanguageModel for Forgetful {
    fn context_window_tokens(&self) -> usize {
        self.0.context_window_tokens()
    }

    fn count_tokens(&self, prompt: &Prompt) -> Result<usize, ModelError> {
        self.0.count_tokens(prompt)
    }

    fn generate(
        &mut self,
        request: &GenerationRequest<'_>,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        match request.slot {
            SessionSlot::Noting => Err(ModelError::Inference("out of memory".into())),
            _ => self.0.generate(request, on_text),
        }
    }

    fn weigh(&mut self, request: &WeighingRequest<'_>) -> Result<Weighing, ModelError> {
        self.0.weigh(request)
    }
}

#[test]
fn a_reply_stands_if_nothing_can_be_noted_after_it() {
    let home = tempfile::tempdir().unwrap();
    let model = Forgetful(ScriptedModel::new(4096, vec![reply("The 12.")]));
    let store = Store::open(home.path(), Arc::new(HashEmbedder::new())).unwrap();
    let start = "2026-01-05T09:00:00Z".parse().unwrap();
    let clock = Box::new(FixedClock::new(start, jiff::tz::TimeZone::UTC));
    let mut agent = Agent::open(store, Box::new(model), clock, quiet()).unwrap();
    let text = "My aunt moved to Elm Street. Which bus goes there?".to_string();
    let event = Event::UserMessage { text };
    let outcome = agent.handle(event, &mut (), &AtomicBool::new(false)).unwrap();
    assert_eq!(outcome.replies, ["The 12."]);
    assert!(outcome.plan.unwrap().saves);
}
