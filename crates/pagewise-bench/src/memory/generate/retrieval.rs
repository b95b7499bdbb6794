//! Notes to search: many alike, that differ in a name and a word; orders with a number each; and remarks that
//! are asked for in quite other words.

use std::collections::{BTreeMap, HashSet};

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::lives::TRAITS;
use super::people::{FIRST_NAMES, SURNAMES, TOWNS};
use super::{any, chance, take};
use crate::memory::case::Tier;
use crate::memory::retrieval::{Corpus, Query, SearchSet, of_half};

/// People, each with all traits: the notes.
const PEOPLE: usize = 60;

/// Orders, each with a number.
const ORDERS: usize = 200;

/// Notes and orders that are asked for.
const ASKED: usize = 60;

const GOODS: &[&str] =
    &["a crate of lamps", "two bolts of linen", "a pump", "six chairs", "a kiln", "a telescope"];

/// A remark, and a query that has none of its telling words.
const REMARKS: [(&str, &str); 24] = [
    ("The vet says that the dog must lose two kilos.", "overweight pet"),
    ("Our train was cancelled and we slept in the station.", "delayed journey by rail"),
    ("My grandmother still bakes on a wood fire.", "old relative's way of making bread"),
    ("The roof leaks whenever a storm comes from the west.", "house lets rain in"),
    ("I failed the piano exam for the second time.", "unsuccessful music test"),
    ("The twins started kindergarten on Monday.", "children's first day of school"),
    ("He proposed to her on top of the lighthouse.", "engagement of a couple"),
    ("The doctor put my wrist in plaster.", "broken arm"),
    ("We sold the car and bought two bicycles.", "giving up driving"),
    ("She was promoted to head of the laboratory.", "career success of a scientist"),
    ("The well has been dry since the spring.", "lack of water"),
    ("They are expecting a baby around Christmas.", "pregnant friends"),
    ("My savings went into that failed restaurant.", "losing money in business"),
    ("I cannot sleep because of the neighbour's drums.", "noise at night"),
    ("The hens stopped laying when the fox came.", "poultry without eggs"),
    ("We got lost in the fog above the tree line.", "hikers who could not find their way"),
    ("The choir needs two more tenors before Easter.", "looking for male singers"),
    ("I became allergic to pollen in my thirties.", "hay fever as an adult"),
    ("Her paintings will hang in the town hall.", "exhibition by an artist"),
    ("My passport ran out a week before the flight.", "expired travel document"),
    ("He quit smoking on his fiftieth birthday.", "no more cigarettes"),
    ("A thief took the silver while we were away.", "burglary at home"),
    ("The soup was so salty that nobody ate it.", "a meal that went wrong"),
    ("I retire in June after forty years as a nurse.", "end of working life in a hospital"),
];

/// Makes the set.
pub(crate) fn set(seed: u64) -> SearchSet {
    let rng = &mut chance(seed, 10, 0);
    let mut documents = Vec::new();
    let mut asked: Vec<(&str, String, usize)> = Vec::new();
    let names = names(rng);
    for name in &names {
        for one in &TRAITS {
            let said = one.said.replace("{}", any(one.words, rng));
            asked.push(("words", one.of_another.replace("{}", name), documents.len()));
            documents.push(format!("{name} said: {said}"));
        }
    }
    asked.shuffle(rng);
    asked.truncate(ASKED);
    let mut codes = HashSet::new();
    let mut orders = Vec::new();
    for _ in 0..ORDERS {
        let code = code(&mut codes, rng);
        let (name, town, goods) =
            (&names[rng.random_range(0..PEOPLE)], any(TOWNS, rng), any(GOODS, rng));
        orders.push(("identifier", code.clone(), documents.len()));
        documents.push(format!("Order {code}: {goods} for {name}, to be sent to {town}."));
    }
    orders.shuffle(rng);
    orders.truncate(ASKED);
    asked.extend(orders);
    for (remark, query) in REMARKS {
        asked.push(("meaning", query.into(), documents.len()));
        documents.push(remark.into());
    }
    asked.shuffle(rng);
    let n = asked.len();
    let queries = asked.into_iter().enumerate().map(|(number, (kind, text, place))| Query {
        text,
        gold: vec![place],
        labels: BTreeMap::from([("kind".into(), kind.into()), of_half(number, n)]),
    });
    SearchSet {
        source: "generated".into(),
        tier: Tier::Archival,
        corpora: vec![Corpus { queries: queries.collect(), documents }],
        has_identifiers: true,
        is_generated: true,
    }
}

fn names(rng: &mut ChaCha8Rng) -> Vec<String> {
    let mut names: Vec<(&str, &str)> = FIRST_NAMES
        .iter()
        .flat_map(|first| SURNAMES.iter().map(move |last| (*first, *last)))
        .collect();
    (0..PEOPLE)
        .map(|_| {
            let (first, last) = take(&mut names, rng);
            format!("{first} {last}")
        })
        .collect()
}

/// A number that no other order has.
fn code(codes: &mut HashSet<String>, rng: &mut ChaCha8Rng) -> String {
    loop {
        let mut letter = || char::from(b'A' + rng.random_range(0..26_u8));
        let (first, second) = (letter(), letter());
        let code = format!(
            "{first}{second}-{:04}-{}",
            rng.random_range(0..10_000),
            rng.random_range(1..10)
        );
        if codes.insert(code.clone()) {
            return code;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::words::{is_telling, stem, words};

    #[test]
    fn each_query_has_one_document_that_answers_it() {
        let set = set(3);
        let corpus = &set.corpora[0];
        let texts: HashSet<&String> = corpus.documents.iter().collect();
        assert_eq!(texts.len(), corpus.documents.len());
        assert!(corpus.documents.len() > 1000);
        for query in &corpus.queries {
            let document = &corpus.documents[query.gold[0]];
            let stems = |text: &str| -> HashSet<String> {
                words(text).iter().filter(|word| is_telling(word)).map(|word| stem(word)).collect()
            };
            let n_shared = stems(&query.text).intersection(&stems(document)).count();
            match &*query.labels["kind"] {
                "identifier" => {
                    let with = corpus.documents.iter().filter(|text| text.contains(&query.text));
                    assert_eq!(with.count(), 1, "{}", query.text);
                }
                "meaning" => assert_eq!(n_shared, 0, "{} / {document}", query.text),
                _ => assert!(n_shared >= 2, "{} / {document}", query.text),
            }
        }
    }

    #[test]
    fn a_set_depends_on_its_seed() {
        let texts = |seed| format!("{:?}", set(seed).corpora);
        assert_eq!(texts(5), texts(5));
        assert_ne!(texts(5), texts(6));
    }
}
