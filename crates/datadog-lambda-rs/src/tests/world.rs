//! One function in one sandbox, within the test's process: settings, agent, subscriber, and calls as
//! `lambda_runtime` makes them.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use lambda_runtime::{
    Context as LambdaContext, Diagnostic, Error, FunctionResponse, LambdaEvent, LambdaInvocation, Service,
    service_fn,
};
use model::Chunk;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::Layer;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;

use super::agent::{FakeAgent, Manner};
use crate::agent::lock;
use crate::datadog::Datadog;
use crate::out::Out;
use crate::settings::{Address, Settings};
use crate::spans::DatadogSpans;
use crate::{DatadogLayer, LogLayer, TracedHandler, ids, trace_layer};

pub(super) struct World {
    pub(super) datadog: Arc<Datadog>,
    pub(super) agent: FakeAgent,
    pub(super) tracer: SdkTracer,
    _subscriber: DefaultGuard,
}

pub(super) const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:orders-api";

impl World {
    pub(super) async fn new() -> Self {
        Self::with(Manner::Answers, |_| {}).await
    }

    pub(super) async fn with(manner: Manner, change: impl FnOnce(&mut Settings)) -> Self {
        let agent = FakeAgent::start(manner, |_| {}).await;
        let mut settings = Settings {
            agent: Some(Address::local(agent.port)),
            function_name: "orders-api".to_owned(),
            ..Settings::default()
        };
        change(&mut settings);
        let datadog = Arc::new(Datadog::new(settings, Out::Memory(Mutex::default())));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(DatadogSpans { datadog: datadog.clone() })
            .with_id_generator(ids::SystemIds { long: datadog.settings.long_ids })
            .build();
        let tracer = provider.tracer("test");
        let subscriber = tracing_subscriber::registry()
            .with(LogLayer { datadog: datadog.clone() })
            .with(trace_layer(tracer.clone()));
        Self { datadog, agent, tracer, _subscriber: tracing::subscriber::set_default(subscriber) }
    }

    /// Calls a handler through the layer, as the runtime does: the event is deserialised and the handler
    /// called in one go, and what it gives is taken as the response. Returns what the runtime would post.
    pub(super) async fn call<T, R, H>(&self, event: &str, handler: H) -> Result<Value, Diagnostic>
    where
        T: DeserializeOwned,
        R: Serialize,
        H: Service<LambdaEvent<T>, Response = R>,
        H::Error: Into<Diagnostic> + Debug + 'static,
    {
        self.call_as(context("req-1"), event, handler).await
    }

    pub(super) async fn call_as<T, R, H>(
        &self,
        context: LambdaContext,
        event: &str,
        handler: H,
    ) -> Result<Value, Diagnostic>
    where
        T: DeserializeOwned,
        R: Serialize,
        H: Service<LambdaEvent<T>, Response = R>,
        H::Error: Into<Diagnostic> + Debug + 'static,
    {
        let mut handler = TracedHandler::with(self.datadog.clone(), handler);
        let posted =
            Mutex::new(Err(Diagnostic { error_type: "none".into(), error_message: "nothing posted".into() }));
        let runtime = service_fn(|invocation: LambdaInvocation| {
            let payload = serde_json::from_slice::<T>(&invocation.body);
            let future = payload.map(|payload| handler.call(LambdaEvent::new(payload, invocation.context)));
            let posted = &posted;
            async move {
                let result = match future {
                    Ok(future) => future.await.map(body).map_err(Diagnostic::from),
                    Err(error) => {
                        Err(Diagnostic { error_type: "bad event".into(), error_message: error.to_string() })
                    }
                };
                *lock(posted) = result;
                Ok::<(), Error>(())
            }
        });
        let mut service = DatadogLayer::with(self.datadog.clone()).layer(runtime);
        let (parts, ()) = http::Response::new(()).into_parts();
        let body = bytes::Bytes::copy_from_slice(event.as_bytes());
        service.call(LambdaInvocation { parts, body, context }).await.unwrap();
        drop(service);
        posted.into_inner().unwrap()
    }

    /// Changes what a builder can set, before the first call: the subscriber keeps to what was.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Datadog)) {
        let mut datadog = Datadog::new(self.datadog.settings.clone(), Out::Memory(Mutex::default()));
        change(&mut datadog);
        self.datadog = Arc::new(datadog);
    }

    /// Changes settings, before the first call.
    pub(super) fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.datadog.settings.clone();
        change(&mut settings);
        self.datadog = Arc::new(Datadog::new(settings, Out::Memory(Mutex::default())));
    }

    /// The headers that a call made here would carry.
    pub(super) fn injected(&self) -> std::collections::HashMap<String, String> {
        let mut headers = std::collections::HashMap::new();
        crate::propagator::inject(&opentelemetry::Context::current(), &mut headers);
        headers
    }

    /// The one chunk that arrived.
    pub(super) fn chunk(&self) -> Chunk {
        let mut chunks = self.agent.take();
        assert_eq!(chunks.len(), 1, "{chunks:?}");
        chunks.remove(0)
    }

    pub(super) fn lines(&self) -> Vec<Value> {
        let Out::Memory(lines) = &self.datadog.out else { unreachable!() };
        std::mem::take(&mut *lock(lines)).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(super) fn body<B: Serialize, S>(response: FunctionResponse<B, S>) -> Value {
    match response {
        FunctionResponse::BufferedResponse(body) => serde_json::to_value(body).unwrap(),
        FunctionResponse::StreamingResponse(_) => Value::String("stream".to_owned()),
    }
}

pub(super) fn context(request_id: &str) -> LambdaContext {
    let mut context = LambdaContext::default();
    context.request_id = request_id.to_owned();
    context.invoked_function_arn = ARN.to_owned();
    context
}
