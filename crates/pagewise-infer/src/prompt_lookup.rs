//! Guesses what an answer goes on with: what followed the last time that the same words stood there.
//!
//! A memory agent copies much: names, dates, whole lines of what a search found. Several guessed
//! tokens go through the model at once, for little more than the time of one, and as many of them
//! count as the sampler would have chosen itself. So the answer is the same with good guesses and
//! with bad ones (prompt lookup decoding: Saxena 2023; speculative decoding: arXiv 2211.17192).

/// As many last tokens are looked for at first, then fewer.
const LONGEST_MATCH: usize = 4;

/// A match of fewer tokens says too little.
const SHORTEST_MATCH: usize = 2;

/// Returns up to `max_tokens` tokens that may follow `tokens`, or none.
pub(crate) fn guess(tokens: &[u32], max_tokens: usize) -> &[u32] {
    for n in (SHORTEST_MATCH..=LONGEST_MATCH).rev() {
        let Some(begin) = tokens.len().checked_sub(n) else { continue };
        let (before, last) = tokens.split_at(begin);
        // The latest one: it is the most like what is being written.
        let found = (0..before.len()).rev().find(|at| tokens[*at..].starts_with(last));
        if let Some(at) = found {
            let follows = &tokens[at + n..];
            return &follows[..max_tokens.min(follows.len())];
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, max_tokens: usize, expected: &str) {
        let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
        let guessed: String =
            guess(&tokens, max_tokens).iter().map(|token| *token as u8 as char).collect();
        assert_eq!(guessed, expected);
    }

    #[test]
    fn what_followed_the_same_words_is_guessed() {
        check("her dog is Biscuit. The dog is", 5, " Bisc");
        check("no such thing", 5, "");
        check("", 5, "");
        check("a", 5, "");
        check("xyxy", 5, "xy");
        check("xyxy", 0, "");
    }

    #[test]
    fn the_longest_match_counts_and_then_the_latest() {
        check("-abcd1-cd2-bcd3-abcd", 1, "1");
        check("-cd1-cd2-xcd", 1, "2");
    }
}
