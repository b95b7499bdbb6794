use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use pagewise_bench::{DecoderProcessor, Perplexity, PerplexityConfig, PerplexityError, perplexity};
use pagewise_infer::{LoadError, LoadedModel};
use serde::Serialize;

use super::check_memory;
use crate::args::CommonArgs;
use crate::failure::{Failure, Kind};
use crate::printer::Printer;
use crate::weights;

/// The window that perplexity is usually given for, in tokens.
const PERPLEXITY_WINDOW_TOKENS: usize = 512;
/// The largest text, in bytes: a day's work for two cores.
const TEXT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Measure how well a model foresees a text, as llama-perplexity does
///
/// The text is cut into windows of 512 tokens, or of as many as --window says. Each is read as a text
/// of its own, from the token on that begins a text if the model has one, and the tokens of its second
/// half are scored. The perplexity is the exponential of the mean of -ln p(token), and behind ± stands
/// the standard error of that. What is left after the last whole window is not used. Two perplexities
/// can be compared if text, window and tokenizer are the same.
#[derive(Debug, Args)]
pub(super) struct PerplexityArgs {
    /// The text, as UTF-8
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Read at most so many windows [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    chunks: Option<u32>,
}

/// The output as JSON.
#[derive(Serialize)]
struct PerplexityReport<'a> {
    model: &'a str,
    backend: &'a str,
    n_threads: usize,
    seconds: f64,
    #[serde(flatten)]
    perplexity: Perplexity,
}

#[expect(clippy::result_large_err, reason = "the library asks for its own error")]
pub(super) fn run(
    args: &PerplexityArgs,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let path = weights::model_path(common, printer)?;
    let compute = common.compute()?;
    let window_tokens = common.window.map_or(PERPLEXITY_WINDOW_TOKENS, |window| window as usize);
    let model = LoadedModel::load(&path, &compute, |weights, context_length| {
        if window_tokens > context_length {
            let path = path.clone();
            return Err(LoadError::WindowTooLarge { path, window_tokens, context_length });
        }
        check_memory(weights, window_tokens, &compute)?;
        Ok(window_tokens)
    })?;
    let config = PerplexityConfig {
        window_tokens,
        windows_max: args.chunks.map(|chunks| chunks as usize),
        bos: model.tokenizer.bos(),
    };
    let mut predictor =
        DecoderProcessor::new(&model.decoder).map_err(|error| Failure::new(Kind::Model, error))?;
    let tokens = model.tokenizer.encode(&text);
    let started = Instant::now();
    let perplexity = perplexity::run(&mut predictor, &tokens, &config, &mut |window, so_far| {
        printer.detail(&format!("window {window}: {so_far:.4} so far"));
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    if printer.json() {
        let (backend, n_threads) = (compute.name().to_uppercase(), common.n_threads());
        let (model, backend) = (&*name, &*backend);
        printer.json_line(&PerplexityReport { model, backend, n_threads, seconds, perplexity });
        return Ok(());
    }
    let Perplexity { perplexity, uncertainty, n_windows, n_scored, .. } = perplexity;
    printer.line(format!("{name}: perplexity {perplexity:.4} ± {uncertainty:.4}"));
    printer.talk(&format!(
        "{n_scored} tokens scored, in {n_windows} windows of {window_tokens}; {seconds:.1} s."
    ));
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let cannot = |error| Failure::new(Kind::Failure, format!("cannot read {shown}: {error}"));
    let n_bytes = fs::metadata(file).map_err(cannot)?.len();
    if n_bytes > TEXT_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{shown} is {n_bytes} bytes; a text has at most {TEXT_BYTES_MAX}"
        ))
        .hint("cut it: some tens of thousands of tokens tell models apart"));
    }
    String::from_utf8(fs::read(file).map_err(cannot)?)
        .map_err(|_| Failure::usage(format!("{shown} is not text in UTF-8")))
}

impl From<PerplexityError> for Failure {
    fn from(error: PerplexityError) -> Self {
        let kind = match error {
            PerplexityError::WindowTooSmall { .. }
            | PerplexityError::NoWindow
            | PerplexityError::TextTooShort { .. } => Kind::Usage,
            PerplexityError::NoProbability { .. } | PerplexityError::Model(_) => Kind::Model,
        };
        Self::new(kind, error)
    }
}
