//! Why an answer is wrong, by rules over the record.
//!
//! A rule sees what the model saw: results of searches, blocks, its own calls. It knows the gold
//! evidence, and so whether the answer could be given at all. The classes are tried in the order of
//! [`Failure`]; the first that fits is the one.

use std::collections::HashSet;

use pagewise_core::Status;
use serde::{Deserialize, Serialize};

use super::arm::Arm;
use super::call_score;
use super::case::{Gold, Metric, Tier};
use super::record::{Record, Step, tier_of_search};
use super::score::{answer_field, answers, contains, edit_score, is_answer_seen};
use super::words::{folded, is_telling, squad_normal, words};

/// Why an answer is wrong.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// It is right.
    #[default]
    None,
    /// The case could not be run to its end.
    Failed,
    /// Working context is not what it should be: the new fact is missing, the old one still there, or
    /// another line lost.
    WrongEdit,
    /// What had to be read was in view, and the answer is a damaged copy of the right one.
    Miscopied,
    /// What had to be read was in view, or there was nothing to read, and it says that it does not know.
    Abstained,
    /// What had to be read was in view, and the answer is something else from what was in view. Of a choice that
    /// says no more: something was read, and another option taken.
    Misread,
    /// The answer is in nothing that was in view.
    UnsupportedAnswer,
    /// It could be said to anybody: it is nearer to what others told than to what this user told.
    Impersonal,
    /// The agent had the conversation itself, and saved nothing that answers.
    NeverSaved,
    /// What had to be read was said in this case, left main context, and was not found again.
    LostInFlush,
    /// What had to be read was not found, and another tier was searched, this one never.
    WrongTier,
    /// What had to be read was not found, and the same call was made twice for one message.
    Loop,
    /// What had to be read was not found, and it replied although it could still have searched.
    StoppedEarly,
    /// What had to be read was not found, and no more searches were allowed.
    NotFound,
    /// The right function was called, and an argument has a value that will not do.
    WrongArgument,
    /// The right function was called without an argument that it needs.
    MissingArgument,
    /// A function was called that does something else.
    WrongFunction,
    /// A function was called where none does what was asked.
    NeedlessCall,
    /// No function was called where one does what was asked.
    NoCall,
    /// What was written begins like a call and is none.
    NoJson,
}

impl Failure {
    /// Returns the name in records and summaries.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Failed => "failed",
            Self::WrongEdit => "wrong-edit",
            Self::Miscopied => "miscopied",
            Self::Abstained => "abstained",
            Self::Misread => "misread",
            Self::UnsupportedAnswer => "unsupported-answer",
            Self::Impersonal => "impersonal",
            Self::NeverSaved => "never-saved",
            Self::LostInFlush => "lost-in-flush",
            Self::WrongTier => "wrong-tier",
            Self::Loop => "loop",
            Self::StoppedEarly => "stopped-early",
            Self::NotFound => "not-found",
            Self::WrongArgument => "wrong-argument",
            Self::MissingArgument => "missing-argument",
            Self::WrongFunction => "wrong-function",
            Self::NeedlessCall => "needless-call",
            Self::NoCall => "no-call",
            Self::NoJson => "no-json",
        }
    }
}

/// The characters of a piece of evidence that must be in view: a search shows long texts shortened.
const EVIDENCE_CHARS: usize = 120;

/// Classifies a record whose score is known.
pub(crate) fn classify(record: &Record) -> Failure {
    let gold = &record.case.gold;
    if record.error.is_some() {
        return Failure::Failed;
    }
    if record.score.correct {
        return Failure::None;
    }
    if gold.metric == Metric::Call {
        return call_score::classify(&gold.answers, &record.reply);
    }
    if let Some(edit) = &gold.edit
        && record.settings.arm == Arm::Memgpt
    {
        let edit = edit_score(edit, record);
        if !(edit.new_in && edit.old_gone && edit.others_kept) {
            return Failure::WrongEdit;
        }
    }
    match gold.metric {
        // There was nothing to find, so that all that matters is where the answer is from.
        Metric::NotMentioned | Metric::Abstains => {
            return match record.settings.arm == Arm::Memgpt && is_from_view(record) {
                true => Failure::Misread,
                false => Failure::UnsupportedAnswer,
            };
        }
        Metric::Nearness { .. } => return Failure::Impersonal,
        _ => {}
    }
    if is_evidence_seen(record) {
        return match () {
            () if is_miscopied(gold, &record.reply) => Failure::Miscopied,
            () if abstains(&record.reply) => Failure::Abstained,
            () if is_from_view(record) => Failure::Misread,
            () => Failure::UnsupportedAnswer,
        };
    }
    if record.settings.arm != Arm::Memgpt {
        return match abstains(&record.reply) {
            true => Failure::Abstained,
            false => Failure::UnsupportedAnswer,
        };
    }
    if let Some(told) = &record.told
        && gold.tier != Tier::Recall
        && !told.saved.iter().any(|text| answers(gold, text))
    {
        return Failure::NeverSaved;
    }
    let searched: HashSet<&str> = record
        .steps()
        .filter(|step| step.searches().is_some())
        .map(|step| &*step.function)
        .collect();
    let has_searched_here =
        searched.iter().any(|function| tier_of_search(function) == Some(gold.tier));
    if is_lost_in_flush(record) {
        Failure::LostInFlush
    } else if !searched.is_empty() && !has_searched_here {
        Failure::WrongTier
    } else if has_repeated_call(record) {
        Failure::Loop
    } else if could_still_search(record, gold.tier) {
        Failure::StoppedEarly
    } else {
        Failure::NotFound
    }
}

/// Whether what had to be read, and was not in view, was said in this case and has left main context.
fn is_lost_in_flush(record: &Record) -> bool {
    let evidence = &record.case.gold.evidence;
    // All of a game is told in it, so that what is neither in the queue nor found has been flushed.
    if in_queue(record).is_some() {
        return !evidence.is_empty();
    }
    let n_evicted: usize = record.events.iter().map(|event| event.evicted).sum();
    let was_said = |evidence: &String| {
        record.case.messages.iter().any(|message| contains(&message.text, evidence))
    };
    n_evicted > 0 && !evidence.is_empty() && evidence.iter().all(was_said)
}

/// The evidence that was in the FIFO queue at the reply, by its places, where that is known: in a task of a game.
fn in_queue(record: &Record) -> Option<&[usize]> {
    record.events.last()?.in_queue.as_deref()
}

/// Whether everything that one must have read was in view.
pub(crate) fn is_evidence_seen(record: &Record) -> bool {
    let gold = &record.case.gold;
    if gold.metric == Metric::Choice && gold.evidence.is_empty() {
        return has_read(record);
    }
    if let Some(prompt) = &record.prompt {
        return prompt.has_evidence;
    }
    // What an agent saved is in words of its own.
    if record.told.is_some() {
        return is_answer_seen(record);
    }
    let texts = seen_texts(record);
    let Some(in_queue) = in_queue(record) else { return has_evidence(gold, &texts) };
    let elsewhere = gold.evidence.iter().enumerate().filter(|(place, _)| !in_queue.contains(place));
    let evidence = elsewhere.map(|(_, text)| text.clone()).collect();
    evidence_share(&Gold { evidence, ..gold.clone() }, &texts).is_none_or(|share| share >= 1.0)
}

/// Whether anything was read of where the answer is. What answers a question with options is in no text as the option
/// has it, and all options are in the question.
fn has_read(record: &Record) -> bool {
    let has_found =
        |step: &Step| step.searches() == Some(record.case.gold.tier) && step.status == Status::Ok;
    match &record.prompt {
        Some(prompt) => prompt.n_pieces > 0,
        None => record.steps().any(has_found),
    }
}

/// What an agent saw of the tier that has the evidence.
fn seen_texts(record: &Record) -> Vec<String> {
    match record.case.gold.tier {
        Tier::WorkingContext => record.blocks.iter().map(|block| block.value.clone()).collect(),
        Tier::Recall | Tier::Archival => record.steps().map(|step| step.result.clone()).collect(),
    }
}

/// The share of the evidence that was in view; `None` where it is not known.
pub(crate) fn seen_evidence_share(record: &Record) -> Option<f64> {
    match &record.prompt {
        Some(prompt) => prompt.evidence_share,
        None => evidence_share(&record.case.gold, &seen_texts(record)),
    }
}

/// Whether the texts have everything that one must have read; where that is not known, any of the answers. Options
/// are in the question, and tell nothing.
pub(crate) fn has_evidence(gold: &Gold, texts: &[String]) -> bool {
    if gold.evidence.is_empty() && gold.metric == Metric::Choice {
        return false;
    }
    if gold.evidence.is_empty() && gold.metric == Metric::Phrase {
        return texts.iter().any(|text| answers(gold, text));
    }
    if gold.evidence.is_empty() {
        let texts: Vec<String> = texts.iter().map(|text| squad_normal(text)).collect();
        return gold
            .answers
            .iter()
            .map(|answer| squad_normal(answer))
            .any(|answer| !answer.is_empty() && texts.iter().any(|text| text.contains(&answer)));
    }
    evidence_share(gold, texts).is_some_and(|share| share >= 1.0)
}

/// The share of the evidence that the texts have; `None` if there is none to have.
pub(crate) fn evidence_share(gold: &Gold, texts: &[String]) -> Option<f64> {
    let texts: Vec<String> = texts.iter().map(|text| folded(text)).collect();
    let is_seen = |evidence: &&String| {
        let beginning: String = folded(evidence).chars().take(EVIDENCE_CHARS).collect();
        texts.iter().any(|text| text.contains(&beginning))
    };
    let n = gold.evidence.len();
    (n > 0).then(|| gold.evidence.iter().filter(is_seen).count() as f64 / n as f64)
}

/// Whether the reply says nothing that was not in view: every telling word is in a result, a block or a
/// message.
fn is_from_view(record: &Record) -> bool {
    let mut seen: HashSet<String> = HashSet::new();
    let texts = (record.steps().map(|step| &step.result))
        .chain(record.blocks.iter().map(|block| &block.value))
        .chain(record.case.messages.iter().map(|message| &message.text));
    texts.for_each(|text| seen.extend(words(text)));
    // The prompt of the other arms is not in the record, and neither is the queue of a game, so that their words are
    // not known.
    record.prompt.is_some()
        || in_queue(record).is_some_and(|places| !places.is_empty())
        || words(answer_field(&record.reply))
            .iter()
            .all(|word| !is_telling(word) || seen.contains(word))
}

fn has_repeated_call(record: &Record) -> bool {
    record.events.iter().any(|event| {
        let mut made = HashSet::new();
        event
            .steps
            .iter()
            .filter(|step| step.function != "send_message")
            .any(|step| !made.insert(format!("{}{:?}", step.function, step.arguments)))
    })
}

/// Whether a search of the tier was offered when the last reply was made.
fn could_still_search(record: &Record, tier: Tier) -> bool {
    let last = record.events.last().and_then(|event| event.steps.last());
    last.is_some_and(|step| {
        step.functions.iter().any(|function| tier_of_search(function) == Some(tier))
    })
}

/// Says that it does not know.
pub(crate) fn abstains(reply: &str) -> bool {
    const PHRASES: &[&str] = &[
        "don't know",
        "do not know",
        "don't have",
        "do not have",
        "cannot find",
        "can't find",
        "could not find",
        "couldn't find",
        "no information",
        "insufficient information",
        "not sure",
        "no answer",
        "don't remember",
        "do not remember",
        "not mentioned",
        "unable to",
        "i'm sorry",
        "no access",
        "cannot access",
        "can't access",
        "not provided",
        "need more information",
    ];
    let reply = reply.to_lowercase().replace('’', "'");
    reply.trim().is_empty() || PHRASES.iter().any(|phrase| reply.contains(phrase))
}

/// Whether the reply is a damaged copy of the answer; the options of a choice may be as near to each other as that.
fn is_miscopied(gold: &Gold, reply: &str) -> bool {
    gold.metric != Metric::Choice && is_damaged_copy(reply, &gold.answers)
}

/// Whether the reply has something that is nearly one of the answers: up to a quarter of its characters
/// are others.
fn is_damaged_copy(reply: &str, answers: &[String]) -> bool {
    let reply = squad_normal(reply);
    let words: Vec<&str> = reply.split_whitespace().collect();
    answers.iter().any(|answer| {
        let answer = squad_normal(answer);
        let n_words = answer.split_whitespace().count().max(1);
        let chars: Vec<char> = answer.chars().collect();
        let allowed = chars.len() / 4;
        words.windows(n_words.min(words.len().max(1))).any(|window| {
            let window: Vec<char> = window.join(" ").chars().collect();
            let distance = edit_distance(&window, &chars);
            distance > 0 && distance <= allowed
        })
    })
}

/// Levenshtein's distance.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(from != to)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
