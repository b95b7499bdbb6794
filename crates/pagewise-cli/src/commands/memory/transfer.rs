//! All of a memory as a file, and a file as the memory of a new agent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pagewise_core::for_owner_alone;
use pagewise_memory::{Export, ImportError, Store};
use serde_json::json;

use crate::args::CommonArgs;
use crate::failure::{Failure, Kind};
use crate::home::Home;
use crate::opening::NoEmbedder;
use crate::printer::Printer;

/// Writes everything in the store.
pub(super) fn export(
    store: &Store,
    file: Option<&PathBuf>,
    printer: &Printer,
) -> Result<(), Failure> {
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

/// Puts what [`export`] wrote into an agent that remembers nothing yet.
pub(super) fn import(file: &Path, common: &CommonArgs, printer: &Printer) -> Result<(), Failure> {
    let agent = &common.agent;
    // Before the agent's folder is made: a document that is refused leaves none.
    let everything = read(file).map_err(|error| refusal(error, file, agent))?;
    let folder = Home::of(common)?.agent(agent);
    let mut store = Store::open(&folder, Arc::new(NoEmbedder))?;
    store.import(&everything).map_err(|error| refusal(error, file, agent))?;
    let Export { messages, blocks, passages, .. } = &everything;
    let (n_messages, n_versions, n_passages) = (messages.len(), blocks.len(), passages.len());
    if printer.json() {
        printer.json_line(&json!({
            "imported": file,
            "agent": agent,
            "messages": n_messages,
            "block_versions": n_versions,
            "passages": n_passages,
        }));
    } else {
        printer.talk(&format!(
            "Imported {n_messages} messages, {n_versions} versions of blocks and {n_passages} passages \
             into the agent {agent}."
        ));
    }
    Ok(())
}

fn read(file: &Path) -> Result<Export, ImportError> {
    match file.to_str() {
        Some("-") => Export::read(io::stdin().lock()),
        _ => Export::read(File::open(file).map_err(ImportError::Io)?),
    }
}

fn refusal(error: ImportError, file: &Path, agent: &str) -> Failure {
    let shown = match file.to_str() {
        Some("-") => "stdin".into(),
        _ => file.display().to_string(),
    };
    match error {
        ImportError::Store(error) => error.into(),
        ImportError::Io(error) => {
            Failure::new(Kind::Failure, format!("cannot read {shown}: {error}"))
        }
        ImportError::NotEmpty { .. } => {
            Failure::new(Kind::Store, format!("the agent {agent:?} has a memory already: {error}"))
                .hint("an import makes a new agent: name it with --agent")
        }
        error => Failure::usage(format!("{shown} cannot be imported: {error}")),
    }
}
