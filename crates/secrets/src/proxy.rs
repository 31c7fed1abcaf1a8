//! The way out where there is a proxy: which servers are asked through it, what it is asked for, and what its answer
//! means. Nothing is sent here.

use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::request::Base;

/// More of a proxy's answer than this is not read.
pub const MAX_ANSWER: usize = 16 << 10;

/// A proxy that opens tunnels, as `http://user:password@proxy.example.com:3128` says.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub base: Base,
    /// The value of `Proxy-Authorization`.
    authorization: Option<String>,
}

/// Servers that are asked directly, though there is a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions(Vec<Exception>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    hosts: Hosts,
    /// `None`: all.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// A domain and what is below it, in lower case.
    Domain(String),
    /// Addresses that begin with the same bits.
    Network(IpAddr, u8),
}

/// What a proxy has said so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// Not all of its answer is here.
    Unknown,
    Open,
    /// Why there is none.
    Refused(String),
}

impl Proxy {
    /// Reads the address of a proxy. One without a scheme is taken as `http`, as everybody does. `None` for what is no
    /// address, and for other kinds of proxies.
    pub fn parse(url: &str) -> Option<Self> {
        let url = url.trim();
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let base = Base::parse(&format!("{scheme}://{rest}")).filter(|base| base.prefix.is_empty())?;
        let authorization = match user {
            None | Some("") => None,
            Some(user) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                let mut pair = decoded(name)?;
                pair.push(b':');
                pair.extend(decoded(password)?);
                Some(format!("Basic {}", STANDARD.encode(pair)))
            }
        };
        Some(Self { base, authorization })
    }

    /// What opens a tunnel to a server.
    pub fn question(&self, host: &str, port: u16) -> Vec<u8> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let mut text = format!("CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}:{port}\r\n");
        if let Some(value) = &self.authorization {
            text.push_str("proxy-authorization: ");
            text.push_str(value);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    /// What the answer, as far as it is here, means.
    pub fn told(&self, answer: &[u8]) -> Tunnel {
        let proxy = self.base.authority();
        if !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            return match answer.len() >= MAX_ANSWER {
                true => Tunnel::Refused(format!("the proxy {proxy} answers without end")),
                false => Tunnel::Unknown,
            };
        }
        let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split_once(' ')).map(|(_, s)| s);
        let Some(status) = status else {
            return Tunnel::Refused(format!("the proxy {proxy} does not speak HTTP"));
        };
        let status: String = status.chars().filter(|c| !c.is_control()).take(60).collect();
        if status.starts_with('2') {
            return Tunnel::Open;
        }
        let advice = match (status.starts_with("407"), &self.authorization) {
            (true, None) => ": it wants a user and a password, as in http://user:password@host:port",
            (true, Some(_)) => ": its user or password is not right",
            (false, _) => "",
        };
        Tunnel::Refused(format!("the proxy {proxy} answers {status}{advice}"))
    }
}

/// Without the password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.base).finish()
    }
}

impl Exceptions {
    /// Adds a list, by commas or blanks: domains (with what is below them), addresses and networks, each with or
    /// without a port, or `*` for all. Gives what cannot be used.
    pub fn add<'a>(&mut self, list: &'a str) -> Vec<&'a str> {
        let all = list.split([',', ' ', '\t', '\n']).filter(|text| !text.is_empty());
        let mut bad = Vec::new();
        for text in all {
            match Exception::parse(text) {
                Some(exception) => self.0.push(exception),
                None => bad.push(text),
            }
        }
        bad
    }

    /// Whether a server is asked directly. The own machine always is. Names are not looked up: a network has only what
    /// is written as an address.
    pub fn has(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        let is_own = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        is_own || self.0.iter().any(|exception| exception.has(&host, address, port))
    }
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        if let Some((address, bits)) = text.split_once('/')
            && let Ok(address) = address.parse::<IpAddr>()
        {
            let bits = bits.parse().ok().filter(|bits| *bits <= width(address))?;
            return Some(Self { hosts: Hosts::Network(address, bits), port: None });
        }
        let text = text.trim_end_matches('/');
        let network = |address: IpAddr| Hosts::Network(address, width(address));
        if let Ok(address) = text.parse() {
            return Some(Self { hosts: network(address), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, Some(port.parse().ok().filter(|port| *port != 0)?))
            }
            _ => (text, None),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse() {
            return Some(Self { hosts: network(address), port });
        }
        if host == "*" {
            return Some(Self { hosts: Hosts::All, port });
        }
        let domain = host.strip_prefix('*').unwrap_or(host).trim_matches('.').to_ascii_lowercase();
        let is_domain =
            !domain.is_empty() && domain.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        is_domain.then_some(Self { hosts: Hosts::Domain(domain), port })
    }

    fn has(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let is_here = match &self.hosts {
            Hosts::All => true,
            Hosts::Domain(domain) => {
                host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Hosts::Network(network, bits) => {
                address.is_some_and(|address| is_within(address, *network, *bits))
            }
        };
        is_here && self.port.is_none_or(|own| own == port)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let rest = 32_u32.saturating_sub(u32::from(bits));
            (a.to_bits() ^ b.to_bits()).checked_shr(rest).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let rest = 128_u32.saturating_sub(u32::from(bits));
            (a.to_bits() ^ b.to_bits()).checked_shr(rest).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// Without its per cent signs. `None` when one stands for nothing.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn proxies() {
        let check = |url: &str, want: Option<&str>| {
            let got = Proxy::parse(url).map(|proxy| {
                let scheme = if proxy.base.tls { "https" } else { "http" };
                format!("{scheme}://{} {}", proxy.base.authority(), proxy.authorization.unwrap_or_default())
            });
            assert_eq!(got.as_deref(), want, "{url}");
        };
        check("http://proxy:3128", Some("http://proxy:3128 "));
        check("https://proxy:3128/", Some("https://proxy:3128 "));
        check("proxy:3128", Some("http://proxy:3128 "));
        check("10.0.0.1", Some("http://10.0.0.1 "));
        check("http://[fd00::1]:8", Some("http://[fd00::1]:8 "));
        check("http://me:secret@proxy:3128", Some("http://proxy:3128 Basic bWU6c2VjcmV0"));
        check("me:secret@proxy:3128", Some("http://proxy:3128 Basic bWU6c2VjcmV0"));
        // `me:p@:ss`
        check("http://me:p%40%3Ass@proxy", Some("http://proxy Basic bWU6cEA6c3M="));
        check("http://me:p@:ss@proxy", Some("http://proxy Basic bWU6cEA6c3M="));
        check("http://me@proxy", Some("http://proxy Basic bWU6"));
        for bad in
            ["", "socks5://proxy:1080", "http://", "http://proxy/path", "http://proxy:0", "http://a%zz:b@c"]
        {
            check(bad, None);
        }
        assert!(!format!("{:?}", Proxy::parse("http://me:secret@proxy")).contains("secret"));
    }

    #[test]
    fn questions_and_answers() {
        let proxy = Proxy::parse("http://me:secret@proxy:3128").unwrap();
        let question = String::from_utf8(proxy.question("api.datadoghq.eu", 443)).unwrap();
        assert_eq!(
            question,
            "CONNECT api.datadoghq.eu:443 HTTP/1.1\r\nhost: api.datadoghq.eu:443\r\n\
             proxy-authorization: Basic bWU6c2VjcmV0\r\n\r\n"
        );
        let bare = Proxy::parse("proxy").unwrap();
        assert!(bare.question("::1", 8).starts_with(b"CONNECT [::1]:8 HTTP/1.1\r\nhost: [::1]:8\r\n\r\n"));
        let check = |answer: &str, want: Option<&str>| match (proxy.told(answer.as_bytes()), want) {
            (Tunnel::Open, Some("open")) | (Tunnel::Unknown, None) => {}
            (Tunnel::Refused(why), Some(want)) => {
                assert!(why.contains(want) && why.contains("proxy:3128"), "{why}");
            }
            other => panic!("{answer:?}: {other:?}"),
        };
        check("", None);
        check("HTTP/1.1 200 OK\r\nx: y\r\n", None);
        check("HTTP/1.1 200 Connection established\r\n\r\n", Some("open"));
        check("HTTP/1.0 204 \r\nx: y\r\n\r\n", Some("open"));
        check("HTTP/1.1 407 Who are you\r\n\r\n", Some("407 Who are you: its user or password"));
        check("HTTP/1.1 502 Bad Gateway\r\n\r\n", Some("answers 502 Bad Gateway"));
        check("SSH-2.0\r\n\r\n", Some("does not speak HTTP"));
        check(&"x".repeat(MAX_ANSWER), Some("without end"));
        let Tunnel::Refused(why) = bare.told(b"HTTP/1.1 407 No\r\n\r\n") else { panic!() };
        assert!(why.contains("wants a user"), "{why}");
    }

    #[test]
    fn exceptions() {
        let check = |list: &str, host: &str, port: u16, want: bool| {
            let mut exceptions = Exceptions::default();
            assert_eq!(exceptions.add(list), [""; 0], "{list}");
            assert_eq!(exceptions.has(host, port), want, "{host}:{port} in {list:?}");
        };
        let api = "api.datadoghq.eu";
        check("", api, 443, false);
        check("datadoghq.com", api, 443, false);
        for list in ["datadoghq.eu", ".datadoghq.eu", "*.datadoghq.eu", "a.b, DataDogHQ.eu", "x datadoghq.eu"]
        {
            check(list, api, 443, true);
        }
        check("api.datadoghq.eu", api, 443, true);
        check("https://api.datadoghq.eu/", api, 443, true);
        check("hq.eu", api, 443, false);
        check("x.api.datadoghq.eu", api, 443, false);
        check("*", api, 443, true);
        check("datadoghq.eu:443", api, 443, true);
        check("datadoghq.eu:444", api, 443, false);
        check("10.0.0.0/8", "10.200.3.4", 443, true);
        check("10.0.0.0/8", "11.0.0.1", 443, false);
        check("10.0.0.0/8", api, 443, false);
        check("0.0.0.0/0", "8.8.8.8", 443, true);
        check("0.0.0.0/0", "fd00::1", 443, false);
        check("10.1.2.3", "10.1.2.3", 1, true);
        check("10.1.2.3:80", "10.1.2.3", 443, false);
        check("10.1.2.3/32", "10.1.2.4", 443, false);
        check("fd00::/8", "fdab::1", 443, true);
        check("fd00::/8", "fe80::1", 443, false);
        check("[fd00::1]:443", "fd00::1", 443, true);
        check("[fd00::1]:443", "fd00::1", 80, false);
        check("fd00::1", "fd00::1", 80, true);
        // Never over a proxy.
        check("", "localhost", 80, true);
        check("", "127.0.0.53", 80, true);
        check("", "::1", 80, true);
    }

    #[test]
    fn what_cannot_be_used_is_given_back() {
        let mut exceptions = Exceptions::default();
        let bad = exceptions.add("10.0.0.0/33,a.b:0,:443,ok.com,a b.c/d,fd00::/129,ä.de");
        assert_eq!(bad, ["10.0.0.0/33", "a.b:0", ":443", "b.c/d", "fd00::/129", "ä.de"]);
        assert!(exceptions.has("x.ok.com", 443));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,60}", answer: Vec<u8>, port in any::<u16>()) {
            if let Some(proxy) = Proxy::parse(&text) {
                proxy.told(&answer);
            }
            let mut exceptions = Exceptions::default();
            exceptions.add(&text);
            exceptions.has(&text, port);
        }
    }
}
