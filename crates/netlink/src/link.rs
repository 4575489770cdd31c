//! Links (`struct ifinfomsg`). Pure.

use crate::attribute::{attributes, text, u16_at, u32_at};
use crate::message::{Request, flag};

pub(crate) const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;

const IFLA_ADDRESS: u16 = 1;
const IFLA_BROADCAST: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_INFO_KIND: u16 = 1;
/// Leaves the counters out, which are most of an answer.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

const IFF_UP: u32 = 0x1;
const IFF_BROADCAST: u32 = 0x2;
const IFF_LOOPBACK: u32 = 0x8;
const IFF_POINTOPOINT: u32 = 0x10;
const IFF_RUNNING: u32 = 0x40;
const IFF_NOARP: u32 = 0x80;
const IFF_MULTICAST: u32 = 0x1000;
const IFF_LOWER_UP: u32 = 0x10000;

/// The longest name that is not an alternative one, in bytes.
const NAME_MAX: usize = 15;
/// The longest alternative name, in bytes.
const ALT_NAME_MAX: usize = 127;

/// A link's flags (`IFF_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub struct LinkFlags {
    pub up: bool,
    pub broadcast: bool,
    pub loopback: bool,
    pub pointopoint: bool,
    pub running: bool,
    pub noarp: bool,
    pub multicast: bool,
    pub lower_up: bool,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index, which no other link of the namespace has.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its alternative names.
    pub alt_names: Vec<String>,
    /// Its kind, such as `bridge` or `vlan`; none for hardware.
    pub kind: Option<String>,
    /// Its flags.
    pub flags: LinkFlags,
    /// Its hardware type (`ARPHRD_*`).
    pub hardware_type: u16,
    /// Its hardware address.
    pub mac: Vec<u8>,
    /// The hardware address that all stations listen to.
    pub broadcast_mac: Vec<u8>,
    /// Its maximum transmission unit in bytes.
    pub mtu: u32,
    /// Index of the bridge, bond or the like that it is part of.
    pub master: Option<u32>,
    /// Index of the link that it is made on (VLAN, macvlan) or tied to (veth), if that is in the same namespace.
    pub lower: Option<u32>,
}

/// Whether a link can carry traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// It can.
    Up,
    /// It was taken down.
    AdminDown,
    /// It is up, but what is below or beyond is not.
    NoCarrier,
}

impl Carrier {
    /// Whether it can.
    pub fn is_up(self) -> bool {
        self == Carrier::Up
    }
}

impl Link {
    /// The link in the body of an `RTM_NEWLINK` message.
    pub(crate) fn parse(body: &[u8]) -> Option<Link> {
        let bits = u32_at(body, 8)?;
        let set = |flag| bits & flag != 0;
        let mut link = Link {
            hardware_type: u16_at(body, 2)?,
            index: u32_at(body, 4)?,
            flags: LinkFlags {
                up: set(IFF_UP),
                broadcast: set(IFF_BROADCAST),
                loopback: set(IFF_LOOPBACK),
                pointopoint: set(IFF_POINTOPOINT),
                running: set(IFF_RUNNING),
                noarp: set(IFF_NOARP),
                multicast: set(IFF_MULTICAST),
                lower_up: set(IFF_LOWER_UP),
            },
            ..Link::default()
        };
        let mut lower_is_elsewhere = false;
        for (kind, value) in attributes(body.get(16..)?) {
            match kind {
                IFLA_ADDRESS => link.mac = value.to_vec(),
                IFLA_BROADCAST => link.broadcast_mac = value.to_vec(),
                IFLA_IFNAME => link.name = text(value),
                IFLA_MTU => link.mtu = u32_at(value, 0)?,
                IFLA_LINK => link.lower = u32_at(value, 0).filter(|index| *index != 0),
                IFLA_LINK_NETNSID => lower_is_elsewhere = true,
                IFLA_MASTER => link.master = u32_at(value, 0),
                IFLA_LINKINFO => {
                    let kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                    link.kind = kind.map(|(_, value)| text(value));
                }
                IFLA_PROP_LIST => {
                    let names = attributes(value).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
                    link.alt_names = names.map(|(_, value)| text(value)).collect();
                }
                _ => {}
            }
        }
        if lower_is_elsewhere {
            link.lower = None;
        }
        Some(link)
    }

    /// Whether it can carry traffic. The kernel's own summary: "running" is an operational state of up or, for links
    /// that have none (`lo`, tunnels), unknown; a VLAN or bridge follows what is below it.
    pub fn carrier(&self) -> Carrier {
        match self.flags {
            LinkFlags { up: false, .. } => Carrier::AdminDown,
            LinkFlags { running: true, lower_up: true, .. } => Carrier::Up,
            _ => Carrier::NoCarrier,
        }
    }
}

fn request(kind: u16, flags: u16, index: u32, bits: u32) -> Request {
    // struct ifinfomsg: family, padding, type, index, flags, change
    let fixed = [&[0; 4][..], &index.to_ne_bytes(), &bits.to_ne_bytes(), &bits.to_ne_bytes()].concat();
    Request::new(kind, flags, &fixed)
}

pub(crate) fn dump() -> Request {
    request(RTM_GETLINK, flag::DUMP, 0, 0).attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
}

pub(crate) fn by_index(index: u32) -> Request {
    request(RTM_GETLINK, 0, index, 0).attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
}

/// Whether a link can have this name: the kernel refuses to look for longer ones, and stops reading at a zero byte.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=ALT_NAME_MAX).contains(&name.len()) && !name.contains('\0')
}

/// The kernel finds alternative names by either attribute, but takes the short one for short names only.
pub(crate) fn by_name(name: &str) -> Request {
    let kind = if name.len() > NAME_MAX { IFLA_ALT_IFNAME } else { IFLA_IFNAME };
    request(RTM_GETLINK, 0, 0, 0)
        .attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
        .attribute(kind, &[name.as_bytes(), &[0]].concat())
}

pub(crate) fn set_up(index: u32) -> Request {
    request(RTM_NEWLINK, flag::ACK, index, IFF_UP)
}
