//! The tracers' protocol `/v1.0/traces`: msgpack maps with numbers for keys, in which a text is written out
//! the first time and named by its index from then on.
//! <https://github.com/DataDog/datadog-agent/tree/main/pkg/proto/pbgo/trace/idx>
//!
//! Gives what `/v0.7/traces` gives. Attributes have types here: numbers become metrics, bytes opaque
//! structures, everything else tags. [`encode`] is for tests.

mod decode;
mod encode;
mod strings;
#[cfg(test)]
mod tests;

pub(crate) use decode::Read;
pub use decode::decode;
pub use encode::encode;

/// Keys of the maps, as the protocol numbers them.
mod field {
    pub(super) mod payload {
        pub(crate) const STRINGS: u64 = 1;
        pub(crate) const CONTAINER_ID: u64 = 2;
        pub(crate) const LANGUAGE: u64 = 3;
        pub(crate) const LANGUAGE_VERSION: u64 = 4;
        pub(crate) const TRACER_VERSION: u64 = 5;
        pub(crate) const RUNTIME_ID: u64 = 6;
        pub(crate) const ENV: u64 = 7;
        pub(crate) const HOSTNAME: u64 = 8;
        pub(crate) const APP_VERSION: u64 = 9;
        pub(crate) const ATTRIBUTES: u64 = 10;
        pub(crate) const CHUNKS: u64 = 11;
    }
    pub(super) mod chunk {
        pub(crate) const PRIORITY: u64 = 1;
        pub(crate) const ORIGIN: u64 = 2;
        pub(crate) const ATTRIBUTES: u64 = 3;
        pub(crate) const SPANS: u64 = 4;
        pub(crate) const TRACE_ID: u64 = 6;
        pub(crate) const SAMPLING_MECHANISM: u64 = 7;
    }
    pub(super) mod span {
        pub(crate) const SERVICE: u64 = 1;
        pub(crate) const NAME: u64 = 2;
        pub(crate) const RESOURCE: u64 = 3;
        pub(crate) const SPAN_ID: u64 = 4;
        pub(crate) const PARENT_ID: u64 = 5;
        pub(crate) const START: u64 = 6;
        pub(crate) const DURATION: u64 = 7;
        pub(crate) const ERROR: u64 = 8;
        pub(crate) const ATTRIBUTES: u64 = 9;
        pub(crate) const TYPE: u64 = 10;
        pub(crate) const LINKS: u64 = 11;
        pub(crate) const EVENTS: u64 = 12;
        pub(crate) const ENV: u64 = 13;
        pub(crate) const VERSION: u64 = 14;
        pub(crate) const COMPONENT: u64 = 15;
        pub(crate) const KIND: u64 = 16;
    }
    pub(super) mod link {
        pub(crate) const TRACE_ID: u64 = 1;
        pub(crate) const SPAN_ID: u64 = 2;
        pub(crate) const ATTRIBUTES: u64 = 3;
        pub(crate) const TRACESTATE: u64 = 4;
        pub(crate) const FLAGS: u64 = 5;
    }
    pub(super) mod event {
        pub(crate) const TIME: u64 = 1;
        pub(crate) const NAME: u64 = 2;
        pub(crate) const ATTRIBUTES: u64 = 3;
    }
}

/// What stands before an attribute's value.
mod kind {
    pub(super) const TEXT: u64 = 1;
    pub(super) const BOOL: u64 = 2;
    pub(super) const DOUBLE: u64 = 3;
    pub(super) const INT: u64 = 4;
    pub(super) const BYTES: u64 = 5;
    pub(super) const ARRAY: u64 = 6;
    pub(super) const MAP: u64 = 7;
}
