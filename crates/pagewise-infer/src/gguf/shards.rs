//! Finds the other files of a model that is cut into several.
//!
//! Each says in its metadata which part it is, and of how many; where the others are only their
//! names say, `name-00001-of-00003.gguf`.

use std::path::{Path, PathBuf};

use super::GgufFile;
use super::error::{GgufError, GgufProblem};

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// The most parts; a model of a thousand billion numbers has a few dozen.
const MAX_SHARDS: usize = 1024;

/// Which part of a model a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shard {
    /// From 0 on.
    number: usize,
    count: usize,
}

/// Opens the file `path`, and the other parts of its model if it is one of several, in order.
pub(super) fn open_all(path: &Path) -> Result<Vec<GgufFile>, GgufError> {
    let given = GgufFile::open(path)?;
    let Some(shard) = Shard::of(&given)? else {
        return Ok(vec![given]);
    };
    let stem = shard.stem(&given)?;
    let mut given = Some(given);
    let mut files = Vec::with_capacity(shard.count);
    for number in 0..shard.count {
        let wanted = Shard { number, ..shard };
        let file = match given.take_if(|_| wanted == shard) {
            Some(given) => given,
            None => wanted.open(path, &stem)?,
        };
        files.push(file);
    }
    check_tensors(&files)?;
    Ok(files)
}

impl Shard {
    /// Returns which part `file` says it is; `None` if it is a whole model.
    fn of(file: &GgufFile) -> Result<Option<Self>, GgufError> {
        let count: u64 = file.get(COUNT)?.unwrap_or(1);
        let number: u64 = file.get(NUMBER)?.unwrap_or(0);
        if count <= 1 && number == 0 {
            return Ok(None);
        }
        if count > MAX_SHARDS as u64 || number >= count {
            let number = number.saturating_add(1);
            return Err(file.error(GgufProblem::ShardCount { number, count, max: MAX_SHARDS }));
        }
        Ok(Some(Self { number: number as usize, count: count as usize }))
    }

    fn suffix(self) -> String {
        format!("-{:05}-of-{:05}.gguf", self.number + 1, self.count)
    }

    /// Returns what the names of all parts begin with.
    fn stem(self, file: &GgufFile) -> Result<String, GgufError> {
        let name = file.path.file_name().and_then(|name| name.to_str());
        let suffix = self.suffix();
        match name.and_then(|name| name.strip_suffix(&suffix)) {
            Some(stem) => Ok(stem.to_owned()),
            None => {
                let (number, count) = (self.number + 1, self.count);
                Err(file.error(GgufProblem::ShardName { number, count, suffix }))
            }
        }
    }

    /// Opens this part, which lies beside the file `given`.
    fn open(self, given: &Path, stem: &str) -> Result<GgufFile, GgufError> {
        let name = format!("{stem}{}", self.suffix());
        let path: PathBuf = given.with_file_name(&name);
        if !path.exists() {
            let problem = GgufProblem::MissingShard { missing: name };
            return Err(GgufError { path: given.to_owned(), problem });
        }
        let file = GgufFile::open(&path)?;
        if Self::of(&file)? != Some(self) {
            let number = file.get::<u64>(NUMBER)?.unwrap_or(0).saturating_add(1);
            let count = file.get(COUNT)?.unwrap_or(1);
            return Err(file.error(GgufProblem::OtherShard { number, count }));
        }
        Ok(file)
    }
}

/// Compares the tensors of all parts with how many there should be, where a part says that.
fn check_tensors(files: &[GgufFile]) -> Result<(), GgufError> {
    let found: usize = files.iter().map(|file| file.header.tensors.len()).sum();
    for file in files {
        if let Some(expected) = file.get::<u64>(TENSORS)?
            && expected != found as u64
        {
            return Err(file.error(GgufProblem::ShardTensors { expected, found }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pagewise_testkit::{GgufWriter, TinyFamily, TinyModel};

    use crate::{Compute, Decoder, Gguf};

    const N_FILES: usize = 3;

    fn model() -> GgufWriter {
        TinyModel::new(TinyFamily::Llama, 5).writer()
    }

    #[test]
    fn any_part_opens_the_whole_model() {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole.gguf");
        model().write(&whole).unwrap();
        let logits = |path| {
            let decoder =
                Decoder::load(&Gguf::open(path).unwrap(), 64, &Compute::tensors()).unwrap();
            decoder.forward(&[1, 2, 3], &mut decoder.new_cache().unwrap()).unwrap()
        };
        let expected = logits(whole.as_path());
        let paths = model().write_split(dir.path(), "tiny", N_FILES).unwrap();
        for path in &paths {
            assert_eq!(logits(path.as_path()), expected);
            let gguf = Gguf::open(path).unwrap();
            assert_eq!(gguf.path(), paths[0]);
            assert!(gguf.paths().eq(&paths));
            let bytes: u64 = paths.iter().map(|path| path.metadata().unwrap().len()).sum();
            assert_eq!(gguf.file_bytes(), bytes);
            assert_eq!(gguf.tensors().len(), Gguf::open(&whole).unwrap().tensors().len());
        }
    }

    #[test]
    fn the_fingerprint_is_of_all_parts() {
        let dir = tempfile::tempdir().unwrap();
        let paths = model().write_split(dir.path(), "tiny", N_FILES).unwrap();
        let before = Gguf::open(&paths[0]).unwrap().fingerprint();
        assert_eq!(Gguf::open(&paths[2]).unwrap().fingerprint(), before);
        let tensor = Gguf::open(&paths[0]).unwrap().tensors().last().unwrap().bytes().to_vec();
        let mut last = fs::read(&paths[2]).unwrap();
        let at = last.windows(tensor.len()).position(|bytes| bytes == tensor).unwrap();
        last[at] ^= 1;
        fs::write(&paths[2], last).unwrap();
        assert_ne!(Gguf::open(&paths[0]).unwrap().fingerprint(), before);
    }

    /// Writes three parts, the second changed, and checks what opening the first says of it.
    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut GgufWriter), expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let mut parts = model().split(N_FILES);
        // The number of tensors may be left out.
        parts[0].remove("split.tensors.count");
        parts[2].remove("split.tensors.count");
        change(&mut parts[1]);
        for (number, part) in (1..).zip(&parts) {
            part.write(&dir.path().join(format!("m-0000{number}-of-00003.gguf"))).unwrap();
        }
        let error = Gguf::open(&dir.path().join("m-00001-of-00003.gguf")).unwrap_err().to_string();
        let second = dir.path().join("m-00002-of-00003.gguf");
        assert_eq!(error, format!("{}: {expected}", second.display()));
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        check_refused(
            |part| part.replace("split.no", 2u32),
            "is not the part that its name says: it is part 3 of 3 by its metadata",
        );
        check_refused(
            |part| part.replace("split.count", 4u32),
            "is not the part that its name says: it is part 2 of 4 by its metadata",
        );
        check_refused(
            |part| part.replace("split.count", 1u32),
            "is damaged: it claims to be part 2 of 1, and at most 1024 are allowed",
        );
        check_refused(
            |part| part.replace("split.no", "second"),
            "has the metadata \"split.no\" as a text, and it must be a whole number",
        );
        check_refused(
            |part| part.replace("split.tensors.count", 7u32),
            "belongs to a model of 7 tensors, and its parts have 21 together; fetch them again",
        );
        check_refused(
            |part| {
                part.replace("split.tensors.count", 22u32);
                part.tensor_f32("token_embd.weight", &[1], &[1.0]);
            },
            "is damaged: it has the tensor token_embd.weight twice",
        );
    }

    #[test]
    fn a_part_alone_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let paths = model().write_split(dir.path(), "tiny", N_FILES).unwrap();
        let refused = |path| Gguf::open(path).unwrap_err().to_string();
        fs::remove_file(&paths[1]).unwrap();
        assert_eq!(
            refused(&paths[2]),
            format!(
                "{}: is part of a model of which the part tiny-00002-of-00003.gguf is not beside \
                 it; fetch that one too",
                paths[2].display()
            )
        );
        let renamed = dir.path().join("renamed.gguf");
        fs::rename(&paths[2], &renamed).unwrap();
        assert_eq!(
            refused(&renamed),
            format!(
                "{}: is part 3 of 3 of a model, and its name should end with \
                 \"-00003-of-00003.gguf\" so that the other parts can be found; give it back the \
                 name it had",
                renamed.display()
            )
        );
    }

    #[test]
    fn absurd_numbers_of_parts_are_refused_before_any_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        for (number, count) in [(0, u64::MAX), (u64::MAX, 2), (0, 1025), (3, 3), (1, 0)] {
            let path = dir.path().join("m-00001-of-00003.gguf");
            let mut writer = model();
            writer.set("split.no", pagewise_testkit::GgufValue::U64(number));
            writer.set("split.count", pagewise_testkit::GgufValue::U64(count));
            writer.write(&path).unwrap();
            let error = Gguf::open(&path).unwrap_err().to_string();
            assert!(error.contains("is damaged: it claims to be part"), "{error}");
        }
    }
}
