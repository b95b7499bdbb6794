//! Runs as CSV: a line for each cell, and one of its own for what is counted beside it, as the control is. What was
//! measured without a language model has lines too, in which the fields that only a cell has are empty.

use std::fmt::Write;

use super::made_by::Made;
use super::retrieval::RetrievalReport;
use super::runs::{Cell, Part, Runs};
use super::schemas::GrammarSummary;
use super::summary::{Figures, Share, named_scores};
use super::task::Task;

const HEADER: &str = "task,part,source,model,weights,arm,window,seed,differing,n,stores,documents,accuracy,low95,high95,\
    steps_per_case,tokens_per_case,written_tokens_per_case,seconds_per_case,reply_chars,\
    searches_per_case,runtime_searches_per_case,scores,failures,made_by";

/// Writes runs as CSV, with a header.
pub fn csv(runs: &Runs) -> String {
    let mut text = format!("{HEADER}\n");
    for cell in &runs.cells {
        cell.parts().iter().for_each(|part| line(&mut text, cell, part));
    }
    runs.searches.iter().for_each(|report| line_of_search(&mut text, report));
    GrammarSummary::all(&runs.schemas).iter().for_each(|one| line_of_schemas(&mut text, one));
    text
}

fn line(text: &mut String, cell: &Cell, part: &Part<'_>) {
    let settings = &cell.settings;
    let figures = part.figures(settings.seed);
    let Figures { share, steps, tokens, written, seconds, reply_chars, .. } = &figures;
    let Figures { searches, runtime_searches, failures, .. } = &figures;
    let Share { n, accuracy, ci95: [low, high], stores } = share;
    let failures: Vec<String> =
        failures.iter().map(|(class, n)| format!("{}={n}", class.name())).collect();
    let made: Vec<String> = Made::counted(&part.records).iter().map(Made::to_string).collect();
    let _ = writeln!(
        text,
        "{},{},{},{},{},{},{},{},{},{n},{},,{accuracy:.6},{low:.6},{high:.6},{steps:.3},{tokens:.1},{written:.1},\
         {seconds:.3},{reply_chars:.1},{searches:.3},{runtime_searches:.3},{},{},{}",
        settings.task,
        quoted(&part.name),
        quoted(settings.task.source_name(&settings.source)),
        quoted(&settings.model),
        quoted(&settings.weights),
        settings.arm,
        settings.window,
        settings.seed,
        quoted(&cell.differing.join(" ")),
        stores.map_or_else(String::new, |stores| stores.to_string()),
        quoted(&figures.named_scores().join("; ")),
        quoted(&failures.join(" ")),
        quoted(&made.join("; ")),
    );
}

fn line_of_search(text: &mut String, report: &RetrievalReport) {
    let RetrievalReport { model, arm, n_documents, seed, seconds_per_case, .. } = report;
    let Share { n, accuracy, ci95: [low, high], .. } = report.share;
    let _ = writeln!(
        text,
        "{},{},{},{},,{arm},,{seed},,{n},,{n_documents},{accuracy:.6},{low:.6},{high:.6},,,,{seconds_per_case:.6},,,,{},,",
        report.task,
        quoted(&Task::Retrieval.title(None, &report.set())),
        quoted(&report.set()),
        quoted(model),
        quoted(&named_scores(report.scores()).join("; ")),
    );
}

fn line_of_schemas(text: &mut String, summary: &GrammarSummary) {
    let Share { n, accuracy, ci95: [low, high], .. } = summary.share;
    let failures: Vec<String> =
        summary.failures.iter().map(|(class, n)| format!("{class}={n}")).collect();
    let _ = writeln!(
        text,
        "{},{},{},{},,{},,,,{n},,,{accuracy:.6},{low:.6},{high:.6},,,,{:.6},,,,{},{},",
        summary.task,
        quoted(&Task::Grammar.title(None, &summary.source)),
        quoted(&summary.source),
        quoted(&summary.model),
        summary.arm,
        summary.seconds / n as f64,
        quoted(&named_scores(summary.scores()).join("; ")),
        quoted(&failures.join(" ")),
    );
}

/// Quotes a field; one that begins as a formula does in a spreadsheet is made text.
fn quoted(field: &str) -> String {
    let is_formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let mark = if is_formula { "'" } else { "" };
    format!("\"{mark}{}\"", field.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_stays_in_its_place() {
        assert_eq!(quoted("a, \"b\""), "\"a, \"\"b\"\"\"");
        assert_eq!(quoted("=1+1"), "\"'=1+1\"");
    }
}
