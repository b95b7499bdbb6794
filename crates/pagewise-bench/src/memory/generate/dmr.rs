//! Conversations over months between two who tell things about themselves amid small talk.

pub(super) mod topics;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use self::topics::{SMALL_TALK, TOPICS, Topic};
use super::{any, chance};
use crate::memory::case::{Case, Speaker};
use crate::memory::tasks::dmr::{self, CONVERSATIONS, Conversation, Frequencies, NotedTurn};

/// How long conversations are: together several times what a window of 4,096 tokens holds.
const LENGTH: Length = Length { sessions: 5, turns_each: 10, sentences: 2 };

/// Facts that each of the two tells in a conversation; no topic comes twice in a group.
const FACTS_EACH: usize = 6;

/// How long a conversation is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    pub(super) sessions: usize,
    /// What each of the two says in a session, fact or small talk.
    pub(super) turns_each: usize,
    /// Of a turn of small talk.
    pub(super) sentences: usize,
}

/// Makes cases: some about each group of conversations.
pub(crate) fn cases(seed: u64) -> impl Iterator<Item = Case> {
    let frequencies = frequencies();
    (0..).flat_map(move |group| {
        let conversations = conversations(LENGTH, &mut chance(seed, 2, group));
        dmr::cases(&format!("talk-{seed}-{group}"), &conversations, &frequencies)
    })
}

/// How often words are in all facts that there could be: the word that fills a topic is the rare one.
fn frequencies() -> Frequencies {
    let sessions = TOPICS
        .iter()
        .map(|topic| topic.words.iter().map(|word| told(Speaker::User, topic, word)).collect());
    Frequencies::of(&[Conversation { id: String::new(), sessions: sessions.collect() }])
}

fn told(speaker: Speaker, topic: &Topic, word: &str) -> NotedTurn {
    let [text, fact] = [topic.said, topic.fact].map(|text| text.replace("{}", word));
    NotedTurn { speaker, text, fact }
}

pub(super) fn conversations(length: Length, rng: &mut ChaCha8Rng) -> Vec<Conversation> {
    let Length { sessions: n_sessions, turns_each, sentences } = length;
    let speakers = [Speaker::User, Speaker::Assistant];
    let orders = speakers.map(|_| {
        let mut order: Vec<usize> = (0..TOPICS.len()).collect();
        order.shuffle(rng);
        order
    });
    (0..CONVERSATIONS)
        .map(|number| {
            let mut left = [0, 1].map(|speaker| {
                let topics = &orders[speaker][number * FACTS_EACH..(number + 1) * FACTS_EACH];
                topics.iter().map(|topic| Some(*topic)).collect::<Vec<_>>()
            });
            let sessions = (0..n_sessions)
                .map(|session| {
                    let lines = [0, 1].map(|speaker| {
                        let n_left = left[speaker].len();
                        let n_facts = n_left.div_ceil(n_sessions - session);
                        let mut lines = left[speaker].split_off(n_left - n_facts);
                        lines.resize(turns_each, None);
                        lines.shuffle(rng);
                        lines
                    });
                    let in_turn =
                        (0..turns_each).flat_map(|at| [(0, lines[0][at]), (1, lines[1][at])]);
                    in_turn
                        .map(|(speaker, topic)| match topic {
                            Some(topic) => fact(speakers[speaker], &TOPICS[topic], rng),
                            None => small_talk(speakers[speaker], sentences, rng),
                        })
                        .collect()
                })
                .collect();
            Conversation { id: format!("{}", number + 1), sessions }
        })
        .collect()
}

fn fact(speaker: Speaker, topic: &Topic, rng: &mut ChaCha8Rng) -> NotedTurn {
    // Each speaker has words of its own, so that only one of them said it.
    let words: Vec<&str> = topic.words.iter().skip(speaker as usize).step_by(2).copied().collect();
    told(speaker, topic, any(&words, rng))
}

/// A turn that reveals nothing.
fn small_talk(speaker: Speaker, n_sentences: usize, rng: &mut ChaCha8Rng) -> NotedTurn {
    let mut sentences: Vec<&str> = Vec::new();
    while sentences.len() < n_sentences {
        let sentence = any(SMALL_TALK, rng);
        if !sentences.contains(&sentence) {
            sentences.push(sentence);
        }
    }
    NotedTurn { speaker, text: sentences.join(" "), fact: String::new() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn some(seed: u64, n: usize) -> Vec<Case> {
        cases(seed).take(n).collect()
    }

    #[test]
    fn every_topic_asks_for_the_word_that_fills_it() {
        let words: HashSet<String> = TOPICS
            .iter()
            .flat_map(|topic| topic.words.iter().map(|word| word.to_lowercase()))
            .collect();
        let cases = some(5, 64);
        assert_eq!(cases.len(), 64);
        for case in &cases {
            assert!(words.contains(&case.gold.answers[0]), "{:?}", case.messages);
            let said = &case.gold.evidence[0];
            assert!(said.to_lowercase().contains(&case.gold.answers[0]), "{said}");
            let held = case.memory.sessions.iter().flat_map(|session| &session.turns);
            assert_eq!(held.filter(|turn| turn.text == *said).count(), 1, "{said}");
        }
        let ids: HashSet<&str> = cases.iter().map(|case| &*case.id).collect();
        assert_eq!(ids.len(), 64);
    }

    #[test]
    fn a_group_has_what_a_small_window_has_not() {
        let case = &some(0, 1)[0];
        assert_eq!(case.memory.sessions.len(), CONVERSATIONS * LENGTH.sessions);
        let n_words: usize = (case.memory.material.pieces.iter())
            .map(|piece| piece.split_whitespace().count())
            .sum();
        // A token is less than a word, and a date is several.
        assert!(n_words > 6000, "{n_words} words");
    }

    #[test]
    fn a_case_depends_on_its_seed_and_number_alone() {
        let texts = |seed, n| -> Vec<String> {
            some(seed, n).into_iter().map(|case| case.messages[0].text.clone()).collect()
        };
        assert_eq!(texts(7, 3), texts(7, 40)[..3]);
        assert_ne!(texts(7, 3), texts(8, 3));
    }
}
