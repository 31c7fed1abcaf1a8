//! DogStatsD over UDP and over a Unix socket: metrics from the function, many to a datagram, and events and
//! service checks, which are requests of their own.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::rc::Rc;

use engine::{Dropped, Input};
use model::{Event, Forward, ServiceCheck, Text};
use payload::events::{CHECKS_PATH, CONTENT_TYPE, EVENTS_PATH, encode_checks, encode_event};
use socket2::SockRef;
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::task::yield_now;

use crate::driver::now;
use crate::inbox::{Arrival, Inbox};
use crate::log;

/// The most that one datagram can hold.
const DATAGRAM_BYTES: usize = 65_536;
/// Datagrams, and bytes of them, that are handed on together.
const AT_ONCE: usize = 1024;
const AT_ONCE_BYTES: usize = 64 << 10;
/// How often that is done before others get their turn: more than the kernel keeps, so that it is empty then.
const ROUNDS: usize = 16;
/// So many datagrams, or bytes of them, that came at once may have been more than the kernel keeps.
const BURST: usize = 64;
const BURST_BYTES: usize = 64 << 10;
/// Where the kernel tells of its UDP sockets.
const SOCKETS: &str = "/proc/net/udp";
/// Errors without a datagram between them, after which the socket is given up.
const MAX_ERRORS: u32 = 100;

/// Where datagrams come in.
#[derive(Debug)]
pub(crate) enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Socket {
    /// `room`: bytes that the kernel is asked to keep for us; it gives as much as it allows (`net.core.rmem_max`).
    pub(crate) fn udp(address: SocketAddr, room: usize) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        // Less room is no reason not to listen.
        let _ = SockRef::from(&socket).set_recv_buffer_size(room);
        UdpSocket::from_std(socket).map(Self::Udp)
    }

    /// A socket file that a process left behind is replaced, one that is read from is not.
    pub(crate) fn unix(path: &Path, room: usize) -> io::Result<Self> {
        let is_left_behind = || {
            let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
            let is_dead = || std::os::unix::net::UnixDatagram::unbound()?.connect(path);
            is_socket && is_dead().is_err()
        };
        let socket = match std::os::unix::net::UnixDatagram::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind() => {
                std::fs::remove_file(path)?;
                std::os::unix::net::UnixDatagram::bind(path)
            }
            bound => bound,
        }?;
        socket.set_nonblocking(true)?;
        let _ = SockRef::from(&socket).set_recv_buffer_size(room);
        UnixDatagram::from_std(socket).map(Self::Unix)
    }

    /// How many datagrams the kernel had no room for, since the socket was made. A Unix socket makes senders wait.
    fn lost(&self) -> u64 {
        let Self::Udp(socket) = self else { return 0 };
        let Ok(SocketAddr::V4(address)) = socket.local_addr() else { return 0 };
        lost(&std::fs::read_to_string(SOCKETS).unwrap_or_default(), address)
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.readable().await,
            Self::Unix(socket) => socket.readable().await,
        }
    }

    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.try_recv(buffer),
            Self::Unix(socket) => socket.try_recv(buffer),
        }
    }
}

/// What events and service checks get of the function: metrics get it elsewhere.
pub(crate) struct Labels {
    /// `key:value`
    pub(crate) tags: Vec<Text>,
    pub(crate) host: String,
}

/// Takes datagrams for as long as the process lives.
pub(crate) async fn serve(socket: Socket, inbox: Rc<Inbox>) {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let (mut errors, mut lost) = (0, 0);
    while errors < MAX_ERRORS {
        if socket.readable().await.is_err() {
            break;
        }
        let mut burst = Burst::default();
        while (0..ROUNDS).all(|_| drain(&socket, &mut buffer, &inbox, &mut errors, &mut burst)) {
            yield_now().await;
        }
        if burst.datagrams >= BURST || burst.bytes >= BURST_BYTES {
            let all = socket.lost();
            inbox.count(Dropped::Datagrams, all.saturating_sub(lost));
            lost = all;
        }
    }
    log::error(format_args!("metrics over DogStatsD are no longer taken: the socket gives errors only"));
}

/// What came without a pause.
#[derive(Default)]
struct Burst {
    datagrams: usize,
    bytes: usize,
}

/// What the kernel's table of sockets says of the one with this address: the last column.
fn lost(table: &str, address: SocketAddrV4) -> u64 {
    let ip = u32::from_ne_bytes(address.ip().octets());
    let local = format!("{ip:08X}:{:04X}", address.port());
    let mut lines = table.lines().map(str::split_ascii_whitespace);
    let own = lines.find_map(|mut words| (words.nth(1) == Some(&local)).then_some(words));
    own.and_then(Iterator::last).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Takes what is there out of the kernel's hands, up to a bound; `true` when there may be more. Reading it can wait, the
/// kernel cannot: it keeps little.
fn drain(socket: &Socket, buffer: &mut [u8], inbox: &Inbox, errors: &mut u32, burst: &mut Burst) -> bool {
    let (mut lines, mut datagrams) = (Vec::new(), 0);
    while datagrams < AT_ONCE && lines.len() < AT_ONCE_BYTES {
        let length = match socket.try_recv(buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // One datagram's: the next may be well.
            Err(_) => {
                *errors += 1;
                break;
            }
        };
        *errors = 0;
        datagrams += 1;
        lines.extend_from_slice(buffer.get(..length).unwrap_or_default());
        lines.push(b'\n');
    }
    burst.datagrams += datagrams;
    burst.bytes += lines.len();
    let is_full = datagrams == AT_ONCE || lines.len() >= AT_ONCE_BYTES;
    if datagrams > 0 && !inbox.offer_data(Arrival::Datagrams(lines)) {
        inbox.count(Dropped::Datagrams, datagrams as u64);
    }
    is_full
}

/// Reads the lines of datagrams, each for itself.
pub(crate) fn decode(lines: &[u8], labels: &Labels, inbox: &Inbox) -> Vec<Input> {
    let parsed = wire::dogstatsd::parse_datagram(lines);
    inbox.count(Dropped::Metrics, parsed.dropped);
    let mut facts = Vec::new();
    if !parsed.metrics.is_empty() {
        facts.push(Input::Metrics(parsed.metrics));
    }
    for event in parsed.events {
        facts.push(forward(EVENTS_PATH, event_body(&event, labels)));
    }
    if !parsed.checks.is_empty() {
        facts.push(forward(CHECKS_PATH, checks_body(&parsed.checks, labels)));
    }
    facts
}

fn event_body(event: &Event, labels: &Labels) -> Vec<u8> {
    encode_event(event, &labels.tags, now())
}

fn checks_body(checks: &[ServiceCheck], labels: &Labels) -> Vec<u8> {
    encode_checks(checks, &labels.tags, &labels.host, now())
}

fn forward(path: &'static str, body: Vec<u8>) -> Input {
    let headers = vec![("content-type".into(), CONTENT_TYPE.into())];
    Input::Forward(Box::new(Forward { subdomain: "api".into(), path: path.into(), headers, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_had_no_room_for() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  211: 0100007F:1FBD 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 5 2 0 4711
  212: 00000000:1FBE 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 6 2 0 1
";
        let check =
            |address: &str, want| assert_eq!(lost(table, address.parse().unwrap()), want, "{address}");
        check("127.0.0.1:8125", 4711);
        check("0.0.0.0:8126", 1);
        check("127.0.0.1:8126", 0);
    }
}
