//! The files of `models/`, compiled in.

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../models/", $name, ".toml")))),*]
    };
}

/// Each entry's name and text, the defaults first.
pub(super) const FILES: &[(&str, &str)] = files![
    "qwen2.5-coder-1.5b-instruct-q4_k_m",
    "qwen2.5-coder-0.5b-instruct-q4_k_m",
    "smollm2-135m-instruct-q4_1",
    "gemma-3-270m-q4_k_m",
    "all-minilm-l6-v2",
    "deepseek-r1-distill-qwen-1.5b-q4_k_m",
    "llama-3.2-1b-instruct-q4_k_m",
    "llama-3.2-3b-instruct-q4_k_m",
    "mistral-7b-instruct-v0.3-q4_k_m",
    "qwen2.5-0.5b-instruct-q4_k_m",
    "qwen2.5-1.5b-instruct-q4_k_m",
    "qwen2.5-3b-instruct-q4_k_m",
    "qwen2.5-7b-instruct-q4_k_m",
    "qwen2.5-coder-3b-instruct-q4_k_m",
    "smollm2-1.7b-instruct-q4_k_m",
    "smollm2-135m-instruct-q8_0",
    "smollm2-360m-instruct-q8_0",
    "tinyllama-1.1b-chat-v1.0-q4_k_m",
];
