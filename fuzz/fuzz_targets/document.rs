//! A document, as `ingest` cuts it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pagewise_memory::{DocumentFormat, chunk};

fuzz_target!(|data: &[u8]| {
    let Some((max_chars, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    for format in [DocumentFormat::Text, DocumentFormat::Markdown] {
        let max_chars = usize::from(*max_chars).max(1) * 8;
        let chunks = chunk(text, format, max_chars);
        assert!(chunks.iter().all(|chunk| chunk.chars().count() <= max_chars));
        assert_eq!(squeezed(&chunks.concat()), squeezed(text), "something is left out");
    }
});
