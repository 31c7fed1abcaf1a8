//! Traces: `AgentPayload`, field by field.
//! <https://github.com/DataDog/datadog-agent/tree/main/pkg/proto/datadog/trace>

use std::collections::HashSet;
use std::fmt;

use model::{UnixNanos, keys};
use protobuf::{Error, Reader, Value};

use super::{Found, rules};

const YEAR_2000_NS: u64 = 946_684_800_000_000_000;
const AHEAD_NS: u64 = 600_000_000_000;

pub(super) fn check(plain: &[u8], now: UnixNanos, found: &mut Found) -> Result<(), String> {
    let mut check = Check { now, seen: HashSet::new(), found };
    check.agent(Reader::new(plain)).map_err(|why| why.to_string())
}

/// Where a span is.
#[derive(Clone, Copy, Debug)]
struct At {
    payload: usize,
    chunk: usize,
    span: Option<usize>,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payload, chunk, span } = self;
        write!(f, "tracerPayloads[{payload}].chunks[{chunk}]")?;
        span.map_or(Ok(()), |span| write!(f, ".spans[{span}]"))
    }
}

/// What of a span matters to its chunk.
#[derive(Debug, Default)]
struct Seen {
    trace: u64,
    id: u64,
    parent: u64,
    service: String,
    top_level: bool,
}

struct Check<'a> {
    now: UnixNanos,
    /// Traces and ids of the request's spans.
    seen: HashSet<(u64, u64)>,
    found: &'a mut Found,
}

impl Check<'_> {
    fn agent(&mut self, mut reader: Reader<'_>) -> Result<(), Error> {
        let mut payloads = 0;
        while let Some((number, value)) = reader.field()? {
            if number == 5 {
                self.payload(value.message(), payloads)?;
                payloads += 1;
            }
        }
        self.found.want(payloads > 0, &rules::EMPTY, "tracerPayloads", "empty");
        Ok(())
    }

    fn payload(&mut self, mut reader: Reader<'_>, payload: usize) -> Result<(), Error> {
        let mut chunk = 0;
        while let Some((number, value)) = reader.field()? {
            if number == 6 {
                self.chunk(value.message(), At { payload, chunk, span: None })?;
                chunk += 1;
            }
        }
        let at = format_args!("tracerPayloads[{payload}].chunks").to_string();
        self.found.want(chunk > 0, &rules::EMPTY, at, "empty");
        Ok(())
    }

    fn chunk(&mut self, mut reader: Reader<'_>, at: At) -> Result<(), Error> {
        let (mut priority, mut spans) = (0, Vec::new());
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => priority = value.int(),
                3 => {
                    let place = At { span: Some(spans.len()), ..at };
                    spans.push(self.span(value.message(), place)?);
                }
                4 => self.high_half(value, at)?,
                _ => {}
            }
        }
        let holds = (-1..=2).contains(&priority);
        self.found.want(holds, &rules::CHUNK_PRIORITY, format_args!("{at}.priority"), priority);
        self.found.want(!spans.is_empty(), &rules::CHUNK_EMPTY, format_args!("{at}.spans"), "empty");
        let other = spans.iter().zip(spans.iter().skip(1)).find(|(a, b)| a.trace != b.trace);
        if let Some((a, b)) = other {
            let told = format!("of traces {} and {}", a.trace, b.trace);
            self.found.add(&rules::CHUNK_TRACES, format_args!("{at}.spans"), told);
        }
        self.entries(&spans, at);
        Ok(())
    }

    /// A span that is the first of its service in this trace, as far as this chunk shows, is marked as such.
    fn entries(&mut self, spans: &[Seen], at: At) {
        let ids: HashSet<u64> = spans.iter().map(|span| span.id).collect();
        for (n, span) in spans.iter().enumerate().filter(|(_, span)| !ids.contains(&span.parent)) {
            let place = At { span: Some(n), ..at };
            self.found.want(
                span.top_level,
                &rules::SPAN_TOP_LEVEL,
                place,
                format_args!("of {}, not marked", span.service),
            );
        }
    }

    fn high_half(&mut self, entry: Value<'_>, at: At) -> Result<(), Error> {
        let (key, value) = entry.entry()?;
        if key == keys::trace::TID {
            let value = value.text();
            let holds = value.len() == 16 && value.bytes().all(|b| b.is_ascii_hexdigit());
            self.found.want(holds, &rules::CHUNK_TID, format_args!("{at}.tags.{key}"), value);
        }
        Ok(())
    }

    fn span(&mut self, mut reader: Reader<'_>, at: At) -> Result<Seen, Error> {
        let mut seen = Seen::default();
        let (mut start, mut duration, [mut name, mut resource, mut kind]) =
            (0, 0, [0; 3].map(|_| String::new()));
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => seen.service = value.text().into_owned(),
                2 => name = value.text().into_owned(),
                3 => resource = value.text().into_owned(),
                4 => seen.trace = value.uint(),
                5 => seen.id = value.uint(),
                6 => seen.parent = value.uint(),
                7 => start = value.uint(),
                8 => duration = value.uint(),
                10 => self.tag(value, at)?,
                11 => self.number(value, at, &mut seen)?,
                12 => kind = value.text().into_owned(),
                14 => self.link(value.message(), at)?,
                _ => {}
            }
        }
        let found = &mut *self.found;
        let service = &seen.service;
        let fits = |c: char| (c.is_alphanumeric() && !c.is_uppercase()) || "_:./-".contains(c);
        let begins = service.chars().next().is_some_and(|c| c.is_alphabetic() || c == ':');
        let holds = begins && service.chars().all(fits) && service.chars().count() <= 100;
        found.want(holds, &rules::SPAN_SERVICE, format_args!("{at}.service"), service);
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
        let begins = name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
        let holds = begins && name.bytes().all(fits) && name.len() <= 100;
        found.want(holds, &rules::SPAN_NAME, format_args!("{at}.name"), &name);
        let holds = (1..=5000).contains(&resource.len());
        found.want(holds, &rules::SPAN_RESOURCE, format_args!("{at}.resource"), &resource);
        found.want(kind.len() <= 100, &rules::SPAN_TYPE, format_args!("{at}.type"), &kind);
        found.want(seen.trace != 0, &rules::TRACE_ID, format_args!("{at}.traceID"), 0);
        found.want(seen.id != 0, &rules::SPAN_ID, format_args!("{at}.spanID"), 0);
        found.want(
            seen.id == 0 || seen.parent != seen.id,
            &rules::SPAN_PARENT,
            format_args!("{at}.parentID"),
            "itself",
        );
        found.want(start > YEAR_2000_NS, &rules::SPAN_START, format_args!("{at}.start"), start);
        let holds = start <= self.now.as_nanos() + AHEAD_NS;
        found.want(holds, &rules::SPAN_FUTURE, format_args!("{at}.start"), start);
        let end = i64::try_from(duration).ok().and_then(|duration| start.cast_signed().checked_add(duration));
        found.want(
            end.is_some(),
            &rules::SPAN_DURATION,
            format_args!("{at}.duration"),
            duration.cast_signed(),
        );
        if seen.id != 0 {
            let is_new = self.seen.insert((seen.trace, seen.id));
            self.found.want(
                is_new,
                &rules::SPAN_TWICE,
                format_args!("{at}.spanID"),
                format_args!("{} again", seen.id),
            );
        }
        Ok(seen)
    }

    fn tag(&mut self, entry: Value<'_>, at: At) -> Result<(), Error> {
        let (key, value) = entry.entry()?;
        let value = value.text();
        let found = &mut *self.found;
        let holds = (1..=200).contains(&key.chars().count());
        found.want(holds, &rules::SPAN_TAG_KEY, format_args!("{at}.meta"), &key);
        let holds = value.len() <= 25_000 || value.chars().count() <= 25_000;
        found.want(holds, &rules::SPAN_TAG_VALUE, format_args!("{at}.meta.{key}"), &value);
        if key == keys::trace::HTTP_STATUS_CODE {
            let holds = value.parse().is_ok_and(|code: u16| (100..600).contains(&code));
            found.want(holds, &rules::SPAN_STATUS_CODE, format_args!("{at}.meta.{key}"), value);
        } else if key == keys::trace::TID {
            self.high_half(entry, at)?;
        }
        Ok(())
    }

    fn number(&mut self, entry: Value<'_>, at: At, seen: &mut Seen) -> Result<(), Error> {
        let (key, value) = entry.entry()?;
        let value = value.double();
        self.found.want(value.is_finite(), &rules::SPAN_NUMBER, format_args!("{at}.metrics.{key}"), value);
        seen.top_level |= matches!(&*key, "_top_level" | "_dd.top_level") && value == 1.0;
        Ok(())
    }

    fn link(&mut self, mut reader: Reader<'_>, at: At) -> Result<(), Error> {
        let (mut trace, mut span, mut pointer) = (0, 0, false);
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => trace = value.uint(),
                3 => span = value.uint(),
                4 => pointer |= value.entry()?.0 == "ptr.hash",
                _ => {}
            }
        }
        let holds = pointer || (trace != 0 && span != 0);
        self.found.want(
            holds,
            &rules::SPAN_LINK,
            format_args!("{at}.spanLinks"),
            format_args!("{trace}:{span}"),
        );
        Ok(())
    }
}
