//! A pathway: the chain of services and queues that a message has come along, as a hash and two times. It travels with
//! the message as text.

use std::time::Duration;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use model::UnixNanos;

use crate::{Edge, Node};

/// More than this is no pathway.
const MAX_TEXT: usize = 1024;

/// Where the work at hand is on its pathway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pathway {
    hash: u64,
    start: UnixNanos,
    edge_start: UnixNanos,
    before: Option<Before>,
}

/// The pathway as it was before the last change of direction: from there on go all that follow in the same direction,
/// so that a loop of sends is not a pathway that gets longer with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Before {
    out: bool,
    hash: u64,
    edge_start: UnixNanos,
}

/// That a message passed a point, to be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub edge: Edge,
    pub hash: u64,
    pub parent_hash: u64,
    pub at: UnixNanos,
    pub pathway_latency: Duration,
    pub edge_latency: Duration,
    /// Bytes of the message.
    pub size: usize,
}

impl Pathway {
    /// One that begins here.
    pub fn new(now: UnixNanos) -> Self {
        Self { hash: 0, start: now, edge_start: now, before: None }
    }

    /// What a message carries. One that cannot be read begins here.
    pub fn received(text: Option<&str>, now: UnixNanos) -> Self {
        text.and_then(Self::decode).unwrap_or_else(|| Self::new(now))
    }

    /// As messages carry it. What other tracers put behind it is left out.
    pub fn decode(text: &str) -> Option<Self> {
        const BASE64: GeneralPurpose = GeneralPurpose::new(
            &base64::alphabet::STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let bytes = BASE64.decode(text.get(..text.len().min(MAX_TEXT))?).ok()?;
        let (hash, mut rest) = bytes.split_first_chunk::<8>()?;
        let hash = u64::from_le_bytes(*hash);
        let start = millis(&mut rest)?;
        let edge_start = millis(&mut rest)?;
        Some(Self { hash, start, edge_start, before: None })
    }

    /// The text for a message.
    pub fn encode(&self) -> String {
        let mut bytes = self.hash.to_le_bytes().to_vec();
        for time in [self.start, self.edge_start] {
            // A time before 2262 is positive, and twice it fits.
            let mut left = time.as_millis() << 1;
            while left >= 0x80 {
                bytes.push(left as u8 | 0x80);
                left >>= 7;
            }
            bytes.push(left as u8);
        }
        BASE64_STANDARD.encode(bytes)
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Goes over an edge of a service: what is to be counted of it.
    pub fn pass(&mut self, node: &Node, edge: Edge, size: usize, now: UnixNanos) -> Checkpoint {
        match self.before.filter(|before| before.out == edge.out) {
            Some(Before { hash: 0, .. }) => (self.hash, self.start, self.edge_start) = (0, now, now),
            Some(before) => (self.hash, self.edge_start) = (before.hash, before.edge_start),
            None => self.before = Some(Before { out: edge.out, hash: self.hash, edge_start: now }),
        }
        let parent_hash = self.hash;
        self.hash = node.hash(&edge, parent_hash);
        let edge_latency = now.since(self.edge_start);
        self.edge_start = now;
        let pathway_latency = now.since(self.start);
        Checkpoint { edge, hash: self.hash, parent_hash, at: now, pathway_latency, edge_latency, size }
    }
}

/// A zigzag varint of milliseconds, of at most nine bytes.
fn millis(rest: &mut &[u8]) -> Option<UnixNanos> {
    let mut value = 0u64;
    for n in 0..9 {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        let bits = if n == 8 { u64::from(*byte) } else { u64::from(byte & 0x7f) };
        value |= bits << (7 * n);
        if byte & 0x80 == 0 {
            break;
        }
    }
    // Negative times are before 1970, and no one's.
    let limit = u64::MAX / 1_000_000;
    (value & 1 == 0 && value >> 1 <= limit).then(|| UnixNanos::from_millis(value >> 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixNanos = UnixNanos::from_millis(1_685_673_482_722);
    const EDGE: UnixNanos = UnixNanos::from_millis(1_685_673_506_404);

    /// What tracers of all languages write and read.
    #[test]
    fn the_text_is_everybodys() {
        let hash = u64::from_le_bytes([0x67, 0xb0, 0xb3, 0x5e, 0x65, 0xc0, 0xac, 0xfa]);
        let pathway = Pathway { hash, start: START, edge_start: EDGE, before: None };
        assert_eq!(pathway.encode(), "Z7CzXmXArPrE58Cfj2LI2cOfj2I=");
        for text in [
            "Z7CzXmXArPrE58Cfj2LI2cOfj2I=",
            "Z7CzXmXArPrE58Cfj2LI2cOfj2I",
            "Z7CzXmXArPrE58Cfj2LI2cOfj2IAAAAA",
        ] {
            assert_eq!(Pathway::decode(text).as_ref(), Some(&pathway), "{text}");
        }
        let of_python = Pathway { hash: 1_457_025_093_205_510_861, ..pathway };
        assert_eq!(of_python.encode(), "zUpYRZpkOBTE58Cfj2LI2cOfj2I=");
    }

    #[test]
    fn what_is_no_pathway_begins_one() {
        let odd = [
            "",
            "=",
            "AAAA",
            "Z7CzXmXArPo=",
            "Z7CzXmXArPrE58Cfj2I=",
            "Z7CzXmXArPr/////////////////////////////",
            "\u{e9}",
        ];
        for text in odd {
            assert_eq!(Pathway::received(Some(text), EDGE), Pathway::new(EDGE), "{text}");
        }
        assert_eq!(Pathway::received(None, EDGE), Pathway::new(EDGE));
        assert_eq!(Pathway::decode(&"A".repeat(10_000)).map(|pathway| pathway.hash), Some(0));
    }

    fn at(second: u64) -> UnixNanos {
        UnixNanos::from_secs(1000 + second)
    }

    #[test]
    fn a_pathway_gets_longer_with_each_change_of_direction() {
        let node = Node::new("shop", None);
        let (into, out) = (Edge::consume("sqs", "a"), Edge::produce("sqs", "b"));
        let mut pathway = Pathway::new(at(0));
        let sent = pathway.pass(&node, out.clone(), 10, at(0));
        assert_eq!(
            (sent.parent_hash, sent.edge_latency, sent.pathway_latency),
            (0, Duration::ZERO, Duration::ZERO)
        );
        let mut pathway = Pathway::decode(&pathway.encode()).unwrap();
        let taken = pathway.pass(&node, into, 10, at(3));
        assert_eq!((taken.parent_hash, taken.edge_latency), (sent.hash, Duration::from_secs(3)));
        // Both are sent of what was taken.
        for (after, topic) in [(5, "b"), (9, "c")] {
            let more = pathway.pass(&node, Edge::produce("sqs", topic), 10, at(after));
            assert_eq!(more.parent_hash, taken.hash, "{topic}");
            assert_eq!(more.pathway_latency, Duration::from_secs(after));
        }
        assert_ne!(pathway.hash(), sent.hash);
        assert_eq!(sent.hash, Pathway::new(at(7)).pass(&node, out, 1, at(8)).hash);
    }

    #[test]
    fn sends_in_a_loop_begin_anew() {
        let node = Node::new("shop", None);
        let mut pathway = Pathway::new(at(0));
        let all: Vec<_> = (0..3).map(|n| pathway.pass(&node, Edge::produce("sqs", "a"), 1, at(n))).collect();
        assert!(all.iter().all(|one| one.hash == all[0].hash && one.parent_hash == 0), "{all:?}");
        assert!(all.iter().all(|one| one.pathway_latency.is_zero()));
    }
}
