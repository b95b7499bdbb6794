//! Documents name what exists, and nothing in the tree names where it was made.

use std::path::{Path, PathBuf};

use super::{files, nothing, packages, root, text};

/// No file of the repository is larger: weights and data sets are fetched.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A description of a crate that is shorter says nothing.
const CRATE_HEAD_CHARS_MIN: usize = 80;

/// Texts that name one machine, or a server that only the tools of the language should know.
/// In two halves, so that this file does not name them itself.
const FORBIDDEN: &[(&str, &str)] = &[
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("/ho", "me/"),
    ("/Use", "rs/"),
    ("C:\\Us", "ers"),
    ("/tm", "p/"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("crates", ".io"),
    ("TO", "DO"),
    ("FIX", "ME"),
    ("X", "XX"),
];

/// The documents that a person reads; prompts are read by the model.
fn documents() -> Vec<PathBuf> {
    let is_document = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "md")
            && !path
                .components()
                .any(|part| part.as_os_str() == "prompts" || part.as_os_str() == "data")
    };
    files().into_iter().filter(is_document).collect()
}

/// What stands between backticks and looks like a path: it ends in `.rs`, `.md` or `/`.
fn paths_named(document: &str) -> Vec<&str> {
    let mut fenced = false;
    document
        .lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            !fenced && !fence
        })
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|code| code.ends_with(".rs") || code.ends_with(".md") || code.ends_with('/'))
        .filter(|code| code.len() > 1 && !code.contains(['<', '*', ' ', '$', '~', '…']))
        .collect()
}

/// The targets of links that are not web pages.
fn links(document: &str) -> Vec<&str> {
    document
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

/// Whether a file or folder of the repository has this path, or one that ends in it.
fn exists(files: &[PathBuf], named: &str) -> bool {
    let named = Path::new(named.trim_start_matches("./").trim_end_matches('/'));
    files.iter().any(|file| file.ancestors().any(|path| path.ends_with(named)))
}

#[test]
fn documents_name_what_exists() {
    let files = files();
    let mut found = Vec::new();
    for document in documents() {
        let source = text(&document).unwrap();
        let folder = document.parent().unwrap_or(Path::new(""));
        for path in paths_named(&source) {
            if !exists(&files, path) {
                found.push(format!("{}: `{path}`", document.display()));
            }
        }
        for target in links(&source) {
            if !root().join(folder).join(target).exists() {
                found.push(format!("{}: link to {target}", document.display()));
            }
        }
    }
    nothing(found, "documents name what is not there");
}

#[test]
fn the_code_map_has_every_crate_and_the_readme_both_commands() {
    let map = text(Path::new("ARCHITECTURE.md")).unwrap();
    let missing = packages()
        .iter()
        .map(|package| package["name"].as_str().unwrap().to_string())
        .filter(|name| !map.contains(name.as_str()))
        .collect();
    nothing(missing, "crates that ARCHITECTURE.md does not name");

    let readme = text(Path::new("README.md")).unwrap();
    let first_screen: Vec<&str> = readme.lines().take(24).collect();
    for command in ["cargo run --release -- chat", "./scripts/test"] {
        assert!(first_screen.iter().any(|line| line.contains(command)), "README: no {command}");
    }
}

#[test]
fn each_crate_says_what_it_is() {
    let mut found = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        if package["description"].as_str().is_none_or(|text| text.len() < 20) {
            found.push(format!("{name}: no description in its manifest"));
        }
        if package["license"].as_str() != Some("MIT OR Apache-2.0") {
            found.push(format!("{name}: no licence in its manifest"));
        }
        let source = ["lib.rs", "main.rs"]
            .map(|file| Path::new("crates").join(name).join("src").join(file))
            .iter()
            .find(|path| root().join(path).is_file())
            .and_then(|path| text(path));
        let head: usize = source
            .unwrap_or_default()
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .map(|line| line.trim_start_matches("//!").trim().len())
            .sum();
        if head < CRATE_HEAD_CHARS_MIN {
            found.push(format!("{name}: its first file does not say what the crate is for"));
        }
    }
    nothing(found, "crates that do not say what they are");
}

#[test]
fn no_file_is_large() {
    let found = files()
        .iter()
        .filter_map(|path| {
            let bytes = std::fs::metadata(root().join(path)).unwrap().len();
            (bytes > FILE_BYTES_MAX).then(|| format!("{}: {bytes} bytes", path.display()))
        })
        .collect();
    nothing(found, "files of more than 1 MB");
}

#[test]
fn nothing_names_the_place_where_it_was_made() {
    let mut found = Vec::new();
    for path in files() {
        // The lockfile names the registry that everything comes from; cargo writes it.
        if path.ends_with("Cargo.lock") {
            continue;
        }
        let Some(source) = text(&path) else { continue };
        for (number, line) in source.lines().enumerate() {
            for (first, second) in FORBIDDEN {
                if line.contains(&format!("{first}{second}")) {
                    found.push(format!("{}:{}: {first}{second}", path.display(), number + 1));
                }
            }
        }
    }
    nothing(found, "text that should not be in the repository");
}

#[test]
fn a_document_that_names_what_is_gone_is_found() {
    let files = ["crates/a/src/b/c.rs".into(), "README.md".into()];
    for (path, is_there) in [
        ("c.rs", true),
        ("b/", true),
        ("b/c.rs", true),
        ("a/src/b/c.rs", true),
        ("d.rs", false),
        ("a/b/c.rs", false),
        ("./README.md", true),
    ] {
        assert_eq!(exists(&files, path), is_there, "{path}");
    }
    let source = "See `a.rs`, `f()` and `b/`.\n```\n`c.rs`\n```\n[d](e.md#f), [g](https://h)";
    assert_eq!(paths_named(source), ["a.rs", "b/"]);
    assert_eq!(links(source), ["e.md"]);
}
