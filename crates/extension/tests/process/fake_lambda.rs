//! The Extensions API for one extension, as little of it as a test needs: it notes every call, hands out the
//! events that the test gives it, and delivers telemetry. Not a sandbox: no processes, no phases.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct FakeLambda {
    shared: Arc<Shared>,
    pub(crate) address: String,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

/// Calls that are remembered whole: a long run makes many.
const MAX_CALLS: usize = 1000;

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    /// When `/event/next` was asked, each time.
    asked: Vec<Instant>,
    events: VecDeque<String>,
    refuse_telemetry: bool,
    no_telemetry: bool,
    refuse_next: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

pub(crate) const REGISTER: &str = "POST /2020-01-01/extension/register";
pub(crate) const SUBSCRIBE: &str = "PUT /2022-07-01/telemetry";
pub(crate) const NEXT: &str = "GET /2020-01-01/extension/event/next";
pub(crate) const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:orders";

impl FakeLambda {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared::default());
        let server = tokio::spawn(serve(listener, shared.clone()));
        Self { shared, address, server }
    }

    pub(crate) fn refuse_telemetry(&self) {
        self.shared.state.lock().unwrap().refuse_telemetry = true;
    }

    /// As AWS's emulator: it accepts a subscription, says in the body that it has none, and delivers nothing.
    pub(crate) fn has_no_telemetry(&self) {
        self.shared.state.lock().unwrap().no_telemetry = true;
    }

    /// From now on `/event/next` is answered with 500.
    pub(crate) fn refuse_next(&self) {
        self.shared.state.lock().unwrap().refuse_next = true;
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.state.lock().unwrap().calls.clone()
    }

    /// How often `/event/next` was asked.
    pub(crate) fn asked_so_far(&self) -> usize {
        self.shared.state.lock().unwrap().asked.len()
    }

    /// When `/event/next` was asked for the `n`th time.
    pub(crate) async fn asked(&self, n: usize) -> Instant {
        let asked = async {
            loop {
                let changed = self.shared.changed.notified();
                if let Some(at) = self.shared.state.lock().unwrap().asked.get(n - 1) {
                    return *at;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("next was not asked {n} times"))
    }

    /// Begins an invocation that may take `budget`.
    pub(crate) fn invoke(&self, request_id: &str, budget: Duration) {
        let deadline = millis() + budget.as_millis();
        self.event(format!(
            r#"{{"eventType":"INVOKE","deadlineMs":{deadline},"requestId":"{request_id}","invokedFunctionArn":"{ARN}"}}"#
        ));
    }

    pub(crate) fn shutdown(&self, budget: Duration) {
        let deadline = millis() + budget.as_millis();
        self.event(format!(
            r#"{{"eventType":"SHUTDOWN","deadlineMs":{deadline},"shutdownReason":"spindown"}}"#
        ));
    }

    pub(crate) fn event(&self, event: String) {
        self.shared.state.lock().unwrap().events.push_back(event);
        self.shared.changed.notify_waiters();
    }
}

impl Drop for FakeLambda {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, shared.clone()));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let line = format!("{} {}", head.method, head.uri.path());
    let headers =
        head.headers.iter().map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()));
    let at = Instant::now();
    let call = Call {
        line: line.clone(),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    {
        let mut state = shared.state.lock().unwrap();
        if line == NEXT {
            state.asked.push(at);
        }
        if state.calls.len() < MAX_CALLS {
            state.calls.push(call);
        }
    }
    shared.changed.notify_waiters();
    Ok(match line.as_str() {
        REGISTER => {
            let body = r#"{"functionName":"orders","functionVersion":"$LATEST","handler":"h","accountId":"123456789012"}"#;
            let mut answer = reply(200, body);
            answer.headers_mut().insert("lambda-extension-identifier", "ext-1".parse().unwrap());
            answer
        }
        SUBSCRIBE if shared.state.lock().unwrap().refuse_telemetry => {
            reply(400, r#"{"errorType":"ValidationError","errorMessage":"no"}"#)
        }
        SUBSCRIBE if shared.state.lock().unwrap().no_telemetry => reply(
            202,
            r#"{"errorMessage":"Telemetry API is not supported","errorType":"Telemetry.NotSupported"}"#,
        ),
        SUBSCRIBE => reply(200, "OK"),
        NEXT => next(&shared).await,
        _ => reply(404, ""),
    })
}

async fn next(shared: &Shared) -> Response<Full<Bytes>> {
    loop {
        let changed = shared.changed.notified();
        {
            let mut state = shared.state.lock().unwrap();
            if state.refuse_next {
                return reply(500, r#"{"errorType":"InternalServerError","errorMessage":"gone"}"#);
            }
            if let Some(event) = state.events.pop_front() {
                return reply(200, &event);
            }
        }
        changed.await;
    }
}

fn reply(status: u16, body: &str) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

pub(crate) fn millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}
