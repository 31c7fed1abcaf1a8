//! Where an HTTP server is: scheme, host, port and what its paths begin with. Knows nothing of sockets.
//! Settings are read into it, connections are made from it.

use hyper::Uri;

/// An address such as `https://trace.agent.datadoghq.com` or `http://127.0.0.1:3000/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub tls: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
    /// What every path begins with: empty, or `/` and more, never with a `/` at its end.
    pub prefix: String,
}

impl Address {
    /// Reads an address; one without a scheme is taken as `https`. `None` for other schemes, and for what
    /// has a user name, a query or no host.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let uri: Uri = with_scheme.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || uri.query().is_some() || text.contains('#') {
            return None;
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let has_port = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16() {
            Some(port) => port,
            None if has_port => return None,
            None if tls => 443,
            None => 80,
        };
        let prefix = uri.path().trim_end_matches('/').to_owned();
        (!host.is_empty() && port != 0).then(|| Self { tls, host: host.to_owned(), port, prefix })
    }

    /// As the `Host` header has it: the port only when it is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Whether both are one server, whatever their prefixes: requests to both can share a connection.
    pub fn same_server(&self, other: &Self) -> bool {
        (self.tls, &self.host, self.port) == (other.tls, &other.host, other.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |text: &str, want: Option<(bool, &str, u16, &str)>| {
            let got = Address::parse(text);
            let got = got.as_ref().map(|a| (a.tls, a.host.as_str(), a.port, a.prefix.as_str()));
            assert_eq!(got, want, "{text}");
        };
        check("https://api.datadoghq.eu", Some((true, "api.datadoghq.eu", 443, "")));
        check("https://api.datadoghq.eu/", Some((true, "api.datadoghq.eu", 443, "")));
        check("http://127.0.0.1:3000/a/b/", Some((false, "127.0.0.1", 3000, "/a/b")));
        check("http://[::1]:3000", Some((false, "::1", 3000, "")));
        check("http-intake.logs.datadoghq.com", Some((true, "http-intake.logs.datadoghq.com", 443, "")));
        check("logs.example.com:10516", Some((true, "logs.example.com", 10516, "")));
        check(" http://proxy ", Some((false, "proxy", 80, "")));
        for bad in [
            "",
            "ftp://x",
            "http://",
            "http://me:secret@x",
            "http://x:99999",
            "http://x:/",
            "http://x?a=b",
            "a b",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn authorities() {
        let check = |text: &str, want| assert_eq!(Address::parse(text).unwrap().authority(), want, "{text}");
        check("https://a:443", "a");
        check("http://a:443", "a:443");
        check("http://[::1]:8", "[::1]:8");
    }
}
