//! What the two may tell each other, and what they say besides.

/// Something to tell, which has one word that no one could guess.
pub(super) struct Topic {
    /// As it is said; `{}` is the word.
    pub(super) said: &'static str,
    /// As it would be noted.
    pub(super) fact: &'static str,
    pub(super) words: &'static [&'static str],
}

const fn topic(said: &'static str, fact: &'static str, words: &'static [&'static str]) -> Topic {
    Topic { said, fact, words }
}

pub(crate) const INSTRUMENTS: &[&str] = &[
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
pub(crate) const ANIMALS: &[&str] = &[
    "ferret", "parrot", "tortoise", "hedgehog", "donkey", "goat", "iguana", "llama", "rabbit",
    "goose",
];
pub(crate) const DISHES: &[&str] = &[
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
pub(crate) const PLANTS: &[&str] = &[
    "tomatoes", "pumpkins", "orchids", "leeks", "tulips", "radishes", "lavender", "beans", "roses",
    "cabbages",
];
pub(crate) const TRADES: &[&str] = &[
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
pub(crate) const SPORTS: &[&str] = &[
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
pub(crate) const TONGUES: &[&str] = &[
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
pub(crate) const VEHICLES: &[&str] = &[
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
pub(crate) const PLACES: &[&str] = &[
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
pub(crate) const CRAFTS: &[&str] = &[
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
pub(crate) const DRINKS: &[&str] = &[
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
pub(crate) const STONES: &[&str] =
    &["opal", "garnet", "amber", "topaz", "jade", "onyx", "ruby", "quartz", "coral", "pearl"];
pub(crate) const SUBJECTS: &[&str] = &[
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
pub(crate) const SHOPS: &[&str] = &[
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
pub(crate) const COLOURS: &[&str] = &[
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
pub(crate) const DANCES: &[&str] = &[
    "tango", "waltz", "polka", "salsa", "foxtrot", "flamenco", "samba", "swing", "rumba", "minuet",
];
pub(crate) const GAMES: &[&str] = &[
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
pub(super) const TOPICS: [Topic; 24] = [
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

pub(crate) const SMALL_TALK: &[&str] = &[
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
