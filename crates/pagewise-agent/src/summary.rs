//! The recursive summary of what was evicted (MemGPT paper, section 2.2).
//!
//! It is made of the old summary and the evicted messages, and it must be shorter than both
//! together; when the model cannot do that, a summary made by rule takes its place, so that a
//! flush always makes room.

use pagewise_core::{Message, MessageBody, Prompt, PromptMessage, PromptRole};

use crate::main_context::{clip, describe_event};

/// A word of a summary is taken to be so many characters, to say a length that the model obeys.
const CHARS_PER_WORD: usize = 7;

/// What is to be summarised.
pub(crate) struct Summarised<'a> {
    pub(crate) old: Option<&'a str>,
    pub(crate) evicted: &'a [Message],
}

impl Summarised<'_> {
    /// Renders the request; each message is shown with at most `message_chars` characters.
    pub(crate) fn prompt(&self, max_chars: usize, message_chars: usize) -> Prompt {
        let old = self.old.map_or_else(String::new, |old| format!("Summary so far:\n{old}\n\n"));
        let n_words = (max_chars / CHARS_PER_WORD).to_string();
        let request = format!(
            "{old}Messages:\n{}\n\n{}",
            self.lines(message_chars).join("\n"),
            include_str!("prompts/summary_request.md").replace("{n_words}", &n_words),
        );
        let turn = |role, content: &str| PromptMessage { role, content: content.trim_end().into() };
        Prompt {
            messages: vec![
                turn(PromptRole::System, include_str!("prompts/summary_system.md")),
                turn(PromptRole::User, &request),
            ],
        }
    }

    /// Whether `text` can stand for what it summarises.
    pub(crate) fn shrinks_to(&self, text: &str) -> bool {
        let length: usize = self.lines(usize::MAX).iter().map(|line| line.chars().count()).sum();
        let old = self.old.map_or(0, |old| old.chars().count());
        !text.is_empty() && text.chars().count() < length + old
    }

    /// The summary by rule: the end of the old one, then the beginnings of the latest things the
    /// user said, in order, as many as there is room for.
    pub(crate) fn by_rule(&self, max_chars: usize) -> String {
        let mut room = max_chars / 2;
        let mut said = Vec::new();
        for message in self.evicted.iter().rev() {
            let MessageBody::User { text } = &message.body else { continue };
            let line = format!("The user said: {}", first_sentence(text));
            let n_chars = line.chars().count() + 1;
            if n_chars > room {
                break;
            }
            room -= n_chars;
            said.push(line);
        }
        said.reverse();
        let old = self.old.map(|old| tail(old, max_chars / 2));
        let text = old.into_iter().chain(said).collect::<Vec<_>>().join("\n");
        if text.is_empty() || !self.shrinks_to(&text) {
            return match self.old {
                Some(old) => tail(old, max_chars / 2),
                None => format!("{} earlier messages.", self.evicted.len()),
            };
        }
        text
    }

    fn lines(&self, message_chars: usize) -> Vec<String> {
        self.evicted
            .iter()
            .filter_map(|message| {
                let text = match (&message.body, message.body.spoken()) {
                    (MessageBody::User { .. }, Some(text)) => format!("User: {text}"),
                    (_, Some(text)) => format!("Assistant: {text}"),
                    _ => format!("({})", describe_event(message)?),
                };
                Some(clip(&text, message_chars))
            })
            .collect()
    }
}

/// Cuts a text that ran into its bound at the end of its last whole sentence, if there is one past its
/// middle.
pub(crate) fn trim_to_sentence(text: &str) -> &str {
    let text = text.trim();
    let mut ends = text.char_indices().filter_map(|(at, mark)| {
        let end = at + mark.len_utf8();
        let is_end = mark == '。'
            || matches!(mark, '.' | '!' | '?')
                && text[end..].chars().next().is_none_or(char::is_whitespace);
        is_end.then_some(end)
    });
    ends.next_back().filter(|end| *end > text.len() / 2).map_or(text, |end| &text[..end])
}

fn first_sentence(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let end = line.find(". ").map_or(line.len(), |end| end + 1);
    clip(&line[..end], 120)
}

fn tail(text: &str, max_chars: usize) -> String {
    let n_chars = text.chars().count();
    let tail: String = text.chars().skip(n_chars.saturating_sub(max_chars)).collect();
    if n_chars > max_chars { format!("…{}", tail.trim_start()) } else { tail }
}
