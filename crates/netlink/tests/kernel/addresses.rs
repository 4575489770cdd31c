//! Addresses: added, told, removed exactly, waited for.

use crate::*;
use netlink::{Address, NewAddress};
use std::net::{Ipv4Addr, Ipv6Addr};

fn all(ip: &str) -> Vec<Address> {
    let ip = addr(ip);
    open().addresses().unwrap().into_iter().filter(|address| address.ip == ip).collect()
}

fn one(ip: &str) -> Address {
    let [address] = &all(ip)[..] else { panic!("{ip}: {:?}", all(ip)) };
    address.clone()
}

#[test]
fn an_ipv4_address_is_added_with_all_that_was_asked() {
    with_veth();
    let new = NewAddress {
        label: Some("v0:web".into()),
        broadcast: Some(Ipv4Addr::new(10, 0, 0, 255)),
        preferred_lft: Some(0),
        proto: Some(77),
        noprefixroute: true,
        ..NewAddress::new(index("v0"), addr("10.0.0.9"), 24)
    };
    open().address_add(&new).unwrap();
    let told = one("10.0.0.9");
    assert_eq!((told.index, told.prefix, told.label.as_deref()), (index("v0"), 24, Some("v0:web")));
    assert!(told.flags.noprefixroute && told.flags.deprecated && !told.flags.secondary);
    assert_eq!(told.preferred_lft, None);
    let shown = ip("-4 address show dev v0");
    for word in ["10.0.0.9/24", "brd 10.0.0.255", "v0:web", "noprefixroute", "deprecated"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert_eq!(ip("route show dev v0"), "");
}

#[test]
fn what_is_there_already_is_said_to_be() {
    with_veth();
    let mut netlink = open();
    for text in ["10.0.0.9", "2001:db8::9"] {
        let new = NewAddress { nodad: true, ..NewAddress::new(index("v0"), addr(text), 24) };
        netlink.address_add(&new).unwrap();
        let error = netlink.address_add(&new).unwrap_err();
        assert!(error.is_exists(), "{error}");
        assert!(error.to_string().starts_with(&format!("adding {text}/24: File exists")), "{error}");
        netlink.address_delete(new.index, new.ip, new.prefix).unwrap();
        let error = netlink.address_delete(new.index, new.ip, new.prefix).unwrap_err();
        assert!(error.is_gone(), "{error}");
    }
}

#[test]
fn the_kernels_own_words_are_in_the_error() {
    with_veth();
    let mut netlink = open();
    let error = netlink.address_add(&NewAddress::new(index("v0"), addr("10.0.0.9"), 33)).unwrap_err();
    assert!(error.to_string().contains("Invalid prefix length"), "{error}");
    let error = netlink.address_add(&NewAddress::new(4711, addr("10.0.0.9"), 24)).unwrap_err();
    assert!(error.is_gone(), "{error}");
    let label = Some("a-label-of-sixteen".into());
    let new = NewAddress { label, ..NewAddress::new(index("v0"), addr("10.0.0.9"), 24) };
    assert!(netlink.address_add(&new).is_err());
    assert_eq!(all("10.0.0.9"), []);
}

/// The same address may be on one link with several prefix lengths, and on several links.
#[test]
fn only_the_address_with_that_prefix_on_that_link_is_removed() {
    with_veth();
    let (v0, v1) = (index("v0"), index("v1"));
    for place in ["v0", "v1"] {
        for prefix in [16, 24, 32] {
            ip(&format!("address add 10.0.0.9/{prefix} dev {place}"));
        }
    }
    let mut netlink = open();
    netlink.address_delete(v0, addr("10.0.0.9"), 24).unwrap();
    let mut left: Vec<_> = all("10.0.0.9").iter().map(|address| (address.index, address.prefix)).collect();
    left.sort();
    let mut expected = [(v0, 16), (v0, 32), (v1, 16), (v1, 24), (v1, 32)];
    expected.sort();
    assert_eq!(left, expected);
    assert!(netlink.address_delete(v0, addr("10.0.0.9"), 24).unwrap_err().is_gone());
    assert!(netlink.address_delete(v0, addr("10.0.0.9"), 8).unwrap_err().is_gone());
    assert_eq!(all("10.0.0.9").len(), 5);
}

/// The kernel keeps the peer where the network of the address usually stands, and removes by that.
#[test]
fn an_address_with_a_peer_is_told_by_itself_and_removed() {
    with_veth();
    ip("address add 10.0.0.9 peer 192.0.2.1/32 dev v0");
    ip("address add 10.0.0.10 peer 192.0.2.1/24 dev v0");
    ip("address add 2001:db8::9 peer 2001:db8:1::1/128 dev v0 nodad");
    let mut netlink = open();
    for (text, prefix) in [("10.0.0.9", 32), ("10.0.0.10", 24), ("2001:db8::9", 128)] {
        assert_eq!((one(text).ip, one(text).prefix), (addr(text), prefix));
        netlink.address_delete(index("v0"), addr(text), prefix).unwrap();
        assert_eq!(all(text), []);
    }
}

#[test]
fn the_secondaries_of_a_removed_primary_stay_if_they_are_promoted() {
    with_veth();
    for last in 1..=3 {
        ip(&format!("address add 10.0.0.{last}/24 dev v0"));
    }
    assert!(!one("10.0.0.1").flags.secondary && one("10.0.0.2").flags.secondary);
    sysctl("ipv4/conf/v0/promote_secondaries", "1");
    open().address_delete(index("v0"), addr("10.0.0.1"), 24).unwrap();
    assert_eq!((all("10.0.0.1").len(), all("10.0.0.2").len(), all("10.0.0.3").len()), (0, 1, 1));
    assert!(!one("10.0.0.2").flags.secondary && one("10.0.0.3").flags.secondary);
}

#[test]
fn addresses_are_removed_from_links_that_are_down() {
    with_veth();
    let mut netlink = open();
    for text in ["10.0.0.9", "2001:db8::9"] {
        ip(&format!("address add {text}/24 dev v0"));
    }
    // IPv6 would otherwise remove its own with the link.
    sysctl("ipv6/conf/v0/keep_addr_on_down", "1");
    ip("link set v0 down");
    for text in ["10.0.0.9", "2001:db8::9"] {
        assert_eq!(all(text).len(), 1, "{text}");
        netlink.address_delete(index("v0"), addr(text), 24).unwrap();
        assert_eq!(all(text), []);
    }
}

#[test]
fn ipv6_flags_and_lifetimes_are_told() {
    with_veth();
    let v0 = index("v0");
    let mut netlink = open();
    let new = NewAddress {
        nodad: true,
        noprefixroute: true,
        preferred_lft: Some(0),
        ..NewAddress::new(v0, addr("2001:db8::9"), 64)
    };
    netlink.address_add(&new).unwrap();
    let told = one("2001:db8::9");
    assert!(told.flags.nodad && told.flags.noprefixroute && told.flags.deprecated && told.is_usable());
    assert_eq!((told.prefix, told.preferred_lft), (64, Some(0)));
    assert_eq!(netlink.address6(v0, "2001:db8::9".parse().unwrap()).unwrap(), Some(told));
    sysctl("ipv6/conf/v1/disable_ipv6", "1");
    let error = netlink.address_add(&NewAddress { index: index("v1"), ..new }).unwrap_err();
    assert_eq!(error.errno(), nix::errno::Errno::EACCES, "{error}");
    assert!(error.to_string().contains("IPv6 is disabled"), "{error}");
}

/// Duplicate detection on a quiet link ends well; beside the same address on the other end, it does not.
#[test]
fn the_end_of_duplicate_detection_is_waited_for() {
    with_veth();
    let (v0, v1) = (index("v0"), index("v1"));
    let ours: Ipv6Addr = "2001:db8::9".parse().unwrap();
    let mut netlink = open();
    netlink.address_add(&NewAddress::new(v0, ours.into(), 64)).unwrap();
    assert!(netlink.address6(v0, ours).unwrap().unwrap().flags.tentative);
    let settled = |address: &Address| !address.flags.tentative || address.flags.dad_failed;
    let good = netlink.await_address6(v0, ours, settled).unwrap().unwrap();
    assert!(good.is_usable() && !good.flags.dad_failed);
    netlink.address_add(&NewAddress::new(v1, ours.into(), 64)).unwrap();
    let bad = netlink.await_address6(v1, ours, settled).unwrap().unwrap();
    assert!(bad.flags.dad_failed && !bad.is_usable());
}

#[test]
fn waiting_ends_at_the_deadline_and_when_the_address_vanishes() {
    with_veth();
    let v0 = index("v0");
    ip("address add 2001:db8::9/64 dev v0 nodad");
    let nine: Ipv6Addr = "2001:db8::9".parse().unwrap();
    let mut hurried = Netlink::new(Instant::now() + Duration::from_millis(50));
    let error = hurried.await_address6(v0, nine, |_| false).unwrap_err();
    assert!(error.timed_out(), "{error}");
    let namespace = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            ip("address del 2001:db8::9/64 dev v0");
        });
        assert_eq!(open().await_address6(v0, nine, |_| false).unwrap(), None);
    });
}

#[test]
fn address_labels_are_added_once_and_removed() {
    fresh_namespace();
    let nine: Ipv6Addr = "2001:db8::9".parse().unwrap();
    let mut netlink = open();
    netlink.address_label_add(nine, 99).unwrap();
    assert!(ip("addrlabel list").contains("prefix 2001:db8::9/128 label 99"));
    assert!(netlink.address_label_add(nine, 99).unwrap_err().is_exists());
    netlink.address_label_delete(nine, 99).unwrap();
    assert!(!ip("addrlabel list").contains("2001:db8::9"));
    assert!(netlink.address_label_delete(nine, 99).unwrap_err().is_gone());
}
