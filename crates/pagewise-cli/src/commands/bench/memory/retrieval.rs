//! `bench memory --task retrieval`: an embedder and a store, and no language model.

use pagewise_bench::memory::{
    Cut, SearchSet, measure_retrieval, retrieval_sets, retrieval_table, write_measurements,
};

use super::{MemoryArgs, embedder};
use crate::args::CommonArgs;
use crate::commands::chat::{cancel_on_ctrl_c, while_replying};
use crate::failure::Failure;
use crate::printer::Printer;

pub(super) fn run(
    args: &MemoryArgs,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    let sets = retrieval_sets(args.data.as_deref(), common.seed)?;
    let embedder = embedder(&args.task, common, printer)?;
    let cut = Cut {
        only: args.only.clone(),
        offset: args.offset as usize,
        limit: args.limit.map(|limit| limit as usize),
    };
    let names: Vec<String> = sets.iter().map(describe).collect();
    printer.talk(&format!("retrieval: {}", names.join("; ")));
    let cancelled = cancel_on_ctrl_c()?;
    let mut reports = Vec::new();
    let measured = while_replying(cancelled, || {
        measure_retrieval(&sets, &cut, common.seed, embedder, cancelled, &mut |report| {
            printer.talk(&format!(
                "{}, {}, {} documents: recall at 10 {:.3} of {} queries",
                report.source,
                report.arm,
                report.n_documents,
                report.share.accuracy,
                report.share.n
            ));
            if printer.json() {
                printer.json_line(&report);
            }
            reports.push(report);
        })
    });
    // What was measured before it was stopped need not be lost.
    if let Some(folder) = &args.out
        && !reports.is_empty()
    {
        write_measurements(folder, &reports)?;
    }
    measured?;
    if !printer.json() {
        printer.out(&retrieval_table(&reports));
    }
    Ok(())
}

fn describe(set: &SearchSet) -> String {
    format!("{}, {} queries on {} documents", set.source(), set.n_queries(), set.n_documents())
}
