//! What a template may cost beyond what the engine's fuel pays for.
//!
//! Fuel counts instructions and the bytes of what they make, but some work of the engine is counted
//! only when it is done, or not at all: a list of 64 levels that each have the one below twice is
//! made by a few hundred instructions, and writing it never ends. So what is written out or goes
//! through a filter is measured first, and a template is compiled and rendered on a thread of its own,
//! whose stack is as deep as anything of the allowed length can nest, and which is not waited for
//! for ever.
//!
//! What is left to a template that wants to do harm are the operators on such lists: `~`, `+`,
//! comparisons, and their use as a key. They are part of the language and nothing can be put between.
//! They are given up on after [`TIME_LIMIT`]; the thread goes on, and may take memory, until the
//! program ends, as it does when a model cannot be loaded. A namespace that is put into itself and
//! then concatenated overflows the stack, which ends the process at once.

use std::sync::mpsc::channel;
use std::time::Duration;

use minijinja::value::{Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, filters};
use minijinja_contrib::pycompat;

use crate::brief::brief;

/// How long a template is waited for; real ones take a few milliseconds.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(3);
/// The stack of the thread. Minus signs, which nest deepest, take 30 MB of it in the longest template,
/// more in a build that checks memory; only what is used takes memory.
const STACK_BYTES: usize = 128 << 20;
/// The most lists and objects within each other that are written or filtered.
const MAX_DEPTH: usize = 64;
/// The most parts of a list or an object that is written or filtered, the parts of its parts included.
const MAX_PARTS: usize = 100_000;
/// The most that text or JSON is indented.
const MAX_INDENT: u64 = 16;

/// Does `work` on a thread of its own; `None` if it does not come to an end.
pub(super) fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new().name("chat template".into()).stack_size(STACK_BYTES);
    // Nobody may be waiting any more.
    thread.spawn(move || drop(sender.send(work()))).ok()?;
    receiver.recv_timeout(TIME_LIMIT).ok()
}

/// Has `environment` measure what it writes and filters, and gives it `raise_exception`.
pub(super) fn apply(environment: &mut Environment<'_>) {
    environment.set_formatter(|output: &mut Output<'_>, state: &mut State<'_, '_>, value| {
        measure(value)?;
        minijinja::escape_formatter(output, state, value)
    });
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        arguments.iter().chain([value]).try_for_each(measure)?;
        pycompat::unknown_method_callback(state, value, method, arguments)
    });
    for (name, filter) in [
        ("safe", Value::from_function(filters::safe)),
        ("escape", Value::from_function(filters::escape)),
        ("e", Value::from_function(filters::escape)),
        ("lower", Value::from_function(filters::lower)),
        ("upper", Value::from_function(filters::upper)),
        ("title", Value::from_function(filters::title)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("replace", Value::from_function(filters::replace)),
        ("trim", Value::from_function(filters::trim)),
        ("join", Value::from_function(filters::join)),
        ("split", Value::from_function(filters::split)),
        ("lines", Value::from_function(filters::lines)),
        ("default", Value::from_function(filters::default)),
        ("d", Value::from_function(filters::default)),
        ("list", Value::from_function(filters::list)),
        ("string", Value::from_function(filters::string)),
        ("sort", Value::from_function(filters::sort)),
        ("unique", Value::from_function(filters::unique)),
        ("min", Value::from_function(filters::min)),
        ("max", Value::from_function(filters::max)),
        ("sum", Value::from_function(filters::sum)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("groupby", Value::from_function(filters::groupby)),
        ("batch", Value::from_function(filters::batch)),
        ("slice", Value::from_function(filters::slice)),
        ("format", Value::from_function(filters::format)),
        ("pprint", Value::from_function(filters::pprint)),
    ] {
        environment.add_filter(name, move |state: &mut State<'_, '_>, arguments: Rest<Value>| {
            arguments.iter().try_for_each(measure)?;
            filter.call(state, &arguments)
        });
    }
    for (name, width, filter) in [
        ("tojson", "indent", Value::from_function(filters::tojson)),
        ("indent", "width", Value::from_function(filters::indent)),
    ] {
        environment.add_filter(name, move |state: &mut State<'_, '_>, arguments: Rest<Value>| {
            arguments.iter().try_for_each(measure)?;
            check_indent(&arguments, width)?;
            let result = filter.call(state, &arguments)?;
            // Making JSON is slower than copying text, for which alone the engine charges.
            state.consume_fuel(result.as_str().map_or(0, |text| text.len() as u64 / 4))?;
            Ok(result)
        });
    }
    environment.add_function("raise_exception", |message: Value| {
        measure(&message)?;
        Err::<(), _>(Error::new(ErrorKind::InvalidOperation, brief(message)))
    });
}

/// Refuses to indent by more than anybody would; the width is the first argument, or one with a name.
fn check_indent(arguments: &[Value], name: &str) -> Result<(), Error> {
    for argument in arguments.iter().skip(1) {
        let width = match argument.kind() {
            ValueKind::Map => argument.get_attr(name)?,
            _ => argument.clone(),
        };
        if u64::try_from(width).is_ok_and(|width| width > MAX_INDENT) {
            return Err(refusal("it indents further than anybody would"));
        }
    }
    Ok(())
}

/// Refuses a value that has too many parts, or that is too deep: one that is within itself is both.
fn measure(value: &Value) -> Result<(), Error> {
    let mut n_parts = 0;
    let mut left = vec![(value.clone(), 0)];
    while let Some((value, depth)) = left.pop() {
        let is_map = match value.kind() {
            ValueKind::Map => true,
            ValueKind::Seq | ValueKind::Iterable => false,
            _ => continue,
        };
        if depth >= MAX_DEPTH {
            return Err(refusal("it puts lists within lists without end"));
        }
        for part in value.try_iter()? {
            n_parts += 1;
            if n_parts > MAX_PARTS {
                return Err(refusal("it makes a list that is far too long"));
            }
            if is_map {
                left.push((value.get_item(&part)?, depth + 1));
            }
            left.push((part, depth + 1));
        }
    }
    Ok(())
}

fn refusal(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}
