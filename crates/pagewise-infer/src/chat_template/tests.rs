use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use pagewise_core::PromptMessage;
use pagewise_testkit::test_weights;
use proptest::prelude::*;

use super::*;
use crate::tokenizer::tests::{byte_writer, byte_writer_with, tokenizer_of};

fn load(file: &str) -> (Tokenizer, ChatTemplate) {
    let gguf = Gguf::open(&test_weights(file)).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let template = ChatTemplate::from_gguf(&gguf, &tokenizer).unwrap();
    (tokenizer, template)
}

fn smollm() -> (Tokenizer, ChatTemplate) {
    load("smollm2-135m-instruct-q4_1.gguf")
}

fn qwen() -> (Tokenizer, ChatTemplate) {
    load("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
}

fn tiny(template: &str) -> Result<ChatTemplate, ChatTemplateError> {
    ChatTemplate::new(template, &tokenizer_of(&byte_writer()).unwrap(), None)
}

/// A prompt from lines such as `s: You are …`.
fn prompt(text: &str) -> Prompt {
    let messages = text.lines().map(|line| {
        let (role, content) = line.split_once(": ").unwrap();
        let role = match role {
            "s" => PromptRole::System,
            "a" => PromptRole::Assistant,
            "t" => PromptRole::Tool,
            _ => PromptRole::User,
        };
        PromptMessage { role, content: content.into() }
    });
    Prompt { messages: messages.collect() }
}

const CONVERSATION: &str = "s: Be brief.\nu: Hi.\na: Hello!\nt: 3 results\nu: And now?";

#[test]
fn smollm_reads_chat_ml() {
    let (_, template) = smollm();
    assert_eq!(
        template.roles,
        Roles {
            system: true,
            later_system: true,
            tool: false,
            repeats: true,
            assistant_first: true
        }
    );
    insta::assert_snapshot!(template.render(&prompt(CONVERSATION)).unwrap(), @r"
    <|im_start|>system
    Be brief.<|im_end|>
    <|im_start|>user
    Hi.<|im_end|>
    <|im_start|>assistant
    Hello!<|im_end|>
    <|im_start|>user
    3 results<|im_end|>
    <|im_start|>user
    And now?<|im_end|>
    <|im_start|>assistant
    ");
    insta::assert_snapshot!(template.render(&prompt("u: Hi.")).unwrap(), @r"
    <|im_start|>system
    You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
    <|im_start|>user
    Hi.<|im_end|>
    <|im_start|>assistant
    ");
}

#[test]
fn qwen_has_a_place_for_results() {
    let (_, template) = qwen();
    assert!(template.roles.tool && template.roles.system && template.roles.later_system);
    insta::assert_snapshot!(template.render(&prompt(CONVERSATION)).unwrap(), @r"
    <|im_start|>system
    Be brief.<|im_end|>
    <|im_start|>user
    Hi.<|im_end|>
    <|im_start|>assistant
    Hello!<|im_end|>
    <|im_start|>user
    <tool_response>
    3 results
    </tool_response><|im_end|>
    <|im_start|>user
    And now?<|im_end|>
    <|im_start|>assistant
    ");
    insta::assert_snapshot!(template.render(&prompt("u: Hi.")).unwrap(), @r"
    <|im_start|>system
    You are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>
    <|im_start|>user
    Hi.<|im_end|>
    <|im_start|>assistant
    ");
}

/// A strict template: no system turn, strict alternation, beginning with the user.
const STRICT: &str = "{{ bos_token }}{% for m in messages %}\
    {% if m.role not in ['user', 'assistant'] %}{{ raise_exception('no ' + m.role) }}{% endif %}\
    {% if (m.role == 'user') != (loop.index0 % 2 == 0) %}\
    {{ raise_exception('roles must alternate') }}{% endif %}\
    [{{ m.role }}]{{ m.content.strip() }}{% endfor %}[assistant]";

#[test]
fn roles_that_are_refused_are_mapped() {
    let template = tiny(STRICT).unwrap();
    assert_eq!(template.roles, Roles::default());
    let render = |text: &str| template.render(&prompt(text)).unwrap();
    insta::assert_snapshot!(render(CONVERSATION), @r"
    [user]Be brief.

    Hi.[assistant]Hello![user]3 results

    And now?[assistant]
    ");
    insta::assert_snapshot!(render("s: one\ns: two\na: three\ns: four"), @r"
    [user]one

    two

    (The conversation goes on.)[assistant]three[user]four[assistant]
    ");
    assert_eq!(render("s: alone"), "[user]alone[assistant]");
    assert_eq!(render(""), "[assistant]");
}

#[test]
fn files_without_a_template_get_a_fallback() {
    let chat_ml = tokenizer_of(&byte_writer()).unwrap();
    assert_eq!(ChatTemplate::fallback(&chat_ml), CHAT_ML);
    let mut writer = pagewise_testkit::GgufWriter::new("llama");
    writer
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", "gpt-2")
        .set("tokenizer.ggml.tokens", vec!["a".to_owned()])
        .set("tokenizer.ggml.merges", vec![]);
    let plain = tokenizer_of(&writer).unwrap();
    assert_eq!(ChatTemplate::fallback(&plain), TRANSCRIPT);

    let render = |template: &str| tiny(template).unwrap().render(&prompt(CONVERSATION)).unwrap();
    assert_eq!(render(CHAT_ML), smollm().1.render(&prompt(CONVERSATION)).unwrap());
    insta::assert_snapshot!(render(TRANSCRIPT), @r"
    Be brief.

    User: Hi.
    Assistant: Hello!
    User: 3 results
    User: And now?
    Assistant:
    ");
}

#[test]
fn the_date_is_what_it_is_told() {
    let template = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}\
        {% else %}some day{% endif %}{% for m in messages %} {{ m.content }}{% endfor %}";
    let tokenizer = tokenizer_of(&byte_writer()).unwrap();
    let render = |date| {
        ChatTemplate::new(template, &tokenizer, date).unwrap().render(&prompt("u: hi")).unwrap()
    };
    assert_eq!(render(None), "some day hi");
    assert_eq!(render(Some(jiff::civil::date(2024, 2, 29))), "29 Feb 2024 hi");
}

#[test]
fn hostile_templates_end_in_a_sentence() {
    let nested = "{% if true %}".repeat(4_500);
    let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(20_000), ")".repeat(20_000));
    let long = " ".repeat(MAX_TEMPLATE_BYTES + 1);
    let cases = [
        (
            "endless",
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ a * b }}{% endfor %}{% endfor %}",
        ),
        ("recursive", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}"),
        ("huge text", "{{ 'x' * 4000000000 }}"),
        (
            "doubling",
            "{% set ns = namespace(s='x') %}{% for a in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
        ),
        ("huge range", "{% for a in range(4000000000) %}{% endfor %}"),
        (
            "huge output",
            "{% for a in range(30) %}{{ 'x' * 99999 }}{% endfor %}{% for m in messages %}{{ m.content }}{% endfor %}",
        ),
        ("replace", "{{ ('a' * 9999).replace('a', 'b' * 99999) }}"),
        ("padding", "{{ '%99999999999d' | format(1) }}"),
        ("joining", "{{ range(9999) | join('x' * 99999) }}"),
        ("unknown filter", "{{ messages | teleport }}"),
        ("unknown function", "{{ open('/etc/passwd') }}"),
        ("include", "{% include 'other' %}"),
        (
            "itself",
            "{% if messages[0].content is defined %}{% include 'chat_template' %}{% endif %}",
        ),
        ("everything", "{{ debug() }}"),
        ("changes", "{% for a in [1, 2] %}{{ loop.changed(a) }}{% endfor %}"),
        ("attributes", "{{ messages.__class__.__mro__ }}"),
        ("syntax", "{% for %}"),
        ("refusal", "{{ raise_exception('no') }}"),
        ("leaves out what was said", "hello"),
        ("nested", nested.as_str()),
        ("parentheses", parentheses.as_str()),
        ("long", long.as_str()),
    ];
    let mut sentences = Vec::new();
    let tokenizer = tokenizer_of(&byte_writer()).unwrap();
    for (name, template) in cases {
        let start = Instant::now();
        let Err(error) = ChatTemplate::new(template, &tokenizer, None) else {
            panic!("{name} was accepted");
        };
        let took = start.elapsed();
        // Without a bound they would take minutes; with it milliseconds, on a machine that is free.
        assert!(took < Duration::from_secs(2), "{name} took {took:?}");
        sentences.push(format!("{name}: {error}"));
    }
    insta::assert_snapshot!(sentences.join("\n"));
}

#[test]
fn a_late_failure_is_a_model_error() {
    let template = "{% for m in messages %}{% if m.content == 'bad' %}\
        {{ raise_exception('bad content') }}{% endif %}{{ m.content }}{% endfor %}";
    let error: ModelError = tiny(template).unwrap().render(&prompt("u: bad")).unwrap_err().into();
    insta::assert_snapshot!(error, @"the model's chat template failed: bad content (line 1 of the template)");

    let long = Prompt {
        messages: vec![PromptMessage {
            role: PromptRole::User,
            content: "x".repeat((2 << 20) + 1),
        }],
    };
    let error = smollm().1.render(&long).unwrap_err();
    insta::assert_snapshot!(error, @"the prompt is more than 2097152 bytes long");
    let fits = Prompt {
        messages: vec![PromptMessage { role: PromptRole::User, content: "x".repeat(2_000_000) }],
    };
    for template in [smollm().1, qwen().1] {
        assert!(template.render(&fits).is_ok());
    }
}

fn look_alikes() -> impl Strategy<Value = String> {
    let parts = vec![
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|im_start|",
        "<|im_end",
        "<|im_",
        "<|",
        "<",
        "|>",
        ">",
        "im_end|>",
        "end|>",
        "system",
        "\n",
        " ",
        "assistant\n",
        "<|im_end|>\n",
        "\u{FDD0}",
        "<|im_\u{FDD0}end|>",
        "<repo_name>",
        "<file_sep>",
        "<tool_call>",
        "</tool_call>",
        "<tool_",
        "_call>",
        "<|fim_pad|>",
        "<|object_ref_start|>",
        "hello",
        "{{ 1 }}",
        "{% raw %}",
        "é",
        "😀",
    ];
    prop::collection::vec(prop::sample::select(parts), 0..12).prop_map(|parts| parts.concat())
}

/// No content adds a control token or one that is user-defined: there are as many as in a prompt of
/// harmless contents.
#[test]
fn contents_hold_no_structure() {
    let strict = {
        let (tokenizer, _) = qwen();
        let template = ChatTemplate::new(STRICT, &tokenizer, None).unwrap();
        (tokenizer, template)
    };
    // What the template writes of itself is recognised.
    let calling = {
        let (tokenizer, _) = qwen();
        let template = "{% for m in messages %}<|im_start|>{{ m.role }}\n<tool_call>{{ m.content }}\
            </tool_call><|im_end|>\n{% endfor %}<|im_start|>assistant\n";
        let template = ChatTemplate::new(template, &tokenizer, None).unwrap();
        let ids = tokenizer.encode_rendered(&template.render(&prompt("u: <tool_call>")).unwrap());
        assert_eq!(ids.iter().filter(|id| tokenizer.name(Some(**id)) == "<tool_call>").count(), 1);
        (tokenizer, template)
    };
    let models = [smollm(), qwen(), strict, calling];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1_000));
    let contents = prop::collection::vec((0..4_usize, look_alikes()), 1..6);
    runner
        .run(&contents, |contents| {
            let role = |index: usize| {
                [PromptRole::System, PromptRole::User, PromptRole::Assistant, PromptRole::Tool]
                    [index]
            };
            let prompt = |harmless: bool| Prompt {
                messages: contents
                    .iter()
                    .map(|(index, content)| PromptMessage {
                        role: role(*index),
                        content: if harmless { "x".into() } else { content.clone() },
                    })
                    .collect(),
            };
            for (tokenizer, template) in &models {
                let structure = |prompt: &Prompt| -> Vec<u32> {
                    let ids = tokenizer.encode_rendered(&template.render(prompt).unwrap());
                    ids.into_iter().filter(|id| tokenizer.is_structure(*id)).collect()
                };
                prop_assert_eq!(structure(&prompt(false)), structure(&prompt(true)));
                let rendered = template.render(&prompt(false)).unwrap();
                let ids = tokenizer.encode_rendered(&rendered);
                let shown = ChatTemplate::shown(&rendered);
                let bytes: Vec<u8> =
                    ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).copied().collect();
                prop_assert_eq!(String::from_utf8(bytes).unwrap(), shown);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn marks_of_what_a_model_writes_are_left_out() {
    let template = "{% for m in messages %}{{ m.role }}:{%- generation -%} {{ m.content }} \
                    {% endgeneration %};{% endfor %}{% set generation = 1 %}{{ generation }}";
    let rendered = tiny(template).unwrap().render(&prompt("u: hi")).unwrap();
    assert_eq!(rendered, "user:hi ;1");
    assert_eq!(without_generation_marks("a {% b"), "a {% b");
    assert_eq!(without_generation_marks("{{ '{% generation' }}"), "{{ '{% generation' }}");
}

#[test]
fn a_template_that_cannot_do_without_a_date_gets_one() {
    let tokenizer = tokenizer_of(&byte_writer()).unwrap();
    let each = "{% for m in messages %}{{ m.content }}{% endfor %}";
    let template = format!("{{{{ strftime_now('%Y-%m-%d ') }}}}{each}");
    assert!(ChatTemplate::new(&template, &tokenizer, None).is_err());
    let template = ChatTemplate::undated(Some(&template), &tokenizer).unwrap();
    assert_eq!(template.render(&prompt("u: hi")).unwrap(), "2024-07-26 hi");
    let template = format!("{{{{ strftime_now is defined }}}} {each}");
    let template = ChatTemplate::undated(Some(&template), &tokenizer).unwrap();
    assert_eq!(template.render(&prompt("u: hi")).unwrap(), "False hi");
}

/// The names of templates, with their texts.
macro_rules! families {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../tests/data/chat_template/", $name, ".jinja")))),*]
    };
}

const FAMILIES: [(&str, &str); 10] = families! {
    "gemma-like" "granite3.3" "lfm2-like" "llama3-like" "mistral-nemo" "olmo2-like" "phi3.5"
    "phi4-mini-like" "qwen3" "smollm3"
};

/// As the agent has it: a question, a search and its result, the reply, an event, and a question.
const OF_THE_AGENT: &str = r#"s: You remember what the user says.
u: Where does Ana live?
a: {"function": "conversation_search", "args": {"words": "Ana"}}
t: {"status":"ok","message":"Page 1 of 1: the user said: Ana lives in Oslo."}
a: {"function": "send_message", "args": {"message": "In Oslo."}}
u: (System: The user came back after 2 days.)
u: And </think> Ben?"#;

/// A tokenizer with names for the beginning and the end of a text.
fn with_ends() -> Tokenizer {
    let mut writer = byte_writer_with(&[("<s>", 3), ("</s>", 3)]);
    writer.set("tokenizer.ggml.bos_token_id", 256).set("tokenizer.ggml.eos_token_id", 257);
    tokenizer_of(&writer).unwrap()
}

/// What a template makes of the conversation, with what it takes; if the model may think, what that
/// changes as well.
fn described(template: &mut ChatTemplate) -> Result<String, ChatTemplateError> {
    let conversation = prompt(OF_THE_AGENT);
    let without = template.render(&conversation)?;
    let alone = template.render(&prompt("u: Hi."))?;
    let mut text =
        format!("{:?}\n\n{without}\n\n-- without instructions:\n{alone}", template.roles);
    if template.knows_thinking() {
        template.set_thinking(true);
        let with = template.render(&conversation)?;
        let (thinks, alone) = (with != without, template.render(&prompt("u: Hi."))?);
        write!(text, "\n\n-- thinking changes it: {thinks}; without instructions:\n{alone}")
            .unwrap();
    }
    Ok(text)
}

#[test]
fn families_read_the_conversation_in_their_own_way() {
    let tokenizer = with_ends();
    for (name, template) in FAMILIES {
        let mut template = ChatTemplate::undated(Some(template), &tokenizer).unwrap();
        insta::assert_snapshot!(name, described(&mut template).unwrap());
    }
}

/// Compares what a template makes of turns, without our mapping of roles, with what `transformers` makes
/// of them or refuses, in each conversation that `expected` has: see
/// `scripts/make-chat-template-fixtures`. Returns how many texts are the same.
fn assert_same(name: &str, template: &mut ChatTemplate, expected: &serde_json::Value) -> usize {
    let turn = |turn: &serde_json::Value| {
        let roles = ["system", "user", "assistant", "tool"];
        let role = roles.into_iter().find(|role| turn["role"] == *role).unwrap();
        Turn { role, content: turn["content"].as_str().unwrap().to_owned() }
    };
    let mut n_same = 0;
    for (roles, turns) in expected["conversations"].as_object().unwrap() {
        let turns: Vec<Turn> = turns.as_array().unwrap().iter().map(turn).collect();
        for (at, thinks) in [false, true].into_iter().enumerate() {
            template.set_thinking(thinks);
            let rendered = template.render_turns(&turns).ok();
            let truth = expected["rendered"][name][roles][at].as_str();
            assert_eq!(rendered.as_deref(), truth, "{name}: {roles}, thinking: {thinks}");
            n_same += usize::from(truth.is_some());
        }
    }
    template.set_thinking(false);
    n_same
}

#[test]
fn families_write_what_transformers_writes() {
    let expected = include_str!("../../tests/data/chat_template/expected.json");
    let expected = serde_json::from_str(expected).unwrap();
    let tokenizer = with_ends();
    let mut n_same = 0;
    for (name, template) in FAMILIES {
        let mut template = ChatTemplate::undated(Some(template), &tokenizer).unwrap();
        n_same += assert_same(name, &mut template, &expected);
    }
    assert!(n_same > 150, "{n_same}");
}

/// Renders the templates of a folder, if PAGEWISE_TEST_TEMPLATES names one, compares them with what
/// `expected.json` there has of them, and says of all that cannot be used why.
#[test]
fn templates_of_a_folder_are_rendered_or_refused_with_a_reason() {
    let Ok(folder) = std::env::var("PAGEWISE_TEST_TEMPLATES") else { return };
    let folder = Path::new(&folder);
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jinja"));
    paths.sort();
    let expected = fs::read_to_string(folder.join("expected.json")).ok();
    let expected: Option<serde_json::Value> =
        expected.map(|expected| serde_json::from_str(&expected).unwrap());
    let tokenizer = with_ends();
    let (mut n_rendered, mut n_same) = (0, 0);
    for path in &paths {
        let name = path.file_stem().unwrap().to_string_lossy();
        let source = fs::read_to_string(path).unwrap();
        let started = Instant::now();
        let rendered = ChatTemplate::undated(Some(&source), &tokenizer)
            .and_then(|mut template| Ok((described(&mut template)?, template)));
        let took = started.elapsed();
        match rendered {
            Ok((text, mut template)) => {
                n_rendered += 1;
                println!("{name}: {:?}, {took:.0?}", template.roles);
                for said in ["Where does Ana live?", "In Oslo.", "Ben?"] {
                    assert!(text.contains(said), "{name} leaves out {said:?}: {text}");
                }
                if let Some(expected) = &expected {
                    n_same += assert_same(&name, &mut template, expected);
                }
            }
            Err(error) => println!("{name}: REFUSED: {error}"),
        }
        assert!(took < Duration::from_secs(2), "{name} took {took:?}");
    }
    println!("{n_rendered} of {} templates are rendered, {n_same} texts the same", paths.len());
    assert!(n_rendered > 0);
}
