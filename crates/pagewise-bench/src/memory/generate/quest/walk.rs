//! The walk: what is told turn by turn, and what one knows who listened.

use std::collections::HashMap;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::house::{DIRECTIONS, House, ROOMS_IN_WING};
use super::wordlist::{GLANCES, LAYS_DOWN, REMARKS, WISHES};
use crate::memory::generate::any;

/// Turns in a wing, at least: of five wings a window of 4,096 tokens holds a tenth.
const TURNS_IN_WING: usize = 210;

/// Moves of things by the guide in a wing, at least.
const MOVES_IN_WING: usize = 3;

/// Turns between two steps that count as seen apart.
pub(super) const APART: usize = 6;

/// What one knows who listened: turns are counted from 0.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) told: Vec<String>,
    pub(super) things: Vec<SeenThing>,
    /// Each person whose wish was heard, and when.
    pub(super) wishes: Vec<(usize, usize)>,
    /// When one went from a room to another, the last time.
    pub(super) steps: HashMap<(usize, usize), usize>,
    pub(super) gone: Vec<Gone>,
}

#[derive(Clone, Default)]
pub(super) struct SeenThing {
    /// The room where it lies as far as one knows, and the turn that told it last.
    pub(super) last_place: Option<(usize, usize)>,
    pub(super) was_moved: bool,
}

/// A thing that was missing.
pub(super) struct Gone {
    pub(super) room: usize,
    pub(super) thing: usize,
    pub(super) last_seen: usize,
    pub(super) first_missed: usize,
}

pub(super) struct Walk<'a> {
    house: &'a House,
    pub(super) seen: Seen,
    room: usize,
    /// What lies in each room.
    lying: Vec<Vec<usize>>,
    n_visits: Vec<usize>,
    /// What the guide carries, and for how many rooms already.
    carried: Option<(usize, usize)>,
    /// In the wing where the walk is.
    n_moves: usize,
    is_robbed: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn begin(house: &'a House, rng: &mut ChaCha8Rng) -> Self {
        let seen =
            Seen { things: vec![SeenThing::default(); house.things.len()], ..Seen::default() };
        Self {
            house,
            seen,
            room: rng.random_range(0..ROOMS_IN_WING),
            lying: house.rooms.iter().map(|room| room.things.clone()).collect(),
            n_visits: vec![0; house.rooms.len()],
            carried: None,
            n_moves: 0,
            is_robbed: false,
        }
    }

    /// Walks through a wing until all of it was seen; returns what is told.
    pub(super) fn through(&mut self, wing: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
        let first = self.seen.told.len();
        let rooms: Vec<usize> = (wing * ROOMS_IN_WING..(wing + 1) * ROOMS_IN_WING).collect();
        (self.n_moves, self.is_robbed) = (0, false);
        if first == 0 {
            self.arrive(None, rng);
        }
        loop {
            let unseen: Vec<usize> =
                rooms.iter().copied().filter(|room| self.n_visits[*room] == 0).collect();
            let is_long = self.seen.told.len() - first >= TURNS_IN_WING;
            let is_over = unseen.is_empty()
                && is_long
                && self.is_robbed
                && self.n_moves >= MOVES_IN_WING
                && self.carried.is_none();
            if is_over {
                return self.seen.told[first..].to_vec();
            }
            let goals = if unseen.is_empty() { &rooms } else { &unseen };
            let goal = goals.choose(rng).copied().unwrap_or(self.room);
            for room in self.house.way(self.room, goal).unwrap_or_default() {
                let from = std::mem::replace(&mut self.room, room);
                self.arrive(Some(from), rng);
            }
        }
    }

    /// Tells what one sees in the room, and what happens there. The sentence about things names the room again:
    /// the one before it names two.
    fn arrive(&mut self, from: Option<usize>, rng: &mut ChaCha8Rng) {
        let house = self.house;
        let room = self.room;
        let name = &house.rooms[room].name;
        let robbed = self.rob(rng);
        let turn = self.seen.told.len();
        let comes = match from {
            None => format!("Your walk begins in the {name}."),
            Some(from) => {
                self.seen.steps.insert((from, room), turn);
                let doors = &house.rooms[from].doors;
                let direction = doors.iter().position(|door| *door == Some(room)).unwrap_or(0);
                format!(
                    "From the {} you go {} into the {name}.",
                    house.rooms[from].name, DIRECTIONS[direction]
                )
            }
        };
        let doors: Vec<&str> = (0..4)
            .filter(|direction| house.rooms[room].doors[*direction].is_some())
            .map(|direction| DIRECTIONS[direction])
            .collect();
        let lead = if doors.len() == 1 { "One door leads" } else { "Doors lead" };
        let mut text = format!("{comes} {} {lead} {}.", house.rooms[room].sight, list(&doors));
        let lying: Vec<String> =
            self.lying[room].iter().map(|thing| format!("the {}", house.things[*thing])).collect();
        if !lying.is_empty() {
            let lying: Vec<&str> = lying.iter().map(String::as_str).collect();
            text.push_str(&format!(" In the {name} you see {}.", list(&lying)));
        }
        if let Some(person) = house.rooms[room].person {
            text.push_str(&format!(" {} is here.", house.people[person].name));
        }
        self.tell(&text);
        for thing in &self.lying[room] {
            self.seen.things[*thing].last_place = Some((room, turn));
        }
        if let Some((thing, last_seen)) = robbed {
            self.seen.gone.push(Gone { room, thing, last_seen, first_missed: turn });
        }
        self.n_visits[room] += 1;
        self.stay(rng);
    }

    /// Takes a thing away that was seen here before, once in a wing, while nobody looks.
    fn rob(&mut self, rng: &mut ChaCha8Rng) -> Option<(usize, usize)> {
        let seen = &self.seen;
        let is_known = |thing: &&usize| {
            let place = seen.things[**thing].last_place.filter(|(room, _)| *room == self.room);
            place.is_some() && !seen.things[**thing].was_moved
        };
        if self.is_robbed || seen.gone.iter().any(|gone| gone.room == self.room) {
            return None;
        }
        let here: Vec<usize> = self.lying[self.room].iter().filter(is_known).copied().collect();
        let thing = here.choose(rng).copied()?;
        let (_, last_seen) = self.seen.things[thing].last_place.take()?;
        self.lying[self.room].retain(|other| *other != thing);
        self.is_robbed = true;
        Some((thing, last_seen))
    }

    /// What happens in the room.
    fn stay(&mut self, rng: &mut ChaCha8Rng) {
        let (house, room) = (self.house, self.room);
        let name = &house.rooms[room].name;
        let person = house.rooms[room].person;
        if let Some(person) = person.filter(|_| self.n_visits[room] == 1) {
            self.seen.wishes.push((person, self.seen.told.len()));
            let said = any(WISHES, rng).replace("{}", &house.people[person].wish);
            self.tell(&format!(
                "In the {name} {} says to you: \"{said}\"",
                house.people[person].name
            ));
        } else if let Some(person) = person.filter(|_| rng.random_bool(0.5)) {
            let said = any(REMARKS, rng);
            self.tell(&format!(
                "In the {name} {} says to you: \"{said}\"",
                house.people[person].name
            ));
        }
        self.guide(rng);
        if rng.random_bool(0.6) {
            let glance = any(GLANCES, rng);
            self.tell(&format!("You stay in the {name} for a while. {glance}"));
        }
    }

    /// The guide picks something up, or lays it down some rooms later.
    fn guide(&mut self, rng: &mut ChaCha8Rng) {
        let (house, room) = (self.house, self.room);
        let name = &house.rooms[room].name;
        let turn = self.seen.told.len();
        match self.carried {
            Some((thing, n_rooms)) if n_rooms >= 2 && rng.random_bool(0.5) => {
                self.carried = None;
                self.n_moves += 1;
                self.lying[room].push(thing);
                self.seen.things[thing].last_place = Some((room, turn));
                let place = any(LAYS_DOWN, rng);
                self.tell(&format!(
                    "In the {name} your guide lays down the {} {place}.",
                    house.things[thing]
                ));
            }
            Some((thing, n_rooms)) => self.carried = Some((thing, n_rooms + 1)),
            None if rng.random_bool(0.4) => {
                let Some(thing) = self.lying[room].choose(rng).copied() else { return };
                self.carried = Some((thing, 0));
                self.lying[room].retain(|other| *other != thing);
                self.seen.things[thing] = SeenThing { last_place: None, was_moved: true };
                self.tell(&format!(
                    "In the {name} your guide picks up the {} and takes it along.",
                    house.things[thing]
                ));
            }
            None => {}
        }
    }

    fn tell(&mut self, text: &str) {
        let number = self.seen.told.len() + 1;
        self.seen.told.push(format!("Turn {number}. {text}"));
    }
}

/// Writes an enumeration.
fn list(items: &[&str]) -> String {
    match items {
        [] => String::new(),
        [one] => (*one).into(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
