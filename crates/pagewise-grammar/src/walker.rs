//! A call read byte by byte.
//!
//! It goes through a [`Plan`] with one small state and no way back. That is enough to follow a call, to
//! refuse a byte, and to write the shortest honest end of a call that was cut off. It knows nothing of
//! tokens, and shares nothing with the grammar that llguidance compiles; tests hold the two against each
//! other.

use std::ops::Range;

use crate::plan::{Beginning, Choice, Node, NodeId, Plan};
use crate::{FIRST_YEAR, LAST_YEAR, MAX_LEVELS};

/// What stands for a text that was cut off before its first character.
const FILLER: &str = "…";

/// The most sequences that are under way at once: one for each level of a value, the call itself, and the
/// one that a value inside begins with.
const MAX_FRAMES: usize = MAX_LEVELS + 4;

/// The most digits of a number before the point, behind it, and in its exponent.
pub(crate) const NUMBER_DIGITS: [u8; 3] = [15, 14, 2];

/// A place in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    node: NodeId,
    within: Within,
    stack: Stack,
}

/// The sequences that a place is inside of, outermost first, and which part of each comes next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stack {
    frames: [(NodeId, u32); MAX_FRAMES],
    n_frames: usize,
}

impl Stack {
    fn push(&mut self, sequence: NodeId, next: u32) {
        self.frames[self.n_frames] = (sequence, next);
        self.n_frames += 1;
    }

    fn pop(&mut self) -> Option<(NodeId, u32)> {
        self.n_frames = self.n_frames.checked_sub(1)?;
        // Places with the same way on are equal.
        Some(std::mem::take(&mut self.frames[self.n_frames]))
    }
}

/// A place in a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// The options from `low` to `high` share the `offset` bytes read.
    Choice {
        low: usize,
        high: usize,
        offset: usize,
    },
    Text {
        n_chars: usize,
        character: Character,
    },
    Integer {
        is_negative: bool,
        value: u64,
        n_digits: u32,
    },
    Number {
        part: NumberPart,
        n_digits: u8,
    },
    Date {
        written: [u8; 10],
        n_written: usize,
    },
    /// Before the byte that decides.
    AnyOf,
    /// Behind the closing brace.
    End,
}

/// What of a number was written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NumberPart {
    Nothing,
    Minus,
    /// A zero, which no digit follows.
    Zero,
    Digits,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
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

/// Follows calls of a plan.
#[derive(Debug)]
pub(crate) struct Walker {
    plan: Plan,
}

impl Walker {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { plan }
    }

    /// Returns the place before the opening brace.
    pub(crate) fn start(&self) -> Place {
        self.enter(self.plan.start(), Stack::default())
    }

    fn enter(&self, mut node: NodeId, mut stack: Stack) -> Place {
        let within = loop {
            match self.plan.node(node) {
                Node::Sequence(parts) => {
                    // The last part takes the place of the sequence, so that long objects are no deeper
                    // than short ones.
                    if parts.len() > 1 {
                        stack.push(node, 1);
                    }
                    node = parts[0];
                }
                Node::Choice { options, .. } => {
                    break Within::Choice { low: 0, high: options.len(), offset: 0 };
                }
                Node::Text { .. } => {
                    break Within::Text { n_chars: 0, character: Character::Between };
                }
                Node::Integer { .. } => {
                    break Within::Integer { is_negative: false, value: 0, n_digits: 0 };
                }
                Node::Number => break Within::Number { part: NumberPart::Nothing, n_digits: 0 },
                Node::Date => break Within::Date { written: [0; 10], n_written: 0 },
                Node::AnyOf(_) => break Within::AnyOf,
            }
        };
        Place { node, within, stack }
    }

    /// Returns the place behind a node that has ended.
    fn after(&self, place: Place) -> Place {
        let mut stack = place.stack;
        if let (Node::Choice { options, .. }, Within::Choice { low, .. }) =
            (self.plan.node(place.node), place.within)
            && let Some(next) = options[low].next
        {
            return self.enter(next, stack);
        }
        let Some((sequence, next)) = stack.pop() else {
            return Place { within: Within::End, stack, ..place };
        };
        let Node::Sequence(parts) = self.plan.node(sequence) else {
            return Place { within: Within::End, stack, ..place };
        };
        if (next as usize) + 1 < parts.len() {
            stack.push(sequence, next + 1);
        }
        self.enter(parts[next as usize], stack)
    }

    /// Returns the place after `byte`, or none if it cannot come here.
    pub(crate) fn step(&self, place: Place, byte: u8) -> Option<Place> {
        let at = |within| Some(Place { within, ..place });
        match (self.plan.node(place.node), place.within) {
            (_, Within::End) => None,
            (Node::Choice { options, .. }, Within::Choice { low, high, offset }) => {
                let Range { start: low, end: high } = narrow(options, low..high, offset, byte);
                let within = Within::Choice { low, high, offset: offset + 1 };
                if low == high {
                    None
                } else if options[low].text.len() == offset + 1 {
                    Some(self.after(Place { within, ..place }))
                } else {
                    at(within)
                }
            }
            (Node::Text { .. }, Within::Text { n_chars, character: Character::Between })
                if byte == b'"' && n_chars > 0 =>
            {
                Some(self.after(place))
            }
            (Node::Text { max_chars }, Within::Text { n_chars, character })
                if n_chars < *max_chars =>
            {
                let (n_chars, character) = step_text(n_chars, character, byte)?;
                at(Within::Text { n_chars, character })
            }
            (&Node::Integer { min, max }, Within::Integer { is_negative, value, n_digits }) => {
                let sizes = sizes(is_negative, min, max);
                if byte == b'-' && !is_negative && n_digits == 0 && min < 0 {
                    at(Within::Integer { is_negative: true, value, n_digits })
                } else if byte.is_ascii_digit() {
                    // A leading zero stands alone.
                    if n_digits > 0 && value == 0 {
                        return None;
                    }
                    let value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
                    extend_integer(value, sizes?)?;
                    at(Within::Integer { is_negative, value, n_digits: n_digits + 1 })
                } else if n_digits > 0
                    && sizes.is_some_and(|(low, high)| (low..=high).contains(&value))
                {
                    self.step(self.after(place), byte)
                } else {
                    None
                }
            }
            (Node::Number, Within::Number { part, n_digits }) => {
                match step_number(part, n_digits, byte) {
                    Some((part, n_digits)) => at(Within::Number { part, n_digits }),
                    None if part.is_whole() => self.step(self.after(place), byte),
                    None => None,
                }
            }
            (Node::Date, Within::Date { mut written, n_written }) => {
                written[n_written] = byte;
                extend_date(&written[..=n_written])?;
                if n_written + 1 == written.len() {
                    Some(self.after(place))
                } else {
                    at(Within::Date { written, n_written: n_written + 1 })
                }
            }
            (Node::AnyOf(kinds), Within::AnyOf) => {
                let beginning = Beginning::of(byte)?;
                let (_, node) = kinds.iter().find(|(begins, _)| *begins == beginning)?;
                self.step(self.enter(*node, place.stack), byte)
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
        match (self.plan.node(place.node), place.within) {
            (Node::Choice { options, .. }, Within::Choice { low, offset, .. }) => {
                // A byte that goes on with a character is no beginning of one.
                options[low].text.get(offset).is_none_or(|byte| byte & 0xc0 != 0x80)
            }
            (_, Within::Text { character, .. }) => character == Character::Between,
            _ => true,
        }
    }

    /// Returns a text that ends the call from `place`, which is between characters.
    ///
    /// Strings are closed where they are, lists and objects as soon as they may end, numbers are those
    /// nearest to zero that begin as written, days the first, choices the first in order, booleans and
    /// heartbeats false. A call without a function yet becomes one of the first spec.
    pub(crate) fn close(&self, mut place: Place) -> String {
        let mut text = Vec::new();
        while place.within != Within::End {
            match (self.plan.node(place.node), place.within) {
                (Node::Choice { options, closing }, Within::Choice { low, high, offset }) => {
                    let low = if (low..high).contains(closing) { *closing } else { low };
                    text.extend_from_slice(&options[low].text[offset..]);
                    place.within = Within::Choice { low, high, offset };
                }
                (Node::Text { .. }, Within::Text { n_chars, .. }) => {
                    if n_chars == 0 {
                        text.extend_from_slice(FILLER.as_bytes());
                    }
                    text.push(b'"');
                }
                (&Node::Integer { min, max }, Within::Integer { is_negative, value, n_digits }) => {
                    text.extend_from_slice(
                        end_of_integer(is_negative, value, n_digits, min, max).as_bytes(),
                    )
                }
                (Node::Number, Within::Number { part, .. }) if !part.is_whole() => text.push(b'0'),
                (Node::Date, Within::Date { written, n_written }) => {
                    let date = extend_date(&written[..n_written]).unwrap_or_default();
                    text.extend_from_slice(date.as_bytes().get(n_written..).unwrap_or_default());
                }
                (Node::AnyOf(kinds), _) => {
                    place = self.enter(kinds[0].1, place.stack);
                    continue;
                }
                _ => {}
            }
            place = self.after(place);
        }
        // All that is written is whole characters here, so nothing is lost.
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Returns which of the options in `range`, all alike up to `offset`, have `byte` there.
fn narrow(options: &[Choice], range: Range<usize>, offset: usize, byte: u8) -> Range<usize> {
    let low = range.start;
    let options = &options[range];
    let start = options.partition_point(|option| option.text[offset] < byte);
    let end = options.partition_point(|option| option.text[offset] <= byte);
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

impl NumberPart {
    /// Whether a number may end here.
    fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Digits | Self::Fraction | Self::Exponent)
    }
}

/// Returns what of a number was written when `byte` is, and how many digits of that part.
fn step_number(part: NumberPart, n_digits: u8, byte: u8) -> Option<(NumberPart, u8)> {
    use NumberPart::{Digits, E, Exponent, Fraction, Minus, Nothing, Point, Sign, Zero};
    let [max_digits, max_fraction, max_exponent] = NUMBER_DIGITS;
    match (part, byte) {
        (Nothing, b'-') => Some((Minus, 0)),
        (Nothing | Minus, b'0') => Some((Zero, 0)),
        (Nothing | Minus, b'1'..=b'9') => Some((Digits, 1)),
        (Digits, b'0'..=b'9') if n_digits < max_digits => Some((Digits, n_digits + 1)),
        (Zero | Digits, b'.') => Some((Point, 0)),
        (Point, b'0'..=b'9') => Some((Fraction, 1)),
        (Fraction, b'0'..=b'9') if n_digits < max_fraction => Some((Fraction, n_digits + 1)),
        (Zero | Digits | Fraction, b'e' | b'E') => Some((E, 0)),
        (E, b'-' | b'+') => Some((Sign, 0)),
        (E | Sign, b'0'..=b'9') => Some((Exponent, 1)),
        (Exponent, b'0'..=b'9') if n_digits < max_exponent => Some((Exponent, n_digits + 1)),
        _ => None,
    }
}

/// Returns the least and the greatest distance from zero of the numbers from `min` to `max` that have this
/// sign; none if there are none. Zero has no sign.
pub(crate) fn sizes(is_negative: bool, min: i64, max: i64) -> Option<(u64, u64)> {
    if is_negative {
        (min < 0).then(|| (if max < 0 { max.unsigned_abs() } else { 1 }, min.unsigned_abs()))
    } else {
        (max >= 0).then(|| (min.max(0).unsigned_abs(), max.unsigned_abs()))
    }
}

/// Returns the least number from `min` to `max` whose digits begin with those of `value`.
fn extend_integer(value: u64, (min, max): (u64, u64)) -> Option<u64> {
    let (mut low, mut high) = (u128::from(value), u128::from(value));
    let (min, max) = (u128::from(min), u128::from(max));
    loop {
        if high >= min && low <= max {
            return u64::try_from(low.max(min)).ok();
        }
        if low > max || value == 0 {
            return None;
        }
        low *= 10;
        high = high * 10 + 9;
    }
}

/// Returns what is missing of the number nearest to zero that begins as written.
fn end_of_integer(is_negative: bool, value: u64, n_digits: u32, min: i64, max: i64) -> String {
    if n_digits > 0 {
        let number = sizes(is_negative, min, max).and_then(|sizes| extend_integer(value, sizes));
        return number.unwrap_or(value).to_string().split_off(n_digits as usize);
    }
    let nearest = |is_negative| sizes(is_negative, min, max).map(|(low, _)| low);
    match (is_negative, nearest(false), nearest(true)) {
        (false, Some(number), _) => number.to_string(),
        (false, None, Some(number)) => format!("-{number}"),
        (_, _, number) => number.unwrap_or_default().to_string(),
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
