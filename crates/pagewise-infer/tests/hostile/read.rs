//! Does with a file whatever the program would: opens it, and if it is let in, uses all of it.
//!
//! The fuzz targets in `fuzz/` include this file, so that what they drive and what the corpus of
//! `tests/hostile.rs` drives is the same. A kind of file that is read from outside gets a function
//! here, a target there, and a group of cases in `cases.rs`.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{LazyLock, OnceLock};

use pagewise_core::{
    ArgumentKind, ArgumentSpec, CallFormat, Constraint, Embedder, FunctionSpec, GenerationRequest,
    LanguageModel, Prompt, PromptMessage, PromptRole, Purpose, Sampling, SessionSlot,
};
use pagewise_infer::{
    ChatTemplate, Compute, Decoder, Detokenizer, DeviceChoice, Engine, EngineOptions, Gguf,
    SentenceEmbedder, Session, SnapshotKey, Tokenizer, Weights,
};
use sha2::{Digest, Sha256};

/// The longest sentence about what is wrong, in bytes, its path apart: a file may be shown, not
/// poured out.
const MAX_SENTENCE_BYTES: usize = 4_000;

/// Texts that all tokenizers get; the last are pieces of control tokens.
const TEXTS: [&str; 6] = [
    "",
    " Hello, it's 1234  o'clock.\n\n\tnaïve 😀 \u{0}\u{FDD0}▁",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
    "<|im_start|>",
    "<|im_",
    "end|></s><s>",
];

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was refused, with this sentence.
    Refused(String),
    /// All of it was used.
    Used,
}

impl Outcome {
    fn of<E: std::fmt::Display>(result: Result<(), E>) -> Self {
        let Err(error) = result else { return Self::Used };
        let sentence = error.to_string();
        assert!(!sentence.is_empty(), "refused without a word");
        assert!(
            sentence.len() <= MAX_SENTENCE_BYTES,
            "a sentence of {} bytes: {:.200}…",
            sentence.len(),
            sentence
        );
        assert!(
            !sentence.chars().any(char::is_control),
            "a sentence with control characters: {sentence:?}"
        );
        Self::Refused(sentence)
    }
}

/// Uses a GGUF file, or a folder of `config.json`, safetensors and tokenizer, as a language model.
pub(crate) fn weights(path: &Path) -> Outcome {
    static COMPUTE: LazyLock<Compute> = LazyLock::new(|| {
        Compute::new(DeviceChoice::Cpu, Some(1)).expect("the processor is always there")
    });
    Outcome::of(use_weights(path, &COMPUTE))
}

/// Uses weights as [`weights`] does, without the kernels for this processor.
pub(crate) fn weights_by_candle(path: &Path) -> Outcome {
    Outcome::of(use_weights(path, &Compute::tensors()))
}

/// Uses the metadata of a GGUF file as a tokenizer and a chat template, whatever else is in it.
pub(crate) fn gguf_tokenizer(path: &Path) -> Outcome {
    let result = Gguf::open(path).map_err(|error| error.to_string()).and_then(|gguf| {
        let tokenizer = Tokenizer::from_gguf(&gguf).map_err(|error| error.to_string())?;
        use_tokenizer(&tokenizer);
        use_template(ChatTemplate::from_gguf(&gguf, &tokenizer))
    });
    Outcome::of(result)
}

/// Uses `tokenizer.json` in a folder, and what stands beside it.
pub(crate) fn folder_tokenizer(path: &Path) -> Outcome {
    let result = Tokenizer::from_folder(path).map_err(|error| error.to_string());
    let result = result.and_then(|tokenizer| {
        use_tokenizer(&tokenizer);
        use_template(ChatTemplate::from_folder(path, &tokenizer))
    });
    Outcome::of(result)
}

/// Gives a KV cache that was kept the checksum of what is in it now: what somebody made on purpose
/// has the right one.
pub(crate) fn make_checksum_right(snapshot: &mut [u8]) {
    if let Some((content, checksum)) = snapshot.split_last_chunk_mut::<32>() {
        checksum.copy_from_slice(&Sha256::digest(content));
    }
}

/// Uses a KV cache that was kept of the model in the folder `weights`.
pub(crate) fn snapshot(path: &Path, weights: &Path) -> Outcome {
    let (decoder, key) = kept_model(weights);
    let restored = Session::restore(decoder, *key, path).map_err(|error| error.to_string());
    Outcome::of(restored.map(|session| {
        let mut session = session.expect("the file is there");
        assert!(session.tokens().len() <= decoder.window_tokens(), "more than the window");
        let n_known = decoder.config().vocabulary as u32;
        assert!(session.tokens().iter().all(|token| *token < n_known), "an unknown token");
        // Wrong numbers are no harm; a full window is an error like any other.
        let _ = session.extend(decoder, &[1, 2], &|| false);
    }))
}

/// Returns the model that snapshots are of; the first one asked for is kept.
pub(crate) fn kept_model(weights: &Path) -> &'static (Decoder, SnapshotKey) {
    static MODEL: OnceLock<(Decoder, SnapshotKey)> = OnceLock::new();
    MODEL.get_or_init(|| {
        let compute = Compute::new(DeviceChoice::Cpu, Some(1)).expect("always there");
        let weights = Weights::open(weights).expect("a fixture");
        let decoder = Decoder::load(weights.clone(), 64, &compute).expect("a fixture");
        let key = SnapshotKey::new(&weights, &decoder);
        (decoder, key)
    })
}

/// Uses a folder as an embedder.
pub(crate) fn embedder(path: &Path) -> Outcome {
    let embedder = SentenceEmbedder::load(path, Some(1)).map_err(|error| error.to_string());
    Outcome::of(embedder.and_then(|embedder| use_embedder(&embedder)))
}

fn use_embedder(embedder: &SentenceEmbedder) -> Result<(), String> {
    let id = embedder.id();
    assert!(id.len() < 300 && !id.chars().any(char::is_control), "a name that is long: {id:.400}");
    // As long as a passage, and as a word.
    let long = ["the cat sat on ".repeat(150), "the".repeat(300)];
    let texts: Vec<&str> = TEXTS.into_iter().chain(long.iter().map(String::as_str)).collect();
    for purpose in [Purpose::Query, Purpose::Passage] {
        let vectors = embedder.embed(&texts, purpose).map_err(|error| error.to_string())?;
        assert_eq!(vectors.len(), texts.len());
        assert!(vectors.iter().all(|vector| vector.len() == embedder.dimensions()));
    }
    Ok(())
}

/// Uses a chat template with a tokenizer that is in order.
pub(crate) fn template(template: &str, tokenizer: &Tokenizer) -> Outcome {
    // Told the date, which is one more way into it.
    let date = "2024-07-26".parse().ok().filter(|_| template.contains("strftime_now"));
    Outcome::of(use_template(ChatTemplate::new(template, tokenizer, date)))
}

fn use_weights(path: &Path, compute: &Compute) -> Result<(), String> {
    let weights = Weights::open(path).map_err(|error| error.to_string())?;
    if let Weights::Gguf(gguf) = &weights {
        let shown: usize =
            gguf.metadata().map(|(key, value)| key.len() + value.to_string().len()).sum();
        let tensors: usize = gguf.tensors().map(|tensor| format!("{tensor:?}").len()).sum();
        assert!(shown + tensors > 0, "nothing is in it");
    }
    let _ = (weights.fingerprint(), weights.counts(), weights.file_bytes());
    let mut engine = Engine::load(path, compute, &EngineOptions::default())
        .map_err(|error| error.to_string())?;
    let description = format!("{:?}", engine.description());
    assert!(description.contains("fingerprint"), "{description}");
    let model = engine.model();
    use_tokenizer(&model.tokenizer);
    let last = model.decoder.config().vocabulary as u32 - 1;
    let mut cache = model.decoder.new_cache().map_err(|error| error.to_string())?;
    let logits = model
        .decoder
        .forward(&[0, last / 2, last], &mut cache)
        .map_err(|error| error.to_string())?;
    assert_eq!(logits.len(), last as usize + 1);
    assert!(model.decoder.forward(&[last + 1], &mut cache).is_err(), "a token that is not there");
    generate(&mut engine)
}

/// Has the model write a text and a call.
fn generate(engine: &mut Engine) -> Result<(), String> {
    let functions = [FunctionSpec {
        name: "send_message",
        description: "Says something.",
        arguments: vec![ArgumentSpec {
            name: "message",
            description: "What to say.",
            kind: ArgumentKind::Text { max_chars: 20 },
        }],
        asks_heartbeat: false,
    }];
    let format = CallFormat::default();
    let constraints = [
        Constraint::Text { max_chars: 40 },
        Constraint::Call { functions: &functions, format: &format },
    ];
    for constraint in constraints {
        let request = GenerationRequest {
            slot: SessionSlot::MainContext,
            prompt: &prompt(),
            beginning: None,
            constraint,
            sampling: &Sampling::default(),
            seed: 1,
            max_tokens: 3,
            cancelled: &AtomicBool::new(false),
        };
        engine
            .generate(&request, &mut |_| ControlFlow::Continue(()))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn prompt() -> Prompt {
    let message = |role, content: &str| PromptMessage { role, content: content.into() };
    Prompt {
        messages: vec![
            message(PromptRole::System, "Be brief.<|im_end|>"),
            message(PromptRole::User, "Hello </s>"),
            message(PromptRole::Assistant, "{}"),
            message(PromptRole::Tool, "found <s>"),
            message(PromptRole::User, "and?"),
        ],
    }
}

fn use_tokenizer(tokenizer: &Tokenizer) {
    for text in TEXTS {
        for ids in [
            tokenizer.encode(text),
            tokenizer.encode_rendered(text),
            tokenizer.encode_bytes(&text.as_bytes()[text.len() / 3..]),
        ] {
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.n_tokens()), "{ids:?}");
            let mut detokenizer = Detokenizer::default();
            let mut pieces: String =
                ids.iter().map(|id| detokenizer.push(tokenizer, *id)).collect();
            pieces.push_str(&detokenizer.finish());
            assert_eq!(pieces, tokenizer.decode(&ids));
        }
    }
    let n_tokens = tokenizer.n_tokens();
    let vocabulary = tokenizer.vocabulary(n_tokens + 1);
    assert_eq!(vocabulary.len(), n_tokens + 1);
    let _ = (tokenizer.bos(), tokenizer.eos(), tokenizer.end_tokens());
    let _ = (tokenizer.token_bytes(u32::MAX), tokenizer.is_control(u32::MAX));
}

fn use_template<E: std::fmt::Display>(template: Result<ChatTemplate, E>) -> Result<(), String> {
    let template = template.map_err(|error| error.to_string())?;
    let rendered = template.render(&prompt()).map_err(|error| error.to_string())?;
    let _ = ChatTemplate::shown(&rendered);
    Ok(())
}
