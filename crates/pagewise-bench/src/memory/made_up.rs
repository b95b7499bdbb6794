//! Records for tests of what is made of records.

use std::collections::BTreeMap;
use std::sync::Arc;

use pagewise_agent::AgentConfig;
use pagewise_core::{Status, TokenUsage};

use super::arm::{Arm, Truncation};
use super::case::{Baseline, Case, Gold, Metric, Tier, UserMessage};
use super::failure::Failure;
use super::record::{Documents, EventRecord, Record, Settings, Step};
use super::runs::{Cell, Runs};
use super::score::Score;
use super::task::Task;

pub(crate) fn settings(task: Task, arm: Arm) -> Settings {
    let settings = Settings {
        format: Settings::FORMAT,
        task,
        source: "generated".into(),
        model: "m".into(),
        weights: "w".into(),
        arm,
        window: 4096,
        seed: 0,
        now: Settings::CASE_START,
        embedder: "none".into(),
        prompts: "p".into(),
        documents: Documents { n_max: 6, truncation: Truncation::Whole },
        agent: AgentConfig::default(),
    };
    settings.with_what_counts()
}

/// A record of one search and a reply.
pub(crate) fn record(
    settings: &Settings,
    id: &str,
    correct: bool,
    labels: &[(&str, &str)],
) -> Record {
    let step = |function: &str, name: &str, value: &str, result: &str| Step {
        functions: vec!["archival_search".into(), "send_message".into()],
        function: function.into(),
        arguments: [(name.to_string(), value.into())].into_iter().collect(),
        status: Status::Ok,
        result: result.into(),
        tokens: TokenUsage { generated: 4, forced: 8, ..TokenUsage::default() },
        seconds: 0.5,
        by_runtime: false,
    };
    let is_agent = settings.arm == Arm::Memgpt;
    let steps = vec![
        step("archival_search", "words", "harbour", "The harbour was built in 1901."),
        step("send_message", "message", "In 1901.", ""),
    ];
    Record {
        nearness: None,
        settings: settings.clone(),
        made_by: None,
        case: Case {
            id: id.into(),
            labels: labels
                .iter()
                .map(|(label, value)| ((*label).into(), (*value).into()))
                .collect(),
            memory: Arc::default(),
            messages: vec![UserMessage { text: "When was it built?".into(), after_reset: false }],
            baseline: Baseline::default(),
            gold: Gold {
                metric: Metric::Subspan,
                answers: vec!["1901".into()],
                decoys: Vec::new(),
                evidence: vec!["The harbour was built in 1901.".into()],
                tier: Tier::Archival,
                edit: None,
            },
            tasks: Vec::new(),
        },
        events: vec![EventRecord {
            steps: if is_agent { steps } else { Vec::new() },
            replies: vec!["In 1901.".into()],
            ..EventRecord::default()
        }],
        reply: "In 1901.".into(),
        blocks: Vec::new(),
        store: String::new(),
        prompt: None,
        asked: if is_agent { String::new() } else { "0".into() },
        told: None,
        told_tokens: None,
        tokens: TokenUsage { prefilled: 900, generated: 8, forced: 16, ..TokenUsage::default() },
        seconds: 2.0,
        error: None,
        score: Score { correct, parts: BTreeMap::from([("f1".into(), 0.5)]), ..Score::default() },
        failure: if correct { Failure::None } else { Failure::Misread },
        judged: Vec::new(),
    }
}

/// A cell with so many right cases, then so many wrong ones.
pub(crate) fn cell(settings: &Settings, n_right: usize, n_wrong: usize) -> Cell {
    let records = (0..n_right + n_wrong)
        .map(|n| record(settings, &format!("c{n}"), n < n_right, &[("kind", "a")]))
        .collect();
    Cell { settings: settings.clone(), records, differing: Vec::new() }
}

pub(crate) fn runs(cells: Vec<Cell>) -> Runs {
    Runs { cells, ..Runs::default() }
}
