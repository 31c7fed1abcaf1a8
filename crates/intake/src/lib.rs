//! A local Datadog: takes what an agent sends, decodes it, keeps it (bounded), answers questions about it, and
//! fails when told to. For `dd-lambda` and for process tests; it has no accounts, no indexes and forgets
//! everything when it stops.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use std::time::{Duration, Instant};
//! let intake = intake::Intake::start().await?;
//! println!("DD_DD_URL={0} DD_APM_DD_URL={0} DD_LOGS_CONFIG_LOGS_DD_URL={0}", intake.url());
//! let deadline = Instant::now() + Duration::from_secs(5);
//! let arrived = intake.store().wait_until(|state| state.counts().spans > 0, deadline).await;
//! # let _ = arrived;
//! # Ok(())
//! # }
//! ```
//!
//! # What it takes
//! `POST /api/v0.2/traces`, `/api/v0.2/stats`, `/api/v2/series` (JSON, or the agent's protobuf), `/api/beta/sketches`,
//! `/api/v2/logs`, with gzip, deflate, zstd or nothing around it, over HTTP/1.1 or HTTP/2, without TLS or with an
//! authority of its own ([`Settings::tls`]). And what libraries send themselves: the older intakes
//! `POST /api/v1/series`, `/api/v1/distribution_points`, `/v1/input`, events and service checks, and `GET
//! /api/v1/validate`. Any other path is kept as a raw request. As at Datadog a request without `DD-API-KEY` is refused (401 for logs, 403 elsewhere), what cannot be read is
//! answered 400, what is over the documented size 413, an encoding that is not known 415, and the rest 202. Any key is
//! good, if none are set.
//!
//! # Strict
//! Every request is held against what Datadog documents, byte by byte and apart from the decoders. What it would refuse,
//! drop or change, and what is sent for nothing, is a [`Violation`]: counted, listed, and never a reason to answer
//! differently.
//!
//! # Query API
//! All answers are JSON. Trace ids are 32 hex digits, span ids decimal text, times RFC 3339 beside nanoseconds.
//!
//! | request | answer |
//! |---|---|
//! | `GET /local/state` | everything: see [`Snapshot`] |
//! | `GET /local/overview?last=N` | version, counts, what was dropped, and the last N (500) traces in one line each |
//! | `GET /local/traces` | all traces, each as a tree: spans depth first, with their `depth` |
//! | `GET /local/traces/{id}` | one trace; `id` in hex (32 or 16 digits) or decimal (the low half); 404 |
//! | `GET /local/logs?trace_id=&request_id=&function=&last=N` | log entries that match all that is given; the last N of them |
//! | `GET /local/metrics?name=` | counts, gauges and distributions with their points; `name` is a prefix |
//! | `GET /local/requests?errors=true&last=N` | every request: path, headers without the key, sizes, what went wrong |
//! | `GET /local/requests/{number}` | one request and what is in its body, decoded |
//! | `GET /local/requests/{number}/body` | its body unpacked, byte by byte |
//! | `GET /local/violations?request=N&last=N` | what of all requests, or of one, is not as Datadog wants it: see [`Violation`] |
//! | `GET /local/wait?after=V&traces=N&spans=N&logs=N&points=N&requests=N&trace_id=ID&timeout_ms=N` | waits until something is newer than version `after` and at least so much has arrived: `{"satisfied", "version", "counts"}`; at most 60 s, 10 s when not given |
//! | `POST /local/faults` `{"signal", "path", "status" or "hang" or "refuse" or "close" or "cut" or "delay_ms", "count", "probability"}` | the next `count` (1) requests, of one signal or below one path if given, are answered with `status`, never, by resetting the connection before or closing it after they were read, with half an answer, or that much later; with `probability`, that part of them, evenly |
//! | `GET /local/faults`, `DELETE /local/faults` | faults still to come; none |
//! | `PUT /local/rate` `{"requests", "period_secs", "path"}` | so many requests in each period, of those below the path if given; the rest are answered 429, with Datadog's headers |
//! | `GET /local/rate`, `DELETE /local/rate` | the limit, or `null`; none |
//! | `DELETE /local/state` | forgets all that arrived |

mod body;
mod decode;
mod fault;
mod id;
mod log;
mod metric;
mod metric_payload;
mod other;
mod query;
mod rate;
mod receive;
mod request;
mod serve;
mod store;
mod strict;
mod summary;
mod tls;
mod trace;

use std::io;
use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;

pub use fault::{Fault, FaultKind, Where};
pub use id::{parse_span_id, parse_trace_id};
pub use log::{LogFilter, LogView};
pub use metric::{MetricType, MetricView, Point, Value as MetricValue};
pub use rate::RateLimit;
pub use request::RequestView;
pub use store::{Counts, Dropped, Limits, Overview, Snapshot, State, Store};
pub use strict::Violation;
pub use summary::{Invoked, Pointer, TraceSummary};
pub use trace::{EventView, LinkView, Parent, SpanView, TraceView};

use fault::Faults;
use query::Control;
use rate::Rate;
use receive::Edge;
use serve::Server;
use tls::Tls;

/// What an intake is started with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub limits: Limits,
    /// Keys that are good, the rest is answered 403; any key, when there are none.
    pub keys: Vec<String>,
    /// Requests beyond it are answered 429.
    pub rate: Option<RateLimit>,
    /// Serves HTTPS, and nothing without TLS.
    pub tls: bool,
}

/// A running local Datadog. Dropping it closes its port and every connection.
#[derive(Debug)]
pub struct Intake {
    store: Store,
    control: Control,
    server: Server,
    authority: Option<String>,
}

impl Intake {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start() -> io::Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), Limits::default()).await
    }

    /// Listens where told, and holds as much as told.
    pub async fn start_on(address: SocketAddr, limits: Limits) -> io::Result<Self> {
        Self::start_with(address, Settings { limits, ..Settings::default() }).await
    }

    /// Listens where told, with everything as told.
    pub async fn start_with(address: SocketAddr, settings: Settings) -> io::Result<Self> {
        let Settings { limits, keys, rate: limit, tls } = settings;
        let listener = TcpListener::bind(address).await?;
        let (store, faults, rate) = (Store::new(limits), Faults::default(), Rate::default());
        rate.set(limit);
        let edge =
            Edge { store: store.clone(), faults: faults.clone(), rate: rate.clone(), keys: keys.into() };
        let refuse = faults.clone();
        let control = Control { faults, rate };
        let router = receive::router(edge).merge(query::router(store.clone(), control.clone()));
        let (acceptor, authority) = match tls.then(Tls::new).transpose()? {
            Some(Tls { acceptor, authority }) => (Some(acceptor), Some(authority)),
            None => (None, None),
        };
        let server = Server::start(listener, router, acceptor, refuse)?;
        Ok(Self { store, control, server, authority })
    }

    /// `http://127.0.0.1:port`, or `https://…` with TLS, without a slash at the end: what agents send to.
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.server.address())
    }

    /// The certificate as PEM that a client of an intake with TLS has to trust (`DD_TLS_CERT_FILE`); made anew at each
    /// start. `None` without TLS.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The query API alone, to be mounted in another server. It goes on answering after [`Intake::stop`].
    pub fn router(&self) -> Router {
        query::router(self.store.clone(), self.control.clone())
    }

    /// Makes the next requests fail.
    pub fn fail(&self, fault: Fault) {
        self.control.faults.add(fault, Where::default());
    }

    /// Makes some of the next requests fail: those below a path, and of those only a part.
    pub fn fail_where(&self, fault: Fault, place: Where) {
        self.control.faults.add(fault, place);
    }

    /// Forgets the faults that were asked for.
    pub fn recover(&self) {
        self.control.faults.clear();
    }

    /// Takes so many requests in a time and answers the rest with 429, or takes them all.
    pub fn limit_rate(&self, limit: Option<RateLimit>) {
        self.control.rate.set(limit);
    }

    /// Closes the port and every connection at once, answered or not. What arrived stays in the store.
    pub fn stop(&self) {
        self.server.stop();
    }
}
