//! A scripted model that is lent to agents, and what it was asked.

use std::sync::{Arc, Mutex};

use pagewise_agent::AgentConfig;
use pagewise_bench::memory::{Arm, Documents, Lender, Settings, Task};
use pagewise_core::SessionSlot;
use pagewise_testkit::{Asked, ScriptedModel};

pub(crate) struct Fixture {
    /// One, unless a test has several cases run at once.
    pub(crate) lenders: Vec<Lender>,
    asked: Arc<Mutex<Vec<Asked>>>,
    pub(crate) settings: Settings,
}

impl Fixture {
    pub(crate) fn new(task: Task, arm: Arm, window: usize, script: Vec<String>) -> Self {
        let model = ScriptedModel::new(window, script);
        let settings = Settings {
            format: Settings::FORMAT,
            task,
            source: "generated".into(),
            model: "scripted".into(),
            weights: "0".into(),
            arm,
            window,
            seed: 1,
            now: Settings::CASE_START,
            embedder: "hash".into(),
            prompts: Settings::prompts(),
            documents: Documents::default(),
            agent: task.agent_config(AgentConfig::default()),
        };
        let asked = model.asked();
        let settings = settings.with_what_counts();
        Self { lenders: vec![Lender::new(Box::new(model))], asked, settings }
    }

    /// The prompts of steps and of summaries, but not what is decided or read by itself.
    pub(crate) fn prompts(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let text = |asked: &Asked| {
            let turns = asked.prompt.messages.iter().map(|turn| turn.content.clone());
            turns.collect::<Vec<_>>().join("\n")
        };
        let is_beside = |slot: SessionSlot| slot == SessionSlot::Reading || slot.is_decision();
        asked.iter().filter(|asked| !is_beside(asked.slot)).map(text).collect()
    }
}
