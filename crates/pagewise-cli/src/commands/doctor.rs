use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;
use pagewise_hub::{HAS_NETWORK, ModelSpec};
use pagewise_infer::Isa;
use pagewise_memory::CheckReport;
use serde::Serialize;

use crate::args::CommonArgs;
use crate::failure::{Failure, Kind};
use crate::home::Home;
use crate::opening::open_store_at;
use crate::printer::Printer;
use crate::weights;

/// Check this machine, the home folder, the weights and every agent's store
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    /// Whether this build can open a connection at all.
    network: bool,
    /// Whether it is asked not to.
    offline: bool,
    machine: Machine,
    home: HomeReport,
    weights: Vec<Weights>,
    agents: Vec<AgentReport>,
    /// What should be put right, each a sentence; empty if all is well.
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Machine {
    os: &'static str,
    architecture: &'static str,
    threads: usize,
    /// The kernels that are used.
    kernels: &'static str,
    /// Those that this processor runs, the best last.
    kernels_available: Vec<&'static str>,
    memory_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct HomeReport {
    path: PathBuf,
    exists: bool,
    writable: bool,
}

#[derive(Debug, Serialize)]
struct Weights {
    what: &'static str,
    name: String,
    path: Option<PathBuf>,
    bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct AgentReport {
    name: String,
    ok: bool,
    /// `None` if the store could not be opened.
    store: Option<CheckReport>,
}

pub(crate) fn run(_: &DoctorArgs, common: &CommonArgs, printer: &Printer) -> Result<(), Failure> {
    let mut problems = Vec::new();
    let home = Home::of(common)?;
    let home_report = check_home(home.path(), &mut problems);
    let weights = find_weights(common, printer, &mut problems);
    let machine = machine(common);
    check_memory(&machine, &weights, &mut problems);
    // A damaged store is the one problem with an exit code of its own.
    let n_before = problems.len();
    let agents = check_agents(&home, common, printer, &mut problems);
    let is_store_damaged = problems.len() > n_before;
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        network: HAS_NETWORK,
        offline: common.offline,
        machine,
        home: home_report,
        weights,
        agents,
        problems,
    };
    if printer.json() {
        printer.json_line(&report);
    } else {
        print(&report, printer);
    }
    match report.problems.as_slice() {
        [] => Ok(()),
        problems => {
            let kind =
                if is_store_damaged || !report.home.writable { Kind::Store } else { Kind::Failure };
            Err(Failure::new(kind, problems.join("; ")))
        }
    }
}

fn check_home(home: &Path, problems: &mut Vec<String>) -> HomeReport {
    let exists = home.is_dir();
    let writable = if exists {
        let probe = home.join(format!(".doctor-{}", std::process::id()));
        let written = fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe));
        if let Err(error) = &written {
            problems.push(format!("the home folder {} is not writable: {error}", home.display()));
        }
        written.is_ok()
    } else {
        !home.exists()
    };
    if !exists && home.exists() {
        problems.push(format!("the home {} is not a folder", home.display()));
    }
    HomeReport { path: home.to_owned(), exists, writable }
}

fn find_weights(
    common: &CommonArgs,
    printer: &Printer,
    problems: &mut Vec<String>,
) -> Vec<Weights> {
    let located = ModelSpec::parse(&common.model)
        .map_err(Failure::from)
        .and_then(|spec| Ok(weights::locator(common)?.find(&spec)?));
    let model = located.unwrap_or_else(|failure| {
        problems.push(failure.message);
        None
    });
    let embedder = weights::embedder_dir(common, printer).unwrap_or_else(|failure| {
        problems.push(failure.message);
        None
    });
    let model_path = model.map(|located| located.path);
    let bytes = |path: &Path| path.metadata().ok().map(|metadata| metadata.len());
    vec![
        Weights {
            what: "model",
            name: common.model.clone(),
            bytes: model_path.as_deref().and_then(bytes),
            path: model_path,
        },
        Weights {
            what: "embedder",
            name: common.embedder.clone(),
            bytes: embedder.as_ref().and_then(|path| bytes(&path.join("model.safetensors"))),
            path: embedder,
        },
    ]
}

/// Room for the KV cache and everything else beside the weights.
const BESIDE_WEIGHTS_BYTES: u64 = 512 << 20;

fn check_memory(machine: &Machine, weights: &[Weights], problems: &mut Vec<String>) {
    let needed =
        weights.iter().filter_map(|weights| weights.bytes).sum::<u64>() + BESIDE_WEIGHTS_BYTES;
    if let Some(memory) = machine.memory_bytes
        && memory < needed
    {
        problems.push(format!(
            "the model needs about {}, and this machine has {} of memory",
            HumanBytes(needed),
            HumanBytes(memory)
        ));
    }
}

fn check_agents(
    home: &Home,
    common: &CommonArgs,
    printer: &Printer,
    problems: &mut Vec<String>,
) -> Vec<AgentReport> {
    let names = home.agent_names().unwrap_or_else(|failure| {
        problems.push(failure.message);
        Vec::new()
    });
    let mut reports = Vec::new();
    for name in names {
        let checked = check_agent(&home.agent(&name), common, printer);
        let (found, store) = match checked {
            Ok(store) => (store.problems.clone(), Some(store)),
            Err(failure) => (vec![failure.message], None),
        };
        let ok = found.is_empty();
        problems.extend(found.into_iter().map(|problem| format!("agent {name}: {problem}")));
        let report = AgentReport { name, ok, store };
        reports.push(report);
    }
    reports
}

fn check_agent(
    folder: &Path,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<CheckReport, Failure> {
    let (mut store, _) = open_store_at(folder, common, printer)?;
    Ok(store.check()?)
}

fn machine(common: &CommonArgs) -> Machine {
    Machine {
        os: std::env::consts::OS,
        architecture: std::env::consts::ARCH,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        kernels: common.isa.unwrap_or_else(Isa::detect).name(),
        kernels_available: Isa::available().map(Isa::name).collect(),
        memory_bytes: meminfo("MemTotal:"),
        memory_available_bytes: meminfo("MemAvailable:"),
    }
}

/// A line of `/proc/meminfo`, in bytes; `None` where there is no such file.
fn meminfo(key: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn print(report: &Report, printer: &Printer) {
    let bytes = |bytes: Option<u64>| {
        bytes.map_or_else(|| "?".into(), |bytes| HumanBytes(bytes).to_string())
    };
    let line = |name: &str, value: String| printer.line(format!("{name:<10}{value}"));
    let machine = &report.machine;
    line("version", report.version.into());
    line(
        "machine",
        format!(
            "{} {}, {} threads, {} of memory ({} free)",
            machine.os,
            machine.architecture,
            machine.threads,
            bytes(machine.memory_bytes),
            bytes(machine.memory_available_bytes)
        ),
    );
    let available = machine.kernels_available.join(", ");
    line("kernels", format!("{} (this processor runs {available})", machine.kernels));
    line(
        "network",
        match (report.network, report.offline) {
            (false, _) => "this build has no network code".into(),
            (true, true) => "never used: --offline".into(),
            (true, false) => {
                "used by `pull`, and after asking by `chat`, `run` and `ingest`".into()
            }
        },
    );
    let made = if report.home.exists { "" } else { " (made when it is first needed)" };
    line("home", format!("{}{made}", report.home.path.display()));
    for weights in &report.weights {
        let place = match &weights.path {
            Some(path) => format!("{} ({})", path.display(), bytes(weights.bytes)),
            None => format!(
                "{} is not on this disk; `pagewise pull {}` fetches it",
                weights.name, weights.name
            ),
        };
        line(weights.what, place);
    }
    for agent in &report.agents {
        let state = if agent.ok { "ok" } else { "has a problem" };
        let size = agent.store.as_ref().map_or_else(String::new, |store| {
            format!(", {} messages, {} passages", store.n_messages, store.n_passages)
        });
        let change = agent.store.as_ref().and_then(|store| store.embedder_change.as_ref());
        let change = change.map_or_else(String::new, |change| {
            format!(
                ", {} of {} texts embedded anew for {}",
                change.n_embedded, change.n_texts, change.to
            )
        });
        line("agent", format!("{}: {state}{size}{change}", agent.name));
    }
}
