//! The program under test, in a home of its own, with tiny random weights.
//!
//! Nothing of the machine's own settings, weights or memory is seen by it: the environment is
//! emptied but for what a program needs to run.

mod tiny_embedder;
mod tiny_model;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use serde_json::Value;

#[cfg(unix)]
pub(crate) use tiny_model::long_winded_model;
pub(crate) use tiny_model::{CONTEXT_TOKENS, tiny_model};

/// Where the clock stands at the start of every run.
pub(crate) const CLOCK: &str = "2026-01-05T09:00:00Z";

/// A home folder with a tiny model and a tiny embedder in its store.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

/// What a run of the program left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Data.
    pub(crate) stdout: String,
    /// Talk.
    pub(crate) stderr: String,
}

impl Home {
    /// Makes a home. The same weights come out each time.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let home = Self { folder };
        std::fs::create_dir(home.models()).expect("the models folder");
        tiny_model().write(&home.model()).expect("the tiny model");
        tiny_embedder::write(&home.embedder()).expect("the tiny embedder");
        home
    }

    /// Makes a home like this one, with everything that is in it.
    pub(crate) fn copy(&self) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        copy_folder(self.path(), folder.path()).expect("the home is copied");
        Self { folder }
    }

    /// The home folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the home.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The folder of the store.
    pub(crate) fn models(&self) -> PathBuf {
        self.join("models")
    }

    /// The tiny model.
    pub(crate) fn model(&self) -> PathBuf {
        self.models().join("tiny.gguf")
    }

    /// The tiny embedder.
    pub(crate) fn embedder(&self) -> PathBuf {
        self.models().join("tiny-embedder")
    }

    /// The database of the default agent.
    pub(crate) fn database(&self) -> PathBuf {
        let folder = self.join("agents").join("default");
        let entries = std::fs::read_dir(&folder).expect("the agent's folder");
        entries
            .map(|entry| entry.expect("an entry").path())
            .find(|path| {
                std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0"))
            })
            .expect("a database in the agent's folder")
    }

    /// The program with these arguments; home, weights and clock are those of the test unless the
    /// arguments say otherwise.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_under(&[], arguments)
    }

    /// The program started by another one, `runner` and its arguments.
    pub(crate) fn command_under(&self, runner: &[&str], arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_pagewise");
        let mut command = match runner {
            [] => Command::new(program),
            [runner, runner_arguments @ ..] => {
                let mut command = Command::new(runner);
                command.args(runner_arguments).arg(program);
                command
            }
        };
        command.env_clear().env("HOME", self.path()).env("NO_COLOR", "1");
        for name in ["PATH", "LD_LIBRARY_PATH", "SystemRoot"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        for (flag, value) in [
            ("--home", self.path()),
            ("--model", &self.model()),
            ("--embedder", &self.embedder()),
            ("--now", Path::new(CLOCK)),
            ("--threads", Path::new("1")),
        ] {
            if !arguments.contains(&flag) {
                command.arg(flag).arg(value);
            }
        }
        command.args(arguments);
        command
    }

    /// Runs the program with these arguments and this on stdin.
    pub(crate) fn run(&self, arguments: &[&str], stdin: impl AsRef<[u8]>) -> Finished {
        finish(self.command(arguments), stdin.as_ref())
    }

    /// Runs the program, which must succeed, and reads each line of stdout as JSON.
    pub(crate) fn json(&self, arguments: &[&str], stdin: impl AsRef<[u8]>) -> Vec<Value> {
        let finished = self.run(&[arguments, &["--json"]].concat(), stdin);
        finished.succeeded(arguments);
        finished.json_lines()
    }

    /// Runs the program, which must succeed and print one JSON value.
    pub(crate) fn json_value(&self, arguments: &[&str]) -> Value {
        let mut lines = self.json(arguments, "");
        assert_eq!(lines.len(), 1, "{arguments:?} printed {lines:?}");
        lines.remove(0)
    }

    /// Everything the default agent remembers.
    pub(crate) fn export(&self) -> Value {
        self.json_value(&["memory", "export"])
    }
}

impl Finished {
    /// Fails the test if the program did.
    pub(crate) fn succeeded(&self, what: &[&str]) {
        assert!(self.status.success(), "{what:?} ended with {}:\n{}", self.status, self.stderr);
    }

    /// Reads each line of stdout as JSON.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("a line of stdout is not JSON ({error}): {line}"))
        };
        self.stdout.lines().map(parse).collect()
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&copy)?;
            copy_folder(&entry.path(), &copy)?;
        } else {
            std::fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}

/// Runs a command to its end with this on its stdin.
pub(crate) fn finish(mut command: Command, stdin: &[u8]) -> Finished {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        // A program that ends before it has read everything breaks the pipe, as it may.
        scope.spawn(move || drop(pipe.write_all(stdin)));
        child.wait_with_output().expect("the program ends")
    });
    let Output { status, stdout, stderr } = output;
    Finished {
        status,
        stdout: String::from_utf8(stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// What the user said, in order, in an export.
pub(crate) fn user_texts(export: &Value) -> Vec<&str> {
    messages(export)
        .iter()
        .filter(|message| message["kind"] == "user")
        .map(|message| message["text"].as_str().expect("a text"))
        .collect()
}

/// What the agent said, in order, in an export.
pub(crate) fn replies(export: &Value) -> Vec<&str> {
    messages(export)
        .iter()
        .filter(|message| message["kind"] == "call" && message["function"] == "send_message")
        .map(|message| message["args"]["message"].as_str().expect("a text"))
        .collect()
}

/// The messages of an export, oldest first.
pub(crate) fn messages(export: &Value) -> &Vec<Value> {
    export["messages"].as_array().expect("messages in the export")
}
