//! Benchmarks of memory with a scripted model and real memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[path = "memory/at_once.rs"]
mod at_once;
#[path = "memory/scripted.rs"]
mod scripted;
#[path = "memory/talks.rs"]
mod talks;
#[path = "memory/written.rs"]
mod written;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pagewise_bench::memory::{
    Arm, Case, Documents, Failure, MadeBy, MemoryBenchError, Record, RunObserver, Runner, Settings,
    Summary, Task, Truncation, read_records,
};
use pagewise_core::{Embedder, FunctionCall};
use pagewise_testkit::{HashEmbedder, call};
use serde_json::Value;

use scripted::Fixture;

/// A window in which everything fits that a scripted model reads, at four bytes a token.
const WINDOW: usize = 8192;

impl Fixture {
    fn run(&self, cases: &[Case], out: Option<&Path>) -> Result<Vec<Record>, MemoryBenchError> {
        self.run_watched(cases, out, &mut ())
    }

    fn run_watched(
        &self,
        cases: &[Case],
        out: Option<&Path>,
        observer: &mut dyn RunObserver,
    ) -> Result<Vec<Record>, MemoryBenchError> {
        let embedder: Arc<dyn Embedder> = Arc::new(HashEmbedder::new());
        let cancelled = AtomicBool::new(false);
        let mut runner = Runner::new(&self.lenders, &embedder, &cancelled);
        runner.run(cases, &self.settings, out, observer)
    }
}

fn generated(task: Task, n: usize) -> Vec<Case> {
    task.generate(1).take(n).collect()
}

/// The nested case with three lookups, and its control, in the wording of the paper.
fn nested_and_direct() -> [Case; 2] {
    let cases = generated(Task::NestedKv, 18);
    [cases[16].clone(), cases[17].clone()]
}

/// The keys along a chain.
fn keys(case: &Case) -> Vec<String> {
    let key =
        |text: &String| text["Key-value pair: key = ".len()..].split(',').next().unwrap().into();
    case.gold.evidence.iter().map(key).collect()
}

fn search(words: &str) -> String {
    call("archival_search", &[("words", words)])
}

fn reply(message: &str) -> String {
    call("send_message", &[("message", message)])
}

#[test]
fn a_chain_is_followed_through_archival_storage() {
    let [nested, direct] = nested_and_direct();
    let keys = keys(&nested);
    assert_eq!(keys.len(), 3);
    let answer = nested.gold.answers[0].clone();
    let mut script: Vec<String> = keys.iter().chain([&answer]).map(|key| search(key)).collect();
    script.push(reply(&answer));
    script.extend([search(&keys[0]), reply(&direct.gold.answers[0])]);
    let fixture = Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, script);
    let out = tempfile::tempdir().unwrap();
    let records = fixture.run(&[nested, direct], Some(out.path())).unwrap();

    let record = &records[0];
    assert_eq!((record.score.correct, record.failure), (true, Failure::None));
    assert!((record.score.parts["exact"] - 1.0).abs() < 1e-12);
    let steps = &record.events[0].steps;
    let called: Vec<&str> = steps.iter().map(|step| &*step.function).collect();
    assert_eq!(called, [["archival_search"; 4].as_slice(), &["send_message"]].concat());
    // A value that is also a key is in two passages, the last value in one: that is when to stop.
    let n_results: Vec<usize> =
        steps[..4].iter().map(|step| step.result.matches("Key-value pair").count()).collect();
    assert_eq!(n_results, [1, 1, 1, 0], "what was shown before is not shown again");
    assert!(steps[1].result.starts_with("Page 1 of 1, 2 of 2 results:"), "{}", steps[1].result);
    assert!(steps[3].result.starts_with("Page 1 of 1, 1 of 1 results:"), "{}", steps[3].result);
    assert!(steps[0].functions.contains(&"archival_search".to_string()));
    assert!(steps.iter().all(|step| !step.by_runtime && step.tokens.generated > 0));
    assert!(
        record.tokens.prefilled > steps.iter().map(|step| step.tokens.prefilled).max().unwrap()
    );
    assert!(records[1].score.correct);

    let summary = Summary::of(&fixture.settings, &records);
    assert_eq!((summary.share.n, summary.share.accuracy), (1, 1.0));
    assert_eq!((summary.control, summary.runtime_searches), (Some(1.0), Some(0)));
    assert_eq!(summary.by["lookups"]["3"].n, 1);
    assert!((summary.steps_per_case - 3.5).abs() < 1e-12);
    assert_eq!(summary.failures.into_iter().collect::<Vec<_>>(), [("none", 2)]);

    // Everything is in the file, and a second run has nothing to ask.
    let read = read_records(&out.path().join(fixture.settings.file_name())).unwrap().0;
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].events[0].steps.len(), 5);
    let idle = Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, Vec::new());
    let again = idle.run(&nested_and_direct(), Some(out.path())).unwrap();
    assert_eq!(again.iter().map(|record| record.score.correct).collect::<Vec<_>>(), [true, true]);
    assert!(idle.prompts().is_empty());
}

#[test]
fn where_a_chain_was_given_up_shows_in_the_record() {
    let [nested, direct] = nested_and_direct();
    let keys = keys(&nested);
    let script = vec![
        search(&keys[0]),
        reply(&keys[1]),
        // The control, followed to its end.
        search(&keys[0]),
        search(&keys[1]),
        search(&keys[2]),
        reply(&nested.gold.answers[0]),
    ];
    let fixture = Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, script);
    let records = fixture.run(&[nested, direct], None).unwrap();
    let failures: Vec<Failure> = records.iter().map(|record| record.failure).collect();
    assert_eq!(failures, [Failure::StoppedEarly, Failure::Misread]);
    assert!(records.iter().all(|record| (record.score.parts["decoy"] - 1.0).abs() < 1e-12));
    let summary = Summary::of(&fixture.settings, &records);
    assert_eq!((summary.share.accuracy, summary.control), (0.0, Some(0.0)));
}

#[test]
fn a_run_goes_on_where_it_was_killed_and_not_with_other_settings() {
    let cases = nested_and_direct();
    let out = tempfile::tempdir().unwrap();
    let script = || vec![reply("no"), reply("no")];
    let first = Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, script());
    first.run(&cases[..1], Some(out.path())).unwrap();
    let file = out.path().join(first.settings.file_name());
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{whole}{}", &whole[..whole.len() / 2])).unwrap();

    let second = Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, script());
    second.run(&cases, Some(out.path())).unwrap();
    assert_eq!(second.prompts().len(), 1, "only the case without a record is run");
    assert_eq!(read_records(&file).unwrap().0.len(), 2);

    let mut other = Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, script());
    other.settings.seed = 2;
    other.settings.agent.page_size = 3;
    let error = other.run(&cases, Some(out.path())).unwrap_err().to_string();
    assert!(error.contains("made with other seed, agent.page_size"), "{error}");

    fs::write(&file, "{}\n").unwrap();
    let error = second.run(&cases, Some(out.path())).unwrap_err().to_string();
    assert!(error.contains(", line 1: not a record"), "{error}");
}

#[test]
fn a_prompt_without_an_agent_has_what_fits() {
    let cases = nested_and_direct();
    let answer = cases[0].gold.answers[0].clone();
    let all = Fixture::new(Task::NestedKv, Arm::FullContext, WINDOW, vec![answer.clone()]);
    let record = all.run(&cases[..1], None).unwrap().remove(0);
    let prompt = record.prompt.clone().unwrap();
    assert_eq!((prompt.n_pieces, prompt.n_pieces_all, prompt.has_evidence), (140, 140, true));
    assert!(record.score.correct);
    assert!(all.prompts()[0].contains(&answer));

    let few = Fixture::new(Task::NestedKv, Arm::FullContext, 1024, vec!["unknown".into()]);
    let record = few.run(&cases[..1], None).unwrap().remove(0);
    let prompt = record.prompt.clone().unwrap();
    assert!((1..60).contains(&prompt.n_pieces), "{prompt:?}");
    let room = 1024 - 1024 / 7;
    assert!(prompt.tokens <= room && prompt.tokens + 30 + 1024 / 32 > room, "{prompt:?}");

    let none = Fixture::new(Task::NestedKv, Arm::NoMemory, 1024, vec!["I don't know.".into()]);
    let record = none.run(&cases[..1], None).unwrap().remove(0);
    assert_eq!(record.failure, Failure::Abstained);
    assert_eq!(none.prompts(), [cases[0].messages[0].text.clone()]);
}

#[test]
fn a_case_that_fails_is_recorded_and_the_next_one_run() {
    let cases = nested_and_direct();
    // The second entry of the script is no call that may be made.
    let script = vec![call("conversation_search", &[("words", "x")]), reply("no")];
    let fixture = Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, script);
    let records = fixture.run(&cases, None).unwrap();
    assert_eq!(records[0].failure, Failure::Failed);
    assert!(records[0].error.as_deref().unwrap().contains("script"), "{:?}", records[0].error);
    assert_eq!(records[1].failure, Failure::StoppedEarly);
    let summary = Summary::of(&fixture.settings, &records);
    assert_eq!((summary.n_failed(), summary.n_run()), (1, 2));
}

#[test]
fn a_case_that_failed_keeps_its_steps_and_is_run_again() {
    let cases = nested_and_direct();
    let out = tempfile::tempdir().unwrap();
    // The second call is none that may be made.
    let script = vec![search("a key"), call("conversation_search", &[("words", "x")]), reply("no")];
    let first = Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, script);
    let records = first.run(&cases, Some(out.path())).unwrap();
    let steps: Vec<&str> = records[0].steps().map(|step| &*step.function).collect();
    assert_eq!((records[0].failure, &steps[..]), (Failure::Failed, &["archival_search"][..]));
    assert_eq!(records[0].events[0].steps[0].result, "Nothing was found.");
    assert_eq!(records[0].reply, "");

    struct Again(usize);
    impl RunObserver for Again {
        fn again(&mut self, n_failed: usize) {
            self.0 = n_failed;
        }
    }
    let answer = cases[0].gold.answers[0].clone();
    let second = Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, vec![reply(&answer)]);
    let mut again = Again(0);
    let records = second.run_watched(&cases, Some(out.path()), &mut again).unwrap();
    assert_eq!((again.0, second.prompts().len()), (1, 1), "only what failed is run again");
    assert_eq!(records[0].failure, Failure::None);
    let file = out.path().join(second.settings.file_name());
    let read = read_records(&file).unwrap().0;
    assert_eq!(read.len(), 2);
    assert!(read.iter().all(|record| record.error.is_none()));
}

#[test]
fn a_run_does_not_go_on_with_other_weights_or_in_another_layout() {
    let cases = nested_and_direct();
    let out = tempfile::tempdir().unwrap();
    let fixture = || Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, vec![reply("no"); 2]);
    let first = fixture();
    first.run(&cases, Some(out.path())).unwrap();
    let mut other = fixture();
    other.settings.weights = "1".into();
    let error = other.run(&cases, Some(out.path())).unwrap_err().to_string();
    assert!(error.contains("were made with other weights"), "{error}");
    let mut later = fixture();
    later.settings.now = "2026-01-05T21:00:00Z".parse().unwrap();
    let error = later.run(&cases, Some(out.path())).unwrap_err().to_string();
    assert!(error.contains("were made with other now"), "{error}");
    let file = out.path().join(first.settings.file_name());
    let old = fs::read_to_string(&file).unwrap().replace("\"format\":3", "\"format\":1");
    fs::write(&file, old).unwrap();
    let error = first.run(&cases, Some(out.path())).unwrap_err().to_string();
    assert!(error.contains("records of layout 1, and this program writes layout 3"), "{error}");
}

#[test]
fn a_run_goes_on_from_records_that_say_nothing_of_the_clock() {
    assert_eq!(Settings::CASE_START.to_string(), "2026-01-05T09:00:00Z");
    let cases = nested_and_direct();
    let out = tempfile::tempdir().unwrap();
    let first = Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, vec![reply("no"); 2]);
    first.run(&cases, Some(out.path())).unwrap();
    let file = out.path().join(first.settings.file_name());
    let text = fs::read_to_string(&file).unwrap();
    let old = text.replace("\"now\":\"2026-01-05T09:00:00Z\",", "");
    assert!(old.len() < text.len(), "{text}");
    fs::write(&file, old).unwrap();
    let idle = Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, Vec::new());
    assert_eq!(idle.run(&cases, Some(out.path())).unwrap().len(), 2);
    assert!(idle.prompts().is_empty());
}

#[test]
fn a_run_does_not_go_on_where_other_cases_have_the_same_names() {
    let cases = nested_and_direct();
    let out = tempfile::tempdir().unwrap();
    let fixture = || Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, vec![reply("no"); 2]);
    fixture().run(&cases, Some(out.path())).unwrap();
    let file = out.path().join(fixture().settings.file_name());
    let text = fs::read_to_string(&file).unwrap();
    let mut asked_otherwise = cases.clone();
    asked_otherwise[1].messages[0].text += " Be brief.";
    let mut graded_otherwise = cases.clone();
    graded_otherwise[1].gold.answers[0].push('0');
    for others in [asked_otherwise, graded_otherwise] {
        let error = fixture().run(&others, Some(out.path())).unwrap_err().to_string();
        let says = "has 1 other case of the same name as one to be run, kv-1-8-direct";
        assert!(error.contains(says), "{error}");
        // The case that is the same can be run.
        fixture().run(&others[..1], Some(out.path())).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text);

    // What stands around the question is a part of a prompt without an agent, and nothing of one with it.
    let mut prompted_otherwise = cases.clone();
    prompted_otherwise[1].baseline.alone += " Be brief.";
    prompted_otherwise[1].baseline.after += " Be brief.";
    for arm in [Arm::NoMemory, Arm::FullContext] {
        let prompted = || Fixture::new(Task::NestedKv, arm, WINDOW, vec!["no".into(); 2]);
        prompted().run(&cases, Some(out.path())).unwrap();
        let error = prompted().run(&prompted_otherwise, Some(out.path())).unwrap_err().to_string();
        assert!(error.contains("has 1 other case of the same name"), "{error}");
        // Nor does a record count that does not say how it was asked.
        let file = out.path().join(prompted().settings.file_name());
        let silent = fs::read_to_string(&file).unwrap().replacen("\"asked\":", "\"unasked\":", 1);
        fs::write(&file, silent).unwrap();
        let error = prompted().run(&cases, Some(out.path())).unwrap_err().to_string();
        assert!(error.contains("does not say with which"), "{error}");
    }
    fixture().run(&prompted_otherwise, Some(out.path())).unwrap();
}

#[test]
fn a_record_says_what_made_it() {
    let cases = nested_and_direct();
    let out = tempfile::tempdir().unwrap();
    let made_by = |processor: &str| MadeBy {
        version: "0.1.0".into(),
        processor: Some(processor.into()),
        device: "cpu".into(),
        kernels: Some("avx2".into()),
        threads: 2,
        jobs: 1,
        date: "2026-01-05".parse().unwrap(),
    };
    let embedder: Arc<dyn Embedder> = Arc::new(HashEmbedder::new());
    let cancelled = AtomicBool::new(false);
    let fixture = Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, vec![reply("no"); 2]);
    let run = |cases: &[Case], processor: &str| {
        let runner = Runner::new(&fixture.lenders, &embedder, &cancelled);
        let mut runner = runner.made_by(&made_by(processor));
        runner.run(cases, &fixture.settings, Some(out.path()), &mut ()).unwrap()
    };
    run(&cases[..1], "this one");
    // It goes on elsewhere: what made a record is no setting.
    let records = run(&cases, "that one");
    let expected = ["this one", "that one"].map(|processor| Some(made_by(processor)));
    assert_eq!(records.iter().map(|record| record.made_by.clone()).collect::<Vec<_>>(), expected);
    let read = read_records(&out.path().join(fixture.settings.file_name())).unwrap().0;
    assert_eq!(read[1].made_by, expected[1]);
    let summary = Summary::of(&fixture.settings, &records);
    let said: Vec<String> = summary.made_by.iter().map(ToString::to_string).collect();
    let of = |processor| {
        format!("pagewise 0.1.0, {processor}, cpu, avx2, threads 2, jobs 1, 2026-01-05 (n 1)")
    };
    assert_eq!(said, [of("that one"), of("this one")]);
}

#[test]
fn cases_that_were_asked_of_one_store_say_so() {
    let cases = generated(Task::Dmr, 17);
    let script = vec!["unknown".to_string(); 17];
    let fixture = Fixture::new(Task::Dmr, Arm::NoMemory, WINDOW, script);
    let records = fixture.run(&cases, None).unwrap();
    let stores: Vec<&str> = records.iter().map(|record| &*record.store).collect();
    let is_same = |a: usize, b: usize| Arc::ptr_eq(&cases[a].memory, &cases[b].memory);
    for other in 1..cases.len() {
        assert_eq!(stores[0] == stores[other], is_same(0, other), "{other}");
    }
    let n_stores = Summary::of(&fixture.settings, &records).share.stores.unwrap();
    assert!((2..17).contains(&n_stores), "{n_stores}");
}

#[test]
fn a_past_conversation_is_in_recall_storage_and_not_in_view() {
    let cases = generated(Task::Dmr, 2);
    let case = &cases[0];
    let evidence = case.gold.evidence[0].clone();
    let script = vec![
        call("conversation_search", &[("words", &case.gold.answers[0])]),
        reply(&format!("It is {}.", case.gold.answers[0])),
    ];
    let fixture = Fixture::new(Task::Dmr, Arm::Memgpt, WINDOW, script);
    let record = fixture.run(&cases[..1], None).unwrap().remove(0);
    assert!(record.events[0].steps[0].result.contains(&evidence), "{:?}", record.events);
    assert_eq!((record.score.correct, record.failure), (true, Failure::None));
    // Only the result of the search shows it.
    let prompts = fixture.prompts();
    assert_eq!(
        prompts.iter().map(|prompt| prompt.contains(&evidence)).collect::<Vec<_>>(),
        [false, true]
    );
    assert!(prompts[0].contains("There were 20 conversations with the user"), "{}", prompts[0]);

    let full = Fixture::new(Task::Dmr, Arm::FullContext, 2048, vec!["unknown".into()]);
    full.run(&cases[..1], None).unwrap();
    let last = case.memory.material.pieces.last().unwrap();
    assert!(full.prompts()[0].contains(last.as_str()), "the latest turns are kept");
    assert!(!full.prompts()[0].contains(&case.memory.material.pieces[0]));

    let oracle = Fixture::new(Task::Dmr, Arm::Oracle, 2048, vec!["unknown".into()]);
    let record = oracle.run(&cases[..1], None).unwrap().remove(0);
    let prompt = record.prompt.unwrap();
    assert_eq!((prompt.n_pieces, prompt.has_evidence), (1, true));
    let held: Vec<&String> = (case.memory.material.pieces.iter())
        .filter(|piece| oracle.prompts()[0].contains(piece.as_str()))
        .collect();
    assert!(matches!(held[..], [piece] if piece.ends_with(&evidence)), "{held:?}");
    assert_eq!(record.failure, Failure::Misread);
}

/// So that it is read once, or twice where questions are of very different length.
#[test]
fn questions_on_one_store_have_the_same_material_before_them() {
    let cases = generated(Task::Dmr, 8);
    let lengths = cases.iter().map(|case| case.baseline.after.len());
    assert_ne!(lengths.clone().min(), lengths.max());
    let full = Fixture::new(Task::Dmr, Arm::FullContext, 2048, vec!["unknown".into(); 8]);
    let records = full.run(&cases, None).unwrap();
    let material: Vec<String> = (full.prompts().iter().zip(&cases))
        .map(|(prompt, case)| prompt.strip_suffix(&*case.baseline.after).unwrap().into())
        .collect();
    let distinct: BTreeSet<&String> = material.iter().collect();
    assert!(distinct.len() <= 2, "{}", distinct.len());
    // And little room is left.
    let longest = records.iter().map(|record| record.prompt.as_ref().unwrap().tokens).max();
    let room = 2048 - 2048 / 7;
    assert!(longest.unwrap() + 150 > room, "{longest:?} of {room}");
}

#[test]
fn after_a_reset_only_memory_carries_over() {
    let cases = generated(Task::CoreMemory, 3);
    let [read, update, write] = &cases[..] else { panic!("three kinds") };
    let edit = update.gold.edit.clone().unwrap();
    let (answer, old) = (&update.gold.answers[0], &edit.old[0]);
    let new = format!("{} ({answer})", &old[..old.len() - 1]);
    let replace = call("working_context_replace", &[("old", old), ("new", &new)]);
    let facts: Vec<&str> = write.messages[..4].iter().map(|message| &*message.text).collect();
    let told = facts.iter().find(|fact| fact.contains(&write.gold.answers[0])).unwrap();
    let mut script = vec![reply(&read.gold.answers[0]), replace, reply("Noted."), reply(answer)];
    for fact in &facts {
        if fact == told {
            script.push(call("working_context_append", &[("block", "human"), ("text", fact)]));
        }
        script.push(reply("I see."));
    }
    script.push(reply(&write.gold.answers[0]));
    let fixture = Fixture::new(Task::CoreMemory, Arm::Memgpt, WINDOW, script);
    let records = fixture.run(&cases, None).unwrap();
    for record in &records {
        assert_eq!(record.failure, Failure::None, "{}: {:?}", record.case.id, record.score);
        assert!(record.score.correct, "{}", record.case.id);
        assert!((record.score.parts["without_needless_calls"] - 1.0).abs() < 1e-12);
    }
    assert!((records[1].score.parts["all"] - 1.0).abs() < 1e-12, "{:?}", records[1].score);
    let prompts = fixture.prompts();
    // What the user said before the reset is nowhere but in the block.
    let question = &prompts[3];
    assert!(question.contains(&new) && !question.contains("Please update"), "{question}");
    let last = prompts.last().unwrap();
    assert!(
        last.contains(*told) && !last.contains(facts.iter().find(|fact| *fact != told).unwrap())
    );
    assert!(!last.contains("# Conversation"), "{last}");
}

#[test]
fn a_fact_that_was_not_saved_and_a_line_that_was_left_are_wrong_edits() {
    let cases = generated(Task::CoreMemory, 3);
    let answer = |case: &Case| case.gold.answers[0].clone();
    let mut script = vec![
        call(
            "working_context_append",
            &[("block", "Supporting Facts"), ("text", &format!("News: {}", answer(&cases[1])))],
        ),
        reply("Noted."),
        reply(&answer(&cases[1])),
    ];
    script.extend(cases[2].messages.iter().map(|_| reply(&answer(&cases[2]))));
    let fixture = Fixture::new(Task::CoreMemory, Arm::Memgpt, WINDOW, script);
    let records = fixture.run(&cases[1..], None).unwrap();
    let failures: Vec<Failure> = records.iter().map(|record| record.failure).collect();
    assert_eq!(failures, [Failure::WrongEdit; 2]);
    let parts = &records[0].score.parts;
    let expected = [("answer", 1.0), ("new_in", 1.0), ("old_gone", 0.0), ("others_kept", 1.0)];
    for (name, value) in expected {
        assert!((parts[name] - value).abs() < 1e-12, "{name}: {parts:?}");
    }
}

#[test]
fn documents_are_searched_by_the_agent_or_found_for_a_prompt() {
    let cases = generated(Task::DocQa, 1);
    let case = &cases[0];
    let title = case.gold.evidence[0].split(':').next().unwrap().to_string();
    let said = format!("ANSWER: {}, DOCUMENT: it", case.gold.answers[0]);
    let script = vec![search(&title), reply(&said)];
    let fixture = Fixture::new(Task::DocQa, Arm::Memgpt, WINDOW, script);
    let record = fixture.run(&cases, None).unwrap().remove(0);
    assert_eq!((record.score.correct, record.failure), (true, Failure::None));
    assert!((record.score.parts["em"] - 1.0).abs() < 1e-12);
    assert!((record.score.parts["f1"] - 1.0).abs() < 1e-12);

    let with = |arm: Arm, documents: Documents, window: usize| {
        let mut fixture = Fixture::new(Task::DocQa, arm, window, vec![said.clone()]);
        fixture.settings.documents = documents;
        let record = fixture.run(&cases, None).unwrap().remove(0);
        (record.prompt.unwrap(), fixture.prompts().remove(0))
    };
    let whole = Documents { n_max: 3, truncation: Truncation::Whole };
    let (prompt, text) = with(Arm::Retrieval, whole, WINDOW);
    assert_eq!((prompt.n_pieces, prompt.has_evidence), (3, true));
    assert!(text.contains(&format!("Document: {title}")), "{text}");
    let (prompt, _) = with(Arm::FullContext, whole, 1024);
    assert!((4..40).contains(&prompt.n_pieces), "as many as fit: {prompt:?}");
    let (prompt, text) = with(Arm::Oracle, whole, WINDOW);
    assert_eq!((prompt.n_pieces, prompt.has_evidence), (case.gold.evidence.len(), true));
    assert!(text.contains(&format!("Document: {title}")), "{text}");

    // Twenty documents share what is left of 1,536 tokens: some 50 each, or ten characters.
    let many = |truncation| Documents { n_max: 20, truncation };
    let (by_tokens, _) = with(Arm::Retrieval, many(Truncation::Tokens), 1536);
    let (by_chars, _) = with(Arm::Retrieval, many(Truncation::Paper), 1536);
    assert_eq!((by_tokens.n_pieces, by_chars.n_pieces), (20, 20));
    // As much as fits stands there uncut.
    let (uncut, _) = with(Arm::FullContext, many(Truncation::Tokens), 1536);
    let (as_it_is, _) = with(Arm::FullContext, whole, 1536);
    assert_eq!((uncut.n_pieces, uncut.tokens), (as_it_is.n_pieces, as_it_is.tokens));
    let room = 1536 - 200;
    assert!(by_tokens.tokens <= room && by_tokens.tokens > room - 300, "{by_tokens:?}");
    assert!(by_chars.tokens < by_tokens.tokens / 2, "{by_chars:?}");
    let (prompt, text) = with(Arm::NoMemory, whole, 1024);
    assert_eq!(prompt.n_pieces, 0);
    assert!(!text.contains("Document:"), "{text}");
}

#[test]
fn the_first_topic_is_in_recall_storage() {
    let cases = generated(Task::TopicRetrieval, 1);
    let script = vec![
        call("conversation_search", &[("words", "topic discuss")]),
        reply(&cases[0].gold.answers[0]),
    ];
    let fixture = Fixture::new(Task::TopicRetrieval, Arm::Memgpt, WINDOW, script);
    let record = fixture.run(&cases, None).unwrap().remove(0);
    assert!(record.score.correct, "{record:?}");
    assert!(
        fixture.prompts()[0].contains("There was one conversation"),
        "{}",
        fixture.prompts()[0]
    );
}

#[test]
fn a_memory_is_prepared_once_though_its_cases_do_not_follow_each_other() {
    #[derive(Default)]
    struct Counting {
        n_prepared: usize,
    }
    impl RunObserver for Counting {
        fn preparing(&mut self, _n_texts: usize) {
            self.n_prepared += 1;
        }
    }
    let cases = generated(Task::TopicRetrieval, 6);
    let in_turn = [0, 3, 1, 4, 2, 5].map(|place| cases[place].clone());
    let script = in_turn.iter().flat_map(|case| {
        [call("conversation_search", &[("words", "topic")]), reply(&case.gold.answers[0])]
    });
    let fixture = Fixture::new(Task::TopicRetrieval, Arm::Memgpt, WINDOW, script.collect());
    let mut counting = Counting::default();
    let records = fixture.run_watched(&in_turn, None, &mut counting).unwrap();
    assert!(records.iter().all(|record| record.score.correct), "{records:?}");
    assert_eq!(counting.n_prepared, 2);
}

/// The call that a case of function-calls wants, with the first of the accepted values.
fn wanted_call(case: &Case) -> String {
    fn first(values: &Value) -> Option<Value> {
        match values.get(0)? {
            Value::String(text) if text.is_empty() => None,
            Value::Object(fields) => {
                let fields =
                    fields.iter().filter_map(|(name, values)| Some((name.clone(), first(values)?)));
                Some(Value::Object(fields.collect()))
            }
            value => Some(value.clone()),
        }
    }
    let accepted: Value = serde_json::from_str(&case.gold.answers[0]).unwrap();
    let (function, arguments) = accepted.as_object().unwrap().iter().next().unwrap();
    let arguments = arguments.as_object().unwrap().iter();
    let call = FunctionCall {
        thought: None,
        function: function.clone(),
        arguments: arguments
            .filter_map(|(name, values)| Some((name.clone(), first(values)?)))
            .collect(),
        request_heartbeat: None,
    };
    call.to_text()
}

#[test]
fn functions_of_others_are_called_under_the_grammar_or_in_free_text() {
    let cases = generated(Task::FunctionCalls, 4);
    let [simple, multiple, live, irrelevance] = &cases[..] else { panic!("four categories") };
    let call = |case: &Case, script: Vec<String>, arm| {
        let fixture = Fixture::new(Task::FunctionCalls, arm, WINDOW, script);
        let record = fixture.run(std::slice::from_ref(case), None).unwrap().remove(0);
        (record, fixture.prompts().remove(0))
    };
    let (record, prompt) = call(simple, vec![wanted_call(simple)], Arm::Memgpt);
    assert_eq!((record.score.correct, record.failure), (true, Failure::None), "{}", record.reply);
    let step = &record.events[0].steps[0];
    assert_eq!(step.functions.last().map(String::as_str), Some("send_message"));
    assert_eq!(step.functions.len(), simple.memory.tools.len() + 1);
    assert!(prompt.contains(&format!("- {}: ", step.function)), "{prompt}");
    assert!(prompt.ends_with("Make the call for this message."), "{prompt}");

    let (free, same_prompt) = call(simple, vec![wanted_call(simple)], Arm::NoMemory);
    assert!(free.score.correct && free.events[0].steps.is_empty());
    assert_eq!(prompt, same_prompt);

    let failures = |case: &Case, arm, texts: &[String]| {
        let one = |text: &String| call(case, vec![text.clone()], arm).0.failure;
        texts.iter().map(one).collect::<Vec<Failure>>()
    };
    assert_eq!(
        failures(multiple, Arm::Memgpt, &[reply("Which one?"), wanted_call(multiple)]),
        [Failure::NoCall, Failure::None]
    );
    let fenced = format!("```json\n{}\n```", wanted_call(live));
    let texts = [fenced, format!("Sure: {}", wanted_call(live)), "I cannot do that.".into()];
    assert_eq!(
        failures(live, Arm::NoMemory, &texts),
        [Failure::None, Failure::NoJson, Failure::NoCall]
    );
    let needless =
        format!(r#"{{"function": "{}", "args": {{}}}}"#, irrelevance.memory.tools[0].name);
    assert_eq!(
        failures(irrelevance, Arm::NoMemory, &[needless, "I cannot do that.".into()]),
        [Failure::NeedlessCall, Failure::None]
    );
    // A call that the grammar does not allow cannot be written at all.
    let (record, _) = call(simple, vec![reply(&"x".repeat(10_000))], Arm::Memgpt);
    assert_eq!(record.failure, Failure::Failed);

    // A record can be graded without what it was made from.
    let out = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(Task::FunctionCalls, Arm::Memgpt, WINDOW, vec![wanted_call(live)]);
    fixture.run(std::slice::from_ref(live), Some(out.path())).unwrap();
    let mut read = read_records(&out.path().join(fixture.settings.file_name())).unwrap().0;
    read[0].reply = reply("no");
    read[0].grade();
    assert_eq!(read[0].failure, Failure::NoCall);
    let summary = Summary::of(&fixture.settings, &read);
    assert_eq!(summary.by["category"]["live"].n, 1);
    assert!(summary.scores["function"].mean.abs() < 1e-12, "{:?}", summary.scores);
}
