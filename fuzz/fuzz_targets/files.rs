//! Puts what the fuzzer made where the readers look for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tempfile::TempDir;

/// The folder of this process, in memory where there is such a place.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a temporary folder")
});

/// Writes a file, and returns its path.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.path().join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).expect("a folder");
    }
    fs::write(&path, bytes).expect("a file");
    path
}

/// Copies a file of the fixtures in `crates/pagewise-infer/tests/data` there, once.
#[allow(dead_code)]
pub fn fixture(from: &str, to: &str) {
    if !FOLDER.path().join(to).exists() {
        write(to, &fs::read(fixtures().join(from)).expect("the fixture"));
    }
}

/// Whether there is such a fixture.
#[allow(dead_code)]
pub fn has_fixture(name: &str) -> bool {
    fixtures().join(name).exists()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/pagewise-infer/tests/data")
}

/// Returns the folder.
#[allow(dead_code)]
pub fn folder() -> &'static Path {
    FOLDER.path()
}
