use pagewise_grammar::GrammarError;
use serde::{Deserialize, Serialize};

use super::{SchemaCase, title};
use crate::memory::measurement::Measurement;
use crate::memory::task::Task;

/// What became of a schema.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MeasuredSchema {
    /// The set that it is from.
    #[serde(default = "not_recorded")]
    pub source: String,
    /// Whose tokenizer it is.
    #[serde(default = "not_recorded")]
    pub model: String,
    /// Its name, unique within the set.
    pub id: String,
    /// What it is counted under.
    pub family: String,
    /// What it uses.
    pub features: Vec<String>,
    /// How long it took to compile it, the first mask included, in microseconds.
    pub compile_us: f64,
    /// Why it is not supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<String>,
    /// Valid instances that passed, and all that there are.
    pub valid_accepted: [usize; 2],
    /// Invalid instances that were refused, and all that there are.
    pub invalid_refused: [usize; 2],
    /// How long each mask took, in microseconds.
    #[serde(default)]
    pub mask_us: Vec<f64>,
}

/// What older lines do not say.
fn not_recorded() -> String {
    "not recorded".into()
}

/// What is wrong with a schema, if anything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// All instances were told apart.
    Right,
    /// It could not be compiled.
    Unsupported,
    /// An invalid instance passed.
    InvalidAccepted,
    /// A valid instance was refused, and no invalid one passed.
    ValidRefused,
}

impl Verdict {
    /// Returns the name in summaries.
    pub fn name(self) -> &'static str {
        match self {
            Self::Right => "none",
            Self::Unsupported => "unsupported",
            Self::InvalidAccepted => "invalid-accepted",
            Self::ValidRefused => "valid-refused",
        }
    }
}

impl MeasuredSchema {
    /// A schema of which nothing is known yet.
    pub(super) fn of(source: &str, model: &str, case: &SchemaCase) -> Self {
        let n_valid = case.instances.iter().filter(|instance| instance.is_valid).count();
        Self {
            source: source.into(),
            model: model.into(),
            id: case.id.clone(),
            family: case.family.clone(),
            features: case.features.clone(),
            compile_us: 0.0,
            unsupported: None,
            valid_accepted: [0, n_valid],
            invalid_refused: [0, case.instances.len() - n_valid],
            mask_us: Vec::new(),
        }
    }

    /// Counts an instance. What the engine failed at was not let pass.
    pub(super) fn count(&mut self, is_valid: bool, passed: Result<bool, GrammarError>) {
        let passed = passed.unwrap_or(false);
        self.valid_accepted[0] += usize::from(is_valid && passed);
        self.invalid_refused[0] += usize::from(!is_valid && !passed);
    }

    /// Says what is wrong.
    pub fn verdict(&self) -> Verdict {
        let is_all = |[n, all]: [usize; 2]| n == all;
        match () {
            () if self.unsupported.is_some() => Verdict::Unsupported,
            () if !is_all(self.invalid_refused) => Verdict::InvalidAccepted,
            () if !is_all(self.valid_accepted) => Verdict::ValidRefused,
            () => Verdict::Right,
        }
    }
}

impl Measurement for MeasuredSchema {
    const TASK: Task = Task::Grammar;

    fn name(&self) -> String {
        let Self { source, model, id, .. } = self;
        format!("{}, {id}", title(source, model))
    }

    fn agrees(&self, other: &Self) -> bool {
        let came_to =
            |one: &Self| (one.unsupported.is_some(), one.valid_accepted, one.invalid_refused);
        came_to(self) == came_to(other)
    }
}
