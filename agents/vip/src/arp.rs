//! ARP packets (RFC 826; probes and announcements as in RFC 5227): bytes to typed data and back. Ethernet and
//! InfiniBand (RFC 4391) differ only in the length of their hardware addresses.

use std::net::Ipv4Addr;

use crate::frame::{LinkType, Mac, Port};

/// `ETHERTYPE_IP`: the protocol whose addresses are resolved.
const IPV4: u16 = 0x0800;
/// Hardware type of IEEE 802 networks other than Ethernet proper; stations that use it mean Ethernet (RFC 1042).
const IEEE_802: u16 = 6;
/// Bytes before the addresses.
const HEADER: usize = 8;

/// What an ARP packet asks or tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Who has the target address?
    Request,
    /// The sender address is at the sender's hardware address.
    Reply,
}

/// An ARP packet for IPv4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Hardware type, which fixes the length of the hardware addresses.
    pub(crate) hardware_type: u16,
    /// Request or reply.
    pub(crate) operation: Operation,
    /// Who sends it.
    pub(crate) sender_mac: Mac,
    /// The sender's address: every station that hears it may learn that it belongs to `sender_mac`.
    /// 0.0.0.0 in probes, so that they teach nobody anything.
    pub(crate) sender_ip: Ipv4Addr,
    /// Who is meant; nothing in a request.
    pub(crate) target_mac: Mac,
    /// The address that is asked for.
    pub(crate) target_ip: Ipv4Addr,
}

impl Packet {
    /// A probe (RFC 5227 section 2.1.1): asks for an address without claiming it.
    pub(crate) fn probe(port: &Port, address: Ipv4Addr) -> Self {
        Self { sender_ip: Ipv4Addr::UNSPECIFIED, ..Self::announce_by_request(port, address) }
    }

    /// A gratuitous ARP as a request (the announcement of RFC 5227 section 2.3).
    pub(crate) fn announce_by_request(port: &Port, address: Ipv4Addr) -> Self {
        Self {
            hardware_type: port.hardware_type,
            operation: Operation::Request,
            sender_mac: Mac(port.mac.clone()),
            sender_ip: address,
            target_mac: Mac(vec![0; port.mac.len()]),
            target_ip: address,
        }
    }

    /// A gratuitous ARP as a reply, for the stations that heed only those. Its target is the sender itself
    /// (RFC 5944 section 4.6): the Linux kernel does not take it as gratuitous otherwise, and may ignore it.
    pub(crate) fn announce_by_reply(port: &Port, address: Ipv4Addr) -> Self {
        Self {
            operation: Operation::Reply,
            target_mac: Mac(port.mac.clone()),
            ..Self::announce_by_request(port, address)
        }
    }

    /// The packet as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        // Hardware addresses have at most 32 bytes (MAX_ADDR_LEN in the kernel), so the length fits its byte.
        let lengths = [self.sender_mac.0.len() as u8, 4];
        [
            &self.hardware_type.to_be_bytes()[..],
            &IPV4.to_be_bytes(),
            &lengths,
            &operation.to_be_bytes(),
            &self.sender_mac.0,
            &self.sender_ip.octets(),
            &self.target_mac.0,
            &self.target_ip.octets(),
        ]
        .concat()
    }

    /// Reads a packet. `None` if it is cut short, is for another protocol than IPv4 or another kind of link, or
    /// asks for something else than an address (RARP, InARP). Padding behind it is ignored.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, addresses) = bytes.split_at_checked(HEADER)?;
        let hardware_type = u16::from_be_bytes([header[0], header[1]]);
        let link_type = match hardware_type {
            LinkType::ETHERNET | IEEE_802 => LinkType::Ethernet,
            LinkType::INFINIBAND => LinkType::Infiniband,
            _ => return None,
        };
        let length = link_type.address_length();
        if header[2..4] != IPV4.to_be_bytes() || usize::from(header[4]) != length || header[5] != 4 {
            return None;
        }
        let operation = match header[6..8] {
            [0, 1] => Operation::Request,
            [0, 2] => Operation::Reply,
            _ => return None,
        };
        let (sender_mac, rest) = addresses.split_at_checked(length)?;
        let (sender_ip, rest) = rest.split_first_chunk::<4>()?;
        let (target_mac, rest) = rest.split_at_checked(length)?;
        let (target_ip, _padding) = rest.split_first_chunk::<4>()?;
        Some(Self {
            hardware_type,
            operation,
            sender_mac: Mac(sender_mac.to_vec()),
            sender_ip: (*sender_ip).into(),
            target_mac: Mac(target_mac.to_vec()),
            target_ip: (*target_ip).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];

    fn port(hardware_type: u16, mac: &[u8]) -> Port {
        Port {
            index: 1,
            name: "eth0".into(),
            hardware_type,
            mac: mac.to_vec(),
            broadcast_mac: vec![0xff; mac.len()],
            loopback: false,
            point_to_point: false,
            no_arp: false,
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn packet(operation: Operation, sender: (&[u8], &str), target: (&[u8], &str)) -> Packet {
        Packet {
            hardware_type: 1,
            operation,
            sender_mac: Mac(sender.0.to_vec()),
            sender_ip: sender.1.parse().unwrap(),
            target_mac: Mac(target.0.to_vec()),
            target_ip: target.1.parse().unwrap(),
        }
    }

    /// Captured with tcpdump on a veth pair between two network namespaces: iputils arping 20221126, Linux 6.18.
    #[test]
    fn recorded_packets_are_understood() {
        use Operation::{Reply, Request};
        let peer = [2, 0, 0, 0, 0, 0x0b];
        for (name, hex, expected) in [
            (
                "arping -U",
                "0001 0800 0604 0001 0200 0000 000a c000 0202 ffff ffff ffff c000 0202",
                packet(Request, (&OURS, "192.0.2.2"), (&[0xff; 6], "192.0.2.2")),
            ),
            (
                "arping -A",
                "0001 0800 0604 0002 0200 0000 000a c000 0202 0200 0000 000a c000 0202",
                packet(Reply, (&OURS, "192.0.2.2"), (&OURS, "192.0.2.2")),
            ),
            (
                "arping -D",
                "0001 0800 0604 0001 0200 0000 000a 0000 0000 ffff ffff ffff c000 0201",
                packet(Request, (&OURS, "0.0.0.0"), (&[0xff; 6], "192.0.2.1")),
            ),
            (
                "the kernel's answer to a probe",
                "0001 0800 0604 0002 0200 0000 000b c000 0201 0200 0000 000a 0000 0000",
                packet(Reply, (&peer, "192.0.2.1"), (&OURS, "0.0.0.0")),
            ),
            (
                "the kernel's answer to a request",
                "0001 0800 0604 0002 0200 0000 000b c000 0201 0200 0000 000a c000 0202",
                packet(Reply, (&peer, "192.0.2.1"), (&OURS, "192.0.2.2")),
            ),
        ] {
            let recorded = bytes(hex);
            assert_eq!(Packet::parse(&recorded).as_ref(), Some(&expected), "{name}");
            assert_eq!(expected.encode(), recorded, "{name}");
            let padded = [&recorded[..], &[0; 18]].concat();
            assert_eq!(Packet::parse(&padded), Some(expected), "{name}, in a frame of 60 bytes");
            for end in 0..recorded.len() {
                assert_eq!(Packet::parse(&recorded[..end]), None, "{name}, cut to {end} bytes");
            }
        }
    }

    #[test]
    fn what_is_sent() {
        let port = port(1, &OURS);
        let address = "192.0.2.2".parse().unwrap();
        for (packet, hex) in [
            // As `arping -A`; the others as `arping -U` and `-D`, with the unused field zero as RFC 5227 asks.
            (
                Packet::announce_by_reply(&port, address),
                "0001080006040002 02000000000a c0000202 02000000000a c0000202",
            ),
            (
                Packet::announce_by_request(&port, address),
                "0001080006040001 02000000000a c0000202 000000000000 c0000202",
            ),
            (Packet::probe(&port, address), "0001080006040001 02000000000a 00000000 000000000000 c0000202"),
        ] {
            assert_eq!(packet.encode(), bytes(hex));
        }
    }

    #[test]
    fn infiniband_has_long_hardware_addresses() {
        let mac: Vec<u8> = (1..=20).collect();
        let packet = Packet::announce_by_reply(&port(32, &mac), "192.0.2.2".parse().unwrap());
        let encoded = packet.encode();
        assert_eq!(encoded.len(), 8 + 2 * (20 + 4));
        assert_eq!(encoded[..8], [0, 32, 8, 0, 20, 4, 0, 2]);
        assert_eq!(Packet::parse(&encoded), Some(packet));
    }

    #[test]
    fn other_packets_are_refused() {
        let good = Packet::probe(&port(1, &OURS), "192.0.2.2".parse().unwrap()).encode();
        for (name, position, value) in [
            ("hardware type", 1, 15),
            ("protocol", 3, 1),
            ("length of hardware addresses", 4, 8),
            ("length of protocol addresses", 5, 16),
            ("operation", 7, 3),
            ("operation", 6, 1),
        ] {
            let mut bad = good.clone();
            bad[position] = value;
            assert_eq!(Packet::parse(&bad), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(packet) = Packet::parse(&bytes) {
                prop_assert_eq!(&bytes[..packet.encode().len()], &packet.encode()[..]);
            }
        }

        #[test]
        fn what_is_encoded_is_parsed(
            long in any::<bool>(),
            reply in any::<bool>(),
            macs in any::<[[u8; 20]; 2]>(),
            ips in any::<[[u8; 4]; 2]>(),
        ) {
            let length = if long { 20 } else { 6 };
            let packet = Packet {
                hardware_type: if long { 32 } else { 1 },
                operation: if reply { Operation::Reply } else { Operation::Request },
                sender_mac: Mac(macs[0][..length].to_vec()),
                sender_ip: ips[0].into(),
                target_mac: Mac(macs[1][..length].to_vec()),
                target_ip: ips[1].into(),
            };
            prop_assert_eq!(Packet::parse(&packet.encode()), Some(packet));
        }
    }
}
