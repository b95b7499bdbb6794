use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::Failure;
use crate::printer::Printer;

/// Print the completions of a shell
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, printer: &Printer) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pagewise", &mut script);
    let script = String::from_utf8_lossy(&script);
    if printer.json() {
        printer.json_line(&serde_json::json!({"shell": args.shell.to_string(), "script": script}));
    } else {
        printer.out(&script);
    }
    Ok(())
}
