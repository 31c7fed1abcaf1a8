//! All functions of a local Lambda, and what it takes to invoke one: names, limits, ids. Used by [`crate::Lambda`] and
//! by the Invoke API.
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use model::{RequestId, Text};
use platform::{Answer, Invocation, Rejection};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::config::{FunctionConfig, LambdaConfig};
use crate::driver::{Answered, Caller};
use crate::events::{Event, Records};
use crate::ids;
use crate::invoke::{
    InvocationType, InvokeError, InvokeOptions, InvokeResult, MAX_ASYNC_EVENT_BYTES, MAX_EVENT_BYTES,
};
use crate::pool::Ask;
use crate::recorded::{MAX_ANSWER_BYTES, Recorded, RecordedAnswer, RecordedInvocation};

#[derive(Debug)]
pub(crate) struct Functions {
    pub(crate) clock: Clock,
    config: LambdaConfig,
    by_name: BTreeMap<String, Function>,
    events: mpsc::Sender<Event>,
    /// Events that wait, run, or will be tried again.
    pub(crate) open_events: watch::Sender<usize>,
    pub(crate) records: Records,
    pub(crate) recorded: Recorded,
}

/// What a function answered.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) payload: Bytes,
    /// `X-Amz-Function-Error`.
    pub(crate) error: Option<&'static str>,
    /// The end of its log, if it was asked for.
    pub(crate) log: Option<String>,
}

/// A function and the pool of its sandboxes.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) config: FunctionConfig,
    pub(crate) inbox: mpsc::Sender<Ask>,
}

impl Functions {
    pub(crate) fn new(
        clock: Clock,
        config: LambdaConfig,
        by_name: BTreeMap<String, Function>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            clock,
            config,
            by_name,
            events,
            open_events: watch::Sender::new(0),
            records: Records::default(),
            recorded: Recorded::default(),
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Function> {
        self.by_name.get(name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Function> {
        self.by_name.values()
    }

    /// Invokes a function by name or ARN; a qualifier may be part of the name or stand beside it.
    pub(crate) async fn invoke(
        &self,
        name: &str,
        qualifier: Option<&str>,
        payload: Bytes,
        options: InvokeOptions,
        stream: Option<mpsc::Sender<Bytes>>,
    ) -> Result<InvokeResult, InvokeError> {
        let target = Target::read(name);
        let qualifier = qualifier.or(target.qualifier);
        let unknown = || InvokeError::UnknownFunction(self.arn(target.name, qualifier));
        let function = self.by_name.get(target.name).ok_or_else(unknown)?;
        if qualifier.is_some_and(|q| q != function.config.version && q != "$LATEST") {
            return Err(unknown());
        }
        let limit = match options.invocation_type {
            InvocationType::Event => MAX_ASYNC_EVENT_BYTES,
            InvocationType::RequestResponse | InvocationType::DryRun => MAX_EVENT_BYTES,
        };
        let payload = event(payload, limit)?;
        let client_context =
            options.client_context.filter(|c| !c.is_empty()).map(client_context).transpose()?;
        let waits = options.invocation_type == InvocationType::RequestResponse;
        let trace_header = options.trace_header.unwrap_or_else(|| ids::trace_header(self.clock.now()));
        let invocation = Invocation {
            // A UUID is never empty.
            request_id: RequestId::new(&ids::uuid()).ok_or(InvokeError::ShuttingDown)?,
            attempt: ids::uuid().into(),
            arn: self.arn(target.name, qualifier).into(),
            payload: Arc::from(&*payload),
            trace_header: Some(trace_header.clone().into()),
            client_context: client_context.clone().filter(|_| waits),
            cognito_identity: options.cognito_identity.map(Text::Owned),
            tenant_id: options.tenant_id.map(Text::Owned),
        };
        self.recorded.push(RecordedInvocation {
            number: 0,
            at: self.clock.now(),
            function: target.name.to_owned(),
            request_id: invocation.request_id.clone(),
            payload: payload.clone(),
            client_context: client_context.as_ref().map(ToString::to_string),
            trace_header: trace_header.clone(),
            tenant_id: invocation.tenant_id.as_ref().map(ToString::to_string),
            answer: None,
        });
        let result = InvokeResult {
            request_id: invocation.request_id.clone(),
            status: 200,
            payload: Bytes::new(),
            function_error: None,
            executed_version: function.config.version.clone(),
            trace_header,
            log_tail: None,
        };
        match options.invocation_type {
            InvocationType::DryRun => Ok(InvokeResult { status: 204, ..result }),
            InvocationType::Event => {
                self.queue(target.name, invocation)?;
                Ok(InvokeResult { status: 202, ..result })
            }
            InvocationType::RequestResponse => {
                let Outcome { payload, error, log } =
                    self.run(function, invocation, options.log_tail, stream).await?;
                let function_error = error.map(ToOwned::to_owned);
                Ok(InvokeResult { payload, function_error, log_tail: log, ..result })
            }
        }
    }

    /// Invokes a function of this Lambda, later.
    pub(crate) fn send(&self, name: &str, payload: Bytes) -> Result<(), InvokeError> {
        let invocation = Invocation {
            arn: self.arn(name, None).into(),
            trace_header: Some(ids::trace_header(self.clock.now()).into()),
            ..Invocation::new(RequestId::new(&ids::uuid()).ok_or(InvokeError::ShuttingDown)?, &payload)
        };
        self.queue(name, invocation)
    }

    fn queue(&self, name: &str, invocation: Invocation) -> Result<(), InvokeError> {
        let event = Event { function: name.to_owned(), invocation };
        self.open_events.send_modify(|open| *open += 1);
        self.events.try_send(event).map_err(|e| {
            self.event_is_over();
            match e {
                mpsc::error::TrySendError::Full(_) => InvokeError::Throttled,
                mpsc::error::TrySendError::Closed(_) => InvokeError::ShuttingDown,
            }
        })
    }

    pub(crate) fn event_is_over(&self) {
        self.open_events.send_modify(|open| *open = open.saturating_sub(1));
    }

    /// Has a function run and waits for what it answers.
    pub(crate) async fn run(
        &self,
        function: &Function,
        invocation: Invocation,
        log_tail: bool,
        stream: Option<mpsc::Sender<Bytes>>,
    ) -> Result<Outcome, InvokeError> {
        let request_id = invocation.request_id.clone();
        let (outcome, streamed) = match stream {
            None => (self.ask(function, invocation, log_tail, None).await?, None),
            Some(caller) => {
                let (parts, incoming) = mpsc::channel(1);
                let ask = self.ask(function, invocation, log_tail, Some(parts));
                let (outcome, streamed) = tokio::join!(ask, pass_on(incoming, caller));
                (outcome?, Some(streamed).filter(|(_, bytes)| *bytes > 0))
            }
        };
        let is_streamed = streamed.is_some();
        let (payload, bytes) = streamed.unwrap_or_else(|| (outcome.payload.clone(), outcome.payload.len()));
        let function_error = outcome.error.map(ToOwned::to_owned);
        let answer = RecordedAnswer { payload, bytes, streamed: is_streamed, function_error };
        self.recorded.answered(&request_id, answer);
        Ok(outcome)
    }

    async fn ask(
        &self,
        function: &Function,
        invocation: Invocation,
        log_tail: bool,
        stream: Option<mpsc::Sender<Bytes>>,
    ) -> Result<Outcome, InvokeError> {
        let (answer, answered) = oneshot::channel();
        let caller = Caller { answer, log_tail, stream };
        let ask = Ask::Invoke { invocation, caller };
        function.inbox.send(ask).await.map_err(|_| InvokeError::ShuttingDown)?;
        let Ok(Answered { answer, log }) = answered.await else { return Err(InvokeError::ShuttingDown) };
        let failed = |payload: Bytes, log| Ok(Outcome { payload, error: Some("Unhandled"), log });
        match answer {
            Answer::Response(body) => Ok(Outcome { payload: Bytes::from_owner(body), error: None, log }),
            Answer::Error(body) => failed(Bytes::from_owner(body), log),
            Answer::Failure { error_type, message } => failed(failure(&error_type, &message), log),
            Answer::Rejected(Rejection::Throttled) => Err(InvokeError::Throttled),
            Answer::Rejected(Rejection::ShuttingDown) => Err(InvokeError::ShuttingDown),
            Answer::Rejected(Rejection::Unavailable) => Err(InvokeError::Refused("Runtime.Unavailable")),
            Answer::Rejected(Rejection::InitIncomplete) => Err(InvokeError::Refused("Client.InitIncomplete")),
            Answer::Rejected(Rejection::Duplicated) => Err(InvokeError::Refused("Client.DuplicatedInvokeId")),
            Answer::Rejected(Rejection::Unhealthy) => {
                Err(InvokeError::Refused("Client.ExecutionEnvironmentUnhealthy"))
            }
        }
    }

    fn arn(&self, name: &str, qualifier: Option<&str>) -> String {
        let arn = self.config.arn(name);
        qualifier.map_or_else(|| arn.clone(), |q| format!("{arn}:{q}"))
    }
}

/// Passes the parts of a response on to its caller, and gives their beginning and how many bytes there were. Ends when
/// there are no more, or when the caller is gone.
async fn pass_on(mut parts: mpsc::Receiver<Bytes>, caller: mpsc::Sender<Bytes>) -> (Bytes, usize) {
    let (mut kept, mut bytes) = (Vec::new(), 0);
    while let Some(part) = parts.recv().await {
        bytes += part.len();
        let room = MAX_ANSWER_BYTES - kept.len();
        kept.extend_from_slice(part.get(..room).unwrap_or(&part));
        if caller.send(part).await.is_err() {
            break;
        }
    }
    (kept.into(), bytes)
}

/// A function as callers name it.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    name: &'a str,
    qualifier: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// `name`, `name:qualifier`, `account:function:name[:qualifier]` or
    /// `arn:partition:lambda:region:account:function:name[:qualifier]`.
    fn read(text: &'a str) -> Self {
        let rest = match text.split_once(":function:") {
            Some((_, rest)) => rest,
            None => text.strip_prefix("function:").unwrap_or(text),
        };
        match rest.split_once(':') {
            Some((name, qualifier)) => Self { name, qualifier: Some(qualifier) },
            None => Self { name: rest, qualifier: None },
        }
    }
}

/// The event: JSON within the limit. Nothing is the same as an empty object.
fn event(payload: Bytes, limit: usize) -> Result<Bytes, InvokeError> {
    if payload.len() > limit {
        return Err(InvokeError::TooLarge { limit });
    }
    if payload.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    match serde_json::from_slice::<&RawValue>(&payload) {
        Ok(_) => Ok(payload),
        Err(e) => Err(InvokeError::InvalidEvent(e.to_string())),
    }
}

/// On one line, so that it can be a header.
fn client_context(text: String) -> Result<Text, InvokeError> {
    match serde_json::from_str::<Value>(&text) {
        Ok(value @ Value::Object(_)) => Ok(Text::Owned(value.to_string())),
        _ => Err(InvokeError::InvalidClientContext),
    }
}

pub(crate) fn failure(error_type: &str, message: &str) -> Bytes {
    let (error_type, message) = (Value::from(error_type), Value::from(message));
    Bytes::from(format!("{{\"errorType\":{error_type},\"errorMessage\":{message}}}"))
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn functions_are_named_in_five_ways() {
        let check = |text: &str, name: &str, qualifier: Option<&str>| {
            assert_eq!(Target::read(text), Target { name, qualifier }, "{text}");
        };
        check("orders", "orders", None);
        check("orders:7", "orders", Some("7"));
        check("123456789012:function:orders", "orders", None);
        check("arn:aws:lambda:eu-west-1:123456789012:function:orders", "orders", None);
        check("arn:aws:lambda:eu-west-1:123456789012:function:orders:$LATEST", "orders", Some("$LATEST"));
    }
}
