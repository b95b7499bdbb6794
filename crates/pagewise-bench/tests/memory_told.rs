//! Memory that an agent writes in conversations of its own, and games, with a scripted model and real memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[path = "memory/scripted.rs"]
mod scripted;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use pagewise_bench::memory::{
    Arm, Case, EventRecord, Failure, GameTask, Memory, MemoryBenchError, Record, RunObserver,
    Runner, Score, Summary, Task, ToldRecord, ToldTurn,
};
use pagewise_core::Embedder;
use pagewise_testkit::{HashEmbedder, call};

use scripted::Fixture;

/// A window in which a scenario fits, at four bytes a token.
const WINDOW: usize = 8192;

/// Held for reading while stores are open, for writing while a recorded text is compared: insta asks cargo where
/// the workspace is, and a process that is being started has the locks of open stores until it runs.
static STORES: RwLock<()> = RwLock::new(());

/// Counts the conversations that were had.
#[derive(Default)]
struct Counter(usize);

impl RunObserver for Counter {
    fn telling(&mut self, _n_done: usize, _n: usize) {
        self.0 += 1;
    }
}

impl Fixture {
    fn run(
        &self,
        cases: &[Case],
        out: Option<&Path>,
    ) -> Result<(Vec<Record>, usize), MemoryBenchError> {
        let embedder: Arc<dyn Embedder> = Arc::new(HashEmbedder::new());
        let cancelled = AtomicBool::new(false);
        let mut runner = Runner::new(&self.lenders, &embedder, &cancelled);
        let mut counter = Counter::default();
        let _open = STORES.read().unwrap();
        let records = runner.run(cases, &self.settings, out, &mut counter)?;
        Ok((records, counter.0))
    }
}

fn reply(message: &str) -> String {
    call("send_message", &[("message", message)])
}

fn search(words: &str) -> String {
    call("conversation_search", &[("words", words)])
}

/// Both ways of asking about a fact that was told without a question and never corrected.
fn both_ways() -> [Case; 2] {
    let cases: Vec<Case> = Task::BfclMemory.generate(1).take(16).collect();
    let place = (0..cases.len())
        .step_by(2)
        .find(|at| {
            cases[*at].labels["fact"] == "told" && !cases[*at].gold.evidence[0].contains('?')
        })
        .unwrap();
    [cases[place].clone(), cases[place + 1].clone()]
}

/// What is counted of conversations, but for the time, whose last bit may be lost in a file.
fn counts(told: &ToldRecord) -> serde_json::Value {
    let told = ToldRecord { seconds: 0.0, turns: Vec::new(), ..told.clone() };
    serde_json::to_value(told).unwrap()
}

/// What a model does in the conversations of a case: it answers each message, and saves `noted` when it is told.
fn conversations(case: &Case, noted: Option<&str>) -> Vec<String> {
    let mut script = Vec::new();
    for turn in case.memory.told.iter().flat_map(|told| &told.turns) {
        if let Some(noted) = noted.filter(|_| *turn == case.gold.evidence[0]) {
            let arguments = [("block", "human"), ("text", noted)];
            script.push(call("working_context_append", &arguments));
        }
        script.push(reply("I see."));
    }
    script
}

#[test]
fn what_the_agent_saved_is_asked_about_when_its_conversations_are_over() {
    let cases = both_ways();
    let answer = &cases[0].gold.answers[0];
    let noted = format!("The user told me: {answer}.");
    let mut script = conversations(&cases[0], Some(&noted));
    let n_calls = script.len();
    script.push(reply(&format!("It is {answer}.")));
    // Where what was said may be looked up, a question is answered after a search.
    script.extend([search("anything"), reply("I do not know.")]);
    let fixture = Fixture::new(Task::BfclMemory, Arm::Memgpt, WINDOW, script);
    let (records, n_conversations) = fixture.run(&cases, None).unwrap();
    assert_eq!(n_conversations, 4, "both are asked of one memory");

    let told = records[0].told.clone().unwrap();
    assert_eq!((told.n_conversations, told.n_turns, told.n_calls), (4, 20, n_calls));
    assert_eq!((told.n_edits, told.n_notes, told.n_refused, told.n_flushes), (1, 0, 0, 0));
    assert_eq!(told.saved, std::slice::from_ref(&noted));
    assert_eq!(told.turns.len(), 20, "the first record has all that happened");
    let is_edit =
        |turn: &&ToldTurn| turn.event.steps.iter().any(|step| step.function != "send_message");
    let edited: Vec<&ToldTurn> = told.turns.iter().filter(is_edit).collect();
    assert_eq!((edited.len(), &edited[0].text), (1, &cases[0].gold.evidence[0]));
    assert_eq!(edited[0].event.replies, ["I see."]);
    let second = records[1].told.as_ref().unwrap();
    assert!(second.turns.is_empty());
    assert_eq!(counts(second), counts(&told));
    let failures: Vec<Failure> = records.iter().map(|record| record.failure).collect();
    assert_eq!(failures, [Failure::None, Failure::Abstained]);
    for name in ["saved", "seen", "first_sentence"] {
        assert!((records[0].score.parts[name] - 1.0).abs() < 1e-12, "{name}");
    }
    // What the conversations cost is not what the question costs.
    assert!(records[0].tokens.prefilled < told.tokens.prefilled / 4);

    let prompts = fixture.prompts();
    let [.., written, recall, _] = &prompts[..] else { panic!("{} prompts", prompts.len()) };
    assert!(written.contains(&noted) && !written.contains("Summary"), "{written}");
    assert!(recall.contains("There were 4 conversations with the user, the first on 2025-12-27"));
    let evidence = &cases[0].gold.evidence[0];
    assert!(!written.contains(evidence.as_str()) && !recall.contains(evidence.as_str()));
    // A conversation does not show the one before.
    let [first, second, ..] = &cases[0].memory.told[..] else { panic!("four conversations") };
    let shows = |prompt: &String, turn: &String| prompt.contains(turn.as_str());
    let last = prompts.iter().find(|prompt| second.turns.iter().all(|turn| shows(prompt, turn)));
    let mut before = first.turns.iter().filter(|turn| !second.turns.contains(turn));
    assert!(before.all(|turn| !shows(last.unwrap(), turn)), "{last:?}");

    let summary = Summary::of(&fixture.settings, &records);
    assert_eq!((summary.share.n, summary.share.accuracy), (1, 1.0), "a question counts once");
    let by = &summary.by["memory"];
    assert_eq!((by["written"].accuracy, by["recall"].accuracy), (1.0, 0.0));
    // One memory, of which both ask.
    let writing = summary.writing.clone().unwrap();
    assert_eq!((writing.n, writing.calls_per_memory), (1, told.n_calls as f64));
    assert!(writing.tokens_per_memory >= told.tokens.prefilled as f64);

    // All calls count that the model wrote, those of the conversations once, though a run that went on tells of
    // them again.
    let n_written = |events: &mut dyn Iterator<Item = &EventRecord>| {
        events.map(|event| event.n_calls_written.unwrap()).sum::<usize>()
    };
    let n_told = n_written(&mut told.turns.iter().map(|turn| &turn.event));
    let n_asked = n_written(&mut records.iter().flat_map(|record| &record.events));
    assert!(n_told > n_calls && n_asked > 3, "decisions are calls: {n_told} and {n_asked}");
    assert_eq!(summary.calls_written, Some(n_told + n_asked));
    let mut again = records;
    again[1].told = Some(told);
    again[0].told.as_mut().unwrap().turns[3].event.n_invalid += 2;
    let again = Summary::of(&fixture.settings, &again);
    assert_eq!(again.calls_written, summary.calls_written);
    assert_eq!(again.invalid_calls, summary.invalid_calls.map(|n| n + 2));
}

#[test]
fn what_was_never_saved_is_told_from_what_was_not_found() {
    let cases = both_ways();
    let answer = cases[0].gold.answers[0].clone();
    let mut script = conversations(&cases[0], None);
    // The user's words join the search, so that it is found, and not said.
    script.extend([reply("I don't know."), search("x"), reply("I don't know.")]);
    let fixture = Fixture::new(Task::BfclMemory, Arm::Memgpt, WINDOW, script);
    let (records, _) = fixture.run(&cases, None).unwrap();
    assert_eq!(records[0].failure, Failure::NeverSaved);
    assert_ne!(records[1].failure, Failure::NeverSaved);

    let mut script = conversations(&cases[0], None);
    let told = cases[0].memory.told.iter().flat_map(|told| &told.turns);
    let place = told.clone().position(|turn| *turn == cases[0].gold.evidence[0]).unwrap();
    let note = format!("{} It is {answer}.", cases[0].messages[0].text);
    script.insert(place, call("archival_insert", &[("text", &note)]));
    script.extend([call("archival_search", &[("words", "x")]), reply("I don't know.")]);
    let fixture = Fixture::new(Task::BfclMemory, Arm::Memgpt, WINDOW, script);
    let (records, _) = fixture.run(&cases[..1], None).unwrap();
    let told = records[0].told.clone().unwrap();
    assert_eq!((told.n_notes, told.saved.len()), (1, 1));
    assert_eq!(records[0].failure, Failure::Abstained, "{:?}", records[0].events);
    assert!((records[0].score.parts["saved"] - 1.0).abs() < 1e-12);
}

fn kept(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

#[test]
fn what_the_agent_wrote_is_kept_for_the_next_run_unless_it_is_damaged() {
    let cases = both_ways();
    let answer = cases[0].gold.answers[0].clone();
    let out = tempfile::tempdir().unwrap();
    let noted = format!("The user told me: {answer}.");
    let talk = || conversations(&cases[0], Some(&noted));
    let run = |script: Vec<String>, seed: u64| {
        let mut fixture = Fixture::new(Task::BfclMemory, Arm::Memgpt, WINDOW, script);
        fixture.settings.agent.seed = seed;
        // Records are of one seed; what is kept is under a name of its own.
        for file in fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().path()) {
            if file.is_file() {
                fs::remove_file(file).unwrap();
            }
        }
        let (records, n_conversations) = fixture.run(&cases[..1], Some(out.path())).unwrap();
        (records[0].clone(), n_conversations)
    };
    let with_answer = |script: Vec<String>| [script, vec![reply(&answer)]].concat();
    let (first, n_conversations) = run(with_answer(talk()), 0);
    assert_eq!((first.score.correct, n_conversations), (true, 4));
    assert_eq!(kept(out.path()).len(), 1);
    let (again, n_conversations) = run(vec![reply(&answer)], 0);
    assert_eq!((again.score.correct, n_conversations), (true, 0));
    let told = |record: &Record| record.told.clone().unwrap();
    assert_eq!(counts(&told(&again)), counts(&told(&first)));
    assert_eq!(told(&again).turns.len(), told(&first).turns.len(), "what happened is kept too");

    // Another seed, another memory.
    let (_, n_conversations) = run(with_answer(talk()), 5);
    assert_eq!((n_conversations, kept(out.path()).len()), (4, 2));

    for folder in kept(out.path()) {
        let database = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| fs::read(path).unwrap().starts_with(b"SQLite format 3\0"))
            .unwrap();
        let mut bytes = fs::read(&database).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&database, bytes).unwrap();
    }
    let (anew, n_conversations) = run(with_answer(talk()), 0);
    assert_eq!((anew.score.correct, n_conversations), (true, 4));
    let label = kept(out.path()).into_iter().map(|folder| folder.join("told.json"));
    label.for_each(|label| fs::write(label, "{").unwrap());
    let (_, n_conversations) = run(with_answer(talk()), 0);
    assert_eq!(n_conversations, 4);
}

#[test]
fn conversations_go_on_where_a_run_was_stopped() {
    let cases = both_ways();
    let out = tempfile::tempdir().unwrap();
    let script = conversations(&cases[0], None);
    // The second conversation cannot be had: what answers is no function that may be called.
    let mut broken: Vec<String> = script[..5].to_vec();
    broken.push("{".into());
    let fixture = Fixture::new(Task::BfclMemory, Arm::Memgpt, WINDOW, broken);
    let stopped = AtomicBool::new(false);
    let embedder: Arc<dyn Embedder> = Arc::new(HashEmbedder::new());
    struct Stop<'a>(&'a AtomicBool);
    impl RunObserver for Stop<'_> {
        fn telling(&mut self, n_done: usize, _n: usize) {
            self.0.store(n_done == 1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let open = STORES.read().unwrap();
    let mut runner = Runner::new(&fixture.lenders, &embedder, &stopped);
    let error = runner
        .run(&cases[..1], &fixture.settings, Some(out.path()), &mut Stop(&stopped))
        .unwrap_err();
    drop(open);
    assert!(matches!(error, MemoryBenchError::Cancelled), "{error}");
    assert_eq!(kept(out.path()).len(), 1);

    let rest = [script[5..].to_vec(), vec![reply("No idea.")]].concat();
    let second = Fixture::new(Task::BfclMemory, Arm::Memgpt, WINDOW, rest);
    let (records, n_conversations) = second.run(&cases[..1], Some(out.path())).unwrap();
    assert_eq!(n_conversations, 3);
    let told = records[0].told.clone().unwrap();
    assert_eq!((told.n_conversations, told.n_turns, told.n_failed_turns), (4, 20, 0));
}

#[test]
fn a_prompt_without_an_agent_answers_each_question_once() {
    let cases = both_ways();
    let said = vec![format!("It is {}.", cases[0].gold.answers[0])];
    let full = Fixture::new(Task::BfclMemory, Arm::FullContext, WINDOW, said);
    let (records, n_conversations) = full.run(&cases, None).unwrap();
    assert_eq!((records.len(), n_conversations), (1, 0));
    assert!(records[0].score.correct && records[0].told.is_none());
    let prompt = records[0].prompt.clone().unwrap();
    assert_eq!((prompt.n_pieces, prompt.n_pieces_all, prompt.has_evidence), (20, 20, true));
    let none = Fixture::new(Task::BfclMemory, Arm::NoMemory, WINDOW, vec!["No idea.".into()]);
    none.run(&cases, None).unwrap();
    assert_eq!(none.prompts(), [cases[0].messages[0].text.clone()]);
}

fn game() -> Case {
    Task::Quest.generate(1).nth(1).unwrap()
}

#[test]
fn a_game_is_scored_task_by_task() {
    let case = game();
    let mut script = Vec::new();
    for (number, task) in case.tasks.iter().enumerate() {
        let answer = &task.gold.answers[0];
        script.push(match number {
            0 => reply("I do not know."),
            1 => reply(&format!("{answer} or {}", task.gold.decoys[0])),
            _ => reply(&format!("It is {answer}.")),
        });
    }
    let fixture = Fixture::new(Task::Quest, Arm::Memgpt, 65_536, script);
    let (records, _) = fixture.run(std::slice::from_ref(&case), None).unwrap();
    let record = &records[0];
    assert_eq!(record.error, None);
    let n = case.tasks.len();
    assert_eq!((n, record.events.len(), record.score.tasks.len()), (20, 20, 20));
    let done: Vec<bool> = record.score.tasks.iter().map(|task| task.correct).collect();
    assert_eq!(done, [[false; 2].as_slice(), &[true; 18]].concat());
    assert!((record.score.value() - 0.9).abs() < 1e-12 && !record.score.correct);
    assert!((record.score.parts["named"] - 19.0 / 20.0).abs() < 1e-12, "{:?}", record.score.parts);
    assert!(record.told_tokens.unwrap() > 20_000, "{:?}", record.told_tokens);
    // What the record holds is enough to score it again.
    let mut again: Record = serde_json::from_str(&serde_json::to_string(record).unwrap()).unwrap();
    again.score = Score::default();
    again.grade();
    assert_eq!(again.score, record.score);

    // In so large a window, what is told before a task is in view, and nothing of what is told later.
    let prompts = fixture.prompts();
    let heard = &case.memory.heard;
    let (now, later) = (heard[0].last().unwrap(), heard.iter().rev().find(|one| !one.is_empty()));
    assert!(prompts[0].contains(now.as_str()), "{}", prompts[0]);
    assert!(!prompts[0].contains(later.unwrap()[0].as_str()));

    let summary = Summary::of(&fixture.settings, &records);
    assert_eq!((summary.share.n, summary.share.accuracy), (1, 0.9));
    // One game says little, however many tasks it has.
    assert!(summary.share.ci95[1] - summary.share.ci95[0] > 0.6, "{:?}", summary.share);
    assert_eq!(summary.n_run(), n);
    assert_eq!(summary.failures["none"], 18);
    let n_by_kind: usize = summary.by["kind"].values().map(|share| share.n).sum();
    assert_eq!((n_by_kind, summary.by["rooms"]["50"].n), (n, 1));
}

#[test]
fn the_walk_of_a_game_leaves_main_context_and_is_found_again() {
    let case = game();
    let task = &case.tasks[0];
    // The queue is far too long by the time of the first task, so the summary comes first.
    let mut script = vec!["A walk through a house.".to_string(), search(&task.gold.answers[0])];
    script.push(reply(&task.gold.answers[0]));
    let fixture = Fixture::new(Task::Quest, Arm::Memgpt, 8192, script);
    let mut first = case.clone();
    first.messages.truncate(1);
    first.tasks.truncate(1);
    let (records, _) = fixture.run(&[first], None).unwrap();
    assert_eq!(records[0].error, None);
    assert!(records[0].events[0].evicted > 20, "{}", records[0].events[0].evicted);
    assert!(records[0].score.correct, "{:?}", records[0].events);
    assert!(records[0].score.parts["windows_told"] > 4.0);
}

#[test]
fn what_a_game_told_is_lost_once_it_has_left_main_context() {
    // The task of the first stop that needs what was told longest ago.
    let mut case = game();
    let told = case.memory.heard[0].clone();
    let place = |task: &GameTask| told.iter().position(|turn| task.gold.evidence.contains(turn));
    let tasks = case.tasks.iter().take(4).zip(0..);
    let (_, number) = tasks.filter_map(|(task, n)| Some((place(task)?, n))).min().unwrap();
    case.messages = vec![case.messages[number].clone()];
    case.tasks = vec![case.tasks[number].clone()];
    let gold = case.tasks[0].gold.clone();
    let check = |window: usize, script: Vec<String>, has_evicted, in_queue, failure| {
        let fixture = Fixture::new(Task::Quest, Arm::Memgpt, window, script);
        let (records, _) = fixture.run(std::slice::from_ref(&case), None).unwrap();
        assert_eq!(records[0].error, None);
        let event = &records[0].events[0];
        assert_eq!((event.evicted > 0, &event.in_queue), (has_evicted, &Some(in_queue)));
        assert_eq!(records[0].score.tasks[0].failure, failure, "{event:?}");
    };
    let wrong = || reply(&gold.decoys[0]);
    let all = (0..gold.evidence.len()).collect();
    check(65_536, vec![wrong()], false, all, Failure::Misread);
    let summary = "A walk through a house.".to_string();
    let script = vec![summary, search("the weather"), wrong()];
    check(4096, script, true, Vec::new(), Failure::LostInFlush);
}

#[test]
fn a_game_without_an_agent_has_what_was_told_before_each_task() {
    let case = game();
    let replies = case.tasks.iter().map(|task| task.gold.answers[0].clone()).collect();
    let full = Fixture::new(Task::Quest, Arm::FullContext, 2048, replies);
    let (records, _) = full.run(std::slice::from_ref(&case), None).unwrap();
    assert!(records[0].score.correct, "{:?}", records[0].score);
    let of_prompts: Vec<(usize, usize)> = (records[0].events.iter())
        .map(|event| event.prompt.as_ref().map(|one| (one.n_pieces, one.n_pieces_all)).unwrap())
        .collect();
    let (first, last) = (of_prompts[0], of_prompts[of_prompts.len() - 1]);
    assert_eq!(first.1, case.memory.heard[0].len());
    assert_eq!(last.1, case.memory.material.pieces.len());
    assert!(first.0 > 10 && first.0 < first.1, "{of_prompts:?}");
    // The tasks of a stop have the same turns, so that they are read once.
    assert_eq!(of_prompts[0], of_prompts[3]);
    let prompts = full.prompts();
    assert!(prompts[0].contains(case.memory.heard[0].last().unwrap().as_str()), "{}", prompts[0]);
    assert!(records[0].score.parts["seen"] < 1.0);

    let none = Fixture::new(Task::Quest, Arm::NoMemory, 2048, Vec::new());
    let (records, _) = none.run(std::slice::from_ref(&case), None).unwrap();
    assert!(records[0].score.value().abs() < 1e-12, "{:?}", records[0].score);
    let asked: Vec<String> = case.messages.iter().map(|message| message.text.clone()).collect();
    assert_eq!(none.prompts(), asked);
}

/// What the model reads when a question is asked, and when a task of a game is.
#[test]
fn what_the_model_reads() {
    let cases = both_ways();
    let mut script = conversations(&cases[0], Some("The user told me something."));
    script.extend([reply("Yes."), search("x"), reply("No.")]);
    let told = Fixture::new(Task::BfclMemory, Arm::Memgpt, WINDOW, script);
    told.run(&cases, None).unwrap();
    let of_user = |prompt: &String| prompt[prompt.find("# Working context").unwrap()..].to_string();
    let prompts = told.prompts();
    let n = prompts.len();
    let full = Fixture::new(Task::BfclMemory, Arm::FullContext, 1024, vec!["No.".into()]);
    full.run(&cases[..1], None).unwrap();

    // The end of a walk, in a window in which all of it fits.
    let mut case = game();
    let mut memory = Memory::clone(&case.memory);
    let n_before = memory.heard[0].len() - 8;
    memory.heard[0].drain(..n_before);
    case.memory = Arc::new(memory);
    case.messages.truncate(1);
    case.tasks.truncate(1);
    let quest = Fixture::new(Task::Quest, Arm::Memgpt, WINDOW, vec![reply("No.")]);
    quest.run(&[case], None).unwrap();
    let _alone = STORES.write().unwrap();
    insta::assert_snapshot!("bfcl_memory_written", of_user(&prompts[n - 3]));
    insta::assert_snapshot!("bfcl_memory_recall", of_user(&prompts[n - 2]));
    insta::assert_snapshot!("bfcl_memory_full_context", full.prompts()[0]);
    insta::assert_snapshot!("quest", of_user(&quest.prompts()[0]));
}
