//! One call of an SDK client: what is known of it, and its span. Kept in the SDK's own bag, and dropped with it,
//! whatever becomes of the call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use aws_types::endpoint_config::EndpointUrl;
use aws_types::region::{Region, SigningRegion};
use model::{Arn, SpanLink};
use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};

use crate::data_streams::{Passed, Source};
use crate::pointers::{Writes, s3};
use crate::resource;
use crate::settings::Settings;

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) service: String,
    pub(crate) operation: String,
    pub(crate) region: Option<String>,
    pub(crate) started: SystemTime,
    pub(crate) parent: Context,
    /// With the call's span, once that has begun.
    context: Option<Context>,
    state: State,
    /// What the request is about, for when the span begins.
    about: Vec<KeyValue>,
    pub(crate) writes: Option<Writes>,
    /// What it sends along pathways, and what it receives from.
    pub(crate) passed: Option<Passed>,
    pub(crate) source: Option<Source>,
    /// The request's path before it had an endpoint.
    pub(crate) path: String,
    pub(crate) bucket: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Perhaps it is to be signed only.
    Made,
    /// On its way: whatever happens now, there was a call.
    Sent,
    Over,
}

impl Storable for Call {
    type Storer = StoreReplace<Self>;
}

impl Call {
    pub(crate) fn new(service: &str, operation: &str, parent: Context) -> Self {
        Self {
            service: service.to_owned(),
            operation: operation.to_owned(),
            region: None,
            started: SystemTime::now(),
            parent,
            context: None,
            state: State::Made,
            about: Vec::new(),
            writes: None,
            passed: None,
            source: None,
            path: String::new(),
            bucket: None,
        }
    }

    /// Adds tags, to the span or for when there is one.
    pub(crate) fn tag(&mut self, tags: Vec<KeyValue>) {
        match &self.context {
            Some(context) => context.span().set_attributes(tags),
            None => self.about.extend(tags),
        }
    }

    /// The context with the call's span, which is made when it is first asked for and has begun when the call did.
    pub(crate) fn begin(&mut self) -> &Context {
        let Self { service, operation, region, started, parent, context, about, .. } = self;
        context.get_or_insert_with(|| {
            let mut tags = vec![
                KeyValue::new("operation.name", "aws.request"),
                KeyValue::new("service.name", format!("aws.{service}")),
                KeyValue::new("resource.name", format!("{service}.{operation}")),
                KeyValue::new("span.type", "http"),
                KeyValue::new("component", "aws-sdk-rust"),
                KeyValue::new("aws.service", service.clone()),
                KeyValue::new("aws_service", service.clone()),
                KeyValue::new("aws.operation", operation.clone()),
            ];
            if let Some(region) = region {
                tags.push(KeyValue::new("aws.partition", Arn::partition_of(region)));
                tags.push(KeyValue::new("region", region.clone()));
                tags.push(KeyValue::new("aws.region", region.clone()));
            }
            tags.append(about);
            let tracer = global::tracer(env!("CARGO_CRATE_NAME"));
            let builder = tracer.span_builder(format!("{service}.{operation}"));
            let builder = builder.with_kind(SpanKind::Client).with_start_time(*started).with_attributes(tags);
            parent.with_span(tracer.build_with_context(builder, parent))
        })
    }

    /// Tags that a request gives once it is ready to be sent. The query may hold secrets, and is left out.
    pub(crate) fn sending(&mut self, request: &HttpRequest, base: Option<&str>) -> Vec<KeyValue> {
        let mut tags = vec![KeyValue::new("http.method", request.method().to_owned())];
        tags.push(KeyValue::new("http.url", s3::path(request.uri()).to_owned()));
        if let Some(agent) = request.headers().get("user-agent") {
            tags.push(KeyValue::new("aws.agent", agent.to_owned()));
        }
        if self.service == "S3" {
            self.bucket = s3::bucket(request.uri(), &self.path, base);
            if let Some(bucket) = &self.bucket {
                tags.push(KeyValue::new("bucketname", bucket.clone()));
                tags.push(KeyValue::new("aws.s3.bucket_name", bucket.clone()));
            }
        }
        if Settings::of_process().in_lambda
            && let Some(region) = &self.region
            && let Some(peer) = resource::peer_service(&self.service, region, self.bucket.as_deref())
        {
            tags.push(KeyValue::new("peer.service", peer));
        }
        tags
    }

    /// The signed request may go out now.
    pub(crate) fn ready(&mut self) {
        self.state = State::Sent;
    }

    pub(crate) fn end(&mut self) {
        self.state = State::Over;
        if let Some(context) = &self.context {
            context.span().end();
        }
    }

    /// There was no call: nothing was sent.
    pub(crate) fn forget(&mut self) {
        self.state = State::Over;
    }
}

/// A call that the caller gave up: the future was dropped, as by a timeout around it.
impl Drop for Call {
    fn drop(&mut self) {
        if self.state == State::Sent {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let context = self.begin().clone();
                context.span().set_attribute(KeyValue::new("aws.given_up", true));
                context.span().end();
            }));
        }
    }
}

/// A pointer as a link: to no span, by its attributes alone.
pub(crate) fn add_pointer(context: &Context, pointer: SpanLink) {
    let attributes = pointer.attributes.into_iter();
    let attributes =
        attributes.map(|(key, value)| KeyValue::new(key.into_owned(), value.into_owned())).collect();
    context.span().add_link(SpanContext::NONE, attributes);
}

pub(crate) fn region(cfg: &ConfigBag) -> Option<String> {
    let signing = cfg.load::<SigningRegion>().map(|region| region.as_ref().to_owned());
    signing.or_else(|| cfg.load::<Region>().map(|region| region.as_ref().to_owned()))
}

/// The endpoint that the user has set.
pub(crate) fn base(cfg: &ConfigBag) -> Option<String> {
    cfg.load::<EndpointUrl>().map(|url| url.0.clone())
}
