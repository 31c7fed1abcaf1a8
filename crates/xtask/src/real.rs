//! The real parts that some tests need besides Rust: a Python with AWS's and Datadog's own libraries, and a
//! browser. Looks for them, installs them where that is possible, and says plainly when they are not to be
//! had. Everything lands below `target/real`, but for the browser, which is a system package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

/// What a test needs, told in words when it is not to be had here.
pub(crate) type Missing = String;

/// The variable in which a step's tests find what they need, and its value.
pub(crate) type Found = (&'static str, PathBuf);

/// Finds what a step's tests need, or makes it. An error is a failure and not a lack.
pub(crate) type Find = fn(&Path) -> Result<Result<Found, Missing>>;

/// What the Python has to have, with exact versions.
const REQUIREMENTS: &str = "crates/xtask/real/requirements.txt";

/// Names under which Chromium is installed, by distribution.
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A Python with everything in [`REQUIREMENTS`], made once and made anew when that file changes.
pub(crate) fn python(root: &Path) -> Result<Result<Found, Missing>> {
    Ok(find_python(root))
}

fn find_python(root: &Path) -> Result<Found, Missing> {
    let wanted = fs::read_to_string(root.join(REQUIREMENTS)).map_err(|e| format!("{REQUIREMENTS}: {e}"))?;
    let home = root.join("target/real/python");
    let (python, stamp) = (home.join("bin/python"), home.join("installed.txt"));
    if python.exists() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(("REAL_PYTHON", python));
    }
    if !works("python3", &["--version"]) {
        return Err("python3 is not installed".to_owned());
    }
    eprintln!("      installing {REQUIREMENTS} into target/real/python");
    let made = fs::create_dir_all(&home).is_ok()
        && run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
    if !made {
        return Err("`python3 -m venv` failed; on Debian it needs the package python3-venv".to_owned());
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    if !run(pip.arg(root.join(REQUIREMENTS))) {
        return Err(format!("pip could not install {REQUIREMENTS}: see above"));
    }
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(("REAL_PYTHON", python))
}

/// Chromium: one that is there, or Debian's package where we may install it.
pub(crate) fn browser(_: &Path) -> Result<Result<Found, Missing>> {
    Ok(find_browser())
}

fn find_browser() -> Result<Found, Missing> {
    let find = || {
        let named = std::env::var_os("CHROMIUM").map(PathBuf::from).filter(|path| path.is_file());
        named.or_else(|| BROWSERS.iter().find_map(|name| on_path(name)))
    };
    if let Some(path) = find() {
        return Ok(("CHROMIUM", path));
    }
    // Only an automated machine is ours to install system packages on.
    if std::env::var_os("CI").is_none() {
        return Err("Chromium is not installed (Debian: apt-get install chromium)".to_owned());
    }
    eprintln!("      installing Chromium");
    let apt =
        |args: &[&str]| run(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"));
    if !apt(&["update", "-qq"]) || !apt(&["install", "-y", "-qq", "--no-install-recommends", "chromium"]) {
        return Err("Chromium is not installed and apt-get cannot install it".to_owned());
    }
    find().map(|path| ("CHROMIUM", path)).ok_or_else(|| "apt-get installed no Chromium".to_owned())
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn works(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Runs a command whose standard output nobody needs; `true` when it succeeded.
fn run(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}
