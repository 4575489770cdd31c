//! `ocf:bascule:vip` on real clusters, as an administrator uses it: what `pcs` takes and refuses, what `crm_mon` tells, and
//! what a client sees of the address while nodes, links and the cluster itself fail.
//!
//! A cluster takes seconds to start, so each test plays several stories on its own.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use lab::{Fencing, Lab, Options, Ping};

/// The bound of what takes seconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(20);
const ADDRESS: &str = "10.77.0.100";

fn start(options: Options) -> Lab {
    Lab::start(options).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Runs `pcs` and waits until the cluster has done what follows from it.
#[track_caller]
fn pcs(lab: &Lab, arguments: &str) {
    lab.pcs(arguments);
    lab.settle(SOON);
}

#[track_caller]
fn holder(lab: &Lab, resource: &str) -> String {
    match lab.resource_location(resource) {
        Some(node) => node,
        None => lab.fail(&format!("{resource} runs nowhere")),
    }
}

#[track_caller]
fn moves_away(lab: &Lab, resource: &str, from: &str) -> String {
    lab.wait(&format!("{resource} leaves {from}"), SOON, |lab| {
        lab.resource_location(resource).is_some_and(|node| node != from)
    });
    lab.settle(SOON);
    holder(lab, resource)
}

/// Whether the client reaches the address.
fn answers(lab: &Lab, address: &str) -> bool {
    lab.client().sh(&format!("ping -q -c 1 -W 2 {address}")).ok()
}

#[track_caller]
fn assert_answers(lab: &Lab, address: &str) {
    if !answers(lab, address) {
        lab.fail(&format!("{address} does not answer"));
    }
}

/// Waits until this node serves the client, and no outage goes on.
#[track_caller]
fn served_by(lab: &Lab, ping: &Ping, node: &str) {
    lab.wait(&format!("{node} serves the client"), SOON, |_| {
        let seen = ping.report();
        let heard = seen.holders().last().is_some_and(|holder| holder.node.as_deref() == Some(node));
        heard && seen.outages().last().is_none_or(|outage| outage.over)
    });
}

/// Asserts that the client never missed the address, which one machine served all the time.
#[track_caller]
fn assert_never_missed(ping: Ping) {
    let seen = ping.finish();
    assert!(seen.outages().is_empty() && seen.answered() > 0, "{seen}");
    assert_eq!(seen.holders().len(), 1, "{seen}");
}

/// Waits until `crm_mon` shows this.
#[track_caller]
fn crm_mon_tells(lab: &Lab, text: &str) {
    lab.wait(&format!("crm_mon shows {text:?}"), SOON, |lab| lab.run("crm_mon -1").contains(text));
}

/// How often this operation on the resource has ended well, on all nodes together.
fn done(lab: &Lab, operation: &str, resource: &str) -> usize {
    let log = |node: &String| lab.node(node).read("/var/log/pacemaker/pacemaker.log").unwrap_or_default();
    let wanted = |node: &String| format!("Result of {operation} operation for {resource} on {node}: ok");
    lab.nodes().iter().map(|node| log(node).matches(&wanted(node)).count()).sum()
}

/// Asserts that the cluster has nothing to complain of, and has fenced just these nodes.
#[track_caller]
fn assert_clean(lab: &Lab, fenced: &[&str]) {
    lab.settle(SOON);
    let mon = lab.run("crm_mon -1");
    if mon.contains("Failed") || mon.contains("UNCLEAN") {
        lab.fail("crm_mon shows failures");
    }
    let nodes: Vec<String> = lab.fenced().into_iter().map(|fenced| fenced.node).collect();
    if nodes != fenced {
        lab.fail(&format!("fenced were {nodes:?}, not {fenced:?}"));
    }
}

/// The addresses of a node that are not the lab's own, with their links.
fn extra_addresses(lab: &Lab, node: &str) -> Vec<String> {
    let own = lab.node(node);
    let listed = own.run("ip -o address show scope global");
    let plan = |network| [own.ipv4(network).to_string(), own.ipv6(network).to_string()];
    let own: Vec<String> = (0..2).flat_map(plan).collect();
    let extra = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (link, address) = (words.next()?, words.nth(1)?);
        let ip = address.split('/').next()?;
        (!own.contains(&ip.to_owned())).then(|| format!("{address} on {link}"))
    };
    listed.lines().filter_map(extra).collect()
}

#[test]
fn pcs_and_crm_mon_say_what_the_agent_says() {
    let lab = start(Options::nodes(2).fencing(Fencing::Off));
    let described = lab.pcs("resource describe ocf:bascule:vip");
    let metadata = lab.run("/usr/lib/ocf/resource.d/bascule/vip meta-data");
    let parameters: Vec<&str> = metadata
        .split("<parameter name=\"")
        .skip(1)
        .filter_map(|parameter| parameter.split('"').next())
        .collect();
    assert!(parameters.contains(&"ip") && parameters.len() > 20, "{metadata}");
    for name in parameters {
        let told = |line: &str| line.trim_start().split([' ', ':']).next() == Some(name);
        assert!(described.lines().any(told), "{name} is not in {described}");
    }

    // What is wrong for every node is refused before it is in the CIB.
    for (wrong, reason) in [
        ("ip=10.77.0.300", "ip=\"10.77.0.300\": expected an IPv4 or IPv6 address"),
        ("ip=10.77.0.100 cidr_netmask=99", "cidr_netmask=99: an IPv4 prefix has at most 32 bits"),
        ("ip=10.77.0.100 nodad=maybe", "nodad=\"maybe\": expected true or false"),
        ("ip=10.77.0.100 clusterip_hash=sourceip", "several addresses (unique_clone_address=true)"),
        ("cidr_netmask=24", "required resource option 'ip' is missing"),
    ] {
        let refused = lab
            .node("n1")
            .sh(&format!("pcs resource create wrong ocf:bascule:vip {wrong} --agent-validation"));
        assert!(!refused.ok() && refused.stderr.contains(reason), "{wrong}: {refused:?}");
        assert!(!lab.run("cibadmin -Q").contains("\"wrong\""), "{wrong} was taken");
    }
    // By force it fails, and crm_mon says why; so it does where the nodes lack what is needed.
    lab.pcs("resource create forced ocf:bascule:vip ip=10.77.0.300");
    crm_mon_tells(&lab, "returned 'not configured' (ip=\"10.77.0.300\": expected an IPv4 or IPv6 address");
    pcs(&lab, "resource delete forced");
    lab.pcs("resource create far ocf:bascule:vip ip=192.0.2.1 --agent-validation");
    for node in ["n1", "n2"] {
        crm_mon_tells(
            &lab,
            &format!("far start on {node} returned 'not installed' (no interface of this node has"),
        );
    }
    pcs(&lab, "resource delete far");
    assert_clean(&lab, &[]);

    pcs(&lab, "resource create vip ocf:bascule:vip ip=10.77.0.100 cidr_netmask=24 op monitor interval=10s");
    let node = holder(&lab, "vip");
    crm_mon_tells(&lab, &format!("vip\t(ocf:bascule:vip):\t Started {node}"));
    assert_answers(&lab, ADDRESS);

    // What is reloadable changes without a restart, and the next start goes by it.
    let ping = lab.client().ping_every(TICK, ADDRESS);
    pcs(&lab, "resource update vip arp_count=2 check_link_status=degraded --agent-validation");
    lab.wait("a reload", SOON, |lab| done(lab, "reload-agent", "vip") == 1);
    assert_never_missed(ping);
    assert_eq!((done(&lab, "start", "vip"), done(&lab, "stop", "vip")), (1, 0));
    let refused = lab.node("n1").sh("pcs resource update vip ip=10.77.0.999 --agent-validation");
    assert!(!refused.ok() && refused.stderr.contains("10.77.0.999"), "{refused:?}");

    // Another address is another start, and nothing of the old one stays.
    let announced = lab.client().capture("eth0", "arp[6:2] == 1 and arp[14:4] == arp[24:4]");
    pcs(&lab, "resource update vip ip=10.77.0.101");
    assert_eq!((done(&lab, "start", "vip"), done(&lab, "stop", "vip")), (2, 1));
    assert_answers(&lab, "10.77.0.101");
    assert!(!answers(&lab, ADDRESS));
    assert_eq!(extra_addresses(&lab, &holder(&lab, "vip")), ["10.77.0.101/24 on eth0"]);
    sleep(Duration::from_secs(1));
    let announced = announced.stop().stdout;
    assert_eq!(announced.lines().filter(|line| line.contains("10.77.0.101")).count(), 2, "{announced}");

    pcs(&lab, "resource delete vip");
    for node in lab.nodes() {
        assert!(extra_addresses(&lab, node).is_empty());
    }
    assert_clean(&lab, &[]);
}

#[test]
fn the_address_goes_where_the_administrator_and_the_cluster_want_it() {
    let lab = start(Options::nodes(3).fencing(Fencing::Off));
    pcs(&lab, "resource create vip ocf:bascule:vip ip=10.77.0.100 cidr_netmask=24 op monitor interval=10s");
    let first = holder(&lab, "vip");

    let ping = lab.client().ping_every(TICK, ADDRESS);
    pcs(&lab, &format!("node standby {first}"));
    let second = holder(&lab, "vip");
    assert_ne!(second, first);
    assert!(extra_addresses(&lab, &first).is_empty());
    pcs(&lab, &format!("node unstandby {first}"));
    assert_eq!(holder(&lab, "vip"), second, "it stays where it is");
    pcs(&lab, &format!("resource move vip {first}"));
    assert_eq!(holder(&lab, "vip"), first);
    assert_answers(&lab, ADDRESS);
    let seen = ping.finish();
    seen.assert_never_served_twice();
    let holders: Vec<_> = seen.holders().into_iter().filter_map(|holder| holder.node).collect();
    assert_eq!(holders, [first.clone(), second, first.clone()], "{seen}");

    // Somebody takes the address away: the next monitor sees it, and it is put back.
    pcs(&lab, "resource update vip op monitor interval=2s");
    let starts = done(&lab, "start", "vip");
    lab.node(&first).run(&format!("ip address delete {ADDRESS}/24 dev eth0"));
    lab.wait("it is started again", SOON, |lab| done(lab, "start", "vip") > starts);
    crm_mon_tells(&lab, &format!("vip 2s-interval monitor on {first} returned 'not running'"));
    lab.settle(SOON);
    assert_eq!(extra_addresses(&lab, &holder(&lab, "vip")), [format!("{ADDRESS}/24 on eth0")]);
    pcs(&lab, "resource cleanup vip");

    // Its node loses its power: another answers, and the client learns so without asking.
    let first = holder(&lab, "vip");
    assert_answers(&lab, ADDRESS);
    let cached = || lab.client().run(&format!("ip neighbour show {ADDRESS} dev eth0"));
    let hardware = |node: &str| lab.node(node).mac(0).map(|byte| format!("{byte:02x}")).join(":");
    assert!(cached().contains(&hardware(&first)), "{}", cached());
    let ping = lab.client().ping_every(TICK, ADDRESS);
    sleep(Duration::from_millis(500));
    lab.crash(&first);
    let heir = moves_away(&lab, "vip", &first);
    served_by(&lab, &ping, &heir);
    assert!(cached().contains(&hardware(&heir)), "{}", cached());
    let seen = ping.finish();
    seen.assert_never_served_twice();
    assert_eq!(seen.outages().len(), 1, "{seen}");
    lab.boot(&first);
    lab.wait_online(SOON);
    assert_eq!(holder(&lab, "vip"), heir, "it stays where it is");
    assert_clean(&lab, &[&first]);
}

/// The holder is cut off from the others, but the client hears both sides. The holder has to be dead before another
/// answers, by echo, by ARP and by neighbour discovery.
#[test]
fn a_partition_never_makes_two_nodes_serve_the_address() {
    const ADDRESSES: [&str; 2] = ["10.77.0.100", "fd77::100"];
    let lab = start(Options::nodes(3).fencing(Fencing::Off));
    pcs(
        &lab,
        "resource create vip ocf:bascule:vip 'ip=10.77.0.100/24 fd77::100/64' nodad=true op monitor interval=10s",
    );
    let mut fenced = Vec::new();
    for one_way in [false, true] {
        let old = holder(&lab, "vip");
        let others: Vec<&str> = lab.nodes().iter().map(String::as_str).filter(|node| *node != old).collect();
        let begun = SystemTime::now();
        let pings = ADDRESSES.map(|address| lab.client().ping_every(TICK, address));
        lab.wait("both answer", SOON, |_| pings.iter().all(|ping| ping.report().answered() > 10));
        // The measurements began between these two.
        let under_way = SystemTime::now();
        if one_way {
            // The holder hears the others, and they hear nothing of it.
            others.iter().for_each(|other| lab.lose(&old, other));
        } else {
            lab.partition(&[&[&old], &others]);
        }
        let new = moves_away(&lab, "vip", &old);
        pings.iter().for_each(|ping| served_by(&lab, ping, &new));
        // Late answers of the old one would come now.
        sleep(Duration::from_secs(1));
        fenced.push(old.clone());
        for ping in pings {
            let seen = ping.finish();
            seen.assert_never_served_twice();
            let holders = seen.holders();
            let [before, after] = holders.as_slice() else { panic!("not first one, then the other: {seen}") };
            assert_eq!((before.node.as_ref(), after.node.as_ref()), (Some(&old), Some(&new)), "{seen}");
            // Dead in between: no question was answered by both.
            let death = lab.fenced().last().unwrap().at;
            assert!(
                before.to <= death.duration_since(begun).unwrap(),
                "{old} answered after its death: {seen}"
            );
            assert!(after.from >= death.duration_since(under_way).unwrap(), "{new} did not wait: {seen}");
        }
        lab.heal_all();
        lab.boot(&old);
        lab.wait_online(SOON);
    }
    let fenced: Vec<&str> = fenced.iter().map(String::as_str).collect();
    assert_clean(&lab, &fenced);
}

/// The cluster has a network that goes on working; the clients come by the other one.
#[test]
fn a_service_network_that_fails_moves_the_address_and_fences_nobody() {
    let lab = start(Options::nodes(3).networks(2).fencing(Fencing::Off));
    pcs(&lab, "resource create vip ocf:bascule:vip ip=10.77.1.100 cidr_netmask=24 op monitor interval=2s");

    let first = holder(&lab, "vip");
    let ping = lab.client().ping_every(TICK, "10.77.1.100");
    sleep(Duration::from_millis(500));
    lab.cut_network(&first, 1);
    let second = moves_away(&lab, "vip", &first);
    crm_mon_tells(&lab, "(interface eth1 has no carrier)");
    served_by(&lab, &ping, &second);
    ping.finish().assert_never_served_twice();
    assert!(extra_addresses(&lab, &first).is_empty(), "stopped although the link is down");
    lab.heal(&first);
    pcs(&lab, "resource cleanup vip");

    lab.node(&second).run("ip link set eth1 down");
    moves_away(&lab, "vip", &second);
    crm_mon_tells(&lab, "(interface eth1 is down");
    assert_answers(&lab, "10.77.1.100");
    assert!(extra_addresses(&lab, &second).is_empty());
    lab.node(&second).run("ip link set eth1 up");
    pcs(&lab, "resource cleanup vip");

    // Reported, and left where it is.
    pcs(&lab, "resource update vip check_link_status=degraded");
    let third = holder(&lab, "vip");
    lab.cut_network(&third, 1);
    crm_mon_tells(&lab, "(interface eth1 has no carrier)");
    lab.settle(SOON);
    assert_eq!(holder(&lab, "vip"), third);
    lab.heal(&third);
    lab.wait("it answers again", SOON, |lab| answers(lab, "10.77.1.100"));
    pcs(&lab, "resource cleanup vip");

    lab.wait_online(SOON);
    assert_clean(&lab, &[]);
}

#[test]
fn clones_groups_both_families_and_sources_leave_a_node_in_standby_without_a_trace() {
    let lab = start(Options::nodes(3).fencing(Fencing::Off));
    lab.client().run("ip address add 203.0.113.1/32 dev lo");
    for node in lab.nodes() {
        lab.node(node).run("ip route add default via 10.77.0.250");
    }
    for resource in [
        "anycast ocf:bascule:vip ip=198.51.100.53 nic=lo cidr_netmask=32 op monitor interval=10s clone",
        "many ocf:bascule:vip ip=10.77.0.110 cidr_netmask=24 unique_clone_address=true op monitor interval=10s \
         clone globally-unique=true clone-max=3 clone-node-max=3",
        "group-ip ocf:bascule:vip ip=10.77.0.120 op monitor interval=10s --group group",
        "group-app ocf:pacemaker:Dummy op monitor interval=10s --group group",
        "both ocf:bascule:vip 'ip=10.77.0.130/24 fd77::130/64' op monitor interval=10s",
        "source ocf:bascule:vip ip=10.77.0.140 source_for=default op monitor interval=10s",
    ] {
        lab.pcs(&format!("resource create {resource}"));
    }
    lab.settle(SOON);
    let spread = lab.view().unwrap().in_role("many", "Started");
    assert_eq!(lab.nodes().iter().filter(|node| spread.contains(node)).count(), 3, "one on each: {spread:?}");

    for idle in lab.nodes() {
        pcs(&lab, &format!("node standby {idle}"));
        assert!(extra_addresses(&lab, idle).is_empty(), "{:?}", extra_addresses(&lab, idle));
        let routes = lab.node(idle).run("ip route show default");
        assert_eq!(routes.trim(), "default via 10.77.0.250 dev eth0");
        for address in [
            "10.77.0.110",
            "10.77.0.111",
            "10.77.0.112",
            "10.77.0.120",
            "10.77.0.130",
            "fd77::130",
            "10.77.0.140",
        ] {
            assert_answers(&lab, address);
        }
        for node in lab.nodes().iter().filter(|node| *node != idle) {
            lab.client().run(&format!("ip route replace 198.51.100.53 via {}", lab.node(node).ipv4(0)));
            assert_answers(&lab, "198.51.100.53");
        }
        assert_eq!(holder(&lab, "group-ip"), holder(&lab, "group-app"));
        // The outer world sees the address, not the node's own.
        let seen = lab.client().capture("eth0", "icmp[0] == 8 and dst 203.0.113.1");
        lab.node(&holder(&lab, "source")).run("ping -q -c 1 -W 2 203.0.113.1");
        lab.wait("the echo request", SOON, |_| seen.stdout().contains("203.0.113.1"));
        assert!(seen.stdout().contains("10.77.0.140 > 203.0.113.1"), "{}", seen.stdout());
        pcs(&lab, &format!("node unstandby {idle}"));
    }

    for resource in ["anycast", "many", "group", "both", "source"] {
        lab.pcs(&format!("resource delete {resource}"));
    }
    lab.settle(SOON);
    for node in lab.nodes() {
        assert!(extra_addresses(&lab, node).is_empty());
        assert!(!lab.node(node).sh("ls /run/bascule/vip/*.json").ok(), "a record is left on {node}");
    }
    assert_clean(&lab, &[]);
}

/// The recipe of `docs/vip.md`, word by word, for the resource `web-ip`.
fn migration() -> String {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vip.md")).unwrap();
    let chapter = page.split("## From IPaddr2 to vip").nth(1).unwrap();
    chapter.split("```").nth(1).unwrap().trim().to_owned()
}

#[track_caller]
fn migrate(lab: &Lab, recipe: &str, to: &str) {
    let ping = lab.client().ping_every(TICK, ADDRESS);
    lab.run(&format!("set -e\n{recipe}"));
    lab.settle(SOON);
    let view = lab.view().unwrap();
    let agents: Vec<&str> = view.instances("web-ip").map(|instance| instance.agent.as_str()).collect();
    assert_eq!(agents, [to]);
    assert!(view.instances("web-ip").all(|instance| instance.role == "Started"));
    assert_never_missed(ping);
}

/// Takes Pacemaker on a node down with this command, which knows `$pid`, and starts it again.
#[track_caller]
fn restart_pacemaker(lab: &Lab, node: &str, down: &str) {
    lab.node(node).run(&format!(
        "pid=$(cat /run/bascule-lab/pacemakerd.pid); {down}; while kill -0 $pid 2>/dev/null; do sleep 0.1; done; \
         setsid pacemakerd </dev/null >/dev/null 2>&1 & echo $! >/run/bascule-lab/pacemakerd.pid"
    ));
    lab.wait_online(SOON);
    lab.settle(SOON);
}

#[test]
fn the_address_never_blinks_while_agent_or_cluster_are_exchanged() {
    let lab = start(Options::nodes(3).fencing(Fencing::Off));
    lab.pcs("resource create web-ip ocf:heartbeat:IPaddr2 ip=10.77.0.100 cidr_netmask=24 op monitor interval=5s --group web");
    pcs(&lab, "resource create web-app ocf:pacemaker:Dummy op monitor interval=5s --group web");
    let (there, back) =
        (migration(), migration().replace("bascule", "heartbeat").replace("\"vip\"", "\"IPaddr2\""));
    assert_ne!(there, back);

    // From agent to agent and back; each removes what the other has put up.
    for (recipe, agent) in
        [(&there, "ocf:bascule:vip"), (&back, "ocf:heartbeat:IPaddr2"), (&there, "ocf:bascule:vip")]
    {
        let apps = done(&lab, "start", "web-app");
        migrate(&lab, recipe, agent);
        assert_eq!(done(&lab, "start", "web-app"), apps, "what depends on the address was restarted");
        pcs(&lab, "resource disable web");
        for node in lab.nodes() {
            assert!(extra_addresses(&lab, node).is_empty(), "{agent} left {:?}", extra_addresses(&lab, node));
        }
        pcs(&lab, "resource enable web");
        assert_answers(&lab, ADDRESS);
    }

    // Pacemaker goes and comes back, in order and by SIGKILL, while nobody may touch the resources.
    let node = holder(&lab, "web-ip");
    let ping = lab.client().ping_every(TICK, ADDRESS);
    lab.pcs("property set maintenance-mode=true");
    let probes = done(&lab, "probe", "web-ip");
    restart_pacemaker(&lab, &node, "kill $pid");
    lab.wait("the probe finds it", SOON, |lab| done(lab, "probe", "web-ip") == probes + 1);
    restart_pacemaker(&lab, &node, "kill -KILL $pid $(pgrep -P $pid)");
    lab.wait("the probe finds it", SOON, |lab| done(lab, "probe", "web-ip") == probes + 2);
    pcs(&lab, "property set maintenance-mode=false");
    // Managed, and only the parent of the daemons dies: the new one finds them.
    restart_pacemaker(&lab, &node, "kill -KILL $pid");
    assert_eq!(holder(&lab, "web-ip"), node);
    assert_never_missed(ping);
    assert_clean(&lab, &[]);
}
