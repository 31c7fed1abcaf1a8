//! Where the API key comes from: which requests get it from Secrets Manager, Parameter Store, KMS or Datadog, and
//! what their answers mean.
//!
//! Also how a proxy is asked for a tunnel, which both have to know who send requests for the key.
//!
//! Not here: sockets, TLS, time. Whoever wants the key asks a [`Resolution`] what to do and tells it what came of
//! it; the extension and the library do so, each with its own HTTP client.
//!
//! ```
//! use model::UnixNanos;
//! use secrets::{EXTENSION_ORDER, Resolution, Settings, Step};
//!
//! let settings = Settings { api_key: Some("0123456789abcdef0123456789abcdef\n".into()), ..Settings::default() };
//! let mut resolution = Resolution::new(&settings, EXTENSION_ORDER, 7);
//! let Step::Done(resolved) = resolution.next(UnixNanos::from_secs(1_700_000_000)) else {
//!     unreachable!("a plain key needs no request")
//! };
//! assert_eq!(resolved.key.unwrap().as_str(), "0123456789abcdef0123456789abcdef");
//! ```

mod container;
mod delegated;
mod failure;
mod key;
mod proxy;
mod request;
mod resolution;
mod service;
mod settings;
mod sign;

#[cfg(test)]
mod tests;

pub use failure::Failure;
pub use key::ApiKey;
pub use proxy::{Exceptions, MAX_ANSWER, Proxy, Tunnel};
pub use request::{Base, Request};
pub use resolution::{Resolution, Resolved, Step};
pub use settings::{Credentials, EXTENSION_ORDER, Endpoints, Kind, LIBRARY_ORDER, Settings, is_ciphertext};
