//! A file of the catalog, and what a person may say after `-m`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pagewise_hub::{Entry, ModelSpec};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(entry) = Entry::parse("tiny", text) {
        assert_eq!(entry.name, "tiny");
        let _ = entry.stored_bytes();
    }
    if let Ok(spec) = ModelSpec::parse(text) {
        assert!(!spec.to_string().is_empty());
        // A name in the store never leaves its folder.
        assert!(spec.store_name().is_none_or(|name| !name.contains(['/', '\\', '\0'])));
    }
});
