//! Main context as a frame: the state rebuilt into one user turn at each step.
//!
//! In a chat, a small model continues what it reads: it repeats its last call, or goes on with a
//! quoted conversation. Here it finds, in this order, what it knows, what was said, what was
//! found, and last the one thing to do. Between two flushes the first two only grow at their end,
//! edits of working context included (`shown_working_context.rs`), so they stay in the KV cache.

use pagewise_core::{
    FunctionCall, FunctionResult, MessageBody, Prompt, PromptMessage, PromptRole, Status,
};

use crate::functions::working_context::describe_edit;
use crate::functions::{self, Purpose};
use crate::main_context::{MainContext, Shown, clip, describe_event};
use crate::reading;

pub(crate) fn render(context: &MainContext<'_>) -> Prompt {
    let mut system =
        include_str!("prompts/frame_system.md").replace("{functions}", &functions::help());
    if context.with_examples {
        system.push('\n');
        system.push_str(include_str!("prompts/frame_examples.md"));
    }
    let sections = [
        working_context(context),
        summary(context),
        conversation(context),
        found(context),
        now(context),
    ];
    let user = sections.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
    Prompt {
        messages: vec![
            PromptMessage { role: PromptRole::System, content: system.trim_end().into() },
            PromptMessage { role: PromptRole::User, content: user },
        ],
    }
}

fn working_context(context: &MainContext<'_>) -> Option<String> {
    let blocks: Vec<String> = context
        .working_context
        .at_flush
        .blocks()
        .iter()
        .map(|block| {
            let value = if block.value.is_empty() {
                "(nothing but what you noted below)"
            } else {
                &block.value
            };
            format!("[{}] {}\n{value}", block.label, block.description)
        })
        .collect();
    (!blocks.is_empty()).then(|| format!("# Working context\n{}", blocks.join("\n")))
}

fn summary(context: &MainContext<'_>) -> Option<String> {
    let summary = context.queue.summary()?;
    let text = clip(&summary.text, context.shown.summary_chars);
    Some(format!("# Summary of what you no longer see\n{text}"))
}

/// What was said before the event, and what was noted. Other calls are left out: their results were
/// for an event that is past.
fn conversation(context: &MainContext<'_>) -> Option<String> {
    let lines: Vec<String> = context
        .queue
        .messages()
        .filter(|message| !context.is_of_event(message.id))
        .filter_map(|message| {
            let max_chars = context.shown.message_chars;
            match (&message.body, message.body.spoken()) {
                (MessageBody::User { .. }, Some(text)) => {
                    Some(format!("User: {}", clip(text, max_chars)))
                }
                (_, Some(text)) => Some(format!("You: {}", clip(text, max_chars))),
                (MessageBody::Call(call), _) if context.working_context.is_edit(message.id) => {
                    describe_edit(call).map(|edit| format!("({})", clip(&edit, max_chars)))
                }
                _ => describe_event(message).map(|event| format!("({})", clip(&event, max_chars))),
            }
        })
        .collect();
    let lines = context.shown.latest(lines);
    (!lines.is_empty()).then(|| format!("# Conversation\n{}", lines.join("\n")))
}

/// What the calls of this event have yielded.
fn found(context: &MainContext<'_>) -> Option<String> {
    let source = source(context);
    let mut entries = Vec::new();
    let mut call = None;
    for message in context.queue.messages().filter(|message| context.is_of_event(message.id)) {
        match (&message.body, call.take()) {
            (MessageBody::Call(made), _) => call = Some(made),
            // The line that answers stands for all that were found.
            (MessageBody::Result(result), Some(made))
                if source.is_some() && is_search(made) && result.status == Status::Ok => {}
            (MessageBody::Result(result), Some(made)) => {
                entries.push(entry(made, result, context.shown));
            }
            _ => {}
        }
    }
    entries.extend(source.map(|source| {
        let shown = clip(source, context.shown.result_chars);
        if reading::is_noted(source) {
            shown
        } else {
            format!("You searched, and found:\n- {shown}")
        }
    }));
    let entries = context.shown.latest(entries);
    (!entries.is_empty()).then(|| format!("# What you did just now\n{}", entries.join("\n")))
}

/// The line that answers, if one was read.
fn source<'a>(context: &MainContext<'a>) -> Option<&'a str> {
    context.chain?.reading.as_ref()?.source.as_deref()
}

fn entry(call: &FunctionCall, result: &FunctionResult, shown: Shown) -> String {
    let values: Vec<String> = call.arguments.values().map(ToString::to_string).collect();
    let made = format!("{}({})", call.function, clip(&values.join(", "), shown.message_chars));
    let message = clip(&result.message, shown.result_chars);
    match result.status {
        Status::Failed => format!("{made} failed: {message}"),
        Status::Ok if is_search(call) => format!("{made} found:\n{message}"),
        Status::Ok => format!("{made}: {message}"),
    }
}

fn is_search(call: &FunctionCall) -> bool {
    functions::find(&call.function).is_some_and(|function| function.purpose == Purpose::Search)
}

fn now(context: &MainContext<'_>) -> Option<String> {
    let chain = context.chain?;
    let mut lines = vec![format!("# Now\nToday is {}.", context.now.strftime("%A, %Y-%m-%d"))];
    if !chain.event_text.is_empty() {
        let text = clip(&chain.event_text, context.shown.message_chars);
        lines.push(format!("The user says: {text}"));
    }
    lines.push(context.instruction().into_owned());
    Some(lines.join("\n"))
}
