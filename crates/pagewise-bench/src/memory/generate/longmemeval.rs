//! A user's questions about many earlier conversations with an assistant, each with a history of its own.

use jiff::{SignedDuration, Timestamp};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::dmr::topics::{COLOURS, CRAFTS, DISHES, DRINKS, GAMES, PLANTS};
use super::lives::{HAPPENINGS, SERIES, SERIES_TIMES, TRAITS};
use super::{any, chance, take};
use crate::memory::case::{Case, PastSession, PastTurn, Speaker};
use crate::memory::tasks::longmemeval::{self, ABSTENTION, Question};

/// Sessions of a history: together more than a window of 4,096 tokens.
const SESSIONS: usize = 24;

/// What the user says in a session; the assistant answers each.
const TURNS_EACH: usize = 4;

/// Traits that a history tells beside what is asked about.
const OTHER_TRAITS: usize = 6;

/// When the first session of a history is.
const FIRST_SESSION: &str = "2025-02-03T08:20:00Z";

/// Kinds of questions, in turn; the last of each round has no answer.
const KINDS: [&str; 5] = [
    "single-session-user",
    "single-session-assistant",
    "multi-session",
    "temporal-reasoning",
    "knowledge-update",
];

/// What a user asks on any day, and what is answered.
const TALK: &[(&str, &str)] = &[
    (
        "Can you shorten a letter to my landlord?",
        "Gladly: say what is broken, since when, and what you ask for, in three sentences.",
    ),
    (
        "How do I get wax out of a tablecloth?",
        "Let it harden, scrape it off, and iron the rest into blotting paper.",
    ),
    (
        "What should I pack for a rainy weekend?",
        "A light coat, a second pair of shoes, and something to read indoors.",
    ),
    (
        "Why do my biscuits spread in the oven?",
        "The butter is too warm; chill the dough for half an hour before baking.",
    ),
    (
        "How long can soup stand outside the refrigerator?",
        "Two hours at the most, and less on a hot day.",
    ),
    (
        "Give me a polite way to refuse an invitation.",
        "Thank them, say that you cannot come, and wish them a fine evening; no reason is needed.",
    ),
    (
        "Is it worth repairing an old umbrella?",
        "If the frame is sound and only a rib is bent, a repair shop does it in minutes.",
    ),
    (
        "How do I remember names at a meeting?",
        "Repeat each name once aloud, and tie it to something that you see.",
    ),
    (
        "What is a good stretch after sitting all day?",
        "Stand in a doorway, hands on the frame, and lean forward slowly.",
    ),
    (
        "My printer streaks. What can I do?",
        "Run its cleaning cycle twice, then print a page full of text.",
    ),
    (
        "How early should I be at a small airport?",
        "An hour and a half is plenty for a flight within the country.",
    ),
    ("Can I wash a wool blanket at home?", "Yes, cold and by hand, and dry it flat on a towel."),
    (
        "How do I keep a door from squeaking?",
        "A drop of oil on each hinge pin, then move the door a few times.",
    ),
    (
        "What makes a good opening for a speech?",
        "A short scene that everybody in the room has lived through.",
    ),
    (
        "How often should I air the bedroom?",
        "Twice a day, ten minutes each, with the window wide open.",
    ),
    (
        "Is there a trick to peeling garlic?",
        "Press it with the flat of a knife and the skin comes off by itself.",
    ),
];

/// What the assistant recommends: the user's request, the answer with a `{}`, the question about it.
const ADVICE: [(&str, &str, &str, &[&str]); 6] = [
    (
        "Our hallway is dark. What could stand there?",
        "Against a dark hallway I would try {} in a wide pot near the door.",
        "What did you suggest for my dark hallway?",
        PLANTS,
    ),
    (
        "Six people are coming and I have little time. What do I serve?",
        "With six people and little time I would serve {}, prepared the evening before.",
        "What did you suggest to serve the six people?",
        DISHES,
    ),
    (
        "Which colour would you give a narrow study?",
        "For a narrow study I would take {}, with white shelves.",
        "Which colour did you suggest for my narrow study?",
        COLOURS,
    ),
    (
        "What could I play with my nephew on a long train ride?",
        "On a long train ride you could play {}, in a travel edition.",
        "What did you suggest to play on the long train ride?",
        GAMES,
    ),
    (
        "I need something calm to do with my hands in the evening.",
        "For calm evenings {} would suit you, it needs little room.",
        "What did you suggest to do with my hands in the evening?",
        CRAFTS,
    ),
    (
        "What can I offer a guest who has no coffee?",
        "To a guest without coffee I would offer {}, freshly made.",
        "What did you suggest to offer the guest without coffee?",
        DRINKS,
    ),
];

/// What is said in between.
const NOTED: [&str; 4] = [
    "Thank you for telling me.",
    "That is good to know.",
    "I see, how nice.",
    "Noted, and all the best with it.",
];

/// Makes cases: one question for each history.
pub(crate) fn cases(seed: u64) -> impl Iterator<Item = Case> {
    (0..).map(move |number| {
        let question = question(seed, number, &mut chance(seed, 8, number));
        longmemeval::case(question)
    })
}

/// A history while it is made.
struct History {
    sessions: Vec<PastSession>,
    /// The exchanges of each session that are still small talk.
    free: Vec<Vec<usize>>,
}

impl History {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let mut at: Timestamp = FIRST_SESSION.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        let mut talk: Vec<usize> = Vec::new();
        let sessions = (0..SESSIONS)
            .map(|_| {
                at += SignedDuration::from_hours(24 * rng.random_range(2..9));
                let exchanges = (0..TURNS_EACH).flat_map(|_| {
                    if talk.is_empty() {
                        talk = (0..TALK.len()).collect();
                    }
                    let (asked, answered) = TALK[take(&mut talk, rng)];
                    [turn(Speaker::User, asked), turn(Speaker::Assistant, answered)]
                });
                PastSession { at, turns: exchanges.collect() }
            })
            .collect();
        Self { sessions, free: vec![(0..TURNS_EACH).collect(); SESSIONS] }
    }

    /// Has something said in a session, or in the next with room.
    fn say(
        &mut self,
        mut session: usize,
        said: &str,
        answered: &str,
        rng: &mut ChaCha8Rng,
    ) -> usize {
        while self.free[session].is_empty() {
            session = (session + 1) % SESSIONS;
        }
        let place = 2 * take(&mut self.free[session], rng);
        self.sessions[session].turns[place] = turn(Speaker::User, said);
        self.sessions[session].turns[place + 1] = turn(Speaker::Assistant, answered);
        session
    }

    fn tell(&mut self, session: usize, said: &str, rng: &mut ChaCha8Rng) -> usize {
        let noted = any(&NOTED, rng);
        self.say(session, said, noted, rng)
    }
}

fn turn(speaker: Speaker, text: &str) -> PastTurn {
    PastTurn { speaker, text: text.into() }
}

/// What a question comes to.
#[derive(Default)]
struct Asked {
    text: String,
    answers: Vec<String>,
    decoys: Vec<String>,
    evidence: Vec<String>,
}

fn question(seed: u64, number: usize, rng: &mut ChaCha8Rng) -> Question {
    let kind = KINDS[number % KINDS.len()];
    // The last of each round, of another kind in each.
    let is_unknown = number % KINDS.len() == number / KINDS.len() % KINDS.len();
    let mut history = History::new(rng);
    let mut traits: Vec<usize> = (0..TRAITS.len()).collect();
    traits.shuffle(rng);
    let one = &TRAITS[traits.swap_remove(0)];
    for other in traits.into_iter().take(OTHER_TRAITS) {
        let said = TRAITS[other].said.replace("{}", any(TRAITS[other].words, rng));
        history.tell(rng.random_range(0..SESSIONS), &said, rng);
    }
    let last = history.sessions[SESSIONS - 1].at;
    let at = last + SignedDuration::from_hours(24 * rng.random_range(2..12));
    let asked = match kind {
        "single-session-assistant" => advice(&mut history, is_unknown, rng),
        "multi-session" => series(&mut history, is_unknown, rng),
        "temporal-reasoning" => happening(&mut history, at, is_unknown, rng),
        "knowledge-update" => update(&mut history, one, is_unknown, rng),
        _ => {
            let word = any(one.words, rng);
            let said = one.said.replace("{}", word);
            told(&mut history, one.of_me, word, &[said], is_unknown, rng)
        }
    };
    let Asked { text, answers, decoys, evidence } = asked;
    let ending = if is_unknown { ABSTENTION } else { "" };
    Question {
        id: format!("history-{seed}-{number}{ending}"),
        kind: kind.into(),
        text,
        answers,
        decoys,
        at,
        sessions: history.sessions,
        evidence,
    }
}

/// Tells each of `said` in a session of its own, unless nothing of it is to be known.
fn told(
    history: &mut History,
    text: &str,
    answer: &str,
    said: &[String],
    is_unknown: bool,
    rng: &mut ChaCha8Rng,
) -> Asked {
    if is_unknown {
        return Asked {
            text: text.into(),
            answers: vec!["It was never said.".into()],
            ..Asked::default()
        };
    }
    let mut sessions: Vec<usize> = (0..SESSIONS).collect();
    sessions.shuffle(rng);
    sessions.truncate(said.len());
    sessions.sort_unstable();
    for (session, said) in sessions.into_iter().zip(said) {
        history.tell(session, said, rng);
    }
    Asked {
        text: text.into(),
        answers: vec![answer.into()],
        decoys: Vec::new(),
        evidence: said.to_vec(),
    }
}

/// What the assistant said.
fn advice(history: &mut History, is_unknown: bool, rng: &mut ChaCha8Rng) -> Asked {
    let (request, answer, question, words) = ADVICE[rng.random_range(0..ADVICE.len())];
    let word = any(words, rng);
    if is_unknown {
        return told(history, question, word, &[], true, rng);
    }
    let answer = answer.replace("{}", word);
    history.say(rng.random_range(0..SESSIONS), request, &answer, rng);
    Asked {
        text: question.into(),
        answers: vec![word.into()],
        decoys: Vec::new(),
        evidence: vec![answer],
    }
}

/// How many there were, told one at a time.
fn series(history: &mut History, is_unknown: bool, rng: &mut ChaCha8Rng) -> Asked {
    let series = &SERIES[rng.random_range(0..SERIES.len())];
    let mut words = series.words.to_vec();
    let n = rng.random_range(2..=SERIES_TIMES);
    let said: Vec<String> =
        (0..n).map(|_| series.said.replace("{}", take(&mut words, rng))).collect();
    let word = if n == 2 { "two" } else { "three" };
    let mut asked = told(history, series.of_me, word, &said, is_unknown, rng);
    if !is_unknown {
        asked.answers.push(n.to_string());
    }
    asked
}

/// How long ago something was.
fn happening(
    history: &mut History,
    now: Timestamp,
    is_unknown: bool,
    rng: &mut ChaCha8Rng,
) -> Asked {
    let one = &HAPPENINGS[rng.random_range(0..HAPPENINGS.len())];
    let text = format!("How many days ago {}", one.of_me);
    let said = one.said.replace("{}", "today");
    if is_unknown {
        return told(history, &text, "", &[], true, rng);
    }
    let session = history.tell(rng.random_range(0..SESSIONS), &said, rng);
    let days = now.duration_since(history.sessions[session].at).as_hours() / 24;
    Asked { text, answers: vec![format!("{days} days")], decoys: Vec::new(), evidence: vec![said] }
}

/// Something that was so, and then no longer.
fn update(
    history: &mut History,
    one: &super::lives::Trait,
    is_unknown: bool,
    rng: &mut ChaCha8Rng,
) -> Asked {
    let mut words = one.words.to_vec();
    let (before, after) = (take(&mut words, rng), take(&mut words, rng));
    let said = [
        one.said.replace("{}", before),
        format!(
            "I told you otherwise once, but this has changed: {}",
            one.said.replace("{}", after)
        ),
    ];
    let mut asked = told(history, one.of_me, after, &said, is_unknown, rng);
    if !is_unknown {
        asked.evidence.remove(0);
        asked.decoys.push(before.into());
    }
    asked
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
    fn every_answer_was_said_before_it_is_asked_for() {
        for case in some(4, 60) {
            let turns: Vec<&str> = (case.memory.sessions.iter())
                .flat_map(|session| session.turns.iter().map(|turn| &*turn.text))
                .collect();
            let now = case.memory.now.unwrap();
            assert!(case.memory.sessions.iter().all(|session| session.at < now));
            let gold = &case.gold;
            if gold.metric == Metric::Abstains {
                assert!(case.id.ends_with("_abs") && gold.evidence.is_empty(), "{case:?}");
                continue;
            }
            for evidence in &gold.evidence {
                let n = turns.iter().filter(|turn| *turn == evidence).count();
                assert_eq!(n, 1, "{evidence}");
            }
            match &*case.labels["type"] {
                "temporal-reasoning" => assert!(gold.answers[0].ends_with(" days")),
                "multi-session" => {
                    assert_eq!(gold.answers[1], gold.evidence.len().to_string());
                }
                _ => assert!(gold.evidence.iter().any(|said| said.contains(&gold.answers[0]))),
            }
            let is_update = case.labels["type"] == "knowledge-update";
            assert_eq!(gold.decoys.len(), usize::from(is_update));
            if is_update {
                assert!(turns.iter().any(|turn| turn.contains(&gold.decoys[0])));
            }
        }
    }

    #[test]
    fn all_kinds_come_and_a_fifth_has_no_answer() {
        let cases = some(1, 50);
        let mut kinds: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for case in &cases {
            *kinds.entry((&case.labels["type"], &case.labels["answerable"])).or_default() += 1;
        }
        for kind in KINDS {
            assert_eq!((kinds[&(kind, "yes")], kinds[&(kind, "no")]), (8, 2), "{kind}");
        }
        let words = cases[0].memory.material.pieces.iter().map(|piece| piece.split(' ').count());
        assert!(words.sum::<usize>() > 2000);
    }

    #[test]
    fn a_case_depends_on_its_seed_and_number_alone() {
        let texts = |seed, n| -> Vec<String> {
            some(seed, n).iter().map(|case| format!("{:?}", case.memory)).collect()
        };
        assert_eq!(texts(7, 3), texts(7, 10)[..3]);
        assert_ne!(texts(7, 3), texts(8, 3));
    }
}
