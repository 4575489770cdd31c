//! What goes onto a link and what comes off it, as plain data: the link itself, hardware addresses, and the
//! mapping of IPv6 groups to them.
//!
//! There is no code here that builds a link-level header, on purpose. Frames are sent through packet sockets of
//! type `SOCK_DGRAM`, so that the driver of the interface writes the header: a VLAN adds its tag, a bond picks its
//! slave, a bridge its port, IPoIB its pseudo-header, and all of it stays right when the link is changed below us.

use std::fmt;
use std::net::Ipv6Addr;

/// A network interface, as far as announcing and probing need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    /// Interface index; names change, this does not while the interface lives.
    pub(crate) index: u32,
    /// Interface name, for people.
    pub(crate) name: String,
    /// Type of the link, one of the kernel's `ARPHRD_*`.
    pub(crate) hardware_type: u16,
    /// Hardware address; empty where the link has none.
    pub(crate) mac: Vec<u8>,
    /// Hardware address that reaches all neighbours. On IPoIB it also carries the partition key.
    pub(crate) broadcast_mac: Vec<u8>,
    /// `IFF_LOOPBACK`.
    pub(crate) loopback: bool,
    /// `IFF_POINTOPOINT`.
    pub(crate) point_to_point: bool,
    /// `IFF_NOARP`: the link resolves no addresses (tunnels, dummy, ipvlan in layer 3 mode).
    pub(crate) no_arp: bool,
}

impl Port {
    /// The link type, if it is one on which addresses are resolved by ARP and neighbour discovery here.
    pub(crate) fn link_type(&self) -> Option<LinkType> {
        match self.hardware_type {
            LinkType::ETHERNET => Some(LinkType::Ethernet),
            LinkType::INFINIBAND => Some(LinkType::Infiniband),
            _ => None,
        }
    }

    /// The hardware address to which packets for an IPv6 multicast group go on this link; `None` on link types
    /// that we do not speak, or if the broadcast address of an IPoIB link is malformed.
    pub(crate) fn group_mac(&self, group: Ipv6Addr) -> Option<Vec<u8>> {
        let group = group.octets();
        match self.link_type()? {
            // RFC 2464 section 7: 33:33 and the last four bytes of the group.
            LinkType::Ethernet => Some([&[0x33, 0x33][..], &group[12..]].concat()),
            // RFC 4391 sections 4 and 9.1: the multicast queue pair, then a group identifier made of the scope, the
            // signature of IPv6, the partition key (which the broadcast address carries) and the last ten bytes.
            LinkType::Infiniband => {
                let partition = self.broadcast_mac.get(8..10)?;
                let scope = 0x10 | group[1] & 0x0f;
                Some([&[0, 0xff, 0xff, 0xff, 0xff, scope, 0x60, 0x1b][..], partition, &group[6..]].concat())
            }
        }
    }
}

/// A link type that resolves addresses with ARP and neighbour discovery. VLANs, bonds, bridges, veth, macvlan and
/// wireless links are all Ethernet to the kernel's users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkType {
    /// Six-byte addresses.
    Ethernet,
    /// IP over InfiniBand: twenty-byte addresses (flags, queue pair, port identifier).
    Infiniband,
}

impl LinkType {
    /// `ARPHRD_ETHER`, which is also the number in ARP packets.
    pub(crate) const ETHERNET: u16 = 1;
    /// `ARPHRD_INFINIBAND`, which is also the number in ARP packets.
    pub(crate) const INFINIBAND: u16 = 32;

    /// Bytes in a hardware address.
    pub(crate) fn address_length(self) -> usize {
        match self {
            Self::Ethernet => 6,
            Self::Infiniband => 20,
        }
    }
}

/// A hardware address; empty if it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Mac(pub(crate) Vec<u8>);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.0.split_first() else {
            return f.write_str("an unknown hardware address");
        };
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

/// What a packet carries, as the link header tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `ETH_P_ARP`
    Arp,
    /// `ETH_P_IPV6`
    Ipv6,
}

impl Protocol {
    /// The number of the protocol in link headers, in host byte order.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Arp => 0x0806,
            Self::Ipv6 => 0x86dd,
        }
    }
}

/// A packet ready to be sent, without the link header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// What the payload is.
    pub(crate) protocol: Protocol,
    /// Hardware address that it is sent to.
    pub(crate) destination: Vec<u8>,
    /// The packet.
    pub(crate) payload: Vec<u8>,
}

/// A packet that arrived, without the link header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    /// Hardware address that the link header names as its sender; empty on links whose header names none (IPoIB).
    pub(crate) source: Mac,
    /// The packet, perhaps with the padding of a short frame behind it.
    pub(crate) payload: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(hardware_type: u16, broadcast_mac: &[u8]) -> Port {
        Port {
            index: 1,
            name: "eth0".into(),
            hardware_type,
            mac: vec![2, 0, 0, 0, 0, 10],
            broadcast_mac: broadcast_mac.to_vec(),
            loopback: false,
            point_to_point: false,
            no_arp: false,
        }
    }

    #[test]
    fn groups_map_to_hardware_addresses() {
        let solicited_node: Ipv6Addr = "ff02::1:ff00:2".parse().unwrap();
        let ethernet = port(LinkType::ETHERNET, &[0xff; 6]);
        assert_eq!(ethernet.group_mac(solicited_node), Some(vec![0x33, 0x33, 0xff, 0, 0, 2]));
        assert_eq!(ethernet.group_mac("ff02::1".parse().unwrap()), Some(vec![0x33, 0x33, 0, 0, 0, 1]));

        // The broadcast group of the partition 0x8001 in link-local scope.
        let broadcast =
            [0, 0xff, 0xff, 0xff, 0xff, 0x12, 0x40, 0x1b, 0x80, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        let infiniband = port(LinkType::INFINIBAND, &broadcast);
        let expected =
            [0, 0xff, 0xff, 0xff, 0xff, 0x12, 0x60, 0x1b, 0x80, 1, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2];
        assert_eq!(infiniband.group_mac(solicited_node), Some(expected.to_vec()));
        assert_eq!(port(LinkType::INFINIBAND, &[0xff; 6]).group_mac(solicited_node), None);
        assert_eq!(port(768, &[]).group_mac(solicited_node), None);
    }

    #[test]
    fn hardware_addresses_print_as_people_write_them() {
        assert_eq!(Mac(vec![2, 0, 0, 0xab, 0, 10]).to_string(), "02:00:00:ab:00:0a");
        assert_eq!(Mac::default().to_string(), "an unknown hardware address");
    }
}
