//! Openers, and questions about long conversations, with a scripted model and real memory.

use std::fmt::Write;

use super::*;

/// A case as a model sees it in one prompt with a little of the material, and what an agent has in view.
fn shown(task: Task) -> String {
    let cases = generated(task, 1);
    let fixture = Fixture::new(task, Arm::FullContext, 512, vec!["unknown".into()]);
    fixture.run(&cases, None).unwrap();
    let mut text = format!("{}\n", fixture.prompts()[0]);
    for block in &cases[0].memory.blocks {
        let _ = write!(text, "\n[{}] {}", block.label, block.value);
    }
    for message in &cases[0].messages {
        let _ = write!(text, "\n[user] {}", message.text);
    }
    text
}

fn with_label(task: Task, label: &str, value: &str) -> Case {
    task.generate(1).take(40).find(|case| case.labels[label] == value).unwrap()
}

/// Searches for the beginning of a text: a query has at most 100 characters.
fn conversation_search(words: &str) -> String {
    let words: String = words.chars().take(90).collect();
    call("conversation_search", &[("words", words.trim())])
}

#[test]
fn cases_as_a_model_sees_them() {
    insta::assert_snapshot!("opener", shown(Task::Opener));
    insta::assert_snapshot!("locomo", shown(Task::Locomo));
    insta::assert_snapshot!("longmemeval", shown(Task::Longmemeval));
}

#[test]
fn an_opener_is_near_to_what_the_user_told() {
    let noted = with_label(Task::Opener, "facts", "noted");
    let said = with_label(Task::Opener, "facts", "said");
    let fact = noted.gold.answers[0].clone();
    let script = vec![
        conversation_search("tell"),
        reply(&format!("Welcome back! {fact}. How is that going?")),
        conversation_search("tell"),
        reply(&said.gold.decoys[0]),
    ];
    let fixture = Fixture::new(Task::Opener, Arm::Memgpt, WINDOW, script);
    let records = fixture.run(&[noted, said], None).unwrap();
    let [near, far] = &records[..] else { panic!("two records") };
    assert!((near.score.parts["sim_1"] - 1.0).abs() < 1e-6, "{:?}", near.score);
    assert!(near.score.parts["sim_3"] < near.score.parts["sim_1"]);
    assert!((near.score.value() - near.score.parts["sim_1"]).abs() < 1e-12);
    assert_eq!((near.score.correct, near.failure), (true, Failure::None));
    assert_eq!((far.score.correct, far.failure), (false, Failure::Impersonal));
    // What was noted is in view from the beginning, and only there.
    let prompts = fixture.prompts();
    assert!(prompts[0].contains(&fact), "{}", prompts[0]);
    assert!(!prompts[2].contains(&far.case.gold.answers[0]), "{}", prompts[2]);

    let summary = Summary::of(&fixture.settings, &records);
    let mean = (near.score.value() + far.score.value()) / 2.0;
    assert!((summary.share.accuracy - mean).abs() < 1e-12, "{:?}", summary.share);
    assert!(summary.scores.contains_key("sim_3") && !summary.scores.contains_key("sim_h"));
    assert_eq!(summary.by["facts"]["noted"].n, 1);

    // Graded again without an embedder, and read from a line without a fraction.
    let mut again = far.clone();
    again.score = pagewise_bench::memory::Score::default();
    again.grade();
    assert_eq!(again.score, far.score);
    let mut old = serde_json::to_value(near).unwrap();
    old["score"].as_object_mut().unwrap().remove("fraction");
    let old: Record = serde_json::from_value(old).unwrap();
    assert!((old.score.value() - 1.0).abs() < 1e-12, "a case that is right counts whole");
}

#[test]
fn a_talk_of_two_is_searched_by_what_they_said() {
    let temporal = with_label(Task::Locomo, "category", "temporal");
    let several = with_label(Task::Locomo, "category", "multi-hop");
    let never = with_label(Task::Locomo, "category", "adversarial");
    let part = several.gold.answers[0].split(',').next().unwrap().to_string();
    let said = |case: &Case| case.gold.evidence[0].clone();
    let script = vec![
        conversation_search(&said(&temporal)),
        reply(&temporal.gold.answers[0]),
        conversation_search(&said(&several)),
        reply(&part),
        conversation_search(&said(&never)),
        reply(&never.gold.decoys[0]),
    ];
    let fixture = Fixture::new(Task::Locomo, Arm::Memgpt, WINDOW, script);
    let cases = [temporal, several, never];
    let records = fixture.run(&cases, None).unwrap();
    let values: Vec<f64> = records.iter().map(|record| record.score.value()).collect();
    assert!((values[0] - 1.0).abs() < 1e-12, "{values:?}");
    assert!((values[1] - 1.0 / 3.0).abs() < 1e-12, "one of three parts: {values:?}");
    assert!(values[2].abs() < 1e-12, "{values:?}");
    assert_eq!(records[0].failure, Failure::None);
    assert_eq!(records[2].failure, Failure::Misread, "what the other told");
    assert!((records[0].score.parts["evidence"] - 1.0).abs() < 1e-12, "{:?}", records[0].score);
    // The clock stands a day after the last conversation.
    let now = cases[0].memory.now.unwrap().to_string();
    assert!(fixture.prompts()[0].contains(&now[..10]), "{}", fixture.prompts()[0]);

    let summary = Summary::of(&fixture.settings, &records);
    assert!((summary.share.accuracy - 4.0 / 9.0).abs() < 1e-12, "{:?}", summary.share);
    assert!(summary.share.ci95[0] < summary.share.accuracy);
    assert!((summary.by["category"]["multi-hop"].accuracy - 1.0 / 3.0).abs() < 1e-12);

    // A prompt with the latest turns says which share of the evidence it has.
    let full = Fixture::new(Task::Locomo, Arm::FullContext, WINDOW, vec!["Not mentioned".into()]);
    let record = full.run(&cases[2..], None).unwrap().remove(0);
    assert_eq!(record.prompt.as_ref().unwrap().evidence_share, Some(1.0));
    assert!(record.score.correct, "{record:?}");
}

#[test]
fn a_history_is_asked_about_at_its_own_date() {
    let cases = generated(Task::Longmemeval, 10);
    let known = cases.iter().find(|case| case.labels["type"] == "knowledge-update").unwrap();
    let unknown = cases.iter().find(|case| case.labels["answerable"] == "no").unwrap();
    let script = vec![
        conversation_search(&known.gold.evidence[0]),
        reply(&format!("It is {} now.", known.gold.answers[0])),
        conversation_search("anything"),
        reply("I do not know, you never told me."),
        // What was true before.
        conversation_search(&known.gold.decoys[0]),
        reply(&known.gold.decoys[0]),
    ];
    let fixture = Fixture::new(Task::Longmemeval, Arm::Memgpt, WINDOW, script);
    let again = Case { id: "again".into(), ..known.clone() };
    let records = fixture.run(&[known.clone(), unknown.clone(), again], None).unwrap();
    let right: Vec<bool> = records.iter().map(|record| record.score.correct).collect();
    assert_eq!(right, [true, true, false]);
    assert!((records[2].score.parts["decoy"] - 1.0).abs() < 1e-12, "{:?}", records[2].score);
    assert!((records[0].score.parts["evidence"] - 1.0).abs() < 1e-12, "{:?}", records[0].score);
    assert!(!records[1].score.parts.contains_key("evidence"), "there is none to read");
    let now = known.memory.now.unwrap().to_string();
    assert!(fixture.prompts()[0].contains(&now[..10]), "{}", fixture.prompts()[0]);

    let full = Fixture::new(Task::Longmemeval, Arm::FullContext, 2048, vec!["A cello".into()]);
    let record = full.run(std::slice::from_ref(unknown), None).unwrap().remove(0);
    assert_eq!(record.failure, Failure::UnsupportedAnswer);
}
