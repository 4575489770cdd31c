//! Whole passes between real rsyncs over loopback.

use super::*;
use crate::source;
use crate::test_port::Port;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

#[path = "pass_support.rs"]
mod support;
pub(crate) use support::*;

fn make_everything(root: &Path) {
    for (n, name) in hostile_names().iter().enumerate() {
        write(&root.join("files").join(name), format!("content {n}").as_bytes());
        fs::create_dir_all(root.join("directories").join(name)).unwrap();
        symlink(name, root.join("directories").join(name).join("link")).unwrap();
    }
    let mut deep = root.to_owned();
    for n in 0..60 {
        deep = deep.join(format!("{n}-deep-deep-deep-deep-deep"));
    }
    write(&deep.join("bottom"), b"here");
    symlink("../../../etc/passwd", root.join("out")).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    fs::hard_link(root.join("files/plain"), root.join("twin")).unwrap();
    let make = |name: &str, kind: libc::mode_t, device: u64| {
        let path = CString::new(root.join(name).as_os_str().as_bytes()).unwrap();
        let kind = nix::sys::stat::SFlag::from_bits_truncate(kind);
        nix::sys::stat::mknod(path.as_c_str(), kind, nix::sys::stat::Mode::from_bits_truncate(0o640), device)
            .unwrap();
    };
    make("fifo", libc::S_IFIFO, 0);
    make("char", libc::S_IFCHR, libc::makedev(1, 3));
    make("block", libc::S_IFBLK, libc::makedev(7, 250));
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    let modes = [0o4755, 0o2755, 0o1777, 0o000, 0o444];
    for mode in modes {
        let path = root.join(format!("mode-{mode:o}"));
        write(&path, b"x");
        chown(&path, Some(1000 + mode), Some(2000)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(root.join("closed")).unwrap();
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
}

#[test]
fn a_whole_pass_brings_everything_however_it_is_named() {
    let bench = Bench::new();
    make_everything(bench.source());
    write(&bench.replica().join("stray"), b"x");
    let (passed, _) = bench.exchange(Mode::Whole).unwrap();
    bench.assert_equal();
    assert!(passed.entries > 100 && passed.transferred > 40, "{passed:?}");
    assert_eq!((passed.deleted, passed.saved), (1, 4));
    let sparse = fs::metadata(bench.replica().join("sparse")).unwrap();
    assert!(sparse.blocks() < 100, "holes stay holes");
    assert_eq!(tree::marker(&bench.replica()).unwrap(), Some(tree::Marker { dataset: 7 }));
    let (again, _) = bench.exchange(Mode::Whole).unwrap();
    assert_eq!((again.transferred, again.deleted), (0, 0));
}

#[test]
fn the_agents_own_files_travel_only_as_they_were_before_the_pass() {
    let bench = Bench::new();
    tree::write_canary(bench.source(), 5).unwrap();
    tree::put_canary(&bench.replica(), 900).unwrap();
    write(&bench.source().join(".bascule/local/secret"), b"x");
    write(&bench.source().join(".bascule/other"), b"x");
    bench.write("file", "x");
    let (_, canary) = bench.exchange(Mode::Whole).unwrap();
    assert_eq!((canary, tree::canary(&bench.replica())), (5, Some(5)));
    assert!(!bench.replica().join(".bascule/local/secret").exists());
    assert!(!bench.replica().join(".bascule/other").exists());
}

#[test]
fn too_many_deletions_are_held_back_and_the_rest_is_sent() {
    let mut bench = Bench::new();
    bench.settings.max_delete = crate::settings::MaxDelete { count: 30, percent: 100 };
    for n in 0..40 {
        write(&bench.replica().join(format!("old/{n}")), b"x");
    }
    bench.write("new", "x");
    let trouble = bench.exchange(Mode::Whole).unwrap_err();
    assert_eq!(trouble.kind, Kind::Held(40));
    assert!(trouble.text.contains("release-deletions"), "{trouble}");
    assert_eq!(fs::read_dir(bench.replica().join("old")).unwrap().count(), 40);
    assert!(bench.replica().join("new").exists());
    // Held back, then released.
    bench.set_state(&PeerState { held: Some(40), ..bench.state() });
    fs::write(bench.place.release(), "").unwrap();
    let (passed, _) = bench.exchange(Mode::Whole).unwrap();
    assert_eq!(passed.deleted, 41);
    bench.assert_equal();
}

#[test]
fn few_deletions_happen_and_a_share_of_the_tree_is_held_back() {
    let mut bench = Bench::new();
    bench.settings.max_delete = crate::settings::MaxDelete { count: 1000, percent: 50 };
    for n in 0..25 {
        bench.write(&format!("kept/{n}"), "x");
        write(&bench.replica().join(format!("old/{n}")), b"x");
    }
    bench.exchange(Mode::Whole).unwrap();
    bench.assert_equal();
    for n in 0..60 {
        write(&bench.replica().join(format!("old/{n}")), b"x");
    }
    assert_eq!(bench.exchange(Mode::Whole).unwrap_err().kind, Kind::Held(60));
}

#[test]
fn what_may_exist_nowhere_else_is_set_aside() {
    let bench = Bench::new();
    bench.answers(Standing::Behind, None);
    let replica = bench.replica();
    write(&replica.join("replaced"), b"theirs");
    write(&replica.join("deleted/deep/file"), b"only here");
    write(&replica.join("file-to-directory"), b"was a file");
    write(&replica.join("directory-to-file/inner"), b"was below");
    write(&replica.join("file-to-link"), b"was a file too");
    symlink("old-target", replica.join("link")).unwrap();
    symlink("target", replica.join("link-to-file")).unwrap();
    write(&replica.join("same"), b"same");
    bench.write("replaced", "ours!!");
    bench.write("file-to-directory/inner", "x");
    bench.write("directory-to-file", "x");
    bench.write("link-to-file", "x");
    symlink("new-target", bench.source().join("link")).unwrap();
    symlink("x", bench.source().join("file-to-link")).unwrap();
    bench.write("same", "same");
    let time = fs::metadata(bench.source().join("same")).unwrap().modified().unwrap();
    fs::File::options().write(true).open(replica.join("same")).unwrap().set_modified(time).unwrap();
    bench.exchange(Mode::Whole).unwrap();
    bench.assert_equal();
    let saved: Vec<_> = fs::read_dir(replica.join(".bascule/local/saved")).unwrap().flatten().collect();
    // One of the run without deletions, one of that with them: none overwrites what the other has set aside.
    assert_eq!(saved.len(), 2);
    let holds = |name: &str| -> Vec<PathBuf> {
        let each = saved.iter().map(|it| it.path().join(name));
        each.filter(|it| fs::symlink_metadata(it).is_ok_and(|it| !it.is_dir())).collect()
    };
    let one = |name: &str| match &holds(name)[..] {
        [one] => one.clone(),
        other => panic!("{name}: {other:?}"),
    };
    let text = |name: &str| fs::read_to_string(one(name)).unwrap();
    assert_eq!(text("replaced"), "theirs");
    assert_eq!(text("deleted/deep/file"), "only here");
    assert_eq!(text("file-to-directory"), "was a file");
    assert_eq!(text("directory-to-file/inner"), "was below");
    assert_eq!(text("file-to-link"), "was a file too");
    assert_eq!(fs::read_link(one("link")).unwrap(), Path::new("old-target"));
    assert_eq!(fs::read_link(one("link-to-file")).unwrap(), Path::new("target"));
    assert!(holds("same").is_empty() && saved.iter().all(|it| !it.path().join(".bascule").exists()));
}

#[test]
fn a_directory_in_the_way_with_too_much_in_it_is_held_back() {
    let mut bench = Bench::new();
    bench.settings.max_delete = crate::settings::MaxDelete { count: 5, percent: 100 };
    for n in 0..10 {
        write(&bench.replica().join(format!("way/{n}")), b"x");
    }
    bench.write("way", "a file now");
    assert_eq!(bench.exchange(Mode::Whole).unwrap_err().kind, Kind::Held(10));
    assert_eq!(fs::read_dir(bench.replica().join("way")).unwrap().count(), 10);
}

#[test]
fn drift_is_found_by_content_repaired_and_set_aside() {
    let bench = Bench::new();
    bench.write("drifted", "right");
    bench.write("fine", "fine");
    bench.exchange(Mode::Whole).unwrap();
    let victim = bench.replica().join("drifted");
    let time = fs::metadata(&victim).unwrap().modified().unwrap();
    fs::write(&victim, "wrong").unwrap();
    fs::File::options().write(true).open(&victim).unwrap().set_modified(time).unwrap();
    write(&bench.replica().join("stray"), b"x");
    assert!(bench.exchange(Mode::Whole).unwrap().0.repaired.is_empty());
    write(&bench.replica().join("stray"), b"x");
    // What has just been written here might be on its way, and is not told as drift.
    assert!(bench.exchange(Mode::Verify).unwrap().0.repaired.is_empty());
    bench.assert_equal();
    let saved = fs::read_dir(bench.replica().join(".bascule/local/saved")).unwrap().flatten();
    let kept: Vec<_> = saved.filter_map(|it| fs::read_to_string(it.path().join("drifted")).ok()).collect();
    assert_eq!(kept, ["wrong"]);
    let names = || ["drifted", "stray"].map(String::from).to_vec();
    let later = SystemTime::now() + 2 * FRESH;
    assert_eq!(drift(&bench.settings, names(), later), names());
    assert!(drift(&bench.settings, names(), SystemTime::now()).is_empty());
}

#[test]
fn a_peer_that_refuses_gets_nothing() {
    let bench = Bench::new();
    bench.write("file", "x");
    for (standing, refuses) in
        [(Standing::InSync, Some("the disk is away")), (Standing::Source { confirmed: true }, None)]
    {
        bench.answers(standing, refuses);
        let trouble = bench.exchange(Mode::Whole).unwrap_err();
        assert_eq!(trouble.kind, Kind::Refused);
        assert!(trouble.text.contains("n2 (127.0.0.1)"), "{trouble}");
    }
    assert!(!bench.replica().join("file").exists());
}

#[test]
fn only_the_source_of_the_generation_sends_and_only_a_tree_that_is_whole() {
    let bench = Bench::new();
    bench.write("file", "x");
    bench.exchange(Mode::Whole).unwrap();
    let kept = |why: &str| {
        let trouble = bench.exchange(Mode::Whole).unwrap_err();
        assert_eq!(trouble.kind, Kind::Here, "{trouble}");
        assert!(trouble.text.contains(why), "{trouble}");
        assert!(bench.replica().join("file").exists());
    };
    bench.know(Standing::InSync, true);
    kept("not the source");
    bench.know(Standing::Source { confirmed: true }, true);
    fs::remove_file(bench.source().join("file")).unwrap();
    kept("is empty");
    fs::remove_dir_all(bench.source().join(".bascule")).unwrap();
    kept("lacks its marker");
    fs::remove_dir_all(bench.source()).unwrap();
    kept("is missing");
    fs::create_dir(bench.source()).unwrap();
    tree::prepare(bench.source()).unwrap();
    tree::write_marker(bench.source(), 7, "d").unwrap();
    bench.write("file", "x");
    source::pretend(&bench.place, &bench.generation, tree::device(bench.source()).unwrap() + 1);
    kept("another file system");
}

#[test]
fn a_killed_rsync_is_trouble_leaves_nothing_in_the_tree_and_the_next_pass_mends_it() {
    let mut bench = Bench::new();
    write(&bench.source().join("big"), &vec![b'x'; 6 << 20]);
    bench.settings.bwlimit = Some(1000);
    let over = AtomicBool::new(false);
    let secret = bench.place.secret("push");
    let trouble = std::thread::scope(|scope| {
        // The client that bears this bench's secret and no other, once it has begun to send.
        scope.spawn(|| {
            let receives = || half_received(&bench.replica()) > 0;
            while !over.load(Ordering::Relaxed) {
                let ours = |pid: i32| words(pid).contains(&*secret.to_string_lossy());
                for process in process::Process::all()
                    .iter()
                    .filter(|it| it.name == "rsync" && receives() && ours(it.pid))
                {
                    let _ = nix::sys::signal::kill(
                        nix::unistd::Pid::from_raw(process.pid),
                        nix::sys::signal::Signal::SIGKILL,
                    );
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let result = bench.exchange(Mode::Whole);
        over.store(true, Ordering::Relaxed);
        result.unwrap_err()
    });
    assert_eq!(trouble.kind, Kind::Failed);
    assert!(trouble.text.contains("SIGKILL"), "{trouble}");
    assert!(!bench.replica().join("big").exists());
    bench.settings.bwlimit = None;
    bench.exchange(Mode::Whole).unwrap();
    assert_equal(bench.source(), &bench.replica());
}

#[test]
fn a_full_disk_is_trouble_that_names_it() {
    let bench = Bench::with_replica_of(Some(2048));
    bench.write("small", "x");
    write(&bench.source().join("big"), &vec![b'x'; 6 << 20]);
    let trouble = bench.exchange(Mode::Whole).unwrap_err();
    assert_eq!(trouble.kind, Kind::Failed);
    assert!(trouble.text.contains("No space left"), "{trouble}");
    assert!(!bench.replica().join("big").exists());
    fs::remove_file(bench.source().join("big")).unwrap();
    bench.exchange(Mode::Whole).unwrap();
    bench.assert_equal();
}

#[test]
fn a_peer_that_accepts_and_never_answers_is_unreachable() {
    let mut bench = Bench::new();
    bench.silence();
    let silent = Port::free();
    let _listens = silent.listen();
    bench.settings.port = silent.number;
    bench.settings.io_timeout = 1;
    bench.settings.connect_timeout = 1;
    let trouble = bench.exchange(Mode::Whole).unwrap_err();
    assert_eq!(trouble.kind, Kind::Unreachable, "{trouble}");
}

#[test]
fn a_tree_that_changes_while_it_is_sent() {
    let mut bench = Bench::new();
    bench.settings.max_delete = crate::settings::MaxDelete { count: 1_000_000, percent: 100 };
    for n in 0..300 {
        bench.write(&format!("d{}/{n}", n % 7), "x");
    }
    bench.exchange(Mode::Whole).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0u64;
            while !over.load(Ordering::Relaxed) {
                n += 1;
                let at = |n: u64| bench.source().join(format!("d{}/{}", n % 7, n % 300));
                let _ = fs::remove_file(at(n));
                let _ = fs::write(at(n + 3), vec![b'y'; (n % 3000) as usize]);
                let _ = fs::rename(bench.source().join("d1"), bench.source().join("d9"));
                let _ = fs::rename(bench.source().join("d9"), bench.source().join("d1"));
            }
        });
        for _ in 0..6 {
            let result = bench.exchange(Mode::Whole);
            if result.is_err() {
                over.store(true, Ordering::Relaxed);
            }
            result.unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    bench.exchange(Mode::Last).unwrap();
    bench.assert_equal();
}

#[test]
fn what_becomes_of_a_pass_is_on_file() {
    let bench = Bench::new();
    bench.write("file", "x");
    bench.answers(Standing::InSync, Some("not now"));
    bench.set_state(&PeerState::default());
    let run = |mode| bench.pass(mode).run(&quiet());
    assert_eq!(run(Mode::Whole).unwrap_err().kind, Kind::Refused);
    let state = bench.state();
    assert_eq!((state.generation, state.phase), (3, Phase::Lost));
    assert!(state.failing_since.is_some() && state.trouble.unwrap().contains("not now"));
    // One that follows goes on following: the lists will tell.
    bench.follows();
    assert_eq!(run(Mode::Verify).unwrap_err().kind, Kind::Refused);
    assert_eq!(bench.state().phase, Phase::Following);
}

#[test]
fn one_sends_to_a_peer_at_a_time() {
    let bench = Bench::new();
    let _held = PidLock::at(bench.place.peer_lock("n2")).try_lock().unwrap();
    let soon = Instant::now() + Duration::from_millis(50);
    let result = Pass { deadline: soon, ..bench.pass(Mode::Whole) }.run(&quiet());
    assert_eq!(result.unwrap_err().kind, Kind::Here);
}

/// What the next test runs in a process with one thread, as an agent is: forking is for such alone.
#[test]
#[ignore = "the next test runs it, with --ignored, in a process of its own that has one thread"]
fn drain_of_two() {
    let bench = Bench::new();
    let mut settings = bench.settings.clone();
    bench.write("file", "x");
    let unserved = Port::free();
    let _listens = unserved.listen();
    settings.io_timeout = 60;
    settings.connect_timeout = 60;
    let silent = Peer { name: "n3".into(), address: "127.0.0.1".into() };
    settings.peers.push(silent.clone());
    let begun = Instant::now();
    let results = drain(
        &bench.place,
        &settings,
        &[&settings.peers[0]],
        &bench.generation,
        begun + Duration::from_secs(20),
        &quiet(),
    );
    // There is no cluster here that could be told.
    assert!(bench.replica().join("file").exists(), "{results:?}");
    assert_eq!(results.len(), 1);
    settings.port = unserved.number;
    let deadline = Instant::now() + Duration::from_secs(3);
    let results = drain(&bench.place, &settings, &[&silent], &bench.generation, deadline, &quiet());
    assert!(results[0].1.as_ref().unwrap_err().text.contains("in time"), "{results:?}");
    let left = |it: &process::Process| words(it.pid).contains(&format!(":{}/", settings.port));
    assert!(!process::Process::all().iter().any(left), "rsync is gone too");
    // A job in the background is found and ended.
    revive(&bench.place, &settings, &silent, &bench.generation, &quiet());
    let job = source::job_file(&bench.place, "n3").load::<Identity>().unwrap().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !process::Process::all().iter().any(left) {
        assert!(Instant::now() < until, "it asks the silent peer");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(job.is_alive());
    revive(&bench.place, &settings, &silent, &bench.generation, &quiet());
    let same = source::job_file(&bench.place, "n3").load::<Identity>().unwrap().unwrap();
    assert_eq!(job, same, "one at a time");
    source::end_jobs(&bench.place, Instant::now() + Duration::from_secs(10)).unwrap();
    assert!(!job.is_alive() && !process::Process::all().iter().any(left));
    println!("drained");
}

#[test]
fn passes_in_the_background_end_by_the_deadline_and_are_gone() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "pass::tests::drain_of_two", "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("drained"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    /// Any two trees, made of a few names that are files, directories or links in turn.
    #[test]
    fn any_tree_becomes_any_other_and_nothing_of_it_is_lost(
        ours in prop::collection::btree_map(0u8..12, 0u8..4, 0..12),
        theirs in prop::collection::btree_map(0u8..12, 0u8..4, 0..12),
    ) {
        let bench = Bench::new();
        bench.answers(Standing::Behind, None);
        let make = |root: &Path, which: &BTreeMap<u8, u8>, text: &str| {
            for (name, kind) in which {
                let path = root.join(format!("{}/{}", name % 3, name % 4));
                match kind {
                    0 => write(&path, text.as_bytes()),
                    1 => write(&path.join("inner"), text.as_bytes()),
                    2 => { fs::create_dir_all(path.parent().unwrap()).unwrap(); symlink(text, &path).unwrap(); }
                    _ => write(&root.join(format!("{}", name % 3 + 10)), text.as_bytes()),
                }
            }
        };
        make(bench.source(), &ours, "ours");
        make(&bench.replica(), &theirs, "theirs");
        let before = snapshot(&bench.replica());
        bench.exchange(Mode::Whole).unwrap();
        assert_equal(bench.source(), &bench.replica());
        let saved = bench.replica().join(".bascule/local/saved");
        // Not there where nothing was replaced.
        let aside: BTreeMap<_, _> =
            fs::read_dir(saved).into_iter().flatten().flatten().flat_map(|it| snapshot(&it.path())).collect();
        for (path, what) in before.iter().filter(|(_, what)| what.contains("bytes") || what.contains("->")) {
            prop_assert_eq!(aside.get(path), Some(what), "{:?}", path);
        }
    }
}

/// Mounts something on a file of a tree, for as long as it lives.
struct Mounted(PathBuf);

impl Mounted {
    fn on(file: PathBuf, what: &str) -> Self {
        let status = Command::new("mount").args(["--bind", what]).arg(&file).status();
        assert!(status.unwrap().success(), "tests run as root");
        Mounted(file)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn what_cannot_be_read_here_is_named_and_can_be_excluded() {
    let mut bench = Bench::new();
    bench.write("good", "x");
    bench.write("dir/bad", "x");
    // Not even root may read this one.
    let unreadable = Mounted::on(bench.source().join("dir/bad"), "/sys/bus/cpu/drivers_probe");
    let trouble = bench.exchange(Mode::Whole).unwrap_err();
    assert_eq!(trouble.kind, Kind::Failed);
    assert!(trouble.text.starts_with("dir/bad cannot be read on the source (Permission denied"), "{trouble}");
    assert!(bench.replica().join("good").exists() && !bench.replica().join("dir/bad").exists());
    bench.settings.exclude = vec!["/dir/bad".into()];
    bench.exchange(Mode::Whole).unwrap();
    drop(unreadable);
    bench.settings.exclude.clear();
    // Two paths that are not too long become one that is.
    let chain = |first: &str| {
        let path = (0..12).fold(PathBuf::from(first), |path, _| path.join("n".repeat(190)));
        fs::create_dir_all(bench.source().join(&path)).unwrap();
        bench.source().join(path)
    };
    let (above, _) = (chain("above"), chain("below"));
    fs::rename(bench.source().join("below"), above.join("below")).unwrap();
    let trouble = bench.exchange(Mode::Whole).unwrap_err();
    assert!(trouble.text.starts_with("above/nnn"), "{trouble}");
    assert!(trouble.text.contains("is a longer path than there may be"), "{trouble}");
    bench.settings.exclude = vec!["/above/**/below".into()];
    bench.exchange(Mode::Whole).unwrap();
    // Else it could not be looked at in order to be removed.
    fs::rename(above.join("below"), bench.source().join("below")).unwrap();
}

#[test]
fn more_differences_than_can_be_kept_hide_no_number() {
    let bench = Bench::new();
    let deep = (0..12).fold(PathBuf::new(), |path, _| path.join("n".repeat(250)));
    fs::create_dir_all(bench.source().join(&deep)).unwrap();
    let files = SAID / 3000 + 200;
    for n in 0..files {
        fs::write(bench.source().join(&deep).join(n.to_string()), "x").unwrap();
    }
    for n in 0..crate::settings::MaxDelete::FLOOR + 5 {
        write(&bench.replica().join(format!("stale{n}")), b"x");
    }
    let (passed, _) = bench.exchange(Mode::Verify).unwrap();
    assert!(passed.entries > files as u64 && passed.transferred == files as u64, "{passed:?}");
    assert_eq!(passed.deleted, crate::settings::MaxDelete::FLOOR + 5);
    bench.assert_equal();
}
