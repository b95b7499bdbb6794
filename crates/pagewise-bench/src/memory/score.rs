//! Scores that need no judge.
//!
//! The texts are compared as the public evaluations do it: containment for key-value pairs and core
//! memory, SQuAD's EM and F1, the `best_subspan_em` of lost-in-the-middle, ROUGE-L recall, LoCoMo's F1 over
//! stems.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::arm::Arm;
use super::call_score;
use super::case::{EditGold, Gold, Metric};
use super::choice::{Named, named};
use super::failure::{Failure, abstains, seen_evidence_share};
use super::nearness::mean_of_best;
use super::porter::porter_stem;
use super::record::Record;
use super::task::Task;
use super::words::{folded, holds_phrase, squad_normal, stem, words};

/// The least fraction with which a case counts as right where a score is one: its failure is classified
/// below.
const RIGHT_FRACTION_MIN: f64 = 0.5;

/// The facts of which the mean nearness is a measure of its own, as in the paper.
const NEAREST_FACTS: usize = 3;

/// What a cosine may be off by.
pub(crate) const NEARNESS_ERROR: f64 = 1e-4;

/// What LoCoMo's evaluation takes for "there is no answer".
const NOT_MENTIONED: [&str; 2] = ["no information available", "not mentioned"];

/// What a case scored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Whether it counts as right.
    pub correct: bool,
    /// What it adds to the accuracy where a reply can be right in part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// Other measures of the same reply, each from 0 to 1.
    pub parts: BTreeMap<String, f64>,
    /// The tasks of a game, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<GameTaskScore>,
}

/// What became of a task of a game.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GameTaskScore {
    /// Whether it is done.
    pub correct: bool,
    /// Why not.
    pub failure: Failure,
}

impl Score {
    /// What the case adds to the accuracy, from 0 to 1.
    pub fn value(&self) -> f64 {
        self.fraction.unwrap_or_else(|| yes(self.correct))
    }
}

/// Scores what a run left.
pub(crate) fn score(record: &Record) -> Score {
    let gold = &record.case.gold;
    let reply = &record.reply;
    if gold.metric == Metric::Call {
        return call_score::score(&gold.answers, reply);
    }
    let answered = answers(gold, reply);
    let mut parts = BTreeMap::new();
    let mut put = |name: &str, value: f64| parts.insert(name.to_string(), value);
    put("exact", yes(gold.answers.iter().any(|answer| folded(answer) == folded(reply))));
    if gold.metric == Metric::Choice {
        let named = named(gold, answer_field(reply));
        put("decoy", yes(named == Named::Other));
        put("several", yes(named == Named::Several));
    } else if !gold.decoys.is_empty() && record.nearness.is_none() {
        put("decoy", yes(!answered && gold.decoys.iter().any(|decoy| contains(reply, decoy))));
    }
    if gold.metric == Metric::Subspan {
        let field = answer_field(reply);
        put("em", yes(best(gold, |answer| yes(squad_em(field, answer))) > 0.0));
        put("f1", best(gold, |answer| squad_f1(field, answer)));
        put("anywhere", yes(gold.answers.iter().any(|answer| subspan(reply, answer))));
    }
    if matches!(gold.metric, Metric::StemF1 | Metric::StemF1OfParts) {
        // F1 counts every other word of a reply against it.
        put("contains", best(gold, |answer| yes(subspan(reply, answer))));
    }
    if record.settings.task == Task::Dmr {
        put("rouge_l", best(gold, |answer| rouge_l_recall(reply, answer)));
    }
    if gold.metric == Metric::Phrase {
        put("first_sentence", yes(answers(gold, first_sentence(reply))));
    }
    if let Some(told) = &record.told {
        put("saved", yes(told.saved.iter().any(|text| answers(gold, text))));
        put("seen", yes(is_answer_seen(record)));
    }
    let mut correct = answered;
    if let Some(edit) = &gold.edit
        && record.settings.arm == Arm::Memgpt
    {
        let EditScore { new_in, old_gone, others_kept } = edit_score(edit, record);
        put("answer", yes(answered));
        put("new_in", yes(new_in));
        put("old_gone", yes(old_gone));
        put("others_kept", yes(others_kept));
        put("all", yes(answered && new_in && old_gone && others_kept));
        correct = answered && new_in && old_gone;
    }
    if let Some(n_needless) = record.n_needless_calls() {
        put("without_needless_calls", yes(correct && n_needless == 0));
    }
    if record.settings.task.counts_evidence()
        && let Some(share) = seen_evidence_share(record)
    {
        put("evidence", share);
    }
    if let Some(nearness) = &record.nearness {
        let sim_1 = mean_of_best(&nearness.answers, 1);
        put("sim_1", sim_1);
        put("sim_3", mean_of_best(&nearness.answers, NEAREST_FACTS));
        if let Some(human) = &nearness.human {
            put("sim_h", human.reply);
            put("human_sim_1", mean_of_best(&human.answers, 1));
            put("human_sim_3", mean_of_best(&human.answers, NEAREST_FACTS));
        }
        // Nearer to what this user told than to what others told, and than an echo would be; a copy
        // of a vector may differ in its last bits.
        let least = mean_of_best(&nearness.decoys, 1).max(nearness.echo);
        correct = !reply.trim().is_empty() && sim_1 > least + NEARNESS_ERROR;
    }
    Score { correct, fraction: fraction(record), parts, tasks: Vec::new() }
}

/// What the case adds to the accuracy, where that can be a part.
fn fraction(record: &Record) -> Option<f64> {
    let gold = &record.case.gold;
    match gold.metric {
        Metric::Contains | Metric::ContainsWord | Metric::Subspan => None,
        Metric::Phrase | Metric::Only | Metric::Choice => None,
        Metric::NotMentioned | Metric::Abstains | Metric::Call => None,
        Metric::StemF1 | Metric::StemF1OfParts => Some(f1(gold, &record.reply)),
        Metric::Nearness { .. } => {
            let nearness = record.nearness.as_ref();
            Some(nearness.map_or(0.0, |nearness| mean_of_best(&nearness.answers, 1).max(0.0)))
        }
    }
}

/// The F1 over stems, the best of all answers.
fn f1(gold: &Gold, reply: &str) -> f64 {
    best(gold, |answer| match gold.metric {
        Metric::StemF1OfParts => f1_of_parts(reply, answer),
        _ => stem_f1(reply, answer),
    })
}

fn yes(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

fn best(gold: &Gold, score: impl Fn(&str) -> f64) -> f64 {
    gold.answers.iter().map(|answer| score(answer)).fold(0.0, f64::max)
}

/// Whether the reply gives one of the answers.
pub(crate) fn answers(gold: &Gold, reply: &str) -> bool {
    gold.answers.iter().any(|answer| match gold.metric {
        Metric::Contains => states(reply, answer),
        Metric::ContainsWord => contains_word(reply, answer),
        Metric::Subspan => subspan(answer_field(reply), answer),
        Metric::Phrase => holds_phrase(reply, answer),
        Metric::Only => {
            holds_phrase(reply, answer) && !gold.decoys.iter().any(|one| holds_phrase(reply, one))
        }
        Metric::Choice => named(gold, answer_field(reply)) == Named::Right,
        // A call is more than a text: see `call_score.rs`.
        Metric::Call => false,
        Metric::StemF1 | Metric::StemF1OfParts => f1(gold, reply) >= RIGHT_FRACTION_MIN,
        Metric::NotMentioned => {
            let reply = reply.to_lowercase();
            NOT_MENTIONED.iter().any(|phrase| reply.contains(phrase))
        }
        Metric::Abstains => abstains(reply),
        // Known to the record alone.
        Metric::Nearness { .. } => false,
    })
}

/// A text up to the end of its first sentence.
fn first_sentence(text: &str) -> &str {
    let text = text.trim();
    let ends = text.match_indices(['.', '!', '?', '\n']);
    let end = ends
        .map(|(at, end)| at + end.len())
        .find(|end| text[*end..].chars().next().is_none_or(char::is_whitespace));
    &text[..end.unwrap_or(text.len())]
}

/// Whether an answer was in view: in a block or in the result of a call.
pub(crate) fn is_answer_seen(record: &Record) -> bool {
    let blocks = record.blocks.iter().map(|block| &block.value);
    let results = record.steps().map(|step| &step.result);
    blocks.chain(results).any(|text| answers(&record.case.gold, text))
}

/// Whether `answer` is in `text`, whatever the case of letters and the width of white space.
pub(crate) fn contains(text: &str, answer: &str) -> bool {
    let answer = folded(answer);
    !answer.is_empty() && folded(text).contains(&answer)
}

/// Words that stand for somebody, or for nothing.
const STAND_INS: [&str; 10] = ["a", "an", "the", "he", "she", "it", "they", "his", "her", "their"];

/// Words that turn a sentence into its opposite.
const NEGATIONS: [&str; 6] = ["not", "no", "never", "t", "nor", "without"];

/// An answer of so many words is a sentence, which nobody says word for word.
const SENTENCE_WORDS_MIN: usize = 5;

/// Whether `answer` is in `text`, or, if it is a sentence, whether all its words are in one sentence of the text in
/// any form, in their order: but for those that stand for somebody, and with no negation more.
pub(crate) fn states(text: &str, answer: &str) -> bool {
    let is_sentence = answer.split_whitespace().count() >= SENTENCE_WORDS_MIN;
    contains(text, answer) || is_sentence && sentences(text).any(|said| says_it(said, answer))
}

fn says_it(sentence: &str, answer: &str) -> bool {
    let (said, answer) = (words(sentence), words(answer));
    let n_negations =
        |words: &[String]| words.iter().filter(|word| NEGATIONS.contains(&word.as_str())).count();
    let mut left = said.iter();
    let mut wanted = answer.iter().filter(|word| !STAND_INS.contains(&word.as_str()));
    n_negations(&said) == n_negations(&answer)
        && wanted.all(|word| left.any(|other| stem(other) == stem(word)))
}

/// The sentences of a text, which end before white space.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text.trim();
    std::iter::from_fn(move || {
        let sentence = first_sentence(rest);
        rest = rest[sentence.len()..].trim_start();
        (!sentence.is_empty()).then_some(sentence)
    })
}

/// Whether `answer`, one word, is a word of `text` in any of its forms.
fn contains_word(text: &str, answer: &str) -> bool {
    let wanted = stem(answer);
    words(text).iter().any(|word| word == &answer.to_lowercase() || stem(word) == wanted)
}

/// Whether the reply holds the answer, both in SQuAD's normal form.
///
/// That form has no commas, so a number that the answer begins or ends with must also be one of the reply's: 44,700 is
/// no piece of 447,000.
fn subspan(reply: &str, answer: &str) -> bool {
    let normal = squad_normal(answer);
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let wanted = numbers(answer);
    let first = wanted.first().filter(|_| is_digit(normal.chars().next()));
    let last = wanted.last().filter(|_| is_digit(normal.chars().next_back()));
    let said = numbers(reply);
    !normal.is_empty()
        && squad_normal(reply).contains(&normal)
        && first.into_iter().chain(last).all(|number| said.contains(number))
}

/// The numbers of a text, without what groups their digits.
fn numbers(text: &str) -> Vec<String> {
    let mut numbers = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let groups = matches!(c, ',' | '.') && rest.peek().is_some_and(char::is_ascii_digit);
        match numbers.last_mut() {
            Some(number) if c.is_ascii_digit() => number.push(c),
            Some(number) if groups && !number.is_empty() => {}
            Some(number) if number.is_empty() => {}
            _ => numbers.push(String::new()),
        }
    }
    numbers.retain(|number| !number.is_empty());
    numbers
}

/// The part of a reply between `ANSWER:` and `DOCUMENT:`, if it has such parts: what stands behind is
/// quoted, and would hold the answer by itself.
pub(crate) fn answer_field(reply: &str) -> &str {
    let field = match reply.find("ANSWER:") {
        Some(at) => &reply[at + "ANSWER:".len()..],
        None => reply,
    };
    let end = field.find("DOCUMENT:").unwrap_or(field.len());
    field[..end].trim().trim_end_matches([',', ';'])
}

/// SQuAD's exact match.
fn squad_em(reply: &str, answer: &str) -> bool {
    squad_normal(reply) == squad_normal(answer)
}

/// SQuAD's F1: the harmonic mean of precision and recall over the words, each as often as it occurs.
fn squad_f1(reply: &str, answer: &str) -> f64 {
    let (reply, answer) = (squad_normal(reply), squad_normal(answer));
    let reply: Vec<&str> = reply.split_whitespace().collect();
    let answer: Vec<&str> = answer.split_whitespace().collect();
    if reply.is_empty() || answer.is_empty() {
        return yes(reply == answer);
    }
    word_f1(&reply, &answer)
}

/// LoCoMo's F1: over Porter's stems of what is left without punctuation, articles and `and`.
fn stem_f1(reply: &str, answer: &str) -> f64 {
    let stems = |text: &str| -> Vec<String> {
        let text: String =
            text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
        let words =
            text.split_whitespace().filter(|word| !["a", "an", "the", "and"].contains(word));
        words.map(porter_stem).collect()
    };
    word_f1(&stems(reply), &stems(answer))
}

/// LoCoMo's F1 for an answer of several parts: the mean over its parts of the best part of the reply.
fn f1_of_parts(reply: &str, answer: &str) -> f64 {
    let best = |part: &str| reply.split(',').map(|said| stem_f1(said, part)).fold(0.0, f64::max);
    let parts: Vec<f64> = answer.split(',').map(best).collect();
    parts.iter().sum::<f64>() / parts.len().max(1) as f64
}

/// F1 over words, each as often as it occurs; 0 if no word is in both.
fn word_f1<T: PartialEq + Clone>(reply: &[T], answer: &[T]) -> f64 {
    let mut left = reply.to_vec();
    let n_common = answer
        .iter()
        .filter(|word| match left.iter().position(|other| other == *word) {
            Some(at) => {
                left.swap_remove(at);
                true
            }
            None => false,
        })
        .count();
    if n_common == 0 {
        return 0.0;
    }
    let (precision, recall) =
        (n_common as f64 / reply.len() as f64, n_common as f64 / answer.len() as f64);
    2.0 * precision * recall / (precision + recall)
}

/// ROUGE-L recall: the longest common subsequence of words, as a share of the answer's words.
fn rouge_l_recall(reply: &str, answer: &str) -> f64 {
    let (reply, answer) = (words(reply), words(answer));
    if answer.is_empty() {
        return 0.0;
    }
    let mut lengths = vec![0_usize; answer.len() + 1];
    for word in &reply {
        let mut diagonal = 0;
        for (at, other) in answer.iter().enumerate() {
            let above = lengths[at + 1];
            lengths[at + 1] = if word == other { diagonal + 1 } else { above.max(lengths[at]) };
            diagonal = above;
        }
    }
    lengths[answer.len()] as f64 / answer.len() as f64
}

/// What became of working context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EditScore {
    pub(crate) new_in: bool,
    pub(crate) old_gone: bool,
    pub(crate) others_kept: bool,
}

pub(crate) fn edit_score(edit: &EditGold, record: &Record) -> EditScore {
    let lines: Vec<String> =
        record.blocks.iter().flat_map(|block| block.value.lines()).map(folded).collect();
    let has = |line: &String| lines.contains(&folded(line));
    let is_before =
        |line: &String| edit.kept.iter().chain(&edit.old).any(|before| folded(before) == *line);
    let notes = record.notes().into_iter().map(|note| folded(&note));
    let new_lines: Vec<String> =
        lines.iter().filter(|line| !is_before(line)).cloned().chain(notes).collect();
    EditScore {
        new_in: edit.new.iter().any(|new| new_lines.iter().any(|line| states(line, new))),
        old_gone: !edit.old.iter().any(has),
        others_kept: edit.kept.iter().all(has),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containment_is_of_folded_text() {
        assert!(contains("It is  9F9F-a1.", "9f9f-A1"));
        assert!(contains("She met\nNora  Fishel", "nora fishel"));
        assert!(contains("In the 1987-88 season.", "1987\u{2013}88"));
        assert!(contains("The user\u{2019}s boat", "the user's boat"));
        assert!(!contains("9f9f-a2", "9f9f-a1"));
        assert!(!contains("anything", " "));
    }

    #[test]
    fn a_sentence_is_stated_in_other_forms() {
        let answer = "She did not win any prize in 1987.";
        assert!(states("Sorry! Ida Moss did not win any prizes in 1987.", answer));
        assert!(!states("Ida Moss won a prize in 1987.", answer), "a not is a word");
        assert!(!states("She did not win. Any prize was in 1987.", answer), "one sentence");
        assert!(states("At 8.30, Tom gave Ida the boat", "Tom gave Ida a boat"));
        assert!(!states("Ida gave Tom the boat", "Tom gave Ida a boat"), "in order");
        assert!(!states("Tom never gave Ida the boat", "Tom gave Ida a boat"), "its opposite");
        assert!(states("She won the Rose Prize", "rose prize"));
        assert!(!states("a prize for the rose", "rose prize"), "few words stand as they are");
        assert!(!states("", "Tom gave Ida a boat"));
    }

    #[test]
    fn a_word_counts_in_any_of_its_forms() {
        assert!(contains_word("You said you love grilling.", "grill"));
        assert!(contains_word("The missing word is \"Jeep\".", "jeep"));
        assert!(!contains_word("You own a scooter.", "jeep"));
        assert!(!contains_word("A jeepney", "jeep"));
    }

    #[test]
    fn a_sentence_ends_before_white_space() {
        assert_eq!(first_sentence(" At 8.30 a.m. sharp. Then"), "At 8.30 a.m.");
        assert_eq!(first_sentence("Nine!\nOr ten."), "Nine!");
        assert_eq!(first_sentence("No end"), "No end");
        assert_eq!(first_sentence(""), "");
    }

    #[test]
    fn squad_scores_by_hand() {
        assert!(squad_em("The Eiffel Tower.", "eiffel tower"));
        assert!(!squad_em("It is the Eiffel Tower", "eiffel tower"));
        // 2 of 4 words are right, and both words of the answer are there: 2 · ½ · 1 / 1½.
        assert!((squad_f1("It is the Eiffel Tower", "Eiffel Tower") - 2.0 / 3.0).abs() < 1e-12);
        // A word counts as often as it occurs: of "no no yes", "no" once and "yes".
        assert!((squad_f1("no no yes", "no yes maybe") - 2.0 / 3.0).abs() < 1e-12);
        assert!(squad_f1("Paris", "London").abs() < 1e-12);
        assert!((squad_f1("the", "a") - 1.0).abs() < 1e-12);
        assert!(subspan("It was in 1901, I think", "1901"));
        assert!(subspan("the U.S. Senate", "US Senate"));
        assert!(!subspan("anything", "the"));
        assert!(subspan("about 44,700 people", "44700"));
        assert!(!subspan("about 447,000 people", "44700"), "a piece of a number");
        assert!(!subspan("in 2010", "10"));
        for (reply, answer) in [
            ("It was 1914–1918.", "1914"),
            ("on 2010-05-03", "2010"),
            ("the 35th of 40", "35"),
            ("at 8:30", "8:30"),
            ("2 March 1972, it says", "2 March 1972"),
        ] {
            assert!(subspan(reply, answer), "{reply}: {answer}");
        }
        assert_eq!(numbers("1,250.5 of 3, then 7."), ["12505", "3", "7"]);
    }

    #[test]
    fn stems_are_scored_as_locomo_does() {
        let check =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
        // "hike" and "hiking" have one stem, and "and" is no word: 2 of 3 and 2 of 2.
        check(stem_f1("Hiking, and the lakes there", "a hike, lake"), 0.8);
        check(stem_f1("7 May, 2023", "7 May 2023"), 1.0);
        check(stem_f1("", "pottery"), 0.0);
        check(stem_f1("pottery", "painting"), 0.0);
        // Each part of the answer has the part of the reply that fits it best.
        check(f1_of_parts("a goat, two rabbits", "rabbits, goat, parrot"), (2.0 / 3.0 + 1.0) / 3.0);
        check(f1_of_parts("goat and rabbit", "goat"), 2.0 / 3.0);
    }

    #[test]
    fn that_there_is_no_answer_must_be_said() {
        let gold = |metric| Gold {
            metric,
            answers: vec!["Not mentioned".into()],
            decoys: Vec::new(),
            evidence: Vec::new(),
            tier: crate::memory::case::Tier::Recall,
            edit: None,
        };
        for (reply, official, any) in [
            ("That was not mentioned.", true, true),
            ("There is NO INFORMATION AVAILABLE on it", true, true),
            ("I don't know that.", false, true),
            ("A cello", false, false),
            ("", false, true),
        ] {
            assert_eq!(answers(&gold(Metric::NotMentioned), reply), official, "{reply}");
            assert_eq!(answers(&gold(Metric::Abstains), reply), any, "{reply}");
        }
    }

    #[test]
    fn the_answer_field_is_without_the_document() {
        assert_eq!(answer_field("ANSWER: Röntgen, DOCUMENT: The first prize"), "Röntgen");
        assert_eq!(answer_field("Sure. ANSWER: 1901"), "1901");
        assert_eq!(answer_field("He got it, DOCUMENT: x"), "He got it");
        assert_eq!(answer_field("Röntgen"), "Röntgen");
    }

    #[test]
    fn rouge_l_by_hand() {
        // "the shell necklace": "the … necklace" is the longest common subsequence.
        assert!(
            (rouge_l_recall("I got the nice necklace", "the shell necklace") - 2.0 / 3.0).abs()
                < 1e-12
        );
        assert!(
            (rouge_l_recall("necklace shell the", "the shell necklace") - 1.0 / 3.0).abs() < 1e-12
        );
        assert!((rouge_l_recall("a shell necklace", "shell necklace") - 1.0).abs() < 1e-12);
        assert!(rouge_l_recall("", "shell").abs() < 1e-12);
    }
}
