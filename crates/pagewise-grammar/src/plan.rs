//! What a call may be, as nodes that the walker goes through.
//!
//! Every node takes its bytes with one small state and no way back: where texts branch, no branch is the
//! beginning of another, or their first bytes differ. Nothing is copied out: an item of a list is one node,
//! whatever the length of the list, and each length has one more node that says what may follow.

use pagewise_core::{ArgumentKind, ArgumentSpec, CallFormat, FunctionSpec, MAX_KEY_CHARS};

/// The place of a node among all of a plan.
pub(crate) type NodeId = u32;

/// Writes `text` as a JSON string, quotes included.
pub(crate) fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A part of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// One of several texts, and what follows each.
    Choice {
        /// Sorted, none a prefix of another.
        options: Vec<Choice>,
        /// The one that ends an unfinished call, if it is still open.
        closing: usize,
    },
    /// The inside of a string and its closing quote.
    Text { max_chars: usize },
    /// A whole number.
    Integer { min: i64, max: i64 },
    /// A number that may have a fraction and an exponent.
    Number,
    /// `YYYY-MM-DD` without quotes.
    Date,
    /// One after the other; never empty.
    Sequence(Vec<NodeId>),
    /// What the next byte begins; the first ends an unfinished call. Never empty.
    AnyOf(Vec<(Beginning, NodeId)>),
}

/// One of several texts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) text: Vec<u8>,
    pub(crate) next: Option<NodeId>,
}

/// What a value begins with: two kinds with the same cannot be told apart at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Beginning {
    Quote,
    Number,
    Boolean,
    Null,
    List,
    Object,
    /// The end of a list that is empty.
    EndOfList,
}

impl Beginning {
    /// Returns what `byte` begins.
    pub(crate) fn of(byte: u8) -> Option<Self> {
        match byte {
            b'"' => Some(Self::Quote),
            b'-' | b'0'..=b'9' => Some(Self::Number),
            b't' | b'f' => Some(Self::Boolean),
            b'n' => Some(Self::Null),
            b'[' => Some(Self::List),
            b'{' => Some(Self::Object),
            b']' => Some(Self::EndOfList),
            _ => None,
        }
    }
}

/// Returns what values of this kind begin with; with the same twice if it is ambiguous.
pub(crate) fn beginnings(kind: &ArgumentKind<'_>) -> Vec<Beginning> {
    match kind {
        ArgumentKind::Text { .. } | ArgumentKind::OneOf(_) | ArgumentKind::Date => {
            vec![Beginning::Quote]
        }
        ArgumentKind::Integer { .. } | ArgumentKind::Number => vec![Beginning::Number],
        ArgumentKind::Boolean => vec![Beginning::Boolean],
        ArgumentKind::Null => vec![Beginning::Null],
        ArgumentKind::Array { .. } => vec![Beginning::List],
        ArgumentKind::Object(_) | ArgumentKind::Map { .. } => vec![Beginning::Object],
        ArgumentKind::AnyOf(kinds) => kinds.iter().flat_map(beginnings).collect(),
        ArgumentKind::Optional(kind) => beginnings(kind),
    }
}

/// What a call may be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    nodes: Vec<Node>,
    start: NodeId,
}

impl Plan {
    /// Makes the plan of a call of one of `specs`, which have been checked.
    pub(crate) fn new(specs: &[FunctionSpec<'_>], format: &CallFormat) -> Self {
        let mut plan = Self::default();
        let mut head = vec![plan.literal("{")];
        if let Some(max_chars) = format.thought_max_chars {
            head.push(plan.literal("\"thought\": \""));
            head.push(plan.add(Node::Text { max_chars }));
            head.push(plan.literal(", "));
        }
        head.push(plan.literal("\"function\": "));
        let functions: Vec<(String, NodeId)> =
            specs.iter().map(|spec| (json_string(spec.name), plan.function(spec))).collect();
        let first = functions.first().map(|(name, _)| name.clone()).unwrap_or_default();
        let options = functions.into_iter().map(|(name, rest)| (name, Some(rest))).collect();
        head.push(plan.choice(options, &first));
        plan.start = plan.add(Node::Sequence(head));
        plan
    }

    pub(crate) fn start(&self) -> NodeId {
        self.start
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        (self.nodes.len() - 1) as NodeId
    }

    fn literal(&mut self, text: &str) -> NodeId {
        self.choice(vec![(text.into(), None)], text)
    }

    /// Adds a choice; `closing` is the text of the option that ends an unfinished call.
    fn choice(&mut self, texts: Vec<(String, Option<NodeId>)>, closing: &str) -> NodeId {
        let mut options: Vec<Choice> = texts
            .into_iter()
            .map(|(text, next)| Choice { text: text.into_bytes(), next })
            .collect();
        options.sort_by(|a, b| a.text.cmp(&b.text));
        options.dedup_by(|a, b| a.text == b.text);
        let closing = options.iter().position(|option| option.text == closing.as_bytes());
        self.add(Node::Choice { options, closing: closing.unwrap_or_default() })
    }

    /// The rest of a call behind the name of its function.
    fn function(&mut self, spec: &FunctionSpec<'_>) -> NodeId {
        let mut parts = vec![self.literal(", \"args\": {"), self.fields(&spec.arguments)];
        if spec.asks_heartbeat {
            parts.push(self.literal(", \"request_heartbeat\": "));
            parts.push(self.value(&ArgumentKind::Boolean));
        }
        parts.push(self.literal("}"));
        self.add(Node::Sequence(parts))
    }

    /// The fields of an object and its closing brace.
    fn fields(&mut self, fields: &[ArgumentSpec<'_>]) -> NodeId {
        // From the end: what follows a field is there before it. `behind[n]` is what may come when field `n`
        // is the next, and another was written before it.
        let mut behind = vec![0; fields.len() + 1];
        let mut parts = vec![0; fields.len()];
        for at in (0..=fields.len()).rev() {
            behind[at] = self.next_field(", ", at, fields, &parts);
            if at > 0 {
                let value = self.value(&fields[at - 1].kind);
                parts[at - 1] = self.add(Node::Sequence(vec![value, behind[at]]));
            }
        }
        self.next_field("", 0, fields, &parts)
    }

    /// One of the fields from `at` on up to the first that is required, or the closing brace if none is.
    fn next_field(
        &mut self,
        comma: &str,
        at: usize,
        fields: &[ArgumentSpec<'_>],
        parts: &[NodeId],
    ) -> NodeId {
        let mut options = Vec::new();
        let mut closing = "}".to_owned();
        for (field, part) in fields.iter().zip(parts).skip(at) {
            let text = format!("{comma}{}: ", json_string(field.name));
            options.push((text.clone(), Some(*part)));
            if !field.kind.is_optional() {
                closing = text;
                return self.choice(options, &closing);
            }
        }
        options.push((closing.clone(), None));
        self.choice(options, &closing)
    }

    fn value(&mut self, kind: &ArgumentKind<'_>) -> NodeId {
        match kind {
            ArgumentKind::Text { max_chars } => {
                let parts =
                    vec![self.literal("\""), self.add(Node::Text { max_chars: *max_chars })];
                self.add(Node::Sequence(parts))
            }
            ArgumentKind::OneOf(allowed) => {
                let options = allowed.iter().map(|text| (json_string(text), None)).collect();
                self.choice(options, "")
            }
            ArgumentKind::Integer { min, max } => self.add(Node::Integer { min: *min, max: *max }),
            ArgumentKind::Number => self.add(Node::Number),
            ArgumentKind::Boolean => {
                self.choice(vec![("false".into(), None), ("true".into(), None)], "false")
            }
            ArgumentKind::Null => self.literal("null"),
            ArgumentKind::Date => {
                let parts = vec![self.literal("\""), self.add(Node::Date), self.literal("\"")];
                self.add(Node::Sequence(parts))
            }
            ArgumentKind::Array { items, min_items, max_items } => {
                self.list(items, *min_items, *max_items)
            }
            ArgumentKind::Object(fields) => {
                let parts = vec![self.literal("{"), self.fields(fields)];
                self.add(Node::Sequence(parts))
            }
            ArgumentKind::Map { values, max_entries } => self.map(values, *max_entries),
            ArgumentKind::AnyOf(kinds) => {
                let mut nodes = Vec::new();
                for kind in kinds {
                    let node = self.value(kind);
                    nodes.extend(beginnings(kind).into_iter().map(|beginning| (beginning, node)));
                }
                self.add(Node::AnyOf(nodes))
            }
            ArgumentKind::Optional(kind) => self.value(kind),
        }
    }

    fn list(&mut self, items: &ArgumentKind<'_>, min_items: usize, max_items: usize) -> NodeId {
        let item = self.value(items);
        // What follows the last item, then the one before it.
        let mut next = self.literal("]");
        for n_items in (1..max_items).rev() {
            let more = self.add(Node::Sequence(vec![item, next]));
            next = if n_items >= min_items {
                self.choice(vec![("]".into(), None), (", ".into(), Some(more))], "]")
            } else {
                self.choice(vec![(", ".into(), Some(more))], ", ")
            };
        }
        let first = self.add(Node::Sequence(vec![item, next]));
        let inside = if min_items == 0 {
            let mut begun = vec![(Beginning::EndOfList, self.literal("]"))];
            begun.extend(beginnings(items).into_iter().map(|beginning| (beginning, first)));
            self.add(Node::AnyOf(begun))
        } else {
            first
        };
        let parts = vec![self.literal("["), inside];
        self.add(Node::Sequence(parts))
    }

    fn map(&mut self, values: &ArgumentKind<'_>, max_entries: usize) -> NodeId {
        let key = self.add(Node::Text { max_chars: MAX_KEY_CHARS });
        let colon = self.literal(": ");
        let value = self.value(values);
        let mut next = self.literal("}");
        for n_entries in (0..max_entries).rev() {
            let entry = self.add(Node::Sequence(vec![key, colon, value, next]));
            let quote = if n_entries == 0 { "\"" } else { ", \"" };
            next = self.choice(vec![("}".into(), None), (quote.into(), Some(entry))], "}");
        }
        let parts = vec![self.literal("{"), next];
        self.add(Node::Sequence(parts))
    }
}
