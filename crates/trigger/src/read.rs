//! From an event to its [`Reading`]: which source, which of its records has the parent, what the others
//! link to, and what came in the messages within.

use model::SpanLink;
use model::keys::lambda;
use propagation::{Behavior, Style, TraceContext, XRay};
use serde_json::Value;

use crate::carrier::{JsonCarrier, carrier_of, context_of};
use crate::sources::{About, Carried, SOURCES, Shape, Source, Surroundings, initial_input};
use crate::{Function, InferredEnd, InferredSpan, Kind, Reading, Settings, json, pointer};

/// How many traces one invocation links to, and how many objects or items it points to.
const MAX_LINKS: usize = 100;
/// The most that Lambda puts into one batch.
pub(crate) const MAX_RECORDS: usize = 10_000;
/// How deep messages within messages are followed: SQS, SNS, EventBridge and one more.
pub(crate) const MAX_DEPTH: usize = 4;
/// Bytes of messages parsed per event: what does not fit is not looked into.
pub(crate) const MAX_MESSAGES: usize = 4 * 1024 * 1024;
/// What services write around a message is within this many bytes of its ends.
const HEAD: usize = 4096;

/// Says what an event means. See [`Reading`] for what is found.
///
/// The event of a direct call of the Invoke API says nothing of its caller; what does is
/// [`client_context`](crate::client_context).
pub fn read(event: &Value, function: &Function, settings: &Settings) -> Reading {
    let Some(source) = source_of(event) else {
        let mut reading = Reading::default();
        let (context, place) = anywhere(event, settings).unzip();
        reading.found_in = place;
        reading.adopt(context, settings);
        return reading;
    };
    let around = Surroundings { event, function, settings };
    let mut reading = Reading {
        kind: source.kind,
        event_source: source.event_source,
        is_http: source.is_http,
        ..Reading::default()
    };
    let mut batch = Batch::default();
    let chosen = batch.look(source, &around);
    if let Some(name) = source.event_source {
        reading.tags.insert(lambda::EVENT_SOURCE, name);
    }
    if let Some(record) = chosen {
        (source.tags)(record, &around, &mut reading.tags);
    }
    reading.event_source_arn = reading.tags.get(lambda::EVENT_SOURCE_ARN).map(ToString::to_string);
    reading.inferred = batch.spans;
    reading.baggage = batch.baggage;
    let within = || (source.kind == Kind::Durable).then(|| started_by(event, settings))?;
    let found = batch.parent.or_else(within).or_else(|| anywhere(event, settings));
    let (context, place) = found.unzip();
    reading.found_in = place;
    if settings.extract_behavior != Behavior::Ignore {
        reading.links = batch.links;
    }
    reading.adopt(context, settings);
    reading.links.append(&mut batch.pointers);
    reading
}

impl Reading {
    /// Takes a context as the parent that was found elsewhere than in the event, such as in the client
    /// context or in a header of the runtime, if the event had none: to be continued, linked to or ignored, as
    /// the settings say.
    pub fn adopt(&mut self, found: Option<TraceContext>, settings: &Settings) {
        let Some(mut found) = found.filter(|_| self.parent.is_none()) else { return };
        match settings.extract_behavior {
            Behavior::Continue => {
                self.links.splice(0..0, std::mem::take(&mut found.links));
                self.parent = Some(found);
            }
            Behavior::Restart if !self.links.iter().any(is_restart) => {
                if let Some(mut link) = found.to_link() {
                    link.attributes.insert(REASON, RESTARTED);
                    self.links.insert(0, link);
                }
                self.baggage = found.baggage;
            }
            Behavior::Restart | Behavior::Ignore => {}
        }
    }
}

const REASON: &str = "reason";
const RESTARTED: &str = "propagation_behavior_extract";

fn is_restart(link: &SpanLink) -> bool {
    link.attributes.get(REASON).is_some_and(|reason| reason == RESTARTED)
}

/// Which source an event is from.
pub fn identify(event: &Value) -> Kind {
    source_of(event).map_or(Kind::Unknown, |source| source.kind)
}

/// Every source, in the order in which they are tried, with what is done for it.
pub fn sources() -> impl Iterator<Item = (Kind, Option<&'static str>, &'static About)> {
    SOURCES.iter().map(|source| (source.kind, source.event_source, &source.about))
}

/// The records of a batch; of any other event, the event itself.
pub fn records(event: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    let partitions = event.get("records").filter(|records| records.is_object());
    match (event.get("Records").unwrap_or(event), partitions) {
        (Value::Array(records), _) => Box::new(records.iter()),
        (_, Some(partitions)) => Box::new(in_partitions(partitions)),
        _ => Box::new(std::iter::once(event)),
    }
}

/// The context that one record of a batch carries: the parent of a span made for that record alone.
///
/// ```
/// # let event = serde_json::json!({"Records": []});
/// let settings = trigger::Settings::default();
/// for record in trigger::records(&event) {
///     let parent = trigger::record_context(record, &settings);
/// }
/// ```
pub fn record_context(record: &Value, settings: &Settings) -> Option<TraceContext> {
    let is_kafka = json::has(record, "topic") && json::has(record, "partition");
    let source = SOURCES.iter().find(|source| match source.shape {
        Shape::Records => (source.matches)(record),
        Shape::Partitions => is_kafka,
        Shape::Whole => false,
    })?;
    let around = Surroundings { event: record, function: &Function::default(), settings };
    let mut trail = Trail { budget: MAX_MESSAGES, ..Trail::default() };
    let want = Want { context: true, spans: false, pointers: false };
    follow(source, record, &around, want, MAX_DEPTH, &mut trail);
    trail.context
}

fn source_of(event: &Value) -> Option<&'static Source> {
    // A record on its own, as a function that fans out passes it on, is as good as a batch of one.
    let first = json::first_record(event).unwrap_or(event);
    SOURCES.iter().find(|source| match source.shape {
        Shape::Records => (source.matches)(first),
        Shape::Whole | Shape::Partitions => (source.matches)(event),
    })
}

fn in_partitions(partitions: &Value) -> impl Iterator<Item = &Value> {
    partitions.as_object().into_iter().flat_map(|map| map.values()).flat_map(json::elements)
}

/// What all records of an event say together.
#[derive(Default)]
struct Batch {
    parent: Option<(TraceContext, String)>,
    links: Vec<SpanLink>,
    pointers: Vec<SpanLink>,
    spans: Vec<InferredSpan>,
    baggage: model::Tags<model::Text>,
}

impl Batch {
    /// Gives the record that speaks for the event: the one that the parent is from, else the first.
    fn look<'a>(&mut self, source: &Source, around: &Surroundings<'a>) -> Option<&'a Value> {
        let settings = around.settings;
        let mut chosen = None;
        let mut budget = MAX_MESSAGES;
        let can_point = settings.span_pointers && source.about.pointers.is_some();
        let records: Box<dyn Iterator<Item = &Value>> = match source.shape {
            Shape::Whole => Box::new(std::iter::once(around.event)),
            Shape::Records | Shape::Partitions => records(around.event),
        };
        for (n, record) in records.take(MAX_RECORDS).enumerate() {
            let want = Want {
                context: self.links.len() < MAX_LINKS,
                spans: n == 0 && settings.managed_services,
                pointers: can_point && self.pointers.len() < MAX_LINKS,
            };
            if !want.context && !want.pointers {
                break;
            }
            let mut trail = Trail { budget, ..Trail::default() };
            follow(source, record, around, want, MAX_DEPTH, &mut trail);
            budget = trail.budget;
            self.pointers.append(&mut trail.pointers);
            if n == 0 {
                chosen = Some(record);
                self.spans = trail.spans;
                self.baggage = trail.baggage;
            }
            let Some(context) = trail.context else { continue };
            if self.parent.is_some() {
                self.link(&context);
                continue;
            }
            self.parent = Some((context, trail.place));
            chosen = Some(record);
            if n > 0 && settings.managed_services {
                let mut trail = Trail { budget: MAX_MESSAGES, ..Trail::default() };
                follow(
                    source,
                    record,
                    around,
                    Want { context: false, spans: true, pointers: false },
                    MAX_DEPTH,
                    &mut trail,
                );
                self.spans = trail.spans;
            }
        }
        self.pointers.truncate(MAX_LINKS);
        chosen
    }

    /// One link per trace.
    fn link(&mut self, context: &TraceContext) {
        let is_parent = self.parent.as_ref().is_some_and(|(parent, _)| parent.trace_id == context.trace_id);
        let known = is_parent || self.links.iter().any(|link| link.trace_id == Some(context.trace_id));
        if !known && self.links.len() < MAX_LINKS {
            self.links.extend(context.to_link());
        }
    }
}

/// What to look for in a record.
#[derive(Clone, Copy)]
struct Want {
    context: bool,
    spans: bool,
    pointers: bool,
}

/// What one record says, and the messages within it.
#[derive(Default)]
struct Trail {
    context: Option<TraceContext>,
    place: String,
    /// Outermost first.
    spans: Vec<InferredSpan>,
    pointers: Vec<SpanLink>,
    baggage: model::Tags<model::Text>,
    /// Bytes of messages that may still be parsed.
    budget: usize,
}

/// Reads a record, then the message within it, if another service sent that, and so on.
fn follow(
    source: &Source,
    record: &Value,
    around: &Surroundings<'_>,
    want: Want,
    depth: usize,
    trail: &mut Trail,
) {
    let outer = trail.place.len();
    if want.context && trail.context.is_none() {
        take_context(source, record, around, trail);
    }
    if want.spans {
        let mut spans = (source.inferred)(record, around);
        // What was found before is nearer to the function.
        if let (Some(last), Some(next)) = (spans.last_mut(), trail.spans.first()) {
            last.end = InferredEnd::At(next.start);
        }
        spans.append(&mut trail.spans);
        trail.spans = spans;
    }
    if want.pointers {
        trail.pointers.extend(match source.kind {
            Kind::S3 => pointer::of_s3_record(record),
            Kind::EventBridge => pointer::of_s3_event(record),
            Kind::DynamoDb => pointer::of_dynamodb_record(record),
            _ => None,
        });
    }
    if depth > 0 {
        follow_message(source, record, around, want, depth - 1, trail);
    }
    if want.context && trail.context.is_none() && source.kind == Kind::Sqs {
        trail.place.truncate(outer);
        take_aws_trace_header(record, trail);
    }
}

fn follow_message(
    source: &Source,
    record: &Value,
    around: &Surroundings<'_>,
    want: Want,
    depth: usize,
    trail: &mut Trail,
) {
    let found = source.message.iter().find_map(|path| Some((*path, json::text(record, path)?)));
    let Some((path, text)) = found else { return };
    if text.len() > trail.budget || !is_worth_parsing(text, want) {
        return;
    }
    trail.budget -= text.len();
    let Ok(message) = serde_json::from_str::<Value>(text) else { return };
    let first = json::first_record(&message).unwrap_or(&message);
    let inner = SOURCES.iter().filter(|source| source.is_message).find(|source| (source.matches)(first));
    let Some(inner) = inner else { return };
    let around = Surroundings { event: &message, ..*around };
    let (before, known) = (trail.place.len(), trail.context.is_some());
    if !known {
        trail.place.push_str(path);
        trail.place.push_str(" > ");
    }
    for (n, record) in records(&message).take(MAX_LINKS).enumerate() {
        follow(inner, record, &around, Want { spans: want.spans && n == 0, ..want }, depth, trail);
    }
    if !known && trail.context.is_none() {
        trail.place.truncate(before);
    }
}

/// Most messages are the user's own: those of services are told by their first bytes (or last, when something
/// sorted their keys), and those with a context have its name in them.
fn is_worth_parsing(text: &str, want: Want) -> bool {
    if !text.trim_start().starts_with('{') {
        return false;
    }
    let head = (HEAD.min(text.len())..=text.len()).find_map(|end| text.get(..end)).unwrap_or(text);
    let tail =
        (text.len().saturating_sub(HEAD)..=text.len()).find_map(|start| text.get(start..)).unwrap_or(text);
    let says = |name: &str| head.contains(name) || tail.contains(name);
    let is_s3 = || says("aws:s3") || says("aws.s3");
    let is_service = || says("\"Notification\"") || says("\"detail-type\"") || is_s3();
    let has_context = || text.contains("_datadog");
    want.spans && is_service() || want.pointers && is_s3() || want.context && is_service() && has_context()
}

fn take_context(source: &Source, record: &Value, around: &Surroundings<'_>, trail: &mut Trail) {
    let Some(Carried { place, headers }) = (source.carrier)(record, around) else { return };
    trail.context = context_of(&headers, around.settings);
    if trail.context.is_some() {
        trail.place.push_str(place);
    } else if around.settings.extract_styles.contains(&Style::Baggage) {
        trail.baggage = propagation::baggage(&JsonCarrier(&headers));
    }
}

/// A Datadog tracer's ids in the attribute that AWS itself passes on. One that X-Ray made is of no trace here.
fn take_aws_trace_header(message: &Value, trail: &mut Trail) {
    let header = json::text(message, "attributes.AWSTraceHeader").and_then(XRay::parse);
    trail.context = header.filter(XRay::is_datadog).and_then(|header| header.context());
    if trail.context.is_some() {
        trail.place.push_str("attributes.AWSTraceHeader");
    }
}

/// The context in the event that a durable execution was started with.
fn started_by(event: &Value, settings: &Settings) -> Option<(TraceContext, String)> {
    let input = initial_input(event).filter(|input| input.len() <= MAX_MESSAGES)?;
    let event: Value = serde_json::from_str(input).ok()?;
    let source = source_of(&event).filter(|source| source.kind != Kind::Durable);
    let Some(source) = source else { return anywhere(&event, settings) };
    let settings = Settings { managed_services: false, span_pointers: false, ..settings.clone() };
    let around = Surroundings { event: &event, function: &Function::default(), settings: &settings };
    let mut batch = Batch::default();
    batch.look(source, &around);
    batch.parent.map(|(context, place)| (context, format!("InitialExecutionState > {place}")))
}

/// Where no source keeps it, but a user who passes a request or a message on leaves it.
fn anywhere(event: &Value, settings: &Settings) -> Option<(TraceContext, String)> {
    let carrier = carrier_of(event.get("_datadog").unwrap_or(&Value::Null));
    let datadog =
        carrier.and_then(|map| context_of(&map, settings)).map(|context| (context, "_datadog".to_owned()));
    datadog.or_else(|| {
        let mut places = ["request.headers", "headers"].into_iter();
        places.find_map(|place| Some((context_of(json::object(event, place)?, settings)?, place.to_owned())))
    })
}
