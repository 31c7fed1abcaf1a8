//! What `dev` builds anew, as the page and `--json` tell it.

use model::UnixNanos;
use serde::Serialize;

/// The last time that a function was built because of an edit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rebuilt {
    pub(crate) function: String,
    pub(crate) state: State,
    /// The file that was edited.
    pub(crate) changed: String,
    #[serde(rename = "start_ns", serialize_with = "nanos")]
    pub(crate) start: UnixNanos,
    /// `None` while it is built, and where the program was changed by somebody else.
    pub(crate) took_ns: Option<u64>,
    pub(crate) end_ns: Option<u64>,
    /// What the compiler says, where it does not build.
    pub(crate) why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Building,
    /// The function serves on as it was.
    Failed,
    /// The next invocation is answered by the new one.
    Swapped,
}

impl Rebuilt {
    pub(crate) fn begun(function: &str, changed: &std::path::Path, start: UnixNanos) -> Self {
        let (function, changed) = (function.to_owned(), changed.display().to_string());
        Self { function, state: State::Building, changed, start, took_ns: None, end_ns: None, why: None }
    }

    /// The next invocation is answered by the new one, which was built here or by somebody else.
    pub(crate) fn swapped(mut self, is_built: bool, now: UnixNanos) -> Self {
        self.took_ns = u64::try_from(now.since(self.start).as_nanos()).ok().filter(|_| is_built);
        self.end_ns = Some(now.as_nanos());
        self.state = State::Swapped;
        self
    }

    /// It did not build.
    pub(crate) fn failed(mut self, why: String, now: UnixNanos) -> Self {
        self.end_ns = Some(now.as_nanos());
        self.state = State::Failed;
        self.why = Some(why);
        self
    }
}

fn nanos<S: serde::Serializer>(time: &UnixNanos, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(time.as_nanos())
}
