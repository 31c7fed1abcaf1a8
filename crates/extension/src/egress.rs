//! The way out: a connection to a server, over a proxy or directly, with TLS where the address wants it. The same for
//! all that leaves: data, requests for the key, and (without both) the Extensions API.

use std::io;
use std::rc::Rc;

use secrets::{Exceptions, MAX_ANSWER, Proxy, Tunnel};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::address::Address;
use crate::config::Config;
use crate::tls::Tls;

/// What bytes go over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Which versions of HTTP are spoken to intakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What the server chooses with TLS; without it HTTP/1.1.
    Auto,
    #[default]
    Http1,
    /// The same, but a server without TLS is spoken to in HTTP/2 at once, and one that does not speak it is told of.
    Http2,
}

/// How all connections are made.
#[derive(Default)]
pub(crate) struct Egress {
    tls: Tls,
    proxy: Option<Proxy>,
    /// What is reached without it.
    direct: Exceptions,
    /// To intakes: whoever gives the key, and Lambda, are asked over HTTP/1.1.
    protocol: Protocol,
}

impl Egress {
    /// As it is set.
    pub(crate) fn new(config: &Config) -> Rc<Self> {
        Self::with(config, config.skip_ssl_validation)
    }

    /// The same, but certificates are checked whatever is set: for what gives the key.
    pub(crate) fn checked(config: &Config, as_set: &Rc<Self>) -> Rc<Self> {
        if config.skip_ssl_validation { Self::with(config, false) } else { as_set.clone() }
    }

    fn with(config: &Config, is_unchecked: bool) -> Rc<Self> {
        let tls = Tls::new(config.tls_cert_file.clone(), config.min_tls_version, is_unchecked);
        let (proxy, direct) = (config.proxy.clone(), config.no_proxy.clone());
        Rc::new(Self { tls, proxy, direct, protocol: config.http_protocol })
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// A connection that is ready for a request, and whether it is to be of HTTP/2. How long it may take is the caller's
    /// business.
    pub(crate) async fn connect(
        &self,
        to: &Address,
        protocol: Protocol,
    ) -> io::Result<(Box<dyn Stream>, bool)> {
        let way = self.proxy.as_ref().filter(|_| to.tls && !self.direct.has(&to.host, to.port));
        let stream = match way {
            Some(proxy) => self.tunnel(proxy, to).await?,
            None => tcp(&to.host, to.port).await?,
        };
        if to.tls {
            self.tls.connect(&to.host, stream, protocol != Protocol::Http1).await
        } else {
            Ok((stream, protocol == Protocol::Http2))
        }
    }

    async fn tunnel(&self, proxy: &Proxy, to: &Address) -> io::Result<Box<dyn Stream>> {
        let of_proxy = |error: io::Error| {
            io::Error::new(error.kind(), format!("the proxy {}: {error}", proxy.base.authority()))
        };
        let mut stream = tcp(&proxy.base.host, proxy.base.port).await.map_err(of_proxy)?;
        if proxy.base.tls {
            (stream, _) = self.tls.connect(&proxy.base.host, stream, false).await.map_err(of_proxy)?;
        }
        stream.write_all(&proxy.question(&to.host, to.port)).await.map_err(of_proxy)?;
        stream.flush().await.map_err(of_proxy)?;
        // The server behind it says nothing before it is spoken to: no byte after the answer is lost.
        let mut answer = Vec::new();
        loop {
            match proxy.told(&answer) {
                Tunnel::Open => return Ok(stream),
                Tunnel::Refused(why) => return Err(io::Error::other(why)),
                Tunnel::Unknown => {}
            }
            let room = MAX_ANSWER.saturating_sub(answer.len());
            if (&mut stream).take(room as u64).read_buf(&mut answer).await.map_err(of_proxy)? == 0 {
                return Err(of_proxy(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect((host, port)).await?;
    // Requests are written whole: waiting to fill a packet only costs time.
    let _ = stream.set_nodelay(true);
    Ok(Box::new(stream))
}
