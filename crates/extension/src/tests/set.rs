//! What holds whatever a `datadog.yaml` or a variable says. Called by the fuzz target, which has this module as its own,
//! and by the test that replays its corpus.

use super::{Config, settings};

/// A first byte that says which setting it is, and its value; with those that are left, the text of a file.
pub(crate) fn settings(bytes: &[u8]) {
    let Some((choice, text)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let setting = settings::all().nth(usize::from(*choice));
    let config = match setting {
        Some(setting) => Config::parse(|name| (name == setting.key).then(|| text.clone().into_owned())),
        None => Config::parse_with(|_| None, &text),
    };
    assert!(config.problems.len() <= 100 + text.len(), "{}", config.problems.len());
    for problem in &config.problems {
        let line = problem.to_string();
        // Each is a line in the log, and says what is used instead.
        assert!(
            !line.contains(['\n', '\r']) && line.len() <= 2000 && !problem.instead.is_empty(),
            "{line:?}"
        );
        let is_secret = setting.is_some_and(|setting| setting.secret);
        assert!(!is_secret || problem.value.is_none(), "{line}");
    }
}
