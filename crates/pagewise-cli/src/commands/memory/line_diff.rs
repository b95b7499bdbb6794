//! Which lines of a text another one has, and the two as a diff that people read.

use std::ops::Range;

use serde::Serialize;

/// Unchanged lines that are shown around a change.
const CONTEXT_LINES: usize = 3;

/// The largest table of lines by lines that is filled; what is larger is shown as changed altogether.
const CELLS_MAX: usize = 1 << 22;

/// Which of the two texts has a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Change {
    /// Both.
    Same,
    /// The old one alone.
    Removed,
    /// The new one alone.
    Added,
}

impl Change {
    /// What stands before the line.
    pub(super) fn sign(self) -> char {
        match self {
            Self::Same => ' ',
            Self::Removed => '-',
            Self::Added => '+',
        }
    }
}

/// A line of either text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Line<'a> {
    pub(super) change: Change,
    pub(super) text: &'a str,
}

/// Returns the lines of both texts: those that can stay, in order, and between them first what was
/// removed, then what was added.
pub(super) fn diff<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let (old, new) = (lines(old), lines(new));
    let alike = |(a, b): &(&&str, &&str)| a == b;
    let n_head = old.iter().zip(&new).take_while(alike).count();
    let (old_rest, new_rest) = (&old[n_head..], &new[n_head..]);
    let n_tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(alike).count();
    let old_middle = &old_rest[..old_rest.len() - n_tail];
    let new_middle = &new_rest[..new_rest.len() - n_tail];

    let mut all = marked(&old[..n_head], Change::Same);
    let (mut at_old, mut at_new) = (0, 0);
    let end = (old_middle.len(), new_middle.len());
    for (in_old, in_new) in common(old_middle, new_middle).into_iter().chain([end]) {
        all.extend(marked(&old_middle[at_old..in_old], Change::Removed));
        all.extend(marked(&new_middle[at_new..in_new], Change::Added));
        all.extend(marked(&old_middle[in_old..end.0.min(in_old + 1)], Change::Same));
        (at_old, at_new) = (in_old + 1, in_new + 1);
    }
    all.extend(marked(&old_rest[old_middle.len()..], Change::Same));
    all
}

/// The lines of a text, none of an empty one. Unlike [`str::lines`] this tells all texts apart.
fn lines(text: &str) -> Vec<&str> {
    if text.is_empty() { Vec::new() } else { text.split('\n').collect() }
}

fn marked<'a>(lines: &[&'a str], change: Change) -> Vec<Line<'a>> {
    lines.iter().map(|text| Line { change, text }).collect()
}

/// The places of a longest common subsequence in both.
fn common(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let width = new.len() + 1;
    if (old.len() + 1).saturating_mul(width) > CELLS_MAX {
        return Vec::new();
    }
    // How much the rests from here on have in common.
    let mut shared = vec![0_u32; (old.len() + 1) * width];
    for at_old in (0..old.len()).rev() {
        for at_new in (0..new.len()).rev() {
            let (here, below) = (at_old * width + at_new, (at_old + 1) * width + at_new);
            shared[here] = match old[at_old] == new[at_new] {
                true => shared[below + 1] + 1,
                false => shared[below].max(shared[here + 1]),
            };
        }
    }
    let mut pairs = Vec::new();
    let (mut at_old, mut at_new) = (0, 0);
    while at_old < old.len() && at_new < new.len() {
        if old[at_old] == new[at_new] {
            pairs.push((at_old, at_new));
            (at_old, at_new) = (at_old + 1, at_new + 1);
        } else if shared[(at_old + 1) * width + at_new] >= shared[at_old * width + at_new + 1] {
            at_old += 1;
        } else {
            at_new += 1;
        }
    }
    pairs
}

/// Writes a diff in pieces, each with a few of the lines around it, as `diff -u` does.
pub(super) fn unified(lines: &[Line<'_>]) -> Vec<String> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    for (at, _) in lines.iter().enumerate().filter(|(_, line)| line.change != Change::Same) {
        let start = at.saturating_sub(CONTEXT_LINES);
        let end = lines.len().min(at + 1 + CONTEXT_LINES);
        match pieces.last_mut() {
            Some(last) if start <= last.end => last.end = end,
            _ => pieces.push(start..end),
        }
    }
    let mut text = Vec::new();
    for piece in pieces {
        let (before, shown) = (&lines[..piece.start], &lines[piece]);
        text.push(format!(
            "@@ -{} +{} @@",
            place(before, shown, Change::Added),
            place(before, shown, Change::Removed)
        ));
        text.extend(shown.iter().map(|line| format!("{}{}", line.change.sign(), line.text)));
    }
    text
}

/// The first line and the number of lines of a piece in the text that has all but `other`.
fn place(before: &[Line<'_>], shown: &[Line<'_>], other: Change) -> String {
    let count = |lines: &[Line<'_>]| lines.iter().filter(|line| line.change != other).count();
    let (n_before, n_shown) = (count(before), count(shown));
    let first = if n_shown == 0 { n_before } else { n_before + 1 };
    format!("{first},{n_shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(old: &str, new: &str) -> String {
        let shown = |line: &Line<'_>| format!("{}{}", line.change.sign(), line.text);
        diff(old, new).iter().map(shown).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn keeps_what_both_have() {
        for (old, new, expected) in [
            ("", "", ""),
            ("", "a", "+a"),
            ("a", "", "-a"),
            ("a\nb", "a\nb", " a| b"),
            ("a\nb\nc", "a\nx\nc", " a|-b|+x| c"),
            ("a\nb", "a\nb\nc", " a| b|+c"),
            ("a\nb\nc", "c\na\nb", "+c| a| b|-c"),
            ("a\nb\na\nb", "b\na\nx", "-a| b| a|-b|+x"),
            ("a\nb\nc\nd", "x\nb\ny\nd", "-a|+x| b|-c|+y| d"),
            // What cannot be seen is told apart as well.
            ("a", "a\n", " a|+"),
            ("", "\n", "+|+"),
            ("a\nb", "a\r\nb", "-a|+a\r| b"),
        ] {
            assert_eq!(signs(old, new), expected, "{old:?} {new:?}");
        }
    }

    /// All texts of up to four lines, of two kinds.
    fn texts() -> Vec<String> {
        let mut texts = vec![String::new()];
        for n_lines in 1..=4 {
            for kinds in 0..1 << n_lines {
                let line = |at: usize| if kinds >> at & 1 == 0 { "a" } else { "b" };
                texts.push((0..n_lines).map(line).collect::<Vec<_>>().join("\n"));
            }
        }
        texts
    }

    #[test]
    fn a_diff_is_both_texts_and_no_longer_than_it_must_be() {
        for old in texts() {
            for new in texts() {
                let diff = diff(&old, &new);
                let without = |other: Change| -> String {
                    let lines = diff.iter().filter(|line| line.change != other);
                    lines.map(|line| line.text).collect::<Vec<_>>().join("\n")
                };
                assert_eq!(
                    (without(Change::Added), without(Change::Removed)),
                    (old.clone(), new.clone())
                );
                let n_same = diff.iter().filter(|line| line.change == Change::Same).count();
                assert_eq!(n_same, longest_common(&lines(&old), &lines(&new)), "{old:?} {new:?}");
            }
        }
    }

    fn longest_common(old: &[&str], new: &[&str]) -> usize {
        match (old, new) {
            ([a, old_rest @ ..], [b, new_rest @ ..]) if a == b => {
                1 + longest_common(old_rest, new_rest)
            }
            ([_, old_rest @ ..], [_, new_rest @ ..]) => {
                longest_common(old_rest, new).max(longest_common(old, new_rest))
            }
            _ => 0,
        }
    }

    #[test]
    fn long_texts_are_not_compared_for_ever() {
        let text = |kind: &str| (0..20_000).map(|n| format!("{kind}{n}\n")).collect::<String>();
        let (old, new) = (format!("head\n{}tail", text("a")), format!("head\n{}tail", text("b")));
        let diff = diff(&old, &new);
        assert_eq!(diff.len(), 40_002);
        assert_eq!((diff[0].change, diff[1].change), (Change::Same, Change::Removed));
    }

    #[test]
    fn pieces_have_a_few_lines_around_them() {
        let old: Vec<String> = (1..=20).map(|n| n.to_string()).collect();
        let mut new = old.clone();
        new[1] = "two".into();
        new[11] = "twelve".into();
        new.push("21".into());
        let (old, new) = (old.join("\n"), new.join("\n"));
        let expected = "@@ -1,5 +1,5 @@\n 1\n-2\n+two\n 3\n 4\n 5\n\
                        @@ -9,7 +9,7 @@\n 9\n 10\n 11\n-12\n+twelve\n 13\n 14\n 15\n\
                        @@ -18,3 +18,4 @@\n 18\n 19\n 20\n+21";
        assert_eq!(unified(&diff(&old, &new)).join("\n"), expected);
        assert_eq!(unified(&diff("", "a\nb")), ["@@ -0,0 +1,2 @@", "+a", "+b"]);
        assert_eq!(unified(&diff("a", "")), ["@@ -1,1 +0,0 @@", "-a"]);
        assert!(unified(&diff("a", "a")).is_empty());
    }
}
