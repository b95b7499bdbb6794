//! Function calls: which of the functions of others a request wants, and with what.
//!
//! The functions stand in the system text, as the agent's own do in its frame, and the model writes one
//! call: of one of them, or of `send_message` where none helps. No memory is involved, so that there are two
//! arms with one prompt: `memgpt` writes under the grammar as the agent does, `no-memory` writes free text,
//! which counts if it is a call. What the grammar brings is the difference.

use std::collections::BTreeMap;
use std::sync::Arc;

use pagewise_core::{ArgumentKind, ArgumentSpec, FunctionSpec, Prompt, PromptMessage, PromptRole};

use crate::memory::call_score::REPLY;
use crate::memory::case::{Baseline, Case, Gold, Memory, Metric, Tier, UserMessage};
use crate::memory::tool::{Tool, help};

/// The label that says what is to be chosen among.
const CATEGORY: &str = "category";

/// A request, with the functions that are offered.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) category: String,
    pub(crate) request: String,
    pub(crate) tools: Vec<Tool>,
    /// The calls that are right, in JSON; none where no function helps.
    pub(crate) accepted: Vec<String>,
}

/// Makes the case of a request.
pub(crate) fn case(asked: Asked) -> Case {
    Case {
        id: asked.id,
        labels: BTreeMap::from([(CATEGORY.into(), asked.category)]),
        memory: Arc::new(Memory { tools: asked.tools, ..Memory::default() }),
        messages: vec![UserMessage { text: asked.request.clone(), after_reset: false }],
        baseline: Baseline { alone: asked.request, ..Baseline::default() },
        gold: Gold {
            metric: Metric::Call,
            answers: asked.accepted,
            decoys: Vec::new(),
            evidence: Vec::new(),
            tier: Tier::WorkingContext,
            edit: None,
        },
        tasks: Vec::new(),
    }
}

/// Returns the functions of a case as the grammar has them: those that are offered, then the reply.
pub(crate) fn specs(
    tools: &[Tool],
    message_max_chars: usize,
) -> Result<Vec<FunctionSpec<'_>>, String> {
    let mut specs = tools.iter().map(Tool::spec).collect::<Result<Vec<_>, _>>()?;
    specs.push(FunctionSpec {
        name: REPLY,
        description: "Say this to the user. For what no other function does, and to ask for what is missing.",
        arguments: vec![ArgumentSpec {
            name: "message",
            description: "what to say",
            kind: ArgumentKind::Text { max_chars: message_max_chars },
        }],
        asks_heartbeat: false,
    });
    Ok(specs)
}

/// Returns all that the model reads of a case with tools; nothing if it has none, or if they cannot be offered.
pub(crate) fn prompt_text(case: &Case, message_max_chars: usize) -> String {
    let tools = &case.memory.tools;
    let request = case.messages.last().map(|message| &*message.text).unwrap_or_default();
    let specs = specs(tools, message_max_chars).ok().filter(|_| !tools.is_empty());
    let prompt = specs.map(|specs| prompt(&specs, request)).unwrap_or_default();
    prompt.messages.into_iter().map(|turn| turn.content + "\n").collect()
}

/// Returns what the model reads.
pub(crate) fn prompt(specs: &[FunctionSpec<'_>], request: &str) -> Prompt {
    let functions: Vec<String> = specs.iter().map(help).collect();
    let system = format!(
        "You are an assistant who does what the user asks by calling functions.\n\n\
         Your functions:\n{}\n\n\
         Answer with one function call as JSON: {{\"function\": \"name\", \"args\": {{\"argument\": \"value\"}}}}\n\n\
         Rules:\n\
         - Call a function only if it does what the user asks. Otherwise call {REPLY}.\n\
         - Take the values from what the user says. Leave out an optional argument of which the user says nothing.",
        functions.join("\n")
    );
    let user = format!("# Now\nThe user says: {request}\nMake the call for this message.");
    let message = |role, content| PromptMessage { role, content };
    Prompt { messages: vec![message(PromptRole::System, system), message(PromptRole::User, user)] }
}
