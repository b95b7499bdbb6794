//! What the processor is called, where the system says: on Linux.

use std::fs;

/// Returns the processor's name; `None` where the system does not say.
pub fn processor_name() -> Option<String> {
    named_in(&fs::read_to_string("/proc/cpuinfo").ok()?)
}

fn named_in(text: &str) -> Option<String> {
    let name = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    let name = name.split_once(':')?.1.split_whitespace().collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_has_the_name_of_its_first_core() {
        let text = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD  EPYC 9R45\nmodel name\t: B\n";
        assert_eq!(named_in(text).as_deref(), Some("AMD EPYC 9R45"));
        for text in ["", "processor\t: 0\nCPU part\t: 0xd40\n", "model name\t: \n", "model name"] {
            assert_eq!(named_in(text), None, "{text:?}");
        }
    }
}
