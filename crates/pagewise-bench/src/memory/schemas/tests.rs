use std::sync::atomic::AtomicBool;

use pagewise_grammar::Vocabulary;
use serde_json::json;

use super::*;

/// Every byte a token, and some longer ones that cross what a schema decides.
fn vocabulary() -> Vocabulary {
    let longer = ["\":", "\"a\":", "{\"", "true", "ab", "1}", "]}"];
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    tokens.extend(longer.iter().map(|text| text.as_bytes().to_vec()));
    let known = tokens.clone();
    let encode = move |text: &[u8]| {
        let mut rest = text;
        let mut ids = Vec::new();
        while !rest.is_empty() {
            let (id, token) = known
                .iter()
                .enumerate()
                .filter(|(_, token)| rest.starts_with(token))
                .max_by_key(|(_, token)| token.len())
                .unwrap();
            ids.push(id as u32);
            rest = &rest[token.len()..];
        }
        ids
    };
    let mut vocabulary = Vocabulary::new(tokens.len(), Box::new(encode));
    for (id, token) in (0..).zip(tokens) {
        vocabulary.set(id, token);
    }
    vocabulary
}

fn case(family: &str, number: usize, schema: Value, instances: &[(Value, bool)]) -> SchemaCase {
    SchemaCase {
        id: format!("{family}-{number}"),
        family: family.into(),
        features: vec!["x".into()],
        schema,
        instances: instances
            .iter()
            .map(|(value, is_valid)| Instance { value: value.clone(), is_valid: *is_valid })
            .collect(),
    }
}

fn set(cases: &[SchemaCase]) -> SchemaSet {
    SchemaSet { source: "own".into(), cases: cases.to_vec() }
}

fn measured(cases: &[SchemaCase]) -> Vec<MeasuredSchema> {
    let cancelled = AtomicBool::new(false);
    measure_schemas("bytes", vocabulary(), &set(cases), &cancelled, &mut |_| ()).unwrap()
}

#[test]
fn schemas_are_judged_by_their_instances() {
    let object = json!({
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "integer"}}, "ab": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": false,
    });
    let cases = [
        case(
            "right",
            0,
            object.clone(),
            &[
                (json!({"a": [1]}), true),
                (json!({"a": [], "ab": true}), true),
                (json!({"ab": true}), false),
                (json!({"a": ["1"]}), false),
                (json!({"a": [1], "b": 1}), false),
            ],
        ),
        // What the data says of these is wrong, so the grammar seems to be.
        case("wrong", 0, object.clone(), &[(json!({"a": [1]}), false)]),
        case("wrong", 1, object, &[(json!({"a": 1}), true), (json!([]), false)]),
        case("not", 0, json!({"not": {"const": "b"}}), &[(json!(1), true)]),
    ];
    let measured = measured(&cases);
    let verdicts: Vec<Verdict> = measured.iter().map(MeasuredSchema::verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Right, Verdict::InvalidAccepted, Verdict::ValidRefused, Verdict::Unsupported]
    );
    assert_eq!((measured[0].valid_accepted, measured[0].invalid_refused), ([2, 2], [3, 3]));
    assert!(measured[0].mask_us.len() > 20);

    let summary = GrammarSummary::all(&measured).remove(0);
    assert_eq!((summary.share.n, summary.compiled.n, summary.valid_accepted.n), (4, 4, 3));
    assert!((summary.share.accuracy - 0.25).abs() < 1e-12);
    assert!((summary.compiled.accuracy - 0.75).abs() < 1e-12);
    assert!((summary.valid_accepted.accuracy - 2.0 / 3.0).abs() < 1e-12);
    assert!((summary.invalid_refused.accuracy - 0.8).abs() < 1e-12);
    assert_eq!(summary.by["family"]["wrong"].n, 2);
    assert_eq!(summary.by["feature"]["x"].n, 4);
    assert_eq!(summary.failures["unsupported"], 1);
    let reason = summary.unsupported.keys().next().unwrap();
    assert!(reason.contains("not"), "{reason}");
    let object = serde_json::to_value(&summary).unwrap();
    assert_eq!((&object["task"], &object["arm"]), (&json!("grammar"), &json!("grammar")));
    assert!(summary.seconds > 0.0);
    let table = grammar_table(&[summary]);
    assert!(table.contains("not supported, 1: "), "{table}");
}

#[test]
fn a_run_can_be_stopped() {
    let cases = [case("a", 0, json!(true), &[])];
    let cancelled = AtomicBool::new(true);
    let stopped = measure_schemas("bytes", vocabulary(), &set(&cases), &cancelled, &mut |_| ());
    assert!(matches!(stopped, Err(MemoryBenchError::Cancelled)));
}

#[test]
fn a_sample_is_even_over_families() {
    let cases = [("a", 1), ("b", 10), ("c", 4)]
        .iter()
        .flat_map(|(family, n)| (0..*n).map(|number| case(family, number, json!(true), &[])))
        .collect();
    let mut set = SchemaSet { source: "own".into(), cases };
    set.sample(7);
    let ids: Vec<&str> = set.cases.iter().map(|case| &*case.id).collect();
    assert_eq!(ids, ["a-0", "b-3", "b-6", "b-9", "c-1", "c-2", "c-3"]);
    set.sample(100);
    assert_eq!(set.cases.len(), 7);
}

#[test]
fn percentiles_are_of_the_values() {
    let times = Percentiles::of((1..=200).rev().map(f64::from).collect());
    assert!((times.p50 - 100.0).abs() < 1e-12 && (times.p99 - 198.0).abs() < 1e-12, "{times:?}");
    assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
}

#[test]
fn reasons_are_the_same_for_schemas_of_one_kind() {
    let of = |reason: &str| reason_of(reason);
    assert_eq!(of("Unimplemented keys: [\"not\"]"), "Unimplemented keys: [\"not\"]");
    assert_eq!(of("pattern 'a/b' of 17 bytes\nmore"), "pattern … of … bytes");
    assert_eq!(of("cannot resolve \"#/x\""), of("cannot resolve \"#/y\""));
}

fn reason_of(text: &str) -> String {
    reason(&GrammarError::Schema { reason: text.into() })
}
