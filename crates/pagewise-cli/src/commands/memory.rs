mod history;
mod line_diff;
mod transfer;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pagewise_memory::{
    ArchivalHit, ArchivalQuery, Block, EditError, EmbedderChange, Page, RecallHit, RecallQuery,
    SearchMode, Store, WorkingContext,
};
use serde_json::json;

use crate::args::CommonArgs;
use crate::failure::{Failure, Kind};
use crate::home::Home;
use crate::opening::{clock, open_store, resume_change, tell_of_change};
use crate::printer::Printer;

/// The file in the agent's folder in which a block is edited.
const DRAFT: &str = "edit.txt";

/// Results on a page.
const PAGE_SIZE: u32 = 10;

/// Look at, correct, search, export and import what an agent remembers
#[derive(Debug, Args)]
pub(crate) struct MemoryArgs {
    #[command(subcommand)]
    command: MemoryCommand,
}

#[derive(Debug, Subcommand)]
enum MemoryCommand {
    /// Show working context, and how much is in recall and archival storage
    Show,
    /// Change a block of working context; without a flag, in $EDITOR
    Edit {
        /// The block's label
        label: String,
        /// Add a line
        #[arg(long, value_name = "TEXT", conflicts_with_all = ["replace", "set"])]
        append: Option<String>,
        /// Replace a text that is there; an empty NEW removes it
        #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with = "set")]
        replace: Option<Vec<String>>,
        /// Set the whole block
        #[arg(long, value_name = "TEXT")]
        set: Option<String>,
    },
    /// Search what was said, or archival storage
    Search {
        /// The words to search for
        #[arg(required = true)]
        words: Vec<String>,
        /// Search archival storage instead of recall storage
        #[arg(long)]
        archival: bool,
        /// The page of results
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        page: u32,
    },
    /// List the versions of working context, newest first
    ///
    /// Each change of a block makes a version; the versions of a block are numbered from 1. Beside each
    /// stand who made it, a call of the model or somebody by hand, and the first line that it changed.
    Log {
        /// The block's label [default: all blocks]
        label: Option<String>,
        /// List at most so many
        #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// Show the lines that differ between two versions of a block
    ///
    /// Without versions, shows the last change.
    Diff {
        /// The block's label [default: each block]
        label: Option<String>,
        /// A version, as `memory log` numbers them [default: the one before the last change]
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        from: Option<u32>,
        /// The version to compare it with [default: the latest]
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        to: Option<u32>,
    },
    /// Take back the last change of a block
    ///
    /// What the block was before becomes its newest version, so that nothing is lost: undoing twice
    /// gives back what was undone.
    Undo {
        /// The block's label [default: the block that was changed last]
        label: Option<String>,
        /// Go back to this version, as `memory log` numbers them
        #[arg(long, value_name = "VERSION", requires = "label", value_parser = clap::value_parser!(u32).range(1..))]
        to: Option<u32>,
    },
    /// Write everything as one JSON document
    Export {
        /// The file [default: stdout]
        file: Option<PathBuf>,
    },
    /// Take in what `memory export` wrote, as the memory of a new agent
    ///
    /// --agent names the agent, which must not remember anything yet. All of the document is taken in,
    /// or nothing if something in it is wrong.
    Import {
        /// The file; `-` reads it from stdin
        file: PathBuf,
    },
}

pub(crate) fn run(
    args: &MemoryArgs,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    let open = || open_store(common, printer);
    match &args.command {
        MemoryCommand::Show => show(&open()?.0, printer),
        MemoryCommand::Edit { label, append, replace, set } => {
            let (mut store, _) = open()?;
            let draft = Home::of(common)?.existing_agent(&common.agent)?.join(DRAFT);
            let edited = edit(
                &store.working_context()?,
                label,
                &draft,
                append.as_deref(),
                replace.as_deref(),
                set.as_deref(),
            )?;
            save(&mut store, edited.as_ref(), common, printer)?;
            // Only now is what was typed in an editor safe; mostly there was no editor.
            let _ = fs::remove_file(&draft);
            print_blocks(&store.working_context()?, printer);
            Ok(())
        }
        MemoryCommand::Search { words, archival, page } => {
            let (mut store, has_embedder) = open()?;
            let mode = if has_embedder { SearchMode::Fused } else { SearchMode::Words };
            if !has_embedder {
                printer.warn("there is no embedder on this disk: searching by words only (`pagewise pull all-minilm-l6-v2` fetches it)");
            }
            resume_change(&mut store, common, printer)?;
            search(&mut store, &words.join(" "), *archival, *page, mode, printer)?;
            tell_of_change(&store, printer)
        }
        MemoryCommand::Log { label, limit } => {
            history::log(&open()?.0, label.as_deref(), *limit, printer)
        }
        MemoryCommand::Diff { label, from, to } => {
            history::diff(&open()?.0, label.as_deref(), *from, *to, printer)
        }
        MemoryCommand::Undo { label, to } => {
            history::undo(&mut open()?.0, label.as_deref(), *to, common, printer)
        }
        MemoryCommand::Export { file } => transfer::export(&open()?.0, file.as_ref(), printer),
        MemoryCommand::Import { file } => transfer::import(file, common, printer),
    }
}

/// Saves a block that the user changed; main context shows it in its place from the next start on.
fn save(
    store: &mut Store,
    edited: Option<&Block>,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    match edited {
        None => printer.talk("Nothing was changed."),
        Some(block) => {
            let now = clock(common).now().timestamp();
            store.transact(|tx| tx.save_block(block, now, None))?;
        }
    }
    Ok(())
}

fn show(store: &Store, printer: &Printer) -> Result<(), Failure> {
    let working_context = store.working_context()?;
    let (n_messages, n_passages) = (store.n_messages()?, store.n_passages()?);
    let documents = store.documents()?;
    let change = store.embedder_change()?;
    if printer.json() {
        printer.json_line(&json!({
            "blocks": working_context.blocks(),
            "messages": n_messages,
            "passages": n_passages,
            "documents": documents,
            "embedder_change": change,
        }));
        return Ok(());
    }
    print_blocks(&working_context, printer);
    printer.line(format!("\nrecall storage: {n_messages} messages"));
    printer.line(format!("archival storage: {n_passages} passages, {} documents", documents.len()));
    if let Some(EmbedderChange { from, to, n_embedded, n_texts, .. }) = change {
        printer.line(format!(
            "embedder: changes from {from} to {to}, {n_embedded} of {n_texts} texts embedded anew"
        ));
    }
    Ok(())
}

/// Prints the blocks of working context.
pub(super) fn print_blocks(working_context: &WorkingContext, printer: &Printer) {
    if printer.json() {
        printer.json_line(&json!({"blocks": working_context.blocks()}));
        return;
    }
    for block in working_context.blocks() {
        let n_chars = block.value.chars().count();
        let read_only = if block.read_only { ", read-only for the model" } else { "" };
        printer.line(format!(
            "[{}] {n_chars} of {} characters{read_only}",
            block.label, block.limit_chars
        ));
        printer.line(if block.value.is_empty() { "(nothing yet)" } else { &block.value });
    }
}

fn edit(
    working_context: &WorkingContext,
    label: &str,
    draft: &Path,
    append: Option<&str>,
    replace: Option<&[String]>,
    set: Option<&str>,
) -> Result<Option<Block>, Failure> {
    let refused = |error: EditError| Failure::usage(error);
    let old = block(working_context, label)?;
    // Read-only holds for the model; the user may change everything.
    let mut working_context = working_context.clone();
    working_context.set(Block { read_only: false, ..old.clone() });
    let value = match (append, replace, set) {
        (Some(text), ..) => working_context.append(label, text).map_err(refused)?.value.clone(),
        (_, Some([from, to]), _) => {
            working_context.replace(label, from, to).map_err(refused)?.value.clone()
        }
        (.., Some(text)) => text.to_string(),
        _ => in_editor(&old.value, draft)?,
    };
    with_value(old, value).map_err(|refusal| match draft.exists() {
        true => refusal.hint(format!("your text is kept in {}", draft.display())),
        false => refusal,
    })
}

/// Returns the block with this label, or says which there are.
fn block<'a>(working_context: &'a WorkingContext, label: &str) -> Result<&'a Block, Failure> {
    if working_context.blocks().is_empty() {
        return Err(no_blocks());
    }
    working_context.block(label).ok_or_else(|| {
        let labels: Vec<&str> =
            working_context.blocks().iter().map(|block| block.label.as_str()).collect();
        Failure::usage(format!("there is no block {label:?}"))
            .hint(format!("the blocks are: {}", labels.join(", ")))
    })
}

/// Documents can be put in before anything was said.
fn no_blocks() -> Failure {
    Failure::usage("the agent has no blocks before its first chat")
        .hint("`pagewise chat` makes them; Ctrl-D leaves it")
}

/// Returns the block with another text, if that is another one and not too long.
fn with_value(old: &Block, value: String) -> Result<Option<Block>, Failure> {
    let n_chars = value.chars().count();
    if n_chars > old.limit_chars {
        return Err(Failure::usage(format!(
            "the block would have {n_chars} characters; its limit is {}",
            old.limit_chars
        )));
    }
    Ok((value != old.value).then(|| Block { value, ..old.clone() }))
}

/// Lets the user change a text in $VISUAL or $EDITOR. The file `draft`, in the agent's own folder,
/// stays until the edit is saved.
fn in_editor(text: &str, draft: &Path) -> Result<String, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Kind::Failure, format!("the editor: {error}"));
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.trim().is_empty()));
    let Some(editor) = editor else {
        return Err(Failure::usage("neither VISUAL nor EDITOR is set")
            .hint("use --append, --replace or --set"));
    };
    fs::write(draft, text).map_err(failed)?;
    let mut words = editor.split_whitespace();
    let status = Command::new(words.next().unwrap_or_default())
        .args(words)
        .arg(draft)
        .status()
        .map_err(failed)?;
    if !status.success() {
        return Err(Failure::new(
            Kind::Failure,
            format!("the editor ended with {status}; nothing was changed"),
        ));
    }
    Ok(fs::read_to_string(draft).map_err(failed)?.trim_end().to_string())
}

fn search(
    store: &mut Store,
    words: &str,
    archival: bool,
    page: u32,
    mode: SearchMode,
    printer: &Printer,
) -> Result<(), Failure> {
    if words.trim().is_empty() {
        return Err(Failure::usage("there are no words to search for"));
    }
    if archival {
        let query = ArchivalQuery {
            words: words.into(),
            tags: Vec::new(),
            page,
            page_size: PAGE_SIZE,
            mode,
        };
        print_archival(&store.archival_search(&query)?, printer);
    } else {
        let query = RecallQuery {
            words: Some(words.into()),
            roles: Vec::new(),
            from: None,
            to: None,
            time_zone: TimeZone::system(),
            before: None,
            page,
            page_size: PAGE_SIZE,
            mode,
        };
        print_recall(&store.recall_search(&query)?, printer);
    }
    Ok(())
}

/// Shows a time to the minute, where the user is.
fn minute(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// Prints a page of what was said.
pub(super) fn print_recall(page: &Page<RecallHit>, printer: &Printer) {
    if printer.json() {
        let hits: Vec<_> = page
            .hits
            .iter()
            .map(|hit| json!({"id": hit.message.id, "at": hit.message.at, "role": hit.message.body.role(), "text": hit.spoken, "score": hit.score}))
            .collect();
        printer.json_line(
            &json!({"hits": hits, "total": page.total, "page": page.page, "pages": page.n_pages}),
        );
        return;
    }
    for hit in &page.hits {
        let at = minute(hit.message.at);
        printer.line(format!("{at}  {}: {}", hit.message.body.role().name(), hit.spoken));
    }
    talk_of_page(page, printer);
}

fn print_archival(page: &Page<ArchivalHit>, printer: &Printer) {
    if printer.json() {
        let hits: Vec<_> = page
            .hits
            .iter()
            .map(|ArchivalHit { passage, score }| json!({"id": passage.id, "at": passage.at, "source": passage.source, "tags": passage.tags, "text": passage.text, "score": score}))
            .collect();
        printer.json_line(
            &json!({"hits": hits, "total": page.total, "page": page.page, "pages": page.n_pages}),
        );
        return;
    }
    for ArchivalHit { passage, .. } in &page.hits {
        printer.line(format!("[{}] {}", passage.source.as_deref().unwrap_or("note"), passage.text));
    }
    talk_of_page(page, printer);
}

fn talk_of_page<T>(page: &Page<T>, printer: &Printer) {
    printer.talk(&match page.total {
        0 => "Nothing was found.".to_string(),
        total => format!("Page {} of {}, {total} results.", page.page, page.n_pages),
    });
}
