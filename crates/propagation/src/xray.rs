//! AWS X-Ray's header, `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`, and what it
//! is as a Datadog context. The same text is the header `X-Amzn-Trace-Id`, the variable `_X_AMZN_TRACE_ID`
//! and the message attribute `AWSTraceHeader`.
//! <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>
//!
//! Datadog's tracers write their own ids in this form where AWS passes no other header on. Such a root has
//! eight zeros behind the epoch: that is how it is told from one that X-Ray made.

use std::fmt;

use model::{SamplingPriority, SpanId, TraceId};

use crate::text::hex;
use crate::{Carrier, CarrierMut, TraceContext};

/// The HTTP header.
pub const XRAY_HEADER: &str = "x-amzn-trace-id";

/// Longer texts are not read: AWS's own are under 200 bytes.
const MAX_HEADER: usize = 1024;

/// One header, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XRay {
    /// The first eight digits of the root: seconds since 1970.
    pub epoch: u32,
    /// The last 24 digits of the root.
    pub unique: u128,
    pub parent: Option<SpanId>,
    /// `None` when not said, or to be decided by who gets it (`Sampled=?`).
    pub sampled: Option<bool>,
    /// `Lineage`, `Self` and whatever else there is, in order.
    pub others: Vec<(String, String)>,
}

impl XRay {
    /// Reads a header. Fields may come in any order; only `Root` is needed.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_HEADER {
            return None;
        }
        let (mut root, mut parent, mut sampled, mut others) = (None, None, None, Vec::new());
        for (key, value) in text.split(';').filter_map(|field| field.trim().split_once('=')) {
            match key.trim() {
                "Root" => root = Some(value.trim()),
                "Parent" => parent = hex(value.trim(), 16).and_then(SpanId::new),
                // Text, not a number: "0" is not the absence of a decision.
                "Sampled" => sampled = decision(value.trim()),
                key => others.push((key.to_owned(), value.to_owned())),
            }
        }
        let mut root = root?.splitn(3, '-');
        let (version, epoch, unique) = (root.next()?, root.next()?, root.next()?);
        let (high, low) = unique.split_at_checked(8)?;
        let unique = (u128::from(hex(high, 8)?) << 64) | u128::from(hex(low, 16)?);
        let epoch = u32::try_from(hex(epoch, 8)?).ok()?;
        (version == "1").then_some(Self { epoch, unique, parent, sampled, others })
    }

    /// Whether a Datadog tracer wrote its own ids in this form.
    pub fn is_datadog(&self) -> bool {
        self.unique >> 64 == 0
    }

    /// The context, whoever made it. Of an id of X-Ray's own it has the last 63 bits, as Datadog's X-Ray
    /// integration has, and X-Ray's decision counts as the user's.
    pub fn context(&self) -> Option<TraceContext> {
        let low = self.unique as u64;
        let (trace_id, keep, reject) = if self.is_datadog() {
            let high = u64::from(self.epoch) << 32;
            (TraceId::new(high, low)?, SamplingPriority::AutoKeep, SamplingPriority::AutoReject)
        } else {
            (
                TraceId::new(0, low & (u64::MAX >> 1))?,
                SamplingPriority::UserKeep,
                SamplingPriority::UserReject,
            )
        };
        let mut context = TraceContext::new(trace_id, self.parent);
        context.priority = self.sampled.map(|sampled| if sampled { keep } else { reject });
        Some(context)
    }

    /// A context in the form that Datadog's tracers write. Of the high half of the trace id it holds the
    /// upper 32 bits: in ids that tracers make, the others are zero.
    pub fn of_context(context: &TraceContext) -> Self {
        Self {
            epoch: (context.trace_id.high() >> 32) as u32,
            unique: u128::from(context.trace_id.low()),
            parent: context.span_id,
            sampled: context.priority.map(SamplingPriority::is_keep),
            others: Vec::new(),
        }
    }
}

impl fmt::Display for XRay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root=1-{:08x}-{:024x}", self.epoch, self.unique)?;
        if let Some(parent) = self.parent {
            write!(f, ";Parent={parent}")?;
        }
        if let Some(sampled) = self.sampled {
            write!(f, ";Sampled={}", u8::from(sampled))?;
        }
        self.others.iter().try_for_each(|(key, value)| write!(f, ";{key}={value}"))
    }
}

fn decision(text: &str) -> Option<bool> {
    match text {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    }
}

pub(crate) fn read<C: Carrier + ?Sized>(carrier: &C) -> Option<TraceContext> {
    XRay::parse(&carrier.get(XRAY_HEADER)?)?.context()
}

pub(crate) fn write<C: CarrierMut + ?Sized>(context: &TraceContext, carrier: &mut C) {
    carrier.set(XRAY_HEADER, XRay::of_context(context).to_string());
}
