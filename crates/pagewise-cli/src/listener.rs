//! Says what our libraries note through `tracing`: what they could not do, and go on without.
//!
//! Only events of our own crates are heard. What other libraries note is for those who work on them.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::printer::{Printer, Verbosity};

/// Says errors always, warnings unless quiet, and everything else if asked to say more.
///
/// `printer` is one for stderr alone: nothing here is data.
pub(crate) fn listen(printer: Printer, verbosity: Verbosity) {
    let most = match verbosity {
        Verbosity::Quiet => LevelFilter::ERROR,
        Verbosity::Normal => LevelFilter::WARN,
        Verbosity::Verbose => LevelFilter::DEBUG,
    };
    let say = move |level: Level, text: &str| match level {
        Level::ERROR | Level::WARN => printer.warn(text),
        _ => printer.detail(text),
    };
    // Fails only if somebody listens already, and then there is nothing to do.
    let _ = tracing::subscriber::set_global_default(Listener { most, say });
}

/// Hands on the events of our crates, each as a sentence.
struct Listener<S> {
    /// Events that are less important are not heard.
    most: LevelFilter,
    say: S,
}

impl<S: Fn(Level, &str) + Send + Sync + 'static> Subscriber for Listener<S> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with("pagewise")
            && *metadata.level() <= self.most
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.most)
    }

    fn event(&self, event: &Event<'_>) {
        let mut sentence = Sentence::default();
        event.record(&mut sentence);
        (self.say)(*event.metadata().level(), &sentence.to_string());
    }

    // Our crates have no spans, and those of others are not enabled.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What an event says: its message, its fields in brackets, and behind a colon its error.
#[derive(Default)]
struct Sentence {
    message: String,
    fields: Vec<String>,
    error: Option<String>,
}

impl Visit for Sentence {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.message = value,
            "error" => self.error = Some(value),
            name => self.fields.push(format!("{name} {value}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // Without quotation marks.
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.fields.is_empty() {
            write!(f, " ({})", self.fields.join(", "))?;
        }
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is heard of one event of each kind.
    fn heard(most: LevelFilter) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&lines);
        let say = move |level: Level, text: &str| {
            heard.lock().unwrap().push(format!("{level} {text}"));
        };
        tracing::subscriber::with_default(Listener { most, say }, || {
            let error = "none".parse::<u8>().unwrap_err();
            tracing::error!(%error, "a text was cut otherwise");
            tracing::warn!(tier = "recall", n = 2, %error, "the index could not be written");
            tracing::warn!(target: "hyper::client", "not ours");
            let what = "the summary";
            tracing::info!("nothing was saved: {what}");
            let _span = tracing::error_span!("a span").entered();
        });
        lines.lock().unwrap().clone()
    }

    #[test]
    fn our_own_events_are_sentences() {
        let all = [
            "ERROR a text was cut otherwise: invalid digit found in string",
            "WARN the index could not be written (tier recall, n 2): invalid digit found in string",
            "INFO nothing was saved: the summary",
        ];
        assert_eq!(heard(LevelFilter::DEBUG), all);
        assert_eq!(heard(LevelFilter::WARN), all[..2]);
        assert_eq!(heard(LevelFilter::ERROR), all[..1]);
    }
}
