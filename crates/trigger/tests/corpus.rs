//! What fuzzing found, replayed: `fuzz/corpus`.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

mod checks;

use std::path::Path;

#[test]
fn the_corpus_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/event");
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        checks::event(&std::fs::read(file).unwrap());
    }
    for (_, text) in testkit::events() {
        checks::event(text.as_bytes());
    }
}
