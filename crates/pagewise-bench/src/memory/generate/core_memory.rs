//! Facts about invented people, questions about them, and facts that contradict them.

use rand::RngExt;
use rand::seq::SliceRandom;

use super::people::{FIRST_NAMES, SURNAMES, TOWNS};
use super::{chance, shuffled, take};
use crate::memory::case::Case;
use crate::memory::tasks::core_memory::{Asked, Change, read, update, write};

/// Facts in a block, as in the public sets.
const N_FACTS: usize = 10;

/// Something that is known of a person; `{n}` is the name, `{}` the word that may change.
struct Kind {
    fact: &'static str,
    question: &'static str,
    change: &'static str,
    words: &'static [&'static str],
}

const fn kind(
    fact: &'static str,
    question: &'static str,
    change: &'static str,
    words: &'static [&'static str],
) -> Kind {
    Kind { fact, question, change, words }
}

const KINDS: [Kind; 10] = [
    kind(
        "{n} earns a living as a {}.",
        "What does {n} do for a living?",
        "{n} has changed jobs and now earns a living as a {}.",
        &["locksmith", "violin maker", "midwife", "land surveyor", "pastry chef", "glazier"],
    ),
    kind(
        "{n} lives in the town of {}.",
        "Which town does {n} live in?",
        "{n} has moved to the town of {}.",
        TOWNS,
    ),
    kind(
        "{n} keeps a {} as a pet.",
        "Which animal does {n} keep?",
        "The pet that {n} keeps is a {}, and nothing else.",
        &["tortoise", "ferret", "parakeet", "hedgehog", "goat", "iguana"],
    ),
    kind(
        "{n} plays the {} in the town band.",
        "Which instrument does {n} play in the town band?",
        "In the town band {n} now plays the {}.",
        &["tuba", "clarinet", "cymbals", "bassoon", "cornet", "triangle"],
    ),
    kind(
        "{n} cannot eat {} because of an allergy.",
        "What can {n} not eat?",
        "It turned out that the allergy of {n} is to {}, not to what was thought.",
        &["walnuts", "shellfish", "celery", "strawberries", "eggs", "sesame"],
    ),
    kind(
        "{n} drives a {} delivery van.",
        "What colour is the delivery van that {n} drives?",
        "The delivery van of {n} was painted and is {} from now on.",
        &["turquoise", "crimson", "mustard", "violet", "silver", "olive"],
    ),
    kind(
        "{n} was born in {}.",
        "In which month was {n} born?",
        "A birth certificate shows that {n} was born in {}.",
        &["January", "April", "July", "September", "November", "December"],
    ),
    kind(
        "{n} studies {} at evening school.",
        "What does {n} study at evening school?",
        "At evening school {n} has dropped that subject and studies {}.",
        &["Icelandic", "botany", "bookkeeping", "astronomy", "Latin", "carpentry"],
    ),
    kind(
        "{n} meets the chess club every {}.",
        "On which day does {n} meet the chess club?",
        "The chess club of {n} now meets every {}.",
        &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"],
    ),
    kind(
        "{n} is married to {}.",
        "Who is {n} married to?",
        "{n} was divorced and is now married to {}.",
        FIRST_NAMES,
    ),
];

/// Makes cases: reading, updating and writing in turn, each set of three with facts of its own.
pub(crate) fn cases(seed: u64) -> impl Iterator<Item = Case> {
    (0..).flat_map(move |number| three(seed, number))
}

fn three(seed: u64, number: usize) -> [Case; 3] {
    let mut rng = chance(seed, 3, number);
    let mut first = shuffled(FIRST_NAMES, &mut rng);
    let mut last = shuffled(SURNAMES, &mut rng);
    // Two facts about each of five people.
    let people: Vec<String> = (0..N_FACTS / 2)
        .map(|_| format!("{} {}", take(&mut first, &mut rng), take(&mut last, &mut rng)))
        .collect();
    let mut kinds: Vec<&Kind> = KINDS.iter().collect();
    kinds.shuffle(&mut rng);
    // No word is in two facts, so that an answer names one of them. Names of people are no answers.
    let mut used: Vec<&str> = Vec::new();
    let mut word = |kind: &Kind, rng: &mut _| {
        let of_people = |word: &str| people.iter().any(|name| name.starts_with(word));
        let mut words = shuffled(kind.words, rng);
        words.retain(|word| !used.contains(word) && !of_people(word));
        let word = take(&mut words, rng);
        used.push(word);
        word
    };
    let fill =
        |text: &str, person: &str, word: &str| text.replace("{n}", person).replace("{}", word);
    let stated: Vec<(usize, &Kind, &str)> = kinds
        .into_iter()
        .enumerate()
        .map(|(at, kind)| (at % people.len(), kind, word(kind, &mut rng)))
        .collect();
    let facts: Vec<String> =
        stated.iter().map(|(person, kind, word)| fill(kind.fact, &people[*person], word)).collect();
    let place = rng.random_range(0..stated.len());
    let (person, kind, answer) = stated[place];
    let changed = word(kind, &mut rng);
    let asked = Asked {
        question: fill(kind.question, &people[person], ""),
        answer: answer.into(),
        supporting: vec![place],
    };
    let change =
        Change { fact: fill(kind.change, &people[person], changed), answer: changed.into() };
    let id = format!("{seed}-{number}");
    [read(&id, &facts, &asked), update(&id, &facts, &asked, &change), write(&id, &facts, &asked)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(seed: u64, n: usize) -> Vec<Case> {
        cases(seed).take(n).collect()
    }

    #[test]
    fn an_answer_is_in_one_fact_and_the_new_one_in_none() {
        for cases in some(3, 150).chunks(3) {
            let [read, update, write] = cases else { panic!("three at a time") };
            let lines: Vec<&str> = read.memory.blocks[1].value.lines().collect();
            assert_eq!(lines.len(), N_FACTS);
            let holding = |answer: &str| lines.iter().filter(|line| line.contains(answer)).count();
            assert_eq!(holding(&read.gold.answers[0]), 1, "{lines:?}");
            assert_eq!(holding(&update.gold.answers[0]), 0, "{lines:?}");
            assert!(update.messages[0].text.contains(&update.gold.answers[0]));
            assert_eq!(write.gold.answers, read.gold.answers);
            let n_telling = write
                .messages
                .iter()
                .filter(|one| one.text.contains(&write.gold.answers[0]))
                .count();
            assert_eq!(n_telling, 1, "{:?}", write.messages);
            assert!(!read.messages[0].text.contains('{'), "{}", read.messages[0].text);
        }
    }

    #[test]
    fn a_case_depends_on_its_seed_and_number_alone() {
        let texts = |seed, n| -> Vec<String> {
            some(seed, n).into_iter().map(|case| case.messages[0].text.clone()).collect()
        };
        assert_eq!(texts(7, 4), texts(7, 20)[..4]);
        assert_ne!(texts(7, 4), texts(8, 4));
    }
}
