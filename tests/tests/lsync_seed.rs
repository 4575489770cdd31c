//! The system that `ocf:bascule:lsync` was conceived from: four servers, each the source of one tree and the mirror of the three others;
//! and its own configuration of lsyncd, as its author wrote it.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use lab::lsync::Mirror;
use lab::trees::{Kind, make};
use lab::{Fencing, Lab, Options};

/// The bound of what takes seconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn four_servers_and_one_that_returns_with_older_and_diverged_data() {
    let lab = Lab::start(Options::nodes(4).label("lsync-seed").fencing(Fencing::Off))
        .unwrap_or_else(|error| panic!("{error:#}"));
    let mirrors: Vec<Mirror<'_>> = (5..=8)
        .map(|number| {
            let (name, owner) = (format!("cluster{number}"), format!("n{}", number - 4));
            let mirror = Mirror::new(&lab, &name);
            make(&lab.node(&owner), &format!("/site/{name}/pages"), Kind::Plain(100));
            mirror.at(
                &owner,
                &format!("echo {owner} >owner; echo first >page; echo stays >stays; echo goes >goes"),
            );
            let mirror = mirror.create("");
            lab.pcs(&format!(
                "constraint location {name}-clone rule role=Promoted score=1000 '#uname' eq {owner}"
            ));
            mirror
        })
        .collect();
    for (place, mirror) in mirrors.iter().enumerate() {
        assert_eq!(mirror.wait_in_sync(SOON), format!("n{}", place + 1), "each where its data was");
        assert!(mirror.assert_same().has("pages/d000/f00099"));
    }
    // What takes over from sv2 is sv3.
    lab.pcs("constraint location cluster6-clone rule role=Promoted score=500 '#uname' eq n3");
    lab.settle(SOON);
    let cluster6 = &mirrors[1];
    let generations: Vec<_> = mirrors.iter().map(|mirror| mirror.generation(&mirror.source())).collect();
    cluster6.at("n2", "echo everybody has it >acknowledged; echo second >page");
    cluster6.acknowledged(SOON);

    // sv2 is cut off, goes on writing for a moment, and dies.
    lab.cut("n2");
    cluster6.at("n2", "echo of n2 alone >page; echo of n2 alone >unsent; mkdir new; echo deep >new/unsent; rm goes; echo x >>stays");
    cluster6.wait("n2 is fenced", SOON, |_| !lab.running().contains(&"n2".to_owned()));
    lab.heal("n2");
    cluster6.wait_source("n3", SOON);
    assert_eq!(cluster6.at("n3", "cat page acknowledged"), "second\neverybody has it\n");
    cluster6.at(
        "n3",
        "echo newer >page; echo since >since; rm pages/d000/f00007; echo changed >pages/d000/f00008",
    );
    cluster6.acknowledged(SOON);

    // It returns, gets everything, and only then is the reference again.
    lab.boot("n2");
    lab.wait_online(SOON);
    cluster6.wait_source("n2", SOON);
    assert_eq!(cluster6.wait_in_sync(SOON), "n2");
    let tree = cluster6.assert_same();
    assert!(tree.has("since") && tree.has("goes") && tree.has("acknowledged"));
    assert!(!tree.has("unsent") && !tree.has("new") && !tree.has("pages/d000/f00007"));
    assert_eq!(cluster6.at("n2", "cat page stays pages/d000/f00008"), "newer\nstays\nchanged\n");
    // The older lies set aside, and is reported.
    let aside = ["new/unsent", "page", "pages/d000/f00007", "pages/d000/f00008", "stays", "unsent"];
    assert_eq!(cluster6.saved_files("n2"), aside);
    assert_eq!(cluster6.saved_text("n2", "page"), "of n2 alone\n");
    assert_eq!(cluster6.saved_text("n2", "new/unsent"), "deep\n");
    cluster6.wait("n2 tells what it has set aside", SOON, |it| it.saved("n2") == aside.len());
    assert!(lab.run("crm_mon -1 -A").contains("lsync-cluster6-saved"), "{}", lab.run("crm_mon -1 -A"));
    for (place, mirror) in mirrors.iter().enumerate() {
        let owner = format!("n{}", place + 1);
        assert_eq!(mirror.wait_in_sync(SOON), owner);
        mirror.at(&owner, "echo end >end");
        mirror.acknowledged(SOON);
        assert!(mirror.assert_same().has("end"));
        if place != 1 {
            assert_eq!(mirror.generation(&owner), generations[place], "the other trees kept their sources");
            assert_eq!(mirror.saved_files("n2"), [""; 0], "n2 had nothing of its own there");
        }
    }
    let fenced: Vec<String> = lab.fenced().into_iter().map(|fenced| fenced.node).collect();
    assert_eq!(fenced, ["n2"]);
    assert!(!lab.run("crm_mon -1").contains("Failed"), "{}", lab.run("crm_mon -1"));
}

/// `/etc/lsyncd.d/lsyncd5.conf` of the how-to, word by word.
const LSYNCD5: &str = r#"socketbase = require("socket")
sockettcp = socketbase.tcp()
sockettcp:settimeout(3)
port = 873

nomfichier="/var/log/lsyncd/lsyncd5.txt"
fichier=io.open(nomfichier,"w")

settings {
 logfile = "/var/log/lsyncd/lsyncd5.log",
 statusFile = "/var/log/lsyncd/lsyncd5.status",
 statusInterval = 10
}

nomfichierhost="/etc/lsyncd.d/hosts.txt"
fichierhost=io.open(nomfichierhost,"r")

machines = {}
i=0

for ligne in fichierhost:lines()
do
 i=i+1
 machines[i] = ligne
end
fichierhost:close()

machinelocal = socketbase.dns.gethostname()

for _, machine in ipairs( machines )
do
 if not (machine == machinelocal) then
  local SocketRsync, errRsync = sockettcp:connect(machine, port)
  if SocketRsync then
   sync{
    default.rsync,
    source="/site/cluster5",
    target=machine.."::cluster5/",
--    target="rsync://"..machine.."/cluster5/",
    rsync = {
     perms=true,
     owner=true,
     group=true
    }
   }
   log("Normal", machine..": Connected to Rsyncd")
   fichier:write("OK "..machine.."\n")
   sockettcp:close()
  else
   log("Error", machine..": Cannot connect to Rsyncd: ", errRsync)
   fichier:write("KO "..machine.."\n")
  end
 end
end
fichier:close()
"#;

/// `/etc/rsyncd.conf` of the how-to, for one of its trees and the lab's addresses.
const RSYNCD: &str = "max connections = 10\naddress=0.0.0.0\nuid = root\ngid = root\nuse chroot = true\n\
    log file = /var/log/rsyncd.log\nlock file = /run/rsyncd.lock\npid file = /run/rsyncd.pid\n\n[cluster5]\n  path = /site/cluster5\n  \
    comment = Espace pour Cluster 5\n  hosts allow = 10.77.0.1 10.77.0.2 10.77.0.3\n  read only = false\n  write only = true\n  \
    list = true\n";

#[test]
fn the_administrators_own_configuration_is_supervised() {
    let lab = Lab::start(Options::nodes(3).label("lsync-plain")).unwrap_or_else(|error| panic!("{error:#}"));
    for node in lab.nodes() {
        let node = lab.node(node);
        node.run("mkdir -p /site/cluster5 /var/log/lsyncd /etc/lsyncd.d");
        node.write("/etc/lsyncd.d/hosts.txt", "n1\nn2\nn3\n");
        node.write("/etc/lsyncd.d/lsyncd5.conf", LSYNCD5);
        node.write("/etc/rsyncd.conf", RSYNCD);
        node.run("rsync --daemon");
    }
    make(&lab.node("n1"), "/site/cluster5/pages", Kind::Plain(50));
    lab.pcs("resource create ClusterLsyncd5 ocf:bascule:lsync config=/etc/lsyncd.d/lsyncd5.conf op monitor interval=2s");
    lab.pcs("constraint location ClusterLsyncd5 prefers n1=1000");
    lab.wait("it runs on n1", SOON, |lab| lab.resource_location("ClusterLsyncd5").as_deref() == Some("n1"));
    let arrives = |file: &str| {
        for node in ["n2", "n3"] {
            lab.wait(&format!("{file} arrives on {node}"), SOON, |lab| {
                lab.node(node).sh(&format!("test -f /site/cluster5/{file}")).ok()
            });
        }
    };
    arrives("pages/d000/f00049");
    lab.node("n1").run("echo live >/site/cluster5/live");
    arrives("live");
    assert_eq!(lab.node("n1").run("cat /var/log/lsyncd/lsyncd5.txt"), "OK n2\nOK n3\n");

    // It dies, and is started again.
    let pid = || lab.node("n1").sh("pgrep -x lsyncd").stdout.trim().to_owned();
    let first = pid();
    lab.node("n1").run(&format!("kill -9 {first}"));
    lab.wait("another lsyncd", SOON, |_| !pid().is_empty() && pid() != first);
    lab.node("n1").run("echo again >/site/cluster5/again");
    arrives("again");
    lab.pcs("resource cleanup ClusterLsyncd5");
    lab.settle(SOON);
    // A file that lsyncd does not take is a failure with its own words, and not a ban everywhere.
    lab.pcs("resource disable ClusterLsyncd5");
    lab.settle(SOON);
    assert!(!lab.node("n1").sh("pgrep -x lsyncd || pgrep -f '[r]sync .*::'").ok(), "something is left");
    lab.node("n1").write("/etc/lsyncd.d/lsyncd5.conf", "settings { nonsense = true }\n");
    lab.pcs("resource enable ClusterLsyncd5");
    lab.wait("another node takes it", SOON, |lab| {
        lab.resource_location("ClusterLsyncd5").is_some_and(|node| node != "n1")
    });
    lab.settle(SOON);
    let mon = lab.run("crm_mon -1");
    assert!(mon.contains("ClusterLsyncd5 start on n1 returned") && mon.contains("nonsense"), "{mon}");
}
