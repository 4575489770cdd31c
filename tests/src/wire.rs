//! The few frames that the client's measurement sends and understands: ARP, neighbour discovery, echo. Pure: bytes in,
//! data out. Broken frames are no frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ethernet types.
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// IP protocols.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// ICMP and ICMPv6 types.
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// A frame by which somebody shows that it has the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Whose hardware address it names.
    pub(crate) mac: [u8; 6],
    /// The identifier and the number of an echo reply; `None` for ARP and neighbour advertisements.
    pub(crate) echo: Option<(u16, u64)>,
}

/// "Who has `target`?", broadcast from `mac` as from `ip`.
pub(crate) fn arp_request(mac: [u8; 6], ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet([0xff; 6], mac, ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(ip.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// "Who has `target`?" for IPv6, from `mac` and its link-local address to the target's solicited-node group.
pub(crate) fn neighbour_solicitation(mac: [u8; 6], target: Ipv6Addr) -> Vec<u8> {
    let [.., high, middle, low] = target.octets();
    let group =
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(high), u16::from_be_bytes([middle, low]));
    let [a, b, c, d, e, f] = mac;
    let pair = |high, low| u16::from_be_bytes([high, low]);
    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f));

    let mut message = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend([1, 1]);
    message.extend(mac);
    let mut pseudo = [source.octets(), group.octets()].concat();
    pseudo.extend([0, 0, 0, u8::try_from(message.len()).unwrap_or(0), 0, 0, 0, ICMPV6]);
    pseudo.extend(&message);
    put(&mut message, 2, checksum(&pseudo));

    let mut frame = ethernet([0x33, 0x33, 0xff, high, middle, low], mac, IPV6);
    frame.extend([0x60, 0, 0, 0, 0, u8::try_from(message.len()).unwrap_or(0), ICMPV6, 255]);
    frame.extend(source.octets());
    frame.extend(group.octets());
    frame.extend(message);
    frame
}

/// An echo request's ICMP message, of the family of `target`; `number` goes and comes in its data.
pub(crate) fn echo_request(target: IpAddr, identifier: u16, number: u64) -> Vec<u8> {
    let kind = if target.is_ipv4() { ECHO_REQUEST } else { ECHO_REQUEST_V6 };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend([0, 0]);
    message.extend(number.to_be_bytes());
    if target.is_ipv4() {
        let sum = checksum(&message);
        put(&mut message, 2, sum);
    } // For IPv6 the kernel fills it in.
    message
}

/// Who shows by `frame` that it has `target`, if anybody does.
pub(crate) fn parse(frame: &[u8], target: IpAddr) -> Option<Heard> {
    let source = array(frame, 6)?;
    let payload = frame.get(14..)?;
    match (array(frame, 12)?, target) {
        (ARP, IpAddr::V4(target)) => {
            // Requests too: their sender claims its address just the same.
            let says = array::<4>(payload, 14)? == target.octets();
            says.then_some(Heard { mac: array(payload, 8)?, echo: None })
        }
        (IPV4, IpAddr::V4(target)) => {
            let header = usize::from(payload.first()? & 0xf) * 4;
            let message = payload.get(header..)?;
            let says = *payload.get(9)? == ICMP && array::<4>(payload, 12)? == target.octets();
            (says && *message.first()? == ECHO_REPLY)
                .then_some(Heard { mac: source, echo: Some(echo(message)?) })
        }
        (IPV6, IpAddr::V6(target)) if *payload.get(6)? == ICMPV6 => {
            let message = payload.get(40..)?;
            match *message.first()? {
                ECHO_REPLY_V6 if array::<16>(payload, 8)? == target.octets() => {
                    Some(Heard { mac: source, echo: Some(echo(message)?) })
                }
                NEIGHBOUR_ADVERTISEMENT if array::<16>(message, 8)? == target.octets() => {
                    Some(Heard { mac: source, echo: None })
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Identifier and number of an echo reply.
fn echo(message: &[u8]) -> Option<(u16, u64)> {
    Some((u16::from_be_bytes(array(message, 4)?), u64::from_be_bytes(array(message, 8)?)))
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: [u8; 2]) -> Vec<u8> {
    [to.as_slice(), &from, &kind].concat()
}

/// The internet checksum.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|chunk| match *chunk {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}

fn put(bytes: &mut [u8], at: usize, value: [u8; 2]) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value);
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0x77, 0, 0, 0, 9];
    const V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

    #[test]
    fn an_arp_sender_claims_its_address() {
        let frame = arp_request(MAC, V4, Ipv4Addr::new(10, 77, 0, 1));
        assert_eq!(frame.len(), 42);
        assert_eq!(parse(&frame, V4.into()), Some(Heard { mac: MAC, echo: None }));
        assert_eq!(parse(&frame, IpAddr::from([10, 77, 0, 1])), None, "being asked for is no claim");
    }

    #[test]
    fn an_echo_reply_brings_its_number_back() {
        let mut message = echo_request(V4.into(), 7, 0x0102_0304_0506);
        assert_eq!(checksum(&message), [0, 0], "a right checksum sums up to nothing");
        message[0] = ECHO_REPLY;
        let mut frame = ethernet([0; 6], MAC, IPV4);
        frame.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, ICMP, 0, 0]);
        frame.extend(V4.octets());
        frame.extend([10, 77, 0, 250]);
        frame.extend(message);
        assert_eq!(parse(&frame, V4.into()), Some(Heard { mac: MAC, echo: Some((7, 0x0102_0304_0506)) }));
        for length in 0..frame.len() {
            assert_eq!(parse(&frame[..length], V4.into()), None, "cut at {length}");
        }
    }

    #[test]
    fn a_solicitation_is_what_ipv6_expects() {
        let target = "fd77::64".parse().unwrap();
        let frame = neighbour_solicitation(MAC, target);
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0, 0, 0x64]);
        assert_eq!(frame[22..38], "fe80::77:ff:fe00:9".parse::<Ipv6Addr>().unwrap().octets());
        let mut pseudo = frame[22..54].to_vec();
        pseudo.extend([0, 0, 0, 32, 0, 0, 0, ICMPV6]);
        pseudo.extend(&frame[54..]);
        assert_eq!(checksum(&pseudo), [0, 0]);
        assert_eq!(parse(&frame, target.into()), None);
    }
}
