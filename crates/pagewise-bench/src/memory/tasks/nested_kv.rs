//! Nested key-value retrieval (MemGPT paper, section 3.2.2), by the protocol of its published code.
//!
//! 140 pairs of UUIDs are passages in archival storage, in order. The value of the first key is a key, and
//! so on for as many lookups as the case has; the last value is the answer. A search takes the query as one
//! string and looks for it in any case, ten results a page, as the paper's code replaced its own search. A
//! value that is also a key is in two passages, one that is not in one: that is when to stop.
//!
//! **The direct control** has the same chained pairs, and wants the value of the first key, whatever it is.
//! A harness that drives a model to look everything up that can be looked up gets all nested cases right
//! and all controls wrong, so one figure means nothing without the other. Both are asked in eight wordings, and
//! there are two sets of them: one to develop an agent with, and one to report by, in words that nobody
//! looked at who changed the agent. Wording 1 of the nested case is the paper's in both, with the paper's persona,
//! which demands to go on; in all others the persona says nothing about it, so that only the request tells the
//! two apart.
//!
//! The published code sends models that are not OpenAI's a second message asking for the final answer; the
//! published figures are of models that got none, and here there is none either. It bounds the steps of an
//! event nowhere; here there may be three times as many searches as the longest chain has.

use std::collections::BTreeMap;
use std::sync::Arc;

use pagewise_agent::AgentConfig;
use pagewise_memory::SearchMode;

use super::{human, persona};
use crate::memory::case::{
    Baseline, Case, Gold, HeldPassage, Keep, Material, Memory, Metric, Tier, UserMessage,
};

/// The label that tells nested cases and controls apart.
pub(crate) const ASK: &str = "ask";
/// Its value for the control.
pub(crate) const DIRECT: &str = "direct";
const NESTED: &str = "nested";

/// The most lookups that a case has.
pub(crate) const LOOKUPS_MAX: usize = 6;

/// The wordings of each.
pub(crate) const N_WORDINGS: usize = 8;

const PERSONA: &str = "You are MemGPT DOC-QA bot. Your job is to answer questions about documents that are stored \
    in your archival memory. The answer to the users question will ALWAYS be in your archival memory, so remember \
    to keep searching if you can't find the answer.";

/// What the paper's persona has besides.
const PERSONA_GO_ON: &str = " DO NOT STOP SEARCHING UNTIL YOU VERIFY THAT THE VALUE IS NOT A KEY. Do not stop making \
    nested lookups until this condition is met.";

const HUMAN: &str =
    "The user will ask you questions about documents. Answer them to the best of your ability.";

/// The paper's request.
const PAPER_REQUEST: &str = "I've given you a list of key-value pairs which you can find in your archival memory, \
    all keys and values are 128-bit UUIDs, and your task is to return the value associated with the specified key. \
    If a value itself is also a key, return the value of that key (do a nested lookup). For example, if the value of \
    'x' is 'y', but 'y' is also a key, return the value of key 'y'. Your task is to provide the value for the \
    following key: {key}. Answer only with the value, nothing else.";

/// The paper's request, but for the first value.
const PAPER_REQUEST_DIRECT: &str = "I've given you a list of key-value pairs which you can find in your archival memory, all keys and values are \
     128-bit UUIDs, and your task is to return the value associated with the specified key. If a value itself is also \
     a key, return it all the same (do not do a nested lookup). For example, if the value of 'x' is 'y', and 'y' is \
     also a key, return 'y'. Your task is to provide the value for the following key: {key}. Answer only with the \
     value, nothing else.";

/// The requests of one set, of which the first is the paper's.
struct Requests {
    /// They want the chain followed.
    nested: [&'static str; N_WORDINGS],
    /// They want the first value, whatever it is.
    direct: [&'static str; N_WORDINGS],
}

/// Which requests a case is asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wordings {
    /// Those to develop an agent with.
    Development,
    /// Those to report by.
    Report,
}

impl Wordings {
    fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Report => "report",
        }
    }

    fn requests(self) -> &'static Requests {
        match self {
            Self::Development => &DEVELOPMENT,
            Self::Report => &REPORT,
        }
    }
}

/// To develop an agent with.
const DEVELOPMENT: Requests = Requests {
    nested: [
        PAPER_REQUEST,
        "Look up the key {key}. Whenever the value you find is itself a key of another pair, look that one up too, and \
         go on until you reach a value that is not a key. Tell me that last value and nothing else.",
        "Start at {key} and follow the chain of values: each value may be the key of the next pair. Which value stands at \
         the end of the chain? Reply with it alone.",
        "What does {key} finally resolve to? If its value is a key again, resolve that key, and so on. Give only the final \
         value.",
        "Please find the value of {key}, but do not give me a value that is also a key: in that case I want the value of \
         that key instead. Answer with the value only.",
        "{key} points to a value. That value can point to another one, like a redirect. Follow all redirects, and give me \
         only the UUID where they end.",
        "I need the end value for key {key}. Take its value; as long as there is a pair with that value as its key, take \
         the value of that pair. Write the end value, nothing more.",
        "Resolve {key} completely: dereference the value again and again until there is no pair for it. Only the resulting \
         UUID, please.",
    ],
    direct: [
        PAPER_REQUEST_DIRECT,
        "Look up the key {key} and tell me the value that stands there and nothing else. It does not matter whether that \
         value is the key of another pair.",
        "Which value is stored under {key}? Only this one pair interests me. Reply with its value alone.",
        "What is the direct value of {key}? Even if it is a key again, do not resolve it further. Give only the value.",
        "Please find the pair whose key is {key} and give me its value exactly as it is stored there. Answer with the value \
         only.",
        "{key} points to a value. That value may point to another one, but follow nothing: give me only the UUID that {key} \
         itself points to.",
        "I need the value of key {key}, one step and no more. Write that value, nothing more.",
        "Read out the entry of {key}: the value next to that key, without looking anything else up. Only the UUID, please.",
    ],
};

/// To report by.
const REPORT: Requests = Requests {
    nested: [
        PAPER_REQUEST,
        "Look up {key} in your stored pairs. If the value you get is itself a key of another pair, look that one \
         up too, and carry on like this until you reach a value that is not a key of any pair. Answer with only \
         that last value.",
        "Could you please trace the chain that starts at {key} all the way to its end? I'm only interested in \
         the final value, the one that doesn't serve as a key anywhere else, so please reply with just that \
         value and nothing more.",
        "Where does {key} ultimately lead? Keep hopping from each value to the pair it is the key of until no \
         such pair exists, then give me the value you ended on, without any other text.",
        "Start from {key} and resolve it completely: a value that is also a key doesn't count as a result, it \
         only points you to the next pair. Your reply should consist solely of the value at which the chain \
         stops.",
        "Hi! I need the very last value in the chain of pairs beginning with the key {key}, not any of the ones \
         in between, which are keys themselves. Just the value, please, no explanation.",
        "Some values in your storage are keys of further pairs, and {key} may well begin such a chain. Go \
         through every link, however many there are, and send back nothing except the value that has no pair of \
         its own.",
        "End of the chain for {key}, please: whenever a value turns out to be a key, go on to its value, and \
         stop only when it isn't one. Output the final value alone.",
    ],
    direct: [
        PAPER_REQUEST_DIRECT,
        "Which value is stored right next to the key {key}? It may happen to be the key of another pair as well, \
         but ignore that and don't go any further. Reply with the value only.",
        "Give me the value paired with {key}, exactly one step and no more, even if that value can be looked up \
         in turn. Nothing but the value in your answer, please.",
        "I'd like to know what {key} maps to directly. Please don't continue along the chain if the result turns \
         out to be a key itself; just write down that first value and leave out everything else.",
        "Do a single lookup for {key} and stop there. Your whole answer should be the value you find in that one \
         pair.",
        "Hey, can you pull the immediate value for {key}? If it's also a key somewhere else in the table, that's \
         of no interest to me: I want this first value as it is, with no other words around it.",
        "Find the pair whose key is {key} and return the other half of that same pair, whatever it may be. Only \
         the value from this one pair is wanted, with no commentary and without moving on to any other pair.",
        "Please report the value that stands beside {key} in your storage. Whether or not this value is a key of \
         some further pair makes no difference, since I am asking for the first link only, not for where the \
         chain ends. Kindly answer with the bare value.",
    ],
};

const BASELINE_PAPER: &str = "Below is a JSON object containing key-value pairings, all keys and values are 128-bit \
    UUIDs, and your task is to return the value associated with the specified key. If a value itself is also a key, \
    return the value of that key (do a nested lookup). For example, if the value of 'x' is 'y', but 'y' is also a \
    key, return the value of key 'y'.";

const BASELINE: &str =
    "Below is a JSON object containing key-value pairings, all keys and values are 128-bit UUIDs.";

/// Pairs of which some form a chain.
#[derive(Debug, Clone)]
pub(crate) struct Chained {
    /// Key and value, in the order in which they are stored.
    pub(crate) pairs: Vec<(String, String)>,
    /// The places of the pairs of the chain, from the one that is asked for.
    pub(crate) chain: Vec<usize>,
}

impl Chained {
    /// Makes the value of each pair of the chain the key of the next; the last keeps its own.
    ///
    /// `chain` names distinct places of `pairs`, at least one.
    pub(crate) fn new(mut pairs: Vec<(String, String)>, chain: Vec<usize>) -> Self {
        for two in chain.windows(2) {
            pairs[two[0]].1 = pairs[two[1]].0.clone();
        }
        Self { pairs, chain }
    }

    /// Makes the nested case and its control in one of the wordings, from 0.
    pub(crate) fn cases(&self, id: &str, wordings: Wordings, wording: usize) -> [Case; 2] {
        let wording = wording % N_WORDINGS;
        let requests = wordings.requests();
        let key = &self.pairs[self.chain[0]].0;
        let is_paper = wording == 0;
        let nested = requests.nested[wording].replace("{key}", key);
        let direct = requests.direct[wording].replace("{key}", key);
        let memory = Arc::new(self.memory(PERSONA));
        let nested_memory = match is_paper {
            true => Arc::new(self.memory(&format!("{PERSONA}{PERSONA_GO_ON}"))),
            false => Arc::clone(&memory),
        };
        let nested_baseline = match is_paper {
            true => baseline(
                BASELINE_PAPER,
                format!(
                    "Your task is to provide the value for the following key: \"{key}\". Answer only with \
                     the value, nothing else."
                ),
            ),
            false => baseline(BASELINE, nested.clone()),
        };
        let in_memory = " which you can find in your archival memory";
        let direct_baseline = baseline(BASELINE, direct.replace(in_memory, ""));
        let n_lookups = self.chain.len();
        // So that no record of the one set is taken for one of the other.
        let id = match wordings {
            Wordings::Development => id.to_string(),
            Wordings::Report => format!("{id}-report"),
        };
        [
            (NESTED, nested, nested_memory, nested_baseline, self.gold(n_lookups)),
            (DIRECT, direct, memory, direct_baseline, self.gold(1)),
        ]
        .map(|(ask, request, memory, baseline, gold)| Case {
            id: format!("{id}-{ask}"),
            labels: BTreeMap::from([
                (ASK.into(), ask.into()),
                ("lookups".into(), n_lookups.to_string()),
                ("wording".into(), (wording + 1).to_string()),
                ("wordings".into(), wordings.name().into()),
            ]),
            memory,
            messages: vec![UserMessage { text: request.clone(), after_reset: false }],
            baseline: Baseline { alone: request, ..baseline },
            gold,
            tasks: Vec::new(),
        })
    }

    /// What is right after following the chain over so many pairs; the other values of the chain are what
    /// comes of following it too far or not far enough.
    fn gold(&self, n_lookups: usize) -> Gold {
        let value = |place: &usize| self.pairs[*place].1.clone();
        let right = self.chain[n_lookups - 1];
        Gold {
            metric: Metric::Contains,
            answers: vec![value(&right)],
            decoys: self.chain.iter().filter(|place| **place != right).map(value).collect(),
            evidence: self.chain[..n_lookups]
                .iter()
                .map(|place| passage(&self.pairs[*place]))
                .collect(),
            tier: Tier::Archival,
            edit: None,
        }
    }

    fn memory(&self, persona_text: &str) -> Memory {
        Memory {
            blocks: vec![persona(persona_text), human(HUMAN)],
            passages: self
                .pairs
                .iter()
                .map(|pair| HeldPassage { text: passage(pair), source: None })
                .collect(),
            material: Material {
                pieces: self
                    .pairs
                    .iter()
                    .map(|(key, value)| format!("\"{key}\": \"{value}\""))
                    .collect(),
                joiner: ",\n",
                keep: Keep::First,
            },
            ..Memory::default()
        }
    }
}

fn passage((key, value): &(String, String)) -> String {
    format!("Key-value pair: key = {key}, value = {value}")
}

fn baseline(head: &str, request: String) -> Baseline {
    Baseline {
        before: format!("{head}\n\nJSON data: {{\n"),
        after: format!("\n}}\n\n{request}"),
        ..Baseline::default()
    }
}

/// Returns the settings of an agent for this task.
pub(crate) fn agent_config(usual: AgentConfig) -> AgentConfig {
    AgentConfig {
        search_mode: SearchMode::Substring,
        page_size: 10,
        searches_per_event: 3 * LOOKUPS_MAX,
        steps_per_event: 3 * LOOKUPS_MAX + 2,
        ..usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: [Wordings; 2] = [Wordings::Development, Wordings::Report];

    fn chained() -> Chained {
        let pairs = [("k0", "v0"), ("k1", "v1"), ("k2", "v2"), ("k3", "v3")]
            .map(|(key, value)| (key.to_string(), value.to_string()));
        Chained::new(pairs.to_vec(), vec![2, 0, 3])
    }

    #[test]
    fn each_value_of_the_chain_is_the_next_key_and_the_last_keeps_its_own() {
        let pairs = chained().pairs;
        let values: Vec<&str> = pairs.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["k3", "v1", "k0", "v3"]);
    }

    #[test]
    fn a_case_and_its_control_want_the_two_ends_of_the_same_chain() {
        for (set, wording) in
            SETS.into_iter().flat_map(|set| (0..N_WORDINGS).map(move |n| (set, n)))
        {
            let [nested, direct] = chained().cases("x", set, wording);
            let id = if set == Wordings::Report { "x-report" } else { "x" };
            assert_eq!(nested.id, format!("{id}-nested"));
            assert_eq!(direct.id, format!("{id}-direct"));
            assert_eq!(nested.gold.answers, ["v3"]);
            assert_eq!(nested.gold.decoys, ["k0", "k3"]);
            assert_eq!(direct.gold.answers, ["k0"]);
            assert_eq!(direct.gold.decoys, ["k3", "v3"]);
            assert_eq!(nested.gold.evidence.len(), 3);
            assert_eq!(direct.gold.evidence, ["Key-value pair: key = k2, value = k0"]);
            assert_eq!(nested.memory.passages, direct.memory.passages);
            for case in [nested, direct] {
                assert!(case.messages[0].text.contains("k2"), "{:?}", case.messages);
                assert!(case.baseline.after.contains("k2"), "{:?}", case.baseline);
                assert!(!case.messages[0].text.contains("{key}"));
                assert_eq!(case.labels["lookups"], "3");
                assert_eq!(case.labels["wording"], (wording + 1).to_string());
            }
        }
    }

    #[test]
    fn no_request_is_in_both_sets_but_the_paper_s() {
        let all = |requests: &Requests| [requests.nested, requests.direct].concat();
        let reported = all(&REPORT);
        let shared = all(&DEVELOPMENT).into_iter().filter(|request| reported.contains(request));
        assert_eq!(shared.collect::<Vec<_>>(), [PAPER_REQUEST, PAPER_REQUEST_DIRECT]);
    }

    #[test]
    fn only_the_paper_s_own_wording_has_a_persona_that_demands_to_go_on() {
        let says_so = |case: &Case| case.memory.blocks[0].value.contains("DO NOT STOP");
        let [nested, direct] = chained().cases("x", Wordings::Report, 0);
        assert!(says_so(&nested) && !says_so(&direct));
        let [nested, direct] = chained().cases("x", Wordings::Report, 5);
        assert!(!says_so(&nested) && !says_so(&direct));
        assert!(Arc::ptr_eq(&nested.memory, &direct.memory), "memory is made ready once for both");
    }

    #[test]
    fn the_paper_s_prompt_without_an_agent_is_word_for_word() {
        let [nested, _] = chained().cases("x", Wordings::Report, 0);
        let material = &nested.memory.material;
        let prompt = format!(
            "{}{}{}",
            nested.baseline.before,
            material.pieces.join(material.joiner),
            nested.baseline.after
        );
        let expected = format!(
            "{BASELINE_PAPER}\n\nJSON data: {{\n\"k0\": \"k3\",\n\"k1\": \"v1\",\n\"k2\": \"k0\",\n\
             \"k3\": \"v3\"\n}}\n\nYour task is to provide the value for the following key: \"k2\". \
             Answer only with the value, nothing else."
        );
        assert_eq!(prompt, expected);
    }
}
