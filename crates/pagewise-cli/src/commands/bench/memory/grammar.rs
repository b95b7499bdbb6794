//! The task `grammar`: no language model answers, only its tokenizer is opened.

use pagewise_bench::memory::{
    GrammarSummary, MemoryBenchError, SchemaSet, Task, grammar_table, measure_schemas,
    write_measurements,
};
use pagewise_infer::{LoadedModel, Weights};

use super::MemoryArgs;
use super::experiment::GENERATED_CASES;
use crate::args::CommonArgs;
use crate::commands::chat::{cancel_on_ctrl_c, while_replying};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::weights;

/// Schemas between two lines that say how far a run is.
const TALK_EVERY: usize = 500;

/// Measures schemas with the tokenizer of each model.
pub(super) fn run(
    args: &MemoryArgs,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    let set = set(args, common)?;
    let models = match args.model.as_slice() {
        [] => vec![common.model.clone()],
        models => models.to_vec(),
    };
    for model in models {
        let common = CommonArgs { model, ..common.clone() };
        let path = weights::model_path(&common, printer)?;
        let opened = Weights::open(&path)?;
        let (tokenizer, _) = LoadedModel::check(&opened)?;
        let vocabulary = tokenizer.vocabulary(opened.config()?.vocabulary);
        let model = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let n = set.cases.len();
        printer.talk(&format!("grammar, {model}: {n} schemas"));
        let cancelled = cancel_on_ctrl_c()?;
        let mut say = |n_done: usize| {
            if n_done.is_multiple_of(TALK_EVERY) {
                printer.talk(&format!("{n_done}/{n} schemas"));
            }
        };
        let measured = while_replying(cancelled, || {
            measure_schemas(&model, vocabulary, &set, cancelled, &mut say)
        })?;
        if let Some(folder) = &args.out {
            write_measurements(folder, &measured)?;
        }
        let summaries = GrammarSummary::all(&measured);
        match printer.json() {
            true => summaries.iter().for_each(|summary| printer.json_line(summary)),
            false => printer.out(&grammar_table(&summaries)),
        }
    }
    Ok(())
}

/// The schemas that the flags ask for.
fn set(args: &MemoryArgs, common: &CommonArgs) -> Result<SchemaSet, Failure> {
    let offset = args.offset as usize;
    let limit = args.limit.map(|limit| limit as usize);
    let mut set = match &args.data {
        Some(folder) => SchemaSet::load(folder)?,
        None => SchemaSet::generate(common.seed, offset + limit.unwrap_or(GENERATED_CASES)),
    };
    let n_cases = set.cases.len();
    set.cases.drain(..offset.min(n_cases));
    set.cases.retain(|case| {
        args.only.iter().all(|(label, value)| match label.as_str() {
            "family" => case.family == *value,
            "feature" => case.features.contains(value),
            _ => false,
        })
    });
    if set.cases.is_empty() {
        let asked = format!("--offset {offset} and --only leave none of them");
        return Err(MemoryBenchError::NoCase { task: Task::Grammar, n_cases, asked }.into());
    }
    if let Some(limit) = limit {
        set.sample(limit);
    }
    Ok(set)
}
