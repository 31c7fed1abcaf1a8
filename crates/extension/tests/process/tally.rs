//! An intake that remembers nothing but what it has seen of each thing that a run sends, by number, and that fails
//! as often as it is told. For runs that are too long for `intake`, which keeps what it gets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::{Batch, Signal};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Unpacked bytes of one request.
const MAX_BYTES: usize = 64 << 20;
/// With HTTP/2: after so many requests it wants a new connection.
const LEAVES_AFTER: u64 = 20;

pub(crate) struct Tally {
    pub(crate) url: String,
    shared: Arc<Mutex<Seen>>,
}

/// What came, by kind.
#[derive(Default)]
pub(crate) struct Seen {
    /// Things that have a number, each of which should come once.
    pub(crate) numbered: BTreeMap<&'static str, Numbers>,
    /// Values of distributions, and sums of counts, by name.
    pub(crate) values: BTreeMap<String, f64>,
    /// What the extension says that it lost, by signal and reason.
    pub(crate) dropped: BTreeMap<(String, String), f64>,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// What could not be read, and why.
    pub(crate) unreadable: Vec<String>,
    /// Of a thousand requests, how many fail.
    failing: u64,
    draws: u64,
}

/// Which numbers came, and how often one came that had come before.
#[derive(Default)]
pub(crate) struct Numbers {
    bits: Vec<u64>,
    pub(crate) distinct: u64,
    pub(crate) again: u64,
}

impl Numbers {
    fn note(&mut self, number: u64) {
        let (at, bit) = (usize::try_from(number / 64).unwrap(), 1 << (number % 64));
        if self.bits.len() <= at {
            self.bits.resize(at + 1, 0);
        }
        if self.bits[at] & bit != 0 {
            self.again += 1;
        } else {
            self.bits[at] |= bit;
            self.distinct += 1;
        }
    }
}

/// How a request fails.
enum Failure {
    Status(u16),
    /// Read, and no answer.
    Close,
}

impl Seen {
    pub(crate) fn distinct(&self, kind: &str) -> u64 {
        self.numbered.get(kind).map_or(0, |numbers| numbers.distinct)
    }

    pub(crate) fn again(&self) -> u64 {
        self.numbered.values().map(|numbers| numbers.again).sum()
    }

    pub(crate) fn value(&self, name: &str) -> f64 {
        self.values.get(name).copied().unwrap_or_default()
    }

    /// All that the extension says it lost of a signal.
    pub(crate) fn lost(&self, signal: &str) -> f64 {
        self.dropped.iter().filter(|((of, _), _)| of == signal).map(|(_, count)| count).sum()
    }

    fn draw(&mut self) -> u64 {
        // splitmix64
        self.draws = self.draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.draws ^ (self.draws >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether this request fails. For good only where a loss can be counted one by one: of series, the counts of
    /// earlier losses would be lost too.
    fn failure(&mut self, signal: Signal) -> Option<Failure> {
        let (drawn, kind) = (self.draw() % 1000, self.draw() % 10);
        (drawn < self.failing).then_some(match (kind, signal) {
            (0, Signal::Traces | Signal::Logs) => Failure::Status(400),
            (0..=3, _) => Failure::Status(503),
            (4..=5, _) => Failure::Status(500),
            (6..=7, _) => Failure::Status(429),
            _ => Failure::Close,
        })
    }

    fn note(&mut self, kind: &'static str, number: Option<u64>) {
        match number {
            Some(number) => self.numbered.entry(kind).or_default().note(number),
            None => self.unreadable.push(format!("{kind} without a number")),
        }
    }

    fn take(&mut self, batch: Batch) {
        match batch {
            Batch::Traces(payloads) => {
                let chunks = payloads.into_iter().flat_map(|payload| payload.chunks);
                for span in chunks.flat_map(|chunk| chunk.spans) {
                    if span.name == "aws.lambda" {
                        let id = span.meta.get("request_id").map(ToString::to_string);
                        self.note("aws.lambda spans", id.as_deref().and_then(number));
                    } else {
                        self.note("spans", Some(span.span_id.get()));
                    }
                }
            }
            Batch::Logs(logs) => {
                for log in logs {
                    let id = log.request_id.as_ref().and_then(|id| number(id.as_str()));
                    match log.message.split(' ').next() {
                        Some("START") => self.note("START lines", id),
                        Some("END") => self.note("END lines", id),
                        Some("REPORT") => self.note("REPORT lines", id),
                        _ => self.note("log lines", log.message.rsplit(' ').next().and_then(number)),
                    }
                }
            }
            Batch::Series(all) => {
                for one in all {
                    let sum: f64 = one.points.iter().map(|(_, value)| value).sum();
                    if one.name == "datadog.serverless.extension.dropped" {
                        let tag = |key: &str| {
                            let tag = one.tags.iter().find_map(|tag| tag.strip_prefix(key));
                            tag.unwrap_or_default().to_owned()
                        };
                        *self.dropped.entry((tag("signal:"), tag("reason:"))).or_default() += sum;
                    }
                    *self.values.entry(one.name.to_string()).or_default() += sum;
                }
            }
            Batch::Sketches(all) => {
                for one in all {
                    let count: u64 = one.points.iter().map(|(_, sketch)| sketch.count()).sum();
                    *self.values.entry(one.name.to_string()).or_default() += count as f64;
                }
            }
            Batch::Stats(_) | Batch::Forwards(_) => {}
        }
    }
}

/// The number at the end of a name: 7 of `r-7`.
fn number(text: &str) -> Option<u64> {
    text.rsplit('-').next()?.parse().ok()
}

impl Tally {
    /// Of a thousand requests `failing` fail, which ones is drawn by the seed. Speaks HTTP/1.1, or HTTP/2 alone.
    pub(crate) async fn start(failing: u64, seed: u64, is_http2: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Mutex::new(Seen { failing, draws: seed, ..Seen::default() }));
        let noting = shared.clone();
        tokio::spawn(async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                let seen = noting.clone();
                tokio::spawn(async move {
                    if is_http2 {
                        return serve_http2(tcp, &seen).await;
                    }
                    let service = service_fn(|request| answer(request, &seen));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
                });
            }
        });
        Self { url, shared }
    }

    /// From now on nothing fails.
    pub(crate) fn recover(&self) {
        self.shared.lock().unwrap().failing = 0;
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        look(&self.shared.lock().unwrap())
    }
}

async fn serve_http2(tcp: TcpStream, seen: &Arc<Mutex<Seen>>) {
    tcp.set_nodelay(true).unwrap();
    let (count, mut counted) = watch::channel(0);
    let (count, seen) = (Arc::new(count), seen.clone());
    let service = service_fn(move |request| {
        let (seen, count) = (seen.clone(), count.clone());
        async move {
            count.send_modify(|count| *count += 1);
            answer(request, &seen).await
        }
    });
    let served = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tcp), service);
    let mut served = std::pin::pin!(served);
    tokio::select! {
        _ = &mut served => return,
        _ = counted.wait_for(|count| *count >= LEAVES_AFTER) => served.as_mut().graceful_shutdown(),
    }
    let _ = served.await;
}

async fn answer(
    request: Request<Incoming>,
    seen: &Mutex<Seen>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let encoding = head.headers.get("content-encoding").and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut seen = seen.lock().unwrap();
    seen.requests += 1;
    let Some(signal) = payload::signal_of(head.uri.path()) else {
        seen.unreadable.push(head.uri.to_string());
        return Ok(status(404));
    };
    if let Some(failure) = seen.failure(signal) {
        seen.failed += 1;
        return match failure {
            Failure::Status(code) => Ok(status(code)),
            Failure::Close => Err("closed on purpose"),
        };
    }
    let batch = payload::decompress(&body, encoding, MAX_BYTES).map_err(|why| why.to_string());
    let batch = batch.and_then(|plain| payload::decode(signal, &plain).map_err(|why| why.to_string()));
    match batch {
        Ok(batch) => seen.take(batch),
        Err(why) => seen.unreadable.push(format!("{}: {why}", signal.as_str())),
    }
    Ok(status(202))
}

fn status(code: u16) -> Response<Full<Bytes>> {
    Response::builder().status(code).body(Full::new(Bytes::from_static(b"{}"))).unwrap()
}
