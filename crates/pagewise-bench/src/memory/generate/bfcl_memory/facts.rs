//! What is told in the scenarios, and what is said besides.

use crate::memory::generate::people::{FIRST_NAMES, SURNAMES, TOWNS};

/// What the conversations of a scenario are about.
pub(super) struct Domain {
    pub(super) name: &'static str,
    /// Who the agent is.
    pub(super) persona: &'static str,
    pub(super) kinds: &'static [Kind],
}

/// Something that may be told; `{}` is a value.
pub(super) struct Kind {
    pub(super) told: &'static str,
    pub(super) question: &'static str,
    pub(super) corrected: &'static str,
    /// Other accepted forms of a value stand behind it, after a `|`.
    pub(super) values: &'static [&'static str],
}

const fn kind(
    told: &'static str,
    question: &'static str,
    corrected: &'static str,
    values: &'static [&'static str],
) -> Kind {
    Kind { told, question, corrected, values }
}

const WEEKDAYS: &[&str] = &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const COLOURS: &[&str] = &["turquoise", "apricot", "crimson", "lilac", "ochre", "olive", "silver"];

pub(super) const DOMAINS: &[Domain] = &[
    Domain {
        name: "household",
        persona: "I am the assistant of a household. I meet the user again and again, and I am asked about what I \
                  was told when the conversation is long over, so I save what may matter.",
        kinds: HOUSEHOLD,
    },
    Domain {
        name: "bakery",
        persona: "I am the assistant of someone who runs a bakery. We talk every few days, and I am asked about \
                  what I was told when the conversation is long over, so I save what may matter.",
        kinds: BAKERY,
    },
    Domain {
        name: "journey",
        persona: "I help the user to plan a journey, in several conversations. I am asked about what I was told \
                  when the conversation is long over, so I save what may matter.",
        kinds: JOURNEY,
    },
];

const HOUSEHOLD: &[Kind] = &[
    kind(
        "We took a dog home from the shelter at last, and the children named him {}.",
        "What is the name of our dog?",
        "The children have thought again: the dog listens to {} now, and that is final.",
        &["Pretzel", "Admiral", "Biscotti", "Rumble", "Tadpole", "Cinder"],
    ),
    kind(
        "Our daughter Ines has started lessons on the {}, every week in the parish hall.",
        "Which instrument does Ines learn?",
        "Ines gave up her lessons and has switched to the {}.",
        &["oboe", "dulcimer", "harp", "trombone", "mandolin", "accordion"],
    ),
    kind(
        "My appointment with the dentist is on {} in the afternoon.",
        "On which day is my appointment with the dentist?",
        "The dentist has called: my appointment was moved to {}.",
        WEEKDAYS,
    ),
    kind(
        "The code of the garage door is {}, please keep it for me.",
        "What is the code of the garage door?",
        "I had to set another code for the garage door, it is {}.",
        &["4817", "2906", "7351", "6042", "8129", "5374"],
    ),
    kind(
        "My husband Tobias gets a rash from {}, so we never cook with it.",
        "What does Tobias get a rash from?",
        "Tobias was tested, and it is not what we thought: his rash comes from {}.",
        &["celery", "mustard", "lupin flour|lupin", "sesame", "kiwi", "buckwheat"],
    ),
    kind(
        "From this year on our rent is {} euros a month, heating included.",
        "How much is our rent a month?",
        "The landlord wrote once more: the rent will be {} euros a month after all.",
        &["870", "915", "940", "985", "1035", "1120"],
    ),
    kind(
        "Aunt Philippa has bought a cottage in {} and wants us to visit.",
        "Where has Aunt Philippa bought a cottage?",
        "Nothing came of Aunt Philippa's cottage; she bought one in {} instead.",
        TOWNS,
    ),
    kind(
        "We are going to paint the kitchen {}, the tins are in the cellar already.",
        "Which colour are we going to paint the kitchen?",
        "We took the tins back to the shop: the kitchen will be {}.",
        COLOURS,
    ),
    kind(
        "Our son Lars builds a model of a {} for the science fair.",
        "What does Lars build a model of for the science fair?",
        "Lars has started over, what he builds for the science fair is a {}.",
        &["windmill", "suspension bridge", "volcano", "lighthouse", "submarine", "cable car"],
    ),
    kind(
        "If the heating fails, the plumber whom we trust is called {}.",
        "Which plumber should be called if the heating fails?",
        "Our old plumber has retired, the one to call about the heating is {} from now on.",
        SURNAMES,
    ),
];

const BAKERY: &[Kind] = &[
    kind(
        "Our flour comes from {}, they deliver before dawn.",
        "Which mill does our flour come from?",
        "We have changed the mill: the flour comes from {} now.",
        &[
            "Kestrel Mill|Kestrel",
            "Brambleford Mill|Brambleford",
            "Saint Odo Mill|Odo",
            "Lowbank Mill|Lowbank",
            "Heron Mill|Heron",
            "Twelve Acre Mill|Twelve Acre",
        ],
    ),
    kind(
        "The rye loaves go in at {} degrees, no matter what the recipe says.",
        "At how many degrees do the rye loaves go in?",
        "With the new oven the rye loaves go in at {} degrees.",
        &["235", "242", "228", "251", "219", "263"],
    ),
    kind(
        "What sells best on weekends is the {}.",
        "What sells best on weekends?",
        "I looked at the receipts, and what sells best on weekends is really the {}.",
        &[
            "poppy seed plait",
            "plum galette",
            "cardamom knot",
            "walnut baguette",
            "cheese twist",
            "lemon tart",
        ],
    ),
    kind(
        "The new apprentice who starts in the mornings is called {}.",
        "What is the name of the new apprentice?",
        "The apprentice did not come back after a day; instead we have one who is called {}.",
        FIRST_NAMES,
    ),
    kind(
        "From next month on we stay closed every {}.",
        "On which day do we stay closed?",
        "We have settled on another day of rest: closed every {}.",
        WEEKDAYS,
    ),
    kind(
        "A plain croissant costs {} cents at our counter.",
        "How many cents does a plain croissant cost?",
        "Butter went up, so a plain croissant costs {} cents now.",
        &["165", "185", "195", "210", "175", "220"],
    ),
    kind(
        "The school next door orders {} rolls for its sports day.",
        "How many rolls does the school order for its sports day?",
        "The school has changed its order to {} rolls.",
        &["140", "85", "260", "170", "320", "95"],
    ),
    kind(
        "The loan for the second oven is from the {}.",
        "Which bank is the loan for the second oven from?",
        "We moved the loan for the second oven to the {}.",
        &[
            "Harbour Bank|Harbour",
            "Valley Savings Bank|Valley Savings",
            "Tillage Bank|Tillage",
            "Lantern Trust|Lantern",
            "Northgate Credit Union|Northgate",
            "Guild Bank|Guild",
        ],
    ),
    kind(
        "Our delivery van is the {} one that stands in the yard.",
        "What colour is our delivery van?",
        "The delivery van was painted last night, it is {} now.",
        COLOURS,
    ),
    kind(
        "The health inspector who visits us is a certain {}.",
        "What is the name of the health inspector?",
        "Another health inspector is responsible for us now, by the name of {}.",
        SURNAMES,
    ),
];

const JOURNEY: &[Kind] = &[
    kind(
        "It is decided: this summer we travel to {}.",
        "Where do we travel this summer?",
        "Everything is different now: the place we travel to is {}.",
        TOWNS,
    ),
    kind(
        "Our train leaves at {} in the morning.",
        "When does our train leave?",
        "They have changed the timetable, our train leaves at {}.",
        &["7:25", "6:50", "8:10", "9:35", "5:55", "10:40"],
    ),
    kind(
        "We stay at the {}, with breakfast.",
        "Which hotel do we stay at?",
        "The hotel was full after all, so we stay at the {}.",
        &[
            "Hotel Pelican|Pelican",
            "Hotel Three Anchors|Three Anchors",
            "Hotel Marigold|Marigold",
            "Hotel Old Customs House|Old Customs House",
            "Hotel Belvedere|Belvedere",
            "Hotel Sundial|Sundial",
        ],
    ),
    kind(
        "{} comes along with us, an old friend from school.",
        "Which old friend from school comes along?",
        "My old friend had to cancel; it is {} from my class who comes along.",
        FIRST_NAMES,
    ),
    kind(
        "For the whole trip I want to spend {} euros at most.",
        "How much do I want to spend at most?",
        "I counted again: I can spend {} euros at most.",
        &["900", "1250", "1400", "1750", "2100", "2300"],
    ),
    kind(
        "What I want to see most is the museum of {}.",
        "Which museum do I want to see most?",
        "I read that it is closed, so the one I want to see most is the museum of {}.",
        &["clocks", "puppets", "glass", "salt", "maps", "bicycles"],
    ),
    kind(
        "In a hotel I always ask for a room on the {} floor.",
        "On which floor do I ask for a room?",
        "My knee is bad, so I now ask for a room on the {} floor.",
        &["second|2nd", "third|3rd", "fourth|4th", "fifth|5th", "sixth|6th", "ground"],
    ),
    kind(
        "My passport runs out in {}.",
        "In which month does my passport run out?",
        "I misread it: my passport runs out in {}.",
        &["February", "April", "June", "August", "October", "December"],
    ),
    kind(
        "My suitcase is the {} one with the dent.",
        "What colour is my suitcase?",
        "The old suitcase fell apart, mine is the {} one now.",
        COLOURS,
    ),
    kind(
        "While we are away, our neighbour {} waters the plants.",
        "Which neighbour waters the plants?",
        "There is someone else to water the plants, it is {} from across the street.",
        SURNAMES,
    ),
];

pub(super) const GREETINGS: &[&str] = &[
    "Hello, here I am again.",
    "Good morning! I have a few minutes.",
    "Hi, how are you today?",
    "Good evening. Sorry for writing so late.",
    "There you are! Do you have time for me?",
];

pub(super) const LEAD_INS: &[&str] = &[
    "Before I forget:",
    "There is news.",
    "By the way:",
    "Something else.",
    "I wanted to tell you this.",
    "Listen:",
    "So far, so good.",
    "One more thing for you:",
];

/// A question that the user adds to a fact.
pub(super) const ASIDES: &[&str] = &[
    "What do you think of that?",
    "Is that not wonderful?",
    "Would you have done the same?",
    "Who would have thought that?",
];

pub(super) const SMALL_TALK: &[&str] = &[
    "It has been raining since yesterday, and I cannot get the washing dry.",
    "I slept badly, the moon was so bright.",
    "Do you know a good word for somebody who is always late?",
    "I had a very good soup for lunch.",
    "There was a queue at the post office, nobody knew why.",
    "What would you do on a free afternoon?",
    "My phone is so slow, I should clean it up one day.",
    "A man in the street sang so loudly that all windows opened.",
    "I keep humming the same tune today.",
    "Can you tell me something cheerful?",
    "They have dug up the road in front of the library again.",
    "I think I need new glasses.",
];
