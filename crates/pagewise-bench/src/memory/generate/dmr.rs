//! Conversations over months between two who tell things about themselves amid small talk.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{any, chance};
use crate::memory::case::{Case, Speaker};
use crate::memory::tasks::dmr::{self, CONVERSATIONS, Conversation, Frequencies, NotedTurn};

/// Sessions of a conversation.
const SESSIONS: usize = 4;

/// What each of the two says in a session, fact or small talk.
const TURNS_EACH: usize = 6;

/// Facts that each of the two tells in a conversation; no topic comes twice in a group.
const FACTS_EACH: usize = 6;

/// Something to tell, which has one word that no one could guess.
struct Topic {
    /// As it is said; `{}` is the word.
    said: &'static str,
    /// As it would be noted.
    fact: &'static str,
    words: &'static [&'static str],
}

const fn topic(said: &'static str, fact: &'static str, words: &'static [&'static str]) -> Topic {
    Topic { said, fact, words }
}

pub(super) const INSTRUMENTS: &[&str] = &[
    "cello",
    "oboe",
    "trombone",
    "harp",
    "banjo",
    "accordion",
    "flute",
    "tuba",
    "mandolin",
    "zither",
];
pub(super) const ANIMALS: &[&str] = &[
    "ferret", "parrot", "tortoise", "hedgehog", "donkey", "goat", "iguana", "llama", "rabbit",
    "goose",
];
pub(super) const DISHES: &[&str] = &[
    "lasagna",
    "goulash",
    "paella",
    "risotto",
    "ramen",
    "moussaka",
    "chowder",
    "curry",
    "dumplings",
    "pierogi",
];
pub(super) const PLANTS: &[&str] = &[
    "tomatoes", "pumpkins", "orchids", "leeks", "tulips", "radishes", "lavender", "beans", "roses",
    "cabbages",
];
pub(super) const TRADES: &[&str] = &[
    "locksmith",
    "optician",
    "beekeeper",
    "plumber",
    "surveyor",
    "librarian",
    "carpenter",
    "dentist",
    "pilot",
    "tailor",
];
pub(super) const SPORTS: &[&str] = &[
    "fencing",
    "rowing",
    "archery",
    "badminton",
    "climbing",
    "judo",
    "skating",
    "surfing",
    "handball",
    "curling",
];
pub(super) const TONGUES: &[&str] = &[
    "Finnish",
    "Welsh",
    "Swahili",
    "Korean",
    "Basque",
    "Turkish",
    "Icelandic",
    "Hindi",
    "Greek",
    "Latin",
];
const THINGS: &[&str] = &[
    "stamps",
    "thimbles",
    "postcards",
    "marbles",
    "teapots",
    "buttons",
    "clocks",
    "lanterns",
    "coins",
    "maps",
];
const FEARS: &[&str] = &[
    "spiders", "lifts", "thunder", "ladders", "balloons", "tunnels", "clowns", "bridges",
    "needles", "moths",
];
pub(super) const VEHICLES: &[&str] = &[
    "scooter",
    "tram",
    "canoe",
    "tractor",
    "sailboat",
    "motorbike",
    "ferry",
    "wagon",
    "unicycle",
    "jeep",
];
const NAMES: &[&str] = &[
    "Ottilie",
    "Bartholomew",
    "Ingrid",
    "Cosmo",
    "Philippa",
    "Dmitri",
    "Rosalind",
    "Thaddeus",
    "Yolanda",
    "Casper",
];
pub(super) const PLACES: &[&str] = &[
    "Lisbon",
    "Tromso",
    "Quebec",
    "Nairobi",
    "Krakow",
    "Valparaiso",
    "Hobart",
    "Ljubljana",
    "Osaka",
    "Tbilisi",
];
pub(super) const CRAFTS: &[&str] = &[
    "pottery",
    "origami",
    "embroidery",
    "weaving",
    "calligraphy",
    "whittling",
    "knitting",
    "bookbinding",
    "quilting",
    "glassblowing",
];
pub(super) const DRINKS: &[&str] = &[
    "espresso",
    "cocoa",
    "cider",
    "lemonade",
    "buttermilk",
    "matcha",
    "ginger",
    "chai",
    "kefir",
    "rooibos",
];
pub(super) const STONES: &[&str] =
    &["opal", "garnet", "amber", "topaz", "jade", "onyx", "ruby", "quartz", "coral", "pearl"];
pub(super) const SUBJECTS: &[&str] = &[
    "geology",
    "botany",
    "astronomy",
    "law",
    "chemistry",
    "theology",
    "architecture",
    "medicine",
    "economics",
    "acoustics",
];
pub(super) const SHOPS: &[&str] = &[
    "bakery",
    "pharmacy",
    "florist",
    "barbershop",
    "laundry",
    "bookshop",
    "butcher",
    "cinema",
    "foundry",
    "brewery",
];
pub(super) const COLOURS: &[&str] = &[
    "turquoise",
    "crimson",
    "mustard",
    "lilac",
    "olive",
    "indigo",
    "salmon",
    "charcoal",
    "ivory",
    "maroon",
];
const TREES: &[&str] = &[
    "walnut", "cherry", "willow", "chestnut", "birch", "fig", "cedar", "linden", "maple", "poplar",
];
pub(super) const DANCES: &[&str] = &[
    "tango", "waltz", "polka", "salsa", "foxtrot", "flamenco", "samba", "swing", "rumba", "minuet",
];
pub(super) const GAMES: &[&str] = &[
    "chess",
    "backgammon",
    "dominoes",
    "bridge",
    "checkers",
    "mahjong",
    "poker",
    "darts",
    "billiards",
    "cribbage",
];
const NUTS: &[&str] = &[
    "peanuts",
    "shellfish",
    "strawberries",
    "eggs",
    "celery",
    "soy",
    "mustard",
    "sesame",
    "kiwi",
    "wheat",
];
const ROOMS: &[&str] = &[
    "attic",
    "cellar",
    "garage",
    "balcony",
    "pantry",
    "greenhouse",
    "shed",
    "stable",
    "loft",
    "chapel",
];
const BIRTHDAYS: &[&str] = &[
    "January",
    "February",
    "April",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Each is told at most once by either speaker in a group.
const TOPICS: [Topic; 24] = [
    topic(
        "My evenings belong to the {} again, the neighbours have not complained yet.",
        "I practise the {} in the evenings",
        INSTRUMENTS,
    ),
    topic(
        "You will laugh, there is a {} asleep on my feet as I write. It came from a shelter.",
        "I adopted a {} from a shelter",
        ANIMALS,
    ),
    topic(
        "I burnt the {} once more, and it was my grandmother's recipe too.",
        "My grandmother's recipe is for {}",
        DISHES,
    ),
    topic(
        "The garden did well: we had so many {} that I gave them away by the bucket.",
        "I grow {} in my garden",
        PLANTS,
    ),
    topic(
        "Before all this I earned my money as a {}, for nine long years.",
        "I worked for nine years as a {}",
        TRADES,
    ),
    topic("My shoulders ache. Our {} club met twice this week.", "I belong to a {} club", SPORTS),
    topic(
        "I have homework at my age! The {} class is on Tuesdays, and the grammar is wild.",
        "I take a class in {} on Tuesdays",
        TONGUES,
    ),
    topic(
        "Yet another parcel with {}. There is hardly a shelf left for the collection.",
        "I have a collection of {} on my shelves",
        THINGS,
    ),
    topic(
        "I know it is silly, but {} make me freeze. It began when I was a child.",
        "Since childhood I have been afraid of {}",
        FEARS,
    ),
    topic(
        "I sold the car. These days I go to work by {}, which is slower and nicer.",
        "I go to my job by {} instead of by car",
        VEHICLES,
    ),
    topic(
        "My sister had her baby at last! They named the little one {}.",
        "My sister named her baby {}",
        NAMES,
    ),
    topic(
        "The tickets are booked: in spring we go to {}, three weeks and no telephone.",
        "I booked tickets to {} for spring",
        PLACES,
    ),
    topic(
        "Glue everywhere. I promised to teach {} at the community centre.",
        "I promised the community centre to teach {}",
        CRAFTS,
    ),
    topic(
        "The doctor said no more {} after noon, and I sleep better already.",
        "My doctor forbade me {} after noon",
        DRINKS,
    ),
    topic(
        "I still wear the ring with the {}, it was a gift of my aunt.",
        "My aunt gave me a ring with {}",
        STONES,
    ),
    topic(
        "Few people know that I studied {}, and never finished my degree.",
        "I studied {} without finishing the degree",
        SUBJECTS,
    ),
    topic("It is noisy here: my flat is right above a {}.", "My flat is above a {}", SHOPS),
    topic(
        "The painters came at last, and now the front door is {}.",
        "I had my front door painted {}",
        COLOURS,
    ),
    topic(
        "A storm took the old {} behind the house. My grandfather had planted it.",
        "My grandfather planted the {} behind the house",
        TREES,
    ),
    topic(
        "We met at a course, you know: my husband stepped on my foot during the {}.",
        "I met my husband dancing the {}",
        DANCES,
    ),
    topic(
        "I lost again on Sunday. My neighbour is simply better at {}.",
        "My neighbour beats me at {} on Sundays",
        GAMES,
    ),
    topic(
        "I have to be careful in restaurants, with {} my throat swells up.",
        "My throat swells when I eat {}",
        NUTS,
    ),
    topic(
        "We finally cleared the {}, and found my mother's letters there.",
        "I found my mother's letters in the {}",
        ROOMS,
    ),
    topic("No cake for me before {}, that is when I turn forty.", "I turn forty in {}", BIRTHDAYS),
];

pub(super) const SMALL_TALK: &[&str] = &[
    "Hello again! How have you been?",
    "Busy days here, but I can't complain.",
    "The weather has been all over the place lately.",
    "That sounds lovely, I am glad to hear it.",
    "Oh no, I hope it turns out well in the end.",
    "Did you sleep well? I hardly did.",
    "I had to smile when I read that.",
    "Time flies, it is hard to believe.",
    "Anything nice planned for the next days?",
    "Not much so far, perhaps a long walk.",
    "I should really tidy up, but here I am.",
    "You always cheer me up a little.",
    "It was a strange week, to be honest.",
    "Sorry for the late reply, everything took longer today.",
    "I could not agree more with you.",
    "People were in such a hurry this morning.",
    "I read something funny, but now it has slipped my mind.",
    "How did it go with that thing of yours?",
    "Better than expected, thank you for asking!",
    "Let us talk again soon, all right?",
    "I was just thinking of you.",
    "Some days are simply too short.",
    "Well, one step at a time.",
    "Do you prefer mornings or evenings?",
    "That depends on the day, I suppose.",
    "It got dark early, I put on all the lights.",
    "Such is life, as they say.",
    "I will tell you more another time.",
    "Was the train late again?",
    "Everything quiet on this side.",
];

/// Makes cases: some about each group of conversations.
pub(crate) fn cases(seed: u64) -> impl Iterator<Item = Case> {
    let frequencies = frequencies();
    (0..).flat_map(move |group| {
        let conversations = conversations(&mut chance(seed, 2, group));
        dmr::cases(&format!("talk-{seed}-{group}"), &conversations, &frequencies)
    })
}

/// How often words are in all facts that there could be: the word that fills a topic is the rare one.
fn frequencies() -> Frequencies {
    let sessions = TOPICS
        .iter()
        .map(|topic| topic.words.iter().map(|word| told(Speaker::User, topic, word)).collect());
    Frequencies::of(&[Conversation { id: String::new(), sessions: sessions.collect() }])
}

fn told(speaker: Speaker, topic: &Topic, word: &str) -> NotedTurn {
    let [text, fact] = [topic.said, topic.fact].map(|text| text.replace("{}", word));
    NotedTurn { speaker, text, fact }
}

pub(super) fn conversations(rng: &mut ChaCha8Rng) -> Vec<Conversation> {
    let speakers = [Speaker::User, Speaker::Assistant];
    let orders = speakers.map(|_| {
        let mut order: Vec<usize> = (0..TOPICS.len()).collect();
        order.shuffle(rng);
        order
    });
    (0..CONVERSATIONS)
        .map(|number| {
            let mut left = [0, 1].map(|speaker| {
                let topics = &orders[speaker][number * FACTS_EACH..(number + 1) * FACTS_EACH];
                topics.iter().map(|topic| Some(*topic)).collect::<Vec<_>>()
            });
            let sessions = (0..SESSIONS)
                .map(|session| {
                    let lines = [0, 1].map(|speaker| {
                        let n_left = left[speaker].len();
                        let n_facts = n_left.div_ceil(SESSIONS - session);
                        let mut lines = left[speaker].split_off(n_left - n_facts);
                        lines.resize(TURNS_EACH, None);
                        lines.shuffle(rng);
                        lines
                    });
                    let in_turn =
                        (0..TURNS_EACH).flat_map(|at| [(0, lines[0][at]), (1, lines[1][at])]);
                    in_turn.map(|(speaker, topic)| line(speakers[speaker], topic, rng)).collect()
                })
                .collect();
            Conversation { id: format!("{}", number + 1), sessions }
        })
        .collect()
}

fn line(speaker: Speaker, topic: Option<usize>, rng: &mut ChaCha8Rng) -> NotedTurn {
    match topic {
        Some(topic) => {
            // Each speaker has words of its own, so that only one of them said it.
            let words = TOPICS[topic].words.iter().skip(speaker as usize).step_by(2);
            let words: Vec<&str> = words.copied().collect();
            told(speaker, &TOPICS[topic], any(&words, rng))
        }
        None => NotedTurn { speaker, text: any(SMALL_TALK, rng).into(), fact: String::new() },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn some(seed: u64, n: usize) -> Vec<Case> {
        cases(seed).take(n).collect()
    }

    #[test]
    fn every_topic_asks_for_the_word_that_fills_it() {
        let words: HashSet<String> = TOPICS
            .iter()
            .flat_map(|topic| topic.words.iter().map(|word| word.to_lowercase()))
            .collect();
        let cases = some(5, 64);
        assert_eq!(cases.len(), 64);
        for case in &cases {
            assert!(words.contains(&case.gold.answers[0]), "{:?}", case.messages);
            let said = &case.gold.evidence[0];
            assert!(said.to_lowercase().contains(&case.gold.answers[0]), "{said}");
            let held = case.memory.sessions.iter().flat_map(|session| &session.turns);
            assert_eq!(held.filter(|turn| turn.text == *said).count(), 1, "{said}");
        }
        let ids: HashSet<&str> = cases.iter().map(|case| &*case.id).collect();
        assert_eq!(ids.len(), 64);
    }

    #[test]
    fn a_group_has_what_a_small_window_has_not() {
        let case = &some(0, 1)[0];
        assert_eq!(case.memory.sessions.len(), CONVERSATIONS * SESSIONS);
        let n_words: usize = (case.memory.material.pieces.iter())
            .map(|piece| piece.split_whitespace().count())
            .sum();
        assert!(n_words > 2000, "{n_words} words");
    }

    #[test]
    fn a_case_depends_on_its_seed_and_number_alone() {
        let texts = |seed, n| -> Vec<String> {
            some(seed, n).into_iter().map(|case| case.messages[0].text.clone()).collect()
        };
        assert_eq!(texts(7, 3), texts(7, 40)[..3]);
        assert_ne!(texts(7, 3), texts(8, 3));
    }
}
