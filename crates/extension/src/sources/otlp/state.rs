//! What becomes of what exporters sent: facts for the engine. Keeps what metrics have to be compared with.

use std::borrow::Cow;

use engine::Input;
use model::{Metric, SketchSeries, UnixNanos};
use wire::otlp::{Signal, logs, metrics, to_protobuf, traces};

use super::streams::{Made, Streams};
use super::{MAX_BODY, Sent, lost};
use crate::inbox::Inbox;
use crate::log::{self, Level};
use crate::settings::Otlp as Settings;

pub(crate) struct State {
    settings: Settings,
    streams: Streams,
}

impl State {
    /// `now`: streams that begin later than that are known from their beginning.
    pub(crate) fn new(settings: Settings, now: UnixNanos) -> Self {
        // Clocks of exporters may count milliseconds.
        let streams =
            Streams::new(settings.points, UnixNanos::from_millis(now.as_millis().saturating_sub(1)));
        Self { settings, streams }
    }

    /// Reads a body; what cannot be read is counted.
    pub(crate) fn decode(&mut self, sent: &Sent, inbox: &Inbox) -> Vec<Input> {
        let decoded = plain(sent).and_then(|body| {
            let body = match sent.is_json {
                true => Cow::Owned(to_protobuf(sent.signal, &body).map_err(|error| error.to_string())?),
                false => body,
            };
            self.read(sent, &body, inbox).map_err(|error| error.to_string())
        });
        decoded.unwrap_or_else(|why| {
            inbox.count(lost(sent.signal), 1);
            let (signal, bytes) = (sent.signal, sent.body.len());
            log::seldom(
                Level::Warn,
                "otlp",
                format_args!("an OTLP request ({signal:?}, {bytes} bytes) could not be read: {why}"),
            );
            Vec::new()
        })
    }

    fn read(
        &mut self,
        sent: &Sent,
        body: &[u8],
        inbox: &Inbox,
    ) -> Result<Vec<Input>, wire::otlp::DecodeError> {
        let (facts, dropped) = match sent.signal {
            Signal::Traces => {
                let decoded = traces::decode(body, &self.settings.traces)?;
                let fact = |(mut tracer, chunks): (model::TracerInfo, _)| {
                    tracer.computed_stats |= sent.computed_stats;
                    Input::Traces { tracer, chunks }
                };
                (decoded.resources.into_iter().map(fact).collect(), decoded.dropped_spans)
            }
            Signal::Metrics => {
                let decoded = metrics::decode(body, self.settings.metrics)?;
                let (mut plain, mut sketches): (Vec<Metric>, Vec<SketchSeries>) = Default::default();
                let mut dropped = decoded.dropped;
                for point in decoded.points {
                    for made in self.streams.take(point) {
                        match made {
                            Made::Metric(metric) => plain.push(metric),
                            Made::Sketch(sketch) => sketches.push(sketch),
                            Made::Dropped => dropped += 1,
                        }
                    }
                }
                let facts = [
                    (!plain.is_empty()).then_some(Input::Metrics(plain)),
                    (!sketches.is_empty()).then_some(Input::Sketches(sketches)),
                ];
                (facts.into_iter().flatten().collect(), dropped)
            }
            Signal::Logs => {
                let decoded = logs::decode(body)?;
                let lines = (!decoded.lines.is_empty()).then_some(Input::Lines(decoded.lines));
                (lines.into_iter().collect(), decoded.dropped)
            }
        };
        inbox.count(lost(sent.signal), dropped);
        Ok(facts)
    }
}

fn plain(sent: &Sent) -> Result<Cow<'_, [u8]>, String> {
    match sent.encoding.as_str() {
        "" | "identity" => Ok(Cow::Borrowed(&sent.body)),
        encoding => {
            let plain = payload::decompress(&sent.body, encoding, MAX_BODY);
            plain.map(Cow::Owned).map_err(|error| error.to_string())
        }
    }
}
