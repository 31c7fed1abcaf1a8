//! Holds every process group that was started, so that none outlives us: killed when a [`Leash`] is let go, and by
//! a watching shell when this process dies without being able to.
//!
//! The usual way (`PR_SET_PDEATHSIG`) needs code between fork and exec, which is unsafe, and fires when the
//! spawning thread ends. A shell that reads group ids from a pipe and kills them at its end needs neither. It also
//! removes the folders of control groups, which can only go when their processes are gone.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

const WATCH: &str = r#"
groups= dirs=
while read -r op what; do
  kept=
  case $op in
    +) groups="$groups $what" ;;
    -) for g in $groups; do [ "$g" = "$what" ] || kept="$kept $g"; done; groups=$kept ;;
    d) dirs="$dirs $what" ;;
    x) for d in $dirs; do [ "$d" = "$what" ] || kept="$kept $d"; done; dirs=$kept ;;
  esac
done
for g in $groups; do kill -s KILL -- "-$g" 2>/dev/null; done
for d in $dirs; do
  [ ! -e "$d/cgroup.kill" ] || echo 1 > "$d/cgroup.kill"
  n=0
  while [ -d "$d" ] && ! rmdir "$d" 2>/dev/null && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.02; done
done
"#;

/// A process group, named by its first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group(pub(crate) u32);

impl Group {
    /// Sends a signal; a group that is gone already is no error.
    pub(crate) fn signal(self, signal: Signal) {
        let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, signal);
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Leash(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    groups: BTreeSet<Group>,
    /// Of control groups.
    dirs: BTreeSet<PathBuf>,
    closed: bool,
    watch: Option<(Child, ChildStdin)>,
}

impl Leash {
    pub(crate) fn add(&self, group: Group) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.closed {
            group.signal(Signal::KILL);
            return;
        }
        held.groups.insert(group);
        held.tell('+', group.0);
    }

    /// The group's first process has ended: whatever it left behind ends too.
    pub(crate) fn remove(&self, group: Group) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.groups.remove(&group) {
            group.signal(Signal::KILL);
            held.tell('-', group.0);
        }
    }

    /// A control group to kill and to remove at the end.
    pub(crate) fn hold(&self, dir: &Path) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.dirs.insert(dir.to_path_buf());
        held.tell('d', dir.display());
    }

    /// The control group is gone.
    pub(crate) fn let_go(&self, dir: &Path) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.dirs.remove(dir) {
            held.tell('x', dir.display());
        }
    }

    /// Kills all, now and in future.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).close();
    }
}

impl Held {
    fn tell(&mut self, op: char, what: impl Display) {
        self.watch = self.watch.take().or_else(|| watch().ok());
        if let Some((_, pipe)) = &mut self.watch {
            // A watch that is gone is missed only if we die too.
            let _ = writeln!(pipe, "{op} {what}");
        }
    }

    fn close(&mut self) {
        self.closed = true;
        for group in std::mem::take(&mut self.groups) {
            group.signal(Signal::KILL);
        }
        if let Some((mut shell, pipe)) = self.watch.take() {
            if self.dirs.is_empty() {
                let _ = shell.kill();
            }
            drop(pipe);
            let _ = shell.wait();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.close();
    }
}

fn watch() -> std::io::Result<(Child, ChildStdin)> {
    let mut shell = Command::new("/bin/sh")
        .args(["-c", WATCH])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in a terminal goes to our group only.
        .process_group(0)
        .spawn()?;
    let pipe = shell.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    Ok((shell, pipe))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Child, Command, Stdio};

    use super::{Group, Leash};

    fn sleeper() -> (Child, Group) {
        let child =
            Command::new("/bin/sleep").arg("600").process_group(0).stdin(Stdio::null()).spawn().unwrap();
        let group = Group(child.id());
        (child, group)
    }

    #[test]
    fn letting_go_kills() {
        let leash = Leash::default();
        let (mut first, group) = sleeper();
        leash.add(group);
        drop(leash);
        assert_eq!(first.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn the_watch_kills_what_is_still_held_when_its_pipe_closes() {
        let leash = Leash::default();
        let ((mut held, a), (mut released, b)) = (sleeper(), sleeper());
        leash.add(a);
        leash.0.lock().unwrap().groups.insert(b);
        leash.0.lock().unwrap().tell('+', b.0);
        leash.0.lock().unwrap().tell('-', b.0);
        // As if this process had died: only the pipe closes.
        let (mut shell, pipe) = leash.0.lock().unwrap().watch.take().unwrap();
        drop(pipe);
        assert_eq!(held.wait().unwrap().signal(), Some(9));
        assert!(shell.wait().is_ok());
        assert!(released.try_wait().unwrap().is_none());
        drop(leash);
        assert_eq!(released.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn folders_are_removed_at_the_end_unless_they_were_let_go() {
        let dirs = ["held", "gone"].map(|name| {
            let dir = std::env::temp_dir().join(format!("sandbox-leash-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            dir
        });
        let leash = Leash::default();
        dirs.iter().for_each(|dir| leash.hold(dir));
        leash.let_go(&dirs[1]);
        drop(leash);
        assert_eq!(dirs.each_ref().map(|dir| dir.exists()), [false, true]);
        std::fs::remove_dir(&dirs[1]).unwrap();
    }
}
