//! The address as preferred source of routes (`source_for`): which routes, and what becomes of them. Pure.

use crate::change::Change;
use crate::config::{Config, Source};
use crate::facts::Facts;
use crate::record::{ChangedRoute, Record};
use crate::values::Destination;
use netlink::Route;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The routes to be changed for the configured destinations, each with what it becomes.
///
/// # Errors
/// A destination to which there is no route, in words for the administrator.
pub(crate) fn wanted_routes(config: &Config, index: u32, facts: &Facts) -> Result<Vec<ChangedRoute>, String> {
    let Some(source) = &config.source else { return Ok(Vec::new()) };
    let mut changes: Vec<ChangedRoute> = Vec::new();
    for v4 in [true, false] {
        let Some(ip) = config.ips().into_iter().find(|ip| ip.is_ipv4() == v4) else { continue };
        for destination in &source.destinations {
            let Some((net, prefix)) = concrete(*destination, v4) else { continue };
            let all: Vec<&Route> = matching(facts, source, net, prefix).collect();
            let own: Vec<&Route> = all.iter().copied().filter(|route| route.oif == Some(index)).collect();
            let chosen = if own.is_empty() { all } else { own };
            if chosen.is_empty() {
                // Of addresses of both families, one may have no default route here.
                if *destination == Destination::Default && mixed(config) {
                    continue;
                }
                return Err(missing(&format!("route to {net}/{prefix}"), source.table));
            }
            // Those beside a chosen one are remembered too: what happens to it moves them.
            let beside = |route: &Route| chosen.iter().any(|one| one.same_place(route));
            for before in &facts.routes {
                let taken = chosen.contains(&before);
                let known = changes.iter().any(|change| change.before == *before);
                if !known && (taken || beside(before)) {
                    let after = if taken { before.with_prefsrc(Some(ip)) } else { before.clone() };
                    changes.push(ChangedRoute { before: before.clone(), after });
                }
            }
        }
    }
    if changes.is_empty() {
        return Err(missing("default route", source.table));
    }
    Ok(changes)
}

fn missing(what: &str, table: u32) -> String {
    format!("source_for: there is no {what} in routing table {table}; add it, or set source_table")
}

fn mixed(config: &Config) -> bool {
    let ips = config.ips();
    ips.iter().any(IpAddr::is_ipv4) && ips.iter().any(IpAddr::is_ipv6)
}

fn concrete(destination: Destination, v4: bool) -> Option<(IpAddr, u8)> {
    match destination {
        Destination::Default if v4 => Some((IpAddr::from([0, 0, 0, 0]), 0)),
        Destination::Default => Some((IpAddr::from([0u16; 8]), 0)),
        Destination::Network(net, prefix) => (net.is_ipv4() == v4).then_some((net, prefix)),
    }
}

fn matching<'a>(
    facts: &'a Facts,
    source: &'a Source,
    net: IpAddr,
    prefix: u8,
) -> impl Iterator<Item = &'a Route> {
    facts.routes.iter().filter(move |route| {
        route.destination() == (net, prefix)
            && route.table == source.table
            && source.metric.is_none_or(|metric| route.priority.unwrap_or(0) == metric)
            && route.is_unicast()
    })
}

/// Which routes have to be looked at: a routing table may hold a million that do not matter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Interest<'a> {
    /// The tables that the configuration or the record speaks of.
    pub(crate) tables: BTreeSet<u32>,
    networks: BTreeSet<(IpAddr, u8)>,
    ips: &'a [IpAddr],
}

impl Interest<'_> {
    /// Whether a route leads to one of the destinations, or has one of the addresses as its source.
    pub(crate) fn in_route(&self, route: &Route) -> bool {
        self.networks.contains(&route.destination())
            || route.prefsrc.is_some_and(|source| self.ips.contains(&source))
    }
}

/// What of the routing tables the configuration or the record speaks of.
pub(crate) fn interest<'a>(
    config: Option<&Config>,
    record: Option<&Record>,
    ips: &'a [IpAddr],
) -> Interest<'a> {
    let configured = config.and_then(|config| config.source.as_ref());
    let remembered = record.map_or(&[][..], |record| &record.routes);
    let destinations = configured.iter().flat_map(|source| &source.destinations);
    let named =
        destinations.flat_map(|named| [true, false].into_iter().filter_map(|v4| concrete(*named, v4)));
    Interest {
        tables: configured
            .map(|source| source.table)
            .into_iter()
            .chain(remembered.iter().map(|change| change.before.table))
            .collect(),
        networks: named.chain(remembered.iter().map(|change| change.before.destination())).collect(),
        ips,
    }
}

/// What is wrong with the routes while the resource runs; `None` when all have the address as their source.
pub(crate) fn fault(config: &Config, index: u32, facts: &Facts) -> Option<String> {
    let changes = match wanted_routes(config, index, facts) {
        Ok(changes) => changes,
        Err(fault) => return Some(fault),
    };
    let wrong = changes.iter().find(|change| change.before.prefsrc != change.after.prefsrc)?;
    Some(format!("the source of route {} is not {}", wrong.before, wrong.after.prefsrc?))
}

/// The changes that give the routes their source.
pub(crate) fn take(changes: &[ChangedRoute]) -> Vec<Change> {
    let now: Vec<&Route> = changes.iter().map(|change| &change.before).collect();
    let wanted = |place: &Route| {
        let here = changes.iter().filter(|change| change.before.same_place(place));
        here.map(|change| (Some(&change.before), change.after.clone())).collect()
    };
    places(&now).into_iter().flat_map(|place| arrange(&place, wanted(place[0]))).collect()
}

/// What remembered routes were, of which nothing is left although they could be.
pub(crate) fn vanished(changed: &[ChangedRoute], facts: &Facts) -> Vec<Route> {
    let before = changed.iter().map(|change| &change.before);
    let there = |route: &Route| facts.routes.iter().any(|now| now.same_place(route));
    before.filter(|route| !there(route) && is_possible(route, facts)).cloned().collect()
}

/// Whether the kernel would take a route: its link has to be up.
fn is_possible(route: &Route, facts: &Facts) -> bool {
    route.oif.is_none_or(|oif| facts.link(oif).is_some_and(|link| link.flags.up))
}

/// The routes that cannot be put back as they were because their links are down or gone.
pub(crate) fn lost<'a>(changed: &'a [ChangedRoute], facts: &Facts) -> Vec<&'a Route> {
    let before = changed.iter().map(|change| &change.before);
    let there = |route: &Route| facts.routes.iter().any(|now| now.same_place(route));
    before.filter(|route| !there(route) && !is_possible(route, facts)).collect()
}

/// What a new start remembers: routes that were changed by an earlier one keep what they were before that. A route that
/// somebody has since put in the place of a known one is the one to be remembered there.
pub(crate) fn remember(earlier: &[ChangedRoute], now: &[ChangedRoute]) -> Vec<ChangedRoute> {
    let known = |change: &ChangedRoute| earlier.iter().any(|known| known.after.same_as(&change.after));
    let replaced = |old: &ChangedRoute| {
        !now.iter().any(|change| change.after.same_as(&old.after))
            && now.iter().any(|change| change.after.same_place(&old.after) && !known(change))
    };
    let mut all: Vec<ChangedRoute> = earlier.iter().filter(|old| !replaced(old)).cloned().collect();
    all.extend(now.iter().filter(|change| !known(change)).cloned());
    all
}

/// The changes that restore the routes.
///
/// A route that is as start left it becomes what it was. One that somebody changed since then keeps that change, and
/// only gives the address up. One that is gone, as the kernel does with routes whose source address is removed by hand,
/// is put back unless another route took its place.
pub(crate) fn give_back(changed: &[ChangedRoute], ips: &[IpAddr], facts: &Facts) -> Vec<Change> {
    let ours = |route: &Route| route.prefsrc.is_some_and(|source| ips.contains(&source));
    // A route that points to the address although we did not make it so (or have lost our memory of it) would vanish
    // together with the address: IPv4 routes do.
    let freed = |route: Route| {
        let orphan = ours(&route) && route.is_unicast() && route.protocol != KERNEL_PROTOCOL;
        if orphan { route.with_prefsrc(None) } else { route }
    };
    let mut all: Vec<&Route> = facts.routes.iter().collect();
    all.extend(changed.iter().map(|change| &change.before));
    let mut changes = Vec::new();
    for place in places(&all) {
        let known: Vec<_> = changed.iter().filter(|change| change.before.same_place(place[0])).collect();
        let now: Vec<&Route> = facts.routes.iter().filter(|route| route.same_place(place[0])).collect();
        let find = |like: &Route| now.iter().copied().find(|route| route.same_as(like));
        // Where there are both, a change was killed half way; what it had made goes with the address.
        let became = |change: &ChangedRoute| find(&change.before).or_else(|| find(&change.after));
        let of_known = |route: &Route| {
            known.iter().any(|change| change.before.same_as(route) || change.after.same_as(route))
        };
        let mut wanted: Vec<(Option<&Route>, Route)> = Vec::new();
        for change in &known {
            let there = became(change);
            if there.is_some() || now.len() < known.len() && is_possible(&change.before, facts) {
                wanted.push((there, freed(change.before.clone())));
            }
        }
        let source = known.first().and_then(|change| change.before.prefsrc);
        let foreign = now.iter().copied().filter(|route| !of_known(route)).map(|route| {
            let to =
                if ours(route) && !known.is_empty() { route.with_prefsrc(source) } else { route.clone() };
            (Some(route), freed(to))
        });
        let in_front = now.iter().take_while(|route| !of_known(route)).count();
        let mut foreign: Vec<_> = foreign.collect();
        wanted.extend(foreign.split_off(in_front));
        foreign.extend(wanted);
        changes.extend(arrange(&now, foreign));
    }
    changes
}

/// The routes by the place that they have, in which they are in the order of their table.
fn places<'a>(routes: &[&'a Route]) -> Vec<Vec<&'a Route>> {
    let mut places: Vec<Vec<&Route>> = Vec::new();
    for route in routes {
        match places.iter_mut().find(|place| place[0].same_place(route)) {
            Some(place) => place.push(route),
            None => places.push(vec![route]),
        }
    }
    places
}

/// The changes that make of the routes in one place what is wanted there, in the order wanted: each what it is now, if
/// it is there, and what it becomes.
///
/// Of several routes in one place the kernel uses the first, so that their order counts. One that is not the first (or,
/// of IPv6, not alone) cannot be changed where it is: it becomes the last, and those that come after it have to follow.
fn arrange(now: &[&Route], wanted: Vec<(Option<&Route>, Route)>) -> Vec<Change> {
    let crowded = wanted.len() > 1;
    let mut changes = Vec::new();
    let mut follow = false;
    for (at, (from, to)) in wanted.into_iter().enumerate() {
        let Some(from) = from else {
            changes.push(Change::RestoreRoute { route: to, beside: crowded });
            follow = true;
            continue;
        };
        let differs = from.prefsrc != to.prefsrc;
        let here = !follow && now.get(at).is_some_and(|other| std::ptr::eq(*other, from));
        let can_stay = if from.is_ipv4() { at == 0 } else { now.len() == 1 };
        if !here || differs && !can_stay {
            follow = true;
            // The first one would be changed where it is.
            let first = from.is_ipv4() && now.first().is_some_and(|first| std::ptr::eq(*first, from));
            if !differs || first {
                changes.push(Change::MoveBehind { route: from.clone() });
            }
        }
        if differs {
            changes.push(Change::SetSource { from: from.clone(), to });
        }
    }
    changes
}

/// RTPROT_KERNEL: a route that the kernel made for an address, and removes with it.
const KERNEL_PROTOCOL: u8 = 2;

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
