//! Calls as the model writes them: all are counted, decisions beside the steps too, and so are those that are none.

use std::ops::ControlFlow;

use pagewise_bench::memory::{Lender, table};
use pagewise_core::{
    Constraint, Generation, GenerationRequest, LanguageModel, ModelError, Prompt, SessionSlot,
    Weighing, WeighingRequest,
};
use pagewise_testkit::ScriptedModel;

use super::*;

/// Answers from a script, but for calls of some slots, of which it writes nothing that can be read.
struct Mumbling {
    model: ScriptedModel,
    mumbles: fn(SessionSlot) -> bool,
}

impl LanguageModel for Mumbling {
    fn context_window_tokens(&self) -> usize {
        self.model.context_window_tokens()
    }

    fn count_tokens(&self, prompt: &Prompt) -> Result<usize, ModelError> {
        self.model.count_tokens(prompt)
    }

    fn generate(
        &mut self,
        request: &GenerationRequest<'_>,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        let generation = self.model.generate(request, on_text)?;
        Ok(match request.constraint {
            Constraint::Call { .. } if (self.mumbles)(request.slot) => {
                Generation { text: "{\"function\":".into(), ..generation }
            }
            _ => generation,
        })
    }

    fn weigh(&mut self, request: &WeighingRequest<'_>) -> Result<Weighing, ModelError> {
        self.model.weigh(request)
    }
}

/// Runs the cases of a task; returns their records, with how many calls were asked for and how many of these were
/// decisions.
fn run(
    task: Task,
    cases: &[Case],
    script: Vec<String>,
    mumbles: fn(SessionSlot) -> bool,
) -> (Fixture, Vec<Record>, [usize; 2]) {
    let mut fixture = Fixture::new(task, Arm::Memgpt, WINDOW, Vec::new());
    // The scripted model notes nothing, which is no call that the grammar allows.
    fixture.settings.agent.noting = false;
    let model = ScriptedModel::new(WINDOW, script);
    let asked = model.asked();
    fixture.lenders = vec![Lender::new(Box::new(Mumbling { model, mumbles }))];
    let records = fixture.run(cases, None).unwrap();
    let asked = asked.lock().unwrap();
    let calls = asked.iter().filter(|asked| !asked.functions.is_empty());
    let n_decisions = calls.clone().filter(|asked| asked.slot.is_decision()).count();
    (fixture, records, [calls.count(), n_decisions])
}

fn written(record: &Record) -> (Option<usize>, usize) {
    let event = &record.events[0];
    (event.n_calls_written, event.n_invalid)
}

#[test]
fn a_decision_is_a_call_and_one_that_cannot_be_read_is_not_valid() {
    let [_, direct] = nested_and_direct();
    let script = || vec![search(&keys(&direct)[0]), reply(&direct.gold.answers[0])];
    let cases = std::slice::from_ref(&direct);
    let (fixture, records, [n, n_decisions]) = run(Task::NestedKv, cases, script(), |_| false);
    assert!(n_decisions > 0 && n == n_decisions + 2, "{n} and {n_decisions}");
    assert_eq!(written(&records[0]), (Some(n), 0));
    let summary = Summary::of(&fixture.settings, &records);
    assert_eq!((summary.calls_written, summary.invalid_calls), (Some(n), Some(0)));
    let text = table(&[summary]);
    let all = format!("  {n} of {n} calls that the model wrote are valid\n");
    assert!(text.contains(&all), "{text}");

    let mumbles = SessionSlot::is_decision;
    let (fixture, records, [n, n_decisions]) = run(Task::NestedKv, cases, script(), mumbles);
    assert!(n_decisions > 0, "{records:?}");
    assert_eq!(written(&records[0]), (Some(n), n_decisions));
    assert!(records[0].score.correct, "the steps are what they were");
    let text = table(&[Summary::of(&fixture.settings, &records)]);
    let some = format!("  {} of {n} calls that the model wrote are valid\n", n - n_decisions);
    assert!(text.contains(&some), "{text}");

    // A record that does not say how many there are has those that are none.
    let mut old = records;
    old[0].events[0].n_calls_written = None;
    let summary = Summary::of(&fixture.settings, &old);
    assert_eq!((summary.calls_written, summary.invalid_calls), (None, Some(n_decisions)));
    let text = table(&[summary]);
    let beside = format!("  {n_decisions} calls beside these 2 were not valid\n");
    assert!(text.contains(&beside), "{text}");
}

#[test]
fn a_call_of_offered_functions_counts() {
    let cases = generated(Task::FunctionCalls, 2);
    let (_, records, [n, _]) = run(Task::FunctionCalls, &cases, Vec::new(), |_| false);
    assert_eq!(n, 2);
    assert!(records.iter().all(|record| written(record) == (Some(1), 0)), "{records:?}");
    let (fixture, records, _) = run(Task::FunctionCalls, &cases, Vec::new(), |_| true);
    assert!(records.iter().all(|record| written(record) == (Some(1), 1)), "{records:?}");
    let summary = Summary::of(&fixture.settings, &records);
    assert_eq!((summary.calls_written, summary.invalid_calls), (Some(2), Some(2)));
}
