//! Routes (`struct rtmsg`), kept as the kernel gave them, so that they can be put back exactly. Pure.

use crate::address::{family, ip, octets};
use crate::attribute::{TYPE_MASK, aligned, attributes, push, raw_attributes, u16_at, u32_at};
use crate::message::{Request, flag};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;
const RTA_EXPIRES: u16 = 23;
const RTA_NH_ID: u16 = 30;

const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
/// The clock of `struct rta_cacheinfo`, in ticks a second (`USER_HZ`).
const TICKS: u32 = 100;
/// What of the flags is configuration (pervasive, onlink); the rest is state, such as "link is down".
const CONFIGURED_FLAGS: u32 = 0x2 | 0x4;
/// Answer with the entry of the table, not with what would be done by it.
const RTM_F_FIB_MATCH: u32 = 0x2000;
const HEADER: usize = 12;

/// A route: what one has to know of it, and all that the kernel said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    destination: (IpAddr, u8),
    /// Its table.
    pub table: u32,
    /// Its metric.
    pub priority: Option<u32>,
    /// Who made it (`RTPROT_*`): 2 is the kernel.
    pub protocol: u8,
    /// Index of the link that it goes out of, where there is just one.
    pub oif: Option<u32>,
    /// The gateway, where there is just one.
    pub gateway: Option<IpAddr>,
    /// The preferred source address.
    pub prefsrc: Option<IpAddr>,
    kind: u8,
    header: [u8; HEADER],
    attributes: Vec<u8>,
}

impl Route {
    /// The route in the body of an `RTM_NEWROUTE` message.
    pub fn parse(body: &[u8]) -> Option<Route> {
        let mut header: [u8; HEADER] = body.get(..HEADER)?.try_into().ok()?;
        let [family, prefix, _, _, table, protocol, _, kind, ..] = header;
        let flags = u32_at(&header, 8)? & CONFIGURED_FLAGS;
        header[8..].copy_from_slice(&flags.to_ne_bytes());
        let any = match family {
            2 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            10 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let mut route = Route {
            destination: (any, prefix),
            table: table.into(),
            priority: None,
            protocol,
            oif: None,
            gateway: None,
            prefsrc: None,
            kind,
            header,
            attributes: Vec::new(),
        };
        let given = body.get(HEADER..)?;
        // The kernel shows what a nexthop object resolves to, but wants to hear of the object alone.
        let by_object = attributes(given).any(|(kind, _)| kind == RTA_NH_ID);
        for (raw, value) in raw_attributes(given) {
            let kind = raw & TYPE_MASK;
            match kind {
                RTA_DST => route.destination.0 = ip(value)?,
                RTA_TABLE => route.table = u32_at(value, 0)?,
                RTA_PRIORITY => route.priority = u32_at(value, 0),
                RTA_OIF => route.oif = u32_at(value, 0),
                RTA_GATEWAY => route.gateway = ip(value),
                RTA_PREFSRC => route.prefsrc = ip(value),
                _ => {}
            }
            let resolved =
                [RTA_OIF, RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA, RTA_ENCAP, RTA_ENCAP_TYPE].contains(&kind);
            match kind {
                // Counters and ages are no property of the route; what is left of its life is asked for in seconds.
                RTA_CACHEINFO => {
                    let left = u32_at(value, 8)?;
                    if left > 0 && left <= i32::MAX as u32 {
                        push(&mut route.attributes, RTA_EXPIRES, &left.div_ceil(TICKS).to_ne_bytes());
                    }
                }
                _ if by_object && resolved => {}
                RTA_MULTIPATH => push(&mut route.attributes, raw, &configured_hops(value)?),
                _ => push(&mut route.attributes, raw, value),
            }
        }
        Some(route)
    }

    /// The network that it leads to: address and prefix length.
    pub fn destination(&self) -> (IpAddr, u8) {
        self.destination
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.destination.0.is_ipv4()
    }

    /// Whether it leads to this node itself: its destination is an address of it.
    pub fn is_local(&self) -> bool {
        self.kind == RTN_LOCAL
    }

    /// Whether it leads somewhere: no blackhole, no local or broadcast address.
    pub fn is_unicast(&self) -> bool {
        self.kind == RTN_UNICAST
    }

    /// Whether its destination is reached through one link without a gateway.
    pub fn is_connected(&self) -> bool {
        let onward = |kind| attributes(&self.attributes).any(|(known, _)| known == kind);
        self.oif.is_some() && self.gateway.is_none() && !onward(RTA_VIA) && !onward(RTA_NH_ID)
    }

    /// The same route with another preferred source, or with none.
    #[must_use]
    pub fn with_prefsrc(&self, source: Option<IpAddr>) -> Route {
        let value = source.map(octets);
        Route { prefsrc: source, ..self.with(RTA_PREFSRC, value.as_deref()) }
    }

    /// The same route with what is left of the other one's life (IPv6 only; most have none, and stay).
    pub(crate) fn with_lifetime_of(&self, other: &Route) -> Route {
        let left = attributes(&other.attributes).find(|(kind, _)| *kind == RTA_EXPIRES);
        self.with(RTA_EXPIRES, left.map(|(_, value)| value))
    }

    /// The same route with this attribute instead of the one of its kind, or without one.
    fn with(&self, kind: u16, value: Option<&[u8]>) -> Route {
        let mut changed = Route { attributes: Vec::new(), ..self.clone() };
        for (raw, other) in raw_attributes(&self.attributes) {
            if raw & TYPE_MASK != kind {
                push(&mut changed.attributes, raw, other);
            }
        }
        if let Some(value) = value {
            push(&mut changed.attributes, kind, value);
        }
        changed
    }

    /// Whether both are the same in every property; the order in which the kernel tells them does not count, nor does
    /// what is left of a lifetime, nor whether a link is down.
    pub fn same_as(&self, other: &Route) -> bool {
        let sorted = |route: &Route| {
            let mut all: Vec<(u16, Vec<u8>)> = raw_attributes(&route.attributes)
                .map(|(kind, value)| (kind & TYPE_MASK, value.to_vec()))
                .filter(|(kind, _)| *kind != RTA_EXPIRES)
                .collect();
            all.sort();
            all
        };
        self.header == other.header && sorted(self) == sorted(other)
    }

    /// Whether one would take the other's place in the kernel's table: same table, destination, type of service and
    /// metric.
    pub fn same_place(&self, other: &Route) -> bool {
        self.table == other.table
            && self.destination == other.destination
            && self.header[3] == other.header[3]
            && self.priority.unwrap_or(0) == other.priority.unwrap_or(0)
    }

    fn request(&self, kind: u16, flags: u16) -> Request {
        let mut request = Request::new(kind, flags | flag::ACK, &self.header);
        for (raw, value) in raw_attributes(&self.attributes) {
            request = request.attribute(raw, value);
        }
        request
    }

    pub(crate) fn replace(&self) -> Request {
        self.request(RTM_NEWROUTE, flag::CREATE | flag::REPLACE)
    }

    pub(crate) fn add(&self) -> Request {
        self.request(RTM_NEWROUTE, flag::CREATE | flag::EXCL)
    }

    /// Beside what is in its place already, as the last.
    pub(crate) fn append(&self) -> Request {
        self.request(RTM_NEWROUTE, flag::CREATE | flag::APPEND)
    }

    pub(crate) fn delete(&self) -> Request {
        self.request(RTM_DELROUTE, 0)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.destination {
            (_, 0) => f.write_str("default")?,
            (net, prefix) => write!(f, "{net}/{prefix}")?,
        }
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(metric) = self.priority {
            write!(f, " metric {metric}")?;
        }
        match self.table {
            254 => Ok(()),
            table => write!(f, " table {table}"),
        }
    }
}

/// The nexthops of a route (`struct rtnexthop`: length, flags, weight, link, attributes) without what is state in their
/// flags; the kernel refuses a route to a nexthop that is said to be dead.
fn configured_hops(value: &[u8]) -> Option<Vec<u8>> {
    const FLAGS: usize = 2;
    let mut hops = value.to_vec();
    let mut at = 0;
    while at < hops.len() {
        let length = usize::from(u16_at(&hops, at)?);
        let flags = hops.get_mut(at + FLAGS)?;
        *flags &= CONFIGURED_FLAGS as u8;
        // A hop of no length would never end.
        at += aligned(length.max(1));
    }
    Some(hops)
}

fn header(family: u8, prefix: u8, table: u8, flags: u32) -> Vec<u8> {
    [&[family, prefix, 0, 0, table, 0, 0, 0][..], &flags.to_ne_bytes()].concat()
}

/// The request for the routes of one table.
pub(crate) fn dump(ipv4: bool, table: u32) -> Request {
    let family = if ipv4 { 2 } else { 10 };
    let request = Request::new(RTM_GETROUTE, flag::DUMP, &header(family, 0, 0, 0));
    request.attribute(RTA_TABLE, &table.to_ne_bytes())
}

/// The request for the entry by which an address would be reached.
pub(crate) fn entry_for(destination: IpAddr) -> Request {
    let prefix = if destination.is_ipv4() { 32 } else { 128 };
    Request::new(RTM_GETROUTE, 0, &header(family(destination), prefix, 0, RTM_F_FIB_MATCH))
        .attribute(RTA_DST, &octets(destination))
}
