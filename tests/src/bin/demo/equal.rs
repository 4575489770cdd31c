//! The scenes of configuration kept equal: a change everywhere at once, two versions of one file, and a directory that seems to be empty.

use anyhow::Result;
use lab::Lab;

use crate::scenes::{BOUND, Scene, typed};
use crate::screen::Screen;

/// In order.
pub(crate) const SCENES: &[Scene] = &[
    Scene {
        title: "Configuration kept equal on all nodes with csync2",
        about: "There is a csync2.cfg on each node already. One command, and nobody runs csync2 by hand or from cron any more.",
        play: create,
    },
    Scene {
        title: "The same file changed on two nodes",
        about: "Neither is overwritten. It is in crm_mon within seconds, and somebody chooses.",
        play: conflict,
    },
    Scene {
        title: "A directory that is empty all of a sudden",
        about: "Not mounted, or emptied by mistake: csync2 -x would delete it on all other nodes, and report success.",
        play: emptied,
    },
];

const TREE: &str = "/etc/shop.d";
const AGENT: &str = "/usr/lib/ocf/resource.d/bascule/csync";

fn create(screen: &Screen, lab: &Lab) -> Result<()> {
    let key = format!("{AGENT} keygen /etc/csync2.key_shop 2>/dev/null");
    lab.node("n1").run(&key);
    let key = lab.node("n1").run("cat /etc/csync2.key_shop");
    for name in lab.nodes() {
        let node = lab.node(name);
        node.run(&format!("mkdir -p {TREE}; (umask 077; printf %s '{key}' >/etc/csync2.key_shop)"));
        node.run(&format!(
            "printf '%s\\n' 'nossl * *;' 'group shop {{ host n1 n2 n3; key /etc/csync2.key_shop; include {TREE}; }}' >/etc/csync2.cfg"
        ));
    }
    typed(screen, lab, "n1", "cat /etc/csync2.cfg")?;
    typed(screen, lab, "n1", "pcs resource create conf ocf:bascule:csync clone notify=true")?;
    lab.wait("all is well", BOUND, |lab| lab.nodes().iter().all(|node| told(lab, node) == "ok"));
    typed(screen, lab, "n2", &format!("echo 'open = 9-18' >{TREE}/hours"))?;
    lab.wait("it is everywhere", BOUND, |lab| {
        ["n1", "n3"].iter().all(|node| lab.node(node).sh(&format!("[ -s {TREE}/hours ]")).ok())
    });
    typed(screen, lab, "n3", &format!("cat {TREE}/hours"))
}

fn conflict(screen: &Screen, lab: &Lab) -> Result<()> {
    screen.event("n1 and n2 do not reach each other's csync2 for a moment");
    halt(lab, "STOP");
    typed(screen, lab, "n1", &format!("echo 'open = 8-18, closed on Mondays' >{TREE}/hours"))?;
    typed(screen, lab, "n2", &format!("echo 'open = 9-20, on Fridays 9-22' >{TREE}/hours"))?;
    // Both have noticed their own change before the other's comes.
    std::thread::sleep(std::time::Duration::from_secs(2));
    halt(lab, "CONT");
    lab.wait("it is told", BOUND, |lab| {
        ["n1", "n2"].iter().all(|node| told(lab, node).contains("conflicts 1"))
    });
    attributes(screen, lab)?;
    typed(screen, lab, "n2", &format!("{AGENT} choose conf {TREE}/hours"))?;
    lab.wait("it is settled", BOUND, |lab| lab.nodes().iter().all(|node| told(lab, node) == "ok"));
    typed(screen, lab, "n1", &format!("cat {TREE}/hours"))?;
    screen.result("The version that lost is kept:");
    typed(screen, lab, "n1", "cd /var/lib/bascule/csync/conf; grep -r 'open = 8' .")
}

fn emptied(screen: &Screen, lab: &Lab) -> Result<()> {
    typed(screen, lab, "n3", &format!("mv {TREE}/hours /root/; ls {TREE}"))?;
    lab.wait("it is held back", BOUND, |lab| told(lab, "n3").starts_with("held back"));
    attributes(screen, lab)?;
    typed(screen, lab, "n1", &format!("cat {TREE}/hours"))?;
    typed(screen, lab, "n3", &format!("mv /root/hours {TREE}/"))?;
    lab.wait("all is well", BOUND, |lab| lab.nodes().iter().all(|node| told(lab, node) == "ok"));
    screen.result("It is back, and so is everything.");
    Ok(())
}

fn attributes(screen: &Screen, lab: &Lab) -> Result<()> {
    typed(
        screen,
        lab,
        "n1",
        "crm_mon -1A --include=none,attributes | grep -E 'Node:|csync-conf ' | cut -c-96",
    )
}

fn halt(lab: &Lab, signal: &str) {
    for node in ["n1", "n2"] {
        lab.node(node).run(&format!("kill -{signal} $(pgrep -of '[c]sync2.*-ii')"));
    }
}

/// What a node's attribute says.
fn told(lab: &Lab, node: &str) -> String {
    lab.node_attribute(node, "csync-conf").unwrap_or_default()
}
