use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use pagewise_memory::DocumentFormat;
use serde_json::json;

use crate::args::CommonArgs;
use crate::failure::{Failure, Kind};
use crate::home::Home;
use crate::opening::{clock, open_store_at};
use crate::printer::Printer;

/// The largest document, in bytes: a long book is a few megabytes.
const DOCUMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Put documents into archival storage: text and markdown files
///
/// A document is cut into passages and embedded. Putting in the same one again changes nothing.
#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// The files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Fetch a missing embedder without asking
    #[arg(short, long)]
    yes: bool,
}

struct Document {
    name: String,
    text: String,
    format: DocumentFormat,
}

pub(crate) fn run(
    args: &IngestArgs,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    // All are read first, so that a wrong name among them leaves nothing half done.
    let documents = args.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    crate::weights::ensure_embedder(common, printer, args.yes)?;
    let (mut store, _) = open_store_at(&Home::of(common)?.agent(&common.agent), common, printer)?;
    let clock = clock(common);
    let mut reports = Vec::new();
    for Document { name, text, format } in documents {
        let now = clock.now().timestamp();
        let bar = printer
            .bar(0, "{msg} [{bar:30}] {pos}/{len} passages {eta}")
            .with_message(name.clone());
        let report = store.ingest(&name, &text, format, now, &mut |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        printer.talk(&format!(
            "{name}: {} passages, {} of them new.",
            report.n_passages, report.n_new
        ));
        reports.push(json!({"name": name, "passages": report.n_passages, "new": report.n_new}));
    }
    if printer.json() {
        printer.json_line(&json!({"documents": reports}));
    }
    Ok(())
}

fn read(file: &Path) -> Result<Document, Failure> {
    let shown = file.display();
    if file.is_dir() {
        return Err(Failure::new(Kind::Failure, format!("{shown} is a folder"))
            .hint(format!("give the files: {}", file.join("*.md").display())));
    }
    let cannot = |error| Failure::new(Kind::Failure, format!("cannot read {shown}: {error}"));
    let format = match file.extension().and_then(|extension| extension.to_str()) {
        Some("md" | "markdown") => DocumentFormat::Markdown,
        Some("txt" | "text" | "log" | "rst" | "org") | None => DocumentFormat::Text,
        Some(other) => {
            return Err(Failure::usage(format!(
                "{shown} is a .{other} file; text (.txt) and markdown (.md) can be read"
            ))
            .hint("turn it into text first, for example with pandoc or pdftotext"));
        }
    };
    let n_bytes = fs::metadata(file).map_err(cannot)?.len();
    if n_bytes > DOCUMENT_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{shown} is {n_bytes} bytes; a document has at most {DOCUMENT_BYTES_MAX}"
        ))
        .hint("split it into several files"));
    }
    // A device says that it is empty, and is without end.
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(cannot)?;
    opened.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{shown} has more than the {DOCUMENT_BYTES_MAX} bytes that a document may have"
        ))
        .hint("split it into several files"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        Failure::usage(format!(
            "{shown} is not UTF-8 text: byte {} cannot be read",
            error.utf8_error().valid_up_to()
        ))
    })?;
    if text.trim().is_empty() {
        return Err(Failure::usage(format!("{shown} is empty")));
    }
    let name = file
        .file_name()
        .map_or_else(|| shown.to_string(), |name| name.to_string_lossy().into_owned());
    Ok(Document { name, text, format })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let failure = read(&path).err().expect("it has no end");
        assert!(failure.message.contains("more than"), "{}", failure.message);
    }
}
