/// Returns the most memory that this process ever had resident, in bytes; `None` where the system
/// does not say.
///
/// Pages of mapped weights count once they were read, as they do for `ps` and `top`.
pub fn memory_peak_bytes() -> Option<u64> {
    peak_of_status(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Returns the memory that this process has resident now, in bytes, as [`memory_peak_bytes`] counts.
pub fn memory_resident_bytes() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Reads the line `VmHWM:    1234 kB` of a Linux process's status.
fn peak_of_status(status: &str) -> Option<u64> {
    kibibytes(status, "VmHWM:")
}

/// Reads the line that begins with `key`, in bytes.
pub(crate) fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_high_water_mark() {
        let status = "Name:\tx\nVmPeak:\t  999 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 5 kB\n";
        assert_eq!(peak_of_status(status), Some(1234 * 1024));
        for status in
            ["", "VmHWM:", "VmHWM: x kB", "VmHWM: 12 MB", "VmHWM: 18446744073709551615 kB"]
        {
            assert_eq!(peak_of_status(status), None, "{status:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_resident() {
        assert!(memory_resident_bytes().unwrap() <= memory_peak_bytes().unwrap());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_is_touched_is_seen() {
        const BYTES: usize = 64 << 20;
        let touched = std::hint::black_box(vec![1u8; BYTES]);
        assert!(memory_peak_bytes().unwrap() >= touched.len() as u64);
    }
}
