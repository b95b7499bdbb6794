//! Deep memory retrieval (MemGPT paper, section 3.1.1): something that was said long ago.
//!
//! The paper's questions were written by a language model and are on one server alone. Where a user has them, they are
//! asked as they are, each about five sessions of its own, in the paper's words. The paper has a judge say what is
//! right, and ROUGE-L recall beside that. Here a reply is right if it holds the answer, both in SQuAD's normal form,
//! which is stricter, so that the accuracy does not belong beside the paper's; ROUGE-L recall is a measure of its own.
//!
//! The other questions are made by rule from what a speaker was noted to have revealed in a turn, so they are
//! not the paper's, and no figure of theirs belongs beside the paper's: a fact is quoted with its rarest
//! telling word blanked, and the missing word is asked for. A reply is right if it holds the word or another
//! form of it. Four conversations of four sessions each are in one agent's recall storage: together several times
//! what a small window holds.
//!
//! One speaker is the user, the other the agent, and no conversation is in its queue.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{human, persona};
use crate::memory::case::{
    Baseline, Case, Gold, Keep, Material, Memory, Metric, PastSession, PastTurn, Speaker, Tier,
    UserMessage,
};
use crate::memory::words::{is_telling, stem, words};

/// Conversations in one store.
pub(crate) const CONVERSATIONS: usize = 4;

/// Questions about each of them.
const QUESTIONS: usize = 4;

/// When the last conversation was at the earliest: before the clock of a case begins.
const LAST_SESSION: &str = "2025-12-28T18:00:00Z";

/// Days from one session to the next.
const DAYS_BETWEEN: i64 = 7;

/// Telling words that a fact must have beside the one that is blanked: with fewer it asks for anything.
const OTHER_WORDS_MIN: usize = 2;

const PERSONA: &str = "I am a companion who talks with the user again and again. What we said in earlier \
    conversations is in my recall storage, and I look there before I answer.";

const BLANK: &str = "____";

/// The persona of the paper's agent, which plays the first speaker of the set (appendix 6.1).
const PLAYER: &str = "The following is information about myself. My task is to completely immerse myself in this role (I \
    should never say that I am an AI, and should reply as if I am playing this role). If the user asks me a question, I \
    should reply with a best guess using the information in core memory and conversation_search.";

/// The prompt of the paper's baseline, which has a summary in the place of the conversations (the same).
const TASK: &str =
    "Your task is to answer a question from the user about your prior conversations.";
const PRIOR: &str =
    "The following are all your prior conversations, oldest first; \"You\" are the persona:";
const ANSWER: &str = "Answer from the perspective of the persona provided (do not say that you are an AI assistant). If \
    you do not have enough information to answer the question, reply 'NO ANSWER'. Either reply with the answer, or reply \
    'NO ANSWER', do not say anything else.";

/// What was said in some sessions, in order.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    pub(crate) id: String,
    pub(crate) sessions: Vec<Vec<NotedTurn>>,
}

/// A turn, and what it reveals about its speaker.
#[derive(Debug, Clone)]
pub(crate) struct NotedTurn {
    pub(crate) speaker: Speaker,
    pub(crate) text: String,
    /// In words of its own, one sentence or several; empty if it reveals nothing.
    pub(crate) fact: String,
}

/// A question about a conversation that somebody wrote, with its answer.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) conversation: Conversation,
    pub(crate) question: String,
    pub(crate) answer: String,
}

/// A sentence about a speaker, with its place.
#[derive(Debug, Clone)]
struct Fact<'a> {
    conversation: usize,
    session: usize,
    turn: &'a NotedTurn,
    sentence: &'a str,
    telling: BTreeSet<String>,
}

/// How many facts have a word, by its stem.
#[derive(Debug, Default)]
pub(crate) struct Frequencies {
    n_facts: HashMap<String, usize>,
}

impl Frequencies {
    /// Counts the facts of all conversations.
    pub(crate) fn of(conversations: &[Conversation]) -> Self {
        let mut n_facts = HashMap::new();
        for turn in conversations.iter().flat_map(|one| one.sessions.iter().flatten()) {
            for stem in telling_stems(&turn.fact) {
                *n_facts.entry(stem).or_default() += 1;
            }
        }
        Self { n_facts }
    }
}

fn telling_stems(text: &str) -> BTreeSet<String> {
    words(text).into_iter().filter(|word| is_telling(word)).map(|word| stem(&word)).collect()
}

/// Makes the cases of a group of conversations, which are in one store.
pub(crate) fn cases(
    id: &str,
    conversations: &[Conversation],
    frequencies: &Frequencies,
) -> Vec<Case> {
    let memory = Arc::new(memory(conversations, PERSONA));
    let facts: Vec<Fact<'_>> = (conversations.iter().enumerate())
        .flat_map(|(number, conversation)| facts(number, conversation))
        .collect();
    let mut cases = Vec::new();
    for (number, conversation) in conversations.iter().enumerate() {
        let asked: Vec<(&Fact<'_>, Cloze)> = facts
            .iter()
            .filter(|fact| fact.conversation == number)
            .filter_map(|fact| Some((fact, cloze(fact, &facts, frequencies)?)))
            .collect();
        // Spread over the sessions.
        for question in 0..QUESTIONS.min(asked.len()) {
            let (fact, cloze) = &asked[question * asked.len() / QUESTIONS.min(asked.len())];
            let id = format!("{id}-{}-{}", conversation.id, question + 1);
            cases.push((question, case(id, fact, cloze, &memory)));
        }
    }
    // In turn, so that a few cases are about all conversations.
    cases.sort_by_key(|(question, _)| *question);
    cases.into_iter().map(|(_, case)| case).collect()
}

fn facts(number: usize, conversation: &Conversation) -> Vec<Fact<'_>> {
    let mut facts = Vec::new();
    for (session, turns) in conversation.sessions.iter().enumerate() {
        for turn in turns {
            for sentence in turn.fact.split(['.', '!', '?', ';']).map(str::trim) {
                let telling = telling_stems(sentence);
                if !telling.is_empty() {
                    facts.push(Fact { conversation: number, session, turn, sentence, telling });
                }
            }
        }
    }
    facts
}

/// A fact with a blank.
#[derive(Debug, PartialEq, Eq)]
struct Cloze {
    text: String,
    answer: String,
}

/// Blanks the rarest telling word that the turn itself has; `None` if the fact would not do.
///
/// It would not if the rest of it says too little, or is said by the same speaker about something else
/// too: then several words would be right.
fn cloze(fact: &Fact<'_>, all: &[Fact<'_>], frequencies: &Frequencies) -> Option<Cloze> {
    let said: BTreeSet<String> = words(&fact.turn.text).iter().map(|word| stem(word)).collect();
    let all_words = words(fact.sentence);
    let answer = all_words
        .iter()
        .filter(|word| is_telling(word) && word.chars().all(char::is_alphabetic))
        .filter(|word| word.chars().count() > 2 && said.contains(&stem(word)))
        .filter(|word| all_words.iter().filter(|other| stem(other) == stem(word)).count() == 1)
        .min_by_key(|word| {
            let n_facts = frequencies.n_facts.get(&stem(word)).copied().unwrap_or(0);
            // Of words that are as rare, a longer one says more.
            (n_facts, usize::MAX - word.chars().count())
        })?;
    let mut rest = fact.telling.clone();
    rest.remove(&stem(answer));
    if rest.len() < OTHER_WORDS_MIN {
        return None;
    }
    let is_ambiguous = all.iter().any(|other| {
        other.turn.speaker == fact.turn.speaker
            && !other.telling.contains(&stem(answer))
            && rest.is_subset(&other.telling)
    });
    if is_ambiguous {
        return None;
    }
    Some(Cloze { text: blanked(fact.sentence, answer)?, answer: answer.clone() })
}

/// Puts a blank in the place of `word`, which is in lower case and stands in the sentence as a whole word.
fn blanked(sentence: &str, word: &str) -> Option<String> {
    let mut start = None;
    let ends = sentence.char_indices().map(|(at, c)| (at, c.is_alphanumeric()));
    for (at, is_word) in ends.chain([(sentence.len(), false)]) {
        match (start, is_word) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                if sentence[from..at].to_lowercase() == word {
                    return Some(format!("{}{BLANK}{}", &sentence[..from], &sentence[at..]));
                }
                start = None;
            }
            _ => {}
        }
    }
    None
}

fn case(id: String, fact: &Fact<'_>, cloze: &Cloze, memory: &Arc<Memory>) -> Case {
    let speaker = fact.turn.speaker;
    let told = match speaker {
        Speaker::User => "I once told you this about myself",
        Speaker::Assistant => "You once told me this about yourself",
    };
    let question = format!(
        "{told}: \"{}.\" Which word belongs in the blank? Answer with that word.",
        cloze.text
    );
    Case {
        id,
        labels: BTreeMap::from([
            ("speaker".into(), speaker.name().into()),
            ("session".into(), (fact.session + 1).to_string()),
            ("conversation".into(), (fact.conversation + 1).to_string()),
        ]),
        memory: Arc::clone(memory),
        messages: vec![UserMessage { text: question.clone(), after_reset: false }],
        baseline: Baseline {
            before: "These are your conversations with a user, oldest first; \"You\" are the assistant.\n\n".into(),
            after: format!("\n\nNow the user says: {question}"),
            alone: question,
            query: String::new(),
        },
        gold: Gold {
            metric: Metric::ContainsWord,
            answers: vec![cloze.answer.clone()],
            decoys: Vec::new(),
            evidence: vec![fact.turn.text.clone()],
            tier: Tier::Recall,
            edit: None,
        },
        tasks: Vec::new(),
    }
}

/// Makes the case of a question that somebody wrote. Where in the conversation the answer is, is not known.
pub(crate) fn asked(asked: Asked) -> Case {
    let Asked { conversation, question, answer } = asked;
    let memory = Arc::new(memory(std::slice::from_ref(&conversation), PLAYER));
    Case {
        id: conversation.id,
        labels: BTreeMap::new(),
        memory,
        baseline: Baseline {
            before: format!("{TASK} {PRIOR}\n\n"),
            after: format!("\n\n{ANSWER}\n\nQuestion: {question}"),
            alone: format!("{TASK} {ANSWER}\n\nQuestion: {question}"),
            query: String::new(),
        },
        messages: vec![UserMessage { text: question, after_reset: false }],
        gold: Gold {
            metric: Metric::Subspan,
            answers: vec![answer],
            decoys: Vec::new(),
            evidence: Vec::new(),
            tier: Tier::Recall,
            edit: None,
        },
        tasks: Vec::new(),
    }
}

fn memory(conversations: &[Conversation], who: &str) -> Memory {
    let (sessions, pieces) = held(conversations);
    Memory {
        blocks: vec![persona(who), human("")],
        sessions,
        material: Material { pieces, joiner: "\n", keep: Keep::Last },
        ..Memory::default()
    }
}

/// Dates all sessions, a week apart, and returns them with the pieces that they are in a prompt.
pub(crate) fn held(conversations: &[Conversation]) -> (Vec<PastSession>, Vec<String>) {
    let last: Timestamp = LAST_SESSION.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let all: Vec<&Vec<NotedTurn>> =
        conversations.iter().flat_map(|conversation| &conversation.sessions).collect();
    let n_sessions = all.len() as i64;
    let mut pieces = Vec::new();
    let mut sessions = Vec::new();
    for (number, turns) in (1..).zip(all) {
        let at = last - SignedDuration::from_hours(24 * DAYS_BETWEEN * (n_sessions - number));
        let day = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        pieces.extend(turns.iter().map(|turn| {
            let speaker = match turn.speaker {
                Speaker::User => "User",
                Speaker::Assistant => "You",
            };
            format!("{day}, {speaker}: {}", turn.text)
        }));
        let turns = turns
            .iter()
            .map(|turn| PastTurn { speaker: turn.speaker, text: turn.text.clone() })
            .collect();
        sessions.push(PastSession { at, turns });
    }
    (sessions, pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(speaker: Speaker, text: &str, fact: &str) -> NotedTurn {
        NotedTurn { speaker, text: text.into(), fact: fact.into() }
    }

    fn conversation(id: &str, turns: Vec<NotedTurn>) -> Conversation {
        Conversation { id: id.into(), sessions: vec![turns] }
    }

    fn two() -> Vec<Conversation> {
        vec![
            conversation(
                "a",
                vec![
                    turn(
                        Speaker::User,
                        "I finally took the cello out of the attic, my old teacher would be proud.",
                        "My teacher taught me the cello. I am tall.",
                    ),
                    turn(
                        Speaker::Assistant,
                        "Nice! I repair old bicycles.",
                        "I repair bicycles at night.",
                    ),
                ],
            ),
            conversation(
                "b",
                vec![turn(
                    Speaker::User,
                    "My teacher at the night school taught me to weld.",
                    "My teacher taught me welding.",
                )],
            ),
        ]
    }

    fn clozes(conversations: &[Conversation]) -> Vec<(String, String)> {
        let frequencies = Frequencies::of(&two());
        let mut cases = cases("x", conversations, &frequencies);
        cases.sort_by(|a, b| a.id.cmp(&b.id));
        cases
            .into_iter()
            .map(|case| {
                let text = &case.messages[0].text;
                (text.split('"').nth(1).unwrap().to_string(), case.gold.answers[0].clone())
            })
            .collect()
    }

    #[test]
    fn the_rarest_word_that_was_said_is_blanked() {
        let one = &two()[..1];
        // "night" is not in the turn, "tall" has too little beside it.
        assert_eq!(
            clozes(one),
            [
                ("My teacher taught me the ____.".into(), "cello".into()),
                ("I repair ____ at night.".into(), "bicycles".into()),
            ]
        );
    }

    #[test]
    fn a_question_with_two_answers_is_not_asked() {
        // Both facts are "My teacher taught me (the) ____".
        assert_eq!(clozes(&two()), [("I repair ____ at night.".into(), "bicycles".into())]);
    }

    #[test]
    fn sessions_are_a_week_apart_and_the_latest_are_kept_in_a_prompt() {
        let memory = memory(&two(), PERSONA);
        let days: Vec<String> = memory.sessions.iter().map(|one| one.at.to_string()).collect();
        assert_eq!(days, ["2025-12-21T18:00:00Z", "2025-12-28T18:00:00Z"]);
        assert_eq!(memory.material.keep, Keep::Last);
        assert_eq!(memory.material.pieces[1], "2025-12-21, You: Nice! I repair old bicycles.");
    }

    #[test]
    fn a_question_that_somebody_wrote_is_asked_as_it_is() {
        let question = "What did I teach you?".to_string();
        let conversation = two().remove(1);
        let case = asked(Asked { conversation, question, answer: "Welding!".into() });
        assert_eq!((&*case.id, &*case.messages[0].text), ("b", "What did I teach you?"));
        assert_eq!(case.memory.sessions.len(), 1);
        assert!(case.memory.blocks[0].value.ends_with("core memory and conversation_search."));
        let Baseline { before, after, alone, .. } = &case.baseline;
        assert!(before.ends_with("\"You\" are the persona:\n\n"), "{before}");
        assert!(after.ends_with("\n\nQuestion: What did I teach you?"), "{after}");
        assert!(!alone.contains("The following"), "{alone}");
    }

    #[test]
    fn a_blank_takes_the_place_of_a_whole_word() {
        assert_eq!(blanked("A carpet in the Car", "car").as_deref(), Some("A carpet in the ____"));
        assert_eq!(blanked("Übung", "übung").as_deref(), Some("____"));
        assert_eq!(blanked("A carpet", "car"), None);
    }
}
