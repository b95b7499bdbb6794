//! Days that a text counts from its own day, such as "yesterday" or "three weeks ago".
//!
//! Read later, such words are about another day, and a small model takes the day on which something was said
//! for the one on which it happened. So a text that is found again, or noted, says which day, month or year they
//! are. Only English is known, and only words that leave no doubt: "next Friday" may be either of two.

use jiff::ToSpan;
use jiff::civil::{Date, Weekday};

/// Counted numbers above this are no days that somebody remembers.
const COUNT_MAX: i64 = 999;

/// Puts after a text of `day` which days its words are: "I saw her yesterday. (yesterday: 1 March 2026)".
pub(crate) fn with_days(text: &str, day: Date) -> String {
    let told = relative_days(text, day);
    if told.is_empty() {
        return text.to_string();
    }
    let told: Vec<String> = told.iter().map(|(words, when)| format!("{words}: {when}")).collect();
    format!("{text} ({})", told.join(", "))
}

/// The relative days in a text, in order, each once: the words, and what they are.
fn relative_days(text: &str, day: Date) -> Vec<(String, String)> {
    let words: Vec<String> = words(text);
    let mut found: Vec<(String, String)> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let Some((n_words, when)) = at_start(&words[at..], day) else {
            at += 1;
            continue;
        };
        let said = words[at..at + n_words].join(" ");
        if !found.iter().any(|(other, _)| *other == said) {
            found.push((said, when));
        }
        at += n_words;
    }
    found
}

/// The words of a text in lower case. What stands between words that belong together is a space.
fn words(text: &str) -> Vec<String> {
    let pieces = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
    pieces.filter(|piece| !piece.is_empty()).map(str::to_lowercase).collect()
}

/// What the first words are, and how many they are; `None` if they are no relative day.
fn at_start(words: &[String], day: Date) -> Option<(usize, String)> {
    let word = |n: usize| words.get(n).map_or("", String::as_str);
    let [one, two, three, four] = [0, 1, 2, 3].map(word);
    let (n_words, when) = match (one, two, three, four) {
        ("the", "day", "before", "yesterday") => (4, days_on(day, -2)),
        ("the", "day", "after", "tomorrow") => (4, days_on(day, 2)),
        ("yesterday", ..) => (1, days_on(day, -1)),
        ("today" | "tonight", ..) => (1, days_on(day, 0)),
        ("tomorrow", ..) => (1, days_on(day, 1)),
        ("last", "night", ..) => (2, days_on(day, -1)),
        ("last", "week", ..) => (2, week(day, -1)),
        ("next", "week", ..) => (2, week(day, 1)),
        ("last", "weekend", ..) => (2, weekend_before(day)),
        ("last", unit @ ("month" | "year"), ..) => (2, counted(day, unit, -1)),
        ("next", unit @ ("month" | "year"), ..) => (2, counted(day, unit, 1)),
        ("last", name, ..) => (2, weekday_before(day, weekday(name)?)),
        ("in", count, unit, _) => (3, counted(day, unit, count_of(count)?)),
        (count, unit, "ago", _) => (3, counted(day, unit, -count_of(count)?)),
        _ => return None,
    };
    Some((n_words, when?))
}

fn days_on(day: Date, n: i64) -> Option<String> {
    Some(written(day.checked_add(n.days()).ok()?))
}

/// A day as it is written in a sentence; small models copy it into theirs.
pub(crate) fn written(day: Date) -> String {
    day.strftime("%-d %B %Y").to_string()
}

/// The day, or the month, or the year that is so many of a unit away: the longer ago, the less exactly people count.
fn counted(day: Date, unit: &str, n: i64) -> Option<String> {
    let then = |span| day.checked_add(span).ok();
    match unit.strip_suffix('s').unwrap_or(unit) {
        "day" => days_on(day, n),
        "week" => days_on(day, 7 * n),
        "month" => then(n.months()).map(|then| then.strftime("%B %Y").to_string()),
        "year" => then(n.years()).map(|then| then.strftime("%Y").to_string()),
        _ => None,
    }
}

/// From Monday to Sunday.
fn week(day: Date, n: i64) -> Option<String> {
    let monday = day.checked_sub(i64::from(day.weekday().to_monday_zero_offset()).days()).ok()?;
    let first = monday.checked_add((7 * n).days()).ok()?;
    let last = first.checked_add(6.days()).ok()?;
    Some(format!("{} to {}", written(first), written(last)))
}

fn weekend_before(day: Date) -> Option<String> {
    let monday = day.checked_sub(i64::from(day.weekday().to_monday_zero_offset()).days()).ok()?;
    let saturday = monday.checked_sub(2.days()).ok()?;
    Some(format!("{} and {}", written(saturday), written(monday.yesterday().ok()?)))
}

fn weekday_before(day: Date, wanted: Weekday) -> Option<String> {
    Some(written(day.nth_weekday(-1, wanted).ok()?))
}

fn weekday(name: &str) -> Option<Weekday> {
    Some(match name {
        "monday" => Weekday::Monday,
        "tuesday" => Weekday::Tuesday,
        "wednesday" => Weekday::Wednesday,
        "thursday" => Weekday::Thursday,
        "friday" => Weekday::Friday,
        "saturday" => Weekday::Saturday,
        "sunday" => Weekday::Sunday,
        _ => return None,
    })
}

/// A number as it is counted with, in digits or as a word.
fn count_of(word: &str) -> Option<i64> {
    const NUMBERS: [&str; 13] = [
        "a", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
        "eleven", "twelve",
    ];
    match NUMBERS.iter().position(|number| *number == word) {
        Some(place) => i64::try_from(place.max(1)).ok(),
        None if word == "an" => Some(1),
        None => word.parse().ok().filter(|count| (1..=COUNT_MAX).contains(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    /// A Wednesday.
    const DAY: Date = date(2026, 4, 1);

    #[test]
    fn words_that_count_from_the_day_get_theirs() {
        for (said, when) in [
            ("yesterday", "31 March 2026"),
            ("last night", "31 March 2026"),
            ("the day before yesterday", "30 March 2026"),
            ("the day after tomorrow", "3 April 2026"),
            ("tonight", "1 April 2026"),
            ("three days ago", "29 March 2026"),
            ("10 days ago", "22 March 2026"),
            ("a week ago", "25 March 2026"),
            ("in two weeks", "15 April 2026"),
            ("four months ago", "December 2025"),
            ("an year ago", "2025"),
            ("last year", "2025"),
            ("next month", "May 2026"),
            ("last week", "23 March 2026 to 29 March 2026"),
            ("next week", "6 April 2026 to 12 April 2026"),
            ("last weekend", "28 March 2026 and 29 March 2026"),
            ("last tuesday", "31 March 2026"),
            ("last wednesday", "25 March 2026"),
        ] {
            let text = format!("We went there {said}!");
            assert_eq!(with_days(&text, DAY), format!("{text} ({said}: {when})"));
        }
    }

    #[test]
    fn each_is_said_once_and_in_order() {
        let text = "Tomorrow I fly, so yesterday I packed. I hate packing; tomorrow is too soon.";
        let days = " (tomorrow: 2 April 2026, yesterday: 31 March 2026)";
        assert_eq!(with_days(text, DAY), format!("{text}{days}"));
    }

    #[test]
    fn other_words_are_left_alone() {
        for text in [
            "",
            "The last time was long ago.",
            "In a hurry, in two minds.",
            "Next Friday may be either.",
            "The last bus, last Maundy Thursday.",
            "5000 days ago",
            "0 days ago",
            "昨日、妹に会いました。",
        ] {
            assert_eq!(with_days(text, DAY), text);
        }
    }

    #[test]
    fn there_is_a_first_and_a_last_day() {
        for text in ["yesterday", "last week", "last weekend", "last monday", "900 years ago"] {
            assert_eq!(with_days(text, Date::MIN), text);
        }
        assert_eq!(with_days("tomorrow, next week", Date::MAX), "tomorrow, next week");
    }

    proptest! {
        #[test]
        fn a_text_is_kept_as_it_is(text in "[a-zé' .,0-9]{0,60}", days in 0..4000_i64) {
            let day = DAY.checked_add(days.days()).unwrap();
            prop_assert!(with_days(&text, day).starts_with(&text));
        }
    }
}
