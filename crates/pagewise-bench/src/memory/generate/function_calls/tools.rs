//! Made-up functions of several domains, and how people ask for what they do.

/// A function, and how it is asked for.
pub(super) struct ToolText {
    /// Functions of another domain do not help.
    pub(super) domain: &'static str,
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) arguments: &'static [Argument],
    /// Requests, with each required argument in braces.
    pub(super) asks: &'static [&'static str],
}

/// An argument.
pub(super) struct Argument {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) kind: Kind,
    /// What is said of an optional argument, if anything is; `None` for one that is required.
    pub(super) said: Option<&'static str>,
}

/// What an argument is.
pub(super) enum Kind {
    /// A text: one of these, which nobody says otherwise.
    Word(&'static [&'static str]),
    /// One of these, and the schema says so.
    Choice(&'static [&'static str]),
    Whole(i64, i64),
    /// A number with one digit behind the point.
    Tenths(i32, i32),
    /// True, if it is said.
    Yes,
    /// A list of some of these.
    Words(&'static [&'static str]),
    /// A latitude and a longitude.
    Place,
}

const fn needs(name: &'static str, description: &'static str, kind: Kind) -> Argument {
    Argument { name, description, kind, said: None }
}

const fn may(
    name: &'static str,
    description: &'static str,
    kind: Kind,
    said: &'static str,
) -> Argument {
    Argument { name, description, kind, said: Some(said) }
}

const TOWNS: &[&str] = &["Visby", "Lund", "Aarhus", "Bergen", "Turku", "Tartu", "Gdansk", "Kiel"];
const NAMES: &[&str] = &["Ilse", "Tove", "Henrik", "Marta", "Jonas", "Aino", "Piet", "Signe"];
const PLANTS: &[&str] = &["tomato", "sage", "basil", "lavender", "rosemary", "chive"];
const FOODS: &[&str] = &["rye bread", "lentils", "goat cheese", "plums", "barley", "smoked trout"];
const DAYS: &[&str] =
    &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

pub(super) const TOOLS: &[ToolText] = &[
    ToolText {
        domain: "travel",
        name: "ferry.find_crossing",
        description: "Finds ferries between two towns.",
        arguments: &[
            needs("from", "the town of departure", Kind::Word(&["Visby", "Bergen", "Kiel"])),
            needs("to", "the town of arrival", Kind::Word(&["Turku", "Gdansk", "Aarhus"])),
            needs("passengers", "how many people travel", Kind::Whole(1, 9)),
            may("with_car", "whether a car is taken along", Kind::Yes, "We take the car along."),
        ],
        asks: &[
            "Find a ferry from {from} to {to} for {passengers} people.",
            "Which boats go from {from} to {to}? There will be {passengers} of us.",
        ],
    },
    ToolText {
        domain: "travel",
        name: "ferry.cancel_booking",
        description: "Cancels the booking of a ferry.",
        arguments: &[needs("booking", "the number of the booking", Kind::Whole(10_000, 99_999))],
        asks: &[
            "Please cancel my ferry booking number {booking}.",
            "Cancel the ferry, booking {booking}.",
        ],
    },
    ToolText {
        domain: "travel",
        name: "book_cabin",
        description: "Books a holiday cabin.",
        arguments: &[
            needs("town", "where the cabin is", Kind::Word(TOWNS)),
            needs("nights", "how many nights", Kind::Whole(2, 14)),
            may("sauna", "whether it must have a sauna", Kind::Yes, "It must have a sauna."),
        ],
        asks: &[
            "Book a cabin in {town} for {nights} nights.",
            "I need a holiday cabin in {town}, {nights} nights.",
        ],
    },
    ToolText {
        domain: "garden",
        name: "garden.water_bed",
        description: "Waters a bed of the garden.",
        arguments: &[
            needs("bed", "the number of the bed", Kind::Whole(1, 12)),
            needs("litres", "how much water, in litres", Kind::Tenths(1, 20)),
        ],
        asks: &[
            "Give bed {bed} of the garden {litres} litres of water.",
            "Water garden bed {bed} with {litres} litres.",
        ],
    },
    ToolText {
        domain: "garden",
        name: "garden.plan_sowing",
        description: "Plans what is sown in the garden in a month.",
        arguments: &[
            needs("plants", "what is sown", Kind::Words(PLANTS)),
            needs("month", "the month", Kind::Choice(&["March", "April", "May", "June"])),
        ],
        asks: &[
            "Plan to sow {plants} in {month}.",
            "In {month} I want to sow these: {plants}. Please plan it.",
        ],
    },
    ToolText {
        domain: "garden",
        name: "identifyPest",
        description: "Says which pest has damaged a plant.",
        arguments: &[
            needs("plant", "the plant", Kind::Word(PLANTS)),
            needs(
                "damage",
                "what can be seen",
                Kind::Choice(&["holes", "spots", "webs", "curled leaves"]),
            ),
        ],
        asks: &[
            "My {plant} has {damage}. Which pest is it?",
            "Which pest makes {damage} on {plant}?",
        ],
    },
    ToolText {
        domain: "sky",
        name: "sky.next_moonrise",
        description: "Returns the time of the next moonrise at a place on Earth.",
        arguments: &[needs("place", "the place", Kind::Place)],
        asks: &["When does the moon rise next at {place}?", "Next moonrise at {place}, please."],
    },
    ToolText {
        domain: "sky",
        name: "sky.convert_parsecs",
        description: "Converts a distance in parsecs to another unit.",
        arguments: &[
            needs("parsecs", "the distance in parsecs", Kind::Tenths(1, 400)),
            needs(
                "unit",
                "the unit wanted",
                Kind::Choice(&["light-years", "kilometres", "astronomical units"]),
            ),
        ],
        asks: &["How much is {parsecs} parsecs in {unit}?", "Convert {parsecs} parsecs to {unit}."],
    },
    ToolText {
        domain: "sky",
        name: "reserve_telescope",
        description: "Reserves the telescope of the club for an evening.",
        arguments: &[
            needs("day", "the day of the week", Kind::Choice(DAYS)),
            needs("name", "who uses it", Kind::Word(NAMES)),
            may("hours", "for how many hours", Kind::Whole(1, 5), "It is for {hours} hours."),
        ],
        asks: &[
            "Reserve the telescope on {day} for {name}.",
            "{name} would like to have the telescope on {day}.",
        ],
    },
    ToolText {
        domain: "kitchen",
        name: "pantry.add_items",
        description: "Adds food to the list of the pantry.",
        arguments: &[
            needs("items", "what is added", Kind::Words(FOODS)),
            may(
                "shelf",
                "the number of the shelf",
                Kind::Whole(1, 6),
                "They are on shelf {shelf}.",
            ),
        ],
        asks: &["Add {items} to the pantry.", "Put these on the pantry list: {items}."],
    },
    ToolText {
        domain: "kitchen",
        name: "pantry.remove_item",
        description: "Takes one food off the list of the pantry.",
        arguments: &[needs("item", "what is gone", Kind::Word(FOODS))],
        asks: &[
            "We have no {item} any more, take it off the pantry list.",
            "Remove {item} from the pantry.",
        ],
    },
    ToolText {
        domain: "kitchen",
        name: "Oven2.preheat",
        description: "Preheats the oven.",
        arguments: &[
            needs("celsius", "the temperature in degrees Celsius", Kind::Whole(120, 250)),
            needs("mode", "how it heats", Kind::Choice(&["fan", "grill", "bottom heat"])),
        ],
        asks: &[
            "Preheat the oven to {celsius} degrees Celsius, {mode}.",
            "Oven to {celsius} °C with {mode}, please.",
        ],
    },
    ToolText {
        domain: "library",
        name: "library.renew_loan",
        description: "Extends the loan of a book.",
        arguments: &[
            needs("loan", "the number of the loan", Kind::Whole(1_000, 9_999)),
            needs("weeks", "by how many weeks", Kind::Whole(1, 4)),
        ],
        asks: &[
            "Extend my book loan {loan} by {weeks} weeks.",
            "Could I keep the book of loan {loan} for {weeks} more weeks?",
        ],
    },
    ToolText {
        domain: "library",
        name: "library.reserve_room",
        description: "Reserves a reading room of the library.",
        arguments: &[
            needs("day", "the day of the week", Kind::Choice(DAYS)),
            needs("seats", "how many seats are needed", Kind::Whole(2, 30)),
            may("projector", "whether a projector is needed", Kind::Yes, "We need a projector."),
        ],
        asks: &[
            "Reserve a reading room in the library on {day} with {seats} seats.",
            "We need a library room for {seats} people on {day}.",
        ],
    },
    ToolText {
        domain: "bicycles",
        name: "bikes.rent",
        description: "Rents bicycles.",
        arguments: &[
            needs("count", "how many bicycles", Kind::Whole(1, 12)),
            needs("kind", "which kind", Kind::Choice(&["city", "cargo", "tandem"])),
            needs("town", "where", Kind::Word(TOWNS)),
        ],
        asks: &[
            "Rent {count} {kind} bicycles in {town}.",
            "I would like to rent {count} bicycles in {town}, of the kind {kind}.",
        ],
    },
    ToolText {
        domain: "bicycles",
        name: "bikes.report_damage",
        description: "Reports that a rented bicycle is damaged.",
        arguments: &[
            needs("bicycle", "the number on the frame", Kind::Whole(100, 999)),
            needs("part", "what is broken", Kind::Choice(&["brake", "light", "saddle", "chain"])),
            may("can_ride", "whether it can still be ridden", Kind::Yes, "It can still be ridden."),
        ],
        asks: &[
            "The {part} of bicycle {bicycle} is broken, please report it.",
            "Report a broken {part} on rented bicycle {bicycle}.",
        ],
    },
];
