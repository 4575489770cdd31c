//! Neighbour discovery (RFC 4861): solicitations and advertisements, with the IPv6 and ICMPv6 headers around them,
//! bytes to typed data and back.

use std::net::Ipv6Addr;

use crate::frame::{Mac, Port};

/// All nodes of the link.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Next header: ICMPv6.
pub(crate) const ICMPV6: u8 = 58;
/// ICMPv6 type of a neighbour solicitation.
pub(crate) const SOLICITATION: u8 = 135;
/// ICMPv6 type of a neighbour advertisement.
pub(crate) const ADVERTISEMENT: u8 = 136;
/// Bytes of an IPv6 header.
pub(crate) const IPV6_HEADER: usize = 40;

/// A router would have counted it down: a packet that still has it comes from this link.
const HOP_LIMIT: u8 = 255;
/// Type, code, checksum, flags, target.
const MESSAGE: usize = 24;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// The group in which the owner of an address hears solicitations for it (RFC 4291 section 2.7.1).
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// A neighbour solicitation or advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Address of the sender; `::` while it probes for an address that it does not have yet.
    pub(crate) source: Ipv6Addr,
    /// Address or group that it is sent to.
    pub(crate) destination: Ipv6Addr,
    /// The address that is asked for or claimed.
    pub(crate) target: Ipv6Addr,
    /// Which of the two.
    pub(crate) kind: Kind,
    /// The link-layer address option: the sender's in a solicitation, the target's in an advertisement.
    pub(crate) mac: Option<Mac>,
}

/// Solicitation or advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Who has the target?
    Solicitation,
    /// The target is here.
    Advertisement {
        /// The sender forwards packets. Neighbours that had it as a router and see this unset drop it as one.
        router: bool,
        /// It answers a solicitation.
        solicited: bool,
        /// Neighbours that know another hardware address shall take this one.
        overrides: bool,
    },
}

impl Packet {
    /// An unsolicited advertisement (RFC 4861 section 7.2.6): all nodes learn that `address` is
    /// at the hardware address of `port`.
    pub(crate) fn announce(port: &Port, address: Ipv6Addr, router: bool) -> Self {
        Self {
            source: address,
            destination: ALL_NODES,
            target: address,
            kind: Kind::Advertisement { router, solicited: false, overrides: true },
            mac: Some(Mac(port.mac.clone())),
        }
    }

    /// A solicitation as duplicate address detection sends it (RFC 4862 section 5.4.2): it claims nothing, and its
    /// answer goes to all nodes.
    pub(crate) fn probe(address: Ipv6Addr) -> Self {
        Self {
            source: Ipv6Addr::UNSPECIFIED,
            destination: solicited_node(address),
            target: address,
            kind: Kind::Solicitation,
            mac: None,
        }
    }

    /// The packet as bytes, IPv6 header included.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, flags, option) = match self.kind {
            Kind::Solicitation => (SOLICITATION, 0, SOURCE_LINK_ADDRESS),
            Kind::Advertisement { router, solicited, overrides } => {
                let flag = |set, bit| if set { bit } else { 0 };
                let flags = flag(router, ROUTER) | flag(solicited, SOLICITED) | flag(overrides, OVERRIDE);
                (ADVERTISEMENT, flags, TARGET_LINK_ADDRESS)
            }
        };
        let mut message = vec![kind, 0, 0, 0, flags, 0, 0, 0];
        message.extend(self.target.octets());
        if let Some(mac) = &self.mac {
            message.extend(link_address_option(option, mac));
        }
        let sum = checksum(self.source, self.destination, &message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);

        let mut packet = vec![0x60, 0, 0, 0];
        // At most 24 bytes and an option of 40.
        packet.extend((message.len() as u16).to_be_bytes());
        packet.extend([ICMPV6, HOP_LIMIT]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(message);
        packet
    }

    /// Reads a packet and validates it as RFC 4861 section 7.1 demands; `None` for anything else, and for packets
    /// with extension headers, which no implementation sends. Padding behind the packet is ignored.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, payload) = bytes.split_first_chunk::<IPV6_HEADER>()?;
        if header[0] >> 4 != 6 || header[6] != ICMPV6 || header[7] != HOP_LIMIT {
            return None;
        }
        let message = payload.get(..usize::from(u16::from_be_bytes([header[4], header[5]])))?;
        let source = address(&header[8..])?;
        let destination = address(&header[24..])?;
        let (fixed, options) = message.split_first_chunk::<MESSAGE>()?;
        let target = address(&fixed[8..])?;
        if source.is_multicast() || target.is_multicast() || fixed[1] != 0 {
            return None;
        }
        // Over the whole, the transmitted sum makes the computed one zero.
        if checksum(source, destination, message) != 0 {
            return None;
        }
        let (kind, wanted) = match fixed[0] {
            SOLICITATION => (Kind::Solicitation, SOURCE_LINK_ADDRESS),
            ADVERTISEMENT => {
                let set = |bit| fixed[4] & bit != 0;
                let (router, solicited, overrides) = (set(ROUTER), set(SOLICITED), set(OVERRIDE));
                if solicited && destination.is_multicast() {
                    return None;
                }
                (Kind::Advertisement { router, solicited, overrides }, TARGET_LINK_ADDRESS)
            }
            _ => return None,
        };
        let mac = find_link_address(options, wanted)?;
        let probe = kind == Kind::Solicitation && source.is_unspecified();
        if probe && (mac.is_some() || !is_solicited_node(destination)) {
            return None;
        }
        Some(Self { source, destination, target, kind, mac })
    }
}

fn address(bytes: &[u8]) -> Option<Ipv6Addr> {
    bytes.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets))
}

fn is_solicited_node(group: Ipv6Addr) -> bool {
    group == solicited_node(group)
}

/// Option lengths count units of eight bytes. An Ethernet address fills one; an InfiniBand address has two reserved
/// bytes before it and fills three (RFC 4391 section 9.3).
fn link_address_option(kind: u8, Mac(mac): &Mac) -> Vec<u8> {
    let reserved = if mac.len() == 20 { 2 } else { 0 };
    let units = (2 + reserved + mac.len()).div_ceil(8);
    let mut option = vec![kind, units as u8];
    option.resize(2 + reserved, 0);
    option.extend(mac);
    option.resize(units * 8, 0);
    option
}

/// The link-layer address among the options. The outer `None` means that the options are malformed, which makes the
/// whole packet invalid.
fn find_link_address(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        if units == 0 {
            return None;
        }
        let (option, rest) = options.split_at_checked(usize::from(units) * 8)?;
        if kind == wanted && found.is_none() {
            found = match units {
                1 => Some(Mac(option[2..].to_vec())),
                3 => Some(Mac(option[4..].to_vec())),
                _ => None,
            };
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}

/// The Internet checksum over the IPv6 pseudo-header and the message (RFC 8200 section 8.1).
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u64 {
        bytes
            .chunks(2)
            .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
            .sum()
    };
    let mut sum = words(&source.octets()) + words(&destination.octets()) + words(message);
    sum += message.len() as u64 + u64::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn port(mac: &[u8]) -> Port {
        Port {
            index: 1,
            name: "eth0".into(),
            hardware_type: if mac.len() == 20 { 32 } else { 1 },
            mac: mac.to_vec(),
            broadcast_mac: vec![0xff; mac.len()],
            loopback: false,
            point_to_point: false,
            no_arp: false,
        }
    }

    /// Linux 6.18 probing for 2001:db8::1 (with a nonce option, RFC 7527).
    const KERNEL_PROBE: &str = "6000 0000 0020 3aff 0000 0000 0000 0000 0000 0000 0000 0000
        ff02 0000 0000 0000 0000 0001 ff00 0001 8700 1b71 0000 0000
        2001 0db8 0000 0000 0000 0000 0000 0001 0e01 bcc3 5700 0faf";
    /// Its owner's answer, which is the same as the kernel's announcement with `ndisc_notify`.
    const KERNEL_DEFENCE: &str = "6000 0000 0020 3aff 2001 0db8 0000 0000 0000 0000 0000 0001
        ff02 0000 0000 0000 0000 0000 0000 0001 8800 f91f 2000 0000
        2001 0db8 0000 0000 0000 0000 0000 0001 0201 0200 0000 000c";
    const KERNEL_QUESTION: &str = "6000 0000 0020 3aff 2001 0db8 0000 0000 0000 0000 0000 0002
        ff02 0000 0000 0000 0000 0001 ff00 0001 8700 1c1f 0000 0000
        2001 0db8 0000 0000 0000 0000 0000 0001 0101 0200 0000 000a";
    const KERNEL_ANSWER: &str = "6000 0000 0020 3aff 2001 0db8 0000 0000 0000 0000 0000 0001
        2001 0db8 0000 0000 0000 0000 0000 0002 8800 8a68 6000 0000
        2001 0db8 0000 0000 0000 0000 0000 0001 0201 0200 0000 000c";

    /// Captured with tcpdump on a veth pair between two network namespaces.
    #[test]
    fn recorded_packets_are_understood() {
        let (one, two) = (ip("2001:db8::1"), ip("2001:db8::2"));
        let owner = Some(Mac(vec![2, 0, 0, 0, 0, 0x0c]));
        let advertisement = |solicited| Kind::Advertisement { router: false, solicited, overrides: true };
        for (name, hex, expected) in [
            ("probe", KERNEL_PROBE, Packet::probe(one)),
            (
                "defence",
                KERNEL_DEFENCE,
                Packet {
                    source: one,
                    destination: ALL_NODES,
                    target: one,
                    kind: advertisement(false),
                    mac: owner.clone(),
                },
            ),
            (
                "question",
                KERNEL_QUESTION,
                Packet {
                    source: two,
                    destination: ip("ff02::1:ff00:1"),
                    target: one,
                    kind: Kind::Solicitation,
                    mac: Some(Mac(vec![2, 0, 0, 0, 0, 0x0a])),
                },
            ),
            (
                "answer",
                KERNEL_ANSWER,
                Packet { source: one, destination: two, target: one, kind: advertisement(true), mac: owner },
            ),
        ] {
            let recorded = bytes(hex);
            assert_eq!(Packet::parse(&recorded).as_ref(), Some(&expected), "{name}");
            let padded = [&recorded[..], &[0; 9]].concat();
            assert_eq!(Packet::parse(&padded), Some(expected.clone()), "{name}, padded");
            for end in 0..recorded.len() {
                assert_eq!(Packet::parse(&recorded[..end]), None, "{name}, cut to {end} bytes");
            }
            if name != "probe" {
                assert_eq!(expected.encode(), recorded, "{name}");
            }
        }
    }

    #[test]
    fn an_announcement_is_what_the_kernel_sends() {
        let port = port(&[2, 0, 0, 0, 0, 0x0c]);
        let packet = Packet::announce(&port, ip("2001:db8::1"), false);
        assert_eq!(packet.encode(), bytes(KERNEL_DEFENCE));
        let router = Packet::announce(&port, ip("2001:db8::1"), true).encode();
        assert_eq!(router[44], 0xa0);
    }

    #[test]
    fn infiniband_addresses_have_reserved_bytes_before_them() {
        let mac: Vec<u8> = (1..=20).collect();
        let packet = Packet::announce(&port(&mac), ip("2001:db8::1"), false);
        let encoded = packet.encode();
        assert_eq!(encoded[64..], [&[2, 3, 0, 0][..], &mac].concat());
        assert_eq!(Packet::parse(&encoded), Some(packet));
    }

    #[test]
    fn solicited_node_groups() {
        assert_eq!(solicited_node(ip("2001:db8::12:3456:789a")), ip("ff02::1:ff56:789a"));
        assert!(is_solicited_node(ip("ff02::1:ff00:1")));
        assert!(!is_solicited_node(ALL_NODES));
    }

    /// Changes bytes of a valid packet, and makes the checksum right again.
    fn changed(hex: &str, changes: &[(usize, u8)]) -> Vec<u8> {
        let mut packet = bytes(hex);
        for (position, value) in changes {
            packet[*position] = *value;
        }
        packet[42..44].fill(0);
        let (source, destination) = (address(&packet[8..]).unwrap(), address(&packet[24..]).unwrap());
        let sum = checksum(source, destination, &packet[40..]).to_be_bytes();
        packet[42..44].copy_from_slice(&sum);
        packet
    }

    #[test]
    fn invalid_packets_are_refused() {
        for (name, hex, changes) in [
            ("IPv4", KERNEL_DEFENCE, &[(0, 0x45)][..]),
            ("UDP", KERNEL_DEFENCE, &[(6, 17)]),
            ("came through a router", KERNEL_DEFENCE, &[(7, 254)]),
            ("other ICMPv6 type", KERNEL_DEFENCE, &[(40, 134)]),
            ("code", KERNEL_DEFENCE, &[(41, 1)]),
            ("solicited, to a group", KERNEL_DEFENCE, &[(44, 0x60)]),
            ("group as target", KERNEL_DEFENCE, &[(48, 0xff)]),
            ("group as source", KERNEL_DEFENCE, &[(8, 0xff)]),
            ("empty option", KERNEL_DEFENCE, &[(65, 0)]),
            ("option beyond the end", KERNEL_DEFENCE, &[(65, 2)]),
            ("probe to all nodes", KERNEL_PROBE, &[(35, 0), (36, 0)]),
            ("probe that names its sender", KERNEL_PROBE, &[(64, 1)]),
        ] {
            assert_eq!(Packet::parse(&changed(hex, changes)), None, "{name}");
        }
        for hex in [KERNEL_PROBE, KERNEL_DEFENCE] {
            assert!(Packet::parse(&changed(hex, &[])).is_some());
            let mut damaged = bytes(hex);
            damaged[71] ^= 1;
            assert_eq!(Packet::parse(&damaged), None, "checksum");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..120),
            tail in proptest::collection::vec(any::<u8>(), 0..60),
            kind in SOLICITATION..=ADVERTISEMENT,
        ) {
            let _ = Packet::parse(&bytes);
            let _ = find_link_address(&bytes, SOURCE_LINK_ADDRESS);
            // With the outer layers right, so that the options are reached.
            let length = (MESSAGE + tail.len()) as u8;
            let mut packet = vec![0x60, 0, 0, 0, 0, length, ICMPV6, HOP_LIMIT];
            packet.extend(ip("fe80::1").octets());
            packet.extend(ip("ff02::1:ff00:1").octets());
            packet.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
            packet.extend(ip("fe80::1").octets());
            packet.extend(tail);
            let sum = checksum(ip("fe80::1"), ip("ff02::1:ff00:1"), &packet[40..]).to_be_bytes();
            packet[42..44].copy_from_slice(&sum);
            let _ = Packet::parse(&packet);
        }

        #[test]
        fn what_is_encoded_is_parsed(
            ips in any::<[[u8; 16]; 3]>(),
            flags in any::<[bool; 3]>(),
            advertises in any::<bool>(),
            long in any::<bool>(),
            mac in proptest::option::of(any::<[u8; 20]>()),
        ) {
            let [mut source, mut destination, mut target] = ips;
            for address in [&mut source, &mut destination, &mut target] {
                address[0] &= 0x3f;
                address[1] |= 1;
            }
            let [router, solicited, overrides] = flags;
            let packet = Packet {
                source: source.into(),
                destination: destination.into(),
                target: target.into(),
                kind: if advertises { Kind::Advertisement { router, solicited, overrides } } else { Kind::Solicitation },
                mac: mac.map(|mac| Mac(mac[..if long { 20 } else { 6 }].to_vec())),
            };
            let encoded = packet.encode();
            prop_assert_eq!(checksum(packet.source, packet.destination, &encoded[40..]), 0);
            prop_assert_eq!(Packet::parse(&encoded), Some(packet));
        }

        #[test]
        fn one_wrong_bit_in_a_message_is_noticed(position in 40_usize..72, bit in 0..8_u8) {
            let mut packet = bytes(KERNEL_DEFENCE);
            packet[position] ^= 1_u8 << bit;
            prop_assert_eq!(Packet::parse(&packet), None);
        }
    }
}
