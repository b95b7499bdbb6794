//! No command but those that fetch weights opens a connection.
//!
//! Two checks: everything works in a network namespace without any interface, where the program
//! also holds no socket while it runs; and its system calls, listed by strace, make no socket for
//! the internet. A machine may forbid the one or lack the other; one of them must run.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{Finished, Home, finish};

/// Every command that needs no network, in an order in which each has something to work on.
fn commands(note: &str) -> [(Vec<&str>, &'static str); 15] {
    [
        (vec!["chat", "--json"], "Hello.\nMy sister Ana lives in Oslo.\nWhere does she live?\n"),
        (vec!["run", "And my brother in Rome."], ""),
        (vec!["ingest", note], ""),
        (vec!["memory", "show"], ""),
        (vec!["memory", "search", "oslo"], ""),
        (vec!["memory", "search", "--archival", "anchor"], ""),
        (vec!["memory", "edit", "human", "--set", "The user sails."], ""),
        (vec!["memory", "log"], ""),
        (vec!["memory", "diff"], ""),
        (vec!["memory", "undo"], ""),
        (vec!["memory", "export"], ""),
        (vec!["agents", "ls"], ""),
        (vec!["models", "ls"], ""),
        (vec!["models", "verify", "tiny"], ""),
        (vec!["doctor"], ""),
    ]
}

/// Writes the document that is put in.
fn note(home: &Home) -> String {
    let note = home.join("note.txt");
    fs::write(&note, "The anchor weighs forty kilograms.").expect("a note");
    note.to_str().expect("a path in UTF-8").into()
}

/// Whether a tool of the system is there and allowed to do its work.
fn works(tool: &[&str]) -> bool {
    let run =
        Command::new(tool[0]).args(&tool[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

#[test]
fn nothing_connects() {
    let in_namespace = works(&["unshare", "-rn", "true"]);
    if in_namespace {
        check_in_namespace();
    }
    let traced = works(&["strace", "-f", "-e", "trace=%network", "true"]);
    if traced {
        check_traced();
    }
    assert!(
        in_namespace || traced,
        "this machine allows neither `unshare -rn` nor `strace`, so that being offline cannot be \
         shown: install strace, or allow unprivileged user namespaces"
    );
}

fn check_in_namespace() {
    let home = Home::new();
    for (arguments, stdin) in commands(&note(&home)) {
        let command = home.command_under(&["unshare", "-rn"], &arguments);
        let (finished, sockets) = finish_watched(command, stdin.as_bytes());
        assert!(
            finished.status.success(),
            "{arguments:?} in an empty namespace: {}",
            finished.stderr
        );
        assert_eq!(sockets, [""; 0], "{arguments:?} held a socket");
    }
}

/// Runs a command to its end and returns the sockets it was seen to hold.
fn finish_watched(mut command: Command, stdin: &[u8]) -> (Finished, Vec<String>) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // The runner becomes the program, so that its number is the program's.
    let descriptors = format!("/proc/{}/fd", child.id());
    child.stdin.take().expect("a pipe").write_all(stdin).expect("the program reads");
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut sockets: Vec<String> = Vec::new();
            // The folder is empty, or gone, as soon as the program has ended.
            while let Some(open) = open_descriptors(Path::new(&descriptors)) {
                sockets.extend(open.into_iter().filter(|name| name.starts_with("socket:")));
                std::thread::yield_now();
            }
            sockets.sort_unstable();
            sockets.dedup();
            sockets
        });
        let output = child.wait_with_output().expect("the program ends");
        let finished = Finished {
            status: output.status,
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        (finished, watcher.join().expect("the watcher ends"))
    })
}

fn open_descriptors(folder: &Path) -> Option<Vec<String>> {
    let entries: Vec<_> = fs::read_dir(folder).ok()?.flatten().collect();
    let name = |entry: &fs::DirEntry| {
        Some(fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned())
    };
    (!entries.is_empty()).then(|| entries.iter().filter_map(name).collect())
}

fn check_traced() {
    let home = Home::new();
    let trace = home.join("trace");
    let trace_text = trace.to_str().expect("a path in UTF-8");
    let strace = ["strace", "-f", "-e", "trace=%network", "-o", trace_text];
    for (arguments, stdin) in commands(&note(&home)) {
        let command = home.command_under(&strace, &arguments);
        let finished = finish(command, stdin.as_bytes());
        assert!(finished.status.success(), "{arguments:?} under strace: {}", finished.stderr);
        let calls = fs::read_to_string(&trace).expect("the trace");
        assert!(calls.contains("+++ exited with 0 +++"), "the trace of {arguments:?} is not whole");
        let internet: Vec<&str> = calls.lines().filter(|line| line.contains("AF_INET")).collect();
        assert_eq!(internet, [""; 0], "{arguments:?}");
    }
}

#[test]
fn a_connection_would_be_seen() {
    if !works(&["strace", "-f", "-e", "trace=%network", "true"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the test");
    let trace = folder.path().join("trace");
    // Nobody listens on port 9 here; that it is tried is enough.
    let status = Command::new("strace")
        .args(["-f", "-e", "trace=%network", "-o", trace.to_str().expect("a path in UTF-8")])
        .args(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9"])
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| !status.success()));
    assert!(fs::read_to_string(trace).expect("the trace").contains("AF_INET"));
}
