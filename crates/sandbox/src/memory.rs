//! How much memory processes use and have used, from `/proc`.

use std::fs;

/// A tree deeper or wider than this is not a function.
const MAX_PROCESSES: usize = 256;

/// The sum of the peaks of these processes and all their descendants, in megabytes, rounded up.
pub(crate) fn peak_mb(roots: impl IntoIterator<Item = u32>) -> u64 {
    sum_mb(roots, "VmHWM:")
}

/// What they have now.
pub(crate) fn resident_mb(roots: impl IntoIterator<Item = u32>) -> u64 {
    sum_mb(roots, "VmRSS:")
}

fn sum_mb(roots: impl IntoIterator<Item = u32>, field: &str) -> u64 {
    let kb: u64 = tree(roots).map(|pid| kilobytes(pid, field)).sum();
    u64::div_ceil(kb, 1024)
}

/// These processes and all their descendants. Whoever is seen was there before its own are looked for.
pub(crate) fn tree(roots: impl IntoIterator<Item = u32>) -> impl Iterator<Item = u32> {
    let mut open: Vec<u32> = roots.into_iter().collect();
    let mut seen = None;
    std::iter::from_fn(move || {
        if let Some(pid) = seen {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            open.extend(children.split_whitespace().filter_map(|p| p.parse::<u32>().ok()));
        }
        seen = open.pop();
        seen
    })
    .take(MAX_PROCESSES)
}

/// One figure of a process; 0 for one that is gone.
fn kilobytes(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_used_some() {
        let used = super::peak_mb([std::process::id()]);
        assert!((1..100_000).contains(&used), "{used}");
        assert!((1..=used + 100).contains(&super::resident_mb([std::process::id()])));
        assert_eq!((super::peak_mb([u32::MAX]), super::resident_mb([u32::MAX])), (0, 0));
    }
}
