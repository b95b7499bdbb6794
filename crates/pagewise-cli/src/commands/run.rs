use std::io::{self, Read};

use clap::Args;
use pagewise_agent::Event;

use super::chat::{MESSAGE_BYTES_MAX, Stream, cancel_on_ctrl_c, while_replying};
use crate::args::{CommonArgs, OpeningArgs};
use crate::failure::{Failure, Kind};
use crate::opening::{close_agent, open_agent};
use crate::printer::Printer;

/// Say one thing and print the reply
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The message; `-` reads it from stdin
    message: String,
    #[command(flatten)]
    opening: OpeningArgs,
}

pub(crate) fn run(args: &RunArgs, common: &CommonArgs, printer: &Printer) -> Result<(), Failure> {
    let text = if args.message == "-" { read_stdin()? } else { args.message.clone() };
    let text = text.trim().to_string();
    if text.is_empty() {
        return Err(Failure::usage("the message is empty"));
    }
    if text.len() > MESSAGE_BYTES_MAX {
        return Err(too_long(text.len()));
    }
    let cancelled = cancel_on_ctrl_c()?;
    let mut agent = open_agent(&args.opening, common, printer)?;
    let event = Event::UserMessage { text };
    let outcome =
        while_replying(cancelled, || agent.handle(event, &mut Stream::new(printer), cancelled))?;
    if printer.json() {
        printer.json_line(&outcome);
    }
    close_agent(agent, cancelled, printer)?;
    match outcome.error {
        Some(_) => Err(Failure::new(Kind::Interrupted, "stopped")),
        None => Ok(()),
    }
}

fn read_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    // One byte more than is allowed, to see that there is more.
    io::stdin()
        .lock()
        .take(MESSAGE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(Kind::Failure, format!("stdin cannot be read: {error}")))?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(too_long(bytes.len()));
    }
    String::from_utf8(bytes).map_err(|error| not_utf8(error.utf8_error().valid_up_to()))
}

/// The message is too long to be one.
pub(super) fn too_long(n_bytes: usize) -> Failure {
    let kib = MESSAGE_BYTES_MAX / 1024;
    Failure::usage(format!(
        "the message is too long: {n_bytes} bytes or more, at most {kib} KiB are allowed"
    ))
    .hint("put a document into archival storage with `pagewise ingest FILE`")
}

/// The message is not text.
pub(super) fn not_utf8(at: usize) -> Failure {
    Failure::usage(format!("the message is not UTF-8: byte {at} cannot be read"))
}
