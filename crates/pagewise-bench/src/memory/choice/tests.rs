use super::*;
use crate::memory::case::{Metric, Tier};

fn gold(options: &[&str], right: char) -> Gold {
    let is_right = |text: &&str| option(text).is_some_and(|(letter, _)| letter == right);
    let (answers, decoys): (Vec<&str>, Vec<&str>) = options.iter().partition(|one| is_right(one));
    Gold {
        metric: Metric::Choice,
        answers: answers.into_iter().map(str::to_string).collect(),
        decoys: decoys.into_iter().map(str::to_string).collect(),
        evidence: Vec::new(),
        tier: Tier::Archival,
        edit: None,
    }
}

const MILL: [&str; 4] = [
    "(A) A man from the hills",
    "(B) The miller’s daughter",
    "(C) The miller",
    "(D) Not a man, but 10 oxen",
];

/// The letters that each reply names.
fn check(options: &[&str], replies: &[(&str, &str)]) {
    let options: Vec<(char, &str)> = options.iter().filter_map(|one| option(one)).collect();
    for (reply, expected) in replies {
        let named: String = letters(&options, reply).into_iter().collect();
        assert_eq!(&named, expected, "{reply}");
    }
}

#[test]
fn a_letter_names_its_option() {
    check(
        &MILL,
        &[
            ("B", "B"),
            (" b ", "B"),
            ("B.", "B"),
            ("a.", "A"),
            ("A", "A"),
            ("(B)", "B"),
            ("( b )", "B"),
            ("[B]", "B"),
            ("<B>", "B"),
            ("**B**", "B"),
            ("\"A\"", "A"),
            ("B) because of the letter", "B"),
            ("b) because of the letter", "B"),
            ("A: it says so", "A"),
            ("D - it says so", "D"),
            ("It says so.\nB", "B"),
            ("It says so.\n- **B.** Yes", "B"),
            ("The answer is B", "B"),
            ("The right answer is (B), I think.", "B"),
            ("Answer: A", "A"),
            ("The answer is A because he said so.", "A"),
            ("The answer is: \"A\".", "A"),
            ("I choose option A here", "A"),
            ("I think that B is right", "B"),
            ("B is right", "B"),
            ("A is right", "A"),
            ("I would say D.", "D"),
            ("It's C!", "C"),
            ("I take option b.", "B"),
            ("option a", "A"),
        ],
    );
}

#[test]
fn a_letter_that_is_a_word_or_a_name_names_nothing() {
    check(
        &MILL,
        &[
            ("A woman built it", ""),
            ("A", "A"),
            ("A \"woman\" built it", ""),
            ("The answer is A woman who came by", ""),
            ("I think a woman built it", ""),
            ("It was a", ""),
            ("Plan B failed", ""),
            ("It lacks vitamin D", ""),
            ("It lacks vitamin D.", ""),
            ("D.C. is where it stood", ""),
            ("D-day", ""),
            ("A D-day story", ""),
            ("A-list people", ""),
            ("It had the option a man needs", ""),
            ("It is a vitamin, A or D", ""),
            ("D'Artagnan did", ""),
            ("John D. Rockefeller built it", ""),
            ("The U.S.A. did", ""),
            ("It was he, Mr. B. Moss", ""),
            ("(E)", ""),
            ("E", ""),
            ("", ""),
            ("?", ""),
            ("INSUFFICIENT INFORMATION", ""),
            ("All of the above", ""),
            ("(AB)", ""),
        ],
    );
}

#[test]
fn a_text_names_its_option() {
    check(
        &MILL,
        &[
            ("The miller's daughter", "B"),
            ("It was the MILLER’S  DAUGHTER, it says.", "B"),
            ("The miller", "C"),
            ("The miller built it.", "C"),
            ("The millers", ""),
            ("A man from the hills did", "A"),
            ("A man from hills", "A"),
            ("A man from the sea", ""),
            ("not a man but 10 oxen", "D"),
            ("not a man but 10.5 oxen", ""),
            ("The answer is A man from the hills", "A"),
            ("B The miller's daughter", "B"),
        ],
    );
    check(
        &["(A) Unknown", "(B) 10 years", "(C) 1 year", "(D) 100 years"],
        &[
            ("100 years", "D"),
            ("10 years, it says", "B"),
            ("110 years", ""),
            ("3.10 years", ""),
            ("It is unknown.", "A"),
        ],
    );
    check(
        &["(A) Yes", "(B) No", "(C) 5", "(D) O.K./OK"],
        &[
            ("No.", "B"),
            ("There is no doubt that it is C.", "C"),
            ("There is no doubt", ""),
            ("5", "C"),
            ("He had 5 of them", "C"),
            ("He had 5,000 of them", ""),
            ("O.K./OK", "D"),
        ],
    );
}

#[test]
fn a_reply_with_several_options_names_them_all() {
    check(
        &MILL,
        &[
            ("A or B", "AB"),
            ("A/B", "AB"),
            ("B C", "BC"),
            ("B or maybe C", "BC"),
            ("A, B and D", "ABD"),
            ("Either A or (B)", "AB"),
            ("(B) or (C)", "BC"),
            ("(A) (B) (C) (D)", "ABCD"),
            ("B. It could also be D.", "BD"),
            ("B; D is also possible", "BD"),
            ("The answer is B or C", "BC"),
            ("The miller's daughter and the miller", "BC"),
            ("The miller or a man from the hills", "AC"),
            // What the letter says and what the text says are two.
            ("(A) The miller", "AC"),
            ("B. The miller", "BC"),
            ("The miller (B)", "BC"),
            (&MILL.join("\n"), "ABCD"),
        ],
    );
}

#[test]
fn a_letter_counts_before_what_is_told_to_explain_it() {
    check(
        &MILL,
        &[
            ("(B) The miller's daughter", "B"),
            ("(B) The miller's daughter, as the miller says", "B"),
            ("(B). A man came, and then the miller.", "B"),
            ("The miller saw it. The answer is (B).", "B"),
            ("B: a man from the hills told it", "AB"),
            ("The miller's daughter (B)", "B"),
        ],
    );
}

#[test]
fn what_is_ruled_out_is_not_the_answer() {
    check(
        &MILL,
        &[
            ("Not B", "ACD"),
            ("It is not (B).", "ACD"),
            ("It can't be B.", "ACD"),
            ("The answer isn't option B", "ACD"),
            ("B is wrong", "ACD"),
            ("B is not the answer", "ACD"),
            ("B, not C", "B"),
            ("It is not C but B.", "B"),
            ("It was not the miller", "ABD"),
            ("I am not sure. The answer is B", "B"),
            ("I'm not sure the answer is B", "B"),
        ],
    );
    check(&["(A) he", "(B) she"], &[("It isn't A.", "B")]);
}

#[test]
fn options_that_say_the_same_are_told_apart_by_their_letters() {
    let options = ["(A) the sea", "(B) The sea."];
    check(&options, &[("the sea", "AB"), ("(B) the sea", "B"), ("A", "A")]);
}

#[test]
fn one_option_must_be_named_and_it_must_be_the_right_one() {
    let gold = gold(&MILL, 'B');
    for (reply, expected) in [
        ("(B)", Named::Right),
        ("the miller's daughter", Named::Right),
        ("(C) The miller", Named::Other),
        ("A man", Named::None),
        ("B or C", Named::Several),
    ] {
        assert_eq!(named(&gold, reply), expected, "{reply}");
    }
}

#[test]
fn a_question_is_cut_at_its_options() {
    let cut = |text: &str| cut(text).map(|(asked, options)| (asked, options.join("|")));
    let some = |asked: &str, options: &str| Some((asked.to_string(), options.to_string()));
    assert_eq!(cut(" Who?\n\n (A) He\n (B)  She \n"), some("Who?", "(A) He|(B) She"));
    assert_eq!(
        cut("Who\nwas it?\n(A) He\nalone\n(B) She"),
        some("Who\nwas it?", "(A) He alone|(B) She")
    );
    assert_eq!(cut("Why (A) and (B)?\n(A) x\n(B) y"), some("Why (A) and (B)?", "(A) x|(B) y"));
    assert_eq!(cut("Who?\n(A) He"), None);
    assert_eq!(cut("Who?\n(B) He\n(C) She"), None);
    assert_eq!(cut("Who?"), None);
}
