//! What fuzzing found, replayed: `fuzz/corpus`. `UPDATE_SEEDS=1 cargo test -p extension --lib corpus` writes the seeds
//! anew.

mod checks;

use std::path::{Path, PathBuf};

use crate::sources::runtime_proxy::mend;
use crate::yaml;

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 2] = [("yaml", checks::yaml), ("mend", checks::mended)];

const SEEDS: [(&str, &[u8]); 4] = [
    ("yaml/seed", b"# x\n---\nsite: datadoghq.eu\ntags: [\"a:b\", 'c''d', e]\napm_config:\n  replace_tags:\n    - name: \"*\"\n      pattern: 'x\\d'\n    -   a: 1\n"),
    ("yaml/blocks", b"a: |+\n  one\n   two\n\nb: >-\n  folded\n  text\nc: {x: 1, \"y\\u00e9\": [1, [2]], z: }\nd:\n- ~\n- \n- \"a\\tb\" # c\n...\n"),
    ("mend/event", b"{\"Records\":[{\"body\":\"{\\\"a\\\\\\\"\\\":[1]}\",\"n\":[1.5,null,true]},{\"\xc3\xa9\":{}}],\"z\":\"x\"}"),
    ("mend/list", b" [1, {\"a\": [\"]}\"]}, \"\\u00e9\"] "),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

#[test]
fn the_corpus_holds() {
    if std::env::var_os("UPDATE_SEEDS").is_some() {
        for (name, seed) in SEEDS {
            std::fs::create_dir_all(folder().join(name).parent().unwrap()).unwrap();
            std::fs::write(folder().join(name), seed).unwrap();
        }
    }
    for (target, check) in TARGETS {
        let folder = folder().join(target);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            check(&std::fs::read(file).unwrap());
        }
    }
}
