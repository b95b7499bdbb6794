//! The house: rooms with doors, things that lie there, and people with wishes.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::wordlist::{MATERIALS, ROOM_KINDS, ROOM_WORDS, SIGHTS, THINGS};
use crate::memory::generate::people::FIRST_NAMES;
use crate::memory::generate::{any, shuffled};

/// Each wing is two rooms wide and five deep.
const WIDTH: usize = 2;
const DEPTH: usize = 5;
pub(super) const ROOMS_IN_WING: usize = WIDTH * DEPTH;

/// Doors in a wing beside those without which a room could not be reached.
const EXTRA_DOORS: usize = 2;

/// Things that lie in a wing, and people who are there.
const THINGS_IN_WING: usize = 9;
const PEOPLE_IN_WING: usize = 4;

pub(super) const DIRECTIONS: [&str; 4] = ["north", "east", "south", "west"];

pub(super) struct House {
    pub(super) rooms: Vec<Room>,
    /// By number.
    pub(super) things: Vec<String>,
    pub(super) people: Vec<Person>,
}

pub(super) struct Room {
    pub(super) name: String,
    /// What it looks like, in a sentence.
    pub(super) sight: &'static str,
    /// The room behind the door in each direction.
    pub(super) doors: [Option<usize>; 4],
    /// What lies there in the beginning.
    pub(super) things: Vec<usize>,
    pub(super) person: Option<usize>,
}

pub(super) struct Person {
    pub(super) name: String,
    /// Something that lies nowhere in the house.
    pub(super) wish: String,
}

impl House {
    pub(super) fn build(n_wings: usize, rng: &mut ChaCha8Rng) -> Self {
        let n_rooms = n_wings * ROOMS_IN_WING;
        // A word is in the name of one room, and of one thing.
        let rooms = shuffled(ROOM_WORDS, rng).into_iter().take(n_rooms).map(|word| Room {
            name: format!("{word} {}", any(ROOM_KINDS, rng)),
            sight: any(SIGHTS, rng),
            doors: [None; 4],
            things: Vec::new(),
            person: None,
        });
        let rooms: Vec<Room> = rooms.collect();
        let mut names = shuffled(THINGS, rng).into_iter();
        let mut thing = |rng: &mut ChaCha8Rng| {
            format!("{} {}", any(MATERIALS, rng), names.next().unwrap_or_default())
        };
        let things = (0..n_wings * THINGS_IN_WING).map(|_| thing(rng)).collect();
        let people = shuffled(FIRST_NAMES, rng)
            .into_iter()
            .take(n_wings * PEOPLE_IN_WING)
            .map(|name| Person { name: name.into(), wish: thing(rng) })
            .collect();
        let mut house = Self { rooms, things, people };
        for wing in 0..n_wings {
            house.furnish(wing, rng);
        }
        house
    }

    /// Puts doors, things and people into a wing.
    fn furnish(&mut self, wing: usize, rng: &mut ChaCha8Rng) {
        let rooms: Vec<usize> = (wing * ROOMS_IN_WING..(wing + 1) * ROOMS_IN_WING).collect();
        let mut walls: Vec<(usize, usize)> = Vec::new();
        for (place, room) in rooms.iter().enumerate() {
            if place % WIDTH + 1 < WIDTH {
                walls.push((*room, 1));
            }
            if place / WIDTH + 1 < DEPTH {
                walls.push((*room, 2));
            }
        }
        walls.shuffle(rng);
        let mut n_extra = 0;
        for (room, direction) in walls {
            let other = beyond(room, direction);
            let is_needed = !self.reaches(room, other);
            if is_needed || n_extra < EXTRA_DOORS {
                n_extra += usize::from(!is_needed);
                self.open_door(room, direction, other);
            }
        }
        if wing > 0 {
            let row = rng.random_range(0..DEPTH);
            let room = (wing - 1) * ROOMS_IN_WING + row * WIDTH + WIDTH - 1;
            self.open_door(room, 1, wing * ROOMS_IN_WING + row * WIDTH);
        }
        for thing in wing * THINGS_IN_WING..(wing + 1) * THINGS_IN_WING {
            let room = rooms[rng.random_range(0..rooms.len())];
            self.rooms[room].things.push(thing);
        }
        let mut hosts = rooms;
        hosts.shuffle(rng);
        for (room, person) in
            hosts.into_iter().zip(wing * PEOPLE_IN_WING..(wing + 1) * PEOPLE_IN_WING)
        {
            self.rooms[room].person = Some(person);
        }
    }

    fn open_door(&mut self, room: usize, direction: usize, other: usize) {
        self.rooms[room].doors[direction] = Some(other);
        self.rooms[other].doors[(direction + 2) % 4] = Some(room);
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        self.way(from, to).is_some()
    }

    /// The rooms on a shortest way, without the first.
    pub(super) fn way(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let mut came_from = vec![None; self.rooms.len()];
        let mut reached = vec![from];
        let mut next = 0;
        while next < reached.len() {
            let room = reached[next];
            next += 1;
            if room == to {
                let mut way = Vec::new();
                let mut at = to;
                while at != from {
                    way.push(at);
                    at = came_from[at]?;
                }
                way.reverse();
                return Some(way);
            }
            for other in self.rooms[room].doors.into_iter().flatten() {
                if other != from && came_from[other].is_none() {
                    came_from[other] = Some(room);
                    reached.push(other);
                }
            }
        }
        None
    }

    /// The rooms that have a door to both.
    pub(super) fn between(&self, a: usize, b: usize) -> Vec<usize> {
        let of_a = self.rooms[a].doors.into_iter().flatten();
        of_a.filter(|room| self.rooms[*room].doors.contains(&Some(b))).collect()
    }

    pub(super) fn room_names(&self) -> Vec<String> {
        self.rooms.iter().map(|room| room.name.clone()).collect()
    }
}

/// The room on the other side of a wall of the same wing.
fn beyond(room: usize, direction: usize) -> usize {
    if direction == 1 { room + 1 } else { room + WIDTH }
}
