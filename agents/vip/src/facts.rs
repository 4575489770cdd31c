//! What was observed on the node: plain data, which the plan is made from.

use netlink::{Address, Link, Route};
use std::net::IpAddr;

/// The state of the node as far as the resource is concerned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// All links.
    pub(crate) links: Vec<Link>,
    /// All addresses.
    pub(crate) addresses: Vec<Address>,
    /// The routes that `source_for` or the record speak of.
    pub(crate) routes: Vec<Route>,
}

impl Facts {
    /// The link of this index.
    pub(crate) fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The link of this name or alternative name.
    pub(crate) fn link_named(&self, name: &str) -> Option<&Link> {
        let named = |link: &&Link| link.name == name || link.alt_names.iter().any(|other| other == name);
        self.links.iter().find(named)
    }

    /// The link that is down and whose network contains this address: its routes are gone, its addresses are not.
    pub(crate) fn down_link_of(&self, ip: IpAddr) -> Option<u32> {
        let down = |index| self.link(index).is_some_and(|link| !link.flags.up);
        let network = |address: &&Address| address.ip != ip && address.contains(ip) && down(address.index);
        self.addresses
            .iter()
            .filter(network)
            .max_by_key(|address| address.prefix)
            .map(|address| address.index)
    }

    /// What a link is called in a message.
    pub(crate) fn name(&self, index: u32) -> String {
        self.link(index).map_or_else(|| format!("interface {index}"), |link| link.name.clone())
    }

    /// Where this address is; without `lo` where that does not count (LVS).
    pub(crate) fn places(&self, ip: IpAddr, lvs: bool) -> Vec<&Address> {
        let counts = |address: &&Address| {
            address.ip == ip && !(lvs && self.link(address.index).is_some_and(|link| link.flags.loopback))
        };
        self.addresses.iter().filter(counts).collect()
    }
}
