//! What was invoked under `dd-lambda dev`, kept for `dd-lambda replay`: one line of JSON each in
//! `.dd-lambda/invocations.jsonl`, the last [`MAX_ENTRIES`] of them. The folder tells git to ignore it. That nothing
//! can be kept is said once and changes nothing else.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sandbox::RecordedInvocation;
use serde::{Deserialize, Serialize};

use crate::function::Spec;
use crate::run::say;

const FOLDER: &str = ".dd-lambda";
const FILE: &str = "invocations.jsonl";
const MAX_ENTRIES: usize = 200;

/// One invocation, with what it takes to make it again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) request_id: String,
    pub(crate) time: String,
    pub(crate) function: Spec,
    /// JSON text, byte by byte as it came.
    pub(crate) event: String,
    pub(crate) client_context: Option<String>,
    pub(crate) trace_header: String,
    pub(crate) tenant_id: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    last_number: u64,
    lines: usize,
    broken: bool,
}

impl Journal {
    /// Of the functions that run in this folder.
    pub(crate) fn open(folder: &Path) -> Self {
        let path = folder.join(FOLDER).join(FILE);
        let lines = fs::read_to_string(&path).map_or(0, |text| text.lines().count());
        Self { path, last_number: 0, lines, broken: false }
    }

    /// The number of the last invocation of this Lambda that is in it.
    pub(crate) fn last_number(&self) -> u64 {
        self.last_number
    }

    pub(crate) fn add(&mut self, spec: &Spec, invocation: &RecordedInvocation) {
        self.last_number = self.last_number.max(invocation.number);
        if self.broken {
            return;
        }
        let entry = Entry {
            request_id: invocation.request_id.to_string(),
            time: invocation.at.to_rfc3339_millis(),
            function: spec.clone(),
            event: String::from_utf8_lossy(&invocation.payload).into_owned(),
            client_context: invocation.client_context.clone(),
            trace_header: invocation.trace_header.clone(),
            tenant_id: invocation.tenant_id.clone(),
        };
        if let Err(why) = self.write(&entry) {
            self.broken = true;
            say("replay", &format!("invocations are not kept: {}: {why:#}", self.path.display()));
        }
    }

    fn write(&mut self, entry: &Entry) -> anyhow::Result<()> {
        if self.lines == 0 {
            make(self.path.parent().unwrap_or(Path::new(".")))?;
        }
        if self.lines >= 2 * MAX_ENTRIES {
            let text = fs::read_to_string(&self.path)?;
            let skip = text.lines().count().saturating_sub(MAX_ENTRIES - 1);
            let kept: String = text.lines().skip(skip).flat_map(|line| [line, "\n"]).collect();
            let new = self.path.with_extension("new");
            fs::write(&new, kept)?;
            fs::rename(&new, &self.path)?;
            self.lines = MAX_ENTRIES - 1;
        }
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
        writeln!(file, "{}", serde_json::to_string(entry)?)?;
        self.lines += 1;
        Ok(())
    }
}

/// Where things of this folder are kept: made, and told to git.
pub(crate) fn folder(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join(FOLDER);
    make(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}

fn make(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(".gitignore"), "*\n")
}

/// What was kept in this folder, oldest first.
pub(crate) fn entries(folder: &Path) -> anyhow::Result<Vec<Entry>> {
    let path = folder.join(FOLDER).join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            bail!("nothing was recorded at {}: `dd-lambda dev` records what it runs", path.display())
        }
        Err(why) => return Err(why).with_context(|| path.display().to_string()),
    };
    // A line that is cut, or of another version, is passed over.
    let entries: Vec<Entry> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let skip = entries.len().saturating_sub(MAX_ENTRIES);
    Ok(entries.into_iter().skip(skip).collect())
}

#[cfg(test)]
mod tests {
    use super::{Journal, MAX_ENTRIES, entries};
    use crate::function::{Program, Spec};
    use crate::temporary::Folder;
    use model::{RequestId, UnixNanos};
    use sandbox::RecordedInvocation;

    #[test]
    fn the_last_invocations_are_kept() {
        let folder = Folder::new().unwrap();
        let spec = Spec::new("f", Program::Command(vec!["./f".to_owned()]));
        let mut journal = Journal::open(folder.path());
        assert!(entries(folder.path()).unwrap_err().to_string().contains("dd-lambda dev"));
        for number in 1..=500 {
            let invocation = RecordedInvocation {
                number,
                at: UnixNanos::from_secs(number),
                function: "f".to_owned(),
                request_id: RequestId::new(&format!("id-{number}")).unwrap(),
                payload: format!("{{ \"n\": {number} }}").into(),
                client_context: None,
                trace_header: "Root=1".to_owned(),
                tenant_id: None,
                answer: None,
            };
            journal.add(&spec, &invocation);
        }
        assert_eq!(journal.last_number(), 500);
        let kept = entries(folder.path()).unwrap();
        assert_eq!(kept.len(), MAX_ENTRIES);
        let last = kept.last().unwrap();
        assert_eq!((last.request_id.as_str(), last.event.as_str()), ("id-500", "{ \"n\": 500 }"));
        assert_eq!(last.function.name, "f");
        let ignore = std::fs::read_to_string(folder.path().join(".dd-lambda/.gitignore")).unwrap();
        assert_eq!(ignore, "*\n");
    }
}
