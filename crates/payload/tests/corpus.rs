//! What fuzzing found, replayed: `fuzz/corpus`. `UPDATE_SEEDS=1 cargo test -p payload --test corpus` writes the seeds
//! anew: a body in each encoding.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of a test")]

mod checks;

use std::path::{Path, PathBuf};

use payload::{Encoding, compress};

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 1] = [("unpack", checks::unpack)];

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

#[test]
fn the_corpus_holds() {
    if std::env::var_os("UPDATE_SEEDS").is_some() {
        seeds();
    }
    for (target, check) in TARGETS {
        let folder = folder(target);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            check(&std::fs::read(file).unwrap());
        }
    }
}

fn seeds() {
    let body = "one body that is packed, and packed again, ".repeat(9);
    let packed = |encoding| compress(body.as_bytes(), encoding).body.into_owned();
    // Of the first byte the rest by three is the encoding, the third the size of the parts.
    let all = [
        ("gzip", [&[30][..], &packed(Encoding::Gzip)].concat()),
        ("zstd", [&[31][..], &packed(Encoding::Zstd)].concat()),
        ("two frames of zstd", [&[61][..], &packed(Encoding::Zstd), &packed(Encoding::Zstd)].concat()),
        ("deflate", [&[2][..], &miniz_oxide::deflate::compress_to_vec_zlib(body.as_bytes(), 6)].concat()),
        (
            "gzip with a name",
            b"\x0c\x1f\x8b\x08\x08\0\0\0\0\x02\x03n\0\xcb\xc8\x04\0\xac\x2a\x93\xd8\x02\0\0\0behind".to_vec(),
        ),
    ];
    std::fs::create_dir_all(folder("unpack")).unwrap();
    for (name, body) in all {
        std::fs::write(folder("unpack").join(name.replace(' ', "_")), body).unwrap();
    }
}
