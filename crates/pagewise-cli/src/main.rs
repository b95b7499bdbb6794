//! The program `pagewise`: parses, wires the crates together, maps errors to exit codes.

mod agent_settings;
mod args;
mod commands;
mod failure;
#[cfg(test)]
mod help;
mod home;
mod listener;
mod opening;
mod printer;
mod weights;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use commands::{agents, bench, chat, completions, doctor, ingest, memory, models, pull, run};
use failure::Kind;
use printer::{Printer, Verbosity};

fn main() -> ExitCode {
    let Cli { command, common } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let verbosity = match (common.quiet, common.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let printer = Printer::new(common.json, verbosity);
    listener::listen(Printer::new(common.json, verbosity), verbosity);
    let result = match &command {
        Command::Chat(args) => chat::run(args, &common, &printer),
        Command::Run(args) => run::run(args, &common, &printer),
        Command::Ingest(args) => ingest::run(args, &common, &printer),
        Command::Memory(args) => memory::run(args, &common, &printer),
        Command::Agents(args) => agents::run(args, &common, &printer),
        Command::Pull(args) => pull::run(args, &common, &printer),
        Command::Models(args) => models::run(args, &common, &printer),
        Command::Bench(args) => bench::run(args, &common, &printer),
        Command::Doctor(args) => doctor::run(args, &common, &printer),
        Command::Completions(args) => completions::run(args, &printer),
    };
    match result {
        _ if printer.has_failed() => Kind::Failure.into(),
        Ok(()) => ExitCode::SUCCESS,
        // The reader of stdout has gone, as with `| head`: there is nobody to tell.
        Err(_) if printer.is_closed() => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.kind != Kind::Interrupted {
                printer.failure(&failure);
            }
            failure.kind.into()
        }
    }
}

/// Help and version go to stdout, a wrong command line to stderr; with `--json` also as an object.
fn explain(error: &clap::Error) -> ExitCode {
    // Nobody can be told that it cannot be said.
    let _ = error.print();
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let failure = failure::Failure::usage(message);
        Printer::new(true, Verbosity::Quiet).json_failure(&failure);
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}
