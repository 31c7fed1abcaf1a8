//! An agent, and the little of an HTTP server that the tests need.

use std::sync::{Arc, Mutex};

use model::{Chunk, Span};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::agent::lock;

/// One request: its first line, its headers in one text, its body.
pub(super) struct Request {
    pub(super) line: String,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// `None` when the other side has closed.
pub(super) async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    let end = head_end + 4 + length.unwrap_or(0);
    let is_stream = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    while bytes.len() < end || is_stream && !bytes[end..].windows(5).any(|w| w == b"0\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let line = head.lines().next().unwrap().to_owned();
    Some(Request { line, head, body: bytes.split_off(head_end + 4) })
}

pub(super) async fn answer(stream: &mut TcpStream, head: &str, body: &str) {
    let text = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    // The other side may be gone: its test says so.
    let _ = stream.write_all(text.as_bytes()).await;
}

/// What an agent does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Answers,
    /// Reads, and is silent.
    Hangs,
    /// Answers with an error.
    Fails,
    /// Closes the connection instead of an answer.
    Dies,
}

/// Keeps the chunks that it gets.
#[derive(Clone)]
pub(super) struct FakeAgent {
    pub(super) port: u16,
    chunks: Arc<Mutex<Vec<Chunk>>>,
    /// The requests about data streams.
    pub(super) streams: Arc<Mutex<Vec<Request>>>,
}

impl FakeAgent {
    /// Serves in the background of the current runtime; `seen` is told of each request.
    pub(super) async fn start(manner: Manner, seen: impl Fn(&Chunk) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let agent = Self {
            port: listener.local_addr().unwrap().port(),
            chunks: Arc::default(),
            streams: Arc::default(),
        };
        let (kept, streams) = (agent.chunks.clone(), agent.streams.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (kept, streams, seen) = (kept.clone(), streams.clone(), seen.clone());
                tokio::spawn(async move {
                    while let Some(request) = read_request(&mut stream).await {
                        if request.line == "POST /v0.1/pipeline_stats HTTP/1.1" {
                            lock(&streams).push(request);
                        } else {
                            assert_eq!(request.line, "POST /v0.4/traces HTTP/1.1");
                            let chunks = wire::v04::decode(&request.body).unwrap().chunks;
                            chunks.iter().for_each(&seen);
                            lock(&kept).extend(chunks);
                        }
                        match manner {
                            Manner::Answers => answer(&mut stream, "200 OK", "{}").await,
                            Manner::Fails => answer(&mut stream, "500 Error", "").await,
                            Manner::Hangs => {}
                            Manner::Dies => break,
                        }
                    }
                });
            }
        });
        agent
    }

    /// What it has got since it was last asked.
    pub(super) fn take(&self) -> Vec<Chunk> {
        std::mem::take(&mut lock(&self.chunks))
    }
}

/// Spans as a tree by name, children in order of start, with what `note` says of each.
pub(super) fn tree(spans: &[Span], note: impl Fn(&Span) -> String) -> String {
    fn add(out: &mut String, spans: &[Span], of: &Span, depth: usize, note: &dyn Fn(&Span) -> String) {
        let note_text = note(of);
        let gap = if note_text.is_empty() { "" } else { " " };
        out.push_str(&format!("{}{}{gap}{note_text}\n", "  ".repeat(depth), of.name));
        let mut children: Vec<_> = spans.iter().filter(|s| s.parent_id == Some(of.span_id)).collect();
        children.sort_by_key(|s| s.start);
        children.iter().for_each(|child| add(out, spans, child, depth + 1, note));
    }
    let is_root = |span: &&Span| span.parent_id.is_none_or(|id| spans.iter().all(|s| s.span_id != id));
    let mut out = String::new();
    spans.iter().filter(is_root).for_each(|root| add(&mut out, spans, root, 0, &note));
    out
}
