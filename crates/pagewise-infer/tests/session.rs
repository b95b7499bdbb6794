//! Sessions: what they keep on disk, and what they reuse at another place.

#![allow(missing_docs, clippy::unwrap_used, clippy::result_large_err)]

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use pagewise_infer::{
    Compute, Decoder, DeviceChoice, Gguf, Isa, Session, SnapshotError, SnapshotKey, Weights,
};
use pagewise_testkit::{TinyFamily, TinyModel};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const WINDOW_TOKENS: usize = 512;

fn ours() -> Compute {
    Compute::new(DeviceChoice::Cpu, Some(2)).unwrap().without_tiles()
}

/// Every back end there is.
fn back_ends() -> [(&'static str, Compute); 4] {
    let cpu = || Compute::new(DeviceChoice::Cpu, Some(2)).unwrap();
    [
        ("slices in tiles, where there are any", cpu()),
        ("slices with halves", cpu().without_tiles()),
        ("slices", cpu().exact()),
        ("tensors", Compute::tensors()),
    ]
}

/// The families whose sessions differ in what they keep, or in what of it they look at: layers that see
/// 12 tokens back, a convolution, frequencies that the window chooses, queries and keys with norms of
/// their own.
const FAMILIES: [&str; 5] = ["gemma3", "lfm2", "phi4mini-long", "phi4mini-short", "qwen3"];

/// Longer than what a Phi-4-mini of the fixtures takes short frequencies for.
const FAMILY_WINDOW_TOKENS: usize = 64;

/// Returns the decoder of a family's fixture and the key of its snapshots.
fn of_family(name: &str, compute: &Compute) -> (Decoder, SnapshotKey) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/families").join(name);
    let weights = Weights::open(&folder).unwrap();
    let decoder = Decoder::load(&weights, FAMILY_WINDOW_TOKENS, compute).unwrap();
    let key = SnapshotKey::new(&weights, &decoder);
    (decoder, key)
}

/// Tokens of the fixtures' vocabulary.
fn family_tokens(n: usize, seed: u64) -> Vec<u32> {
    tokens(n, seed).into_iter().map(|token| token % 128).collect()
}

/// Returns a tiny decoder and the key of its snapshots.
fn tiny(model: TinyModel, window_tokens: usize, compute: &Compute) -> (Decoder, SnapshotKey) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    write(&path, &model.writer().to_bytes());
    open(&path, window_tokens, compute)
}

/// Writes a file of weights, always at the same time: what tells it from others is what is in it.
fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    set_time(path, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
}

fn set_time(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn open(path: &Path, window_tokens: usize, compute: &Compute) -> (Decoder, SnapshotKey) {
    let weights = Weights::open(path).unwrap();
    let decoder = Decoder::load(weights.clone(), window_tokens, compute).unwrap();
    let key = SnapshotKey::new(&weights, &decoder);
    (decoder, key)
}

fn tokens(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(0..283)).collect()
}

fn read(decoder: &Decoder, tokens: &[u32]) -> Session {
    let mut session = Session::new(decoder).unwrap();
    session.sync(decoder, tokens, &|| false).unwrap();
    session
}

fn next(session: &mut Session, decoder: &Decoder) -> Vec<f32> {
    session.extend(decoder, &[3, 4, 5], &|| false).unwrap()
}

#[test]
fn a_restored_session_goes_on_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.kv");
    for (compute, window_tokens) in
        [(ours(), WINDOW_TOKENS), (ours().exact(), 300), (Compute::tensors(), 300)]
    {
        let (decoder, key) = tiny(TinyModel::new(TinyFamily::Qwen2, 1), window_tokens, &compute);
        assert!(Session::restore(&decoder, key, &path).unwrap().is_none());
        // Beyond the capacity that a cache begins with.
        let mut session = read(&decoder, &tokens(290, 1));
        session.save(key, &path).unwrap();
        let mut restored = Session::restore(&decoder, key, &path).unwrap().unwrap();
        assert_eq!(restored.tokens(), session.tokens());
        assert_eq!(next(&mut restored, &decoder), next(&mut session, &decoder));
        // A second one takes the place of the first.
        read(&decoder, &tokens(5, 2)).save(key, &path).unwrap();
        let restored = Session::restore(&decoder, key, &path).unwrap().unwrap();
        assert_eq!(restored.tokens(), tokens(5, 2));
        fs::remove_file(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something is left behind");
    }
}

/// In every way that a conversation goes on: a token at a time, a piece at once, and back to an earlier
/// place and on from there. What lies behind the tokens of a cache, and is not kept, must not matter.
#[test]
fn restored_sessions_of_every_kind_go_on_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.kv");
    let text = family_tokens(FAMILY_WINDOW_TOKENS, 1);
    for name in FAMILIES {
        for (back_end, compute) in back_ends() {
            let (decoder, key) = of_family(name, &compute);
            // Less than a convolution goes over, and than a window of 12 tokens; and more than both.
            for n_read in [1, 2, 7, 13, 40] {
                let said = format!("{name} on {back_end}, {n_read} tokens");
                let mut session = read(&decoder, &text[..n_read]);
                session.save(key, &path).unwrap();
                // It has read on and come back: its buffers hold what the snapshot does not.
                session.extend(&decoder, &family_tokens(9, 2), &|| false).unwrap();
                session.truncate(n_read);
                let restore = || Session::restore(&decoder, key, &path).unwrap().unwrap();
                let (mut restored, mut one_by_one) = (restore(), session.try_clone().unwrap());
                for token in text[n_read..n_read + 4].chunks(1) {
                    let [a, b] = [&mut restored, &mut one_by_one]
                        .map(|session| session.extend(&decoder, token, &|| false).unwrap());
                    assert_eq!(a, b, "{said}, one by one");
                }
                let (mut restored, mut at_once) = (restore(), session.try_clone().unwrap());
                let [a, b] = [&mut restored, &mut at_once].map(|session| {
                    session.extend(&decoder, &text[n_read..n_read + 20], &|| false).unwrap()
                });
                assert_eq!(a, b, "{said}, at once");
                let mut restored = restore();
                let other = [&text[..n_read / 2], &family_tokens(9, 3)].concat();
                let [a, b] = [&mut restored, &mut session]
                    .map(|session| session.sync(&decoder, &other, &|| false).unwrap());
                assert_eq!(a, b, "{said}, from an earlier place on");
                assert_eq!(restored.tokens(), other);
            }
        }
    }
}

/// A snapshot says what a session of its own would: nothing was lost on the way to the disk.
#[test]
fn restored_sessions_of_every_kind_say_what_fresh_ones_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.kv");
    let text = family_tokens(FAMILY_WINDOW_TOKENS, 1);
    for name in FAMILIES {
        let (decoder, key) = of_family(name, &ours().exact());
        read(&decoder, &text[..30]).save(key, &path).unwrap();
        let mut restored = Session::restore(&decoder, key, &path).unwrap().unwrap();
        let restored = restored.sync(&decoder, &text, &|| false).unwrap();
        assert_eq!(restored.reused, 30);
        let fresh = Session::new(&decoder).unwrap().sync(&decoder, &text, &|| false).unwrap();
        let error = largest_difference(&restored.logits, &fresh.logits);
        assert!(error < 2e-4, "{name}: {error}");
    }
}

#[test]
fn damaged_snapshots_of_every_kind_are_not_used() {
    const N_PLACES: usize = 64;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.kv");
    for (at, name) in FAMILIES.iter().enumerate() {
        let (decoder, key) = of_family(name, &ours());
        read(&decoder, &family_tokens(20, 1)).save(key, &path).unwrap();
        let whole = fs::read(&path).unwrap();
        // All over the file, so that some places are in every layer.
        for place in (0..N_PLACES).map(|n| n * whole.len() / N_PLACES) {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x10;
            for bytes in [&bytes[..], &whole[..place]] {
                fs::write(&path, bytes).unwrap();
                refusal(&decoder, key, &path);
            }
        }
        fs::write(&path, &whole).unwrap();
        let (another, its_key) = of_family(FAMILIES[(at + 1) % FAMILIES.len()], &ours());
        assert_eq!(refusal(&another, its_key, &path), OTHER);
        assert!(Session::restore(&decoder, key, &path).unwrap().is_some());
    }
}

/// Keys and values say what was read.
#[cfg(unix)]
#[test]
fn a_snapshot_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.kv");
    let (decoder, key) = tiny(TinyModel::new(TinyFamily::Llama, 1), WINDOW_TOKENS, &ours());
    let session = read(&decoder, &tokens(5, 1));
    for left_behind in [None, Some("a.kv"), Some("a.unfinished")] {
        if let Some(name) = left_behind {
            let file = dir.path().join(name);
            fs::write(&file, "left by another program").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        }
        session.save(key, &path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{left_behind:?} was there");
        assert!(Session::restore(&decoder, key, &path).unwrap().is_some());
    }
}

#[test]
fn a_session_without_tokens_is_kept_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.kv");
    let (decoder, key) = tiny(TinyModel::new(TinyFamily::Llama, 1), WINDOW_TOKENS, &ours());
    Session::new(&decoder).unwrap().save(key, &path).unwrap();
    assert!(Session::restore(&decoder, key, &path).unwrap().unwrap().tokens().is_empty());
}

#[test]
fn a_snapshot_of_anything_else_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.kv");
    let model = TinyModel::new(TinyFamily::Llama, 1);
    let (decoder, key) = tiny(model, WINDOW_TOKENS, &ours());
    read(&decoder, &tokens(20, 1)).save(key, &path).unwrap();
    let others = [
        tiny(TinyModel::new(TinyFamily::Llama, 2), WINDOW_TOKENS, &ours()),
        tiny(model.quantised(), WINDOW_TOKENS, &ours()),
        tiny(model, WINDOW_TOKENS / 2, &ours()),
        tiny(model, WINDOW_TOKENS, &ours().exact()),
        tiny(model, WINDOW_TOKENS, &Compute::tensors()),
    ];
    for (decoder, key) in &others {
        assert_eq!(refusal(decoder, *key, &path), OTHER);
    }
    for isa in Isa::available() {
        let (decoder, key) = tiny(model, WINDOW_TOKENS, &ours().with_isa(isa));
        match Some(isa) == ours().isa() {
            true => assert!(Session::restore(&decoder, key, &path).unwrap().is_some()),
            false => assert_eq!(refusal(&decoder, key, &path), OTHER),
        }
    }
}

const OTHER: &str = "is of other weights, kernels or another window";

/// Of large tensors only samples are looked at, and at the time when they were written.
#[test]
fn a_snapshot_of_weights_that_changed_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let (path, snapshot) = (dir.path().join("tiny.gguf"), dir.path().join("a.kv"));
    let writer = TinyModel::new(TinyFamily::Llama, 1).writer();
    let whole = writer.to_bytes();
    write(&path, &whole);
    let (decoder, key) = open(&path, WINDOW_TOKENS, &ours());
    read(&decoder, &tokens(20, 1)).save(key, &snapshot).unwrap();
    let check = |is_used: bool, what: &str| {
        let (decoder, key) = open(&path, WINDOW_TOKENS, &ours());
        match Session::restore(&decoder, key, &snapshot) {
            Ok(Some(_)) => assert!(is_used, "{what}: it is used"),
            Ok(None) => panic!("there is a snapshot"),
            Err(error) => {
                assert!(!is_used && error.to_string().ends_with(OTHER), "{what}: {error}");
            }
        }
    };
    check(true, "the same file");

    let gguf = Gguf::open(&path).unwrap();
    let (mut n_sampled, mut unsampled) = (0, None);
    for tensor in gguf.tensors().filter(|tensor| tensor.shape().len() > 1) {
        let data = tensor.bytes();
        let start = whole.windows(data.len()).position(|bytes| bytes == data).unwrap();
        let last = data.len() - 1;
        let between = (data.len() - 256) / 3;
        for at in [0, between, 2 * between + 255, last] {
            let mut bytes = whole.clone();
            bytes[start + at] ^= 1;
            write(&path, &bytes);
            check(false, &format!("byte {at} of {}", tensor.name()));
            n_sampled += 1;
        }
        if between > 256 {
            unsampled = Some(start + between - 1);
        }
    }
    assert!(n_sampled > 20, "{n_sampled} places");

    write(&path, &[whole.as_slice(), &[0]].concat());
    check(false, "another length");
    let mut other = writer;
    other.replace("llama.attention.layer_norm_rms_epsilon", 1e-4_f32);
    assert_eq!(other.to_bytes().len(), whole.len());
    write(&path, &other.to_bytes());
    check(false, "other settings");

    // Between the samples, it is the time that tells; who puts that back as well is not found out.
    let mut bytes = whole.clone();
    bytes[unsampled.expect("a large tensor")] ^= 1;
    write(&path, &bytes);
    check(true, "a byte between the samples, and the time put back");
    fs::write(&path, &bytes).unwrap();
    check(false, "a byte between the samples");

    write(&path, &whole);
    check(true, "the same file again");
}

/// A folder's settings stand in a file of their own.
#[test]
fn a_snapshot_of_a_folder_with_other_settings_is_not_used() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/families/qwen2");
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(&fixture).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            write(&dir.path().join(entry.file_name()), &fs::read(entry.path()).unwrap());
        }
    }
    let key = || open(dir.path(), 64, &ours()).1;
    let before = key();
    assert_eq!(key(), before);
    let config = dir.path().join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let other = text.replace("\"rms_norm_eps\": 0.001", "\"rms_norm_eps\": 0.002");
    assert_ne!(other, text);
    write(&config, other.as_bytes());
    assert_ne!(key(), before);
    write(&config, text.as_bytes());
    assert_eq!(key(), before);
}

#[track_caller]
fn refusal(decoder: &Decoder, key: SnapshotKey, path: &Path) -> &'static str {
    match Session::restore(decoder, key, path) {
        Err(SnapshotError::Unusable { reason, .. }) => reason,
        Err(error) => panic!("{error}"),
        Ok(session) => panic!("used: {}", session.is_some()),
    }
}

#[test]
fn a_damaged_snapshot_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.kv");
    let (decoder, key) = tiny(TinyModel::new(TinyFamily::Llama, 1), WINDOW_TOKENS, &ours());
    read(&decoder, &tokens(7, 1)).save(key, &path).unwrap();
    let whole = fs::read(&path).unwrap();
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        refusal(&decoder, key, &path)
    };
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        check(&bytes);
    }
    for len in 0..whole.len() {
        check(&whole[..len]);
    }
    check(&[whole.as_slice(), &[0]].concat());
    for n_tokens in [0, 6, 8, 512, 513, 1 << 40, u64::MAX] {
        let mut bytes = whole.clone();
        bytes[40..48].copy_from_slice(&n_tokens.to_le_bytes());
        check(&bytes);
    }
    fs::write(&path, &whole).unwrap();
    assert!(Session::restore(&decoder, key, &path).unwrap().is_some());
}

#[test]
fn a_folder_in_its_place_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (decoder, key) = tiny(TinyModel::new(TinyFamily::Llama, 1), WINDOW_TOKENS, &ours());
    assert!(Session::restore(&decoder, key, dir.path()).is_err());
    let session = read(&decoder, &tokens(7, 1));
    let nowhere = dir.path().join("no/such/folder/a.kv");
    assert!(matches!(session.save(key, &nowhere), Err(SnapshotError::Io { .. })));
}

/// Of a single layer, a key or a value says nothing but which token stands where: moved ones are
/// as good as new ones.
#[test]
fn a_moved_piece_stands_at_its_new_place() {
    for family in [TinyFamily::Llama, TinyFamily::Qwen2] {
        for compute in [ours().exact(), Compute::tensors()] {
            let (decoder, _) =
                tiny(TinyModel::new(family, 1).with_layers(1), WINDOW_TOKENS, &compute);
            let (system, evicted, tail) = (tokens(30, 1), tokens(100, 2), tokens(60, 3));
            for inserted in [tokens(20, 4), tokens(200, 4)] {
                let mut session = read(&decoder, &[&system[..], &evicted, &tail].concat());
                let prompt = [&system[..], &inserted, &tail, &[1, 2]].concat();
                let synced = session.sync_moving(&decoder, &prompt, 16, &|| false).unwrap();
                assert_eq!((synced.reused, synced.prefilled), (90, inserted.len() + 2));
                assert_eq!(session.tokens(), prompt);
                let exact = Session::new(&decoder).unwrap().sync(&decoder, &prompt, &|| false);
                let error = largest_difference(&synced.logits, &exact.unwrap().logits);
                assert!(error < 1e-4, "{family:?}, {} tokens: {error}", inserted.len());
            }
        }
    }
}

/// With more layers it is an approximation, and only asked for it is one.
#[test]
fn nothing_is_moved_unasked() {
    let (decoder, _) = tiny(TinyModel::new(TinyFamily::Qwen2, 1), WINDOW_TOKENS, &ours());
    let (system, tail) = (tokens(30, 1), tokens(60, 3));
    let mut session = read(&decoder, &[&system[..], &tokens(100, 2), &tail].concat());
    let prompt = [&system[..], &tokens(20, 4), &tail, &[1, 2]].concat();
    let exact = Session::new(&decoder).unwrap().sync(&decoder, &prompt, &|| false).unwrap();
    let mut moving = session.try_clone().unwrap();
    let synced = session.sync(&decoder, &prompt, &|| false).unwrap();
    assert_eq!(synced.reused, 30);
    assert!(largest_difference(&synced.logits, &exact.logits) < 1e-3);
    let moved = moving.sync_moving(&decoder, &prompt, 16, &|| false).unwrap();
    assert_eq!(moved.reused, 90);
    assert!(largest_difference(&moved.logits, &exact.logits) > 1e-3, "it should differ");
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max)
}
