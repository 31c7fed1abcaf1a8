//! How the extension's binary is linked: what is left out of it, and what of it lies together. Each of these is
//! explained, with what it gives, in docs/decisions/0014-what-is-in-the-binary-and-where.md.

use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::musl::Musl;

/// The functions that run in every sandbox, as patterns of their sections' names, in two groups; of the C library
/// its objects. Made by `cargo xtask order`.
pub(crate) const ORDER: &str = "crates/extension/layer/order.txt";

/// The groups of [`ORDER`]: until the extension is ready, and in an invocation.
pub(crate) const GROUPS: [&str; 2] = ["start", "life"];

/// Left out of zstd: what else than the levels up to 4 need (a higher one works as 4), a second copy of hot loops
/// for newer processors, the faster one of two decoders, and texts of errors that nobody prints.
const ZSTD: &[&str] = &[
    "ZSTD_EXCLUDE_GREEDY_BLOCK_COMPRESSOR",
    "ZSTD_EXCLUDE_LAZY_BLOCK_COMPRESSOR",
    "ZSTD_EXCLUDE_LAZY2_BLOCK_COMPRESSOR",
    "ZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR",
    "ZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR",
    "ZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR",
    "DYNAMIC_BMI2=0",
    "HUF_FORCE_DECOMPRESS_X1",
    "ZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT",
    "ZSTD_STRIP_ERROR_STRINGS",
];

/// Copies and compares bytes in place of musl's functions of these names, which are slow on this one architecture.
const MEMORY: &str = "crates/extension/layer/memory.c";
const OF_MEMORY: [&str; 4] = ["memcpy", "memmove", "memcmp", "bcmp"];
const SLOW: &str = "x86_64";

/// The compiler must not see these functions in themselves.
const MEMORY_FLAGS: [&str; 6] = [
    "-O2",
    "-fPIC",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-tree-loop-distribute-patterns",
    "-fno-stack-protector",
];

/// For whoever aborts on a panic nobody unwinds the stack: no tables for that.
const NO_UNWINDING: &str = "SECTIONS {\n  /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) *(.gcc_except_table .gcc_except_table.*) }\n} INSERT AFTER .rodata;\n";

/// What a static binary is built for.
pub(crate) struct Target {
    /// As Rust names it.
    pub(crate) name: String,
    pub(crate) c: C,
}

/// The C library in it.
pub(crate) enum C {
    /// The one that comes with Rust's target.
    Musl,
    DebiansMusl(Musl),
    Glibc,
}

impl Target {
    /// The archive of the C library.
    pub(crate) fn libc(&self) -> Result<PathBuf> {
        Ok(match &self.c {
            C::Musl => {
                let folder = said("rustc", &["--print", "target-libdir", "--target", &self.name])?;
                PathBuf::from(folder).join("self-contained/libc.a")
            }
            C::DebiansMusl(musl) => musl.libc(),
            C::Glibc => said("cc", &["-print-file-name=libc.a"])?.into(),
        })
    }
}

/// What cargo's environment has to say for a static binary; with `order` for one laid out by [`ORDER`].
pub(crate) fn environment(root: &Path, target: &Target, order: bool) -> Result<Vec<(String, String)>> {
    let mut script = NO_UNWINDING.to_owned();
    if order {
        let patterns = fs::read_to_string(root.join(ORDER)).context(ORDER)?;
        script.push_str(&layout(&patterns)?);
    }
    let folder = root.join("target/layer");
    fs::create_dir_all(&folder)?;
    let script_file = folder.join(format!("link-{:016x}.ld", hash(script.as_bytes())));
    replace(&script_file, script.as_bytes())?;
    let mut flags = vec!["-C target-feature=+crt-static".to_owned()];
    let mut arguments = vec![
        format!("-B{}", lld()?.display()),
        "-fuse-ld=lld".to_owned(),
        // Functions of equal code are one.
        "-Wl,--icf=all".to_owned(),
        "-Wl,--no-eh-frame-hdr".to_owned(),
        script_file.display().to_string(),
    ];
    if !matches!(target.c, C::Glibc) && target.name.starts_with(SLOW) {
        arguments.push(memory(root, &folder)?.display().to_string());
        arguments.extend(OF_MEMORY.iter().map(|name| format!("-Wl,--wrap={name}")));
    }
    let mut environment = Vec::new();
    match &target.c {
        // Its musl is older than 1.2.4, which was the first to know them: the process would not start.
        C::DebiansMusl(musl) => environment.extend(musl.environment()),
        // Addresses that are put right when the process starts, in a sixtieth of the room.
        C::Musl | C::Glibc => arguments.push("-Wl,-z,pack-relative-relocs".to_owned()),
    }
    flags.extend(arguments.iter().map(|argument| format!("-C link-arg={argument}")));
    let defines: Vec<_> = ZSTD.iter().map(|name| format!("-D{name}")).collect();
    let c = format!("CFLAGS_{}", target.name.replace('-', "_"));
    environment.extend([("RUSTFLAGS".to_owned(), flags.join(" ")), (c, defines.join(" "))]);
    Ok(environment)
}

/// Compiles [`MEMORY`], under the names by which the linker finds what is to be called instead.
fn memory(root: &Path, folder: &Path) -> Result<PathBuf> {
    let source = fs::read(root.join(MEMORY)).context(MEMORY)?;
    let object = folder.join(format!("memory-{:016x}.o", hash(&source)));
    let beside = folder.join(format!("memory-{}.o", std::process::id()));
    compile_memory(root, "__wrap_", &beside)?;
    fs::rename(&beside, &object)?;
    Ok(object)
}

/// Names a file by what is in it, so that cargo links again when that changes.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn compile_memory(root: &Path, prefix: &str, object: &Path) -> Result<()> {
    let mut cc = Command::new("cc");
    cc.current_dir(root).args(MEMORY_FLAGS);
    cc.args(OF_MEMORY.iter().map(|name| format!("-D{name}={prefix}{name}"))).args(["-c", MEMORY, "-o"]);
    ensure!(
        cc.arg(object).status().context("cc could not be started")?.success(),
        "{MEMORY} does not compile"
    );
    Ok(())
}

/// What a command prints.
pub(crate) fn said(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {} failed", args.join(" "));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The linker that comes with Rust, under the name by which a C compiler looks for it.
pub(crate) fn lld() -> Result<PathBuf> {
    let libraries = PathBuf::from(said("rustc", &["--print", "target-libdir"])?);
    let folder = libraries.parent().context("rustc has no folder of libraries")?.join("bin/gcc-ld");
    if !folder.join("ld.lld").exists() {
        bail!("{} has no ld.lld: this Rust comes without its linker", folder.display());
    }
    Ok(folder)
}

/// Writes a file. Whoever reads it meanwhile gets the old one or the new one, and no part.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_added_extension(std::process::id().to_string());
    fs::write(&beside, bytes).with_context(|| beside.display().to_string())?;
    fs::rename(&beside, path).with_context(|| path.display().to_string())
}

/// A section for each group, before all other code. What is in none of them is as it would be.
fn layout(patterns: &str) -> Result<String> {
    let mut script = String::new();
    for group in GROUPS {
        let mut lines = Vec::new();
        for line in patterns.lines().filter(|line| !line.starts_with('#')) {
            let (of, pattern) = line.split_once(' ').with_context(|| format!("{ORDER}: {line:?}"))?;
            if !GROUPS.contains(&of) {
                bail!("{ORDER}: {line:?} is of no group; there are: {}", GROUPS.join(", "));
            }
            if of == group {
                lines.push(match pattern.strip_prefix("libc.a:") {
                    Some(object) => format!("    *libc.a:{object}(.text .text.*)\n"),
                    // What the compiler believes to be rare is `.text.unlikely.<name>`.
                    None => format!("    *(.text.{pattern} .text.unlikely.{pattern})\n"),
                });
            }
        }
        let _ = write!(
            script,
            "SECTIONS {{\n  .text.{group} : {{\n{}  }}\n}} INSERT BEFORE .text;\n",
            lines.concat()
        );
    }
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_is_a_section() {
        let script =
            layout("# made\nstart _ZN3foo17h*\nlife _ZN3bar17h*\nstart _RNvCs*_3std\nlife libc.a:malloc.o\n")
                .unwrap();
        let (start, life) = script.split_once("INSERT BEFORE .text;\n").unwrap();
        assert!(
            start.contains(".text.start : {\n    *(.text._ZN3foo17h* .text.unlikely._ZN3foo17h*)\n"),
            "{start}"
        );
        assert!(start.contains("    *(.text._RNvCs*_3std .text.unlikely._RNvCs*_3std)\n  }"), "{start}");
        assert!(life.contains(".text.life : {\n    *(.text._ZN3bar17h* "), "{life}");
        assert!(life.contains("    *libc.a:malloc.o(.text .text.*)\n  }"), "{life}");
    }

    /// Beside the C library's own functions.
    #[test]
    fn bytes_are_copied_and_compared_as_by_any_c_library() {
        if std::env::consts::ARCH != SLOW {
            return;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = std::env::temp_dir().join(format!("xtask-memory-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        compile_memory(&root, "our_", &folder.join("memory.o")).unwrap();
        let test = root.join("crates/extension/layer/memory_test.c");
        let mut cc = Command::new("cc");
        cc.current_dir(&folder).args(["-O1", "-o", "test", "memory.o"]).arg(test);
        assert!(cc.status().unwrap().success());
        let output = Command::new(folder.join("test")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_line_of_no_group_is_told() {
        assert!(layout("later _ZN3foo17h*").unwrap_err().to_string().contains("start, life"));
    }
}
