//! Chat templates.

use super::Named;
use crate::cases::{Case, Way};
use crate::is_sanitized;

pub(super) const CASES: &[Named] = &[
    ("a text repeated a thousand million times", || template("{{ 'x' * 1000000000 }}")),
    ("a list repeated", || template("{{ [1] * 1000000000 }}")),
    ("a text doubled again and again", || {
        template(
            "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(64) %}{% set ns.x = ns.x ~ \
             ns.x %}{% endfor %}{{ ns.x }}",
        )
    }),
    ("a text doubled by a filter", || {
        template(
            "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(64) %}{% set ns.x = \
             ns.x|replace('x', 'xx') %}{% endfor %}",
        )
    }),
    ("a text doubled by a method", || {
        template(
            "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(64) %}{% set ns.x = \
             ns.x.replace('x', 'xx') %}{% endfor %}",
        )
    }),
    ("a text doubled by format", || {
        template(
            "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(64) %}{% set ns.x = \
             '%s%s'|format(ns.x, ns.x) %}{% endfor %}",
        )
    }),
    ("a text doubled by join", || {
        template(
            "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(64) %}{% set ns.x = \
             [ns.x, ns.x]|join(ns.x) %}{% endfor %}",
        )
    }),
    ("a list of itself twice, written", || {
        template(
            "{% set ns = namespace(x=[1, 2]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] \
             %}{% endfor %}{{ ns.x }}",
        )
    }),
    ("a list of itself twice, as JSON", || {
        template(
            "{% set ns = namespace(x=[1, 2]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] \
             %}{% endfor %}{{ ns.x|tojson }}",
        )
    }),
    ("a list of itself, deep, written", || {
        template(
            "{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] \
             %}{% endfor %}{{ ns.x }}",
        )
    }),
    ("a list of itself, deep, compared", || {
        template(
            "{% set ns = namespace(x=[], y=[]) %}{% for i in range(40000) %}{% set ns.x = [ns.x] \
             %}{% set ns.y = [ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
        )
    }),
    ("a list of itself, deep, dropped", || {
        template(
            "{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] \
             %}{% endfor %}",
        )
    }),
    ("an object of itself, deep, as JSON", || {
        template(
            "{% set ns = namespace(x={}) %}{% for i in range(40000) %}{% set ns.x = {'a': ns.x} \
             %}{% endfor %}{{ ns.x|tojson(indent=2) }}",
        )
    }),
    ("a deep value, joined with a text", || deep("ns.x ~ ''")),
    ("a value of itself twice, compared", || of_itself_twice("ns.x == ns.y")),
    ("a value within itself, compared", || within_itself("ns.x == ns.y")),
    ("a deep value, compared", || deep("ns.x == ns.y")),
    ("a value of itself twice, sorted", || of_itself_twice("[ns.x, ns.y]|sort")),
    ("a value within itself, sorted", || within_itself("[ns.x, ns.y]|sort")),
    ("a deep value, sorted", || deep("[ns.x, ns.y]|sort")),
    ("a deep value, made unique", || deep("[ns.x, ns.y]|unique")),
    ("a value of itself twice, as a text", || of_itself_twice("ns.x|string")),
    ("a value within itself, as a text", || within_itself("ns.x|string")),
    ("a deep value, as a text", || deep("ns.x|string")),
    ("a deep value, as a text by a method", || deep("ns.x.strip()")),
    ("a value of itself twice, joined", || of_itself_twice("ns.x|join(',')")),
    ("a value within itself, joined", || within_itself("ns.x|join(',')")),
    ("a deep value, joined", || deep("ns.x|join(',')")),
    ("a deep value, in a list", || deep("ns.x in [ns.y]")),
    ("a deep value, in a text", || deep("ns.x in 'abc'")),
    ("a value of itself twice, as a key", || of_itself_twice("{ns.x: 1}")),
    ("a deep value, as a key", || deep("{ns.x: 1}")),
    ("a deep value, replaced", || deep("'abc'|replace(ns.x, 'a')")),
    ("a value of itself twice, formatted", || of_itself_twice("'%s'|format(ns.x)")),
    ("a value within itself, formatted", || within_itself("'%s'|format(ns.x)")),
    ("a deep value, formatted", || deep("'%s'|format(ns.x)")),
    ("a deep value, indented", || deep("ns.x|indent")),
    ("a deep value, shown", || deep("ns.x|pprint")),
    ("a deep value, as an item", || deep("messages[ns.x]")),
    ("a deep value, ordered", || deep("ns.x < ns.y")),
    ("a value of itself twice, escaped", || of_itself_twice("ns.x|e")),
    ("a value within itself, escaped", || within_itself("ns.x|e")),
    ("a deep value, escaped", || deep("ns.x|e")),
    ("a deep value, listed", || deep("ns.x|list|length")),
    ("a deep value, reversed", || deep("ns.x|reverse|length")),
    ("a deep value, added", || deep("(ns.x + '')")),
    ("a deep value, a name", || deep("ns[ns.x]")),
    ("a value of itself twice, raised", || of_itself_twice("raise_exception(ns.x)")),
    ("a value within itself, raised", || within_itself("raise_exception(ns.x)")),
    ("a deep value, raised", || deep("raise_exception(ns.x)")),
    ("a value within itself, joined with a text", || within_itself("ns.x ~ ''")),
    ("a value within itself, behind a text", || within_itself("'' ~ ns.y")),
    ("a value of itself twice, joined with a text", || of_itself_twice("ns.x ~ ns.y")),
    ("a value within itself, in a list", || within_itself("ns.x in [ns.y]")),
    ("a value of itself twice, in a list", || of_itself_twice("ns.x in [ns.y]")),
    ("a value within itself, as a key", || within_itself("{ns.x: 1}")),
    ("a value of itself twice, one key of several", || of_itself_twice("{1: 2, ns.x: 1}")),
    ("a value of itself twice, as an item", || of_itself_twice("messages[ns.x]")),
    ("a value of itself twice, as an attribute", || of_itself_twice("messages[0]|attr(ns.x)")),
    ("a value of itself twice, ordered", || of_itself_twice("ns.x < ns.y < ns.x")),
    ("a value of itself twice, tested", || of_itself_twice("ns.x is eq(ns.y)")),
    ("a value of itself twice, selected", || of_itself_twice("[ns.x]|select('eq', ns.y)|list")),
    ("a value of itself twice, shown as it is", || of_itself_twice("debug(ns.x)")),
    ("a value of itself twice, that has changed", || {
        of_itself_twice("1 }}{% for i in [ns.x, ns.y] %}{{ loop.changed(i) }}{% endfor %}{{ 1")
    }),
    ("a value within itself, from a template that includes itself", || {
        template(
            "{% if not again %}{% set again = true %}{% include 'chat_template' %}{% else %}{% set \
             ns = namespace() %}{% set ns.x = ns %}{{ ns.x ~ '' }}{% endif %}",
        )
    }),
    ("a list of one long text, written", || long_text_often("x")),
    ("a list of one long text, joined", || long_text_often("x|join")),
    ("a list of one long text, joined by a method", || long_text_often("''.join(x)")),
    ("a list of one long text, as JSON", || long_text_often("x|tojson")),
    ("a list of one long text, joined with a text", || long_text_often("x ~ ''")),
    ("a list of one long text, raised", || long_text_often("raise_exception(x)")),
    ("a list of one long text, as templates", || {
        long_text_often("1 }}{% include x ignore missing %}{{ 1")
    }),
    ("a format of one text, often", || template("{{ ('%(a)s' * 10000)|format(a='x' * 1000000) }}")),
    ("a format of one text, often, by a method", || {
        template("{{ ('{0}' * 10000).format('x' * 1000000) }}")
    }),
    ("padded a million wide by a method", || template("{{ '{:1000000000}'.format(1) }}")),
    ("padded a million wide by a method, float", || {
        template("{{ '{:.1000000000f}'.format(1.5) }}")
    }),
    ("a text cut at each letter", || template("{{ ('a,' * 3000000).split(',')|length }}")),
    ("a text cut at each letter by a filter", || {
        template("{{ ('a,' * 3000000)|split(',')|length }}")
    }),
    ("a text cut at white space", || template("{{ ('a ' * 3000000).split()|length }}")),
    ("a text of many lines", || template("{{ ('\\n' * 6000000).splitlines()|length }}")),
    ("a text of many lines with their ends", || {
        template("{{ ('\\n' * 6000000).splitlines(true)|length }}")
    }),
    ("a text of many letters, listed", || template("{{ ('a' * 6000000)|list|length }}")),
    ("stripped of many letters", || {
        template("{{ ('a' * 1000000).strip('b' * 1000000 + 'a')|length }}")
    }),
    ("stripped of many letters by a filter", || {
        template("{{ ('a' * 1000000)|trim('b' * 1000000 + 'a')|length }}")
    }),
    ("parts of parts of a list", || again("[1, 2]", 60_000, "ns.x[0:]", "ns.x")),
    ("parts of parts of a list, backwards", || again("[1, 2]", 60_000, "ns.x[::-1]", "ns.x")),
    ("a list turned around again and again", || again("[1, 2]", 60_000, "ns.x|reverse", "ns.x")),
    ("a list with more and more behind it", || again("[1]", 60_000, "ns.x + [i]", "ns.x|length")),
    ("a list doubled again and again", || again("[1, 2]", 64, "ns.x + ns.x", "ns.x|length")),
    ("a list repeated again and again", || again("[1, 2]", 64, "ns.x * 2", "ns.x|last")),
    ("a list doubled and cut again and again", || {
        again("[1, 2]", 64, "(ns.x + ns.x)[0:]", "ns.x|length")
    }),
    ("a list doubled and cut again and again, its last", || {
        again("[1, 2]", 64, "(ns.x + ns.x)[0:]", "ns.x|last")
    }),
    ("a list in pairs of itself", || again("[1]", 64, "ns.x|zip(ns.x)|list", "ns.x")),
    ("a list repeated, its length", || template("{{ ([1] * 1000000000)|length }}")),
    ("long texts compared often", || long_texts("a == b")),
    ("long texts ordered often", || long_texts("a < b")),
    ("long texts compared often by a test", || long_texts("a is eq(b)")),
    ("a long text looked up often", || long_texts("messages[0][a]")),
    ("a long text asked often whether it is small", || long_texts("a is lower")),
    ("a long text asked often how it begins", || long_texts("a.startswith(b)")),
    ("a long text cut often", || long_texts("a[-1:]")),
    ("a long text as the name of a part, often", || long_texts("messages|map(attribute=a)|list")),
    ("a long text as the name of a part to select by, often", || {
        long_texts("messages|selectattr(a)|list")
    }),
    ("a value within itself, as the name of a part", || {
        within_itself("messages|map(attribute=ns)|list")
    }),
    ("a value of itself twice, as the name of a part", || {
        of_itself_twice("messages|map(attribute=ns.x)|list")
    }),
    ("a long list counted often", || {
        template(
            "{% set x = range(99999)|list %}{% for i in range(99999) %}{% if x.count(1) %}{% endif %}\
             {% endfor %}",
        )
    }),
    ("a macro that doubles a list and calls itself", || {
        template(
            "{% macro f(x, n) %}{% if n %}{{ f([x, x], n - 1) }}{% else %}{{ x }}{% endif %}\
             {% endmacro %}{{ f('x', 24) }}",
        )
    }),
    ("numbers multiplied again and again", || again("9", 90_000, "ns.x * ns.x", "ns.x")),
    ("long texts sorted", || {
        template("{% set a = 'x' * 400000 %}{{ ([a, a ~ 'y'] * 40000)|sort|length }}")
    }),
    ("indented a million wide", || template("{{ 'a\nb'|indent(1000000000) }}")),
    ("JSON indented a million wide", || template("{{ {'a': 1}|tojson(indent=1000000000) }}")),
    ("padded a million wide", || template("{{ '%01000000000d'|format(1) }}")),
    ("padded a million wide, float", || template("{{ '%.1000000000f'|format(1.5) }}")),
    ("padded text", || template("{{ '%1000000000s'|format('a') }}")),
    ("a date padded", || template("{{ strftime_now('%01000000000d') }}")),
    ("a date of a long format", || template("{{ strftime_now('%c' * 100000) }}")),
    ("batches of a million", || template("{{ [1]|batch(1000000000, 'x') }}")),
    ("slices of a million", || template("{{ [1]|slice(1000000000, 'x') }}")),
    ("centered", || template("{{ 'a'|center(1000000000) }}")),
    ("filled with zeros", || template("{{ 'a'.zfill(1000000000) }}")),
    ("a long range", || template("{{ range(1000000000)|list }}")),
    ("ranges in ranges", || {
        template(
            "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}\
             {% endfor %}{% endfor %}{% endfor %}",
        )
    }),
    ("a macro that calls itself", || {
        template("{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}")
    }),
    ("a block that includes the template", || template("{% include 'chat_template' %}")),
    ("a template that extends itself", || template("{% extends 'chat_template' %}")),
    ("a template that imports itself", || template("{% import 'chat_template' as t %}{{ t }}")),
    ("a loop that calls itself", || {
        template("{% for a in [[[]]] recursive %}{{ loop([messages, messages]) }}{% endfor %}")
    }),
    ("a product of many factors", || long_template("{{ 1", " * 9", " }}")),
    ("a sum of many parts", || long_template("{{ 1", "+1", " }}")),
    ("texts joined many times", || long_template("{{ 'a'", "~a", " }}")),
    ("many filters", || long_template("{{ 'a'", "|e", " }}")),
    ("many attributes", || long_template("{{ messages", ".a", " }}")),
    ("many items", || long_template("{{ messages", "[0]", " }}")),
    ("many calls", || long_template("{{ messages", "()", " }}")),
    ("many nots", || long_template("{{ ", "not ", "1 }}")),
    ("many minus signs", || long_template("{{ ", "-", "1 }}")),
    ("many parentheses", || long_template("{{ ", "(", "1 }}")),
    ("many lists", || long_template("{{ ", "[", "1 }}")),
    ("many objects", || long_template("{{ ", "{1:", "1 }}")),
    ("many comparisons", || long_template("{{ 1", "<1", " }}")),
    ("many ands", || long_template("{{ 1", " and 1", " }}")),
    ("many choices", || long_template("{{ 1", " if 1 else 1", " }}")),
    ("many tests", || long_template("{{ 1", " is odd", " }}")),
    ("many elifs", || long_template("{% if 1 %}", "{% elif 1 %}", "{% endif %}")),
    ("many ifs", || long_template("", "{% if 1 %}", "")),
    ("many fors", || long_template("", "{% for a in b %}", "")),
    ("many sets", || long_template("", "{% set a %}", "")),
    ("many macros", || long_template("", "{% macro a() %}", "")),
    ("many filter blocks", || long_template("", "{% filter e %}", "")),
    ("many raws", || long_template("", "{% raw %}", "")),
    ("many marks of generation", || long_template("", "{%generation%}", "")),
];

fn template(text: &str) -> Case {
    Case::folder("", Way::Template, vec![("template".into(), text.as_bytes().to_vec())])
}

/// Uses two equal lists, each of which has the one before it twice, and so on.
fn of_itself_twice(expression: &str) -> Case {
    template(&format!(
        "{{% set ns = namespace(x=['a'], y=['a']) %}}{{% for i in range(64) %}}{{% set ns.x = [ns.x, \
         ns.x] %}}{{% set ns.y = [ns.y, ns.y] %}}{{% endfor %}}{{{{ {expression} }}}}"
    ))
}

/// Uses something that has itself as a part.
fn within_itself(expression: &str) -> Case {
    template(&format!(
        "{{% set ns = namespace() %}}{{% set ns.x = ns %}}{{% set ns.y = namespace(x=ns) %}}\
         {{{{ {expression} }}}}"
    ))
}

/// Uses a list `x` that has one long text many times.
fn long_text_often(expression: &str) -> Case {
    template(&format!("{{% set x = ['x' * 800000] * 90000 %}}{{{{ {expression} }}}}"))
}

/// Uses two long texts that are equal, many times.
fn long_texts(expression: &str) -> Case {
    template(&format!(
        "{{% set a = 'x' * 4000000 %}}{{% set b = 'xx' * 2000000 %}}{{% for i in range(90000) %}}{{% if \
         {expression} %}}{{% endif %}}{{% endfor %}}"
    ))
}

/// Makes a value anew from itself, so many times, and then uses it.
fn again(first: &str, n_times: usize, next: &str, expression: &str) -> Case {
    template(&format!(
        "{{% set ns = namespace(x={first}) %}}{{% for i in range({n_times}) %}}{{% set ns.x = {next} \
         %}}{{% endfor %}}{{{{ {expression} }}}}"
    ))
}

/// Uses two equal lists of a list of a list and so on.
fn deep(expression: &str) -> Case {
    template(&format!(
        "{{% set ns = namespace(x=['a'], y=['a']) %}}{{% for i in range(40000) %}}{{% set ns.x = \
         [ns.x] %}}{{% set ns.y = [ns.y] %}}{{% endfor %}}{{{{ {expression} }}}}"
    ))
}

/// As often as a template may be long.
fn long_template(start: &str, middle: &str, end: &str) -> Case {
    const MAX_TEMPLATE_BYTES: usize = 60_000;
    // What nests takes several times the stack under AddressSanitizer, and there is as much of it.
    let n_bytes = if is_sanitized() { MAX_TEMPLATE_BYTES / 8 } else { MAX_TEMPLATE_BYTES };
    let n_times = (n_bytes - start.len() - end.len()) / middle.len();
    template(&format!("{start}{}{end}", middle.repeat(n_times)))
}
