//! The only place that writes to stdout or stderr: data to the one, talk to the other.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::failure::{Failure, Kind};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    Quiet,
    Normal,
    Verbose,
}

/// Writes what a command has to say.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    verbosity: Verbosity,
    /// Whether stderr is a terminal on which colours are wanted.
    colours: bool,
    /// Set when the reader of stdout has gone; from then on, nothing is written.
    closed: AtomicBool,
    /// Set when stdout could not be written for another reason.
    failed: AtomicBool,
}

impl Printer {
    pub(crate) fn new(json: bool, verbosity: Verbosity) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = io::stderr().is_terminal() && !no_color;
        let (closed, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { json, verbosity, colours, closed, failed }
    }

    /// Whether stdout is to be JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether the reader of stdout has gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether stdout could not be written although its reader is there.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Writes one JSON value as a line of stdout.
    pub(crate) fn json_line(&self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(line) => self.out(&format!("{line}\n")),
            Err(error) => self.warn(&format!("the result cannot be written as JSON: {error}")),
        }
    }

    /// Writes a line of stdout.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        self.out(&format!("{}\n", text.as_ref()));
    }

    /// Writes a piece of stdout at once, for a reply that streams.
    pub(crate) fn out(&self, text: &str) {
        if self.is_closed() {
            return;
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        if let Err(error) = written {
            self.closed.store(true, Ordering::Relaxed);
            // A reader that has gone, as with `| head`, is no failure; a full disk is.
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.failed.store(true, Ordering::Relaxed);
                self.err(&format!("error: stdout cannot be written: {error}\n"));
            }
        }
    }

    /// Says something on stderr, unless quiet.
    pub(crate) fn talk(&self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.err(&format!("{text}\n"));
        }
    }

    /// Says something on stderr if asked to say more; dimmed.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbosity == Verbosity::Verbose {
            self.err(&format!("{}\n", self.paint("2", text)));
        }
    }

    /// Warns on stderr.
    pub(crate) fn warn(&self, text: &str) {
        self.err(&format!("{} {}\n", self.paint("33", "warning:"), harmless(text)));
    }

    /// Reports a failure: sentence and hint on stderr, and as an object on stdout with `--json`.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.err(&format!("{} {}\n", self.paint("31", "error:"), harmless(&failure.message)));
        if let Some(hint) = &failure.hint {
            self.err(&format!("{} {}\n", self.paint("36", "hint:"), harmless(hint)));
        }
        if self.json && failure.kind != Kind::Interrupted {
            self.json_failure(failure);
        }
    }

    /// Writes a failure as an object on stdout.
    pub(crate) fn json_failure(&self, failure: &Failure) {
        self.json_line(&serde_json::json!({"error": {
            "kind": failure.kind.name(),
            "message": failure.message,
            "hint": failure.hint,
        }}));
    }

    /// Asks for a yes on the terminal; `false` when there is nobody to ask.
    pub(crate) fn confirm(&self, question: &str) -> bool {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return false;
        }
        self.err(&format!("{question} [y/N] "));
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    /// A bar on stderr if that is a terminal, else one that is not seen.
    pub(crate) fn bar(&self, total: u64, template: &str) -> ProgressBar {
        if !io::stderr().is_terminal() || self.verbosity == Verbosity::Quiet {
            return ProgressBar::hidden();
        }
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(total).with_style(style)
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.into() }
    }

    fn err(&self, text: &str) {
        // A stderr that cannot be written to leaves nobody to tell.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Returns `text` without what a terminal would obey: a message may show what stands in a file from
/// anywhere.
fn harmless(text: &str) -> Cow<'_, str> {
    let is_obeyed = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let shown = |character: char| match is_obeyed(character) {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn a_message_cannot_speak_to_the_terminal() {
        assert_eq!(harmless("a\n\t\"naïve\""), "a\n\t\"naïve\"");
        assert_eq!(harmless("\u{1B}[2J\r\u{9B}x"), "\\u{1b}[2J\\r\\u{9b}x");
    }
}
