//! Document question answering (MemGPT paper, section 3.2.1), over a closed corpus.
//!
//! The paper searched the passages of all Wikipedia; here the corpus is the passages of the data set, so that
//! the figures are not the paper's. Persona and messages are those of its code. A reply is right if its answer
//! field, or all of it if it has none, holds an answer, both in SQuAD's normal form; `anywhere` looks at the
//! quoted document as well, as the paper's first test did. Where a question has options, its answer field must
//! name one of them, and the right one; what is searched for is the question without them.
//!
//! Answers are often in the weights: `no-memory` is the closed book, and belongs beside every figure.
//! `retrieval` has the same search as the agent, once, with the question as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{human, persona};
use crate::memory::case::{
    Baseline, Case, Gold, HeldPassage, Keep, Material, Memory, Metric, Tier, UserMessage,
};

const PERSONA: &str = "You are MemGPT DOC-QA bot. Your job is to answer questions about documents that are stored \
    in your archival memory. The answer to the users question will ALWAYS be in your archival memory, so remember \
    to keep searching if you can't find the answer. Answer the questions as if though the year is 2018.";

const HUMAN: &str =
    "The user will ask you questions about documents. Answer them to the best of your ability.";

const REQUEST: &str = "Search your archival memory to answer the provided question. Provide both the answer and the \
    archival memory result from which you determined your answer. Format your response with the format 'ANSWER: <YOUR \
    ANSWER>, DOCUMENT: <ARCHIVAL MEMORY TEXT>. Your task is to answer the question: ";

const BASELINE: &str = "Answer the question provided according to the list of documents below (some of which might be \
    irrelevant. In your response, provide both the answer and the document text from which you determined the answer. \
    Format your response with the format 'ANSWER: <YOUR ANSWER>, DOCUMENT: <DOCUMENT TEXT>'. If none of the documents \
    provided have the answer to the question, reply with 'INSUFFICIENT INFORMATION'. Do NOT provide an answer if you \
    cannot find it in the provided documents. Your response will only be considered correct if you provide both the \
    answer and relevant document text, or say 'INSUFFICIENT INFORMATION'.Answer the question as if though the current \
    year is 2018.";

const CLOSED_BOOK: &str =
    "Answer the question as if though the current year is 2018. Give only the answer.";

const CHOOSE: &str = "Answer with the letter of the right option.";

/// A question about passages.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) id: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) text: String,
    pub(crate) answers: Vec<String>,
    /// Of which one is the answer, each with its letter before it; empty if the answer is in free words.
    pub(crate) options: Vec<String>,
    /// The passages that one must have read; empty if that is not known.
    pub(crate) evidence: Vec<String>,
}

/// Makes what memory holds of passages.
pub(crate) fn memory(passages: &[String]) -> Arc<Memory> {
    Arc::new(Memory {
        blocks: vec![persona(PERSONA), human(HUMAN)],
        passages: passages
            .iter()
            .map(|text| HeldPassage { text: text.clone(), source: None })
            .collect(),
        material: Material {
            pieces: passages.iter().map(|text| format!("Document: {text}")).collect(),
            joiner: "\n",
            keep: Keep::Best,
        },
        ..Memory::default()
    })
}

/// Makes the case of a question.
pub(crate) fn case(question: Question, memory: &Arc<Memory>) -> Case {
    let Question { id, labels, text, answers, options, evidence } = question;
    let (asked, query) = match options.is_empty() {
        true => {
            let asked = format!("{}?", text.trim_end_matches(['?', ' ']));
            (asked.clone(), asked)
        }
        false => (format!("{text}\n{}\n{CHOOSE}", options.join("\n")), text),
    };
    let metric = if options.is_empty() { Metric::Subspan } else { Metric::Choice };
    let decoys = options.into_iter().filter(|option| !answers.contains(option)).collect();
    Case {
        id,
        labels,
        memory: Arc::clone(memory),
        messages: vec![UserMessage { text: format!("{REQUEST}{asked}"), after_reset: false }],
        baseline: Baseline {
            before: format!("{BASELINE}\n\n"),
            after: format!("\n\nQuestion: {asked}"),
            alone: format!("{CLOSED_BOOK}\n\nQuestion: {asked}"),
            query,
        },
        gold: Gold { metric, answers, decoys, evidence, tier: Tier::Archival, edit: None },
        tasks: Vec::new(),
    }
}
