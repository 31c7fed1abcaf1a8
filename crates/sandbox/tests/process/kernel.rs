//! The same tests on a kernel that lets us make control groups, where the machine's own does not: Linux as a program.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs as the first process of that kernel, on our own files, and ends it.
const FIRST: &str = r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t tmpfs tmpfs /mnt
mkdir /mnt/groups
mount -t cgroup2 cgroup2 /mnt/groups
echo +memory > /mnt/groups/cgroup.subtree_control
ip link set lo up || ifconfig lo 127.0.0.1 up
cd CRATE
TESTS no_burst_is_larger what_is_larger_than_its_memory
echo "groups that are left:" $(ls -d /mnt/groups/*/)
echo o > /proc/sysrq-trigger
sleep 60
"#;

#[test]
#[ignore = "needs Debian's user-mode-linux: LINUX_UML=/usr/bin/linux.uml cargo test -p sandbox -- --ignored kernel"]
fn the_kernel_limits_the_memory_where_it_has_groups_for_us() {
    let kernel = std::env::var("LINUX_UML").expect("LINUX_UML names the program");
    let dir = std::env::temp_dir().join(format!("sandbox-kernel-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let tests = std::env::current_exe().unwrap();
    let first = dir.join("first.sh");
    let script = FIRST.replace("CRATE", env!("CARGO_MANIFEST_DIR")).replace("TESTS", tests.to_str().unwrap());
    std::fs::write(&first, script).unwrap();
    std::fs::set_permissions(&first, std::fs::Permissions::from_mode(0o755)).unwrap();
    let said = boot(&kernel, &first, &dir);
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(said.contains("2 passed; 0 failed"), "{said}");
    let killed = said.lines().filter(|line| line.contains("Memory cgroup out of memory: Killed process"));
    assert_eq!(killed.filter(|line| line.contains("(sandbox-probe)")).count(), 3, "{said}");
    assert!(said.lines().any(|line| line.trim_end() == "groups that are left:"), "{said}");
}

fn boot(kernel: &str, first: &Path, dir: &Path) -> String {
    let output = Command::new(kernel)
        .args(["rootfstype=hostfs", "rootflags=/", "rw", "mem=1024M", "quiet"])
        .args(["con=null", "con0=fd:0,fd:1", "con1=null"])
        .arg(format!("init={}", first.display()))
        .arg(format!("uml_dir={}", dir.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
