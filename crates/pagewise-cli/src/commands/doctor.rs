use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use indicatif::HumanBytes;
use pagewise_bench::memory_obtainable_bytes;
use pagewise_core::Embedder;
use pagewise_hub::{HAS_NETWORK, ModelSpec};
use pagewise_infer::{Compute, Isa, LoadedModel, ModelPlan, Weights};
use pagewise_memory::{CheckReport, Store};
use serde::Serialize;

use crate::args::CommonArgs;
use crate::failure::{Failure, Kind};
use crate::home::Home;
use crate::opening::{NoEmbedder, WINDOW_TOKENS, load_embedder};
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
    device: DeviceReport,
    weights: Vec<WeightsReport>,
    agents: Vec<AgentReport>,
    #[serde(flatten)]
    problems: Problems,
}

/// What should be put right; nothing if all is well.
#[derive(Debug, Default, Serialize)]
struct Problems {
    #[serde(rename = "problems")]
    sentences: Vec<String>,
    /// What to do about them, as far as that is known.
    hints: Vec<String>,
}

impl Problems {
    fn say(&mut self, sentence: String) {
        self.sentences.push(sentence);
    }

    fn add(&mut self, failure: Failure) {
        self.say(failure.message);
        if let Some(hint) = failure.hint
            && !self.hints.contains(&hint)
        {
            self.hints.push(hint);
        }
    }

    fn count(&self) -> usize {
        self.sentences.len()
    }
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

/// Where the model would run.
#[derive(Debug, Serialize)]
struct DeviceReport {
    /// What `--device` says.
    asked: String,
    /// `None` if that cannot be used.
    used: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct WeightsReport {
    what: &'static str,
    name: String,
    path: Option<PathBuf>,
    /// Of all files that they are in.
    bytes: Option<u64>,
    /// Whether they can be used; `None` if they are not on this disk.
    usable: Option<bool>,
}

#[derive(Debug, Serialize)]
struct AgentReport {
    name: String,
    ok: bool,
    /// `None` if the store could not be opened.
    store: Option<CheckReport>,
}

pub(crate) fn run(_: &DoctorArgs, common: &CommonArgs, printer: &Printer) -> Result<(), Failure> {
    let mut problems = Problems::default();
    let home = Home::of(common)?;
    let home_report = check_home(home.path(), &mut problems);
    let n_before = problems.count();
    let (device, compute) = find_device(common, &mut problems);
    let model = check_model(common, compute.as_ref(), &mut problems);
    let (embedder_report, embedder) = check_embedder(common, printer, &mut problems);
    let is_model_unusable = problems.count() > n_before;
    let n_before = problems.count();
    let agents = match home_report.exists {
        true => check_agents(&home, embedder.as_ref(), &mut problems),
        false => Vec::new(),
    };
    let is_store_damaged = problems.count() > n_before;
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        network: HAS_NETWORK,
        offline: common.offline,
        machine: machine(common),
        home: home_report,
        device,
        weights: vec![model, embedder_report],
        agents,
        problems,
    };
    if printer.json() {
        printer.json_line(&report);
    } else {
        print(&report, printer);
    }
    let Problems { sentences, hints } = &report.problems;
    if sentences.is_empty() {
        return Ok(());
    }
    let kind = if is_store_damaged || !report.home.writable {
        Kind::Store
    } else if is_model_unusable {
        Kind::Model
    } else {
        Kind::Failure
    };
    let failure = Failure::new(kind, sentences.join("; "));
    Err(match hints.as_slice() {
        [] => failure,
        hints => failure.hint(hints.join("; ")),
    })
}

fn check_home(home: &Path, problems: &mut Problems) -> HomeReport {
    // It is made when it is first needed, in the folder that is there.
    let existing = home.ancestors().find(|folder| folder.exists());
    let existing = existing.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut writable = existing.is_dir();
    if writable {
        let probe = existing.join(format!(".doctor-{}", std::process::id()));
        let written = fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe));
        if let Err(error) = &written {
            problems.say(if existing == home {
                format!("the home folder {} is not writable: {error}", home.display())
            } else {
                format!(
                    "the home folder {} cannot be made in {}: {error}",
                    home.display(),
                    existing.display()
                )
            });
        }
        writable = written.is_ok();
    } else if existing == home {
        problems.say(format!("the home {} is not a folder", home.display()));
    } else {
        problems.say(format!(
            "the home folder {} cannot be made: {} is not a folder",
            home.display(),
            existing.display()
        ));
    }
    HomeReport { path: home.to_owned(), exists: home.is_dir(), writable }
}

fn find_device(common: &CommonArgs, problems: &mut Problems) -> (DeviceReport, Option<Compute>) {
    let asked = common.device.to_possible_value();
    let asked = asked.map_or_else(String::new, |value| value.get_name().to_owned());
    match common.compute() {
        Ok(compute) => (DeviceReport { asked, used: Some(compute.name()) }, Some(compute)),
        Err(failure) => {
            problems.add(failure);
            (DeviceReport { asked, used: None }, None)
        }
    }
}

/// Looks for the model and reads all of it but the numbers.
fn check_model(
    common: &CommonArgs,
    compute: Option<&Compute>,
    problems: &mut Problems,
) -> WeightsReport {
    let located = ModelSpec::parse(&common.model)
        .map_err(Failure::from)
        .and_then(|spec| Ok(weights::locator(common)?.find(&spec)?));
    let path = located.unwrap_or_else(|failure| {
        problems.add(failure);
        None
    });
    let path = path.map(|located| located.path);
    let mut report = WeightsReport {
        what: "model",
        name: common.model.clone(),
        bytes: path.as_deref().filter(|path| path.is_file()).and_then(file_bytes),
        usable: None,
        path,
    };
    if let Some(path) = &report.path {
        let checked = Weights::open(path).map_err(Failure::from).and_then(|weights| {
            report.bytes = Some(weights.file_bytes());
            LoadedModel::check(&weights)?;
            check_memory(&weights, common, compute)
        });
        report.usable = Some(checked.is_ok());
        if let Err(failure) = checked {
            problems.add(failure);
        }
    }
    report
}

/// Whether there could be memory for the model with the window that a chat would have.
fn check_memory(
    weights: &Weights,
    common: &CommonArgs,
    compute: Option<&Compute>,
) -> Result<(), Failure> {
    let Some((compute, memory_bytes)) = compute.zip(memory_obtainable_bytes()) else {
        return Ok(());
    };
    let plan = ModelPlan::new(weights, compute)?;
    let window = common.window.map_or(WINDOW_TOKENS, |window| window as usize);
    Ok(plan.check(window.min(plan.config().context_length), memory_bytes)?)
}

/// Looks for the embedder and opens it.
fn check_embedder(
    common: &CommonArgs,
    printer: &Printer,
    problems: &mut Problems,
) -> (WeightsReport, Option<Arc<dyn Embedder>>) {
    let path = weights::embedder_dir(common, printer).unwrap_or_else(|failure| {
        problems.add(failure);
        None
    });
    let embedder = path.as_ref().and_then(|path| match load_embedder(path, common) {
        Ok(embedder) => Some(embedder),
        Err(failure) => {
            problems.add(failure);
            None
        }
    });
    let report = WeightsReport {
        what: "embedder",
        name: common.embedder.clone(),
        bytes: path.as_ref().and_then(|path| file_bytes(&path.join("model.safetensors"))),
        usable: path.as_ref().map(|_| embedder.is_some()),
        path,
    };
    (report, embedder)
}

fn file_bytes(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|metadata| metadata.len())
}

fn check_agents(
    home: &Home,
    embedder: Option<&Arc<dyn Embedder>>,
    problems: &mut Problems,
) -> Vec<AgentReport> {
    let names = home.agent_names().unwrap_or_else(|failure| {
        problems.add(failure);
        Vec::new()
    });
    let mut reports = Vec::new();
    for name in names {
        let checked = check_agent(&home.agent(&name), embedder.cloned());
        let of_agent = |problem: &String| format!("agent {name}: {problem}");
        let n_before = problems.count();
        let store = match checked {
            Ok(store) => {
                store.problems.iter().map(of_agent).for_each(|problem| problems.say(problem));
                Some(store)
            }
            Err(failure) => {
                problems.add(Failure { message: of_agent(&failure.message), ..failure });
                None
            }
        };
        let report = AgentReport { ok: problems.count() == n_before, name, store };
        reports.push(report);
    }
    reports
}

fn check_agent(folder: &Path, embedder: Option<Arc<dyn Embedder>>) -> Result<CheckReport, Failure> {
    let mut store = Store::open(folder, embedder.unwrap_or_else(|| Arc::new(NoEmbedder)))?;
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
    let device = &report.device;
    let used = device.used.map_or_else(
        || "none".to_owned(),
        |used| match used == device.asked {
            true => used.to_owned(),
            false => format!("{used}, by --device {}", device.asked),
        },
    );
    line("device", used);
    for weights in &report.weights {
        let state = if weights.usable == Some(false) { ", cannot be used" } else { "" };
        let place = match &weights.path {
            Some(path) => format!("{} ({}{state})", path.display(), bytes(weights.bytes)),
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
