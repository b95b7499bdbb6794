//! What a template may cost beyond what the engine's fuel pays for.
//!
//! Fuel counts instructions and the bytes of what they make, but some work of the engine is counted
//! only when it is done, or not at all: a list of 64 levels that each have the one below twice is
//! made by a few hundred instructions, and writing it never ends; so does a list that has one long text
//! a hundred thousand times. So what is written out, compared, looked up, or goes through a filter, a
//! test or a method is measured and paid for first (`guards.rs` has the operators), and what takes more
//! than its size says, such as a format that names one text often, by what it would take. Filters that
//! no chat template uses are left out.
//!
//! A template is compiled and rendered on a thread of its own, whose stack is as deep as anything of
//! the allowed length can nest, and which is not waited for for ever; fuel has it end soon behind that.

use std::sync::mpsc::channel;
use std::time::Duration;

use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, Output, State, filters, functions, tests};
use minijinja_contrib::pycompat;

use super::ChatTemplateError;
use super::guards::{IS_BOUNDED, IS_LAZY, IS_REFUSED, IS_WRITABLE, MADE, MAP_OF, SLICED};
use crate::brief::brief;

/// How long a template is waited for; real ones take a few milliseconds.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(3);
/// The stack of the thread. Minus signs, which nest deepest, take 30 MB of it in the longest template,
/// more in a build that checks memory; only what is used takes memory.
const STACK_BYTES: usize = 128 << 20;
/// The most lists and objects within each other that are looked at.
const MAX_DEPTH: usize = 64;
/// The most parts of a list or an object that is looked at, the parts of its parts included.
const MAX_PARTS: usize = 100_000;
/// The most bytes of all texts in what is looked at.
const MAX_TEXT_BYTES: usize = 8 << 20;
/// The most that text or JSON is indented.
const MAX_INDENT: u64 = 16;
/// The most characters that the ends of a text are freed of: each of the text's is looked for among them.
const MAX_STRIPPED_CHARS: usize = 64;

/// Filters that the engine has, that no chat template uses, and that would need bounds of their own.
const LEFT_OUT: [&str; 7] = ["batch", "chain", "groupby", "lines", "pprint", "slice", "zip"];

/// What a filter or a function is called with, arguments with names included.
type Arguments = Rest<ValueOrKwargs>;

/// How something is paid for that is done with these values.
type Payment = fn(&State<'_, '_>, &[Value]) -> Result<(), Error>;

/// Does `work` on a thread of its own, for a limited time.
pub(super) fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ChatTemplateError> {
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new().name("chat template".into()).stack_size(STACK_BYTES);
    // Nobody may be waiting any more.
    let started = thread.spawn(move || drop(sender.send(work())));
    started.map_err(|error| ChatTemplateError::NoThread { reason: error.to_string() })?;
    receiver.recv_timeout(TIME_LIMIT).map_err(|_| ChatTemplateError::TimedOut)
}

/// Has `environment` measure what it writes, filters and tests, and gives it `raise_exception`.
pub(super) fn apply(environment: &mut Environment<'_>) {
    // What it would tell of an error are all the values that there are.
    environment.set_debug(false);
    environment.set_formatter(|output: &mut Output<'_>, state: &mut State<'_, '_>, value| {
        pay_for_writing(state, value)?;
        minijinja::escape_formatter(output, state, value)
    });
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        pay_for_method(state, value, method, arguments)?;
        pycompat::unknown_method_callback(state, value, method, arguments)
    });
    apply_filters(environment);
    apply_tests(environment);
    let dict = Value::from_function(functions::dict);
    environment.add_function("dict", move |state: &mut State<'_, '_>, arguments: Arguments| {
        let arguments = arguments.into_values();
        pay_for_all(state, &arguments)?;
        dict.call(state, &arguments)
    });
    // It writes everything that there is.
    environment.remove_global("debug");
    environment.add_function("raise_exception", |state: &mut State<'_, '_>, message: Value| {
        pay_for_writing(state, &message)?;
        Err::<(), _>(Error::new(ErrorKind::InvalidOperation, brief(message)))
    });
}

fn apply_filters(environment: &mut Environment<'_>) {
    for name in LEFT_OUT {
        environment.remove_filter(name);
    }
    let written: Payment =
        |state, values| values.iter().try_for_each(|value| pay_for_writing(state, value));
    let joined: Payment = |state, values| {
        values.iter().try_for_each(|value| pay_for_writing(state, value))?;
        pay_for_each(state, values)
    };
    let sorted: Payment = |state, values| {
        values.iter().try_for_each(|value| pay_for_sorting(state, value))?;
        pay_for_each(state, values)
    };
    let split: Payment = |state, values| {
        pay_for_all(state, values)?;
        pay_for_pieces(state, values)
    };
    let formatted: Payment = |state, values| pay_for_format(state, values, '%');
    let stripped: Payment = |state, values| {
        pay_for_all(state, values)?;
        check_stripped(values.get(1))
    };
    let json: Payment = |state, values| pay_for_indent(state, values, "indent");
    let indented: Payment = |state, values| pay_for_indent(state, values, "width");
    for (name, pay, filter) in [
        ("safe", written, Value::from_function(filters::safe)),
        ("escape", written, Value::from_function(filters::escape)),
        ("e", written, Value::from_function(filters::escape)),
        ("lower", written, Value::from_function(filters::lower)),
        ("upper", written, Value::from_function(filters::upper)),
        ("title", written, Value::from_function(filters::title)),
        ("capitalize", written, Value::from_function(filters::capitalize)),
        ("replace", written, Value::from_function(filters::replace)),
        ("trim", stripped, Value::from_function(filters::trim)),
        ("join", joined, Value::from_function(filters::join)),
        ("split", split, Value::from_function(filters::split)),
        ("default", pay_for_all, Value::from_function(filters::default)),
        ("d", pay_for_all, Value::from_function(filters::default)),
        ("list", pay_for_all, Value::from_function(filters::list)),
        ("reverse", pay_for_all, Value::from_function(filters::reverse)),
        ("map", pay_for_each, Value::from_function(filters::map)),
        ("select", pay_for_each, Value::from_function(filters::select)),
        ("selectattr", pay_for_each, Value::from_function(filters::selectattr)),
        ("reject", pay_for_each, Value::from_function(filters::reject)),
        ("rejectattr", pay_for_each, Value::from_function(filters::rejectattr)),
        ("attr", pay_for_all, Value::from_function(filters::attr)),
        ("string", written, Value::from_function(filters::string)),
        ("sort", sorted, Value::from_function(filters::sort)),
        ("unique", sorted, Value::from_function(filters::unique)),
        ("min", sorted, Value::from_function(filters::min)),
        ("max", sorted, Value::from_function(filters::max)),
        ("sum", sorted, Value::from_function(filters::sum)),
        ("dictsort", sorted, Value::from_function(filters::dictsort)),
        ("format", formatted, Value::from_function(filters::format)),
        ("tojson", json, Value::from_function(plain_json)),
        ("indent", indented, Value::from_function(filters::indent)),
    ] {
        environment.add_filter(name, move |state: &mut State<'_, '_>, arguments: Arguments| {
            let arguments = arguments.into_values();
            pay(state, &arguments)?;
            let result = filter.call(state, &arguments)?;
            made(state, result)
        });
    }
    environment.add_filter(MADE, |state: &mut State<'_, '_>, value: Value| made(state, value));
    environment.add_filter(SLICED, |state: &mut State<'_, '_>, list: Value| {
        let mut parts: Vec<Value> = list.try_iter()?.collect();
        parts.first().map_or(Ok(()), |value| pay_for_looking(state, value))?;
        parts.reverse();
        Ok(Value::from(parts))
    });
    environment.add_filter(MAP_OF, |state: &mut State<'_, '_>, list: Value| {
        let parts: Vec<Value> = list.try_iter()?.collect();
        for key in parts.iter().step_by(2) {
            pay_for_looking(state, key)?;
        }
        let pairs = parts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        Ok(Value::from_pairs(pairs))
    });
}

fn apply_tests(environment: &mut Environment<'_>) {
    for (names, test) in [
        (&["eq", "equalto", "=="][..], Value::from_function(tests::is_eq)),
        (&["ne", "!="], Value::from_function(tests::is_ne)),
        (&["lt", "lessthan", "<"], Value::from_function(tests::is_lt)),
        (&["le", "<="], Value::from_function(tests::is_le)),
        (&["gt", "greaterthan", ">"], Value::from_function(tests::is_gt)),
        (&["ge", ">="], Value::from_function(tests::is_ge)),
        (&["in"], Value::from_function(tests::is_in)),
        (&["sameas"], Value::from_function(tests::is_sameas)),
        (&["lower"], Value::from_function(tests::is_lower)),
        (&["upper"], Value::from_function(tests::is_upper)),
        (&["divisibleby"], Value::from_function(tests::is_divisibleby)),
        (&["startingwith"], Value::from_function(tests::is_startingwith)),
        (&["endingwith"], Value::from_function(tests::is_endingwith)),
    ] {
        for name in names {
            let test = test.clone();
            environment.add_test(*name, move |state: &mut State<'_, '_>, values: Rest<Value>| {
                pay_for_all(state, &values)?;
                test.call(state, &values)
            });
        }
    }
    environment.add_test(IS_BOUNDED, |state: &mut State<'_, '_>, value: &Value| {
        pay_for_looking(state, value).map(|()| true)
    });
    environment.add_test(IS_WRITABLE, |state: &mut State<'_, '_>, value: &Value| {
        pay_for_writing(state, value).map(|()| true)
    });
    environment.add_test(IS_LAZY, |value: &Value| is_lazy(value));
    environment.add_test(IS_REFUSED, |name: &Value| {
        let what = format!("it uses {}, which this program does not have", brief(name));
        Err::<bool, _>(Error::new(ErrorKind::InvalidOperation, what))
    });
}

/// Returns a value as JSON for a text, as `transformers` does; the engine makes it for HTML, where some
/// characters would mean something.
fn plain_json(value: &Value, indent: Option<Value>, arguments: Kwargs) -> Result<String, Error> {
    let json = filters::tojson(value, indent, arguments)?;
    let mut rest = json.as_str().unwrap_or_default();
    let mut plain = String::with_capacity(rest.len());
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let (n_bytes, character) = match rest.as_bytes().get(..6) {
            Some(b"\\u003c") => (6, "<"),
            Some(b"\\u003e") => (6, ">"),
            Some(b"\\u0026") => (6, "&"),
            Some(b"\\u0027") => (6, "'"),
            // What stands behind it is ASCII, and may be another one.
            _ => (2, &rest[..2]),
        };
        plain.push_str(character);
        rest = &rest[n_bytes..];
    }
    plain.push_str(rest);
    Ok(plain)
}

/// Pays for a method before it is called.
fn pay_for_method(
    state: &State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<(), Error> {
    pay_for_looking(state, value)?;
    pay_for_all(state, arguments)?;
    let all = || [std::slice::from_ref(value), arguments].concat();
    match method {
        "join" => arguments.iter().try_for_each(|argument| pay_for_writing(state, argument)),
        "split" | "splitlines" => pay_for_pieces(state, &all()),
        "format" => pay_for_format(state, &all(), '{'),
        "strip" | "lstrip" | "rstrip" => check_stripped(arguments.first()),
        _ => Ok(()),
    }
}

/// Pays for looking at all of a value once. Texts are faster to go through than to copy.
fn pay_for_looking(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let size = measure(value)?;
    pay(state, size.n_parts / 8 + size.n_bytes / 256)
}

fn pay_for_all(state: &State<'_, '_>, values: &[Value]) -> Result<(), Error> {
    values.iter().try_for_each(|value| pay_for_looking(state, value))
}

/// Pays for writing a value. What has parts is written character by character, each of which may
/// become several; a text alone is paid for by the engine.
fn pay_for_writing(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let size = measure(value)?;
    pay(state, if has_parts(value) { size.n_parts / 4 + size.n_bytes / 8 } else { 0 })
}

/// Pays for comparing the parts of a value with each other.
fn pay_for_sorting(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let size = measure(value)?;
    pay(state, size.n_parts + size.n_bytes / 16)
}

/// Pays for all values but the first, such as the name of an attribute, for each part of the first.
fn pay_for_each(state: &State<'_, '_>, values: &[Value]) -> Result<(), Error> {
    let n_times = values.first().and_then(Value::len).unwrap_or(1).max(1);
    let (mut n_parts, mut n_bytes) = (0, 0);
    for value in values.iter().skip(1) {
        let size = measure(value)?;
        n_parts += size.n_parts;
        n_bytes += size.n_bytes;
    }
    pay(state, n_times.saturating_mul(n_parts) / 8 + n_times.saturating_mul(n_bytes) / 64)
}

/// Pays for the pieces that a text is cut into, at what the second value says or at white space: each
/// is a value of its own, and they are paid for by the engine when they are all there.
fn pay_for_pieces(state: &State<'_, '_>, values: &[Value]) -> Result<(), Error> {
    let Some(text) = values.first().and_then(Value::as_str) else { return Ok(()) };
    pay(
        state,
        match values.get(1).and_then(Value::as_str) {
            Some(separator) => text.matches(separator).count(),
            None => text.split_whitespace().count() + text.matches('\n').count(),
        },
    )
}

/// Pays for a text with values in the places that begin with `sign`: each may be the longest of them,
/// as wide as any number in the text says, or as precise.
fn pay_for_format(state: &State<'_, '_>, values: &[Value], sign: char) -> Result<(), Error> {
    let Some(text) = values.first().and_then(Value::as_str) else { return Ok(()) };
    let mut n_bytes = 0;
    for value in &values[1..] {
        let size = measure(value)?;
        n_bytes += 8 * (size.n_bytes + size.n_parts);
    }
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let widest = numbers.map(|digits| digits.parse().unwrap_or(usize::MAX)).max().unwrap_or(0);
    let n_places = text.matches(sign).count();
    pay(state, n_places.saturating_mul(widest.saturating_add(n_bytes)) / 64)
}

/// Pays for a text or JSON that is indented, and refuses to do it by more than anybody would; the width
/// is the first argument, or one with a name.
fn pay_for_indent(state: &State<'_, '_>, values: &[Value], name: &str) -> Result<(), Error> {
    for value in values {
        pay_for_writing(state, value)?;
    }
    for argument in values.iter().skip(1) {
        let width = match argument.kind() {
            ValueKind::Map => argument.get_attr(name)?,
            _ => argument.clone(),
        };
        if u64::try_from(width).is_ok_and(|width| width > MAX_INDENT) {
            return Err(refusal("it indents further than anybody would"));
        }
        // Every part may be on a line of its own, and as far in as it is deep.
        let size = values.first().map(measure).transpose()?.unwrap_or_default();
        pay(state, 2 * size.n_parts * size.depth)?;
    }
    Ok(())
}

fn check_stripped(chars: Option<&Value>) -> Result<(), Error> {
    let n_chars = chars.and_then(Value::as_str).map_or(0, |chars| chars.chars().count());
    match n_chars <= MAX_STRIPPED_CHARS {
        true => Ok(()),
        false => Err(refusal("it strips more characters than there are kinds of white space")),
    }
}

fn pay(state: &State<'_, '_>, fuel: usize) -> Result<(), Error> {
    state.consume_fuel(fuel as u64)
}

/// Returns whether the parts of a value are made each time that it is gone through.
fn is_lazy(value: &Value) -> bool {
    value.kind() == ValueKind::Iterable
}

/// Returns `value` with its parts made, if the engine has left that for later. Parts of parts of lists
/// would otherwise become a chain that is gone through for each of them, and that has no end that is
/// known before.
fn made(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if !is_lazy(&value) {
        return Ok(value);
    }
    let mut parts = Vec::new();
    for part in value.try_iter()?.checked() {
        if parts.len() == MAX_PARTS {
            return Err(too_many_parts());
        }
        if parts.len() % 2 == 0 {
            pay(state, 1)?;
        }
        parts.push(part?);
    }
    Ok(Value::from(parts))
}

/// How large a value is, with all of its parts.
#[derive(Default)]
struct Size {
    n_parts: usize,
    n_bytes: usize,
    depth: usize,
}

fn has_parts(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Map | ValueKind::Seq | ValueKind::Iterable)
}

/// Returns how large a value is, and refuses one that is too large or too deep: one that is within
/// itself is both.
fn measure(value: &Value) -> Result<Size, Error> {
    let mut size = Size::default();
    let mut left = vec![(value.clone(), 0)];
    while let Some((value, depth)) = left.pop() {
        size.depth = size.depth.max(depth);
        if !has_parts(&value) {
            size.n_bytes += value.as_str().map_or(0, str::len);
            if size.n_bytes > MAX_TEXT_BYTES {
                return Err(refusal("it makes a text that is far too long"));
            }
            continue;
        }
        if depth >= MAX_DEPTH {
            return Err(refusal("it puts lists within lists without end"));
        }
        let is_map = value.kind() == ValueKind::Map;
        for part in value.try_iter()?.checked() {
            let part = part?;
            size.n_parts += 1;
            if size.n_parts > MAX_PARTS {
                return Err(too_many_parts());
            }
            if is_map {
                left.push((value.get_item(&part)?, depth + 1));
            }
            left.push((part, depth + 1));
        }
    }
    Ok(size)
}

fn too_many_parts() -> Error {
    refusal("it makes a list that is far too long")
}

fn refusal(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}
