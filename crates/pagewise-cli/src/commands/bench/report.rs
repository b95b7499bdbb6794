use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use pagewise_bench::memory::{
    Card, Cell, GrammarSummary, Leaderboard, Runs, Summary, csv, grammar_table, html,
    judged_shares, judged_text, retrieval_table, table,
};

use crate::failure::{Failure, Kind};
use crate::printer::Printer;

/// Contradictions that are named before the rest are counted.
const NAMED_MAX: usize = 5;

/// Report on runs of `bench memory`: a table, CSV, JSON, one HTML page, or a card for each model
///
/// Cells that differ in a setting beside task, source, model, arm and window are lines of their own. The HTML
/// page needs nothing but itself: accuracy against lookups, windows and models, cost, failure classes, and
/// what happened in each case. A card says what a model can be used for, by thresholds that stand on it. What
/// --task retrieval and grammar measured without a model is in every form but the card.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Folders that --out wrote, or files in them
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// How it is written: table, csv, json, html, card [default: table, or json with --json]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Where to put it [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Table,
    Csv,
    Json,
    Html,
    Card,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            "html" => Ok(Self::Html),
            "card" => Ok(Self::Card),
            _ => Err("one of table, csv, json, html, card".into()),
        }
    }
}

pub(super) fn run(args: &ReportArgs, printer: &Printer) -> Result<(), Failure> {
    let runs = Runs::read(&args.folders)?;
    say_what_was_read(&runs, printer);
    let format = args.format.unwrap_or(if printer.json() { Format::Json } else { Format::Table });
    let summaries = || runs.cells.iter().map(Cell::summary).collect::<Vec<Summary>>();
    let schemas = || GrammarSummary::all(&runs.schemas);
    let text = match format {
        Format::Table => {
            let mut tables = vec![
                table(&summaries()),
                Leaderboard::of(&runs).text(),
                judged_text(&runs.rates, &judged_shares(&runs)),
                retrieval_table(&runs.searches),
                grammar_table(&schemas()),
            ];
            tables.retain(|table| !table.is_empty());
            tables.join("\n")
        }
        Format::Csv => csv(&runs),
        Format::Json => serde_json::to_string_pretty(&serde_json::json!({
            "cells": summaries(),
            "leaderboard": Leaderboard::of(&runs),
            "cards": Card::all(&runs),
            "judges": runs.rates,
            "judged": judged_shares(&runs),
            "retrieval": runs.searches,
            "grammar": schemas(),
        }))
        .map(|text| text + "\n")
        .map_err(|error| Failure::new(Kind::Failure, error))?,
        Format::Html => html(&runs),
        Format::Card => {
            let cards: Vec<String> = Card::all(&runs).iter().map(Card::markdown).collect();
            if cards.is_empty() {
                return Err(Failure::usage(
                    "there is no card to write: none of these runs has the arm memgpt",
                ));
            }
            cards.join("\n")
        }
    };
    match &args.out {
        None => printer.out(&text),
        Some(path) => fs::write(path, text).map_err(|error| {
            Failure::new(Kind::Failure, format!("{} cannot be written: {error}", path.display()))
        })?,
    }
    Ok(())
}

/// Says what is not as one would think: records that contradict each other, cells that differ in a setting.
pub(super) fn say_what_was_read(runs: &Runs, printer: &Printer) {
    let contradictions = &runs.contradictions;
    for one in contradictions.iter().take(NAMED_MAX) {
        let differs = match one.is_other_case {
            true => "asks for something else",
            false => "is otherwise",
        };
        printer.warn(&format!(
            "{} {differs} in {} than in {}, which counts",
            one.id,
            one.other.display(),
            one.kept.display()
        ));
    }
    if contradictions.len() > NAMED_MAX {
        printer.warn(&format!("{} more cases contradict", contradictions.len() - NAMED_MAX));
    }
    for cell in runs.cells.iter().filter(|cell| !cell.differing.is_empty()) {
        printer.warn(&format!("counted apart: {}", cell.title()));
    }
}
