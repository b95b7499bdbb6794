//! What the flags of `bench memory` ask for: tasks with their cases, arms and windows.

use pagewise_bench::memory::{Arm, Case, CaseSet, MemoryBenchError, Task};

use super::MemoryArgs;
use crate::args::CommonArgs;
use crate::failure::Failure;
use crate::printer::Printer;

/// Cases of a generator, if no number is asked for: enough to tell a half from three quarters.
pub(super) const GENERATED_CASES: usize = 48;

/// Cases made for one that has the labels asked for: as many as there are values of two labels.
const CASES_FOR_ONE: usize = 48;

/// A task with everything that it is run with.
pub(super) struct Experiment {
    pub(super) task: Task,
    pub(super) set: CaseSet,
    pub(super) arms: Vec<Arm>,
    pub(super) windows: Vec<Option<u32>>,
}

/// What the flags ask for, in order.
pub(super) fn experiments(
    args: &MemoryArgs,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<Vec<Experiment>, Failure> {
    let asked: Vec<Option<u32>> = match args.window.as_slice() {
        [] => vec![common.window],
        windows => windows.iter().copied().map(Some).collect(),
    };
    let asked_arms = match args.arm.as_slice() {
        [] => vec![Arm::Memgpt],
        arms => arms.to_vec(),
    };
    let Some(suite) = args.suite else {
        let experiment = |task: &Task| {
            if let Some(arm) = asked_arms.iter().find(|arm| !task.has_arm(**arm)) {
                return Err(Failure::usage(format!(
                    "{task} has no arm {arm}: there is nothing that such a prompt would hold"
                )));
            }
            let set = cases(*task, args.limit, args, common)?;
            if let Some(arm) = asked_arms.iter().find(|arm| !set.has_arm(**arm)) {
                return Err(Failure::usage(without_evidence(*task, &set, *arm)));
            }
            Ok(Experiment { task: *task, set, arms: asked_arms.clone(), windows: asked.clone() })
        };
        return args.task.iter().filter(|task| task.needs_model()).map(experiment).collect();
    };
    let mut experiments = Vec::new();
    for row in suite.rows() {
        let mut arms = match args.arm.as_slice() {
            [] => row.arms.to_vec(),
            arms => arms.iter().copied().filter(|arm| row.task.has_arm(*arm)).collect(),
        };
        if arms.is_empty() {
            continue;
        }
        let windows = match (args.window.as_slice(), common.window) {
            ([], None) => row.windows.iter().copied().map(Some).collect(),
            _ => asked.clone(),
        };
        let limit = Some(args.limit.unwrap_or(row.n_cases));
        let set = match cases(row.task, limit, args, common) {
            // A folder need not have data for every task of a suite; what is generated is named so.
            Err(NoCases::NoData(error)) => {
                printer.talk(&format!("{error}; its cases are generated"));
                let without = MemoryArgs { data: None, ..args.clone() };
                cases(row.task, limit, &without, common)?
            }
            set => set?,
        };
        if let Some(arm) = arms.iter().find(|arm| !set.has_arm(**arm)) {
            printer.talk(&without_evidence(row.task, &set, *arm));
        }
        arms.retain(|arm| set.has_arm(*arm));
        if arms.is_empty() {
            continue;
        }
        experiments.push(Experiment { task: row.task, set, arms, windows });
    }
    if experiments.is_empty() {
        return Err(Failure::usage(format!("no task of the suite {suite} has these arms")));
    }
    Ok(experiments)
}

fn without_evidence(task: Task, set: &CaseSet, arm: Arm) -> String {
    let title = task.title(None, &set.source);
    format!("{title} has no arm {arm}: no case says what must be read to answer it")
}

/// There are no cases to run.
enum NoCases {
    /// The folder has no data for the task.
    NoData(MemoryBenchError),
    Other(MemoryBenchError),
}

impl From<MemoryBenchError> for NoCases {
    fn from(error: MemoryBenchError) -> Self {
        match error {
            MemoryBenchError::NoData { .. } => Self::NoData(error),
            error => Self::Other(error),
        }
    }
}

impl From<NoCases> for Failure {
    fn from(none: NoCases) -> Self {
        let (NoCases::NoData(error) | NoCases::Other(error)) = none;
        error.into()
    }
}

/// The cases that the flags ask for.
fn cases(
    task: Task,
    limit: Option<u32>,
    args: &MemoryArgs,
    common: &CommonArgs,
) -> Result<CaseSet, NoCases> {
    let offset = args.offset as usize;
    let has_labels =
        |case: &Case| args.only.iter().all(|(label, value)| case.labels.get(label) == Some(value));
    let (source, n_all, cases): (_, _, Box<dyn Iterator<Item = Case>>) = match &args.data {
        Some(folder) => {
            let set = task.load(folder)?;
            (set.source, set.cases.len(), Box::new(set.cases.into_iter()))
        }
        None => {
            // There is no end of them, and perhaps none with these labels.
            let n = offset + limit.map_or(GENERATED_CASES, |limit| limit as usize);
            let n_all = n.saturating_mul(if args.only.is_empty() { 1 } else { CASES_FOR_ONE });
            ("generated".into(), n_all, Box::new(task.generate(common.seed).take(n_all)))
        }
    };
    let limit = match (limit, &args.data) {
        (Some(limit), _) => limit as usize,
        (None, Some(_)) => usize::MAX,
        (None, None) => GENERATED_CASES,
    };
    let mut n_with_labels = 0;
    let cases: Vec<Case> =
        cases.filter(has_labels).inspect(|_| n_with_labels += 1).skip(offset).take(limit).collect();
    if cases.is_empty() {
        let asked = match n_with_labels {
            0 => "none of them has the labels of --only".into(),
            n => format!("--offset {offset} leaves out all of {n}"),
        };
        return Err(MemoryBenchError::NoCase { task, n_cases: n_all, asked }.into());
    }
    Ok(CaseSet { source, cases })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::commands::bench::memory::tests::memory;
    use crate::failure::Kind;
    use crate::printer::Verbosity;

    #[test]
    fn cases_are_those_that_the_flags_ask_for() {
        let ids = |flags: &str| {
            let (args, common) = memory(&format!("--task nested-kv {flags}")).unwrap();
            cases(Task::NestedKv, args.limit, &args, &common)
                .map(|set| set.cases.into_iter().map(|case| case.id).collect::<Vec<_>>())
                .map_err(Failure::from)
                .map_err(|failure| (failure.kind, failure.message))
        };
        assert_eq!(ids("").unwrap().len(), GENERATED_CASES);
        assert_eq!(ids("--limit 2").unwrap(), ["kv-0-0-nested", "kv-0-0-direct"]);
        assert_eq!(
            ids("--limit 2 --offset 1 --seed 3").unwrap(),
            ["kv-3-0-direct", "kv-3-1-nested"]
        );
        let only = ids("--limit 3 --only lookups=6 --only ask=direct").unwrap();
        assert_eq!(only, ["kv-0-5-direct", "kv-0-11-direct", "kv-0-17-direct"]);
        let none = ids("--only lookups=7").unwrap_err();
        assert_eq!(none.0, Kind::Usage);
        assert!(none.1.ends_with("none of them has the labels of --only"), "{}", none.1);
        let data = tempfile::tempdir().unwrap();
        let none = ids(&format!("--data {}", data.path().display())).unwrap_err();
        assert!(none.1.contains("has no data for nested-kv"), "{}", none.1);
    }

    #[test]
    fn what_must_be_read_alone_is_shown_where_a_set_says_what_it_is() {
        let printer = Printer::new(false, Verbosity::Quiet);
        let data = tempfile::tempdir().unwrap();
        let line = r#"{"instructions": ["who"], "outputs": ["Ada"], "input": "Ada built a mill."}"#;
        fs::write(data.path().join("natural_question.jsonl"), line).unwrap();
        let arms = |flags: &str| {
            let (args, common) = memory(flags).unwrap();
            let asked = experiments(&args, &common, &printer).map_err(|failure| failure.message)?;
            Ok::<_, String>(asked.into_iter().find(|one| one.task == Task::DocQa).unwrap().arms)
        };
        let data = data.path().display();
        assert_eq!(arms("--task doc-qa --arm oracle --limit 1"), Ok(vec![Arm::Oracle]));
        assert_eq!(
            arms(&format!("--task doc-qa --arm oracle --data {data}")).unwrap_err(),
            "doc-qa (leval) has no arm oracle: no case says what must be read to answer it"
        );
        let all = vec![Arm::Memgpt, Arm::FullContext, Arm::Retrieval, Arm::NoMemory];
        assert_eq!(arms(&format!("--suite full --limit 1 --data {data}")), Ok(all));
    }
}
