//! Which texts the model reads, all told: for whoever must know whether two runs read the same.

use crate::functions;

/// The texts in `prompts/`.
const TEXTS: [(&str, &str); 25] = [
    ("checking_examples.md", include_str!("prompts/checking_examples.md")),
    ("checking_system.md", include_str!("prompts/checking_system.md")),
    ("frame_examples.md", include_str!("prompts/frame_examples.md")),
    ("frame_system.md", include_str!("prompts/frame_system.md")),
    ("instruction_follow.md", include_str!("prompts/instruction_follow.md")),
    ("instruction_followed.md", include_str!("prompts/instruction_followed.md")),
    ("instruction_found.md", include_str!("prompts/instruction_found.md")),
    ("instruction_read.md", include_str!("prompts/instruction_read.md")),
    ("instruction_reply.md", include_str!("prompts/instruction_reply.md")),
    ("instruction_save.md", include_str!("prompts/instruction_save.md")),
    ("instruction_saved.md", include_str!("prompts/instruction_saved.md")),
    ("instruction_search.md", include_str!("prompts/instruction_search.md")),
    ("instruction_search_on.md", include_str!("prompts/instruction_search_on.md")),
    ("intake_examples.md", include_str!("prompts/intake_examples.md")),
    ("intake_system.md", include_str!("prompts/intake_system.md")),
    ("noting_examples.md", include_str!("prompts/noting_examples.md")),
    ("noting_system.md", include_str!("prompts/noting_system.md")),
    ("pressure_warning.md", include_str!("prompts/pressure_warning.md")),
    ("reading_system.md", include_str!("prompts/reading_system.md")),
    ("summary_request.md", include_str!("prompts/summary_request.md")),
    ("summary_system.md", include_str!("prompts/summary_system.md")),
    ("trail_examples.md", include_str!("prompts/trail_examples.md")),
    ("trail_plain.md", include_str!("prompts/trail_plain.md")),
    ("trail_system.md", include_str!("prompts/trail_system.md")),
    ("transcript_system.md", include_str!("prompts/transcript_system.md")),
];

/// Returns a number that changes with any prompt and with the help of any function.
pub fn prompts_fingerprint() -> u64 {
    let help = functions::help();
    let texts = TEXTS.iter().flat_map(|(name, text)| [*name, *text]).chain([help.as_str()]);
    // FNV-1a, which is the same everywhere and in every release.
    texts.flat_map(str::bytes).fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_prompt_counts() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/prompts");
        let there: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let listed: BTreeSet<String> = TEXTS.iter().map(|(name, _)| (*name).into()).collect();
        assert_eq!(listed, there);
    }
}
