//! `cargo xtask layer`: the extension as a static binary, in a zip as `aws lambda publish-layer-version` takes it.
//!
//! Lambda unpacks it below `/opt` and starts every file in `/opt/extensions`. The binary is static, since one
//! layer serves every runtime's image, whatever C library that has.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::link::{self, C, Target};
use crate::musl::Musl;
use crate::real::{Found, Missing};

/// As Lambda names it, and as Rust does.
const TARGETS: &[(&str, &str)] =
    &[("x86_64", "x86_64-unknown-linux-musl"), ("arm64", "aarch64-unknown-linux-musl")];

const BINARY: &str = "datadog-agent";

/// What functions are started with that have no library: `AWS_LAMBDA_EXEC_WRAPPER=/opt/datadog_wrapper`.
const WRAPPER: &str = "crates/extension/layer/datadog_wrapper";

/// Builds the layer for one architecture into `target/layer`.
pub(crate) fn build(root: &Path, architecture: &str) -> Result<()> {
    let Some((_, target)) = TARGETS.iter().find(|(name, _)| *name == architecture) else {
        let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        bail!("there is no architecture {architecture:?} in Lambda; there are: {}", names.join(", "));
    };
    let binary = laid_out(root, &linkable(root, target)?)?;
    let bytes = fs::read(&binary).with_context(|| binary.display().to_string())?;
    if let Some(interpreter) = interpreter(&bytes)? {
        bail!("{} is not static: it asks for {interpreter}", binary.display());
    }
    let folder = root.join("target/layer");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("datadog-extension-{architecture}.zip"));
    let wrapper = fs::read(root.join(WRAPPER)).context(WRAPPER)?;
    let zip = packed(&bytes, &wrapper)?;
    link::replace(&path, &zip)?;
    eprintln!("{} ({} kB; the binary {} kB, static)", path.display(), zip.len() / 1024, bytes.len() / 1024);
    eprintln!("  aws lambda publish-layer-version --layer-name datadog-extension \\");
    eprintln!("    --compatible-architectures {architecture} --zip-file fileb://{}", path.display());
    Ok(())
}

/// The binary of the layer for this machine, for the tests that keep its budget.
pub(crate) fn for_tests(root: &Path) -> Result<Result<Found, Missing>> {
    if let Err(missing) = link::lld() {
        return Ok(Err(missing.to_string()));
    }
    let target = own_target(root)?;
    if matches!(target.c, C::Glibc) {
        return Ok(Err("the budget is that of a layer with musl, of which there is none here".to_owned()));
    }
    Ok(Ok(("READY_BINARY", laid_out(root, &target)?)))
}

/// The binary of the layer for this machine.
pub(crate) fn laid_out_here(root: &Path) -> Result<PathBuf> {
    laid_out(root, &own_target(root)?)
}

/// The same with the names of its functions, in a folder of its own and laid out as it comes: to be looked at.
/// With the C library that is in it.
pub(crate) fn with_names(root: &Path, folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let target = own_target(root)?;
    let mut environment = link::environment(root, &target, false)?;
    environment.push(("CARGO_PROFILE_RELEASE_STRIP".to_owned(), "none".to_owned()));
    Ok((compile(root, folder, &target.name, environment)?, target.libc()?))
}

/// musl where its standard library is installed or can be put together; else, for the machine's own architecture, a static glibc.
fn linkable(root: &Path, musl: &str) -> Result<Target> {
    let sysroot = PathBuf::from(link::said("rustc", &["--print", "sysroot"])?);
    let installed = |target: &str| sysroot.join("lib/rustlib").join(target).join("lib").is_dir();
    let is_own = musl.starts_with(std::env::consts::ARCH);
    if installed(musl) {
        return Ok(Target { name: musl.to_owned(), c: C::Musl });
    }
    let why = match is_own.then(|| Musl::here(root)) {
        Some(Ok(musl)) => return Ok(Target { name: musl.target().to_owned(), c: C::DebiansMusl(musl) }),
        Some(Err(missing)) => format!("; {missing}"),
        None => String::new(),
    };
    let gnu = musl.replace("musl", "gnu");
    if !installed(&gnu) || !is_own {
        bail!("the target {musl} is not installed: `rustup target add {musl}`{why}");
    }
    eprintln!(
        "note: {musl} is not installed (`rustup target add {musl}`{why}): linking glibc statically instead. Host names are then looked up \
         with this machine's C library; do not publish this layer for others"
    );
    Ok(Target { name: gnu, c: C::Glibc })
}

/// What a static binary for this machine is built for.
fn own_target(root: &Path) -> Result<Target> {
    let target =
        TARGETS.iter().map(|(_, target)| *target).find(|target| target.starts_with(std::env::consts::ARCH));
    linkable(root, target.context("Lambda has no such architecture")?)
}

fn compile(root: &Path, folder: &Path, target: &str, environment: Vec<(String, String)>) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).envs(environment).arg("build").arg("--target-dir").arg(folder);
    cargo.args(["--release", "--package", "extension", "--bin", BINARY, "--target", target]);
    if !cargo.status().context("cargo could not be started")?.success() {
        bail!("the extension does not build for {target}");
    }
    Ok(folder.join(target).join("release").join(BINARY))
}

fn laid_out(root: &Path, target: &Target) -> Result<PathBuf> {
    compile(root, &root.join("target"), &target.name, link::environment(root, target, true)?)
}

/// The zip: the same bytes for the same files, whenever and wherever it is made.
fn packed(binary: &[u8], wrapper: &[u8]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(9))
        .last_modified_time(DateTime::default())
        .unix_permissions(0o755);
    for (name, bytes) in [(format!("extensions/{BINARY}"), binary), ("datadog_wrapper".to_owned(), wrapper)] {
        zip.start_file(name, options)?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// The program interpreter that a 64-bit little-endian ELF file names; a static one names none.
fn interpreter(elf: &[u8]) -> Result<Option<String>> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, bytes: usize| -> Result<u64> {
        let part = elf.get(at..at + bytes).context("the ELF file is cut off")?;
        Ok(part.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    if elf.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("not a 64-bit little-endian ELF file");
    }
    let (table, size, count) =
        (usize::try_from(number(32, 8)?)?, usize::try_from(number(54, 2)?)?, number(56, 2)?);
    for n in 0..usize::try_from(count)? {
        let header = table + n * size;
        if number(header, 4)? == PT_INTERP {
            let (at, bytes) =
                (usize::try_from(number(header + 8, 8)?)?, usize::try_from(number(header + 32, 8)?)?);
            let name = elf.get(at..at + bytes).context("the ELF file is cut off")?;
            return Ok(Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_dynamic_binary_is_seen() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(interpreter(&own).unwrap().unwrap().contains("ld-"));
        assert!(interpreter(&own[..100]).is_err());
        assert!(interpreter(b"#!/bin/sh").is_err());
    }

    #[test]
    fn the_zip_has_what_lambda_looks_for_and_may_run_it() {
        let zip = packed(b"binary", b"#!/bin/sh").unwrap();
        assert!(zip == packed(b"binary", b"#!/bin/sh").unwrap());
        let mut archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
        assert_eq!(archive.len(), 2);
        for (n, (name, text)) in
            [("extensions/datadog-agent", "binary"), ("datadog_wrapper", "#!/bin/sh")].into_iter().enumerate()
        {
            let mut file = archive.by_index(n).unwrap();
            assert_eq!(file.name().unwrap(), name);
            assert_eq!(file.unix_mode(), Some(0o100_755));
            let mut read = String::new();
            file.read_to_string(&mut read).unwrap();
            assert_eq!(read, text);
        }
    }

    /// Lambda runs it as it is, by its first line and its mode.
    #[test]
    fn the_wrapper_can_be_started() {
        use std::os::unix::fs::PermissionsExt;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(WRAPPER);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(fs::read_to_string(&path).unwrap().starts_with("#!/bin/sh\n"));
    }
}
