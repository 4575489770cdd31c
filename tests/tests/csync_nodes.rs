//! What changes around `ocf:bascule:csync`: its configuration, while it runs and broken; a node whose database is new; several configurations
//! side by side, with names that are not the cluster's.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use lab::csync::{KEY, RUN, SOON, all_is_well, choose, create, prepare, site, soon, told, until};
use lab::{Lab, Options};

fn on_all(lab: &Lab, command: &str) {
    for node in lab.running() {
        lab.node(&node).run(command);
    }
}

#[test]
fn a_changed_configuration_is_taken_up_and_a_broken_one_is_not() {
    let lab = site("csync-config", "check_interval=3600", "clone");
    let daemon = lab.node("n1").run(&format!("cat {RUN}/daemon.json"));
    on_all(
        &lab,
        "mkdir /srv/more; sed -i 's|include /srv/site;|include /srv/site /srv/more;|' /etc/csync2.cfg",
    );
    for node in ["n1", "n2", "n3"] {
        soon(&lab, node, &format!("grep -q 'is taken up' {RUN}/worker.log"));
    }
    lab.node("n1").run("echo new >/srv/more/new");
    for node in ["n2", "n3"] {
        soon(&lab, node, "grep -q new /srv/more/new");
    }
    assert_eq!(lab.node("n1").run(&format!("cat {RUN}/daemon.json")), daemon, "the daemon goes on");
    all_is_well(&lab);

    // Broken in two lines: both are named, and the one from before is used.
    lab.node("n2").run("cp /etc/csync2.cfg /tmp/good; sed -i 's/^group site {/group site { frobnicate;/; $ a ignore everything;' /etc/csync2.cfg");
    until(&lab, "it is told", |lab| told(lab, "n2").contains("csync2.cfg is not taken up"));
    let status = lab.node("n2").run(&format!("cat {RUN}/status"));
    assert!(status.contains("csync2.cfg:2: ") && status.contains("csync2.cfg:3: "), "{status}");
    lab.node("n2").run("echo still >/srv/more/still");
    lab.node("n1").run("echo both >/srv/more/both");
    soon(&lab, "n1", "grep -q still /srv/more/still");
    soon(&lab, "n2", "grep -q both /srv/more/both");
    lab.node("n2").run("cp /tmp/good /etc/csync2.cfg");
    all_is_well(&lab);

    // A parameter is changed without a restart.
    lab.pcs("resource update conf check_interval=5");
    lab.settle(SOON);
    assert_eq!(lab.node("n1").run(&format!("cat {RUN}/daemon.json")), daemon, "nothing was restarted");
    let checked = |lab: &Lab| lab.node("n1").run(&format!("grep CHECKED {RUN}/status"));
    let before = checked(&lab);
    until(&lab, "it looks every five seconds", |lab| checked(lab) != before);
}

#[test]
fn a_node_with_a_new_database_overwrites_nothing_and_gets_what_it_lacks() {
    let lab = site("csync-join", "check_interval=10", "clone");
    lab.node("n1").run(
        "cd /srv/site; for n in 1 2 3; do echo $n >deep/f$n; done; echo theirs >differs; echo gone >removed",
    );
    soon(&lab, "n3", "[ -s /srv/site/removed ] && [ -s /srv/site/deep/f3 ]");
    all_is_well(&lab);
    // As a node that was installed anew, from an old copy.
    lab.pcs("node standby n3");
    lab.settle(SOON);
    lab.node("n3").run(
        "rm -r /var/lib/csync2/* /var/lib/bascule/csync; cd /srv/site; rm deep/f1 deep/f2; echo ours, longer >differs; echo extra >extra",
    );
    // And its first run was killed before it had come to much: what it had not come to has not changed there.
    lab.node("n3").run(
        "mkdir -p /var/lib/bascule/csync/conf; echo null >/var/lib/bascule/csync/conf/first-run; csync2 -N n3 -cIr /nothing",
    );
    lab.node("n2").run("rm /srv/site/removed; echo later >/srv/site/later");
    soon(&lab, "n1", "[ ! -e /srv/site/removed ] && [ -s /srv/site/later ]");
    lab.pcs("node unstandby n3");
    lab.settle(SOON);
    soon(&lab, "n3", "cd /srv/site && [ -s deep/f1 ] && [ -s deep/f2 ] && [ -s later ]");
    // A removal that was waiting for it is done, and its stale copy kept.
    soon(&lab, "n3", "[ ! -e /srv/site/removed ] && grep -rq gone /var/lib/bascule/csync/conf");
    // What differs, and what only it has (removed on the others long ago, or new?), is for people.
    until(&lab, "what differs is told", |lab| {
        let conflict = |node: &str, name: &str| {
            lab.node(node).sh(&format!("grep -q 'CONFLICT /srv/site/{name} with' {RUN}/status")).ok()
        };
        ["n1", "n2", "n3"].iter().all(|node| conflict(node, "differs") && conflict(node, "extra"))
    });
    assert!(lab.node("n1").sh("[ ! -e /srv/site/extra ] && [ ! -e /srv/site/removed ]").ok());
    assert_eq!(lab.node("n3").run("cat /srv/site/differs"), "ours, longer\n");
    assert_eq!(lab.node("n1").run("cat /srv/site/differs"), "theirs\n");
    lab.node("n3").run(&choose("/srv/site /srv/site/extra"));
    for node in ["n1", "n2"] {
        soon(&lab, node, "grep -q ours /srv/site/differs");
        soon(&lab, node, "grep -q extra /srv/site/extra && grep -rq theirs /var/lib/bascule/csync/conf");
    }
    all_is_well(&lab);
}

#[test]
fn configurations_side_by_side_each_with_its_port_its_database_and_its_addresses() {
    let lab = Lab::start(Options::nodes(3).networks(2).label("csync-two"))
        .unwrap_or_else(|error| panic!("{error:#}"));
    lab.nodes().iter().for_each(|node| prepare(&lab.node(node)));
    create(&lab, "check_interval=10", "clone");
    all_is_well(&lab);
    // By a network of its own, and with a key beside its configuration.
    for node in lab.nodes() {
        let addresses: String =
            (1..4).map(|n| format!("{} web{n}\n", lab.node(&format!("n{n}")).ipv4(1))).collect();
        lab.node(node).run(&format!(
            "printf %s '{addresses}' >>/etc/hosts; mkdir -p /srv/web /etc/web; (umask 077; echo {KEY}web >/etc/web/web.key); \
             printf '%s\\n' 'nossl * *;' 'group web {{ host n1@web1 n2@web2 n3@web3; key web.key; include /srv/web; }}' >/etc/web/csync2_www.cfg"
        ));
    }
    lab.pcs(
        "resource create web ocf:bascule:csync config=www directory=/etc/web port=30866 database=/var/lib/csync2-web check_interval=10 \
         op monitor interval=5s clone notify=true",
    );
    lab.settle(SOON);
    assert!(!lab.run("crm_mon -1").contains("Failed"), "{}", lab.run("crm_mon -1"));
    lab.node("n2").run("echo page >/srv/web/page; echo file >/srv/site/file");
    for node in ["n1", "n3"] {
        soon(&lab, node, "grep -q page /srv/web/page && grep -q file /srv/site/file");
        let log = lab.node(node).run("cat /run/bascule/csync/web.d/daemon.log");
        assert!(log.contains(&format!("New connection from {}", lab.node("n2").ipv4(1))), "{log}");
    }
    // One ends, the other goes on.
    lab.pcs("resource disable conf");
    lab.settle(SOON);
    lab.node("n3").run("echo other >/srv/web/page");
    soon(&lab, "n1", "grep -q other /srv/web/page");
    assert!(lab.node("n1").sh("[ -e /var/lib/csync2-web/n1_www.db3 ]").ok());
}
