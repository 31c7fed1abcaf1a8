//! The tags that all telemetry of this function carries, put together once at start.

use std::sync::Arc;

use model::{InitializationType, SharedTags, Tags, Text, keys};

use crate::io::Settings;
use crate::pricing;

/// Which tags of the function are taken: of `only`, if that is set, all but those of `exclude`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TagChoice {
    pub only: Option<Vec<Text>>,
    pub exclude: Vec<Text>,
}

impl TagChoice {
    fn takes(&self, key: &Text) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(key)) && !self.exclude.contains(key)
    }
}

/// The function's tags in the form that each signal needs, and its names.
#[derive(Clone)]
pub(crate) struct Labels {
    pub(crate) function_name: Text,
    pub(crate) function_arn: Text,
    /// The service of spans made here: `DD_SERVICE`, else the function's name. Lower case.
    pub(crate) service: Text,
    /// `DD_SERVICE`, lower case.
    pub(crate) configured_service: Option<Text>,
    pub(crate) env: Option<Text>,
    pub(crate) version: Option<Text>,
    /// Tags of every span.
    pub(crate) span: Arc<SharedTags<Text>>,
    /// `_dd.tags.function`.
    pub(crate) payload: Tags<Text>,
    /// `key:value` of every metric that is made here.
    pub(crate) metric: Vec<Text>,
    /// `key:value` of the function's own metrics.
    pub(crate) own_metric: Vec<Text>,
    /// Comma-separated, of every log entry.
    pub(crate) log: String,
    /// Dollars for a gigabyte-second, where they are known.
    pub(crate) price: Option<f64>,
}

impl Labels {
    pub(crate) fn new(settings: &Settings) -> Self {
        // What is borrowed stays so: these go on every span.
        let lower = |text: &Text| match text.chars().any(char::is_uppercase) {
            true => Text::from(text.to_lowercase()),
            false => text.clone(),
        };
        let configured_service = settings.service.as_ref().filter(|s| !s.is_empty()).map(lower);
        let mut tags: Vec<(Text, Text)> = settings.function_tags.clone();
        let unified = [
            (keys::trace::SERVICE, configured_service.clone()),
            (keys::trace::ENV, settings.env.clone()),
            (keys::trace::VERSION, settings.version.clone()),
        ];
        for (key, value) in unified {
            if let Some(value) = value.filter(|v| !v.is_empty() && !tags.iter().any(|(k, _)| k == key)) {
                tags.push((key.into(), value));
            }
        }
        let list: Vec<Text> = tags.iter().map(|(k, v)| format!("{k}:{v}").into()).collect();
        let own_metric = tags.iter().zip(&list).filter(|((key, _), _)| settings.metric_tags.takes(key));
        let own_metric = own_metric.map(|(_, tag)| tag.clone()).collect();
        let joined = list.join(",");
        let of_log = tags.iter().zip(&list).filter(|((key, _), _)| settings.log_tags.takes(key));
        let log = of_log.map(|(_, tag)| tag.as_ref()).collect::<Vec<_>>().join(",");
        let mut span: Vec<_> =
            tags.iter().filter(|(key, _)| settings.span_tags.takes(key)).cloned().collect();
        span.push((keys::lambda::ORIGIN.into(), keys::lambda::ORIGIN_LAMBDA.into()));
        span.push((keys::trace::ORIGIN.into(), keys::lambda::ORIGIN_LAMBDA.into()));
        let is = |key: &str, value: &str| tags.iter().any(|(k, v)| k == key && v == value);
        let region = tags.iter().find(|(k, _)| k == keys::lambda::REGION).map_or("", |(_, region)| region);
        let price = pricing::gigabyte_second(
            region,
            is(keys::lambda::ARCHITECTURE, "arm64"),
            is(keys::lambda::INIT_TYPE, InitializationType::ProvisionedConcurrency.as_str()),
        );
        Self {
            function_name: settings.function_name.clone(),
            function_arn: settings.function_arn.clone(),
            service: configured_service.clone().unwrap_or_else(|| lower(&settings.function_name)),
            configured_service,
            env: settings.env.clone().filter(|env| !env.is_empty()),
            version: settings.version.clone(),
            span: Arc::new(SharedTags::new(span)),
            payload: [(keys::trace::FUNCTION_TAGS, joined.clone())].into_iter().collect(),
            own_metric,
            metric: list,
            log,
            price,
        }
    }
}

/// The same for all of one sandbox: not worth printing with each stage.
impl std::fmt::Debug for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Labels").field("function_name", &self.function_name).finish_non_exhaustive()
    }
}
