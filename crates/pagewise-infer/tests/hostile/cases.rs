//! The corpus: a few files that are in order, damaged in every way that their format suggests, and by
//! chance.
//!
//! Groups of cases are made anew at each run, always the same. What once crashed or hung the reader,
//! or made it take memory, is in the tables of `named/`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use pagewise_testkit::GgufWriter;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::layout::{self, Field, Kind};
use super::seeds::{self, Files};
use super::{named, read};

/// Random damage to files of each kind: what there is, and of how many one is run.
const N_RANDOM: usize = 20_000;
const ONE_OF_RANDOM: usize = 41;

/// How a case is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As a language model: a GGUF file if there is one file without a folder, else a folder.
    Weights,
    /// The same, without the kernels for this processor.
    WeightsByCandle,
    /// As the tokenizer and the template of a GGUF file.
    GgufTokenizer,
    /// As the tokenizer and the template of a folder.
    FolderTokenizer,
    /// As a chat template.
    Template,
    /// As a KV cache that was kept.
    Snapshot,
    /// As an embedder.
    Embedder,
}

/// Files to be read.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) way: Way,
    /// One for a file, any number for a folder.
    pub(crate) files: Files,
}

impl Case {
    pub(crate) fn file(name: impl Into<String>, way: Way, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), way, files: vec![("hostile.gguf".into(), bytes)] }
    }

    pub(crate) fn folder(name: impl Into<String>, way: Way, files: Files) -> Self {
        Self { name: name.into(), way, files }
    }

    /// Writes the files below `folder`, forgets them, and says where to begin reading.
    pub(crate) fn write(self, folder: &Path) -> Written {
        let n_bytes = self.files.iter().map(|(_, bytes)| bytes.len()).sum();
        for (name, bytes) in &self.files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let path = match self.files.as_slice() {
            [(name, _)]
                if name.ends_with(".gguf") || matches!(self.way, Way::Template | Way::Snapshot) =>
            {
                folder.join(name)
            }
            _ => folder.to_owned(),
        };
        Written { way: self.way, path, n_bytes }
    }
}

/// A case that lies on the disk.
pub(crate) struct Written {
    way: Way,
    path: PathBuf,
    /// The size of all its files.
    pub(crate) n_bytes: usize,
}

impl Written {
    pub(crate) fn read(&self) -> read::Outcome {
        match self.way {
            Way::Weights => read::weights(&self.path),
            Way::WeightsByCandle => read::weights_by_candle(&self.path),
            Way::GgufTokenizer => read::gguf_tokenizer(&self.path),
            Way::FolderTokenizer => read::folder_tokenizer(&self.path),
            Way::Template => {
                let bytes = std::fs::read(&self.path).unwrap();
                read::template(&String::from_utf8_lossy(&bytes), seeds::tokenizer())
            }
            Way::Snapshot => read::snapshot(&self.path, &seeds::kept_weights()),
            Way::Embedder => read::embedder(&self.path),
        }
    }
}

/// Cases that are made in one way.
#[derive(Clone, Copy)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) len: usize,
    /// Of how many one is run, unless all are asked for.
    pub(crate) one_of: usize,
    pub(crate) make: fn(usize) -> Case,
}

/// Returns all cases.
pub(crate) fn groups() -> Vec<Group> {
    let group = |name, len, one_of, make| Group { name, len, one_of, make };
    vec![
        group("in order", in_order_len(), 1, in_order as fn(usize) -> Case),
        group("named", named::cases().count(), 1, named::case),
        group("GGUF fields", GGUF_FIELDS.len(), 13, gguf_field),
        group("GGUF cut", cuts().len(), 3, gguf_cut),
        group("GGUF damage", N_RANDOM, ONE_OF_RANDOM, gguf_damage),
        group("GGUF tokenizer damage", N_RANDOM, ONE_OF_RANDOM, gguf_tokenizer_damage),
        group("settings", CONFIG_VALUES.len(), 9, config_value),
        group("tokenizer values", TOKENIZER_VALUES.len(), 2, tokenizer_value),
        group("safetensors values", HEADER_VALUES.len(), 3, header_value),
        group("index values", INDEX_VALUES.len(), 2, index_value),
        group("folder damage", N_RANDOM, ONE_OF_RANDOM, folder_damage),
        group("numbers", seeds::FAMILIES.len() * ODD_NUMBERS.len(), 1, odd_numbers),
        group("template damage", N_RANDOM, ONE_OF_RANDOM, template_damage),
        group("snapshot damage", N_RANDOM, ONE_OF_RANDOM, snapshot_damage),
        group("embedder values", EMBEDDER_VALUES.len(), 17, embedder_value),
        group("embedder damage", N_RANDOM, ONE_OF_RANDOM, embedder_damage),
    ]
}

fn in_order_len() -> usize {
    2 * seeds::FAMILIES.len() + 2 + seeds::EMBEDDERS.len() + seeds::CHAT_TEMPLATES.len()
}

/// The seeds themselves, which must be used to their end, or their damage would mean nothing.
fn in_order(index: usize) -> Case {
    let n = seeds::FAMILIES.len();
    match index {
        0 => Case::file("sentencepiece", Way::Weights, seeds::sentencepiece().to_bytes()),
        1 => Case::folder("sharded", Way::Weights, seeds::sharded()),
        index if index < 2 + n => {
            let family = seeds::FAMILIES[index - 2];
            Case::file(family, Way::Weights, seeds::gguf(family).to_bytes())
        }
        index if index < 2 + 2 * n => {
            let family = seeds::FAMILIES[index - 2 - n];
            Case::folder(family, Way::Weights, seeds::folder(family))
        }
        index if index < 2 + 2 * n + seeds::EMBEDDERS.len() => {
            let name = seeds::EMBEDDERS[index - 2 - 2 * n];
            Case::folder(name, Way::Embedder, seeds::embedder(name))
        }
        index => {
            let index = index - 2 - 2 * n - seeds::EMBEDDERS.len();
            let text = seeds::CHAT_TEMPLATES[index].as_bytes().to_vec();
            let name = format!("chat template {index}");
            Case::folder(name, Way::Template, vec![("template".into(), text)])
        }
    }
}

// GGUF

/// What a size, a type or a whole number becomes; besides, one more and one less than it is.
const WHOLE: [u64; 12] =
    [0, 1, 2, 9, 13, 0xFF, 1 << 20, (1 << 31) - 1, u32::MAX as u64, 1 << 40, 1 << 63, u64::MAX];

const FLOATS: [f32; 9] =
    [0.0, -0.0, -1.0, 1e-45, 1e-30, 1e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];

const TEXTS: [&[u8]; 5] =
    [b"", b"\xFF", b"\x1B[2J", b"general.architecture", b"blk.0.attn_q.weight"];

static GGUF_SEEDS: LazyLock<Vec<(&str, Vec<u8>)>> = LazyLock::new(|| {
    let mut all: Vec<(&str, GgufWriter)> = vec![("sentencepiece", seeds::sentencepiece())];
    all.extend(seeds::FAMILIES.map(|family| (family, seeds::gguf(family))));
    all.into_iter().map(|(name, writer)| (name, writer.to_bytes())).collect()
});

/// Each field of three files, and of the others what is the family's own, with each thing to do.
static GGUF_FIELDS: LazyLock<Vec<(usize, Field, usize)>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for (seed, (name, bytes)) in GGUF_SEEDS.iter().enumerate() {
        let whole = ["sentencepiece", "llama", "phi4mini-long"].contains(name);
        for field in layout::fields(bytes) {
            let is_own = !field.name.starts_with("general.")
                && !field.name.starts_with("tokenizer.")
                && !field.name.ends_with(".weight")
                && field.kind != Kind::Size;
            if !(whole || is_own) {
                continue;
            }
            let n_ways = match field.kind {
                Kind::Size | Kind::Whole | Kind::Type => WHOLE.len() + 2,
                Kind::Float => FLOATS.len(),
                Kind::Text => TEXTS.len(),
            };
            all.extend((0..n_ways).map(|way| (seed, field.clone(), way)));
        }
    }
    all
});

fn gguf_field(index: usize) -> Case {
    let (seed, field, way) = &GGUF_FIELDS[index];
    let (seed, bytes) = &GGUF_SEEDS[*seed];
    let mut bytes = bytes.clone();
    let range = field.at..field.at + field.len;
    let mut old = [0; 8];
    if field.kind != Kind::Text {
        old[..field.len].copy_from_slice(&bytes[range.clone()]);
    }
    let old = u64::from_le_bytes(old);
    let name = format!("{seed}: {:?} of {} at {}, {way}", field.kind, field.name, field.at);
    match field.kind {
        Kind::Text => {
            // Its length stays; what is over is filled up.
            let text = TEXTS[*way].iter().chain([b'x'].iter().cycle());
            for (to, from) in bytes[range].iter_mut().zip(text) {
                *to = *from;
            }
        }
        Kind::Float => bytes[range].copy_from_slice(&FLOATS[*way].to_le_bytes()),
        Kind::Size | Kind::Type | Kind::Whole => {
            let number = match way.checked_sub(WHOLE.len()) {
                None => WHOLE[*way],
                Some(0) => old.wrapping_add(1),
                Some(_) => old.wrapping_sub(1),
            };
            bytes[range].copy_from_slice(&number.to_le_bytes()[..field.len]);
        }
    }
    let way = if index.is_multiple_of(7) { Way::WeightsByCandle } else { Way::Weights };
    Case::file(name, way, bytes)
}

/// Where files are cut: at each field, in the middle of it, and in the data.
fn cuts() -> Vec<usize> {
    let bytes = &GGUF_SEEDS[1].1;
    let mut cuts: Vec<usize> = layout::fields(bytes)
        .into_iter()
        .flat_map(|field| [field.at, field.at + field.len / 2])
        .collect();
    cuts.extend([1, 2, 31, 33, 1000, 4097].map(|from_end| bytes.len() - from_end));
    cuts.extend([0, 1, 3]);
    cuts
}

fn gguf_cut(index: usize) -> Case {
    let (name, bytes) = &GGUF_SEEDS[1];
    let at = cuts()[index];
    Case::file(format!("{name} cut at {at}"), Way::Weights, bytes[..at].to_vec())
}

/// Damages a few bytes of `bytes`, most of them in `often`.
fn damage(bytes: &mut Vec<u8>, often: Range<usize>, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..6) {
        if bytes.is_empty() {
            return;
        }
        let often = often.start.min(bytes.len() - 1)..often.end.min(bytes.len());
        let at = match rng.random_range(0..8) {
            0 => rng.random_range(0..bytes.len()),
            _ => rng.random_range(often),
        };
        match rng.random_range(0..8) {
            0..3 => bytes[at] ^= 1 << rng.random_range(0..8),
            3 => bytes[at] = rng.random(),
            4 => {
                let number = WHOLE[rng.random_range(0..WHOLE.len())].to_le_bytes();
                let end = bytes.len().min(at + 8);
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
            5 => {
                // A piece of it, once more.
                let end = bytes.len().min(at + rng.random_range(1..64));
                let piece = bytes[at..end].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, piece);
            }
            6 => {
                let end = bytes.len().min(at + rng.random_range(1..32));
                bytes.drain(at..end);
            }
            _ => {
                let digit = b"0123456789-.eE\"[]{}, "[rng.random_range(0..21)];
                bytes[at] = digit;
            }
        }
    }
}

fn gguf_damage(index: usize) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(index as u64);
    let (seed, bytes) = &GGUF_SEEDS[index % GGUF_SEEDS.len()];
    let mut bytes = bytes.clone();
    let header = layout::fields(&bytes).last().map_or(0, |field| field.at + field.len);
    damage(&mut bytes, 0..header, &mut rng);
    Case::file(format!("{seed}, {index}"), Way::Weights, bytes)
}

fn gguf_tokenizer_damage(index: usize) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(1_000_000 + index as u64);
    let (seed, bytes) = &GGUF_SEEDS[index % 2];
    let mut bytes = bytes.clone();
    let fields = layout::fields(&bytes);
    let first = fields.iter().find(|field| field.name.starts_with("tokenizer."));
    let last = fields.iter().rfind(|field| field.name.starts_with("tokenizer."));
    let (start, end) = (first.unwrap().at, last.unwrap().at + last.unwrap().len);
    damage(&mut bytes, start..end, &mut rng);
    Case::file(format!("{seed}, {index}"), Way::GgufTokenizer, bytes)
}

// Folders

/// What a value of a JSON file becomes; `None` takes it away.
static VALUES: LazyLock<Vec<Option<Value>>> = LazyLock::new(|| {
    let mut deep = json!(0);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let mut values: Vec<Option<Value>> = vec![None];
    values.extend(
        [
            json!(null),
            json!(true),
            json!(0),
            json!(1),
            json!(3),
            json!(-1),
            json!(0.5),
            json!(1e30),
            json!(-1e300),
            json!(1e-45),
            json!(65_535),
            json!(1 << 24),
            json!(u32::MAX),
            json!(u64::MAX),
            json!(""),
            json!("\u{1B}[2J"),
            json!("x".repeat(10_000)),
            json!([]),
            json!([[0, "a"], {"b": -1}]),
            json!(vec![0; 1_000]),
            json!({}),
            deep,
        ]
        .map(Some),
    );
    values
});

/// Returns the places of all values below `value`; of a long list or object only a few.
fn places(value: &Value) -> Vec<String> {
    const MOST: usize = 12;
    let mut all = Vec::new();
    let mut walk = vec![(String::new(), value)];
    while let Some((place, value)) = walk.pop() {
        let below: Vec<(String, &Value)> = match value {
            Value::Array(list) => {
                list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
            }
            Value::Object(map) => {
                let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
                map.iter().map(|(key, value)| (escaped(key), value)).collect()
            }
            _ => vec![],
        };
        let most = if below.len() > 60 { 2 } else { MOST.max(below.len()) };
        walk.extend(
            below.into_iter().take(most).map(|(key, value)| (format!("{place}/{key}"), value)),
        );
        all.push(place);
    }
    all.sort();
    all
}

/// Returns `value` with another one at `place`.
fn with_value(value: &Value, place: &str, new: Option<&Value>) -> Value {
    let mut value = value.clone();
    match (new, place.rsplit_once('/')) {
        (Some(new), _) => *value.pointer_mut(place).unwrap() = new.clone(),
        (None, None) => value = Value::Null,
        (None, Some((parent, key))) => match value.pointer_mut(parent).unwrap() {
            Value::Array(list) => _ = list.remove(key.parse().unwrap()),
            Value::Object(map) => {
                _ = map.shift_remove(&key.replace("~1", "/").replace("~0", "~"));
            }
            _ => {}
        },
    }
    value
}

fn parsed(files: &Files, name: &str) -> Value {
    let (_, bytes) = files.iter().find(|(known, _)| known == name).unwrap();
    serde_json::from_slice(bytes).unwrap()
}

fn replaced(mut files: Files, name: &str, bytes: Vec<u8>) -> Files {
    files.iter_mut().find(|(known, _)| known == name).unwrap().1 = bytes;
    files
}

/// The family, the place in its settings, and what to put there.
static CONFIG_VALUES: LazyLock<Vec<(&str, String, usize)>> = LazyLock::new(|| {
    // What nothing reads, in any family.
    const UNREAD: [&str; 12] = [
        "/architectures",
        "/dtype",
        "/torch_dtype",
        "/initializer_range",
        "/transformers_version",
        "/use_cache",
        "/attention_dropout",
        "/embd_pdrop",
        "/resid_pdrop",
        "/pad_token_id",
        "/router_aux_loss_coef",
        "/pretraining_tp",
    ];
    let mut all = Vec::new();
    for family in seeds::FAMILIES {
        let config = parsed(&seeds::folder(family), "config.json");
        for place in places(&config) {
            if !UNREAD.iter().any(|unread| place.starts_with(unread)) {
                all.extend((0..VALUES.len()).map(|value| (family, place.clone(), value)));
            }
        }
    }
    all
});

fn config_value(index: usize) -> Case {
    let (family, place, value) = &CONFIG_VALUES[index];
    let files = seeds::folder(family);
    let config = with_value(&parsed(&files, "config.json"), place, VALUES[*value].as_ref());
    let files = replaced(files, "config.json", config.to_string().into_bytes());
    Case::folder(format!("{family}: {place}, {value}"), Way::Weights, files)
}

/// The file, the place in it, and what to put there.
static TOKENIZER_VALUES: LazyLock<Vec<(&str, String, usize)>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for (name, json) in seeds::tokenizer_files() {
        for place in places(&json) {
            all.extend((0..VALUES.len()).map(|value| (name, place.clone(), value)));
        }
    }
    all
});

fn tokenizer_value(index: usize) -> Case {
    let (name, place, value) = &TOKENIZER_VALUES[index];
    let files = seeds::tokenizer_json_files();
    let json = with_value(&parsed(&files, name), place, VALUES[*value].as_ref());
    let files = replaced(files, name, json.to_string().into_bytes());
    Case::folder(format!("{name}: {place}, {value}"), Way::FolderTokenizer, files)
}

/// Takes a safetensors file apart: its header, and what follows.
fn header_of(bytes: &[u8]) -> (Value, &[u8]) {
    let (len, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*len) as usize);
    (serde_json::from_slice(header).unwrap(), data)
}

fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

static HEADER_VALUES: LazyLock<Vec<(String, usize)>> = LazyLock::new(|| {
    let files = seeds::folder("qwen3");
    let (_, bytes) = files.iter().find(|(name, _)| name == "model.safetensors").unwrap();
    let places = places(&header_of(bytes).0);
    places
        .into_iter()
        .flat_map(|place| (0..VALUES.len()).map(move |value| (place.clone(), value)))
        .collect()
});

fn header_value(index: usize) -> Case {
    let (place, value) = &HEADER_VALUES[index];
    let files = seeds::folder("qwen3");
    let (_, bytes) = files.iter().find(|(name, _)| name == "model.safetensors").unwrap();
    let (header, data) = header_of(bytes);
    let header = with_value(&header, place, VALUES[*value].as_ref()).to_string();
    let bytes = with_header(&header, data);
    let files = replaced(files, "model.safetensors", bytes);
    Case::folder(format!("{place}, {value}"), Way::Weights, files)
}

const INDEX: &str = "model.safetensors.index.json";

static INDEX_VALUES: LazyLock<Vec<(String, usize)>> = LazyLock::new(|| {
    let places = places(&parsed(&seeds::sharded(), INDEX));
    places
        .into_iter()
        .flat_map(|place| (0..VALUES.len()).map(move |value| (place.clone(), value)))
        .collect()
});

fn index_value(index: usize) -> Case {
    let (place, value) = &INDEX_VALUES[index];
    let files = seeds::sharded();
    let json = with_value(&parsed(&files, INDEX), place, VALUES[*value].as_ref());
    let files = replaced(files, INDEX, json.to_string().into_bytes());
    Case::folder(format!("{place}, {value}"), Way::Weights, files)
}

fn folder_damage(index: usize) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(2_000_000 + index as u64);
    let family = seeds::FAMILIES[index % seeds::FAMILIES.len()];
    let mut files = seeds::folder(family);
    let n_files = files.len();
    let (name, bytes) = &mut files[rng.random_range(0..n_files)];
    let name = name.clone();
    damage(bytes, 0..4_000, &mut rng);
    Case::folder(format!("{family}, {name}, {index}"), Way::Weights, files)
}

/// What all weights become.
const ODD_NUMBERS: [f32; 5] = [f32::NAN, f32::INFINITY, -3e38, 0.0, 1e-45];

fn odd_numbers(index: usize) -> Case {
    let number = ODD_NUMBERS[index % ODD_NUMBERS.len()];
    let family = seeds::FAMILIES[index / ODD_NUMBERS.len()];
    let mut bytes = seeds::gguf(family).to_bytes();
    let header = layout::fields(&bytes).last().map_or(0, |field| field.at + field.len);
    let (floats, _) = bytes[header.next_multiple_of(32)..].as_chunks_mut();
    floats.fill(number.to_le_bytes());
    let way = if index.is_multiple_of(2) { Way::WeightsByCandle } else { Way::Weights };
    Case::file(format!("{family} of {number}"), way, bytes)
}

// Templates

/// What templates are made of.
const WORDS: [&str; 48] = [
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "{%- ",
    " -%}",
    "{# ",
    " #}",
    "for m in messages",
    "endfor",
    "if ",
    "elif ",
    "else",
    "endif",
    "set x = ",
    "set ns.x = ",
    "ns = namespace(x='a')",
    "macro f(x)",
    "endmacro",
    "f(f)",
    "m.role",
    "m['content']",
    "messages",
    "loop.index0",
    "range(100000)",
    "range(9)",
    "'a'",
    "1",
    "-1",
    "1e9",
    "none",
    " ~ ",
    " * ",
    " // ",
    " % ",
    " ** ",
    "[",
    "]",
    "(",
    ")",
    "|length",
    "|tojson(indent=2)",
    "|join('x')",
    "|trim",
    ".strip()",
    ".split('a')",
    "raise_exception('no')",
    "messages[::-1]",
];

fn template_damage(index: usize) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(3_000_000 + index as u64);
    let mut text = seeds::CHAT_TEMPLATES[index % seeds::CHAT_TEMPLATES.len()].to_owned();
    for _ in 0..rng.random_range(1..8) {
        let word = WORDS[rng.random_range(0..WORDS.len())];
        // Where characters begin, and the end.
        let spots: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let first = rng.random_range(0..spots.len() - 1);
        let n = if rng.random() { 0 } else { rng.random_range(0..=12) };
        text.replace_range(spots[first]..spots[(first + n).min(spots.len() - 1)], word);
        if text.is_empty() {
            text.push('x');
        }
    }
    Case::folder(format!("{index}"), Way::Template, vec![("template".into(), text.into_bytes())])
}

fn snapshot_damage(index: usize) -> Case {
    static WHOLE_FILE: LazyLock<Vec<u8>> = LazyLock::new(seeds::snapshot);
    let mut rng = ChaCha8Rng::seed_from_u64(4_000_000 + index as u64);
    let mut bytes = WHOLE_FILE.clone();
    // The first one is in order. In the others it is mostly the header, with its counts, that is hit.
    if index > 0 {
        damage(&mut bytes, 0..64, &mut rng);
    }
    if index.is_multiple_of(2) {
        read::make_checksum_right(&mut bytes);
    }
    Case::folder(format!("{index}"), Way::Snapshot, vec![("snapshot".into(), bytes)])
}

// Embedders

/// The embedder, its file, the place in that, and what to put there.
static EMBEDDER_VALUES: LazyLock<Vec<(&str, String, String, usize)>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for embedder in seeds::EMBEDDERS {
        let files = seeds::embedder(embedder);
        for (name, _) in files.iter().filter(|(name, _)| name.ends_with(".json")) {
            for place in places(&parsed(&files, name)) {
                let case = |value| (embedder, name.clone(), place.clone(), value);
                all.extend((0..VALUES.len()).map(case));
            }
        }
    }
    all
});

fn embedder_value(index: usize) -> Case {
    let (embedder, name, place, value) = &EMBEDDER_VALUES[index];
    let files = seeds::embedder(embedder);
    let json = with_value(&parsed(&files, name), place, VALUES[*value].as_ref());
    let files = replaced(files, name, json.to_string().into_bytes());
    Case::folder(format!("{embedder}/{name}: {place}, {value}"), Way::Embedder, files)
}

fn embedder_damage(index: usize) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(5_000_000 + index as u64);
    let embedder = seeds::EMBEDDERS[index % seeds::EMBEDDERS.len()];
    let mut files = seeds::embedder(embedder);
    let n_files = files.len();
    let (name, bytes) = &mut files[rng.random_range(0..n_files)];
    let name = name.clone();
    damage(bytes, 0..4_000, &mut rng);
    Case::folder(format!("{embedder}, {name}, {index}"), Way::Embedder, files)
}
