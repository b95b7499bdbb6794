//! A model that says whether a reply gives the right answer, and how often it is wrong in that.
//!
//! Some tasks have answers in free words, and are judged by a large model elsewhere. Here a local model may say
//! yes or no, under a grammar that allows nothing else. What it says stands beside the score that text is
//! compared for, and never takes its place. It is stated only together with the judge's own errors, which are
//! measured on answers that are known to be wrong or right: the deliberately wrong ones of the LoCoMo audit,
//! and the golden ones, as they are and in a sentence.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use pagewise_core::{
    ArgumentKind, ArgumentSpec, CallFormat, Constraint, Finish, FunctionCall, FunctionSpec,
    GenerationRequest, LanguageModel, ModelError, Prompt, PromptMessage, PromptRole, Sampling,
    SessionSlot,
};
use serde::{Deserialize, Serialize};

use super::case::Metric;
use super::error::MemoryBenchError;
use super::interval::{interval, wilson};
use super::load::locomo_audit::{self, AuditRow};
use super::record::Record;
use super::runs::Runs;
use super::summary::text_table;

/// The file in a folder of records that says how often judges are wrong.
const RATES_FILE: &str = "judges.json";

/// The longest question, answer and reply that are judged, in characters, of each its beginning: a judge reads
/// them in a small window.
const TEXT_CHARS: usize = 800;

/// The most tokens of a verdict: more than the call takes.
const VERDICT_TOKENS: usize = 40;

const INSTRUCTIONS: &str = "You compare a reply with the right answer to a question. Call verdict with \"yes\" if the \
    reply gives the right answer, in these or in other words. Call verdict with \"no\" if the reply gives another \
    answer, if it is so vague that other answers fit it as well, or if it says that it does not know.";

/// Questions with right and wrong replies, and the verdict on each.
const EXAMPLES: &[(&str, &str, &str, bool)] = &[
    (
        "When did Ines open her bakery?",
        "14 March 2021",
        "It was the fourteenth of March in 2021.",
        true,
    ),
    ("What does Tom collect?", "old maps", "He collects stamps.", false),
    (
        "Where did the family spend the summer?",
        "on a farm in Brittany",
        "Somewhere in the countryside, far from home.",
        false,
    ),
    ("Who taught Lea to swim?", "her aunt Rosa", "Rosa, I think.", true),
    ("How many goats are there?", "seven", "There are five goats.", false),
];

/// What a judge said of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Who judged.
    #[serde(flatten)]
    pub judge: JudgeName,
    /// Whether the reply gives the right answer.
    pub accepts: bool,
}

/// What tells a judge from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeName {
    /// The model.
    pub judge: String,
    /// A hash of its weights.
    pub weights: String,
    /// What it is asked, as a number.
    pub prompt: String,
}

/// How often a judge is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeRates {
    /// The judge.
    #[serde(flatten)]
    pub judge: JudgeName,
    /// What it was measured on.
    pub sets: Vec<JudgedSet>,
}

/// Answers that are all right or all wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedSet {
    /// Their name.
    pub name: String,
    /// Whether they are right.
    pub is_right: bool,
    /// How many.
    pub n: usize,
    /// How many of them the judge accepts.
    pub n_accepted: usize,
}

/// A cell as the text comparison and as a judge have it.
#[derive(Debug, Clone, Serialize)]
pub struct JudgedShare {
    /// What was run.
    pub cell: String,
    /// The judge.
    pub judge: String,
    /// Cases that it judged.
    pub n: usize,
    /// The share of them that is right by comparison of text.
    pub accuracy: f64,
    /// The share that the judge accepts.
    pub accepted: f64,
    /// Its 95% interval, which has nothing of the judge's errors.
    pub ci95: [f64; 2],
    /// The share on which the two agree.
    pub agreement: f64,
}

impl JudgedSet {
    /// The share on which the judge is wrong, with its 95% interval.
    pub fn error_rate(&self) -> (f64, [f64; 2]) {
        let n_wrong = if self.is_right { self.n - self.n_accepted } else { self.n_accepted };
        (n_wrong as f64 / self.n.max(1) as f64, wilson(n_wrong, self.n))
    }
}

/// A model as a judge.
pub struct Judge {
    model: Box<dyn LanguageModel>,
    name: JudgeName,
}

impl Judge {
    /// Takes a model.
    pub fn new(model: Box<dyn LanguageModel>, name: String, weights: String) -> Self {
        let name = JudgeName { judge: name, weights, prompt: prompt_fingerprint() };
        Self { model, name }
    }

    /// Returns who it is.
    pub fn name(&self) -> &JudgeName {
        &self.name
    }

    /// Measures how often it is wrong on the audit's answers in `folder`: so many questions from `offset` on.
    /// `seen` is called after each with how many are done, and how many there are. Stopped from outside, it
    /// returns what it found so far, if anything.
    pub fn measure(
        &mut self,
        folder: &Path,
        offset: usize,
        limit: usize,
        cancelled: &AtomicBool,
        seen: &mut dyn FnMut(usize, usize),
    ) -> Result<JudgeRates, MemoryBenchError> {
        let rows: Vec<AuditRow> =
            locomo_audit::rows(folder)?.into_iter().skip(offset).take(limit).collect();
        let names = [
            ("wrong_answers_v1", false),
            ("wrong_answers_v2", false),
            ("golden answers", true),
            ("golden answers in a sentence", true),
        ];
        let mut sets = names.map(|(name, is_right)| JudgedSet {
            name: name.into(),
            is_right,
            n: 0,
            n_accepted: 0,
        });
        for (number, row) in rows.iter().enumerate() {
            let sentence = in_a_sentence(&row.gold, number);
            let replies = [&row.wrong[0], &row.wrong[1], &row.gold, &sentence];
            let accepts = match self.judge_all(&row.question, &row.gold, replies, cancelled) {
                Err(MemoryBenchError::Cancelled) if number > 0 => break,
                accepts => accepts?,
            };
            for (set, accepts) in sets.iter_mut().zip(accepts) {
                set.n += 1;
                set.n_accepted += usize::from(accepts);
            }
            seen(number + 1, rows.len());
        }
        Ok(JudgeRates { judge: self.name.clone(), sets: sets.into() })
    }

    /// Judges several replies to a question, in order.
    fn judge_all<const N: usize>(
        &mut self,
        question: &str,
        gold: &str,
        replies: [&String; N],
        cancelled: &AtomicBool,
    ) -> Result<[bool; N], MemoryBenchError> {
        let mut accepts = [false; N];
        for (accepts, reply) in accepts.iter_mut().zip(replies) {
            *accepts = self.accepts(question, &[gold.to_string()], reply, cancelled)?;
        }
        Ok(accepts)
    }

    /// Judges a record that it has not judged; returns whether there was something to judge.
    pub fn judge(
        &mut self,
        record: &mut Record,
        cancelled: &AtomicBool,
    ) -> Result<bool, MemoryBenchError> {
        let is_judged = record.judged.iter().any(|judgement| judgement.judge == self.name);
        if is_judged || !is_free_answer(record) {
            return Ok(false);
        }
        // Nothing was said, so nothing is accepted.
        let says_nothing = record.error.is_some() || record.reply.trim().is_empty();
        let accepts = !says_nothing && {
            let question = record.case.messages.last().map_or("", |message| &message.text);
            self.accepts(question, &record.case.gold.answers, &record.reply, cancelled)?
        };
        record.judged.push(Judgement { judge: self.name.clone(), accepts });
        Ok(true)
    }

    /// Whether the reply gives one of the answers, as the model has it.
    fn accepts(
        &mut self,
        question: &str,
        answers: &[String],
        reply: &str,
        cancelled: &AtomicBool,
    ) -> Result<bool, MemoryBenchError> {
        let functions = [FunctionSpec {
            name: "verdict",
            description: "say whether the reply gives the right answer",
            arguments: vec![ArgumentSpec {
                name: "correct",
                description: "yes or no",
                kind: ArgumentKind::OneOf(vec!["yes".into(), "no".into()]),
            }],
            asks_heartbeat: false,
        }];
        let format = CallFormat::default();
        let [question, answers, reply] = [question, &answers.join(" / "), reply]
            .map(|text| text.chars().take(TEXT_CHARS).collect::<String>());
        let prompt = prompt(&question, &answers, &reply);
        let generation = self.model.generate(
            &GenerationRequest {
                slot: SessionSlot::MainContext,
                prompt: &prompt,
                // So that a verdict depends on its question alone.
                beginning: Some(&prompt.without_last_turn()),
                constraint: Constraint::Call { functions: &functions, format: &format },
                sampling: &Sampling::default(),
                seed: 0,
                max_tokens: VERDICT_TOKENS,
                cancelled,
            },
            &mut |_| ControlFlow::Continue(()),
        )?;
        if generation.finish == Finish::Cancelled || cancelled.load(Ordering::Relaxed) {
            return Err(MemoryBenchError::Cancelled);
        }
        let call = FunctionCall::parse(&generation.text, &functions, &format).map_err(|error| {
            ModelError::Inference(format!("the judge wrote no verdict: {error}"))
        })?;
        Ok(call.text("correct") == "yes")
    }
}

/// Whether the answer is in free words, so that comparing texts may miss it.
fn is_free_answer(record: &Record) -> bool {
    let gold = &record.case.gold;
    let is_free = match gold.metric {
        Metric::ContainsWord | Metric::Subspan | Metric::StemF1 | Metric::StemF1OfParts => true,
        Metric::Contains | Metric::Call | Metric::Nearness { .. } => false,
        Metric::Phrase | Metric::Only | Metric::Choice => false,
        // There is no answer to compare with.
        Metric::NotMentioned | Metric::Abstains => false,
    };
    is_free && gold.edit.is_none() && !gold.answers.is_empty()
}

/// Puts an answer in a sentence, each number in another.
fn in_a_sentence(answer: &str, number: usize) -> String {
    match number % 4 {
        0 => format!("As far as I remember, it is this: {answer}."),
        1 => format!("{}, if I am not mistaken.", answer.to_lowercase()),
        2 => format!("You told me about that. The answer is {answer}."),
        _ => format!("I looked it up in our conversations: {}.", answer.to_lowercase()),
    }
}

fn prompt(question: &str, answer: &str, reply: &str) -> Prompt {
    let turn = |role, content: String| PromptMessage { role, content };
    let asked = |question: &str, answer: &str, reply: &str| {
        let text = format!("Question: {question}\nRight answer: {answer}\nReply: {reply}");
        turn(PromptRole::User, text)
    };
    let mut messages = vec![turn(PromptRole::System, INSTRUCTIONS.into())];
    for (question, answer, reply, is_right) in EXAMPLES {
        let verdict = if *is_right { "yes" } else { "no" };
        let call =
            format!("{{\"function\": \"verdict\", \"args\": {{\"correct\": \"{verdict}\"}}}}");
        messages.extend([asked(question, answer, reply), turn(PromptRole::Assistant, call)]);
    }
    messages.push(asked(question, answer, reply));
    Prompt { messages }
}

/// A number that changes with what a judge is asked.
fn prompt_fingerprint() -> String {
    let texts = prompt("", "", "").messages.into_iter().map(|message| message.content);
    // FNV-1a, which is the same everywhere.
    let hash = texts.flat_map(String::into_bytes).fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    format!("{hash:016x}")
}

/// Reads how often judges are wrong, from a folder of records; none if it does not say.
pub fn read_rates(folder: &Path) -> Result<Vec<JudgeRates>, MemoryBenchError> {
    let path = folder.join(RATES_FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).map_err(|error| MemoryBenchError::file(&path, &error))?;
    serde_json::from_str(&text).map_err(|error| MemoryBenchError::Line {
        line: error.line(),
        reason: format!("not the errors of judges: {error}"),
        path,
    })
}

/// Writes how often judges are wrong, beside what the folder says already; what it said of the same judges is
/// replaced.
pub fn write_rates(folder: &Path, rates: &[JudgeRates]) -> Result<(), MemoryBenchError> {
    let error = |error: std::io::Error| MemoryBenchError::file(folder, &error);
    fs::create_dir_all(folder).map_err(error)?;
    let mut all = read_rates(folder)?;
    all.retain(|old| rates.iter().all(|new| new.judge != old.judge));
    for new in rates {
        if !all.contains(new) {
            all.push(new.clone());
        }
    }
    let text = serde_json::to_string_pretty(&all).unwrap_or_default();
    let beside = folder.join(format!("{RATES_FILE}.new"));
    fs::write(&beside, text + "\n").map_err(error)?;
    fs::rename(&beside, folder.join(RATES_FILE)).map_err(error)
}

/// Returns what judges make of runs, of those judges only of whom it is known how often they are wrong.
pub fn judged_shares(runs: &Runs) -> Vec<JudgedShare> {
    let mut shares = Vec::new();
    for cell in &runs.cells {
        for rates in &runs.rates {
            let mut seen: Vec<(&Record, bool)> = Vec::new();
            for record in &cell.records {
                let judgement = record.judged.iter().find(|one| one.judge == rates.judge);
                seen.extend(judgement.map(|judgement| (record, judgement.accepts)));
            }
            if seen.is_empty() {
                continue;
            }
            let share = |is: &dyn Fn(&Record, bool) -> bool| {
                seen.iter().filter(|(record, accepts)| is(record, *accepts)).count() as f64
                    / seen.len() as f64
            };
            let values: Vec<f64> =
                seen.iter().map(|(_, accepts)| f64::from(u8::from(*accepts))).collect();
            let stores: Vec<&str> = seen.iter().map(|(record, _)| &*record.store).collect();
            let is_known =
                |one: &JudgedShare| one.cell == cell.title() && one.judge == rates.judge.judge;
            if shares.iter().any(is_known) {
                continue;
            }
            shares.push(JudgedShare {
                cell: cell.title(),
                judge: rates.judge.judge.clone(),
                n: seen.len(),
                accuracy: share(&|record, _| record.score.correct),
                accepted: share(&|_, accepts| accepts),
                ci95: interval(&values, &stores, cell.settings.seed),
                agreement: share(&|record, accepts| record.score.correct == accepts),
            });
        }
    }
    shares
}

/// Writes what judges make of runs, and how often they are wrong, for people.
pub fn judged_text(rates: &[JudgeRates], shares: &[JudgedShare]) -> String {
    let header = |names: &[&str]| names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>();
    let percent = |share: f64| format!("{share:.3}");
    let ends = |[low, high]: [f64; 2]| format!("{low:.3} to {high:.3}");
    let mut rows = vec![header(&["judge", "answers", "are", "n", "accepted", "wrong", "95%"])];
    for JudgeRates { judge, sets } in rates {
        for set in sets {
            let (rate, ci95) = set.error_rate();
            rows.push(vec![
                judge.judge.clone(),
                set.name.clone(),
                if set.is_right { "right" } else { "wrong" }.into(),
                set.n.to_string(),
                set.n_accepted.to_string(),
                percent(rate),
                ends(ci95),
            ]);
        }
    }
    let mut text = text_table(&rows);
    if !shares.is_empty() {
        let names = ["cell", "judge", "n", "compared", "judged", "95%", "agree"];
        let mut rows = vec![header(&names)];
        for share in shares {
            rows.push(vec![
                share.cell.clone(),
                share.judge.clone(),
                share.n.to_string(),
                percent(share.accuracy),
                percent(share.accepted),
                ends(share.ci95),
                percent(share.agreement),
            ]);
        }
        text.push('\n');
        text += &text_table(&rows);
    }
    text
}

#[cfg(test)]
mod tests;
