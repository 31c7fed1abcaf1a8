//! The names in a pathway: a service, and what it sends to or takes from. They are hashed as Datadog's tracers for
//! Python, Go and Java hash them, so that the same service is the same node whichever of them it is written with.

/// A service as a node of pathways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Service and environment.
    name: String,
}

/// A way in or out of a service, by its tags.
///
/// ```
/// let edge = streams::Edge::produce("sqs", "orders");
/// assert_eq!(edge.tags(), ["direction:out", "topic:orders", "type:sqs"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    pub(crate) out: bool,
    tags: Vec<String>,
}

impl Node {
    /// Without an environment it is the one named `none`.
    pub fn new(service: &str, env: Option<&str>) -> Self {
        Self { name: format!("{service}{}", env.unwrap_or("none")) }
    }

    /// The hash of a pathway that comes from `parent` and passes an edge of this service.
    pub(crate) fn hash(&self, edge: &Edge, parent: u64) -> u64 {
        let tags = edge.tags.iter().map(String::as_bytes);
        let node = fnv([self.name.as_bytes()].into_iter().chain(tags));
        fnv([&node.to_le_bytes()[..], &parent.to_le_bytes()[..]].into_iter())
    }
}

impl Edge {
    /// Sending to a queue, topic or stream. `kind` is `sqs`, `sns` or `kinesis`.
    pub fn produce(kind: &str, topic: &str) -> Self {
        Self::new(true, vec!["direction:out".to_owned(), format!("topic:{topic}"), format!("type:{kind}")])
    }

    /// Taking from one.
    pub fn consume(kind: &str, topic: &str) -> Self {
        Self::new(false, vec!["direction:in".to_owned(), format!("topic:{topic}"), format!("type:{kind}")])
    }

    /// With the event bus in between.
    #[must_use]
    pub fn through(mut self, bus: &str) -> Self {
        self.tags.push(format!("exchange:{bus}"));
        Self::new(self.out, self.tags)
    }

    /// Sorted.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    fn new(out: bool, mut tags: Vec<String>) -> Self {
        tags.sort_unstable();
        Self { out, tags }
    }
}

/// FNV-1 of 64 bits. <https://datatracker.ietf.org/doc/html/rfc9923>
fn fnv<'a>(parts: impl Iterator<Item = &'a [u8]>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    parts.flatten().fold(OFFSET, |hash, byte| hash.wrapping_mul(PRIME) ^ u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_other_tracers() {
        let out = Edge::produce("sqs", "my-queue");
        let first = Node::new("my-svc", Some("prod")).hash(&out, 0);
        assert_eq!(first, 1_457_025_093_205_510_861);
        let into = Edge::consume("sqs", "arn:aws:sqs:us-east-1:123456789012:my-queue");
        assert_eq!(Node::new("other-svc", Some("prod")).hash(&into, first), 4_287_093_726_462_857_044);
    }

    #[test]
    fn tags_are_sorted() {
        let edge = Edge::produce("eventbridge", "order created").through("default");
        assert_eq!(
            edge.tags(),
            ["direction:out", "exchange:default", "topic:order created", "type:eventbridge"]
        );
    }
}
