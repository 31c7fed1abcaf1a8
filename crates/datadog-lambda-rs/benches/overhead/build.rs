//! The same function with and without the library, as a user builds it: size, and crates that come with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Functions {
    pub(crate) bare: PathBuf,
    pub(crate) traced: PathBuf,
    /// Of the first, besides itself.
    pub(crate) bare_crates: usize,
    /// By the library, with itself.
    pub(crate) added_crates: usize,
}

/// Builds them in release, as this program was.
pub(crate) fn functions() -> Functions {
    let examples = ["--example", "bench-bare", "--example", "bench-traced"];
    cargo(&[&["build", "--release", "--quiet", "--package", "datadog-lambda-rs"], &examples[..]].concat());
    // Beside this program: target/release/deps/overhead-…
    let this = std::env::current_exe().unwrap();
    let dir = this.parent().unwrap().parent().unwrap().join("examples");
    let bare: BTreeSet<String> =
        ["lambda_runtime", "serde_json", "tokio"].iter().flat_map(|package| tree(package)).collect();
    let all: BTreeSet<String> = tree("datadog-lambda-rs").collect();
    // With the features that others of this workspace want, the first would be more.
    let bare_crates = all.intersection(&bare).count();
    let added_crates = all.len() - bare_crates;
    Functions { bare: dir.join("bench-bare"), traced: dir.join("bench-traced"), bare_crates, added_crates }
}

pub(crate) fn bytes(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

pub(crate) fn size(path: &Path) -> String {
    format!("{} KiB", bytes(path) / 1024)
}

/// A package and what it needs, as name and version. What runs in the compiler only is left out.
fn tree(package: &str) -> impl Iterator<Item = String> {
    let args = ["tree", "--package", package, "--edges", "normal,no-proc-macro", "--prefix", "none"];
    let text = cargo(&args);
    let lines: Vec<String> =
        text.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    lines.into_iter()
}

fn cargo(args: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let dir = env!("CARGO_MANIFEST_DIR");
    let output = Command::new(program).current_dir(dir).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
