//! The engine as the operating system sees it: valid calls, budgets, reuse, repetition.

#![allow(missing_docs, clippy::unwrap_used, clippy::result_large_err)]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use pagewise_core::{
    ArgumentKind, ArgumentSpec, CallFormat, Constraint, Finish, FunctionCall, FunctionSpec,
    Generation, GenerationRequest, LanguageModel, ModelError, Prompt, PromptMessage, PromptRole,
    Sampling, SessionSlot, Weighing, WeighingRequest,
};
use pagewise_infer::{
    Compute, DeviceChoice, Engine, EngineOptions, LoadError, Session, log_probability,
};
use pagewise_testkit::{TinyFamily, TinyModel, test_weights};
use proptest::prelude::*;

fn tiny(window_tokens: usize) -> Engine {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyModel::new(TinyFamily::Qwen2, 3).quantised().write(&path).unwrap();
    load(&path, Some(window_tokens)).unwrap()
}

/// Answers do not depend on what was read together.
fn cpu() -> Compute {
    Compute::new(DeviceChoice::Cpu, Some(2)).unwrap().without_tiles()
}

fn load(path: &Path, window_tokens: Option<usize>) -> Result<Engine, LoadError> {
    Engine::load(path, &cpu(), &EngineOptions { window_tokens, ..EngineOptions::default() })
}

fn specs() -> Vec<FunctionSpec<'static>> {
    let argument = |name, kind| ArgumentSpec { name, description: "", kind };
    vec![
        FunctionSpec {
            name: "send_message",
            description: "Says something to the user.",
            arguments: vec![argument("message", ArgumentKind::Text { max_chars: 60 })],
            asks_heartbeat: false,
        },
        FunctionSpec {
            name: "search",
            description: "Searches.",
            arguments: vec![
                argument("query", ArgumentKind::Text { max_chars: 20 }),
                argument("page", ArgumentKind::Integer { min: 1, max: 30 }),
                argument("from", ArgumentKind::Date),
            ],
            asks_heartbeat: true,
        },
    ]
}

fn prompt(texts: &[&str]) -> Prompt {
    let roles = [PromptRole::System, PromptRole::User, PromptRole::Assistant];
    let messages = texts
        .iter()
        .zip(roles.iter().take(1).chain(roles[1..].iter().cycle()))
        .map(|(text, role)| PromptMessage { role: *role, content: (*text).to_owned() })
        .collect();
    Prompt { messages }
}

/// A request with everything in its usual place.
struct Ask<'a> {
    prompt: Prompt,
    beginning: Option<Prompt>,
    constraint: Constraint<'a>,
    sampling: Sampling,
    seed: u64,
    max_tokens: usize,
    slot: SessionSlot,
}

impl<'a> Ask<'a> {
    fn new(prompt: Prompt, constraint: Constraint<'a>) -> Self {
        Self {
            prompt,
            beginning: None,
            constraint,
            sampling: Sampling { temperature: 1.5, ..Sampling::default() },
            seed: 1,
            max_tokens: 400,
            slot: SessionSlot::MainContext,
        }
    }

    fn of(&self, engine: &mut Engine) -> Generation {
        let mut pieces = String::new();
        let generation = self.with(engine, &AtomicBool::new(false), &mut |piece| {
            pieces.push_str(piece);
            ControlFlow::Continue(())
        });
        let generation = generation.unwrap();
        assert_eq!(pieces, generation.text);
        generation
    }

    fn with(
        &self,
        engine: &mut Engine,
        cancelled: &AtomicBool,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        let request = GenerationRequest {
            slot: self.slot,
            prompt: &self.prompt,
            beginning: self.beginning.as_ref(),
            constraint: self.constraint,
            sampling: &self.sampling,
            seed: self.seed,
            max_tokens: self.max_tokens,
            cancelled,
        };
        engine.generate(&request, on_text)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_call_is_valid_whatever_the_budget(
        seed in any::<u64>(),
        max_tokens in 0usize..120,
        thought_max_chars in prop::option::of(1usize..40),
        temperature in prop_oneof![Just(0f32), 0.5f32..2.0],
    ) {
        let mut engine = tiny(256);
        let (specs, format) = (specs(), CallFormat { thought_max_chars });
        let constraint = Constraint::Call { functions: &specs, format: &format };
        let mut ask = Ask::new(prompt(&["Be good.", "hello"]), constraint);
        (ask.seed, ask.max_tokens, ask.sampling.temperature) = (seed, max_tokens, temperature);
        let generation = ask.of(&mut engine);
        let call = FunctionCall::parse(&generation.text, &specs, &format);
        prop_assert!(call.is_ok(), "{call:?}: {}", generation.text);
        prop_assert!(generation.tokens.generated <= max_tokens);
        prop_assert_ne!(generation.finish, Finish::Cancelled);
        // What the cache stands for is a beginning of the prompt and the answer.
        let session = engine.session(SessionSlot::MainContext).unwrap().tokens().to_vec();
        let model = engine.model();
        let prompt_tokens = model.encode(&ask.prompt).unwrap();
        prop_assert!(session.len() <= 256);
        if let Some(answer) = session.strip_prefix(prompt_tokens.as_slice()) {
            // A call closed by the grammar may give up the beginning of a character or an escape.
            if generation.finish == Finish::Complete {
                let bytes: Vec<u8> =
                    answer.iter().flat_map(|id| model.tokenizer.token_bytes(*id)).copied().collect();
                prop_assert!(generation.text.as_bytes().starts_with(&bytes));
            }
        } else {
            // The answer needed no sampling.
            prop_assert_eq!(generation.tokens.generated, 0);
        }
    }
}

#[test]
fn most_of_a_call_is_forced() {
    let mut engine = tiny(512);
    let (specs, format) = (specs(), CallFormat::default());
    let only = &specs[1..];
    let ask = Ask::new(prompt(&["s", "u"]), Constraint::Call { functions: only, format: &format });
    let tokens = ask.of(&mut engine).tokens;
    assert!(tokens.forced > tokens.generated, "{tokens:?}");
}

#[test]
fn the_same_seed_says_the_same_and_nothing_else_matters() {
    let (specs, format) = (specs(), CallFormat::default());
    let constraint = Constraint::Call { functions: &specs, format: &format };
    let ask = Ask::new(prompt(&["s", "u"]), constraint);
    let mut engine = tiny(512);
    let first = ask.of(&mut engine);
    // Other prompts, answers and slots in between.
    let mut other = Ask::new(prompt(&["s", "something else"]), Constraint::Text { max_chars: 30 });
    other.of(&mut engine);
    other.slot = SessionSlot::Summary;
    other.of(&mut engine);
    assert_eq!(ask.of(&mut engine).text, first.text);
    assert_eq!(ask.of(&mut tiny(512)).text, first.text);
    let texts: Vec<String> = (2..8)
        .map(|seed| Ask { seed, ..Ask::new(prompt(&["s", "u"]), constraint) }.of(&mut engine).text)
        .collect();
    assert!(texts.iter().any(|text| *text != first.text));
}

#[test]
fn a_grown_prompt_runs_only_what_is_new() {
    let mut engine = tiny(1024);
    let constraint = Constraint::Text { max_chars: 20 };
    let first = Ask::new(prompt(&["system", "one"]), constraint).of(&mut engine).tokens;
    assert_eq!(first.reused, 0);
    let grown = Ask::new(prompt(&["system", "one", "answer", "two"]), constraint);
    let second = grown.of(&mut engine).tokens;
    assert_eq!(second.prefilled + second.reused, engine.count_tokens(&grown.prompt).unwrap());
    assert!(second.reused >= first.prefilled - 1, "{first:?} {second:?}");
    // The other slot knows nothing of it.
    let other = Ask { slot: SessionSlot::Summary, ..grown };
    assert_eq!(other.of(&mut engine).tokens.reused, 0);
}

/// Not even in its last bits, and whatever the kernels: what all decisions have in common is kept over
/// conversations.
#[test]
fn a_decision_depends_on_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyModel::new(TinyFamily::Qwen2, 3).quantised().write(&path).unwrap();
    let constraint = Constraint::Text { max_chars: 20 };
    let intake = |asked: &str| {
        let prompt = prompt(&["Decide.", "one", "first", "two", "second", asked]);
        let beginning = Some(prompt.without_last_turn());
        Ask { slot: SessionSlot::Intake, beginning, ..Ask::new(prompt, constraint) }
    };
    let with_tiles = Compute::new(DeviceChoice::Cpu, Some(2)).unwrap();
    for compute in [with_tiles, cpu()] {
        let start = || Engine::load(&path, &compute, &EngineOptions::default()).unwrap();
        // What follows, to the bit.
        let next = |engine: &Engine| {
            let mut session = engine.session(SessionSlot::Intake).unwrap().try_clone().unwrap();
            session.extend(&engine.model().decoder, &[3, 4, 5], &|| false).unwrap()
        };
        let mut fresh = start();
        let expected = intake("where is the key?").of(&mut fresh);
        assert_eq!(expected.tokens.reused, 0);

        let mut engine = start();
        Ask::new(prompt(&["s", "u"]), constraint).of(&mut engine);
        for other in ["where is the key?", "where is the kettle?", "w"] {
            intake(other).of(&mut engine);
            engine.forget();
            assert!(engine.session(SessionSlot::MainContext).is_none());
            let again = intake("where is the key?").of(&mut engine);
            assert_eq!(again.text, expected.text, "after {other}");
            assert_eq!(next(&engine), next(&fresh), "after {other}");
            assert!(again.tokens.reused > again.tokens.prefilled, "{:?}", again.tokens);
        }
        // What was asked with other examples takes its place, whole.
        let mut other = intake("where is the key?");
        other.prompt.messages[1].content = "another".into();
        other.beginning = Some(other.prompt.without_last_turn());
        other.of(&mut engine);
        let again = intake("where is the key?").of(&mut engine);
        assert_eq!((again.tokens.reused, &again.text), (0, &expected.text));
        assert_eq!(next(&engine), next(&fresh));
    }
}

/// Has answers weighed behind `asked`, after the same examples each time.
fn weigh(
    engine: &mut Engine,
    asked: &str,
    answers: &[String],
    is_cancelled: bool,
) -> Result<Weighing, ModelError> {
    let prompt = prompt(&["Answer.", "one", "first", asked]);
    engine.weigh(&WeighingRequest {
        slot: SessionSlot::Rehearsal,
        prompt: &prompt,
        beginning: Some(&prompt.without_last_turn()),
        answers,
        cancelled: &AtomicBool::new(is_cancelled),
    })
}

#[test]
fn an_answer_weighs_what_its_tokens_do() {
    let mut engine = tiny(512);
    let answers = ["it is: yes", "it is: no, by no means", "it is: no"].map(String::from);
    let weighing = weigh(&mut engine, "two", &answers, false).unwrap();
    let session = engine.session(SessionSlot::Rehearsal).unwrap().tokens().to_vec();
    let model = engine.model();
    let prompt = model.encode(&prompt(&["Answer.", "one", "first", "two"])).unwrap();
    assert_eq!(session, prompt, "nothing of the answers is left");
    let answers = answers.each_ref().map(|answer| model.tokenizer.encode(answer));
    let n_shared = (0..).find(|n| answers.iter().any(|a| a.get(*n) != answers[0].get(*n))).unwrap();
    assert!(n_shared > 0);
    // A token at a time.
    let slow = answers.each_ref().map(|answer| {
        let mut session = Session::new(&model.decoder).unwrap();
        let (shared, tokens) = answer.split_at(n_shared);
        let read = [&prompt, shared].concat();
        let mut logits = session.extend(&model.decoder, &read, &|| false).unwrap();
        let weights = tokens.iter().map(|token| {
            let weight = log_probability(&logits, *token);
            logits = session.extend(&model.decoder, &[*token], &|| false).unwrap();
            weight
        });
        weights.sum::<f64>()
    });
    let weights = weighing.log_probabilities.unwrap();
    assert_eq!(weights.len(), slow.len());
    for (weight, slow) in weights.iter().zip(slow) {
        assert!((weight - slow).abs() < 1e-3, "{weight} and {slow}");
    }
    assert!(weights[1] < weights[2] && weights[2] < -1.0, "{weights:?}");
    let n_tokens: usize = answers.iter().map(|answer| answer.len() - n_shared).sum();
    assert_eq!(weighing.tokens.forced, n_shared + n_tokens);
    assert_eq!(weighing.tokens.prefilled, prompt.len());
}

#[test]
fn answers_weigh_the_same_whatever_was_weighed_before() {
    let answers = ["yes", "no"].map(String::from);
    let expected = weigh(&mut tiny(512), "two", &answers, false).unwrap();
    let mut engine = tiny(512);
    for other in ["three", "two and a half", "t"] {
        weigh(&mut engine, other, &answers, false).unwrap();
        let again = weigh(&mut engine, "two", &answers, false).unwrap();
        assert_eq!(again.log_probabilities, expected.log_probabilities, "after {other}");
        assert!(again.tokens.reused > again.tokens.prefilled, "{:?}", again.tokens);
    }
}

#[test]
fn weighing_can_be_stopped_and_has_to_fit() {
    let mut engine = tiny(64);
    let answers = ["yes", "no"].map(String::from);
    let stopped = weigh(&mut engine, "two", &answers, true).unwrap();
    assert_eq!(stopped.log_probabilities, None);
    assert!(weigh(&mut engine, "two", &answers, false).unwrap().log_probabilities.is_some());
    let long = ["yes".repeat(64), "no".into()];
    let refused = weigh(&mut engine, "two", &long, false);
    assert!(matches!(refused, Err(ModelError::PromptTooLong { .. })), "{refused:?}");
    assert_eq!(weigh(&mut engine, "two", &[], false).unwrap().log_probabilities, Some(Vec::new()));
}

/// The beginning may end within a turn, and another one may be shorter.
#[test]
fn a_prompt_on_shared_material_depends_on_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyModel::new(TinyFamily::Qwen2, 3).quantised().write(&path).unwrap();
    let compute = Compute::new(DeviceChoice::Cpu, Some(2)).unwrap();
    let start = || Engine::load(&path, &compute, &EngineOptions::default()).unwrap();
    let constraint = Constraint::Text { max_chars: 20 };
    let of = |material: &str, question: &str| Ask {
        beginning: Some(prompt(&[material])),
        ..Ask::new(prompt(&[&format!("{material}{question}")]), constraint)
    };
    let next = |engine: &Engine| {
        let mut session = engine.session(SessionSlot::MainContext).unwrap().try_clone().unwrap();
        session.extend(&engine.model().decoder, &[3, 4, 5], &|| false).unwrap()
    };
    let material = "the harbour was built in 1901. ".repeat(8);
    let asked = of(&material, "when was it built?");
    let mut fresh = start();
    let expected = asked.of(&mut fresh);

    let longer = format!("{material}it is deep.");
    let others = [
        (of(&material, "what was built?"), true),
        (of(&longer, "when was it built?"), false),
        (Ask { beginning: None, ..of(&material, "what was built?") }, false),
    ];
    for (other, shares) in others {
        let mut engine = start();
        other.of(&mut engine);
        engine.forget();
        let again = asked.of(&mut engine);
        assert_eq!((again.text, next(&engine)), (expected.text.clone(), next(&fresh)));
        assert_eq!(again.tokens.reused > again.tokens.prefilled, shares, "{:?}", again.tokens);
    }
    // What stands by itself has nothing of it.
    let alone = Ask { beginning: None, ..of(&material, "when was it built?") };
    assert_eq!(alone.of(&mut fresh).tokens.reused, 0);
}

#[test]
fn what_was_read_outlives_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyModel::new(TinyFamily::Qwen2, 3).quantised().write(&path).unwrap();
    let snapshot = dir.path().join("main_context.kv");
    let compute = cpu();
    let start = || {
        let options = EngineOptions {
            window_tokens: Some(1024),
            snapshot: Some(snapshot.clone()),
            ..EngineOptions::default()
        };
        Engine::load(&path, &compute, &options).unwrap()
    };
    let long = "what was said and done ".repeat(30);
    let constraint = Constraint::Text { max_chars: 20 };
    let first = Ask::new(prompt(&["system", &long]), constraint);
    let grown = Ask::new(prompt(&["system", &long, "answer", "next"]), constraint);

    let mut engine = start();
    // Nothing was read, so there is nothing to keep.
    engine.keep(&first.prompt, &AtomicBool::new(false)).unwrap();
    assert!(!snapshot.exists());
    first.of(&mut engine);
    let n_tokens = engine.count_tokens(&grown.prompt).unwrap();
    engine.keep(&prompt(&["system", &long, "answer"]), &AtomicBool::new(false)).unwrap();
    let expected = grown.of(&mut engine);

    let restarted = grown.of(&mut start());
    assert_eq!(restarted.text, expected.text);
    assert!(restarted.tokens.prefilled < 20, "{:?} of {n_tokens}", restarted.tokens);
    let other = Ask { slot: SessionSlot::Summary, ..Ask::new(grown.prompt.clone(), constraint) };
    assert_eq!(other.of(&mut start()).tokens.reused, 0, "it is main context's");

    let whole = std::fs::read(&snapshot).unwrap();
    std::fs::write(&snapshot, &whole[..whole.len() - 1]).unwrap();
    let cold = grown.of(&mut start());
    assert_eq!((cold.tokens.reused, cold.tokens.prefilled), (0, n_tokens));
    assert_eq!(cold.text, expected.text);
}

/// But what was asked after it, which no other decision needs, does not.
#[test]
fn what_decisions_begin_with_outlives_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyModel::new(TinyFamily::Qwen2, 3).quantised().write(&path).unwrap();
    let compute = cpu();
    let start = || {
        let snapshot = Some(dir.path().join("main_context.kv"));
        Engine::load(&path, &compute, &EngineOptions { snapshot, ..EngineOptions::default() })
            .unwrap()
    };
    let constraint = Constraint::Text { max_chars: 20 };
    for slot in [SessionSlot::Intake, SessionSlot::Noting, SessionSlot::Checking] {
        let prompt = prompt(&["Decide.", "one", "first", "two", "second", "which is it?"]);
        let beginning = Some(prompt.without_last_turn());
        let ask = Ask { slot, beginning, ..Ask::new(prompt.clone(), constraint) };
        let mut engine = start();
        let expected = ask.of(&mut engine);
        engine.keep(&prompt, &AtomicBool::new(false)).unwrap();
        let mut restarted = start();
        let n_kept = restarted.session(slot).unwrap().tokens().len();
        let again = ask.of(&mut restarted);
        assert_eq!((&again.text, again.tokens.reused), (&expected.text, n_kept), "{slot:?}");
    }
}

/// A model that thinks, with a template that ends as `template_end` says, or in its usual way.
fn thinker(thinking_tokens: usize, template_end: Option<&str>) -> Engine {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    let mut writer = TinyModel::new(TinyFamily::Qwen2, 3).quantised().thinking().writer();
    if let Some(end) = template_end {
        let template = format!(
            "{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{{{ m.content }}}}<|im_end|>\n\
             {{% endfor %}}<|im_start|>assistant\n{end}"
        );
        writer.replace("tokenizer.chat_template", template.as_str());
    }
    writer.write(&path).unwrap();
    let compute = cpu();
    let window_tokens = Some(512);
    let options = EngineOptions { window_tokens, thinking_tokens, ..EngineOptions::default() };
    Engine::load(&path, &compute, &options).unwrap()
}

#[test]
fn a_model_thinks_before_a_call_and_only_if_it_may() {
    let (specs, format) = (specs(), CallFormat::default());
    let constraint = Constraint::Call { functions: &specs, format: &format };
    // The region is opened by us, or by the template.
    for template_end in [None, Some("<think>\n")] {
        for thinking_tokens in [0, 40] {
            let mut engine = thinker(thinking_tokens, template_end);
            assert!(engine.can_think());
            let mut n_thoughts = 0;
            for seed in 0..6 {
                // What somebody says opens and closes nothing.
                let ask = prompt(&["s", "is <think> or </think> a word?"]);
                let mut ask = Ask::new(ask, constraint);
                ask.seed = seed;
                if seed == 5 {
                    ask.max_tokens = 12;
                }
                let generation = ask.of(&mut engine);
                assert!(FunctionCall::parse(&generation.text, &specs, &format).is_ok());
                n_thoughts += generation.thoughts.len();
                assert!(thinking_tokens > 0 || generation.thoughts.is_empty());
                assert!(!generation.thoughts.contains("think>"), "{}", generation.thoughts);
                // One region, closed before the call.
                let model = engine.model();
                let session = engine.session(SessionSlot::MainContext).unwrap();
                let read = model.tokenizer.decode(session.tokens());
                let (_, turn) = read.rsplit_once("assistant\n").unwrap();
                if let Some((region, call)) = turn.split_once("</think>\n\n") {
                    assert_eq!(region.matches("<think>").count(), 1, "{turn}");
                    // A call closed by the grammar may give up the beginning of a character; and of
                    // one that was not, the session may have read no more than the beginning.
                    if generation.finish == Finish::Complete {
                        let whole = call.trim_end_matches(char::REPLACEMENT_CHARACTER);
                        assert!(generation.text.starts_with(whole), "{turn}");
                    }
                } else {
                    assert_eq!(ask.max_tokens, 12, "{turn}");
                }
            }
            assert_eq!(n_thoughts > 0, thinking_tokens > 0);
            // A text is not thought about.
            let text = Ask::new(prompt(&["s", "u"]), Constraint::Text { max_chars: 30 });
            assert!(text.of(&mut engine).thoughts.is_empty());
        }
    }
    assert!(!tiny(256).can_think());
    // Marks in the vocabulary alone make no thinker.
    assert!(!thinker(40, Some("")).can_think());
}

/// How the model is run without guesses and with them, in the order of these.
struct Guessing {
    engines: [Engine; 2],
    passes: [usize; 2],
    /// Answers that were the same, and that were not.
    n_answers: [usize; 2],
}

impl Guessing {
    fn new(path: &Path, compute: &Compute, guess_tokens: usize) -> Self {
        let engine = |guess_tokens| {
            let window_tokens = Some(1024);
            let options = EngineOptions { window_tokens, guess_tokens, ..EngineOptions::default() };
            Engine::load(path, compute, &options).unwrap()
        };
        Self { engines: [engine(0), engine(guess_tokens)], passes: [0, 0], n_answers: [0, 0] }
    }

    /// Asks both, and returns the answers and what the sessions hold then.
    fn answers(&mut self, ask: &Ask<'_>) -> [(Generation, Vec<u32>); 2] {
        std::array::from_fn(|index| {
            let engine = &mut self.engines[index];
            let answer = ask.of(engine);
            self.passes[index] += answer.tokens.passes;
            (answer, engine.session(ask.slot).unwrap().tokens().to_vec())
        })
    }

    /// Both say the same, and are left in the same state.
    #[track_caller]
    fn check(&mut self, ask: &Ask<'_>) {
        let [(a, a_session), (b, b_session)] = self.answers(ask);
        assert_eq!((a.text, a.finish), (b.text, b.finish));
        assert_eq!((a.tokens.generated, a.tokens.forced), (b.tokens.generated, b.tokens.forced));
        assert_eq!(a_session, b_session);
    }

    /// Both say the same, or part where rounding decides: with greedy answers, at two tokens that are
    /// about equally likely.
    #[track_caller]
    fn check_but_for_rounding(&mut self, ask: &Ask<'_>) {
        let [(a, a_session), (b, b_session)] = self.answers(ask);
        if a.text == b.text {
            assert_eq!((a.finish, a_session), (b.finish, b_session));
            self.n_answers[0] += 1;
            return;
        }
        self.n_answers[1] += 1;
        let same = a_session.iter().zip(&b_session).take_while(|(a, b)| a == b).count();
        if let (0.0, Some(a), Some(b)) =
            (ask.sampling.temperature, a_session.get(same), b_session.get(same))
        {
            let decoder = &self.engines[0].model().decoder;
            let mut cache = decoder.new_cache().unwrap();
            let logits = decoder.forward(&b_session[..same], &mut cache).unwrap();
            let gap = (logits[*a as usize] - logits[*b as usize]).abs();
            assert!(gap < ROUNDING, "token {same}: {a} and {b} are {gap} apart");
        }
    }

    /// Some guesses were right, or nothing was tested; and what rounding decides is rare.
    #[track_caller]
    fn finish(&self) {
        let [without, with] = self.passes;
        assert!(with < without, "guesses save nothing: {:?}", self.passes);
        let [n_same, n_other] = self.n_answers;
        assert!(10 * n_other <= n_same, "{n_other} answers are others, {n_same} the same");
    }
}

/// Sums of a few rows together and of one are rounded in another order, which moves an activation to the
/// next of its 8 bits now and then; and forced tokens with guesses behind them may be enough for a
/// product in tiles, where a processor has them. That moves logits by up to 0.2, the difference of two
/// by twice as much.
const ROUNDING: f32 = 0.4;

/// What people set who want answers to vary a little.
fn usual_sampling() -> Sampling {
    Sampling { temperature: 0.8, top_k: 40, top_p: 0.95, ..Sampling::default() }
}

/// What is drawn for a token depends on its logits and on how many were drawn before it, guessed or not:
/// so the same seed says the same.
#[test]
fn guesses_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyModel::new(TinyFamily::Qwen2, 3).write(&path).unwrap();
    let mut guessing = Guessing::new(&path, &cpu().exact(), 5);
    let (specs, format) = (specs(), CallFormat::default());
    let constraint = Constraint::Call { functions: &specs, format: &format };
    for seed in 0..20 {
        for sampling in [0.0, 0.4]
            .map(|temperature| Sampling { temperature, ..Sampling::default() })
            .into_iter()
            .chain([usual_sampling()])
        {
            // At such temperatures a model of random weights goes round in circles, which is what
            // guesses are good at.
            let said = format!("the same thing {seed} the same thing {seed}");
            for constraint in [constraint, Constraint::Text { max_chars: 100 }] {
                let mut ask = Ask::new(prompt(&["s", &said]), constraint);
                (ask.seed, ask.sampling) = (seed, sampling.clone());
                guessing.check(&ask);
            }
        }
    }
    let [without, with] = guessing.passes;
    assert!(10 * with < 9 * without, "guesses save little: {:?}", guessing.passes);
    guessing.finish();
}

/// As the program computes unless told otherwise, with weights as people have them.
#[test]
fn guesses_change_nothing_but_rounding_by_default() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    let compute = Compute::new(DeviceChoice::Cpu, Some(2)).unwrap();
    let guess_tokens = EngineOptions::default().guess_tokens;
    let (specs, format) = (specs(), CallFormat::default());
    for model in [TinyModel::new(TinyFamily::Qwen2, 3), TinyModel::new(TinyFamily::Llama, 4)] {
        model.quantised().write(&path).unwrap();
        let mut guessing = Guessing::new(&path, &compute, guess_tokens);
        for seed in 0..20 {
            let said = format!("the same thing {seed} the same thing {seed}");
            let greedy = Sampling::default();
            for sampling in [greedy.clone(), usual_sampling()] {
                let mut ask = Ask::new(prompt(&["s", &said]), Constraint::Text { max_chars: 100 });
                (ask.seed, ask.sampling) = (seed, sampling);
                guessing.check_but_for_rounding(&ask);
            }
            let constraint = Constraint::Call { functions: &specs, format: &format };
            let ask = Ask { sampling: greedy, ..Ask::new(prompt(&["s", &said]), constraint) };
            guessing.check_but_for_rounding(&ask);
        }
        guessing.finish();
    }
}

/// Real weights copy, and go on where what they copied ends.
#[test]
fn guesses_change_nothing_but_rounding_with_real_weights() {
    let path = test_weights("smollm2-135m-instruct-q4_1.gguf");
    let pets = "Anna has a dog named Biscuit. Boris has a cat named Captain Feathers. Clara has a \
                tortoise named Sheldon.";
    let asked = [
        ("Repeat what the user writes, word for word.", pets),
        ("Answer in one sentence.", "Why is the sea salty, and why is the sea blue?"),
    ];
    let (specs, format) = (specs(), CallFormat::default());
    let constraint = Constraint::Call { functions: &specs[..1], format: &format };
    let default = Compute::new(DeviceChoice::Cpu, Some(2)).unwrap();
    let mut exactly = Guessing::new(&path, &default.clone().exact(), 5);
    let mut by_default = Guessing::new(&path, &default, EngineOptions::default().guess_tokens);
    for (system, user) in asked {
        let greedy = |constraint| Ask {
            sampling: Sampling::default(),
            ..Ask::new(prompt(&[system, user]), constraint)
        };
        let text = greedy(Constraint::Text { max_chars: 150 });
        exactly.check_but_for_rounding(&text);
        exactly.check_but_for_rounding(&greedy(constraint));
        by_default.check_but_for_rounding(&text);
        by_default.check_but_for_rounding(&greedy(constraint));
    }
    // Tokens that are about equally likely are many: what they are is held, and not how many answers part.
    for guessing in [exactly, by_default] {
        let [without, with] = guessing.passes;
        assert!(with < without, "guesses save nothing: {:?}", guessing.passes);
    }
}

#[test]
fn text_ends_where_it_is_told_to() {
    let mut engine = tiny(512);
    let mut ask = Ask::new(prompt(&["s", "u"]), Constraint::Text { max_chars: 7 });
    let cut = ask.of(&mut engine);
    assert_eq!((cut.text.chars().count(), cut.finish), (7, Finish::Budget));
    ask.constraint = Constraint::Text { max_chars: 1000 };
    ask.max_tokens = 5;
    let short = ask.of(&mut engine);
    assert_eq!((short.tokens.generated, short.finish), (5, Finish::Budget));
    // Some seed ends its turn; none writes a control token.
    ask.max_tokens = 400;
    let mut n_complete = 0;
    for seed in 0..10 {
        ask.seed = seed;
        let generation = ask.of(&mut engine);
        n_complete += usize::from(generation.finish == Finish::Complete);
        assert!(!generation.text.contains("<|"), "{}", generation.text);
    }
    assert!(n_complete > 0);
}

#[test]
fn it_can_be_stopped_and_asked_again() {
    let mut engine = tiny(512);
    let (specs, format) = (specs(), CallFormat::default());
    let constraint = Constraint::Call { functions: &specs, format: &format };
    let ask = Ask::new(prompt(&["s", "u"]), constraint);
    let whole = ask.of(&mut engine);

    let mut n_pieces = 0;
    let stopped = ask.with(&mut engine, &AtomicBool::new(false), &mut |_| {
        n_pieces += 1;
        if n_pieces == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let stopped = stopped.unwrap();
    assert_eq!((n_pieces, stopped.finish), (3, Finish::Cancelled));
    assert!(whole.text.starts_with(&stopped.text) && stopped.text.len() < whole.text.len());

    let cancelled = AtomicBool::new(false);
    let stopped = ask.with(&mut engine, &cancelled, &mut |_| {
        cancelled.store(true, Ordering::Relaxed);
        ControlFlow::Continue(())
    });
    assert_eq!(stopped.unwrap().finish, Finish::Cancelled);
    assert_eq!(ask.of(&mut engine).text, whole.text);
}

#[test]
fn windows_have_limits() {
    let mut engine = tiny(64);
    assert_eq!(engine.context_window_tokens(), 64);
    let long = "many words ".repeat(20);
    let ask = Ask::new(prompt(&["s", &long]), Constraint::Text { max_chars: 5 });
    let error = ask.with(&mut engine, &AtomicBool::new(false), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(error, Err(ModelError::PromptTooLong { window_tokens: 64, .. })));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyModel::new(TinyFamily::Llama, 3).write(&path).unwrap();
    let refuse = |window| load(&path, Some(window)).err().unwrap().to_string();
    assert!(refuse(5000).contains("was trained for at most 4096"), "{}", refuse(5000));
    assert!(refuse(10).contains("give it at least 64"), "{}", refuse(10));
    let default = load(&path, None).unwrap();
    assert_eq!(default.context_window_tokens(), 4096);
}

#[test]
fn a_real_model_answers_in_a_call() {
    let path = test_weights("smollm2-135m-instruct-q4_1.gguf");
    let mut engine = load(&path, Some(2048)).unwrap();
    let description = engine.description();
    assert_eq!(
        (description.architecture.as_str(), description.quantisation.as_str()),
        ("llama", "Q4_1")
    );
    assert_eq!((description.file_bytes, description.context_length), (98_362_432, 8192));
    assert!(description.has_chat_template && description.fingerprint.len() == 64);
    assert!((134_000_000..164_000_000).contains(&description.n_parameters), "{description:?}");

    let (specs, format) = (specs(), CallFormat::default());
    let constraint = Constraint::Call { functions: &specs[..1], format: &format };
    let system = "Answer by one call, for example {\"function\": \"send_message\", \"args\": \
                  {\"message\": \"Berlin is the capital of Germany.\"}}";
    let mut ask = Ask::new(prompt(&[system, "What is the capital of France?"]), constraint);
    ask.sampling.temperature = 0.0;
    let generation = ask.of(&mut engine);
    let call = FunctionCall::parse(&generation.text, &specs, &format).unwrap();
    assert!(call.text("message").contains("Paris"), "{}", generation.text);

    let mut ask = Ask::new(
        prompt(&["Be brief.", "What is the capital of France?"]),
        Constraint::Text { max_chars: 200 },
    );
    ask.sampling.temperature = 0.0;
    let generation = ask.of(&mut engine);
    assert!(generation.text.contains("Paris"), "{}", generation.text);
    assert_eq!(generation.finish, Finish::Complete);
}
