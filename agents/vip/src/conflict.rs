//! Is an address in use by another station? Asked by ARP probes (RFC 5227) and by neighbour solicitations as in
//! duplicate address detection (RFC 4862), without claiming the address and without teaching the neighbours anything.
//!
//! What counts as a conflict is decided on parsed packets ([`in_arp`], [`in_ndp`]); [`Prober`] is the edge.
//! RFC 5227 lets a station wait up to a second at random before it probes, so that machines which boot together do not
//! probe together. In a failover every millisecond counts and there is one candidate, so there is no such wait.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::announce::announces;
use crate::frame::{Frame, Mac, Port, Protocol, Received};
use crate::wire::{self, Error, Socket};
use crate::{arp, ndp};

/// Probes per address (`PROBE_NUM` of RFC 5227).
const PROBES: u32 = 3;
/// Probes are at least this far apart, so a very short wait has fewer of them.
const MIN_SPACING: Duration = Duration::from_millis(10);
/// A longer wait than this only delays the failover.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Packets read from one socket before the others and the clock have their turn.
const PACKETS_PER_ROUND: usize = 256;

/// What another station does with the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// It has it.
    Uses,
    /// It probes for it at this moment, as we do.
    Probes,
}

/// A station that is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The address that both want.
    pub(crate) address: IpAddr,
    /// The interface on which the station was heard.
    pub(crate) interface: String,
    /// Its hardware address.
    pub(crate) mac: Mac,
    /// What it does.
    pub(crate) evidence: Evidence,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, interface, mac, evidence } = self;
        match evidence {
            Evidence::Uses => write!(f, "{address} is already in use by {mac} on {interface}"),
            Evidence::Probes => write!(f, "{mac} on {interface} is about to take {address} too"),
        }
    }
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nobody objected within the wait.
    Free,
    /// The first station that did.
    Owner(Conflict),
}

/// An address to be probed for on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// The link.
    pub(crate) port: Port,
    /// The address.
    pub(crate) address: IpAddr,
}

/// Who is in the way of `address`, by this ARP packet. `ours` are the hardware addresses of this machine: what they
/// send comes back through bridges and second interfaces, and is no conflict.
pub(crate) fn in_arp(
    packet: &arp::Packet,
    source: &Mac,
    address: Ipv4Addr,
    ours: &[Mac],
) -> Option<(Mac, Evidence)> {
    if ours.contains(&packet.sender_mac) || ours.contains(source) {
        return None;
    }
    let probes = packet.operation == arp::Operation::Request
        && packet.sender_ip.is_unspecified()
        && packet.target_ip == address;
    let evidence = if packet.sender_ip == address {
        Evidence::Uses
    } else if probes {
        Evidence::Probes
    } else {
        return None;
    };
    Some((packet.sender_mac.clone(), evidence))
}

/// The same for neighbour discovery. A probe does not name its sender, so the link header's `source` must.
pub(crate) fn in_ndp(
    packet: &ndp::Packet,
    source: &Mac,
    address: Ipv6Addr,
    ours: &[Mac],
) -> Option<(Mac, Evidence)> {
    let sender = packet.mac.as_ref().unwrap_or(source);
    if ours.contains(sender) || ours.contains(source) {
        return None;
    }
    let solicits = packet.kind == ndp::Kind::Solicitation;
    let evidence = if packet.source == address || !solicits && packet.target == address {
        Evidence::Uses
    } else if solicits && packet.source.is_unspecified() && packet.target == address {
        Evidence::Probes
    } else {
        return None;
    };
    Some((sender.clone(), evidence))
}

/// When the probes go out, counted from the beginning of the wait. They are spread so that after the last of them
/// there is as much time to listen as between any two.
fn probe_times(wait: Duration) -> impl Iterator<Item = Duration> {
    let probes = (wait.as_millis() / MIN_SPACING.as_millis()).clamp(1, PROBES.into()) as u32;
    let spacing = wait / probes;
    (0..probes).map(move |n| spacing * n)
}

/// The questions about one link in one address family, and the socket on which they are asked.
#[derive(Debug)]
struct Listener {
    socket: Socket,
    port: Port,
    protocol: Protocol,
    addresses: Vec<IpAddr>,
    probes: Vec<Frame>,
}

impl Listener {
    fn open(port: &Port, protocol: Protocol) -> Result<Self, Error> {
        let socket = Socket::open()?;
        socket.listen(port, protocol)?;
        // Owners answer probes to all nodes. The kernel is there already, unless IPv6 is off on this link.
        if let (Protocol::Ipv6, Some(group)) = (protocol, port.group_mac(ndp::ALL_NODES)) {
            socket.join(port, &group)?;
        }
        Ok(Self { socket, port: port.clone(), protocol, addresses: Vec::new(), probes: Vec::new() })
    }

    fn add(&mut self, address: IpAddr) -> Result<(), Error> {
        let (destination, payload) = match address {
            IpAddr::V4(address) => {
                (self.port.broadcast_mac.clone(), arp::Packet::probe(&self.port, address).encode())
            }
            IpAddr::V6(address) => {
                let probe = ndp::Packet::probe(address);
                // `announces` has vouched for the link's addresses: there is always one for a group.
                let group = self.port.group_mac(probe.destination).unwrap_or_default();
                // Other stations that probe for it send to the same group.
                self.socket.join(&self.port, &group)?;
                (group, probe.encode())
            }
        };
        self.probes.push(Frame { protocol: self.protocol, destination, payload });
        self.addresses.push(address);
        Ok(())
    }

    /// Judges one packet.
    fn judge(&self, received: &Received, ours: &[Mac]) -> Option<Conflict> {
        let Received { source, payload } = received;
        let found = match self.protocol {
            Protocol::Arp => {
                let packet = arp::Packet::parse(payload)?;
                self.first(|address| match address {
                    IpAddr::V4(address) => in_arp(&packet, source, address, ours),
                    IpAddr::V6(_) => None,
                })
            }
            Protocol::Ipv6 => {
                let packet = ndp::Packet::parse(payload)?;
                self.first(|address| match address {
                    IpAddr::V4(_) => None,
                    IpAddr::V6(address) => in_ndp(&packet, source, address, ours),
                })
            }
        };
        let (address, (mac, evidence)) = found?;
        Some(Conflict { address, interface: self.port.name.clone(), mac, evidence })
    }

    fn first<T>(&self, judge: impl Fn(IpAddr) -> Option<T>) -> Option<(IpAddr, T)> {
        self.addresses.iter().find_map(|&address| Some((address, judge(address)?)))
    }

    /// Judges what has arrived, as long as nothing speaks against an address. Stops after a while even if packets keep
    /// coming, since probes are due.
    fn hear(&self, ours: &[Mac]) -> Result<Option<Conflict>, Error> {
        for _ in 0..PACKETS_PER_ROUND {
            let Some(received) = self.socket.receive(&self.port)? else { break };
            if let Some(conflict) = self.judge(&received, ours) {
                return Ok(Some(conflict));
            }
        }
        Ok(None)
    }
}

/// Probes for any number of addresses at the same time.
///
/// Dropping it closes its sockets, which takes longer than one would think (see [`crate::wire`]); it may be kept
/// until nobody waits.
#[derive(Debug)]
pub(crate) struct Prober {
    listeners: Vec<Listener>,
    ours: Vec<Mac>,
}

impl Prober {
    /// Begins to listen; sends nothing yet. `ours` are the hardware addresses of all links of this machine (those of
    /// the questions are added). Links that do not announce have nobody to ask: questions about them are left out.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, or if a link is gone.
    pub(crate) fn open(questions: &[Question], ours: impl IntoIterator<Item = Mac>) -> Result<Self, Error> {
        let mut prober = Self { listeners: Vec::new(), ours: ours.into_iter().collect() };
        // Links without a hardware address would make every packet without one ours.
        prober.ours.retain(|mac| !mac.0.is_empty());
        for Question { port, address } in questions {
            if announces(port).is_err() {
                continue;
            }
            prober.ours.push(Mac(port.mac.clone()));
            let protocol = if address.is_ipv4() { Protocol::Arp } else { Protocol::Ipv6 };
            let same =
                |listener: &&mut Listener| listener.port.index == port.index && listener.protocol == protocol;
            match prober.listeners.iter_mut().find(same) {
                Some(listener) => listener.add(*address)?,
                None => {
                    let mut listener = Listener::open(port, protocol)?;
                    listener.add(*address)?;
                    prober.listeners.push(listener);
                }
            }
        }
        Ok(prober)
    }

    /// Probes for all addresses within one `wait` (at most a minute), listening all the time, and returns at the
    /// first sign of another station. Free means that the whole wait has passed, unless there was nobody to ask.
    ///
    /// A link without carrier cannot be told from one where nobody objects: look at the carrier first.
    ///
    /// # Errors
    /// If a link is down or goes down: then it is not known whether the address is free.
    pub(crate) fn run(&self, wait: Duration) -> Result<Verdict, Error> {
        if self.listeners.is_empty() {
            return Ok(Verdict::Free);
        }
        let wait = wait.min(MAX_WAIT);
        let start = Instant::now();
        let end = start + wait;
        let mut due = probe_times(wait).map(|offset| start + offset).peekable();
        loop {
            if due.next_if(|time| *time <= Instant::now()).is_some() {
                for listener in &self.listeners {
                    for probe in &listener.probes {
                        listener.socket.send(&listener.port, probe)?;
                    }
                }
            }
            let until = due.peek().copied().unwrap_or(end);
            wire::wait(self.listeners.iter().map(|listener| &listener.socket), until)?;
            for listener in &self.listeners {
                if let Some(conflict) = listener.hear(&self.ours)? {
                    return Ok(Verdict::Owner(conflict));
                }
            }
            if Instant::now() >= end {
                return Ok(Verdict::Free);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
    const SECOND: [u8; 6] = [2, 0, 0, 0, 0, 0x1a];
    const PEER: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];

    fn port(mac: &[u8]) -> Port {
        Port {
            index: 1,
            name: "eth0".into(),
            hardware_type: 1,
            mac: mac.to_vec(),
            broadcast_mac: vec![0xff; 6],
            loopback: false,
            point_to_point: false,
            no_arp: false,
        }
    }

    fn mac(bytes: &[u8]) -> Mac {
        Mac(bytes.to_vec())
    }

    #[test]
    fn arp_conflicts() {
        use Evidence::{Probes, Uses};
        let (ours, wanted, other) =
            ([mac(&OURS), mac(&SECOND)], Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let probe = arp::Packet::probe(&port(&PEER), wanted);
        let answer = arp::Packet {
            target_ip: Ipv4Addr::UNSPECIFIED,
            target_mac: mac(&OURS),
            ..arp::Packet::announce_by_reply(&port(&PEER), wanted)
        };
        for (name, packet, source, expected) in [
            ("its owner answers", answer, PEER, Some(Uses)),
            (
                "its owner announces it",
                arp::Packet::announce_by_request(&port(&PEER), wanted),
                PEER,
                Some(Uses),
            ),
            ("in the other form", arp::Packet::announce_by_reply(&port(&PEER), wanted), PEER, Some(Uses)),
            (
                "its owner asks for another",
                arp::Packet { target_ip: other, ..arp::Packet::announce_by_request(&port(&PEER), wanted) },
                PEER,
                Some(Uses),
            ),
            ("another station probes for it", probe.clone(), PEER, Some(Probes)),
            ("another station probes for another", arp::Packet::probe(&port(&PEER), other), PEER, None),
            ("a neighbour looks for it", arp::Packet { sender_ip: other, ..probe.clone() }, PEER, None),
            (
                "a reply without a sender address",
                arp::Packet { operation: arp::Operation::Reply, ..probe.clone() },
                PEER,
                None,
            ),
            (
                "another address is announced",
                arp::Packet::announce_by_request(&port(&PEER), other),
                PEER,
                None,
            ),
            ("our own probe comes back", arp::Packet::probe(&port(&OURS), wanted), OURS, None),
            ("by way of another station", arp::Packet::probe(&port(&OURS), wanted), PEER, None),
            (
                "our second interface answers",
                arp::Packet::announce_by_reply(&port(&SECOND), wanted),
                SECOND,
                None,
            ),
            ("our second interface sends another's packet", probe, SECOND, None),
        ] {
            let expected = expected.map(|evidence| (mac(&PEER), evidence));
            assert_eq!(in_arp(&packet, &mac(&source), wanted, &ours), expected, "{name}");
        }
    }

    #[test]
    fn ndp_conflicts() {
        use Evidence::{Probes, Uses};
        let ours = [mac(&OURS), mac(&SECOND)];
        let wanted: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let other: Ipv6Addr = "2001:db8::2".parse().unwrap();
        let announce = |from: &[u8], address| ndp::Packet::announce(&port(from), address, false);
        let question = ndp::Packet { source: other, mac: Some(mac(&PEER)), ..ndp::Packet::probe(wanted) };
        for (name, packet, source, expected) in [
            ("its owner answers", announce(&PEER, wanted), PEER, Some(Uses)),
            ("without naming itself", ndp::Packet { mac: None, ..announce(&PEER, wanted) }, PEER, Some(Uses)),
            ("for a proxy", ndp::Packet { source: other, ..announce(&PEER, wanted) }, SECOND, None),
            ("by a proxy", ndp::Packet { source: other, ..announce(&PEER, wanted) }, PEER, Some(Uses)),
            (
                "its owner asks for another",
                ndp::Packet { source: wanted, target: other, ..question.clone() },
                PEER,
                Some(Uses),
            ),
            ("another station probes for it", ndp::Packet::probe(wanted), PEER, Some(Probes)),
            ("another station probes for another", ndp::Packet::probe(other), PEER, None),
            ("a neighbour looks for it", question, PEER, None),
            ("another address is announced", announce(&PEER, other), PEER, None),
            ("our own probe comes back", ndp::Packet::probe(wanted), OURS, None),
            ("our second interface answers", announce(&SECOND, wanted), SECOND, None),
            ("by way of another station", announce(&SECOND, wanted), PEER, None),
        ] {
            let expected = expected.map(|evidence| (mac(&PEER), evidence));
            assert_eq!(in_ndp(&packet, &mac(&source), wanted, &ours), expected, "{name}");
        }
    }

    #[test]
    fn probes_are_spread_over_the_wait() {
        for (wait, expected) in
            [(0, &[0][..]), (9, &[0]), (20, &[0, 10]), (300, &[0, 100, 200]), (6000, &[0, 2000, 4000])]
        {
            let times: Vec<_> =
                probe_times(Duration::from_millis(wait)).map(|time| time.as_millis()).collect();
            assert_eq!(times, expected, "{wait} ms");
        }
    }

    #[test]
    fn conflicts_are_told_in_words() {
        let conflict = Conflict {
            address: "192.0.2.1".parse().unwrap(),
            interface: "eth0".into(),
            mac: mac(&PEER),
            evidence: Evidence::Uses,
        };
        assert_eq!(conflict.to_string(), "192.0.2.1 is already in use by 02:00:00:00:00:0b on eth0");
        let contender = Conflict { evidence: Evidence::Probes, ..conflict };
        assert_eq!(contender.to_string(), "02:00:00:00:00:0b on eth0 is about to take 192.0.2.1 too");
    }
}
