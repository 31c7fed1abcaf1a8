//! House rules that a compiler does not know: how long a file may be, and that every source file says what
//! it is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Lines of a source file, its tests at the end not counted.
const MAX_LINES: usize = 500;

pub(crate) fn check(root: &Path) -> Result<()> {
    let mut files = Vec::new();
    for folder in ["crates", "examples"] {
        collect(&root.join(folder), &mut files)?;
    }
    let mut wrong = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path)?;
        let name = path.strip_prefix(root).unwrap_or(path).display();
        let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        if lines > MAX_LINES && !is_test(path) {
            wrong.push(format!(
                "{name}: {lines} lines before its tests, {MAX_LINES} at most: it is two ideas"
            ));
        }
        if !text.trim_start().starts_with("//!") {
            wrong.push(format!("{name}: does not begin with //! that says what it is"));
        }
    }
    if !wrong.is_empty() {
        bail!("house rules (crates/xtask/src/tidy.rs):\n  {}", wrong.join("\n  "));
    }
    eprintln!("      {} source files keep to the house rules", files.len());
    Ok(())
}

/// Tests are tables, and may be long.
fn is_test(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

/// All Rust sources below `folder`, tests, examples and benches included.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
