//! How near a reply is in meaning to texts, as the embedder sees it.
//!
//! It is measured when a case is run and kept in its record, so that grading needs no embedder.

use pagewise_core::{Embedder, Purpose};
use serde::{Deserialize, Serialize};

use super::case::{Gold, Metric};
use super::error::MemoryBenchError;

/// The cosines of a reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nearness {
    /// With each of the answers: of the whole reply or of one of its sentences, whichever is nearer.
    pub answers: Vec<f64>,
    /// With each of the decoys, likewise.
    pub decoys: Vec<f64>,
    /// The nearest of the answers to what the user said: an echo of that says nothing of the user.
    pub echo: f64,
    /// With what a human wrote, both whole, and of what the human wrote with the answers: what a good
    /// reply comes to.
    pub human: Option<HumanNearness>,
}

/// The cosines of what a human wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HumanNearness {
    /// With the reply.
    pub reply: f64,
    /// With each of the answers.
    pub answers: Vec<f64>,
}

/// Measures a reply; `None` where its score does not need it.
pub(crate) fn measure(
    embedder: &dyn Embedder,
    gold: &Gold,
    said: &str,
    reply: &str,
) -> Result<Option<Nearness>, MemoryBenchError> {
    let Metric::Nearness { human } = &gold.metric else { return Ok(None) };
    let vectors = |texts: &[&str]| {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let vectors = embedder.embed(texts, Purpose::Passage);
        vectors.map_err(|error| MemoryBenchError::Store(error.into()))
    };
    let [answers, decoys] = [&gold.answers, &gold.decoys].map(|texts| {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        vectors(&texts)
    });
    let (answers, decoys) = (answers?, decoys?);
    let of = |text: &str| vectors(&parts(text));
    let reply = of(reply)?;
    let human = match human {
        Some(human) => {
            let human = of(human)?;
            Some(HumanNearness {
                // The whole text is the first of its parts.
                reply: cosine(&reply[0], &human[0]),
                answers: nearest(&human, &answers),
            })
        }
        None => None,
    };
    let echo = mean_of_best(&nearest(&of(said)?, &answers), 1);
    let (answers, decoys) = (nearest(&reply, &answers), nearest(&reply, &decoys));
    Ok(Some(Nearness { answers, decoys, echo, human }))
}

/// The text, and each of its sentences if there are several.
fn parts(text: &str) -> Vec<&str> {
    let sentences = text.split_inclusive(['.', '!', '?', '\n']).map(str::trim);
    let sentences: Vec<&str> =
        sentences.filter(|part| part.contains(char::is_alphanumeric)).collect();
    let mut parts = vec![text.trim()];
    if sentences.len() > 1 {
        parts.extend(sentences);
    }
    parts
}

/// For each of `texts`, the largest cosine with one of `parts`.
fn nearest(parts: &[Vec<f32>], texts: &[Vec<f32>]) -> Vec<f64> {
    let best = |text: &Vec<f32>| {
        parts.iter().map(|part| cosine(part, text)).fold(f64::NEG_INFINITY, f64::max)
    };
    texts.iter().map(best).collect()
}

/// The vectors have length 1, or are zero and near to nothing.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The mean of the largest `n` values, or of all if there are fewer; 0 if there is none.
pub(crate) fn mean_of_best(values: &[f64], n: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(|a, b| b.total_cmp(a));
    values.truncate(n);
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use pagewise_testkit::HashEmbedder;

    use super::*;
    use crate::memory::case::Tier;

    fn gold(answers: &[&str], decoys: &[&str], human: Option<&str>) -> Gold {
        Gold {
            metric: Metric::Nearness { human: human.map(str::to_string) },
            answers: answers.iter().map(ToString::to_string).collect(),
            decoys: decoys.iter().map(ToString::to_string).collect(),
            evidence: Vec::new(),
            tier: Tier::Recall,
            edit: None,
        }
    }

    #[test]
    fn a_sentence_of_a_reply_may_be_what_is_near() {
        let gold = gold(&["How is your cello", "You row"], &["You weld"], Some("How is the oboe?"));
        let reply = "Hello there. How is your cello? It rains.";
        let measured = measure(&HashEmbedder::new(), &gold, "I row", reply).unwrap().unwrap();
        assert!((measured.answers[0] - 1.0).abs() < 1e-6, "{measured:?}");
        assert!(measured.answers[1] < 0.9 && measured.decoys[0] < 0.9, "{measured:?}");
        assert!((measured.echo - 0.5).abs() < 0.2, "one word of two: {measured:?}");
        let human = measured.human.unwrap();
        assert!(human.reply < 0.9 && human.answers.len() == 2, "{human:?}");
    }

    #[test]
    fn only_scores_of_nearness_need_it() {
        let gold = Gold { metric: Metric::Contains, ..gold(&["x"], &[], None) };
        assert_eq!(measure(&HashEmbedder::new(), &gold, "x", "x").unwrap(), None);
    }

    #[test]
    fn the_best_are_averaged() {
        assert!((mean_of_best(&[0.1, 0.9, 0.5, 0.7], 3) - 0.7).abs() < 1e-12);
        assert!((mean_of_best(&[0.4], 3) - 0.4).abs() < 1e-12);
        assert!(mean_of_best(&[], 3).abs() < 1e-12);
    }

    #[test]
    fn a_text_has_its_sentences_beside_it() {
        assert_eq!(parts(" One. Two! "), ["One. Two!", "One.", "Two!"]);
        assert_eq!(parts("One... "), ["One..."]);
        assert_eq!(parts(""), [""]);
    }
}
