//! What the function runs on, from what Lambda says when it initialises: a fact, not a guess from processes.

use model::{InitStart, Text, keys::lambda};

/// A version of a runtime that has this in its name runs durable functions.
const DURABLE: &str = "DurableFunction";

/// Whether the function is durable.
pub(crate) fn is_durable(init: &InitStart) -> bool {
    init.runtime_version.as_deref().is_some_and(|version| version.contains(DURABLE))
}

/// The tags that follow, `key:value`.
pub(crate) fn tags(init: &InitStart) -> Vec<Text> {
    let version = init.runtime_version.as_deref().unwrap_or_default();
    let mut tags: Vec<Text> = Vec::new();
    if let Some(runtime) = identifier(version) {
        tags.push(format!("{}:{runtime}", lambda::RUNTIME).into());
    }
    if is_durable(init) {
        tags.push(format!("{}:true", lambda::DURABLE_FUNCTION).into());
    }
    tags
}

/// The identifier of a runtime as users choose it, of its version: `python3.12` of `python:3.12.v36`.
/// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html>
fn identifier(version: &str) -> Option<String> {
    let (family, rest) = version.split_once(':')?;
    let parts = rest.split('.').filter(|part| *part != DURABLE && !is_build(part));
    let version = parts.collect::<Vec<_>>().join(".");
    Some(match family {
        _ if version.is_empty() => return None,
        "nodejs" => format!("{family}{version}.x"),
        "provided" => format!("{family}.{version}"),
        _ => format!("{family}{version}"),
    })
}

/// `v36`
fn is_build(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|number| number.chars().all(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        let check = |version: &str, want: Option<&str>| {
            assert_eq!(identifier(version).as_deref(), want, "{version}");
        };
        check("python:3.12.v36", Some("python3.12"));
        check("nodejs:20.v40", Some("nodejs20.x"));
        check("java:8.al2.v12", Some("java8.al2"));
        check("provided:al2023.v95", Some("provided.al2023"));
        check("provided:al2023", Some("provided.al2023"));
        check("dotnet:8.v1", Some("dotnet8"));
        check("python:3.13.DurableFunction.v6", Some("python3.13"));
        check("python", None);
        check("python:v3", None);
        check("", None);
    }
}
