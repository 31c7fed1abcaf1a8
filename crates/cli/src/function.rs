//! A function as the command line or a scenario describes it, and what it takes to make it run: built by cargo,
//! its layers unpacked, told of the extension and of the intake.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use intake::Intake;
use sandbox::{Destination, Faults, FunctionConfig, StreamLimit};
use serde::{Deserialize, Serialize};

use crate::mode::Kind;
use crate::temporary::Folder;
use crate::{environment, layers, workspace};

const AGENT: &str = "datadog-agent";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) program: Program,
    /// The managed runtime, such as `python3.13`.
    #[serde(default)]
    pub(crate) runtime: Option<String>,
    #[serde(default)]
    pub(crate) kind: Kind,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) extension: Extension,
    /// Folders and zips, in order.
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) timeout: Duration,
    /// Enforced when given.
    pub(crate) memory_mb: Option<u32>,
    pub(crate) handler: Option<String>,
    pub(crate) max_sandboxes: Option<usize>,
    /// In namespaces of its own.
    pub(crate) private: bool,
    /// Said by scenarios alone, as what follows.
    #[serde(skip)]
    pub(crate) events: Option<Events>,
    /// A streamed response is as slow as Lambda's.
    #[serde(skip)]
    pub(crate) stream_limit: bool,
    #[serde(skip)]
    pub(crate) faults: Faults,
}

/// What becomes of events that nobody waits for; as Lambda has it when not given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    pub(crate) retries: u32,
    pub(crate) retry_delay: Duration,
    /// Functions.
    pub(crate) on_failure: Option<String>,
    pub(crate) on_success: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Program {
    /// The bootstrap and its arguments.
    Command(Vec<String>),
    /// What cargo builds from this package.
    Package(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Extension {
    /// `datadog-agent` in the folder of this program.
    Beside,
    None,
    At(PathBuf),
}

impl Spec {
    pub(crate) fn new(name: impl Into<String>, program: Program) -> Self {
        Self {
            name: name.into(),
            program,
            runtime: None,
            kind: Kind::default(),
            settings: Vec::new(),
            extension: Extension::Beside,
            layers: Vec::new(),
            timeout: Duration::from_secs(30),
            memory_mb: None,
            handler: None,
            max_sandboxes: None,
            private: false,
            events: None,
            stream_limit: false,
            faults: Faults::default(),
        }
    }
}

/// Functions whose programs are built and whose layers are unpacked.
#[derive(Debug)]
pub(crate) struct Ready {
    functions: Vec<One>,
}

#[derive(Debug)]
struct One {
    spec: Spec,
    command: Vec<String>,
    extension: Option<PathBuf>,
    opt: Option<Folder>,
    /// Of programs by cargo: the package's manifest.
    manifest: Option<PathBuf>,
}

impl Ready {
    /// Builds, in this folder, what has to be built. Relative paths are meant from there.
    pub(crate) async fn prepare(specs: Vec<Spec>, folder: &Path) -> anyhow::Result<Self> {
        let packages: Vec<&str> = specs.iter().filter_map(Spec::package).collect();
        let built = match packages.as_slice() {
            [] => BTreeMap::new(),
            packages => workspace::build_programs(folder, packages).await?,
        };
        let functions = specs.into_iter().map(|spec| One::prepare(spec, &built, folder));
        Ok(Self { functions: functions.collect::<anyhow::Result<_>>()? })
    }

    /// What the local Lambda runs.
    pub(crate) fn configs(&self, intake: &Intake, folder: &Path) -> Vec<FunctionConfig> {
        self.functions.iter().map(|one| one.config(intake, folder)).collect()
    }

    /// The functions as they were asked for.
    pub(crate) fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.functions.iter().map(|one| &one.spec)
    }

    /// Name, program and extension of each, for people.
    pub(crate) fn told(&self) -> impl Iterator<Item = (&str, String, Option<&Path>)> {
        let told = |one: &One| one.command.join(" ");
        self.functions.iter().map(move |one| (one.spec.name.as_str(), told(one), one.extension.as_deref()))
    }

    /// Each function's name, its package if cargo builds it, and the files of which it is made.
    pub(crate) fn sources(&self, folder: &Path) -> Vec<(String, Option<String>, Vec<PathBuf>)> {
        let sources = |one: &One| {
            let files = match &one.manifest {
                Some(manifest) => workspace::sources(&one.command, manifest),
                None => one.command.iter().map(|part| folder.join(part)).filter(|p| p.is_file()).collect(),
            };
            (one.spec.name.clone(), one.spec.package().map(ToOwned::to_owned), files)
        };
        self.functions.iter().map(sources).collect()
    }
}

impl Spec {
    fn package(&self) -> Option<&str> {
        match &self.program {
            Program::Package(package) => Some(package),
            Program::Command(_) => None,
        }
    }
}

impl One {
    fn prepare(
        spec: Spec,
        built: &BTreeMap<String, workspace::Built>,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let (command, manifest) = match &spec.program {
            Program::Command(command) => (located(command, folder), None),
            Program::Package(package) => {
                let built = built.get(package).with_context(|| {
                    format!("package {package} has no program, or several and none of its own name")
                })?;
                (vec![built.program.to_string_lossy().into_owned()], Some(built.manifest.clone()))
            }
        };
        if command.is_empty() {
            bail!("function {}: the command is empty", spec.name);
        }
        let layers: Vec<PathBuf> = spec.layers.iter().map(|layer| folder.join(layer)).collect();
        let opt = layers::unpack(&layers).with_context(|| format!("function {}", spec.name))?;
        let extension = extension(&spec.extension, folder)?;
        Ok(Self { spec, command, extension, opt, manifest })
    }

    fn config(&self, intake: &Intake, folder: &Path) -> FunctionConfig {
        let spec = &self.spec;
        let mut function = FunctionConfig::new(&spec.name, self.command.clone()).timeout(spec.timeout);
        function.faults = spec.faults.clone();
        function.stream_limit = spec.stream_limit.then_some(StreamLimit::LAMBDA);
        if let Some(events) = &spec.events {
            function = function.retries(events.retries, events.retry_delay);
            function.on_failure = events.on_failure.clone().map(Destination::Function);
            function.on_success = events.on_success.clone().map(Destination::Function);
        }
        function.runtime.clone_from(&spec.runtime);
        function = function.mode(spec.kind.mode).ahead(spec.kind.ahead);
        if let Some(mb) = spec.memory_mb {
            function = function.memory_limit(mb);
        }
        if let Some(handler) = &spec.handler {
            function = function.handler(handler);
        }
        if let Some(limit) = spec.max_sandboxes {
            function = function.max_sandboxes(limit);
        }
        if let Some(opt) = &self.opt {
            function = function.opt(opt.path());
        }
        // An interpreter that is looked up has no folder that could be the function's.
        if self.command.first().is_some_and(|program| !program.contains('/')) {
            function = function.working_dir(folder);
        }
        if spec.private {
            function = function.private(inside());
        }
        let function = environment::connect(function, self.extension.as_deref(), intake);
        spec.settings.iter().fold(function, |function, (name, value)| function.env(name, value))
    }
}

/// How this program starts itself as the inside of a sandbox.
fn inside() -> Vec<String> {
    let program = std::env::current_exe().map(|path| path.to_string_lossy().into_owned());
    vec![program.unwrap_or_else(|_| "/proc/self/exe".to_owned()), "inside".to_owned()]
}

/// A path among the words of a command is meant from `folder`.
fn located(command: &[String], folder: &Path) -> Vec<String> {
    let path = |word: &String| folder.join(word).to_string_lossy().into_owned();
    let (first, rest) = match command.split_first() {
        Some((first, rest)) if first.contains('/') => (path(first), rest),
        Some((first, rest)) => (first.clone(), rest),
        None => return Vec::new(),
    };
    std::iter::once(first).chain(rest.iter().cloned()).collect()
}

/// The extension that was named, or the one beside this program.
fn extension(wanted: &Extension, folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let path = match wanted {
        Extension::None => return Ok(None),
        Extension::At(path) => folder.join(path),
        Extension::Beside => std::env::current_exe().context("where this program is")?.with_file_name(AGENT),
    };
    match path.canonicalize() {
        Ok(path) if path.is_file() => Ok(Some(path)),
        _ => bail!(
            "no extension at {}: build it with `cargo build -p extension`, name it with --extension, or do without \
             it with --no-extension (in a scenario: extension = \"path\" or \"none\")",
            path.display()
        ),
    }
}
