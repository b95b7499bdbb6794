//! Guards between the instructions of a template, where the engine has no hook.
//!
//! Before two values are joined as texts or compared, and before one is looked up or becomes a key,
//! each is measured: a list of 64 levels that each have the one below twice is never walked, and a
//! namespace that was put into itself is found out before it is written. What the engine would leave
//! for later, parts of a list and lists put together, is made at once, so that no chain of what is left
//! grows. The engine knows no such checks, but lets one have the instructions that it makes of a
//! template; here they are copied, with tests and filters between them (`limits.rs` has these).

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::{
    Instruction, Instructions, eval, get_compiled_template, make_string_output,
};
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Value};

/// The name of the test that fails with an error for what is too large to be compared. No template
/// can write it.
pub(super) const IS_BOUNDED: &str = "<bounded>";
/// The name of the test that fails with an error for what is too large to be written.
pub(super) const IS_WRITABLE: &str = "<writable>";
/// The name of the test for what the engine has left for later.
pub(super) const IS_LAZY: &str = "<lazy>";
/// The name of the filter that makes it.
pub(super) const MADE: &str = "<made>";
/// The name of the filter that looks at the first of the values in a list, which is to be cut, and turns
/// the list around: so they are unpacked in the order in which they were.
pub(super) const SLICED: &str = "<sliced>";
/// The name of the test that always fails with an error.
pub(super) const IS_REFUSED: &str = "<refused>";
/// The name of the filter that makes a map of a list of keys and values.
pub(super) const MAP_OF: &str = "<map>";
/// The method of loops that compares values.
const CHANGED: &str = "changed";

/// A number that tests and filters have if they are not to be remembered for the next time.
const NOT_CACHED: u8 = u8::MAX;
/// In place of a target: the instruction behind the next one.
const OVER_THE_NEXT: u32 = u32::MAX;

/// Renders the template `name` of `templates`, with guards, by what `environment` has.
pub(super) fn render<'e>(
    templates: &'e Environment<'e>,
    environment: &'e Environment<'e>,
    name: &str,
    context: Value,
) -> Result<String, Error> {
    let template = templates.get_template(name)?;
    let compiled = get_compiled_template(&template);
    let instructions = guarded(&compiled.instructions);
    let blocks: BTreeMap<_, _> =
        compiled.blocks.iter().map(|(name, block)| (*name, guarded(block))).collect();
    let escape = compiled.initial_auto_escape.clone();
    let mut text = String::new();
    let mut output = make_string_output(&mut text);
    eval(environment, &instructions, context, &blocks, &mut output, escape)?;
    Ok(text)
}

/// Returns the same instructions with guards between them.
fn guarded<'s>(plain: &Instructions<'s>) -> Instructions<'s> {
    let all = || (0..).map_while(|index| Some((index, plain.get(index)?)));
    let targets: BTreeSet<u32> = all().filter_map(|(_, instruction)| target(instruction)).collect();
    let mut guarded = Instructions::new(plain.name(), plain.source());
    // Where each instruction, or what guards it, has gone.
    let mut places = Vec::new();
    let mut n_guarded = 0;
    let mut last: Option<&Instruction<'s>> = None;
    for (index, instruction) in all() {
        places.push(n_guarded);
        // What was written there, if there is no other way here.
        let top = match last {
            Some(Instruction::LoadConst(value)) if !targets.contains(&index) => Some(value),
            _ => None,
        };
        let line = plain.get_line(index).and_then(|line| u16::try_from(line).ok());
        for instruction in with_guards(instruction, top) {
            match line {
                Some(line) => guarded.add_with_line(instruction, line),
                None => guarded.add(instruction),
            };
            n_guarded += 1;
        }
        last = Some(instruction);
    }
    places.push(n_guarded);
    for index in 0..n_guarded {
        if let Some(target) = guarded.get_mut(index).and_then(target_mut) {
            if *target == OVER_THE_NEXT {
                *target = index + 2;
            } else if let Some(place) = places.get(*target as usize) {
                *target = *place;
            }
        }
    }
    guarded
}

/// Returns what is done in place of an instruction; `top` is the constant that it finds, if any. All
/// instructions are named, so that one that a later engine has is noticed.
fn with_guards<'s>(instruction: &Instruction<'s>, top: Option<&Value>) -> Vec<Instruction<'s>> {
    use Instruction::{
        Add, ApplyFilter, BeginCapture, BuildKwargs, BuildList, BuildMacro, BuildMap, BuildTuple,
        CallBlock, CallFunction, CallMethod, CallObject, CompareAndPreserve, DiscardTop, Div,
        DupTop, Emit, EmitRaw, Enclose, EndCapture, Eq, ExportLocals, FastRecurse, FastSuper,
        GetAttr, GetClosure, GetItem, Gt, Gte, In, Include, IntDiv, IsUndefined, Iterate, Jump,
        JumpIfFalse, JumpIfFalseOrPop, JumpIfTrueOrPop, LoadBlocks, LoadConst, Lookup, Lt, Lte,
        MergeKwargs, Mul, Ne, Neg, Not, PerformTest, PopAutoEscape, PopFrame, PopLoopFrame, Pow,
        PushAutoEscape, PushDidNotIterate, PushLoop, PushWith, Rem, Return, SetAttr, Slice,
        StoreLocal, StringConcat, Sub, Swap, UnpackList, UnpackLists,
    };
    let is = |test| PerformTest(test, Some(1), NOT_CACHED);
    let filter = |name| ApplyFilter(name, Some(1), NOT_CACHED);
    let guard = |test| [DupTop, is(test), DiscardTop];
    let both = |test| {
        let mut guards = Vec::new();
        if top.is_none() {
            guards.extend(guard(test));
        }
        guards.push(Swap);
        guards.extend(guard(test));
        guards.push(Swap);
        guards
    };
    let refused = |what| vec![LoadConst(Value::from(what)), is(IS_REFUSED), DiscardTop];
    let mut all = match instruction {
        StringConcat => both(IS_WRITABLE),
        // A text, a number or nothing is compared at once, whatever with.
        Eq | Ne | Gt | Gte | Lt | Lte if top.is_some_and(is_scalar) => Vec::new(),
        Eq | Ne | Gt | Gte | Lt | Lte | In | CompareAndPreserve(_) => both(IS_BOUNDED),
        GetItem if top.is_none() => guard(IS_BOUNDED).to_vec(),
        // The keys lie between the values.
        BuildMap(n_pairs) => {
            return vec![BuildList(Some(2 * n_pairs)), filter(MAP_OF)];
        }
        Add if top.is_some_and(is_scalar) => Vec::new(),
        Add | Mul | Slice => {
            let mut all = Vec::new();
            if matches!(instruction, Slice) {
                // The value, and what part of it.
                all.extend([BuildList(Some(4)), filter(SLICED), UnpackList(4)]);
            }
            all.extend([instruction.clone(), DupTop, is(IS_LAZY)]);
            all.extend([JumpIfFalse(OVER_THE_NEXT), filter(MADE)]);
            return all;
        }
        CallMethod(CHANGED, _) => refused("loop.changed"),
        // There are no other templates, and the names of all that were tried would be written.
        Include(_) | LoadBlocks => refused("other templates"),
        ApplyFilter(..) | BeginCapture(_) | BuildKwargs(_) | BuildList(_) | BuildMacro(..)
        | BuildTuple(_) | CallBlock(_) | CallFunction(..) | CallMethod(..) | CallObject(_)
        | DiscardTop | Div | DupTop | Emit | EmitRaw(_) | Enclose(_) | EndCapture
        | ExportLocals | FastRecurse | FastSuper | GetAttr(_) | GetClosure | GetItem | IntDiv
        | IsUndefined | Iterate(_) | Jump(_) | JumpIfFalse(_) | JumpIfFalseOrPop(_)
        | JumpIfTrueOrPop(_) | LoadConst(_) | Lookup(_) | MergeKwargs(_) | Neg | Not
        | PerformTest(..) | PopAutoEscape | PopFrame | PopLoopFrame | Pow | PushAutoEscape
        | PushDidNotIterate | PushLoop(_) | PushWith | Rem | Return | SetAttr(_)
        | StoreLocal(_) | Sub | Swap | UnpackList(_) | UnpackLists(_) => Vec::new(),
    };
    all.push(instruction.clone());
    all
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}

/// Returns the instruction that may come after this one in place of the next.
fn target(instruction: &Instruction<'_>) -> Option<u32> {
    target_mut(&mut instruction.clone()).copied()
}

fn target_mut<'a>(instruction: &'a mut Instruction<'_>) -> Option<&'a mut u32> {
    match instruction {
        Instruction::Iterate(target)
        | Instruction::Jump(target)
        | Instruction::JumpIfFalse(target)
        | Instruction::JumpIfFalseOrPop(target)
        | Instruction::JumpIfTrueOrPop(target)
        | Instruction::BuildMacro(_, target, _) => Some(target),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use minijinja::context;

    use super::*;
    use crate::chat_template::limits;

    const NAME: &str = "template";

    fn environment() -> Environment<'static> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(250_000));
        limits::apply(&mut environment);
        environment
    }

    fn with_guards(source: &str) -> Result<String, Error> {
        let mut templates = Environment::new();
        templates.add_template(NAME, source)?;
        render(&templates, &environment(), NAME, values())
    }

    fn values() -> Value {
        context! {
            none => None::<u8>,
            messages => [context! { role => "user", content => "hi" }, context! { role => "tool" }],
            numbers => [3, 1, 2],
            tree => [context! { of => [context! { of => [0; 0] }] }],
        }
    }

    /// What is allowed is what the engine makes of it without guards.
    #[test]
    fn guards_change_nothing_that_is_allowed() {
        for source in [
            "{{ 1 ~ 'a' ~ none ~ messages ~ [1, 'b'] }}|{{ 'a' + 'b' }}",
            "{{ 1 < 2 }}{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 'a' == 'a' != 'b' }}{{ 2 in numbers }}",
            "{{ 'role' in messages[0] }}{{ 'x' not in 'abc' }}{{ 1 in [1] in [true] }}",
            "{{ {'a': 1, 2: [3], 'b' ~ 'c': {}} }}{{ {'a': 1}['a'] }}{{ {}|length }}",
            "{% set m = {'a': numbers, 'b': messages[0]} %}{{ m.a[0] ~ m['b'].role ~ m }}",
            "{{ messages[0 if 1 == 2 else 1]['role' if none else 'role'] }}{{ numbers[-1] }}",
            "{{ ('a' if 1 == 1 else 'b') == ('a' if 1 != 1 else 'b') }}{{ 1 == 1 and 2 == 2 or 3 < 2 }}",
            "{% for m in messages if m.role != 'x' %}{{ loop.index ~ m.role }}{% else %}-{% endfor %}",
            "{% for n in numbers %}{% if n == 1 %}{% continue %}{% elif n == 2 %}{% break %}\
             {% else %}{{ n ~ '!' }}{% endif %}{% endfor %}",
            "{% for t in tree recursive %}({{ t.of|length ~ loop(t.of) }}){% endfor %}",
            "{% macro f(a, b=1 ~ 2) %}{{ a ~ b }}{% if a == b %}={% endif %}{% endmacro %}\
             {{ f(12) ~ f('12') ~ f(a=1, b=1) }}",
            "{% macro g() %}[{{ caller('x' ~ 'y') }}]{% endmacro %}{% call(z) g() %}{{ z == 'xy' }}{% endcall %}",
            "{% set ns = namespace(n=0) %}{% for n in numbers %}{% set ns.n = ns.n + n %}{% endfor %}\
             {{ ns.n == 6 }}{% set ns.m = {'k': ns.n} %}{{ ns.m.k ~ '' }}",
            "{% set x %}a{{ 1 ~ 2 }}{% endset %}{% with y = x ~ 'z' %}{{ y == 'a12z' }}{% endwith %}",
            "{% block one %}{{ 'a' ~ 1 }}{% endblock %}{% filter upper %}{{ 'a' ~ 'b' }}{% endfilter %}",
            "{{ numbers is eq([3, 1, 2]) }}{{ 1 is in numbers }}{{ 2 is lt 3 }}{{ 4 is divisibleby 2 }}",
            "{{ numbers|select('gt', 1)|list ~ messages|selectattr('role', 'equalto', 'user')|list }}",
            "{{ messages|map(attribute='role')|join(',') }}{{ messages[0]|attr('content') }}{{ dict(a=1).a }}",
            "{% set m = messages[1:] %}{{ m|length ~ numbers[::-1] ~ numbers[0:2] }}",
            "{{ missing is defined }}{{ missing ~ 'x' }}{{ missing == none }}{{ 'a' in missing }}",
        ] {
            let mut plain = environment();
            plain.add_template(NAME, source).unwrap();
            let expected = plain.get_template(NAME).unwrap().render(values()).unwrap();
            assert_eq!(with_guards(source).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn errors_name_their_line() {
        let error =
            with_guards("{{ 1 ~ 2 }}\n{{ 1 == 1 }}\n{{ none.a.b ~ numbers[9].b }}").unwrap_err();
        assert_eq!(error.line(), Some(3), "{error}");
    }

    /// Each would take longer than anybody waits, or overflow the stack.
    #[test]
    fn what_is_not_allowed_ends_at_once() {
        let twice = "{% set ns = namespace(x=['a'], y=['a']) %}{% for i in range(64) %}\
                     {% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}";
        let within = "{% set ns = namespace() %}{% set ns.x = {'a': [ns]} %}{% set ns.y = namespace(x=ns) %}";
        for start in [twice, within] {
            for expression in [
                "ns.x ~ ''",
                "'' ~ ns.x",
                "ns.x == ns.y",
                "ns.x != ns.y",
                "ns.x < ns.y",
                "1 < ns.x < ns.y",
                "ns.x in [ns.y]",
                "[ns.x] == [ns.y]",
                "ns.x not in [ns.y]",
                "{ns.x: 1}",
                "{'a': 1, ns.x: 2}",
                "{'a': 1}[ns.x]",
                "messages[0 if none else ns.x]",
                "messages[0]|attr(ns.x)",
                "ns.x is eq(ns.y)",
                "ns.x is in([ns.y])",
                "[ns.x]|select('eq', ns.y)|list",
                "[ns.x]|reject('lt', ns.y)|list",
                "dict([[ns.x, 1]])",
                "debug(ns.x)",
            ] {
                let started = Instant::now();
                let result = with_guards(&format!("{start}{{{{ {expression} }}}}"));
                let took = started.elapsed();
                assert!(took < Duration::from_secs(1), "{expression} took {took:?}");
                assert!(result.is_err(), "{expression}: {result:?}");
            }
        }
    }
}
