//! Layers, as folders or zips, put together as Lambda does for `/opt`: in order, later files over earlier ones.
//! <https://docs.aws.amazon.com/lambda/latest/dg/packaging-layers.html>

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::temporary::Folder;

/// The folder that plays `/opt`; `None` without layers.
pub(crate) fn unpack(layers: &[PathBuf]) -> anyhow::Result<Option<Folder>> {
    if layers.is_empty() {
        return Ok(None);
    }
    let opt = Folder::new().context("no place for the layers")?;
    for layer in layers {
        let said = || format!("layer {}", layer.display());
        if layer.is_dir() {
            copy(layer, opt.path()).with_context(said)?;
        } else if layer.is_file() {
            let file = fs::File::open(layer).with_context(said)?;
            let mut zip = zip::ZipArchive::new(file).with_context(|| format!("{} is no zip", said()))?;
            zip.extract(opt.path()).with_context(said)?;
        } else {
            bail!("{}: there is neither a folder nor a zip of that name", said());
        }
    }
    Ok(Some(opt))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&path, &target)?;
            continue;
        }
        if target.symlink_metadata().is_ok() {
            fs::remove_file(&target)?;
        }
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&path)?, &target)?;
        } else {
            // With its permissions.
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::unpack;
    use crate::temporary::Folder;
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn later_layers_win_and_programs_stay_programs() {
        let place = Folder::new().unwrap();
        let folder = place.path().join("one");
        fs::create_dir_all(folder.join("lib")).unwrap();
        fs::write(folder.join("lib/a"), "one").unwrap();
        fs::write(folder.join("lib/b"), "one").unwrap();
        let zipped = place.path().join("two.zip");
        let mut zip = zip::ZipWriter::new(fs::File::create(&zipped).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file("extensions/agent", options.unix_permissions(0o755)).unwrap();
        zip.write_all(b"#!/bin/sh\n").unwrap();
        zip.start_file("lib/b", options).unwrap();
        zip.write_all(b"two").unwrap();
        zip.finish().unwrap();

        let opt = unpack(&[folder, zipped]).unwrap().unwrap();
        let read = |name: &str| fs::read_to_string(opt.path().join(name)).unwrap();
        assert_eq!((read("lib/a"), read("lib/b")), ("one".to_owned(), "two".to_owned()));
        let mode = fs::metadata(opt.path().join("extensions/agent")).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111);
        let gone = opt.path().to_path_buf();
        drop(opt);
        assert!(!gone.exists());
        assert!(unpack(&[]).unwrap().is_none());
        let why = unpack(&["/no/such/layer".into()]).unwrap_err().to_string();
        assert!(why.contains("/no/such/layer"), "{why}");
    }
}
