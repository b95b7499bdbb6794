//! The help of every command, recorded: it is what a newcomer reads.

use clap::{Command, CommandFactory};

use crate::args::Cli;

/// The help of `command` and of all its commands; the common options are shown once, at the top.
fn help(command: &mut Command, path: &str, text: &mut String) {
    let rendered = command.render_long_help().to_string();
    let is_top = !path.contains(' ');
    let own = rendered.split("\nCommon options:").next().unwrap_or_default();
    let shown = if is_top { rendered.as_str() } else { own };
    text.push_str(&format!("$ {path} --help\n{}\n\n", shown.trim_end()));
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names.iter().filter(|name| *name != "help") {
        if let Some(sub) = command.find_subcommand_mut(name) {
            help(sub, &format!("{path} {name}"), text);
        }
    }
}

#[test]
fn the_help_of_every_command() {
    // As wide as in a recording, and without the values that this shell happens to have.
    let mut command = Cli::command().term_width(100).mut_args(|arg| arg.hide_env_values(true));
    command.build();
    let mut text = String::new();
    help(&mut command, "pagewise", &mut text);
    insta::assert_snapshot!(text);
}
