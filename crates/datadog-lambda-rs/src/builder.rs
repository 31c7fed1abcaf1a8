//! Settings in code, for those who would rather not have them in the environment.

use std::collections::HashMap;
use std::sync::Arc;

use lambda_runtime::Context as LambdaContext;
use serde_json::Value;

use crate::datadog::datadog_of;
use crate::init;
use crate::parent::Extractor;
use crate::settings::{self, Problem};

/// Begins [`init`](crate::init) with settings of your own; what is not set is read from the environment.
///
/// ```no_run
/// # fn main() {
/// datadog_lambda_rs::builder()
///     .service("orders")
///     .env("staging")
///     .set("DD_TRACE_SAMPLE_RATE", "0.25")
///     .extractor(|event, _| {
///         // Where our own broker puts the headers of the sender.
///         serde_json::from_value(event.pointer("/meta/trace")?.clone()).ok()
///     })
///     .init();
/// # }
/// ```
pub fn builder() -> Builder {
    Builder::default()
}

/// Made by [`builder`].
#[derive(Debug, Default)]
#[must_use = "nothing is set up until init is called"]
pub struct Builder {
    values: Vec<(String, String)>,
    extractor: Option<Extractor>,
}

impl Builder {
    /// Sets one of [`settings`](crate::settings), by the name of its variable. A value that cannot be used is
    /// reported in a log line, as one of the environment is.
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.values.push((key.to_owned(), value.into()));
        self
    }

    /// The service of the function's own spans: `DD_SERVICE`.
    pub fn service(self, service: impl Into<String>) -> Self {
        self.set("DD_SERVICE", service)
    }

    /// The tag `env`: `DD_ENV`.
    pub fn env(self, env: impl Into<String>) -> Self {
        self.set("DD_ENV", env)
    }

    /// The tag `version`: `DD_VERSION`.
    pub fn version(self, version: impl Into<String>) -> Self {
        self.set("DD_VERSION", version)
    }

    /// A way of your own to the caller's trace context: gets the event and Lambda's context, gives headers as
    /// they would come with an HTTP request, or `None` to have the event looked at as usual.
    pub fn extractor<F>(mut self, extract: F) -> Self
    where
        F: Fn(&Value, &LambdaContext) -> Option<HashMap<String, String>> + Send + Sync + 'static,
    {
        self.extractor = Some(Extractor(Arc::new(extract)));
        self
    }

    /// Installs everything, as [`init`](crate::init) does.
    pub fn init(self) {
        init::install(datadog_of(self));
    }

    /// Of several values of one setting the last counts.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        self.values.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.clone())
    }

    /// Names that are no setting: typing errors, most likely.
    pub(crate) fn unknown(&self) -> Vec<Problem> {
        let known = |key: &str| settings::settings().iter().any(|setting| setting.key == key);
        let unknown = self.values.iter().filter(|(key, _)| !known(key));
        unknown
            .map(|(key, _)| Problem {
                key: "builder",
                reason: format!("there is no setting {key:?}"),
                used: "",
            })
            .collect()
    }

    pub(crate) fn into_extractor(self) -> Option<Extractor> {
        self.extractor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn what_is_set_goes_before_the_environment() {
        let builder = builder().service("orders").env("dev").env("prod").set("DD_VERSON", "7");
        let (settings, problems) = Settings::from_env(|key| builder.value(key));
        assert_eq!((settings.service.as_deref(), settings.env.as_deref()), (Some("orders"), Some("prod")));
        assert_eq!(problems, []);
        let unknown: Vec<_> = builder.unknown().into_iter().map(|problem| problem.reason).collect();
        assert_eq!(unknown, [r#"there is no setting "DD_VERSON""#]);
    }
}
