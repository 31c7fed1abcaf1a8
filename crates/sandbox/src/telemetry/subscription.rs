//! What a subscriber asks for, judged as Lambda judges it.
//! <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api-reference.html#telemetry-subscribe-api>

use std::ops::RangeInclusive;
use std::time::Duration;

use model::{Record, Text};
use platform::Mode;
use serde_json::{Map, Value};

const SCHEMAS: [&str; 3] = ["2022-07-01", "2022-12-13", "2025-01-29"];
/// Of managed instances.
const MANAGED_SCHEMAS: [&str; 1] = ["2025-01-29"];
/// The schema that has log lines as text only; the others have JSON lines as objects.
/// <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html>
const TEXT_ONLY: &str = "2022-07-01";
/// Names of the sandbox itself, for its own processes.
const HOSTS: [&str; 2] = ["sandbox.localdomain", "sandbox"];
/// The Runtime API's in Lambda.
const RESERVED_PORT: u16 = 9001;

const MAX_ITEMS: RangeInclusive<u64> = 1_000..=10_000;
const MAX_BYTES: RangeInclusive<u64> = 262_144..=1_048_576;
const TIMEOUT_MS: RangeInclusive<u64> = 25..=30_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) categories: Vec<Category>,
    pub(crate) destination: Destination,
    pub(crate) buffering: Buffering,
    /// Log lines are always text, as the first schema has them.
    pub(crate) text_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Category {
    Platform,
    Function,
    Extension,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// POSTs to this port and path of the loopback.
    Http { authority: String, port: u16, path: String },
    /// Lines of JSON to this port of the loopback.
    Tcp { port: u16 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffering {
    pub(crate) max_items: usize,
    pub(crate) max_bytes: usize,
    pub(crate) timeout: Duration,
}

impl Category {
    const ALL: [Self; 3] = [Self::Platform, Self::Function, Self::Extension];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Function => "function",
            Self::Extension => "extension",
        }
    }

    pub(crate) fn of(record: &Record) -> Self {
        match record {
            Record::FunctionLog(_) => Self::Function,
            Record::ExtensionLog(_) => Self::Extension,
            _ => Self::Platform,
        }
    }
}

impl Subscription {
    /// Reads the body of a subscription; the error is what Lambda would say is wrong.
    pub(crate) fn read(body: &[u8], mode: Mode) -> Result<Self, String> {
        let schemas: &[&str] = if mode.concurrency().is_some() { &MANAGED_SCHEMAS } else { &SCHEMAS };
        let body: Map<String, Value> =
            serde_json::from_slice(body).map_err(|e| format!("failed to parse JSON: {e}"))?;
        let fault = |what: &str| format!("schema validation error: {what}");
        match body.get("schemaVersion") {
            None => return Err(fault("missing properties: 'schemaVersion'")),
            Some(Value::String(version)) if schemas.contains(&version.as_str()) => {}
            Some(_) => return Err(fault(&format!("/schemaVersion: value must be one of {schemas:?}"))),
        }
        let text_only = body.get("schemaVersion").and_then(Value::as_str) == Some(TEXT_ONLY);
        let categories = categories(body.get("types")).map_err(|e| fault(&e))?;
        let buffering = buffering(body.get("buffering")).map_err(|e| fault(&e))?;
        let Some(Value::Object(destination)) = body.get("destination") else {
            return Err(fault("missing properties: 'destination'"));
        };
        let destination = match destination.get("protocol").and_then(Value::as_str) {
            Some("HTTP") => match destination.get("URI").and_then(Value::as_str) {
                Some(uri) => http(uri).map_err(|e| format!("Invalid destination: {e}"))?,
                None => return Err(fault("/destination: missing properties: 'URI'")),
            },
            Some("TCP") => {
                match destination.get("port").and_then(Value::as_u64).and_then(|p| p.try_into().ok()) {
                    None | Some(0) => return Err(fault("/destination/port: must be from 1 to 65535")),
                    Some(port) => Destination::Tcp { port },
                }
            }
            _ => return Err(fault("/destination/protocol: value must be one of \"HTTP\", \"TCP\"")),
        };
        match destination {
            Destination::Http { port: RESERVED_PORT, .. } | Destination::Tcp { port: RESERVED_PORT } => {
                Err(format!("Invalid destination: port {RESERVED_PORT} is reserved"))
            }
            destination => Ok(Self { categories, destination, buffering, text_only }),
        }
    }

    /// The names of the categories, for the record.
    pub(crate) fn types(&self) -> Vec<Text> {
        self.categories.iter().map(|c| Text::Borrowed(c.as_str())).collect()
    }
}

fn categories(types: Option<&Value>) -> Result<Vec<Category>, String> {
    let Some(types) = types else { return Err("missing properties: 'types'".to_owned()) };
    let names = types.as_array().filter(|t| !t.is_empty()).ok_or("/types: minimum 1 items required")?;
    let mut categories = Vec::new();
    for name in names {
        let known = Category::ALL.into_iter().find(|c| name.as_str() == Some(c.as_str()));
        let category =
            known.ok_or("/types: value must be one of \"platform\", \"function\", \"extension\"")?;
        if categories.contains(&category) {
            return Err("/types: items must be unique".to_owned());
        }
        categories.push(category);
    }
    Ok(categories)
}

fn buffering(given: Option<&Value>) -> Result<Buffering, String> {
    let none = Map::new();
    let given = match given {
        None => &none,
        Some(Value::Object(given)) => given,
        Some(_) => return Err("/buffering: expected object".to_owned()),
    };
    let number = |name: &str, range: RangeInclusive<u64>, default: u64| match given.get(name) {
        None => Ok(default),
        Some(value) => value
            .as_u64()
            .filter(|n| range.contains(n))
            .ok_or_else(|| format!("/buffering/{name}: must be from {} to {}", range.start(), range.end())),
    };
    Ok(Buffering {
        max_items: number("maxItems", MAX_ITEMS, 10_000)? as usize,
        max_bytes: number("maxBytes", MAX_BYTES, 262_144)? as usize,
        timeout: Duration::from_millis(number("timeoutMs", TIMEOUT_MS, 1_000)?),
    })
}

fn http(uri: &str) -> Result<Destination, String> {
    let uri: hyper::Uri = uri.parse().map_err(|e| format!("{e}"))?;
    if uri.scheme_str() != Some("http") {
        return Err("scheme must be http".to_owned());
    }
    let host = uri.host().unwrap_or_default();
    if !HOSTS.contains(&host) {
        return Err(format!("host must be {}", HOSTS.join(" or ")));
    }
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    Ok(Destination::Http { authority, port: uri.port_u16().unwrap_or(80), path })
}

#[cfg(test)]
mod tests {
    use super::{Buffering, Category, Destination, Subscription};
    use platform::Mode;
    use std::time::Duration;

    fn read(body: &str) -> Result<Subscription, String> {
        Subscription::read(body.as_bytes(), Mode::OnDemand)
    }

    #[test]
    fn a_subscription_is_read() {
        let got = read(
            r#"{"schemaVersion":"2022-12-13","types":["platform","function"],
                "buffering":{"maxItems":1000,"timeoutMs":25},
                "destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:8999/logs?x=1"}}"#,
        );
        let expect = Subscription {
            categories: vec![Category::Platform, Category::Function],
            destination: Destination::Http {
                authority: "sandbox.localdomain:8999".to_owned(),
                port: 8999,
                path: "/logs?x=1".to_owned(),
            },
            buffering: Buffering { max_items: 1000, max_bytes: 262_144, timeout: Duration::from_millis(25) },
            text_only: false,
        };
        assert_eq!(got, Ok(expect));
        let tcp = r#"{"schemaVersion":"2025-01-29","types":["extension"],"destination":{"protocol":"TCP","port":99}}"#;
        assert_eq!(
            read(tcp).map(|s| (s.destination, s.text_only)),
            Ok((Destination::Tcp { port: 99 }, false))
        );
        let first = tcp.replace("2025-01-29", "2022-07-01");
        assert_eq!(read(&first).map(|s| s.text_only), Ok(true));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let base = |field: &str, value: &str| {
            let mut fields = vec![
                ("schemaVersion", "\"2022-12-13\""),
                ("types", "[\"platform\"]"),
                ("destination", r#"{"protocol":"HTTP","URI":"http://sandbox:1"}"#),
            ];
            fields.retain(|(name, _)| *name != field);
            fields.push((field, value));
            let fields: Vec<String> = fields
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            format!("{{{}}}", fields.join(","))
        };
        let check = |field: &str, value: &str, expect: &str| {
            let body = base(field, value);
            let got = read(&body).unwrap_err();
            assert!(got.contains(expect), "{body}: {got}");
        };
        assert!(read(&base("buffering", "{}")).is_ok());
        check("schemaVersion", "", "missing properties: 'schemaVersion'");
        check("schemaVersion", "\"2020-01-01\"", "schema validation error: /schemaVersion");
        check("types", "", "missing properties: 'types'");
        check("types", "[]", "minimum 1 items");
        check("types", "[\"platform\",\"platform\"]", "unique");
        check("types", "[\"bogus\"]", "/types: value must be one of");
        check("buffering", "{\"maxItems\":999}", "/buffering/maxItems: must be from 1000 to 10000");
        check("buffering", "{\"maxBytes\":1}", "/buffering/maxBytes");
        check("buffering", "{\"timeoutMs\":30001}", "/buffering/timeoutMs: must be from 25 to 30000");
        check("buffering", "7", "/buffering: expected object");
        check("destination", "", "missing properties: 'destination'");
        check("destination", "{\"protocol\":\"UDP\"}", "/destination/protocol");
        check("destination", "{\"protocol\":\"HTTP\"}", "'URI'");
        check("destination", "{\"protocol\":\"TCP\",\"port\":0}", "/destination/port");
        check(
            "destination",
            "{\"protocol\":\"HTTP\",\"URI\":\"http://localhost:1\"}",
            "Invalid destination: host",
        );
        check(
            "destination",
            "{\"protocol\":\"HTTP\",\"URI\":\"https://sandbox:1\"}",
            "Invalid destination: scheme",
        );
        check("destination", "{\"protocol\":\"HTTP\",\"URI\":\"http://sandbox:9001\"}", "reserved");
        let managed = Mode::ManagedInstances { concurrency: 1 };
        let why = Subscription::read(base("buffering", "{}").as_bytes(), managed).unwrap_err();
        assert!(why.contains("/schemaVersion: value must be one of [\"2025-01-29\"]"), "{why}");
        assert!(read("{").unwrap_err().starts_with("failed to parse JSON"));
        assert!(read("[]").unwrap_err().starts_with("failed to parse JSON"));
    }
}
