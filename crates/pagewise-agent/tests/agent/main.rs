//! The operating system with a scripted model and real memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod noting;
mod reading;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use pagewise_agent::{Agent, AgentConfig, AgentError, Event, Observer, Outcome, Rendering};
use pagewise_core::{
    FixedClock, FunctionCall, MessageBody, MessageId, Prompt, SessionSlot, Status,
};
use pagewise_memory::{NewPassage, QueueState, SearchMode, Store, Summary};
use pagewise_testkit::{Asked, HashEmbedder, ScriptedModel, call, random_text};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

struct Fixture {
    agent: Agent,
    asked: Arc<Mutex<Vec<Asked>>>,
    _home: Option<tempfile::TempDir>,
}

impl Fixture {
    fn new(window: usize, config: AgentConfig, script: Vec<String>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let model = ScriptedModel::new(window, script);
        Self { _home: None, ..Self::open(home.path(), model, config).unwrap() }.keep(home)
    }

    fn open(home: &Path, model: ScriptedModel, config: AgentConfig) -> Result<Self, AgentError> {
        let asked = model.asked();
        let store = Store::open(home, Arc::new(HashEmbedder::new())).unwrap();
        let start = "2026-01-05T09:00:00Z".parse().unwrap();
        let clock = Box::new(FixedClock::new(start, jiff::tz::TimeZone::UTC));
        let agent = Agent::open(store, Box::new(model), clock, config)?;
        Ok(Self { agent, asked, _home: None })
    }

    fn keep(self, home: tempfile::TempDir) -> Self {
        Self { _home: Some(home), ..self }
    }

    fn say(&mut self, text: &str) -> Outcome {
        let event = Event::UserMessage { text: text.into() };
        self.agent.handle(event, &mut (), &AtomicBool::new(false)).unwrap()
    }

    /// The functions that could be called at each step since the last time this was asked.
    fn functions(&self) -> Vec<Vec<String>> {
        let mut asked = self.asked.lock().unwrap();
        let is_beside = |slot: SessionSlot| slot == SessionSlot::Reading || slot.is_decision();
        let steps = asked.drain(..).filter(|asked| !is_beside(asked.slot));
        steps.map(|asked| asked.functions).collect()
    }

    /// The same without the texts that were asked for.
    fn functions_of_calls(&self) -> Vec<Vec<String>> {
        self.functions().into_iter().filter(|functions| !functions.is_empty()).collect()
    }

    /// The prompts of a slot.
    fn asked_in(&self, slot: SessionSlot) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.slot == slot).map(|asked| show(&asked.prompt)).collect()
    }

    fn last_prompt(&self) -> String {
        show(&self.asked.lock().unwrap().last().unwrap().prompt)
    }
}

fn show(prompt: &Prompt) -> String {
    let turns: Vec<String> =
        prompt.messages.iter().map(|turn| format!("<{:?}>\n{}", turn.role, turn.content)).collect();
    turns.join("\n")
}

fn reply(text: &str) -> String {
    call("send_message", &[("message", text)])
}

fn append(text: &str) -> String {
    call("working_context_append", &[("block", "human"), ("text", text)])
}

/// A config for short tests: nothing is searched or warned of unless the test is about it.
fn quiet() -> AgentConfig {
    AgentConfig { warning_fraction: 1.0, ..AgentConfig::default() }
}

/// Searches by substring, so that an identifier finds what holds it and nothing else.
fn substrings() -> AgentConfig {
    AgentConfig { search_mode: SearchMode::Substring, ..quiet() }
}

#[test]
fn a_fact_is_saved_and_then_always_in_view() {
    let script = vec![append("The user's dog is Biscuit."), reply("Nice name!"), reply("Biscuit.")];
    let mut fixture = Fixture::new(4096, quiet(), script);
    let outcome = fixture.say("My dog is called Biscuit.");
    assert_eq!(outcome.replies, ["Nice name!"]);
    let called: Vec<&str> = outcome.calls.iter().map(|call| call.function.as_str()).collect();
    assert_eq!(called, ["working_context_append", "send_message"]);
    fixture.say("What is my dog called?");
    insta::assert_snapshot!("frame", fixture.last_prompt());
}

#[test]
fn the_transcript_shows_the_queue_as_a_chat() {
    let script = vec![append("The user's dog is Biscuit."), reply("Nice name!"), reply("Biscuit.")];
    let config = AgentConfig { rendering: Rendering::Transcript, ..quiet() };
    let mut fixture = Fixture::new(4096, config, script);
    fixture.say("My dog is called Biscuit.");
    fixture.say("What is my dog called?");
    insta::assert_snapshot!("transcript", fixture.last_prompt());
}

#[test]
fn a_reply_streams_as_it_is_written() {
    #[derive(Default)]
    struct Pieces(Vec<String>);
    impl Observer for Pieces {
        fn reply_piece(&mut self, text: &str) {
            self.0.push(text.into());
        }
        fn reply_end(&mut self) {
            self.0.push("<end>".into());
        }
    }
    let mut fixture = Fixture::new(4096, quiet(), vec![reply("one two \"three\"")]);
    let mut pieces = Pieces::default();
    let event = Event::UserMessage { text: "Count".into() };
    fixture.agent.handle(event, &mut pieces, &AtomicBool::new(false)).unwrap();
    assert_eq!(pieces.0, ["one ", "two ", "\"three\"", "<end>"]);
}

#[test]
fn a_stopped_reply_is_kept_as_far_as_it_went() {
    struct Stop<'a>(&'a AtomicBool);
    impl Observer for Stop<'_> {
        fn reply_piece(&mut self, _text: &str) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let mut fixture = Fixture::new(4096, quiet(), vec![reply("one two three"), reply("yes")]);
    let cancelled = AtomicBool::new(false);
    let event = Event::UserMessage { text: "Count".into() };
    let outcome = fixture.agent.handle(event, &mut Stop(&cancelled), &cancelled).unwrap();
    assert_eq!(outcome.error.as_deref(), Some("stopped by the user"));
    assert_eq!(outcome.replies, ["one "]);
    assert_eq!(fixture.say("Go on").replies, ["yes"]);
    assert!(fixture.last_prompt().contains("You: one"));
}

#[test]
fn a_question_is_searched_before_it_is_answered_once_something_has_left_the_view() {
    let mut fixture = Fixture::new(2048, quiet(), vec![reply("I am Sam.")]);
    fixture.say("Who are you?");
    assert!(fixture.functions()[0].contains(&"send_message".into()), "nothing can be found yet");

    let home = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::open(home.path(), ScriptedModel::new(2048, []), quiet()).unwrap();
    fixture.say("My dog is called Biscuit.");
    let mut filler = 0;
    while fixture.agent.context().unwrap().messages_evicted < 4 {
        fixture.say(&format!("Small talk number {filler}, and nothing more than that."));
        filler += 1;
    }
    drop(fixture);
    let search = call("conversation_search", &[("words", "dog name")]);
    // There are more pages, so from now on a search names one; the first one is the same again.
    let again = search.replace("\"}}", "\", \"page\": 1}}");
    // A wider window, so that no summary is asked of the script.
    let model = ScriptedModel::new(4096, [search, again, reply("Biscuit.")]);
    let mut fixture = Fixture::open(home.path(), model, quiet()).unwrap();
    let outcome = fixture.say("What is my dog called?");
    let functions = fixture.functions_of_calls();
    let may = |step: usize, name: &str| functions[step].contains(&name.into());
    assert!(may(0, "conversation_search") && !may(0, "send_message"));
    assert!(!may(0, "conversation_search_date"), "the first search is by words");
    assert!(may(1, "send_message") && may(1, "conversation_search"));
    assert!(may(1, "conversation_search_date"));
    assert!(may(2, "send_message") && !may(2, "conversation_search"), "masked after a repeat");
    assert!(outcome.calls[0].result.contains("the user said: My dog is called Biscuit."));
    assert!(outcome.calls[1].result.contains("already shown above"));
}

#[test]
fn days_are_read_from_their_beginning_whatever_was_shown_before() {
    let home = tempfile::tempdir().unwrap();
    let mut store = Store::open(home.path(), Arc::new(HashEmbedder::new())).unwrap();
    let at = "2026-01-04T09:00:00Z".parse().unwrap();
    let texts = (1..=8).map(|n| format!("Topic {n} now."));
    let summary = Summary { text: "Topics were discussed.".into(), n_messages: 8 };
    store
        .transact(|tx| {
            texts
                .clone()
                .try_for_each(|text| tx.append(at, MessageBody::User { text }).map(|_| ()))?;
            let (first_in_view, summary) = (MessageId(9), Some(summary.clone()));
            tx.set_queue(&QueueState { first_in_view, summary, warned: false })
        })
        .unwrap();
    drop(store);
    let days = [("from", "2026-01-04"), ("to", "2026-01-04")];
    let list = |page: usize| {
        let page = format!("\", \"page\": {page}}}}}");
        call("conversation_search_date", &days).replace("\"}}", &page)
    };
    let search = call("conversation_search", &[("words", "topic")]);
    let model = ScriptedModel::new(4096, [search, list(1), list(2), reply("Topic 1.")]);
    let mut fixture = Fixture::open(home.path(), model, quiet()).unwrap();
    let outcome = fixture.say("What was the first topic?");
    insta::assert_snapshot!(outcome.calls[1].result, @r"
    Page 1 of 2, 6 of 8 messages, oldest first:
    - 4 January 2026, the user said: Topic 1 now.
    - 4 January 2026, the user said: Topic 2 now.
    - 4 January 2026, the user said: Topic 3 now.
    - 4 January 2026, the user said: Topic 4 now.
    - 4 January 2026, the user said: Topic 5 now.
    - 4 January 2026, the user said: Topic 6 now.
    ");
    insta::assert_snapshot!(outcome.calls[2].result, @r"
    Page 2 of 2, 2 of 8 messages, oldest first:
    - 4 January 2026, the user said: Topic 7 now.
    - 4 January 2026, the user said: Topic 8 now.
    ");
    assert_eq!(outcome.replies, ["Topic 1."]);
}

#[test]
fn what_is_found_says_which_days_it_means() {
    let home = tempfile::tempdir().unwrap();
    let mut store = Store::open(home.path(), Arc::new(HashEmbedder::new())).unwrap();
    let at = "2026-01-04T09:00:00Z".parse().unwrap();
    let summary = Summary { text: "The pump was discussed.".into(), n_messages: 1 };
    store
        .transact(|tx| {
            tx.append(at, MessageBody::User { text: "The pump broke two days ago.".into() })?;
            let (first_in_view, summary) = (MessageId(2), Some(summary.clone()));
            tx.set_queue(&QueueState { first_in_view, summary, warned: false })
        })
        .unwrap();
    drop(store);
    let search = call("conversation_search", &[("words", "pump")]);
    let model = ScriptedModel::new(4096, [search, reply("On Friday.")]);
    let mut fixture = Fixture::open(home.path(), model, quiet()).unwrap();
    let outcome = fixture.say("When did the pump break?");
    let line = "- 4 January 2026, the user said: The pump broke two days ago. (two days ago: 2 January 2026)";
    assert!(outcome.calls[0].result.contains(line), "{}", outcome.calls[0].result);
}

#[test]
fn the_first_search_looks_among_what_was_said_by_who_said_it() {
    let home = tempfile::tempdir().unwrap();
    let mut store = Store::open(home.path(), Arc::new(HashEmbedder::new())).unwrap();
    let at = "2026-01-04T09:00:00Z".parse().unwrap();
    let summary = Summary { text: "The pump was discussed.".into(), n_messages: 2 };
    let advice = FunctionCall::new("send_message", [("message", "Oil the pump.")]);
    store
        .transact(|tx| {
            tx.append(at, MessageBody::User { text: "The pump is loud.".into() })?;
            tx.append(at, MessageBody::Call(advice.clone()))?;
            let (first_in_view, summary) = (MessageId(3), Some(summary.clone()));
            tx.set_queue(&QueueState { first_in_view, summary, warned: false })
        })
        .unwrap();
    drop(store);
    let search = |words: &str| call("conversation_search", &[("words", words)]);
    let results = |message: &str, words: [&str; 2]| {
        let model = ScriptedModel::new(4096, [search(words[0]), search(words[1]), reply("Yes.")]);
        let mut fixture = Fixture::open(home.path(), model, quiet()).unwrap();
        let outcome = fixture.say(message);
        [0, 1].map(|at| {
            let result = &outcome.calls[at].result;
            ["The pump is loud.", "Oil the pump."].map(|text| result.contains(text))
        })
    };
    let said = "What did you suggest for the pump?";
    // Another search is among everything; what was shown is not shown again.
    assert_eq!(results(said, ["pump", "loud pump"]), [[false, true], [true, false]]);
    let said = "What did I tell you of the pump?";
    assert_eq!(results(said, ["pump", "oil pump"]), [[true, false], [false, true]]);
    assert_eq!(results("What of the pump?", ["pump", "oil"])[0], [true, true]);
}

#[test]
fn a_trail_is_followed_to_its_end_if_the_rehearsal_says_so() {
    let keys = ["ab12cd34", "ef56ab78", "cd90ef12"];
    for follows in [true, false] {
        let home = tempfile::tempdir().unwrap();
        let mut store = Store::open(home.path(), Arc::new(HashEmbedder::new())).unwrap();
        let at = "2026-01-05T09:00:00Z".parse().unwrap();
        store
            .transact(|tx| {
                keys.windows(2).try_for_each(|two| {
                    let text = format!("Entry: {} = {}", two[0], two[1]);
                    let passage = NewPassage { text, tags: Vec::new(), source: None, at };
                    tx.insert_passage(&passage).map(|_| ())
                })
            })
            .unwrap();
        drop(store);
        let search = |words: &str| call("archival_search", &[("words", words)]);
        let script = match follows {
            true => keys.map(search).into_iter().chain([reply("cd90ef12")]).collect(),
            false => vec![search(keys[0]), reply("ef56ab78")],
        };
        let n_calls = script.len();
        let model = ScriptedModel::new(4096, script);
        let mut fixture = Fixture::open(home.path(), model, substrings()).unwrap();
        let outcome = fixture.say(match follows {
            true => "What is ab12cd34 in the end?",
            false => "What is ab12cd34?",
        });
        let rehearsed = fixture.asked_in(SessionSlot::Rehearsal).pop().unwrap();
        let expected = if follows { "What is K7 in the end?" } else { "What is K7?" };
        assert!(rehearsed.ends_with(&format!("Request: {expected}")), "{rehearsed}");
        assert_eq!(outcome.calls.len(), n_calls);
        assert_eq!(outcome.plan.unwrap().follows, Some(follows));
        assert_eq!(fixture.last_prompt().contains("to its end, cd90ef12"), follows);
        let functions = fixture.functions();
        let only_searches = functions.iter().take_while(|may| *may == &["archival_search"]).count();
        assert_eq!(only_searches, if follows { 3 } else { 1 });
    }
}

#[test]
fn an_append_that_says_what_a_line_says_is_refused_and_named() {
    let script = vec![
        append("The user lives in Oslo."),
        reply("Noted."),
        append("Lives in Bergen now, not Oslo"),
        call(
            "working_context_replace",
            &[("old", "The user lives in Oslo."), ("new", "The user lives in Bergen.")],
        ),
        reply("Noted."),
    ];
    let mut fixture = Fixture::new(4096, quiet(), script);
    fixture.say("I live in Oslo.");
    let outcome = fixture.say("I moved to Bergen.");
    assert_eq!(outcome.calls[0].status, Status::Failed);
    assert!(outcome.calls[0].result.contains("\"The user lives in Oslo.\""));
    assert_eq!(outcome.calls[1].status, Status::Ok);
    let working_context = fixture.agent.store().working_context().unwrap();
    assert_eq!(working_context.lines("human"), ["The user lives in Bergen."]);
}

#[test]
fn an_edit_that_changes_nothing_is_done() {
    let same = [("old", "The user lives in Oslo."), ("new", "User lives in Oslo")];
    let script = vec![
        append("The user lives in Oslo."),
        reply("Noted."),
        append("User lives in Oslo"),
        reply("I know."),
        call("working_context_replace", &same),
        reply("I know."),
    ];
    let mut fixture = Fixture::new(4096, quiet(), script);
    fixture.say("I live in Oslo.");
    for _ in 0..2 {
        let outcome = fixture.say("I live in Oslo, as I said.");
        assert_eq!(outcome.calls[0].status, Status::Ok);
        assert_eq!(outcome.calls[0].result, "Working context says so already.");
        assert_eq!(outcome.calls.len(), 2, "no further edit: {:?}", outcome.calls);
    }
    let working_context = fixture.agent.store().working_context().unwrap();
    assert_eq!(working_context.lines("human"), ["The user lives in Oslo."]);
}

#[test]
fn a_line_is_not_replaced_by_something_else() {
    let script = vec![
        append("The user is allergic to cashews."),
        reply("Noted."),
        call(
            "working_context_replace",
            &[("old", "The user is allergic to cashews."), ("new", "The user reads slow books.")],
        ),
        append("The user reads slow books."),
        reply("Noted."),
    ];
    let mut fixture = Fixture::new(4096, quiet(), script);
    fixture.say("I am allergic to cashews.");
    let outcome = fixture.say("I like slow books.");
    assert_eq!(outcome.calls[0].status, Status::Failed);
    assert!(outcome.calls[0].result.contains("working_context_append"));
    let working_context = fixture.agent.store().working_context().unwrap();
    assert_eq!(
        working_context.lines("human"),
        ["The user is allergic to cashews.", "The user reads slow books."]
    );
}

#[test]
fn one_event_makes_one_edit() {
    let script = vec![append("One."), reply("Ok.")];
    let mut fixture = Fixture::new(4096, quiet(), script);
    fixture.say("Remember one and two.");
    let functions = fixture.functions();
    assert!(functions[0].contains(&"working_context_append".into()));
    assert_eq!(functions[1], ["send_message"], "no edit, and nothing to search");
}

#[test]
fn the_model_is_warned_once_before_a_flush_and_can_only_save() {
    let config =
        AgentConfig { searches_per_event: 0, edits_per_event: 0, ..AgentConfig::default() };
    let mut fixture = Fixture::new(2048, config, vec![]);
    let mut warnings = 0;
    let mut flushes = 0;
    for i in 0..120 {
        let outcome = fixture.say(&format!("Number {i}: the tram was late and the coffee cold."));
        flushes += usize::from(outcome.evicted > 0);
        for functions in fixture.functions() {
            if !functions.is_empty() && !functions.contains(&"send_message".into()) {
                assert!(functions.contains(&"archival_insert".into()), "{functions:?}");
                warnings += 1;
            }
        }
    }
    assert!(flushes >= 3, "{flushes} flushes");
    assert!(
        warnings >= flushes && warnings <= 2 * (flushes + 1),
        "{warnings} for {flushes} flushes"
    );
}

#[test]
fn a_flush_keeps_the_latest_messages_and_a_summary_that_is_shorter() {
    for scripted_summary in ["The user talks about trams.", "", &"long ".repeat(500)] {
        let home = tempfile::tempdir().unwrap();
        let only_replies = AgentConfig { searches_per_event: 0, edits_per_event: 0, ..quiet() };
        let model = ScriptedModel::random(2048, 7);
        let mut fixture = Fixture::open(home.path(), model, only_replies).unwrap();
        let mut n = 0;
        while fixture.agent.context().unwrap().used < 1650 {
            fixture.say(&format!("Number {n}: the tram was late."));
            n += 1;
        }
        drop(fixture);
        // The next message does not fit: first the summary is asked for, then the call.
        let script = [scripted_summary.to_string(), reply("Yes.")];
        let model = ScriptedModel::new(2048, script);
        let mut fixture = Fixture::open(home.path(), model, quiet()).unwrap();
        let before = fixture.agent.context().unwrap();
        let outcome = fixture.say(&"A long story. ".repeat(80));
        let after = fixture.agent.context().unwrap();
        assert!(outcome.evicted > 0 && outcome.evicted < before.messages_in_view);
        assert_eq!(after.messages_evicted, before.messages_evicted + outcome.evicted as u64);
        let queue = fixture.agent.store().queue().unwrap();
        let summary = queue.summary.unwrap().text;
        assert!(!summary.is_empty() && summary.chars().count() <= 500, "{summary}");
        let first = &fixture.agent.store().messages_from(queue.first_in_view).unwrap()[0];
        assert!(!matches!(first.body, MessageBody::Result(_)), "a result without its call");
    }
}

#[test]
fn the_question_that_sets_off_the_first_flush_is_searched_too() {
    let home = tempfile::tempdir().unwrap();
    let only_replies = AgentConfig { searches_per_event: 0, edits_per_event: 0, ..quiet() };
    let mut fixture =
        Fixture::open(home.path(), ScriptedModel::random(2048, 7), only_replies).unwrap();
    while fixture.agent.context().unwrap().used < 1650 {
        fixture.say("The tram was late.");
    }
    assert_eq!(fixture.agent.context().unwrap().messages_evicted, 0);
    drop(fixture);
    let by_chance = ScriptedModel::new(2048, []);
    let mut fixture = Fixture::open(home.path(), by_chance, quiet()).unwrap();
    let outcome = fixture.say(&format!("{}What was late?", "A long story. ".repeat(80)));
    assert!(outcome.evicted > 0);
    // The first thing asked of the model is the summary, which is no call.
    let functions = fixture.functions();
    assert!(functions[0].is_empty());
    assert_eq!(functions[1], ["conversation_search"]);
}

#[test]
fn a_reopened_agent_sees_what_it_saw() {
    let home = tempfile::tempdir().unwrap();
    let mut fixture =
        Fixture::open(home.path(), ScriptedModel::random(1536, 3), AgentConfig::default()).unwrap();
    for i in 0..40 {
        fixture.say(&format!("Message {i} about nothing much."));
    }
    let (prompt, context) = (fixture.agent.prompt().unwrap(), fixture.agent.context().unwrap());
    drop(fixture);
    let fixture =
        Fixture::open(home.path(), ScriptedModel::random(1536, 3), AgentConfig::default()).unwrap();
    assert_eq!(fixture.agent.prompt().unwrap(), prompt);
    assert_eq!(fixture.agent.context().unwrap(), context);
}

#[test]
fn a_window_without_room_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let error = Fixture::open(home.path(), ScriptedModel::random(512, 0), AgentConfig::default());
    let Err(error) = error.map(|_| ()) else { panic!("512 tokens are too few") };
    assert!(matches!(error, AgentError::WindowTooSmall { window_tokens: 512, .. }), "{error}");
}

#[test]
fn an_empty_message_is_refused_and_not_stored() {
    let mut fixture = Fixture::new(4096, quiet(), vec![]);
    let event = Event::UserMessage { text: " \n".into() };
    let error = fixture.agent.handle(event, &mut (), &AtomicBool::new(false)).unwrap_err();
    assert!(matches!(error, AgentError::EmptyMessage));
    assert_eq!(fixture.agent.store().n_messages().unwrap(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Over random histories, windows and renderings: no prompt leaves less than the answer's
    /// room, no event fails, and every message is in recall storage.
    #[test]
    fn no_prompt_ever_exceeds_its_budget(seed: u64, window in 1300usize..3000, transcript: bool) {
        let rendering = if transcript { Rendering::Transcript } else { Rendering::Frame };
        let config = AgentConfig { rendering, ..AgentConfig::default() };
        let home = tempfile::tempdir().unwrap();
        let model = ScriptedModel::random(window, seed);
        let mut fixture = Fixture::open(home.path(), model, config.clone()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut said = Vec::new();
        for _ in 0..25 {
            let longest = if rng.random_bool(0.1) { 20_000 } else { 200 };
            let mut text = random_text(longest, &mut rng);
            if rng.random_bool(0.3) {
                text.push('?');
            }
            if text.trim().is_empty() {
                continue;
            }
            let outcome = fixture.say(&text);
            // A fact is noted by two calls if the first is refused.
            let n_notes_max = 2 * config.facts_per_message;
            prop_assert!(outcome.calls.len() <= config.steps_per_event + 2 + n_notes_max);
            prop_assert!(outcome.context.window == window);
            said.push(text);
        }
        let counter = ScriptedModel::random(window, 0);
        for asked in fixture.asked.lock().unwrap().iter() {
            let tokens = pagewise_core::LanguageModel::count_tokens(&counter, &asked.prompt).unwrap();
            prop_assert!(tokens + config.answer_tokens.min(window / 7) <= window, "{tokens} of {window}");
        }
        let stored: Vec<String> = fixture.agent.store().messages_from(MessageId(0)).unwrap()
            .into_iter()
            .filter_map(|message| match message.body { MessageBody::User { text } => Some(text), _ => None })
            .collect();
        prop_assert_eq!(stored, said);
    }
}
