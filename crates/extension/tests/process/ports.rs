//! Free ports for one process, below those that the kernel gives to outgoing connections: one of the latter
//! could be taken between the look and the use.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) traces: u16,
    pub(crate) dogstatsd: u16,
    pub(crate) lifecycle: u16,
    pub(crate) telemetry: u16,
    /// Of the Runtime API proxy; listened on when a test says so.
    pub(crate) runtime: u16,
}

/// Where this process looks next.
static NEXT: AtomicU16 = AtomicU16::new(0);
const FIRST: u16 = 16_000;
const BLOCKS: u32 = 3000;

impl Ports {
    pub(crate) fn free() -> Self {
        // Test processes that run at the same time begin at different places.
        let begin = std::process::id().wrapping_mul(7919) % BLOCKS;
        for _ in 0..BLOCKS {
            let block = (begin + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % BLOCKS;
            let first = FIRST + u16::try_from(block).unwrap() * 4;
            let tcp = [0, 1, 2, 3].map(|n| TcpListener::bind(("127.0.0.1", first + n)));
            let udp = UdpSocket::bind(("127.0.0.1", first + 3));
            if tcp.iter().all(Result::is_ok) && udp.is_ok() {
                return Self {
                    traces: first,
                    lifecycle: first + 1,
                    telemetry: first + 2,
                    dogstatsd: first + 3,
                    runtime: first + 3,
                };
            }
        }
        panic!("no free ports from {FIRST}");
    }

    /// The settings that make the process listen there.
    pub(crate) fn variables(self) -> [(&'static str, String); 5] {
        [
            ("DD_APM_RECEIVER_PORT", self.traces.to_string()),
            ("DD_DOGSTATSD_PORT", self.dogstatsd.to_string()),
            ("DD_LAMBDA_LIFECYCLE_PORT", self.lifecycle.to_string()),
            ("DD_LAMBDA_TELEMETRY_PORT", self.telemetry.to_string()),
            ("DD_LAMBDA_RUNTIME_PROXY_PORT", self.runtime.to_string()),
        ]
    }
}
