//! The decisions, case by case and by property: no root, no kernel.

use super::*;
use crate::config::tests::config;
use netlink::{AddressFlags, LinkFlags};
use proptest::prelude::*;

fn link(index: u32, name: &str) -> Link {
    let flags = LinkFlags { up: true, running: true, lower_up: true, ..LinkFlags::default() };
    Link { index, name: name.into(), flags, ..Link::default() }
}

fn lo() -> Link {
    let mut lo = link(1, "lo");
    lo.flags.loopback = true;
    lo
}

fn address(index: u32, cidr: &str) -> Address {
    let (ip, prefix) = cidr.split_once('/').unwrap();
    let label = Some(match index {
        1 => "lo".to_owned(),
        n => format!("eth{}", n - 2),
    });
    Address {
        index,
        ip: ip.parse().unwrap(),
        prefix: prefix.parse().unwrap(),
        label: label.filter(|_| ip.contains('.')),
        flags: AddressFlags { permanent: true, ..AddressFlags::default() },
        peer: None,
        broadcast: None,
        scope: 0,
        preferred_lft: None,
    }
}

/// `lo`, `eth0` (2) with 192.0.2.1/24 and 2001:db8::1/64, `eth1` (3) with 198.51.100.1/24, and more addresses.
fn facts(more: &[Address]) -> Facts {
    let mut addresses =
        vec![address(2, "192.0.2.1/24"), address(2, "2001:db8::1/64"), address(3, "198.51.100.1/24")];
    addresses.extend_from_slice(more);
    Facts { links: vec![lo(), link(2, "eth0"), link(3, "eth1")], addresses, routes: Vec::new() }
}

const ONE: [(&str, &str); 3] = [("ip", "192.0.2.10"), ("cidr_netmask", "24"), ("nic", "eth0")];

fn one() -> Config {
    config(&ONE)
}

fn with(name: &'static str, value: &'static str) -> Config {
    config(&[&[(name, value)][..], &ONE].concat())
}

fn seen(config: &Config, facts: &Facts) -> Result<Status, String> {
    status(config, None, facts, false).map_err(|failure| failure.reason)
}

fn changes(config: &Config, record: Option<&Record>, facts: &Facts) -> Vec<String> {
    let link = facts.link(2).unwrap();
    start(config, record, link, facts).unwrap().changes.iter().map(ToString::to_string).collect()
}

fn refusal(config: &Config, record: Option<&Record>, facts: &Facts) -> String {
    start(config, record, facts.link(2).unwrap(), facts).unwrap_err().reason
}

/// What the kernel's table is after these changes, as far as addresses go.
fn after(facts: &Facts, changes: &[Change]) -> Facts {
    let mut facts = facts.clone();
    for change in changes {
        match change {
            Change::AddAddress { address: new, .. } => facts.addresses.push(Address {
                label: new.label.clone(),
                ..address(new.index, &format!("{}/{}", new.ip, new.prefix))
            }),
            Change::RemoveAddress { address, .. } => facts.addresses.retain(|known| known != address),
            _ => {}
        }
    }
    facts
}

#[test]
fn nothing_there_is_stopped_and_all_there_is_running() {
    assert_eq!(seen(&one(), &facts(&[])), Ok(Status::Stopped));
    assert_eq!(seen(&one(), &facts(&[address(2, "192.0.2.10/24")])), Ok(Status::Running));
}

#[test]
fn what_is_there_but_wrong_is_told_and_is_not_stopped() {
    let labelled = Address { label: Some("eth0:old".into()), ..address(2, "192.0.2.10/24") };
    let mut failed = address(2, "192.0.2.10/24");
    failed.flags.dad_failed = true;
    let mut tentative = address(2, "192.0.2.10/24");
    tentative.flags.tentative = true;
    for (there, config, part) in [
        (vec![address(3, "192.0.2.10/24")], one(), "192.0.2.10 is on eth1, not on eth0"),
        (vec![address(2, "192.0.2.10/16")], one(), "has prefix length 16 on eth0, not 24"),
        (vec![address(2, "192.0.2.10/24"), address(3, "192.0.2.10/24")], one(), "is on eth1, not on eth0"),
        (vec![labelled], with("iflabel", "web"), "has the label eth0:old on eth0, not eth0:web"),
        (vec![failed], one(), "belongs to another host"),
        (vec![tentative], one(), "cannot be used yet"),
        (
            vec![address(2, "192.0.2.10/24")],
            with("nic", "eth9"),
            "there is no interface eth9 (was it renamed?)",
        ),
        (vec![address(2, "192.0.2.10/24")], with("ip", "192.0.2.10 192.0.2.11"), "192.0.2.11 is missing"),
    ] {
        let reason = seen(&config, &facts(&there)).unwrap_err();
        assert!(reason.contains(part), "{part:?} in {reason:?}");
    }
}

#[test]
fn a_foreign_label_is_nobodys_business_unless_one_is_asked_for() {
    let labelled = Address { label: Some("eth0:old".into()), ..address(2, "192.0.2.10/24") };
    assert_eq!(seen(&one(), &facts(&[labelled])), Ok(Status::Running));
}

#[test]
fn a_link_that_carries_nothing_is_judged_as_configured() {
    let mut facts = facts(&[address(2, "192.0.2.10/24")]);
    facts.links[1].flags.lower_up = false;
    assert!(seen(&one(), &facts).unwrap_err().contains("eth0 has no carrier"));
    let degraded = seen(&with("check_link_status", "degraded"), &facts);
    assert_eq!(degraded, Ok(Status::DegradedRunning("interface eth0 has no carrier".into())));
    assert_eq!(seen(&with("check_link_status", "false"), &facts), Ok(Status::Running));
    facts.links[1].flags.up = false;
    assert!(seen(&one(), &facts).unwrap_err().contains("eth0 is down"));
    assert!(refusal(&one(), None, &facts).contains("eth0 is down"));
    assert_eq!(changes(&with("check_link_status", "false"), None, &self::facts(&[])).len(), 1, "it is up");
    let raised = changes(&with("check_link_status", "false"), None, &facts);
    assert_eq!(raised, ["taking interface eth0 up"], "the address is there");
}

#[test]
fn a_missing_interface_is_a_failure_only_while_it_should_run() {
    let config = with("nic", "eth9");
    assert!(seen(&config, &facts(&[])).unwrap_err().contains("nic=eth9: there is no such interface"));
    assert_eq!(status(&config, None, &facts(&[]), true).unwrap(), Status::Stopped);
}

#[test]
fn addresses_that_vanished_are_a_failure_where_more_was_set_up() {
    let record = Record { address_labels: vec![("2001:db8::10".parse().unwrap(), 99)], ..Record::default() };
    assert!(status(&one(), Some(&record), &facts(&[]), false).unwrap_err().reason.contains("stop cleans up"));
    assert_eq!(status(&one(), Some(&Record::default()), &facts(&[]), false).unwrap(), Status::Stopped);
}

#[test]
fn with_lvs_an_address_on_lo_does_not_count() {
    let config = with("lvs_support", "true");
    let on_lo = facts(&[address(1, "192.0.2.10/32")]);
    assert_eq!(seen(&config, &on_lo), Ok(Status::Stopped));
    assert_eq!(
        changes(&config, None, &on_lo)[0],
        "removing 192.0.2.10/32 from lo, where this resource did not put it"
    );
    let start = start(&config, None, on_lo.link(2).unwrap(), &on_lo).unwrap();
    let running = after(&on_lo, &start.changes);
    assert_eq!(seen(&config, &running), Ok(Status::Running));
    let stopped = after(&running, &stop(Some(&config), Some(&start.record), &running));
    assert_eq!(stopped.addresses.iter().filter(|a| a.ip == config.ips()[0]).count(), 1);
    assert_eq!(stopped.places(config.ips()[0], true), [] as [&Address; 0]);
}

#[test]
fn prefixes_and_broadcasts() {
    let added = |pairs: &[(&str, &str)]| {
        let facts = facts(&[]);
        let start = start(&config(pairs), None, facts.link(2).unwrap(), &facts).unwrap();
        match &start.changes[0] {
            Change::AddAddress { address, .. } => (address.prefix, address.broadcast.map(|b| b.to_string())),
            other => panic!("{other}"),
        }
    };
    let broadcast = |text: &str| Some(text.to_owned());
    assert_eq!(added(&[("ip", "192.0.2.10")]), (24, broadcast("192.0.2.255")), "the interface's network");
    assert_eq!(added(&[("ip", "192.0.2.10/25")]), (25, broadcast("192.0.2.127")));
    assert_eq!(added(&[("ip", "192.0.2.10/25"), ("broadcast", "-")]), (25, broadcast("192.0.2.0")));
    assert_eq!(added(&[("ip", "192.0.2.10/24"), ("broadcast", "192.0.2.7")]), (24, broadcast("192.0.2.7")));
    assert_eq!(added(&[("ip", "192.0.2.10/32")]), (32, None));
    assert_eq!(added(&[("ip", "192.0.2.10/31")]), (31, None));
    assert_eq!(added(&[("ip", "2001:db8::10")]), (64, None));
    let elsewhere = config(&[("ip", "203.0.113.1"), ("nic", "eth0")]);
    assert!(refusal(&elsewhere, None, &facts(&[])).contains("give the prefix length in cidr_netmask"));
}

#[test]
fn a_prefix_that_start_found_is_remembered() {
    // The bug of detecting it anew: a more specific network appears later on the same interface.
    let config = config(&[("ip", "192.0.2.10")]);
    let before = facts(&[]);
    let start = start(&config, None, before.link(2).unwrap(), &before).unwrap();
    let mut later = after(&before, &start.changes);
    later.addresses.push(address(2, "192.0.2.9/28"));
    assert_eq!(status(&config, Some(&start.record), &later, false).unwrap(), Status::Running);
    assert_eq!(stop(Some(&config), Some(&start.record), &later).len(), 1);
}

#[test]
fn start_mends_what_is_its_own_and_refuses_what_is_not() {
    let facts_wrong = facts(&[address(2, "192.0.2.10/16")]);
    assert!(refusal(&one(), None, &facts_wrong).contains("this resource did not put it there"));
    let held = Held { ip: "192.0.2.10".parse().unwrap(), prefix: 16, found: false };
    let record = Record { index: 2, nic: "eth0".into(), addresses: vec![held.clone()], ..Record::default() };
    assert_eq!(
        changes(&one(), Some(&record), &facts_wrong),
        ["removing 192.0.2.10/16 from eth0", "adding 192.0.2.10/24 to eth0"]
    );
    let found = Record { addresses: vec![Held { found: true, ..held }], ..record };
    assert!(refusal(&one(), Some(&found), &facts_wrong).contains("did not put it there"));
}

#[test]
fn what_was_only_found_survives_a_failed_start_but_not_a_stop() {
    let config = with("ip", "192.0.2.10 192.0.2.11");
    let before = facts(&[address(2, "192.0.2.10/24")]);
    let start = start(&config, None, before.link(2).unwrap(), &before).unwrap();
    assert_eq!(start.found, [config.ips()[0]]);
    let running = after(&before, &start.changes);
    let undone: Vec<_> = undo(&start.record, &running).iter().map(ToString::to_string).collect();
    assert_eq!(undone, ["removing 192.0.2.11/24 from eth0"]);
    assert_eq!(stop(Some(&config), Some(&start.record), &running).len(), 2);
}

#[test]
fn stop_needs_neither_configuration_nor_record() {
    let config = one();
    let running = facts(&[address(2, "192.0.2.10/24")]);
    let [Change::RemoveAddress { foreign: true, .. }] = &stop(Some(&config), None, &running)[..] else {
        panic!("{:?}", stop(Some(&config), None, &running));
    };
    let record = Record {
        index: 2,
        addresses: vec![Held { ip: config.ips()[0], prefix: 24, found: false }],
        ..Record::default()
    };
    let [Change::RemoveAddress { foreign: false, .. }] = &stop(None, Some(&record), &running)[..] else {
        panic!("by the record alone");
    };
    assert_eq!(stop(None, None, &running), []);
}

proptest! {
    /// Whatever the state of the node and whatever is remembered: after a stop the address is nowhere, a second stop has
    /// nothing to do, and if a start is possible, it leads to a running resource from which a second start changes nothing.
    #[test]
    fn stop_and_start_reach_what_they_promise(
        there in proptest::collection::vec((2u32..4, prop_oneof![Just(16u8), Just(24), Just(32)]), 0..3),
        remembered in proptest::option::of((2u32..4, prop_oneof![Just(16u8), Just(24)], any::<bool>())),
        named in any::<bool>(),
        label in any::<bool>(),
    ) {
        let mut pairs = vec![("ip", "192.0.2.10"), ("cidr_netmask", "24")];
        pairs.extend(named.then_some(("nic", "eth0")));
        pairs.extend(label.then_some(("iflabel", "web")));
        let config = config(&pairs);
        let ip = config.ips()[0];
        let mut more: Vec<Address> = there.iter().map(|(i, p)| address(*i, &format!("192.0.2.10/{p}"))).collect();
        more.dedup();
        let facts = facts(&more);
        let record = remembered.map(|(index, prefix, found)| Record {
            index,
            nic: format!("eth{}", index - 2),
            addresses: vec![Held { ip, prefix, found }],
            ..Record::default()
        });

        let stopped = after(&facts, &stop(Some(&config), record.as_ref(), &facts));
        prop_assert!(stopped.places(ip, false).is_empty());
        prop_assert_eq!(stop(Some(&config), record.as_ref(), &stopped), vec![]);
        prop_assert_eq!(status(&config, None, &stopped, true).ok(), Some(Status::Stopped));

        let link = facts.link(2).unwrap();
        if let Ok(planned) = start(&config, record.as_ref(), link, &facts) {
            let running = after(&facts, &planned.changes);
            prop_assert_eq!(status(&config, Some(&planned.record), &running, false).ok(), Some(Status::Running));
            let again = start(&config, Some(&planned.record), link, &running);
            prop_assert_eq!(again.map(|again| again.changes).ok(), Some(vec![]));
        }
    }
}
