//! The decisions: what the state is, and which changes start and stop are made of. Pure functions over plain data.

use crate::change::Change;
use crate::config::{Config, Wanted};
use crate::facts::Facts;
use crate::record::{Held, Moved, Record};
use crate::source;
use crate::values::{Broadcast, LinkCheck, bits};
use netlink::{Address, Carrier, Link, NewAddress};
use ocf::{Code, Failure, Status};
use std::net::{IpAddr, Ipv4Addr};

/// How one address stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// On no link.
    Absent,
    /// As it should be.
    Good,
    /// As it should be, but the kernel is still looking for duplicates.
    Tentative,
    /// There, but not as it should be: what is wrong, and whether start can mend it by itself.
    Wrong { what: String, mendable: bool },
}

/// The link that the resource is on or would be on, as far as it is known: by its configured name, or else by the
/// record.
pub(crate) fn place<'a>(config: &Config, record: Option<&Record>, facts: &'a Facts) -> Option<&'a Link> {
    match &config.nic {
        Some(name) => facts.link_named(name),
        None => facts.link(record?.index),
    }
}

/// How this address stands.
pub(crate) fn standing(wanted: &Wanted, config: &Config, record: Option<&Record>, facts: &Facts) -> Standing {
    let ip = wanted.ip;
    let places = facts.places(ip, config.lvs);
    if places.is_empty() {
        return Standing::Absent;
    }
    let ours = record.is_some_and(|record| record.put(ip));
    let wrong = |mendable, what| Standing::Wrong { what, mendable };
    let place = place(config, record, facts);
    if let (None, Some(nic)) = (place, &config.nic) {
        let found = facts.name(places[0].index);
        return wrong(
            false,
            format!("{ip} is on {found}, and there is no interface {nic} (was it renamed?)"),
        );
    }
    let elsewhere = places.iter().find(|address| place.is_some_and(|link| link.index != address.index));
    if let Some(elsewhere) = elsewhere {
        let right = facts.name(place.map_or(0, |link| link.index));
        return wrong(ours, format!("{ip} is on {}, not on {right}", facts.name(elsewhere.index)));
    }
    let nic = facts.name(places[0].index);
    if let Some(other) = places.iter().find(|address| address.index != places[0].index) {
        return wrong(ours, format!("{ip} is on {nic} and on {}", facts.name(other.index)));
    }
    let expected = wanted.prefix.or(record.and_then(|record| record.held(ip)).map(|held| held.prefix));
    let Some(address) = places.iter().find(|address| expected.is_none_or(|prefix| address.prefix == prefix))
    else {
        let (found, expected) = (places[0].prefix, expected.unwrap_or_default());
        return wrong(ours, format!("{ip} has prefix length {found} on {nic}, not {expected}"));
    };
    if address.flags.dad_failed {
        let what = format!("{ip} belongs to another host: duplicate address detection failed on {nic}");
        return wrong(ours, what);
    }
    let label = config.label_on(&nic);
    if config.label.is_some() && ip.is_ipv4() && address.label.as_deref() != Some(&label) {
        let found = address.label.as_deref().unwrap_or("none");
        return wrong(true, format!("{ip} has the label {found} on {nic}, not {label}"));
    }
    if address.is_usable() { Standing::Good } else { Standing::Tentative }
}

/// What a monitor says of the observed state. `stopping` is whether nothing but a clean state is of interest, as for a
/// probe and for the last look of a stop.
///
/// # Errors
/// The resource is there but broken, with what is wrong.
pub(crate) fn status(
    config: &Config,
    record: Option<&Record>,
    facts: &Facts,
    stopping: bool,
) -> Result<Status, Failure> {
    let standings: Vec<(IpAddr, Standing)> =
        config.wanted.iter().map(|wanted| (wanted.ip, standing(wanted, config, record, facts))).collect();
    let wrong: Vec<&str> = standings
        .iter()
        .filter_map(|(_, standing)| match standing {
            Standing::Wrong { what, .. } => Some(what.as_str()),
            _ => None,
        })
        .collect();
    if !wrong.is_empty() {
        return Err(Failure::generic(wrong.join("; ")));
    }
    let all = |like: &Standing| {
        standings.iter().filter(|(_, s)| s == like).map(|(ip, _)| ip.to_string()).collect::<Vec<_>>()
    };
    let absent = all(&Standing::Absent);
    let place = place(config, record, facts);
    if absent.len() == standings.len() {
        return nothing_there(config, record, place, stopping);
    }
    if !absent.is_empty() {
        let whole = if absent.len() == 1 { "is" } else { "are" };
        let missing = absent.join(" and ");
        return Err(Failure::generic(format!(
            "{missing} {whole} missing, while the other addresses are there"
        )));
    }
    let tentative = all(&Standing::Tentative);
    if !tentative.is_empty() {
        let who = tentative.join(" and ");
        return Err(Failure::generic(format!(
            "{who} cannot be used yet: duplicate address detection has not ended"
        )));
    }
    let index = facts.places(config.wanted[0].ip, config.lvs).first().map(|address| address.index);
    let link = place.or(index.and_then(|index| facts.link(index)));
    let link_fault = link.and_then(|link| link_fault(config, link));
    if let (Some(fault), LinkCheck::Fail) = (&link_fault, config.link_check) {
        return Err(Failure::generic(fault.clone()));
    }
    if let Some(fault) = source::fault(config, link.map_or(0, |link| link.index), facts) {
        return Err(Failure::generic(fault));
    }
    Ok(link_fault.map_or(Status::Running, Status::DegradedRunning))
}

fn nothing_there(
    config: &Config,
    record: Option<&Record>,
    place: Option<&Link>,
    stopping: bool,
) -> Result<Status, Failure> {
    if record.is_some_and(Record::has_more_than_addresses) {
        let left = "the addresses are gone, but not all else that start set up: stop cleans up";
        return Err(Failure::generic(left));
    }
    match &config.nic {
        Some(nic) if place.is_none() && !stopping => {
            Err(Failure::generic(format!("nic={nic}: there is no such interface on this node")))
        }
        _ => Ok(Status::Stopped),
    }
}

/// What is wrong with the link, in words; `None` also where that is not to be looked at.
pub(crate) fn link_fault(config: &Config, link: &Link) -> Option<String> {
    let words = match link.carrier() {
        Carrier::Up => return None,
        Carrier::AdminDown => "is down (ip link set it up)",
        Carrier::NoCarrier => "has no carrier",
    };
    (config.link_check != LinkCheck::Ignore).then(|| format!("interface {} {words}", link.name))
}

/// Where an address goes: the link and the prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
}

/// The prefix length for each address on this link: as wanted, as remembered, or as the link's own network has it.
///
/// # Errors
/// An address that is in none of the link's networks and has no prefix given.
pub(crate) fn placed(
    config: &Config,
    record: Option<&Record>,
    link: &Link,
    facts: &Facts,
) -> Result<Vec<Placed>, Failure> {
    let mut all = Vec::new();
    for wanted in &config.wanted {
        let ip = wanted.ip;
        let here = |address: &&Address| address.index == link.index;
        let remembered = record.and_then(|record| record.held(ip)).map(|held| held.prefix);
        let present = || facts.places(ip, config.lvs).into_iter().find(here).map(|address| address.prefix);
        let connected = || {
            let networks = facts.addresses.iter().filter(here).filter(|address| address.ip != ip);
            networks.filter(|address| address.contains(ip)).map(|address| address.prefix).max()
        };
        let prefix = wanted.prefix.or(remembered).or_else(present).or_else(connected);
        let prefix = prefix.or_else(|| link.flags.loopback.then(|| bits(ip)));
        let Some(prefix) = prefix else {
            let what = format!(
                "interface {} has no network that contains {ip}: give the prefix length in cidr_netmask",
                link.name
            );
            return Err(Failure::new(Code::Installed, what));
        };
        all.push(Placed { ip, prefix });
    }
    Ok(all)
}

/// From so many addresses on an interface on, the kernel's search for one of them by label costs a monitor more than
/// all the rest of it.
const CROWD: usize = 500;

/// What a monitor remembers of addresses that run without a start of ours, as after a migration from IPaddr2: with it,
/// the next monitor knows where to look.
pub(crate) fn adopted(config: &Config, facts: &Facts) -> Option<Record> {
    let held = |ip: IpAddr| {
        let prefix = facts.places(ip, config.lvs).first()?.prefix;
        Some(Held { ip, prefix, found: true })
    };
    let index = facts.places(config.wanted.first()?.ip, config.lvs).first()?.index;
    Some(Record {
        namespace: config.namespace.clone(),
        index,
        nic: facts.name(index),
        addresses: config.ips().into_iter().filter_map(held).collect(),
        lvs: config.lvs,
        ..Record::default()
    })
}

/// What start does, and what has to be remembered before it does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) record: Record,
    pub(crate) changes: Vec<Change>,
    /// Addresses that were there already although no start is remembered.
    pub(crate) found: Vec<IpAddr>,
}

impl Start {
    /// The addresses that are added: they are asked about before, and announced after.
    pub(crate) fn added(&self) -> Vec<IpAddr> {
        let added = |change: &Change| match change {
            Change::AddAddress { address, .. } => Some(address.ip),
            _ => None,
        };
        self.changes.iter().filter_map(added).collect()
    }
}

/// Plans a start on this link.
///
/// # Errors
/// The link cannot carry the addresses, or somebody else has put one where it should not be.
pub(crate) fn start(
    config: &Config,
    record: Option<&Record>,
    link: &Link,
    facts: &Facts,
) -> Result<Start, Failure> {
    let mut changes = Vec::new();
    let raise = config.link_check == LinkCheck::Ignore && !link.flags.up;
    if raise {
        changes.push(Change::RaiseLink { index: link.index, nic: link.name.clone() });
    } else if config.link_check == LinkCheck::Fail
        && let Some(fault) = link_fault(config, link)
    {
        return Err(Failure::generic(fault));
    }
    if config.label_on(&link.name).len() > crate::values::NAME_MAX && config.label.is_some() {
        let long = format!(
            "the label {} is longer than 15 characters: shorten iflabel",
            config.label_on(&link.name)
        );
        return Err(Failure::new(Code::Args, long));
    }
    let mut next = Record {
        namespace: config.namespace.clone(),
        index: link.index,
        nic: link.name.clone(),
        lvs: config.lvs,
        crowded: facts.addresses.iter().filter(|address| address.index == link.index).count() > CROWD,
        ..record.cloned().unwrap_or_default()
    };
    let mut found = Vec::new();
    for (wanted, place) in config.wanted.iter().zip(placed(config, record, link, facts)?) {
        let ip = wanted.ip;
        // An address that is not remembered may still be on another link than the one chosen now.
        let exact = Wanted { ip, prefix: Some(place.prefix) };
        let remembered = Record { index: link.index, ..record.cloned().unwrap_or_default() };
        let mut held = Held { ip, prefix: place.prefix, found: false };
        match standing(&exact, config, Some(&remembered), facts) {
            Standing::Good | Standing::Tentative => {
                held.found = record.and_then(|record| record.held(ip)).is_none_or(|held| held.found);
                if record.is_none() {
                    found.push(ip);
                }
            }
            Standing::Absent => {
                changes.extend(label(config, ip));
                changes.push(add(config, link, place));
            }
            Standing::Wrong { mendable: true, .. } => {
                let remove = facts.places(ip, config.lvs);
                changes.extend(remove.into_iter().map(|address| remove_address(address, record, facts)));
                changes.extend(label(config, ip));
                changes.push(add(config, link, place));
            }
            Standing::Wrong { what, mendable: false } => {
                let advice = "this resource did not put it there; remove it (ip address del), or change the parameters";
                return Err(Failure::generic(format!("{what}: {advice}")));
            }
        }
        if let (Some(value), IpAddr::V6(ip)) = (config.address_label, ip)
            && !next.address_labels.contains(&(ip, value))
        {
            next.address_labels.push((ip, value));
            // One that is added has got it just before.
            if held.found {
                changes.extend(label(config, ip.into()));
            }
        }
        next.addresses.retain(|known| known.ip != ip);
        next.addresses.push(held);
        if config.lvs && ip.is_ipv4() {
            for address in facts.addresses.iter().filter(|address| address.ip == ip) {
                if facts.link(address.index).is_some_and(|link| link.flags.loopback) {
                    changes.insert(0, remove_address(address, record, facts));
                    next.from_loopback.retain(|known| known.ip != ip);
                    next.from_loopback.push(Moved::new(address));
                }
            }
        }
    }
    // Routes vanish with their source address, as when somebody removes it by hand: what they were is remembered.
    let gone = source::vanished(&next.routes, facts);
    let mut facts = facts.clone();
    facts.routes.extend(gone.iter().cloned());
    changes.extend(gone.into_iter().map(|route| Change::RestoreRoute { route, beside: false }));
    let routes = source::wanted_routes(config, link.index, &facts).map_err(Failure::generic)?;
    changes.extend(source::take(&routes));
    next.routes = source::remember(&next.routes, &routes);
    Ok(Start { record: next, changes, found })
}

/// Gives an IPv6 address its label. Before the address, so that one which is there has it, wherever a start was killed.
fn label(config: &Config, ip: IpAddr) -> Option<Change> {
    let (Some(value), IpAddr::V6(ip)) = (config.address_label, ip) else { return None };
    Some(Change::AddAddressLabel { ip, value })
}

fn add(config: &Config, link: &Link, place: Placed) -> Change {
    let v4 = place.ip.is_ipv4();
    let address = NewAddress {
        index: link.index,
        ip: place.ip,
        prefix: place.prefix,
        label: v4.then(|| config.label_on(&link.name)).filter(|label| label.len() <= crate::values::NAME_MAX),
        broadcast: broadcast(config.broadcast, place),
        preferred_lft: config.preferred_lft,
        proto: config.proto,
        nodad: config.nodad && !v4,
        noprefixroute: config.noprefixroute,
        scope: None,
    };
    Change::AddAddress { address, nic: link.name.clone() }
}

fn broadcast(wanted: Broadcast, place: Placed) -> Option<Ipv4Addr> {
    let IpAddr::V4(ip) = place.ip else { return None };
    // A network of one or two addresses has no broadcast address (RFC 3021).
    let hosts = u32::MAX.checked_shr(place.prefix.into()).filter(|_| place.prefix < 31)?;
    match wanted {
        Broadcast::Ones if ip.is_loopback() => None,
        Broadcast::Ones => Some((u32::from(ip) | hosts).into()),
        Broadcast::Zeros => Some((u32::from(ip) & !hosts).into()),
        Broadcast::Address(address) => Some(address),
    }
}

fn remove_address(address: &Address, record: Option<&Record>, facts: &Facts) -> Change {
    Change::RemoveAddress {
        address: address.clone(),
        nic: facts.name(address.index),
        foreign: record.is_none_or(|record| {
            let ours = |held: &Held| held.prefix == address.prefix && !held.found;
            !(record.held(address.ip).is_some_and(ours) && record.index == address.index)
        }),
    }
}

/// Plans a stop: everything that the record holds is undone, and every address of the resource leaves every link,
/// whatever its prefix and whoever put it there. Works without a configuration, and without a record.
pub(crate) fn stop(config: Option<&Config>, record: Option<&Record>, facts: &Facts) -> Vec<Change> {
    let ips = addresses(config, record);
    let lvs = config.map_or(record.is_some_and(|record| record.lvs), |config| config.lvs);
    let mut changes = source::give_back(record.map_or(&[], |record| &record.routes), &ips, facts);
    let cut = config.is_some_and(|config| config.cut_connections);
    for ip in &ips {
        let places = facts.places(*ip, lvs);
        if cut && !places.is_empty() {
            changes.push(Change::CutConnections { ip: *ip });
        }
        // Where the start is not remembered there is only the configuration to say that there is a label.
        let labelled = |record: &Record| record.address_labels.iter().any(|(labelled, _)| labelled == ip);
        let forgotten = !places.is_empty() && !record.is_some_and(labelled);
        if let (true, Some(value), IpAddr::V6(ip)) =
            (forgotten, config.and_then(|config| config.address_label), *ip)
        {
            changes.push(Change::RemoveAddressLabel { ip, value });
        }
        changes.extend(places.into_iter().map(|address| remove_address(address, record, facts)));
    }
    let loopback = facts.links.iter().find(|link| link.flags.loopback);
    for moved in record.map_or(&[][..], |record| &record.from_loopback) {
        if let Some(lo) =
            loopback.filter(|lo| !facts.addresses.iter().any(|a| a.ip == moved.ip && a.index == lo.index))
        {
            changes.push(Change::AddAddress { address: moved.again(lo.index), nic: lo.name.clone() });
        }
    }
    for (ip, value) in record.map_or(&[][..], |record| &record.address_labels) {
        changes.push(Change::RemoveAddressLabel { ip: *ip, value: *value });
    }
    if config.is_some_and(|config| config.flush_routes) && !changes.is_empty() {
        changes.push(Change::FlushRouteCache);
    }
    changes
}

/// What undoes a start that failed: all that the record holds but what was only found.
pub(crate) fn undo(record: &Record, facts: &Facts) -> Vec<Change> {
    let put: Vec<Held> = record.addresses.iter().filter(|held| !held.found).cloned().collect();
    stop(None, Some(&Record { addresses: put, ..record.clone() }), facts)
}

/// The addresses that a stop is about: those configured now, and those that an earlier start put up.
pub(crate) fn addresses(config: Option<&Config>, record: Option<&Record>) -> Vec<IpAddr> {
    let mut ips = config.map(Config::ips).unwrap_or_default();
    for held in record.map_or(&[][..], |record| &record.addresses) {
        if !ips.contains(&held.ip) {
            ips.push(held.ip);
        }
    }
    ips
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
