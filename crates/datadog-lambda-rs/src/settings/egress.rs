//! How settings of where data goes are read: the extension's address, intakes, keys, the proxy and what is reached without
//! it. Their rows are in `table`, with all others.

use super::{Address, Read, Settings, TRACE_PORT, Unread};

/// An address that may be given without its scheme. The value may hold a password, and is not repeated.
pub(super) fn address(to: &mut Option<secrets::Base>, value: &str) -> Read {
    let url = if value.contains("://") { value.to_owned() } else { format!("https://{value}") };
    *to = Some(secrets::Base::parse(&url).ok_or("the value is not an http or https address")?);
    Ok(())
}

pub(super) fn api_key(settings: &mut Settings, value: &str) -> Read {
    secrets::ApiKey::new(value).ok_or("the value is not a key of printable characters")?;
    settings.keys.api_key = Some(value.to_owned());
    Ok(())
}

/// The value may hold a password, and is not repeated.
pub(super) fn proxy(settings: &mut Settings, value: &str) -> Read {
    settings.proxy =
        Some(secrets::Proxy::parse(value).ok_or("the value is not the address of an HTTP proxy")?);
    Ok(())
}

/// Lists add up; what cannot be used of one is told.
pub(super) fn no_proxy(settings: &mut Settings, value: &str) -> Read {
    let bad = settings.no_proxy.add(value);
    match bad.first() {
        None => Ok(()),
        Some(first) => {
            let reason = format!("{first:?} is no domain, address or network");
            Err(Unread { reason, in_part: true })
        }
    }
}

pub(super) fn port(value: &str) -> Result<u16, String> {
    value.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("{value:?} is not a port"))
}

pub(super) fn agent_port(settings: &mut Settings, value: &str) -> Read {
    settings.agent = Some(Address::local(port(value)?));
    Ok(())
}

#[cfg(unix)]
pub(super) fn agent_socket(settings: &mut Settings, value: &str) -> Read {
    let path = std::path::PathBuf::from(value.strip_prefix("unix://").unwrap_or(value));
    if !path.is_absolute() {
        return Err(format!("{value:?} is no absolute path").into());
    }
    settings.agent = Some(Address::Unix(path));
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn agent_socket(_: &mut Settings, _: &str) -> Read {
    Err("this system has no Unix sockets".to_owned().into())
}

pub(super) fn agent_url(settings: &mut Settings, value: &str) -> Read {
    if value.starts_with("unix://") {
        return agent_socket(settings, value);
    }
    let plain = || format!("{value:?} is neither http://host:port nor unix:///path");
    let authority = value.strip_prefix("http://").ok_or_else(plain)?.trim_end_matches('/');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, digits)) => (host, port(digits).map_err(|_| plain())?),
        None => (authority, TRACE_PORT),
    };
    if host.is_empty() || host.contains(['/', '@', '?', '#', '\r', '\n']) {
        return Err(plain().into());
    }
    settings.agent = Some(Address::Tcp { host: host.to_owned(), port });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_and_what_is_reached_without() {
        let read = |variables: &[(&str, &str)]| {
            Settings::read(false, |key| {
                variables.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
            })
        };
        let (settings, problems) = read(&[
            ("https_proxy", "http://a:1"),
            ("HTTPS_PROXY", "http://b:2"),
            ("DD_PROXY_HTTPS", "me:secret@c:3"),
            ("NO_PROXY", "x.y"),
            ("DD_PROXY_NO_PROXY", "10.0.0.0/8"),
        ]);
        assert!(problems.is_empty());
        assert_eq!(settings.proxy.map(|proxy| proxy.base.authority()).as_deref(), Some("c:3"));
        assert!(settings.no_proxy.has("a.x.y", 443) && settings.no_proxy.has("10.1.1.1", 443));
        let (settings, problems) =
            read(&[("HTTPS_PROXY", "socks5://me:secret@b"), ("NO_PROXY", "x.y,10.0.0.0/99")]);
        let told: Vec<_> = problems.iter().map(|problem| problem.reason.as_str()).collect();
        assert_eq!((settings.proxy, told.len()), (None, 2), "{told:?}");
        assert!(settings.no_proxy.has("x.y", 443));
        assert!(!told.concat().contains("secret") && told.concat().contains("10.0.0.0/99"), "{told:?}");
    }
}
