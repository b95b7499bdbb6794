//! The arrows between the crates, the homes of the large dependencies, and the absence of a network.

use serde_json::Value;

use super::{cargo, nothing, packages};

/// Which of our crates each of them may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("pagewise-core", &[]),
    ("pagewise-kernels", &[]),
    ("pagewise-hub", &[]),
    ("pagewise-grammar", &["pagewise-core"]),
    ("pagewise-memory", &["pagewise-core"]),
    ("pagewise-testkit", &["pagewise-core"]),
    ("pagewise-agent", &["pagewise-core", "pagewise-memory"]),
    ("pagewise-infer", &["pagewise-core", "pagewise-grammar", "pagewise-kernels"]),
    (
        "pagewise-bench",
        &[
            "pagewise-agent",
            "pagewise-core",
            "pagewise-grammar",
            "pagewise-infer",
            "pagewise-kernels",
            "pagewise-memory",
        ],
    ),
    (
        "pagewise-cli",
        &[
            "pagewise-agent",
            "pagewise-bench",
            "pagewise-core",
            "pagewise-grammar",
            "pagewise-hub",
            "pagewise-infer",
            "pagewise-kernels",
            "pagewise-memory",
        ],
    ),
];

/// Dependencies that only these crates may have, for any purpose.
const HOMES: &[(&str, &[&str])] = &[
    ("candle-core", &["pagewise-infer"]),
    ("candle-nn", &["pagewise-infer"]),
    ("candle-transformers", &["pagewise-infer"]),
    ("tokenizers", &["pagewise-infer"]),
    ("llguidance", &["pagewise-grammar"]),
    ("rusqlite", &["pagewise-memory"]),
    ("hnsw_rs", &["pagewise-memory"]),
    ("clap", &["pagewise-cli", "pagewise-bench"]),
    ("hf-hub", &["pagewise-hub"]),
    // There is one user, one model and one writer.
    ("tokio", &[]),
];

/// Crates that open connections, or are there only for those that do.
const NETWORK: &[&str] = &[
    "async-std",
    "attohttpc",
    "axum",
    "curl",
    "curl-sys",
    "h2",
    "h3",
    "hf-hub",
    "hf-xet",
    "hickory-resolver",
    "http",
    "hyper",
    "hyper-util",
    "isahc",
    "mio",
    "native-tls",
    "openssl",
    "openssl-sys",
    "quinn",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tonic",
    "trust-dns-resolver",
    "tungstenite",
    "ureq",
];

/// The names of a package's dependencies, with `"dev"` or `"build"` for those that are only that.
fn dependencies(package: &Value) -> Vec<(&str, &str)> {
    package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|dependency| {
            (dependency["name"].as_str().unwrap(), dependency["kind"].as_str().unwrap_or("normal"))
        })
        .collect()
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let mut found = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
            found.push(format!("{name} has no arrows: add it to the list"));
            continue;
        };
        for (to, kind) in dependencies(&package) {
            let is_ours = ARROWS.iter().any(|(name, _)| *name == to);
            let is_test_help = to == "pagewise-testkit" && kind == "dev";
            if is_ours && !is_test_help && !allowed.contains(&to) {
                found.push(format!("{name} -> {to} ({kind})"));
            }
        }
    }
    nothing(found, "dependencies that ARCHITECTURE.md does not draw");
}

#[test]
fn large_dependencies_have_one_home() {
    let mut found = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        for (to, kind) in dependencies(&package) {
            let home = HOMES.iter().find(|(dependency, _)| *dependency == to);
            if home.is_some_and(|(_, homes)| !homes.contains(&name)) {
                found.push(format!("{name} -> {to} ({kind})"));
            }
        }
    }
    nothing(found, "dependencies outside of the crate that hides them");
}

/// The crates that a normal build of the program compiles in.
fn tree(arguments: &[&str]) -> Vec<String> {
    let mut command = vec!["tree", "-p", "pagewise-cli", "-e", "normal", "--prefix", "none"];
    command.extend(arguments);
    let tree = cargo(&command);
    tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_string).collect()
}

#[test]
fn without_default_features_there_is_no_network_crate() {
    let network = |tree: Vec<String>| -> Vec<String> {
        tree.into_iter().filter(|name| NETWORK.contains(&name.as_str())).collect()
    };
    let whole = network(tree(&[]));
    assert!(whole.contains(&"hf-hub".to_string()), "the list would find nothing: {whole:?}");
    nothing(network(tree(&["--no-default-features"])), "crates that open connections");
}

#[test]
fn kernels_see_no_tensors_and_the_hub_no_crate_of_ours() {
    let tree = |package: &str| {
        cargo(&["tree", "-p", package, "-e", "normal", "--prefix", "none"])
            .lines()
            .filter_map(|line| line.split(' ').next())
            .filter(|name| name.starts_with("candle") || name.starts_with("pagewise"))
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(tree("pagewise-kernels"), ["pagewise-kernels"]);
    assert_eq!(tree("pagewise-hub"), ["pagewise-hub"]);
}
