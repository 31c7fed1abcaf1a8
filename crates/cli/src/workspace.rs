//! Finds this repository and builds what the demo runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use serde::Deserialize;
use tokio::process::Command;

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
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

/// Builds these packages and gives the path of every program in them by its name. Cargo writes its progress and
/// the compiler's words to standard error.
pub(crate) async fn build(root: &Path, packages: &[&str]) -> anyhow::Result<HashMap<String, PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.arg("build").arg("--message-format=json-render-diagnostics");
    for package in packages {
        command.args(["--package", package]);
    }
    let command = command.current_dir(root).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let output = command.output().await.with_context(|| {
        format!("cannot run {}: is Rust installed? See https://rustup.rs", cargo.to_string_lossy())
    })?;
    if !output.status.success() {
        bail!("`cargo build` of {} failed ({}); its messages are above", packages.join(", "), output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    Ok(messages.filter_map(|message| Some((message.target?.name, message.executable?))).collect())
}

/// The program of this name among what was built.
pub(crate) fn program(built: &HashMap<String, PathBuf>, name: &str) -> anyhow::Result<PathBuf> {
    built.get(name).cloned().with_context(|| format!("cargo built no program called {name}"))
}
