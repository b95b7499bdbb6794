//! LoCoMo: questions about what two people told each other over months.
//!
//! The conversations are in the agent's recall storage with their own dates: what the first of the two said
//! as the user's messages, what the second said as the agent's, each with the speaker's name before it,
//! since the questions are about both by name. The clock stands a day after the last conversation. Photos
//! are there by their captions.
//!
//! Scored as LoCoMo's own evaluation does, without a judge: F1 over the stems of the words; where an answer
//! has several parts, the mean over the parts; a question without an answer wants one of two phrases. So
//! the accuracy is a mean of fractions. The share of the evidence that was read is a measure of its own.
//! How an answer is to look is said in working context and not behind the question, whose words a search
//! is made with. Figures that a language model judged are not comparable.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{human, persona};
use crate::memory::case::{
    Baseline, Case, Gold, Keep, Material, Memory, Metric, PastSession, PastTurn, Speaker, Tier,
    UserMessage,
};

/// From the last conversation to the questions.
const HOURS_AFTER: i64 = 24;

/// How an answer is to look: what the scorer compares is short, and a date is a date.
const ANSWERS: &str = "as few words as possible, with the words of the conversation; a date as a date, such as 7 \
    May 2023; several things with commas between them; and \"Not mentioned\" if it was never said";

/// What the scorer calls a right answer where there is none.
const NOT_MENTIONED: &str = "Not mentioned";

/// What two people said over time, and what is asked about it.
#[derive(Debug, Clone)]
pub(crate) struct Talk {
    pub(crate) id: String,
    /// The first is the user in recall storage.
    pub(crate) names: [String; 2],
    pub(crate) sessions: Vec<TalkSession>,
    pub(crate) questions: Vec<Question>,
}

#[derive(Debug, Clone)]
pub(crate) struct TalkSession {
    pub(crate) at: Timestamp,
    /// Who said it, and what.
    pub(crate) turns: Vec<(Speaker, String)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) id: String,
    pub(crate) category: Category,
    pub(crate) text: String,
    /// Empty where there is none.
    pub(crate) answer: String,
    /// What the question suggests where there is no answer.
    pub(crate) decoy: Option<String>,
    /// Where it was said: session and turn, from 0.
    pub(crate) evidence: Vec<(usize, usize)>,
}

/// What a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Category {
    /// Things said at several times.
    MultiHop,
    /// A date.
    Temporal,
    /// Something that what was said suggests.
    OpenDomain,
    /// Something said once.
    SingleHop,
    /// Something that was not said, or not of this person.
    Adversarial,
}

impl Category {
    /// The numbers of the data set, from 1.
    pub(crate) const ALL: [Self; 5] =
        [Self::MultiHop, Self::Temporal, Self::OpenDomain, Self::SingleHop, Self::Adversarial];

    fn name(self) -> &'static str {
        match self {
            Self::MultiHop => "multi-hop",
            Self::Temporal => "temporal",
            Self::OpenDomain => "open-domain",
            Self::SingleHop => "single-hop",
            Self::Adversarial => "adversarial",
        }
    }

    fn metric(self) -> Metric {
        match self {
            Self::MultiHop => Metric::StemF1OfParts,
            Self::Temporal | Self::OpenDomain | Self::SingleHop => Metric::StemF1,
            Self::Adversarial => Metric::NotMentioned,
        }
    }
}

/// Makes the cases of a talk, of each category in turn.
pub(crate) fn cases(talk: &Talk) -> Vec<Case> {
    let memory = Arc::new(memory(talk));
    let mut n_before: BTreeMap<Category, usize> = BTreeMap::new();
    let mut cases: Vec<(usize, Category, Case)> = talk
        .questions
        .iter()
        .map(|question| {
            let n = n_before.entry(question.category).or_default();
            *n += 1;
            (*n, question.category, case(question, talk, &memory))
        })
        .collect();
    cases.sort_by_key(|(n, category, _)| (*n, *category));
    cases.into_iter().map(|(_, _, case)| case).collect()
}

fn case(question: &Question, talk: &Talk, memory: &Arc<Memory>) -> Case {
    let Question { id, category, text, answer, decoy, evidence } = question;
    let [first, second] = &talk.names;
    let instruction = format!("Answer the question about {first} and {second} with {ANSWERS}.");
    let answer = match category {
        Category::Adversarial => NOT_MENTIONED,
        // What stands behind a semicolon explains the answer.
        Category::OpenDomain => answer.split(';').next().unwrap_or_default().trim(),
        _ => answer,
    };
    let said = |(session, turn): &(usize, usize)| {
        let (speaker, text) = talk.sessions.get(*session)?.turns.get(*turn)?;
        Some(line(talk, *speaker, text))
    };
    Case {
        id: id.clone(),
        labels: BTreeMap::from([
            ("category".into(), category.name().into()),
            ("conversation".into(), talk.id.clone()),
        ]),
        memory: Arc::clone(memory),
        messages: vec![UserMessage { text: text.clone(), after_reset: false }],
        baseline: Baseline {
            before: format!("These are conversations of {first} and {second}, oldest first.\n\n"),
            after: format!("\n\n{instruction}\n\nQuestion: {text}"),
            alone: format!("{instruction}\n\nQuestion: {text}"),
            query: String::new(),
        },
        gold: Gold {
            metric: category.metric(),
            answers: vec![answer.into()],
            decoys: decoy.iter().cloned().collect(),
            evidence: evidence.iter().filter_map(said).collect(),
            tier: Tier::Recall,
            edit: None,
        },
        tasks: Vec::new(),
    }
}

fn memory(talk: &Talk) -> Memory {
    let [first, second] = &talk.names;
    let who = format!(
        "I keep the conversations of {first} and {second} in my recall storage: what {first} said is there as the \
         user's, what {second} said as the assistant's, each with the name before it. I look there before I answer a \
         question about the two. I answer with {ANSWERS}."
    );
    let mut pieces = Vec::new();
    let mut sessions = Vec::new();
    for TalkSession { at, turns } in &talk.sessions {
        let day = at.to_zoned(TimeZone::UTC).strftime("%-d %B %Y").to_string();
        let turns: Vec<PastTurn> = turns
            .iter()
            .map(|(speaker, text)| PastTurn { speaker: *speaker, text: line(talk, *speaker, text) })
            .collect();
        pieces.extend(turns.iter().map(|turn| format!("{day}, {}", turn.text)));
        sessions.push(PastSession { at: *at, turns });
    }
    let last = talk.sessions.iter().map(|session| session.at).max();
    Memory {
        blocks: vec![persona(&who), human("")],
        sessions,
        now: last.map(|last| last + SignedDuration::from_hours(HOURS_AFTER)),
        material: Material { pieces, joiner: "\n", keep: Keep::Last },
        ..Memory::default()
    }
}

/// What was said, with the name of who said it.
fn line(talk: &Talk, speaker: Speaker, text: &str) -> String {
    let [first, second] = &talk.names;
    let name = match speaker {
        Speaker::User => first,
        Speaker::Assistant => second,
    };
    format!("{name}: {text}")
}
