//! DogStatsD over UDP: metrics from the function, many to a datagram.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use engine::Dropped;
use model::Metric;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::task::yield_now;

use crate::inbox::{Arrival, Inbox};
use crate::log;

/// The most that one datagram can hold.
const DATAGRAM_BYTES: usize = 65_536;
/// What the kernel is asked to keep for us; it gives as much as it allows (`net.core.rmem_max`).
const RECEIVE_BUFFER: usize = 4 << 20;
/// Datagrams that are read before others get their turn.
const AT_ONCE: usize = 256;
/// Errors without a datagram between them, after which the socket is given up.
const MAX_ERRORS: u32 = 100;

pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // Less room is no reason not to listen.
    let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
    UdpSocket::from_std(socket)
}

/// Takes datagrams for as long as the process lives.
pub(crate) async fn serve(socket: UdpSocket, inbox: Rc<Inbox>) {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let mut errors = 0;
    while errors < MAX_ERRORS {
        if socket.readable().await.is_err() {
            break;
        }
        while drain(&socket, &mut buffer, &inbox, &mut errors) {
            yield_now().await;
        }
    }
    log::error(format_args!("metrics over UDP are no longer taken: the socket gives errors only"));
}

/// Reads what is there, up to a bound; `true` when there may be more.
fn drain(socket: &UdpSocket, buffer: &mut [u8], inbox: &Inbox, errors: &mut u32) -> bool {
    let mut metrics: Vec<Metric> = Vec::new();
    let mut datagrams = 0;
    while datagrams < AT_ONCE {
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
        let parsed = wire::dogstatsd::parse_datagram(buffer.get(..length).unwrap_or_default());
        inbox.count(Dropped::Metrics, parsed.dropped);
        metrics.extend(parsed.metrics);
    }
    if !metrics.is_empty() && !inbox.offer_data(Arrival::Metrics(metrics)) {
        inbox.count(Dropped::Datagrams, datagrams as u64);
    }
    datagrams == AT_ONCE
}
