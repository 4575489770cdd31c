//! Addresses of links (`struct ifaddrmsg`). Pure.

use crate::attribute::{attributes, text, u32_at};
use crate::message::Request;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const RTM_NEWADDR: u16 = 20;
pub(crate) const RTM_DELADDR: u16 = 21;
pub(crate) const RTM_GETADDR: u16 = 22;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_PROTO: u16 = 11;

const IFA_F_SECONDARY: u32 = 0x01;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_OPTIMISTIC: u32 = 0x04;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_DEPRECATED: u32 = 0x20;
const IFA_F_TENTATIVE: u32 = 0x40;
const IFA_F_PERMANENT: u32 = 0x80;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

/// The family of an address, as the kernel numbers it.
pub(crate) fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 2 } else { 10 }
}

/// The bytes of an address.
pub(crate) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The address that these bytes are.
pub(crate) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))),
        16 => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))),
        _ => None,
    }
}

/// What the kernel says of an address (`IFA_F_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub struct AddressFlags {
    pub secondary: bool,
    pub nodad: bool,
    pub optimistic: bool,
    pub dad_failed: bool,
    pub deprecated: bool,
    pub tentative: bool,
    pub permanent: bool,
    pub noprefixroute: bool,
}

impl AddressFlags {
    fn from_bits(bits: u32) -> Self {
        let set = |flag| bits & flag != 0;
        AddressFlags {
            // For IPv6 the same bit says "temporary" (RFC 8981), which makes it no secondary in this sense.
            secondary: set(IFA_F_SECONDARY),
            nodad: set(IFA_F_NODAD),
            optimistic: set(IFA_F_OPTIMISTIC),
            dad_failed: set(IFA_F_DADFAILED),
            deprecated: set(IFA_F_DEPRECATED),
            tentative: set(IFA_F_TENTATIVE),
            permanent: set(IFA_F_PERMANENT),
            noprefixroute: set(IFA_F_NOPREFIXROUTE),
        }
    }
}

/// An address on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of the link.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// The other end, where the address was given one; the prefix length is then that of the other end's network.
    pub peer: Option<IpAddr>,
    /// Its label (IPv4 only): the link's name, or that with a colon and more.
    pub label: Option<String>,
    /// Its broadcast address (IPv4 only).
    pub broadcast: Option<Ipv4Addr>,
    /// How far it is known (`RT_SCOPE_*`): 0 is everywhere, 253 this link, 254 this host.
    pub scope: u8,
    /// Its flags.
    pub flags: AddressFlags,
    /// Seconds for which it is preferred as a source; `None` for ever. Of a permanent IPv4 address the kernel says "for
    /// ever" even when it was added with 0: that one is told by its flag, `deprecated`.
    pub preferred_lft: Option<u32>,
}

impl Address {
    /// The address in the body of an `RTM_NEWADDR` message.
    pub(crate) fn parse(body: &[u8]) -> Option<Address> {
        let [_, prefix, flags, scope, ..] = *body else { return None };
        let index = u32_at(body, 4)?;
        let (mut local, mut address, mut label, mut broadcast) = (None, None, None, None);
        let (mut bits, mut preferred_lft) = (u32::from(flags), None);
        for (kind, value) in attributes(body.get(8..)?) {
            match kind {
                // On a point-to-point link IFA_ADDRESS is the peer's.
                IFA_LOCAL => local = ip(value),
                IFA_ADDRESS => address = ip(value),
                IFA_LABEL => label = Some(text(value)),
                IFA_BROADCAST => broadcast = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from),
                IFA_FLAGS => bits = u32_at(value, 0)?,
                IFA_CACHEINFO => preferred_lft = u32_at(value, 0).filter(|seconds| *seconds != u32::MAX),
                _ => {}
            }
        }
        let flags = AddressFlags::from_bits(bits);
        let ip = local.or(address)?;
        let peer = address.filter(|address| *address != ip);
        Some(Address { index, ip, prefix, peer, label, broadcast, scope, flags, preferred_lft })
    }

    /// What adds this address again, as it is now.
    pub fn again(&self) -> NewAddress {
        NewAddress {
            label: self.label.clone(),
            broadcast: self.broadcast,
            preferred_lft: if self.flags.deprecated { Some(0) } else { self.preferred_lft },
            scope: Some(self.scope),
            nodad: self.flags.nodad,
            noprefixroute: self.flags.noprefixroute,
            ..NewAddress::new(self.index, self.ip, self.prefix)
        }
    }

    /// Whether the network of this address contains another one.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same = |ours: u128, other: u128, bits: u32| {
            let host = bits.saturating_sub(self.prefix.into());
            ours.checked_shr(host).unwrap_or(0) == other.checked_shr(host).unwrap_or(0)
        };
        match (self.ip, ip) {
            (IpAddr::V4(ours), IpAddr::V4(ip)) => same(u32::from(ours).into(), u32::from(ip).into(), 32),
            (IpAddr::V6(ours), IpAddr::V6(ip)) => same(ours.into(), ip.into(), 128),
            _ => false,
        }
    }

    /// Whether it can be used: no duplicate was found, and none is being looked for.
    pub fn is_usable(&self) -> bool {
        !self.flags.dad_failed && (!self.flags.tentative || self.flags.optimistic)
    }
}

/// An address to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAddress {
    /// Index of the link.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// Its label (IPv4 only), at most 15 bytes.
    pub label: Option<String>,
    /// Its broadcast address (IPv4 only).
    pub broadcast: Option<Ipv4Addr>,
    /// Seconds for which it is preferred as a source; `None` for ever.
    pub preferred_lft: Option<u32>,
    /// Its origin (`IFA_PROTO`).
    pub proto: Option<u8>,
    /// How far it is known (`RT_SCOPE_*`); `None` is what "ip address add" would take.
    pub scope: Option<u8>,
    /// No duplicate address detection (IPv6 only).
    pub nodad: bool,
    /// No route to its network.
    pub noprefixroute: bool,
}

impl NewAddress {
    /// An address with nothing special about it.
    pub fn new(index: u32, ip: IpAddr, prefix: u8) -> Self {
        NewAddress {
            index,
            ip,
            prefix,
            label: None,
            broadcast: None,
            preferred_lft: None,
            proto: None,
            scope: None,
            nodad: false,
            noprefixroute: false,
        }
    }

    /// The request that adds it.
    pub(crate) fn request(&self, flags: u16) -> Request {
        let mut bits = 0;
        bits |= if self.nodad { IFA_F_NODAD } else { 0 };
        bits |= if self.noprefixroute { IFA_F_NOPREFIXROUTE } else { 0 };
        let bytes = octets(self.ip);
        let mut header = fixed(self.ip, self.prefix, self.index);
        header[3] = self.scope.unwrap_or(header[3]);
        let mut request = Request::new(RTM_NEWADDR, flags, &header)
            .attribute(IFA_LOCAL, &bytes)
            .attribute(IFA_ADDRESS, &bytes);
        if let Some(label) = &self.label {
            request = request.attribute(IFA_LABEL, &[label.as_bytes(), &[0]].concat());
        }
        if let Some(broadcast) = self.broadcast {
            request = request.attribute(IFA_BROADCAST, &broadcast.octets());
        }
        if bits != 0 {
            request = request.attribute(IFA_FLAGS, &u32::to_ne_bytes(bits));
        }
        if let Some(seconds) = self.preferred_lft {
            // struct ifa_cacheinfo: preferred, valid, created, changed.
            let info = [seconds, u32::MAX, 0, 0].map(u32::to_ne_bytes).concat();
            request = request.attribute(IFA_CACHEINFO, &info);
        }
        if let Some(proto) = self.proto {
            request = request.attribute(IFA_PROTO, &[proto]);
        }
        request
    }
}

/// `struct ifaddrmsg`: family, prefix length, flags, scope, index. A scope of 0 is the whole world; `lo`'s own network is
/// of this host only, as "ip address add" has it.
fn fixed(ip: IpAddr, prefix: u8, index: u32) -> Vec<u8> {
    const RT_SCOPE_HOST: u8 = 254;
    let scope = if matches!(ip, IpAddr::V4(ip) if ip.is_loopback()) { RT_SCOPE_HOST } else { 0 };
    [&[family(ip), prefix, 0, scope][..], &index.to_ne_bytes()].concat()
}

/// The request that deletes exactly this address with this prefix from this link. For IPv4 the kernel compares the
/// prefix only where it is also given what it keeps as the address's network: that is the peer's, if there is one.
pub(crate) fn delete(index: u32, ip: IpAddr, prefix: u8, peer: Option<IpAddr>) -> Request {
    Request::new(RTM_DELADDR, crate::message::flag::ACK, &fixed(ip, prefix, index))
        .attribute(IFA_LOCAL, &octets(ip))
        .attribute(IFA_ADDRESS, &octets(peer.unwrap_or(ip)))
}

/// The request for all addresses.
pub(crate) fn dump() -> Request {
    Request::new(RTM_GETADDR, crate::message::flag::DUMP, &[0; 8])
}

/// The request for one IPv6 address on one link, which the kernel finds by a hash. (IPv4 has no such request.)
pub(crate) fn get6(index: u32, ip: Ipv6Addr) -> Request {
    let fixed = [&[10, 0, 0, 0][..], &index.to_ne_bytes()].concat();
    Request::new(RTM_GETADDR, 0, &fixed).attribute(IFA_ADDRESS, &ip.octets())
}
