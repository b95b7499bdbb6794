//! Files that are wrong on purpose: what once did harm here, or did to others.

use std::fmt::Write as _;

use pagewise_testkit::{GgufValue, GgufWriter};
use serde_json::{Value, json};

use super::cases::{Case, Way};
use super::{is_sanitized, read, seeds};

/// A name, and the file.
pub(crate) type Named = (&'static str, fn() -> Case);

pub(crate) fn case(index: usize) -> Case {
    let (name, make) = CASES[index];
    Case { name: name.to_owned(), ..make() }
}

pub(crate) const CASES: &[Named] = &[
    // Chat templates.
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
    // Tokenizers in JSON.
    ("a token with the highest number", || {
        tokenizer(|json| json["model"]["vocab"]["far"] = json!(u32::MAX))
    }),
    ("a token with a high number", || {
        tokenizer(|json| json["model"]["vocab"]["far"] = json!((1 << 22) - 1))
    }),
    ("an added token with a high number", || {
        tokenizer(|json| json["added_tokens"][0]["id"] = json!((1 << 22) - 1))
    }),
    ("one number for all tokens", || {
        tokenizer(|json| {
            for id in json["model"]["vocab"].as_object_mut().unwrap().values_mut() {
                *id = json!(5);
            }
        })
    }),
    ("a merge of nothing", || tokenizer(|json| json["model"]["merges"] = json!([["", ""]]))),
    ("a merge with itself", || {
        tokenizer(|json| {
            json["model"]["vocab"]["tt"] = json!(100);
            json["model"]["vocab"]["tttt"] = json!(101);
            json["model"]["merges"] = json!(["t t", "tt tt", "t t", "tt t"]);
        })
    }),
    ("a merge that needs itself", || {
        tokenizer(|json| json["model"]["merges"] = json!(["th t", "t h"]))
    }),
    ("many steps before words", || {
        tokenizer(|json| {
            let step = json!({"type": "Digits", "individual_digits": true});
            json["pre_tokenizer"] =
                json!({"type": "Sequence", "pretokenizers": vec![step; 50_000]});
        })
    }),
    ("steps within steps", || {
        tokenizer(|json| {
            let mut step = json!({"type": "NFC"});
            for _ in 0..60 {
                step = json!({"type": "Sequence", "normalizers": [step]});
            }
            json["normalizer"] = step;
        })
    }),
    ("post-processors within post-processors", || {
        tokenizer(|json| {
            let mut step = json!({"type": "None"});
            for _ in 0..60 {
                step = json!({"type": "Sequence", "processors": [step]});
            }
            json["post_processor"] = step;
        })
    }),
    ("a long list where settings are", || {
        tokenizer(|json| json["normalizer"] = json!({"type": "NFC", "x": vec![0; 3_000_000]}))
    }),
    ("a pattern that goes back", || pattern(r"(a+)+$")),
    ("a pattern that goes back for long", || pattern(r"(a|a)*(a|a)*(a|a)*b(?!c)")),
    ("a pattern that refers back", || pattern(r"(a*)*\1b")),
    ("a pattern that looks around", || pattern(r"(?=(a+)+)(?<=a)(?!b)b*")),
    ("a pattern of many repetitions", || pattern(r"((\pL{99}){99}){99}")),
    ("a pattern of many repetitions that looks ahead", || pattern(r"(?=((\pL{99}){99}){99})a")),
    ("a pattern of a large class, often", || pattern(r"[\pL\pN\pS]{400}")),
    ("many patterns of large classes", || {
        tokenizer(|json| {
            let step = json!({"type": "Split", "pattern": {"Regex": r"[\pL\pN\pS]{150}"},
                              "behavior": "Isolated", "invert": false});
            json["pre_tokenizer"]["pretokenizers"] = json!(vec![step; 30]);
        })
    }),
    ("a pattern of many alternatives", || pattern(&"a|".repeat(4_000))),
    ("a pattern of many parentheses", || pattern(&"(".repeat(8_000))),
    ("a pattern of many groups", || {
        pattern(&format!("{}a{}", "(".repeat(4_000), ")".repeat(4_000)))
    }),
    ("a pattern of many look-aheads", || {
        pattern(&format!("{}a{}", "(?=".repeat(2_000), ")".repeat(2_000)))
    }),
    ("a pattern that takes nothing", || pattern("a*?")),
    ("a pattern that splits bytes", || pattern(r"(?s-u:.)")),
    ("names as lists", || {
        folder("tokenizer_config.json", json!({"bos_token": ["<s>"], "chat_template": {"a": 1}}))
    }),
    ("a list of numbers for a name", || {
        folder("tokenizer_config.json", json!({"bos_token": vec![0; 2_000_000]}))
    }),
    ("many ends", || folder("generation_config.json", json!({"eos_token_id": vec![1; 2_000_000]}))),
    ("settings within settings", || {
        let mut deep = json!({});
        for _ in 0..60 {
            deep = json!({"text_config": deep});
        }
        folder("generation_config.json", deep)
    }),
    // Weights.
    ("a header of many small tensors", || {
        let tensor =
            |index| format!("\"{index}\":{{\"dtype\":\"\",\"shape\":[],\"data_offsets\":[0,0]}}");
        let tensors: Vec<String> = (0..200_000).map(tensor).collect();
        safetensors(&format!("{{{}}}", tensors.join(",")))
    }),
    ("a tensor of many dimensions", || {
        let shape = vec!["0"; 4_000_000].join(",");
        safetensors(&format!(
            "{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{shape}],\"data_offsets\":[0,0]}}}}"
        ))
    }),
    ("a tensor with dimensions that overflow behind a zero", || {
        let tensor = "{\"dtype\":\"F32\",\"shape\":[0,4294967296,4294967296,4294967296],\"data_offsets\":[0,0]}";
        safetensors(&format!("{{\"model.embed_tokens.weight\":{tensor}}}"))
    }),
    ("a tensor with a long name", || {
        let name = "x".repeat(8_000_000);
        safetensors(&format!(
            "{{\"{name}\":{{\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[0,0]}}}}"
        ))
    }),
    ("settings that are one long list", || {
        weights_with("config.json", |_| {
            format!("{{\"model_type\":\"llama\",\"x\":[{}0]}}", "0,".repeat(12_000_000))
        })
    }),
    ("a rope of as many numbers as there are", || {
        weights_with("config.json", |config| {
            config.replace("\"rope_theta\"", "\"partial_rotary_factor\": 1e38, \"rope_theta\"")
        })
    }),
    ("an index of many tensors", || {
        let entries: Vec<String> =
            (0..400_000).map(|index| format!("\"{index}\":\"a.safetensors\"")).collect();
        let mut files = seeds::sharded();
        files.retain(|(name, _)| name != "model.safetensors.index.json");
        let index = format!("{{\"weight_map\":{{{}}}}}", entries.join(","));
        files.push(("model.safetensors.index.json".into(), index.into_bytes()));
        Case::folder("", Way::Weights, files)
    }),
    ("embeddings of far more tokens than there are", || {
        let mut writer = GgufWriter::new("llama");
        for (key, number) in [
            ("block_count", 1),
            ("embedding_length", 1),
            ("feed_forward_length", 1),
            ("attention.head_count", 1),
            ("context_length", 1 << 20),
        ] {
            writer.set(&format!("llama.{key}"), number);
        }
        writer.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
        writer.tensor_raw("token_embd.weight", &[1, 1 << 23], 1, vec![0; 2 << 23], None);
        writer
            .set("tokenizer.ggml.model", "gpt2")
            .set("tokenizer.ggml.pre", "gpt-2")
            .set("tokenizer.ggml.tokens", vec!["a".to_owned(), "b".into()])
            .set("tokenizer.ggml.merges", Vec::<String>::new());
        Case::file("hostile", Way::Weights, writer.to_bytes())
    }),
    ("divisors of RoPE as long as the file", || {
        let mut writer = seeds::gguf("llama");
        writer.tensor_f32("rope_freqs.weight", &[4 << 20], &vec![1.0; 4 << 20]);
        Case::file("hostile", Way::Weights, writer.to_bytes())
    }),
    ("a token of all letters of the alphabet, very long", || {
        let mut writer = seeds::sentencepiece();
        writer.replace("tokenizer.ggml.model", "gpt2");
        writer.replace("tokenizer.ggml.tokens", vec!["x".repeat(8 << 20), "y".into()]);
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![3, 4]));
        writer.replace("tokenizer.ggml.merges", Vec::<String>::new());
        writer.replace("tokenizer.ggml.eos_token_id", 1);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("control tokens alone", || {
        let mut writer = seeds::sentencepiece();
        let names: Vec<String> = (0..40_000).map(|index| format!("<{index}>")).collect();
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![3; names.len()]));
        writer.replace("tokenizer.ggml.scores", GgufValue::F32s(vec![0.0; names.len()]));
        writer.replace("tokenizer.ggml.tokens", names);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("a long architecture", || {
        Case::file("hostile", Way::Weights, GgufWriter::new(&"x".repeat(15 << 20)).to_bytes())
    }),
    // Vocabularies as large as they may be, in files that are far smaller than what is made of them.
    ("a million tokens, as JSON", || {
        let mut vocab = r#"{"model":{"type":"BPE","merges":[],"vocab":{"#.to_owned();
        (0..1 << 20).for_each(|id| write!(vocab, "\"{id:x}\":{id},").unwrap());
        file("tokenizer.json", vocab.trim_end_matches(',').to_owned() + "}}}")
    }),
    ("two million merges, as JSON", || {
        let merges = "\"a a\",".repeat(2 << 20);
        let model = format!("{{\"vocab\":{{\"a\":0,\"aa\":1}},\"merges\":[{merges}\"a a\"]}}");
        file("tokenizer.json", format!("{{\"model\":{model}}}"))
    }),
    ("a million tokens", || {
        let mut writer = seeds::gguf("llama");
        let names: Vec<String> = (0..1 << 20).map(|id| format!("{id:x}")).collect();
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![1; names.len()]));
        writer.replace("tokenizer.ggml.tokens", names);
        writer.replace("tokenizer.ggml.merges", Vec::<String>::new());
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("four million merges", || {
        let mut writer = seeds::gguf("llama");
        writer.replace("tokenizer.ggml.merges", vec!["t h".to_owned(); 4 << 20]);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("half a million merges", || {
        let mut writer = seeds::gguf("llama");
        writer.replace("tokenizer.ggml.merges", vec!["t h".to_owned(); 1 << 19]);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("a million pieces", || {
        let mut writer = seeds::sentencepiece();
        let names: Vec<String> = (0..1 << 20).map(|id| format!("{id:x}")).collect();
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![1; names.len()]));
        writer.replace("tokenizer.ggml.scores", GgufValue::F32s(vec![0.0; names.len()]));
        writer.replace("tokenizer.ggml.tokens", names);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    // As large as they may be in a file without weights: these are used, not refused.
    ("as many tokens and merges as have room, as JSON", || {
        let (names, merges) = pairs(280);
        let mut text =
            r#"{"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"#.to_owned();
        (0..).zip(&names).for_each(|(id, name)| write!(text, "\"{name}\":{id},").unwrap());
        text.truncate(text.len() - 1);
        write!(text, "}},\"merges\":{}}}}}", json!(merges)).unwrap();
        file("tokenizer.json", text)
    }),
    ("as many tokens and merges as have room", || {
        let (names, merges) = pairs(280);
        let mut writer = seeds::gguf("llama");
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![1; names.len()]));
        writer.replace("tokenizer.ggml.tokens", names);
        writer.replace("tokenizer.ggml.merges", merges);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("as many tokens as have room", || {
        let (names, _) = pairs(380);
        let mut writer = seeds::gguf("llama");
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![1; names.len()]));
        writer.replace("tokenizer.ggml.tokens", names);
        writer.replace("tokenizer.ggml.merges", Vec::<String>::new());
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("as many pieces as have room", || {
        let (names, _) = pairs(380);
        let mut writer = seeds::sentencepiece();
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![1; names.len()]));
        writer.replace("tokenizer.ggml.scores", GgufValue::F32s(vec![0.0; names.len()]));
        writer.replace("tokenizer.ggml.tokens", names);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("as many settings as there may be", || {
        let mut writer = seeds::gguf("llama");
        (0..65_000).for_each(|index| _ = writer.set(&format!("{index:x}"), true));
        Case::file("hostile", Way::Weights, writer.to_bytes())
    }),
    ("as many tensors as there may be", || {
        let mut writer = seeds::gguf("llama");
        (0..65_000).for_each(|index| {
            writer.tensor_raw(&format!("{index:x}"), &[0], 0, vec![], None);
        });
        Case::file("hostile", Way::Weights, writer.to_bytes())
    }),
    ("a kept token that the model does not know", || {
        let mut bytes = seeds::snapshot();
        // Behind the magic number, the key, and how many tokens there are.
        bytes[48..52].copy_from_slice(&u32::MAX.to_le_bytes());
        read::make_checksum_right(&mut bytes);
        Case::folder("", Way::Snapshot, vec![("snapshot".into(), bytes)])
    }),
    // Embedders.
    ("a template with a token that it does not name", || {
        embedder("bge", "tokenizer.json", |json| {
            json["post_processor"]["special_tokens"] = json!({});
        })
    }),
    ("a template with a second text", || {
        embedder("bge", "tokenizer.json", |json| {
            json["post_processor"]["single"][1] = json!({"Sequence": {"id": "B", "type_id": 0}});
        })
    }),
    ("a template without a text", || {
        embedder("bge", "tokenizer.json", |json| json["post_processor"]["single"] = json!([]))
    }),
    ("a template with the text many times", || {
        embedder("bge", "tokenizer.json", |json| {
            let text = json!({"Sequence": {"id": "A", "type_id": 0}});
            json["post_processor"]["single"] = json!(vec![text; 60]);
        })
    }),
    ("more tokens around a text than it may have", || {
        embedder("bge", "tokenizer.json", |json| {
            json["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!(vec![2; 50]);
        })
    }),
    ("far too many tokens around a text", || {
        embedder("bge", "tokenizer.json", |json| {
            json["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!(vec![2; 1_000_000]);
        })
    }),
    ("a token around a text that the model does not know", || {
        embedder("bge", "tokenizer.json", |json| {
            json["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!([u32::MAX]);
        })
    }),
    ("a last step that is a pair", || {
        embedder("bge", "tokenizer.json", |json| {
            json["post_processor"] =
                json!({"type": "BertProcessing", "sep": ["x", u32::MAX], "cls": ["y", 0]});
        })
    }),
    ("a token of an embedder with the highest number", || {
        embedder("bge", "tokenizer.json", |json| json["model"]["vocab"]["far"] = json!(u32::MAX))
    }),
    ("a piece of a million letters", || {
        embedder("xlm-roberta", "tokenizer.json", |json| {
            json["model"]["vocab"][4] = json!(["the".repeat(400_000), -1.0]);
        })
    }),
    ("a million pieces of an embedder", || {
        let mut text = r#"{"model":{"type":"Unigram","unk_id":0,"vocab":["#.to_owned();
        (0..1 << 20).for_each(|id| write!(text, "[\"{id:x}\",-1],").unwrap());
        embedder_file(
            "xlm-roberta",
            "tokenizer.json",
            text.trim_end_matches(',').to_owned() + "]}}",
        )
    }),
    ("a million words of an embedder", || {
        let mut text = r#"{"model":{"type":"WordPiece","vocab":{"#.to_owned();
        (0..1 << 20).for_each(|id| write!(text, "\"{id:x}\":{id},").unwrap());
        embedder_file("bge", "tokenizer.json", text.trim_end_matches(',').to_owned() + "}}}")
    }),
    ("merges of an embedder", || {
        let mut text = r#"{"model":{"type":"BPE","merges":[],"vocab":{"#.to_owned();
        (0..1 << 17).for_each(|id| write!(text, "\"{id:x}\":{id},").unwrap());
        embedder_file("bge", "tokenizer.json", text.trim_end_matches(',').to_owned() + "}}}")
    }),
    ("merges of an embedder that make nothing", || {
        embedder("bge", "tokenizer.json", |json| {
            json["model"] = json!({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]});
        })
    }),
    ("scores that are no numbers", || {
        embedder("xlm-roberta", "tokenizer.json", |json| {
            for piece in json["model"]["vocab"].as_array_mut().unwrap() {
                piece[1] = json!(-1e308);
            }
        })
    }),
    ("an unknown token that is not there", || {
        embedder("xlm-roberta", "tokenizer.json", |json| json["model"]["unk_id"] = json!(1 << 20))
    }),
    ("words as long as there are numbers", || {
        embedder("bge", "tokenizer.json", |json| {
            json["model"]["max_input_chars_per_word"] = json!(u64::MAX);
        })
    }),
    ("a text doubled thirty times", || {
        embedder("bge", "tokenizer.json", |json| {
            let step = json!({"type": "Replace", "pattern": {"String": "t"}, "content": "tt"});
            json["normalizer"] = json!({"type": "Sequence", "normalizers": vec![step; 30]});
        })
    }),
    ("a long text for each character", || {
        embedder("bge", "tokenizer.json", |json| {
            json["normalizer"] = json!({"type": "Replace", "pattern": {"Regex": "."},
                "content": "x".repeat(1_000_000)});
        })
    }),
    ("bytes of bytes of bytes", || {
        embedder("bge", "tokenizer.json", |json| {
            let step = json!({"type": "ByteLevel"});
            json["normalizer"] = json!({"type": "Sequence", "normalizers": vec![step; 100]});
        })
    }),
    ("words of bytes of bytes", || {
        embedder("bge", "tokenizer.json", |json| {
            let step = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                "use_regex": false});
            json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": vec![step; 100]});
        })
    }),
    ("a pattern of an embedder that goes back", || {
        embedder("bge", "tokenizer.json", |json| {
            json["normalizer"] = json!({"type": "Replace", "pattern": {"Regex": r"(a|a)*(a|a)*b(?!c)"}, "content": ""});
        })
    }),
    ("a pattern of an embedder that finds nothing everywhere", || {
        embedder("bge", "tokenizer.json", |json| {
            let step = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "x"});
            json["normalizer"] = json!({"type": "Sequence", "normalizers": vec![step; 60]});
        })
    }),
    ("steps of an embedder within steps", || {
        embedder("bge", "tokenizer.json", |json| {
            for (key, inner) in [
                ("normalizer", "normalizers"),
                ("pre_tokenizer", "pretokenizers"),
                ("post_processor", "processors"),
            ] {
                let mut step = json[key].clone();
                for _ in 0..60 {
                    step = json!({"type": "Sequence", inner: [step]});
                }
                json[key] = step;
            }
        })
    }),
    ("a table of characters that says it is long", || table(&[0xFF, 0xFF, 0xFF, 0xFF])),
    ("a table of no characters", || table(&[0; 4])),
    ("a table of characters that leads out of itself", || table(&characters(1 << 10, b"x\0"))),
    ("a table of characters that points behind its texts", || {
        let mut bytes = characters(1 << 8, b"x\0");
        // The root leads to unit 1, whose leaf is unit 1 ^ 1.
        bytes[4..8].copy_from_slice(&(1_u32 << 10).to_le_bytes());
        for at in 1..256_u32 {
            let place = 4 + 4 * at as usize;
            let unit = 1 << 10 | 1 << 8 | (at ^ 1);
            bytes[place..place + 4].copy_from_slice(&unit.to_le_bytes());
        }
        table(&bytes)
    }),
    ("a table that makes a megabyte of a character", || {
        table(&characters(1 << 8, &[b'x'; 700_000]))
    }),
    ("a table of characters that is no base64", || {
        embedder("bge", "tokenizer.json", |json| {
            json["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "a=b="});
        })
    }),
    ("many added tokens of an embedder", || {
        embedder("bge", "tokenizer.json", |json| {
            let token = |id| json!({"id": 0, "content": format!("<{id}>"), "special": true});
            json["added_tokens"] = (0..4_000).map(token).collect();
        })
    }),
    ("an added token of a million letters", || {
        embedder("bge", "tokenizer.json", |json| {
            json["added_tokens"][0]["content"] = json!("x".repeat(1_000_000));
        })
    }),
    ("added tokens that become nothing", || {
        embedder("bge", "tokenizer.json", |json| {
            json["normalizer"] = json!({"type": "Strip", "strip_left": true, "strip_right": true});
            json["added_tokens"] = json!([{"id": 0, "content": " ", "normalized": true}]);
        })
    }),
    ("as many positions as there are numbers", || {
        embedder("bge", "config.json", |json| json["max_position_embeddings"] = json!(u64::MAX))
    }),
    ("a padding behind all positions", || {
        embedder("xlm-roberta", "config.json", |json| json["pad_token_id"] = json!(u64::MAX))
    }),
    ("layers that widen without end", || {
        embedder("bge", "config.json", |json| json["intermediate_size"] = json!(1 << 23))
    }),
    ("a kind of embedder that speaks to the terminal", || {
        let kind = "\u{1B}[2J\u{202E}".to_owned() + &"x".repeat(900_000);
        embedder("bge", "config.json", |json| json["model_type"] = json!(kind))
    }),
    ("a name of an embedder that speaks to the terminal", || {
        let name = "\u{1B}[2J\u{202E}".to_owned() + &"x".repeat(900_000);
        embedder("bge", "config.json", |json| json["_name_or_path"] = json!(name))
    }),
    ("an activation that speaks to the terminal", || {
        let name = "\u{1B}[2J".to_owned() + &"x".repeat(900_000);
        embedder("bge", "config.json", |json| json["hidden_act"] = json!(name))
    }),
    ("settings of an embedder that are one long list", || {
        embedder_file("bge", "config.json", format!("{{\"x\":[{}0]}}", "0,".repeat(12_000_000)))
    }),
    ("a step with a long path", || {
        embedder("bge", "modules.json", |json| json[1]["path"] = json!("x/".repeat(400_000)))
    }),
    ("a step above the folder", || {
        embedder("bge", "modules.json", |json| json[1]["path"] = json!("../../../../etc"))
    }),
    ("many steps of an embedder", || {
        embedder("bge", "modules.json", |json| {
            let step = json[1].clone();
            *json = json!(vec![step; 5_000]);
        })
    }),
    ("a long prompt", || {
        embedder("e5", "config_sentence_transformers.json", |json| {
            json["prompts"]["query"] = json!("cat ".repeat(200_000));
        })
    }),
    ("a mapping of far more tokens than there are", || {
        shared_table("mapping", "I64", &vec![0; 16 << 20])
    }),
    ("a mapping to rows that are not there", || shared_table("mapping", "I64", &[0xFF; 8 * 91])),
    ("weights for other tokens", || shared_table("weights", "F64", &[0; 8])),
    ("a table that is a row", || shared_table("embeddings", "F32", &[0; 16])),
];

/// The weights of a family whose safetensors file has this header and no numbers.
fn safetensors(header: &str) -> Case {
    let mut files = seeds::folder("llama");
    files.retain(|(name, _)| name != "model.safetensors");
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    files.push(("model.safetensors".into(), bytes));
    Case::folder("", Way::Weights, files)
}

/// The weights of a family with a file changed.
fn weights_with(name: &str, change: impl FnOnce(&str) -> String) -> Case {
    let mut files = seeds::folder("llama3");
    let (_, bytes) = files.iter_mut().find(|(known, _)| known == name).unwrap();
    *bytes = change(std::str::from_utf8(bytes).unwrap()).into_bytes();
    Case::folder("", Way::Weights, files)
}

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

fn tokenizer(change: impl FnOnce(&mut Value)) -> Case {
    let mut files = seeds::tokenizer_json_files();
    let (_, bytes) = files.iter_mut().find(|(name, _)| name == "tokenizer.json").unwrap();
    let mut json: Value = serde_json::from_slice(bytes).unwrap();
    change(&mut json);
    *bytes = json.to_string().into_bytes();
    Case::folder("", Way::FolderTokenizer, files)
}

fn pattern(pattern: &str) -> Case {
    tokenizer(|json| {
        json["pre_tokenizer"]["pretokenizers"][1]["pattern"] = json!({"Regex": pattern});
    })
}

fn folder(name: &str, json: Value) -> Case {
    let mut files = seeds::tokenizer_json_files();
    files.retain(|(known, _)| known != name);
    files.push((name.to_owned(), json.to_string().into_bytes()));
    Case::folder("", Way::FolderTokenizer, files)
}

/// `n_letters` and all their pairs, as tokens and as merges.
fn pairs(n_letters: u32) -> (Vec<String>, Vec<String>) {
    // Letters of two bytes, as byte-level vocabularies have none of, so that no text is made of them.
    let letters: Vec<String> =
        (0..n_letters).filter_map(|n| char::from_u32(0x400 + n)).map(String::from).collect();
    let pairs = |between: &str| -> Vec<String> {
        let with =
            |a: &String| letters.iter().map(|b| format!("{a}{between}{b}")).collect::<Vec<_>>();
        letters.iter().flat_map(with).collect()
    };
    ([letters.clone(), pairs("")].concat(), pairs(" "))
}

/// A tokenizer with a file of these bytes.
fn file(name: &str, text: String) -> Case {
    let mut files = seeds::tokenizer_json_files();
    files.retain(|(known, _)| known != name);
    files.push((name.to_owned(), text.into_bytes()));
    Case::folder("", Way::FolderTokenizer, files)
}

/// An embedder with a file changed.
fn embedder(name: &str, file: &str, change: impl FnOnce(&mut Value)) -> Case {
    let files = seeds::embedder(name);
    let (_, bytes) = files.iter().find(|(known, _)| known == file).unwrap();
    let mut json: Value = serde_json::from_slice(bytes).unwrap();
    change(&mut json);
    embedder_file(name, file, json.to_string())
}

/// An embedder with a file of these bytes.
fn embedder_file(name: &str, file: &str, bytes: impl Into<Vec<u8>>) -> Case {
    let mut files = seeds::embedder(name);
    files.retain(|(known, _)| known != file);
    files.push((file.to_owned(), bytes.into()));
    Case::folder("", Way::Embedder, files)
}

/// An embedder that replaces characters by a table of these bytes.
fn table(bytes: &[u8]) -> Case {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = [0, 1, 2].map(|at| group.get(at).copied().map_or(0, u32::from));
        let bits = bits[0] << 16 | bits[1] << 8 | bits[2];
        let letter = |at: usize| match at > group.len() {
            true => '=',
            false => char::from(LETTERS[(bits >> (18 - 6 * at)) as usize % 64]),
        };
        text.extend([0, 1, 2, 3].map(letter));
    }
    embedder("xlm-roberta", "tokenizer.json", |json| {
        json["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": text});
    })
}

/// A table of 256 characters, each of which is replaced by the first text, and whose root leads to
/// `root`.
fn characters(root: u32, texts: &[u8]) -> Vec<u8> {
    let mut bytes = 1024_u32.to_le_bytes().to_vec();
    bytes.extend((root << 10).to_le_bytes());
    // Every unit leads to the first, and has a leaf there.
    (1..256_u32).for_each(|at| bytes.extend((at << 10 | 1 << 8 | at).to_le_bytes()));
    bytes.extend(texts);
    bytes
}

/// A table of vectors with a tensor of these bytes, in one dimension.
fn shared_table(name: &str, dtype: &str, data: &[u8]) -> Case {
    let width = match dtype {
        "I64" | "F64" => 8,
        _ => 4,
    };
    let mut header = serde_json::Map::new();
    let mut all = data.to_vec();
    let entry = |dtype: &str, shape: &[usize], at: usize, len: usize| json!({"dtype": dtype, "shape": shape, "data_offsets": [at, at + len]});
    header.insert(name.into(), entry(dtype, &[data.len() / width], 0, data.len()));
    if name != "embeddings" {
        header.insert("embeddings".into(), entry("F32", &[91, 2], data.len(), 8 * 91));
        all.resize(data.len() + 8 * 91, 0);
    }
    let header = Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &all].concat();
    embedder_file("shared-table", "model.safetensors", bytes)
}
