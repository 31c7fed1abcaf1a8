//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Run AWS Lambda functions with the Datadog extension on your own machine, and see what Datadog would see.
///
/// No AWS account, no Datadog account, no network: a local Lambda runs the real processes, a local Datadog
/// takes what they send. What arrives is shown on a web page, and as JSON under /local/state of its address.
#[derive(Debug, Parser)]
#[command(name = "dd-lambda", version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(DemoArgs),
    Dev(DevArgs),
}

/// Build and run the example functions, and show one connected trace.
///
/// Builds the extension and the functions orders-api and orders-worker of this repository, runs them in a local
/// Lambda, sends them an HTTP request, two queue messages and an order that fails, and shows the traces, logs
/// and metrics that came out. Then it serves them as a web page until Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 everything arrived, 1 something is missing (it is named), 2 wrong arguments.\n\n\
    Examples:\n  cargo demo                       show it, and serve the page until Ctrl-C\n  \
    cargo demo -- --exit             the same, and end: 0 when the trace is complete\n  \
    cargo demo -- --exit --json      what the intake received, for jq and tests"
)]
pub(crate) struct DemoArgs {
    /// End when all is shown instead of serving the page (so does a run without a terminal)
    #[arg(long)]
    pub(crate) exit: bool,
    /// Print what the intake received as one JSON document, and nothing else, on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// The port of the web page on 127.0.0.1; 0 for any free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub(crate) port: u16,
    /// Kill the intake once it has taken this many requests, to see what happens to the functions (nothing)
    #[arg(long, value_name = "REQUESTS")]
    pub(crate) kill_intake_after: Option<u64>,
}

/// Run your own functions with the extension beside them.
///
/// Each function is a program that speaks the Lambda Runtime API, such as one built with lambda_runtime. Lambda
/// starts it at its first invocation, and so does this: invoke it with `--event`, or with the AWS command line
/// at the address that is printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dd-lambda dev --function orders=target/debug/orders\n  \
    dd-lambda dev --function orders=target/debug/orders --event order.json --invoke orders --exit\n  \
    aws lambda invoke --endpoint-url http://127.0.0.1:PORT --function-name orders \\\n    \
    --cli-binary-format raw-in-base64-out --payload '{}' /dev/stdout")]
pub(crate) struct DevArgs {
    /// A function: its name, and the program that is its bootstrap. May be given more than once
    #[arg(long = "function", value_name = "NAME=PROGRAM", required = true, value_parser = function)]
    pub(crate) functions: Vec<(String, PathBuf)>,
    /// The extension's program [default: datadog-agent beside dd-lambda]
    #[arg(long, value_name = "PATH")]
    pub(crate) extension: Option<PathBuf>,
    /// Run the functions without an extension
    #[arg(long, conflicts_with = "extension")]
    pub(crate) no_extension: bool,
    /// A variable that every function sees. May be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    /// A file with a JSON event to invoke a function with; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) event: Option<PathBuf>,
    /// The function to invoke with the event [default: the first]
    #[arg(long, value_name = "NAME", requires = "event")]
    pub(crate) invoke: Option<String>,
    /// Longest time of one invocation, in seconds
    #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// End after the event's invocation instead of serving until Ctrl-C
    #[arg(long, requires = "event")]
    pub(crate) exit: bool,
    /// The port of the web page on 127.0.0.1; 0 for any free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub(crate) port: u16,
}

/// `cargo demo -- --exit` arrives as `demo -- --exit`: the separator was meant for cargo.
pub(crate) fn without_separator(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    args.enumerate().filter(|(at, arg)| *at != 2 || arg != "--").map(|(_, arg)| arg)
}

fn function(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write it as name=path/to/program")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err("a function's name has 1 to 64 letters, digits, - and _".to_owned());
    }
    let path = PathBuf::from(path);
    match path.canonicalize() {
        Ok(path) if path.is_file() => Ok((name.to_owned(), path)),
        Ok(_) => Err(format!("{} is a folder: name the program in it", path.display())),
        Err(why) => Err(format!("no program at {}: {why}; is it built?", path.display())),
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

#[cfg(test)]
mod tests {
    use super::{Args, Command, without_separator};
    use clap::{CommandFactory, Parser};

    fn parse(line: &str) -> Result<Args, clap::Error> {
        let words = line.split(' ').map(Into::into);
        Args::try_parse_from(without_separator(words))
    }

    #[test]
    fn the_table_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_alias_works_with_and_without_the_separator() {
        for line in ["dd-lambda demo --exit --json", "dd-lambda demo -- --exit --json"] {
            let Command::Demo(args) = parse(line).unwrap().command else { panic!("{line}") };
            assert!(args.exit && args.json && args.port == 0, "{line}");
        }
        assert!(parse("dd-lambda demo --exit -- --json").is_err());
    }

    #[test]
    fn errors_say_what_to_do() {
        let check = |line: &str, say: &str| {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(say), "{line}: {error}");
        };
        check("dd-lambda dev", "--function <NAME=PROGRAM>");
        check("dd-lambda dev --function x", "name=path/to/program");
        check("dd-lambda dev --function x=/none", "is it built?");
        check("dd-lambda dev --function x=/", "is a folder");
        check("dd-lambda dev --function x=/bin/sh --timeout 0", "above 0");
        check("dd-lambda dev --function x=/bin/sh --exit", "--event");
    }
}
