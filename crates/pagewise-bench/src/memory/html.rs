//! One page about runs that needs nothing but itself: no script, no font, no picture from elsewhere.
//!
//! Everything that stands in records is escaped: what a model wrote is hostile until it is text. The page
//! also forbids itself to load or run anything. How large it gets is bounded, and it says what is left out.

mod cases;
mod chart;
mod escape;
mod figures;
mod tables;

use std::collections::BTreeSet;
use std::fmt::Write;

use self::escape::text;
use super::runs::{Cell, Runs};

const STYLE: &str = include_str!("html/style.css");

/// Writes the page.
pub fn html(runs: &Runs) -> String {
    let mut page =
        String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    page += "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src &#39;none&#39;; style-src \
             &#39;unsafe-inline&#39;\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n";
    let _ = write!(
        page,
        "<title>Memory benchmarks</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    page += &head(runs);
    let of_cases = [
        ("models", "Models", figures::models(runs) + &tables::leaderboard(runs)),
        ("nesting", "Nesting", figures::nesting(runs)),
        ("windows", "Windows", figures::windows(runs)),
        ("cost", "Cost", figures::cost(runs)),
        ("failures", "Failures", figures::failures(runs)),
        ("cards", "Aptitude", tables::cards(runs)),
        ("judges", "Judged replies", tables::judges(runs)),
        ("cells", "All figures", tables::table_of_cells(runs)),
        ("cases", "Cases", case_list(runs)),
    ];
    let without_cases = [
        ("searches", "Searches", tables::searches(runs)),
        ("schemas", "Schemas", tables::schemas(runs)),
    ];
    let of_cases = of_cases.iter().filter(|_| !runs.cells.is_empty());
    let there: Vec<_> =
        of_cases.chain(&without_cases).filter(|(_, _, body)| !body.is_empty()).collect();
    page += "<nav>";
    for (id, title, _) in &there {
        let _ = write!(page, "<a href=\"#{id}\">{title}</a>");
    }
    page += "</nav>\n";
    for (id, title, body) in there {
        let _ = writeln!(page, "<section id=\"{id}\">\n<h2>{title}</h2>\n{body}</section>");
    }
    page + "</main>\n</body>\n</html>\n"
}

fn head(runs: &Runs) -> String {
    let set = |of: &dyn Fn(&Cell) -> String| runs.cells.iter().map(of).collect::<BTreeSet<_>>();
    let models: Vec<String> = set(&|cell| cell.settings.model.clone()).into_iter().collect();
    let n_tasks = set(&|cell| cell.settings.task.to_string()).len();
    let n: usize = runs.cells.iter().map(|cell| cell.records.len()).sum();
    let mut html = String::from("<header>\n<h1>How models manage their memory</h1>\n");
    html += &match n {
        0 => "<p>No cases.</p>\n".into(),
        n => format!(
            "<p>{n} cases of {n_tasks} tasks, answered by {}. An accuracy is a share of cases, or a mean (of F1 for \
             locomo, of the tasks done for quest, of nearness for opener), with its 95% interval.</p>\n",
            text(&models.join(", "))
        ),
    };
    for cell in runs.cells.iter().filter(|cell| !cell.differing.is_empty()) {
        let _ = writeln!(html, "<p class=\"warn\">Counted apart: {}.</p>", text(&cell.title()));
    }
    if !runs.contradictions.is_empty() {
        let _ = writeln!(
            html,
            "<p class=\"warn\">{} cases were in two places and say different things; the first counts.</p>",
            runs.contradictions.len()
        );
    }
    html + "</header>\n"
}

fn case_list(runs: &Runs) -> String {
    format!(
        "<p class=\"note\">Wrong ones first. Each opens to what was said, called and returned.</p>\n{}",
        cases::cases(runs)
    )
}

#[cfg(test)]
mod tests;
