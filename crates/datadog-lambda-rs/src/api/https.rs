//! An HTTP/1.1 client, with TLS where the address wants it, over a proxy if there is one: one connection is kept for the next call to the same
//! server. Callers wrap a call in their deadline.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::HeaderValue;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use secrets::{Base, Exceptions, MAX_ANSWER as MAX_PROXY_ANSWER, Proxy, Request, Tunnel};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A connection that was unused for longer, by the clock that runs on while Lambda freezes the sandbox, is not
/// trusted.
const MAX_IDLE: Duration = Duration::from_secs(50);
/// More answer than this is not kept.
const MAX_ANSWER: usize = 256 << 10;

#[derive(Debug, Default)]
pub(super) struct Client {
    /// A PEM file of authorities to trust beside the usual ones.
    authorities: Option<PathBuf>,
    proxy: Option<Proxy>,
    /// What is reached without it.
    direct: Exceptions,
    /// Made when it is first needed: the handler does not wait for it.
    tls: Option<Connector>,
    kept: Option<Kept>,
    /// What the user has to know.
    problem: Option<String>,
}

struct Connector(TlsConnector);

#[derive(Debug)]
struct Kept {
    base: Base,
    sender: Sender,
    since: SystemTime,
}

type Sender = SendRequest<Full<Bytes>>;

/// An answer's status and body.
pub(super) type Answer = (u16, Bytes);

impl Client {
    pub(super) fn new(authorities: Option<PathBuf>, proxy: Option<Proxy>, direct: Exceptions) -> Self {
        Self { authorities, proxy, direct, ..Self::default() }
    }

    /// Leaves the connection behind.
    pub(super) fn forget(&mut self) {
        self.kept = None;
    }

    pub(super) fn take_problem(&mut self) -> Option<String> {
        self.problem.take()
    }

    /// Sends a request and reads its answer. A kept connection that turns out to be dead is replaced, once. An error
    /// says why there is no answer.
    pub(super) async fn call(&mut self, request: &Request) -> Result<Answer, String> {
        let http = http_request(request).map_err(|error| error.to_string())?;
        if let Some(mut sender) = self.take_kept(&request.base)
            && sender.ready().await.is_ok()
            && let Ok(response) = sender.send_request(http.clone()).await
        {
            return self.finish(&request.base, sender, response).await;
        }
        let mut sender = self.connect(&request.base).await?;
        let response = sender.send_request(http).await.map_err(broken)?;
        self.finish(&request.base, sender, response).await
    }

    fn take_kept(&mut self, base: &Base) -> Option<Sender> {
        let kept = self.kept.take()?;
        let same = (&kept.base.host, kept.base.port, kept.base.tls) == (&base.host, base.port, base.tls);
        // A clock that was set back counts as too long.
        let idle = SystemTime::now().duration_since(kept.since).unwrap_or(Duration::MAX);
        (same && idle < MAX_IDLE && !kept.sender.is_closed()).then_some(kept.sender)
    }

    async fn finish(
        &mut self,
        base: &Base,
        sender: Sender,
        response: http::Response<hyper::body::Incoming>,
    ) -> Result<Answer, String> {
        let (head, mut incoming) = response.into_parts();
        let mut body = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if body.len() + data.len() > MAX_ANSWER {
                return Ok((head.status.as_u16(), body.freeze()));
            }
            body.extend_from_slice(&data);
        }
        self.kept = Some(Kept { base: base.clone(), sender, since: SystemTime::now() });
        Ok((head.status.as_u16(), body.freeze()))
    }

    async fn connect(&mut self, base: &Base) -> Result<Sender, String> {
        let way = self.proxy.clone().filter(|_| base.tls && !self.direct.has(&base.host, base.port));
        let mut stream = match &way {
            Some(proxy) => self.tunnel(proxy, base).await?,
            None => tcp(base).await?,
        };
        if base.tls {
            stream = self.secure(base, stream).await?;
        }
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends when the sender is dropped or the server closes; an error shows in the pending call.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn secure(&mut self, base: &Base, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, String> {
        let name = ServerName::try_from(base.host.clone()).map_err(|error| error.to_string())?;
        Ok(Box::new(self.connector()?.connect(name, stream).await.map_err(unconnected)?))
    }

    async fn tunnel(&mut self, proxy: &Proxy, base: &Base) -> Result<Box<dyn Stream>, String> {
        let of_proxy = |why: String| format!("the proxy {}: {why}", proxy.base.authority());
        let broken = |error: std::io::Error| of_proxy(error.to_string());
        let mut stream = tcp(&proxy.base).await.map_err(of_proxy)?;
        if proxy.base.tls {
            stream = self.secure(&proxy.base, stream).await.map_err(of_proxy)?;
        }
        stream.write_all(&proxy.question(&base.host, base.port)).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        // The server behind it says nothing before it is spoken to: no byte after the answer is lost.
        let mut answer = Vec::new();
        loop {
            match proxy.told(&answer) {
                Tunnel::Open => return Ok(stream),
                Tunnel::Refused(why) => return Err(why),
                Tunnel::Unknown => {}
            }
            let room = MAX_PROXY_ANSWER.saturating_sub(answer.len());
            let read = (&mut stream).take(room as u64).read_buf(&mut answer).await.map_err(broken)?;
            if read == 0 {
                return Err(of_proxy("it closes the connection".to_owned()));
            }
        }
    }

    fn connector(&mut self) -> Result<TlsConnector, String> {
        if let Some(Connector(connector)) = &self.tls {
            return Ok(connector.clone());
        }
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = &self.authorities
            && let Err(why) = add(&mut roots, path)
        {
            let path = path.display();
            self.problem = Some(format!(
                "DD_TLS_CERT_FILE: {path} cannot be used: {why}; the usual authorities are used"
            ));
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        self.tls = Some(Connector(connector.clone()));
        Ok(connector)
    }
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match roots.add_parsable_certificates(all.map_err(|error| error.to_string())?) {
        (0, _) => Err("it has no certificate".to_owned()),
        _ => Ok(()),
    }
}

async fn tcp(base: &Base) -> Result<Box<dyn Stream>, String> {
    let stream = TcpStream::connect((base.host.as_str(), base.port)).await.map_err(unconnected)?;
    // Requests are written whole: waiting to fill a packet only costs time.
    let _ = stream.set_nodelay(true);
    Ok(Box::new(stream))
}

fn unconnected(error: std::io::Error) -> String {
    format!("cannot connect: {error}")
}

fn broken(error: hyper::Error) -> String {
    format!("the connection broke: {error}")
}

fn http_request(request: &Request) -> Result<http::Request<Full<Bytes>>, http::Error> {
    let body = Full::new(Bytes::copy_from_slice(&request.body));
    let mut http = http::Request::builder().method(request.method).uri(&request.path).body(body)?;
    for (name, value) in &request.headers {
        let mut value = HeaderValue::from_str(value)?;
        value.set_sensitive(*name != "host");
        http.headers_mut().insert(*name, value);
    }
    Ok(http)
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A proxy that gives one answer, and what it is told: the question, and the first byte after its answer.
    async fn proxy(answer: &'static str) -> (Proxy, tokio::task::JoinHandle<(String, Option<u8>)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://me:secret@{}", listener.local_addr().unwrap());
        let told = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tcp.read_u8().await.unwrap());
            }
            tcp.write_all(answer.as_bytes()).await.unwrap();
            (String::from_utf8(head).unwrap(), tcp.read_u8().await.ok())
        });
        (Proxy::parse(&url).unwrap(), told)
    }

    fn request(url: &str) -> Request {
        let base = Base::parse(url).unwrap();
        Request { base, method: "GET", path: "/".to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// The name does not exist: it is the proxy's to look up.
    #[tokio::test]
    async fn https_goes_over_the_proxy() {
        for (answer, why, then) in [
            ("HTTP/1.1 200 OK\r\n\r\n", "cannot connect", Some(0x16)),
            ("HTTP/1.1 407 No\r\n\r\n", "answers 407 No: its user or password is not right", None),
        ] {
            let (proxy, told) = proxy(answer).await;
            let mut client = Client::new(None, Some(proxy), Exceptions::default());
            let request = request("https://api.datadog.test");
            let (failed, told) = tokio::join!(client.call(&request), told);
            let (question, first) = told.unwrap();
            assert!(failed.as_ref().is_err_and(|error| error.contains(why)), "{failed:?}");
            assert!(question.starts_with("CONNECT api.datadog.test:443 HTTP/1.1\r\n"), "{question}");
            assert!(question.contains("proxy-authorization: Basic bWU6c2VjcmV0\r\n"), "{question}");
            assert_eq!(first, then);
        }
    }
}
