//! What fuzzing found, replayed: `fuzz/corpus`.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

mod checks;

use std::path::Path;

use propagation::Style;

#[test]
fn the_corpus_holds() {
    for style in Style::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(style.name());
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            checks::header(style, &std::fs::read(file).unwrap());
        }
    }
}
