//! The source's life with a real lsyncd, whose pushes go to a shell script.

use super::*;
use crate::pass::tests::write;
use std::os::unix::fs::PermissionsExt as _;

struct Fixture {
    directory: tempfile::TempDir,
    place: Place,
    settings: Settings,
    generation: Generation,
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

impl Fixture {
    /// `script` is what the agent does when lsyncd calls it; `$DIR` is the fixture's directory.
    fn new(tree: &str, script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join(tree);
        fs::create_dir(&root).unwrap();
        crate::tree::prepare(&root).unwrap();
        let agent = directory.path().join("agent");
        fs::write(&agent, format!("#!/bin/sh\nDIR={}\n{script}\n", directory.path().display())).unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
        let mut settings = crate::transfer::tests::settings(&root);
        settings.agent = agent;
        let place = Place::below(directory.path(), "d");
        let generation = Generation { number: 3, id: 1, origin: "n1".into() };
        Fixture { place, settings, generation, directory }
    }

    fn start(&self) -> Result<(), Failure> {
        start(&self.place, &self.settings, &self.generation, 42, soon())
    }

    /// Waits until the agent was called with something that a line of this tells of.
    fn wait_for(&self, what: &str) -> String {
        let until = soon();
        loop {
            let calls = fs::read(self.directory.path().join("calls")).unwrap_or_default();
            let calls = String::from_utf8_lossy(&calls).into_owned();
            if calls.contains(what) {
                return calls;
            }
            assert!(Instant::now() < until, "{what:?} in {calls:?}; {}", logs(&self.place));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = stop(&self.place, soon());
    }
}

const NOTES: &str = "{ echo \"$@\"; [ $2 = list ] && tr '\\0' '|'; echo; } >> $DIR/calls; exit 100";

#[test]
fn lsyncd_tells_what_changes_but_for_what_is_private_and_stops() {
    let hostile = "a \"tree\"]] --\\ %s 'x'";
    let fixture = Fixture::new(hostile, NOTES);
    fs::write(fixture.place.run.join("lsyncd.log"), "of the last one\n").unwrap_or_default();
    fixture.start().unwrap();
    let found = running(&fixture.place).unwrap();
    assert_eq!(
        found,
        Some(Running {
            generation: fixture.generation.clone(),
            device: 42,
            alive: true,
            peers: fixture.settings.peers.clone()
        })
    );
    fixture.wait_for("push full n2 d");
    let root = &fixture.settings.source;
    write(&root.join(".bascule/local/saved/x"), b"private");
    crate::tree::write_canary(root, 1).unwrap();
    write(&root.join("new/file"), b"x");
    fixture.wait_for("|/new/file");
    let calls = fixture.wait_for("/.bascule/beat.1");
    assert!(
        calls.contains("push list n2 d") && !calls.contains("local") && !calls.contains("canary"),
        "{calls}"
    );
    stop(&fixture.place, soon()).unwrap();
    assert_eq!(running(&fixture.place).unwrap(), None);
    assert_eq!(known_device(&fixture.place, &fixture.generation), Some(42));
    let other = Generation { number: 4, ..fixture.generation.clone() };
    assert_eq!(known_device(&fixture.place, &other), None);
    stop(&fixture.place, soon()).unwrap();
}

#[test]
fn what_fails_is_told_again() {
    let script =
        "echo \"$@\" >> $DIR/calls; [ -f $DIR/good ] && { echo good >> $DIR/calls; exit 100; }; kill -9 $$";
    let fixture = Fixture::new("tree", script);
    fixture.start().unwrap();
    // A killed push counts as exit code 0 for lsyncd; and it is no success.
    fixture.wait_for("push full n2 d\npush full n2 d\n");
    fs::write(fixture.directory.path().join("good"), "").unwrap();
    fixture.wait_for("good");
    write(&fixture.settings.source.join("file"), b"x");
    fixture.wait_for("push list n2 d");
}

#[test]
fn stop_ends_pushes_and_what_they_started() {
    let script = "trap '' TERM; echo \"$@\" $$ >> $DIR/calls; sleep 1000 & wait; sleep 1000";
    let fixture = Fixture::new("tree", script);
    fixture.start().unwrap();
    let calls = fixture.wait_for("\n");
    let push: i32 = calls.split_whitespace().last().unwrap().parse().unwrap();
    let session = Process::of(push).unwrap().session;
    stop(&fixture.place, soon()).unwrap();
    assert!(!Process::all().iter().any(|it| it.session == session && it.is_running()));
    // The same when lsyncd itself is gone before.
    fixture.start().unwrap();
    let on_file = file(&fixture.place).load::<OnFile>().unwrap().unwrap();
    let until = soon();
    while on_file.lsyncd.processes().len() < 3 {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(10));
    }
    let lsyncd = nix::unistd::Pid::from_raw(on_file.lsyncd.pid());
    nix::sys::signal::kill(lsyncd, nix::sys::signal::Signal::SIGKILL).unwrap();
    while on_file.lsyncd.is_alive() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!running(&fixture.place).unwrap().unwrap().alive);
    stop(&fixture.place, soon()).unwrap();
    let session = lsyncd.as_raw();
    assert!(!Process::all().iter().any(|it| it.session == session && it.is_running()));
}

#[test]
fn one_that_nobody_wrote_down_is_ended_too() {
    let fixture = Fixture::new("tree", NOTES);
    fixture.start().unwrap();
    let on_file = file(&fixture.place).load::<OnFile>().unwrap().unwrap();
    file(&fixture.place).remove().unwrap();
    stop(&fixture.place, soon()).unwrap();
    assert!(!on_file.lsyncd.is_alive());
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    let mut fixture = Fixture::new("tree", NOTES);
    let root = fixture.settings.source.clone();
    fixture.settings.source = root.join("missing");
    let failure = fixture.start().unwrap_err();
    assert!(
        failure.reason.contains("lsyncd has ended") && failure.reason.contains("missing"),
        "{}",
        failure.reason
    );
    assert_eq!(running(&fixture.place).unwrap(), None);
    fixture.settings.lsyncd = "/nowhere/lsyncd".into();
    assert_eq!(fixture.start().unwrap_err().code, Code::Installed);
}

#[test]
fn peers_need_a_whole_pass_after_a_start() {
    let fixture = Fixture::new("tree", "sleep 1000");
    let follows =
        crate::peers::PeerState { generation: 3, phase: Phase::Following, canary: 9, ..Default::default() };
    peer_files::save(&fixture.place, "n2", &follows).unwrap();
    fixture.start().unwrap();
    assert_eq!(peer_files::load(&fixture.place, "n2").unwrap().phase, Phase::Syncing);
}

#[test]
fn too_few_watches_are_told_with_the_number() {
    let fixture = Fixture::new("tree", NOTES);
    fs::create_dir_all(&fixture.place.run).unwrap();
    let said = "Error: Terminating since out of inotify watches.\nConsider increasing /proc/sys/fs/inotify/max_user_watches\n";
    fs::write(fixture.place.lsyncd("log"), said).unwrap();
    let reason = why_ended(&fixture.place, &fixture.settings);
    assert!(reason.contains("2 directories") && reason.contains("fs.inotify.max_user_watches"), "{reason}");
    // Enough of them now: it is started, and seen to live.
    fixture.start().unwrap();
    assert!(running(&fixture.place).unwrap().unwrap().alive);
}
