//! The real parts that some tests need besides Rust: a Python and a Node with AWS's and Datadog's own libraries, and
//! a browser. Looks for them, installs them where that is possible, and says plainly when they are not to be
//! had. Everything lands below `target/real`, but for the browser, which is a system package.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;

/// What a test needs, told in words when it is not to be had here.
pub(crate) type Missing = String;

/// The variable in which a step's tests find what they need, and its value.
pub(crate) type Found = (&'static str, PathBuf);

/// Finds what a step's tests need, or makes it. An error is a failure and not a lack.
pub(crate) type Find = fn(&Path) -> Result<Result<Found, Missing>>;

/// What the Python has to have, with exact versions.
const REQUIREMENTS: &str = "crates/xtask/real/requirements.txt";

/// What Node has to have, with exact versions.
const PACKAGES: [&str; 2] = ["package.json", "package-lock.json"];
const PACKAGES_FOLDER: &str = "crates/xtask/real";

/// Names under which Chromium is installed, by distribution.
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Longest time for each step of installing a system package.
const INSTALL: Duration = Duration::from_secs(300);
/// Longest time for npm, which compiles some of it.
const INSTALL_PACKAGES: Duration = Duration::from_secs(900);
/// Longest time for a browser to show an empty page. The first start on a new machine is slow.
const FIRST_PAGE: Duration = Duration::from_secs(60);

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

/// The folder with Node's packages of [`PACKAGES`], made once and made anew when they, or Node, change.
pub(crate) fn node(root: &Path) -> Result<Result<Found, Missing>> {
    Ok(find_node(root))
}

fn find_node(root: &Path) -> Result<Found, Missing> {
    let home = root.join("target/real/node");
    let version = said("node", &["--version"]).ok_or("node is not installed")?;
    if !works("npm", &["--version"]) {
        return Err("npm is not installed".to_owned());
    }
    // The runtime client is compiled for this Node.
    let mut wanted = version;
    for name in PACKAGES {
        let path = root.join(PACKAGES_FOLDER).join(name);
        wanted += &fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let stamp = home.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(("REAL_NODE", home));
    }
    // CMake comes with the Python packages. An environment that cannot be made may still have it.
    let python = find_python(root).ok().and_then(|(_, python)| python.parent().map(Path::to_path_buf));
    build_tools(python.as_deref())?;
    eprintln!("      installing {PACKAGES_FOLDER}/package.json into target/real/node");
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    for name in PACKAGES {
        fs::copy(root.join(PACKAGES_FOLDER).join(name), home.join(name))
            .map_err(|error| format!("{name}: {error}"))?;
    }
    let mut npm = Command::new("npm");
    npm.current_dir(&home).args(["ci", "--omit=optional", "--ignore-scripts=false", "--loglevel=error"]);
    npm.args(["--no-audit", "--no-fund", "--no-update-notifier"]).env("PATH", with_first(python.as_deref()));
    // Headers that are there need not be fetched.
    if let Some(folder) = node_headers() {
        npm.env("npm_config_nodedir", folder);
    }
    if !within(INSTALL_PACKAGES, &mut npm) {
        return Err("npm could not install crates/xtask/real/package.json: see above".to_owned());
    }
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(("REAL_NODE", home))
}

/// What AWS's runtime client for Node is compiled with.
fn build_tools(python: Option<&Path>) -> Result<(), Missing> {
    let cmake = || python.is_some_and(|bin| bin.join("cmake").exists()) || on_path("cmake").is_some();
    let compiler = || ["g++", "make"].iter().all(|name| on_path(name).is_some());
    if cmake() && compiler() {
        return Ok(());
    }
    let needs = "AWS's runtime client for Node is compiled, which needs g++, make and cmake";
    // Only an automated machine is ours to install system packages on.
    if std::env::var_os("CI").is_none() {
        return Err(format!("{needs} (Debian: apt-get install g++ make cmake)"));
    }
    eprintln!("      installing g++, make and cmake");
    let install = ["install", "-y", "-qq", "--no-install-recommends", "g++", "make", "cmake"];
    match apt(&["update", "-qq"]) && apt(&install) && compiler() && cmake() {
        true => Ok(()),
        false => Err(format!("{needs}, and apt-get cannot install them")),
    }
}

/// `PATH`, with a folder before all others.
fn with_first(folder: Option<&Path>) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = folder.map(Path::to_path_buf).into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(all).unwrap_or(path)
}

/// The folder in which Node's own headers are: where it was installed, or where the system's are.
fn node_headers() -> Option<PathBuf> {
    let node = on_path("node").and_then(|node| fs::canonicalize(node).ok());
    let beside = node.as_deref().and_then(|node| node.ancestors().nth(2)).map(Path::to_path_buf);
    let mut folders = beside.into_iter().chain([PathBuf::from("/usr")]);
    folders.find(|folder| folder.join("include/node/node.h").exists())
}

/// Chromium: one that is there, or Debian's package where we may install it.
pub(crate) fn browser(_: &Path) -> Result<Result<Found, Missing>> {
    Ok(find_browser())
}

fn find_browser() -> Result<Found, Missing> {
    // What cannot show an empty page (a snap's stub, a machine that forbids what a browser needs) is not there.
    if let Some(path) = browsers().find(|path| shows_a_page(path)) {
        return Ok(("CHROMIUM", path));
    }
    if let Some(path) = browsers().next() {
        return Err(format!("{} does not show a page here", path.display()));
    }
    // Only an automated machine is ours to install system packages on.
    if std::env::var_os("CI").is_none() {
        return Err("Chromium is not installed (Debian: apt-get install chromium)".to_owned());
    }
    eprintln!("      installing Chromium");
    let install = ["install", "-y", "-qq", "--no-install-recommends", "chromium"];
    if !apt(&["update", "-qq"]) || !apt(&[&install[..], &["--download-only"]].concat()) || !apt(&install) {
        return Err("Chromium is not installed and apt-get cannot install it".to_owned());
    }
    let found = browsers().find(|path| shows_a_page(path)).map(|path| ("CHROMIUM", path));
    found.ok_or_else(|| "the Chromium that apt-get installed does not show a page here".to_owned())
}

/// The browsers that are here, the one that was named first.
fn browsers() -> impl Iterator<Item = PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from).filter(|path| path.is_file());
    named.into_iter().chain(BROWSERS.iter().filter_map(|name| on_path(name)))
}

fn shows_a_page(program: &Path) -> bool {
    let folder = std::env::temp_dir().join(format!("xtask-browser-{}", std::process::id()));
    let shown = within(
        FIRST_PAGE,
        Command::new(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--dump-dom", "about:blank"])
            .arg(format!("--user-data-dir={}", folder.display()))
            .stderr(Stdio::null()),
    );
    let _ = fs::remove_dir_all(&folder);
    shown
}

/// Runs `apt-get`; for somebody who is not root by `sudo`, if that asks nothing.
fn apt(args: &[&str]) -> bool {
    let patient = ["-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3"];
    let mut command = Command::new("sudo");
    let command = match is_root() {
        true => &mut Command::new("apt-get"),
        false => command.args(["-n", "--preserve-env=DEBIAN_FRONTEND", "apt-get"]),
    };
    within(INSTALL, command.args(patient).args(args).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
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

/// What a command prints, when it succeeds.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// Runs a command whose standard output nobody needs; `true` when it succeeded.
fn run(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The same for one that may hang: it is killed when its time is over.
fn within(limit: Duration, command: &mut Command) -> bool {
    let Ok(mut process) = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn() else { return false };
    let end = Instant::now() + limit;
    loop {
        match process.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            _ => {
                let _ = process.kill();
                let _ = process.wait();
                return false;
            }
        }
    }
}
