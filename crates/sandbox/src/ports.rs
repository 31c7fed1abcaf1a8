//! Ports of one sandbox. The extension and the tracers have fixed ones in Lambda, where every environment has a
//! network of its own; here each sandbox takes a block of its own, held by the listener of its API, which is the
//! first port of the block.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::ids;

const BLOCK: u16 = 8;
const ATTEMPTS: u32 = 200;
/// Where to look when the kernel's own range leaves room below it.
const LOWEST: u16 = 12_000;

/// Settings that move the fixed ports, by the offset in the block. The trace agent's has two names.
/// <https://docs.datadoghq.com/agent/configuration/network/>
pub(crate) const SETTINGS: [(&str, u16); 6] = [
    ("DD_APM_RECEIVER_PORT", 1),
    ("DD_TRACE_AGENT_PORT", 1),
    ("DD_DOGSTATSD_PORT", 2),
    ("DD_LAMBDA_LIFECYCLE_PORT", 3),
    ("DD_LAMBDA_TELEMETRY_PORT", 4),
    ("DD_LAMBDA_RUNTIME_PROXY_PORT", 5),
];

#[derive(Debug)]
pub(crate) struct PortBlock {
    pub(crate) listener: TcpListener,
    pub(crate) first: u16,
}

impl PortBlock {
    /// Takes a free block outside the range from which the kernel gives out ports by itself.
    pub(crate) fn take() -> io::Result<Self> {
        let (low, high) = ephemeral();
        let (from, to) = if low > LOWEST + 1000 { (LOWEST, low) } else { (high, u16::MAX) };
        let blocks = to.saturating_sub(from) / BLOCK;
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..ATTEMPTS {
            match Self::at(from + ids::below(blocks) * BLOCK) {
                Ok(block) => return Ok(block),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn at(first: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first))?;
        for offset in 1..BLOCK {
            let port = first.checked_add(offset).ok_or(io::ErrorKind::AddrNotAvailable)?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
            UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
        }
        Ok(Self { listener, first })
    }
}

/// The kernel's range of ports for outgoing connections.
fn ephemeral() -> (u16, u16) {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().filter_map(|n| n.parse().ok());
    (ends.next().unwrap_or(32_768), ends.next().unwrap_or(60_999))
}

#[cfg(test)]
mod tests {
    use super::PortBlock;

    #[test]
    fn blocks_do_not_overlap() {
        let blocks: Vec<PortBlock> = (0..20).map(|_| PortBlock::take().unwrap()).collect();
        let mut firsts: Vec<u16> = blocks.iter().map(|b| b.first).collect();
        firsts.sort_unstable();
        assert!(firsts.windows(2).all(|w| w[1] - w[0] >= 8), "{firsts:?}");
        assert!(PortBlock::at(firsts[0]).is_err());
    }
}
