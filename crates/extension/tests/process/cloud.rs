//! Secrets Manager and a Datadog that knows which key is good, as little of both as a test needs: notes every
//! request, and holds answers back while it is told to.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Cloud {
    shared: Arc<Shared>,
    pub(crate) url: String,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// What is answered about the secret, one after the other: status and body. The last stays.
    secrets: VecDeque<(u16, String)>,
    is_held: bool,
    good: String,
    seen: Vec<Seen>,
}

/// One request: of Secrets Manager by the secret's name, of Datadog by the proof of a role that wants a key, or by path
/// and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Secret(String),
    Proof(String),
    Data { path: String, key: String, taken: bool },
}

impl Cloud {
    /// With what the secret is, one after the other, and the key that Datadog takes.
    pub(crate) async fn start(secrets: &[&str], good: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let server = tokio::spawn(serve(listener, shared.clone()));
        let cloud = Self { shared, url, server };
        let answer = |secret: &&str| (200, serde_json::json!({ "SecretString": secret }).to_string());
        {
            let mut state = cloud.shared.state.lock().unwrap();
            state.good = good.to_owned();
            state.secrets = secrets.iter().map(answer).collect();
        }
        cloud
    }

    /// From now on the secret is not given.
    pub(crate) fn deny(&self, code: &str) {
        let body = serde_json::json!({ "__type": code, "Message": "not for you" }).to_string();
        self.shared.state.lock().unwrap().secrets = VecDeque::from([(400, body)]);
    }

    /// The next questions about the secret are refused, those behind them are not.
    pub(crate) fn deny_first(&self, times: usize, code: &str) {
        let body = serde_json::json!({ "__type": code, "Message": "not now" }).to_string();
        for _ in 0..times {
            self.shared.state.lock().unwrap().secrets.push_front((400, body.clone()));
        }
    }

    /// Answers about the secret wait until they are let go.
    pub(crate) fn hold(&self, is_held: bool) {
        self.shared.state.lock().unwrap().is_held = is_held;
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.state.lock().unwrap().seen.clone()
    }

    pub(crate) fn searches(&self, name: &str) -> usize {
        self.seen().iter().filter(|seen| **seen == Seen::Secret(name.to_owned())).count()
    }

    /// Bodies that Datadog took on a path, each by the key that it came with.
    pub(crate) fn taken(&self, path: &str) -> Vec<String> {
        let seen = self.seen().into_iter();
        let keys = seen.filter_map(|seen| match seen {
            Seen::Data { path: p, key, taken: true } if p == path => Some(key),
            _ => None,
        });
        keys.collect()
    }

    pub(crate) async fn until(&self, what: &str, enough: impl Fn(&Self) -> bool) {
        let reached = async {
            loop {
                let changed = self.shared.changed.notified();
                if enough(self) {
                    return;
                }
                changed.await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "{what}: {:#?}", self.seen());
    }
}

impl Drop for Cloud {
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
    let header = |name: &str| head.headers.get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
    if header("x-amz-target") == "secretsmanager.GetSecretValue" {
        assert!(header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKID/"));
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        note(&shared, Seen::Secret(body["SecretId"].as_str().unwrap().to_owned()));
        let (status, body) = secret(&shared).await;
        return Ok(reply(status, body));
    }
    if head.uri.path() == "/api/v2/intake-key" {
        note(&shared, Seen::Proof(header("authorization")));
        let key = shared.state.lock().unwrap().good.clone();
        return Ok(reply(200, serde_json::json!({"data": {"attributes": {"api_key": key}}}).to_string()));
    }
    let key = header("dd-api-key");
    let taken = shared.state.lock().unwrap().good == key;
    note(&shared, Seen::Data { path: head.uri.path().to_owned(), key, taken });
    Ok(reply(if taken { 202 } else { 403 }, "{}".to_owned()))
}

async fn secret(shared: &Shared) -> (u16, String) {
    loop {
        let changed = shared.changed.notified();
        {
            let mut state = shared.state.lock().unwrap();
            if !state.is_held {
                let next = state.secrets.pop_front().unwrap_or_default();
                if state.secrets.is_empty() {
                    state.secrets.push_back(next.clone());
                }
                return next;
            }
        }
        changed.await;
    }
}

fn note(shared: &Shared, seen: Seen) {
    shared.state.lock().unwrap().seen.push(seen);
    shared.changed.notify_waiters();
}

fn reply(status: u16, body: String) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap()
}
