//! What a user says of a mapping, in one word: `sqs:https://…/orders=worker,batch-size=5`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Which source drives which function, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    pub kind: Kind,
    /// The URL of a queue, the name or ARN of a stream, the name of a table or the ARN of its stream.
    pub source: String,
    pub function: String,
    /// Records of one event, at most.
    pub batch_size: usize,
    /// How long a batch of a queue may be gathered.
    pub window: Duration,
    /// The function says which records failed (`ReportBatchItemFailures`).
    pub report_failures: bool,
    /// Where a stream is read from.
    pub start: Start,
    /// How often records of a stream are tried again; `None`: until they are taken.
    pub retries: Option<u32>,
    /// A batch of a stream that failed is tried again in two halves.
    pub bisect: bool,
}

/// What is polled, and what its messages are made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A queue: an event of its messages.
    Sqs,
    /// A queue that is subscribed to a topic: the event that SNS would give the function itself, of each message.
    Sns,
    /// A queue that a bucket tells of its objects: each message is the event.
    S3,
    /// A queue that is the target of a rule: each message is the event.
    EventBridge,
    Kinesis,
    DynamoDb,
}

/// Where a stream is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// What comes from now on.
    Latest,
    /// All that is still held.
    TrimHorizon,
}

const KINDS: [(&str, Kind); 6] = [
    ("sqs", Kind::Sqs),
    ("sns", Kind::Sns),
    ("s3", Kind::S3),
    ("eventbridge", Kind::EventBridge),
    ("kinesis", Kind::Kinesis),
    ("dynamodb", Kind::DynamoDb),
];

/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>
const MAX_BATCH: usize = 10_000;
const MAX_WINDOW: Duration = Duration::from_secs(300);

impl Kind {
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// As in Lambda where none is given.
    fn batch_size(self) -> usize {
        if matches!(self, Self::Kinesis | Self::DynamoDb) { 100 } else { 10 }
    }

    fn is_stream(self) -> bool {
        matches!(self, Self::Kinesis | Self::DynamoDb)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}={}", self.kind.name(), self.source, self.function)
    }
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = || KINDS.map(|(name, _)| name).join(", ");
        let (kind, rest) =
            text.split_once(':').ok_or_else(|| format!("begins with one of {}, and :", kinds()))?;
        let kind = KINDS.iter().find(|(name, _)| *name == kind).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| format!("{text:?} begins with none of {}", kinds()))?;
        // A URL has no comma, but perhaps an equals sign; a function has neither.
        let mut parts = rest.split(',');
        let (source, function) = parts
            .next()
            .and_then(|first| first.rsplit_once('='))
            .filter(|(source, function)| !source.is_empty() && !function.is_empty())
            .ok_or("has the form KIND:SOURCE=FUNCTION")?;
        if !kind.is_stream() && !source.starts_with("http") {
            return Err(format!("{source:?} is not the URL of a queue"));
        }
        let mut spec = Self {
            kind,
            source: source.to_owned(),
            function: function.to_owned(),
            batch_size: kind.batch_size(),
            window: Duration::ZERO,
            report_failures: true,
            start: Start::Latest,
            retries: None,
            bisect: false,
        };
        for option in parts {
            let (name, value) = option.split_once('=').unwrap_or((option, "true"));
            spec.set(name, value).ok_or_else(|| format!("{option:?} is no option of {}", kind.name()))?;
        }
        Ok(spec)
    }
}

impl Spec {
    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        match (name, self.kind.is_stream()) {
            ("batch-size", _) => {
                self.batch_size = value.parse().ok().filter(|size| (1..=MAX_BATCH).contains(size))?;
            }
            ("report-failures", _) => self.report_failures = value.parse().ok()?,
            ("window", false) => {
                self.window = Duration::from_secs(value.parse().ok()?);
                (self.window <= MAX_WINDOW).then_some(())?;
            }
            ("from", true) => {
                self.start = match value {
                    "latest" => Start::Latest,
                    "trim-horizon" => Start::TrimHorizon,
                    _ => return None,
                }
            }
            ("retries", true) => self.retries = Some(value.parse().ok()?),
            ("bisect", true) => self.bisect = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_says() {
        let url = "https://sqs.eu-west-1.amazonaws.com/1/orders";
        let spec: Spec = format!("sqs:{url}=worker").parse().unwrap();
        assert_eq!((spec.kind, spec.source.as_str(), spec.function.as_str()), (Kind::Sqs, url, "worker"));
        assert_eq!((spec.batch_size, spec.window, spec.report_failures), (10, Duration::ZERO, true));
        assert_eq!(spec.to_string(), format!("sqs:{url}=worker"));
        let spec: Spec =
            "sns:http://x/?a=b=worker,batch-size=5,window=2,report-failures=false".parse().unwrap();
        assert_eq!((spec.source.as_str(), spec.batch_size), ("http://x/?a=b", 5));
        assert_eq!((spec.window, spec.report_failures), (Duration::from_secs(2), false));
        let spec: Spec =
            "kinesis:arn:aws:kinesis:eu:1:stream/a=f,from=trim-horizon,retries=2,bisect".parse().unwrap();
        assert_eq!(spec.source, "arn:aws:kinesis:eu:1:stream/a");
        assert_eq!(
            (spec.start, spec.retries, spec.bisect, spec.batch_size),
            (Start::TrimHorizon, Some(2), true, 100)
        );
        assert_eq!("dynamodb:orders=f".parse::<Spec>().unwrap().start, Start::Latest);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let check = |text: &str, says: &str| {
            let error = text.parse::<Spec>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        };
        check("orders", "begins with one of sqs, sns");
        check("kafka:x=f", "begins with none of");
        check("sqs:orders=f", "is not the URL of a queue");
        check("kinesis:orders", "KIND:SOURCE=FUNCTION");
        check("kinesis:=f", "KIND:SOURCE=FUNCTION");
        for option in ["batch-size=0", "batch-size=10001", "window=1", "from=now", "what", "retries=-1"] {
            check(&format!("kinesis:a=f,{option}"), "is no option of kinesis");
        }
        for option in ["window=301", "from=latest", "bisect"] {
            check(&format!("sqs:http://x=f,{option}"), "is no option of sqs");
        }
    }
}
