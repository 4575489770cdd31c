//! Questions and answers between two nodes of this machine, over real rsync daemons. In place of the cluster there is a file with
//! its record.

use super::*;
use crate::ask::{Silence, ask};
use crate::core::Record;
use crate::receiver::tests::{Bench, generation, knows, learns, soon};
use crate::settings::Peer;
use crate::test_port::Port;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// What the hook of a test finds its node by.
const BELOW: &str = "BASCULE_TEST_BELOW";

/// A cluster whose record is in a file.
struct Recorded<'a> {
    place: &'a Place,
    settings: &'a Settings,
    file: PathBuf,
}

impl Cluster for Recorded<'_> {
    fn refresh(&self) -> Result<Own, Failure> {
        let own = self.learn()?;
        StateFile::new(self.file.with_extension("published")).save(&own).unwrap();
        Ok(own)
    }

    fn learn(&self) -> Result<Own, Failure> {
        let record: Option<Record> = StateFile::new(self.file.clone()).load()?;
        own::update(self.place, self.settings, soon(), |own| core::learn(own, record.as_ref()))
    }
}

/// The answering face of this program, as a test's daemon runs it.
#[test]
#[ignore = "no test by itself: the rsync daemons of the other tests here run it, with --ignored, as their hook"]
fn as_the_hook() {
    let Some(below) = std::env::var_os(BELOW) else { return };
    let place = Place::below(Path::new(&below), "site5");
    let settings: Settings = StateFile::new(place.settings()).load().unwrap().unwrap();
    let cluster =
        Recorded { place: &place, settings: &settings, file: Path::new(&below).join("cluster.json") };
    let request = std::env::var("RSYNC_REQUEST").unwrap();
    respond(&place, &settings, &request, soon(), &log(), &cluster).unwrap();
}

fn log() -> Log {
    Log::new("test".into(), None, false, None)
}

struct Node {
    bench: Bench,
    place: Place,
    settings: Settings,
    peer: Peer,
}

/// A node that serves a dataset, and answers.
fn node() -> Node {
    // Its directory is part of the hook's command line: a shell is not to see more in it than a name.
    node_with_agent("age'nt \"$HOME\" %RSYNC_USER_NAME%;`id`#")
}

fn node_with_agent(name: &str) -> Node {
    let bench = Bench::new();
    let (place, mut settings) = bench.dataset("site5");
    settings.agent = bench.directory.path().join(name);
    let hook = format!(
        "#!/bin/sh\n[ \"$*\" = 'answer site5' ] || exit 1\n{BELOW}='{}' exec '{}' --exact answer::tests::as_the_hook --ignored\n",
        bench.directory.path().display(),
        std::env::current_exe().unwrap().display()
    );
    agent(&settings, &hook);
    StateFile::new(place.settings()).save(&settings).unwrap();
    receiver::serve(&place, &settings, soon()).unwrap();
    learns(&place, &settings, &Own::default());
    let peer = Peer { name: "n2".into(), address: "127.0.0.1".into() };
    Node { bench, place, settings, peer }
}

fn agent(settings: &Settings, script: &str) {
    fs::write(&settings.agent, script).unwrap();
    fs::set_permissions(&settings.agent, fs::Permissions::from_mode(0o700)).unwrap();
}

impl Node {
    fn asks(&self, what: Ask) -> Result<Answer, Silence> {
        ask(&self.place, &self.settings, &self.peer, what, soon())
    }

    fn cluster_has(&self, own: &Own) {
        StateFile::new(self.bench.directory.path().join("cluster.json")).save(&own.latest).unwrap();
    }

    fn published(&self) -> Option<Own> {
        StateFile::new(self.bench.directory.path().join("cluster.published")).load().unwrap()
    }

    fn answers(&self) -> usize {
        fs::read_dir(self.place.answers()).unwrap().count()
    }
}

#[test]
fn a_node_says_how_it_stands() {
    let node = node();
    let own = knows(3, Standing::Behind);
    learns(&node.place, &node.settings, &own);
    fs::write(node.settings.source.join("file"), "x").unwrap();
    fs::write(node.settings.source.join(".bascule/canary"), "17\n").unwrap();
    let answer = node.asks(Ask::State).unwrap();
    assert_eq!((answer.own, answer.canary, answer.saved, answer.refuses), (own, Some(17), 0, None));
    assert_eq!((answer.said.number, answer.said.tree), (3, Tree::Filled));
    assert!(
        fs::read_dir(node.place.run.join("asking")).unwrap().next().is_none(),
        "nothing is left of a question"
    );
}

#[test]
fn a_claim_opens_the_module_once_the_cluster_has_the_record() {
    let node = node();
    let from = node.bench.content("from", &["a"]);
    let answer = node.asks(Ask::Claim(generation(2))).unwrap();
    assert_eq!(answer.own, Own::default(), "a claim alone proves nothing");
    assert_eq!(node.bench.push(&node.settings, &generation(2), &from), 5);
    node.cluster_has(&knows(2, Standing::Behind));
    let answer = node.asks(Ask::Claim(generation(2))).unwrap();
    assert_eq!(answer.own, knows(2, Standing::Behind));
    assert_eq!(node.bench.push(&node.settings, &generation(2), &from), 0);
    // An older source learns what it missed.
    let answer = node.asks(Ask::Claim(generation(1))).unwrap();
    assert_eq!(answer.own.generation(), Some(&generation(2)));
    assert_eq!(node.bench.push(&node.settings, &generation(1), &from), 5);
}

#[test]
fn nothing_is_received_while_what_runs_here_may_write() {
    let node = node();
    let from = node.bench.content("from", &["a"]);
    crate::source::role_begins(&node.place).unwrap();
    node.cluster_has(&knows(2, Standing::Behind));
    let answer = node.asks(Ask::Claim(generation(2))).unwrap();
    assert_eq!(answer.own.generation(), Some(&generation(2)), "it knows that it leads no more");
    assert!(answer.refuses.unwrap().contains("demoted"));
    assert_eq!(node.bench.push(&node.settings, &generation(2), &from), 5);
    crate::source::role_ended(&node.place).unwrap();
    assert_eq!(node.asks(Ask::Claim(generation(2))).unwrap().refuses, None);
    assert_eq!(node.bench.push(&node.settings, &generation(2), &from), 0);
}

#[test]
fn a_question_that_shuts_out_the_older_generation_is_answered_itself() {
    let node = node();
    learns(&node.place, &node.settings, &knows(1, Standing::Behind));
    let mut old = node.bench.endless(&node.settings, &generation(1));
    node.cluster_has(&knows(2, Standing::Behind));
    let answer = node.asks(Ask::Look).unwrap();
    assert_eq!(answer.own, knows(2, Standing::Behind));
    assert_ne!(old.code(), 0);
}

#[test]
fn a_complete_pass_is_in_sync_and_what_it_replaced_is_put_away() {
    let node = node();
    learns(&node.place, &node.settings, &knows(2, Standing::Behind));
    let pass = node.settings.source.join(".bascule/local/saved/pass-1");
    fs::create_dir_all(&pass).unwrap();
    fs::write(pass.join("precious"), "mine").unwrap();
    let answer = node.asks(Ask::Complete(generation(1))).unwrap();
    assert_eq!(
        (&answer.own.standing, answer.saved),
        (&Standing::Behind, 1),
        "of another generation: nothing happens"
    );
    assert!(pass.exists() && node.published().is_none());
    crate::tree::write_marker(&node.settings.source, 1, "site5").unwrap();
    let answer = node.asks(Ask::Complete(generation(2))).unwrap();
    assert_eq!(answer.own.standing, Standing::Behind, "it was not claimed since it started");
    assert!(answer.refuses.unwrap().contains("started anew"));
    assert_eq!(node.asks(Ask::Claim(generation(2))).unwrap().refuses, None);
    let answer = node.asks(Ask::Complete(generation(2))).unwrap();
    assert_eq!((&answer.own.standing, answer.saved), (&Standing::InSync, 1));
    assert!(!pass.exists());
    assert_eq!(own::load(&node.place).unwrap().standing, Standing::InSync);
    assert!(node.published().is_none(), "not before the cluster's record says so");
    assert_eq!(answer.refuses, None);
}

#[test]
fn a_pass_is_refused_where_it_would_harm() {
    let node = node();
    learns(&node.place, &node.settings, &knows(2, Standing::InSync));
    let refused = node.asks(Ask::State).unwrap().refuses.unwrap();
    assert!(refused.contains(".bascule/dataset") && refused.contains("mounted"), "{refused}");
    crate::tree::write_marker(&node.settings.source, 1, "site5").unwrap();
    assert_eq!(node.asks(Ask::State).unwrap().refuses, None);

    let saved = node.settings.saved_dir.join("20260101T000000Z-generation-1/files");
    fs::create_dir_all(&saved).unwrap();
    fs::write(saved.join("large"), [7; 100_000]).unwrap();
    fs::write(saved.parent().unwrap().join("REPORT"), "1 files, 102400 bytes, of the dataset site5\n")
        .unwrap();
    let limited = Settings { saved_limit: Some(50_000), ..node.settings.clone() };
    StateFile::new(node.place.settings()).save(&limited).unwrap();
    assert_eq!(node.asks(Ask::State).unwrap().refuses, None, "what is in sync sets nothing aside");
    learns(&node.place, &node.settings, &knows(3, Standing::Behind));
    let refused = node.asks(Ask::State).unwrap().refuses.unwrap();
    assert!(refused.contains("saved_limit=50000") && refused.contains("saved"), "{refused}");

    fs::rename(&node.settings.source, node.settings.source.with_extension("gone")).unwrap();
    assert!(node.asks(Ask::State).unwrap().refuses.is_some());
}

#[test]
fn questions_of_others_are_refused() {
    let node = node();
    let key = node.bench.directory.path().join("other-key");
    fs::write(&key, [1; 64]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    let stranger = Settings { secret_file: key, ..node.settings.clone() };
    let refused = ask(&node.place, &stranger, &node.peer, Ask::State, soon()).unwrap_err();
    assert!(
        matches!(&refused, Silence::Refused(it) if it.contains("secret_file") && it.contains("n2 (127.0.0.1")),
        "{refused}"
    );
    assert_eq!(node.answers(), 0, "the hook never ran");

    let other = Settings { dataset: "site9".into(), ..node.settings.clone() };
    let refused = ask(&node.place, &other, &node.peer, Ask::State, soon()).unwrap_err();
    assert!(matches!(&refused, Silence::Refused(it) if it.contains("not started")), "{refused}");
}

#[test]
fn nothing_but_questions_is_answered() {
    let node = node();
    let cluster = Recorded { place: &node.place, settings: &node.settings, file: "/nonexistent".into() };
    for request in [
        "",
        "site5.control",
        "site5.control/",
        "site5.control/../settings.json",
        "site5.control/state~n1~1",
        "site5.control/state~n1~x",
        "site5.control/state~n1~0000000000000001 site5.control/state~n1~0000000000000002",
        "site5.control/*",
        "site5.control/state~../../x~0000000000000001",
        "other.control/state~n1~0000000000000001",
    ] {
        let refused = respond(&node.place, &node.settings, request, soon(), &log(), &cluster);
        assert!(refused.is_err_and(|it| it.reason.contains("no question")), "{request}");
    }
    assert_eq!(node.answers(), 0);
    let plain = "site5.control/state~n1~0000000000000001";
    respond(&node.place, &node.settings, plain, soon(), &log(), &cluster).unwrap();
    assert_eq!(node.answers(), 1);
}

#[test]
fn answers_that_were_fetched_go() {
    let node = node();
    let old = node.place.answers().join("state~n1~00000000000000aa");
    fs::write(&old, "{}").unwrap();
    let past = std::time::SystemTime::now() - 2 * STALE;
    fs::File::options().write(true).open(&old).unwrap().set_modified(past).unwrap();
    node.asks(Ask::State).unwrap();
    assert!(!old.exists());
    assert_eq!(node.answers(), 1);
}

#[test]
fn a_cluster_that_cannot_be_asked_is_no_reason_to_be_silent() {
    let node = node();
    learns(&node.place, &node.settings, &knows(2, Standing::Behind));
    fs::write(node.bench.directory.path().join("cluster.json"), "garbage").unwrap();
    let answer = node.asks(Ask::Look).unwrap();
    assert_eq!(answer.own, knows(2, Standing::Behind));
}

#[test]
fn a_peer_that_accepts_and_never_answers_is_given_up() {
    let node = node();
    let port = Port::free();
    let silent = port.listen();
    let settings = Settings { port: port.number, connect_timeout: 1, io_timeout: 1, ..node.settings.clone() };
    let far = Instant::now() + Duration::from_secs(3600);
    let silence = ask(&node.place, &settings, &node.peer, Ask::State, far).unwrap_err();
    assert!(matches!(&silence, Silence::Unreachable(it) if it.contains("n2 (127.0.0.1")), "{silence}");
    // One that greets, and then says no more.
    let greets = std::thread::spawn(move || {
        let (mut stream, _) = silent.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"@RSYNCD: 31.0 sha512\n").unwrap();
        let _until_the_asker_leaves = stream.read_to_end(&mut Vec::new());
        silent
    });
    let silence = ask(&node.place, &settings, &node.peer, Ask::State, far).unwrap_err();
    assert!(matches!(&silence, Silence::Unreachable(_)), "{silence}");
    drop(greets);
    let over = ask(&node.place, &settings, &node.peer, Ask::State, Instant::now()).unwrap_err();
    assert!(matches!(over, Silence::Unreachable(_)), "{over}");
}

#[test]
fn nobody_there_is_told_with_the_address() {
    let node = node();
    let free = Port::free();
    let nobody = Settings { port: free.number, ..node.settings.clone() };
    let silence = ask(&node.place, &nobody, &node.peer, Ask::State, soon()).unwrap_err();
    assert!(
        matches!(&silence, Silence::Unreachable(it) if it.contains(&format!("port {}", free.number))),
        "{silence}"
    );
    let by_ipv6 = Peer { name: "n2".into(), address: "::1".into() };
    ask(&node.place, &node.settings, &by_ipv6, Ask::State, soon()).unwrap();
    let odd = Peer { name: "n2".into(), address: "127.0.0.1/x".into() };
    assert!(ask(&node.place, &node.settings, &odd, Ask::State, soon()).is_err());
}

#[test]
fn what_is_no_answer_is_told() {
    let node = node();
    let answers = node.place.answers();
    agent(
        &node.settings,
        &format!("#!/bin/sh\necho rubbish > '{}'/\"${{RSYNC_REQUEST#*/}}\"\n", answers.display()),
    );
    let nonsense = node.asks(Ask::State).unwrap_err();
    assert!(matches!(&nonsense, Silence::Nonsense(it) if it.contains("n2")), "{nonsense}");
    agent(&node.settings, "#!/bin/sh\nexit 0\n");
    let nothing = node.asks(Ask::State).unwrap_err();
    assert!(matches!(&nothing, Silence::Nonsense(_)), "{nothing}");
    agent(&node.settings, "#!/bin/sh\nexit 1\n");
    let failed = node.asks(Ask::State).unwrap_err();
    assert!(matches!(&failed, Silence::Refused(_)), "{failed}");
}

#[test]
fn a_hook_that_was_under_way_opens_nothing_that_was_withdrawn() {
    let node = node();
    // With another dataset the daemon goes on, and does not take the hook along.
    let _other = node.bench.serving("site6");
    let begun = node.bench.directory.path().join("begun");
    let script = format!("#!/bin/sh\n: > '{}'\nexec sleep 600\n", begun.display());
    agent(&node.settings, &script);
    let asking = {
        let (place, settings, peer) = (node.place.clone(), node.settings.clone(), node.peer.clone());
        std::thread::spawn(move || ask(&place, &settings, &peer, Ask::Look, soon()))
    };
    while !begun.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let under_way = || {
        process::Process::all()
            .into_iter()
            .filter(|it| {
                let environment = fs::read(format!("/proc/{}/environ", it.pid)).unwrap_or_default();
                it.is_running()
                    && String::from_utf8_lossy(&environment)
                        .contains(&*node.place.answers().to_string_lossy())
            })
            .count()
    };
    assert_eq!(under_way(), 1);
    receiver::withdraw(&node.place, &node.settings, soon()).unwrap();
    assert_eq!(under_way(), 0);
    assert!(asking.join().unwrap().is_err());
}
