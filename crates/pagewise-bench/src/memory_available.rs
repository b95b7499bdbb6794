//! How much memory there is to be had, where the system says: on Linux.

use std::fs;
use std::path::Path;

use crate::memory_peak::kibibytes;

/// Where the limits of groups of processes are.
const GROUPS: &str = "/sys/fs/cgroup";

/// Returns the memory that could be had now without driving out what is in use, in bytes; `None`
/// where the system does not say. What only holds files counts as free, and the limits of this
/// process and of the groups that it is in count.
pub fn memory_available_bytes() -> Option<u64> {
    let available = of_machine("MemAvailable:")?;
    Some(within_limits(available, 0))
}

/// Returns the memory that could be had at most, whatever else is driven out, in bytes: as
/// [`memory_available_bytes`], with what is free of the space that memory is swapped to.
pub fn memory_obtainable_bytes() -> Option<u64> {
    let available = of_machine("MemAvailable:")?;
    Some(within_limits(available, of_machine("SwapFree:").unwrap_or(0)))
}

/// Returns the memory of this machine, in bytes; `None` where the system does not say.
pub fn memory_total_bytes() -> Option<u64> {
    of_machine("MemTotal:")
}

fn of_machine(key: &str) -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, key)
}

/// Groups limit memory alone, a process its addresses, whatever they stand for.
fn within_limits(available: u64, swap: u64) -> u64 {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let groups = left_in_groups(Path::new(GROUPS), &read("/proc/self/cgroup"));
    let addresses = left_of_addresses(&read("/proc/self/limits"), &read("/proc/self/status"));
    let memory = available.min(groups.unwrap_or(u64::MAX)).saturating_add(swap);
    memory.min(addresses.unwrap_or(u64::MAX))
}

/// Returns what the limit on addresses leaves, in bytes; `None` without one.
fn left_of_addresses(limits: &str, status: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let most: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(most.saturating_sub(kibibytes(status, "VmSize:")?))
}

/// Returns what the groups of this process leave, in bytes; `None` without a limit.
///
/// A group is limited by those that it is in as well. In a container the path of its own group may
/// be one of the machine's, which is not seen there: then the root is the group.
fn left_in_groups(root: &Path, groups: &str) -> Option<u64> {
    let mut least = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, names) = match controllers {
            "" => (root.to_owned(), &Names::SECOND),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), &Names::FIRST)
            }
            _ => continue,
        };
        let own = root.join(path.trim_start_matches('/'));
        for group in own.ancestors().take_while(|group| group.starts_with(&root)) {
            let left = names.left_in(group);
            least = [least, left].into_iter().flatten().min();
        }
    }
    least
}

/// What the two versions of groups call their files.
struct Names {
    limit: &'static str,
    used: &'static str,
    /// Lines of `memory.stat`: what only holds files, and is given up for the asking.
    files: [&'static str; 2],
}

impl Names {
    const FIRST: Self = Self {
        limit: "memory.limit_in_bytes",
        used: "memory.usage_in_bytes",
        files: ["total_active_file", "total_inactive_file"],
    };
    const SECOND: Self = Self {
        limit: "memory.max",
        used: "memory.current",
        files: ["active_file", "inactive_file"],
    };

    fn left_in(&self, group: &Path) -> Option<u64> {
        let read = |name: &str| fs::read_to_string(group.join(name)).ok();
        // Without a limit it says "max".
        let limit: u64 = read(self.limit)?.trim().parse().ok()?;
        let used: u64 = read(self.used)?.trim().parse().ok()?;
        let stat = read("memory.stat").unwrap_or_default();
        let words = stat.lines().filter_map(|line| line.split_once(' '));
        let files = words.filter(|(name, _)| self.files.contains(name));
        let files: u64 = files.filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok()).sum();
        Some(limit.saturating_sub(used.saturating_sub(files)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_says_what_there_is() {
        let (available, total) = (memory_available_bytes().unwrap(), memory_total_bytes().unwrap());
        assert!(available > 0 && available <= total);
        assert!(memory_obtainable_bytes().unwrap() > 0);
    }

    #[test]
    fn a_limit_on_addresses_counts() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max file size             unlimited            unlimited            bytes\n\
                      Max address space         1048576              unlimited            bytes\n";
        assert_eq!(left_of_addresses(limits, "VmSize:\t  24 kB\n"), Some(1000 << 10));
        assert_eq!(left_of_addresses(limits, "VmSize:\t  2000 kB\n"), Some(0));
        let unlimited = limits.replace("1048576", "unlimited");
        for (limits, status) in [(unlimited.as_str(), "VmSize: 1 kB"), (limits, ""), ("", "")] {
            assert_eq!(left_of_addresses(limits, status), None);
        }
    }

    #[test]
    fn the_narrowest_group_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(left_in_groups(root, "0::/user/chat\n"), None);
        write("user/chat/memory.max", "max\n");
        write("user/chat/memory.current", "500\n");
        assert_eq!(left_in_groups(root, "0::/user/chat\n"), None);
        write("user/memory.max", "1000\n");
        write("user/memory.current", "700\n");
        assert_eq!(left_in_groups(root, "0::/user/chat\n"), Some(300));
        write("user/memory.stat", "anon 400\nactive_file 20\ninactive_file 30\nfile_dirty 7\n");
        assert_eq!(left_in_groups(root, "0::/user/chat\n"), Some(350));
        write("memory.max", "600");
        write("memory.current", "500");
        assert_eq!(left_in_groups(root, "0::/user/chat\n"), Some(100));
        assert_eq!(left_in_groups(root, "0::/elsewhere/not/seen\n"), Some(100));
        // The first version has a tree for each controller.
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/memory.usage_in_bytes", "4096\n");
        write("memory/box/memory.limit_in_bytes", "5000\n");
        write("memory/box/memory.usage_in_bytes", "4960\n");
        let first = "7:cpu,cpuacct:/box\n4:memory:/box\n1:name=systemd:/init\n";
        assert_eq!(left_in_groups(root, first), Some(40));
        for groups in ["", "nonsense", "4:memory", "::"] {
            assert!(left_in_groups(root, groups).is_none_or(|left| left == 100), "{groups}");
        }
    }
}
