//! The scenes of the mirrored directory: a source that dies before it could send everything, and what becomes of that.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab::Lab;

use crate::scenes::{BOUND, Scene, typed};
use crate::screen::Screen;

/// In order.
pub(crate) const SCENES: &[Scene] = &[
    Scene {
        title: "A directory mirrored to every node",
        about: "One command more: the promoted node is the source, all others get every change. There is no file to write \
                for lsyncd or rsync.",
        play: create,
    },
    Scene {
        title: "Its source loses its power, with a change that nobody else has yet",
        about: "Only a node that has everything else takes over, and work goes on there.",
        play: lose_source,
    },
    Scene {
        title: "The old source comes back, with its older data",
        about: "With lsyncd alone this is where people are told to make a backup first: the node that returns would \
                overwrite what is newer.",
        play: come_back,
    },
];

const NAME: &str = "shop";
const TREE: &str = "/site/shop";

fn create(screen: &Screen, lab: &Lab) -> Result<()> {
    for node in lab.nodes() {
        lab.node(node).run(&format!("mkdir -p {TREE}"));
    }
    typed(screen, lab, "n1", &format!("echo 'one chair' >{TREE}/order-1"))?;
    typed(
        screen,
        lab,
        "n1",
        &format!("pcs resource create {NAME} ocf:bascule:lsync source={TREE} promotable notify=true"),
    )?;
    lab.wait("both replicas are in sync", BOUND, |lab| in_sync(lab) == 2);
    attributes(screen, lab, "n1")?;
    let replica = replicas(lab)?.remove(0);
    typed(screen, lab, &replica, &format!("cat {TREE}/order-1"))
}

fn lose_source(screen: &Screen, lab: &Lab) -> Result<()> {
    let old = source(lab)?;
    typed(screen, lab, &old, &format!("echo 'two tables, not sent yet' >{TREE}/order-2"))?;
    screen.event(&format!("{old} is switched off, before lsyncd's second is over"));
    lab.crash(&old);
    lab.wait("another node leads", BOUND, |lab| source(lab).is_ok_and(|node| node != old));
    lab.wait("the other replica is in sync with it", BOUND, |lab| in_sync(lab) == 1);
    let new = source(lab)?;
    typed(screen, lab, &new, &format!("echo 'three lamps, the newest' >{TREE}/order-3"))?;
    typed(screen, lab, &new, &format!("echo 'one chair, paid' >{TREE}/order-1"))?;
    attributes(screen, lab, &new)
}

fn come_back(screen: &Screen, lab: &Lab) -> Result<()> {
    let old = lab.nodes().iter().find(|node| !lab.node(node).is_on()).cloned().context("no node is off")?;
    screen.event(&format!("{old} is switched on"));
    lab.boot(&old);
    lab.wait_online(BOUND);
    lab.wait("all are in sync", Duration::from_secs(60), |lab| in_sync(lab) == 2);
    typed(screen, lab, &old, &format!("cd {TREE}; grep . order-*"))?;
    screen.result(&format!(
        "{old} has what is newer, as the others have. What it alone had is not lost, and crm_mon says that there is some:"
    ));
    attributes(screen, lab, &old)?;
    typed(
        screen,
        lab,
        &old,
        &format!("cd /var/lib/bascule/lsync/{NAME}/saved; grep -r . --include='order-*'"),
    )
}

fn attributes(screen: &Screen, lab: &Lab, node: &str) -> Result<()> {
    typed(
        screen,
        lab,
        node,
        &format!("crm_mon -1A --include=none,attributes | grep -E 'Node:|lsync-{NAME}(-peers|-saved)? '"),
    )
}

fn source(lab: &Lab) -> Result<String> {
    match lab.promoted(NAME).as_slice() {
        [one] => Ok(one.clone()),
        other => bail!("{} sources of {NAME}\n{}", other.len(), lab.logs()),
    }
}

fn replicas(lab: &Lab) -> Result<Vec<String>> {
    let source = source(lab)?;
    Ok(lab.running().into_iter().filter(|node| *node != source).collect())
}

/// How many replicas say of themselves that they are in sync.
fn in_sync(lab: &Lab) -> usize {
    let says = |node: &&String| {
        let said = lab.node_attribute(node, &format!("lsync-{NAME}")).unwrap_or_default();
        said.starts_with("replica") && said.ends_with(", in sync")
    };
    lab.running().iter().filter(says).count()
}
