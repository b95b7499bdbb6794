//! What a message asks for, decided before the first step.
//!
//! A small model that reads all of main context takes what is on offer: it saves a request as a note, and
//! stops at the first thing that it finds. Asked for one decision at a time, after a few examples from
//! other fields and with nothing else in view, it reads the same message well. Each decision is a
//! function call under a grammar, like everything that the model writes, with a KV cache of its own.
//!
//! - **Intake**: whether the message is to be searched for, saved, or just replied to.
//! - **Rehearsal**: when a search for an identifier has found another one, whether the request wants that,
//!   or what it leads to in turn. The request is put to the model with made-up entries of which each names
//!   the next, and what it answers tells which end of a trail it wants.

use pagewise_core::{
    ArgumentKind, ArgumentSpec, FunctionCall, FunctionSpec, Prompt, PromptMessage, PromptRole,
};
use serde_json::Value;

/// What the model does first with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// It looks for what the message wants.
    Search,
    /// It saves what the message says.
    Save,
    /// It replies, unless it sees reason to do something else.
    Reply,
}

impl First {
    const ALL: [Self; 3] = [Self::Search, Self::Save, Self::Reply];

    fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Save => "save",
            Self::Reply => "reply",
        }
    }
}

/// A decision: what the model reads, and the one function that it can call.
pub(crate) struct Decision {
    pub(crate) prompt: Prompt,
    pub(crate) function: FunctionSpec<'static>,
}

/// Asks what to do first with a message.
pub(crate) fn intake(message: &str) -> Decision {
    let names = First::ALL.map(|first| first.name().to_string());
    let kind = ArgumentKind::OneOf(names.to_vec());
    let question = Question { function: "plan", argument: "first", kind };
    let examples = examples(include_str!("prompts/intake_examples.md"))
        .map(|(first, message)| (shown(message), first.into()));
    question.decision(include_str!("prompts/intake_system.md"), examples, shown(message))
}

/// Reads what [`intake`] was answered.
pub(crate) fn read_intake(call: &FunctionCall) -> First {
    let name = call.text("first");
    First::ALL.into_iter().find(|first| first.name() == name).unwrap_or(First::Reply)
}

/// Asks whether a request wants what stands next to `identifier`, or the end of the trail that begins there.
pub(crate) fn rehearsal(request: &str, identifier: &str) -> Decision {
    let [start, next, _, end] = REHEARSED;
    let kind = ArgumentKind::OneOf(vec![next.to_string(), end.to_string()]);
    let question = Question { function: "answer", argument: "entry", kind };
    let examples = examples(include_str!("prompts/trail_examples.md")).map(|(names, request)| {
        let mut names = names.split(' ');
        let trail: [&str; 4] = std::array::from_fn(|_| names.next().unwrap_or_default());
        let [_, next, _, end] = trail;
        let answer = if names.next() == Some("end") { end } else { next };
        (rehearsed(request, trail, "="), answer.into())
    });
    // Written in another way than in the examples, so that it is not the look of a trail that decides.
    let request = rehearsed(&request.replace(identifier, start), REHEARSED, "->");
    question.decision(include_str!("prompts/trail_system.md"), examples, request)
}

/// Reads what [`rehearsal`] was answered: whether the trail is to be followed to its end.
pub(crate) fn read_rehearsal(call: &FunctionCall) -> bool {
    let [_, _, _, end] = REHEARSED;
    call.text("entry") == end
}

/// The names in the trail of the rehearsed request, from where it begins to where it ends.
const REHEARSED: [&str; 4] = ["K7", "M40", "T26", "B58"];

/// A message as decisions about it are asked.
pub(crate) fn shown(message: &str) -> String {
    format!("Message: {message}")
}

fn rehearsed(request: &str, trail: [&str; 4], names: &str) -> String {
    let entries: Vec<String> =
        trail.windows(2).map(|two| format!("{} {names} {}", two[0], two[1])).collect();
    format!("Entries:\n{}\n\nRequest: {request}", entries.join("\n"))
}

/// Reads the lines of examples: what is answered, a colon, and to what.
pub(crate) fn examples(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    text.lines().filter_map(|line| line.split_once(": "))
}

/// The one function that can be called, with the one argument that it has.
pub(crate) struct Question {
    pub(crate) function: &'static str,
    pub(crate) argument: &'static str,
    /// What can be answered.
    pub(crate) kind: ArgumentKind<'static>,
}

impl Question {
    /// Puts the examples, each with its answer, before what is asked.
    pub(crate) fn decision(
        self,
        system: &str,
        examples: impl Iterator<Item = (String, Value)>,
        asked: String,
    ) -> Decision {
        let turn = |role, content| PromptMessage { role, content };
        let mut messages = vec![turn(PromptRole::System, system.trim_end().to_string())];
        for (asked, answer) in examples {
            messages.push(turn(PromptRole::User, asked));
            messages.push(turn(PromptRole::Assistant, self.call(answer).to_text()));
        }
        messages.push(turn(PromptRole::User, asked));
        let argument =
            ArgumentSpec { name: self.argument, description: "the decision", kind: self.kind };
        let function = FunctionSpec {
            name: self.function,
            description: "Decide.",
            arguments: vec![argument],
            asks_heartbeat: false,
        };
        Decision { prompt: Prompt { messages }, function }
    }

    fn call(&self, answer: Value) -> FunctionCall {
        FunctionCall::new(self.function, [(self.argument, answer)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(decision: &Decision) -> String {
        let turns: Vec<String> = (decision.prompt.messages.iter())
            .map(|turn| format!("<{:?}>\n{}", turn.role, turn.content))
            .collect();
        format!("{}\n\n{:?}", turns.join("\n"), decision.function.arguments[0].kind)
    }

    #[test]
    fn a_message_is_asked_about_after_examples() {
        insta::assert_snapshot!(show(&intake("Where did I park?")));
    }

    #[test]
    fn a_request_is_rehearsed_on_made_up_entries() {
        let key = "5f0c9d1e";
        insta::assert_snapshot!(show(&rehearsal("What does 5f0c9d1e stand for in the end?", key)));
    }

    #[test]
    fn every_example_has_an_answer_that_is_allowed() {
        for decision in [intake("x"), rehearsal("x", "x")] {
            let answers =
                decision.prompt.messages.iter().filter(|turn| turn.role == PromptRole::Assistant);
            let n = answers
                .map(|turn| {
                    let call: FunctionCall = serde_json::from_str(&turn.content).unwrap();
                    assert_eq!(call.function, decision.function.name);
                    let value = call.text(decision.function.arguments[0].name);
                    assert!(!value.is_empty(), "{}", turn.content);
                })
                .count();
            assert!(n >= 4);
        }
        let names = First::ALL.map(First::name);
        let intake = examples(include_str!("prompts/intake_examples.md"));
        assert!(intake.map(|(first, _)| first).all(|first| names.contains(&first)));
    }

    #[test]
    fn answers_are_read() {
        let question =
            |function, argument| Question { function, argument, kind: ArgumentKind::Null };
        let plan = question("plan", "first");
        assert_eq!(read_intake(&plan.call("save".into())), First::Save);
        let answer = question("answer", "entry");
        assert!(read_rehearsal(&answer.call("B58".into())));
        assert!(!read_rehearsal(&answer.call("M40".into())));
    }
}
