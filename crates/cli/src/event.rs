//! Events that people give: from a file or from standard input.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};

/// Largest event that Lambda takes.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const MAX_EVENT_BYTES: u64 = 6 << 20;

/// The JSON in a file; `-` is standard input.
pub(crate) fn read_event(path: &Path) -> anyhow::Result<String> {
    let mut event = String::new();
    let file: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).with_context(|| format!("--event {}", path.display()))?)
    };
    let read = file.take(MAX_EVENT_BYTES + 1).read_to_string(&mut event);
    let size = read.with_context(|| format!("--event {}", path.display()))?;
    if size as u64 > MAX_EVENT_BYTES {
        bail!("--event {}: Lambda takes events of up to {MAX_EVENT_BYTES} bytes", path.display());
    }
    if let Err(why) = serde_json::from_str::<serde::de::IgnoredAny>(&event) {
        bail!("--event {} is not JSON: {why}", path.display());
    }
    Ok(event)
}
