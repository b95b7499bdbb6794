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

/// Returns a text without the days that [`with_days`] has put after it.
pub(crate) fn without_days(text: &str) -> &str {
    let told = text.strip_suffix(')').and_then(|rest| rest.rsplit_once(" ("));
    let Some((bare, told)) = told else { return text };
    let is_day = |one: &str| {
        let words = one.split_once(": ").map(|(words, _)| words);
        words.is_some_and(|words| relative_days(words, Date::ZERO).len() == 1)
    };
    if told.split(", ").all(is_day) { bare } else { text }
}

/// The relative days in a text, in order, each once: the words, and what they are.
fn relative_days(text: &str, day: Date) -> Vec<(String, String)> {
    let words = words(text);
    let mut found: Vec<(String, String)> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let before = at.checked_sub(1).map_or("", |before| &words[before]);
        let Some((n_words, when)) = at_start(before, &words[at..], day) else {
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

/// The words of a text in lower case, and its marks each by itself: words with a mark between them do not belong
/// together. A mark inside a word is a part of it: `twenty-two`, `2.5`, `yesterday's`.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_inside = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let goes_on = rest.peek().is_some_and(|next| next.is_alphanumeric());
        let is_of_word = c.is_alphanumeric() || is_inside && goes_on && !c.is_whitespace();
        match words.last_mut().filter(|_| is_inside && is_of_word) {
            Some(word) => word.extend(c.to_lowercase()),
            None if !c.is_whitespace() => words.push(c.to_lowercase().collect()),
            None => {}
        }
        is_inside = is_of_word;
    }
    words
}

/// What the first words are, and how many they are; `None` if they are no relative day, or after the word `before`
/// might be another.
fn at_start(before: &str, words: &[String], day: Date) -> Option<(usize, String)> {
    let word = |n: usize| words.get(n).map_or("", String::as_str);
    let [one, two, three, four] = [0, 1, 2, 3].map(word);
    let (n_words, when) = match (one, two, three, four) {
        ("the", "day", "before", "yesterday") => (4, days_on(day, -2)),
        ("the", "day", "after", "tomorrow") => (4, days_on(day, 2)),
        // "A week from tomorrow", "a year ago today".
        (..) if matches!(before, "from" | "ago") => return None,
        ("yesterday", ..) => (1, days_on(day, -1)),
        ("today" | "tonight", ..) => (1, days_on(day, 0)),
        ("tomorrow", ..) => (1, days_on(day, 1)),
        // "The last week of school", "the next year": not those beside this one.
        ("last" | "next", ..) if before == "the" => return None,
        ("last", "night", ..) => (2, days_on(day, -1)),
        ("last", "week", ..) => (2, week(day, -1)),
        ("next", "week", ..) => (2, week(day, 1)),
        ("last", "weekend", ..) => (2, weekend_before(day)),
        ("last", unit @ ("month" | "year"), ..) => (2, counted(day, unit, -1)),
        ("next", unit @ ("month" | "year"), ..) => (2, counted(day, unit, 1)),
        ("last", name, ..) => (2, weekday_before(day, weekday(name)?)),
        // "A year ago today", and "a year ago Friday".
        (_, _, "ago", "today" | "yesterday" | "tomorrow") => return None,
        (_, _, "ago", name) if weekday(name).is_some() => return None,
        // "Two or three weeks ago", "half a year ago".
        (_, _, "ago", _) if is_part_of_count(before) => return None,
        (count, unit, "ago", _) => (3, counted(day, unit, -count_of(count)?)),
        _ => return None,
    };
    Some((n_words, when?))
}

/// Whether a word before a number is a part of how many there are.
fn is_part_of_count(word: &str) -> bool {
    matches!(word, "or" | "to" | "half" | "twenty" | "thirty" | "hundred" | "–" | "-")
        || count_of(word).is_some()
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
            ("four months ago", "December 2025"),
            ("a year ago", "2025"),
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
    fn what_stands_around_it_may_be_anything_else() {
        for text in ["Well, two weeks ago I left.", "I left, and two weeks ago! Really."] {
            assert_eq!(with_days(text, DAY), format!("{text} (two weeks ago: 18 March 2026)"));
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
            "I read it in two days, the first time in five years.",
            "Twenty-two days ago, 2.5 years ago, 1,200 days ago, half a year ago.",
            "Two or three weeks ago.",
            "The last night of the trip, and the next year.",
            "He came last. Monday was hot.",
            "I have three. Weeks ago I had none.",
            "A year ago today; a week from tomorrow; two years ago Monday.",
            "Yesterday's news and yesterday’s papers.",
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
    fn days_are_taken_off_again_and_nothing_else() {
        for text in ["I packed yesterday, and fly tomorrow.", "Last week (in Rome: lovely)"] {
            assert_eq!(without_days(&with_days(text, DAY)), text);
            assert_eq!(without_days(text), text);
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
            let dated = with_days(&text, day);
            prop_assert!(dated.starts_with(&text));
            prop_assert_eq!(without_days(&dated), &text);
        }
    }
}
