//! Games: a guided walk through a house of some fifty rooms, wing by wing, told turn by turn, with tasks at the
//! end of each wing.
//!
//! Everything that a task needs was told before, in sentences that stand for themselves, and every task is
//! about something that no other task of the game is about. How long ago it was told is spread from a few
//! turns to nearly the whole game.

mod house;
mod walk;
mod wordlist;

use std::collections::HashSet;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use self::house::House;
use self::walk::{Seen, Walk};
use super::chance;
use crate::memory::case::Case;
use crate::memory::tasks::quest::{self, Game, Kind, Riddle, Stop};

/// Wings of the house.
const WINGS: usize = 5;

/// Makes games.
pub(crate) fn cases(seed: u64) -> impl Iterator<Item = Case> {
    (0..).map(move |number| quest::case(&game(seed, number)))
}

fn game(seed: u64, number: usize) -> Game {
    let mut rng = chance(seed, 31, number);
    let house = House::build(WINGS, &mut rng);
    let mut walk = Walk::begin(&house, &mut rng);
    let mut asked = HashSet::new();
    let mut stops = Vec::new();
    for wing in 0..WINGS {
        let turns = walk.through(wing, &mut rng);
        let riddles = riddles(&house, &walk.seen, wing, &mut asked, &mut rng);
        stops.push(Stop { turns, riddles });
    }
    Game { id: format!("quest-{seed}-{number}"), n_rooms: house.rooms.len(), stops }
}

/// What could be asked, and how long ago the older half of the answer was told.
struct Candidate {
    subject: String,
    riddle: Riddle,
}

/// Asks four of the five kinds: each stop leaves out another one.
fn riddles(
    house: &House,
    seen: &Seen,
    stop: usize,
    asked: &mut HashSet<(Kind, String)>,
    rng: &mut ChaCha8Rng,
) -> Vec<Riddle> {
    let kinds = Kind::ALL.iter().enumerate().filter(|(place, _)| *place != stop % Kind::ALL.len());
    let mut riddles = Vec::new();
    for (place, kind) in kinds {
        let mut candidates = candidates(*kind, house, seen);
        candidates.retain(|one| !asked.contains(&(*kind, one.subject.clone())));
        if candidates.is_empty() {
            continue;
        }
        candidates.sort_by(|a, b| (a.riddle.age, &a.subject).cmp(&(b.riddle.age, &b.subject)));
        // From the latest to the oldest, another share of the way for each kind and stop.
        let quarter = candidates.len().div_ceil(4);
        let from = ((stop + place) % 4 * candidates.len() / 4).min(candidates.len() - 1);
        let to = (from + quarter).min(candidates.len());
        let Candidate { subject, riddle } = candidates.swap_remove(rng.random_range(from..to));
        asked.insert((*kind, subject));
        riddles.push(riddle);
    }
    riddles
}

fn candidates(kind: Kind, house: &House, seen: &Seen) -> Vec<Candidate> {
    match kind {
        Kind::Place => places(house, seen, false),
        Kind::Moved => places(house, seen, true),
        Kind::Wish => wishes(house, seen),
        Kind::Way => ways(house, seen),
        Kind::Gone => gone(house, seen),
    }
}

fn others(names: &[String], but: &[&str]) -> Vec<String> {
    names.iter().filter(|name| !but.contains(&name.as_str())).cloned().collect()
}

fn riddle(
    kind: Kind,
    text: String,
    answer: &str,
    others: Vec<String>,
    seen: &Seen,
    evidence: &[usize],
) -> Riddle {
    let oldest = evidence.iter().min().copied().unwrap_or(0);
    Riddle {
        kind,
        text,
        answer: answer.into(),
        others,
        evidence: evidence.iter().map(|turn| seen.told[*turn].clone()).collect(),
        age: seen.told.len() - oldest,
    }
}

/// Things whose place is known, either never moved or moved by the guide.
fn places(house: &House, seen: &Seen, is_moved: bool) -> Vec<Candidate> {
    let kind = if is_moved { Kind::Moved } else { Kind::Place };
    let known = seen.things.iter().enumerate().filter(|(_, thing)| thing.was_moved == is_moved);
    known
        .filter_map(|(number, thing)| {
            let (room, turn) = thing.last_place?;
            let (name, room) = (&house.things[number], &house.rooms[room].name);
            let text =
                format!("Where is the {name} now, as far as you know? Answer with the name of the room alone.");
            let others = others(&house.room_names(), &[room]);
            let riddle = riddle(kind, text, room, others, seen, &[turn]);
            Some(Candidate { subject: name.clone(), riddle })
        })
        .collect()
}

/// What somebody wished for.
fn wishes(house: &House, seen: &Seen) -> Vec<Candidate> {
    seen.wishes
        .iter()
        .map(|(person, turn)| {
            let person = &house.people[*person];
            let (name, wish) = (&person.name, &person.wish);
            let text = format!(
                "Here you find a {wish}. Who of the people that you met wished for one? Answer with the name alone."
            );
            let people: Vec<String> = house.people.iter().map(|one| one.name.clone()).collect();
            let riddle = riddle(Kind::Wish, text, name, others(&people, &[name]), seen, &[*turn]);
            Candidate { subject: name.clone(), riddle }
        })
        .collect()
}

/// Two rooms with exactly one between them, where both doors were gone through.
fn ways(house: &House, seen: &Seen) -> Vec<Candidate> {
    let mut ways = Vec::new();
    for (from, to) in
        (0..house.rooms.len()).flat_map(|a| (a + 1..house.rooms.len()).map(move |b| (a, b)))
    {
        let [between] = house.between(from, to)[..] else { continue };
        let step = |a: usize, b: usize| {
            let walked = [(a, b), (b, a)].into_iter().filter_map(|pair| seen.steps.get(&pair));
            walked.max().copied()
        };
        let (Some(first), Some(second)) = (step(from, between), step(between, to)) else {
            continue;
        };
        // One right after the other, they would be one memory.
        if first.abs_diff(second) < walk::APART {
            continue;
        }
        let name = |room: usize| house.rooms[room].name.as_str();
        let text = format!(
            "You want to go from the {} to the {}. Which room lies between the two? Answer with the name of the \
             room alone.",
            name(from),
            name(to)
        );
        let others = others(&house.room_names(), &[name(from), name(to), name(between)]);
        let riddle = riddle(Kind::Way, text, name(between), others, seen, &[first, second]);
        ways.push(Candidate { subject: format!("{} {}", name(from), name(to)), riddle });
    }
    ways
}

/// What was missing when a room was seen again.
fn gone(house: &House, seen: &Seen) -> Vec<Candidate> {
    seen.gone
        .iter()
        .map(|gone| {
            let (room, thing) = (&house.rooms[gone.room].name, &house.things[gone.thing]);
            let text = format!(
                "Something lay in the {room} when you came there. At a later visit it was gone, and your guide had \
                 not taken it. What was it? Answer with the name of the thing alone."
            );
            let others = others(&house.things, &[thing]);
            let evidence = [gone.last_seen, gone.first_missed];
            let riddle = riddle(Kind::Gone, text, thing, others, seen, &evidence);
            Candidate { subject: room.clone(), riddle }
        })
        .collect()
}

#[cfg(test)]
mod tests;
