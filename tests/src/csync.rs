//! Clusters with `ocf:bascule:csync` on a lab, as an administrator makes and sees them.

use std::time::Duration;

use crate::{Lab, Node, Options};

/// The bound of what takes seconds on an idle machine.
pub const SOON: Duration = Duration::from_secs(60);

/// The key of the group that [`site`] makes; a test that wants another one writes another one.
pub const KEY: &str = "abcdefghijklmnopqrstuvwxyz.0123456789_ABCDEF";

/// The directory of the agent's run-time files of the resource `conf`.
pub const RUN: &str = "/run/bascule/csync/conf.d";

/// A cluster of three nodes with the resource `conf`, whose only group `site` has `/srv/site`, plain, with the same files everywhere, once all is well.
/// `parameters` are those of the resource, and what else goes before `op` for `pcs`; `clone` is `clone` or `promotable` with what belongs to it.
///
/// # Panics
/// It does not come to run.
#[must_use]
pub fn site(label: &str, parameters: &str, clone: &str) -> Lab {
    site_with(label, parameters, clone, |_| {})
}

/// The same, with something else done to each node before the resource is made.
///
/// # Panics
/// As for [`site`].
#[must_use]
pub fn site_with(label: &str, parameters: &str, clone: &str, with: impl Fn(&Node<'_>)) -> Lab {
    site_of(Options::nodes(3).label(label), parameters, clone, with)
}

/// The same on a lab of three nodes that is made of something else too.
///
/// # Panics
/// As for [`site`].
#[must_use]
pub fn site_of(options: Options, parameters: &str, clone: &str, with: impl Fn(&Node<'_>)) -> Lab {
    let lab = Lab::start(options).unwrap_or_else(|error| panic!("{error:#}"));
    for name in lab.nodes() {
        prepare(&lab.node(name));
        with(&lab.node(name));
    }
    create(&lab, parameters, clone);
    all_is_well(&lab);
    lab
}

/// Files, key and configuration of [`site`] on one node.
pub fn prepare(node: &Node<'_>) {
    let config = "nossl * *;\ngroup site { host n1 n2 n3; key /etc/csync2.key_site; include /srv/site; }";
    node.run("rm -f /var/lib/csync2/*; mkdir -p /srv/site/deep; echo same >/srv/site/same; touch -d 2020-01-01 /srv/site/same");
    node.run(&format!("umask 077; echo {KEY} >/etc/csync2.key_site"));
    node.run(&format!("cat >/etc/csync2.cfg <<'END'\n{config}\nEND"));
}

/// Makes the resource `conf`.
pub fn create(lab: &Lab, parameters: &str, clone: &str) {
    lab.pcs(&format!(
        "resource create conf ocf:bascule:csync {parameters} op monitor interval=5s {clone} notify=true"
    ));
}

/// Waits until every node that runs says that all is well.
///
/// # Panics
/// It does not within [`SOON`]; with what the nodes show.
#[track_caller]
pub fn all_is_well(lab: &Lab) {
    until(lab, "all is well", |lab| lab.running().iter().all(|node| told(lab, node) == "ok"));
}

/// Waits for something, with what the nodes show if it does not come.
///
/// # Panics
/// It does not come within [`SOON`].
#[track_caller]
pub fn until(lab: &Lab, what: &str, mut happened: impl FnMut(&Lab) -> bool) {
    let end = std::time::Instant::now() + SOON;
    while !happened(lab) {
        assert!(std::time::Instant::now() < end, "{what}: not within {SOON:?}\n{}", state(lab));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until a command succeeds on a node.
///
/// # Panics
/// As for [`until`].
#[track_caller]
pub fn soon(lab: &Lab, node: &str, command: &str) {
    until(lab, &format!("{node}# {command}"), |lab| lab.node(node).sh(command).ok());
}

/// What the nodes that run show: their status, csync2's list of what waits, the ends of the logs.
#[must_use]
pub fn state(lab: &Lab) -> String {
    let show = "cd /run/bascule/csync; for resource in *.d; do echo \"$resource\"; cat \"$resource\"/status; tail -n 20 \"$resource\"/daemon.log;
                tail -n 40 \"$resource\"/worker.log; done; csync2 -N $(hostname) -M";
    lab.running().iter().map(|name| format!("── {name}\n{}", lab.node(name).sh(show).stdout)).collect()
}

/// What a node's attribute says.
#[must_use]
pub fn told(lab: &Lab, node: &str) -> String {
    lab.node_attribute(node, "csync-conf").unwrap_or_default()
}

/// A command that has the version of the node where it is typed win a conflict.
#[must_use]
pub fn choose(file: &str) -> String {
    format!("/usr/lib/ocf/resource.d/bascule/csync choose conf {file}")
}

/// Has two versions of a file made on two nodes, each before the other's can come: their daemons are halted meanwhile.
pub fn apart(lab: &Lab, commands: &[(&str, &str)]) {
    let signal = |signal: &str| {
        for (node, _) in commands {
            lab.node(node).run(&format!("kill -{signal} $(pgrep -of '[c]sync2.*-ii')"));
        }
    };
    signal("STOP");
    for (node, command) in commands {
        lab.node(node).run(command);
    }
    // Longer than the worker waits before it looks: both have noticed their own change.
    std::thread::sleep(Duration::from_secs(2));
    signal("CONT");
}
