//! A call read byte by byte.
//!
//! The specs become a [`Plan`]: paths of pieces, of which each takes its bytes with one small state
//! and no way back. That is enough to follow a call, to refuse a byte, and to write the shortest
//! honest end of a call that was cut off. It knows nothing of tokens, and shares nothing with the
//! grammar that llguidance compiles; tests hold the two against each other.

use std::ops::Range;

use pagewise_core::{ArgumentKind, CallFormat, FunctionSpec};

use crate::{FIRST_YEAR, LAST_YEAR};

/// What stands for a text that was cut off before its first character.
const FILLER: &str = "…";

/// Writes `text` as a JSON string, quotes included.
pub(crate) fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What a call may be, piece by piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The first path leads to the function's name; path `1 + n` is the rest of function `n` in
    /// the order of its sorted names.
    paths: Vec<Vec<Piece>>,
    /// Which sorted name belongs to the first spec, the one that an unfinished call names.
    first_function: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    /// Sorted, none a prefix of another.
    OneOf(Vec<Vec<u8>>),
    /// The inside of a string and its closing quote.
    Text {
        max_chars: usize,
    },
    Integer {
        min: u64,
        max: u64,
    },
    /// `YYYY-MM-DD` without quotes.
    Date,
}

/// A place in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    path: usize,
    piece: usize,
    within: Within,
}

/// A place in a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Literal {
        offset: usize,
    },
    /// The options from `low` to `high` share the `offset` bytes read.
    OneOf {
        low: usize,
        high: usize,
        offset: usize,
    },
    Text {
        n_chars: usize,
        character: Character,
    },
    Integer {
        value: u64,
        n_digits: u32,
    },
    Date {
        written: [u8; 10],
        n_written: usize,
    },
    /// Behind the closing brace.
    End,
}

/// A place in a character of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Character {
    Between,
    Escape,
    /// `n_left` continuation bytes are to come, the next of them from `low` to `high`.
    Utf8 {
        n_left: u8,
        low: u8,
        high: u8,
        value: u32,
    },
}

impl Plan {
    /// Makes the plan of a call of one of `specs`, which have been checked.
    pub(crate) fn new(specs: &[FunctionSpec], format: &CallFormat) -> Self {
        let mut head = PathBuilder::default();
        head.literal("{");
        if let Some(max_chars) = format.thought_max_chars {
            head.literal("\"thought\": \"");
            head.piece(Piece::Text { max_chars });
            head.literal(", ");
        }
        head.literal("\"function\": ");
        let mut sorted: Vec<&FunctionSpec> = specs.iter().collect();
        sorted.sort_by_key(|spec| json_string(spec.name));
        let names = sorted.iter().map(|spec| json_string(spec.name).into_bytes()).collect();
        head.piece(Piece::OneOf(names));
        let mut paths = vec![head.finish()];
        paths.extend(sorted.iter().map(|spec| function_path(spec)));
        let first_name = specs.first().map(|spec| spec.name);
        let first_function =
            sorted.iter().position(|spec| Some(spec.name) == first_name).unwrap_or_default();
        Self { paths, first_function }
    }

    /// Returns the place before the opening brace.
    pub(crate) fn start(&self) -> Place {
        self.enter(0, 0)
    }

    fn piece(&self, place: Place) -> Option<&Piece> {
        self.paths[place.path].get(place.piece)
    }

    fn enter(&self, path: usize, piece: usize) -> Place {
        let within = match self.paths[path].get(piece) {
            Some(Piece::Literal(_)) => Within::Literal { offset: 0 },
            Some(Piece::OneOf(options)) => Within::OneOf { low: 0, high: options.len(), offset: 0 },
            Some(Piece::Text { .. }) => Within::Text { n_chars: 0, character: Character::Between },
            Some(Piece::Integer { .. }) => Within::Integer { value: 0, n_digits: 0 },
            Some(Piece::Date) => Within::Date { written: [0; 10], n_written: 0 },
            None => Within::End,
        };
        Place { path, piece, within }
    }

    fn after(&self, place: Place) -> Place {
        match place.within {
            // The one choice of the first path is that of the function.
            Within::OneOf { low, .. } if place.path == 0 => self.enter(1 + low, 0),
            _ => self.enter(place.path, place.piece + 1),
        }
    }

    /// Returns the place after `byte`, or none if it cannot come here.
    pub(crate) fn step(&self, place: Place, byte: u8) -> Option<Place> {
        let at = |within| Some(Place { within, ..place });
        match (self.piece(place)?, place.within) {
            (Piece::Literal(text), Within::Literal { offset }) => {
                if text[offset] != byte {
                    None
                } else if offset + 1 == text.len() {
                    Some(self.after(place))
                } else {
                    at(Within::Literal { offset: offset + 1 })
                }
            }
            (Piece::OneOf(options), Within::OneOf { low, high, offset }) => {
                let Range { start: low, end: high } = narrow(options, low..high, offset, byte);
                let within = Within::OneOf { low, high, offset: offset + 1 };
                if low == high {
                    None
                } else if options[low].len() == offset + 1 {
                    Some(self.after(Place { within, ..place }))
                } else {
                    at(within)
                }
            }
            (Piece::Text { .. }, Within::Text { n_chars, character: Character::Between })
                if byte == b'"' && n_chars > 0 =>
            {
                Some(self.after(place))
            }
            (Piece::Text { max_chars }, Within::Text { n_chars, character })
                if n_chars < *max_chars =>
            {
                let (n_chars, character) = step_text(n_chars, character, byte)?;
                at(Within::Text { n_chars, character })
            }
            (&Piece::Integer { min, max }, Within::Integer { value, n_digits }) => {
                if byte.is_ascii_digit() {
                    // A leading zero stands alone.
                    if n_digits > 0 && value == 0 {
                        return None;
                    }
                    let value = value * 10 + u64::from(byte - b'0');
                    extend_integer(value, min, max)?;
                    at(Within::Integer { value, n_digits: n_digits + 1 })
                } else if n_digits > 0 && (min..=max).contains(&value) {
                    self.step(self.after(place), byte)
                } else {
                    None
                }
            }
            (Piece::Date, Within::Date { mut written, n_written }) => {
                written[n_written] = byte;
                extend_date(&written[..=n_written])?;
                if n_written + 1 == written.len() {
                    Some(self.after(place))
                } else {
                    at(Within::Date { written, n_written: n_written + 1 })
                }
            }
            _ => None,
        }
    }

    /// Returns whether the call has ended.
    pub(crate) fn is_complete(&self, place: Place) -> bool {
        place.within == Within::End
    }

    /// Returns whether no character is half written here: neither its bytes nor its escape.
    pub(crate) fn is_between_characters(&self, place: Place) -> bool {
        match (self.piece(place), place.within) {
            (Some(Piece::OneOf(options)), Within::OneOf { low, offset, .. }) => {
                std::str::from_utf8(&options[low][..offset]).is_ok()
            }
            (_, Within::Text { character, .. }) => character == Character::Between,
            _ => true,
        }
    }

    /// Returns a text that ends the call from `place`, which is between characters.
    ///
    /// Strings are closed where they are, numbers and days are the least that begin as written,
    /// choices the first in order, booleans and heartbeats false. A call without a function yet
    /// becomes one of the first spec.
    pub(crate) fn close(&self, mut place: Place) -> String {
        let mut text = Vec::new();
        while let Some(piece) = self.piece(place) {
            match (piece, place.within) {
                (Piece::Literal(literal), Within::Literal { offset }) => {
                    text.extend_from_slice(&literal[offset..]);
                }
                (Piece::OneOf(options), Within::OneOf { low, high, offset }) => {
                    let is_undecided =
                        place.path == 0 && (low..high).contains(&self.first_function);
                    let low = if is_undecided { self.first_function } else { low };
                    text.extend_from_slice(&options[low][offset..]);
                    place.within = Within::OneOf { low, high, offset };
                }
                (Piece::Text { .. }, Within::Text { n_chars, .. }) => {
                    if n_chars == 0 {
                        text.extend_from_slice(FILLER.as_bytes());
                    }
                    text.push(b'"');
                }
                (&Piece::Integer { min, max }, Within::Integer { value, n_digits }) => {
                    let number =
                        if n_digits == 0 { Some(min) } else { extend_integer(value, min, max) };
                    let digits = number.unwrap_or(min).to_string();
                    text.extend_from_slice(&digits.as_bytes()[n_digits as usize..]);
                }
                (Piece::Date, Within::Date { written, n_written }) => {
                    let date = extend_date(&written[..n_written]).unwrap_or_default();
                    text.extend_from_slice(date.as_bytes().get(n_written..).unwrap_or_default());
                }
                _ => {}
            }
            place = self.after(place);
        }
        // All pieces are whole characters here, so nothing is lost.
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn function_path(spec: &FunctionSpec) -> Vec<Piece> {
    let mut path = PathBuilder::default();
    path.literal(", \"args\": {");
    for (n, argument) in spec.arguments.iter().enumerate() {
        if n > 0 {
            path.literal(", ");
        }
        path.literal(&format!("{}: ", json_string(argument.name)));
        match &argument.kind {
            ArgumentKind::Text { max_chars } => {
                path.literal("\"");
                path.piece(Piece::Text { max_chars: *max_chars });
            }
            ArgumentKind::OneOf(allowed) => {
                let mut options: Vec<Vec<u8>> =
                    allowed.iter().map(|text| json_string(text).into_bytes()).collect();
                options.sort_unstable();
                options.dedup();
                path.piece(Piece::OneOf(options));
            }
            ArgumentKind::Integer { min, max } => {
                path.piece(Piece::Integer { min: u64::from(*min), max: u64::from(*max) });
            }
            ArgumentKind::Boolean => path.boolean(),
            ArgumentKind::Date => {
                path.literal("\"");
                path.piece(Piece::Date);
                path.literal("\"");
            }
        }
    }
    path.literal("}");
    if spec.asks_heartbeat {
        path.literal(", \"request_heartbeat\": ");
        path.boolean();
    }
    path.literal("}");
    path.finish()
}

#[derive(Default)]
struct PathBuilder {
    pieces: Vec<Piece>,
    literal: String,
}

impl PathBuilder {
    fn literal(&mut self, text: &str) {
        self.literal.push_str(text);
    }

    fn piece(&mut self, piece: Piece) {
        if !self.literal.is_empty() {
            self.pieces.push(Piece::Literal(std::mem::take(&mut self.literal).into_bytes()));
        }
        self.pieces.push(piece);
    }

    fn boolean(&mut self) {
        self.piece(Piece::OneOf(vec![b"false".to_vec(), b"true".to_vec()]));
    }

    fn finish(mut self) -> Vec<Piece> {
        if !self.literal.is_empty() {
            self.pieces.push(Piece::Literal(self.literal.into_bytes()));
        }
        self.pieces
    }
}

/// Returns which of the options in `range`, all alike up to `offset`, have `byte` there.
fn narrow(options: &[Vec<u8>], range: Range<usize>, offset: usize, byte: u8) -> Range<usize> {
    let low = range.start;
    let options = &options[range];
    let start = options.partition_point(|option| option[offset] < byte);
    let end = options.partition_point(|option| option[offset] <= byte);
    low + start..low + end
}

fn step_text(n_chars: usize, character: Character, byte: u8) -> Option<(usize, Character)> {
    let finish = |value: char| {
        (n_chars > 0 || !value.is_whitespace()).then_some((n_chars + 1, Character::Between))
    };
    let utf8 = |n_left, low, high, value: u8| {
        Some((n_chars, Character::Utf8 { n_left, low, high, value: u32::from(value) }))
    };
    match character {
        Character::Escape => finish(match byte {
            b'"' | b'\\' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            _ => return None,
        }),
        Character::Utf8 { n_left, low, high, value } => {
            if !(low..=high).contains(&byte) {
                return None;
            }
            let value = value << 6 | u32::from(byte & 0x3f);
            if n_left > 1 {
                let character =
                    Character::Utf8 { n_left: n_left - 1, low: 0x80, high: 0xbf, value };
                return Some((n_chars, character));
            }
            finish(char::from_u32(value)?)
        }
        // The well-formed byte sequences of the Unicode standard, table 3-7.
        Character::Between => match byte {
            b'\\' => Some((n_chars, Character::Escape)),
            b'"' | 0..0x20 => None,
            0x20..0x80 => finish(char::from(byte)),
            0xc2..=0xdf => utf8(1, 0x80, 0xbf, byte & 0x1f),
            0xe0 => utf8(2, 0xa0, 0xbf, 0),
            0xed => utf8(2, 0x80, 0x9f, 0xd),
            0xe1..=0xef => utf8(2, 0x80, 0xbf, byte & 0xf),
            0xf0 => utf8(3, 0x90, 0xbf, 0),
            0xf1..=0xf3 => utf8(3, 0x80, 0xbf, byte & 7),
            0xf4 => utf8(3, 0x80, 0x8f, 4),
            _ => None,
        },
    }
}

/// Returns the least number from `min` to `max` whose digits begin with those of `value`.
fn extend_integer(value: u64, min: u64, max: u64) -> Option<u64> {
    let mut low = value;
    let mut high = value;
    loop {
        if high >= min && low <= max {
            return Some(low.max(min));
        }
        if low > max || value == 0 {
            return None;
        }
        low *= 10;
        high = high * 10 + 9;
    }
}

/// Returns the first day that begins with `written`, at most ten bytes.
fn extend_date(written: &[u8]) -> Option<String> {
    let (year_written, rest) = written.split_at(written.len().min(4));
    let year = (FIRST_YEAR..=LAST_YEAR)
        .find(|year| year.to_string().as_bytes().starts_with(year_written))?;
    // If anything is written of the month, the year is whole; likewise for the day.
    let (month_written, day_written) = rest.split_at(rest.len().min(3));
    let month =
        (1..=12).find(|month| format!("-{month:02}").as_bytes().starts_with(month_written))?;
    let is_leap_year = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let n_days = match month {
        2 if is_leap_year => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let day = (1..=n_days).find(|day| format!("-{day:02}").as_bytes().starts_with(day_written))?;
    Some(format!("{year}-{month:02}-{day:02}"))
}
