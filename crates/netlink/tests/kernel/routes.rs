//! Routes: told, changed and put back exactly.

use crate::*;
use netlink::Route;

/// All routes of a table, as iproute2 tells them, with what it has to say in detail.
fn shown(family: &str, table: u32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in ip(&format!("-d {family} route show table {table}")).lines() {
        match line.strip_prefix('\t') {
            Some(hop) => {
                let route = lines.last_mut().unwrap();
                route.push('|');
                route.push_str(hop.trim());
            }
            None => lines.push(line.trim().to_owned()),
        }
    }
    lines
}

/// The same without what runs down by itself.
fn lasting(family: &str, table: u32) -> Vec<String> {
    let without_expiry = |line: String| {
        let mut words = line.split(' ');
        let mut kept = Vec::new();
        while let Some(word) = words.next() {
            match word {
                "expires" => drop(words.next()),
                word => kept.push(word),
            }
        }
        kept.join(" ")
    };
    shown(family, table).into_iter().map(without_expiry).collect()
}

/// Links with addresses of both families, gateways within reach, and further addresses that can be sources.
fn with_networks() {
    with_veth();
    ip_batch(
        "address add 10.1.0.1/24 dev v0\naddress add 10.1.0.9/24 dev v0\n\
         address add 10.2.0.1/24 dev v1\naddress add 10.2.0.9/24 dev v1\n\
         address add 2001:db8:1::1/64 dev v0 nodad\naddress add 2001:db8:1::9/64 dev v0 nodad\n\
         address add 2001:db8:2::1/64 dev v1 nodad\n",
    );
}

/// Routes of every kind that comes to mind; `T` is the table.
const IPV4: &str = "\
    route add default via 10.1.0.2 dev v0 table T\n\
    route add default via 10.2.0.2 dev v1 metric 100 table T proto dhcp\n\
    route add 10.9.1.0/24 via 10.1.0.2 table T mtu 1400 advmss 1360 initcwnd 20 initrwnd 30 rto_min 10ms quickack 1\n\
    route add 10.9.2.0/24 via 10.1.0.2 table T mtu lock 1300 congctl reno features ecn\n\
    route add 10.9.3.0/24 dev v0 scope link table T proto 77 src 10.1.0.1\n\
    route add 10.9.4.0/24 via 192.0.2.1 dev v0 onlink table T\n\
    route add 10.9.5.0/24 table T nexthop via 10.1.0.2 dev v0 weight 3 nexthop via 10.2.0.2 dev v1 weight 5\n\
    route add 10.9.6.0/24 table T nexthop via 192.0.2.1 dev v0 onlink nexthop via 10.2.0.2 dev v1\n\
    route add 10.9.7.0/24 nhid 7 table T\n\
    route add 10.9.8.0/24 nhid 9 table T metric 5\n\
    route add 10.9.9.0/24 via inet6 2001:db8:1::2 dev v0 table T\n\
    route add 10.9.10.0/24 tos 0x10 via 10.1.0.2 table T\n\
    route add blackhole 10.9.11.0/24 table T\n\
    route add unreachable 10.9.12.0/24 metric 7 table T\n\
    route add 10.9.13.0/24 encap ip id 42 dst 10.2.0.2 dev v0 table T\n";
const IPV6: &str = "\
    route add default via 2001:db8:1::2 dev v0 table T proto static pref high\n\
    route add default via 2001:db8:2::2 dev v1 metric 2000 table T\n\
    route add 2001:db8:9:1::/64 via 2001:db8:1::2 table T mtu 1400 advmss 1300 initcwnd 20 hoplimit 7\n\
    route add 2001:db8:9:2::/64 dev v0 table T proto 77 src 2001:db8:1::1 metric 5\n\
    route add 2001:db8:9:3::/64 via 2001:db8:7::2 dev v0 onlink table T\n\
    route add 2001:db8:9:4::/64 table T nexthop via 2001:db8:1::2 weight 3 nexthop via 2001:db8:2::2 weight 5\n\
    route add 2001:db8:9:5::/64 nhid 8 table T\n\
    route add 2001:db8:9:6::/64 via 2001:db8:1::2 table T expires 600\n\
    route add 2001:db8:9:7::/64 via 2001:db8:1::2 table T pref low\n\
    route add blackhole 2001:db8:9:8::/64 table T\n\
    route add 2001:db8:9:9::/64 from 2001:db8:1::/64 via 2001:db8:1::2 table T\n";
const NEXTHOPS: &str = "\
    nexthop add id 7 via 10.1.0.2 dev v0\nnexthop add id 17 via 10.2.0.2 dev v1\n\
    nexthop add id 9 group 7,2/17,4\nnexthop add id 8 via 2001:db8:1::2 dev v0\n";

fn with_routes(table: u32) {
    with_networks();
    ip_batch(NEXTHOPS);
    for line in IPV4.lines() {
        ip(&line.replace("table T", &format!("table {table}")));
    }
    for line in IPV6.lines() {
        ip(&format!("-6 {}", line.replace("table T", &format!("table {table}"))));
    }
}

fn routes(table: u32) -> Vec<Route> {
    let mut netlink = open();
    let mut all = netlink.routes(true, table, |_| true).unwrap();
    all.extend(netlink.routes(false, table, |_| true).unwrap());
    all
}

fn route(to: &str, table: u32) -> Route {
    let found: Vec<Route> =
        routes(table).into_iter().filter(|route| route.to_string().split(' ').next() == Some(to)).collect();
    let [route] = &found[..] else { panic!("{to}: {found:?}") };
    route.clone()
}

#[test]
fn every_kind_of_route_is_put_back_exactly_from_what_was_saved() {
    for table in [254, 100, 4711] {
        with_routes(table);
        let (ipv4, ipv6) = (lasting("-4", table), lasting("-6", table));
        let before: Vec<Route> = routes(table).into_iter().filter(|route| route.protocol != 2).collect();
        assert_eq!(before.len(), IPV4.lines().count() + IPV6.lines().count());
        // As through a state file.
        let saved = serde_json::to_string(&before).unwrap();
        let saved: Vec<Route> = serde_json::from_str(&saved).unwrap();
        assert_eq!(saved, before);
        for route in &saved {
            let mut netlink = open();
            netlink.route_delete(route).unwrap();
            assert!(netlink.route_delete(route).unwrap_err().is_gone(), "{route}");
            netlink.route_add(route).unwrap_or_else(|error| panic!("{route:?}: {error}"));
            assert!(netlink.route_add(route).unwrap_err().is_exists(), "{route}");
            assert!(routes(table).iter().any(|now| now.same_as(route)), "{route}");
        }
        assert_eq!((lasting("-4", table), lasting("-6", table)), (ipv4, ipv6), "table {table}");
        assert_eq!(shown("-6", table).iter().filter(|line| line.contains(" expires ")).count(), 1);
    }
}

#[test]
fn a_source_is_given_to_every_kind_of_route_and_taken_away_again() {
    let table = 100;
    with_routes(table);
    let (ipv4, ipv6) = (lasting("-4", table), lasting("-6", table));
    let (four, six) = (addr("10.1.0.9"), addr("2001:db8:1::9"));
    for before in routes(table).iter().filter(|route| route.is_unicast()) {
        let after = before.with_prefsrc(Some(if before.is_ipv4() { four } else { six }));
        let mut netlink = open();
        netlink.route_change(before, &after).unwrap_or_else(|error| panic!("{before}: {error}"));
        let now: Vec<Route> = routes(table).into_iter().filter(|now| now.same_place(&after)).collect();
        assert!(matches!(&now[..], [now] if now.same_as(&after)), "{after:?}\n{now:?}");
        assert!(!now[0].same_as(before));
        netlink.route_change(&now[0], before).unwrap_or_else(|error| panic!("{before}: {error}"));
        assert!(routes(table).iter().any(|now| now.same_as(before)), "{before}");
    }
    assert_eq!((lasting("-4", table), lasting("-6", table)), (ipv4, ipv6));
}

/// Equal routes through several links are usual: `fe80::/64`, a network with two ways in. "Replace" takes the first.
#[test]
fn of_routes_in_one_place_the_one_that_was_meant_is_changed() {
    with_networks();
    ip_batch(
        "route add 10.9.0.0/16 dev v0\nroute append 10.9.0.0/16 dev v1\n\
         route add 2001:db8:9::/64 dev v0 metric 256\nroute append 2001:db8:9::/64 dev v1 metric 256\n",
    );
    let (v0, v1) = (index("v0"), index("v1"));
    let before = (lasting("-4", 254), lasting("-6", 254));
    for (to, source) in
        [("10.9.0.0/16", ["10.1.0.9", "10.2.0.9"]), ("2001:db8:9::/64", ["2001:db8:1::9", "2001:db8:2::1"])]
    {
        for (link, source) in [(v0, addr(source[0])), (v1, addr(source[1]))] {
            let of = |oif: u32| -> Route {
                let all =
                    routes(254).into_iter().filter(|r| r.oif == Some(oif) && r.to_string().starts_with(to));
                let all: Vec<Route> = all.collect();
                assert_eq!(all.len(), 1, "{to} {all:?}");
                all[0].clone()
            };
            let other = if link == v0 { v1 } else { v0 };
            let (old, untouched) = (of(link), of(other));
            open().route_change(&old, &old.with_prefsrc(Some(source))).unwrap();
            assert_eq!(of(link).prefsrc, Some(source));
            assert!(of(other).same_as(&untouched));
            open().route_change(&of(link), &old).unwrap();
            assert!(of(link).same_as(&old) && of(other).same_as(&untouched));
        }
    }
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let after = (lasting("-4", 254), lasting("-6", 254));
    assert_eq!((sorted(before.0), sorted(before.1)), (sorted(after.0), sorted(after.1)));
}

#[test]
fn a_route_that_is_not_there_any_more_is_not_changed() {
    with_networks();
    ip("route add 10.9.0.0/16 dev v0");
    let old = route("10.9.0.0/16", 254);
    ip("route change 10.9.0.0/16 dev v0 mtu 1400");
    let before = shown("-4", 254);
    let error = open().route_change(&old, &old.with_prefsrc(Some(addr("10.1.0.9")))).unwrap_err();
    assert!(error.is_gone(), "{error}");
    assert_eq!(shown("-4", 254), before);
}

#[test]
fn state_is_no_property_of_a_route() {
    with_routes(100);
    let before = routes(100);
    // The peer goes down: nexthops are "dead" or "linkdown" then, and routes to be put back must not say so.
    sysctl("ipv4/conf/all/ignore_routes_with_linkdown", "0");
    ip("link set v1 down");
    let down = routes(100);
    for old in &before {
        if let Some(now) =
            down.iter().find(|now| now.same_place(old) && now.oif == old.oif && old.oif == Some(index("v0")))
        {
            assert!(now.same_as(old), "{old:?}\n{now:?}");
        }
    }
    let multipath = down.iter().find(|route| route.to_string().starts_with("10.9.5.0/24"));
    if let Some(multipath) = multipath {
        let old = before.iter().find(|old| old.same_place(multipath)).unwrap();
        assert!(old.same_as(multipath), "{old:?}\n{multipath:?}");
    }
}

/// A lifetime runs down while a route is held; what is left of it stays with the route that is put in its place.
#[test]
fn a_lifetime_is_kept_and_does_not_begin_anew() {
    with_networks();
    ip("-6 route add 2001:db8:9::/64 via 2001:db8:1::2 expires 600");
    let old = route("2001:db8:9::/64", 254);
    ip("-6 route replace 2001:db8:9::/64 via 2001:db8:1::2 expires 300");
    assert!(old.same_as(&route("2001:db8:9::/64", 254)));
    let new = old.with_prefsrc(Some(addr("2001:db8:1::9")));
    open().route_change(&old, &new).unwrap();
    let shown = shown("-6", 254).into_iter().find(|line| line.contains("2001:db8:9::/64")).unwrap();
    let left: u32 = shown.split("expires ").nth(1).unwrap().split("sec").next().unwrap().parse().unwrap();
    assert!(left <= 300 && left > 200, "{shown}");
}

#[test]
fn the_route_to_an_address_is_the_tables_entry() {
    with_networks();
    ip("route add default via 10.1.0.2 src 10.1.0.9 metric 50");
    let mut netlink = open();
    let connected = netlink.route_match(addr("10.2.0.77")).unwrap().unwrap();
    assert_eq!((connected.destination(), connected.oif), ((addr("10.2.0.0"), 24), Some(index("v1"))));
    assert!(connected.is_connected() && connected.protocol == 2);
    let away = netlink.route_match(addr("192.0.2.1")).unwrap().unwrap();
    assert_eq!((away.destination(), away.gateway), ((addr("0.0.0.0"), 0), Some(addr("10.1.0.2"))));
    assert_eq!((away.prefsrc, away.priority), (Some(addr("10.1.0.9")), Some(50)));
    assert!(away.same_as(&route("default", 254)) && !away.is_connected());
    let six = netlink.route_match(addr("2001:db8:2::77")).unwrap().unwrap();
    assert_eq!((six.destination(), six.oif), ((addr("2001:db8:2::"), 64), Some(index("v1"))));
    assert_eq!(netlink.route_match(addr("2001:db8:ffff::1")).unwrap(), None);
    ip("route del default");
    assert_eq!(netlink.route_match(addr("192.0.2.1")).unwrap(), None);
}

#[test]
fn only_the_routes_of_one_table_are_told_and_none_of_a_table_that_is_not_there() {
    with_networks();
    ip("route add 10.9.0.0/16 dev v0 table 4711");
    assert_eq!(routes(4711).len(), 1);
    assert_eq!(routes(4712), []);
    assert!(routes(254).iter().all(|route| route.table == 254));
    assert!(routes(255).iter().any(|route| route.destination() == (addr("10.1.0.1"), 32)));
}
