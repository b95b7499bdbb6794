//! Times the forward pass: `pp512` is a prompt of 512 tokens in one go, `tg64` 64 tokens one by
//! one, `pp512+tg64` the one after the other, `pp512 @ d1024` the same behind 1,024 tokens that are
//! already in the KV cache, and `turn32 @ d512` the time to the first token of a second turn that adds
//! 32.
//!
//! As in llama-bench, tokens are random, a shorter run comes first to warm up, and the average
//! speed is the mean of the repetitions' speeds.

use std::error::Error;
use std::fmt;
use std::time::Instant;

use serde::Serialize;
use thiserror::Error;

use crate::{Processor, memory_peak_bytes};

/// Tokens of the run that warms up; enough to touch every weight and wake every thread.
const WARM_UP_TOKENS: usize = 32;

/// What to time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerfConfig {
    /// Lengths of prompts, in tokens; 0 is left out.
    pub prompt_tokens: Vec<usize>,
    /// Numbers of tokens to generate; 0 is left out.
    pub generated_tokens: Vec<usize>,
    /// Prompts and what is generated behind each, timed together, both in tokens; those of nothing
    /// are left out.
    pub prompts_and_generated: Vec<(usize, usize)>,
    /// Numbers of new tokens of a second turn behind the longest prompt; 0 is left out.
    pub turn_tokens: Vec<usize>,
    /// Numbers of tokens that the KV cache holds before a prompt or a generation.
    pub depths: Vec<usize>,
    /// How often each is timed; at least once.
    pub repetitions: usize,
}

/// What is timed, in words for the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The model's name.
    pub model: String,
    /// Bytes of its weights.
    pub model_bytes: u64,
    /// How many weights it has.
    pub n_parameters: u64,
    /// What computes: `CPU`, `CUDA`, `Metal`.
    pub backend: String,
    /// Threads it computes with.
    pub n_threads: usize,
    /// How long it took to load it, until the first token could be read, in milliseconds.
    pub load_ms: u64,
}

/// One thing that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timed {
    /// A prompt of so many tokens at once.
    Prompt {
        /// How many.
        tokens: usize,
        /// Tokens in the KV cache before.
        depth: usize,
    },
    /// So many tokens, one by one.
    Generation {
        /// How many.
        tokens: usize,
        /// Tokens in the KV cache before.
        depth: usize,
    },
    /// A prompt at once, and then tokens one by one.
    PromptAndGeneration {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens one by one.
        generated: usize,
        /// Tokens in the KV cache before.
        depth: usize,
    },
    /// A second turn up to its first token: the cache is cut back to what both turns share, the
    /// new tokens are run, and one more is decoded.
    SecondTurn {
        /// The new tokens.
        tokens: usize,
        /// Tokens that both turns share.
        kept: usize,
    },
}

/// One row of the report: llama-bench's names where it has one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PerfRow {
    /// The model's name.
    pub model: String,
    /// Bytes of its weights.
    pub model_size: u64,
    /// How many weights it has.
    pub model_n_params: u64,
    /// What computes.
    pub backend: String,
    /// Threads it computes with.
    pub n_threads: usize,
    /// Prompt tokens timed, if any.
    pub n_prompt: usize,
    /// Tokens generated one by one, if any.
    pub n_gen: usize,
    /// Tokens in the KV cache before.
    pub n_depth: usize,
    /// `pp512`, `tg64`, `turn32`, with ` @ d1024` if the cache was not empty.
    pub test: String,
    /// Mean time of a repetition, in nanoseconds.
    pub avg_ns: u64,
    /// Standard deviation of that.
    pub stddev_ns: u64,
    /// Mean speed, in tokens per second.
    pub avg_ts: f64,
    /// Standard deviation of that.
    pub stddev_ts: f64,
    /// The time of each repetition, in nanoseconds.
    pub samples_ns: Vec<u64>,
    /// How long it took to load the model, until the first token could be read, in milliseconds.
    pub load_ms: u64,
    /// The most memory this process had resident so far, in bytes, where the system says.
    pub peak_memory: Option<u64>,
}

/// A benchmark could not be run.
#[derive(Debug, Error)]
pub enum PerfError {
    /// There is nothing to time.
    #[error("nothing to time: give -p, -n, --pg or --turn a number above 0")]
    Nothing,
    /// No repetition is asked for.
    #[error("at least one repetition is needed")]
    NoRepetition,
    /// The KV cache is too small.
    #[error("{timed} needs {needed_tokens} tokens, and the context window has {capacity_tokens}")]
    TooLong {
        /// What was to be timed.
        timed: Timed,
        /// Tokens it needs.
        needed_tokens: usize,
        /// Tokens there are.
        capacity_tokens: usize,
    },
    /// The forward pass failed.
    #[error("the model failed: {0}")]
    Model(#[source] Box<dyn Error + Send + Sync>),
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let depth = match *self {
            Self::Prompt { tokens, depth } => {
                write!(f, "pp{tokens}")?;
                depth
            }
            Self::Generation { tokens, depth } => {
                write!(f, "tg{tokens}")?;
                depth
            }
            Self::PromptAndGeneration { prompt, generated, depth } => {
                write!(f, "pp{prompt}+tg{generated}")?;
                depth
            }
            Self::SecondTurn { tokens, kept } => {
                write!(f, "turn{tokens}")?;
                kept
            }
        };
        if depth > 0 { write!(f, " @ d{depth}") } else { Ok(()) }
    }
}

impl Timed {
    /// Tokens in the KV cache before, and tokens put through the model while the clock runs.
    fn tokens(self) -> (usize, usize) {
        match self {
            Self::Prompt { tokens, depth } | Self::Generation { tokens, depth } => (depth, tokens),
            Self::PromptAndGeneration { prompt, generated, depth } => {
                (depth, prompt.saturating_add(generated))
            }
            Self::SecondTurn { tokens, kept } => (kept, tokens.saturating_add(1)),
        }
    }

    /// Tokens that the KV cache must be able to hold.
    fn needed_tokens(self) -> usize {
        let (before, timed) = self.tokens();
        // The first of the two turns ends with another text as long as the second's.
        let again = if matches!(self, Self::SecondTurn { .. }) { timed } else { 0 };
        before.saturating_add(timed.max(again))
    }
}

impl PerfConfig {
    /// Returns what is to be timed, in the order of the report.
    pub fn timed(&self) -> Vec<Timed> {
        let some = |counts: &[usize]| -> Vec<usize> {
            counts.iter().copied().filter(|tokens| *tokens > 0).collect()
        };
        let depths = if self.depths.is_empty() { &[0][..] } else { &self.depths };
        let mut timed = Vec::new();
        for &depth in depths {
            let prompts = some(&self.prompt_tokens);
            timed.extend(prompts.into_iter().map(|tokens| Timed::Prompt { tokens, depth }));
            let generations = some(&self.generated_tokens);
            timed.extend(generations.into_iter().map(|tokens| Timed::Generation { tokens, depth }));
            let both = self.prompts_and_generated.iter().filter(|both| **both != (0, 0));
            timed.extend(both.map(|&(prompt, generated)| Timed::PromptAndGeneration {
                prompt,
                generated,
                depth,
            }));
        }
        let kept = self.prompt_tokens.iter().copied().max().unwrap_or(0);
        let turns = some(&self.turn_tokens);
        timed.extend(turns.into_iter().map(|tokens| Timed::SecondTurn { tokens, kept }));
        timed
    }

    /// Returns how many tokens the KV cache must be able to hold.
    pub fn needed_tokens(&self) -> usize {
        self.timed().into_iter().map(Timed::needed_tokens).max().unwrap_or(0)
    }
}

/// Times all of `config`; `on_row` gets each row as soon as it is done.
pub fn run(
    processor: &mut dyn Processor,
    subject: &Subject,
    config: &PerfConfig,
    on_row: &mut dyn FnMut(&PerfRow),
) -> Result<Vec<PerfRow>, PerfError> {
    let timed = config.timed();
    if timed.is_empty() {
        return Err(PerfError::Nothing);
    }
    if config.repetitions == 0 {
        return Err(PerfError::NoRepetition);
    }
    let capacity_tokens = processor.capacity_tokens();
    for &timed in &timed {
        let needed_tokens = timed.needed_tokens();
        if needed_tokens > capacity_tokens {
            return Err(PerfError::TooLong { timed, needed_tokens, capacity_tokens });
        }
    }
    let mut tokens = RandomTokens::new(processor.vocabulary_len());
    warm_up(processor, &mut tokens, capacity_tokens).map_err(PerfError::Model)?;
    let mut rows = Vec::new();
    for timed in timed {
        let samples_ns = (0..config.repetitions)
            .map(|_| time(processor, timed, &mut tokens))
            .collect::<Result<Vec<u64>, _>>()
            .map_err(PerfError::Model)?;
        let row = row(subject, timed, samples_ns);
        on_row(&row);
        rows.push(row);
    }
    Ok(rows)
}

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn warm_up(
    processor: &mut dyn Processor,
    tokens: &mut RandomTokens,
    capacity_tokens: usize,
) -> Outcome<()> {
    let n_tokens = WARM_UP_TOKENS.min(capacity_tokens.saturating_sub(1));
    processor.truncate(0)?;
    if n_tokens > 0 {
        processor.extend(&tokens.take(n_tokens))?;
        processor.extend(&tokens.take(1))?;
    }
    Ok(())
}

/// Runs one repetition and returns its time in nanoseconds.
fn time(processor: &mut dyn Processor, timed: Timed, tokens: &mut RandomTokens) -> Outcome<u64> {
    let (before, _) = timed.tokens();
    processor.truncate(0)?;
    if before > 0 {
        processor.extend(&tokens.take(before))?;
    }
    match timed {
        Timed::Prompt { tokens: n_tokens, .. } => {
            let prompt = tokens.take(n_tokens);
            let started = Instant::now();
            processor.extend(&prompt)?;
            Ok(nanoseconds_since(started))
        }
        Timed::Generation { tokens: n_tokens, .. } => {
            let generated = tokens.take(n_tokens);
            let started = Instant::now();
            for token in generated.chunks(1) {
                processor.extend(token)?;
            }
            Ok(nanoseconds_since(started))
        }
        Timed::PromptAndGeneration { prompt, generated, .. } => {
            let (prompt, generated) = (tokens.take(prompt), tokens.take(generated));
            let started = Instant::now();
            if !prompt.is_empty() {
                processor.extend(&prompt)?;
            }
            for token in generated.chunks(1) {
                processor.extend(token)?;
            }
            Ok(nanoseconds_since(started))
        }
        Timed::SecondTurn { tokens: n_tokens, kept } => {
            // What the first turn said after the part that both share.
            processor.extend(&tokens.take(n_tokens))?;
            let (turn, first) = (tokens.take(n_tokens), tokens.take(1));
            let started = Instant::now();
            processor.truncate(kept)?;
            processor.extend(&turn)?;
            processor.extend(&first)?;
            Ok(nanoseconds_since(started))
        }
    }
}

fn nanoseconds_since(started: Instant) -> u64 {
    // A clock too coarse to see the time still gives a speed.
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
}

fn row(subject: &Subject, timed: Timed, samples_ns: Vec<u64>) -> PerfRow {
    let (n_depth, n_timed) = timed.tokens();
    let (n_prompt, n_gen) = match timed {
        Timed::Prompt { tokens, .. } => (tokens, 0),
        Timed::Generation { tokens, .. } => (0, tokens),
        Timed::PromptAndGeneration { prompt, generated, .. } => (prompt, generated),
        Timed::SecondTurn { tokens, .. } => (tokens, 1),
    };
    let times: Vec<f64> = samples_ns.iter().map(|ns| *ns as f64).collect();
    let speeds: Vec<f64> = times.iter().map(|ns| n_timed as f64 * 1e9 / ns).collect();
    let ((avg_ns, stddev_ns), (avg_ts, stddev_ts)) = (spread(&times), spread(&speeds));
    PerfRow {
        model: subject.model.clone(),
        model_size: subject.model_bytes,
        model_n_params: subject.n_parameters,
        backend: subject.backend.clone(),
        n_threads: subject.n_threads,
        n_prompt,
        n_gen,
        n_depth,
        test: timed.to_string(),
        avg_ns: avg_ns.round() as u64,
        stddev_ns: stddev_ns.round() as u64,
        avg_ts,
        stddev_ts,
        samples_ns,
        load_ms: subject.load_ms,
        peak_memory: memory_peak_bytes(),
    }
}

/// Returns the mean and the sample standard deviation, which is 0 for a single sample.
fn spread(samples: &[f64]) -> (f64, f64) {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    if samples.len() < 2 {
        return (mean, 0.0);
    }
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0)).sqrt())
}

/// Tokens that no cache of text could know, the same in every run.
struct RandomTokens {
    vocabulary_len: u64,
    state: u64,
}

impl RandomTokens {
    fn new(vocabulary_len: usize) -> Self {
        Self { vocabulary_len: (vocabulary_len as u64).max(1), state: 0 }
    }

    fn take(&mut self, n_tokens: usize) -> Vec<u32> {
        (0..n_tokens).map(|_| (self.next() % self.vocabulary_len) as u32).collect()
    }

    /// SplitMix64: one addition and a mix, good enough to pick tokens by.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records what is done with it.
    #[derive(Default)]
    struct Recorder {
        held: usize,
        done: Vec<String>,
        capacity: usize,
    }

    impl Processor for Recorder {
        fn vocabulary_len(&self) -> usize {
            7
        }

        fn capacity_tokens(&self) -> usize {
            self.capacity
        }

        fn truncate(&mut self, n_tokens: usize) -> Outcome<()> {
            assert!(n_tokens <= self.held, "cut to {n_tokens}, but {} are held", self.held);
            self.held = n_tokens;
            self.done.push(format!("cut to {n_tokens}"));
            Ok(())
        }

        fn extend(&mut self, tokens: &[u32]) -> Outcome<()> {
            assert!(tokens.iter().all(|token| *token < 7), "{tokens:?}");
            self.held += tokens.len();
            assert!(self.held <= self.capacity, "{} tokens are too many", self.held);
            self.done.push(format!("+{}", tokens.len()));
            Ok(())
        }
    }

    fn config() -> PerfConfig {
        PerfConfig {
            prompt_tokens: vec![5, 0],
            generated_tokens: vec![3],
            prompts_and_generated: vec![(0, 0), (2, 1)],
            turn_tokens: vec![2],
            depths: vec![0, 4],
            repetitions: 2,
        }
    }

    fn subject() -> Subject {
        Subject {
            model: "m".into(),
            model_bytes: 1,
            n_parameters: 2,
            backend: "CPU".into(),
            n_threads: 2,
            load_ms: 3,
        }
    }

    #[test]
    fn times_what_is_asked_for_in_order() {
        let config = config();
        let mut recorder = Recorder { capacity: config.needed_tokens(), ..Recorder::default() };
        assert_eq!(recorder.capacity, 9);
        let mut seen = Vec::new();
        let rows = run(&mut recorder, &subject(), &config, &mut |row| seen.push(row.test.clone()))
            .unwrap();
        let tests: Vec<&str> = rows.iter().map(|row| row.test.as_str()).collect();
        let expected =
            ["pp5", "tg3", "pp2+tg1", "pp5 @ d4", "tg3 @ d4", "pp2+tg1 @ d4", "turn2 @ d5"];
        assert_eq!(tests, expected);
        assert_eq!((rows[2].n_prompt, rows[2].n_gen, rows[2].load_ms), (2, 1, 3));
        assert_eq!(seen, tests);
        assert!(rows.iter().all(|row| row.samples_ns.len() == 2 && row.avg_ts > 0.0));
        let (_, repetitions) = recorder.done.split_at(3);
        let expected = [
            "cut to 0 +5",
            "cut to 0 +1 +1 +1",
            "cut to 0 +2 +1",
            "cut to 0 +4 +5",
            "cut to 0 +4 +1 +1 +1",
            "cut to 0 +4 +2 +1",
            "cut to 0 +5 +2 cut to 5 +2 +1",
        ];
        let twice: Vec<&str> = expected.iter().flat_map(|done| [*done, *done]).collect();
        assert_eq!(repetitions.join(" "), twice.join(" "));
    }

    #[test]
    fn refuses_what_cannot_be_timed() {
        let check = |config: PerfConfig, capacity: usize, expected: &str| {
            let mut recorder = Recorder { capacity, ..Recorder::default() };
            let error = run(&mut recorder, &subject(), &config, &mut |_| {}).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert!(recorder.done.is_empty(), "it began nevertheless");
        };
        check(config(), 8, "pp5 @ d4 needs 9 tokens, and the context window has 8");
        check(PerfConfig { repetitions: 0, ..config() }, 9, "at least one repetition is needed");
        let nothing = PerfConfig {
            prompt_tokens: vec![0],
            generated_tokens: vec![],
            prompts_and_generated: vec![(0, 0)],
            turn_tokens: vec![],
            ..config()
        };
        check(nothing, 9, "nothing to time: give -p, -n, --pg or --turn a number above 0");
        let huge =
            PerfConfig { prompt_tokens: vec![usize::MAX], depths: vec![usize::MAX], ..config() };
        assert_eq!(huge.needed_tokens(), usize::MAX);
    }

    #[test]
    fn the_spread_is_that_of_a_sample() {
        assert_eq!(spread(&[3.0]), (3.0, 0.0));
        assert_eq!(spread(&[1.0, 3.0]), (2.0, std::f64::consts::SQRT_2));
        let row = row(
            &subject(),
            Timed::Prompt { tokens: 10, depth: 0 },
            vec![1_000_000_000, 500_000_000],
        );
        assert_eq!((row.avg_ts, row.avg_ns), (15.0, 750_000_000));
    }
}
