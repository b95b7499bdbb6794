use super::*;

#[test]
fn errors_are_what_is_accepted_of_wrong_answers_and_refused_of_right_ones() {
    let set = |is_right| JudgedSet { name: "x".into(), is_right, n: 20, n_accepted: 5 };
    assert!((set(false).error_rate().0 - 0.25).abs() < 1e-12);
    assert!((set(true).error_rate().0 - 0.75).abs() < 1e-12);
    assert_eq!(set(true).error_rate().1, wilson(15, 20));
}

#[test]
fn an_answer_in_a_sentence_is_still_there() {
    for number in 0..8 {
        let text = in_a_sentence("7 May", number);
        assert!(text.to_lowercase().contains("7 may") && text.len() > 12, "{text}");
    }
}

#[test]
fn what_a_judge_reads() {
    let turns = prompt("Where is Ada?", "in Rome", "She is in Rome.").messages;
    assert_eq!(turns.len(), 2 + 2 * EXAMPLES.len());
    let text: Vec<String> = turns[turns.len() - 3..]
        .iter()
        .map(|turn| format!("{:?}: {}", turn.role, turn.content))
        .collect();
    insta::assert_snapshot!(text.join("\n"), @r#"
    User: Question: How many goats are there?
    Right answer: seven
    Reply: There are five goats.
    Assistant: {"function": "verdict", "args": {"correct": "no"}}
    User: Question: Where is Ada?
    Right answer: in Rome
    Reply: She is in Rome.
    "#);
}

#[test]
fn rates_are_written_beside_those_of_other_judges() {
    let folder = tempfile::tempdir().unwrap();
    let rates = |judge: &str, n_accepted| JudgeRates {
        judge: JudgeName { judge: judge.into(), weights: "w".into(), prompt: "p".into() },
        sets: vec![JudgedSet { name: "x".into(), is_right: true, n: 9, n_accepted }],
    };
    write_rates(folder.path(), &[rates("a", 1)]).unwrap();
    write_rates(folder.path(), &[rates("b", 2)]).unwrap();
    write_rates(folder.path(), &[rates("a", 3)]).unwrap();
    assert_eq!(read_rates(folder.path()).unwrap(), [rates("b", 2), rates("a", 3)]);
    fs::write(folder.path().join(RATES_FILE), "[\n{}]").unwrap();
    let error = read_rates(folder.path()).unwrap_err().to_string();
    assert!(error.contains("judges.json, line 2: not the errors of judges"), "{error}");
}
