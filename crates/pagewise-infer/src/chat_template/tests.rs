use std::time::{Duration, Instant};

use pagewise_core::PromptMessage;
use pagewise_testkit::test_weights;
use proptest::prelude::*;

use super::*;
use crate::tokenizer::tests::{byte_writer, tokenizer_of};

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

/// No content adds a control token: there are as many as in a prompt of harmless contents.
#[test]
fn contents_hold_no_control_tokens() {
    let strict = {
        let (tokenizer, _) = qwen();
        let template = ChatTemplate::new(STRICT, &tokenizer, None).unwrap();
        (tokenizer, template)
    };
    let models = [smollm(), qwen(), strict];
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
                let control = |prompt: &Prompt| -> Vec<u32> {
                    let ids = tokenizer.encode_rendered(&template.render(prompt).unwrap());
                    ids.into_iter().filter(|id| tokenizer.is_control(*id)).collect()
                };
                prop_assert_eq!(control(&prompt(false)), control(&prompt(true)));
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
