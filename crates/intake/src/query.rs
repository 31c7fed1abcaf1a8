//! The query API under `/local`: see the head of this crate.

use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use model::Signal;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::fault::{Fault, FaultKind, Faults, Where};
use crate::id::parse_trace_id;
use crate::log::LogFilter;
use crate::rate::{Rate, RateLimit};
use crate::store::{State, Store};

/// Longest time that a client may wait in one request.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The longest delay of an answer.
const MAX_DELAY_MS: u64 = 900_000;
const DEFAULT_WAIT_MS: u64 = 10_000;
const DEFAULT_LAST: usize = 500;

/// What can be changed while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(crate) faults: Faults,
    pub(crate) rate: Rate,
}

pub(crate) fn router(store: Store, control: Control) -> Router {
    let faults = Router::new()
        .route("/local/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .with_state(control.faults);
    let rate = Router::new()
        .route("/local/rate", get(show_rate).put(set_rate).delete(clear_rate))
        .with_state(control.rate);
    Router::new()
        .route("/local/state", get(state).delete(clear))
        .route("/local/overview", get(overview))
        .route("/local/traces", get(traces))
        .route("/local/traces/{id}", get(trace))
        .route("/local/logs", get(logs))
        .route("/local/metrics", get(metrics))
        .route("/local/requests", get(requests))
        .route("/local/requests/{number}", get(request))
        .route("/local/requests/{number}/body", get(request_body))
        .route("/local/violations", get(violations))
        .route("/local/wait", get(wait))
        .with_state(store)
        .merge(faults)
        .merge(rate)
}

async fn state(Shared(store): Shared<Store>) -> Response {
    Json(store.snapshot()).into_response()
}

async fn clear(Shared(store): Shared<Store>) -> StatusCode {
    store.clear();
    StatusCode::NO_CONTENT
}

/// How many there shall be at most: the newest.
#[derive(Debug, Deserialize)]
struct LastQuery {
    last: Option<usize>,
}

async fn overview(Shared(store): Shared<Store>, Query(query): Query<LastQuery>) -> Response {
    let last = query.last.unwrap_or(DEFAULT_LAST);
    Json(store.read(|state| state.overview(last))).into_response()
}

async fn traces(Shared(store): Shared<Store>) -> Response {
    Json(store.read(State::traces)).into_response()
}

async fn trace(Shared(store): Shared<Store>, Path(id): Path<String>) -> Response {
    let Some(id) = parse_trace_id(&id) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            format!("{id:?} is no trace id: 32 hex digits, or a decimal number"),
        );
    };
    match store.read(|state| state.trace(id)) {
        Some(trace) => Json(trace).into_response(),
        None => refuse(StatusCode::NOT_FOUND, format!("no trace {id} has arrived")),
    }
}

#[derive(Debug, Deserialize)]
struct LogQuery {
    trace_id: Option<String>,
    request_id: Option<String>,
    function: Option<String>,
    last: Option<usize>,
}

async fn logs(Shared(store): Shared<Store>, Query(query): Query<LogQuery>) -> Response {
    let trace_id = match query.trace_id.as_deref().map(|id| (id, parse_trace_id(id))) {
        Some((id, None)) => return refuse(StatusCode::BAD_REQUEST, format!("{id:?} is no trace id")),
        Some((_, id)) => id,
        None => None,
    };
    let filter = LogFilter { trace_id, request_id: query.request_id, function: query.function };
    let mut found = store.read(|state| state.logs(&filter));
    let skip = found.len().saturating_sub(query.last.unwrap_or(usize::MAX));
    Json(found.split_off(skip)).into_response()
}

#[derive(Debug, Deserialize)]
struct MetricQuery {
    #[serde(default)]
    name: String,
}

async fn metrics(Shared(store): Shared<Store>, Query(query): Query<MetricQuery>) -> Response {
    Json(store.read(|state| state.metrics(&query.name))).into_response()
}

#[derive(Debug, Deserialize)]
struct RequestQuery {
    #[serde(default)]
    errors: bool,
    last: Option<usize>,
}

async fn requests(Shared(store): Shared<Store>, Query(query): Query<RequestQuery>) -> Response {
    let mut found = store.read(|state| state.requests(query.errors));
    let skip = found.len().saturating_sub(query.last.unwrap_or(usize::MAX));
    Json(found.split_off(skip)).into_response()
}

#[derive(Debug, Deserialize)]
struct ViolationQuery {
    request: Option<u64>,
    last: Option<usize>,
}

async fn violations(Shared(store): Shared<Store>, Query(query): Query<ViolationQuery>) -> Response {
    let mut found = store.read(|state| state.violations(query.request));
    let skip = found.len().saturating_sub(query.last.unwrap_or(usize::MAX));
    Json(found.split_off(skip)).into_response()
}

async fn request(Shared(store): Shared<Store>, Path(number): Path<u64>) -> Response {
    let Some((view, body)) = store.read(|state| state.request(number)) else {
        return refuse(StatusCode::NOT_FOUND, format!("no request {number} is held"));
    };
    let signal = Signal::ALL.into_iter().find(|signal| view.signal == Some(signal.as_str()));
    let body = body.map(|body| body.describe(signal));
    let violations = store.read(|state| state.violations(Some(number)));
    Json(json!({ "request": view, "body": body, "violations": violations })).into_response()
}

/// Never shown by a browser as anything but bytes, whatever is in it.
async fn request_body(Shared(store): Shared<Store>, Path(number): Path<u64>) -> Response {
    let Some((_, Some(body))) = store.read(|state| state.request(number)) else {
        return refuse(StatusCode::NOT_FOUND, format!("the body of request {number} is not held"));
    };
    match body.plain() {
        Ok(plain) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CONTENT_DISPOSITION, "attachment"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, plain).into_response()
        }
        Err(why) => refuse(StatusCode::UNPROCESSABLE_ENTITY, why),
    }
}

/// All that is given must hold.
#[derive(Debug, Default, Deserialize)]
struct WaitQuery {
    after: Option<u64>,
    traces: Option<usize>,
    spans: Option<u64>,
    logs: Option<u64>,
    points: Option<u64>,
    requests: Option<u64>,
    trace_id: Option<String>,
    timeout_ms: Option<u64>,
}

async fn wait(Shared(store): Shared<Store>, Query(query): Query<WaitQuery>) -> Response {
    let trace_id = query.trace_id.as_deref().and_then(parse_trace_id);
    if trace_id.is_none() && query.trace_id.is_some() {
        return refuse(StatusCode::BAD_REQUEST, "trace_id is no trace id");
    }
    let wait = Duration::from_millis(query.timeout_ms.unwrap_or(DEFAULT_WAIT_MS)).min(MAX_WAIT);
    let least = |asked: Option<u64>, there: u64| asked.is_none_or(|asked| there >= asked);
    let enough = |state: &State| {
        let counts = state.counts();
        query.after.is_none_or(|after| state.version() > after)
            && least(query.spans, counts.spans)
            && least(query.logs, counts.logs)
            && least(query.points, counts.points)
            && least(query.requests, counts.requests)
            && query.traces.is_none_or(|asked| state.trace_count() >= asked)
            && trace_id.is_none_or(|id| state.trace(id).is_some())
    };
    let satisfied = store.wait_until(enough, Instant::now() + wait).await;
    let (version, counts) = store.read(|state| (state.version(), state.counts()));
    Json(json!({ "satisfied": satisfied, "version": version, "counts": counts })).into_response()
}

/// How a fault is written, both ways.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FaultForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hang: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    refuse: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    close: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f64>,
}

impl FaultForm {
    fn read(self) -> Result<(Fault, Where), String> {
        let signal = match self.signal {
            None => None,
            Some(name) => match Signal::ALL.into_iter().find(|signal| signal.as_str() == name) {
                None => return Err(format!("no signal {name:?}: traces, series, sketches or logs")),
                found => found,
            },
        };
        let kinds = [
            self.status.filter(|status| (200..=599).contains(status)).map(FaultKind::Status),
            self.hang.then_some(FaultKind::Hang),
            self.refuse.then_some(FaultKind::Refuse),
            self.close.then_some(FaultKind::Close),
            self.cut.then_some(FaultKind::Cut),
            self.delay_ms.map(|ms| FaultKind::Delay(Duration::from_millis(ms.min(MAX_DELAY_MS)))),
        ];
        let mut kinds = kinds.into_iter().flatten();
        let (Some(kind), None) = (kinds.next(), kinds.next()) else {
            let kinds = r#""status" (200 to 599), "hang": true, "refuse": true, "close": true, "cut": true, "delay_ms""#;
            return Err(format!("one of {kinds} is needed"));
        };
        if kind == FaultKind::Refuse && (signal.is_some() || self.path.is_some()) {
            return Err("refuse is of connections: it cannot be of one signal or path".to_owned());
        }
        if self.probability.is_some_and(|part| !(part > 0.0 && part <= 1.0)) {
            return Err("probability: above 0 and up to 1".to_owned());
        }
        let place = Where { path: self.path, probability: self.probability };
        Ok((Fault { signal, kind, count: self.count.unwrap_or(1) }, place))
    }
}

impl From<(Fault, Where)> for FaultForm {
    fn from((fault, place): (Fault, Where)) -> Self {
        let mut form = Self {
            signal: fault.signal.map(|signal| signal.as_str().to_owned()),
            count: Some(fault.count),
            path: place.path,
            probability: place.probability,
            ..Self::default()
        };
        match fault.kind {
            FaultKind::Status(status) => form.status = Some(status),
            FaultKind::Hang => form.hang = true,
            FaultKind::Refuse => form.refuse = true,
            FaultKind::Close => form.close = true,
            FaultKind::Cut => form.cut = true,
            FaultKind::Delay(delay) => form.delay_ms = u64::try_from(delay.as_millis()).ok(),
        }
        form
    }
}

async fn list_faults(Shared(faults): Shared<Faults>) -> Response {
    let all = faults.all().into_iter().map(|planned| FaultForm::from((planned.fault, planned.place)));
    let all: Vec<FaultForm> = all.collect();
    Json(all).into_response()
}

async fn add_fault(Shared(faults): Shared<Faults>, form: axum::body::Bytes) -> Response {
    let form = serde_json::from_slice(&form).map_err(|why| why.to_string());
    match form.and_then(FaultForm::read) {
        Ok((fault, place)) => {
            faults.add(fault, place.clone());
            (StatusCode::CREATED, Json(FaultForm::from((fault, place)))).into_response()
        }
        Err(why) => refuse(StatusCode::BAD_REQUEST, why),
    }
}

async fn clear_faults(Shared(faults): Shared<Faults>) -> StatusCode {
    faults.clear();
    StatusCode::NO_CONTENT
}

/// How a limit is written, both ways.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RateForm {
    requests: u64,
    period_secs: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl From<RateLimit> for RateForm {
    fn from(RateLimit { requests, period, path }: RateLimit) -> Self {
        Self { requests, period_secs: period.as_secs(), path }
    }
}

async fn show_rate(Shared(rate): Shared<Rate>) -> Response {
    Json(rate.limit().map(RateForm::from)).into_response()
}

async fn set_rate(Shared(rate): Shared<Rate>, form: axum::body::Bytes) -> Response {
    match serde_json::from_slice(&form) {
        Ok(RateForm { requests, period_secs, path }) if period_secs > 0 => {
            let limit = RateLimit { requests, period: Duration::from_secs(period_secs), path };
            rate.set(Some(limit.clone()));
            Json(RateForm::from(limit)).into_response()
        }
        Ok(_) => refuse(StatusCode::BAD_REQUEST, "period_secs: 1 at least"),
        Err(why) => refuse(StatusCode::BAD_REQUEST, why.to_string()),
    }
}

async fn clear_rate(Shared(rate): Shared<Rate>) -> StatusCode {
    rate.set(None);
    StatusCode::NO_CONTENT
}

fn refuse(status: StatusCode, why: impl Into<String>) -> Response {
    (status, Json(json!({ "error": why.into() }))).into_response()
}
