use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use pagewise_core::for_owner_alone;
use pagewise_memory::{
    ArchivalHit, ArchivalQuery, EditError, EmbedderChange, Page, RecallHit, RecallQuery,
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

/// Look at, correct, search and export what an agent remembers
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
    /// Write everything as one JSON document
    Export {
        /// The file [default: stdout]
        file: Option<PathBuf>,
    },
}

pub(crate) fn run(
    args: &MemoryArgs,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    let (mut store, has_embedder) = open_store(common, printer)?;
    match &args.command {
        MemoryCommand::Show => show(&store, printer),
        MemoryCommand::Edit { label, append, replace, set } => {
            let draft = Home::of(common)?.existing_agent(&common.agent)?.join(DRAFT);
            let edited = edit(
                &store.working_context()?,
                label,
                &draft,
                append.as_deref(),
                replace.as_deref(),
                set.as_deref(),
            )?;
            match edited {
                None => printer.talk("Nothing was changed."),
                Some(block) => {
                    let now = clock(common).now().timestamp();
                    store.transact(|tx| tx.save_block(&block, now, None))?;
                }
            }
            // Only now is what was typed in an editor safe; mostly there was no editor.
            let _ = fs::remove_file(&draft);
            print_blocks(&store.working_context()?, printer);
            Ok(())
        }
        MemoryCommand::Search { words, archival, page } => {
            let mode = if has_embedder { SearchMode::Fused } else { SearchMode::Words };
            if !has_embedder {
                printer.warn("there is no embedder on this disk: searching by words only (`pagewise pull all-minilm-l6-v2` fetches it)");
            }
            resume_change(&mut store, common, printer)?;
            search(&mut store, &words.join(" "), *archival, *page, mode, printer)?;
            tell_of_change(&store, printer)
        }
        MemoryCommand::Export { file } => export(&store, file.as_ref(), printer),
    }
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
) -> Result<Option<pagewise_memory::Block>, Failure> {
    let refused = |error: EditError| Failure::usage(error);
    // Documents can be put in before anything was said.
    if working_context.blocks().is_empty() {
        return Err(Failure::usage("the agent has no blocks before its first chat")
            .hint("`pagewise chat` makes them; Ctrl-D leaves it"));
    }
    let Some(old) = working_context.blocks().iter().find(|block| block.label == label) else {
        let labels: Vec<&str> =
            working_context.blocks().iter().map(|block| block.label.as_str()).collect();
        return Err(Failure::usage(format!("there is no block {label:?}"))
            .hint(format!("the blocks are: {}", labels.join(", "))));
    };
    // Read-only holds for the model; the user may change everything.
    let mut working_context = working_context.clone();
    working_context.set(pagewise_memory::Block { read_only: false, ..old.clone() });
    let value = match (append, replace, set) {
        (Some(text), ..) => working_context.append(label, text).map_err(refused)?.value.clone(),
        (_, Some([from, to]), _) => {
            working_context.replace(label, from, to).map_err(refused)?.value.clone()
        }
        (.., Some(text)) => text.to_string(),
        _ => in_editor(&old.value, draft)?,
    };
    let n_chars = value.chars().count();
    if n_chars > old.limit_chars {
        let refusal = Failure::usage(format!(
            "the block would have {n_chars} characters; its limit is {}",
            old.limit_chars
        ));
        return Err(match draft.exists() {
            true => refusal.hint(format!("your text is kept in {}", draft.display())),
            false => refusal,
        });
    }
    Ok((value != old.value).then(|| pagewise_memory::Block { value, ..old.clone() }))
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
        let at = hit.message.at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M");
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

fn export(store: &Store, file: Option<&PathBuf>, printer: &Printer) -> Result<(), Failure> {
    let everything = store.export()?;
    let Some(file) = file else {
        printer.json_line(&everything);
        return Ok(());
    };
    let cannot = |error: std::io::Error| {
        Failure::new(Kind::Failure, format!("cannot write {}: {error}", file.display()))
    };
    let text = serde_json::to_string_pretty(&everything).map_err(|error| {
        Failure::new(Kind::Failure, format!("the export cannot be written: {error}"))
    })?;
    // Under its final name only when it is whole.
    let unfinished = file.with_extension("part");
    // One that is there would keep its mode.
    let _ = fs::remove_file(&unfinished);
    for_owner_alone(OpenOptions::new().write(true).create_new(true))
        .open(&unfinished)
        .and_then(|mut out| out.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&unfinished, file))
        .map_err(cannot)?;
    if printer.json() {
        printer.json_line(&json!({"exported": file}));
    } else {
        printer.talk(&format!("Exported to {}.", file.display()));
    }
    Ok(())
}
