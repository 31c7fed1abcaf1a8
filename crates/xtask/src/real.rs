//! The real parts that some tests need besides ours: a Python and a Node with AWS's and Datadog's own libraries, AWS's
//! Lambda Web Adapter, a Java, and a browser. Looks for them, installs them where that is possible, and says plainly when they are not to be
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

/// AWS's adapter for web applications, a crate with a binary.
const ADAPTER: (&str, &str) = ("lambda_web_adapter", "1.0.0-rc1");

/// Names under which Chromium is installed, by distribution.
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Longest time for each step of installing a system package.
const INSTALL: Duration = Duration::from_secs(300);
/// Longest time for npm, which compiles some of it.
const INSTALL_PACKAGES: Duration = Duration::from_secs(900);
/// Longest time for cargo to build the adapter.
const INSTALL_ADAPTER: Duration = Duration::from_secs(900);
/// The first Java that runs what the tests have: records, and a file of source text.
const FIRST_JAVA: u32 = 17;
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

/// The Lambda Web Adapter, built once and built anew for another version.
pub(crate) fn adapter(root: &Path) -> Result<Result<Found, Missing>> {
    Ok(find_adapter(root))
}

fn find_adapter(root: &Path) -> Result<Found, Missing> {
    if !works("python3", &["--version"]) {
        return Err(
            "python3, in which the web application behind the adapter is, is not installed".to_owned()
        );
    }
    let home = root.join("target/real/adapter");
    let (program, stamp) = (home.join("bin/lambda-adapter"), home.join("installed.txt"));
    let (name, version) = ADAPTER;
    if program.exists() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == version) {
        return Ok(("REAL_ADAPTER", program));
    }
    eprintln!("      building {name} {version} into target/real/adapter");
    let build = home.join("build");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["install", name, "--version", &format!("={version}"), "--locked", "--force", "--quiet"]);
    // Nothing is measured with it: what builds fastest will do.
    cargo.args(["--debug", "--root"]).arg(&home).arg("--target-dir").arg(&build);
    cargo.envs([("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")]);
    if !within(INSTALL_ADAPTER, &mut cargo) {
        return Err(format!("cargo could not install {name} {version}: see above"));
    }
    let _ = fs::remove_dir_all(&build);
    fs::write(&stamp, version).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(("REAL_ADAPTER", program))
}

/// A Java that runs source text; it is not ours to install.
pub(crate) fn java(_: &Path) -> Result<Result<Found, Missing>> {
    Ok(find_java())
}

fn find_java() -> Result<Found, Missing> {
    let missing = || {
        format!("no Java {FIRST_JAVA} or later with its compiler is here (Debian: openjdk-17-jdk-headless)")
    };
    let program = on_path("java").ok_or_else(missing)?;
    // `openjdk 17.0.15 2025-04-15`
    let version = said("java", &["--version"]).ok_or_else(missing)?;
    let major = version.split_whitespace().nth(1).and_then(|full| full.split(['.', '-', '+']).next());
    let modules = said("java", &["--list-modules"]).ok_or_else(missing)?;
    let has = |name: &str| modules.lines().any(|line| line.split('@').next() == Some(name));
    let is_new = major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= FIRST_JAVA);
    match is_new && has("jdk.compiler") && has("java.net.http") {
        true => Ok(("REAL_JAVA", program)),
        false => Err(missing()),
    }
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
pub(crate) fn apt(args: &[&str]) -> bool {
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

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

pub(crate) fn works(program: &str, args: &[&str]) -> bool {
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
pub(crate) fn run(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The same for one that may hang: it is killed when its time is over.
pub(crate) fn within(limit: Duration, command: &mut Command) -> bool {
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
