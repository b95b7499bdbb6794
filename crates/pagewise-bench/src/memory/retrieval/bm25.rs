//! Plain BM25 over a list of texts, without stems and stop words: the floor that a store's search should
//! not fall below.

use std::collections::HashMap;

/// How soon a word that a text has again stops counting.
const K1: f64 = 1.2;

/// How much the length of a text counts.
const B: f64 = 0.75;

/// An index of texts.
pub(super) struct Bm25 {
    /// The texts that have a word, and how often.
    postings: HashMap<String, Vec<(usize, u32)>>,
    /// The words of each text.
    lengths: Vec<usize>,
    mean_length: f64,
}

impl Bm25 {
    pub(super) fn new(texts: &[String]) -> Self {
        let mut postings: HashMap<String, Vec<(usize, u32)>> = HashMap::new();
        let mut lengths = Vec::with_capacity(texts.len());
        for (place, text) in texts.iter().enumerate() {
            let words = words(text);
            lengths.push(words.len());
            for word in words {
                let texts = postings.entry(word).or_default();
                match texts.last_mut() {
                    Some((last, n)) if *last == place => *n += 1,
                    _ => texts.push((place, 1)),
                }
            }
        }
        let mean_length = lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64;
        Self { postings, lengths, mean_length }
    }

    /// Returns the places of the best `n` texts that have a word of the query, best first, ties in order.
    pub(super) fn search(&self, query: &str, n: usize) -> Vec<usize> {
        let mut scores: HashMap<usize, f64> = HashMap::new();
        for word in words(query) {
            let Some(texts) = self.postings.get(&word) else { continue };
            let (n_texts, n_with) = (self.lengths.len() as f64, texts.len() as f64);
            let idf = (1.0 + (n_texts - n_with + 0.5) / (n_with + 0.5)).ln();
            for (place, times) in texts {
                let times = f64::from(*times);
                let length = self.lengths[*place] as f64 / self.mean_length;
                let weight = times * (K1 + 1.0) / (times + K1 * (1.0 - B + B * length));
                *scores.entry(*place).or_default() += idf * weight;
            }
        }
        let mut found: Vec<(usize, f64)> = scores.into_iter().collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.into_iter().take(n).map(|(place, _)| place).collect()
    }
}

/// Runs of letters and digits of ASCII, in lower case.
fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(texts: &[&str]) -> Bm25 {
        Bm25::new(&texts.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn rare_words_and_short_texts_come_first() {
        let index =
            index(&["the mill and the sea", "the sea", "the hill", "a mill of the long valley"]);
        assert_eq!(index.search("sea", 9), [1, 0]);
        assert_eq!(index.search("The mill, the sea", 9), [0, 1, 3, 2]);
        assert_eq!(index.search("the", 2).len(), 2);
        assert!(index.search("moor", 9).is_empty());
        assert!(index.search("", 9).is_empty());
    }

    #[test]
    fn scores_are_those_of_the_formula() {
        // By hand: both texts have one word of the query once; "b" is in one text of three.
        let texts = index(&["a b", "a c c c", "a"]);
        assert_eq!(texts.search("b", 3), [0]);
        let n: f64 = 3.0;
        let idf = |n_with: f64| (1.0 + (n - n_with + 0.5) / (n_with + 0.5)).ln();
        assert!(idf(1.0) > idf(3.0));
        // A word that all have still counts a little, and more in the shortest text.
        assert_eq!(texts.search("a", 3), [2, 0, 1]);
        // A word of the query counts as often as it is there.
        assert_eq!(texts.search("c a a a a a a a a", 1), [1]);
    }
}
