//! Intakes that take their time: what they may have taken is not sent again, and no invocation waits for them. And
//! further intakes while the main one is down.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use intake::{Fault, FaultKind, SpanView};
use model::Batch;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::agent::Agent;
use crate::fake_lambda::{FakeLambda, PATIENCE};
use crate::faults::invocation;
use crate::records::traces;
use crate::watched::Intake;
use crate::{arrives, to};

/// Shorter than these intakes take.
const BUDGET: (&str, &str) = ("DD_FLUSH_TIMEOUT", "0.2");

/// What it does with what it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Nothing yet.
    Shut,
    Accept,
    /// The connections end, and nothing of what waits was taken; from then on it accepts.
    Break,
}

/// An intake that answers when it is told to.
pub(crate) struct Gated {
    pub(crate) url: String,
    gate: watch::Sender<Gate>,
    /// Requests that it has read.
    read: watch::Receiver<usize>,
    taken: Arc<Mutex<Vec<Taken>>>,
}

/// A request that was taken.
#[derive(Clone)]
pub(crate) struct Taken {
    /// The body as it came, and unpacked.
    pub(crate) packed: Bytes,
    pub(crate) plain: Vec<u8>,
    pub(crate) batch: Batch,
}

impl Gated {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (gate, shut) = watch::channel(Gate::Shut);
        let (count, read) = watch::channel(0);
        let all = Arc::new(Mutex::new(Vec::new()));
        let (count, taken) = (Arc::new(count), all.clone());
        tokio::spawn(async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                let (gate, count, taken) = (shut.clone(), count.clone(), taken.clone());
                tokio::spawn(async move {
                    let service =
                        service_fn(|request| answer(request, gate.clone(), count.clone(), taken.clone()));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
                });
            }
        });
        Self { url, gate, read, taken: all }
    }

    pub(crate) fn is(&self, gate: Gate) {
        self.gate.send(gate).unwrap();
    }

    /// So many requests are here.
    async fn has_read(&self, requests: usize) {
        let mut read = self.read.clone();
        let enough = read.wait_for(|count| *count >= requests);
        timeout(PATIENCE, enough).await.expect("no request comes").unwrap();
    }

    /// What was taken.
    pub(crate) fn batches(&self) -> Vec<Batch> {
        self.requests().into_iter().map(|taken| taken.batch).collect()
    }

    /// The same, as it came.
    pub(crate) fn requests(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    /// The spans of the function that were taken, one number for each time.
    pub(crate) fn taken(&self) -> Vec<u64> {
        let mut spans = Vec::new();
        for batch in self.batches() {
            let Batch::Traces(payloads) = batch else { continue };
            let all = payloads.iter().flat_map(|payload| &payload.chunks).flat_map(|chunk| &chunk.spans);
            spans.extend(all.filter(|span| span.name == "work").map(|span| span.span_id.get()));
        }
        spans.sort_unstable();
        spans
    }
}

async fn answer(
    request: Request<Incoming>,
    mut gate: watch::Receiver<Gate>,
    count: Arc<watch::Sender<usize>>,
    taken: Arc<Mutex<Vec<Taken>>>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let was_shut = *gate.borrow() == Gate::Shut;
    count.send_modify(|count| *count += 1);
    let open = *gate.wait_for(|gate| *gate != Gate::Shut).await.unwrap();
    if was_shut && open == Gate::Break {
        return Err("it breaks");
    }
    if let Some(signal) = payload::signal_of(head.uri.path()) {
        let encoding = head.headers.get("content-encoding").map_or("", |value| value.to_str().unwrap());
        let plain = payload::decompress(&body, encoding, 1 << 22).unwrap();
        let batch = payload::decode(signal, &plain).unwrap();
        taken.lock().unwrap().push(Taken { packed: body, plain, batch });
    }
    Ok(Response::builder().status(202).body(Full::new(Bytes::from_static(b"{}"))).unwrap())
}

/// It has read the request when the budget ends, and answers long after: the request goes on meanwhile, and is not made
/// again.
#[tokio::test]
async fn what_an_intake_takes_its_time_for_is_delivered_once_and_not_waited_for() {
    let (lambda, intake) = (FakeLambda::start().await, Gated::start().await);
    let mut variables = to(&intake.url).to_vec();
    variables.push(BUDGET);
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    for number in 1..=3 {
        // The next event is asked for though nothing was answered.
        invocation(&lambda, &agent, number, number as u64).await;
    }
    intake.has_read(1).await;
    assert!(intake.taken().is_empty());
    intake.is(Gate::Accept);
    lambda.shutdown(Duration::from_secs(20));
    assert!(agent.ended().await.success());
    assert_eq!(intake.taken(), [1, 2, 3], "{}", agent.printed());
    assert!(!agent.printed().contains("was lost"), "{}", agent.printed());
}

/// Four hundred milliseconds for every answer, two hundred for every flush: the same, at the pace of a real intake.
#[tokio::test]
async fn a_slow_intake_gets_everything_once() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let kind = FaultKind::Delay(Duration::from_millis(400));
    intake.fail(Fault { signal: None, kind, count: 100_000 });
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.extend([BUDGET, ("DD_SERVERLESS_FLUSH_STRATEGY", "end")]);
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    for number in 1..=20 {
        invocation(&lambda, &agent, number, number as u64).await;
    }
    // One after the other, that may be more than fits into the two seconds of a shutdown.
    let is_work = |span: &&SpanView| span.name == "work";
    arrives(&intake, "every span", |s| {
        s.traces().iter().flat_map(|trace| &trace.spans).filter(is_work).count() == 20
    })
    .await;
    lambda.shutdown(Duration::from_secs(20));
    assert!(agent.ended().await.success());
    let traces = intake.store().snapshot().traces;
    let mut spans: Vec<_> = traces.iter().flat_map(|t| &t.spans).filter(|s| s.name == "work").collect();
    spans.sort_by_key(|s| s.span_id);
    let copies: Vec<_> = spans.iter().map(|s| (s.span_id.get(), s.copies)).collect();
    assert_eq!(copies, (1..=20).map(|id| (id, 1)).collect::<Vec<_>>(), "{}", agent.printed());
}

/// The connection ends without an answer, long after the budget: now it is known that nobody has it.
#[tokio::test]
async fn what_was_late_and_whose_connection_breaks_is_sent_again() {
    let (lambda, intake) = (FakeLambda::start().await, Gated::start().await);
    let mut variables = to(&intake.url).to_vec();
    variables.push(BUDGET);
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    invocation(&lambda, &agent, 1, 1).await;
    intake.has_read(1).await;
    intake.is(Gate::Break);
    lambda.shutdown(Duration::from_secs(20));
    assert!(agent.ended().await.success());
    assert_eq!(intake.taken(), [1], "{}", agent.printed());
}

/// The sandbox is frozen while a request is on its way, for longer than it may take: the answer is there when it
/// thaws.
#[tokio::test]
async fn what_is_answered_while_the_sandbox_is_frozen_is_delivered_once() {
    let (lambda, intake) = (FakeLambda::start().await, Gated::start().await);
    let mut variables = to(&intake.url).to_vec();
    variables.extend([BUDGET, ("DD_SERVERLESS_FLUSH_STRATEGY", "continuously,10")]);
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", Duration::from_secs(60));
    lambda.asked(2).await;
    assert_eq!(agent.put_traces(&traces(1)).await.status, 200);
    intake.has_read(1).await;
    let process = agent.child.id().unwrap().to_string();
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &process]).status().unwrap().success());
    };
    signal("-STOP");
    intake.is(Gate::Accept);
    // Not to wait for anything: so long it is frozen.
    tokio::time::sleep(Duration::from_millis(600)).await;
    signal("-CONT");
    lambda.shutdown(Duration::from_secs(20));
    assert!(agent.ended().await.success());
    assert_eq!(intake.taken(), [1], "{}", agent.printed());
}

/// Refused connections, errors, silence: the further intake gets each span once, while the main one has none.
#[tokio::test]
async fn further_places_get_everything_while_the_main_intake_is_down() {
    const SPANS: u64 = 6;
    for kind in [None, Some(FaultKind::Status(503)), Some(FaultKind::Hang)] {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        let other = Intake::start().await.unwrap();
        let url = intake.url();
        match kind {
            None => intake.stop(),
            Some(kind) => intake.fail(Fault { signal: None, kind, count: 100_000 }),
        }
        let also = format!(r#"{{"{}": ["ffffffffffffffffffffffffffffffff"]}}"#, other.url());
        let mut variables = to(&url).to_vec();
        variables.extend([BUDGET, ("DD_APM_ADDITIONAL_ENDPOINTS", &also)]);
        let mut agent = Agent::start(&lambda, &variables);
        lambda.asked(1).await;
        for number in 1..=SPANS {
            invocation(&lambda, &agent, usize::try_from(number).unwrap(), number).await;
        }
        arrives(&other, "every span", |s| {
            s.traces().iter().flat_map(|t| &t.spans).filter(|span| span.name == "work").count() as u64
                == SPANS
        })
        .await;
        lambda.shutdown(Duration::from_secs(2));
        assert!(agent.ended().await.success());
        let traces = other.store().snapshot().traces;
        let work = traces.iter().flat_map(|t| &t.spans).filter(|span| span.name == "work");
        assert!(work.clone().all(|span| span.copies == 1), "{kind:?}: {:#?}", work.collect::<Vec<_>>());
        assert_eq!(intake.store().snapshot().counts.spans, 0, "{kind:?}");
    }
}
