//! The part of the command line that says which functions to run, and beside what. Shared by `dev` and `invoke`.

use std::path::PathBuf;
use std::time::Duration;

use crate::function::{Extension, Program, Spec};
use crate::mode::Kind;

#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(crate) struct FunctionArgs {
    /// A function: its name, and the program that is its bootstrap. May be given more than once
    #[arg(long = "function", value_name = "NAME=PROGRAM", value_parser = function)]
    pub(crate) functions: Vec<(String, PathBuf)>,
    /// A function that cargo builds from this package of the workspace around the current folder. May be given
    /// more than once
    #[arg(long = "package", value_name = "[NAME=]PACKAGE", value_parser = package)]
    pub(crate) packages: Vec<(String, String)>,
    /// A function whose bootstrap takes arguments, words apart by spaces: `app=python3 -m awslambdaric app.handler`.
    /// May be given more than once
    #[arg(long = "command", value_name = "NAME=COMMAND", value_parser = command)]
    pub(crate) commands: Vec<(String, Vec<String>)>,
    /// The managed runtime of the functions, such as python3.13: Lambda tells them its name, and starts it by
    /// AWS_LAMBDA_EXEC_WRAPPER if that is set [default: a custom one]
    #[arg(long, value_name = "NAME")]
    pub(crate) runtime: Option<String>,
    /// How Lambda runs them: on-demand, provisioned-concurrency, snap-start or managed-instances, with
    /// :SANDBOXES behind the second and :CONCURRENCY behind the last
    #[arg(long, default_value = "on-demand", value_name = "MODE")]
    pub(crate) mode: Kind,
    /// The extension's program [default: datadog-agent beside dd-lambda]
    #[arg(long, value_name = "PATH")]
    pub(crate) extension: Option<PathBuf>,
    /// Run the functions without an extension
    #[arg(long, conflicts_with = "extension")]
    pub(crate) no_extension: bool,
    /// A layer, as a folder or a zip: becomes /opt. May be given more than once, later ones win
    #[arg(long = "layer", value_name = "PATH")]
    pub(crate) layers: Vec<PathBuf>,
    /// A variable that every function sees. May be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    /// Longest time of one invocation, in seconds
    #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// Memory of each function: more, and it is killed as Lambda kills it [default: 128, not enforced]
    #[arg(long = "memory", value_name = "MB", value_parser = clap::value_parser!(u32).range(1..=10_240))]
    pub(crate) memory_mb: Option<u32>,
    /// Give each sandbox a network and /opt, /var/task and /tmp of its own, as Lambda does (Linux namespaces)
    #[arg(long)]
    pub(crate) private: bool,
}

impl FunctionArgs {
    /// In the order of the command line: programs before packages.
    pub(crate) fn specs(&self) -> Vec<Spec> {
        let command = |(name, path): &(String, PathBuf)| {
            (name.clone(), Program::Command(vec![path.to_string_lossy().into_owned()]))
        };
        let package = |(name, package): &(String, String)| (name.clone(), Program::Package(package.clone()));
        let words = |(name, words): &(String, Vec<String>)| (name.clone(), Program::Command(words.clone()));
        let programs = self.functions.iter().map(command).chain(self.commands.iter().map(words));
        let programs = programs.chain(self.packages.iter().map(package));
        programs.map(|(name, program)| self.spec(name, program)).collect()
    }

    fn spec(&self, name: String, program: Program) -> Spec {
        let extension = match &self.extension {
            _ if self.no_extension => Extension::None,
            Some(path) => Extension::At(path.clone()),
            None => Extension::Beside,
        };
        Spec {
            runtime: self.runtime.clone(),
            kind: self.mode,
            settings: self.env.clone(),
            extension,
            layers: self.layers.clone(),
            timeout: self.timeout,
            memory_mb: self.memory_mb,
            private: self.private,
            ..Spec::new(name, program)
        }
    }
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}

const NAMES: &str = "a function's name has 1 to 64 letters, digits, - and _";

fn function(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write it as name=path/to/program")?;
    if !is_name(name) {
        return Err(NAMES.to_owned());
    }
    let path = PathBuf::from(path);
    match path.canonicalize() {
        Ok(path) if path.is_file() => Ok((name.to_owned(), path)),
        Ok(_) => Err(format!("{} is a folder: name the program in it", path.display())),
        Err(why) => Err(format!("no program at {}: {why}; is it built?", path.display())),
    }
}

fn command(text: &str) -> Result<(String, Vec<String>), String> {
    let (name, words) = text.split_once('=').ok_or("write it as name=program argument argument")?;
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    match (is_name(name), words.is_empty()) {
        (true, false) => Ok((name.to_owned(), words)),
        (true, true) => Err("the command is empty".to_owned()),
        (false, _) => Err(NAMES.to_owned()),
    }
}

fn package(text: &str) -> Result<(String, String), String> {
    let (name, package) = text.split_once('=').unwrap_or((text, text));
    if is_name(name) && !package.is_empty() {
        Ok((name.to_owned(), package.to_owned()))
    } else {
        Err(NAMES.to_owned())
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=value")?;
    if name.is_empty() {
        Err("the name is empty".to_owned())
    } else {
        Ok((name.to_owned(), value.to_owned()))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(secs) if secs > 0.0 && secs <= 900.0 => Ok(Duration::from_secs_f64(secs)),
        _ => Err("a number of seconds, above 0 and up to 900".to_owned()),
    }
}
