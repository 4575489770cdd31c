//! Conflicts under each policy of `ocf:bascule:csync`, with the real csync2: who wins is the same on all nodes, what loses is kept, and a removal
//! never fights a change.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use lab::Lab;
use lab::csync::{all_is_well, apart, choose, site, soon, told, until};

const FILE: &str = "/srv/site/same";

/// The same on all nodes.
fn everywhere(lab: &Lab, command: &str) {
    for node in lab.running() {
        soon(lab, &node, command);
    }
}

/// Where a version is kept that lost: a file with this text below the directories of kept versions.
fn is_kept(lab: &Lab, node: &str, text: &str) {
    soon(
        lab,
        node,
        &format!(
            "grep -rqx '{text}' /var/lib/bascule/csync/conf/kept /var/lib/bascule/csync/conf/overwritten"
        ),
    );
}

fn promoted(lab: &Lab) -> String {
    until(lab, "one is promoted", |lab| lab.promoted("conf").len() == 1);
    lab.promoted("conf").remove(0)
}

#[test]
fn the_promoted_node_wins() {
    let lab = site("csync-promoted", "conflict_policy=promoted-wins check_interval=30", "promotable");
    let authority = promoted(&lab);
    let others: Vec<String> = lab.running().into_iter().filter(|node| *node != authority).collect();
    let [second, third] = others.as_slice() else { panic!("{others:?}") };

    // It is one of two.
    apart(
        &lab,
        &[
            (&authority, "echo from the authority >/srv/site/same"),
            (second, "echo from the second, longer >/srv/site/same"),
        ],
    );
    everywhere(&lab, "grep -qx 'from the authority' /srv/site/same");
    is_kept(&lab, second, "from the second, longer");
    all_is_well(&lab);

    // It is neither of the two, and has got one of their versions, or both one after the other: what it has wins.
    apart(&lab, &[(second, "echo second >/srv/site/same"), (third, "echo third, longer >/srv/site/same")]);
    let versions = "grep -qxE 'second|third, longer' /srv/site/same";
    let sum = |lab: &Lab, node: &str| lab.node(node).run("md5sum /srv/site/same");
    until(&lab, "they agree", |lab| {
        let agreed = others.iter().all(|node| sum(lab, node) == sum(lab, &authority));
        agreed && lab.node(&authority).sh(versions).ok()
    });
    all_is_well(&lab);
    let (lost, by) = match lab.node(&authority).run("cat /srv/site/same").trim() {
        "second" => ("third, longer", third),
        _ => ("second", second),
    };
    is_kept(&lab, by, lost);
    assert_eq!(promoted(&lab), authority, "a conflict moves nothing");

    // A removal against a change is neither done nor undone.
    apart(&lab, &[(&authority, "rm /srv/site/same"), (second, "echo changed there >/srv/site/same")]);
    until(&lab, "it is told", |lab| {
        [&authority, second].iter().any(|node| told(lab, node).contains("conflicts 1: /srv/site/same with"))
    });
    assert!(!lab.node(&authority).sh(&format!("[ -e {FILE} ]")).ok(), "it was brought back");
    assert_eq!(lab.node(second).run(&format!("cat {FILE}")), "changed there\n");
    // The removal is chosen.
    lab.node(&authority).run(&choose(FILE));
    everywhere(&lab, &format!("[ ! -e {FILE} ]"));
    is_kept(&lab, second, "changed there");
    all_is_well(&lab);
}

#[test]
fn the_newest_or_the_oldest_wins_by_group() {
    let lab = site("csync-newest", "conflict_policy=newest check_interval=30", "clone");
    apart(
        &lab,
        &[
            ("n1", "echo newer >/srv/site/same; touch -d 2026-05-05 /srv/site/same"),
            ("n2", "echo older, longer >/srv/site/same; touch -d 2026-04-04 /srv/site/same"),
        ],
    );
    everywhere(&lab, "grep -qx newer /srv/site/same");
    is_kept(&lab, "n2", "older, longer");
    all_is_well(&lab);

    // Of three versions.
    apart(
        &lab,
        &[
            ("n1", "echo one >/srv/site/same; touch -d 2026-06-01 /srv/site/same"),
            ("n2", "echo two, two >/srv/site/same; touch -d 2026-06-03 /srv/site/same"),
            ("n3", "echo three three >/srv/site/same; touch -d 2026-06-02 /srv/site/same"),
        ],
    );
    everywhere(&lab, "grep -qx 'two, two' /srv/site/same");
    is_kept(&lab, "n1", "one");
    is_kept(&lab, "n3", "three three");
    all_is_well(&lab);

    // The group has a policy of its own now.
    lab.pcs("resource update conf group_policy=site=oldest");
    lab.settle(lab::csync::SOON);
    all_is_well(&lab);
    apart(
        &lab,
        &[
            ("n1", "echo newer again >/srv/site/same; touch -d 2026-08-08 /srv/site/same"),
            ("n3", "echo older >/srv/site/same; touch -d 2026-07-07 /srv/site/same"),
        ],
    );
    everywhere(&lab, "grep -qx older /srv/site/same");
    is_kept(&lab, "n1", "newer again");
    all_is_well(&lab);

    // The same change on two nodes is no conflict.
    let same = "echo agreed >/srv/site/same; touch -d 2026-09-09 /srv/site/same";
    apart(&lab, &[("n1", same), ("n2", same)]);
    everywhere(&lab, "grep -qx agreed /srv/site/same");
    all_is_well(&lab);
}

#[test]
fn a_change_on_top_of_anothers_is_no_conflict_while_a_third_node_is_away() {
    let lab = site("csync-ahead", "check_interval=10 peer_timeout=5", "clone");
    lab.pcs("resource ban conf-clone n3");
    soon(&lab, "n3", "! pgrep -f '[c]sync2.*-ii'");
    for (from, to, text) in [("n1", "n2", "one"), ("n2", "n1", "two, longer"), ("n1", "n2", "three, longest")]
    {
        lab.node(from).run(&format!("echo {text} >{FILE}"));
        soon(&lab, to, &format!("grep -qx '{text}' {FILE}"));
    }
    until(&lab, "no conflict is left", |lab| {
        ["n1", "n2"].iter().all(|node| !told(lab, node).contains("conflict"))
    });
    assert_eq!(lab.node("n1").run(&format!("cat {FILE}")), "three, longest\n");
    // The third one has changed it meanwhile, and has seen neither: that is one, and nobody wins.
    lab.node("n3").run(&format!("echo its own >{FILE}"));
    lab.pcs("resource clear conf-clone");
    until(&lab, "it is told", |lab| told(lab, "n3").contains(&format!(": {FILE} with")));
    // Longer than it takes to decide.
    std::thread::sleep(std::time::Duration::from_secs(12));
    for (node, text) in [("n1", "three, longest\n"), ("n2", "three, longest\n"), ("n3", "its own\n")] {
        assert_eq!(lab.node(node).run(&format!("cat {FILE}")), text, "{node}\n{}", lab::csync::state(&lab));
    }
    lab.node("n2").run(&choose(FILE));
    everywhere(&lab, &format!("grep -qx 'three, longest' {FILE}"));
    is_kept(&lab, "n3", "its own");
    all_is_well(&lab);
}
