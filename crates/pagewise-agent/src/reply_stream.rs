//! Finds the text of `send_message` in a call that is still being written.

const REPLY_START: &str = "\"function\": \"send_message\", \"args\": {\"message\": \"";

/// Takes the pieces of a call's text and gives the pieces of its message, unescaped.
///
/// The call is written as [`pagewise_core::CallFormat`] says, so the message starts after one fixed
/// text; before it there can be a thought, in which that text cannot occur, because its
/// quotes would be escaped.
#[derive(Debug, Default)]
pub(crate) struct ReplyStream {
    text: String,
    place: Place,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    /// The offset of the next byte of the message.
    Inside(usize),
    After,
}

impl ReplyStream {
    /// Takes the next piece of the call and returns what it adds to the message, unescaped.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        self.text.push_str(piece);
        if self.place == Place::Before {
            let Some(at) = self.text.find(REPLY_START) else { return String::new() };
            self.place = Place::Inside(at + REPLY_START.len());
        }
        let Place::Inside(start) = self.place else { return String::new() };
        let (message, read, closed) = unescape(&self.text[start..]);
        self.place = if closed { Place::After } else { Place::Inside(start + read) };
        message
    }
}

/// Reads the inside of a JSON string up to its end, or to the last escape that is whole.
/// Returns the text, how many bytes it took, and whether the closing quote was there.
fn unescape(inside: &str) -> (String, usize, bool) {
    let mut text = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, at + 1, true),
            '\\' => match chars.next() {
                None => return (text, at, false),
                Some((_, 'n')) => text.push('\n'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'b')) => text.push('\u{8}'),
                Some((_, 'f')) => text.push('\u{c}'),
                Some((_, escaped)) => text.push(escaped),
            },
            c => text.push(c),
        }
    }
    (text, inside.len(), false)
}

#[cfg(test)]
mod tests {
    use pagewise_core::FunctionCall;
    use proptest::prelude::*;

    use super::*;

    fn call(function: &str, message: &str, thought: Option<&str>) -> String {
        let arguments = [("message".to_string(), message.into())].into_iter().collect();
        let thought = thought.map(str::to_string);
        FunctionCall { thought, function: function.into(), arguments, request_heartbeat: None }
            .to_text()
    }

    fn stream(text: &str, cuts: &[usize]) -> String {
        let mut stream = ReplyStream::default();
        let mut out = String::new();
        let mut start = 0;
        for end in cuts.iter().copied().chain([text.len()]) {
            let end = (start.max(end)..=text.len())
                .find(|&i| text.is_char_boundary(i))
                .unwrap_or(text.len());
            out.push_str(&stream.push(&text[start..end]));
            start = end;
        }
        out
    }

    #[test]
    fn other_calls_say_nothing() {
        assert_eq!(stream(&call("archival_insert", "hidden", None), &[10, 50]), "");
    }

    #[test]
    fn a_thought_that_quotes_a_reply_says_nothing() {
        let thought = r#"{"function": "send_message", "args": {"message": "no"#;
        assert_eq!(stream(&call("archival_insert", "hidden", Some(thought)), &[30, 31]), "");
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_message(message in "[^\u{0}-\u{7}\u{b}\u{e}-\u{1f}]{0,60}", mut cuts in prop::collection::vec(0usize..200, 0..20)) {
            cuts.sort_unstable();
            prop_assert_eq!(stream(&call("send_message", &message, None), &cuts), message);
        }
    }
}
