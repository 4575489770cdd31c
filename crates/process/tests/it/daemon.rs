//! Daemons: started detached, found again, stopped as a group.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;
use process::{Daemon, Error, Identity, Process, Stopped};

use crate::{again, ample, inside, kill, runs, until};

/// Ends the daemon whatever the test finds.
struct Ended(Identity);

impl std::ops::Deref for Ended {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.0
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.stop(Duration::ZERO, ample());
    }
}

fn sh(script: &str) -> Daemon {
    Daemon::new("sh").arg("-c").arg(script)
}

fn start(script: &str) -> Ended {
    Ended(sh(script).start().unwrap())
}

fn stop(daemon: &Identity) -> Result<Stopped, Error> {
    daemon.stop(Duration::from_secs(30), ample())
}

fn status(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

#[test]
fn it_owes_nothing_to_who_started_it() {
    let Some(directory) = inside() else {
        let directory = tempfile::tempdir().unwrap();
        // Its output is read to the end: the daemon must not hold this pipe.
        let mut command =
            again("daemon::it_owes_nothing_to_who_started_it", directory.path().to_str().unwrap());
        command.env("OCF_RESKEY_password", "hunter2");
        let output = command.output().unwrap();
        let json = fs::read(directory.path().join("identity")).unwrap();
        let daemon = Ended(serde_json::from_slice(&json).unwrap());
        assert!(output.status.success(), "{output:?}");
        assert!(daemon.is_alive(), "it outlives its starter");
        assert_eq!(Process::of(daemon.pid()).unwrap().session, daemon.pid());
        return;
    };
    // A descriptor that would be inherited, and odd things to inherit beside.
    let leak = File::open("/dev/zero").unwrap();
    fcntl(&leak, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    assert!(leak.as_raw_fd() > 2);
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    std::env::set_current_dir(&directory).unwrap();
    let log = format!("{directory}/log");
    let daemon = sh("echo started; exec sleep 1000").log(&log).start().unwrap();
    fs::write(format!("{directory}/identity"), serde_json::to_vec(&daemon).unwrap()).unwrap();
    let pid = daemon.pid();
    until("it runs", || Process::of(pid).unwrap().name == "sleep");
    let mut open: Vec<_> =
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|fd| fd.unwrap().file_name()).collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(link("fd/0").to_str(), Some("/dev/null"));
    assert_eq!(link("fd/1"), fs::canonicalize(&log).unwrap());
    assert_eq!(link("fd/2"), fs::canonicalize(&log).unwrap());
    assert_eq!(link("cwd").to_str(), Some("/"));
    assert_eq!(status(pid, "Umask"), "0022");
    for set in ["SigIgn", "SigBlk"] {
        // Above 31 the C library keeps a few for itself.
        let signals = u64::from_str_radix(&status(pid, set), 16).unwrap() & 0x7fff_ffff;
        assert_eq!(signals, 0, "{set}");
    }
    let it = Process::of(pid).unwrap();
    assert_eq!(it.session, pid);
    assert_ne!(it.parent, std::process::id() as i32, "no zombie of ours, ever");
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(!environment.contains("hunter2") && environment.contains("LC_ALL=C"));
    assert_eq!(fs::read_to_string(&log).unwrap(), "started\n");
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_daemon_that_cannot_start_is_told() {
    assert!(Daemon::new("no-such-daemon").start().unwrap_err().is_not_found());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("daemon");
    fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Daemon::new(file.to_str().unwrap()).start().unwrap_err();
    assert!(matches!(error, Error::Spawn { .. }), "{error}");
    let log = directory.path().join("link");
    std::os::unix::fs::symlink("/etc/passwd", &log).unwrap();
    let error = sh("exit").log(&log).start().unwrap_err();
    assert!(error.to_string().contains("log file"), "{error}");
}

#[test]
fn ended_by_sigterm() {
    let daemon = start("sleep 1000 & sleep 1000 & wait");
    until("it has children", || daemon.processes().len() == 3);
    let pids: Vec<i32> = daemon.processes().iter().map(|it| it.pid).collect();
    assert_eq!(stop(&daemon).unwrap(), Stopped::Terminated);
    assert!(pids.iter().all(|pid| !runs(*pid)));
    assert!(!daemon.is_alive());
    assert_eq!(stop(&daemon).unwrap(), Stopped::WasNotRunning);
}

#[test]
fn ended_by_sigkill_when_it_must_be() {
    let daemon = sh("trap '' TERM; (sleep 1000; sleep 1000) & while :; do sleep 1; done").start().unwrap();
    until("it has children", || daemon.processes().len() >= 3);
    until("it ignores SIGTERM", || {
        u64::from_str_radix(&status(daemon.pid(), "SigIgn"), 16).unwrap() & (1 << 14) != 0
    });
    assert_eq!(daemon.stop(Duration::from_millis(50), ample()).unwrap(), Stopped::Killed);
    assert_eq!(daemon.processes(), []);
    let daemon = sh("trap '' TERM; while :; do sleep 1; done").start().unwrap();
    until("it ignores SIGTERM", || {
        u64::from_str_radix(&status(daemon.pid(), "SigIgn"), 16).unwrap() & (1 << 14) != 0
    });
    // A grace longer than the time left: SIGKILL comes before the deadline all the same.
    let deadline = Instant::now() + Duration::from_millis(600);
    assert_eq!(daemon.stop(Duration::from_secs(1000), deadline).unwrap(), Stopped::Killed);
}

#[test]
fn children_that_outlive_the_daemon_are_found_and_ended() {
    let daemon = start("sleep 1000 & sleep 1000 & wait");
    until("it has children", || daemon.processes().len() == 3);
    kill(daemon.pid());
    until("the leader is gone", || Process::of(daemon.pid()).is_none_or(|it| !it.is_running()));
    assert!(!daemon.is_alive());
    let left = daemon.processes();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(stop(&daemon).unwrap(), Stopped::Terminated);
    assert!(left.iter().all(|it| !runs(it.pid)));
}

#[test]
fn a_session_that_got_the_number_later_is_not_touched() {
    let daemon = start("sleep 1000 & wait");
    until("it has a child", || daemon.processes().len() == 2);
    kill(daemon.pid());
    until("the leader is gone", || Process::of(daemon.pid()).is_none());
    assert_eq!(daemon.processes().len(), 1);
    // What an older daemon, whose pid went round, would have in its state file.
    let mut json = serde_json::to_value(&daemon.0).unwrap();
    json["start_time"] = 1.into();
    json["mark"] = "1.1.0".into();
    let older: Identity = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(older.processes(), []);
    assert_eq!(stop(&older).unwrap(), Stopped::WasNotRunning);
    json.as_object_mut().unwrap().remove("mark");
    assert_eq!(stop(&serde_json::from_value(json).unwrap()).unwrap(), Stopped::WasNotRunning);
    assert_eq!(daemon.processes().len(), 1, "still there");
}

#[test]
fn a_stopped_member_is_ended_too() {
    let daemon = start("exec sleep 1000");
    signal(Pid::from_raw(daemon.pid()), Signal::SIGSTOP).unwrap();
    until("it is stopped", || Process::of(daemon.pid()).unwrap().state == 'T');
    assert!(daemon.is_alive());
    assert_eq!(stop(&daemon).unwrap(), Stopped::Terminated);
}

#[test]
fn one_that_keeps_forking_is_ended() {
    let daemon = sh("trap '' TERM; while :; do (trap '' TERM; sleep 0.05) & done").start().unwrap();
    until("it forks", || daemon.processes().len() > 3);
    assert_eq!(daemon.stop(Duration::from_millis(20), ample()).unwrap(), Stopped::Killed);
    assert_eq!(daemon.processes(), []);
}

#[test]
fn a_zombie_is_not_alive() {
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = child.id() as i32;
    let identity = Identity::of(pid).unwrap();
    assert!(identity.is_alive());
    kill(pid);
    until("it is a zombie", || Process::of(pid).unwrap().state == 'Z');
    assert!(!identity.is_alive());
    assert_eq!(Identity::of(pid), None);
    assert_eq!(stop(&identity).unwrap(), Stopped::WasNotRunning);
    child.wait().unwrap();
    assert!(!identity.is_alive());
}
