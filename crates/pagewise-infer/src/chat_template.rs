//! Prompts to the text the model was trained on, through its own template.
//!
//! The template comes with the weights and is as hostile as they are: it gets no files, no clock
//! and no includes, and its work and output are bounded. Contents are hostile to the template's
//! structure: look-alikes of control tokens in them are broken up (see
//! [`Tokenizer::encode_rendered`]), so that no content can end its own turn.
//!
//! # Roles
//!
//! Templates differ in the roles they take. What this one takes is found out once, by rendering
//! small probes, and prompts are mapped accordingly:
//!
//! - system instructions at the start that are not taken join the first user turn, a blank line
//!   between; later ones become user turns;
//! - a tool turn becomes a user turn unless the template names the role: many templates write any
//!   role they are given, but a model knows only those it was trained on;
//! - turns of one role in a row are joined by a blank line where the template wants turns to
//!   alternate;
//! - where the conversation may not begin with the model's turn, a short user turn precedes it.
//!
//! Templates of Qwen2.5 and SmolLM2 write system instructions of their own when a prompt has
//! none; that is left to them.

mod guards;
mod limits;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use jiff::civil::{Date, date};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};
use pagewise_core::{ModelError, Prompt, PromptRole};
use thiserror::Error;

use crate::Tokenizer;
use crate::brief::brief;
use crate::gguf::{Gguf, GgufError};
use crate::tokenizer::{FolderError, SENTINEL, chat_template_of_folder};

/// The longest template, in bytes; real ones have up to 30,000. The engine counts lines and columns in
/// 16 bits, and its stack is as deep as a template nests.
const MAX_TEMPLATE_BYTES: usize = 60_000;
/// The longest rendered prompt, in bytes.
const MAX_OUTPUT_BYTES: usize = 2 << 20;
/// What a rendering may cost: minijinja counts instructions and blocks of 64 bytes. Enough for
/// the longest output several times over, and spent in a few dozen milliseconds.
const FUEL: u64 = 250_000;
/// Blocks within blocks within a template.
const MAX_RECURSION: usize = 100;
const NAME: &str = "chat_template";
/// What a template is told that cannot do without a date: the one that Llama 3.2 has of its own.
const STAND_IN_DATE: Date = date(2024, 7, 26);

/// Used when a file has no template and its vocabulary has ChatML's tokens.
const CHAT_ML: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Used when a file has neither: a base model, which continues a transcript.
const TRANSCRIPT: &str = "{% for message in messages %}\
    {% if message.role == 'system' %}{{ message.content + '\n\n' }}\
    {% elif message.role == 'user' %}{{ 'User: ' + message.content + '\n' }}\
    {% else %}{{ 'Assistant: ' + message.content + '\n' }}{% endif %}\
    {% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

/// A chat template cannot be used.
#[derive(Debug, Error)]
pub enum ChatTemplateError {
    /// The template in the file is not text.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A file that may hold the template cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The template is longer than any real one.
    #[error("the chat template has {bytes} bytes, and at most {MAX_TEMPLATE_BYTES} are allowed")]
    TemplateTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The template is not valid Jinja.
    #[error("the chat template is not valid: {}", brief(message))]
    Syntax {
        /// What the template engine says.
        message: String,
    },
    /// The template does not even write the simplest conversation.
    #[error("the chat template cannot write a simple conversation: {}", brief(message))]
    Unusable {
        /// What happened.
        message: String,
    },
    /// The template refused this prompt, or failed on it.
    #[error("the chat template failed: {}", brief(message))]
    Failed {
        /// What the template engine says.
        message: String,
    },
    /// The template did more work than any conversation needs.
    #[error("the chat template did not come to an end")]
    Endless,
    /// The template did something that takes for ever.
    #[error("the chat template was given up on after {} seconds", limits::TIME_LIMIT.as_secs())]
    TimedOut,
    /// The system starts no thread to render it on.
    #[error("the chat template cannot be rendered: the system starts no thread for it ({reason})")]
    NoThread {
        /// What the system says.
        reason: String,
    },
    /// The prompt is too long, before or after rendering.
    #[error("the prompt is more than {MAX_OUTPUT_BYTES} bytes long")]
    PromptTooLong,
}

impl ChatTemplateError {
    /// Returns what happened, for a sentence that begins by naming the template.
    fn reason(self) -> String {
        match self {
            Self::Failed { message } => message,
            Self::Endless => "it did not come to an end".into(),
            error => error.to_string(),
        }
    }
}

impl From<ChatTemplateError> for ModelError {
    fn from(error: ChatTemplateError) -> Self {
        Self::Template(brief(error.reason()))
    }
}

/// The template of a model, and what it takes.
#[derive(Debug)]
pub struct ChatTemplate {
    engine: Arc<Engine>,
    tokenizer: Tokenizer,
    roles: Roles,
    knows_thinking: bool,
    /// Whether the model is to think before it answers, if the template leaves that open.
    thinks: bool,
}

/// The compiled template, and what runs it: apart, so that it cannot include itself.
#[derive(Debug)]
struct Engine {
    templates: Environment<'static>,
    environment: Environment<'static>,
}

/// What a template takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Roles {
    /// System instructions at the start.
    system: bool,
    /// System instructions later on.
    later_system: bool,
    tool: bool,
    /// Two turns of one role in a row.
    repeats: bool,
    /// A conversation that begins with the model's turn.
    assistant_first: bool,
}

/// A turn as the template sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Turn {
    role: &'static str,
    content: String,
}

impl ChatTemplate {
    /// Takes the template of `gguf`, or a fallback if it has none, and finds out what it takes.
    ///
    /// The template is not told the date, so that prompts stay the same from day to day;
    /// templates that want it have a date of their own for that case, or get one.
    pub fn from_gguf(gguf: &Gguf, tokenizer: &Tokenizer) -> Result<Self, ChatTemplateError> {
        let template: Option<&str> = gguf.get("tokenizer.chat_template")?;
        Self::undated(template, tokenizer)
    }

    /// Takes the template in `folder`, as [`Self::from_gguf`] does: that of `chat_template.jinja`,
    /// or else of `tokenizer_config.json`.
    pub fn from_folder(folder: &Path, tokenizer: &Tokenizer) -> Result<Self, ChatTemplateError> {
        Self::undated(chat_template_of_folder(folder)?.as_deref(), tokenizer)
    }

    fn undated(template: Option<&str>, tokenizer: &Tokenizer) -> Result<Self, ChatTemplateError> {
        let template = template.unwrap_or_else(|| Self::fallback(tokenizer));
        match Self::new(template, tokenizer, None) {
            // Granite's, for one, writes the date where there are no system instructions.
            Err(ChatTemplateError::Unusable { .. }) if template.contains("strftime_now") => {
                Self::new(template, tokenizer, Some(STAND_IN_DATE))
            }
            result => result,
        }
    }

    /// Takes `template`, Jinja as in `tokenizer_config.json`. It is told the `date`, if any,
    /// through `strftime_now`.
    pub fn new(
        template: &str,
        tokenizer: &Tokenizer,
        date: Option<Date>,
    ) -> Result<Self, ChatTemplateError> {
        if template.len() > MAX_TEMPLATE_BYTES {
            return Err(ChatTemplateError::TemplateTooLong { bytes: template.len() });
        }
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MAX_RECURSION);
        limits::apply(&mut environment);
        if let Some(date) = date {
            environment.add_function("strftime_now", move |format: &Value| {
                // Only a text is a format: any other value would be written first, however long.
                let format = format.as_str().unwrap_or_default();
                jiff::fmt::strtime::format(format, date).map_err(|error| {
                    minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string())
                })
            });
        }
        let mut templates = Environment::new();
        let invalid =
            |error: minijinja::Error| ChatTemplateError::Syntax { message: explain(&error) };
        // As the templates of all models expect.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        templates.set_syntax(syntax.map_err(invalid)?);
        let source = without_generation_marks(template);
        let compile = move || {
            templates.add_template_owned(NAME, source).map_err(|error| explain(&error))?;
            Ok(Arc::new(Engine { templates, environment }))
        };
        let engine =
            limits::aside(compile)?.map_err(|message| ChatTemplateError::Syntax { message })?;
        let mut this = Self {
            engine,
            tokenizer: tokenizer.clone(),
            roles: Roles::default(),
            knows_thinking: template.contains("<think>") || template.contains("enable_thinking"),
            thinks: false,
        };
        this.roles = this.probe(template)?;
        Ok(this)
    }

    fn fallback(tokenizer: &Tokenizer) -> &'static str {
        let chat_ml = ["<|im_start|>", "<|im_end|>"].iter().all(|name| tokenizer.has_control(name));
        if chat_ml { CHAT_ML } else { TRANSCRIPT }
    }

    /// Returns whether the template is of a model that can think before it answers.
    pub fn knows_thinking(&self) -> bool {
        self.knows_thinking
    }

    /// Has the model think before it answers, or not, if the template leaves that open.
    pub fn set_thinking(&mut self, thinks: bool) {
        self.thinks = thinks;
    }

    /// Writes `prompt` as the model was trained to read it, up to where its answer begins.
    ///
    /// The result is for [`Tokenizer::encode_rendered`]; [`shown`](Self::shown) makes it fit to
    /// be read.
    pub fn render(&self, prompt: &Prompt) -> Result<String, ChatTemplateError> {
        let bytes: usize = prompt.messages.iter().map(|message| message.content.len()).sum();
        if bytes > MAX_OUTPUT_BYTES {
            return Err(ChatTemplateError::PromptTooLong);
        }
        self.render_turns(&self.turns(prompt))
    }

    /// Returns a rendered prompt as a person should see it.
    pub fn shown(rendered: &str) -> String {
        rendered.replace(SENTINEL, "")
    }

    fn render_turns(&self, turns: &[Turn]) -> Result<String, ChatTemplateError> {
        let message = |turn: &Turn| {
            let content = Value::from(turn.content.as_str());
            Value::from_pairs([("role", Value::from(turn.role)), ("content", content)])
        };
        let name = |id| Value::from(self.tokenizer.name(id));
        let context = context! {
            messages => turns.iter().map(message).collect::<Vec<Value>>(),
            add_generation_prompt => true,
            enable_thinking => self.thinks,
            bos_token => name(self.tokenizer.named_bos()),
            eos_token => name(self.tokenizer.eos()),
        };
        let engine = self.engine.clone();
        let render = move || {
            let Engine { templates, environment } = &*engine;
            guards::render(templates, environment, NAME, context).map_err(|error| {
                match error.kind() {
                    ErrorKind::OutOfFuel => ChatTemplateError::Endless,
                    _ => ChatTemplateError::Failed { message: explain(&error) },
                }
            })
        };
        let rendered = limits::aside(render)??;
        if rendered.len() > MAX_OUTPUT_BYTES {
            return Err(ChatTemplateError::PromptTooLong);
        }
        Ok(rendered)
    }

    /// Maps the roles of `prompt` to those that the template takes, and neutralises its contents.
    fn turns(&self, prompt: &Prompt) -> Vec<Turn> {
        let mut turns: Vec<Turn> = Vec::new();
        let mut unplaced = String::new();
        let mut leading = true;
        for message in &prompt.messages {
            let content = self.tokenizer.neutralise(&message.content);
            leading &= message.role == PromptRole::System;
            let role = match message.role {
                PromptRole::System if leading && !self.roles.system => {
                    join(&mut unplaced, &content);
                    continue;
                }
                PromptRole::System if leading || self.roles.later_system => "system",
                PromptRole::Tool if self.roles.tool => "tool",
                PromptRole::System | PromptRole::Tool | PromptRole::User => "user",
                PromptRole::Assistant => "assistant",
            };
            let joins = !self.roles.repeats || (role == "system" && !self.roles.later_system);
            match turns.last_mut() {
                Some(last) if joins && last.role == role => join(&mut last.content, &content),
                _ => turns.push(Turn { role, content }),
            }
        }
        let first = turns.iter().position(|turn| turn.role != "system").unwrap_or(turns.len());
        let begins_with_assistant = turns.get(first).is_some_and(|turn| turn.role == "assistant");
        if begins_with_assistant && !self.roles.assistant_first {
            let content = "(The conversation goes on.)".to_owned();
            turns.insert(first, Turn { role: "user", content });
        }
        if !unplaced.is_empty() {
            match turns.iter_mut().find(|turn| turn.role == "user") {
                Some(turn) => {
                    join(&mut unplaced, &turn.content);
                    turn.content = unplaced;
                }
                None => turns.insert(0, Turn { role: "user", content: unplaced }),
            }
        }
        turns
    }

    /// Finds out what the template takes.
    fn probe(&self, template: &str) -> Result<Roles, ChatTemplateError> {
        for simple in ["u", "uau"] {
            self.try_roles(simple)?.map_err(|message| ChatTemplateError::Unusable { message })?;
        }
        let takes = |roles: &str| Ok::<_, ChatTemplateError>(self.try_roles(roles)?.is_ok());
        let system = takes("su")?;
        let names_tool = ["'tool'", "\"tool\""].iter().any(|name| template.contains(name));
        Ok(Roles {
            system,
            later_system: system && takes("suasu")?,
            tool: names_tool && takes("uat")? && takes("uatau")?,
            repeats: takes("uu")? && takes("uaau")?,
            assistant_first: takes("au")?,
        })
    }

    /// Renders a conversation of the given roles and looks for all that was said in it; returns what
    /// is wrong with it. A template that had to be given up on is not tried any more.
    fn try_roles(&self, roles: &str) -> Result<Result<(), String>, ChatTemplateError> {
        let mut turns = Vec::new();
        for (index, role) in roles.chars().enumerate() {
            let role = match role {
                's' => "system",
                'a' => "assistant",
                't' => "tool",
                _ => "user",
            };
            turns.push(Turn { role, content: format!("said-{index}") });
        }
        let rendered = match self.render_turns(&turns) {
            Ok(rendered) => rendered,
            Err(error @ (ChatTemplateError::TimedOut | ChatTemplateError::NoThread { .. })) => {
                return Err(error);
            }
            Err(error) => return Ok(Err(error.reason())),
        };
        let mut rest = rendered.as_str();
        for turn in &turns {
            let Some((_, after)) = rest.split_once(&turn.content) else {
                return Ok(Err(format!("it leaves out what the {} said", turn.role)));
            };
            rest = after;
        }
        Ok(Ok(()))
    }
}

fn join(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(more);
}

/// Returns `template` with `{% generation %}` and its end, which mark what a model is trained to
/// write, made into a condition that always holds.
fn without_generation_marks(template: &str) -> String {
    let mut plain = String::with_capacity(template.len());
    for chunk in template.split_inclusive("%}") {
        let tag = chunk.strip_suffix("%}").and_then(|chunk| chunk.rsplit_once("{%"));
        let mark = tag.and_then(|(before, inside)| match inside.trim_matches(['-', '+']).trim() {
            mark @ "generation" => Some((before, inside.replacen(mark, "if true", 1))),
            mark @ "endgeneration" => Some((before, inside.replacen(mark, "endif", 1))),
            _ => None,
        });
        match mark {
            Some((before, inside)) => plain.extend([before, "{%", &inside, "%}"]),
            None => plain.push_str(chunk),
        }
    }
    plain
}

/// Returns what went wrong in one line, with its place in the template.
fn explain(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{what} (line {line} of the template)"),
        None => what,
    }
}
