use std::path::Path;
use std::time::Duration;

use indicatif::HumanBytes;
use pagewise_bench::memory_available_bytes;
use pagewise_hub::{Entry, Locator, ModelSpec, catalog};
use pagewise_infer::{Compute, MemoryPlan, ModelPlan, Speed, Weights};
use serde::Serialize;

use crate::args::CommonArgs;
use crate::failure::{Failure, Kind, try_window};
use crate::opening::WINDOW_TOKENS;
use crate::printer::Printer;

/// How long speed is measured.
const PROBE: Duration = Duration::from_millis(400);

/// What a model will take; `None` for what cannot be known yet.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    on_disk: bool,
    /// Where it would run: `cpu`, `cuda` or `metal`.
    device: &'static str,
    /// The window that the figures are for, in tokens.
    window: usize,
    /// The window that a chat gets unasked, in tokens.
    default_window: usize,
    /// The longest window that it was trained for, in tokens.
    trained_window: usize,
    /// The largest window that fits, in tokens.
    largest_window: Option<usize>,
    memory: Memory,
    speed: Option<SpeedReport>,
    /// What could not be said, and why.
    unknown: Vec<&'static str>,
}

/// In bytes.
#[derive(Debug, Serialize)]
struct Memory {
    weights: Option<u64>,
    kv_cache: Option<u64>,
    scratch: Option<u64>,
    total: Option<u64>,
    available: Option<u64>,
    /// Whether the total is no more than what is available.
    fits: Option<bool>,
}

/// In tokens per second, and bytes per second.
#[derive(Debug, Serialize)]
struct SpeedReport {
    decode: f64,
    prefill: f64,
    bandwidth: f64,
}

impl Memory {
    /// Of `available` bytes, if that is known.
    fn new(plan: Option<MemoryPlan>, weights: Option<u64>, available: Option<u64>) -> Self {
        let total = plan.map(|plan| plan.total());
        // Weights that do not fit do not fit with anything beside them either.
        let least = total.or(weights);
        let fits = match (least, available) {
            (Some(least), Some(available)) if least > available => Some(false),
            (Some(_), Some(_)) if total.is_some() => Some(true),
            _ => None,
        };
        Self {
            weights: plan.map(|plan| plan.weights).or(weights),
            kv_cache: plan.map(|plan| plan.kv_cache),
            scratch: plan.map(|plan| plan.scratch),
            total,
            available,
            fits,
        }
    }
}

/// Says what the model `name` will take.
pub(super) fn run(
    locator: &Locator,
    name: &str,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    let compute = common.compute()?;
    let report = match path(locator, name)? {
        Ok(path) => of_weights(name, &path, &compute, common)?,
        Err(entry) => of_entry(entry, &compute, common)?,
    };
    if printer.json() {
        printer.json_line(&report);
    } else {
        print(&report, printer);
    }
    Ok(())
}

/// Returns where the weights are, or what the catalog says of them if they are not here.
fn path(
    locator: &Locator,
    name: &str,
) -> Result<Result<std::path::PathBuf, &'static Entry>, Failure> {
    let known = ModelSpec::parse(name).ok().and_then(|spec| spec.store_name());
    let entry = known.and_then(|name| catalog::find(&name));
    match (super::convert::find(locator, name), entry) {
        (Ok(path), _) => Ok(Ok(path)),
        (Err(_), Some(entry)) => Ok(Err(entry)),
        (Err(failure), None) => Err(failure),
    }
}

fn of_weights(
    name: &str,
    path: &Path,
    compute: &Compute,
    common: &CommonArgs,
) -> Result<Report, Failure> {
    let plan = ModelPlan::new(&Weights::open(path)?, compute)?;
    let trained_window = plan.config().context_length;
    let default_window = WINDOW_TOKENS.min(trained_window);
    let window = window(common, trained_window)?.unwrap_or(default_window);
    let memory = Memory::new(Some(plan.memory(window)), None, available_bytes(compute));
    let largest_window = memory.available.and_then(|available| plan.largest_window(available));
    let speed = plan.measure_speed(compute, PROBE).map(|speed: Speed| SpeedReport {
        decode: speed.decode,
        prefill: speed.prefill,
        bandwidth: speed.bytes_per_second,
    });
    let mut unknown = Vec::new();
    if speed.is_none() {
        unknown.push("speed: it is measured for the processor alone");
    }
    unknown.extend(why_available_is_unknown(&memory, compute));
    Ok(Report {
        model: name.to_owned(),
        on_disk: true,
        device: compute.name(),
        window,
        default_window,
        trained_window,
        largest_window,
        memory,
        speed,
        unknown,
    })
}

/// Returns the memory that a model could have on this device, if that is known.
fn available_bytes(compute: &Compute) -> Option<u64> {
    memory_available_bytes().filter(|_| is_processor(compute))
}

fn why_available_is_unknown(memory: &Memory, compute: &Compute) -> Option<&'static str> {
    match memory.available {
        Some(_) => None,
        None if is_processor(compute) => Some("available memory: this system does not say"),
        None => Some("available memory: a GPU is not asked"),
    }
}

fn is_processor(compute: &Compute) -> bool {
    compute.isa().is_some()
}

/// Says what the catalog lets one say.
fn of_entry(entry: &Entry, compute: &Compute, common: &CommonArgs) -> Result<Report, Failure> {
    let trained_window = usize::try_from(entry.context_tokens).unwrap_or(usize::MAX);
    let default_window = WINDOW_TOKENS.min(trained_window);
    let mut unknown = vec![
        "KV cache, scratch, largest window: the weights say how many heads and layers there are",
        "speed: the weights say how they are stored",
    ];
    let bytes = entry.stored_bytes();
    if bytes.is_none() {
        unknown.push("weights: the catalog does not know their size");
    }
    let memory = Memory::new(None, bytes, available_bytes(compute));
    unknown.extend(why_available_is_unknown(&memory, compute));
    Ok(Report {
        model: entry.name.clone(),
        on_disk: false,
        device: compute.name(),
        window: window(common, trained_window)?.unwrap_or(default_window),
        default_window,
        trained_window,
        largest_window: None,
        memory,
        speed: None,
        unknown,
    })
}

/// Returns the window that was asked for, if the model was trained for it.
fn window(common: &CommonArgs, trained_window: usize) -> Result<Option<usize>, Failure> {
    let window = common.window.map(|window| window as usize);
    if let Some(window) = window.filter(|window| *window > trained_window) {
        return Err(Failure::new(
            Kind::Usage,
            format!(
                "a context window of {window} tokens was asked for, and the model was trained for \
                 at most {trained_window}"
            ),
        )
        .hint(try_window(trained_window)));
    }
    Ok(window)
}

fn print(report: &Report, printer: &Printer) {
    let field = |name: &str, value: String| printer.line(format!("{name:<16}{value}"));
    let bytes = |bytes: Option<u64>| {
        bytes.map_or_else(|| "unknown".to_owned(), |bytes| HumanBytes(bytes).to_string())
    };
    let memory = &report.memory;
    let here = if report.on_disk { "" } else { " (not on this disk: as the catalog says)" };
    field("model", format!("{}{here}", report.model));
    field("device", report.device.to_owned());
    field("window", format!("{} tokens", report.window));
    field("weights", bytes(memory.weights));
    field("KV cache", bytes(memory.kv_cache));
    field("scratch", bytes(memory.scratch));
    field("memory", bytes(memory.total));
    let verdict = match memory.fits {
        Some(true) => ": it fits",
        Some(false) => ": it does not fit",
        None => "",
    };
    field("available", format!("{}{verdict}", bytes(memory.available)));
    let largest = report.largest_window.map(|window| format!("{window} tokens"));
    field("largest window", largest.unwrap_or_else(|| "unknown".into()));
    field("default window", format!("{} tokens", report.default_window));
    field("trained window", format!("{} tokens", report.trained_window));
    if let Some(speed) = &report.speed {
        field(
            "reading",
            format!("about {:.0} tokens/s, of a prompt that is not long", speed.prefill),
        );
        field(
            "writing",
            format!(
                "about {:.1} tokens/s, at {} of weights a second",
                speed.decode,
                HumanBytes(speed.bandwidth as u64)
            ),
        );
    }
    for unknown in &report.unknown {
        field("unknown", (*unknown).to_owned());
    }
}
