//! Finds the real weights that tests need.

use std::path::PathBuf;

/// Returns the path of a weights file in the folder that `PAGEWISE_TEST_MODELS` names.
///
/// # Panics
///
/// If the variable is not set or the file is not there: a test that quietly passes without its
/// weights would test nothing.
pub fn test_weights(file: &str) -> PathBuf {
    let Some(folder) = std::env::var_os("PAGEWISE_TEST_MODELS") else {
        panic!("this test needs real weights: run it through ./scripts/test, which fetches them");
    };
    let path = PathBuf::from(folder).join(file);
    assert!(path.exists(), "{} is not there: run ./scripts/test, which fetches it", path.display());
    path
}
