//! What the arguments of a function may be.

use serde_json::{Map, Value};

/// The longest name of a function or argument, in characters.
pub const MAX_NAME_CHARS: usize = 128;

/// The longest key of an [`ArgumentKind::Map`], in characters.
pub const MAX_KEY_CHARS: usize = 64;

/// One argument of a function, or one field of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgumentSpec<'a> {
    /// The name: 1 to [`MAX_NAME_CHARS`] characters, none of them a control character.
    pub name: &'a str,
    /// A phrase for the model.
    pub description: &'a str,
    /// What the value may be.
    pub kind: ArgumentKind<'a>,
}

/// What the value of an argument may be. Everything is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgumentKind<'a> {
    /// A string of 1 to `max_chars` characters (Unicode scalar values) with something other than
    /// white space in it.
    Text {
        /// The longest allowed, in characters.
        max_chars: usize,
    },
    /// One of these strings, exactly. Never empty.
    OneOf(Vec<String>),
    /// A whole number from `min` to `max`, both included.
    Integer {
        /// The least allowed.
        min: i64,
        /// The greatest allowed.
        max: i64,
    },
    /// Any number of at most 15 digits before the point, 14 behind it and 2 in the exponent.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Nothing: `null`.
    Null,
    /// A day, `YYYY-MM-DD`.
    Date,
    /// A list.
    Array {
        /// What each item may be.
        items: Box<Self>,
        /// The fewest allowed.
        min_items: usize,
        /// The most allowed.
        max_items: usize,
    },
    /// An object with these fields, in this order.
    Object(Vec<ArgumentSpec<'a>>),
    /// An object with any keys of at most [`MAX_KEY_CHARS`] characters; of a key that is there twice, the
    /// last value counts.
    Map {
        /// What each value may be.
        values: Box<Self>,
        /// The most entries allowed.
        max_entries: usize,
    },
    /// One of several kinds, which differ in what they begin with: one that is quoted, one number, one list
    /// and so on.
    AnyOf(Vec<Self>),
    /// This kind, or nothing: the argument may be left out. Only what has a name can be.
    Optional(Box<Self>),
}

impl ArgumentKind<'_> {
    /// Returns the kind of any JSON value with at most `levels` lists or objects in one another, of texts of
    /// at most `max_chars` characters and of lists and objects of at most `max_items` items.
    pub fn any(levels: usize, max_chars: usize, max_items: usize) -> Self {
        let mut kinds = vec![Self::Text { max_chars }, Self::Number, Self::Boolean, Self::Null];
        if levels > 0 {
            let inner = Box::new(Self::any(levels - 1, max_chars, max_items));
            let items = inner.clone();
            kinds.push(Self::Array { items, min_items: 0, max_items });
            kinds.push(Self::Map { values: inner, max_entries: max_items });
        }
        Self::AnyOf(kinds)
    }

    /// Says why the value is not of this kind.
    fn check(&self, value: &Value) -> Result<(), String> {
        let not_this = || Err(format!("{value} is not {}", self.describe()));
        match (self, value) {
            (Self::Text { max_chars }, Value::String(text)) => check_text(text, *max_chars),
            (Self::OneOf(allowed), Value::String(text)) if allowed.contains(text) => Ok(()),
            (Self::Integer { min, max }, Value::Number(number))
                if number.as_i64().is_some_and(|n| (*min..=*max).contains(&n)) =>
            {
                Ok(())
            }
            (Self::Number, Value::Number(_))
            | (Self::Boolean, Value::Bool(_))
            | (Self::Null, Value::Null) => Ok(()),
            (Self::Date, Value::String(text))
                if text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok() =>
            {
                Ok(())
            }
            (Self::Array { items, min_items, max_items }, Value::Array(values)) => {
                if !(*min_items..=*max_items).contains(&values.len()) {
                    return Err(format!(
                        "{} items, {min_items} to {max_items} are allowed",
                        values.len()
                    ));
                }
                values.iter().try_for_each(|value| items.check(value))
            }
            (Self::Object(fields), Value::Object(values)) => check_fields(values, fields)
                .map_err(|(field, reason)| format!("{field:?}: {reason}")),
            (Self::Map { values: kind, max_entries }, Value::Object(values)) => {
                if values.len() > *max_entries {
                    return Err(format!(
                        "{} entries, at most {max_entries} are allowed",
                        values.len()
                    ));
                }
                values.iter().try_for_each(|(key, value)| {
                    check_text(key, MAX_KEY_CHARS)?;
                    kind.check(value)
                })
            }
            (Self::AnyOf(kinds), value) if kinds.iter().any(|kind| kind.check(value).is_ok()) => {
                Ok(())
            }
            (Self::Optional(kind), value) => kind.check(value),
            _ => not_this(),
        }
    }

    /// Returns what the value may be, in words for a message or a prompt.
    pub fn describe(&self) -> String {
        match self {
            Self::Text { max_chars } => format!("a text of at most {max_chars} characters"),
            Self::OneOf(allowed) => format!("one of {}", allowed.join(", ")),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Number => "a number".into(),
            Self::Boolean => "true or false".into(),
            Self::Null => "null".into(),
            Self::Date => "a day as YYYY-MM-DD".into(),
            Self::Array { items, max_items, .. } => {
                format!("a list of at most {max_items} items, each {}", items.describe())
            }
            Self::Object(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|field| format!("{} ({})", field.name, field.kind.describe()))
                    .collect();
                format!("an object of {}", fields.join(", "))
            }
            Self::Map { values, .. } => {
                format!("an object of any keys, each {}", values.describe())
            }
            Self::AnyOf(kinds) => {
                let kinds: Vec<String> = kinds.iter().map(Self::describe).collect();
                kinds.join(", or ")
            }
            Self::Optional(kind) => format!("{}, or left out", kind.describe()),
        }
    }

    /// Whether an argument of this kind may be left out.
    pub fn is_optional(&self) -> bool {
        matches!(self, Self::Optional(_))
    }
}

fn check_text(text: &str, max_chars: usize) -> Result<(), String> {
    match text.chars().count() {
        n if n > max_chars => Err(format!("{n} characters, at most {max_chars} are allowed")),
        _ if text.trim().is_empty() => Err("must not be blank".into()),
        _ => Ok(()),
    }
}

/// Says which of the fields is wrong, and why: they must be those of the specs in their order.
pub(crate) fn check_fields(
    fields: &Map<String, Value>,
    specs: &[ArgumentSpec<'_>],
) -> Result<(), (String, String)> {
    let mut given = fields.iter().peekable();
    for spec in specs {
        match given.next_if(|(name, _)| *name == spec.name) {
            Some((name, value)) => {
                spec.kind.check(value).map_err(|reason| (name.clone(), reason))?;
            }
            None if spec.kind.is_optional() => {}
            None => return Err(expected(fields, specs)),
        }
    }
    if given.next().is_some() { Err(expected(fields, specs)) } else { Ok(()) }
}

fn expected(fields: &Map<String, Value>, specs: &[ArgumentSpec<'_>]) -> (String, String) {
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    let wanted: Vec<String> = specs
        .iter()
        .map(|spec| format!("{}{}", spec.name, if spec.kind.is_optional() { "?" } else { "" }))
        .collect();
    (names.join(", "), format!("expected the arguments {}", wanted.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(kind: &ArgumentKind<'_>, good: &[Value], bad: &[(Value, &str)]) {
        for value in good {
            assert_eq!(kind.check(value), Ok(()), "{value}");
        }
        for (value, part) in bad {
            let error = kind.check(value).unwrap_err();
            assert!(error.contains(part), "{value}: {error} does not say {part:?}");
        }
    }

    fn field<'a>(name: &'a str, kind: ArgumentKind<'a>) -> ArgumentSpec<'a> {
        ArgumentSpec { name, description: "", kind }
    }

    #[test]
    fn numbers_have_signs_and_fractions() {
        check(
            &ArgumentKind::Integer { min: -3, max: i64::MAX },
            &[json!(-3), json!(0), json!(i64::MAX)],
            &[
                (json!(-4), "from -3"),
                (json!(1.5), "whole number"),
                (json!(u64::MAX), "whole number"),
            ],
        );
        let good = [json!(-3), json!(0.5), json!(6.02e23)];
        check(&ArgumentKind::Number, &good, &[(json!("1"), "\"1\" is not a number")]);
        check(&ArgumentKind::Null, &[json!(null)], &[(json!(0), "0 is not null")]);
    }

    #[test]
    fn lists_and_objects_are_checked_in_depth() {
        let list = ArgumentKind::Array {
            items: Box::new(ArgumentKind::Integer { min: 0, max: 9 }),
            min_items: 1,
            max_items: 2,
        };
        let good = [json!([0]), json!([0, 9])];
        check(&list, &good, &[(json!([]), "0 items, 1 to 2"), (json!([1, 10]), "from 0 to 9")]);
        let object = ArgumentKind::Object(vec![
            field("at", list),
            field("note", ArgumentKind::Optional(Box::new(ArgumentKind::Text { max_chars: 3 }))),
            field("on", ArgumentKind::Boolean),
        ]);
        check(
            &object,
            &[json!({"at": [1], "on": true}), json!({"at": [1], "note": "abc", "on": true})],
            &[
                (json!({"at": [1]}), "expected the arguments at, note?, on"),
                (json!({"on": true, "at": [1]}), "expected the arguments"),
                (json!({"at": [1], "on": true, "x": 1}), "expected the arguments"),
                (json!({"at": [1], "note": "abcd", "on": true}), "\"note\": 4 characters"),
            ],
        );
        let map = ArgumentKind::Map { values: Box::new(ArgumentKind::Boolean), max_entries: 1 };
        check(
            &map,
            &[json!({}), json!({"any key": false})],
            &[
                (json!({"a": 1}), "true or false"),
                (json!({"a": true, "b": true}), "2 entries, at most 1"),
                (json!({" ": true}), "blank"),
                (json!({"a".repeat(MAX_KEY_CHARS + 1): true}), "65 characters"),
            ],
        );
    }

    #[test]
    fn any_value_is_bounded_in_depth() {
        check(
            &ArgumentKind::any(2, 5, 3),
            &[json!("a"), json!(null), json!([1, [2.5, "x"]]), json!({"a": {"b": true}})],
            &[
                (json!([[[1]]]), "is not"),
                (json!("sixsix"), "is not"),
                (json!([1, 1, 1, 1]), "is not"),
            ],
        );
    }
}
