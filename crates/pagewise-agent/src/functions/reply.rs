//! Speaking to the user.

use pagewise_core::{ArgumentKind, ArgumentSpec, FunctionSpec};

use super::{Done, Effect, Function, Purpose};

pub(crate) static SEND_MESSAGE: Function = Function {
    name: "send_message",
    purpose: Purpose::Reply,
    help: "(message): say this to the user; the only text the user sees",
    spec: |state| {
        Some(FunctionSpec {
            name: "send_message",
            description: "Say this to the user.",
            arguments: vec![ArgumentSpec {
                name: "message",
                description: "what to say",
                kind: match state.chain.answer() {
                    // Asked to say it again, small models mend it for the worse.
                    Some(answer) => ArgumentKind::OneOf(vec![answer.to_string()]),
                    None => ArgumentKind::Text { max_chars: state.config.message_max_chars },
                },
            }],
            asks_heartbeat: false,
        })
    },
    // The text has streamed to the user while it was written.
    run: |call, _| Ok(Done::ok(call, "", Effect::None)),
};
