//! A real limit of the memory: a control group (version 2) for all processes of a sandbox, in which the kernel kills
//! when they have more than the function may. Where there is none to be had, [`memory`](crate::memory) is asked
//! instead. Version 1 is not used: a machine that still has it has other owners of its groups.
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::ids;
use crate::leash::Leash;
use crate::memory;

/// Where a group can be made, or why nowhere. Tries it.
pub fn memory_limit() -> Result<PathBuf, String> {
    let groups =
        fs::read_to_string("/proc/self/cgroup").map_err(|why| format!("/proc/self/cgroup: {why}"))?;
    let mounts =
        fs::read_to_string("/proc/self/mountinfo").map_err(|why| format!("/proc/self/mountinfo: {why}"))?;
    let (root, own) = place(&groups, &mounts).ok_or("control groups of version 2 are not mounted")?;
    let mut reason = format!("no group above {} gives its groups a limit of memory", own.display());
    // A group that holds processes cannot be divided, except the first of all: ours most often goes beside us.
    for above in own.ancestors().take_while(|dir| dir.starts_with(&root)) {
        let divided = fs::read_to_string(above.join("cgroup.subtree_control")).unwrap_or_default();
        if !divided.split_whitespace().any(|controller| controller == "memory") {
            continue;
        }
        let tried = access(above.join("cgroup.procs"), Access::WRITE_OK).map_err(io::Error::from);
        match tried.and_then(|()| make(above)).and_then(fs::remove_dir) {
            Ok(()) => return Ok(above.to_path_buf()),
            Err(why) => reason = format!("{}: {why}", above.display()),
        }
    }
    Err(reason)
}

/// The folder of the first of all groups, and of the one that we are in.
fn place(groups: &str, mounts: &str) -> Option<(PathBuf, PathBuf)> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (shown, root) = mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        kind.starts_with("cgroup2 ").then_some((fields.next()?, PathBuf::from(fields.next()?)))
    })?;
    // What is mounted may be a part of the whole, as in a container.
    let inside = own.strip_prefix(shown).unwrap_or(own);
    Some((root.clone(), root.join(inside.trim_start_matches('/'))))
}

fn make(above: &Path) -> io::Result<PathBuf> {
    let dir = above.join(format!("dd-lambda-{}-{}", std::process::id(), ids::environment()));
    fs::create_dir(&dir)?;
    Ok(dir)
}

/// The group of one sandbox. Dropping it kills what is in it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    dir: PathBuf,
    leash: Leash,
    limited: bool,
    /// How many the kernel had killed when we last asked.
    killed: u64,
}

impl Cgroup {
    pub(crate) fn make(leash: &Leash) -> Result<Self, String> {
        let dir = make(&memory_limit()?).map_err(|why| why.to_string())?;
        leash.hold(&dir);
        Ok(Self { dir, leash: leash.clone(), limited: false, killed: 0 })
    }

    /// Takes in a process that was just started, with all that it started since. Of a `victim` the kernel takes first.
    pub(crate) fn add(&self, pid: u32, victim: bool) -> io::Result<()> {
        if victim {
            // Not there any more, or not ours any more: then the kernel takes the biggest.
            let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), "1000");
        }
        for process in memory::tree([pid]) {
            match fs::write(self.dir.join("cgroup.procs"), process.to_string()) {
                Err(why) if why.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                    return Err(why);
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// From now on all of them together may have so much, and nothing of it swapped out.
    pub(crate) fn limit(&mut self, mb: u64) -> io::Result<()> {
        // There may be no swap.
        let _ = fs::write(self.dir.join("memory.swap.max"), "0");
        fs::write(self.dir.join("memory.max"), (mb << 20).to_string())?;
        self.limited = true;
        Ok(())
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.limited
    }

    /// Whether the kernel killed one of them for its memory since this was last asked.
    pub(crate) fn has_killed(&mut self) -> bool {
        let events = fs::read_to_string(self.dir.join("memory.events")).unwrap_or_default();
        let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
        let before = self.killed;
        self.killed = killed.unwrap_or(before);
        self.killed > before
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.dir.join("cgroup.kill"), "1");
        // While something is still on its way out it stays held, and goes when we end.
        if fs::remove_dir(&self.dir).is_ok() {
            self.leash.let_go(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::place;
    use std::path::PathBuf;

    #[test]
    fn groups_are_found_where_they_are_mounted() {
        let check = |groups: &str, mounts: &str, expect: Option<(&str, &str)>| {
            let expect = expect.map(|(root, own)| (PathBuf::from(root), PathBuf::from(own)));
            assert_eq!(place(groups, mounts), expect, "{groups}");
        };
        let mount = "24 23 0:22 / /proc rw - proc proc rw\n35 24 0:30 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw";
        let scope = "0::/user.slice/user-1000.slice/session-2.scope\n";
        let own = "/sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope";
        check(scope, mount, Some(("/sys/fs/cgroup", own)));
        check("4:memory:/a\n0::/\n", mount, Some(("/sys/fs/cgroup", "/sys/fs/cgroup/")));
        let part = mount.replace("0:30 /", "0:30 /docker/7");
        check("0::/docker/7/inner\n", &part, Some(("/sys/fs/cgroup", "/sys/fs/cgroup/inner")));
        check("4:memory:/a\n", mount, None);
        check("0::/\n", "35 24 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory", None);
    }
}
