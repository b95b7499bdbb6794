use std::fs;
use std::sync::Arc;

use clap::{Args, Subcommand};
use pagewise_memory::{Store, StoreError};
use serde_json::{Value, json};

use crate::args::CommonArgs;
use crate::failure::{Failure, Kind};
use crate::home::Home;
use crate::opening::NoEmbedder;
use crate::printer::Printer;

/// List or remove agents
#[derive(Debug, Args)]
pub(crate) struct AgentsArgs {
    #[command(subcommand)]
    command: AgentsCommand,
}

#[derive(Debug, Subcommand)]
enum AgentsCommand {
    /// List the agents: name, messages, passages, last message
    Ls,
    /// Remove an agent and everything it remembers
    Rm {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

pub(crate) fn run(
    args: &AgentsArgs,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    match &args.command {
        AgentsCommand::Ls => list(common, printer),
        AgentsCommand::Rm { name, yes } => remove(name, *yes, common, printer),
    }
}

fn list(common: &CommonArgs, printer: &Printer) -> Result<(), Failure> {
    let home = Home::of(common)?;
    let mut agents = Vec::new();
    for name in home.agent_names()? {
        let folder = home.agent(&name);
        // One agent that is in use or damaged must not hide the others.
        let look = || -> Result<Value, StoreError> {
            let store = Store::open(&folder, Arc::new(NoEmbedder))?;
            Ok(json!({
                "name": name,
                "path": folder,
                "messages": store.n_messages()?,
                "passages": store.n_passages()?,
                "last_message": store.last_message_at()?,
            }))
        };
        let entry = look().unwrap_or_else(
            |error| json!({"name": name, "path": folder, "error": error.to_string()}),
        );
        agents.push(entry);
    }
    if printer.json() {
        printer.json_line(&json!({"agents": agents}));
        return Ok(());
    }
    if agents.is_empty() {
        printer.talk("There is no agent yet; `pagewise chat` makes one.");
    }
    for agent in &agents {
        let name = agent["name"].as_str().unwrap_or_default();
        match agent["error"].as_str() {
            Some(error) => printer.line(format!("{name}\t{error}")),
            None => printer.line(format!(
                "{name}\t{} messages\t{} passages\tlast {}",
                agent["messages"],
                agent["passages"],
                agent["last_message"].as_str().unwrap_or("never")
            )),
        }
    }
    Ok(())
}

fn remove(name: &str, yes: bool, common: &CommonArgs, printer: &Printer) -> Result<(), Failure> {
    let home = Home::of(common)?;
    // Only names that are there: a name is never joined to a path unseen.
    if !home.agent_names()?.iter().any(|known| known == name) {
        return Err(home.no_agent(name)?);
    }
    let folder = home.agent(name);
    // Opening it takes the lock: an agent in use is not removed under its user's feet. A damaged
    // store can be removed.
    let held = Store::open(&folder, Arc::new(NoEmbedder));
    if let Err(error @ StoreError::Locked { .. }) = held {
        return Err(error.into());
    }
    if !yes && !printer.confirm(&format!("Remove {name:?} and everything it remembers?")) {
        return Err(
            Failure::usage("nothing was removed").hint("give --yes to remove without being asked")
        );
    }
    fs::remove_dir_all(&folder).map_err(|error| {
        Failure::new(Kind::Store, format!("cannot remove {}: {error}", folder.display()))
    })?;
    drop(held);
    if printer.json() {
        printer.json_line(&json!({"removed": name}));
    } else {
        printer.talk(&format!("Removed {name}."));
    }
    Ok(())
}
