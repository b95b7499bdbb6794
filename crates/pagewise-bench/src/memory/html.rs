//! One page about runs that needs nothing but itself: no script, no font, no picture from elsewhere.
//!
//! Everything that stands in records is escaped: what a model wrote is hostile until it is text. The page
//! also forbids itself to load or run anything. How large it gets is bounded, and it says what is left out.

mod cases;
mod chart;
mod escape;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use self::chart::{Bar, Dot, Panel, Row, Scatter};
use self::escape::text;
use super::arm::Arm;
use super::card::{ADVISED_AGAINST_BELOW, ADVISED_FROM, Card};
use super::failure::Failure;
use super::judge::judged_shares;
use super::leaderboard::Leaderboard;
use super::record::Record;
use super::runs::{Cell, Runs};
use super::summary::{Figures, Share, share};
use super::task::Task;

const STYLE: &str = include_str!("html/style.css");

/// The label of nested key-value retrieval that is its depth.
const LOOKUPS: &str = "lookups";

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
    let sections = [
        ("models", "Models", models(runs)),
        ("nesting", "Nesting", nesting(runs)),
        ("windows", "Windows", windows(runs)),
        ("cost", "Cost", cost(runs)),
        ("failures", "Failures", failures(runs)),
        ("cards", "Aptitude", cards(runs)),
        ("judges", "Judged replies", judges(runs)),
        ("cells", "All figures", table_of_cells(runs)),
        ("cases", "Cases", case_list(runs)),
    ];
    let there: Vec<_> = sections.iter().filter(|(_, _, body)| !body.is_empty()).collect();
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
    let mut html = format!(
        "<header>\n<h1>How models manage their memory</h1>\n<p>{n} cases of {n_tasks} tasks, answered by {}. An accuracy \
         is a share of cases, with its 95% interval.</p>\n",
        text(&models.join(", "))
    );
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

fn legend() -> String {
    let item = |arm: &Arm| {
        let what = match arm {
            Arm::Memgpt => "memgpt: the agent with its memory",
            Arm::FullContext => "full-context: one prompt, as much as fits",
            Arm::Retrieval => "retrieval: one prompt, what a search finds",
            Arm::NoMemory => "no-memory: the question alone",
        };
        format!(
            "<li class=\"{}\"><svg viewBox=\"0 0 14 14\" aria-hidden=\"true\">{}</svg>{what}</li>",
            arm.name(),
            chart::mark(*arm, 7.0, 7.0)
        )
    };
    let items: String = Arm::ALL.iter().map(item).collect();
    format!("<ul class=\"legend\">{items}</ul>\n")
}

fn figure(caption: &str, body: &str) -> String {
    format!("<figure>\n<figcaption>{}</figcaption>\n{body}</figure>\n", text(caption))
}

/// The name of a model with what else a cell differs in.
fn model_of(cell: &Cell) -> String {
    format!("{}{}", cell.settings.model, cell.variant())
}

fn dot(cell: &Cell, of: String, records: &[&Record]) -> Option<Dot> {
    let Share { n, accuracy, ci95, .. } = share(records, cell.settings.seed);
    (n > 0).then_some(Dot { arm: cell.settings.arm, value: accuracy, ci95, n, of })
}

/// The cells of each task and source, in order.
fn experiments(runs: &Runs) -> BTreeMap<(Task, &str), Vec<&Cell>> {
    let mut experiments: BTreeMap<(Task, &str), Vec<&Cell>> = BTreeMap::new();
    for cell in &runs.cells {
        let key = (cell.settings.task, cell.settings.source.as_str());
        experiments.entry(key).or_default().push(cell);
    }
    experiments
}

fn title((task, source): (Task, &str)) -> String {
    if source == "generated" { task.to_string() } else { format!("{task}, {source}") }
}

/// The names of the parts of cells, in order.
fn columns(cells: &[&Cell]) -> Vec<String> {
    let mut names = Vec::new();
    for part in cells.iter().flat_map(|cell| cell.parts()) {
        if !names.contains(&part.name) {
            names.push(part.name);
        }
    }
    names
}

fn models(runs: &Runs) -> String {
    let mut html = legend();
    for (key, cells) in experiments(runs) {
        let columns = columns(&cells);
        let mut rows = Vec::new();
        let mut heading = String::new();
        for cell in cells {
            let name = format!("{}, window {}", model_of(cell), cell.settings.window);
            if name != heading {
                rows.push(Row::Heading(name.clone()));
                heading = name;
            }
            let parts = cell.parts();
            let dots = columns.iter().map(|column| {
                let part = parts.iter().find(|part| part.name == *column)?;
                dot(cell, format!("{column}, {}", cell.settings.arm), &part.records)
            });
            rows.push(Row::Dots(cell.settings.arm.to_string(), dots.collect()));
        }
        let label = format!("Accuracy in {} by model and arm", title(key));
        html += &figure(&title(key), &chart::ranges(&label, &columns, &rows));
    }
    html + &leaderboard(runs)
}

fn leaderboard(runs: &Runs) -> String {
    let board = Leaderboard::of(runs);
    if board.standings.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<h3>Leaderboard</h3>\n<p class=\"note\">The memgpt arm. Each task counts once in the mean; nested-kv is the \
         mean of accuracy and control.</p>\n",
    );
    let mut header = vec!["model".to_string(), "window".into()];
    header.extend(board.tasks.iter().cloned());
    header.push("mean".into());
    let rows = board.standings.iter().map(|standing| {
        let mut row = vec![standing.model.clone(), standing.window.to_string()];
        row.extend(standing.scores.iter().map(|score| match score {
            Some(score) => with_interval(score.score, score.ci95, &format!("n {}", score.n)),
            None => "–".into(),
        }));
        let of = format!("{} of {}", standing.n_tasks, board.tasks.len());
        row.push(with_interval(standing.mean, standing.ci95, &of));
        row
    });
    html += &table(&header, rows, 0);
    html
}

fn with_interval(value: f64, [low, high]: [f64; 2], of: &str) -> String {
    format!("{value:.2} ({low:.2}–{high:.2}, {of})")
}

/// Writes a table; the first `n_words` columns stand left, and so do cells that are no numbers.
fn table(header: &[String], rows: impl Iterator<Item = Vec<String>>, n_words: usize) -> String {
    let cell = |tag: &str, column: usize, cell: &str| {
        let is_number = column >= n_words && cell.parse::<f64>().is_ok();
        let class = if is_number { " class=\"number\"" } else { "" };
        format!("<{tag}{class}>{}</{tag}>", text(cell))
    };
    let row = |tag: &str, cells: &[String]| {
        let cells: String = (0..).zip(cells).map(|(column, one)| cell(tag, column, one)).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let body: String = rows.map(|cells| row("td", &cells)).collect();
    format!(
        "<div class=\"scroll\"><table>\n<thead>\n{}</thead>\n<tbody>\n{body}</tbody>\n</table></div>\n",
        row("th", header)
    )
}

/// Accuracy of nested key-value retrieval and of its control, by lookups.
fn nesting(runs: &Runs) -> String {
    let mut html = String::new();
    for ((task, source), cells) in experiments(runs) {
        let has_lookups = |record: &Record| record.case.labels.contains_key(LOOKUPS);
        if task != Task::NestedKv || !cells.iter().any(|cell| cell.records.iter().any(has_lookups))
        {
            continue;
        }
        for ((model, window), cells) in by_model_and_window(&cells) {
            let lookups: BTreeSet<&str> = cells
                .iter()
                .flat_map(|cell| &cell.records)
                .filter_map(|record| Some(record.case.labels.get(LOOKUPS)?.as_str()))
                .collect();
            let mut lookups: Vec<&str> = lookups.into_iter().collect();
            lookups.sort_by_key(|value| value.parse::<u32>().unwrap_or(u32::MAX));
            let panels: Vec<Panel> = columns(&cells)
                .into_iter()
                .map(|name| Panel {
                    axis: "lookups".into(),
                    ticks: lookups.iter().map(|value| (*value).to_string()).collect(),
                    series: cells.iter().map(|cell| by_lookups(cell, &name, &lookups)).collect(),
                    title: name,
                })
                .collect();
            let caption = format!("{}, {model}, window {window}", title((task, source)));
            html += &figure(&caption, &chart::panels(&caption, &panels));
        }
    }
    if html.is_empty() {
        return html;
    }
    let note = "<p>To the left the value at the end of a chain of pairs is asked for, to the right, in the same chains, \
                the first value. What looks up everything that can be looked up gets the one right and the other \
                wrong: neither figure means anything alone.</p>\n";
    format!("{note}{}{html}", legend())
}

fn by_lookups(cell: &Cell, part: &str, lookups: &[&str]) -> Vec<Option<Dot>> {
    let parts = cell.parts();
    let records = parts.iter().find(|one| one.name == part).map(|part| part.records.clone());
    let records = records.unwrap_or_default();
    let of = |value: &&str| {
        let these: Vec<&Record> = records
            .iter()
            .copied()
            .filter(|record| record.case.labels.get(LOOKUPS).is_some_and(|found| found == value))
            .collect();
        dot(cell, format!("{part}, {}, {value} lookups", cell.settings.arm), &these)
    };
    lookups.iter().map(of).collect()
}

fn by_model_and_window<'a>(cells: &[&'a Cell]) -> BTreeMap<(String, usize), Vec<&'a Cell>> {
    let mut groups: BTreeMap<(String, usize), Vec<&Cell>> = BTreeMap::new();
    for cell in cells {
        groups.entry((model_of(cell), cell.settings.window)).or_default().push(cell);
    }
    groups
}

/// Accuracy by window, where there are several.
fn windows(runs: &Runs) -> String {
    let mut html = String::new();
    for (key, cells) in experiments(runs) {
        let mut by_model: BTreeMap<String, Vec<&Cell>> = BTreeMap::new();
        for cell in &cells {
            by_model.entry(model_of(cell)).or_default().push(cell);
        }
        for (model, cells) in by_model {
            let windows: BTreeSet<usize> = cells.iter().map(|cell| cell.settings.window).collect();
            if windows.len() < 2 {
                continue;
            }
            let series = |part: &str, arm: Arm| -> Vec<Option<Dot>> {
                let at = |window: &usize| {
                    let cell = cells
                        .iter()
                        .find(|cell| (cell.settings.arm, cell.settings.window) == (arm, *window))?;
                    let parts = cell.parts();
                    let part = parts.iter().find(|one| one.name == part)?;
                    dot(cell, format!("{}, {arm}, window {window}", part.name), &part.records)
                };
                windows.iter().map(at).collect()
            };
            let panels: Vec<Panel> = columns(&cells)
                .into_iter()
                .map(|name| Panel {
                    axis: "window, in tokens".into(),
                    ticks: windows.iter().map(usize::to_string).collect(),
                    series: Arm::ALL.iter().map(|arm| series(&name, *arm)).collect(),
                    title: name,
                })
                .collect();
            let caption = format!("{}, {model}", title(key));
            html += &figure(&caption, &chart::panels(&caption, &panels));
        }
    }
    if html.is_empty() { html } else { format!("{}{html}", legend()) }
}

/// Accuracy against what a case costs.
fn cost(runs: &Runs) -> String {
    let names: BTreeSet<String> = runs.cells.iter().map(model_of).collect();
    let letter = |cell: &Cell| {
        let place = names.iter().position(|name| *name == model_of(cell)).unwrap_or(0);
        // After Z come numbers.
        u8::try_from(place)
            .ok()
            .filter(|place| *place < 26)
            .map_or_else(|| (place + 1).to_string(), |place| char::from(b'A' + place).to_string())
    };
    let costs: [(&str, fn(&Figures) -> f64); 3] = [
        ("tokens a case", |figures| figures.tokens),
        ("seconds a case", |figures| figures.seconds),
        ("calls a case", |figures| figures.steps),
    ];
    let mut figures = String::new();
    for (key, cells) in experiments(runs) {
        for name in columns(&cells) {
            let mut scatters = costs.map(|(axis, _)| Scatter { axis: axis.into(), dots: vec![] });
            for cell in &cells {
                let parts = cell.parts();
                let Some(part) = parts.iter().find(|part| part.name == name) else { continue };
                let of = format!(
                    "{}, {}, window {}",
                    model_of(cell),
                    cell.settings.arm,
                    cell.settings.window
                );
                let Some(dot) = dot(cell, of, &part.records) else { continue };
                let sums = part.figures(cell.settings.seed);
                for (scatter, (_, cost)) in scatters.iter_mut().zip(costs) {
                    scatter.dots.push((cost(&sums), dot.clone(), letter(cell)));
                }
            }
            let caption = if name == key.0.name() { title(key) } else { name };
            let label = format!("Accuracy in {caption} against tokens, seconds and calls");
            figures += &figure(&caption, &chart::scatters(&label, &scatters));
        }
    }
    let named: Vec<String> = names
        .iter()
        .zip(
            runs.cells
                .iter()
                .map(|cell| (model_of(cell), letter(cell)))
                .collect::<BTreeMap<_, _>>(),
        )
        .map(|(name, (_, letter))| format!("{letter} is {name}"))
        .collect();
    format!(
        "<p>Accuracy, upwards, against the mean cost of a case. {}. Seconds are those of the machine that ran the \
         cases.</p>\n{}{figures}",
        text(&named.join(", ")),
        legend()
    )
}

/// Why answers are wrong.
fn failures(runs: &Runs) -> String {
    let mut present: BTreeSet<Failure> = BTreeSet::new();
    let mut bars = Vec::new();
    for cell in &runs.cells {
        for part in cell.parts() {
            let sums = part.figures(cell.settings.seed);
            present.extend(sums.failures.keys());
            let pieces = sums.failures.iter().map(|(class, n)| (colour(*class), name(*class), *n));
            let arm = cell.settings.arm;
            let label = format!(
                "{}, {arm}, {} {}",
                part.name,
                short(&model_of(cell)),
                cell.settings.window
            );
            bars.push(Bar { label, pieces: pieces.collect() });
        }
    }
    let items: String = present
        .iter()
        .map(|class| {
            format!(
                "<li><svg viewBox=\"0 0 14 14\" aria-hidden=\"true\"><rect class=\"f{}\" width=\"14\" height=\"14\"/></svg>\
                 {}</li>",
                colour(*class),
                name(*class)
            )
        })
        .collect();
    let chart = figure("Cases by class", &chart::bars("Cases by class of failure", &bars));
    format!(
        "<p>Every wrong answer has one class, by rules over what the model had seen and done.</p>\n\
         <ul class=\"legend\">{items}</ul>\n{chart}"
    )
}

/// The number of a class's colour; it is the same on every page.
fn colour(class: Failure) -> usize {
    const COLOURS: usize = 16;
    class as usize % COLOURS
}

fn name(class: Failure) -> &'static str {
    if class == Failure::None { "right" } else { class.name() }
}

/// A name that fits beside a bar.
fn short(model: &str) -> String {
    const CHARS: usize = 22;
    match model.char_indices().nth(CHARS) {
        Some((at, _)) => format!("{}…", &model[..at]),
        None => model.into(),
    }
}

fn cards(runs: &Runs) -> String {
    let mut html = String::new();
    for card in Card::all(runs) {
        let weights =
            if card.weights.is_empty() { "without a recorded hash" } else { &card.weights };
        let _ = writeln!(
            html,
            "<h3>{}, window {}</h3>\n<p class=\"note\">weights <code>{}</code></p>",
            text(&card.model),
            card.window,
            text(weights)
        );
        let header = [
            "task",
            "n",
            "accuracy",
            "full context",
            "no memory",
            "memory adds",
            "tokens",
            "s",
            "advice",
        ]
        .map(String::from);
        let rows = card.lines.iter().map(|line| {
            let share = |share: &Share| {
                with_interval(share.accuracy, share.ci95, &format!("n {}", share.n))
            };
            let other = |arm: Arm| line.others.get(arm.name()).map_or_else(|| "–".into(), share);
            vec![
                line.part.clone(),
                line.memgpt.n.to_string(),
                share(&line.memgpt),
                other(Arm::FullContext),
                other(Arm::NoMemory),
                line.over_no_memory.map_or_else(
                    || "–".into(),
                    |(more, [low, high])| format!("{more:+.2} ({low:+.2} to {high:+.2})"),
                ),
                format!("{:.0}", line.tokens_per_case),
                format!("{:.1}", line.seconds_per_case),
                line.advice.name().into(),
            ]
        });
        html += &table(&header, rows, 1);
        html += "<ul class=\"note\">";
        for line in &card.lines {
            let _ = write!(html, "<li>{}: {}</li>", text(&line.part), text(&line.details()));
        }
        html += "</ul>\n";
    }
    if html.is_empty() {
        return html;
    }
    format!(
        "<p>What each model can be used for as a manager of its memory. \"use\": the lower end of the 95% interval is at \
         least {ADVISED_FROM}; \"do not use\": its upper end is below {ADVISED_AGAINST_BELOW}; \"check replies\": \
         neither. \"memory adds\" is accuracy less that of the question alone, over the cases that both have.</p>\n{html}"
    )
}

fn judges(runs: &Runs) -> String {
    if runs.rates.is_empty() {
        return String::new();
    }
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>();
    let rates = runs.rates.iter().flat_map(|rates| {
        rates.sets.iter().map(|set| {
            let (rate, ci95) = set.error_rate();
            let are = if set.is_right { "right" } else { "wrong" };
            let of = format!("n {}", set.n);
            vec![
                rates.judge.judge.clone(),
                set.name.clone(),
                are.into(),
                set.n_accepted.to_string(),
                with_interval(rate, ci95, &of),
            ]
        })
    });
    let mut html = String::from(
        "<p>A model was asked whether replies give the right answer. What it says counts for nothing else on this page, \
         and means what its own errors let it mean.</p>\n",
    );
    html += &table(&strings(&["judge", "answers", "are", "accepted", "judge is wrong"]), rates, 3);
    let shares = judged_shares(runs).into_iter().map(|share| {
        vec![
            share.cell,
            share.judge,
            format!("{:.2}", share.accuracy),
            with_interval(share.accepted, share.ci95, &format!("n {}", share.n)),
            format!("{:.2}", share.agreement),
        ]
    });
    html + &table(&strings(&["cell", "judge", "text compared", "judged", "agree"]), shares, 2)
}

fn table_of_cells(runs: &Runs) -> String {
    let header = [
        "task", "model", "arm", "window", "n", "accuracy", "95%", "stores", "calls", "tokens",
        "written", "s", "reply",
    ]
    .map(String::from);
    let rows = runs.cells.iter().flat_map(|cell| {
        cell.parts().into_iter().map(move |part| {
            let sums = part.figures(cell.settings.seed);
            let Share { n, accuracy, ci95: [low, high], stores } = &sums.share;
            let source = match cell.settings.source.as_str() {
                "generated" => String::new(),
                source => format!(" ({source})"),
            };
            vec![
                format!("{}{source}", part.name),
                model_of(cell),
                cell.settings.arm.to_string(),
                cell.settings.window.to_string(),
                n.to_string(),
                format!("{accuracy:.3}"),
                format!("{low:.3}–{high:.3}"),
                stores.map_or_else(|| "–".into(), |stores| stores.to_string()),
                format!("{:.1}", sums.steps),
                format!("{:.0}", sums.tokens),
                format!("{:.0}", sums.written),
                format!("{:.1}", sums.seconds),
                format!("{:.0}", sums.reply_chars),
            ]
        })
    });
    format!(
        "<p class=\"note\">Calls, tokens (read, sampled and forced), written tokens, seconds and the length of a reply in \
         characters are means over cases. Where several cases were asked of one store, the interval takes these \
         together.</p>\n{}",
        table(&header, rows, 3)
    )
}

fn case_list(runs: &Runs) -> String {
    format!(
        "<p class=\"note\">Wrong ones first. Each opens to what was said, called and returned.</p>\n{}",
        cases::cases(runs)
    )
}

#[cfg(test)]
mod tests;
