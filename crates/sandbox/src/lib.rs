//! A local Lambda: real processes, real sockets, the rules of `platform`. For `dd-lambda` and for the process
//! tests of the extension and of the library; not for production.
//!
//! A function has as many sandboxes (execution environments) as it has invocations at a time, up to a limit. Each is
//! the function's process, one process per extension, and one HTTP server that speaks the Runtime, Extensions and
//! Telemetry API. All decisions are taken by [`platform::Platform`] and [`platform::Fleet`]; this crate carries them
//! out.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use sandbox::{FunctionConfig, InvokeOptions, Lambda, LambdaConfig};
//!
//! let function = FunctionConfig::new("orders", ["target/debug/orders"]).extension("target/debug/datadog-agent");
//! let lambda = Lambda::start(vec![function], LambdaConfig::default()).await?;
//! let answer = lambda.invoke("orders", "{}".into(), InvokeOptions::default()).await?;
//! println!("{:?}", answer.payload);
//! lambda.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod api;
mod cgroup;
mod clock;
mod config;
mod driver;
mod endpoint;
mod environment;
mod events;
mod eventstream;
mod faults;
mod functions;
mod ids;
mod inside;
mod invoke;
mod lambda;
mod leash;
mod log;
mod memory;
mod pool;
mod ports;
mod private;
mod process;
mod recorded;
mod telemetry;
mod timeline;

pub use api::StreamLimit;
pub use cgroup::memory_limit;
pub use config::{Destination, FunctionConfig, LambdaConfig};
pub use events::EventRecord;
pub use faults::{Batches, ClockJump, Faults, Kill};
pub use inside::inside;
pub use invoke::{
    InvocationType, InvokeError, InvokeOptions, InvokeResult, MAX_ASYNC_EVENT_BYTES,
    MAX_CLIENT_CONTEXT_BYTES, MAX_EVENT_BYTES,
};
pub use lambda::{Lambda, StartError};
pub use platform::Mode;
pub use recorded::{RecordedAnswer, RecordedInvocation};
pub use timeline::{Process, TimelineEvent, What};
