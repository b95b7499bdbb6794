//! Runs as CSV: a line for each cell, and one of its own for what is counted beside it, as the control is.

use std::fmt::Write;

use super::runs::{Cell, Part, Runs};
use super::summary::{Figures, Share};

const HEADER: &str = "task,part,source,model,weights,arm,window,seed,differing,n,stores,accuracy,low95,high95,\
    steps_per_case,tokens_per_case,written_tokens_per_case,seconds_per_case,reply_chars,\
    searches_per_case,runtime_searches_per_case,scores,failures";

/// Writes runs as CSV, with a header.
pub fn csv(runs: &Runs) -> String {
    let mut text = format!("{HEADER}\n");
    for cell in &runs.cells {
        cell.parts().iter().for_each(|part| line(&mut text, cell, part));
    }
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
    let _ = writeln!(
        text,
        "{},{},{},{},{},{},{},{},{},{n},{},{accuracy:.6},{low:.6},{high:.6},{steps:.3},{tokens:.1},{written:.1},\
         {seconds:.3},{reply_chars:.1},{searches:.3},{runtime_searches:.3},{},{}",
        settings.task,
        quoted(&part.name),
        quoted(&settings.source),
        quoted(&settings.model),
        quoted(&settings.weights),
        settings.arm,
        settings.window,
        settings.seed,
        quoted(&cell.differing.join(" ")),
        stores.map_or_else(String::new, |stores| stores.to_string()),
        quoted(&figures.named_scores().join("; ")),
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
