//! The command line.

mod functions;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser, Subcommand};
use intake::RateLimit;

pub(crate) use functions::FunctionArgs;

/// Run AWS Lambda functions with the Datadog extension on your own machine, and see what Datadog would see.
///
/// No AWS account, no Datadog account, no network: a local Lambda runs the real processes, a local Datadog
/// takes what they send. What arrives is shown on a web page, and as JSON under /local/state of its address.
#[derive(Debug, Parser)]
#[command(
    name = "dd-lambda",
    version,
    arg_required_else_help = true,
    after_help = "Begin with `dd-lambda demo`. What your machine lacks, `dd-lambda doctor` says. Colours are off where \
        NO_COLOR is set."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(DemoArgs),
    Dev(DevArgs),
    Invoke(InvokeArgs),
    Replay(ReplayArgs),
    Run(RunArgs),
    Intake(IntakeArgs),
    Doctor(DoctorArgs),
    Completions(CompletionsArgs),
    /// The inside of a sandbox that has namespaces of its own. Started by dd-lambda itself.
    #[command(hide = true)]
    Inside,
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

/// Run your own functions with the extension beside them, and rebuild them when you edit.
///
/// Each function is a program that speaks the Lambda Runtime API, such as one built with lambda_runtime, or a
/// package that cargo builds to one. Lambda starts it at its first invocation, and so does this: invoke it with
/// `--event`, or with the AWS command line at the address that is printed.
///
/// A function given by its package is built again when one of its sources changes; a function given by its
/// program is swapped when the program changes. An invocation that runs comes to its end in the old one, the
/// next is answered by the new one. Invocations are kept in .dd-lambda: see `dd-lambda replay`.
#[derive(Debug, clap::Args)]
#[command(
    group(ArgGroup::new("programs").args(["functions", "commands", "packages"]).required(true).multiple(true)),
    after_help = "Examples:\n  dd-lambda dev --package orders-worker       build it, run it, rebuild it on every edit\n  \
    dd-lambda dev --function orders=target/debug/orders\n  \
    dd-lambda dev --function orders=./bootstrap --layer agent.zip --no-extension\n  \
    dd-lambda dev --command 'app=python3 -m awslambdaric app.handler' --runtime python3.13\n  \
    dd-lambda dev --function orders=./bootstrap --mode provisioned-concurrency:2\n  \
    dd-lambda dev --function orders=target/debug/orders --event order.json --invoke orders --exit\n  \
    dd-lambda dev --package orders-worker --source sqs:https://sqs.eu-west-1.amazonaws.com/123456789012/orders=orders-worker\n  \
    aws lambda invoke --endpoint-url http://127.0.0.1:PORT --function-name orders \\\n    \
    --cli-binary-format raw-in-base64-out --payload '{}' /dev/stdout"
)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    pub(crate) functions: FunctionArgs,
    /// A file with a JSON event to invoke a function with; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) event: Option<PathBuf>,
    /// The function to invoke with the event [default: the first]
    #[arg(long, value_name = "NAME", requires = "event")]
    pub(crate) invoke: Option<String>,
    /// End after the event's invocation instead of serving until Ctrl-C
    #[arg(long, requires = "event")]
    pub(crate) exit: bool,
    /// Drive a function from a queue or a stream, of AWS or of an AWS API server (AWS_ENDPOINT_URL), as Lambda's event
    /// source mappings do: sqs:QUEUE_URL, kinesis:STREAM, dynamodb:TABLE; or sns:, s3: or eventbridge:QUEUE_URL, for the
    /// events that these send to a queue. Behind the function: batch-size=N, window=SECONDS, report-failures=false; for
    /// streams from=trim-horizon, retries=N, bisect. May be given more than once
    #[arg(long = "source", value_name = "KIND:SOURCE=FUNCTION[,OPTION]…")]
    pub(crate) sources: Vec<mappings::Spec>,
    /// Also watch this file or folder. May be given more than once
    #[arg(long, value_name = "PATH")]
    pub(crate) watch: Vec<PathBuf>,
    /// Print what happens as lines of JSON on standard output: ready, invoked, delivered, building, swapped, not_built
    #[arg(long)]
    pub(crate) json: bool,
    /// Do not rebuild and do not swap
    #[arg(long, conflicts_with = "watch")]
    pub(crate) no_watch: bool,
    /// The port of the web page on 127.0.0.1; 0 for any free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub(crate) port: u16,
    /// The port of the Invoke API on 127.0.0.1; 0 for any free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub(crate) invoke_port: u16,
}

/// Invoke a function once, and see its answer, its log and its traces.
///
/// The answer goes to standard output, alone; the end of the log and the traces go to standard error. A built-in
/// sample of an event source is dated now and carries the context of a caller, whose span is the root of the
/// trace that you see.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 the function answered, 1 it failed or could not run, 2 wrong arguments.\n\n\
    Examples:\n  dd-lambda invoke --package orders-worker --sample sqs\n  \
    dd-lambda invoke --function orders=./bootstrap --event order.json\n  \
    echo '{\"id\":7}' | dd-lambda invoke --function orders=./bootstrap --event -\n  \
    dd-lambda invoke --function orders=./bootstrap --sample http-api --json | jq .answer\n  \
    dd-lambda invoke --samples                     what samples there are"
)]
pub(crate) struct InvokeArgs {
    #[command(flatten)]
    pub(crate) functions: FunctionArgs,
    /// A file with a JSON event; - for standard input [default: {}]
    #[arg(long, value_name = "FILE", conflicts_with = "sample")]
    pub(crate) event: Option<PathBuf>,
    /// A built-in event of this source
    #[arg(long, value_name = "SOURCE")]
    pub(crate) sample: Option<String>,
    /// List the built-in events
    #[arg(long)]
    pub(crate) samples: bool,
    /// Print the event that would be sent, and do not invoke
    #[arg(long)]
    pub(crate) show_event: bool,
    /// The function to invoke [default: the first]
    #[arg(long, value_name = "NAME")]
    pub(crate) invoke: Option<String>,
    /// Print the answer, the log and what the intake received as one JSON document on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Invoke again what was invoked under `dd-lambda dev`: same function, same event, same context.
///
/// `dev` keeps its last 200 invocations in .dd-lambda of the folder in which it runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dd-lambda replay                the last invocation again\n  \
    dd-lambda replay --list         what there is\n  \
    dd-lambda replay 59f3           the one whose request id begins so\n  \
    dd-lambda replay --event        only its event, to be edited")]
pub(crate) struct ReplayArgs {
    /// The request id, or its beginning [default: the last]
    pub(crate) id: Option<String>,
    /// List what was recorded, newest last
    #[arg(long, conflicts_with_all = ["id", "event"])]
    pub(crate) list: bool,
    /// Print the event instead of invoking
    #[arg(long)]
    pub(crate) event: bool,
    /// The folder in which `dev` ran
    #[arg(long, value_name = "PATH", default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Print JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Run a scenario file: functions, events, faults, and what has to come of them.
///
/// A scenario says which functions run beside which layers with which settings, which events they get, what goes
/// wrong on purpose, and what has to be found: answers, spans, logs, metrics, counts. All of it is described, with
/// an example of each, in docs/scenarios.md.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 all is as expected, 1 something is not (it is said what), 2 the scenario or the \
    arguments are wrong.\n\n\
    Examples:\n  dd-lambda run scenario.toml\n  \
    dd-lambda run scenarios/*.toml\n  \
    dd-lambda run scenario.toml --json | jq .failures"
)]
pub(crate) struct RunArgs {
    /// The scenario files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) scenarios: Vec<PathBuf>,
    /// Print one JSON document per scenario on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// Print what the functions and extensions print, also when all is as expected
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// Run the local Datadog alone: point an agent at it, and see what it sends.
///
/// Every request is held against what Datadog documents: what it would refuse, drop or change is told with the rule that
/// it breaks, also where the request is taken.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0; with --strict 1 when a request was refused or not as Datadog wants it.\n\n\
    Examples:\n  dd-lambda intake --port 8080\n  \
    dd-lambda intake --port 8080 --json          every request as a line of JSON\n  \
    dd-lambda intake --port 8443 --tls --ca-out ca.pem\n  \
    dd-lambda intake --rate 100/60               429 for more than 100 requests in a minute\n  \
    DD_DD_URL=http://127.0.0.1:8080 DD_APM_DD_URL=http://127.0.0.1:8080 \\\n    \
    DD_LOGS_CONFIG_LOGS_DD_URL=http://127.0.0.1:8080 datadog-agent"
)]
pub(crate) struct IntakeArgs {
    /// The port of the intake on 127.0.0.1; 0 for any free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub(crate) port: u16,
    /// The port of the web page on 127.0.0.1; 0 for any free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub(crate) page_port: u16,
    /// End with status 1 when any request was refused, or was not as Datadog wants it
    #[arg(long)]
    pub(crate) strict: bool,
    /// Speak HTTPS (HTTP/1.1 and HTTP/2) with an authority of this run
    #[arg(long)]
    pub(crate) tls: bool,
    /// Where the authority's certificate is written, for DD_TLS_CERT_FILE [default: .dd-lambda/ca.pem]
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(crate) ca_out: Option<PathBuf>,
    /// An API key that is good, the rest is answered 403. May be given more than once [default: any key is good]
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Vec<String>,
    /// Answer 429 to more than so many requests in so many seconds
    #[arg(long, value_name = "REQUESTS/SECONDS", value_parser = rate)]
    pub(crate) rate: Option<RateLimit>,
    /// End after this many requests instead of at Ctrl-C
    #[arg(long, value_name = "REQUESTS")]
    pub(crate) requests: Option<u64>,
    /// Print a line of JSON for each request on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Say what this machine lacks, and which feature needs it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 all that is required is there, 1 something required is not.\n\n\
    Examples:\n  dd-lambda doctor\n  dd-lambda doctor --json | jq '.[] | select(.found | not)'")]
pub(crate) struct DoctorArgs {
    /// Print JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print what a shell needs to complete these commands.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  source <(dd-lambda completions bash)\n  \
    dd-lambda completions zsh > ~/.zfunc/_dd-lambda\n  \
    dd-lambda completions fish > ~/.config/fish/completions/dd-lambda.fish")]
pub(crate) struct CompletionsArgs {
    pub(crate) shell: clap_complete::Shell,
}

/// `100/60`
fn rate(text: &str) -> Result<RateLimit, String> {
    let read = |(requests, seconds): (&str, &str)| {
        let seconds = seconds.parse().ok().filter(|seconds| *seconds > 0)?;
        Some(RateLimit { requests: requests.parse().ok()?, period: Duration::from_secs(seconds), path: None })
    };
    text.split_once('/').and_then(read).ok_or_else(|| "such as 100/60: 100 requests in 60 seconds".to_owned())
}

/// `cargo demo -- --exit` arrives as `demo -- --exit`: the separator was meant for cargo.
pub(crate) fn without_separator(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    args.enumerate().filter(|(at, arg)| *at != 2 || arg != "--").map(|(_, arg)| arg)
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
        check("dd-lambda dev --package a.b=c", "letters, digits");
        check("dd-lambda dev --command x=", "the command is empty");
        check("dd-lambda dev --function x=/bin/sh --mode warm", "provisioned-concurrency[:SANDBOXES]");
        check("dd-lambda dev --function x=/bin/sh --timeout 0", "above 0");
        check("dd-lambda dev --function x=/bin/sh --exit", "--event");
        check("dd-lambda run", "<FILE>");
        check("dd-lambda completions tcsh", "bash");
    }

    #[test]
    fn functions_are_programs_and_packages() {
        let line = "dd-lambda dev --function a=/bin/sh --package b --package c=d --memory 64 --no-extension";
        let Command::Dev(args) = parse(line).unwrap().command else { panic!("{line}") };
        let specs = args.functions.specs();
        let names: Vec<_> = specs.iter().map(|spec| format!("{} {:?}", spec.name, spec.program)).collect();
        assert_eq!(names.len(), 3);
        assert_eq!(names[1..], [r#"b Package("b")"#, r#"c Package("d")"#]);
        assert_eq!(specs[0].memory_mb, Some(64));
    }

    #[test]
    fn every_command_teaches() {
        for command in Args::command().get_subcommands_mut().filter(|c| !c.is_hide_set()) {
            let name = command.get_name().to_owned();
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:"), "{name} has no example");
            assert!(help.contains("dd-lambda ") || help.contains("cargo "), "{name}");
        }
    }
}
