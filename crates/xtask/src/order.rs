//! `cargo xtask order`: which functions of the extension run in every sandbox. Tests of the real process run with
//! the layer's binary under valgrind, which tells what was called; the names go into [`ORDER`], without what is
//! different in each build. To be done when much of the extension has changed, or when its memory has grown.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::layer;
use crate::link::{GROUPS, ORDER};

/// The tests that live what a group is for, each in its process.
const LIVES: &[(&str, &[&str])] = &[
    ("start", &["promises::a_sandbox_that_was_never_used_ends_at_once"]),
    (
        "life",
        &[
            "data::an_invocation_gives_its_traces_metrics_and_logs",
            "data::start_and_end_calls_give_the_invocation_span",
            "secure::all_signals_of_all_invocations_share_one_tls_connection",
        ],
    ),
];

const HEAD: &str = "# Functions that run in every sandbox: until the extension is ready, and in an invocation. They lie together\n\
                    # in the layer's binary. Made by `cargo xtask order`; a name that is no more does no harm.\n";

pub(crate) fn make(root: &Path) -> Result<()> {
    let folder = root.join("target/order");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let (binary, libc) = layer::with_names(root, &folder.join("build"))?;
    let names = Names::of(&binary, &libc)?;
    let mut known = BTreeSet::new();
    let mut text = HEAD.to_owned();
    for ((group, tests), expected) in LIVES.iter().zip(GROUPS) {
        anyhow::ensure!(*group == expected, "the groups are {GROUPS:?}");
        let calls = folder.join(group);
        fs::create_dir(&calls)?;
        lived(root, &binary, &calls, tests)?;
        let patterns = names.patterns(&called(&calls)?);
        for pattern in &patterns - &known {
            text.push_str(&format!("{group} {pattern}\n"));
        }
        eprintln!("{group}: {} functions", patterns.len());
        known.extend(patterns);
    }
    fs::write(root.join(ORDER), text).context(ORDER)?;
    eprintln!("wrote {ORDER}");
    Ok(())
}

/// Runs tests with a binary that tells what it calls.
fn lived(root: &Path, binary: &Path, calls: &Path, tests: &[&str]) -> Result<()> {
    let wrapper = calls.with_extension("sh");
    // What is killed has told what it called until a million steps before.
    let script = format!(
        "#!/bin/sh\nexec valgrind --tool=callgrind --demangle=no --dump-every-bb=1000000 --log-file=/dev/null \\\n  \
         --callgrind-out-file={}/%p {} \"$@\"\n",
        calls.display(),
        binary.display()
    );
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).env("AGENT_BINARY", &wrapper);
    cargo
        .args(["test", "--package", "extension", "--test", "process", "--", "--test-threads=1", "--exact"])
        .args(tests);
    if !cargo.status().context("cargo could not be started")?.success() {
        bail!("a test failed. Is valgrind installed? What it runs is {}", wrapper.display());
    }
    Ok(())
}

/// The names of all functions in the files of callgrind.
fn called(folder: &Path) -> Result<BTreeSet<String>> {
    let mut called = BTreeSet::new();
    for file in fs::read_dir(folder)? {
        let text = String::from_utf8_lossy(&fs::read(file?.path())?).into_owned();
        for line in text.lines().filter(|line| line.starts_with("fn=") || line.starts_with("cfn=")) {
            // `fn=(12) name'2` the first time, `fn=(12)` later; the number is the depth of a recursion.
            if let Some((_, name)) = line.split_once(") ") {
                called.insert(name.split('\'').next().unwrap_or(name).to_owned());
            }
        }
    }
    if called.is_empty() {
        bail!("valgrind told nothing: see {}", folder.display());
    }
    Ok(called)
}

/// The functions of a binary: those of equal code have one address and many names.
struct Names {
    addresses: BTreeMap<String, String>,
    names: BTreeMap<String, Vec<String>>,
    /// Those of the C library, by name: the object of its archive. They have no sections of their own.
    objects: BTreeMap<String, String>,
}

impl Names {
    fn of(binary: &Path, libc: &Path) -> Result<Self> {
        let output = Command::new("nm").arg(binary).output().context("nm could not be started")?;
        let mut new = Self { addresses: BTreeMap::new(), names: BTreeMap::new(), objects: objects(libc)? };
        for line in String::from_utf8(output.stdout)?.lines() {
            let mut words = line.splitn(3, ' ');
            let (Some(address), Some("t" | "T"), Some(name)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            new.addresses.insert(name.to_owned(), address.to_owned());
            new.names.entry(address.to_owned()).or_default().push(name.to_owned());
        }
        Ok(new)
    }

    fn patterns(&self, called: &BTreeSet<String>) -> BTreeSet<String> {
        let addresses = called.iter().filter_map(|name| self.addresses.get(name));
        let rust = addresses.filter_map(|address| self.names.get(address)).flatten();
        let c = called.iter().filter_map(|name| self.objects.get(name));
        rust.filter_map(|name| pattern(name)).chain(c.map(|object| format!("libc.a:{object}"))).collect()
    }
}

/// The C library's functions, each with its object in the archive.
fn objects(libc: &Path) -> Result<BTreeMap<String, String>> {
    let output = Command::new("nm").arg("-A").arg(libc).output().context("nm could not be started")?;
    let mut objects = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        // `/usr/lib/libc.a:malloc.o:0000000000000b10 T malloc`
        let Some((place, name)) = line.rsplit_once(' ') else { continue };
        let (Some((place, kind)), mut parts) = (place.rsplit_once(' '), line.split(':')) else { continue };
        if let (true, Some(object)) = ("tTWi".contains(kind) && place.contains(':'), parts.nth(1)) {
            objects.entry(name.to_owned()).or_insert_with(|| object.to_owned());
        }
    }
    Ok(objects)
}

/// A function's name without the hashes that are others in each build. Only Rust's functions have sections of
/// their own.
fn pattern(name: &str) -> Option<String> {
    if let Some((name, _)) = name.strip_prefix("_ZN").and_then(|rest| rest.rsplit_once("17h")) {
        return Some(format!("_ZN{name}17h*"));
    }
    // The standard library's: a crate is `Cs<hash>_<length><name>`, a copy ends with `.<number>`.
    let name = name.strip_prefix("_R")?;
    let mut parts = name.split("Cs");
    let mut pattern = format!("_R{}", parts.next()?);
    for part in parts {
        match part.split_once('_') {
            Some((hash, rest)) if hash.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                pattern.push_str("Cs*_");
                pattern.push_str(rest);
            }
            _ => {
                pattern.push_str("Cs");
                pattern.push_str(part);
            }
        }
    }
    let end = pattern.rfind('.').filter(|at| pattern.bytes().skip(at + 1).all(|b| b.is_ascii_digit()));
    pattern.truncate(end.unwrap_or(pattern.len()));
    Some(pattern + "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_another_in_each_build_is_left_open() {
        let name = "_ZN5tokio7runtime4task3raw4poll17h0123456789abcdefE";
        assert_eq!(pattern(name).unwrap(), "_ZN5tokio7runtime4task3raw4poll17h*");
        let name = "_RNvMs16_NtCsjrHSEGnQ3l9_3std4pathNtB6_4Path5__join";
        assert_eq!(pattern(name).unwrap(), "_RNvMs16_NtCs*_3std4pathNtB6_4Path5__join*");
        let name = "_RNvXs_NtCslNYArtu3iFV_5alloc6stringNtCsgEmfK2I1SDS_4core3fmt5Write9write_str.8";
        assert_eq!(pattern(name).unwrap(), "_RNvXs_NtCs*_5alloc6stringNtCs*_4core3fmt5Write9write_str*");
        assert_eq!(pattern("malloc"), None);
    }
}
