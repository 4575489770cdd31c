//! Locks that a killed process cannot leave behind.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use process::{Error, PidLock};

use crate::{again, ample, inside, until};

fn me() -> i32 {
    std::process::id() as i32
}

#[track_caller]
fn held_by(result: Result<process::Guard, Error>) -> i32 {
    match result {
        Err(Error::Held { by, .. }) => by,
        other => panic!("{other:?}"),
    }
}

/// Another process that holds the lock until it is killed. (As a test of its own it has nothing to do.)
#[test]
fn holder() {
    let Some(path) = inside() else { return };
    let _guard = PidLock::at(path).try_lock().unwrap();
    println!("locked");
    std::thread::sleep(Duration::from_secs(60));
}

fn start_holder(path: &Path) -> Child {
    let mut child = again("lock::holder", path.to_str().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.ends_with("locked")));
    child
}

/// What another process sees. (As a test of its own it has nothing to do.)
#[test]
fn observer() {
    let Some(path) = inside() else { return };
    println!("\nseen {:?}", PidLock::at(path).holder().unwrap());
}

fn seen_from_outside(path: &Path) -> Option<i32> {
    let output = again("lock::observer", path.to_str().unwrap()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let seen = text.lines().find_map(|line| line.strip_prefix("seen ")).unwrap();
    seen.strip_prefix("Some(").map(|pid| pid.trim_end_matches(')').parse().unwrap())
}

#[test]
fn the_holder_is_told_and_sigkill_frees() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let lock = PidLock::at(&path);
    assert_eq!(lock.holder().unwrap(), None, "no file yet");
    let mut child = start_holder(&path);
    let pid = child.id() as i32;
    assert_eq!(held_by(lock.try_lock()), pid);
    assert_eq!(lock.holder().unwrap(), Some(pid));
    let error = lock.lock_until(Instant::now() + Duration::from_millis(20)).unwrap_err();
    assert_eq!(
        error.to_string().split(" (").next().unwrap(),
        format!("{} is locked by pid {pid}", path.display())
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(lock.holder().unwrap(), None);
    let guard = lock.lock_until(ample()).unwrap();
    assert_eq!(seen_from_outside(&path), Some(me()));
    drop(guard);
    assert_eq!(seen_from_outside(&path), None);
}

#[test]
fn waiting_ends_when_the_holder_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let mut child = start_holder(&path);
    let lock = PidLock::at(&path);
    let waiter = std::thread::spawn(move || lock.lock_until(ample()).map(drop));
    child.kill().unwrap();
    child.wait().unwrap();
    waiter.join().unwrap().unwrap();
}

#[test]
fn asking_does_not_lose_our_own_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let lock = PidLock::at(&path);
    let guard = lock.try_lock().unwrap();
    assert_eq!(held_by(lock.try_lock()), me());
    assert_eq!(lock.holder().unwrap(), Some(me()));
    let other = directory.path().join("other");
    fs::hard_link(&path, &other).unwrap();
    assert_eq!(held_by(PidLock::at(&other).try_lock()), me(), "the same file by another name");
    assert_eq!(seen_from_outside(&path), Some(me()));
    drop(guard);
    assert_eq!(seen_from_outside(&path), None);
    drop(lock.try_lock().unwrap());
}

#[test]
fn threads_exclude_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let lock = PidLock::at(directory.path().join("lock"));
    let (inside, done) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let _guard = lock.lock_until(ample()).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(done.load(Ordering::SeqCst), 100);
}

#[test]
fn modes_links_and_other_things_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/vip/lock");
    drop(PidLock::at(&path).try_lock().unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o755));
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(PidLock::at(&link).try_lock(), Err(Error::Io { .. })));
    assert!(matches!(PidLock::at(directory.path()).try_lock(), Err(Error::Io { .. })));
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(PidLock::at(&fifo).try_lock(), Err(Error::Io { .. })));
}

#[test]
fn a_removed_file_is_locked_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let lock = PidLock::at(&path);
    let first = lock.try_lock().unwrap();
    fs::remove_file(&path).unwrap();
    let second = lock.try_lock().unwrap();
    drop(first);
    assert_eq!(held_by(lock.try_lock()), me(), "the end of the first does not free the second");
    drop(second);
    until("free", || lock.holder().unwrap().is_none());
}
