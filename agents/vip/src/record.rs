//! What start did on this node, so that stop undoes exactly that: the content of the state file. Pure data.

use netlink::{Address, NewAddress, Route};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr};

/// Everything that start is about to change. It is written *before* anything is changed, so that a start that was
/// killed at any instant can be undone by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
// A package may be upgraded below a running resource: what the older version did not write is at its default.
#[serde(default)]
pub(crate) struct Record {
    /// The network namespace, as configured then.
    pub(crate) namespace: Option<String>,
    /// The interface.
    pub(crate) index: u32,
    /// Its name then.
    pub(crate) nic: String,
    /// The addresses.
    pub(crate) addresses: Vec<Held>,
    /// The interface had so many addresses then that a monitor does not have the kernel search them.
    pub(crate) crowded: bool,
    /// The routes that got the address as their source.
    pub(crate) routes: Vec<ChangedRoute>,
    /// Addresses that were moved away from lo (LVS), to be put back.
    pub(crate) from_loopback: Vec<Moved>,
    /// Whether an address found on lo belongs there (LVS).
    pub(crate) lvs: bool,
    /// Address labels that were added, with their values.
    pub(crate) address_labels: Vec<(Ipv6Addr, u32)>,
}

/// An address of the resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
    /// It was there before the first start: a failed start leaves it alone.
    pub(crate) found: bool,
}

/// An address that was on `lo`: what is needed to put it back as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moved {
    pub(crate) ip: IpAddr,
    prefix: u8,
    label: Option<String>,
    scope: u8,
}

impl Moved {
    pub(crate) fn new(address: &Address) -> Moved {
        let Address { ip, prefix, ref label, scope, .. } = *address;
        Moved { ip, prefix, label: label.clone(), scope }
    }

    /// What adds it again to `lo`, which has this index.
    pub(crate) fn again(&self, index: u32) -> NewAddress {
        let new = NewAddress::new(index, self.ip, self.prefix);
        NewAddress { label: self.label.clone(), scope: Some(self.scope), ..new }
    }
}

/// A route before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangedRoute {
    pub(crate) before: Route,
    pub(crate) after: Route,
}

impl Record {
    /// What is held of this address.
    pub(crate) fn held(&self, ip: IpAddr) -> Option<&Held> {
        self.addresses.iter().find(|held| held.ip == ip)
    }

    /// Whether start put this address here (and did not just find it).
    pub(crate) fn put(&self, ip: IpAddr) -> bool {
        self.held(ip).is_some_and(|held| !held.found)
    }

    /// Whether there is more to undo than addresses, which anybody may have removed.
    pub(crate) fn has_more_than_addresses(&self) -> bool {
        !self.routes.is_empty() || !self.from_loopback.is_empty() || !self.address_labels.is_empty()
    }
}
