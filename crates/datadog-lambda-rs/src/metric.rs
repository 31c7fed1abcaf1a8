//! Custom metrics: distributions, sent to the extension in one datagram each, without waiting.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::SystemTime;

use model::{Metric, Text};

use crate::datadog::{Datadog, datadog};
use crate::ids;

/// What fits a loopback datagram with room to spare; the extension reads no more.
const MAX_DATAGRAM: usize = 8 * 1024;

/// Which library sent a metric, as Datadog's libraries for other languages say it.
const LIBRARY_TAG: &str = concat!("dd_lambda_layer:datadog-rust_", env!("CARGO_PKG_VERSION"));

/// A value of a distribution, to be given tags and sent.
///
/// ```
/// datadog_lambda_rs::metric("orders.received", 1.0).tag("channel", "web").send();
/// ```
///
/// Sending takes no time and cannot fail: without an extension the value becomes a log line that the Datadog
/// Forwarder reads; a value that is not finite is left out.
pub fn metric(name: impl Into<String>, value: f64) -> Distribution {
    Distribution { metric: Metric::distribution(name.into(), value) }
}

/// Made by [`metric`].
#[derive(Clone, Debug)]
#[must_use = "a metric does nothing until it is sent"]
pub struct Distribution {
    metric: Metric,
}

impl Distribution {
    /// Adds the tag `key:value`. Characters that a tag cannot have become `_`.
    pub fn tag(mut self, key: &str, value: &str) -> Self {
        let legal =
            |c: char| if c.is_alphanumeric() || matches!(c, '_' | '-' | ':' | '/' | '.') { c } else { '_' };
        let tag: String = key.chars().chain([':']).chain(value.chars()).map(legal).collect();
        self.metric.tags.push(tag.into());
        self
    }

    /// Says that the value was measured at another time than now. Datadog takes none that is older than some
    /// hours.
    pub fn at(mut self, time: SystemTime) -> Self {
        self.metric.time = Some(ids::nanos(time));
        self
    }

    /// Sends it.
    pub fn send(self) {
        self.send_to(datadog());
    }

    pub(crate) fn send_to(mut self, datadog: &Datadog) {
        let finite = self.metric.values.iter().all(|value| value.is_finite());
        if self.metric.name.is_empty() || !finite {
            return;
        }
        self.metric.tags.push(Text::Borrowed(LIBRARY_TAG));
        datadog.send_metric(self.metric);
    }
}

/// The socket to the extension's DogStatsD port.
#[derive(Debug)]
pub(crate) struct Statsd(UdpSocket);

impl Statsd {
    /// `None` when the system gives no socket.
    pub(crate) fn new(port: u16) -> Option<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some(Self(socket))
    }

    pub(crate) fn send(&self, metric: &Metric) {
        let line = wire::dogstatsd::format(metric);
        if line.len() <= MAX_DATAGRAM {
            // A datagram that finds nobody or a full buffer is lost, as all DogStatsD clients have it.
            let _ = self.0.send(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::agent::lock;
    use crate::out::Out;
    use crate::settings::{Address, Settings};

    #[test]
    fn without_an_extension_metrics_are_lines() {
        let datadog = Datadog::new(Settings::default(), Out::Memory(Mutex::default()));
        metric("orders.received", 2.0).tag("channel", "web shop").tag("ä", "b|c").send_to(&datadog);
        metric("", 2.0).send_to(&datadog);
        metric("orders.received", f64::NAN).send_to(&datadog);
        let Out::Memory(lines) = &datadog.out else { unreachable!() };
        let lines = lock(lines);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(r#"{"m":"orders.received","v":2.0,"e":"#), "{lines:?}");
        let tags = format!(r#""t":["channel:web_shop","ä:b_c","{LIBRARY_TAG}"]}}"#);
        assert!(lines[0].ends_with(&tags), "{lines:?}");
    }

    #[test]
    fn with_an_extension_metrics_are_datagrams() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let settings = Settings {
            agent: Some(Address::local(1)),
            statsd_port: receiver.local_addr().unwrap().port(),
            ..Settings::default()
        };
        let datadog = Datadog::new(settings, Out::Memory(Mutex::default()));
        metric("orders.received", 2.0).tag("channel", "web").send_to(&datadog);
        let mut buffer = [0; 1024];
        receiver.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let n = receiver.recv(&mut buffer).unwrap();
        let line = String::from_utf8_lossy(&buffer[..n]).into_owned();
        assert_eq!(line.trim_end(), format!("orders.received:2|d|#channel:web,{LIBRARY_TAG}"));
        metric("orders.received", 2.0)
            .at(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(7))
            .send_to(&datadog);
        let n = receiver.recv(&mut buffer).unwrap();
        let line = String::from_utf8_lossy(&buffer[..n]).into_owned();
        assert!(line.trim_end().ends_with("|T7"), "{line}");
    }
}
