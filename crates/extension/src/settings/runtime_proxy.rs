//! The settings of the Runtime API proxy, and of what is kept of payloads. Names as Datadog's extension and AWS's
//! adapter have them, where they have them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use trigger::MAX_CAPTURE_DEPTH;

use super::{ANY, BOOL, PORT, Setting, boolean, maybe, set};

/// The script in our layer, by the path that functions name it with.
const WRAPPER: &str = "/opt/datadog_wrapper";
const PORT_SETTING: &str = "DD_LAMBDA_RUNTIME_PROXY_PORT";
const ADAPTER_SETTING: &str = "AWS_LWA_LAMBDA_RUNTIME_API_PROXY";

/// Whether and where the runtime's calls go through the extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeProxy {
    /// `None`: when the wrapper is used.
    pub enabled: Option<bool>,
    /// The function is started by our wrapper.
    pub is_wrapped: bool,
    /// 0: off.
    pub port: u16,
    /// Where the Lambda Web Adapter looks for it.
    pub adapter: Option<SocketAddr>,
}

impl RuntimeProxy {
    /// Where to listen, each with the setting that says so. None by default.
    pub(crate) fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        let is_on = self.enabled.unwrap_or(self.is_wrapped) && self.port != 0;
        let own = is_on.then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)));
        let adapter = self.adapter.filter(|adapter| Some(*adapter) != own);
        let own = own.map(|own| (PORT_SETTING, own));
        own.into_iter().chain(adapter.map(|adapter| (ADAPTER_SETTING, adapter))).collect()
    }
}

impl Default for RuntimeProxy {
    fn default() -> Self {
        Self { enabled: None, is_wrapped: false, port: 9000, adapter: None }
    }
}

/// In the order of the page.
pub(super) const TABLE: &[Setting] = &[
    Setting {
        key: "DD_EXPERIMENTAL_ENABLE_PROXY",
        aliases: &[],
        default: "none",
        expects: BOOL,
        doc: "Whether the runtime's calls of Lambda can go through the extension, which then makes the spans of invocations without a library. Where it is not set: when the function is started by `/opt/datadog_wrapper`.",
        secret: false,
        read: |config, value| maybe(&mut config.runtime_proxy.enabled, boolean(value)),
    },
    Setting {
        key: PORT_SETTING,
        aliases: &[],
        default: "9000",
        expects: PORT,
        doc: "The TCP port on 127.0.0.1 that then takes them. 0 turns it off.",
        secret: false,
        read: |config, value| set(&mut config.runtime_proxy.port, value.parse().ok()),
    },
    Setting {
        key: ADAPTER_SETTING,
        aliases: &[],
        default: "none",
        expects: "an address of this machine with a port",
        doc: "Where the Lambda Web Adapter sends its calls, such as `127.0.0.1:9002`: the extension takes them there too.",
        secret: false,
        read: |config, value| maybe(&mut config.runtime_proxy.adapter, adapter(value)),
    },
    Setting {
        key: "AWS_LAMBDA_EXEC_WRAPPER",
        aliases: &[],
        default: "none",
        expects: ANY,
        doc: "What Lambda starts the function with. `/opt/datadog_wrapper`, of this extension's layer, has its calls go through the extension.",
        secret: false,
        read: |config, value| set(&mut config.runtime_proxy.is_wrapped, Some(value == WRAPPER)),
    },
    Setting {
        key: "DD_CAPTURE_LAMBDA_PAYLOAD",
        aliases: &[],
        default: "false",
        expects: BOOL,
        doc: "Whether event and response become tags of the invocation's span, when that is made here. Values under keys like `password` or `token` do not.",
        secret: false,
        read: |config, value| set(&mut config.capture_payload, boolean(value)),
    },
    Setting {
        key: "DD_CAPTURE_LAMBDA_PAYLOAD_MAX_DEPTH",
        aliases: &[],
        default: "10",
        expects: "a depth, 0 to 10",
        doc: "How deep; what is below is text.",
        secret: false,
        read: |config, value| {
            let depth: Option<usize> = value.parse().ok();
            set(&mut config.capture_depth, depth.filter(|depth| *depth <= MAX_CAPTURE_DEPTH))
        },
    },
];

/// An address of this machine, with a port; any of its addresses is the local one.
fn adapter(value: &str) -> Option<SocketAddr> {
    let value = value.strip_prefix("http://").unwrap_or(value).trim_end_matches('/');
    let (host, port) = value.rsplit_once(':')?;
    let ip = match host.trim_start_matches('[').trim_end_matches(']') {
        "localhost" => IpAddr::from(Ipv4Addr::LOCALHOST),
        ip => ip.parse().ok()?,
    };
    let ip = if ip.is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { ip };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (ip.is_loopback() && ip.is_ipv4()).then(|| SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn where_it_listens() {
        let check = |variables: &[(&str, &str)], want: &[&str]| {
            let config = Config::parse(|name| {
                variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
            });
            let addresses = config.runtime_proxy.addresses();
            let addresses: Vec<_> = addresses.iter().map(|(_, address)| address.to_string()).collect();
            assert_eq!(addresses, want, "{variables:?}");
            assert_eq!(config.problems, []);
        };
        let (enable, wrapper, lwa) =
            ("DD_EXPERIMENTAL_ENABLE_PROXY", "AWS_LAMBDA_EXEC_WRAPPER", "AWS_LWA_LAMBDA_RUNTIME_API_PROXY");
        check(&[], &[]);
        check(&[(enable, "true")], &["127.0.0.1:9000"]);
        check(&[(enable, "true"), (PORT_SETTING, "9100")], &["127.0.0.1:9100"]);
        check(&[(enable, "true"), (PORT_SETTING, "0")], &[]);
        check(&[(wrapper, "/opt/datadog_wrapper")], &["127.0.0.1:9000"]);
        check(&[(wrapper, "/opt/datadog_wrapper"), (enable, "false")], &[]);
        check(&[(wrapper, "/opt/bootstrap")], &[]);
        check(&[(wrapper, "/opt/bootstrap"), (lwa, "127.0.0.1:9002")], &["127.0.0.1:9002"]);
        check(&[(lwa, "127.0.0.1:9002"), (enable, "1")], &["127.0.0.1:9000", "127.0.0.1:9002"]);
        check(&[(lwa, "127.0.0.1:9000"), (enable, "1")], &["127.0.0.1:9000"]);
    }

    #[test]
    fn addresses_of_the_adapter() {
        let check = |value: &str, want: Option<&str>| {
            assert_eq!(adapter(value).map(|at| at.to_string()).as_deref(), want, "{value}");
        };
        check("127.0.0.1:9002", Some("127.0.0.1:9002"));
        check("localhost:9002", Some("127.0.0.1:9002"));
        check("http://0.0.0.0:9002/", Some("127.0.0.1:9002"));
        for bad in ["127.0.0.1", "9002", "127.0.0.1:0", "10.0.0.1:9002", "example.com:9002", ":9002", ""] {
            check(bad, None);
        }
    }
}
