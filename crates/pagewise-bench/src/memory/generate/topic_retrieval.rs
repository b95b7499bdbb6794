//! A long conversation about one topic after another.

use rand_chacha::ChaCha8Rng;

use super::{any, chance, shuffled};
use crate::memory::case::{Case, PastTurn, Speaker};
use crate::memory::tasks::topic_retrieval::{self, Asked};

/// Topics of a conversation.
const N_TOPICS: usize = 14;

/// Questions about each conversation: the topics that were the first.
const N_QUESTIONS: usize = 3;

/// What is said about a topic after it was named, by each of the two.
const EXCHANGES: usize = 5;

const TOPICS: &[&str] = &[
    "the history of lighthouses",
    "the art of baking bread",
    "the migration of storks",
    "the invention of the telescope",
    "the restoration of old books",
    "the rules of lawn bowls",
    "the ecology of peat bogs",
    "the language of bees",
    "the design of bicycles",
    "the making of paper",
    "the music of the fjords",
    "the life of hermit crabs",
    "the building of stone walls",
    "the trade in spices",
    "the physics of kites",
    "the psychology of queues",
    "the care of fruit trees",
    "the future of ferries",
    "the folklore of mountains",
    "the chemistry of glazes",
    "the economics of small shops",
    "the taming of rivers",
    "the breeding of sheep",
    "the science of sleep",
    "the story of the umbrella",
    "the cultivation of mushrooms",
    "the sound of church organs",
    "the planning of new towns",
];

const ASKS: &[&str] = &[
    "What do beginners usually get wrong about it, and how could they find out sooner?",
    "Could you tell me where all of this began, and who took it up afterwards?",
    "I have read that experts disagree here. What are the two sides, in a few sentences?",
    "How has it changed in the last fifty years, and was that for the better?",
    "Is there a place that one should visit to see it with one's own eyes?",
    "Which tools or which knowledge does one need before one starts?",
    "Are there any myths about it that will not die out?",
    "What would you ask a person who has spent a whole life on it?",
    "Does the time of the year make any difference?",
    "What does it cost, roughly, and who pays for it in the end?",
];

const TELLS: &[&str] = &[
    "That is a good question. Most people learn it by doing, and the books come later. A patient neighbour is worth \
     more than a course, because mistakes are seen at once.",
    "It began modestly, in a few villages, and spread when roads became better. Some names are remembered, but most of \
     the work was done by people nobody wrote about.",
    "There are indeed two opinions. One side trusts measurements alone, the other says that experience counts for more. \
     Both have been right at times, which keeps the quarrel going.",
    "A great deal has changed. It became faster and cheaper, and some of its charm was lost on the way. Lately there is \
     a movement back to the older methods.",
    "I would begin small. A notebook, a free afternoon and some curiosity are enough; everything else can be borrowed at \
     first.",
    "The best known story about it is not true, I am afraid. It was made up for a newspaper a hundred years ago, and has \
     been copied ever since.",
    "In spring there is the most to see, but those who know it well prefer the quiet months. Then one can talk to the \
     people who do the work.",
    "The costs are shared by many, so that hardly anyone notices them. Where that is not so, it has mostly died out.",
];

/// Makes cases: three about each conversation.
pub(crate) fn cases(seed: u64) -> impl Iterator<Item = Case> {
    (0..).flat_map(move |number| about_one(seed, number))
}

fn about_one(seed: u64, number: usize) -> Vec<Case> {
    let mut rng = chance(seed, 6, number);
    let topics: Vec<&str> = shuffled(TOPICS, &mut rng).into_iter().take(N_TOPICS).collect();
    let memory = topic_retrieval::memory(&conversation(&topics, &mut rng));
    (1..=N_QUESTIONS)
        .map(|position| {
            let ordinal = ["first", "second", "third"][position - 1];
            let question = format!(
                "What was the {ordinal} topic that we discussed? Give me only the name of the topic."
            );
            let topic = topics[position - 1].to_string();
            let id = format!("topics-{seed}-{number}-{position}");
            topic_retrieval::case(id, &Asked { question, topic, position }, &memory)
        })
        .collect()
}

fn conversation(topics: &[&str], rng: &mut ChaCha8Rng) -> Vec<PastTurn> {
    let user = |text: String| PastTurn { speaker: Speaker::User, text };
    let assistant = |text: &str| PastTurn { speaker: Speaker::Assistant, text: text.into() };
    let mut turns = Vec::new();
    for topic in topics {
        turns.push(user(format!("Now I would like to discuss {topic} with you.")));
        turns.push(assistant("With pleasure! What would you like to know?"));
        for _ in 0..EXCHANGES {
            turns.push(user(any(ASKS, rng).into()));
            turns.push(assistant(any(TELLS, rng)));
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(seed: u64, n: usize) -> Vec<Case> {
        cases(seed).take(n).collect()
    }

    #[test]
    fn the_answer_is_named_once_at_its_place() {
        for case in some(1, 9) {
            let topic = &case.gold.answers[0];
            let turns = &case.memory.sessions[0].turns;
            let named: Vec<usize> =
                (0..turns.len()).filter(|at| turns[*at].text.contains(topic.as_str())).collect();
            let position: usize = case.labels["position"].parse().unwrap();
            assert_eq!(named, [(position - 1) * (2 + 2 * EXCHANGES)], "{topic}");
            assert_eq!(case.gold.evidence, [turns[named[0]].text.clone()]);
        }
    }

    #[test]
    fn a_case_depends_on_its_seed_and_number_alone() {
        let answers = |seed, n| -> Vec<String> {
            some(seed, n).into_iter().map(|case| case.gold.answers[0].clone()).collect()
        };
        assert_eq!(answers(7, 4), answers(7, 20)[..4]);
        assert_ne!(answers(7, 4), answers(8, 4));
    }
}
