//! Scenarios that someone tells an assistant over several conversations: facts, a few of them corrected
//! later, between small talk.

mod facts;

use std::collections::BTreeMap;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use self::facts::{ASIDES, DOMAINS, Domain, GREETINGS, Kind, LEAD_INS, SMALL_TALK};
use super::{any, chance, shuffled, take};
use crate::memory::case::Case;
use crate::memory::tasks::bfcl_memory::{self, Question, Scenario};

/// What is told in each conversation for the first time, and how much of the earlier is corrected.
const TOLD: [usize; 4] = [3, 2, 2, 1];
const CORRECTED: [usize; 4] = [0, 0, 1, 1];

/// Turns of a conversation, the greeting included.
const TURNS: usize = 5;

/// One in so many facts comes with a question of the user's.
const ASIDE_IN: usize = 4;

/// A fact, with what became of it.
struct Told {
    kind: &'static Kind,
    conversation: usize,
    value: &'static str,
    /// The message that told it last.
    message: String,
    /// What it was before it was corrected.
    before: Option<&'static str>,
}

/// Makes cases: the questions about one scenario, then those about the next.
pub(crate) fn cases(seed: u64) -> impl Iterator<Item = Case> {
    (0..).flat_map(move |number| bfcl_memory::cases(&scenario(seed, number)))
}

fn scenario(seed: u64, number: usize) -> Scenario {
    let mut rng = chance(seed, 30, number);
    let domain = &DOMAINS[number % DOMAINS.len()];
    let mut kinds: Vec<&'static Kind> = domain.kinds.iter().collect();
    kinds.shuffle(&mut rng);
    let mut used = Vec::new();
    let mut told: Vec<Told> = Vec::new();
    let mut conversations = Vec::new();
    for conversation in 0..TOLD.len() {
        let mut messages = Vec::new();
        // What is corrected was told in an earlier conversation.
        let mut earlier: Vec<usize> =
            (0..told.len()).filter(|at| told[*at].before.is_none()).collect();
        for _ in 0..CORRECTED[conversation] {
            let at = take(&mut earlier, &mut rng);
            let fact = &mut told[at];
            let value = unused(fact.kind, &mut used, &mut rng);
            fact.message = message(fact.kind.corrected, value, &mut rng);
            fact.before = Some(fact.value);
            fact.value = value;
            messages.push(fact.message.clone());
        }
        for kind in kinds.split_off(kinds.len() - TOLD[conversation]) {
            let value = unused(kind, &mut used, &mut rng);
            let message = message(kind.told, value, &mut rng);
            messages.push(message.clone());
            told.push(Told { kind, conversation, value, message, before: None });
        }
        let mut talk = shuffled(SMALL_TALK, &mut rng);
        while messages.len() + 1 < TURNS {
            messages.push(take(&mut talk, &mut rng).into());
        }
        messages.shuffle(&mut rng);
        messages.insert(0, any(GREETINGS, &mut rng).into());
        conversations.push(messages);
    }
    told.shuffle(&mut rng);
    let questions = (1..)
        .zip(&told)
        .map(|(place, told)| question(&format!("told-{seed}-{number}-{place}"), told))
        .collect();
    let Domain { name, persona, .. } = domain;
    Scenario { name: (*name).into(), persona: (*persona).into(), conversations, questions }
}

fn question(id: &str, told: &Told) -> Question {
    let Told { kind, conversation, value, message, before } = told;
    let fact = if before.is_some() { "corrected" } else { "told" };
    Question {
        id: id.into(),
        labels: BTreeMap::from([
            ("fact".into(), fact.into()),
            ("conversation".into(), (conversation + 1).to_string()),
        ]),
        text: kind.question.into(),
        answers: value.split('|').map(str::to_string).collect(),
        decoys: before.iter().flat_map(|before| before.split('|')).map(str::to_string).collect(),
        evidence: vec![message.clone()],
    }
}

/// A value that no fact of the scenario has had.
fn unused(kind: &'static Kind, used: &mut Vec<&'static str>, rng: &mut ChaCha8Rng) -> &'static str {
    let mut values: Vec<&'static str> =
        kind.values.iter().copied().filter(|value| !used.contains(value)).collect();
    let value = take(&mut values, rng);
    used.push(value);
    value
}

fn message(fact: &str, value: &str, rng: &mut ChaCha8Rng) -> String {
    let said = value.split('|').next().unwrap_or(value);
    let fact = fact.replace("{}", said);
    let lead_in = any(LEAD_INS, rng);
    match rng.random_range(0..ASIDE_IN) {
        0 => format!("{lead_in} {fact} {}", any(ASIDES, rng)),
        _ => format!("{lead_in} {fact}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::words::holds_phrase;

    fn some(seed: u64, n: usize) -> Vec<Case> {
        cases(seed).take(n).collect()
    }

    const N_FACTS: usize = 8;

    #[test]
    fn an_answer_is_told_once_and_last() {
        for cases in some(4, 12 * 2 * N_FACTS).chunks(2 * N_FACTS) {
            let turns: Vec<&String> =
                cases[0].memory.told.iter().flat_map(|told| &told.turns).collect();
            assert_eq!(turns.len(), TOLD.len() * TURNS);
            let holding = |text: &str| -> Vec<usize> {
                (0..turns.len()).filter(|at| holds_phrase(turns[*at], text)).collect()
            };
            for case in cases {
                let gold = &case.gold;
                let places = holding(&gold.answers[0]);
                assert_eq!(places.len(), 1, "{:?} in {turns:?}", gold.answers);
                assert_eq!(&gold.evidence, std::slice::from_ref(turns[places[0]]));
                let before: Vec<usize> =
                    gold.decoys.iter().take(1).flat_map(|decoy| holding(decoy)).collect();
                assert!(before.iter().all(|place| place / TURNS < places[0] / TURNS));
                assert_eq!(case.labels["fact"] == "corrected", before.len() == 1);
                assert!(!holds_phrase(&case.messages[0].text, &gold.answers[0]));
            }
            let corrected = cases.iter().filter(|case| case.labels["fact"] == "corrected");
            assert_eq!(corrected.count(), 2 * 2);
        }
    }

    #[test]
    fn every_domain_has_kinds_and_values_enough() {
        for Domain { name, kinds, .. } in DOMAINS {
            assert!(kinds.len() >= TOLD.iter().sum(), "{name}");
            for kind in *kinds {
                assert_eq!(kind.told.matches("{}").count(), 1, "{}", kind.told);
                assert_eq!(kind.corrected.matches("{}").count(), 1, "{}", kind.corrected);
                assert!(kind.question.ends_with('?') && kind.values.len() >= 6, "{}", kind.told);
            }
        }
    }

    #[test]
    fn a_case_depends_on_its_seed_and_number_alone() {
        let evidence = |seed, n| -> Vec<String> {
            some(seed, n).into_iter().map(|case| case.gold.evidence[0].clone()).collect()
        };
        assert_eq!(evidence(7, 4), evidence(7, 40)[..4]);
        assert_ne!(evidence(7, 4), evidence(8, 4));
    }
}
