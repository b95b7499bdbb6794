//! Core memory, the paper's working context: reading it, updating it, writing it.
//!
//! These are the tasks of MemGPT's authors' own evaluations:
//!
//! - **read**: ten facts stand in a block; a question about them is answered without any call but the reply.
//! - **update**: the same block; a message contradicts one of the facts, the queue is emptied, and a question
//!   is asked whose answer changed. Right is an answer that is new, with the new fact in working context or
//!   in a note, and the line that it contradicts gone.
//! - **write**: nothing is known; facts arrive one message at a time, the queue is emptied, and a question is
//!   asked. Right is the answer, with the fact saved.
//!
//! What else became of the block is scored beside that (`others_kept`), and so is the share that was right
//! without a needless call when the question was answered, as the leaderboard of these tasks demands. The
//! leaderboard has a large model judge the answers; here they are compared as text.

use std::collections::BTreeMap;
use std::sync::Arc;

use pagewise_memory::Block;

use super::{BLOCK_CHARS, human, persona};
use crate::memory::case::{
    Baseline, Case, EditGold, Gold, Keep, Material, Memory, Metric, Tier, UserMessage,
};
use crate::memory::score::contains;

const PERSONA: &str = "You are an AI assistant that answers questions based on the facts stored in your core memory. \
    Use only the information provided in your Supporting Facts memory block to answer questions accurately.";

const WRITER: &str = "You are an AI assistant that remembers what the user tells you. You keep every fact in memory, \
    because you will be asked about it when the conversation is long over.";

const BLOCK: &str = "Supporting Facts";

/// The message that brings a new fact, word for word as in the published evaluation.
const UPDATE: &str = "Please update your knowledge with this new information: ";

/// Facts that arrive as messages before a question.
const FACTS_TOLD: usize = 4;

/// A question about a set of facts.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) question: String,
    pub(crate) answer: String,
    /// The places of the facts that answer it.
    pub(crate) supporting: Vec<usize>,
}

/// What changes.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The new fact, which contradicts the first of the supporting ones.
    pub(crate) fact: String,
    /// The answer from then on.
    pub(crate) answer: String,
}

/// Makes the case that reads.
pub(crate) fn read(id: &str, facts: &[String], asked: &Asked) -> Case {
    let memory = Arc::new(held(facts));
    let before = "These are facts that you know:\n".to_string();
    Case {
        id: format!("read-{id}"),
        labels: labels("read"),
        memory,
        messages: vec![message(&asked.question)],
        baseline: Baseline {
            before,
            after: format!("\n\n{}", asked.question),
            alone: asked.question.clone(),
            query: String::new(),
        },
        gold: gold(&asked.answer, evidence(facts, asked), None),
        tasks: Vec::new(),
    }
}

/// Makes the case that updates.
pub(crate) fn update(id: &str, facts: &[String], asked: &Asked, change: &Change) -> Case {
    let lines: Vec<String> = numbered(facts);
    let old: Vec<String> =
        asked.supporting.first().map(|at| lines[*at].clone()).into_iter().collect();
    let kept = lines.iter().filter(|line| !old.contains(line)).cloned().collect();
    let answers = answers_of(change);
    let edit = EditGold { new: answers.clone(), old, kept };
    let told = format!("{UPDATE}{}", change.fact);
    Case {
        id: format!("update-{id}"),
        labels: labels("update"),
        memory: Arc::new(held(facts)),
        messages: vec![message(&told), after_reset(&asked.question)],
        baseline: Baseline {
            before: "These are facts that you know:\n".into(),
            after: format!("\n\n{told}\n\n{}", asked.question),
            alone: asked.question.clone(),
            query: String::new(),
        },
        gold: Gold {
            decoys: vec![asked.answer.clone()],
            answers,
            ..gold(&change.answer, vec![change.answer.clone()], Some(edit))
        },
        tasks: Vec::new(),
    }
}

/// What is right after a change: the answer, and if the fact says it in other words, what the fact says, or the
/// first part of it, before a semicolon.
///
/// Of the public answers one in five is not in its fact (62 of the first 276): no reply that keeps to what it was
/// told would have them in it.
fn answers_of(change: &Change) -> Vec<String> {
    let mut answers = vec![change.answer.clone()];
    if !contains(&change.fact, &change.answer) {
        answers.push(change.fact.clone());
        answers.extend(change.fact.split_once(';').map(|(first, _)| first.to_string()));
    }
    answers
}

/// Makes the case that writes: the supporting fact and some others arrive, in the order of the set.
pub(crate) fn write(id: &str, facts: &[String], asked: &Asked) -> Case {
    let mut told: Vec<usize> = asked.supporting.clone();
    let others = (0..facts.len()).filter(|place| !asked.supporting.contains(place));
    told.extend(others.take(FACTS_TOLD.saturating_sub(asked.supporting.len())));
    told.sort_unstable();
    let told: Vec<String> = told.iter().map(|place| facts[*place].clone()).collect();
    let messages = told.iter().map(|fact| message(fact)).chain([after_reset(&asked.question)]);
    let edit = EditGold { new: vec![asked.answer.clone()], old: Vec::new(), kept: Vec::new() };
    Case {
        id: format!("write-{id}"),
        labels: labels("write"),
        memory: Arc::new(Memory {
            blocks: vec![persona(WRITER), human("")],
            material: Material { pieces: told.clone(), joiner: "\n", keep: Keep::Last },
            ..Memory::default()
        }),
        messages: messages.collect(),
        baseline: Baseline {
            before: "These are facts that you were told:\n".into(),
            after: format!("\n\n{}", asked.question),
            alone: asked.question.clone(),
            query: String::new(),
        },
        gold: gold(&asked.answer, vec![asked.answer.clone()], Some(edit)),
        tasks: Vec::new(),
    }
}

fn labels(kind: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("kind".into(), kind.into())])
}

fn message(text: &str) -> UserMessage {
    UserMessage { text: text.into(), after_reset: false }
}

fn after_reset(text: &str) -> UserMessage {
    UserMessage { text: text.into(), after_reset: true }
}

fn evidence(facts: &[String], asked: &Asked) -> Vec<String> {
    asked.supporting.iter().filter_map(|place| facts.get(*place).cloned()).collect()
}

fn gold(answer: &str, evidence: Vec<String>, edit: Option<EditGold>) -> Gold {
    Gold {
        metric: Metric::Contains,
        answers: vec![answer.into()],
        decoys: Vec::new(),
        evidence,
        tier: Tier::WorkingContext,
        edit,
    }
}

fn numbered(facts: &[String]) -> Vec<String> {
    (1..).zip(facts).map(|(number, fact)| format!("{number}. {fact}")).collect()
}

fn held(facts: &[String]) -> Memory {
    let lines = numbered(facts);
    let block = Block {
        label: BLOCK.into(),
        description: "facts that answer the user's questions".into(),
        value: lines.join("\n"),
        limit_chars: BLOCK_CHARS,
        read_only: false,
    };
    Memory {
        blocks: vec![persona(PERSONA), block],
        material: Material { pieces: lines, joiner: "\n", keep: Keep::First },
        ..Memory::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_that_answers_in_other_words_is_right_too() {
        let change = |fact: &str, answer: &str| Change { fact: fact.into(), answer: answer.into() };
        assert_eq!(answers_of(&change("Bo knits.", "Bo")), ["Bo"]);
        let fact = "Bo has never knitted; instead, Cy knits";
        let expected = ["He does not knit.", fact, "Bo has never knitted"];
        assert_eq!(answers_of(&change(fact, "He does not knit.")), expected);
    }

    fn facts() -> Vec<String> {
        ["Ada paints.", "Bo sails.", "Cy cooks.", "Di sings.", "Ed runs.", "Flo knits."]
            .map(String::from)
            .to_vec()
    }

    fn asked() -> Asked {
        Asked { question: "Who cooks?".into(), answer: "Cy".into(), supporting: vec![2] }
    }

    #[test]
    fn a_block_counts_its_facts_from_one() {
        let case = read("0", &facts(), &asked());
        assert_eq!(case.memory.blocks[1].value.lines().nth(2), Some("3. Cy cooks."));
        assert_eq!(case.gold.evidence, ["Cy cooks."]);
        assert_eq!(case.gold.edit, None);
    }

    #[test]
    fn an_update_wants_the_contradicted_line_gone_and_the_others_kept() {
        let change = Change { fact: "Bo cooks.".into(), answer: "Bo".into() };
        let case = update("0", &facts(), &asked(), &change);
        let texts: Vec<(&str, bool)> =
            case.messages.iter().map(|one| (&*one.text, one.after_reset)).collect();
        let told = "Please update your knowledge with this new information: Bo cooks.";
        assert_eq!(texts, [(told, false), ("Who cooks?", true)]);
        let edit = case.gold.edit.unwrap();
        assert_eq!(
            (edit.old, edit.new),
            (vec!["3. Cy cooks.".to_string()], vec!["Bo".to_string()])
        );
        assert_eq!(edit.kept.len(), 5);
        assert_eq!(case.gold.decoys, ["Cy"]);
    }

    #[test]
    fn what_is_to_be_written_arrives_in_messages() {
        let late = Asked { supporting: vec![5], answer: "Flo".into(), ..asked() };
        let case = write("0", &facts(), &late);
        let texts: Vec<&str> = case.messages.iter().map(|one| &*one.text).collect();
        assert_eq!(texts, ["Ada paints.", "Bo sails.", "Cy cooks.", "Flo knits.", "Who cooks?"]);
        assert!(case.memory.blocks.iter().all(|block| !block.value.contains("Flo")));
    }
}
