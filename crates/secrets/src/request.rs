//! A request to be sent, and where it goes. Nothing is sent here.

use std::fmt;

/// Where a server is: `https://kms.eu-west-1.amazonaws.com` or `http://127.0.0.1:4566/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub tls: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
    /// What paths begin with: empty, or `/` and more, without a `/` at the end.
    pub prefix: String,
}

impl Base {
    /// Reads an `http` or `https` address. `None` for anything else, for user names and for queries.
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.trim().split_once("://")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at_checked(at)?,
            None => (rest, ""),
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~%/:[]".contains(c);
        if !authority.chars().chain(path.chars()).all(is_plain) {
            return None;
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().ok().filter(|port| *port != 0)?)
            }
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(host) => host,
            None if host.contains([':', '[', ']']) => return None,
            None => host,
        };
        let prefix = path.trim_end_matches('/').to_owned();
        (!host.is_empty()).then(|| Self { tls, host: host.to_owned(), port, prefix })
    }

    pub(crate) fn https(host: String) -> Self {
        Self { tls: true, host, port: 443, prefix: String::new() }
    }

    /// As the header `Host` has it: the port only when it is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.tls { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }
}

/// One request, whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub base: Base,
    pub method: &'static str,
    /// With the prefix of the base.
    pub path: String,
    /// `host` among them; `content-length` is for the client to add. Names are in lower case.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &'static str, base: &Base, path: &str, body: Vec<u8>) -> Self {
        let headers = vec![("host", base.authority())];
        Self { base: base.clone(), method, path: format!("{}{path}", base.prefix), headers, body }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[cfg(test)]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }
}

/// Without headers and body, which hold secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.base.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |url: &str, want: Option<&str>| {
            let got = Base::parse(url).map(|base| {
                let scheme = if base.tls { "https" } else { "http" };
                format!("{scheme}://{}{}", base.authority(), base.prefix)
            });
            assert_eq!(got.as_deref(), want, "{url}");
        };
        check("https://kms.eu-west-1.amazonaws.com/", Some("https://kms.eu-west-1.amazonaws.com"));
        check("HTTP://127.0.0.1:4566/a/b/", Some("http://127.0.0.1:4566/a/b"));
        check("http://[::1]:80", Some("http://[::1]"));
        check("http://[::1]/x", Some("http://[::1]/x"));
        check("https://h:443", Some("https://h"));
        check("https://h:0", None);
        check("https://user:pw@h", None);
        check("https://h?x=1", None);
        check("https://h/a b", None);
        check("ftp://h", None);
        check("h:80", None);
        check("https://::1", None);
        check("https://", None);
        check("", None);
    }
}
