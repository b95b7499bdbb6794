//! Cuts a document into passages.

use text_splitter::{MarkdownSplitter, TextSplitter};

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentFormat {
    /// Plain text: cut between paragraphs, else sentences, else words.
    Text,
    /// Markdown: cut between sections first.
    Markdown,
}

/// Cuts `document` into chunks of at most `max_chars` characters (at least 1), at the strongest
/// boundary that allows it.
///
/// The chunks cover the document: joined, they are all of its characters in order, except for
/// white space at the cuts.
pub fn chunk(document: &str, format: DocumentFormat, max_chars: usize) -> Vec<String> {
    let max_chars = max_chars.max(1);
    match format {
        DocumentFormat::Text => {
            TextSplitter::new(max_chars).chunks(document).map(str::to_string).collect()
        }
        DocumentFormat::Markdown => {
            MarkdownSplitter::new(max_chars).chunks(document).map(str::to_string).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn squeezed(text: &str) -> String {
        text.split_whitespace().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn chunks_cover_the_document(
            parts in prop::collection::vec(
                prop_oneof![
                    "\\PC{0,40}", "[a-z .,\n]{0,200}",
                    Just("\n\n# Heading\n".to_string()), Just("- item\n".to_string()),
                    Just("```\ncode  here\n```\n".to_string()), Just("| a | b |\n|---|---|\n".to_string()),
                    Just("<p>html</p>\n\n".to_string()), Just("e\u{301}\u{302}\u{303}👩‍👩‍👧\r\n".to_string()),
                ],
                0..12,
            ),
            max_chars in 1usize..120,
            markdown: bool,
        ) {
            let document = parts.concat();
            let format = if markdown { DocumentFormat::Markdown } else { DocumentFormat::Text };
            let chunks = chunk(&document, format, max_chars);
            prop_assert_eq!(squeezed(&chunks.concat()), squeezed(&document));
            for chunk in &chunks {
                prop_assert!(!chunk.trim().is_empty());
                prop_assert!(chunk.chars().count() <= max_chars, "{:?} exceeds {}", chunk, max_chars);
                prop_assert!(document.contains(chunk.as_str()));
            }
        }
    }

    #[test]
    fn markdown_is_cut_between_sections() {
        let document = "# One\n\nFirst text.\n\n# Two\n\nSecond text.\n";
        assert_eq!(
            chunk(document, DocumentFormat::Markdown, 24),
            ["# One\n\nFirst text.", "# Two\n\nSecond text."]
        );
    }
}
