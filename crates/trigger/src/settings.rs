//! What the user can set about reading events. Plain values: who reads them from the environment parses
//! them here.

use propagation::{Behavior, Style};

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `DD_TRACE_PROPAGATION_STYLE_EXTRACT`.
    pub extract_styles: Vec<Style>,
    /// `DD_TRACE_PROPAGATION_EXTRACT_FIRST`.
    pub extract_first: bool,
    /// `DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT`.
    pub extract_behavior: Behavior,
    /// `DD_SERVICE_MAPPING`.
    pub service_mapping: ServiceMapping,
    /// `DD_TRACE_MANAGED_SERVICES`: whether spans of managed services are inferred.
    pub managed_services: bool,
    /// `DD_TRACE_AWS_SERVICE_REPRESENTATION_ENABLED`: whether an inferred span's service is the instance
    /// (`orders-queue`) or what it is an instance of (`sqs`).
    pub service_representation: bool,
    /// `DD_DECODE_AUTHORIZER_CONTEXT`: whether the context that a Lambda authorizer left is used.
    pub decode_authorizer: bool,
    /// `DD_TRACE_AWS_ADD_SPAN_POINTERS`: whether links say which object or item an event is about.
    pub span_pointers: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            extract_styles: propagation::DEFAULT_STYLES.to_vec(),
            extract_first: false,
            extract_behavior: Behavior::Continue,
            service_mapping: ServiceMapping::default(),
            managed_services: true,
            service_representation: true,
            decode_authorizer: true,
            span_pointers: true,
        }
    }
}

/// New names for services, by the name of an instance or by a key for all of one kind, such as
/// `lambda_sqs`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ServiceMapping(Vec<(String, String)>);

impl ServiceMapping {
    /// Reads `key:value,key2:value2`. Entries that are malformed or map a name to itself are left out.
    pub fn parse(text: &str) -> Self {
        let entry = |pair: &str| {
            let (key, value) = pair.split_once(':')?;
            let (key, value) = (key.trim(), value.trim());
            let valid = !key.is_empty() && !value.is_empty() && !value.contains(':') && key != value;
            valid.then(|| (key.to_owned(), value.to_owned()))
        };
        Self(text.split(',').filter_map(entry).collect())
    }

    /// The new name under a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_keeps_what_is_well_formed() {
        let mapping = ServiceMapping::parse(" a:b, lambda_sqs : queues ,same:same,:x,y:,z,1:2:3,,a:c");
        assert_eq!(
            mapping.0,
            [("a", "b"), ("lambda_sqs", "queues"), ("a", "c")].map(|(k, v)| (k.into(), v.into()))
        );
        assert_eq!(mapping.get("a"), Some("c"));
        assert_eq!(mapping.get("same"), None);
    }
}
