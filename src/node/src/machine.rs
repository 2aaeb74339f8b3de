//! How much memory this process may have.

use std::fs;
use std::path::Path;

/// A machine that does not say is taken for a small one.
const UNKNOWN: u64 = 4 << 30;

/// Bytes of memory that the machine has, or that the process's control groups let it have if that is less.
pub(crate) fn memory_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_of(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").ok();
    let groups = groups.and_then(|text| bound_of_groups(Path::new("/sys/fs/cgroup"), &text));
    machine.into_iter().chain(groups).min().unwrap_or(UNKNOWN)
}

/// The line `MemTotal: N kB`.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The least bound of the group `0::PATH` (of cgroup v2) and of those above it; a group without a bound says `max`.
fn bound_of_groups(root: &Path, own: &str) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let group = root.join(path.trim_start_matches('/'));
    let above = group.ancestors().take_while(|dir| dir.starts_with(root));

    above
        .filter_map(|dir| {
            fs::read_to_string(dir.join("memory.max"))
                .ok()?
                .trim()
                .parse()
                .ok()
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_says() {
        assert_eq!(
            total_of("MemTotal:       24576 kB\nMemFree: 1 kB\n"),
            Some(24 << 20)
        );
        assert_eq!(total_of("MemFree: 1 kB\n"), None);
        assert!(memory_bytes() > 64 << 20);
    }

    #[test]
    fn the_least_bound_of_all_groups_above_counts() {
        let root = tempfile::tempdir().expect("a directory");
        let own = root.path().join("system.slice/trireme.service");
        fs::create_dir_all(&own).expect("a group");

        let find = || bound_of_groups(root.path(), "0::/system.slice/trireme.service\n");
        assert_eq!(find(), None);
        fs::write(own.join("memory.max"), "max\n").expect("written");
        assert_eq!(find(), None);
        fs::write(root.path().join("system.slice/memory.max"), "1073741824\n").expect("written");
        assert_eq!(find(), Some(1 << 30));
        fs::write(own.join("memory.max"), "2147483648\n").expect("written");
        assert_eq!(find(), Some(1 << 30));
    }
}
