use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::*;
use crate::{GrammarError, JsonSchemaGrammar, MAX_SCHEMA_BYTES, MAX_SCHEMA_LEVELS};

static SCHEMAS: LazyLock<JsonSchemaGrammar> = LazyLock::new(|| {
    let vocabulary = VOCABULARY.clone();
    JsonSchemaGrammar::new(VOCABULARY.with_encoder(move |text| vocabulary.encode(text))).unwrap()
});

/// Whether a text can be written under the masks, byte by byte: forced bytes have one token each.
fn accepts(schema: &Value, text: &str) -> bool {
    let mut matcher = SCHEMAS.matcher(schema).unwrap();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let mask = matcher.token_mask().unwrap();
        let beginnings = VOCABULARY.beginnings(rest);
        let Some(&token) = beginnings.iter().find(|&&token| mask.allows(token)) else {
            return false;
        };
        matcher.advance(token).unwrap();
        rest = &rest[VOCABULARY.tokens[token as usize].len()..];
    }
    matcher.is_accepting().unwrap()
}

#[test]
fn a_value_is_accepted_as_the_schema_says() {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 2, "pattern": "^[a-z]+$"},
            "ages": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 2},
            "kind": {"enum": ["a", 1, null]},
        },
        "required": ["name"],
        "additionalProperties": false,
    });
    for text in [
        r#"{"name":"ab"}"#,
        r#"{"name": "abc", "ages": [1, 20], "kind": null}"#,
        r#"{"name":"ab","kind":1}"#,
    ] {
        assert!(accepts(&schema, text), "{text}");
    }
    for text in [
        "{}",
        r#"{"name":"a"}"#,
        r#"{"name":"AB"}"#,
        r#"{"name":"ab","ages":[-1]}"#,
        r#"{"name":"ab","ages":[1,2,3]}"#,
        r#"{"name":"ab","kind":"b"}"#,
        r#"{"name":"ab","more":1}"#,
        r#"{"name":"ab""#,
        r#"{"name":"ab"}}"#,
        "[]",
        "",
    ] {
        assert!(!accepts(&schema, text), "{text}");
    }
    assert!(accepts(&json!(true), "[1, {\"a\": null}]"));
}

#[test]
fn references_stay_inside() {
    let tree = json!({
        "$ref": "#/$defs/tree",
        "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
    });
    assert!(accepts(&tree, "[[], [[]]]"));
    assert!(!accepts(&tree, "[[1]]"));
    let outside = json!({"$ref": "http://example.com/schema.json"});
    assert!(matches!(SCHEMAS.matcher(&outside).err(), Some(GrammarError::Schema { .. })));
}

#[test]
fn what_is_not_supported_is_refused() {
    for (schema, says) in [
        (json!({"not": {"type": "string"}}), "not"),
        (json!({"type": "string", "minLength": 3, "maxLength": 2}), "nsatisfiable"),
        (json!(3), "an object, true or false"),
        (json!({"type": "sting"}), "sting"),
    ] {
        let error = SCHEMAS.matcher(&schema).err().unwrap().to_string();
        assert!(error.starts_with("the schema is not supported: "), "{error}");
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn hostile_schemas_cost_little() {
    let deep = |n| (0..n).fold(json!({}), |inner, _| json!({"items": inner}));
    let wide: Vec<Value> = (0..20_000).map(|n| json!({"const": format!("{n:050}")})).collect();
    let twice = (0..40).fold(json!({"type": "null"}), |inner, _| {
        json!({"anyOf": [{"type": "array", "items": inner.clone()}, {"type": "boolean"}]})
    });
    let schemas = [
        deep(MAX_SCHEMA_LEVELS / 2),
        deep(10 * MAX_SCHEMA_LEVELS),
        json!({"anyOf": wide}),
        json!({"description": "x".repeat(MAX_SCHEMA_BYTES)}),
        json!({"type": "string", "maxLength": 4_000_000_000u32}),
        json!({"type": "string", "pattern": "^((a{1,500}){1,500}){1,500}$"}),
        json!({"type": "string", "pattern": "(x+x+)+y"}),
        json!({"type": "array", "minItems": 3_000_000, "items": {"type": "null"}}),
        json!({"type": "number", "multipleOf": 1e-300}),
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        twice,
    ];
    for schema in schemas {
        let started = Instant::now();
        let outcome = SCHEMAS.matcher(&schema).and_then(|mut matcher| {
            matcher.token_mask()?;
            Ok(())
        });
        // Generous, since machines are slow and shared: without bounds these take minutes, or all memory.
        let seconds = started.elapsed();
        let brief: String = schema.to_string().chars().take(80).collect();
        assert!(seconds < Duration::from_secs(60), "{brief}: {seconds:?}, {outcome:?}");
    }
}

#[test]
fn special_tokens_are_never_allowed() {
    let mut matcher = SCHEMAS.matcher(&json!({"type": "integer"})).unwrap();
    let padding = VOCABULARY.tokens.len() as u32 - 1;
    assert!(!matcher.token_mask().unwrap().allows(padding));
    assert!(matches!(matcher.advance(padding), Err(GrammarError::Refused { .. })));
    matcher.advance(u32::from(b'7')).unwrap();
    assert!(matcher.is_accepting().unwrap());
    assert_eq!(SCHEMAS.token_bytes(u32::from(b'7')), b"7");
    assert_eq!(SCHEMAS.tokens("[]"), VOCABULARY.encode(b"[]"));
}
