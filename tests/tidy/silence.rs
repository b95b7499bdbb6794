//! Nothing below the binary prints or reads the environment, and `unsafe` stays where it is explained.

use std::path::{Path, PathBuf};

use super::rust_source::{code, lines_with, without_tests};
use super::{files, nothing, text};

/// What only the binary does.
const BINARY_ONLY: &[&str] = &[
    "println!",
    "eprintln!",
    "print!",
    "eprint!",
    "dbg!",
    "io::stdout",
    "io::stderr",
    "env::var",
    "env::vars",
    "env::var_os",
    "env::vars_os",
    "env::set_var",
    "env::args",
    "env::home_dir",
    "process::exit",
];

/// What is unfinished, or hides a failure.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", concat!("#[", "ignore")];

/// Where `unsafe` may stand, with a `// SAFETY:` reason each.
const UNSAFE_HOMES: &[&str] =
    &["crates/pagewise-kernels/", "crates/pagewise-infer/src/gguf/map.rs"];

/// Each line of `source` where one of `words` stands in code that is not for tests.
fn found_in(path: &Path, source: &str, words: &[&str]) -> Vec<String> {
    let code = without_tests(&code(source));
    words
        .iter()
        .flat_map(|word| {
            let lines = lines_with(&code, word);
            lines.into_iter().map(move |line| format!("{}:{line}: {word}", path.display()))
        })
        .collect()
}

/// The Rust files of our crates, without tests, examples and benches.
fn library_files() -> Vec<PathBuf> {
    let is_library = |path: &PathBuf| {
        let mut parts = path.components().map(|part| part.as_os_str().to_string_lossy());
        path.extension().is_some_and(|extension| extension == "rs")
            && path.starts_with("crates")
            && !parts.any(|part| {
                matches!(&*part, "tests" | "tests.rs" | "examples" | "benches" | "build.rs")
            })
    };
    let files: Vec<PathBuf> = files().into_iter().filter(is_library).collect();
    assert!(files.len() > 30, "only {} Rust files were found", files.len());
    files
}

#[test]
fn nothing_below_the_binary_prints_or_reads_the_environment() {
    let found = library_files()
        .iter()
        // The testkit is part of tests alone, and finds the weights for them.
        .filter(|path| {
            !["crates/pagewise-cli", "crates/pagewise-testkit", "crates/pagewise-bench/src/bin"]
                .iter()
                .any(|folder| path.starts_with(folder))
        })
        .flat_map(|path| found_in(path, &text(path).unwrap(), BINARY_ONLY))
        .collect();
    nothing(found, "what only the binary may do");
}

#[test]
fn the_binary_prints_in_one_place() {
    let found = library_files()
        .iter()
        .filter(|path| path.starts_with("crates/pagewise-cli"))
        .filter(|path| !path.ends_with("printer.rs"))
        .flat_map(|path| {
            found_in(
                path,
                &text(path).unwrap(),
                &["println!", "eprintln!", "print!", "eprint!", "dbg!"],
            )
        })
        .collect();
    nothing(found, "printed past crates/pagewise-cli/src/printer.rs");
}

#[test]
fn nothing_is_left_unfinished() {
    let found = files()
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .flat_map(|path| {
            let code = code(&text(path).unwrap());
            UNFINISHED
                .iter()
                .flat_map(|word| lines_with(&code, word))
                .map(|line| format!("{}:{line}", path.display()))
                .collect::<Vec<_>>()
        })
        .collect();
    nothing(found, "code that is not finished, or a test that is not run");
}

#[test]
fn unsafe_stays_at_home_and_gives_its_reason() {
    let mut found = Vec::new();
    for path in library_files() {
        let source = text(&path).unwrap();
        let lines = lines_with(&code(&source), "unsafe");
        if !lines.is_empty() && !UNSAFE_HOMES.iter().any(|home| path.starts_with(home)) {
            found.push(format!("{}:{}: outside of its homes", path.display(), lines[0]));
        }
        let n_reasons = source.matches("SAFETY:").count() + source.matches("# Safety").count();
        if !lines.is_empty() && n_reasons == 0 {
            found.push(format!("{}:{}: no reason is given", path.display(), lines[0]));
        }
    }
    nothing(found, "unsafe code");
}

#[test]
fn a_library_that_prints_is_found() {
    let path = Path::new("x.rs");
    let loud = "fn f() {\n    println!(\"a\");\n    let home = std::env::var(\"HOME\");\n}";
    assert_eq!(found_in(path, loud, BINARY_ONLY), ["x.rs:2: println!", "x.rs:3: env::var"]);
    let quiet =
        "// println!\nfn f() { g(\"dbg!\") }\n#[cfg(test)]\nmod tests { fn t() { dbg!(1); } }";
    assert!(found_in(path, quiet, BINARY_ONLY).is_empty());
}
