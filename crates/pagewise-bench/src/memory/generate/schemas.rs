//! JSON schemas with values that they allow and values that they do not, of six families.
//!
//! A value is made from the numbers of its schema, and an invalid one breaks one thing alone.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use super::{any, chance, shuffled};
use crate::memory::schemas::{Instance, SchemaCase};

/// What a schema is about, in turn.
const FAMILIES: [(&str, Make); 6] = [
    ("fields", fields),
    ("numbers", numbers),
    ("texts", texts),
    ("lists", lists),
    ("choices", choices),
    ("references", references),
];

/// Makes a schema with values that are valid, and values that are not.
type Make = fn(&mut ChaCha8Rng) -> (Value, Vec<Value>, Vec<Value>);

const NAMES: &[&str] =
    &["title", "width", "owner", "isOpen", "created-at", "n", "größe", "full name", "tags", "x1"];

const WORDS: &[&str] = &["amber", "birch", "cobalt", "dune", "ember", "fjord", "grove", "häuser"];

/// Patterns, a text that matches each, and one that does not.
const PATTERNS: &[(&str, &str, &str)] = &[
    ("^[A-Z]{2}-[0-9]{4}$", "QX-2040", "QX-204"),
    ("^(red|green)( light)?$", "green light", "green  light"),
    ("^[a-z]+(-[a-z]+)*$", "north-by-north", "north--by"),
    ("^[0-9]{1,3}(\\.[0-9]{1,3}){3}$", "10.0.200.7", "10.0.200"),
];

/// Makes schemas without end: each depends on the seed and on its number alone.
pub(crate) fn cases(seed: u64) -> impl Iterator<Item = SchemaCase> {
    (0..).map(move |number| {
        let (family, make) = FAMILIES[number % FAMILIES.len()];
        let (schema, valid, invalid) = make(&mut chance(seed, 0, number));
        let instance = |is_valid| move |value| Instance { value, is_valid };
        SchemaCase {
            id: format!("{family}-{seed}-{number}"),
            family: family.into(),
            features: Vec::new(),
            schema,
            instances: valid
                .into_iter()
                .map(instance(true))
                .chain(invalid.into_iter().map(instance(false)))
                .collect(),
        }
    })
}

/// Objects with fields that must, may and must not be there.
fn fields(rng: &mut ChaCha8Rng) -> (Value, Vec<Value>, Vec<Value>) {
    let names = shuffled(NAMES, rng);
    let n_fields = rng.random_range(2..6);
    let n_required = rng.random_range(1..=n_fields);
    let mut properties = Map::new();
    let mut full = Map::new();
    for name in &names[..n_fields] {
        let (schema, value) = simple(rng);
        properties.insert((*name).into(), schema);
        full.insert((*name).into(), value);
    }
    let required = &names[..n_required];
    let least: Map<String, Value> = full
        .iter()
        .filter(|(name, _)| required.contains(&&***name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut missing = full.clone();
    missing.shift_remove(names[0]);
    let mut wrong = full.clone();
    wrong.insert(names[n_fields - 1].into(), json!([{}]));
    let mut more = full.clone();
    more.insert(names[n_fields].into(), json!(1));
    let schema = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    });
    let invalid = [missing, wrong, more].map(Value::Object).to_vec();
    (schema, vec![full.into(), least.into()], invalid)
}

/// A schema without parts, and a value for it that is no list.
fn simple(rng: &mut ChaCha8Rng) -> (Value, Value) {
    match rng.random_range(0..4) {
        0 => (json!({"type": "string"}), any(WORDS, rng).into()),
        1 => (json!({"type": "integer"}), rng.random_range(-999..9999).into()),
        2 => (json!({"type": "boolean"}), rng.random::<bool>().into()),
        _ => (json!({"type": ["number", "null"]}), json!(f64::from(rng.random_range(1..99)) / 4.0)),
    }
}

/// Numbers between bounds.
fn numbers(rng: &mut ChaCha8Rng) -> (Value, Vec<Value>, Vec<Value>) {
    let low: i64 = rng.random_range(-500..500);
    let high = low + rng.random_range(2..2000);
    let middle = rng.random_range(low + 1..high);
    match rng.random_range(0..3) {
        0 => (
            json!({"type": "integer", "minimum": low, "maximum": high}),
            vec![low.into(), middle.into(), high.into()],
            vec![(low - 1).into(), (high + 1).into(), json!("1"), json!(middle as f64 + 0.5)],
        ),
        1 => (
            json!({"type": "integer", "exclusiveMinimum": low, "exclusiveMaximum": high}),
            vec![middle.into(), (low + 1).into(), (high - 1).into()],
            vec![low.into(), high.into(), Value::Null],
        ),
        _ => (
            json!({"type": "number", "minimum": low, "maximum": high}),
            vec![low.into(), json!(middle as f64 + 0.25), json!(high as f64)],
            vec![json!(low as f64 - 0.5), json!(high as f64 + 0.125), json!(true)],
        ),
    }
}

/// Texts of some length, and of some form.
fn texts(rng: &mut ChaCha8Rng) -> (Value, Vec<Value>, Vec<Value>) {
    if rng.random() {
        let (pattern, good, bad) = PATTERNS.choose(rng).copied().unwrap_or(PATTERNS[0]);
        return (
            json!({"type": "string", "pattern": pattern}),
            vec![good.into()],
            vec![bad.into(), "".into(), json!(1)],
        );
    }
    let least = rng.random_range(1..8);
    let most = least + rng.random_range(0..12);
    let text = |n: usize, rng: &mut ChaCha8Rng| -> Value {
        let letters: Vec<char> = "aeiou äñ\"\\\n☂y".chars().collect();
        (0..n).map(|_| letters.choose(rng).copied().unwrap_or('a')).collect::<String>().into()
    };
    (
        json!({"type": "string", "minLength": least, "maxLength": most}),
        vec![text(least, rng), text(most, rng)],
        vec![text(least - 1, rng), text(most + 1, rng), json!([])],
    )
}

/// Lists of some length, and lists whose first items are each of a kind.
fn lists(rng: &mut ChaCha8Rng) -> (Value, Vec<Value>, Vec<Value>) {
    if rng.random() {
        let schema = json!({
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"enum": WORDS}],
            "items": false,
            "minItems": 2,
        });
        let (number, word) = (rng.random_range(0..999), any(WORDS, rng));
        return (
            schema,
            vec![json!([number, word])],
            vec![json!([word, number]), json!([number]), json!([number, word, word])],
        );
    }
    let least = rng.random_range(1..4);
    let most = least + rng.random_range(0..4);
    let items = |n: usize| Value::from((0..n).map(|item| json!(item % 2 == 0)).collect::<Vec<_>>());
    let mut wrong = items(least);
    wrong[0] = json!("true");
    (
        json!({"type": "array", "items": {"type": "boolean"}, "minItems": least, "maxItems": most}),
        vec![items(least), items(most)],
        vec![items(least - 1), items(most + 1), wrong],
    )
}

/// One of several values, and one of several kinds.
fn choices(rng: &mut ChaCha8Rng) -> (Value, Vec<Value>, Vec<Value>) {
    let words = shuffled(WORDS, rng);
    if rng.random() {
        let number: i64 = rng.random_range(10..999);
        return (
            json!({"enum": [words[0], number, {"k": words[1]}, null]}),
            vec![words[0].into(), number.into(), json!({"k": words[1]}), Value::Null],
            vec![words[2].into(), (number * 10).into(), json!({"k": words[0]}), json!(false)],
        );
    }
    let schema = json!({"anyOf": [
        {
            "type": "object",
            "properties": {"kind": {"const": words[0]}, "size": {"type": "integer"}},
            "required": ["kind", "size"],
            "additionalProperties": false,
        },
        {"type": "array", "items": {"const": words[1]}, "minItems": 1},
        {"type": "boolean"},
    ]});
    let size: i64 = rng.random_range(0..99);
    (
        schema,
        vec![json!({"kind": words[0], "size": size}), json!([words[1], words[1]]), json!(true)],
        vec![json!({"kind": words[2], "size": size}), json!([words[0]]), json!([]), json!("true")],
    )
}

/// Trees: a schema that refers to itself.
fn references(rng: &mut ChaCha8Rng) -> (Value, Vec<Value>, Vec<Value>) {
    let schema = json!({
        "$defs": {"node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 3},
            },
            "required": ["value"],
            "additionalProperties": false,
        }},
        "$ref": "#/$defs/node",
    });
    let n_levels = rng.random_range(1..5);
    let tree = |leaf: Value, rng: &mut ChaCha8Rng| {
        (0..n_levels).fold(leaf, |tree, _| {
            let brother = json!({"value": rng.random_range(0..99)});
            json!({"value": rng.random_range(0..99), "children": [brother, tree]})
        })
    };
    let number: i64 = rng.random_range(-99..99);
    let four = json!([{"value": 1}, {"value": 2}, {"value": 3}, {"value": 4}]);
    (
        schema,
        vec![json!({"value": number}), tree(json!({"value": number, "children": []}), rng)],
        vec![
            tree(json!({"value": "1"}), rng),
            tree(json!({"children": []}), rng),
            tree(json!({"value": 1, "children": four}), rng),
        ],
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_schema_has_values_of_both_kinds_and_no_two_are_alike() {
        let cases: Vec<SchemaCase> = cases(3).take(120).collect();
        let ids: HashSet<&str> = cases.iter().map(|case| &*case.id).collect();
        let families: HashSet<&str> = cases.iter().map(|case| &*case.family).collect();
        assert_eq!((ids.len(), families.len()), (120, FAMILIES.len()));
        for case in &cases {
            let n_valid = case.instances.iter().filter(|instance| instance.is_valid).count();
            assert!(n_valid > 0 && n_valid < case.instances.len(), "{}", case.id);
            let values = |is_valid| -> HashSet<String> {
                let kind = case.instances.iter().filter(|one| one.is_valid == is_valid);
                kind.map(|instance| instance.value.to_string()).collect()
            };
            assert!(values(true).is_disjoint(&values(false)), "{case:?}");
        }
    }

    #[test]
    fn a_schema_depends_on_its_number_alone() {
        let all: Vec<SchemaCase> = cases(4).take(14).collect();
        assert_eq!(cases(4).nth(13), all.last().cloned());
        assert_ne!(
            cases(5).nth(13).map(|case| case.schema),
            all.last().map(|case| case.schema.clone())
        );
    }
}
