//! A conversation at a real terminal: keys in, text out, as a person has it.
//!
//! The program turns bracketed paste on when it begins to read keys, and off when it has a line;
//! nothing else writes these codes. They say when a key means what it means at the prompt, so that
//! nothing here waits for a time to pass.

use std::time::Duration;

use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};

use crate::program::{CONTEXT_TOKENS, Home, long_winded_model, replies, user_texts};

/// Longer than any machine takes for anything here.
const PATIENCE: Duration = Duration::from_secs(120);
const READS_KEYS: &str = "\x1b[?2004h";
const HAS_A_LINE: &str = "\x1b[?2004l";
const UP: &str = "\x1b[A";

/// A chat at a terminal of its own.
struct Terminal {
    session: PtySession,
}

impl Terminal {
    /// Starts a chat and waits for its prompt.
    fn chat(home: &Home, arguments: &[&str]) -> Self {
        let mut command = home.command(&[&["chat"], arguments].concat());
        command.env("TERM", "xterm");
        let session = spawn_command(command, Some(PATIENCE.as_millis() as u64)).unwrap();
        let mut terminal = Self { session };
        terminal.shows("Type a message");
        terminal.shows(READS_KEYS);
        terminal
    }

    /// Presses these keys.
    fn press(&mut self, keys: &str) {
        self.session.send(keys).unwrap();
        self.session.flush().unwrap();
    }

    /// Waits for this text; returns what came before it.
    #[track_caller]
    fn shows(&mut self, text: &str) -> String {
        self.session.exp_string(text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Types a line.
    #[track_caller]
    fn enter(&mut self, line: &str) {
        self.press(&format!("{line}\r"));
        self.shows(HAS_A_LINE);
    }

    /// Types a line and waits for the next prompt; returns what came between.
    #[track_caller]
    fn ask(&mut self, line: &str) -> String {
        self.enter(line);
        self.shows(READS_KEYS)
    }

    /// Waits for the program to end by itself, and well.
    #[track_caller]
    fn ends(mut self) {
        self.session.exp_eof().unwrap_or_else(|error| panic!("{error}"));
        let status = self.session.process().wait().unwrap();
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    }
}

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

#[test]
fn ctrl_c_stops_a_reply_and_not_the_conversation() {
    let home = Home::new();
    let model = home.join("long-winded.gguf");
    long_winded_model().write(&model).unwrap();
    let mut terminal = Terminal::chat(&home, &["--model", model.to_str().unwrap()]);

    terminal.enter("Tell me everything.");
    // What follows the end of the line is the reply.
    terminal.session.exp_regex("[A-Za-z]").unwrap();
    terminal.press(CTRL_C);
    terminal.shows("(stopped)");
    terminal.shows(READS_KEYS);

    let said = terminal.ask("And now?");
    assert!(!said.contains("(stopped)"), "{said}");
    terminal.press(CTRL_D);
    terminal.ends();

    let export = home.export();
    assert_eq!(user_texts(&export), ["Tell me everything.", "And now?"]);
    let [stopped, whole] = replies(&export)[..] else { panic!("{export}") };
    assert!(!stopped.is_empty() && stopped.len() < whole.len(), "{stopped} / {whole}");
    assert_eq!(said.trim(), whole);
}

#[test]
fn lines_are_edited_and_remembered() {
    let home = Home::new();
    let mut terminal = Terminal::chat(&home, &[]);
    // Home, the first letter, End, a letter too many and Backspace.
    terminal.ask("y cat is calle Tomm\x01M\x05y\x7f");
    terminal.press(UP);
    terminal.shows("My cat is calle Tomm");
    terminal.ask("");
    terminal.press(CTRL_D);
    terminal.ends();
    assert_eq!(user_texts(&home.export()), ["My cat is calle Tomm"; 2]);

    // The next chat knows the lines of the last one.
    let mut terminal = Terminal::chat(&home, &[]);
    terminal.press(UP);
    terminal.shows("My cat is calle Tomm");
    terminal.ask("y");
    terminal.press(CTRL_D);
    terminal.ends();
    assert_eq!(user_texts(&home.export())[2], "My cat is calle Tommy");
}

#[test]
fn commands_answer_at_the_prompt() {
    let home = Home::new();
    let mut terminal = Terminal::chat(&home, &[]);
    terminal.ask("The boiler was repaired by Mr Quimby.");
    for (command, expected) in [
        ("/help", "leave (so does Ctrl-D)"),
        ("/memory", "friendly"),
        ("/context", &CONTEXT_TOKENS.to_string()),
        ("/prompt", "send_message"),
        ("/search quimby", "repaired by Mr Quimby"),
        ("/search", "needs words"),
        ("/nonsense", "there is no command /nonsense"),
    ] {
        let shown = terminal.ask(command);
        assert!(shown.contains(expected), "{command} shows {shown}");
    }
    terminal.enter("/exit");
    terminal.ends();
    assert_eq!(user_texts(&home.export()), ["The boiler was repaired by Mr Quimby."]);
}

#[test]
fn ctrl_c_at_the_prompt_drops_the_line_and_leaves_only_when_pressed_again() {
    let home = Home::new();
    let mut terminal = Terminal::chat(&home, &[]);
    for typed in ["", "Never mi"] {
        terminal.press(&format!("{typed}{CTRL_C}"));
        terminal.shows("Ctrl-C again");
        terminal.shows(READS_KEYS);
        terminal.ask("Still there?");
    }
    terminal.press(CTRL_C);
    terminal.shows(READS_KEYS);
    terminal.press(CTRL_C);
    terminal.ends();
    let export = home.export();
    assert_eq!(user_texts(&export), ["Still there?"; 2]);
    assert_eq!(replies(&export).len(), 2);
}
