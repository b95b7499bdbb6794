mod export;
mod families;
mod tiny;

use std::sync::LazyLock;

use pagewise_testkit::{GgufValue, GgufWriter, test_weights};
use proptest::prelude::*;
use serde::Deserialize;

use super::spelling::ByteOf;
use super::*;

fn from_weights(file: &str) -> Tokenizer {
    Tokenizer::from_gguf(&Gguf::open(&test_weights(file)).unwrap()).unwrap()
}

static SMOLLM: LazyLock<Tokenizer> =
    LazyLock::new(|| from_weights("smollm2-135m-instruct-q4_1.gguf"));
static QWEN: LazyLock<Tokenizer> =
    LazyLock::new(|| from_weights("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"));

/// A vocabulary of single bytes with the control tokens of ChatML and `<tool_call>`.
pub(crate) fn byte_writer() -> GgufWriter {
    byte_writer_with(&[("<|im_start|>", 3), ("<|im_end|>", 3), ("<tool_call>", 4)])
}

/// A vocabulary of single bytes and of these tokens, from number 256 on, with their types.
pub(crate) fn byte_writer_with(special: &[(&str, i32)]) -> GgufWriter {
    let byte_of = ByteOf::new();
    let mut tokens = vec![String::new(); 256];
    for (character, byte) in (0..).zip(&byte_of.0) {
        if let Some(byte) = byte {
            tokens[usize::from(*byte)] = char::from_u32(character).unwrap().to_string();
        }
    }
    let mut types = vec![1; 256];
    for (token, kind) in special {
        tokens.push((*token).into());
        types.push(*kind);
    }
    let mut writer = GgufWriter::new("llama");
    writer
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", "gpt-2")
        .set("tokenizer.ggml.tokens", tokens)
        .set("tokenizer.ggml.token_type", GgufValue::I32s(types))
        .set("tokenizer.ggml.merges", vec![]);
    writer
}

pub(crate) fn tokenizer_of(writer: &GgufWriter) -> Result<Tokenizer, TokenizerError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.gguf");
    writer.write(&path).unwrap();
    Tokenizer::from_gguf(&Gguf::open(&path).unwrap())
}

#[derive(Deserialize)]
struct Fixture {
    plain: Vec<Case>,
    rendered: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

/// The fixtures were made by llama.cpp: see scripts/make-tokenizer-fixtures.
fn check_fixture(tokenizer: &Tokenizer, json: &str) {
    let fixture: Fixture = serde_json::from_str(json).unwrap();
    assert!(fixture.plain.len() >= 120);
    let mut wrong = Vec::new();
    for case in &fixture.plain {
        let ids = tokenizer.encode(&case.text);
        if ids != case.ids {
            wrong.push(format!("{:?}: {ids:?}, expected {:?}", case.text, case.ids));
        }
    }
    for case in &fixture.rendered {
        let ids = tokenizer.encode_rendered(&case.text);
        if ids != case.ids {
            wrong.push(format!("rendered {:?}: {ids:?}, expected {:?}", case.text, case.ids));
        }
    }
    assert!(wrong.is_empty(), "{} texts differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn smollm_ids_are_the_reference_ids() {
    check_fixture(&SMOLLM, include_str!("../../tests/data/tokenizer/smollm.json"));
}

#[test]
fn qwen2_ids_are_the_reference_ids() {
    check_fixture(&QWEN, include_str!("../../tests/data/tokenizer/qwen2.json"));
}

#[test]
fn knows_what_ends_a_turn_and_what_is_text() {
    assert_eq!(SMOLLM.end_tokens(), [0, 2, 4]);
    assert_eq!(QWEN.end_tokens(), [151_643, 151_645, 151_662, 151_663, 151_664]);
    for (tokenizer, start, end, text_end) in
        [(&*SMOLLM, 1, 2, 0), (&*QWEN, 151_644, 151_645, 151_643)]
    {
        assert_eq!(tokenizer.eos(), Some(end));
        assert_eq!(tokenizer.bos(), None);
        assert!(tokenizer.is_end(end) && !tokenizer.is_end(start));
        assert_eq!(tokenizer.token_bytes(start), b"<|im_start|>");
        assert_eq!(tokenizer.token_bytes(u32::MAX), b"");
        let ids = tokenizer.encode_rendered("<|im_start|>hé<|im_end|>");
        assert_eq!(tokenizer.decode(&ids), "hé");

        let n_logits = tokenizer.n_tokens() + 7;
        let vocabulary = tokenizer.vocabulary(n_logits);
        assert_eq!(vocabulary.len(), n_logits);
        for control in [start, end, text_end] {
            assert_eq!(vocabulary.bytes(control), b"");
        }
        let hello = tokenizer.encode(" hello");
        assert_eq!(vocabulary.bytes(hello[0]), b" hello");
    }
}

#[test]
fn user_defined_tokens_are_one_token_in_any_text() {
    assert_eq!(QWEN.encode("<tool_call>"), [151_657]);
    assert_eq!(QWEN.decode(&[151_657]), "<tool_call>");
    let tokenizer = tokenizer_of(&byte_writer()).unwrap();
    assert_eq!(tokenizer.encode("a<tool_call>"), [97, 258]);
    assert_eq!(tokenizer.encode("<|im_end|>").len(), 10);
    assert_eq!(tokenizer.encode_rendered("<|im_end|>"), [257]);
}

/// Other tokenizers make the token of a message that only has its name in it.
#[test]
fn what_somebody_says_holds_no_user_defined_token() {
    let content = "<tool_call>{}</tool_call>\n\n<tool";
    let neutral = QWEN.neutralise(content);
    assert!(!QWEN.encode_rendered(&neutral).iter().any(|id| QWEN.is_structure(*id)));
    assert_eq!(QWEN.decode(&QWEN.encode_rendered(&neutral)), content);
    // What the template writes around it is the token, whatever touches it.
    let around = format!("<tool_call>{}<tool_call>", QWEN.neutralise("tool_call>"));
    let ids = QWEN.encode_rendered(&around);
    assert_eq!((ids.first(), ids.last()), (Some(&151_657), Some(&151_657)));
    assert_eq!(ids.iter().filter(|id| **id == 151_657).count(), 2);
}

#[test]
fn bytes_within_a_character_become_single_bytes() {
    let tokenizer = &*QWEN;
    for bytes in [&b"\x98\x80 abc"[..], "abc 😀".as_bytes(), b"abc \xF0\x9F", b"\xFF"] {
        let ids = tokenizer.encode_bytes(bytes);
        let decoded: Vec<u8> =
            ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).copied().collect();
        // 0xFF is never part of UTF-8, and vocabularies may lack it.
        assert!(decoded == bytes || bytes == b"\xFF", "{bytes:?} became {decoded:?}");
    }
}

#[test]
fn a_text_begins_with_the_token_for_that_if_the_model_wants_it() {
    let mut writer = byte_writer();
    writer.set("tokenizer.ggml.bos_token_id", 256).set("tokenizer.ggml.add_bos_token", true);
    let tokenizer = tokenizer_of(&writer).unwrap();
    assert_eq!(tokenizer.bos(), Some(256));
    assert_eq!(tokenizer.encode_rendered("a"), [256, 97]);
    assert_eq!(tokenizer.encode_rendered("<|im_start|>a"), [256, 97]);
    assert_eq!(tokenizer.encode("a"), [97]);
}

#[test]
fn what_cannot_be_exact_is_refused() {
    let sentence = |writer: &GgufWriter| match tokenizer_of(writer) {
        Ok(_) => panic!("{writer:?} was accepted"),
        Err(TokenizerError::Gguf(error)) => error.problem.to_string(),
        Err(error) => error.to_string(),
    };
    let base = |model: &str, pre: &str, merge: &str| {
        let mut writer = GgufWriter::new("llama");
        writer
            .set("tokenizer.ggml.model", model)
            .set("tokenizer.ggml.pre", pre)
            .set("tokenizer.ggml.tokens", vec!["a".to_owned(), "b".into(), "ab".into()])
            .set("tokenizer.ggml.merges", vec![merge.to_owned()]);
        writer
    };
    assert!(tokenizer_of(&base("gpt2", "qwen2", "a b")).is_ok());
    let no_tokens = {
        let mut writer = GgufWriter::new("llama");
        writer.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", "qwen2");
        writer
    };
    let sentences = [
        sentence(&GgufWriter::new("llama")),
        sentence(&no_tokens),
        sentence(no_tokens.clone().set("tokenizer.ggml.tokens", vec![])),
        sentence(&base("t5", "default", "a b")),
        sentence(&base("llama", "default", "a b")),
        sentence(&base("gpt2", "superbpe", "a b")),
        sentence(&base("gpt2", "qwen2", "ab")),
        sentence(&base("gpt2", "qwen2", "a ")),
        sentence(&base("gpt2", "qwen2", "a c")),
        sentence(&base("gpt2", "qwen2", "b a")),
        sentence(base("gpt2", "qwen2", "a b").set("tokenizer.ggml.eos_token_id", 3)),
        sentence(
            base("gpt2", "qwen2", "a b").set("tokenizer.ggml.token_type", GgufValue::I32s(vec![1])),
        ),
        sentence(
            base("llama", "default", "a b")
                .set("tokenizer.ggml.scores", GgufValue::F32s(vec![0.0])),
        ),
    ];
    insta::assert_snapshot!(sentences.join("\n"));
}

#[test]
fn merges_that_lead_to_a_control_token_are_left_out() {
    let mut writer = GgufWriter::new("llama");
    writer
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", "gpt-2")
        .set("tokenizer.ggml.merges", vec!["a b".to_owned(), "ab c".into()])
        .set("tokenizer.ggml.tokens", ["a", "b", "c", "ab", "abc"].map(str::to_owned).to_vec())
        .set("tokenizer.ggml.token_type", GgufValue::I32s(vec![1; 5]))
        .set("tokenizer.ggml.eos_token_id", 4);
    let tokenizer = tokenizer_of(&writer).unwrap();
    assert_eq!(tokenizer.encode("abcab"), [3, 2, 3]);
    assert_eq!(tokenizer.encode_rendered("ababc"), [3, 4]);
}

#[test]
fn what_follows_a_long_run_is_not_changed_by_it() {
    let tail = "x 1234 hello, it's Größe\n\n  y";
    for tokenizer in [&*SMOLLM, &*QWEN] {
        let after = tokenizer.encode(&tail[1..]);
        for run in [
            " ".repeat(1_200_000),
            "\n".repeat(1 << 17),
            " \n".repeat(1 << 17),
            "a".repeat(1 << 17),
        ] {
            let text = run + tail;
            let ids = tokenizer.encode(&text);
            assert!(ids.ends_with(&after), "{:?}", &text[..4]);
            assert!(tokenizer.decode(&ids) == text);
        }
    }
}

fn nasty_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        any::<String>(),
        "[ \n\t\r]{0,9}",
        "[a-zA-Z0-9']{0,12}",
        prop::sample::select(vec![
            "<|im_start|>",
            "<|im_end|>",
            "<|endoftext|>",
            "<|im_",
            "end|>",
            "|>",
            "<",
            "<|",
            "<tool_call>",
            "<repo_name>",
            "<file_sep>",
            "\u{FDD0}",
            "system\n",
            "e\u{301}",
            "👨‍👩‍👧",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// Neutralised content gives the same tokens in a rendered text as alone, `ids`, but for those that are
/// user-defined: instead of these it has others that decode to what they stand for.
fn check_neutral(
    tokenizer: &Tokenizer,
    text: &str,
    ids: &[u32],
    decoded: &str,
) -> Result<(), TestCaseError> {
    let neutral = tokenizer.encode_rendered(&tokenizer.neutralise(text));
    prop_assert!(!neutral.iter().any(|id| tokenizer.is_structure(*id)));
    if ids.iter().any(|id| tokenizer.is_structure(*id)) {
        prop_assert_eq!(tokenizer.decode(&neutral), decoded);
    } else {
        prop_assert_eq!(ids, &neutral);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn text_comes_back_and_holds_no_control_token(text in nasty_text()) {
        for tokenizer in [&*SMOLLM, &*QWEN] {
            let text = text.replace(SENTINEL, "");
            let ids = tokenizer.encode(&text);
            prop_assert!(!ids.iter().any(|id| tokenizer.is_control(*id)));
            check_neutral(tokenizer, &text, &ids, &text)?;
            let mut detokenizer = crate::Detokenizer::default();
            let mut pieces: String =
                ids.iter().map(|id| detokenizer.push(tokenizer, *id)).collect();
            pieces.push_str(&detokenizer.finish());
            prop_assert_eq!(&pieces, &tokenizer.decode(&ids));
            prop_assert_eq!(pieces, text);
        }
    }
}
