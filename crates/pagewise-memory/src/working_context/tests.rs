use proptest::prelude::*;

use super::*;

fn context(value: &str, limit_chars: usize) -> WorkingContext {
    let block = |label: &str, value: &str, read_only| Block {
        label: label.into(),
        description: String::new(),
        value: value.into(),
        limit_chars,
        read_only,
    };
    WorkingContext::new(vec![block("human", value, false), block("persona", "I am calm.", true)])
}

fn check_append(value: &str, text: &str, expected: Result<&str, &str>) {
    let mut context = context(value, 30);
    let edited = context.append("human", text).map(|block| block.value.clone());
    compare(edited, expected, &context, value);
}

fn check_replace(value: &str, old: &str, new: &str, expected: Result<&str, &str>) {
    let mut context = context(value, 30);
    let edited = context.replace("human", old, new).map(|block| block.value.clone());
    compare(edited, expected, &context, value);
}

fn compare(
    edited: Result<String, EditError>,
    expected: Result<&str, &str>,
    context: &WorkingContext,
    before: &str,
) {
    match (edited, expected) {
        (Ok(value), Ok(expected)) => assert_eq!(value, expected),
        (Err(error), Err(expected)) => {
            assert_eq!(error.to_string(), expected);
            assert_eq!(
                context.block("human").unwrap().value,
                before,
                "a refused edit changed something"
            );
        }
        (edited, expected) => panic!("{edited:?}, expected {expected:?}"),
    }
}

#[test]
fn appends_a_line() {
    check_append("", " Name: Ana ", Ok("Name: Ana"));
    check_append("Name: Ana", "Dog: Rex", Ok("Name: Ana\nDog: Rex"));
    check_append("Name: Ana", " \n", Err("The text is empty."));
    check_append(
        "0123456789",
        "0123456789012345678é",
        Err(
            "The block \"human\" would have 31 characters, 1 more than its limit of 30; shorten or replace a line \
             first, or put the text into archival storage.",
        ),
    );
    check_append("0123456789", "012345678901234567é", Ok("0123456789\n012345678901234567é"));
}

#[test]
fn replaces_text_that_is_there_once() {
    check_replace("Name: Ana\nDog: Rex", "Rex", "Fido", Ok("Name: Ana\nDog: Fido"));
    check_replace("Name: Ana\nDog: Rex", "Name: Ana", "Name: Eva", Ok("Name: Eva\nDog: Rex"));
    check_replace("Name: Ana\nDog: Rex", "Name: Ana\nDog: Rex", "-", Ok("-"));
    check_replace("aa\nb", "", "x", Err("The text is empty."));
    check_replace("aa\nb", "\n", "x", Err("The text is empty."));
    check_replace(
        "Name: Ana\nDog: Rex\nCat: Tom",
        "the dog Rex",
        "x",
        Err("The block \"human\" has no text \"the dog Rex\"; the nearest lines are \"Dog: Rex\"."),
    );
    check_replace("b", "zz", "x", Err("The block \"human\" has no text \"zz\"."));
    check_replace(
        "aaa",
        "aa",
        "x",
        Err(
            "The text \"aa\" is 2 times in the block \"human\"; give the whole line that should change.",
        ),
    );
}

#[test]
fn whole_lines_may_be_there_more_than_once() {
    check_replace("tea\ntea and milk", "tea", "coffee", Ok("coffee\ntea and milk"));
    check_replace("tea\nmilk\ntea", "tea", "coffee", Ok("coffee\nmilk\ncoffee"));
    check_replace("tea\nmilk\ntea", "tea", "", Ok("milk"));
    check_replace("é\né\né", "é\né", "x", Ok("x\né"));
}

#[test]
fn deleting_leaves_no_empty_line() {
    check_replace("a\nb\nc", "a", "", Ok("b\nc"));
    check_replace("a\nb\nc", "b", "", Ok("a\nc"));
    check_replace("a\nb\nc", "c", "", Ok("a\nb"));
    check_replace("a", "a", "", Ok(""));
    check_replace("a b\nc", "b", "", Ok("a \nc"));
    check_replace("a\nb\nc", "a\nb", "", Ok("c"));
    check_replace("a\n\nb", "b", "", Ok("a\n"));
}

#[test]
fn says_what_may_be_edited() {
    let mut context = context("", 10);
    assert_eq!(
        context.append("user", "x").unwrap_err().to_string(),
        "There is no block \"user\"; the blocks are human, persona."
    );
    assert_eq!(
        context.replace("persona", "calm", "x").unwrap_err().to_string(),
        "The block \"persona\" is read-only."
    );
    assert_eq!(context.lines("persona"), ["I am calm."]);
    assert!(context.lines("human").is_empty() && context.lines("user").is_empty());
}

#[test]
fn a_block_over_its_limit_may_become_shorter() {
    let mut context = context("0123456789\n0123456789", 5);
    assert!(context.append("human", "x").is_err());
    assert!(context.replace("human", "0123456789", "0123456780").is_err());
    assert_eq!(context.replace("human", "0123456789", "012").unwrap().value, "012\n012");
}

proptest! {
    #[test]
    fn no_edit_exceeds_the_limit_or_is_half_done(
        edits in prop::collection::vec(("[ab\n é]{0,12}", "[ab\n é]{0,12}", any::<bool>()), 0..30),
        limit in 0usize..40,
    ) {
        let mut context = context("", limit);
        for (old, new, append) in edits {
            let before = context.clone();
            let edited = if append { context.append("human", &new) } else { context.replace("human", &old, &new) };
            let refused = edited.is_err();
            prop_assert!(context.block("human").unwrap().value.chars().count() <= limit);
            if refused {
                prop_assert_eq!(&context, &before);
            }
        }
    }

    #[test]
    fn a_replacement_changes_nothing_else(before in "[a-d\n]{0,20}", old in "[xyz]{1,5}", after in "[a-d\n]{0,20}") {
        let mut context = context(&format!("{before}{old}{after}"), 1000);
        let value = context.replace("human", &old, "new").unwrap().value.clone();
        prop_assert_eq!(value, format!("{before}new{after}"));
    }
}
