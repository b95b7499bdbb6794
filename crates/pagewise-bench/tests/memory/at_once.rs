//! Cases that are run at once, by models whose answers tell which prompt they had.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pagewise_bench::memory::{
    Arm, Case, Lender, MemoryBenchError, Record, RunObserver, Runner, Task, read_records,
};
use pagewise_core::{
    Constraint, EmbedError, Embedder, Generation, GenerationRequest, LanguageModel, ModelError,
    Prompt, Purpose, Weighing, WeighingRequest,
};
use pagewise_testkit::{HashEmbedder, ScriptedModel, call};
use serde_json::Value;

use super::scripted::Fixture;
use super::{WINDOW, generated};

/// Answers with a number that is made of the whole prompt.
struct Telling {
    /// How many models have been asked. Each waits until all are, so that none does everything alone.
    n_asked: Arc<AtomicUsize>,
    n_models: usize,
    is_first: bool,
}

impl Telling {
    fn lenders(n_models: usize) -> Vec<Lender> {
        let n_asked = Arc::new(AtomicUsize::new(0));
        let model = || Self { n_asked: Arc::clone(&n_asked), n_models, is_first: true };
        (0..n_models).map(|_| Lender::new(Box::new(model()))).collect()
    }

    fn wait_for_all(&mut self) {
        if std::mem::take(&mut self.is_first) {
            self.n_asked.fetch_add(1, Ordering::Relaxed);
            let started = Instant::now();
            while self.n_asked.load(Ordering::Relaxed) < self.n_models {
                assert!(started.elapsed() < Duration::from_secs(60), "a model is not asked");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

impl LanguageModel for Telling {
    fn context_window_tokens(&self) -> usize {
        WINDOW
    }

    fn count_tokens(&self, prompt: &Prompt) -> Result<usize, ModelError> {
        ScriptedModel::new(WINDOW, []).count_tokens(prompt)
    }

    fn generate(
        &mut self,
        request: &GenerationRequest<'_>,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        self.wait_for_all();
        let mut hasher = DefaultHasher::new();
        request.prompt.messages.iter().for_each(|turn| turn.content.hash(&mut hasher));
        let said = format!("{:016x}", hasher.finish());
        let answer = match request.constraint {
            // Where nothing may be said yet, something is to be searched first.
            Constraint::Call { functions, .. } => {
                match functions.iter().any(|spec| spec.name == "send_message") {
                    true => call("send_message", &[("message", &said)]),
                    false => call(functions[0].name, &[("words", &said)]),
                }
            }
            Constraint::Text { .. } => said,
        };
        ScriptedModel::new(WINDOW, [answer]).generate(request, on_text)
    }

    fn weigh(&mut self, request: &WeighingRequest<'_>) -> Result<Weighing, ModelError> {
        ScriptedModel::new(WINDOW, []).weigh(request)
    }
}

/// Fails at texts that hold a word.
struct Failing {
    embedder: HashEmbedder,
    word: String,
}

impl Embedder for Failing {
    fn id(&self) -> &str {
        self.embedder.id()
    }

    fn dimensions(&self) -> usize {
        self.embedder.dimensions()
    }

    fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Vec<f32>>, EmbedError> {
        match texts.iter().any(|text| text.contains(&self.word)) {
            true => Err(EmbedError("cannot be embedded".into())),
            false => self.embedder.embed(texts, purpose),
        }
    }
}

/// Counts the memories that were prepared and the cases that were run.
#[derive(Default)]
struct Watching {
    n_prepared: usize,
    n_done: usize,
}

impl RunObserver for Watching {
    fn preparing(&mut self, _n_texts: usize) {
        self.n_prepared += 1;
    }

    fn end(&mut self, _record: &Record) {
        self.n_done += 1;
    }
}

/// A record without what may differ from run to run.
fn timeless(record: &Record) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| name != "seconds");
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(record).unwrap();
    strip(&mut value);
    value
}

fn n_memories(cases: &[Case]) -> usize {
    cases.iter().map(|case| Arc::as_ptr(&case.memory)).collect::<BTreeSet<_>>().len()
}

#[test]
fn jobs_make_the_records_that_one_makes() {
    let embedder: Arc<dyn Embedder> = Arc::new(HashEmbedder::new());
    let cancelled = AtomicBool::new(false);
    for (task, arm) in [
        (Task::Dmr, Arm::Memgpt),
        (Task::Dmr, Arm::FullContext),
        (Task::BfclMemory, Arm::Memgpt),
        (Task::NestedKv, Arm::NoMemory),
    ] {
        let cases = generated(task, 17);
        assert!(n_memories(&cases) > 1, "{task}");
        let out = tempfile::tempdir().unwrap();
        let settings = Fixture::new(task, arm, WINDOW, Vec::new()).settings.with_what_counts();
        let run = |lenders: &[Lender], out, watching: &mut Watching| {
            Runner::new(lenders, &embedder, &cancelled)
                .run(&cases, &settings, out, watching)
                .unwrap()
        };
        let mut alone = Watching::default();
        let expected = run(&Telling::lenders(1), None, &mut alone);
        let mut together = Watching::default();
        let records = run(&Telling::lenders(2), Some(out.path()), &mut together);
        assert_eq!((together.n_prepared, together.n_done), (alone.n_prepared, alone.n_done));
        let failed = expected.iter().find_map(|record| record.error.as_ref());
        assert_eq!(failed, None, "{task}, {arm}");
        let expected: Vec<Value> = expected.iter().map(timeless).collect();
        assert_eq!(records.iter().map(timeless).collect::<Vec<_>>(), expected, "{task}, {arm}");

        // All are in the file, in whatever order, and are not made again.
        let written = read_records(&out.path().join(settings.file_name())).unwrap().0;
        let id = |record: &Record| record.case.id.clone();
        let ids = written.iter().map(id).collect::<BTreeSet<_>>();
        assert_eq!((written.len(), ids), (records.len(), records.iter().map(id).collect()));
        let mut idle = Watching::default();
        let again = run(&Telling::lenders(2), Some(out.path()), &mut idle);
        assert_eq!((again.len(), idle.n_done), (records.len(), 0));
        assert!(again.iter().zip(&records).all(|(one, other)| one.case.id == other.case.id));
    }
}

#[test]
fn an_error_in_one_job_ends_the_run_and_leaves_whole_records() {
    let cases = generated(Task::NestedKv, 8);
    let word = cases[6].memory.passages[0].text.clone();
    let embedder: Arc<dyn Embedder> = Arc::new(Failing { embedder: HashEmbedder::new(), word });
    let cancelled = AtomicBool::new(false);
    let out = tempfile::tempdir().unwrap();
    let settings = Fixture::new(Task::NestedKv, Arm::Memgpt, WINDOW, Vec::new()).settings;
    let lenders = Telling::lenders(2);
    let mut runner = Runner::new(&lenders, &embedder, &cancelled);
    let mut watching = Watching::default();
    let error = runner.run(&cases, &settings, Some(out.path()), &mut watching).unwrap_err();
    assert!(matches!(error, MemoryBenchError::Store(_)), "{error}");
    assert!(cancelled.load(Ordering::Relaxed), "the other job is stopped");
    let written = read_records(&out.path().join(settings.file_name())).unwrap().0;
    assert_eq!(written.len(), watching.n_done);
    assert!((1..=6).contains(&written.len()), "{}", written.len());
}
