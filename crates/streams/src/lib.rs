//! Pathways of messages, for Data Streams Monitoring: what a message carries of where it has come from, what is counted
//! when it passes a service, and how both libraries find the pathway that the work at hand goes on.
//!
//! Not here: what is in a message (`trigger`, `datadog-aws-sdk`), the bytes that an agent is sent (`wire`), and sending
//! them, which each library does in its own way.
//! <https://docs.datadoghq.com/data_streams/>

mod buckets;
mod edge;
mod pathway;
mod scope;

pub use buckets::Streams;
pub use edge::{Edge, Node};
pub use pathway::{Checkpoint, Pathway};
pub use scope::Scope;
