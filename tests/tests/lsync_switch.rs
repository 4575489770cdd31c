//! Planned switchovers of `ocf:bascule:lsync` with an application that writes all the time, as it would be configured: it runs where the
//! source is, from after the promotion until before the demotion.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use lab::lsync::{Mirror, Noted, WRITER};
use lab::trees::{Kind, make};
use lab::{Lab, Options};

/// The bound of what takes seconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);
/// How often the source moves.
const ROUNDS: usize = 50;

#[test]
fn fifty_switchovers_under_load_lose_no_file() {
    let options = Options::nodes(3).label("lsync-switch").agent("writer", WRITER);
    let lab = Lab::start(options).unwrap_or_else(|error| panic!("{error:#}"));
    let mirror = Mirror::new(&lab, "site5");
    make(&lab.node("n1"), "/site/site5/plain", Kind::Plain(500));
    let mirror = mirror.create("");
    let mut source = mirror.wait_in_sync(SOON);
    mirror.create_writer();

    let lines = |node: &str| mirror.writer_log(node).lines().count();
    let (mut longest, begun) = (Duration::ZERO, Instant::now());
    for round in 0..ROUNDS {
        mirror.wait_in_sync(SOON);
        let had = lines(&source);
        mirror.wait(&format!("round {round}: the application writes on {source}"), SOON, |_| {
            lines(&source) > had + 20
        });
        let place = lab.nodes().iter().position(|node| *node == source).unwrap();
        let target = lab.nodes()[(place + 1 + round % 2) % 3].clone();
        let had = lines(&target);
        let asked = Instant::now();
        match round % 10 {
            // By emptying the node, as before maintenance.
            9 => {
                lab.pcs(&format!("node standby {source}"));
                let other = mirror.wait_source_other_than(&source, SOON);
                lab.pcs(&format!("node unstandby {source}"));
                source = other;
                continue;
            }
            _ => lab.run(&format!("crm_resource --resource site5-clone --move --promoted --node {target}")),
        };
        mirror.wait(&format!("round {round}: the application writes on {target}"), SOON, |_| {
            lines(&target) > had
        });
        longest = longest.max(asked.elapsed());
        lab.run("crm_resource --resource site5-clone --clear");
        source = target;
    }
    println!(
        "{ROUNDS} switchovers in {:?}, the longest {longest:?} from the command to the first write",
        begun.elapsed()
    );

    lab.pcs("resource disable writer");
    lab.settle(SOON);
    let source = mirror.wait_in_sync(SOON);
    mirror.acknowledged(SOON);
    let tree = mirror.assert_same();
    assert!(tree.has("plain/d004/f00499"));
    let mut noted = Noted::default();
    lab.nodes().iter().for_each(|node| noted.add(&mirror.writer_log(node)));
    assert!(noted.made.len() > ROUNDS * 10 && !noted.deleted.is_empty(), "{}", noted.made.len());
    assert_eq!(
        (&noted.made, &noted.deleted),
        (&noted.tried, &noted.doomed),
        "the application was never killed"
    );
    let found = mirror.written(&source);
    let expected: Vec<&String> = noted.made.difference(&noted.deleted).collect();
    let lost: Vec<_> = expected.iter().filter(|name| !found.contains_key(**name)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} files are lost: {:?}",
        lost.len(),
        expected.len(),
        &lost[..lost.len().min(10)]
    );
    let more: Vec<_> = found.keys().filter(|name| !expected.contains(name)).collect();
    assert!(more.is_empty(), "{} more files: {:?}", more.len(), &more[..more.len().min(10)]);
    let wrong: Vec<_> = found.iter().filter(|(name, text)| **text != format!("content of {name}")).collect();
    assert!(wrong.is_empty(), "{} with another content: {:?}", wrong.len(), &wrong[..wrong.len().min(10)]);
    let last = mirror.at(&source, "cat last");
    let log = mirror.writer_log(&source);
    assert_eq!(log.lines().rfind(|line| line.starts_with("last ")), Some(&*format!("last {}", last.trim())));
    // What the new source changes before a replica has had its first pass lies set aside there in its older form, and nothing else.
    for node in lab.nodes() {
        let superseded = |name: &String| name == "last" || noted.deleted.contains(name);
        let aside = mirror.saved_files(node);
        assert!(aside.iter().all(superseded), "{node} has set aside what nobody replaced: {aside:?}");
    }
    assert!(!lab.run("crm_mon -1").contains("Failed"), "{}", lab.run("crm_mon -1"));
}
