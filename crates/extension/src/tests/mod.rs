//! What fuzzing found, replayed: `fuzz/corpus`. `UPDATE_SEEDS=1 cargo test -p extension --lib corpus` writes the seeds
//! anew.

mod checks;
#[cfg(feature = "grpc")]
mod frames;
mod set;

use std::path::{Path, PathBuf};

#[cfg(feature = "grpc")]
use crate::sources::otlp::frame;
use crate::sources::runtime_proxy::mend;
use crate::{Config, settings, yaml};

type Check = fn(&[u8]);

const TARGETS: &[(&str, Check)] = &[
    ("yaml", checks::yaml),
    ("mend", checks::mended),
    ("settings", set::settings),
    #[cfg(feature = "grpc")]
    ("grpc", frames::frames),
];

const SEEDS: [(&str, &[u8]); 10] = [
    ("settings/file", b"\xffsite: datadoghq.eu\ntags: [\"a:b\", c]\nlogs_config:\n  processing_rules:\n    - {type: mask_sequences, name: n, pattern: 'x\\d', replace_placeholder: y}\napm_config:\n  obfuscation:\n    http: {remove_query_string: yes}\n  filter_tags: {require: [\"a:b\"]}\nproxy: {http: \"http://u:p@h:1\", no_proxy: [a, b]}\nnobody_knows: 1\nflush_timeout: soon\n"),
    ("settings/empty_file", b"\xff"),
    ("settings/first", b"\0datadoghq.eu"),
    ("settings/second", b"\x01[{\"name\":\"a\",\"type\":\"mask_sequences\",\"pattern\":\"(\"}]"),
    ("grpc/plain", b"\x00\0\0\0\0\x06\x0a\x04\x12\x02\x12\x00"),
    ("grpc/gzip", b"\x01\x01\0\0\0\x16\x1f\x8b\x08\0\0\0\0\0\x02\x03\xcb\xc8\x04\0\xac\x2a\x93\xd8\x02\0\0\0"),
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
