//! Tiny vocabularies against the libraries of others: see scripts/make-tokenizer-fixtures.

use std::fs;
use std::sync::LazyLock;

use pagewise_core::{
    ArgumentKind, ArgumentSpec, CallFormat, FunctionCall, FunctionSpec, Prompt, PromptMessage,
    PromptRole,
};
use pagewise_grammar::CallGrammar;
use serde_json::{Value, json};

use super::*;

const TEXTS: &str = include_str!("../../../tests/data/tokenizer/tiny-texts.json");
const BPE: &str = include_str!("../../../tests/data/tokenizer/tiny-bpe.json");
const SPM: &str = include_str!("../../../tests/data/tokenizer/tiny-spm.json");

#[derive(Deserialize)]
pub(super) struct Texts {
    special: Vec<Value>,
    pub(super) plain: Vec<String>,
    pub(super) rendered: Vec<String>,
    sentencepiece: Vec<usize>,
}

#[derive(Deserialize)]
pub(super) struct TinyBpe {
    tokens: Vec<String>,
    merges: Vec<String>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Deserialize)]
pub(super) struct TinySpm {
    pieces: Vec<(String, f32, i32)>,
    merges: Vec<String>,
    sentencepiece: SentencePiece,
    pub(super) rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct SentencePiece {
    prefix: Vec<Vec<u32>>,
    no_prefix: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
pub(super) struct Rule {
    /// The name of the rule in a GGUF file, if it has one.
    pub(super) gguf: Option<String>,
    normalizer: Value,
    pre_tokenizer: Value,
    #[serde(default)]
    ignore_merges: bool,
    plain: Vec<Vec<u32>>,
    rendered: Vec<Vec<u32>>,
}

pub(super) static TINY_TEXTS: LazyLock<Texts> =
    LazyLock::new(|| serde_json::from_str(TEXTS).unwrap());
pub(super) static TINY_BPE: LazyLock<TinyBpe> =
    LazyLock::new(|| serde_json::from_str(BPE).unwrap());
pub(super) static TINY_SPM: LazyLock<TinySpm> =
    LazyLock::new(|| serde_json::from_str(SPM).unwrap());

/// A folder with these files.
pub(super) fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content.to_string()).unwrap();
    }
    folder
}

fn from_files(files: &[(&str, Value)]) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_folder(folder(files).path())
}

/// A `tokenizer.json` with `names` for tokens.
fn tokenizer_json(names: &[String], merges: &[String], rule: &Rule, bytes: bool) -> Value {
    let vocab: serde_json::Map<String, Value> =
        names.iter().zip(0..).map(|(name, id)| (name.clone(), Value::from(id))).collect();
    let mut added = TINY_TEXTS.special.clone();
    for token in &mut added {
        token["id"] = vocab[token["content"].as_str().unwrap()].clone();
        token["normalized"] = false.into();
        token["single_word"] = false.into();
    }
    json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": rule.normalizer,
        "pre_tokenizer": rule.pre_tokenizer,
        "post_processor": null,
        "decoder": null,
        "model": {
            "type": "BPE",
            "unk_token": if bytes { Value::from("<unk>") } else { Value::Null },
            "fuse_unk": bytes,
            "byte_fallback": bytes,
            "ignore_merges": rule.ignore_merges,
            "vocab": vocab,
            "merges": merges,
        },
    })
}

pub(super) fn bpe_json(rule: &Rule) -> Value {
    tokenizer_json(&TINY_BPE.tokens, &TINY_BPE.merges, rule, false)
}

pub(super) fn spm_json(rule: &Rule) -> Value {
    let names: Vec<String> = TINY_SPM.pieces.iter().map(|(name, ..)| name.clone()).collect();
    tokenizer_json(&names, &TINY_SPM.merges, rule, true)
}

pub(super) fn bpe_writer(pre_tokenizer: &str) -> GgufWriter {
    let type_of = |name: &String| {
        let special = TINY_TEXTS.special.iter().find(|token| token["content"] == name.as_str());
        special.map_or(1, |token| if token["special"] == true { 3 } else { 4 })
    };
    let types = TINY_BPE.tokens.iter().map(type_of).collect();
    let mut writer = GgufWriter::new("llama");
    writer
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", pre_tokenizer)
        .set("tokenizer.ggml.tokens", TINY_BPE.tokens.clone())
        .set("tokenizer.ggml.token_type", GgufValue::I32s(types))
        .set("tokenizer.ggml.merges", TINY_BPE.merges.clone())
        .set("tokenizer.ggml.add_bos_token", false);
    writer
}

pub(super) fn spm_writer() -> GgufWriter {
    let pieces = &TINY_SPM.pieces;
    let mut writer = GgufWriter::new("llama");
    writer
        .set("tokenizer.ggml.model", "llama")
        .set(
            "tokenizer.ggml.tokens",
            pieces.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>(),
        )
        .set(
            "tokenizer.ggml.scores",
            GgufValue::F32s(pieces.iter().map(|(_, score, _)| *score).collect()),
        )
        .set(
            "tokenizer.ggml.token_type",
            GgufValue::I32s(pieces.iter().map(|(.., kind)| *kind).collect()),
        );
    writer
}

/// Compares what `encode` gives with the ids that were recorded.
fn check(
    what: &str,
    texts: impl Iterator<Item = &'static String>,
    expected: &[Vec<u32>],
    encode: impl Fn(&str) -> Vec<u32>,
) {
    let mut n_texts = 0;
    let mut wrong = Vec::new();
    for (text, expected) in texts.zip(expected) {
        n_texts += 1;
        let ids = encode(text);
        if ids != *expected {
            wrong.push(format!("{text:?}: {ids:?}, expected {expected:?}"));
        }
    }
    assert_eq!(n_texts, expected.len());
    assert!(wrong.is_empty(), "{what}: {} texts differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn check_rule(what: &str, tokenizer: &Tokenizer, rule: &Rule) {
    check(what, TINY_TEXTS.plain.iter(), &rule.plain, |text| tokenizer.encode(text));
    check(what, TINY_TEXTS.rendered.iter(), &rule.rendered, |text| tokenizer.encode_rendered(text));
}

#[test]
fn every_rule_gives_the_ids_of_the_tokenizers_library() {
    for rule in &TINY_BPE.rules {
        let tokenizer = from_files(&[("tokenizer.json", bpe_json(rule))]).unwrap();
        let what = format!("tokenizer.json {:?} {}", rule.gguf, rule.pre_tokenizer);
        check_rule(&what, &tokenizer, rule);
        // The format has no place for white space that special tokens take.
        if let Some(name) = &rule.gguf {
            let tokenizer = tokenizer_of(&bpe_writer(name)).unwrap();
            let texts = TINY_TEXTS.plain.iter().filter(|text| !text.contains("<mask>"));
            let expected: Vec<Vec<u32>> = TINY_TEXTS
                .plain
                .iter()
                .zip(&rule.plain)
                .filter(|(text, _)| !text.contains("<mask>"))
                .map(|(_, ids)| ids.clone())
                .collect();
            check(name, texts, &expected, |text| tokenizer.encode(text));
        }
    }
    for rule in &TINY_SPM.rules {
        let tokenizer = from_files(&[("tokenizer.json", spm_json(rule))]).unwrap();
        let what = format!("tokenizer.json {} {}", rule.normalizer, rule.pre_tokenizer);
        check_rule(&what, &tokenizer, rule);
    }
}

#[test]
fn scores_give_the_ids_of_sentencepiece() {
    let texts = || TINY_TEXTS.sentencepiece.iter().map(|index| &TINY_TEXTS.plain[*index]);
    let mut writer = spm_writer();
    let tokenizer = tokenizer_of(&writer).unwrap();
    check("prefix", texts(), &TINY_SPM.sentencepiece.prefix, |text| tokenizer.encode(text));
    let tokenizer = tokenizer_of(writer.set("tokenizer.ggml.add_space_prefix", false)).unwrap();
    check("no prefix", texts(), &TINY_SPM.sentencepiece.no_prefix, |text| tokenizer.encode(text));
}

#[test]
fn gemma4_marks_spaces_and_merges_by_rank() {
    let pieces = &TINY_SPM.pieces;
    let mut writer = GgufWriter::new("llama");
    writer
        .set("tokenizer.ggml.model", "gemma4")
        .set(
            "tokenizer.ggml.tokens",
            pieces.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>(),
        )
        .set(
            "tokenizer.ggml.token_type",
            GgufValue::I32s(pieces.iter().map(|(.., kind)| *kind).collect()),
        )
        .set("tokenizer.ggml.merges", TINY_SPM.merges.clone());
    let tokenizer = tokenizer_of(&writer).unwrap();
    let rule = &TINY_SPM.rules[4];
    assert_eq!(rule.pre_tokenizer["behavior"], "MergedWithPrevious");
    // Its words end at the end of a line, and GGUF has no place for white space of `<mask>`.
    let same = |text: &str| !text.contains('\n') && !text.contains("<mask>");
    let (texts, ids): (Vec<&'static String>, Vec<Vec<u32>>) = TINY_TEXTS
        .plain
        .iter()
        .zip(&rule.plain)
        .filter(|(text, _)| same(text))
        .map(|(text, ids)| (text, ids.clone()))
        .unzip();
    assert!(texts.len() > 150);
    check("gemma4", texts.into_iter(), &ids, |text| tokenizer.encode(text));
}

/// The names of special tokens as most models have them.
fn tokenizer_config() -> Value {
    json!({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}})
}

#[test]
fn all_files_of_a_folder_have_a_say_about_special_tokens() {
    let rule = &TINY_BPE.rules[0];
    let id = |name: &str| TINY_BPE.tokens.iter().position(|token| token == name).unwrap() as u32;
    let (bos, eos, turn_end) = (id("<s>"), id("</s>"), id("<|im_end|>"));
    let alone = from_files(&[("tokenizer.json", bpe_json(rule))]).unwrap();
    assert_eq!((alone.bos(), alone.named_bos(), alone.eos()), (None, None, None));
    assert_eq!(alone.end_tokens(), [eos, turn_end]);

    let mut file = bpe_json(rule);
    let template = json!([{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {}}]);
    file["post_processor"] = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel"},
        {"type": "TemplateProcessing", "single": template},
    ]});
    let normal = id("hello");
    let mut files = vec![
        ("tokenizer.json", file),
        ("tokenizer_config.json", tokenizer_config()),
        ("generation_config.json", json!({"eos_token_id": [turn_end, normal], "bos_token_id": 0})),
        ("config.json", json!({"eos_token_id": -1, "text_config": {"eos_token_id": eos}})),
    ];
    let all = from_files(&files).unwrap();
    assert_eq!((all.bos(), all.named_bos(), all.eos()), (Some(bos), Some(bos), Some(eos)));
    assert_eq!(all.end_tokens(), [normal, eos, turn_end]);
    assert!(all.is_control(normal) && !all.encode("hello").contains(&normal));
    assert_eq!(all.encode_rendered("a"), [bos, id("a")]);
    assert_eq!(all.encode_rendered("<s>a"), [bos, id("a")]);

    files[1].1["add_bos_token"] = false.into();
    let without = from_files(&files).unwrap();
    assert_eq!((without.bos(), without.named_bos()), (None, Some(bos)));

    files[1] = ("special_tokens_map.json", json!({"bos_token": "<|im_start|>"}));
    let mapped = from_files(&files).unwrap();
    assert_eq!((mapped.bos(), mapped.named_bos()), (None, Some(id("<|im_start|>"))));
    assert_eq!(mapped.eos(), Some(turn_end));
}

#[test]
fn what_a_folder_cannot_give_exactly_is_refused() {
    let rule = &TINY_SPM.rules[0];
    let sentence = |change: &dyn Fn(&mut Value)| {
        let mut file = spm_json(rule);
        change(&mut file);
        match from_files(&[("tokenizer.json", file)]) {
            Ok(_) => panic!("accepted"),
            Err(error) => error.to_string(),
        }
    };
    let with = |pointer: &'static str, value: Value| {
        sentence(&|file| *file.pointer_mut(pointer).unwrap() = value.clone())
    };
    let pre = |value: Value| with("/pre_tokenizer", value);
    let mut sentences = vec![
        Tokenizer::from_folder(tempfile::tempdir().unwrap().path()).unwrap_err().to_string(),
        from_files(&[("tokenizer.json", json!([1]))]).unwrap_err().to_string(),
        with("/model/type", json!("Unigram")),
        with("/model/merges", json!({})),
        with("/model/vocab", json!({"a": -1})),
        with("/model/vocab", json!({"a": u32::MAX})),
        with("/model/vocab", json!({"a": 700, "b": 700})),
        with("/model/merges", json!([["a", "no"]])),
        with("/model/merges", json!(["a"])),
        with("/normalizer", Value::Null),
        with("/normalizer", json!({"type": "Lowercase"})),
        with(
            "/normalizer",
            json!({"type": "Replace", "pattern": {"String": "a"}, "content": "bb"}),
        ),
        with(
            "/normalizer",
            json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "NFD"}]}),
        ),
        with(
            "/normalizer",
            json!({"type": "Sequence", "normalizers": vec![json!({"type": "NFC"}); 99]}),
        ),
        with("/added_tokens/0/single_word", json!(true)),
        pre(json!({"type": "Whitespace"})),
        pre(json!({"type": "ByteLevel"})),
        pre(json!({"type": "Metaspace", "replacement": "_"})),
        pre(
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "add_prefix_space": false}),
        ),
        pre(
            json!({"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": false}),
        ),
        pre(
            json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}),
        ),
        pre(
            json!({"type": "Split", "pattern": {"Regex": "a".repeat(10_000)}, "behavior": "Isolated", "invert": false}),
        ),
    ];
    let affix = |file: &mut Value| file["model"]["end_of_word_suffix"] = "</w>".into();
    sentences.push(sentence(&affix));
    sentences.push(sentence(&|file| file["model"]["dropout"] = json!(0.1)));
    let with_config = |name: &'static str, config: Value| {
        from_files(&[("tokenizer.json", spm_json(rule)), (name, config)]).unwrap_err().to_string()
    };
    sentences.push(with_config("tokenizer_config.json", json!({"bos_token": 1})));
    sentences.push(with_config("generation_config.json", json!({"eos_token_id": 9_999})));
    insta::assert_snapshot!(sentences.join("\n"));
}

#[test]
fn the_chat_template_of_a_folder_is_found() {
    let rule = &TINY_BPE.rules[0];
    let rendered = |files: &[(&str, Value)], jinja: Option<&str>| {
        let mut all = vec![
            ("tokenizer.json", bpe_json(rule)),
            ("special_tokens_map.json", tokenizer_config()),
        ];
        all.extend_from_slice(files);
        let folder = folder(&all);
        if let Some(jinja) = jinja {
            fs::write(folder.path().join("chat_template.jinja"), jinja).unwrap();
        }
        let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
        let template = crate::ChatTemplate::from_folder(folder.path(), &tokenizer).unwrap();
        let message = PromptMessage { role: PromptRole::User, content: "a </s>".into() };
        let prompt = Prompt { messages: vec![message] };
        let rendered = template.render(&prompt).unwrap();
        let n_ends =
            tokenizer.encode_rendered(&rendered).into_iter().filter(|id| tokenizer.is_end(*id));
        (crate::ChatTemplate::shown(&rendered), n_ends.count())
    };
    let template = |name: &str| {
        let each = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}";
        format!("{name}{{{{ bos_token }}}}{each}")
    };
    let one = |name: &str| json!({"chat_template": template(name)});
    let named = json!({"chat_template": [
        {"name": "tool_use", "template": template("T")},
        {"name": "default", "template": template("D")},
    ]});
    let config = "tokenizer_config.json";
    assert_eq!(rendered(&[(config, one("C"))], None), ("C<s>a </s></s>".into(), 1));
    assert_eq!(rendered(&[(config, named)], None).0, "D<s>a </s></s>");
    let both = [(config, one("C")), ("chat_template.json", one("J"))];
    assert_eq!(rendered(&both, None).0, "J<s>a </s></s>");
    assert_eq!(rendered(&both, Some(&template("F"))).0, "F<s>a </s></s>");
    assert!(rendered(&[], None).0.starts_with("<|im_start|>user\n"));
}

#[test]
fn sentencepiece_tokens_have_the_bytes_of_their_text() {
    let tokenizer = tokenizer_of(&spm_writer()).unwrap();
    let id =
        |name: &str| TINY_SPM.pieces.iter().position(|(piece, ..)| piece == name).unwrap() as u32;
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
    assert_eq!(tokenizer.end_tokens(), [2, id("<|im_end|>")]);
    let vocabulary = tokenizer.vocabulary(1_000);
    assert_eq!(vocabulary.bytes(id("▁hello")), b" hello");
    assert_eq!(vocabulary.bytes(id("<0xE2>")), b"\xE2");
    assert_eq!(vocabulary.bytes(id("\n")), b"\n");
    // There is a piece for this character, which the model prefers.
    assert_eq!(vocabulary.bytes(id("<0x0A>")), b"");
    assert_eq!(tokenizer.token_bytes(id("<0x0A>")), b"\n");
    assert_eq!(vocabulary.bytes(id("<|im_end|>")), b"");
    assert_eq!(vocabulary.bytes(0), b"");
    // What follows other text has no space before it.
    assert_eq!(tokenizer.encode_bytes(b"hello"), [id("hello")]);
    assert_eq!(tokenizer.encode("hello"), [id("▁hello")]);
    assert_eq!(tokenizer.encode_bytes(b"\x98\xE2"), [id("<0x98>"), id("<0xE2>")]);
}

#[test]
fn a_call_can_be_written_in_pieces() {
    let tokenizer = tokenizer_of(&spm_writer()).unwrap();
    let grammar = CallGrammar::new(tokenizer.vocabulary(tokenizer.n_tokens())).unwrap();
    let argument = ArgumentSpec {
        name: "message",
        description: "",
        kind: ArgumentKind::Text { max_chars: 9 },
    };
    let specs = [FunctionSpec {
        name: "send_message",
        description: "",
        arguments: vec![argument],
        asks_heartbeat: false,
    }];
    let format = CallFormat::default();
    let mut matcher = grammar.matcher(&specs, &format).unwrap();
    let mut ids = matcher.take_forced().unwrap();
    assert!(ids.len() > 10, "{}", matcher.text());
    let start = r#"{"function": "send_message", "args": {"message": ""#;
    let rest = start.strip_prefix(matcher.text()).unwrap().to_owned();
    for wanted in [&rest, "a", "\u{1F999}", " hello"] {
        for id in tokenizer.encode_bytes(wanted.as_bytes()) {
            assert!(matcher.token_mask().unwrap().allows(id), "{wanted:?}");
            matcher.advance(id).unwrap();
            ids.push(id);
        }
    }
    let text = tokenizer.decode(&ids);
    assert_eq!(text, matcher.text());
    let call = FunctionCall::parse(&(text + &matcher.close()), &specs, &format).unwrap();
    assert_eq!(call.text("message"), "a\u{1F999} hello");
}

#[test]
fn phi_3_takes_the_space_after_special_tokens() {
    let mut writer = spm_writer();
    writer.set("general.name", "Phi-3 mini");
    let tokenizer = tokenizer_of(&writer).unwrap();
    assert_eq!(
        tokenizer.encode_rendered("<|user|>\n\n hello<|im_end|>\n<s>\n"),
        tokenizer_of(&spm_writer()).unwrap().encode_rendered("<|user|>hello<|im_end|><s>\n")
    );
}

#[test]
fn long_texts_take_time_near_to_linear() {
    let tokenizers = [
        tokenizer_of(&spm_writer()).unwrap(),
        from_files(&[("tokenizer.json", spm_json(&TINY_SPM.rules[0]))]).unwrap(),
    ];
    for unit in ["a", "ab", " ", "\n", "é", "the quick 😀 fox\n", "\u{1}"] {
        let text = unit.repeat((1 << 19) / unit.len());
        for tokenizer in &tokenizers {
            // Quadratic time would be hours.
            let ids = tokenizer.encode(&text);
            assert_eq!(tokenizer.decode(&ids), format!(" {text}"));
        }
    }
}

static TINY: LazyLock<Vec<(Tokenizer, bool)>> = LazyLock::new(|| {
    let mut spm = spm_writer();
    spm.set("tokenizer.ggml.add_space_prefix", false).set("tokenizer.ggml.add_bos_token", false);
    let mut tokenizers = vec![(tokenizer_of(&spm).unwrap(), true)];
    for rule in TINY_BPE.rules.iter().filter(|rule| rule.normalizer.is_null()) {
        if rule.pre_tokenizer["add_prefix_space"] != true {
            let mut file = bpe_json(rule);
            // White space beside this token is dropped.
            file["added_tokens"].as_array_mut().unwrap().pop();
            tokenizers.push((from_files(&[("tokenizer.json", file)]).unwrap(), false));
        }
    }
    let mut file = spm_json(&TINY_SPM.rules[3]);
    file["added_tokens"].as_array_mut().unwrap().pop();
    tokenizers.push((from_files(&[("tokenizer.json", file)]).unwrap(), true));
    tokenizers
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn tiny_text_comes_back_and_holds_no_control_token(text in nasty_text()) {
        let text = text.replace(SENTINEL, "");
        prop_assume!(!text.contains("<mask>"));
        for (tokenizer, marks_spaces) in &*TINY {
            let expected = if *marks_spaces { text.replace('▁', " ") } else { text.clone() };
            let ids = tokenizer.encode(&text);
            prop_assert!(!ids.iter().any(|id| tokenizer.is_control(*id)));
            check_neutral(tokenizer, &text, &ids, &expected)?;
            let mut detokenizer = crate::Detokenizer::default();
            let mut pieces: String =
                ids.iter().map(|id| detokenizer.push(tokenizer, *id)).collect();
            pieces.push_str(&detokenizer.finish());
            prop_assert_eq!(&pieces, &tokenizer.decode(&ids));
            prop_assert_eq!(&pieces, &expected);
            let ids = tokenizer.encode_bytes(text.as_bytes());
            prop_assert_eq!(tokenizer.decode(&ids), expected);
        }
    }

    #[test]
    fn damaged_folders_do_no_harm(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        spm in any::<bool>(),
        at_the_end in any::<bool>(),
    ) {
        let file = if spm { spm_json(&TINY_SPM.rules[1]) } else { bpe_json(&TINY_BPE.rules[5]) };
        let mut bytes = file.to_string().into_bytes();
        for (index, byte) in edits {
            // The parts around the vocabulary are short, and the more interesting ones.
            let n_bytes = bytes.len();
            let at = if at_the_end { n_bytes - 1 - index.index(600) } else { index.index(2_000) };
            bytes[at] = byte;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tokenizer.json"), &bytes).unwrap();
        if let Ok(tokenizer) = Tokenizer::from_folder(folder.path()) {
            for text in ["a <tool_call> hello\n\n1234", "<|im_start|>é😀</s>"] {
                let ids = tokenizer.encode(text);
                prop_assert!(!ids.iter().any(|id| tokenizer.is_control(*id)));
                tokenizer.decode(&tokenizer.encode_rendered(text));
            }
            tokenizer.vocabulary(2_000);
        }
    }
}
