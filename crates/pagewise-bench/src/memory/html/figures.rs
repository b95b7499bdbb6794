//! The pictures: accuracy by model, nesting and window, against cost, and why answers are wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::chart::{self, Bar, Dot, Panel, Row, Scatter};
use super::escape::text;
use crate::memory::arm::Arm;
use crate::memory::failure::Failure;
use crate::memory::record::Record;
use crate::memory::runs::{Cell, Runs};
use crate::memory::summary::{Share, share};
use crate::memory::task::Task;

/// The label of nested key-value retrieval that is its depth.
const LOOKUPS: &str = "lookups";

fn legend() -> String {
    let item = |arm: &Arm| {
        let what = match arm {
            Arm::Memgpt => "memgpt: the agent with its memory",
            Arm::FullContext => "full-context: one prompt, as much as fits",
            Arm::Retrieval => "retrieval: one prompt, what a search finds",
            Arm::Oracle => "oracle: one prompt, what must be read alone",
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
pub(super) fn model_of(cell: &Cell) -> String {
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
    task.title(None, source)
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

pub(super) fn models(runs: &Runs) -> String {
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
    html
}

/// Accuracy of nested key-value retrieval and of its control, by lookups.
pub(super) fn nesting(runs: &Runs) -> String {
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
pub(super) fn windows(runs: &Runs) -> String {
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
pub(super) fn cost(runs: &Runs) -> String {
    let names: BTreeSet<String> = runs.cells.iter().map(model_of).collect();
    // After Z come numbers.
    let letter = |place: usize| match u8::try_from(place) {
        Ok(place) if place < 26 => char::from(b'A' + place).to_string(),
        _ => (place + 1).to_string(),
    };
    let letters: BTreeMap<&String, String> =
        names.iter().enumerate().map(|(place, name)| (name, letter(place))).collect();
    let axes = ["tokens a case", "seconds a case", "calls a case"];
    let mut figures = String::new();
    for cells in experiments(runs).into_values() {
        for name in columns(&cells) {
            let mut scatters = axes.map(|axis| Scatter { axis: axis.into(), dots: vec![] });
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
                let costs = [sums.tokens, sums.seconds, sums.steps];
                for (scatter, cost) in scatters.iter_mut().zip(costs) {
                    scatter.dots.push((cost, dot.clone(), letters[&model_of(cell)].clone()));
                }
            }
            let label = format!("Accuracy in {name} against tokens, seconds and calls");
            figures += &figure(&name, &chart::scatters(&label, &scatters));
        }
    }
    let named: Vec<String> =
        letters.iter().map(|(name, letter)| format!("{letter} is {name}")).collect();
    format!(
        "<p>Accuracy, upwards, against the mean cost of a case. {}. Seconds are those of the machine that ran the \
         cases.</p>\n{}{figures}",
        text(&named.join(", ")),
        legend()
    )
}

/// Why answers are wrong.
pub(super) fn failures(runs: &Runs) -> String {
    let mut present: BTreeSet<Failure> = BTreeSet::new();
    let mut charts = String::new();
    for cells in experiments(runs).into_values() {
        for name_of_part in columns(&cells) {
            let mut bars = Vec::new();
            let mut last = String::new();
            for cell in &cells {
                let parts = cell.parts();
                let Some(part) = parts.iter().find(|part| part.name == name_of_part) else {
                    continue;
                };
                let failures = part.figures(cell.settings.seed).failures;
                present.extend(failures.keys());
                let heading = format!("{}, window {}", model_of(cell), cell.settings.window);
                bars.push(Bar {
                    label: cell.settings.arm.to_string(),
                    pieces: failures
                        .iter()
                        .map(|(class, n)| (colour(*class), name(*class), *n))
                        .collect(),
                    heading: (heading != last).then(|| heading.clone()),
                });
                last = heading;
            }
            let label = format!("{name_of_part}: cases by class");
            charts += &figure(&name_of_part, &chart::bars(&label, &bars));
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
    format!(
        "<p>Every wrong answer has one class, by rules over what the model had seen and done.</p>\n\
         <ul class=\"legend\">{items}</ul>\n{charts}"
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
