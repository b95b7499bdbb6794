use std::path::PathBuf;

use indicatif::HumanBytes;
use pagewise_hub::{Entry, Locator, ModelSpec, Record, catalog};
use pagewise_infer::{LayerKind, LoadedModel, Tokenizer, Weights};
use serde::Serialize;
use serde_json::json;

use super::Model;
use crate::failure::{Failure, Kind};
use crate::printer::Printer;
use crate::weights::size_words;

/// The longest value of metadata that is shown on a line, in characters.
const MAX_VALUE_CHARS: usize = 100;

/// What a file or folder says of itself.
#[derive(Debug, Serialize)]
struct Contents {
    /// One, unless the model is cut into several.
    files: Vec<PathBuf>,
    layers: Option<Layers>,
    tensors: Vec<TensorsOfType>,
    tokenizer: Option<TokenizerFacts>,
    /// Its length in bytes; `None` if there is none.
    template_bytes: Option<usize>,
    /// As they are written, lists by their length.
    metadata: Vec<(String, String)>,
    #[serde(skip)]
    template: Option<String>,
}

#[derive(Debug, Serialize)]
struct Layers {
    count: usize,
    hidden: usize,
    feed_forward: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    vocabulary: usize,
    experts: Option<usize>,
    /// The sliding window of some layers, in tokens, and how many have it.
    sliding_window: Option<(usize, usize)>,
}

#[derive(Debug, Serialize)]
struct TensorsOfType {
    #[serde(rename = "type")]
    tensor_type: String,
    count: usize,
    numbers: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct TokenizerFacts {
    tokens: usize,
    bos: Option<String>,
    eos: Option<String>,
    /// What ends a turn.
    ends: Vec<String>,
}

/// Shows all that is known of the weights `name`, or with `wants_template` the template alone.
pub(super) fn run(
    locator: &Locator,
    name: &str,
    wants_template: bool,
    printer: &Printer,
) -> Result<(), Failure> {
    let (model, entry) = find(locator, name)?;
    let record = locator.store.find(&model.name)?.and_then(|stored| stored.record);
    let weights = model.path.as_deref().map(Weights::open).and_then(Result::ok);
    let contents = weights.as_ref().map(Contents::of);
    if wants_template {
        let template = contents.and_then(|contents| contents.template);
        let template = template.ok_or_else(|| {
            Failure::new(Kind::Model, format!("{} has no chat template", model.name))
        })?;
        if printer.json() {
            printer.json_line(&json!({"template": template}));
        } else {
            // As it is, but for what would make a terminal do something.
            let lines: Vec<String> = template
                .split('\n')
                .map(|line| line.split('\t').map(|part| harmless(part.chars())).collect::<Vec<_>>())
                .map(|parts| parts.join("\t"))
                .collect();
            printer.line(lines.join("\n"));
        }
        return Ok(());
    }
    if printer.json() {
        let value =
            json!({"model": model, "record": record, "catalog": entry, "contents": contents});
        printer.json_line(&value);
        return Ok(());
    }
    print_model(&model, record.as_ref(), entry, printer);
    if let Some(contents) = &contents {
        contents.print(printer);
    }
    Ok(())
}

/// Finds a model by its name or its path.
fn find(locator: &Locator, name: &str) -> Result<(Model, Option<&'static Entry>), Failure> {
    let spec = ModelSpec::parse(name)?;
    let located = locator.find(&spec)?;
    let entry = spec.store_name().and_then(|name| catalog::find(&name));
    let mut model = match (entry, &located) {
        (Some(entry), located) => Model::of_entry(entry, located.as_ref()),
        (None, Some(located)) => {
            let stored = locator.store.find(&located.name)?;
            let record = stored.as_ref().and_then(|stored| stored.record.as_ref());
            let sha256 = record.map(|record| record.sha256.clone());
            Model::of_path(&located.name, &located.path, located.origin, sha256)
        }
        (None, None) => {
            return Err(Failure::new(Kind::Model, format!("{spec} is not on this disk"))
                .hint(format!("`pagewise pull {spec}` fetches it")));
        }
    };
    // Only what is here can be asked whether it would load, tokenizer and template too.
    if model.kind == "model"
        && let Some(path) = &model.path
    {
        let reason = match Weights::open(path) {
            Ok(weights) => LoadedModel::check(&weights).err(),
            Err(error) => Some(error),
        };
        model.supported = reason.is_none();
        model.reason = reason.map(|error| error.to_string());
    }
    Ok((model, entry))
}

impl Contents {
    fn of(weights: &Weights) -> Self {
        let tokenizer = LoadedModel::check(weights).ok().map(|(tokenizer, _)| facts(&tokenizer));
        let template = weights.chat_template().ok().flatten();
        Self {
            files: weights.files(),
            layers: layers(weights),
            tensors: by_type(weights),
            tokenizer,
            template_bytes: template.as_ref().map(String::len),
            metadata: weights.metadata(),
            template,
        }
    }

    fn print(&self, printer: &Printer) {
        let field = |name: &str, value: String| printer.line(format!("{name:<14}{value}"));
        if let [_, _, ..] = self.files.as_slice() {
            field("files", self.files.len().to_string());
        }
        if let Some(layers) = &self.layers {
            field(
                "layers",
                format!(
                    "{} of {} numbers, {} query heads and {} of keys and values, {} numbers each",
                    layers.count, layers.hidden, layers.heads, layers.kv_heads, layers.head_dim
                ),
            );
            if let Some((window, n_layers)) = layers.sliding_window {
                field("windows", format!("{window} tokens in {n_layers} layers"));
            }
            if let Some(experts) = layers.experts {
                field("experts", experts.to_string());
            }
        }
        match &self.tokenizer {
            Some(facts) => field(
                "tokenizer",
                format!(
                    "{} tokens, a text begins with {}, a turn ends with {}",
                    facts.tokens,
                    facts.bos.as_deref().unwrap_or("nothing"),
                    facts.ends.join(" or ")
                ),
            ),
            None => field("tokenizer", "none that can be used".into()),
        }
        field(
            "chat template",
            self.template_bytes.map_or_else(|| "none".into(), |bytes| format!("{bytes} bytes")),
        );
        printer.line("tensors");
        for tensors in &self.tensors {
            printer.line(format!(
                "  {:<6}{:>6}  {:>14} numbers  {:>12}",
                tensors.tensor_type,
                tensors.count,
                tensors.numbers,
                HumanBytes(tensors.bytes).to_string()
            ));
        }
        printer.line("metadata");
        for (key, value) in &self.metadata {
            let mut shown = harmless(value.chars().take(MAX_VALUE_CHARS));
            if value.chars().nth(MAX_VALUE_CHARS).is_some() {
                shown.push_str(&format!("… ({} bytes)", value.len()));
            }
            let key = harmless(key.chars());
            printer.line(format!("  {key} = {shown}"));
        }
    }
}

/// Returns a text that cannot move the cursor or set colours: it is a file's, which may be anybody's.
fn harmless(text: impl Iterator<Item = char>) -> String {
    let escaped = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.map(escaped).collect()
}

fn layers(weights: &Weights) -> Option<Layers> {
    let config = weights.config().ok()?;
    let windows: Vec<usize> = config
        .layers
        .iter()
        .filter_map(|layer| match layer {
            LayerKind::Attention { window, .. } => *window,
            LayerKind::ShortConv { .. } => None,
        })
        .collect();
    Some(Layers {
        count: config.layers.len(),
        hidden: config.hidden,
        feed_forward: config.feed_forward,
        heads: config.n_heads,
        kv_heads: config.n_kv_heads,
        head_dim: config.head_dim,
        vocabulary: config.vocabulary,
        experts: config.experts.as_ref().map(|experts| experts.n_experts),
        sliding_window: windows.first().map(|window| (*window, windows.len())),
    })
}

fn by_type(weights: &Weights) -> Vec<TensorsOfType> {
    let mut types: Vec<TensorsOfType> = Vec::new();
    for tensor in weights.tensors().unwrap_or_default() {
        let name = tensor.tensor_type.to_string();
        let numbers = tensor.shape.iter().map(|length| *length as u64).product::<u64>();
        match types.iter_mut().find(|known| known.tensor_type == name) {
            Some(known) => {
                known.count += 1;
                known.numbers += numbers;
                known.bytes += tensor.n_bytes;
            }
            None => types.push(TensorsOfType {
                tensor_type: name,
                count: 1,
                numbers,
                bytes: tensor.n_bytes,
            }),
        }
    }
    types.sort_by_key(|tensors| std::cmp::Reverse(tensors.bytes));
    types
}

fn facts(tokenizer: &Tokenizer) -> TokenizerFacts {
    let name = |id: u32| String::from_utf8_lossy(tokenizer.token_bytes(id)).into_owned();
    TokenizerFacts {
        tokens: tokenizer.n_tokens(),
        bos: tokenizer.bos().map(name),
        eos: tokenizer.eos().map(name),
        ends: tokenizer.end_tokens().iter().map(|id| name(*id)).collect(),
    }
}

fn print_model(model: &Model, record: Option<&Record>, entry: Option<&Entry>, printer: &Printer) {
    let field = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            printer.line(format!("{name:<14}{value}"));
        }
    };
    field("name", Some(model.name.clone()));
    field("description", model.description.clone());
    field("kind", Some(model.kind.into()));
    field("family", model.family.clone());
    field("architecture", model.architecture.clone());
    field("quantisation", model.quant.clone());
    field("parameters", model.parameters.map(|n| n.to_string()));
    field("context", model.context.map(|n| format!("{n} tokens")));
    field("licence", model.licence.clone());
    field("licence text", entry.and_then(|entry| entry.licence_url.clone()));
    field("size", model.bytes.map(|bytes| HumanBytes(bytes).to_string()).or(entry.map(size_words)));
    field("sha256", model.sha256.clone().or(record.map(|record| record.sha256.clone())));
    let path = model.path.as_ref().map_or("no".into(), |path| path.display().to_string());
    field("on this disk", Some(path));
    if let Some(record) = record {
        field("came from", Some(record.source.clone()));
        field("verified", Some(record.verified_at.to_string()));
    }
    if !model.supported {
        let reason = model.reason.as_deref().unwrap_or("the engine does not support it yet");
        field("not supported", Some(reason.to_owned()));
    }
}
