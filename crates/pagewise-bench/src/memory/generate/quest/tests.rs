use std::collections::BTreeMap;

use super::*;
use crate::memory::score::answers;

fn some(seed: u64, n: usize) -> Vec<Case> {
    cases(seed).take(n).collect()
}

/// A player who remembers every sentence and knows nothing else.
#[derive(Default)]
struct Player {
    /// Where each thing was seen last; no room while the guide has it.
    places: BTreeMap<String, Option<String>>,
    wishes: BTreeMap<String, String>,
    doors: BTreeMap<String, Vec<String>>,
    /// What was seen in each room at the last visit.
    lay: BTreeMap<String, Vec<String>>,
    missed: BTreeMap<String, Vec<String>>,
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let from = text.find(before)? + before.len();
    Some(&text[from..from + text[from..].find(after)?])
}

impl Player {
    fn hear(&mut self, turn: &str) {
        if let Some(room) =
            between(turn, "into the ", ".").or_else(|| between(turn, "begins in the ", "."))
        {
            if let Some(from) = between(turn, "From the ", " you go") {
                self.doors.entry(room.into()).or_default().push(from.into());
                self.doors.entry(from.into()).or_default().push(room.into());
            }
            let here: Vec<String> = between(turn, " you see ", ".")
                .map(|list| list.replace(" and ", ", "))
                .iter()
                .flat_map(|list| list.split(", "))
                .map(|thing| thing.trim_start_matches("the ").to_string())
                .collect();
            for thing in self.lay.insert(room.into(), here.clone()).unwrap_or_default() {
                if !here.contains(&thing) {
                    self.missed.entry(room.into()).or_default().push(thing);
                }
            }
            self.places.extend(here.into_iter().map(|thing| (thing, Some(room.to_string()))));
        }
        let Some(room) = between(turn, "In the ", " your guide") else {
            if let (Some(said), Some(person)) =
                (turn.split('"').nth(1), between(turn, "In the ", " says to you"))
            {
                let person = person.rsplit(' ').next().unwrap();
                self.wishes.insert(said.into(), person.into());
            }
            return;
        };
        if let Some(thing) = between(turn, "picks up the ", " and takes") {
            self.lay.get_mut(room).unwrap().retain(|other| other != thing);
            self.places.insert(thing.into(), None);
        }
        if let Some(rest) = between(turn, "lays down the ", ".") {
            // A thing has two words, the place where it is laid down follows.
            let thing = rest.split(' ').take(2).collect::<Vec<_>>().join(" ");
            self.lay.get_mut(room).unwrap().push(thing.clone());
            self.places.insert(thing, Some(room.into()));
        }
    }

    fn answer(&self, kind: &str, text: &str) -> String {
        match kind {
            "place" | "moved" => {
                let thing = between(text, "Where is the ", " now").unwrap();
                self.places[thing].clone().unwrap()
            }
            "wish" => {
                let wish = between(text, "you find a ", ".").unwrap();
                let of_it: Vec<&String> = (self.wishes.iter())
                    .filter(|(said, _)| said.contains(wish))
                    .map(|(_, person)| person)
                    .collect();
                assert_eq!(of_it.len(), 1, "{wish}");
                of_it[0].clone()
            }
            "way" => {
                let from = between(text, "from the ", " to the").unwrap();
                let to = between(text, " to the ", ".").unwrap();
                let both = self.doors[from].iter().filter(|room| self.doors[to].contains(room));
                let both: HashSet<&String> = both.collect();
                assert_eq!(both.len(), 1, "{from} {to}");
                (*both.iter().next().unwrap()).clone()
            }
            _ => {
                let room = between(text, "lay in the ", " when").unwrap();
                assert_eq!(self.missed[room].len(), 1, "{room}");
                self.missed[room][0].clone()
            }
        }
    }
}

#[test]
fn every_task_is_answered_by_what_was_told_before() {
    for case in [some(1, 4), some(2, 4)].concat() {
        let mut player = Player::default();
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, task) in case.tasks.iter().enumerate() {
            case.memory.heard[number].iter().for_each(|turn| player.hear(turn));
            let kind = task.labels["kind"].as_str();
            let reply = player.answer(kind, &case.messages[number].text);
            assert!(answers(&task.gold, &reply), "{kind}: {reply}, not {:?}", task.gold.answers);
            let told: Vec<&String> = case.memory.heard[..=number].iter().flatten().collect();
            assert!(task.gold.evidence.iter().all(|turn| told.contains(&turn)));
            *kinds.entry(kind).or_default() += 1;
        }
        assert_eq!(case.labels["rooms"], "50");
        assert_eq!(case.tasks.len(), 4 * WINGS, "{kinds:?}");
        assert!(kinds.values().all(|n| *n == 4), "{kinds:?}");
    }
}

#[test]
fn a_guess_is_hardly_ever_right() {
    let mut rng = chance(9, 0, 0);
    let (mut n, mut n_right, mut n_listed) = (0, 0, 0);
    for case in some(3, 20) {
        for task in &case.tasks {
            let names: Vec<&String> = task.gold.answers.iter().chain(&task.gold.decoys).collect();
            n += 1;
            n_right += usize::from(answers(&task.gold, names[rng.random_range(0..names.len())]));
            // Who names several has not remembered.
            n_listed += usize::from(answers(&task.gold, &format!("{} or {}", names[0], names[1])));
        }
    }
    assert!(n_right * 20 < n, "{n_right} of {n}");
    assert_eq!(n_listed, 0);
}

#[test]
fn what_must_be_remembered_is_of_all_ages() {
    let mut ages: BTreeMap<String, usize> = BTreeMap::new();
    let mut n_chars = 0;
    let games = some(5, 8);
    for case in &games {
        n_chars += case.memory.material.pieces.iter().map(String::len).sum::<usize>();
        for task in &case.tasks {
            *ages.entry(task.labels["age"].clone()).or_default() += 1;
        }
    }
    let n: usize = ages.values().sum();
    assert_eq!(ages.len(), 4, "{ages:?}");
    assert!(ages.values().all(|of_it| of_it * 12 > n), "{ages:?}");
    // At some four characters a token: a window of 4,096 holds a tenth of it.
    assert!(n_chars / games.len() > 4 * 10 * 4096, "{}", n_chars / games.len());
}

#[test]
fn a_game_is_told_in_sentences_that_stand_for_themselves() {
    let case = &some(1, 2)[1];
    let first: Vec<&str> = case.memory.heard[0].iter().take(14).map(String::as_str).collect();
    let tasks: Vec<String> = (case.messages.iter().zip(&case.tasks))
        .map(|(message, task)| format!("{}\n= {}", message.text, task.gold.answers[0]))
        .collect();
    insta::assert_snapshot!(format!("{}\n\n{}", first.join("\n"), tasks.join("\n")));
}

#[test]
fn a_game_depends_on_its_seed_and_number_alone() {
    let texts = |seed, n| -> Vec<String> {
        some(seed, n).into_iter().map(|case| case.messages[0].text.clone()).collect()
    };
    assert_eq!(texts(7, 2), texts(7, 5)[..2]);
    assert_ne!(texts(7, 2), texts(8, 2));
}
