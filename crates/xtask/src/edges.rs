//! Which crate may depend on which, and which must not see the outside world. The table of
//! ARCHITECTURE.md, checked against what cargo says.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A crate, and the crates of this workspace that it may use outside its tests.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("propagation", &["model"]),
    ("trigger", &["model", "propagation"]),
    ("protobuf", &["model"]),
    ("wire", &["model", "protobuf"]),
    ("payload", &["model", "protobuf"]),
    ("secrets", &["model"]),
    ("streams", &["model"]),
    ("engine", &["model", "propagation", "trigger"]),
    ("extension", &["model", "propagation", "trigger", "engine", "wire", "payload", "secrets"]),
    ("datadog-lambda-rs", &["model", "propagation", "trigger", "wire", "secrets", "streams"]),
    ("datadog-aws-sdk", &["model", "propagation", "trigger", "wire", "streams"]),
    ("aws-sdk-checks", &[]),
    ("interop", &["datadog-lambda-rs"]),
    ("platform", &["model"]),
    ("sandbox", &["model", "platform", "wire"]),
    ("intake", &["model", "payload", "protobuf"]),
    ("mappings", &["sandbox"]),
    ("cli", &["model", "sandbox", "intake", "mappings", "testkit"]),
    ("sim", &["model", "propagation", "trigger", "engine", "platform"]),
    ("testkit", &["model"]),
    ("xtask", &[]),
    ("orders-api", &["datadog-lambda-rs", "datadog-aws-sdk"]),
    ("orders-worker", &["datadog-lambda-rs"]),
    ("features", &["datadog-lambda-rs"]),
    ("direct-metrics", &["datadog-lambda-rs"]),
    ("sqs-lambda", &["datadog-lambda-rs"]),
    ("sns-lambda", &["datadog-lambda-rs"]),
    ("eventbridge-lambda", &["datadog-lambda-rs"]),
    ("rust-sqs-producer", &["datadog-lambda-rs", "datadog-aws-sdk"]),
    ("rust-sns-producer", &["datadog-lambda-rs", "datadog-aws-sdk"]),
    ("rust-eventbridge-producer", &["datadog-lambda-rs", "datadog-aws-sdk"]),
];

/// Crates whose whole dependency tree is free of [`OUTSIDE`]: they decide, others act.
const PURE: &[&str] =
    &["model", "propagation", "trigger", "protobuf", "wire", "payload", "secrets", "engine", "platform"];

/// Crates that do IO, keep time, start threads or log.
const OUTSIDE: &[&str] =
    &["tokio", "hyper", "mio", "socket2", "rustix", "nix", "log", "tracing", "chrono", "time", "rand"];

/// Crates that cost the extension more start-up time or memory than they are worth (docs/decisions).
const HEAVY: &[&str] =
    &["reqwest", "axum", "figment", "tracing-subscriber", "rustls-native-certs", "prost", "clap", "anyhow"];

pub(crate) fn check(root: &Path) -> Result<()> {
    let metadata = metadata(root)?;
    let mut wrong = Vec::new();
    let packages =
        metadata.get("packages").and_then(Value::as_array).context("cargo metadata has no packages")?;
    let names: BTreeSet<&str> = packages.iter().filter_map(|p| p.get("name")?.as_str()).collect();
    for package in packages {
        let name = package.get("name").and_then(Value::as_str).context("a package has no name")?;
        let Some((_, allowed)) = EDGES.iter().find(|(crate_name, _)| *crate_name == name) else {
            wrong.push(format!("{name} is not in the table of crate edges"));
            continue;
        };
        let dependencies =
            package.get("dependencies").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for dependency in dependencies.iter().filter(|d| d.get("kind").is_some_and(Value::is_null)) {
            let on = dependency.get("name").and_then(Value::as_str).unwrap_or_default();
            if names.contains(on) && !allowed.contains(&on) {
                wrong.push(format!("{name} may not depend on {on}"));
            }
        }
    }
    for name in EDGES.iter().map(|(name, _)| name).filter(|name| !names.contains(*name)) {
        wrong.push(format!("{name} is in the table of crate edges but not in the workspace"));
    }
    for name in PURE {
        wrong.extend(reached(root, name, OUTSIDE)?.map(|on| format!("{name} is pure but reaches {on}")));
    }
    wrong.extend(reached(root, "extension", HEAVY)?.map(|on| format!("the extension must not carry {on}")));
    if !wrong.is_empty() {
        bail!("crate edges (crates/xtask/src/edges.rs):\n  {}", wrong.join("\n  "));
    }
    eprintln!("      {} crates keep to the table of edges", names.len());
    Ok(())
}

fn metadata(root: &Path) -> Result<Value> {
    let output = cargo(root, &["metadata", "--no-deps", "--format-version", "1"])?;
    serde_json::from_str(&output).context("cargo metadata is not JSON")
}

/// Those of `unwanted` in the tree of what `name` needs outside its tests and build scripts.
fn reached(root: &Path, name: &str, unwanted: &[&'static str]) -> Result<impl Iterator<Item = &'static str>> {
    let tree =
        cargo(root, &["tree", "--package", name, "--edges", "normal,no-proc-macro", "--prefix", "none"])?;
    let found: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    Ok(unwanted.iter().copied().filter(|on| found.contains(on)).collect::<Vec<_>>().into_iter())
}

fn cargo(root: &Path, args: &[&str]) -> Result<String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).current_dir(root).args(args).output()?;
    if !output.status.success() {
        bail!("`cargo {}` failed:\n{}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
