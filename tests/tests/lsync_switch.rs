//! Planned switchovers of `ocf:bascule:lsync` with an application that writes all the time, as it would be configured: it runs where the
//! source is, from after the promotion until before the demotion.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use lab::lsync::Mirror;
use lab::trees::{Kind, make};
use lab::{Lab, Options};

/// The bound of what takes seconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);
/// How often the source moves.
const ROUNDS: usize = 50;

/// The application: some thirty files a second written, changed and deleted, each noted when it is done.
const WRITER: &str = r#"#!/bin/bash
run=/run/writer tree=/site/site5 log=/var/log/writer.log
write() {
    cd $tree || exit 1
    mkdir -p new
    number=$(grep -c . $log)
    until [ -e $run.stop ]; do
        number=$((number + 1))
        name=new/$HOSTNAME-$number
        echo "$name is written" >$name && echo "$name is written" >>$log
        echo "$HOSTNAME $number" >last && echo "last $HOSTNAME $number" >>$log
        if [ $((number % 5)) = 0 ]; then
            rm new/$HOSTNAME-$((number - 3)) 2>/dev/null && echo "gone new/$HOSTNAME-$((number - 3))" >>$log
        fi
        read -t 0.03 <>$run.never
    done
}
alive() { [ -s $run.pid ] && kill -0 "$(cat $run.pid)" 2>/dev/null; }
case $1 in
meta-data)
    cat <<'XML'
<?xml version="1.0"?>
<resource-agent name="writer" version="1.0"><version>1.0</version><longdesc lang="en">Writes.</longdesc>
<shortdesc lang="en">Writes</shortdesc><parameters/><actions><action name="start" timeout="20s"/><action name="stop" timeout="20s"/>
<action name="monitor" timeout="20s" interval="10s"/><action name="meta-data" timeout="5s"/></actions></resource-agent>
XML
    ;;
start)
    alive && exit 0
    rm -f $run.stop
    touch $log
    [ -p $run.never ] || mkfifo $run.never
    write </dev/null >/dev/null 2>&1 &
    echo $! >$run.pid
    ;;
stop)
    touch $run.stop
    while alive; do sleep 0.02; done
    rm -f $run.pid
    ;;
monitor) alive || exit 7 ;;
*) exit 3 ;;
esac
"#;

/// What the files should hold, as the application noted: `None` for one that it has deleted.
fn noted(logs: &[String]) -> BTreeMap<String, Option<String>> {
    let mut files = BTreeMap::new();
    for line in logs.iter().flat_map(|log| log.lines()) {
        if let Some((name, _)) = line.split_once(" is written") {
            files.insert(name.to_owned(), Some(line.to_owned()));
        } else if let Some(name) = line.strip_prefix("gone ") {
            files.insert(name.to_owned(), None);
        }
    }
    files
}

#[test]
fn fifty_switchovers_under_load_lose_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("writer");
    fs::write(&program, WRITER).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let options = Options::nodes(3).label("lsync-switch").agent("writer", program.to_str().unwrap());
    let lab = Lab::start(options).unwrap_or_else(|error| panic!("{error:#}"));
    let mirror = Mirror::new(&lab, "site5");
    make(&lab.node("n1"), "/site/site5/plain", Kind::Plain(500));
    let mirror = mirror.create("");
    let mut source = mirror.wait_in_sync(SOON);
    lab.pcs("resource create writer ocf:bascule:writer op monitor interval=10s");
    lab.pcs("constraint colocation add writer with Promoted site5-clone");
    lab.pcs("constraint order promote site5-clone then start writer");

    let lines = |node: &str| lab.node(node).read("/var/log/writer.log").unwrap_or_default().lines().count();
    let (mut longest, begun) = (Duration::ZERO, Instant::now());
    for round in 0..ROUNDS {
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
                mirror.wait_in_sync(SOON);
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
    let logs: Vec<String> = lab
        .nodes()
        .iter()
        .map(|node| lab.node(node).read("/var/log/writer.log").unwrap_or_default())
        .collect();
    let (noted, mut wrong) = (noted(&logs), Vec::new());
    assert!(noted.len() > ROUNDS * 10 && noted.values().any(Option::is_none), "{}", noted.len());
    let text = mirror.at(&source, "grep -rH '' new");
    let found: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(':')).collect();
    for (name, expected) in &noted {
        match (expected, found.get(name.as_str())) {
            (Some(expected), Some(text)) if expected == text => {}
            (None, None) => {}
            (expected, found) => wrong.push(format!("{name}: {expected:?}, found {found:?}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} files: {:#?}",
        wrong.len(),
        noted.len(),
        &wrong[..wrong.len().min(10)]
    );
    assert_eq!(found.len(), noted.values().flatten().count(), "nothing else appears");
    let last = mirror.at(&source, "cat last");
    let written = lab.node(&source).read("/var/log/writer.log").unwrap_or_default();
    assert_eq!(
        written.lines().rfind(|line| line.starts_with("last ")),
        Some(&*format!("last {}", last.trim()))
    );
    for node in lab.nodes() {
        assert_eq!(mirror.saved_files(node), [""; 0], "nothing diverges in a planned switchover");
    }
    assert!(!lab.run("crm_mon -1").contains("Failed"), "{}", lab.run("crm_mon -1"));
}
