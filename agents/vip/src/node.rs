//! The edge to the kernel: observes the node's links, addresses and routes, and carries changes out.

use crate::change::Change;
use crate::config::Config;
use crate::facts::Facts;
use crate::promote::PromoteSecondaries;
use crate::record::Record;
use crate::values::LinkCheck;
use netlink::{Address, Link, Netlink, Route, diag, namespace};
use nix::errno::Errno;
use ocf::{Call, Code, Deadline, Failure, OrCode};
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;

/// A way to the kernel, in the network namespace of the resource.
pub(crate) struct Node {
    netlink: Netlink,
    deadline: Deadline,
    /// What an administrator should know of the changes made.
    pub(crate) notes: Vec<String>,
}

impl Node {
    /// Enters the namespace, if there is one. `None`: that namespace is gone, and all that was in it.
    pub(crate) fn open(namespace: Option<&str>, deadline: Deadline) -> Result<Option<Node>, Failure> {
        if let Some(name) = namespace
            && !namespace::enter(name)?
        {
            return Ok(None);
        }
        Ok(Some(Node { netlink: Netlink::new(deadline.instant()), deadline, notes: Vec::new() }))
    }

    /// The cheap look of a monitor: whether all is as it should be, by a few questions whose cost does not grow with the
    /// number of addresses on the node. Anything else (`false`) is worth a thorough look.
    pub(crate) fn all_good_at_a_glance(&mut self, config: &Config, record: &Record) -> Result<bool, Failure> {
        let link = match &config.nic {
            Some(name) => self.netlink.link_state_by_name(name)?,
            None => self.netlink.link_state_by_index(record.index)?,
        };
        let Some(link) = link else { return Ok(false) };
        if config.link_check != LinkCheck::Ignore && !link.running {
            return Ok(false);
        }
        for wanted in &config.wanted {
            let held = record.held(wanted.ip).map(|held| held.prefix);
            let expected = wanted.prefix.or(held);
            let found = match wanted.ip {
                // Whether somebody gave it another prefix length or label is left to a thorough look.
                ip @ IpAddr::V4(_) if record.crowded => {
                    if self.netlink.is_local(link.index, ip)? {
                        held
                    } else {
                        None
                    }
                }
                IpAddr::V4(ip) => self.netlink.address4(&config.label_on(&link.name), ip)?,
                IpAddr::V6(ip) => {
                    self.netlink.address6(link.index, ip)?.filter(|a| a.is_usable()).map(|a| a.prefix)
                }
            };
            if found.is_none() || found != expected {
                return Ok(false);
            }
        }
        if config.source.is_none() {
            return Ok(true);
        }
        let mut facts = Facts::default();
        self.add_routes(&mut facts, Some(config), Some(record))?;
        Ok(crate::source::fault(config, link.index, &facts).is_none())
    }

    /// Everything that a decision needs.
    pub(crate) fn facts(
        &mut self,
        config: Option<&Config>,
        record: Option<&Record>,
    ) -> Result<Facts, Failure> {
        let mut facts =
            Facts { links: self.netlink.links()?, addresses: self.netlink.addresses()?, routes: Vec::new() };
        self.add_routes(&mut facts, config, record)?;
        Ok(facts)
    }

    fn add_routes(
        &mut self,
        facts: &mut Facts,
        config: Option<&Config>,
        record: Option<&Record>,
    ) -> Result<(), Failure> {
        let ips = crate::plan::addresses(config, record);
        let interest = crate::source::interest(config, record, &ips);
        for table in &interest.tables {
            for v4 in [true, false] {
                if ips.iter().any(|ip| ip.is_ipv4() == v4) {
                    let routes = self.netlink.routes(v4, *table, |route| interest.in_route(route))?;
                    facts.routes.extend(routes);
                }
            }
        }
        Ok(())
    }

    /// The link for a start: the configured one, or the one that an earlier start chose, or the one that has the
    /// address, or the one that the kernel's routing table connects to it.
    pub(crate) fn choose_link(
        &mut self,
        config: &Config,
        record: Option<&Record>,
        facts: &Facts,
    ) -> Result<Link, Failure> {
        let missing = |what: String| Failure::new(Code::Installed, what);
        if let Some(name) = &config.nic {
            let link = facts.link_named(name).cloned();
            return link
                .ok_or_else(|| missing(format!("nic={name}: there is no such interface on this node")));
        }
        let ip = config.wanted[0].ip;
        if let Some(record) = record
            && let Some(link) = facts.link(record.index)
            // Indexes begin anew in a new namespace; a name may have been changed.
            && (link.name == record.nic || facts.places(ip, config.lvs).iter().any(|at| at.index == link.index))
        {
            return Ok(link.clone());
        }
        let present = facts.places(ip, config.lvs).first().map(|address| address.index);
        let index = match present {
            Some(index) => index,
            None => {
                // A route through a gateway, or the default one, leads away from here.
                let leads_here =
                    |route: &Route| route.is_connected() && route.destination().1 > 0 && route.oif.is_some();
                let routed = self.netlink.route_match(ip)?.filter(leads_here).and_then(|route| route.oif);
                routed.or_else(|| facts.down_link_of(ip)).ok_or_else(|| {
                    missing(format!("no interface of this node has a network that contains {ip}: set nic"))
                })?
            }
        };
        facts.link(index).cloned().ok_or_else(|| missing(format!("the interface of {ip} has just vanished")))
    }

    /// Carries one change out. Undoing what is undone already is no error.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), Failure> {
        let done = match change {
            Change::RaiseLink { index, .. } => self.netlink.link_up(*index),
            Change::AddAddress { address, nic } => match self.netlink.address_add(address) {
                Err(error) if error.errno() == Errno::EACCES && address.ip.is_ipv6() => {
                    let what = format!(
                        "{} cannot be added: IPv6 is disabled on {nic} (sysctl net.ipv6.conf.{nic}.disable_ipv6)",
                        address.ip
                    );
                    return Err(Failure::new(Code::Installed, what));
                }
                added => added,
            },
            Change::RemoveAddress { address, nic, .. } => return self.remove_address(address, nic),
            Change::SetSource { from, to } => self.netlink.route_change(from, to),
            Change::RestoreRoute { route, beside: false } => self.netlink.route_add(route),
            Change::RestoreRoute { route, beside: true } => self.netlink.route_append(route),
            Change::MoveBehind { route } => {
                self.netlink.route_delete(route).and_then(|()| self.netlink.route_append(route))
            }
            Change::AddAddressLabel { ip, value } => self.netlink.address_label_add(*ip, *value),
            Change::RemoveAddressLabel { ip, value } => self.netlink.address_label_delete(*ip, *value),
            Change::CutConnections { ip } => diag::destroy_tcp(*ip, self.deadline.instant()).map(drop),
            Change::FlushRouteCache => return flush_route_cache(),
        };
        let undoing = matches!(change, Change::RemoveAddressLabel { .. });
        let done_before = matches!(change, Change::RestoreRoute { .. } | Change::AddAddressLabel { .. });
        match done {
            Err(error) if undoing && error.is_gone() || done_before && error.is_exists() => Ok(()),
            done => Ok(done?),
        }
    }

    /// Removes an address, and no other with it.
    fn remove_address(&mut self, address: &Address, nic: &str) -> Result<(), Failure> {
        let promoting = address.ip.is_ipv4().then(|| PromoteSecondaries::on(nic, self.deadline));
        let helpless = promoting.as_ref().is_some_and(|promoting| !promoting.is_on());
        // Where /proc/sys cannot be written (containers), the others are put back after the kernel has removed them.
        let before = if helpless { self.netlink.addresses()? } else { Vec::new() };
        match self.netlink.address_delete(address.index, address.ip, address.prefix) {
            Err(error) if error.is_gone() => {}
            deleted => deleted?,
        }
        if helpless {
            let after = self.netlink.addresses()?;
            let here = |one: &&Address| one.index == address.index && one.ip != address.ip;
            for lost in before.iter().filter(here).filter(|one| !after.iter().any(|now| now.ip == one.ip)) {
                self.netlink.address_add(&lost.again())?;
                self.notes.push(format!(
                    "{} was removed by the kernel together with {} and was put back: promote_secondaries cannot be set",
                    lost.ip, address.ip
                ));
            }
        }
        Ok(())
    }

    /// Waits until the kernel has made sure that nobody else has these IPv6 addresses.
    ///
    /// # Errors
    /// Somebody has, or it took too long.
    pub(crate) fn await_duplicate_detection(&mut self, index: u32, ips: &[IpAddr]) -> Result<(), Failure> {
        for ip in ips {
            let IpAddr::V6(v6) = ip else { continue };
            let settled = self
                .netlink
                .await_address6(index, *v6, |address| address.flags.dad_failed || address.is_usable());
            match settled {
                Ok(Some(address)) if address.flags.dad_failed => {
                    let what = format!(
                        "another host has {ip}, as the kernel's duplicate address detection found: find that host"
                    );
                    return Err(Failure::generic(what));
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    let what =
                        format!("{ip} vanished during duplicate address detection: another host may have it");
                    return Err(Failure::generic(what));
                }
                Err(error) if error.timed_out() => {
                    let what = format!(
                        "duplicate address detection of {ip} (it needs a carrier; nodad=true skips it)"
                    );
                    return Err(self.deadline.missed(&what));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether any link has this address.
    pub(crate) fn has(&mut self, index: u32, label: &str, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => matches!(self.netlink.address4(label, ip), Ok(Some(_))),
            IpAddr::V6(ip) => matches!(self.netlink.address6(index, ip), Ok(Some(_))),
        }
    }
}

/// Reads the record of an earlier start; one that makes no sense is as good as none, and said.
pub(crate) fn record(call: &Call) -> Option<Record> {
    call.state_file().load().unwrap_or_else(|failure| {
        call.log.warning(format_args!("{}; going on without it", failure.reason));
        None
    })
}

fn flush_route_cache() -> Result<(), Failure> {
    for path in ["/proc/sys/net/ipv4/route/flush", "/proc/sys/net/ipv6/route/flush"] {
        match fs::write(path, "1") {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).or_code(Code::Generic),
            _ => {}
        }
    }
    Ok(())
}
