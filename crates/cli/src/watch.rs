//! Notices that files changed, by looking at them again and again. The system could tell (inotify), but not for
//! network drives and folders shared with a virtual machine, and not with one dependency less; the files of a function
//! are few, and a look at one costs about a microsecond.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// Files below one folder; more are not a function's.
const MAX_FILES: usize = 20_000;

/// What is known of a file without reading it: when it was changed, its size and its place on the disk.
type Print = (i64, i64, u64, u64);

/// The state of some files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint(BTreeMap<PathBuf, Print>);

impl Fingerprint {
    /// Looks at these files, and at all below these folders but what begins with a dot and what cargo builds.
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        let mut print = Self::default();
        paths.iter().for_each(|path| print.add(path));
        print
    }

    /// The state of more files.
    pub(crate) fn add_all(&mut self, paths: &[PathBuf]) {
        paths.iter().for_each(|path| self.add(path));
    }

    fn add(&mut self, path: &Path) {
        let Ok(metadata) = fs::metadata(path) else { return };
        if !metadata.is_dir() {
            let known = (metadata.mtime(), metadata.mtime_nsec(), metadata.size(), metadata.ino());
            self.0.insert(path.to_path_buf(), known);
            return;
        }
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let hidden = name.to_string_lossy().starts_with('.') || name == "target";
            if !hidden && self.0.len() < MAX_FILES && !entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                self.add(&entry.path());
            }
        }
    }

    /// A file that is other than it was, is new or is gone.
    pub(crate) fn difference(&self, then: &Self) -> Option<PathBuf> {
        let changed = self.0.iter().find(|(path, print)| then.0.get(*path) != Some(print));
        let gone = || then.0.keys().find(|path| !self.0.contains_key(*path));
        changed.map(|(path, _)| path).or_else(gone).cloned()
    }
}

/// Waits until one of these files is other than `then`, and none is being written: which one, and how they are.
pub(crate) async fn change(paths: &[PathBuf], then: &Fingerprint) -> (PathBuf, Fingerprint) {
    let mut before = then.clone();
    loop {
        let now = Fingerprint::of(paths);
        if let Some(path) = now.difference(then).filter(|_| now == before) {
            return (path, now);
        }
        before = now;
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, change};
    use crate::temporary::Folder;
    use std::fs;

    #[tokio::test]
    async fn what_is_new_changed_or_gone_is_noticed() {
        let folder = Folder::new().unwrap();
        let file = |name: &str| folder.path().join(name);
        for name in ["a", ".hidden"] {
            fs::write(file(name), "1").unwrap();
        }
        fs::create_dir(file("target")).unwrap();
        let paths = [folder.path().to_path_buf()];
        let then = Fingerprint::of(&paths);
        fs::write(file(".hidden"), "22").unwrap();
        fs::write(file("target/x"), "22").unwrap();
        assert_eq!(Fingerprint::of(&paths).difference(&then), None);
        fs::write(file("a"), "22").unwrap();
        let (path, then) = change(&paths, &then).await;
        assert_eq!(path, file("a"));
        fs::write(file("b"), "").unwrap();
        let (path, then) = change(&paths, &then).await;
        assert_eq!(path, file("b"));
        fs::remove_file(file("a")).unwrap();
        assert_eq!(change(&paths, &then).await.0, file("a"));
    }
}
