use std::io::{self, BufRead, IsTerminal, Read};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use pagewise_agent::{Agent, AgentError, CallRecord, Event, Observer, Outcome};
use pagewise_core::Status;
use pagewise_memory::{RecallQuery, SearchMode};
use rustyline::DefaultEditor;
use rustyline::config::{Behavior, Config};
use rustyline::error::ReadlineError;

use super::run::{not_utf8, too_long};
use crate::args::{CommonArgs, OpeningArgs};
use crate::failure::{Failure, Kind};
use crate::home::Home;
use crate::opening::{close_agent, open_agent};
use crate::printer::Printer;

/// The longest message, in bytes: more than any window shows. What is longer is a document.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024;

const HELP: &str = "\
/memory          working context: what is always in view
/context         how the context window is spent
/prompt          what the model reads
/search WORDS    search everything that was said
/exit            leave (so does Ctrl-D)
//text           say something that starts with a slash
Ctrl-C stops a reply.";

/// Talk to the agent
///
/// At a terminal: line editing, history, and /help. Piped: one line is one event.
#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    opening: OpeningArgs,
}

pub(crate) fn run(args: &ChatArgs, common: &CommonArgs, printer: &Printer) -> Result<(), Failure> {
    let cancelled = cancel_on_ctrl_c()?;
    let agent = open_agent(&args.opening, common, printer)?;
    let mut chat = Chat { agent, printer, cancelled, n_refused: 0, n_unanswered: 0 };
    if chat.agent.store().n_messages()? > 0 {
        while_replying(cancelled, || chat.agent.handle(Event::Login, &mut (), cancelled))?;
    }
    let result = if io::stdin().is_terminal() {
        let history = Home::of(common)?.agent(&common.agent).join("history.txt");
        // The line editor takes Ctrl-C as a key. What comes as a signal was meant for a reply, which
        // may have ended a moment ago: that must not end the program.
        while_replying(cancelled, || chat.at_terminal(&history))
    } else {
        chat.through_pipe()
    };
    close_agent(chat.agent, cancelled, printer)?;
    result
}

struct Chat<'a> {
    agent: Agent,
    printer: &'a Printer,
    cancelled: &'static AtomicBool,
    /// Lines of a pipe that were no messages.
    n_refused: usize,
    /// Messages that the model failed to answer.
    n_unanswered: usize,
}

/// Whether the chat goes on.
enum Next {
    Line,
    Exit,
}

impl Chat<'_> {
    fn at_terminal(&mut self, history: &std::path::Path) -> Result<(), Failure> {
        let broken =
            |error: ReadlineError| Failure::new(Kind::Failure, format!("the terminal: {error}"));
        // The prompt is talk: it goes to the terminal and never into redirected output.
        let config = Config::builder().behavior(Behavior::PreferTerm).build();
        let mut editor = DefaultEditor::with_config(config).map_err(broken)?;
        // There is no history before the first chat.
        let _ = editor.load_history(history);
        self.printer.talk("Type a message, /help for help, Ctrl-D to leave.");
        let mut interrupted = false;
        loop {
            match editor.readline("> ") {
                Ok(line) => {
                    interrupted = false;
                    let _ = editor.add_history_entry(&line);
                    if let Err(error) = editor.append_history(history) {
                        self.printer.detail(&format!("the history is not saved: {error}"));
                    }
                    match self.take_line(&line) {
                        Ok(Next::Line) => {}
                        Ok(Next::Exit) => return Ok(()),
                        Err(failure) if failure.kind == Kind::Usage => {
                            self.printer.failure(&failure)
                        }
                        Err(failure) => return Err(failure),
                    }
                }
                Err(ReadlineError::Interrupted) if interrupted => return Ok(()),
                Err(ReadlineError::Interrupted) => {
                    interrupted = true;
                    self.printer.talk("Ctrl-C again, or Ctrl-D, to leave.");
                }
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(broken(error)),
            }
        }
    }

    fn through_pipe(&mut self) -> Result<(), Failure> {
        let mut stdin = io::stdin().lock();
        let mut n_lines = 0_usize;
        while let Some(line) = read_line(&mut stdin)? {
            n_lines += 1;
            if self.printer.is_closed() {
                return Ok(());
            }
            let result = match line {
                Ok(line) if line.trim().is_empty() => {
                    self.printer.detail(&format!("line {n_lines} is empty and was skipped"));
                    continue;
                }
                Ok(line) => self.take_line(&line),
                Err(refusal) => Err(refusal),
            };
            match result {
                Ok(Next::Line) => {}
                Ok(Next::Exit) => break,
                // A line that is no message is refused; the conversation goes on.
                Err(failure) if failure.kind == Kind::Usage => self.refuse(n_lines, &failure),
                Err(failure) => return Err(failure),
            }
        }
        match (self.n_unanswered, self.n_refused) {
            (0, 0) => Ok(()),
            (0, n) => Err(Failure::usage(format!("{n} of {n_lines} lines were refused"))),
            (n, _) => {
                Err(Failure::new(Kind::Model, format!("{n} of {n_lines} lines got no reply")))
            }
        }
    }

    fn refuse(&mut self, n_line: usize, failure: &Failure) {
        self.n_refused += 1;
        self.printer.warn(&format!("line {n_line} was refused: {}", failure.message));
        if self.printer.json() {
            let error = Some(failure.message.clone());
            self.printer.json_line(&Outcome { error, ..Outcome::default() });
        }
    }

    fn take_line(&mut self, line: &str) -> Result<Next, Failure> {
        let line = line.trim();
        let text = match line.strip_prefix('/') {
            None => line,
            Some(escaped) if escaped.starts_with('/') => escaped,
            Some(command) => return self.command(command),
        };
        if text.is_empty() {
            return Ok(Next::Line);
        }
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(too_long(text.len()));
        }
        let event = Event::UserMessage { text: text.into() };
        let handled = while_replying(self.cancelled, || {
            self.agent.handle(event, &mut Stream::new(self.printer), self.cancelled)
        });
        let outcome = match handled {
            // The message is stored; another one may well be answered.
            Err(AgentError::Model(error)) => {
                self.n_unanswered += 1;
                self.printer.warn(&format!("there is no reply: {error}"));
                Outcome { error: Some(error.to_string()), ..Outcome::default() }
            }
            handled => handled?,
        };
        if self.printer.json() {
            self.printer.json_line(&outcome);
        } else if outcome.error.is_some() {
            self.printer.talk("(stopped)");
        }
        Ok(Next::Line)
    }

    fn command(&mut self, command: &str) -> Result<Next, Failure> {
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match name {
            "exit" | "quit" => return Ok(Next::Exit),
            "help" if self.printer.json() => {
                self.printer.json_line(&serde_json::json!({"help": HELP}));
            }
            "help" => self.printer.line(HELP),
            "memory" => {
                super::memory::print_blocks(&self.agent.store().working_context()?, self.printer)
            }
            "context" => {
                let report = self.agent.context()?;
                if self.printer.json() {
                    self.printer.json_line(&report);
                } else {
                    self.printer.line(report.to_string());
                }
            }
            "prompt" => {
                let prompt = self.agent.prompt()?;
                if self.printer.json() {
                    self.printer.json_line(&serde_json::json!({"prompt": prompt}));
                } else {
                    self.printer.line(prompt);
                }
            }
            "search" if !rest.trim().is_empty() => {
                let query = RecallQuery {
                    words: Some(rest.trim().into()),
                    roles: Vec::new(),
                    from: None,
                    to: None,
                    time_zone: jiff::tz::TimeZone::system(),
                    before: None,
                    page: 1,
                    page_size: 10,
                    mode: SearchMode::Fused,
                };
                let page = self.agent.store_mut().recall_search(&query)?;
                super::memory::print_recall(&page, self.printer);
            }
            "search" => return Err(Failure::usage("/search needs words to search for")),
            _ => {
                return Err(Failure::usage(format!(
                    "there is no command /{name}; /help lists them"
                ))
                .hint("// says something that starts with a slash"));
            }
        }
        Ok(Next::Line)
    }
}

/// Streams replies to stdout, and says on stderr what else happens.
pub(super) struct Stream<'a> {
    printer: &'a Printer,
}

impl<'a> Stream<'a> {
    pub(super) fn new(printer: &'a Printer) -> Self {
        Self { printer }
    }
}

impl Observer for Stream<'_> {
    fn reply_piece(&mut self, text: &str) {
        if !self.printer.json() {
            self.printer.out(text);
        }
    }

    fn reply_end(&mut self) {
        if !self.printer.json() {
            self.printer.out("\n");
        }
    }

    fn call(&mut self, record: &CallRecord) {
        if record.function != "send_message" {
            let arguments: Vec<String> =
                record.arguments.values().map(ToString::to_string).collect();
            let failed = if record.status == Status::Failed { " failed" } else { "" };
            let first_line = record.result.lines().next().unwrap_or_default();
            self.printer.detail(&format!(
                "[{}({}){failed}: {first_line}]",
                record.function,
                arguments.join(", ")
            ));
        }
    }

    fn thoughts(&mut self, text: &str) {
        self.printer.detail(&format!("[thinks: {text}]"));
    }

    fn evicted(&mut self, n_messages: usize) {
        self.printer.detail(&format!("[{n_messages} messages left main context for a summary]"));
    }
}

/// Whether a reply is being written: only then does Ctrl-C stop the reply and not the program.
static REPLYING: AtomicBool = AtomicBool::new(false);

/// Runs what writes a reply, or what else must not end in the middle; meanwhile Ctrl-C sets
/// `cancelled` instead of ending the program. One may be within another.
pub(crate) fn while_replying<T>(cancelled: &AtomicBool, reply: impl FnOnce() -> T) -> T {
    cancelled.store(false, Ordering::Relaxed);
    let was_replying = REPLYING.swap(true, Ordering::Relaxed);
    let result = reply();
    REPLYING.store(was_replying, Ordering::Relaxed);
    // This reply is over: another Ctrl-C is not the second one during it.
    cancelled.store(false, Ordering::Relaxed);
    result
}

/// Makes Ctrl-C set the flag that is returned; while no reply is being written, it ends the program.
pub(super) fn cancel_on_ctrl_c() -> Result<&'static AtomicBool, Failure> {
    static CANCELLED: AtomicBool = AtomicBool::new(false);
    static HANDLER: OnceLock<bool> = OnceLock::new();
    let installed = *HANDLER.get_or_init(|| {
        ctrlc::set_handler(|| {
            // A second Ctrl-C during one reply ends the program: everything stored is durable.
            if !REPLYING.load(Ordering::Relaxed) || CANCELLED.swap(true, Ordering::Relaxed) {
                std::process::exit(Kind::Interrupted as i32);
            }
        })
        .is_ok()
    });
    if installed {
        Ok(&CANCELLED)
    } else {
        Err(Failure::new(Kind::Failure, "Ctrl-C cannot be handled"))
    }
}

/// Reads one line of a pipe: `None` at its end, an error inside for a line that is no message.
fn read_line(stdin: &mut impl BufRead) -> Result<Option<Result<String, Failure>>, Failure> {
    let broken =
        |error: io::Error| Failure::new(Kind::Failure, format!("stdin cannot be read: {error}"));
    let mut line = Vec::new();
    let limit = MESSAGE_BYTES_MAX as u64 + 2;
    let n_bytes = stdin.take(limit).read_until(b'\n', &mut line).map_err(broken)?;
    if n_bytes == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') && n_bytes as u64 == limit {
        let rest = skip_line(stdin).map_err(broken)?;
        return Ok(Some(Err(too_long(n_bytes + rest))));
    }
    Ok(Some(String::from_utf8(line).map_err(|error| not_utf8(error.utf8_error().valid_up_to()))))
}

/// Reads to the end of the line without keeping it; returns how many bytes that were.
fn skip_line(stdin: &mut impl BufRead) -> io::Result<usize> {
    let mut n_skipped = 0;
    loop {
        let buffer = stdin.fill_buf()?;
        let (n_bytes, ended) = match buffer.iter().position(|&byte| byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        stdin.consume(n_bytes);
        n_skipped += n_bytes;
        if ended {
            return Ok(n_skipped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_too_long_or_not_text_is_refused_and_the_next_one_read() {
        let long = "x".repeat(1_000_000);
        let mut input = format!("one\n{long}\ntwo\n").into_bytes();
        input.extend_from_slice(b"a\xff\nthree");
        let mut stdin = input.as_slice();
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut stdin).unwrap() {
            lines.push(line.map(|line| line.trim().to_string()).map_err(|refusal| refusal.message));
        }
        insta::assert_debug_snapshot!(lines, @r#"
        [
            Ok(
                "one",
            ),
            Err(
                "the message is too long: 1000001 bytes or more, at most 64 KiB are allowed",
            ),
            Ok(
                "two",
            ),
            Err(
                "the message is not UTF-8: byte 1 cannot be read",
            ),
            Ok(
                "three",
            ),
        ]
        "#);
    }
}
