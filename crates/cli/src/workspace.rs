//! Finds this repository and builds what the demo runs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::terminal::Paint;

/// Bytes of compiler errors kept for the page.
const MAX_ERRORS: usize = 64 << 10;

/// The repository: where dd-lambda is run by cargo, the folder above the current one that has it, or where it
/// was built.
pub(crate) fn find() -> anyhow::Result<PathBuf> {
    let by_cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = std::env::current_dir().ok();
    let built = Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    let starts = [by_cargo, here, built].into_iter().flatten();
    let found = starts
        .flat_map(|start| start.ancestors().map(Path::to_path_buf).collect::<Vec<_>>())
        .find(|dir| is_root(dir));
    found.context("this is not the datadog-lambda-rs repository: clone it, and run `cargo demo` in it")
}

fn is_root(dir: &Path) -> bool {
    ["Cargo.toml", "crates/extension/Cargo.toml", "examples/orders-api/Cargo.toml"]
        .iter()
        .all(|file| dir.join(file).is_file())
}

/// One line of `cargo build --message-format=json`, as far as it matters here.
/// <https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>
#[derive(Debug, Deserialize)]
struct Message {
    package_id: Option<String>,
    manifest_path: Option<PathBuf>,
    executable: Option<PathBuf>,
    target: Option<Target>,
    message: Option<Diagnostic>,
}

impl Message {
    /// `path+file:///folder/name#0.1.0`, or `…#name@0.1.0` where the folder has another name.
    /// <https://doc.rust-lang.org/cargo/reference/pkgid-spec.html>
    fn package_name(&self) -> Option<&str> {
        let (url, fragment) = self.package_id.as_deref()?.rsplit_once('#')?;
        match fragment.split_once('@') {
            Some((name, _)) => Some(name),
            None => url.rsplit('/').next(),
        }
    }

    fn program(&self) -> Option<(String, Built)> {
        let (program, manifest) = (self.executable.clone()?, self.manifest_path.clone()?);
        Some((self.target.as_ref()?.name.clone(), Built { program, manifest }))
    }
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

/// Builds these packages and gives the path of every program in them by its name. Cargo writes its progress and
/// the compiler's words to standard error.
pub(crate) async fn build(root: &Path, packages: &[&str]) -> anyhow::Result<HashMap<String, PathBuf>> {
    let messages = cargo_build(root, packages).await?;
    let programs = messages.iter().filter_map(Message::program);
    Ok(programs.map(|(name, built)| (name, built.program)).collect())
}

async fn cargo_build(root: &Path, packages: &[&str]) -> anyhow::Result<Vec<Message>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    let format = if Paint::stderr().is_on() { "json-diagnostic-rendered-ansi" } else { "json" };
    command.arg("build").arg(format!("--message-format={format}"));
    for package in packages {
        command.args(["--package", package]);
    }
    // Standard error is left alone: people see how the build goes.
    command.current_dir(root).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| {
        format!("cannot run {}: is Rust installed? See https://rustup.rs", cargo.to_string_lossy())
    })?;
    let (mut messages, mut errors) = (Vec::new(), String::new());
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await.context("cargo build")? {
            let Ok(message) = serde_json::from_str::<Message>(&line) else { continue };
            if let Some(diagnostic) = &message.message {
                eprint!("{}", diagnostic.rendered);
                diagnostic.add_to(&mut errors);
            }
            messages.push(message);
        }
    }
    let status = child.wait().await.context("cargo build")?;
    if !status.success() {
        let packages = packages.join(", ");
        return Err(NotBuilt { packages, status: status.to_string(), messages: errors }.into());
    }
    Ok(messages)
}

/// What the compiler said. Its words have been told already.
#[derive(Debug)]
pub(crate) struct NotBuilt {
    packages: String,
    status: String,
    /// Its errors, without colours; empty when cargo itself did not get on.
    pub(crate) messages: String,
}

impl fmt::Display for NotBuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`cargo build` of {} failed ({}); its messages are above", self.packages, self.status)
    }
}

impl std::error::Error for NotBuilt {}

/// What the compiler says of one place.
#[derive(Debug, Deserialize)]
struct Diagnostic {
    level: String,
    rendered: String,
}

impl Diagnostic {
    /// Adds an error to those before it, while there are not too many.
    fn add_to(&self, errors: &mut String) {
        if self.level.starts_with("error") && errors.len() < MAX_ERRORS {
            errors.push_str(&plain(&self.rendered));
        }
    }
}

/// Text without the codes for colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}

/// A program that cargo built for the package that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) program: PathBuf,
    pub(crate) manifest: PathBuf,
}

/// Builds these packages of the workspace around `folder`: the program of each, which has the package's name or is
/// its only one.
pub(crate) async fn build_programs(
    folder: &Path,
    packages: &[&str],
) -> anyhow::Result<BTreeMap<String, Built>> {
    let messages = cargo_build(folder, packages).await?;
    let mut built = BTreeMap::new();
    for package in packages {
        let of_package = messages.iter().filter(|message| message.package_name() == Some(package));
        let programs: Vec<_> = of_package.filter_map(Message::program).collect();
        let named = programs.iter().find(|(name, _)| name == package);
        let only = programs.first().filter(|_| programs.len() == 1);
        if let Some((_, program)) = named.or(only) {
            built.insert((*package).to_owned(), program.clone());
        }
    }
    Ok(built)
}

/// The files of which a program is made, by the list that cargo keeps beside it, and its package's manifest.
pub(crate) fn sources(command: &[String], manifest: &Path) -> Vec<PathBuf> {
    let program = command.first().map(PathBuf::from).unwrap_or_default();
    let list = std::fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let mut sources = listed(&list);
    sources.push(manifest.to_path_buf());
    sources
}

/// `program: one two\ words three`, as make has it.
/// <https://doc.rust-lang.org/cargo/reference/build-cache.html#dep-info-files>
fn listed(list: &str) -> Vec<PathBuf> {
    let Some((_, files)) = list.lines().next().and_then(|line| line.split_once(": ")) else {
        return Vec::new();
    };
    // A space in a name is escaped.
    let mut names: Vec<String> = Vec::new();
    let mut open = false;
    for part in files.split(' ') {
        match names.last_mut().filter(|_| open) {
            Some(name) => name.push_str(&format!(" {part}")),
            None => names.push(part.to_owned()),
        }
        open = part.ends_with('\\');
        if let Some(name) = names.last_mut().filter(|_| open) {
            name.pop();
        }
    }
    names.into_iter().filter(|name| !name.is_empty()).map(PathBuf::from).collect()
}

/// The program of this name among what was built.
pub(crate) fn program(built: &HashMap<String, PathBuf>, name: &str) -> anyhow::Result<PathBuf> {
    built.get(name).cloned().with_context(|| format!("cargo built no program called {name}"))
}

#[cfg(test)]
mod tests {
    use super::{Message, listed};

    #[test]
    fn errors_are_kept_without_colours() {
        let mut errors = String::new();
        for (level, rendered) in
            [("error", "\u{1b}[1m\u{1b}[91merror\u{1b}[0m: no\n"), ("warning", "unused\n")]
        {
            let diagnostic = super::Diagnostic { level: level.to_owned(), rendered: rendered.to_owned() };
            diagnostic.add_to(&mut errors);
        }
        assert_eq!(errors, "error: no\n");
        assert_eq!(super::plain("plain\n"), "plain\n");
    }

    #[test]
    fn cargo_lists_the_sources_of_a_program() {
        let check = |list: &str, want: &[&str]| {
            let found: Vec<_> = listed(list).iter().map(|path| path.display().to_string()).collect();
            assert_eq!(found, want, "{list}");
        };
        check("/t/debug/f: /s/main.rs /s/other.rs\n\n/s/main.rs:\n", &["/s/main.rs", "/s/other.rs"]);
        check("/t/f: /my\\ code/main.rs /a\\ b\\ c.rs /d", &["/my code/main.rs", "/a b c.rs", "/d"]);
        check("", &[]);
        check("/t/f:", &[]);
    }

    #[test]
    fn a_package_is_named_by_its_id() {
        let check = |id: &str, want: Option<&str>| {
            let message: Message = serde_json::from_value(serde_json::json!({ "package_id": id })).unwrap();
            assert_eq!(message.package_name(), want, "{id}");
        };
        check("path+file:///work/examples/orders-api#0.1.0", Some("orders-api"));
        check("path+file:///work/x#orders-api@0.1.0", Some("orders-api"));
        check("nothing", None);
    }
}
