//! Functions that are not the agent's own, as their authors describe them: in JSON Schema.

use std::collections::HashSet;

use pagewise_core::{ArgumentKind, ArgumentSpec, FunctionSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The longest text that an argument may be, in characters.
const TEXT_CHARS: usize = 400;

/// The most items of a list or an object.
const ITEMS: usize = 24;

/// Whole numbers have at most 15 digits, as other numbers have before the point.
const INTEGER_MAX: i64 = 999_999_999_999_999;

/// Lists and objects in one another where anything may be given.
const ANY_LEVELS: usize = 2;

/// A function of somebody else's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// Its arguments: a JSON schema of an object.
    pub parameters: Value,
}

impl Tool {
    /// Returns what a call of it may be; what the schema says beyond that, such as bounds of numbers, is
    /// left out. Says why if no grammar could write it.
    pub fn spec(&self) -> Result<FunctionSpec<'_>, String> {
        let said = |reason| format!("the function {}: {reason}", self.name);
        Ok(FunctionSpec {
            name: &self.name,
            description: &self.description,
            arguments: fields(&self.parameters).map_err(said)?,
            asks_heartbeat: false,
        })
    }
}

/// The fields of an object.
fn fields(schema: &Value) -> Result<Vec<ArgumentSpec<'_>>, String> {
    let Some(properties) = properties(schema) else { return Ok(Vec::new()) };
    let required: Vec<&str> = match schema.get("required") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if let Some(name) = required.iter().find(|name| !properties.contains_key(**name)) {
        return Err(format!("{name} is required, and no argument"));
    }
    properties
        .iter()
        .map(|(name, schema)| {
            let kind = kind(schema).map_err(|reason| format!("{name}: {reason}"))?;
            let is_required = required.contains(&&**name);
            Ok(ArgumentSpec {
                name,
                description: schema.get("description").and_then(Value::as_str).unwrap_or_default(),
                kind: if is_required { kind } else { ArgumentKind::Optional(Box::new(kind)) },
            })
        })
        .collect()
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

fn kind(schema: &Value) -> Result<ArgumentKind<'_>, String> {
    if let Some(Value::Array(values)) = schema.get("enum") {
        // A list of other values only says more than the type does, and the type is kept.
        let texts: Option<Vec<String>> =
            values.iter().map(|value| value.as_str().map(str::to_string)).collect();
        if let Some(texts) = texts.filter(|texts| !texts.is_empty()) {
            return Ok(ArgumentKind::OneOf(texts));
        }
    }
    for name in ["anyOf", "oneOf"] {
        if let Some(Value::Array(kinds)) = schema.get(name) {
            return Ok(one_of_kinds(kinds.iter().map(kind).collect::<Result<_, _>>()?));
        }
    }
    match schema.get("type") {
        None => Ok(any()),
        Some(Value::String(name)) => of_type(name, schema),
        Some(Value::Array(names)) => {
            let kinds = names.iter().map(|name| of_type(name.as_str().unwrap_or_default(), schema));
            Ok(one_of_kinds(kinds.collect::<Result<_, _>>()?))
        }
        Some(other) => Err(format!("{other} is no type")),
    }
}

fn of_type<'a>(name: &str, schema: &'a Value) -> Result<ArgumentKind<'a>, String> {
    Ok(match name {
        "string" => ArgumentKind::Text { max_chars: TEXT_CHARS },
        "integer" => ArgumentKind::Integer { min: -INTEGER_MAX, max: INTEGER_MAX },
        "number" => ArgumentKind::Number,
        "boolean" => ArgumentKind::Boolean,
        "null" => ArgumentKind::Null,
        "array" => ArgumentKind::Array {
            items: Box::new(schema.get("items").map_or_else(|| Ok(any()), kind)?),
            min_items: 0,
            max_items: ITEMS,
        },
        "object" if properties(schema).is_some() => ArgumentKind::Object(fields(schema)?),
        "object" => {
            let values = schema.get("additionalProperties").filter(|values| values.is_object());
            let values = Box::new(values.map_or_else(|| Ok(any()), kind)?);
            ArgumentKind::Map { values, max_entries: ITEMS }
        }
        other => return Err(format!("{other:?} is no type of JSON Schema")),
    })
}

/// Any of these kinds; any value where two of them could not be told apart when they begin.
fn one_of_kinds(kinds: Vec<ArgumentKind<'_>>) -> ArgumentKind<'_> {
    let mut begun = HashSet::new();
    let is_clear = kinds.iter().all(|kind| match kind {
        ArgumentKind::Text { .. } | ArgumentKind::OneOf(_) | ArgumentKind::Date => {
            begun.insert("text")
        }
        ArgumentKind::Integer { .. } | ArgumentKind::Number => begun.insert("number"),
        ArgumentKind::Boolean => begun.insert("boolean"),
        ArgumentKind::Null => begun.insert("null"),
        ArgumentKind::Array { .. } => begun.insert("list"),
        ArgumentKind::Object(_) | ArgumentKind::Map { .. } => begun.insert("object"),
        ArgumentKind::AnyOf(_) | ArgumentKind::Optional(_) => false,
    });
    if is_clear && !kinds.is_empty() { ArgumentKind::AnyOf(kinds) } else { any() }
}

fn any<'a>() -> ArgumentKind<'a> {
    ArgumentKind::any(ANY_LEVELS, TEXT_CHARS, ITEMS)
}

/// Returns a function in words for a model: its arguments with what each may be.
pub(crate) fn help(spec: &FunctionSpec<'_>) -> String {
    let mut text = format!("- {}{}", spec.name, described(spec.description));
    for ArgumentSpec { name, description, kind } in &spec.arguments {
        text.push_str(&format!("\n  - {name} ({}){}", brief(kind), described(description)));
    }
    text
}

fn described(description: &str) -> String {
    match description.trim() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

/// What a value may be, without the bounds that no request reaches.
fn brief(kind: &ArgumentKind<'_>) -> String {
    match kind {
        ArgumentKind::Text { .. } => "text".into(),
        ArgumentKind::Integer { .. } => "whole number".into(),
        ArgumentKind::Number => "number".into(),
        ArgumentKind::Array { items, .. } => format!("list, each {}", brief(items)),
        ArgumentKind::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{}: {}", field.name, brief(&field.kind)))
                .collect();
            format!("object {{{}}}", fields.join(", "))
        }
        ArgumentKind::Map { .. } => "object".into(),
        ArgumentKind::AnyOf(_) => "any value".into(),
        ArgumentKind::Optional(kind) => format!("{}, optional", brief(kind)),
        kind => kind.describe(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(parameters: Value) -> Tool {
        Tool { name: "Lamp.set".into(), description: "Sets a lamp. ".into(), parameters }
    }

    #[test]
    fn a_schema_becomes_a_spec() {
        let tool = tool(json!({
            "type": "object",
            "properties": {
                "lamp": {"type": "string", "description": "which lamp"},
                "colour": {"type": "string", "enum": ["red", "green"]},
                "level": {"type": "number"},
                "scenes": {"type": "array", "items": {"type": "integer"}},
                "at": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
                "tags": {"type": "object"},
                "room": {"type": ["string", "null"]},
                "extra": {},
            },
            "required": ["lamp", "at"],
        }));
        let spec = tool.spec().unwrap();
        assert_eq!(
            pagewise_grammar::check_specs(std::slice::from_ref(&spec), &Default::default()),
            Ok(())
        );
        insta::assert_snapshot!(help(&spec), @"
        - Lamp.set: Sets a lamp.
          - lamp (text): which lamp
          - colour (one of red, green, optional)
          - level (number, optional)
          - scenes (list, each whole number, optional)
          - at (object {x: number})
          - tags (object, optional)
          - room (any value, optional)
          - extra (any value, optional)
        ");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for (parameters, says) in [
            (
                json!({"properties": {"a": {"type": "dict"}}}),
                "a: \"dict\" is no type of JSON Schema",
            ),
            (json!({"properties": {"a": {"type": 1}}}), "a: 1 is no type"),
            (json!({"properties": {}, "required": ["b"]}), "b is required, and no argument"),
        ] {
            let error = tool(parameters).spec().unwrap_err();
            assert_eq!(error, format!("the function Lamp.set: {says}"));
        }
    }
}
