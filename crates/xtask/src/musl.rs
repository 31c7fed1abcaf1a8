//! A Rust that links with musl, on a machine where `rustup target add` cannot get one: of Debian's packages.
//! Debian has a Rust with the source of its standard library, and musl; from these the target is put together below
//! `target/musl`, in the places where rustup's would have it. Nothing is installed on the machine.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::link;
use crate::real::{self, Missing};

/// Debian's newest Rust, its standard library as source, and musl.
const PACKAGES: &[&str] = &["rustc-web", "rust-web-src", "libstd-rust-web-dev", "musl-dev"];

/// What those need besides, whose names have versions.
const NEEDED: &[&str] = &["libstd-rust-web", "libllvm"];

/// Where musl's packages have the objects that a program starts and ends with, and where the compiler has its.
const OF_MUSL: &[&str] = &["crt1.o", "Scrt1.o", "rcrt1.o", "crti.o", "crtn.o", "libc.a"];
const OF_THE_COMPILER: &[&str] = &["crtbegin.o", "crtbeginS.o", "crtend.o", "crtendS.o"];

/// Debian's unwinder is for glibc.
const UNWINDER: &str = include_str!("musl/unwind.c");

/// What this workspace wants of a compiler.
const FIRST_RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Longest time for the packages to come.
const DOWNLOAD: Duration = Duration::from_secs(300);

/// What is built to have the standard library built.
const EMPTY: &str = "[package]\nname = \"empty\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n[profile.release]\npanic = \"abort\"\n";

/// How to call the compiler.
pub(crate) struct Musl {
    target: String,
    home: PathBuf,
}

impl Musl {
    /// The one for this machine's architecture, made once and made anew when this file changes. Debian's packages change,
    /// and what is put together here was not made to be: whatever goes wrong is a lack, and no failure.
    pub(crate) fn here(root: &Path) -> Result<Self, Missing> {
        let home = root.join("target/musl");
        let new = Self { target: format!("{}-unknown-linux-musl", std::env::consts::ARCH), home };
        let recipe = [include_str!("musl.rs"), UNWINDER].concat();
        let stamp = new.home.join("made.txt");
        if fs::read_to_string(&stamp).is_ok_and(|made| made == recipe) && real::works(&new.rustc(), &["-V"]) {
            return Ok(new);
        }
        let made = new.make().and_then(|()| Ok(fs::write(&stamp, recipe)?));
        made.map(|()| new)
            .map_err(|error| format!("it could not be put together of Debian's packages: {error:#}"))
    }

    fn make(&self) -> Result<()> {
        let tools = ["apt-get", "apt-cache", "dpkg-deb", "cc", "ar"];
        if let Some(tool) = tools.into_iter().find(|tool| real::on_path(tool).is_none()) {
            bail!("{tool} is not here");
        }
        eprintln!(
            "      putting {} together in target/musl (about 150 MB of Debian's packages)",
            self.target
        );
        self.download()?;
        self.place_objects()?;
        self.write_tools()?;
        let version = link::said(&self.rustc(), &["-V"])?;
        ensure!(is_new_enough(&version), "Debian's is {version}; {FIRST_RUST} is the first that will do");
        self.build_library()
    }

    /// What cargo's environment has to say, so that it compiles with this one.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let cc = format!("CC_{}", self.target.replace('-', "_"));
        vec![("RUSTC".to_owned(), self.rustc()), (cc, self.home.join("cc").display().to_string())]
    }

    /// The C library that is linked.
    pub(crate) fn libc(&self) -> PathBuf {
        self.libraries().join("self-contained/libc.a")
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    fn rustc(&self) -> String {
        self.home.join("rustc").display().to_string()
    }

    fn system(&self) -> PathBuf {
        self.home.join("system/usr")
    }

    fn libraries(&self) -> PathBuf {
        self.system().join("lib/rustlib").join(&self.target).join("lib")
    }

    /// `x86_64-linux-gnu`, as Debian names its folders.
    fn debian(&self, library: &str) -> String {
        format!("{}-linux-{library}", std::env::consts::ARCH)
    }

    /// Gets the packages and unpacks them.
    fn download(&self) -> Result<()> {
        if self.home.exists() {
            fs::remove_dir_all(&self.home)?;
        }
        let folder = self.home.join("packages");
        fs::create_dir_all(&folder)?;
        // A new machine has no list of packages, or an old one with versions that are no more; only an automated
        // one's is ours to renew.
        let renewed = || std::env::var_os("CI").is_some() && real::apt(&["update", "-qq"]);
        let there = fetched(&folder) || (renewed() && fetched(&folder));
        ensure!(there, "{} cannot be had", PACKAGES.join(", "));
        for package in fs::read_dir(&folder)? {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(package?.path()).arg(self.home.join("system"));
            ensure!(real::run(&mut unpack), "dpkg-deb could not unpack a package in {}", folder.display());
        }
        fs::remove_dir_all(&folder)?;
        Ok(())
    }

    /// Lays the objects that are linked into every program where rustc looks for its own.
    fn place_objects(&self) -> Result<()> {
        let folder = self.libraries().join("self-contained");
        fs::create_dir_all(&folder)?;
        let musl = self.system().join("lib").join(self.debian("musl"));
        for name in OF_MUSL {
            copy(&musl.join(name), &folder.join(name))?;
        }
        for name in OF_THE_COMPILER {
            copy(&of_cc(name)?, &folder.join(name))?;
        }
        let (source, object) = (self.home.join("unwind.c"), self.home.join("unwind.o"));
        fs::write(&source, UNWINDER)?;
        let mut cc = Command::new("cc");
        ensure!(
            real::run(cc.args(["-Os", "-fPIC", "-c", "-o"]).arg(&object).arg(&source)),
            "cc could not compile unwind.c"
        );
        let mut ar = Command::new("ar");
        ensure!(
            real::run(ar.arg("rcs").arg(folder.join("libunwind.a")).arg(&object)),
            "ar could not pack unwind.o"
        );
        Ok(())
    }

    /// The compilers, each as a script: Rust's with its libraries, C's with musl's headers.
    fn write_tools(&self) -> Result<()> {
        let (system, debian) = (self.system(), self.debian("gnu"));
        let rustc =
            format!("LD_LIBRARY_PATH='{0}/lib/{debian}' exec '{0}/bin/rustc' \"$@\"", system.display());
        let cc = format!(
            "exec cc -nostdinc -isystem '{}' -isystem '{}' \"$@\"",
            system.join("include").join(self.debian("musl")).display(),
            of_cc("include")?.display()
        );
        for (name, line) in [("rustc", rustc), ("cc", cc)] {
            let path = self.home.join(name);
            fs::write(&path, format!("#!/bin/sh\n{line}\n"))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// Builds the standard library as it is built for rustup: for speed, with its bitcode, to abort or to unwind.
    fn build_library(&self) -> Result<()> {
        let (folder, built) = (self.home.join("empty"), self.home.join("built"));
        fs::create_dir_all(folder.join("src"))?;
        fs::write(folder.join("Cargo.toml"), EMPTY)?;
        fs::write(folder.join("src/lib.rs"), "#![no_std]\n")?;
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&folder).args([
            "build",
            "--release",
            "--quiet",
            "--target",
            &self.target,
            "--target-dir",
        ]);
        cargo
            .arg(&built)
            .args(["-Z", "build-std=std,panic_abort,panic_unwind,proc_macro"])
            .envs(self.environment());
        // Building the standard library asks for what else only a nightly Rust may use.
        cargo
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", "-C embed-bitcode=yes -Z force-unstable-if-unmarked");
        ensure!(cargo.status()?.success(), "the standard library could not be built for {}", self.target);
        for file in fs::read_dir(built.join(&self.target).join("release/deps"))? {
            let path = file?.path();
            if let (Some("rlib"), Some(name)) = (path.extension().and_then(|e| e.to_str()), path.file_name())
                && !name.to_string_lossy().starts_with("libempty")
            {
                copy(&path, &self.libraries().join(name))?;
            }
        }
        fs::remove_dir_all(&built)?;
        Ok(())
    }
}

/// `rustc 1.96.0 (ac68faa20 2026-05-25)`
fn is_new_enough(said: &str) -> bool {
    let numbers =
        |text: &str| text.split(['.', '-']).map_while(|n| n.parse::<u32>().ok()).collect::<Vec<_>>();
    said.split_whitespace().nth(1).is_some_and(|version| numbers(version) >= numbers(FIRST_RUST))
}

/// Whether the packages are in the folder now.
fn fetched(folder: &Path) -> bool {
    let mut names: BTreeSet<String> = PACKAGES.iter().map(|&name| name.to_owned()).collect();
    let mut known = BTreeSet::new();
    while let Some(name) = names.pop_first() {
        let Ok(said) = link::said("apt-cache", &["depends", "--important", &name]) else {
            return false;
        };
        let needs = said.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let needs = needs.filter(|name| NEEDED.iter().any(|needed| name.starts_with(needed)));
        names.extend(needs.filter(|&name| !known.contains(name)).map(str::to_owned));
        known.insert(name);
    }
    // Nobody but us can write into the folder, not even the user that apt-get would be.
    let mut get = Command::new("apt-get");
    get.current_dir(folder).args([
        "download",
        "-qq",
        "-o",
        "APT::Sandbox::User=root",
        "-o",
        "Acquire::Retries=3",
    ]);
    real::within(DOWNLOAD, get.args(known))
}

/// Where the C compiler has a file of its own.
fn of_cc(name: &str) -> Result<PathBuf> {
    link::said("cc", &[&format!("-print-file-name={name}")]).map(PathBuf::from)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(|_| ()).with_context(|| from.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_compiler_is_told_from_a_new_one() {
        assert!(is_new_enough(&format!("rustc {FIRST_RUST} (ac68faa20 2026-05-25)")));
        assert!(is_new_enough("rustc 2.0.0-nightly"));
        for old in ["rustc 1.85.0 (4d91de4e4 2025-02-17)", "rustc 1.9.9", "rustc", ""] {
            assert!(!is_new_enough(old), "{old}");
        }
    }
}
