//! Universal instrumentation: the extension is told of an invocation's start and end, and makes its span itself, as
//! it does for Datadog's libraries for Go, Java and .NET. For those who want their spans made as they are there;
//! the library's own way needs none of it.
//!
//! What the answer to the start says of the trace is needed before the handler begins, so the thread waits for it:
//! a fraction of a millisecond, and a budget at most. An extension that does not answer is left alone for a while,
//! and the library makes the span. Not here: what of the span is left out then (`invocation`).

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use model::RequestId;
use model::keys::headers;
use propagation::{Style, TraceContext};
use wire::lifecycle::{END_PATH, EndHeaders, ErrorHeaders, START_PATH, StartAnswer, StartHeaders};

use crate::agent::{Agent, Lost, Until};
use crate::failure::Failure;
use crate::settings::{Address, Settings};

/// More answer than this is not read.
const MAX_ANSWER: usize = 16 * 1024;

/// What a header may take of an error's texts: servers refuse long ones.
const MAX_MESSAGE: usize = 4 * 1024;
const MAX_STACK: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Lifecycle {
    host: String,
    port: u16,
    agent: Agent,
}

/// What the extension is told at an invocation's end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ended {
    pub(crate) headers: EndHeaders,
    pub(crate) context: Option<TraceContext>,
    /// The response, as far as it is known.
    pub(crate) body: Vec<u8>,
}

impl Lifecycle {
    /// `None` when it is not wanted, or there is no extension.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        let host = match settings.agent.as_ref().filter(|_| settings.universal && settings.tracing)? {
            Address::Tcp { host, .. } => host.clone(),
            #[cfg(unix)]
            Address::Unix(_) => "127.0.0.1".to_owned(),
        };
        let port = settings.lifecycle_port;
        Some(Self { agent: Agent::new(Address::Tcp { host: host.clone(), port }), host, port })
    }

    /// Leaves all connections and all memory of failures behind.
    pub(crate) fn forget(&self) {
        self.agent.forget();
    }

    /// Tells of the start of an invocation. `None` when nobody has answered; an answer may name no trace.
    pub(crate) fn start(&self, id: &str, event: &[u8], budget: Duration) -> Option<Option<StartAnswer>> {
        if budget.is_zero() || self.agent.rests() {
            return None;
        }
        let told = StartHeaders { request_id: RequestId::new(id) }.write();
        let request = self.request(START_PATH, &told, event, "close");
        match self.ask(&request, budget) {
            Ok(head) => Some(StartAnswer::read(fields(&head))),
            Err(_) => {
                self.agent.rest();
                None
            }
        }
    }

    /// Tells of the end of an invocation whose start was told.
    pub(crate) async fn end(&self, ended: &Ended, budget: Duration) -> Result<(), Lost> {
        if budget.is_zero() {
            return Err(Lost::Slow);
        }
        let mut told = ended.headers.write();
        if let Some(context) = &ended.context {
            let mut headers = std::collections::HashMap::new();
            propagation::inject(context, &[Style::Datadog], &mut headers);
            let known = [headers::TRACE_ID, headers::PARENT_ID, headers::SAMPLING_PRIORITY, headers::TAGS];
            told.extend(known.into_iter().filter_map(|name| Some((name, headers.remove(name)?))));
        }
        let request = self.request(END_PATH, &told, &ended.body, "keep-alive");
        self.agent.deliver(&request, Until::Answered, budget).await
    }

    fn request(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        body: &[u8],
        connection: &str,
    ) -> Vec<u8> {
        let (host, port, length) = (&self.host, self.port, body.len());
        let mut head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: {connection}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\nDatadog-Meta-Lang: rust\r\n"
        );
        for (name, value) in headers.iter().filter(|(_, value)| !value.contains(['\r', '\n'])) {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        [head.as_bytes(), body].concat()
    }

    /// The head of the answer to a request, within a budget.
    fn ask(&self, request: &[u8], budget: Duration) -> io::Result<String> {
        let end = Instant::now() + budget;
        let left = || {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
        };
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs()?;
        let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
        let mut stream = TcpStream::connect_timeout(&address, left()?)?;
        stream.set_nodelay(true)?;
        let mut rest = request;
        while !rest.is_empty() {
            stream.set_write_timeout(Some(left()?))?;
            let n = stream.write(rest)?;
            rest = rest.get(n..).filter(|_| n > 0).ok_or(io::ErrorKind::WriteZero)?;
        }
        let (mut bytes, mut buffer) = (Vec::new(), [0; 1024]);
        loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                bytes.truncate(end);
                let head = String::from_utf8_lossy(&bytes).into_owned();
                let is_well = head.starts_with("HTTP/1.1 2") || head.starts_with("HTTP/1.0 2");
                return if is_well { Ok(head) } else { Err(io::ErrorKind::InvalidData.into()) };
            }
            if bytes.len() > MAX_ANSWER {
                return Err(io::ErrorKind::InvalidData.into());
            }
            stream.set_read_timeout(Some(left()?))?;
            let n = stream.read(&mut buffer)?;
            let more = buffer.get(..n).filter(|_| n > 0).ok_or(io::ErrorKind::UnexpectedEof)?;
            bytes.extend_from_slice(more);
        }
    }
}

/// An error's texts as headers have them.
pub(crate) fn error(failure: &Failure) -> ErrorHeaders {
    let cut =
        |text: &str, max| text.get(..text.floor_char_boundary(max)).unwrap_or_default().to_owned().into();
    ErrorHeaders {
        message: cut(&failure.message, MAX_MESSAGE),
        kind: cut(&failure.kind, MAX_MESSAGE),
        stack: cut(&failure.stack, MAX_STACK),
    }
}

fn fields(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'))
}
