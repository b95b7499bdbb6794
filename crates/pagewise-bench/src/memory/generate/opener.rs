//! Users who told things about themselves amid small talk: the conversations of deep memory retrieval, one
//! at a time. No human wrote an opener for them.

use super::chance;
use super::dmr::{Length, conversations};
use crate::memory::case::Case;
use crate::memory::tasks::opener::{self, Acquaintance, facts_of_user};

/// How long a conversation is: an agent gets to know a user in less than what fills its window.
const LENGTH: Length = Length { sessions: 4, turns_each: 6, sentences: 1 };

/// Makes cases: one for each conversation.
pub(crate) fn cases(seed: u64) -> impl Iterator<Item = Case> {
    (0..).flat_map(move |group| {
        let conversations = conversations(LENGTH, &mut chance(seed, 9, group));
        let acquaintances: Vec<Acquaintance> = conversations
            .into_iter()
            .map(|conversation| {
                let noted = facts_of_user(&conversation);
                Acquaintance { facts: noted.clone(), noted, conversation, human: None }
            })
            .collect();
        opener::cases(&format!("talk-{seed}-{group}"), &acquaintances)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_known_of_a_user_is_known_of_no_other() {
        let cases: Vec<Case> = cases(2).take(12).collect();
        for case in &cases {
            assert_eq!((case.gold.answers.len(), case.gold.decoys.len()), (6, 6), "{case:?}");
            let facts: HashSet<&String> = case.gold.answers.iter().collect();
            assert!(case.gold.decoys.iter().all(|decoy| !facts.contains(decoy)));
            let is_noted = case.labels["facts"] == "noted";
            let block = &case.memory.blocks[1].value;
            assert_eq!(case.gold.answers.iter().all(|fact| block.contains(fact)), is_noted);
        }
    }

    #[test]
    fn a_case_depends_on_its_seed_and_number_alone() {
        let texts = |seed, n| -> Vec<String> {
            cases(seed).take(n).map(|case| format!("{:?}", case.memory)).collect()
        };
        assert_eq!(texts(7, 3), texts(7, 10)[..3]);
        assert_ne!(texts(7, 3), texts(8, 3));
    }
}
