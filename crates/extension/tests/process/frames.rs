//! An intake that speaks HTTP/2, frame by frame, so that a test says what it does with each request: libraries do not
//! refuse, forget or leave when told to. Headers are not read. Speaks HTTP/1.1 with clients that begin so.
//! <https://www.rfc-editor.org/rfc/rfc9113>

use std::io;
use std::sync::{Arc, Mutex};

use model::{Batch, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fake_lambda::PATIENCE;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const REFUSED_STREAM: u32 = 7;
const HTTP_1_1_REQUIRED: u32 = 13;
/// A field of the static table without its value, then the value: `:status: 202`.
const ACCEPTED: &[u8] = &[0x08, 3, b'2', b'0', b'2'];

/// What it does with a request that has come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// Takes it, and answers all that wait for an answer.
    Accept,
    /// Takes it, and answers later.
    Wait,
    /// Has not looked at it.
    Refuse,
    /// Has not looked at it and takes nothing more on this connection.
    Leave,
    /// Takes it as the last one of this connection.
    AcceptAsLast,
    /// Takes it over HTTP/1.1 only.
    Downgrade,
    /// Is gone without a word.
    Vanish,
}

/// Where a request is among others, counted from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) connection: usize,
    pub(crate) request: usize,
    /// Requests that have begun and have no answer, this one included.
    pub(crate) open: usize,
}

/// What it allows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allows {
    pub(crate) streams: Option<u32>,
    pub(crate) window: Option<u32>,
    /// HTTP/2 is answered as a server does that has never heard of it.
    pub(crate) is_old: bool,
}

pub(crate) struct Frames {
    pub(crate) url: String,
    shared: Arc<Shared>,
    hang_up: watch::Sender<()>,
    connected: watch::Receiver<usize>,
    ended: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Bodies that were taken.
    taken: Mutex<Vec<Vec<u8>>>,
    /// The most that were open at once on a connection.
    open: Mutex<usize>,
    pieces: Mutex<usize>,
}

impl Frames {
    pub(crate) async fn start(allows: Allows, say: impl Fn(Place) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (hang_up, hung_up) = watch::channel(());
        let ((count, connected), (end, ended)) = (watch::channel(0), watch::channel(0));
        let end = Arc::new(end);
        let (shared, say) = (Arc::new(Shared::default()), Arc::new(say));
        let state = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let number = *count.borrow();
                let (say, shared, mut hung_up) = (say.clone(), state.clone(), hung_up.clone());
                hung_up.mark_unchanged();
                let end = end.clone();
                tokio::spawn(async move {
                    let say = move |request, open| say(Place { connection: number, request, open });
                    tokio::select! {
                        _ = Connection::new(tcp, shared).run(allows, &say) => {}
                        _ = hung_up.changed() => {}
                    }
                    end.send_modify(|count| *count += 1);
                });
            }
        });
        Self { url, shared, hang_up, connected, ended, task }
    }

    /// All connections end.
    pub(crate) async fn hang_up(&self) {
        let connections = self.connections();
        self.hang_up.send(()).unwrap();
        let mut ended = self.ended.clone();
        timeout(PATIENCE, ended.wait_for(|n| *n >= connections)).await.expect("they do not end").unwrap();
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connected.borrow()
    }

    /// The most pieces that a body came in.
    pub(crate) fn most_pieces(&self) -> usize {
        *self.shared.pieces.lock().unwrap()
    }

    pub(crate) fn most_open(&self) -> usize {
        *self.shared.open.lock().unwrap()
    }

    /// The spans of the function that were taken, one number for each time.
    pub(crate) fn spans(&self) -> Vec<u64> {
        let mut spans = Vec::new();
        for body in &*self.shared.taken.lock().unwrap() {
            let Ok(plain) = payload::decompress(body, "zstd", 1 << 26) else { continue };
            // Those of other signals are not read, or have no such spans.
            let Ok(Batch::Traces(payloads)) = payload::decode(Signal::Traces, &plain) else { continue };
            let all = payloads.iter().flat_map(|payload| &payload.chunks).flat_map(|chunk| &chunk.spans);
            spans.extend(all.filter(|span| span.name == "work").map(|span| span.span_id.get()));
        }
        spans.sort_unstable();
        spans
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Connection {
    tcp: TcpStream,
    shared: Arc<Shared>,
    /// Requests that are not answered, each with what has come of its body, piece by piece.
    open: Vec<(u32, Vec<Vec<u8>>)>,
    waiting: Vec<u32>,
    requests: usize,
    /// The last one that it looks at.
    last: Option<u32>,
}

impl Connection {
    fn new(tcp: TcpStream, shared: Arc<Shared>) -> Self {
        Self { tcp, shared, open: Vec::new(), waiting: Vec::new(), requests: 0, last: None }
    }

    async fn run(mut self, allows: Allows, say: &(impl Fn(usize, usize) -> Say + Sync)) -> io::Result<()> {
        self.tcp.set_nodelay(true)?;
        let mut begin = [0; PREFACE.len()];
        self.tcp.read_exact(&mut begin).await?;
        if &begin != PREFACE {
            return self.speak_old(begin.to_vec()).await;
        }
        if allows.is_old {
            return self.tcp.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
        }
        let mut settings = Vec::new();
        for (name, value) in [(3_u16, allows.streams), (4, allows.window)] {
            let Some(value) = value else { continue };
            settings.extend(name.to_be_bytes());
            settings.extend(value.to_be_bytes());
        }
        self.write(SETTINGS, 0, 0, &settings).await?;
        loop {
            let mut head = [0; 9];
            self.tcp.read_exact(&mut head).await?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut content = vec![0; length];
            self.tcp.read_exact(&mut content).await?;
            match kind {
                SETTINGS if flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]).await?,
                RST_STREAM => self.open.retain(|(id, _)| *id != stream),
                HEADERS => self.begin(stream),
                DATA => {
                    let own = self.open.iter_mut().find(|(id, _)| *id == stream);
                    if let Some((_, pieces)) = own {
                        pieces.push(content);
                    }
                    if length > 0 {
                        let more = u32::try_from(length).unwrap().to_be_bytes();
                        self.write(WINDOW_UPDATE, 0, 0, &more).await?;
                        if flags & END_STREAM == 0 {
                            self.write(WINDOW_UPDATE, 0, stream, &more).await?;
                        }
                    }
                }
                _ => continue,
            }
            let is_wanted = self.last.is_none_or(|last| stream <= last);
            if [HEADERS, DATA].contains(&kind) && flags & END_STREAM != 0 && is_wanted {
                self.requests += 1;
                let word = say(self.requests, self.open.len());
                let word = if self.last.is_some() { Say::Accept } else { word };
                if word == Say::Vanish {
                    return Ok(());
                }
                self.answer(stream, word).await?;
            }
        }
    }

    /// Takes every request.
    async fn speak_old(mut self, mut read: Vec<u8>) -> io::Result<()> {
        loop {
            while !read.ends_with(b"\r\n\r\n") {
                read.push(self.tcp.read_u8().await?);
            }
            let head = String::from_utf8(std::mem::take(&mut read)).unwrap().to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            self.tcp.read_exact(&mut body).await?;
            self.shared.taken.lock().unwrap().push(body);
            self.tcp.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}").await?;
        }
    }

    fn begin(&mut self, stream: u32) {
        self.open.push((stream, Vec::new()));
        let mut most = self.shared.open.lock().unwrap();
        *most = self.open.len().max(*most);
    }

    async fn answer(&mut self, stream: u32, word: Say) -> io::Result<()> {
        if let Say::Accept | Say::AcceptAsLast | Say::Wait = word {
            let pieces = &self.open.iter().find(|(id, _)| *id == stream).unwrap().1;
            self.shared.taken.lock().unwrap().push(pieces.concat());
            let mut most = self.shared.pieces.lock().unwrap();
            *most = pieces.len().max(*most);
            self.waiting.push(stream);
        }
        if let Say::Leave | Say::AcceptAsLast = word {
            let last = if word == Say::Leave { stream.saturating_sub(2) } else { stream };
            self.last = Some(last);
            self.write(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()).await?;
        }
        match word {
            Say::Refuse | Say::Downgrade => {
                self.open.retain(|(id, _)| *id != stream);
                let reason = if word == Say::Refuse { REFUSED_STREAM } else { HTTP_1_1_REQUIRED };
                self.write(RST_STREAM, 0, stream, &reason.to_be_bytes()).await?;
            }
            Say::Accept | Say::AcceptAsLast => {
                for answered in std::mem::take(&mut self.waiting) {
                    self.open.retain(|(id, _)| *id != answered);
                    self.write(HEADERS, END_STREAM | END_HEADERS, answered, ACCEPTED).await?;
                }
            }
            Say::Wait | Say::Leave | Say::Vanish => {}
        }
        Ok(())
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, content: &[u8]) -> io::Result<()> {
        let [_, a, b, c] = u32::try_from(content.len()).unwrap().to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(content);
        self.tcp.write_all(&frame).await
    }
}
