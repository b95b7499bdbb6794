//! Main context as a chat transcript, as in the paper: events are user turns, calls are the
//! model's turns, results are tool turns. Working context stands in the system turn, as it was at
//! the last flush; edits since then are seen as the calls that they were.

use pagewise_core::{Message, MessageBody, Prompt, PromptMessage, PromptRole};
use serde_json::json;

use crate::functions;
use crate::main_context::{MainContext, PRESSURE_WARNING, clip, describe_event};

pub(crate) fn render(context: &MainContext<'_>) -> Prompt {
    let blocks: Vec<String> = context
        .working_context
        .at_flush
        .blocks()
        .iter()
        .map(|block| format!("<{0}>\n{1}\n</{0}>", block.label, block.value))
        .collect();
    let system = include_str!("prompts/transcript_system.md")
        .replace("{functions}", &functions::help())
        .replace("{working_context}", &blocks.join("\n"));
    let mut messages = vec![turn(PromptRole::System, system.trim_end().into())];
    if let Some(summary) = context.queue.summary() {
        let text = format!(
            "Summary of {} earlier messages that you no longer see: {}",
            summary.n_messages,
            clip(&summary.text, context.shown.summary_chars)
        );
        messages.push(turn(PromptRole::User, text));
    }
    let event = context.chain.map(|chain| chain.event);
    let turns =
        context.queue.messages().filter_map(|message| Some((message.id, show(message, context)?)));
    let turns: Vec<_> = turns.collect();
    let n_hidden = turns.len().saturating_sub(context.shown.n_latest);
    // What is being answered is shown however little else is.
    let is_shown = |(index, id)| index >= n_hidden || Some(id) == event;
    let shown = turns.into_iter().enumerate().filter(|(index, (id, _))| is_shown((*index, *id)));
    messages.extend(shown.map(|(_, (_, turn))| turn));
    Prompt { messages }
}

fn show(message: &Message, context: &MainContext<'_>) -> Option<PromptMessage> {
    let max_chars = context.shown.message_chars;
    Some(match &message.body {
        MessageBody::User { text } => turn(PromptRole::User, clip(text, max_chars)),
        MessageBody::Call(call) => {
            turn(PromptRole::Assistant, clip(&call.to_text(), 2 * max_chars))
        }
        MessageBody::Result(result) => {
            let text = clip(&result.message, context.shown.result_chars);
            turn(PromptRole::Tool, json!({"status": result.status, "message": text}).to_string())
        }
        MessageBody::SystemAlert { text } if text == PRESSURE_WARNING => {
            turn(PromptRole::User, format!("(System: {})", text.trim_end()))
        }
        MessageBody::Summary { .. } => return None,
        _ => {
            let event = describe_event(message)?;
            turn(PromptRole::User, format!("(System: {})", clip(&event, max_chars)))
        }
    })
}

fn turn(role: PromptRole, content: String) -> PromptMessage {
    PromptMessage { role, content }
}
