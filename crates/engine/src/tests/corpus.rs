//! What fuzzing found, replayed: `fuzz/corpus`. `UPDATE_SEEDS=1 cargo test -p engine corpus` writes the seeds anew.

#[path = "checks.rs"]
mod checks;

use std::path::{Path, PathBuf};

use crate::{log_rules, normalise, obfuscate, rules};

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 2] = [("spans", checks::spans), ("rules", checks::rules)];

const SEEDS: [(&str, &[u8]); 7] = [
    (
        "spans/sql",
        b"\x00SELECT a, `b` FROM t1 WHERE c = 'it''s' AND d IN (1, 2.5e3) -- x\n/* y */ LIMIT $1 $q$z$q$",
    ),
    (
        "spans/redis",
        b"\x02SET key secret EX 10\nCONFIG SET requirepass x\nEVAL \"return 1\" 0 a\nAUTH user pass",
    ),
    ("spans/memcached", b"\x04set key 0 0 6\r\nsecret"),
    ("spans/json", b"\x05{\"find\":\"users\",\"filter\":{\"n\":[1,-2.5,true,null,\"x\\\"y\"]}}\n{\"a\":1}"),
    ("spans/url", b"\x38https://user:pw@host:8080/a/17/b2?token=x#part"),
    ("spans/card", b"\x094111 1111 1111 1111"),
    ("rules/seed", b"token=(\\w+)|[0-9]{3,5}\ntoken=$1 ${0}\na token=abc and 12345"),
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
