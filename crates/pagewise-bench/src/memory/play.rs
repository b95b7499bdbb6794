//! Games without an agent: each task is a prompt of its own, with what was told before it.

use super::arm::{Answered, Answering, Arm, kept, one_turn, with_pieces};
use super::case::{Case, Keep};
use super::error::MemoryBenchError;
use super::failure::{evidence_share, has_evidence};
use super::game::part;
use super::record::{EventRecord, PromptRecord};

impl Answering<'_> {
    /// Answers the tasks of a game, one after the other.
    pub(crate) fn play(
        &mut self,
        case: &Case,
        answered: &mut Answered,
    ) -> Result<(), MemoryBenchError> {
        let heard = &case.memory.heard;
        let is_new = |place: &usize| heard.get(*place).is_some_and(|texts| !texts.is_empty());
        let mut told: Vec<&str> = Vec::new();
        let mut first = 0;
        while first < case.tasks.len() {
            told.extend(heard.get(first).into_iter().flatten().map(String::as_str));
            let next = (first + 1..case.tasks.len()).find(is_new).unwrap_or(case.tasks.len());
            let tasks: Vec<Case> = (first..next).filter_map(|number| part(case, number)).collect();
            // The same for all tasks of a stop, so that what they have in common is read once.
            let mut n_kept = told.len();
            for task in &tasks {
                n_kept = n_kept.min(match self.settings.arm {
                    Arm::NoMemory => 0,
                    _ => self.n_fitting(task, &told, Keep::Last)?,
                });
            }
            for task in &tasks {
                let prompt = match self.settings.arm {
                    Arm::NoMemory => one_turn(&task.baseline.alone),
                    _ => with_pieces(task, kept(&told, n_kept, Keep::Last)),
                };
                let text = std::slice::from_ref(&prompt.messages[0].content);
                let record = PromptRecord {
                    n_pieces: n_kept,
                    n_pieces_all: told.len(),
                    tokens: self.lender.count_tokens(&prompt)?,
                    has_evidence: has_evidence(&task.gold, text),
                    evidence_share: evidence_share(&task.gold, text),
                };
                let reply = self.reply(&prompt, None, answered)?;
                answered.events.push(EventRecord {
                    replies: vec![reply],
                    prompt: Some(record),
                    ..EventRecord::default()
                });
                if answered.is_cancelled {
                    return Ok(());
                }
            }
            first = next;
        }
        Ok(())
    }
}
