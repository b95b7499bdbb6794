//! Another `--embedder` than the one that made a store's vectors.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::Home;

/// Copies the tiny embedder with one weight changed a little: other vectors, another embedder.
fn other_embedder(home: &Home, name: &str, bit: u8) -> PathBuf {
    let to = home.models().join(name);
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(home.embedder()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    let weights = to.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last_number = bytes.len() - 4;
    bytes[last_number] ^= bit;
    fs::write(weights, bytes).unwrap();
    to
}

fn ingest(home: &Home, name: &str, embedder: &Path) {
    let file = home.join(name);
    let text: Vec<String> = (0..40).map(|n| format!("The key number {n} of {name}.\n\n")).collect();
    fs::write(&file, text.concat()).unwrap();
    let arguments = ["ingest", file.to_str().unwrap(), "--embedder", embedder.to_str().unwrap()];
    home.run(&arguments, "").succeeded(&arguments);
}

/// Searches, and returns how many results there were and what was said.
fn search(home: &Home, embedder: &Path) -> (usize, String) {
    let arguments = [
        "memory",
        "search",
        "key",
        "--archival",
        "--json",
        "--embedder",
        embedder.to_str().unwrap(),
    ];
    let finished = home.run(&arguments, "");
    finished.succeeded(&arguments);
    let n_hits = finished.json_lines()[0]["hits"].as_array().unwrap().len();
    (n_hits, finished.stderr)
}

#[test]
fn is_told_and_searches_go_on() {
    let home = Home::new();
    let first = home.embedder();
    ingest(&home, "first.txt", &first);
    assert_eq!(search(&home, &first).1.matches("embedder changes").count(), 0);

    let second = other_embedder(&home, "second", 1);
    let (n_hits, said) = search(&home, &second);
    assert!(n_hits > 0);
    assert!(said.contains("The embedder changes from bert-"), "{said}");
    assert!(said.contains("searches by meaning go on with the old one"), "{said}");
    // A document brings it to its end, wherever it was.
    ingest(&home, "second.txt", &second);
    let shown = home.json_value(&["memory", "show", "--embedder", second.to_str().unwrap()]);
    assert!(shown["embedder_change"].is_null(), "{shown}");
    let (n_hits, said) = search(&home, &second);
    assert!(n_hits > 0 && !said.contains("embedder changes"), "{said}");

    // Now the old one is gone, and a third one comes.
    let third = other_embedder(&home, "third", 2);
    fs::remove_dir_all(&second).unwrap();
    let shown = home.json_value(&["memory", "show", "--embedder", third.to_str().unwrap()]);
    assert_eq!(shown["embedder_change"]["n_embedded"], 0, "{shown}");
    let report = home.json_value(&["doctor", "--embedder", third.to_str().unwrap()]);
    assert_eq!(report["agents"][0]["store"]["embedder_change"]["n_embedded"], 0, "{report}");
    let (n_hits, said) = search(&home, &third);
    assert!(n_hits > 0);
    assert!(said.contains("searches are by words only"), "{said}");
}
