//! The Extensions API as its client: register, subscribe to telemetry, ask for the next event.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use engine::Input;
use http_body_util::Full;
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use model::Text;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use wire::extensions::{
    ACCOUNT_ID_FEATURE, Buffering, ErrorBody, INVOKE, NextEvent, RegisterRequest, RegisterResponse, SHUTDOWN,
    Subscription,
};
use wire::lambda_headers::extension as names;

use crate::address::Address;
use crate::connection::{Peer, Reply};
use crate::driver::now;
use crate::egress::Egress;
use crate::inbox::Inbox;
use crate::keys::Keys;
use crate::log;

const SCHEMA: &str = "2022-12-13";
/// The only one that managed instances take.
const SCHEMA_MANAGED: &str = "2025-01-29";
/// The least that Lambda takes, so that records are here soon.
const BUFFERING: Buffering =
    Buffering { max_items: Some(1000), max_bytes: Some(262_144), timeout_ms: Some(25) };
/// For one answer to registration or subscription. `/event/next` has none: it is where we are frozen.
const PATIENCE: Duration = Duration::from_secs(5);
/// Waits before a failed call is made again.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(500)];
/// Answers here are small.
const MAX_ANSWER: usize = 1 << 20;
/// How long an end that we inferred ourselves may take: as long as Lambda gives for a real one.
const SHUTDOWN_BUDGET: Duration = Duration::from_secs(2);

pub(crate) struct ExtensionsApi {
    peer: Peer,
    host: HeaderValue,
    id: Option<HeaderValue>,
    /// Managed instances: INVOKE is refused there.
    managed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Registration {
    pub(crate) function_name: Option<String>,
    pub(crate) account_id: Option<String>,
}

impl ExtensionsApi {
    pub(crate) fn new(address: Address, managed: bool) -> Self {
        let host = HeaderValue::from_str(&address.authority()).unwrap_or(HeaderValue::from_static("lambda"));
        Self { peer: Peer::new(address, Rc::new(Egress::default())), host, id: None, managed }
    }

    pub(crate) async fn register(&mut self, name: &str) -> Result<Registration, String> {
        let name = HeaderValue::from_str(name)
            .map_err(|_| format!("{name:?} cannot be the name of an extension"))?;
        let invoke = (!self.managed).then(|| INVOKE.into());
        let events = invoke.into_iter().chain([SHUTDOWN.into()]).collect();
        let events = RegisterRequest { events, has_configuration_keys: false };
        let mut request = self.request(Method::POST, names::REGISTER_PATH, events.encode());
        request.headers_mut().insert(names::NAME, name);
        request.headers_mut().insert(names::ACCEPT_FEATURE, HeaderValue::from_static(ACCOUNT_ID_FEATURE));
        let reply = self.call(request).await?;
        self.id = reply.headers.get(names::IDENTIFIER).cloned();
        if self.id.is_none() {
            return Err(format!("the answer has no {}", names::IDENTIFIER));
        }
        // Nothing in the body is worth failing for.
        let answer = RegisterResponse::decode(&reply.body).unwrap_or_default();
        let known = |text: Text| (!text.is_empty()).then(|| text.into_owned());
        Ok(Registration {
            function_name: known(answer.function_name),
            account_id: answer.account_id.and_then(known),
        })
    }

    /// Asks for deliveries to our port: platform records, and the function's log lines if wanted.
    pub(crate) async fn subscribe(&mut self, port: u16, logs: bool) -> Result<(), String> {
        let types: &[&str] = if logs { &["platform", "function", "extension"] } else { &["platform"] };
        let uri = format!("http://sandbox.localdomain:{port}/");
        let schema = if self.managed { SCHEMA_MANAGED } else { SCHEMA };
        let body = Subscription::http(schema, types, uri, BUFFERING).encode();
        let request = self.request(Method::PUT, names::TELEMETRY_PATH, body);
        let reply = self.call(request).await?;
        // An emulator without telemetry says 202 and in the body that it has none.
        let refusal = ErrorBody::decode(&reply.body).unwrap_or_default();
        if refusal.kind.is_empty() { Ok(()) } else { Err(format!("{}: {}", refusal.kind, refusal.message)) }
    }

    /// Waits for the next event for as long as it takes.
    async fn next(&mut self) -> Result<NextEvent, String> {
        let request = self.request(Method::GET, names::NEXT_PATH, Vec::new());
        let reply = self.peer.call(request, MAX_ANSWER).await.map_err(|error| error.to_string())?;
        let reply = accepted(reply)?;
        NextEvent::decode(&reply.body).map_err(|error| error.to_string())
    }

    /// Makes a call within the time for one, again if it fails.
    async fn call(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, String> {
        let mut pauses = PAUSES.iter();
        loop {
            let why = match timeout(PATIENCE, self.peer.call(request.clone(), MAX_ANSWER)).await {
                Ok(Ok(reply)) if !is_transient(reply.status) => return accepted(reply),
                Ok(Ok(reply)) => format!("it answers {}", reply.status),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {PATIENCE:?}"),
            };
            let Some(pause) = pauses.next() else { return Err(why) };
            sleep(*pause).await;
        }
    }

    fn request(&self, method: Method, path: &'static str, body: Vec<u8>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        let prefixed = format!("{}{path}", self.peer.address().prefix);
        *request.uri_mut() = prefixed.parse().unwrap_or_else(|_| hyper::Uri::from_static(path));
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        if let Some(id) = &self.id {
            headers.insert(names::IDENTIFIER, id.clone());
        }
        request
    }
}

/// Asks for the next event each time that it is told to, and leaves the event in the inbox. When the API is
/// gone for good that is an end of the sandbox too. What can be done for the key is begun once the first event is
/// asked for.
pub(crate) async fn events(
    mut api: ExtensionsApi,
    mut asked: mpsc::UnboundedReceiver<()>,
    inbox: Rc<Inbox>,
    keys: Rc<Keys>,
) {
    let mut is_first = true;
    while asked.recv().await.is_some() {
        if std::mem::take(&mut is_first) {
            keys.prefetch();
        }
        let fact = event(&mut api).await.unwrap_or_else(|why| {
            log::error(format_args!("the Extensions API gives no events any more: {why}. Ending"));
            Input::Shutdown { reason: "extensions api gone".into(), deadline: now() + SHUTDOWN_BUDGET }
        });
        keys.wake();
        inbox.tell(fact);
    }
}

async fn event(api: &mut ExtensionsApi) -> Result<Input, String> {
    let mut pauses = PAUSES.iter();
    loop {
        let why = match api.next().await {
            Ok(NextEvent::Invoke { request_id, deadline, arn, .. }) => {
                return Ok(Input::Invoke { request_id, arn, deadline });
            }
            Ok(NextEvent::Shutdown { reason, deadline }) => return Ok(Input::Shutdown { reason, deadline }),
            Ok(NextEvent::Unknown { kind }) => format!("an event of unknown type {kind:?}"),
            Err(why) => why,
        };
        let Some(pause) = pauses.next() else { return Err(why) };
        log::warn(format_args!("asking for the next event again: {why}"));
        sleep(*pause).await;
    }
}

fn accepted(reply: Reply) -> Result<Reply, String> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    let error = ErrorBody::decode(&reply.body).unwrap_or_default();
    Err(format!("it answers {}: {} {}", reply.status, error.kind, error.message))
}

fn is_transient(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}
