use std::error::Error;

use pagewise_infer::{Decoder, InferError, KvCache, Weights, log_probability};

use crate::{Predictor, Subject};

/// A model with a KV cache, as a benchmark of speed needs it.
pub trait Processor {
    /// Returns how many tokens the vocabulary has; ids are below it.
    fn vocabulary_len(&self) -> usize;

    /// Returns how many tokens the KV cache can hold.
    fn capacity_tokens(&self) -> usize;

    /// Forgets all but the first `n_tokens` tokens of the KV cache.
    fn truncate(&mut self, n_tokens: usize) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Runs `tokens` after those that the KV cache holds, up to the logits of the last one.
    fn extend(&mut self, tokens: &[u32]) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// A decoder with a KV cache of its own.
pub struct DecoderProcessor<'a> {
    decoder: &'a Decoder,
    cache: KvCache,
}

impl<'a> DecoderProcessor<'a> {
    /// Makes an empty cache for the decoder's window.
    pub fn new(decoder: &'a Decoder) -> Result<Self, InferError> {
        Ok(Self { decoder, cache: decoder.new_cache()? })
    }
}

impl Processor for DecoderProcessor<'_> {
    fn vocabulary_len(&self) -> usize {
        self.decoder.config().vocabulary
    }

    fn capacity_tokens(&self) -> usize {
        self.cache.window_tokens()
    }

    fn truncate(&mut self, n_tokens: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.cache.truncate(n_tokens);
        Ok(())
    }

    fn extend(&mut self, tokens: &[u32]) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.decoder.forward(tokens, &mut self.cache)?;
        Ok(())
    }
}

impl Predictor for DecoderProcessor<'_> {
    fn log_probabilities(
        &mut self,
        tokens: &[u32],
        first: usize,
    ) -> Result<Vec<f64>, Box<dyn Error + Send + Sync>> {
        self.cache.truncate(0);
        let Some((_, read)) = tokens.split_last() else { return Ok(Vec::new()) };
        let mut scored = tokens.iter().skip(first);
        let mut scores = Vec::new();
        // The logits behind a token are about the next one.
        self.decoder.forward_each(
            &|| false,
            read,
            first.saturating_sub(1),
            &mut self.cache,
            &mut |logits| {
                scores.extend(scored.next().map(|token| log_probability(logits, *token)));
            },
        )?;
        Ok(scores)
    }
}

impl Subject {
    /// Describes the weights; `n_threads` are those that the decoder computes with, `load_ms` are the
    /// milliseconds that it took to make it.
    pub fn of(
        weights: &Weights,
        model: &str,
        backend: &str,
        n_threads: usize,
        load_ms: u64,
    ) -> Self {
        let (mut model_bytes, mut n_parameters) = (0, 0);
        for (tensor_type, n_elements) in weights.counts() {
            let n_blocks = n_elements / tensor_type.block_len();
            model_bytes += (n_blocks * tensor_type.block_bytes()) as u64;
            n_parameters += n_elements as u64;
        }
        let (model, backend) = (model.to_owned(), backend.to_owned());
        Self { model, model_bytes, n_parameters, backend, n_threads, load_ms }
    }
}

#[cfg(test)]
mod tests {
    use pagewise_infer::{Compute, DeviceChoice};

    use super::*;
    use crate::{PerfConfig, perf};

    #[test]
    fn times_real_weights() {
        let path = pagewise_testkit::test_weights("smollm2-135m-instruct-q4_1.gguf");
        let weights = Weights::open(&path).unwrap();
        let compute = Compute::new(DeviceChoice::Cpu, Some(2)).unwrap();
        let config = PerfConfig {
            prompt_tokens: vec![8],
            generated_tokens: vec![2],
            prompts_and_generated: Vec::new(),
            turn_tokens: vec![3],
            depths: vec![0, 4],
            repetitions: 2,
        };
        let decoder = Decoder::load(&weights, config.needed_tokens(), &compute).unwrap();
        let mut processor = DecoderProcessor::new(&decoder).unwrap();
        let subject = Subject::of(&weights, "smollm2", "CPU", 2, 0);
        assert_eq!(subject.n_parameters, 134_515_008);
        assert!(subject.model_bytes < weights.file_bytes() && subject.model_bytes > 90_000_000);

        let rows = perf::run(&mut processor, &subject, &config, &mut |_| {}).unwrap();
        assert_eq!(rows.len(), 5);
        assert!(rows.iter().all(|row| row.avg_ts.is_finite() && row.avg_ts > 0.0), "{rows:?}");
    }
}
