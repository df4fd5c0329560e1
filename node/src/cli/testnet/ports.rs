//! The ports of a testnet: in steps from a base, or whatever is free.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;

use crate::exit::usage;

/// Between the ports of one node and those of the next.
const STEP: u16 = 10;

/// How often other free ports are tried before giving up.
const ATTEMPTS: usize = 100;

/// The lowest port that is taken for being free: below it the well-known ones are.
const FREE_FIRST: u16 = 10_000;

/// Where the system says which ports it gives to outgoing connections.
const OUTGOING_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// The lowest of them where it does not say.
const OUTGOING_FIRST: u16 = 32_768;

/// The two ports of a node. The peer-to-peer one is taken for TCP and for UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) p2p: u16,
    pub(super) rpc: u16,
}

/// Sockets that keep ports from being given to anybody else while more are looked for.
struct Held {
    ports: Ports,
    _sockets: (TcpListener, UdpSocket, TcpListener),
}

/// Ports for `count` nodes: from `base` in steps, all checked to be free; or free ones if it is 0.
pub(super) fn choose(count: usize, base: u16) -> anyhow::Result<Vec<Ports>> {
    if base != 0 {
        let ports: Vec<Ports> =
            (0..count).map(|index| stepped(base, index)).collect::<anyhow::Result<_>>()?;
        for ports in &ports {
            check_free(*ports)?;
        }
        return Ok(ports);
    }
    let outgoing = std::fs::read_to_string(OUTGOING_FILE).unwrap_or_default();
    let range = below(&outgoing);
    // All are held until all are found, so that none is found twice.
    let held: Vec<Held> = (0..count).map(|_| hold_free(&range)).collect::<anyhow::Result<_>>()?;
    Ok(held.iter().map(|held| held.ports).collect())
}

/// Fails, saying what to do, if a port of a node that is to be started is taken.
pub(super) fn check_free(ports: Ports) -> anyhow::Result<()> {
    for port in [ports.p2p, ports.rpc] {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| taken(port, &error))?;
    }
    UdpSocket::bind((Ipv4Addr::LOCALHOST, ports.p2p)).map_err(|error| taken(ports.p2p, &error))?;
    Ok(())
}

fn taken(port: u16, error: &std::io::Error) -> anyhow::Error {
    usage(format!(
        "port {port} of 127.0.0.1 cannot be used ({error}); stop what uses it (another testnet: `quorate testnet down \
         --dir DIR`), or make a testnet on free ports with `quorate testnet up --dir OTHER --base-port 0`"
    ))
}

fn stepped(base: u16, index: usize) -> anyhow::Result<Ports> {
    let step = |index: usize| -> Option<Ports> {
        let p2p = u16::try_from(index).ok()?.checked_mul(STEP)?.checked_add(base)?;
        Some(Ports { p2p, rpc: p2p.checked_add(1)? })
    };
    step(index).ok_or_else(|| usage(format!("--base-port {base}: node {index} would be beyond port 65535")))
}

/// The ports below those of outgoing connections: one of the latter could be gone before its node listens, or while the
/// node is stopped.
fn below(outgoing: &str) -> Range<u16> {
    let first = outgoing.split_whitespace().next().and_then(|port| port.parse().ok());
    let last = first.filter(|port| *port > 2 * FREE_FIRST).unwrap_or(OUTGOING_FIRST);
    FREE_FIRST..last
}

fn hold_free(range: &Range<u16>) -> anyhow::Result<Held> {
    let any = || -> anyhow::Result<u16> {
        let random = getrandom::u32()
            .map_err(|error| anyhow::anyhow!("this machine gives no random numbers: {error}"))?;
        let place = random % u32::try_from(range.len())?;
        Ok(range.start + u16::try_from(place)?)
    };
    for _ in 0..ATTEMPTS {
        let ports = Ports { p2p: any()?, rpc: any()? };
        let tcp = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        // QUIC listens at the same number as TCP.
        let quic = UdpSocket::bind((Ipv4Addr::LOCALHOST, ports.p2p));
        if let (Ok(p2p), Ok(quic), Ok(rpc)) = (tcp(ports.p2p), quic, tcp(ports.rpc)) {
            return Ok(Held { ports, _sockets: (p2p, quic, rpc) });
        }
    }
    Err(anyhow::anyhow!("no ports are free on 127.0.0.1; stop some programs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_step_by_ten_from_the_base() {
        assert_eq!(stepped(7_600, 0).expect("in range"), Ports { p2p: 7_600, rpc: 7_601 });
        assert_eq!(stepped(7_600, 3).expect("in range"), Ports { p2p: 7_630, rpc: 7_631 });
        assert_eq!(stepped(65_534, 0).expect("the last"), Ports { p2p: 65_534, rpc: 65_535 });
        assert!(stepped(65_535, 0).is_err());
        assert!(stepped(7_600, 7_000).is_err());
        assert!(stepped(7_600, usize::MAX).is_err());
    }

    #[test]
    fn free_ports_are_distinct_and_free() {
        let ports = choose(8, 0).expect("free ports");
        let mut numbers: Vec<u16> = ports.iter().flat_map(|ports| [ports.p2p, ports.rpc]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 16);
    }

    #[test]
    fn ports_of_outgoing_connections_are_left_to_them() {
        assert_eq!(below("32768\t60999\n"), 10_000..32_768);
        assert_eq!(below("40000 50000"), 10_000..40_000);
        assert_eq!(below("1024 65535"), 10_000..32_768, "there they are everywhere");
        assert_eq!(below(""), 10_000..32_768);
    }

    #[test]
    fn a_taken_port_is_refused_with_advice() {
        let held = hold_free(&below("")).expect("free ports");
        let error = check_free(held.ports).expect_err("held").to_string();
        assert!(error.contains(&held.ports.p2p.to_string()) && error.contains("--base-port 0"), "{error}");
    }
}
