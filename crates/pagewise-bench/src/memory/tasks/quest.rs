//! The quest: a guided walk through a house, told turn by turn, in which success needs memory.
//!
//! What a guide shows is told by the user in short messages: rooms and their doors, what lies there, who is
//! there and wishes for what, what the guide picks up and lays down. They want no answer: they go into recall
//! storage and into the queue, and the model is not run for them. At the end of each wing the user sets a few
//! tasks, which the model answers. The walk so far is several times what a small window holds, so that
//! most tasks need what left main context long ago.
//!
//! Five kinds (label `kind`), each answered by one name:
//!
//! - **place**: where a thing is that was never moved;
//! - **moved**: where a thing is that the guide moved; an earlier place was told as well;
//! - **wish**: who wished for the thing that was found;
//! - **way**: which room lies between two others, which takes two memories;
//! - **gone**: what was missing from a room at a later visit, which takes two memories and a comparison.
//!
//! A task is done if the reply holds the right name and no other name of its kind: who lists all rooms has not
//! remembered. The label `age` says how many turns ago the older of the sentences was told that must be
//! remembered. A game scores the share of its tasks that are done, and a case is one game, since
//! its tasks share one memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use pagewise_agent::AgentConfig;

use super::{human, persona};
use crate::memory::case::{
    Baseline, Case, GameTask, Gold, Keep, Material, Memory, Metric, Tier, UserMessage,
};

/// The longest reply, in characters: a name in a sentence.
const REPLY_CHARS: usize = 160;

const PERSONA: &str = "I walk through a house with the user and a guide, and I am the one who remembers. The user tells \
    me turn by turn what we see. All of it is in recall storage, and I look there before I answer; \
    the turn with the highest number counts.";

const BEFORE: &str = "You walk through a house with a user and a guide. This is what the user told you turn by turn; the \
    turn with the highest number counts.\n\n";

/// What a task asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Place,
    Moved,
    Wish,
    Way,
    Gone,
}

impl Kind {
    pub(crate) const ALL: &'static [Self] =
        &[Self::Place, Self::Moved, Self::Wish, Self::Way, Self::Gone];

    /// Returns the name in labels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Place => "place",
            Self::Moved => "moved",
            Self::Wish => "wish",
            Self::Way => "way",
            Self::Gone => "gone",
        }
    }
}

/// A walk with its tasks.
#[derive(Debug, Clone)]
pub(crate) struct Game {
    pub(crate) id: String,
    pub(crate) n_rooms: usize,
    pub(crate) stops: Vec<Stop>,
}

/// A part of the walk, and the tasks at its end.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) turns: Vec<String>,
    pub(crate) riddles: Vec<Riddle>,
}

/// A task.
#[derive(Debug, Clone)]
pub(crate) struct Riddle {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) answer: String,
    /// The other names of this kind, but for those that the task itself has.
    pub(crate) others: Vec<String>,
    /// The turns that must be remembered.
    pub(crate) evidence: Vec<String>,
    /// Turns since the oldest of them.
    pub(crate) age: usize,
}

/// Returns the settings of an agent for this task.
pub(crate) fn agent_config(usual: AgentConfig) -> AgentConfig {
    AgentConfig { message_max_chars: REPLY_CHARS, ..usual }
}

/// Makes the case of a game.
pub(crate) fn case(game: &Game) -> Case {
    let mut heard = Vec::new();
    let mut tasks = Vec::new();
    let mut messages = Vec::new();
    for stop in &game.stops {
        for (place, riddle) in stop.riddles.iter().enumerate() {
            heard.push(if place == 0 { stop.turns.clone() } else { Vec::new() });
            messages.push(UserMessage { text: riddle.text.clone(), after_reset: false });
            tasks.push(GameTask { labels: labels(riddle), gold: gold(riddle) });
        }
    }
    let gold = tasks.last().map(|task| task.gold.clone());
    let pieces = game.stops.iter().flat_map(|stop| stop.turns.clone()).collect();
    Case {
        id: game.id.clone(),
        labels: BTreeMap::from([("rooms".into(), game.n_rooms.to_string())]),
        memory: Arc::new(Memory {
            blocks: vec![persona(PERSONA), human("")],
            heard,
            material: Material { pieces, joiner: "\n", keep: Keep::Last },
            ..Memory::default()
        }),
        messages,
        baseline: Baseline { before: BEFORE.into(), ..Baseline::default() },
        gold: gold.unwrap_or(Gold {
            metric: Metric::Only,
            answers: Vec::new(),
            decoys: Vec::new(),
            evidence: Vec::new(),
            tier: Tier::Recall,
            edit: None,
        }),
        tasks,
    }
}

fn labels(riddle: &Riddle) -> BTreeMap<String, String> {
    let age = match riddle.age {
        0..=40 => "001-040",
        41..=200 => "041-200",
        201..=400 => "201-400",
        _ => "401 and more",
    };
    BTreeMap::from([("kind".into(), riddle.kind.name().into()), ("age".into(), age.into())])
}

fn gold(riddle: &Riddle) -> Gold {
    Gold {
        metric: Metric::Only,
        answers: vec![riddle.answer.clone()],
        decoys: riddle.others.clone(),
        evidence: riddle.evidence.clone(),
        tier: Tier::Recall,
        edit: None,
    }
}
