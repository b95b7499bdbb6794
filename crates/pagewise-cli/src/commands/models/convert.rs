use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread::available_parallelism;

use indicatif::HumanBytes;
use pagewise_hub::{Locator, ModelSpec};
use pagewise_infer::{ConvertError, ConvertOptions, TensorType, convert};
use serde_json::json;

use crate::args::CommonArgs;
use crate::commands::chat::{cancel_on_ctrl_c, while_replying};
use crate::failure::{Failure, Kind};
use crate::printer::Printer;

/// What `--quant` can be.
const QUANTS: [TensorType; 6] = [
    TensorType::F32,
    TensorType::F16,
    TensorType::BF16,
    TensorType::Q8_0,
    TensorType::Q4_0,
    TensorType::Q4_K,
];

/// Reads `--quant`.
pub(super) fn quant(text: &str) -> Result<TensorType, String> {
    let known = TensorType::from_name(text).filter(|quant| QUANTS.contains(quant));
    known.ok_or_else(|| {
        let names = QUANTS.map(|quant| quant.to_string());
        format!("one of {}", names.join(", "))
    })
}

/// Writes the weights `from`, a name or a path, at `to` in another form.
pub(super) fn run(
    locator: &Locator,
    (from, to): (&str, &Path),
    quant: Option<TensorType>,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    let path = find(locator, from)?;
    let n_threads = common.threads.map(usize::from);
    let n_threads = n_threads.or_else(|| available_parallelism().ok().map(NonZero::get));
    let options = ConvertOptions { quant, n_threads: n_threads.unwrap_or(1) };
    let bar = printer.bar(0, "[{bar:30}] {pos} of {len} tensors, {eta}");
    let cancelled = cancel_on_ctrl_c()?;
    let mut on_tensor = |n_done, n_tensors| {
        bar.set_length(n_tensors as u64);
        bar.set_position(n_done as u64);
        if cancelled.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let converted = while_replying(cancelled, || convert(&path, to, &options, &mut on_tensor));
    bar.finish_and_clear();
    let converted = converted?;
    let stored: Vec<String> =
        converted.stored.iter().map(|(quant, count)| format!("{count} × {quant}")).collect();
    if !converted.has_tokenizer {
        printer.warn("The weights came without a tokenizer: what was written cannot chat.");
    }
    if let Some(window) = converted.unread_window {
        printer.warn(&format!(
            "This model sees {window} tokens back. pagewise reads that from the file; other programs do \
             not, and go astray with longer texts."
        ));
    }
    if printer.json() {
        printer.json_line(&json!({
            "path": to,
            "bytes": converted.bytes,
            "tensors": converted.n_tensors,
            "matrices": converted.stored.iter().map(|(quant, count)| {
                json!({"type": quant.to_string(), "count": count})
            }).collect::<Vec<_>>(),
            "tokenizer": converted.has_tokenizer,
            "unread_window": converted.unread_window,
        }));
    } else {
        printer.talk(&format!(
            "Wrote {} tensors, {}; matrices: {}.",
            converted.n_tensors,
            HumanBytes(converted.bytes),
            stored.join(", ")
        ));
        printer.line(to.display().to_string());
    }
    Ok(())
}

/// Returns where the weights are that a name or a path means.
pub(super) fn find(locator: &Locator, name: &str) -> Result<PathBuf, Failure> {
    let spec = ModelSpec::parse(name)?;
    let located = locator.find(&spec)?;
    let located = located.ok_or_else(|| {
        Failure::new(Kind::Model, format!("{spec} is not on this disk"))
            .hint(format!("`pagewise pull {spec}` fetches it"))
    })?;
    Ok(located.path)
}

impl From<ConvertError> for Failure {
    fn from(error: ConvertError) -> Self {
        let kind = match &error {
            ConvertError::Io { .. } => Kind::Store,
            ConvertError::Exists { .. } => Kind::Usage,
            ConvertError::Cancelled => Kind::Interrupted,
            _ => Kind::Model,
        };
        let failure = Self::new(kind, &error);
        match error {
            ConvertError::Io { .. } => failure.hint("nothing was left half done"),
            _ => failure,
        }
    }
}
