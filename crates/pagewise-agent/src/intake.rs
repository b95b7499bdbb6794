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
//!   the next, and how likely it makes either end of the trail tells which one is wanted. A small model
//!   makes the nearer end too likely whatever is asked, so it is compared with how it takes plain requests, as
//!   many of the one kind as of the other (contextual calibration, Zhao et al. 2021, arXiv 2102.09690, with requests
//!   in place of an empty one).

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

/// A request put to the model on made-up entries, with what it may answer.
pub(crate) struct Rehearsal {
    pub(crate) prompt: Prompt,
    /// What stands next to the entry that is named, and the end of the trail that begins there.
    pub(crate) answers: [String; 2],
}

impl Rehearsal {
    /// The names in the trail, from where it begins to where it ends.
    const TRAIL: [&str; 4] = ["K7", "M40", "T26", "B58"];

    /// Asks whether a request wants what stands next to `identifier`, or the end of the trail that begins there.
    pub(crate) fn of(request: &str, identifier: &str) -> Self {
        let [start, next, _, end] = Self::TRAIL;
        let kind = ArgumentKind::OneOf(vec![next.to_string(), end.to_string()]);
        let question = Question { function: "answer", argument: "entry", kind };
        let answers = [next, end].map(|name| question.call(name.into()).to_text());
        let examples =
            examples(include_str!("prompts/trail_examples.md")).map(|(names, request)| {
                let mut names = names.split(' ');
                let trail: [&str; 4] = std::array::from_fn(|_| names.next().unwrap_or_default());
                let [_, next, _, end] = trail;
                let answer = if names.next() == Some("end") { end } else { next };
                (rehearsed(request, trail, "="), answer.into())
            });
        // Written in another way than in the examples, so that it is not the look of a trail that decides.
        let request = rehearsed(&request.replace(identifier, start), Self::TRAIL, "->");
        let system = include_str!("prompts/trail_system.md");
        Self { prompt: question.decision(system, examples, request).prompt, answers }
    }

    /// Plain requests, one for what stands next and one for the end by turns.
    pub(crate) fn plain() -> impl Iterator<Item = Self> {
        let [start, ..] = Self::TRAIL;
        include_str!("prompts/trail_plain.md").lines().map(move |request| Self::of(request, start))
    }
}

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
    use std::fmt::Debug;

    use super::*;

    fn show(prompt: &Prompt, answers: &dyn Debug) -> String {
        let turns: Vec<String> = (prompt.messages.iter())
            .map(|turn| format!("<{:?}>\n{}", turn.role, turn.content))
            .collect();
        format!("{}\n\n{answers:?}", turns.join("\n"))
    }

    #[test]
    fn a_message_is_asked_about_after_examples() {
        let intake = intake("Where did I park?");
        insta::assert_snapshot!(show(&intake.prompt, &intake.function.arguments[0].kind));
    }

    #[test]
    fn a_request_is_rehearsed_on_made_up_entries() {
        let key = "5f0c9d1e";
        let rehearsal = Rehearsal::of("What does 5f0c9d1e stand for in the end?", key);
        insta::assert_snapshot!(show(&rehearsal.prompt, &rehearsal.answers));
    }

    #[test]
    fn plain_requests_name_where_a_trail_begins() {
        let asked: Vec<String> = Rehearsal::plain()
            .filter_map(|rehearsal| {
                rehearsal.prompt.messages.last().map(|turn| turn.content.clone())
            })
            .collect();
        assert!(asked.len().is_multiple_of(2) && !asked.is_empty());
        for asked in asked {
            let (_, request) = asked.rsplit_once("Request: ").unwrap();
            assert!(request.contains(Rehearsal::TRAIL[0]), "{request}");
        }
    }

    #[test]
    fn every_example_has_an_answer_that_is_allowed() {
        let prompts = [intake("x").prompt, Rehearsal::of("x", "x").prompt];
        for (prompt, [function, argument]) in
            prompts.iter().zip([["plan", "first"], ["answer", "entry"]])
        {
            let answers = prompt.messages.iter().filter(|turn| turn.role == PromptRole::Assistant);
            let n = answers
                .map(|turn| {
                    let call: FunctionCall = serde_json::from_str(&turn.content).unwrap();
                    assert_eq!(call.function, function);
                    assert!(!call.text(argument).is_empty(), "{}", turn.content);
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
    }
}
