//! Addresses, links, routes and TCP connections of the kernel, over one synchronous netlink socket.
//!
//! Messages are encoded and read by pure functions over bytes (`message`, `attribute`, and one module a family); the socket
//! is the edge. Nothing is waited for beyond the deadline that [`Netlink::new`] is given. Replies are what the kernel
//! says: unknown attributes are skipped (or kept, in a [`Route`]), truncated or foreign datagrams are never taken for an
//! answer, and a dump that was disturbed by a change is asked for again.

mod address;
mod attribute;
pub mod diag;
mod error;
mod label;
mod link;
mod message;
pub mod namespace;
mod netdevice;
#[cfg(test)]
mod oracle;
mod route;
mod socket;

pub use address::{Address, AddressFlags, NewAddress};
pub use error::Error;
pub use link::{Carrier, Link, LinkFlags};
pub use netdevice::LinkState;
pub use route::Route;

use address::RTM_NEWADDR;
use link::RTM_NEWLINK;
use message::{Request, flag};
use netdevice::NetDevice;
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use route::RTM_NEWROUTE;
use socket::Socket;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

/// Events about IPv6 addresses (linux/rtnetlink.h).
const RTMGRP_IPV6_IFADDR: u32 = 0x100;

/// A way to the kernel's network configuration, in the network namespace of the thread that asks first. Each of its
/// two sockets is opened when it is first needed: a monitor of IPv4 addresses has no use for netlink itself.
#[derive(Debug)]
pub struct Netlink {
    socket: Option<Socket>,
    lookups: Option<NetDevice>,
    deadline: Instant,
}

impl Netlink {
    /// For questions that all have to be answered by `deadline`.
    pub fn new(deadline: Instant) -> Netlink {
        Netlink { socket: None, lookups: None, deadline }
    }

    fn socket(&mut self) -> Result<&mut Socket, Error> {
        match &mut self.socket {
            Some(socket) => Ok(socket),
            none => Ok(none.insert(Socket::open(SockProtocol::NetlinkRoute, self.deadline)?)),
        }
    }

    fn lookups(&mut self) -> Result<&NetDevice, Error> {
        match &mut self.lookups {
            Some(lookups) => Ok(lookups),
            none => Ok(none.insert(NetDevice::open()?)),
        }
    }

    /// All links.
    ///
    /// # Errors
    /// As for every question: the kernel refuses, or does not answer in time.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        self.list("listing the interfaces", &link::dump(), RTM_NEWLINK, Link::parse)
    }

    /// The link of this name or alternative name.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn link_by_name(&mut self, name: &str) -> Result<Option<Link>, Error> {
        if !link::is_name(name) {
            return Ok(None);
        }
        self.one(&format!("looking for interface {name}"), &link::by_name(name), RTM_NEWLINK, Link::parse)
    }

    /// The link of this index.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn link_by_index(&mut self, index: u32) -> Result<Option<Link>, Error> {
        // To the kernel 0 means "not given", and an index is a signed number.
        if i32::try_from(index).map_or(true, |index| index == 0) {
            return Ok(None);
        }
        self.one(&format!("looking for interface {index}"), &link::by_index(index), RTM_NEWLINK, Link::parse)
    }

    /// The state of the link of this name or alternative name, by questions that cost next to nothing and wait for
    /// no lock of the kernel, whatever other programs do to its links.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn link_state_by_name(&mut self, name: &str) -> Result<Option<LinkState>, Error> {
        let index = if netdevice::fits(name) {
            self.lookups()?.index(name)?
        } else {
            self.link_by_name(name)?.map(|link| link.index)
        };
        index.map_or(Ok(None), |index| self.link_state_by_index(index))
    }

    /// The same for the link of this index.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn link_state_by_index(&mut self, index: u32) -> Result<Option<LinkState>, Error> {
        self.lookups()?.state(index)
    }

    /// Takes a link up.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn link_up(&mut self, index: u32) -> Result<(), Error> {
        self.act(&format!("taking interface {index} up"), &link::set_up(index))
    }

    /// All addresses of all links.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn addresses(&mut self) -> Result<Vec<Address>, Error> {
        self.list("listing the addresses", &address::dump(), RTM_NEWADDR, Address::parse)
    }

    /// The prefix length of an IPv4 address that has this label, which is the link's name unless it was given another;
    /// `None` if there is no such pair. The kernel goes through the link's addresses for it: 40 microseconds for 5,000.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn address4(&mut self, label: &str, ip: Ipv4Addr) -> Result<Option<u8>, Error> {
        self.lookups()?.prefix_of(label, ip)
    }

    /// This IPv6 address on this link. Its cost does not grow with the number of addresses.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn address6(&mut self, index: u32, ip: Ipv6Addr) -> Result<Option<Address>, Error> {
        let what = format!("looking for {ip}");
        let found = self.one(&what, &address::get6(index, ip), RTM_NEWADDR, Address::parse)?;
        // Asked about a link that does not exist, the kernel looks on all of them.
        Ok(found.filter(|address| address.index == index))
    }

    /// Adds an address. One that is there already is an error ([`Error::is_exists`]).
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn address_add(&mut self, new: &NewAddress) -> Result<(), Error> {
        let request = new.request(flag::ACK | flag::CREATE | flag::EXCL);
        self.act(&format!("adding {}/{}", new.ip, new.prefix), &request)
    }

    /// Removes exactly this address with this prefix length from this link.
    ///
    /// # Errors
    /// See [`Netlink::links`]; one that is not there is [`Error::is_gone`].
    pub fn address_delete(&mut self, index: u32, ip: IpAddr, prefix: u8) -> Result<(), Error> {
        let what = format!("removing {ip}/{prefix}");
        let missed = match self.act(&what, &address::delete(index, ip, prefix, None)) {
            Err(error) if ip.is_ipv4() && error.errno() == Errno::EADDRNOTAVAIL => error,
            done => return done,
        };
        // One with a peer is found by its peer only, and to leave it behind would be worse than a dump.
        let same = |a: &Address| a.index == index && a.ip == ip && a.prefix == prefix && a.peer.is_some();
        match self.addresses()?.into_iter().find(same) {
            Some(address) => self.act(&what, &address::delete(index, ip, prefix, address.peer)),
            None => Err(missed),
        }
    }

    /// Waits for an IPv6 address to be as `settled` wants it, and returns it; `None` if it vanishes.
    ///
    /// # Errors
    /// See [`Netlink::links`]; after the deadline, [`Error::timed_out`].
    pub fn await_address6(
        &mut self,
        index: u32,
        ip: Ipv6Addr,
        settled: impl Fn(&Address) -> bool,
    ) -> Result<Option<Address>, Error> {
        let mut events: Option<Socket> = None;
        loop {
            match self.address6(index, ip)? {
                Some(address) if !settled(&address) => {}
                done => return Ok(done),
            }
            match &mut events {
                Some(events) => events.event("waiting for an address event")?,
                None => {
                    // What happened before the subscription is seen by looking once more after it.
                    let socket = Socket::open(SockProtocol::NetlinkRoute, self.deadline)?;
                    socket.subscribe(RTMGRP_IPV6_IFADDR)?;
                    events = Some(socket);
                }
            }
        }
    }

    /// The routes of one family and table that `keep` wants: a table may hold a million. One that does not exist has none.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn routes(
        &mut self,
        ipv4: bool,
        table: u32,
        keep: impl Fn(&Route) -> bool,
    ) -> Result<Vec<Route>, Error> {
        // A kernel that does not filter tells of all tables.
        let read = |body: &[u8]| Route::parse(body).filter(|route| route.table == table && keep(route));
        match self.list("listing the routes", &route::dump(ipv4, table), RTM_NEWROUTE, read) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// The route by which the kernel would reach an address (longest prefix, policy rules considered).
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn route_match(&mut self, destination: IpAddr) -> Result<Option<Route>, Error> {
        let what = format!("looking for the route to {destination}");
        match self.one(&what, &route::entry_for(destination), RTM_NEWROUTE, Route::parse) {
            Err(error) if error.errno() == Errno::ENETUNREACH || error.errno() == Errno::EHOSTUNREACH => {
                Ok(None)
            }
            found => found,
        }
    }

    /// Whether this is an address of this link, as the routing table knows it: whatever their number, and whatever
    /// its prefix length and label. (A kernel before 4.13 says no.)
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn is_local(&mut self, index: u32, ip: IpAddr) -> Result<bool, Error> {
        let route = self.route_match(ip)?;
        Ok(route
            .is_some_and(|route| route.is_local() && route.oif == Some(index) && route.destination().0 == ip))
    }

    /// Adds a route, or replaces the one in its place.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn route_replace(&mut self, route: &Route) -> Result<(), Error> {
        self.act(&format!("replacing route {route}"), &route.replace())
    }

    /// Puts `new` where `old` is, and touches no other route: [`Netlink::route_replace`] takes the first of several in
    /// one place (the same network by two links is usual), whichever that is. A lifetime goes on as it was.
    ///
    /// There is no moment without a route, but where IPv6 has several in that place: there the kernel takes one that
    /// differs from another by its source alone for the same, so the old one has to go first.
    ///
    /// # Errors
    /// See [`Netlink::links`]; if `old` is not there, or not as it was, [`Error::is_gone`].
    pub fn route_change(&mut self, old: &Route, new: &Route) -> Result<(), Error> {
        let what = format!("changing route {old}");
        let place = self.routes(old.is_ipv4(), old.table, |route| route.same_place(old))?;
        let Some(at) = place.iter().position(|route| route.same_as(old)) else {
            return Err(Error::new(what, Errno::ESRCH, Some("it is not there, or was changed".into())));
        };
        if place.iter().any(|route| route.same_as(new)) {
            // The second half of a change whose process was killed.
            return if new.same_as(old) { Ok(()) } else { self.act(&what, &old.delete()) };
        }
        let new = new.with_lifetime_of(&place[at]);
        let first_is_old = if old.is_ipv4() { at == 0 } else { place.len() == 1 };
        if first_is_old && new.same_place(old) {
            return self.act(&what, &new.replace());
        }
        let (undo, second) = if old.is_ipv4() {
            self.act(&what, &new.append())?;
            (new.delete(), old.delete())
        } else {
            self.act(&what, &old.delete())?;
            (place[at].append(), new.append())
        };
        self.act(&what, &second).inspect_err(|_| {
            // The first half of a change that did not succeed is taken back; the error is the one that matters.
            let _best_effort = self.act(&what, &undo);
        })
    }

    /// Adds a route whose place is free.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn route_add(&mut self, route: &Route) -> Result<(), Error> {
        self.act(&format!("adding route {route}"), &route.add())
    }

    /// Adds a route behind those that have the same place.
    ///
    /// # Errors
    /// See [`Netlink::links`]; if it is there already, [`Error::is_exists`].
    pub fn route_append(&mut self, route: &Route) -> Result<(), Error> {
        self.act(&format!("adding route {route}"), &route.append())
    }

    /// Removes a route.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn route_delete(&mut self, route: &Route) -> Result<(), Error> {
        self.act(&format!("removing route {route}"), &route.delete())
    }

    /// Gives an IPv6 address a label in the table of source address selection.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn address_label_add(&mut self, ip: Ipv6Addr, value: u32) -> Result<(), Error> {
        self.act(&format!("adding address label {value} for {ip}"), &label::add(ip, value))
    }

    /// Takes that label away.
    ///
    /// # Errors
    /// See [`Netlink::links`].
    pub fn address_label_delete(&mut self, ip: Ipv6Addr, value: u32) -> Result<(), Error> {
        self.act(&format!("removing address label {value} of {ip}"), &label::delete(ip, value))
    }

    fn act(&mut self, what: &str, request: &Request) -> Result<(), Error> {
        self.socket()?.ask(what, request, |_, _| None::<()>).map(drop)
    }

    fn list<T>(
        &mut self,
        what: &str,
        request: &Request,
        kind: u16,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        self.socket()?.ask(what, request, |told, body| if told == kind { parse(body) } else { None })
    }

    /// The one object asked for; `None` if the kernel says that there is none.
    fn one<T>(
        &mut self,
        what: &str,
        request: &Request,
        kind: u16,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        match self.list(what, request, kind, parse) {
            Err(error) if error.is_gone() => Ok(None),
            found => Ok(found?.pop()),
        }
    }
}
