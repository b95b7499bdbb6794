//! A little encyclopaedia of places and people that never were, and questions that need one article or two.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::people::{FIRST_NAMES, SURNAMES, TOWNS};
use super::{any, chance, shuffled, take};
use crate::memory::case::Case;
use crate::memory::tasks::doc_qa::{self, Question};

/// People in the encyclopaedia; there is an article on each town as well.
const N_PEOPLE: usize = 96;

/// The stream of chance that makes the encyclopaedia; its cases have the next one.
const STREAM: u64 = 4;

const RIVERS: &[&str] = &[
    "Alme",
    "Brisk",
    "Corve",
    "Dorn",
    "Esk Major",
    "Fallow",
    "Grune",
    "Hether",
    "Isk",
    "Jorne",
    "Kelder",
    "Lavant Minor",
    "Mersel",
    "Nadder",
    "Ock",
    "Pell",
    "Quill",
    "Rindle",
    "Swarth",
    "Tarrow",
    "Umber",
    "Vire Beck",
    "Wend",
    "Yarel",
];
const GOODS: &[&str] = &[
    "felt hats",
    "church bells",
    "smoked eel",
    "blue glass",
    "barometers",
    "rope",
    "quince jam",
    "wooden toys",
    "mill stones",
    "candles",
    "umbrellas",
    "saddles",
];
const WORKS: &[&str] = &[
    "painter",
    "astronomer",
    "cartographer",
    "composer",
    "engineer",
    "botanist",
    "physician",
    "sculptor",
    "clockmaker",
    "explorer",
    "poet",
    "printer",
];
const DEEDS: &[&str] = &[
    "a chart of the northern tides",
    "the first local telephone exchange",
    "a cure for vine rust",
    "an opera in four acts",
    "the astronomical clock of the town hall",
    "a bridge without a single nail",
    "a dictionary of fishermen's words",
    "a museum of knots",
    "a comet that bears the same name",
    "a school for the deaf",
    "a steam plough",
    "a herbarium of mosses",
];

struct Town {
    name: &'static str,
    river: &'static str,
    goods: &'static str,
    founded: u32,
    inhabitants: u32,
}

struct Person {
    name: String,
    work: &'static str,
    town: usize,
    born: u32,
    died: u32,
    deed: &'static str,
}

struct Encyclopaedia {
    towns: Vec<Town>,
    people: Vec<Person>,
}

impl Encyclopaedia {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let mut rivers = shuffled(RIVERS, rng);
        let towns: Vec<Town> = TOWNS
            .iter()
            .map(|name| Town {
                name,
                river: take(&mut rivers, rng),
                goods: any(GOODS, rng),
                founded: rng.random_range(1010..1690),
                inhabitants: 100 * rng.random_range(12..900),
            })
            .collect();
        let mut names: Vec<(&str, &str)> = FIRST_NAMES
            .iter()
            .flat_map(|first| SURNAMES.iter().map(move |last| (*first, *last)))
            .collect();
        let people = (0..N_PEOPLE)
            .map(|_| {
                let (first, last) = take(&mut names, rng);
                let born = rng.random_range(1705..1890);
                Person {
                    name: format!("{first} {last}"),
                    work: any(WORKS, rng),
                    town: rng.random_range(0..towns.len()),
                    born,
                    died: born + rng.random_range(38..91),
                    deed: any(DEEDS, rng),
                }
            })
            .collect();
        Self { towns, people }
    }

    fn town_article(&self, town: &Town) -> String {
        let Town { name, river, goods, founded, inhabitants } = town;
        format!(
            "{name}: {name} is a town on the river {river}. It was founded in {founded} and has about \
             {inhabitants} inhabitants. In the region it is known for its {goods}, which are sold at a market in \
             autumn."
        )
    }

    fn person_article(&self, person: &Person) -> String {
        let Person { name, work, town, born, died, deed } = person;
        let town = self.towns[*town].name;
        format!(
            "{name}: {name} (born {born} in {town}, died {died}) was a {work}. After years of travel came the \
             work that made the name known, {deed}. A street in {town} is named after the {work}."
        )
    }

    fn articles(&self, rng: &mut ChaCha8Rng) -> Vec<String> {
        let towns = self.towns.iter().map(|town| self.town_article(town));
        let people = self.people.iter().map(|person| self.person_article(person));
        let mut articles: Vec<String> = towns.chain(people).collect();
        articles.shuffle(rng);
        articles
    }

    /// A question on one article, or on two: a person's and that of the town.
    fn question(&self, rng: &mut ChaCha8Rng, hops: usize) -> (String, String, Vec<String>) {
        let person = &self.people[rng.random_range(0..self.people.len())];
        let town = &self.towns[person.town];
        let name = &person.name;
        let (text, answer, of) = match (hops, rng.random_range(0..4)) {
            (1, 0) => (format!("In which year was {name} born"), person.born.to_string(), 1),
            (1, 1) => (format!("In which year did {name} die"), person.died.to_string(), 1),
            (1, 2) => (format!("In which town was {name} born"), town.name.to_string(), 1),
            (1, _) => (format!("What was the profession of {name}"), person.work.to_string(), 1),
            (_, 0) => (
                format!("On which river is the town where {name} was born"),
                town.river.to_string(),
                2,
            ),
            (_, 1) => (
                format!("When was the town founded in which {name} was born"),
                town.founded.to_string(),
                2,
            ),
            (_, 2) => (
                format!("How many inhabitants has the town where {name} was born"),
                town.inhabitants.to_string(),
                2,
            ),
            (_, _) => (
                format!("What is the birthplace of {name} known for in the region"),
                town.goods.to_string(),
                2,
            ),
        };
        let evidence = match of {
            1 => vec![self.person_article(person)],
            _ => vec![self.person_article(person), self.town_article(town)],
        };
        (text, answer, evidence)
    }
}

/// Makes cases on one encyclopaedia, of one article and of two in turn.
pub(crate) fn cases(seed: u64) -> impl Iterator<Item = Case> {
    let mut rng = chance(seed, STREAM, 0);
    let encyclopaedia = Encyclopaedia::new(&mut rng);
    let memory = doc_qa::memory(&encyclopaedia.articles(&mut rng));
    (0..).map(move |number| {
        let hops = 1 + number % 2;
        let mut rng = chance(seed, STREAM + 1, number);
        let (text, answer, evidence) = encyclopaedia.question(&mut rng, hops);
        let question = Question {
            id: format!("article-{seed}-{number}"),
            labels: BTreeMap::from([("articles".into(), hops.to_string())]),
            text,
            answers: vec![answer],
            options: Vec::new(),
            evidence,
        };
        doc_qa::case(question, &memory)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(seed: u64, n: usize) -> Vec<Case> {
        cases(seed).take(n).collect()
    }

    #[test]
    fn the_answer_is_in_the_last_article_that_must_be_read() {
        for case in some(2, 80) {
            let held: Vec<&str> =
                case.memory.passages.iter().map(|passage| &*passage.text).collect();
            assert!(case.gold.evidence.iter().all(|text| held.contains(&text.as_str())));
            let (last, others) = case.gold.evidence.split_last().unwrap();
            assert!(last.contains(&case.gold.answers[0]), "{last}");
            assert!(!others.iter().any(|text| text.contains(&case.gold.answers[0])), "{others:?}");
            assert_eq!(case.labels["articles"], case.gold.evidence.len().to_string());
        }
    }

    #[test]
    fn a_case_depends_on_its_seed_and_number_alone() {
        let texts = |seed, n| -> Vec<String> {
            some(seed, n).into_iter().map(|case| case.messages[0].text.clone()).collect()
        };
        assert_eq!(texts(7, 4), texts(7, 20)[..4]);
        assert_ne!(texts(7, 4), texts(8, 4));
        assert_eq!(some(7, 1)[0].memory.passages.len(), N_PEOPLE + TOWNS.len());
    }
}
