//! Links: how they are found, and what is told of them.

use crate::*;
use netlink::{Carrier, namespace};
use std::fs::File;
use std::os::fd::AsRawFd;

#[test]
fn a_link_is_found_by_name_alternative_name_and_index() {
    with_veth();
    ip("link property add dev v0 altname uplink");
    ip("link property add dev v0 altname a-name-longer-than-an-interface-may-have");
    let mut netlink = open();
    let v0 = netlink.link_by_name("v0").unwrap().unwrap();
    assert_eq!(v0.name, "v0");
    assert_eq!(v0.alt_names, ["uplink", "a-name-longer-than-an-interface-may-have"]);
    for name in &v0.alt_names {
        assert_eq!(netlink.link_by_name(name).unwrap().unwrap(), v0, "{name}");
    }
    assert_eq!(netlink.link_by_index(v0.index).unwrap().unwrap(), v0);
    assert!(netlink.links().unwrap().contains(&v0));
}

#[test]
fn a_name_that_no_link_can_have_is_no_error() {
    with_veth();
    let mut netlink = open();
    for name in [
        "",
        "eth9",
        "v0:1",
        "v",
        "v00",
        "v0\0",
        "é",
        "longer-than-fifteen",
        &"x".repeat(127),
        &"x".repeat(128),
    ] {
        assert_eq!(netlink.link_by_name(name).unwrap(), None, "{name:?}");
    }
    assert_eq!(netlink.link_by_name(&"x".repeat(70_000)).unwrap(), None);
    for index in [0, 4711, i32::MAX as u32, u32::MAX] {
        assert_eq!(netlink.link_by_index(index).unwrap(), None, "{index}");
    }
}

#[test]
fn kind_mac_mtu_and_ties_are_told() {
    with_veth();
    ip("link add br0 type bridge");
    ip("link set v1 master br0");
    ip("link set v0 address 02:00:00:00:00:09 mtu 1400");
    ip("link add m0 link v0 type macvlan mode bridge");
    let mut netlink = open();
    let mut link = |name: &str| netlink.link_by_name(name).unwrap().unwrap();
    let (lo, v0, v1, br0, m0) = (link("lo"), link("v0"), link("v1"), link("br0"), link("m0"));
    assert!(lo.flags.loopback && lo.flags.up && !lo.flags.broadcast);
    assert_eq!((lo.hardware_type, lo.kind.as_deref()), (libc::ARPHRD_LOOPBACK, None));
    assert_eq!((v0.hardware_type, v0.kind.as_deref()), (libc::ARPHRD_ETHER, Some("veth")));
    assert_eq!((v0.mac.as_slice(), v0.mtu), (&[2, 0, 0, 0, 0, 9][..], 1400));
    assert_eq!(v0.broadcast_mac, [0xff; 6]);
    assert!(v0.flags.broadcast && v0.flags.multicast && !v0.flags.noarp);
    assert_eq!((v1.master, br0.kind.as_deref()), (Some(br0.index), Some("bridge")));
    assert_eq!((m0.lower, m0.kind.as_deref()), (Some(v0.index), Some("macvlan")));
}

/// An index in another namespace says nothing here, where it may be that of an unrelated link.
#[test]
fn what_a_link_is_tied_to_in_another_namespace_is_not_told() {
    fresh_namespace();
    let other = File::open("/proc/thread-self/ns/net").unwrap();
    fresh_namespace();
    ip("link add far0 type veth peer name far1");
    ip(&format!("link set far1 netns /proc/{}/fd/{}", std::process::id(), other.as_raw_fd()));
    assert_eq!(open().link_by_name("far0").unwrap().unwrap().lower, None);
}

#[test]
fn carrier_tells_a_link_taken_down_from_one_whose_peer_is_down() {
    with_veth();
    // The kernel sums the state of a link up a little after it changed.
    let becomes = |name: &str, expected: Carrier| {
        let end = soon();
        loop {
            let carrier = open().link_by_name(name).unwrap().unwrap().carrier();
            if carrier == expected {
                break;
            }
            assert!(Instant::now() < end, "{name} is {carrier:?} and not {expected:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    becomes("lo", Carrier::Up);
    becomes("v0", Carrier::Up);
    ip("link set v1 down");
    becomes("v0", Carrier::NoCarrier);
    becomes("v1", Carrier::AdminDown);
    open().link_up(index("v1")).unwrap();
    becomes("v0", Carrier::Up);
    // A bridge has the carrier of its ports.
    ip("link add br0 type bridge");
    ip("link set br0 up");
    ip("link set v0 master br0");
    becomes("br0", Carrier::Up);
    ip("link set v1 down");
    becomes("br0", Carrier::NoCarrier);
    ip("link set v0 down");
    becomes("v0", Carrier::AdminDown);
}

#[test]
fn a_link_that_is_gone_is_said_to_be() {
    with_veth();
    let v0 = index("v0");
    ip("link del v0");
    let error = open().link_up(v0).unwrap_err();
    assert!(error.is_gone(), "{error}");
}

#[test]
fn a_namespace_is_entered_by_name_and_by_path_and_may_be_gone() {
    fresh_namespace();
    // A /run of its own: names of namespaces are files there, and those of the host are not ours to add to.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    run("mount --make-rprivate /");
    run("mount -t tmpfs tmpfs /run");
    ip("netns add bascule-test");
    ip("-n bascule-test link add inside type bridge");
    for way in ["bascule-test", "/run/netns/bascule-test"] {
        fresh_namespace();
        assert_eq!(open().link_by_name("inside").unwrap(), None);
        assert!(namespace::enter(way).unwrap(), "{way}");
        assert!(open().link_by_name("inside").unwrap().is_some(), "{way}");
    }
    ip("netns del bascule-test");
    assert!(!namespace::enter("bascule-test").unwrap());
    assert!(!namespace::enter("/nowhere/at-all").unwrap());
    // What is left of a name when its mount is gone, as after a crash.
    File::create("/run/netns/bascule-test").unwrap();
    assert!(!namespace::enter("bascule-test").unwrap());
}

#[test]
fn a_question_after_its_deadline_is_still_answered_if_the_kernel_has_the_answer() {
    fresh_namespace();
    let mut netlink = Netlink::new(Instant::now() - Duration::from_secs(1));
    assert!(netlink.link_by_name("lo").unwrap().is_some());
}
