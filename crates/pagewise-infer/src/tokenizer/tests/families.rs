//! The real vocabularies of model families against the libraries of others: see
//! scripts/make-vocabulary-fixtures.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::export::from_metadata;
use super::tiny::{TINY_TEXTS, folder};
use super::*;

/// The names of the fixtures, with their contents.
macro_rules! families {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../../tests/data/tokenizer/families/", $name, ".json")))),*]
    };
}

const FAMILIES: [(&str, &str); 14] = families! {
    "gemma2" "gemma3" "llama2" "llama3" "mistral" "mistral-nemo" "olmo2" "phi3"
    "phi4-mini" "qwen2" "qwen3" "refact" "smollm2" "smollm3"
};

#[derive(Deserialize)]
struct MoreTexts {
    plain: Vec<String>,
    /// A text again and again, and what follows.
    runs: Vec<(String, String, usize)>,
}

/// The texts that all families are tried with.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    const MORE: &str = include_str!("../../../tests/data/tokenizer/families/texts.json");
    let more: MoreTexts = serde_json::from_str(MORE).unwrap();
    let runs = more.runs.iter().map(|(unit, end, times)| unit.repeat(*times) + end);
    TINY_TEXTS.plain.iter().cloned().chain(more.plain).chain(runs).collect()
});

/// What a family's texts need of its vocabulary, with the ids of the texts.
#[derive(Deserialize)]
struct Family {
    tokens: Vec<String>,
    /// Pairs of tokens.
    merges: String,
    /// Ids with what is said of them: special, takes white space to the left, to the right, and
    /// whether they are looked for after normalising.
    added: Vec<(u32, u8, u8, u8, u8)>,
    /// `tokenizer.json` without its vocabulary.
    tokenizer: Value,
    model: Value,
    /// `tokenizer_config.json`.
    config: Value,
    /// The metadata of the GGUF file, without lists.
    gguf: BTreeMap<String, Value>,
    gguf_types: String,
    gguf_scores: Option<Vec<f32>>,
    /// Tokens that have other names there.
    gguf_names: BTreeMap<usize, String>,
    /// Texts with the names of its special tokens.
    texts: Vec<String>,
    rendered_texts: Vec<String>,
    plain: Vec<String>,
    rendered: Vec<String>,
    /// Ids that are others with the GGUF file.
    gguf_plain: BTreeMap<usize, String>,
    gguf_rendered: BTreeMap<usize, String>,
    /// What the ids are decoded to where that is not the text.
    decoded: BTreeMap<usize, String>,
}

/// Reads ids that are written as `1,2,3*9` for what comes nine times.
fn numbers(short: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    for part in short.split_whitespace() {
        let (unit, times) = part.split_once('*').unwrap_or((part, "1"));
        let unit: Vec<u32> = unit.split(',').map(|number| number.parse().unwrap()).collect();
        numbers.extend(unit.repeat(times.parse().unwrap()));
    }
    numbers
}

impl Family {
    fn merges(&self) -> Vec<[&str; 2]> {
        let token = |id: u32| self.tokens[id as usize].as_str();
        numbers(&self.merges).chunks(2).map(|pair| [token(pair[0]), token(pair[1])]).collect()
    }

    fn as_folder(&self) -> tempfile::TempDir {
        let added = self.added.iter().map(|(id, special, lstrip, rstrip, normalized)| {
            json!({
                "id": id, "content": self.tokens[*id as usize], "single_word": false,
                "special": *special == 1, "lstrip": *lstrip == 1, "rstrip": *rstrip == 1,
                "normalized": *normalized == 1,
            })
        });
        let mut file = self.tokenizer.clone();
        file["added_tokens"] = added.collect();
        file["model"] = self.model.clone();
        let named = self.tokens.iter().zip(0_u32..).filter(|(name, _)| !name.is_empty());
        file["model"]["vocab"] =
            named.map(|(name, id)| (name.clone(), Value::from(id))).collect::<Value>();
        file["model"]["merges"] = json!(self.merges());
        folder(&[("tokenizer.json", file), ("tokenizer_config.json", self.config.clone())])
    }

    fn as_gguf(&self) -> GgufWriter {
        let mut writer = GgufWriter::new("llama");
        for (key, value) in &self.gguf {
            let key = match key.as_str() {
                "name" => "general.name".to_owned(),
                key => format!("tokenizer.ggml.{key}"),
            };
            match value {
                Value::Bool(value) => writer.set(&key, *value),
                Value::Number(id) => writer.set(&key, u32::try_from(id.as_u64().unwrap()).unwrap()),
                value => writer.set(&key, value.as_str().unwrap()),
            };
        }
        let mut names = self.tokens.clone();
        for (id, name) in &self.gguf_names {
            names[*id].clone_from(name);
        }
        let types = numbers(&self.gguf_types).into_iter().map(|kind| i32::try_from(kind).unwrap());
        writer
            .set("tokenizer.ggml.tokens", names)
            .set("tokenizer.ggml.token_type", GgufValue::I32s(types.collect()));
        match &self.gguf_scores {
            Some(scores) => {
                writer.set("tokenizer.ggml.scores", GgufValue::F32s(scores.clone()));
            }
            None => {
                let merges = self.merges().into_iter().map(|pair| pair.join(" "));
                writer.set("tokenizer.ggml.merges", merges.collect::<Vec<_>>());
            }
        }
        writer
    }
}

/// What differs from the ids of others, in words.
#[derive(Default)]
struct Wrong {
    sentences: Vec<String>,
    n_texts: usize,
}

impl Wrong {
    fn compare(&mut self, what: &str, text: &str, ids: &[u32], expected: &[u32]) {
        self.n_texts += 1;
        if ids != expected {
            let at = ids.iter().zip(expected).take_while(|(a, b)| a == b).count();
            let near =
                |ids: &[u32]| format!("{:?}", &ids[at.min(ids.len())..ids.len().min(at + 8)]);
            let text: String = text.chars().take(200).collect();
            let (ids, expected) = (near(ids), near(expected));
            self.sentences.push(format!("{what} {text:?} at {at}: {ids}…, expected {expected}…"));
        }
    }

    fn finish(self) {
        let n_wrong = self.sentences.len();
        let shown = self.sentences.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
        assert!(n_wrong == 0, "{n_wrong} of {} texts differ:\n{shown}", self.n_texts);
    }
}

#[test]
fn families_have_the_ids_of_others() {
    let mut wrong = Wrong::default();
    for (name, fixture) in FAMILIES {
        let family: Family = serde_json::from_str(fixture).unwrap();
        let of_folder = Tokenizer::from_folder(family.as_folder().path()).unwrap();
        let of_gguf = tokenizer_of(&family.as_gguf()).unwrap();
        assert_eq!(family.plain.len(), TEXTS.len() + family.texts.len(), "{name}");
        assert_eq!(family.rendered.len(), family.rendered_texts.len(), "{name}");
        let texts = TEXTS.iter().chain(&family.texts);
        for (index, (text, ids)) in texts.zip(&family.plain).enumerate() {
            let what = format!("{name} folder");
            wrong.compare(&what, text, &of_folder.encode(text), &numbers(ids));
            let ids = family.gguf_plain.get(&index).unwrap_or(ids);
            wrong.compare(&format!("{name} gguf"), text, &of_gguf.encode(text), &numbers(ids));
        }
        for (index, (text, ids)) in family.rendered_texts.iter().zip(&family.rendered).enumerate() {
            let what = format!("{name} folder, rendered");
            wrong.compare(&what, text, &of_folder.encode_rendered(text), &numbers(ids));
            let ids = family.gguf_rendered.get(&index).unwrap_or(ids);
            let what = format!("{name} gguf, rendered");
            wrong.compare(&what, text, &of_gguf.encode_rendered(text), &numbers(ids));
        }
    }
    wrong.finish();
}

/// Decoding gives what the other library's decoding gives, at once and token by token. A space that
/// was put before a text stays there; the other takes it away.
#[test]
fn families_decode_to_the_text() {
    for (name, fixture) in FAMILIES {
        let family: Family = serde_json::from_str(fixture).unwrap();
        let of_folder = Tokenizer::from_folder(family.as_folder().path()).unwrap();
        let of_gguf = tokenizer_of(&family.as_gguf()).unwrap();
        let strips = family.tokenizer["decoder"].to_string().contains("\"Strip\"");
        let marks_spaces = family.gguf_scores.is_some();
        let check = |tokenizer: &Tokenizer, ids: &[u32], expected: &str| {
            let decoded = tokenizer.decode(ids);
            let bare = decoded.strip_prefix(' ').filter(|_| strips).unwrap_or(&decoded);
            assert!(bare == expected, "{name}: {bare:?}, expected {expected:?}");
            let mut detokenizer = crate::Detokenizer::default();
            let mut pieces: String =
                ids.iter().map(|id| detokenizer.push(tokenizer, *id)).collect();
            pieces.push_str(&detokenizer.finish());
            assert!(pieces == decoded, "{name}: {pieces:?} in pieces, {decoded:?} at once");
        };
        let texts = TEXTS.iter().chain(&family.texts);
        for (index, (text, ids)) in texts.zip(&family.plain).enumerate() {
            let decoded = family.decoded.get(&index).unwrap_or(text);
            check(&of_folder, &numbers(ids), decoded);
            match family.gguf_plain.get(&index) {
                None => check(&of_gguf, &numbers(ids), decoded),
                // No normal form and no white space is lost on the way.
                Some(ids) if marks_spaces => {
                    check(&of_gguf, &numbers(ids), &text.replace('▁', " "))
                }
                Some(ids) => check(&of_gguf, &numbers(ids), text),
            }
        }
    }
}

/// No content becomes a control token, whatever it looks like; neutralised in a rendered text it is
/// the same tokens as alone, or others if it had user-defined ones that are not white space.
#[test]
fn no_content_of_a_family_becomes_structure() {
    let mut n_others = 0;
    for (name, fixture) in FAMILIES {
        let family: Family = serde_json::from_str(fixture).unwrap();
        let tokenizers = [
            Tokenizer::from_folder(family.as_folder().path()).unwrap(),
            tokenizer_of(&family.as_gguf()).unwrap(),
        ];
        let texts = TEXTS.iter().chain(&family.texts).chain(&family.rendered_texts);
        for text in texts.filter(|text| text.len() <= 1_000) {
            for tokenizer in &tokenizers {
                let ids = tokenizer.encode(text);
                assert!(!ids.iter().any(|id| tokenizer.is_control(*id)), "{name} {text:?}");
                let neutral = tokenizer.encode_rendered(&tokenizer.neutralise(text));
                let n_bos = usize::from(tokenizer.bos().is_some());
                let neutral = &neutral[n_bos.min(neutral.len())..];
                let is_structure = |ids: &[u32]| ids.iter().any(|id| tokenizer.is_structure(*id));
                assert!(!is_structure(neutral), "{name} {text:?}");
                if is_structure(&ids) {
                    n_others += 1;
                } else {
                    assert_eq!(ids, neutral, "{name} {text:?}");
                }
            }
        }
    }
    assert!(n_others > 100, "{n_others}");
}

/// What [`to_metadata`](super::super::export::to_metadata) writes of a folder is the same tokenizer, or
/// a GGUF file cannot have it.
#[test]
fn folders_of_families_become_gguf_files() {
    let mut wrong = Wrong::default();
    let mut refused = Vec::new();
    for (name, fixture) in FAMILIES {
        let family: Family = serde_json::from_str(fixture).unwrap();
        let folder = family.as_folder();
        let exported = match from_metadata(folder.path(), family.tokens.len()) {
            Ok(exported) => exported,
            Err(error) => {
                refused.push(format!("{name}: {error}"));
                continue;
            }
        };
        let texts = TEXTS.iter().chain(&family.texts);
        for (index, (text, ids)) in texts.zip(&family.plain).enumerate() {
            let ids = family.gguf_plain.get(&index).unwrap_or(ids);
            wrong.compare(name, text, &exported.encode(text), &numbers(ids));
        }
    }
    wrong.finish();
    // Scores join all pieces that they can, and the small vocabularies lack merges that no text needs.
    insta::assert_snapshot!(refused.join("\n"));
}

#[derive(Deserialize)]
struct Whole {
    plain_texts: Vec<String>,
    rendered_texts: Vec<String>,
    folder: Option<WholeIds>,
    gguf: Option<WholeIds>,
    #[serde(default)]
    decoded: BTreeMap<usize, String>,
}

#[derive(Deserialize)]
struct WholeIds {
    plain: Vec<Vec<u32>>,
    rendered: Vec<Vec<u32>>,
}

/// Compares whole vocabularies, if PAGEWISE_TEST_TOKENIZERS names a folder that
/// scripts/make-vocabulary-fixtures has seen.
#[test]
fn whole_vocabularies_give_the_ids_of_others() {
    let Ok(root) = std::env::var("PAGEWISE_TEST_TOKENIZERS") else { return };
    let mut folders: Vec<_> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let mut wrong = Wrong::default();
    for folder in folders.iter().filter(|folder| folder.join("expected.json").exists()) {
        let whole: Whole =
            serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let name = folder.file_name().unwrap().to_string_lossy();
        if let Some(expected) = &whole.folder {
            let tokenizer = Tokenizer::from_folder(folder).unwrap();
            check_whole(&format!("{name} folder"), &tokenizer, &whole, expected, &mut wrong);
            let n_tokens = tokenizer.n_tokens();
            match from_metadata(folder, n_tokens) {
                Ok(exported) => {
                    let what = format!("{name} folder, as written by pagewise");
                    // Normal forms are lost.
                    let is_normalized = tokenizer.inner.encoder.form.is_some();
                    let other = whole.gguf.as_ref().filter(|_| is_normalized).unwrap_or(expected);
                    let plain = WholeIds { plain: other.plain.clone(), rendered: Vec::new() };
                    check_whole(&what, &exported, &whole, &plain, &mut wrong);
                }
                Err(error) => println!("{name} folder: {error}"),
            }
        }
        if let Some(expected) = &whole.gguf {
            let files = ["vocabulary.gguf", "written.gguf"].map(|file| folder.join(file));
            let file = files.iter().find(|file| file.exists()).unwrap();
            let tokenizer = Tokenizer::from_gguf(&Gguf::open(file).unwrap()).unwrap();
            check_whole(&format!("{name} gguf"), &tokenizer, &whole, expected, &mut wrong);
        }
    }
    wrong.finish();
}

fn check_whole(
    what: &str,
    tokenizer: &Tokenizer,
    whole: &Whole,
    expected: &WholeIds,
    wrong: &mut Wrong,
) {
    let (n_before, n_texts) = (wrong.sentences.len(), wrong.n_texts);
    for (index, (text, expected)) in whole.plain_texts.iter().zip(&expected.plain).enumerate() {
        let ids = tokenizer.encode(text);
        wrong.compare(what, text, &ids, expected);
        let decoded = tokenizer.decode(&ids);
        let back = whole.decoded.get(&index).unwrap_or(text);
        if whole.folder.is_some()
            && ids == *expected
            && decoded != *back
            && decoded.strip_prefix(' ') != Some(back)
            && what.ends_with("folder")
        {
            wrong.sentences.push(format!("{what} {text:?}: decoded to {decoded:?}"));
        }
    }
    for (text, expected) in whole.rendered_texts.iter().zip(&expected.rendered) {
        let ids = tokenizer.encode_rendered(text);
        wrong.compare(&format!("{what}, rendered"), text, &ids, expected);
    }
    let n_wrong = wrong.sentences.len() - n_before;
    println!("{what}: {} texts, {n_wrong} wrong", wrong.n_texts - n_texts);
}
