//! What the agent does to the node: each change is a value that prints itself, and that is what is logged.

use netlink::{Address, NewAddress, Route};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// One change of the node's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Take the interface up.
    RaiseLink { index: u32, nic: String },
    /// Add an address.
    AddAddress { address: NewAddress, nic: String },
    /// Remove an address.
    RemoveAddress {
        address: Address,
        nic: String,
        /// Why it goes, where that is not plain: somebody else configured it.
        foreign: bool,
    },
    /// Replace a route by the same route with another source.
    SetSource { from: Route, to: Route },
    /// Put back a route that is gone, `beside` others that have the same place, or where none has.
    RestoreRoute { route: Route, beside: bool },
    /// Move a route behind the others that have the same place: one that was changed got there too, and the first is
    /// the one that is used.
    MoveBehind { route: Route },
    /// Give the address a label in the table of source address selection.
    AddAddressLabel { ip: Ipv6Addr, value: u32 },
    /// Take that label away.
    RemoveAddressLabel { ip: Ipv6Addr, value: u32 },
    /// Reset the TCP connections of the address.
    CutConnections { ip: IpAddr },
    /// Drop what the kernel cached about routes.
    FlushRouteCache,
}

impl Change {
    /// Whether it is a route that it changes.
    pub(crate) fn is_about_routes(&self) -> bool {
        matches!(self, Change::SetSource { .. } | Change::RestoreRoute { .. } | Change::MoveBehind { .. })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::RaiseLink { nic, .. } => write!(f, "taking interface {nic} up"),
            Change::AddAddress { address, nic } => {
                write!(f, "adding {}/{} to {nic}", address.ip, address.prefix)?;
                match &address.label {
                    Some(label) if label != nic => write!(f, " as {label}"),
                    _ => Ok(()),
                }
            }
            Change::RemoveAddress { address, nic, foreign, .. } => {
                write!(f, "removing {}/{} from {nic}", address.ip, address.prefix)?;
                if *foreign { f.write_str(", where this resource did not put it") } else { Ok(()) }
            }
            Change::SetSource { from, to } => match to.prefsrc {
                Some(source) => write!(f, "making {source} the source of route {from}"),
                None => write!(f, "leaving the source of route {from} to the kernel"),
            },
            Change::RestoreRoute { route, .. } => write!(f, "putting back route {route}"),
            Change::MoveBehind { route } => write!(f, "keeping route {route} in its order"),
            Change::AddAddressLabel { ip, value } => write!(f, "adding address label {value} for {ip}"),
            Change::RemoveAddressLabel { ip, value } => write!(f, "removing address label {value} of {ip}"),
            Change::CutConnections { ip } => write!(f, "resetting the TCP connections of {ip}"),
            Change::FlushRouteCache => f.write_str("flushing the routing cache"),
        }
    }
}
