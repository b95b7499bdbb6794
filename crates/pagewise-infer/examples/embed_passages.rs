//! Times an embedder on the texts of a JSON list: `embed_passages FOLDER TEXTS.json ROUNDS [THREADS]`.
//!
//! One line for each round; `scripts/compare-embedders` runs it in turn with sentence-transformers.

#![allow(missing_docs, clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use pagewise_core::{Embedder, Purpose};
use pagewise_infer::SentenceEmbedder;

/// Texts embedded at a time, as both programs have it.
const BATCH: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, texts, rounds, threads @ ..] = arguments.as_slice() else {
        return Err("embed_passages FOLDER TEXTS.json ROUNDS [THREADS]".into());
    };
    let threads = threads.first().map(|threads| threads.parse()).transpose()?;
    let texts: Vec<String> = serde_json::from_slice(&std::fs::read(texts)?)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();

    let start = Instant::now();
    let embedder = SentenceEmbedder::load(Path::new(folder), threads)?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let mut n_tokens = 0;
    for text in &texts {
        n_tokens += embedder.n_tokens(text, Purpose::Passage)?;
    }
    for _ in 0..rounds.parse()? {
        let start = Instant::now();
        for batch in texts.chunks(BATCH) {
            embedder.embed(batch, Purpose::Passage)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        embedder.embed(&["Where did I leave the keys of the car?"], Purpose::Query)?;
        let query_ms = start.elapsed().as_secs_f64() * 1e3;
        println!(
            "{}",
            serde_json::json!({
                "passages_per_second": texts.len() as f64 / seconds,
                "tokens_per_second": f64::from(u32::try_from(n_tokens)?) / seconds,
                "query_ms": query_ms,
                "load_ms": load_ms,
            })
        );
    }
    Ok(())
}
