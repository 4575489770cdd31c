//! The looks of a monitor: one address, whatever else the link has.

use crate::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const NINE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

#[test]
fn an_ipv4_address_is_found_by_its_label() {
    with_veth();
    ip_batch(
        "address add 10.0.0.1/24 dev v0\naddress add 10.0.0.9/24 dev v0 label v0:web\n\
         address add 10.0.0.10/16 dev v0 label v0:web\naddress add 192.0.2.9/0 dev v0\naddress add 10.0.0.11/32 dev v1\n",
    );
    let mut netlink = open();
    let mut found = |label: &str, ip: [u8; 4]| netlink.address4(label, ip.into()).unwrap();
    assert_eq!(found("v0", [10, 0, 0, 1]), Some(24));
    assert_eq!(found("v0:web", [10, 0, 0, 9]), Some(24));
    assert_eq!(found("v0:web", [10, 0, 0, 10]), Some(16));
    assert_eq!(found("v0", [192, 0, 2, 9]), Some(0));
    assert_eq!(found("v1", [10, 0, 0, 11]), Some(32));
    // There, but not under that label: on another link, under another label, by a name that is none.
    for (label, ip) in [
        ("v0", [10, 0, 0, 9]),
        ("v1", [10, 0, 0, 9]),
        ("v0:web", [10, 0, 0, 1]),
        ("v0:db", [10, 0, 0, 9]),
        ("v0:", [10, 0, 0, 1]),
        ("v0", [10, 0, 0, 2]),
        ("", [10, 0, 0, 1]),
        ("nic", [10, 0, 0, 1]),
        ("v0\0:web", [10, 0, 0, 9]),
        ("a-label-of-sixteen", [10, 0, 0, 9]),
    ] {
        assert_eq!(found(label, ip), None, "{label:?}");
    }
}

/// One of several prefix lengths is told: a monitor that expects another one then looks thoroughly.
#[test]
fn of_several_prefix_lengths_one_is_told() {
    with_veth();
    ip("address add 10.0.0.9/24 dev v0");
    ip("address add 10.0.0.9/16 dev v0");
    let told = open().address4("v0", NINE).unwrap();
    assert!(matches!(told, Some(16 | 24)), "{told:?}");
}

#[test]
fn an_ipv4_address_is_found_on_a_link_that_is_down_and_after_a_rename_by_the_label_it_kept() {
    with_veth();
    ip("address add 10.0.0.9/24 dev v0 label v0:web");
    ip("link set v0 down");
    assert_eq!(open().address4("v0:web", NINE).unwrap(), Some(24));
    ip("link set v0 name w0");
    assert_eq!(open().address4("v0:web", NINE).unwrap(), None);
    ip("link del w0");
    assert_eq!(open().address4("w0:web", NINE).unwrap(), None);
}

#[test]
fn an_ipv6_address_is_found_on_its_link_alone() {
    with_veth();
    ip("address add 2001:db8::9/64 dev v0 nodad");
    let (v0, v1) = (index("v0"), index("v1"));
    let mut netlink = open();
    assert_eq!(netlink.address6(v0, v6("2001:db8::9")).unwrap().unwrap().prefix, 64);
    assert_eq!(netlink.address6(v1, v6("2001:db8::9")).unwrap(), None);
    assert_eq!(netlink.address6(v0, v6("2001:db8::8")).unwrap(), None);
    // The kernel takes a link that is not there for "any link".
    assert_eq!(netlink.address6(4711, v6("2001:db8::9")).unwrap(), None);
}

#[test]
fn an_address_is_told_apart_from_the_same_one_on_another_link() {
    with_veth();
    ip("address add 2001:db8::9/64 dev v0 nodad");
    ip("address add 2001:db8::9/48 dev v1 nodad");
    let mut netlink = open();
    assert_eq!(netlink.address6(index("v0"), v6("2001:db8::9")).unwrap().unwrap().prefix, 64);
    assert_eq!(netlink.address6(index("v1"), v6("2001:db8::9")).unwrap().unwrap().prefix, 48);
}

/// Dumps of many datagrams are whole, and the looks find the last address as well as the first.
#[test]
fn five_thousand_addresses_of_each_family_are_all_told() {
    with_veth();
    let mut lines = String::new();
    for n in 0..5_000u32 {
        let (high, low) = (n >> 8, n & 0xff);
        lines.push_str(&format!("address add 10.1.{high}.{low}/16 dev v0\n"));
        lines.push_str(&format!("address add 2001:db8::{n:x}/64 dev v0 nodad\n"));
    }
    ip_batch(&lines);
    let mut netlink = open();
    let told = netlink.addresses().unwrap();
    assert_eq!(told.iter().filter(|a| a.index == index("v0") && a.ip.is_ipv4()).count(), 5_000);
    assert_eq!(told.iter().filter(|a| a.index == index("v0") && a.ip.is_ipv6()).count(), 5_000);
    for n in [0u32, 2_500, 4_999] {
        let v4 = Ipv4Addr::from(0x0a01_0000 + n);
        assert_eq!(netlink.address4("v0", v4).unwrap(), Some(16), "{v4}");
        assert!(netlink.address6(index("v0"), v6(&format!("2001:db8::{n:x}"))).unwrap().is_some());
    }
}

#[test]
fn the_state_of_a_link_is_told_by_any_of_its_names_and_by_its_index() {
    with_veth();
    ip("link property add dev v0 altname uplink");
    ip("link property add dev v0 altname a-name-longer-than-an-interface-may-have");
    let index = index("v0");
    let mut netlink = open();
    for name in ["v0", "uplink", "a-name-longer-than-an-interface-may-have"] {
        let state = netlink.link_state_by_name(name).unwrap().unwrap();
        assert_eq!((state.name.as_str(), state.index), ("v0", index), "{name}");
    }
    assert_eq!(netlink.link_state_by_index(index).unwrap().unwrap().name, "v0");
    for name in
        ["", "eth9", "v0:1", "v", "v00", "v0\0", "\0v0", "é", "longer-than-fifteen", &"x".repeat(70_000)]
    {
        assert_eq!(netlink.link_state_by_name(name).unwrap(), None, "{name:?}");
    }
    for index in [0, 4711, i32::MAX as u32, u32::MAX] {
        assert_eq!(netlink.link_state_by_index(index).unwrap(), None, "{index}");
    }
}

/// The summary of the older questions is that of netlink.
#[test]
fn the_state_of_a_link_follows_its_carrier() {
    with_veth();
    let running = |name: &str| {
        let mut netlink = open();
        netlink.link_state_by_name(name).unwrap().unwrap().running
    };
    let becomes = |name: &str, expected: bool| {
        let end = soon();
        while running(name) != expected {
            assert!(Instant::now() < end, "{name} does not become {expected}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let told = open().link_by_name(name).unwrap().unwrap().carrier();
        assert_eq!(told.is_up(), expected, "{name}: {told:?}");
    };
    becomes("lo", true);
    becomes("v0", true);
    ip("link set v1 down");
    becomes("v0", false);
    becomes("v1", false);
    ip("link set v1 up");
    becomes("v0", true);
}

#[test]
fn an_address_is_known_to_be_local_on_its_link_alone() {
    with_veth();
    ip("address add 10.0.0.9/24 dev v0 label v0:web");
    let (v0, v1) = (index("v0"), index("v1"));
    let mut netlink = open();
    assert!(netlink.is_local(v0, NINE.into()).unwrap());
    // Elsewhere, unknown, reached by a route, and of no link at all.
    assert!(!netlink.is_local(v1, NINE.into()).unwrap());
    assert!(!netlink.is_local(v0, addr("10.0.0.10")).unwrap());
    assert!(!netlink.is_local(v0, addr("198.51.100.1")).unwrap());
    assert!(!netlink.is_local(4711, NINE.into()).unwrap());
    ip("address del 10.0.0.9/24 dev v0");
    assert!(!netlink.is_local(v0, NINE.into()).unwrap());
}
