//! Two people who talk over months: what they tell of themselves, what happened when, and what they never
//! said.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::dmr::topics::SMALL_TALK;
use super::lives::{HAPPENINGS, SERIES, SERIES_TIMES, TRAITS};
use super::people::FIRST_NAMES;
use super::{any, chance, shuffled, take};
use crate::memory::case::{Case, Speaker};
use crate::memory::tasks::locomo::{self, Category, Question, Talk, TalkSession};

/// Sessions of a talk: together more than a window of 4,096 tokens.
const SESSIONS: usize = 18;

/// Turns of a session, the two by turns.
const TURNS: usize = 14;

/// Traits that each of the two tells, and the other does not.
const TRAITS_EACH: usize = 5;

/// Things that happen to each of the two.
const HAPPENINGS_EACH: usize = 3;

/// When the first session of the first talk is.
const FIRST_SESSION: &str = "2025-01-06T18:30:00Z";

/// Days seen from when they are told.
const DAYS: [(&str, i64); 4] =
    [("today", 0), ("yesterday", 1), ("two days ago", 2), ("three days ago", 3)];

const SPEAKERS: [Speaker; 2] = [Speaker::User, Speaker::Assistant];

/// Makes cases: the questions of one talk after the other.
pub(crate) fn cases(seed: u64) -> impl Iterator<Item = Case> {
    (0..).flat_map(move |number| {
        let talk = talk(&format!("talk-{seed}-{number}"), &mut chance(seed, 7, number));
        locomo::cases(&talk)
    })
}

/// Something to be told in a session.
struct Told {
    speaker: usize,
    text: String,
}

/// A talk while it is made.
struct Making<'a> {
    sessions: Vec<TalkSession>,
    /// The turns of each session and speaker that still have small talk.
    free: Vec<[Vec<usize>; 2]>,
    questions: Vec<Question>,
    id: &'a str,
}

impl Making<'_> {
    /// Has something told in a session, or in the next where there is still room, and returns where it
    /// stands.
    fn tell(&mut self, mut session: usize, told: Told, rng: &mut ChaCha8Rng) -> (usize, usize) {
        while self.free[session][told.speaker].is_empty() {
            session = (session + 1) % SESSIONS;
        }
        let turn = take(&mut self.free[session][told.speaker], rng);
        self.sessions[session].turns[turn].1 = told.text;
        (session, turn)
    }

    fn ask(
        &mut self,
        category: Category,
        text: String,
        answer: String,
        evidence: Vec<(usize, usize)>,
    ) {
        let id = format!("{}-{}", self.id, self.questions.len() + 1);
        self.questions.push(Question { id, category, text, answer, decoy: None, evidence });
    }
}

fn talk(id: &str, rng: &mut ChaCha8Rng) -> Talk {
    let names = shuffled(FIRST_NAMES, rng);
    let names = [names[0], names[1]];
    let mut at: Timestamp = FIRST_SESSION.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let sessions = (0..SESSIONS)
        .map(|_| {
            at += SignedDuration::from_hours(24 * rng.random_range(5..15));
            let turns = (0..TURNS)
                .map(|turn| (SPEAKERS[turn % 2], any(SMALL_TALK, rng).to_string()))
                .collect();
            TalkSession { at, turns }
        })
        .collect();
    let free = (0..SESSIONS)
        .map(|_| [0, 1].map(|speaker| (speaker..TURNS).step_by(2).collect()))
        .collect();
    let mut making = Making { sessions, free, questions: Vec::new(), id };
    traits(&mut making, names, rng);
    happenings(&mut making, names, rng);
    series(&mut making, names, rng);
    let Making { sessions, questions, .. } = making;
    Talk { id: id.into(), names: names.map(str::to_string), sessions, questions }
}

/// What each of the two tells once. Asked of the other, it was never said.
fn traits(making: &mut Making<'_>, names: [&str; 2], rng: &mut ChaCha8Rng) {
    let mut order: Vec<usize> = (0..TRAITS.len()).collect();
    order.shuffle(rng);
    for (place, one) in order.into_iter().take(2 * TRAITS_EACH).enumerate() {
        let (speaker, one) = (place % 2, &TRAITS[one]);
        let word = any(one.words, rng);
        let told = Told { speaker, text: one.said.replace("{}", word) };
        let evidence = making.tell(rng.random_range(0..SESSIONS), told, rng);
        let asked = |name: &str| one.of_another.replace("{}", name);
        // Every third is asked of the one who did not say it.
        if place % 3 == 2 {
            let other = names[1 - speaker];
            making.ask(Category::Adversarial, asked(other), String::new(), vec![evidence]);
            if let Some(question) = making.questions.last_mut() {
                question.decoy = Some(word.into());
            }
        } else {
            making.ask(Category::SingleHop, asked(names[speaker]), word.into(), vec![evidence]);
        }
    }
}

/// What happened on a day, which is told as one tells it: seen from the day of the session.
fn happenings(making: &mut Making<'_>, names: [&str; 2], rng: &mut ChaCha8Rng) {
    let mut order: Vec<usize> = (0..HAPPENINGS.len()).collect();
    order.shuffle(rng);
    for (place, one) in order.into_iter().take(2 * HAPPENINGS_EACH).enumerate() {
        let (speaker, one) = (place % 2, &HAPPENINGS[one]);
        let (when, days) = DAYS[rng.random_range(0..DAYS.len())];
        let told = Told { speaker, text: one.said.replace("{}", when) };
        let evidence = making.tell(rng.random_range(0..SESSIONS), told, rng);
        let day = making.sessions[evidence.0].at - SignedDuration::from_hours(24 * days);
        let answer = day.to_zoned(TimeZone::UTC).strftime("%-d %B %Y").to_string();
        let text = format!("When {}", one.of_another.replace("{}", names[speaker]));
        making.ask(Category::Temporal, text, answer, vec![evidence]);
    }
}

/// What is told in parts, in several sessions.
fn series(making: &mut Making<'_>, names: [&str; 2], rng: &mut ChaCha8Rng) {
    for (place, one) in SERIES.iter().enumerate() {
        let speaker = place % 2;
        let mut words = one.words.to_vec();
        let mut sessions: Vec<usize> = (0..SESSIONS).collect();
        sessions.shuffle(rng);
        sessions.truncate(SERIES_TIMES);
        sessions.sort_unstable();
        let mut told_words = Vec::new();
        let mut evidence = Vec::new();
        for session in sessions {
            let word = take(&mut words, rng);
            let told = Told { speaker, text: one.said.replace("{}", word) };
            evidence.push(making.tell(session, told, rng));
            told_words.push(word);
        }
        let text = one.of_another.replace("{}", names[speaker]);
        making.ask(Category::MultiHop, text, told_words.join(", "), evidence);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::memory::case::Metric;

    fn some(seed: u64, n: usize) -> Vec<Case> {
        cases(seed).take(n).collect()
    }

    #[test]
    fn every_answer_was_said_and_what_was_not_said_has_none() {
        for case in some(3, 57) {
            let gold = &case.gold;
            assert!(!gold.evidence.is_empty(), "{}", case.id);
            let asked_of = |evidence: &String| {
                let name = evidence.split(':').next().unwrap_or_default();
                case.messages[0].text.contains(name)
            };
            let turns: Vec<&String> = (case.memory.sessions.iter())
                .flat_map(|session| session.turns.iter().map(|turn| &turn.text))
                .collect();
            for evidence in &gold.evidence {
                assert_eq!(turns.iter().filter(|turn| **turn == evidence).count(), 1, "{evidence}");
            }
            match gold.metric {
                Metric::NotMentioned => {
                    assert!(!gold.evidence.iter().any(asked_of), "{case:?}");
                    assert!(gold.evidence[0].contains(&gold.decoys[0]));
                }
                Metric::StemF1OfParts => {
                    for (part, evidence) in gold.answers[0].split(", ").zip(&gold.evidence) {
                        assert!(evidence.contains(part), "{evidence}");
                    }
                }
                _ if case.labels["category"] == "temporal" => {
                    assert!(gold.answers[0].contains("2025"), "{:?}", gold.answers);
                }
                _ => assert!(gold.evidence[0].contains(&gold.answers[0]), "{case:?}"),
            }
            if gold.metric != Metric::NotMentioned {
                assert!(gold.evidence.iter().all(asked_of), "{case:?}");
            }
        }
    }

    #[test]
    fn a_talk_has_what_a_small_window_has_not_and_all_kinds_of_questions() {
        let cases = some(0, 19);
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for case in &cases {
            *kinds.entry(&case.labels["category"]).or_default() += 1;
        }
        let expected = [("adversarial", 3), ("multi-hop", 3), ("single-hop", 7), ("temporal", 6)];
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
        let words = cases[0].memory.material.pieces.iter().map(|piece| piece.split(' ').count());
        assert!(words.sum::<usize>() > 2500);
        assert_ne!(cases[0].labels["conversation"], some(0, 20)[19].labels["conversation"]);
        let now = cases[0].memory.now.unwrap();
        assert!(cases[0].memory.sessions.iter().all(|session| session.at < now));
    }

    #[test]
    fn a_case_depends_on_its_seed_and_number_alone() {
        let texts = |seed, n| -> Vec<String> {
            some(seed, n).iter().map(|case| format!("{:?}", case.gold)).collect()
        };
        assert_eq!(texts(7, 3), texts(7, 40)[..3]);
        assert_ne!(texts(7, 3), texts(8, 3));
    }
}
