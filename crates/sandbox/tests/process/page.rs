//! `docs/compatibility-lambda.md` names tests: each of them exists.

use std::collections::BTreeSet;
use std::path::Path;

/// All Rust below a folder.
fn sources(folder: &Path, out: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_check_list_names_exists() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(crates.join("../docs/compatibility-lambda.md")).unwrap();
    let mut text = String::new();
    for folder in ["platform/src", "sandbox/src", "sandbox/tests", "wire/src", "cli/tests"] {
        sources(&crates.join(folder), &mut text);
    }
    let mut named = BTreeSet::new();
    // The last column of each table, but for the one of differences.
    for line in page.split("## Where it differs").next().unwrap().lines().filter(|l| l.starts_with("| ")) {
        let last = line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(last == "Test" || last.starts_with('`'), "no test is named: {line}");
        named.extend(last.split('`').skip(1).step_by(2).map(ToOwned::to_owned));
    }
    assert!(named.len() > 70, "{}", named.len());
    for name in named {
        assert!(text.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}
