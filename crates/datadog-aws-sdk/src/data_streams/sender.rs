//! The way of what is counted to the agent, from a thread of its own: every ten seconds, within deadlines.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use model::UnixNanos;
use streams::Streams;

use super::now;
use crate::settings::Agent;

const EVERY: Duration = Duration::from_secs(10);
/// For each wait of a request.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends for as long as there is somebody who counts.
pub(super) fn start(streams: &Arc<Streams>, agent: &Agent) {
    let (streams, agent) = (Arc::downgrade(streams), agent.clone());
    let run = move || run(&streams, &agent);
    if let Err(error) = std::thread::Builder::new().name("datadog-streams".to_owned()).spawn(run) {
        tracing::warn!("checkpoints of data streams are not sent: {error}");
    }
}

fn run(streams: &Weak<Streams>, agent: &Agent) {
    let mut next = Instant::now();
    loop {
        next = (next + EVERY).max(Instant::now());
        while let Some(left) = next.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::sleep(left);
        }
        let Some(streams) = streams.upgrade() else { return };
        // Of what is not over yet the rest is still to come.
        send(&streams, agent, UnixNanos(now().0.saturating_sub(EVERY.as_nanos() as u64)));
    }
}

/// Sends what began before a time, or keeps it.
pub(super) fn send(streams: &Streams, agent: &Agent, before: UnixNanos) {
    let new = streams.take(before);
    let bodies = streams.take_kept().into_iter().chain(new.iter().map(wire::pipeline_stats::encode));
    for body in bodies {
        match post(agent, &body) {
            Ok(200..300) => {}
            Ok(status) => tracing::debug!("the agent does not take data streams: {status}"),
            Err(error) => {
                tracing::debug!("checkpoints of data streams were not sent: {error}");
                streams.keep(body);
            }
        }
    }
    let dropped = streams.take_dropped();
    if dropped > 0 {
        tracing::debug!("{dropped} checkpoints of data streams were dropped");
    }
}

/// Posts a body, and gives the status of the answer.
fn post(agent: &Agent, body: &[u8]) -> io::Result<u16> {
    let host = match agent {
        Agent::Tcp(host, port) => format!("{host}:{port}"),
        #[cfg(unix)]
        Agent::Unix(_) => "localhost".to_owned(),
    };
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/msgpack\r\nContent-Encoding: gzip\r\n\
         Content-Length: {}\r\nDatadog-Meta-Lang: rust\r\nDatadog-Meta-Tracer-Version: {}\r\nConnection: close\r\n\r\n",
        wire::pipeline_stats::PATH,
        body.len(),
        env!("CARGO_PKG_VERSION"),
    );
    let request = [head.as_bytes(), body].concat();
    match agent {
        Agent::Tcp(host, port) => {
            let mut addresses = (host.as_str(), *port).to_socket_addrs()?;
            let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(&mut stream, &request)
        }
        #[cfg(unix)]
        Agent::Unix(path) => {
            let mut stream = std::os::unix::net::UnixStream::connect(path)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(&mut stream, &request)
        }
    }
}

fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> io::Result<u16> {
    stream.write_all(request)?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let status = head.get(9..).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    status.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use model::PipelineStats;
    use streams::{Edge, Pathway};

    use super::*;

    fn counted() -> Streams {
        let streams = Streams::new(PipelineStats { service: "shop".into(), ..PipelineStats::default() });
        let at = UnixNanos::from_secs(1000);
        streams.count(&Pathway::new(at).pass(streams.node(), Edge::produce("sqs", "orders"), 1, at));
        streams
    }

    fn serve(listener: TcpListener, answer: &'static str) -> std::thread::JoinHandle<String> {
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
            while !String::from_utf8_lossy(&bytes).contains("topic:orders") {
                let n = stream.read(&mut part).unwrap();
                assert!(n > 0);
                bytes.extend_from_slice(&part[..n]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }

    #[test]
    fn what_is_counted_is_sent_once_it_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let agent = Agent::Tcp("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
        let streams = counted();
        // Still to come.
        send(&streams, &agent, UnixNanos::from_secs(1000));
        let served = serve(listener, "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
        send(&streams, &agent, UnixNanos::from_secs(1010));
        let request = served.join().unwrap();
        assert!(request.starts_with("POST /v0.1/pipeline_stats HTTP/1.1\r\n"), "{request}");
        // Nothing is left, and nobody listens any more.
        send(&streams, &agent, UnixNanos(u64::MAX));
        assert!(streams.take_kept().is_empty());
    }

    #[test]
    fn what_no_agent_takes_is_kept() {
        let streams = counted();
        let gone = Agent::Tcp("127.0.0.1".to_owned(), 1);
        send(&streams, &gone, UnixNanos(u64::MAX));
        let kept = streams.take_kept();
        assert_eq!(kept.len(), 1);
        kept.into_iter().for_each(|body| streams.keep(body));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let agent = Agent::Tcp("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
        let served = serve(listener, "HTTP/1.1 404 Not Found\r\n\r\n");
        send(&streams, &agent, UnixNanos(u64::MAX));
        served.join().unwrap();
        // An agent that is too old for it is asked once.
        assert!(streams.take_kept().is_empty());
    }
}
