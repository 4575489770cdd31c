//! The routes of `source_for`, case by case: no root, no kernel.

use super::*;
use crate::config::tests::config;
use netlink::{Link, LinkFlags};

const VIP: [(&str, &str); 2] = [("ip", "192.0.2.10/24"), ("source_for", "default")];

/// The body of an RTM_NEWROUTE message, as the kernel sends it (rtnetlink(7)).
fn route(net: &str, oif: u32, gateway: Option<&str>, metric: Option<u32>, source: Option<&str>) -> Route {
    let (ip, prefix) = net.split_once('/').unwrap();
    let (ip, prefix): (IpAddr, u8) = (ip.parse().unwrap(), prefix.parse().unwrap());
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let family = if ip.is_ipv4() { 2 } else { 10 };
    let protocol = if gateway.is_some() { 3 } else { KERNEL_PROTOCOL };
    let mut body = vec![family, prefix, 0, 0, 254, protocol, 0, 1, 0, 0, 0, 0];
    let mut attribute = |kind: u16, value: &[u8]| {
        body.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        body.extend_from_slice(&kind.to_ne_bytes());
        body.extend_from_slice(value);
    };
    attribute(15, &254u32.to_ne_bytes());
    if prefix > 0 {
        attribute(1, &octets(ip));
    }
    attribute(4, &oif.to_ne_bytes());
    if let Some(gateway) = gateway {
        attribute(5, &octets(gateway.parse().unwrap()));
    }
    if let Some(metric) = metric {
        attribute(6, &metric.to_ne_bytes());
    }
    if let Some(source) = source {
        attribute(7, &octets(source.parse().unwrap()));
    }
    Route::parse(&body).unwrap()
}

fn facts(routes: &[Route]) -> Facts {
    let flags = LinkFlags { up: true, ..LinkFlags::default() };
    let link = |index, name: &str| Link { index, name: name.into(), flags, ..Link::default() };
    Facts { links: vec![link(2, "eth0"), link(3, "eth1")], addresses: Vec::new(), routes: routes.to_vec() }
}

fn default0() -> Route {
    route("0.0.0.0/0", 2, Some("192.0.2.254"), Some(100), None)
}

fn default1() -> Route {
    route("0.0.0.0/0", 3, Some("198.51.100.254"), Some(200), Some("198.51.100.1"))
}

fn said(changes: &[Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn the_own_interface_comes_first_and_any_other_is_better_than_none() {
    let chosen = |index, routes: &[Route]| {
        let changes = wanted_routes(&config(&VIP), index, &facts(routes)).unwrap();
        changes.iter().map(|change| change.before.oif.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(chosen(2, &[default0(), default1()]), [2]);
    assert_eq!(chosen(1, &[default0(), default1()]), [2, 3]);
    assert_eq!(chosen(2, &[default1()]), [3]);
}

#[test]
fn a_route_that_does_not_exist_is_told() {
    let missing = |pairs: &[(&str, &str)], routes: &[Route]| {
        wanted_routes(&config(pairs), 2, &facts(routes)).unwrap_err()
    };
    assert!(missing(&VIP, &[]).contains("no route to 0.0.0.0/0 in routing table 254; add it"));
    let both = [("ip", "192.0.2.10/24 2001:db8::10/64"), ("source_for", "default")];
    assert!(missing(&both, &[]).contains("no default route"));
    assert!(wanted_routes(&config(&both), 2, &facts(&[default0()])).is_ok(), "one family is enough");
    let network = [("ip", "192.0.2.10/24"), ("source_for", "default 203.0.113.0/24")];
    assert!(missing(&network, &[default0()]).contains("203.0.113.0/24"));
    let metric = [&VIP[..], &[("source_metric", "300")]].concat();
    assert!(missing(&metric, &[default0()]).contains("no route"));
}

#[test]
fn taking_and_giving_back_are_exact_opposites() {
    let before = facts(&[default0(), default1()]);
    let changed = wanted_routes(&config(&VIP), 2, &before).unwrap();
    assert_eq!(
        said(&take(&changed)),
        ["making 192.0.2.10 the source of route default via 192.0.2.254 metric 100"]
    );
    let running = facts(&[changed[0].after.clone(), default1()]);
    assert_eq!(fault(&config(&VIP), 2, &running), None);
    let back = give_back(&changed, &config(&VIP).ips(), &running);
    assert_eq!(back, [Change::SetSource { from: changed[0].after.clone(), to: default0() }]);
    assert_eq!(give_back(&changed, &config(&VIP).ips(), &before), [], "nothing was taken yet");
}

#[test]
fn a_source_that_was_taken_away_is_a_fault() {
    let fault = fault(&config(&VIP), 2, &facts(&[default0()])).unwrap();
    assert!(fault.contains("default via 192.0.2.254 metric 100 is not 192.0.2.10"), "{fault}");
}

#[test]
fn what_somebody_else_changed_meanwhile_stays() {
    let changed = wanted_routes(&config(&VIP), 2, &facts(&[default0()])).unwrap();
    let give_back = |now: &[Route]| give_back(&changed, &config(&VIP).ips(), &facts(now));
    // Another gateway, our source still: only the source is given up.
    let moved = route("0.0.0.0/0", 2, Some("192.0.2.253"), Some(100), Some("192.0.2.10"));
    let kept = route("0.0.0.0/0", 2, Some("192.0.2.253"), Some(100), None);
    assert_eq!(give_back(std::slice::from_ref(&moved)), [Change::SetSource { from: moved, to: kept }]);
    // Another gateway and no source: none of our business any more.
    let other = route("0.0.0.0/0", 2, Some("192.0.2.253"), Some(100), None);
    assert_eq!(give_back(&[other]), []);
    // Gone, as the kernel does when the address is removed by hand.
    assert_eq!(give_back(&[]), [Change::RestoreRoute { route: default0(), beside: false }]);
    let mut down = facts(&[]);
    down.links[0].flags.up = false;
    assert_eq!(super::give_back(&changed, &config(&VIP).ips(), &down), [], "the kernel would refuse");
}

#[test]
fn routes_that_nobody_remembers_do_not_vanish_with_the_address() {
    let orphan = route("0.0.0.0/0", 2, Some("192.0.2.254"), Some(100), Some("192.0.2.10"));
    let own = route("192.0.2.0/24", 2, None, None, Some("192.0.2.10"));
    let changes = give_back(&[], &config(&VIP).ips(), &facts(&[orphan.clone(), own]));
    assert_eq!(changes, [Change::SetSource { from: orphan, to: default0() }]);
}

#[test]
fn a_second_start_remembers_what_was_before_the_first() {
    let first = wanted_routes(&config(&VIP), 2, &facts(&[default0()])).unwrap();
    let second = wanted_routes(&config(&VIP), 2, &facts(&[first[0].after.clone()])).unwrap();
    assert_eq!(take(&second), []);
    assert_eq!(remember(&first, &second), first);
}

#[test]
fn the_tables_that_have_to_be_looked_at() {
    let changed = wanted_routes(&config(&VIP), 2, &facts(&[default0()])).unwrap();
    let record = Record { routes: changed, ..Record::default() };
    let other = config(&[("ip", "192.0.2.10"), ("source_for", "default"), ("source_table", "100")]);
    assert_eq!(interest(Some(&other), Some(&record), &[]).tables.into_iter().collect::<Vec<_>>(), [100, 254]);
    assert!(interest(None, None, &[]).tables.is_empty());
}

#[test]
fn routes_in_one_place_keep_their_order() {
    let via = |gateway, source| route("0.0.0.0/0", 2, Some(gateway), None, source);
    let (first, second) = (via("192.0.2.252", None), via("192.0.2.253", None));
    let third = route("0.0.0.0/0", 3, Some("198.51.100.254"), None, None);
    let before = facts(&[first.clone(), second.clone(), third.clone()]);
    let changed = wanted_routes(&config(&VIP), 2, &before).unwrap();
    let order =
        |changes: &[Change]| said(changes).iter().map(|line| line[..6].to_owned()).collect::<Vec<_>>();
    // The first is changed where it is. The second becomes the last, so the third has to follow.
    assert_eq!(order(&take(&changed)), ["making", "making", "keepin"]);
    let running = facts(&changed.iter().map(|change| change.after.clone()).collect::<Vec<_>>());
    assert_eq!(order(&give_back(&changed, &config(&VIP).ips(), &running)), ["leavin", "leavin", "keepin"]);
    // Killed while the third was moved.
    let killed = facts(&running.routes[..2]);
    let changes = give_back(&changed, &config(&VIP).ips(), &killed);
    assert_eq!(changes.last(), Some(&Change::RestoreRoute { route: third.clone(), beside: true }));
    // Killed before the third was moved: what is there is right, but not in its order.
    let killed = facts(&[first.clone(), third.clone(), second.clone()]);
    let moved = [Change::MoveBehind { route: second.clone() }, Change::MoveBehind { route: third.clone() }];
    assert_eq!(give_back(&changed, &config(&VIP).ips(), &killed), moved);
    // Killed between the two halves of a change: the second is there as it was and as it is to be.
    let killed = facts(&[first, second, third.clone(), changed[1].after.clone()]);
    assert_eq!(give_back(&changed, &config(&VIP).ips(), &killed), []);
    // The address was removed by hand, and two routes with it.
    let changes = give_back(&changed, &config(&VIP).ips(), &facts(&[third]));
    assert_eq!(order(&changes), ["puttin", "puttin", "keepin"]);
    assert_eq!(give_back(&changed, &config(&VIP).ips(), &before), []);
}

#[test]
fn a_route_that_pointed_to_the_address_before_start_outlives_it() {
    let by_hand = route("0.0.0.0/0", 2, Some("192.0.2.254"), Some(100), Some("192.0.2.10"));
    let changed = wanted_routes(&config(&VIP), 2, &facts(std::slice::from_ref(&by_hand))).unwrap();
    assert_eq!(take(&changed), []);
    let back =
        give_back(&remember(&[], &changed), &config(&VIP).ips(), &facts(std::slice::from_ref(&by_hand)));
    assert_eq!(back, [Change::SetSource { from: by_hand, to: default0() }]);
}

#[test]
fn a_route_that_replaced_a_known_one_is_remembered_instead() {
    let first = wanted_routes(&config(&VIP), 2, &facts(&[default0()])).unwrap();
    let other = route("0.0.0.0/0", 2, Some("192.0.2.253"), Some(100), None);
    let second = wanted_routes(&config(&VIP), 2, &facts(&[other])).unwrap();
    assert_eq!(remember(&first, &second), second);
}
