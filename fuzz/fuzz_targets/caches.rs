//! What other programs wrote beside weights: ollama's manifests, and the records of the store.

#![no_main]

mod files;

use libfuzzer_sys::fuzz_target;
use pagewise_hub::{Caches, ModelSpec, Store};

fuzz_target!(|data: &[u8]| {
    let manifest = files::write("manifests/registry.ollama.ai/library/tiny/latest", data);
    assert!(manifest.is_file());
    let caches = Caches { ollama: vec![files::folder().to_owned()], ..Caches::default() };
    if let Some(found) = caches.find(&ModelSpec::Name("tiny".into()), None) {
        assert!(found.path.starts_with(files::folder().join("blobs")));
    }
    files::write("models/tiny.gguf", b"GGUF");
    files::write("models/tiny.json", data);
    let stored = Store::new(files::folder().join("models")).list().expect("a list");
    assert_eq!(stored.len(), 1);
});
