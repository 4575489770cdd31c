//! Our reading and writing of messages against that of `netlink-packet-route`, which was made from captured traffic: what
//! one writes, the other has to read as the same. Tests only: it would put 300 KB into every agent, and its routes
//! cannot be put back exactly.

use crate::address::{Address, NewAddress, delete};
use crate::attribute::{attributes, push};
use crate::link::Link;
use crate::message::{Request, flag};
use crate::route::Route;
use netlink_packet_core::{DefaultNla, Emitable, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Prop};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteMetric};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The body of a request, without the header that the socket completes.
fn body(request: &Request) -> Vec<u8> {
    request.bytes(1)[16..].to_vec()
}

fn ips() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<Ipv4Addr>().prop_map(IpAddr::V4), any::<Ipv6Addr>().prop_map(IpAddr::V6)]
}

fn emitted(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

prop_compose! {
    fn new_addresses()(
        index: u32, ip in ips(), prefix: u8,
        label in proptest::option::of("[a-z0-9:]{1,15}"), broadcast: Option<[u8; 4]>,
        preferred_lft: Option<u32>, proto: Option<u8>, nodad: bool, noprefixroute: bool,
    ) -> NewAddress {
        let broadcast = broadcast.map(Ipv4Addr::from);
        NewAddress { index, ip, prefix, label, broadcast, preferred_lft, proto, scope: None, nodad, noprefixroute }
    }
}

/// A message body of `fixed` random bytes of this family and random attributes with plausible kinds and lengths.
fn bodies(fixed: usize, kinds: u16) -> impl Strategy<Value = Vec<u8>> {
    let lengths = prop_oneof![Just(1usize), Just(4), Just(8), Just(16), Just(36), 0usize..40];
    let value = lengths.prop_flat_map(|length| proptest::collection::vec(any::<u8>(), length));
    let attribute = (0..kinds, value);
    let head = proptest::collection::vec(any::<u8>(), fixed);
    let all = proptest::collection::vec(attribute, 0..12);
    (prop_oneof![Just(2u8), Just(10), any::<u8>()], head, all).prop_map(|(family, mut bytes, all)| {
        bytes[0] = family;
        for (kind, value) in all {
            push(&mut bytes, kind, &value);
        }
        bytes
    })
}

proptest! {
    #[test]
    fn an_address_to_be_added_reads_as_it_was_meant(new in new_addresses()) {
        let read = AddressMessage::parse(&body(&new.request(flag::CREATE))[..]).unwrap();
        prop_assert_eq!((read.header.prefix_len, read.header.index), (new.prefix, new.index));
        let mut told = NewAddress::new(new.index, new.ip, new.prefix);
        for attribute in &read.attributes {
            match attribute {
                AddressAttribute::Local(ip) | AddressAttribute::Address(ip) => prop_assert_eq!(*ip, new.ip),
                AddressAttribute::Label(label) => told.label = Some(label.clone()),
                AddressAttribute::Broadcast(ip) => told.broadcast = Some(*ip),
                AddressAttribute::Flags(flags) => {
                    told.nodad = flags.bits() & 0x02 != 0;
                    told.noprefixroute = flags.bits() & 0x200 != 0;
                    prop_assert_eq!(flags.bits() & !0x202, 0);
                }
                AddressAttribute::CacheInfo(info) => {
                    told.preferred_lft = Some(info.ifa_preferred);
                    prop_assert_eq!(info.ifa_valid, u32::MAX);
                }
                AddressAttribute::Protocol(proto) => told.proto = Some(u8::from(*proto)),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(told, new);
    }

    #[test]
    fn an_address_reads_the_same_to_both(
        new in new_addresses(), peer in proptest::option::of(ips()), flags: u32
    ) {
        let mut message = AddressMessage::parse(&body(&new.request(0))[..]).unwrap();
        let peer = peer.filter(|peer| peer.is_ipv4() == new.ip.is_ipv4() && *peer != new.ip);
        for attribute in &mut message.attributes {
            if let (AddressAttribute::Address(ip), Some(peer)) = (&mut *attribute, peer) {
                *ip = peer;
            }
        }
        let flags = netlink_packet_route::address::AddressFlags::from_bits_retain(flags);
        message.attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Flags(_)));
        message.attributes.push(AddressAttribute::Flags(flags));
        let told = Address::parse(&emitted(&message)).unwrap();
        prop_assert_eq!((told.index, told.ip, told.prefix, told.peer), (new.index, new.ip, new.prefix, peer));
        prop_assert_eq!(&told.label, &new.label);
        prop_assert_eq!(told.preferred_lft, new.preferred_lft.filter(|seconds| *seconds != u32::MAX));
        let bits = flags.bits();
        prop_assert_eq!(
            (told.flags.tentative, told.flags.dad_failed, told.flags.deprecated, told.flags.noprefixroute),
            (bits & 0x40 != 0, bits & 0x08 != 0, bits & 0x20 != 0, bits & 0x200 != 0)
        );
    }

    #[test]
    fn an_address_to_be_removed_names_itself_and_its_peer(
        index: u32, ip in ips(), prefix: u8, peer in proptest::option::of(ips())
    ) {
        let read = AddressMessage::parse(&body(&delete(index, ip, prefix, peer))[..]).unwrap();
        prop_assert_eq!((read.header.prefix_len, read.header.index), (prefix, index));
        prop_assert_eq!(
            read.attributes,
            [AddressAttribute::Local(ip), AddressAttribute::Address(peer.unwrap_or(ip))]
        );
    }

    #[test]
    fn a_link_reads_the_same_to_both(
        index: u32, flags: u32, name in "[!-~]{1,15}", others in proptest::collection::vec("[!-~]{1,127}", 0..4),
        mac: [u8; 6], broadcast: [u8; 6], mtu: u32, lower in 1u32.., master: Option<u32>, elsewhere: Option<i32>,
    ) {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.link_layer_type = 32u16.into();
        message.header.flags = LinkFlags::from_bits_retain(flags);
        message.attributes = vec![
            LinkAttribute::IfName(name.clone()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::Link(lower),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::Broadcast(broadcast.to_vec()),
            LinkAttribute::PropList(others.iter().cloned().map(Prop::AltIfName).collect()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan)]),
            LinkAttribute::Qdisc("noqueue".into()),
        ];
        message.attributes.extend(master.map(LinkAttribute::Controller));
        message.attributes.extend(elsewhere.map(LinkAttribute::LinkNetNsId));
        let link = Link::parse(&emitted(&message)).unwrap();
        prop_assert_eq!((link.index, link.hardware_type, link.mtu), (index, 32, mtu));
        prop_assert_eq!((&link.name, &link.alt_names, link.kind.as_deref()), (&name, &others, Some("vlan")));
        prop_assert_eq!((&link.mac[..], &link.broadcast_mac[..]), (&mac[..], &broadcast[..]));
        prop_assert_eq!(link.master, master);
        prop_assert_eq!(link.lower, Some(lower).filter(|_| elsewhere.is_none()));
        let theirs = message.header.flags;
        prop_assert_eq!(
            (link.flags.up, link.flags.running, link.flags.lower_up, link.flags.loopback, link.flags.noarp),
            (
                theirs.contains(LinkFlags::Up),
                theirs.contains(LinkFlags::Running),
                theirs.contains(LinkFlags::LowerUp),
                theirs.contains(LinkFlags::Loopback),
                theirs.contains(LinkFlags::Noarp),
            )
        );
    }

    /// And what would be sent to put it back is, to the other, the same message.
    #[test]
    fn a_route_reads_the_same_to_both_and_loses_nothing(
        v4: bool, prefix: u8, to: [u8; 16], gateway: [u8; 16], source: Option<[u8; 16]>, protocol: u8, tos: u8,
        table: u32, priority: Option<u32>, oif: u32, mtu: u32, unknown in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let ip = |bytes: [u8; 16]| match v4 {
            true => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
            false => IpAddr::from(bytes),
        };
        let mut message = RouteMessage::default();
        message.header.address_family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.destination_prefix_length = prefix;
        message.header.protocol = protocol.into();
        message.header.tos = tos;
        message.header.table = 252;
        message.attributes = vec![
            RouteAttribute::Table(table),
            RouteAttribute::Destination(ip(to).into()),
            RouteAttribute::Gateway(ip(gateway).into()),
            RouteAttribute::Oif(oif),
            RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]),
            // A kind of attribute that nobody knows yet.
            RouteAttribute::Other(DefaultNla::new(999, unknown)),
        ];
        message.attributes.extend(priority.map(RouteAttribute::Priority));
        message.attributes.extend(source.map(|source| RouteAttribute::PrefSource(ip(source).into())));
        let route = Route::parse(&emitted(&message)).unwrap();
        prop_assert_eq!(route.destination(), (ip(to), prefix));
        prop_assert_eq!((route.table, route.protocol, route.priority), (table, protocol, priority));
        prop_assert_eq!((route.oif, route.gateway, route.prefsrc), (Some(oif), Some(ip(gateway)), source.map(ip)));
        prop_assert_eq!(RouteMessage::parse(&body(&route.add())[..]).unwrap(), message.clone());
        // With a source and without, all else is as it was.
        let with = RouteMessage::parse(&body(&route.with_prefsrc(Some(ip(to))).add())[..]).unwrap();
        message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::PrefSource(_)));
        let without = RouteMessage::parse(&body(&route.with_prefsrc(None).add())[..]).unwrap();
        prop_assert_eq!(without, message.clone());
        message.attributes.push(RouteAttribute::PrefSource(ip(to).into()));
        prop_assert_eq!(with, message);
    }

    #[test]
    fn a_route_of_any_bytes_is_the_same_when_put_back(bytes in bodies(12, 31)) {
        if let Some(route) = Route::parse(&bytes) {
            let again = Route::parse(&body(&route.add())).unwrap();
            prop_assert!(again.same_as(&route), "{:?}\n{:?}", route, again);
            prop_assert_eq!(route.with_prefsrc(None).prefsrc, None);
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_or_not(bytes: Vec<u8>) {
        let _any = (Address::parse(&bytes), Link::parse(&bytes), Route::parse(&bytes));
        prop_assert!(attributes(&bytes).count() <= bytes.len());
    }

    #[test]
    fn arbitrary_attributes_are_read_or_not(bytes in bodies(8, 70), longer in bodies(16, 70)) {
        let _any = (Address::parse(&bytes), Link::parse(&longer), Route::parse(&bytes), Route::parse(&longer));
    }
}
