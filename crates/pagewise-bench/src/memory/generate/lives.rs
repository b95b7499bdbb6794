//! What people tell of their lives: traits that last, things that happen on a day, and things of which
//! there is one more each time.

use super::dmr::topics::{
    ANIMALS, COLOURS, CRAFTS, DANCES, DISHES, DRINKS, GAMES, INSTRUMENTS, PLACES, PLANTS, SHOPS,
    SPORTS, STONES, SUBJECTS, TONGUES, TRADES, VEHICLES,
};

/// Something that one word says of a person.
pub(super) struct Trait {
    /// As the person says it; `{}` is the word.
    pub(super) said: &'static str,
    /// As somebody asks for the word; `{}` is the person's name.
    pub(super) of_another: &'static str,
    /// As the person asks for it.
    pub(super) of_me: &'static str,
    pub(super) words: &'static [&'static str],
}

const fn of(
    said: &'static str,
    of_another: &'static str,
    of_me: &'static str,
    words: &'static [&'static str],
) -> Trait {
    Trait { said, of_another, of_me, words }
}

pub(super) const TRAITS: [Trait; 16] = [
    of(
        "I have begun to play the {}, and the neighbours are very patient so far.",
        "Which instrument has {} begun to play?",
        "Which instrument have I begun to play?",
        INSTRUMENTS,
    ),
    of(
        "Before all this I worked as a {} for nine years.",
        "As what did {} work for nine years?",
        "As what did I work for nine years?",
        TRADES,
    ),
    of(
        "On Wednesday evenings it is {} for me, though I am not good at it.",
        "Which sport does {} do on Wednesday evenings?",
        "Which sport do I do on Wednesday evenings?",
        SPORTS,
    ),
    of(
        "I practise {} with an application on the telephone, ten minutes before breakfast.",
        "Which language does {} practise before breakfast?",
        "Which language do I practise before breakfast?",
        TONGUES,
    ),
    of(
        "The balcony is full of {} this summer, one can hardly sit there.",
        "What grows on the balcony of {}?",
        "What grows on my balcony?",
        PLANTS,
    ),
    of(
        "These days I come to the office by {}, whatever the weather.",
        "By what does {} come to the office?",
        "By what do I come to the office?",
        VEHICLES,
    ),
    of(
        "It is settled: after the holidays I am moving to {}.",
        "Where is {} moving after the holidays?",
        "Where am I moving after the holidays?",
        PLACES,
    ),
    of(
        "I gave up {} last winter, and I hardly miss it.",
        "Which drink did {} give up last winter?",
        "Which drink did I give up last winter?",
        DRINKS,
    ),
    of(
        "At university I was in the {} department, long ago.",
        "In which department was {} at university?",
        "In which department was I at university?",
        SUBJECTS,
    ),
    of(
        "My sister has opened a {} around the corner, and the whole family helps.",
        "What has the sister of {} opened?",
        "What has my sister opened?",
        SHOPS,
    ),
    of(
        "We have painted the kitchen, it is {} now.",
        "Which colour did {} paint the kitchen?",
        "Which colour did we paint the kitchen?",
        COLOURS,
    ),
    of(
        "At our wedding we opened with a {}, and nobody fell.",
        "Which dance did {} open the wedding with?",
        "Which dance did we open our wedding with?",
        DANCES,
    ),
    of(
        "It was my uncle who taught me {} when I was six.",
        "Which game did the uncle of {} teach?",
        "Which game did my uncle teach me?",
        GAMES,
    ),
    of(
        "From my godmother I have a brooch with a {}, I never take it off.",
        "Which stone is in the brooch of {}?",
        "Which stone is in my brooch?",
        STONES,
    ),
    of(
        "When guests come I make {}, that never goes wrong.",
        "What does {} make when guests come?",
        "What do I make when guests come?",
        DISHES,
    ),
    of(
        "A friend talked me into a beginners' class in {}.",
        "Which class did a friend talk {} into?",
        "Which class did a friend talk me into?",
        CRAFTS,
    ),
];

/// Something that happened on one day.
pub(super) struct Happening {
    /// As it is said; `{}` is the day as seen from when it is said, such as "yesterday".
    pub(super) said: &'static str,
    pub(super) of_another: &'static str,
    pub(super) of_me: &'static str,
}

const fn happened(said: &'static str, of_another: &'static str, of_me: &'static str) -> Happening {
    Happening { said, of_another, of_me }
}

/// Asked for with a "when" in front of the question about another, and with "how many days ago" in front
/// of that about oneself.
pub(super) const HAPPENINGS: [Happening; 8] = [
    happened(
        "I signed the lease for the workshop {}, my hand was shaking.",
        "did {} sign the lease for the workshop?",
        "did I sign the lease for the workshop?",
    ),
    happened(
        "The cast came off {}, my arm looks so thin.",
        "did the cast of {} come off?",
        "did my cast come off?",
    ),
    happened(
        "I ran the whole way around the lake {}, without a pause.",
        "did {} run around the lake?",
        "did I run around the lake?",
    ),
    happened(
        "We buried the time capsule in the school yard {}.",
        "did {} bury the time capsule?",
        "did we bury the time capsule?",
    ),
    happened(
        "I sang a solo with the choir {}, and remembered every line.",
        "did {} sing a solo with the choir?",
        "did I sing a solo with the choir?",
    ),
    happened(
        "The new stove was delivered {}, in four pieces.",
        "was the new stove of {} delivered?",
        "was my new stove delivered?",
    ),
    happened(
        "I passed the boating exam {}, with one mistake.",
        "did {} pass the boating exam?",
        "did I pass the boating exam?",
    ),
    happened(
        "My great-aunt turned ninety {}, she danced longer than I did.",
        "did the great-aunt of {} turn ninety?",
        "did my great-aunt turn ninety?",
    ),
];

/// Something of which there is one more each time that it is told.
pub(super) struct Series {
    /// As each is told; `{}` is the word.
    pub(super) said: &'static str,
    /// As all of them are asked for.
    pub(super) of_another: &'static str,
    /// As their number is asked for.
    pub(super) of_me: &'static str,
    pub(super) words: &'static [&'static str],
}

pub(super) const SERIES: [Series; 3] = [
    Series {
        said: "I took in another animal from the shelter, this time a {}.",
        of_another: "Which animals did {} take in from the shelter?",
        of_me: "How many animals did I take in from the shelter?",
        words: ANIMALS,
    },
    Series {
        said: "The cooking course had {} on its list, and mine was eaten up.",
        of_another: "Which dishes did {} cook at the cooking course?",
        of_me: "How many dishes did I cook at the cooking course?",
        words: DISHES,
    },
    Series {
        said: "I spent a long weekend in {}, with only a small bag.",
        of_another: "In which places did {} spend a long weekend?",
        of_me: "In how many places did I spend a long weekend?",
        words: PLACES,
    },
];

/// How often a series is told.
pub(super) const SERIES_TIMES: usize = 3;
