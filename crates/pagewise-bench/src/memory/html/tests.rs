use super::*;
use crate::memory::arm::Arm;
use crate::memory::judge::{JudgeName, JudgeRates, JudgedSet, Judgement};
use crate::memory::made_up::{cell, record, runs, settings};
use crate::memory::schemas::MeasuredSchema;
use crate::memory::task::Task;

/// What a model may write.
const HOSTILE: &str = "</pre></details></script><script>alert(1)</script><img src=x onerror='y'>\" & ]]> \u{0} \u{202e}";

/// Goes through a page as a reader of XML does: every element is closed where it must be, every attribute is
/// quoted, and no text has what begins one. Returns the names of all elements.
fn elements(page: &str) -> BTreeSet<String> {
    let mut open: Vec<String> = Vec::new();
    let mut names = BTreeSet::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some(at) = rest.find('<') {
        check_text(&rest[..at]);
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(
                open.pop().as_deref(),
                Some(name),
                "closed out of turn, before {:.80}",
                rest
            );
            continue;
        }
        let (tag, is_closed) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name:?}");
        // An attribute is a name and a value in quotation marks: what is left between two is a name.
        for (number, piece) in attributes.split('"').enumerate() {
            check_text(piece);
            let is_value = number % 2 == 1;
            let piece = piece.trim();
            let is_name = piece.is_empty() || piece.ends_with('=') && !piece.contains(' ');
            assert!(is_value || is_name, "{attributes:?}");
            assert!(is_value || !piece.starts_with("on"), "{attributes:?}");
        }
        names.insert(name.to_string());
        if !is_closed {
            open.push(name.to_string());
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    names
}

fn check_text(text: &str) {
    assert!(
        !text.contains('>') && !text.contains('\u{0}') && !text.contains('\u{202e}'),
        "{text:.80}"
    );
    for entity in text.split('&').skip(1) {
        let name = entity.split(';').next().unwrap_or_default();
        assert!(["amp", "lt", "gt", "quot", "#39"].contains(&name), "{entity:.20}");
    }
}

/// Two models, three arms, two windows, and a judge.
fn many() -> Runs {
    let mut cells = Vec::new();
    for (model, window) in [("alpha", 2048), ("alpha", 4096), ("beta <b>", 4096)] {
        for arm in [Arm::Memgpt, Arm::FullContext, Arm::NoMemory] {
            for task in [Task::NestedKv, Task::DocQa] {
                let mut settings = settings(task, arm);
                settings.model = model.into();
                settings.window = window;
                let mut one = cell(&settings, 0, 0);
                for n in 0..12 {
                    let lookups = (n / 2 % 3 + 1).to_string();
                    let ask = if n % 2 == 0 { "nested" } else { "direct" };
                    let labels = [("lookups", &*lookups), ("ask", ask)];
                    let labels = if task == Task::NestedKv { &labels[..] } else { &[] };
                    one.records.push(record(&settings, &format!("c{n}"), n % 3 > 0, labels));
                }
                cells.push(one);
            }
        }
    }
    runs(cells)
}

#[test]
fn a_page_is_well_formed_and_needs_nothing_but_itself() {
    let page = html(&many());
    let names = elements(&page);
    for name in ["svg", "circle", "rect", "polyline", "table", "details", "summary", "title"] {
        assert!(names.contains(name), "no {name}");
    }
    for name in ["script", "link", "img", "iframe", "object", "use", "image"] {
        assert!(!names.contains(name), "{name}");
    }
    assert!(!page.contains("url(") && !page.contains("@import") && !page.contains("://"));
    let titles: Vec<&str> = page
        .split("<h2>")
        .skip(1)
        .map(|rest| rest.split("</h2>").next().unwrap_or_default())
        .collect();
    let expected =
        ["Models", "Nesting", "Windows", "Cost", "Failures", "Aptitude", "All figures", "Cases"];
    assert_eq!(titles, expected);
    // Nested cases and controls stand side by side in one picture.
    let nesting = page.split("id=\"nesting\"").nth(1).unwrap();
    let picture = nesting.split("</svg>").find(|svg| svg.contains("polyline")).unwrap();
    assert!(picture.contains(">nested-kv<") && picture.contains(">nested-kv control<"));
    assert!(page.contains("nested-kv, memgpt, 2 lookups: 1.000, 95% 0.342 to 1.000, n 2"));
    assert_eq!(page, html(&many()), "the same records give the same page");
}

#[test]
fn what_a_model_wrote_is_text() {
    let settings = settings(Task::DocQa, Arm::Memgpt);
    let mut one = cell(&settings, 1, 1);
    one.settings.model = HOSTILE.into();
    let hostile = &mut one.records[1];
    hostile.reply = HOSTILE.into();
    hostile.case.id = HOSTILE.into();
    hostile.case.messages[0].text = HOSTILE.into();
    hostile.case.gold.answers = vec![HOSTILE.into()];
    hostile.case.labels.insert(HOSTILE.into(), HOSTILE.into());
    hostile.error = Some(HOSTILE.into());
    let step = &mut hostile.events[0].steps[0];
    step.function = HOSTILE.into();
    step.functions = vec![HOSTILE.into()];
    step.result = HOSTILE.into();
    step.arguments = [(HOSTILE.to_string(), HOSTILE.into())].into_iter().collect();
    let judge = JudgeName { judge: HOSTILE.into(), weights: "w".into(), prompt: "p".into() };
    hostile.judged = vec![Judgement { judge: judge.clone(), accepts: true }];
    one.differing = vec![HOSTILE.into()];
    let mut runs = runs(vec![one]);
    let set = JudgedSet { name: HOSTILE.into(), is_right: true, n: 3, n_accepted: 2 };
    runs.rates = vec![JudgeRates { judge, sets: vec![set] }];
    let page = html(&runs);
    let names = elements(&page);
    assert!(!names.contains("script") && !names.contains("img"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("Judged replies"));
}

#[test]
fn a_page_says_what_it_leaves_out() {
    let settings = settings(Task::DocQa, Arm::Memgpt);
    let mut one = cell(&settings, 8_000, 1_500);
    for record in &mut one.records {
        record.events[0].steps[0].result = "word ".repeat(1_000);
    }
    let page = html(&runs(vec![one]));
    elements(&page);
    assert!(page.len() < 34 << 20, "{} bytes", page.len());
    assert!(page.contains("cases are left out, which would make this page too large"));
    assert!(page.contains("more characters]"));
    // What is wrong is left out last.
    let n_wrong = page.matches("<details class=\"case wrong\">").count();
    assert_eq!(n_wrong, 1_500);
}

#[test]
fn a_page_shows_what_has_no_model_alone() {
    let schema = MeasuredSchema {
        source: HOSTILE.into(),
        model: HOSTILE.into(),
        id: HOSTILE.into(),
        family: HOSTILE.into(),
        features: Vec::new(),
        compile_us: 1.0,
        unsupported: Some(HOSTILE.into()),
        valid_accepted: [0, 1],
        invalid_refused: [0, 0],
        mask_us: Vec::new(),
    };
    let page = html(&Runs { schemas: vec![schema], ..Runs::default() });
    let names = elements(&page);
    assert!(!names.contains("script") && !names.contains("img"));
    assert_eq!(page.matches("<h2>").count(), 1);
    assert!(page.contains("<h2>Schemas</h2>") && page.contains("No cases."), "{page}");
}

#[test]
fn nothing_run_is_a_page_too() {
    let page = html(&runs(Vec::new()));
    elements(&page);
    assert!(page.contains("No cases.") && !page.contains("<section"), "{page}");
}
