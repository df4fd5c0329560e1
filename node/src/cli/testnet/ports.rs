//! The ports of a testnet: in steps from a base, or whatever is free.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::exit::usage;

/// Between the ports of one node and those of the next.
const STEP: u16 = 10;

/// How often other free ports are tried before giving up.
const ATTEMPTS: usize = 100;

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
    // All are held until all are found: the system does not give out the same one twice.
    let held: Vec<Held> = (0..count).map(|_| hold_free()).collect::<anyhow::Result<_>>()?;
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

fn hold_free() -> anyhow::Result<Held> {
    let any = (Ipv4Addr::LOCALHOST, 0);
    for _ in 0..ATTEMPTS {
        let p2p = TcpListener::bind(any)?;
        let rpc = TcpListener::bind(any)?;
        let ports = Ports { p2p: p2p.local_addr()?.port(), rpc: rpc.local_addr()?.port() };
        // QUIC listens at the same number; that UDP port may be another program's.
        if let Ok(quic) = UdpSocket::bind((Ipv4Addr::LOCALHOST, ports.p2p)) {
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
    fn a_taken_port_is_refused_with_advice() {
        let held = hold_free().expect("free ports");
        let error = check_free(held.ports).expect_err("held").to_string();
        assert!(error.contains(&held.ports.p2p.to_string()) && error.contains("--base-port 0"), "{error}");
    }
}
