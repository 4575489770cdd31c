//! Lists of changes pushed by real rsyncs over loopback, as lsyncd would tell them.

use super::*;
use crate::core::Standing;
use crate::pass::tests::{Bench, assert_equal, hostile_names, quiet, write};
use crate::settings::MaxDelete;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

/// A bench whose peer follows, with `paths` pushed as lsyncd tells them.
trait Lists {
    fn tell(&self, paths: &[&str]) -> u8;
    fn tell_bytes(&self, list: &[u8]) -> u8;
    fn arrived(&self, paths: &[&str]);
}

impl Lists for Bench {
    fn tell(&self, paths: &[&str]) -> u8 {
        self.tell_bytes(paths.join("\0").as_bytes())
    }

    fn tell_bytes(&self, list: &[u8]) -> u8 {
        StateFile::new(self.place.settings()).save(&self.settings).unwrap();
        changed(&self.place, "n2", list, &quiet())
    }

    fn arrived(&self, paths: &[&str]) {
        assert_eq!(self.tell(paths), SUCCESS, "{:?}", self.state());
        self.assert_equal();
    }
}

#[test]
fn what_lsyncd_tells_arrives() {
    let bench = Bench::new();
    bench.write("d/e/f", "1");
    bench.write("top", "1");
    symlink("top", bench.source().join("link")).unwrap();
    bench.arrived(&["/d/", "/d/e/", "/d/e/f", "/d/e/f", "/top", "/link"]);
    bench.write("d/e/f", "2");
    fs::set_permissions(bench.source().join("top"), fs::Permissions::from_mode(0o4711)).unwrap();
    bench.arrived(&["/d/e/f", "/top"]);
    // A whole directory goes, told by any of its parts.
    fs::remove_dir_all(bench.source().join("d")).unwrap();
    bench.arrived(&["/d/e/f"]);
    // Moved: lsyncd tells what is gone and all that is new.
    bench.write("old/a/b", "x");
    bench.arrived(&["/old/", "/old/a/", "/old/a/b"]);
    fs::rename(bench.source().join("old"), bench.source().join("new")).unwrap();
    bench.arrived(&["/old/", "/new/", "/new/a/", "/new/a/b"]);
}

/// lsyncd tells no events for what is in a directory that is moved away.
#[test]
fn what_was_in_a_directory_that_was_made_anew_goes() {
    let bench = Bench::new();
    bench.write("d/in/b", "old");
    bench.write("d/in/deep/c", "old");
    bench.write("d/other", "stays");
    bench.arrived(&["/d/", "/d/in/", "/d/in/b", "/d/in/deep/", "/d/in/deep/c", "/d/other"]);
    fs::rename(bench.source().join("d/in"), bench.source().join("moved")).unwrap();
    bench.write("d/in/a", "new");
    bench.arrived(&["/d/in/", "/moved/", "/moved/b", "/moved/deep/", "/moved/deep/c", "/d/in/", "/d/in/a"]);
    // What no path tells of is not looked at.
    write(&bench.replica().join("d/drift"), b"x");
    bench.write("d/in/a", "newer");
    assert_eq!(bench.tell(&["/d/in/a"]), SUCCESS);
    assert!(bench.replica().join("d/drift").exists());
}

#[test]
fn what_changes_its_kind_arrives() {
    let bench = Bench::new();
    bench.write("x", "a file");
    bench.arrived(&["/x"]);
    fs::remove_file(bench.source().join("x")).unwrap();
    bench.write("x/y/z", "below");
    bench.arrived(&["/x", "/x/", "/x/y/", "/x/y/z"]);
    fs::remove_dir_all(bench.source().join("x")).unwrap();
    symlink("/etc", bench.source().join("x")).unwrap();
    bench.arrived(&["/x/y/z", "/x/y/", "/x/", "/x"]);
    fs::remove_file(bench.source().join("x")).unwrap();
    fs::create_dir(bench.source().join("x")).unwrap();
    bench.arrived(&["/x/"]);
    fs::remove_dir(bench.source().join("x")).unwrap();
    bench.write("x", "a file again");
    bench.arrived(&["/x"]);
}

#[test]
fn names_are_data() {
    let bench = Bench::new();
    let mut list = Vec::new();
    for name in hostile_names() {
        write(&bench.source().join(&name), b"x");
        write(&bench.source().join("below").join(&name).join(&name), b"x");
        for path in [name.clone(), Path::new("below").join(&name).join(&name)] {
            list.extend_from_slice(b"/");
            list.extend_from_slice(path.as_os_str().as_bytes());
            list.push(0);
        }
    }
    // Beside what a pattern would match.
    write(&bench.replica().join("abc"), b"stays until told");
    assert_eq!(bench.tell_bytes(&list), SUCCESS, "{:?}", bench.state());
    assert!(bench.replica().join("abc").exists());
    fs::remove_file(bench.replica().join("abc")).unwrap();
    bench.assert_equal();
    for name in hostile_names() {
        fs::remove_file(bench.source().join(&name)).unwrap();
        fs::remove_dir_all(bench.source().join("below").join(&name)).unwrap();
    }
    assert_eq!(bench.tell_bytes(&list), SUCCESS, "{:?}", bench.state());
    bench.assert_equal();
}

#[test]
fn a_link_on_the_way_is_not_followed() {
    let bench = Bench::new();
    bench.write("d/f", "x");
    bench.arrived(&["/d/", "/d/f"]);
    let outside = bench.directory.path().join("outside");
    write(&outside.join("f"), b"nobody's business");
    fs::remove_dir_all(bench.source().join("d")).unwrap();
    symlink(&outside, bench.source().join("d")).unwrap();
    bench.arrived(&["/d/f"]);
    assert!(fs::symlink_metadata(bench.replica().join("d")).unwrap().is_symlink());
}

#[test]
fn what_is_excluded_is_neither_sent_nor_deleted() {
    let mut bench = Bench::new();
    bench.settings.exclude = vec!["cache/".into(), "*.tmp".into()];
    bench.write("cache/deep/x", "x");
    bench.write("a.tmp", "x");
    bench.write("sent", "x");
    let theirs = ["cache/theirs", "b.tmp"];
    for name in theirs {
        write(&bench.replica().join(name), b"x");
    }
    let told = ["/cache/", "/cache/deep/", "/cache/deep/x", "/cache/theirs", "/a.tmp", "/b.tmp", "/sent"];
    assert_eq!(bench.tell(&told), SUCCESS);
    assert!(
        theirs.iter().all(|name| bench.replica().join(name).exists())
            && bench.replica().join("sent").exists()
    );
    assert!(!bench.replica().join("cache/deep").exists() && !bench.replica().join("a.tmp").exists());
    // Nothing is left of it: nothing is sent.
    fs::write(bench.source().join("sent"), "y").unwrap();
    assert_eq!(bench.tell(&["/a.tmp"]), SUCCESS);
    assert_eq!(fs::read_to_string(bench.replica().join("sent")).unwrap(), "x");
}

#[test]
fn a_change_by_one_name_reaches_the_others() {
    for hard_links in [true, false] {
        let mut bench = Bench::new();
        bench.settings.hard_links = hard_links;
        bench.write("d/a", "1");
        fs::hard_link(bench.source().join("d/a"), bench.source().join("b")).unwrap();
        assert_eq!(bench.tell(&["/d/", "/d/a", "/b"]), SUCCESS);
        fs::write(bench.source().join("d/a"), "2").unwrap();
        assert_eq!(bench.tell(&["/d/a"]), SUCCESS);
        fs::hard_link(bench.source().join("d/a"), bench.source().join("c")).unwrap();
        assert_eq!(bench.tell(&["/c"]), SUCCESS);
        let theirs = |name: &str| fs::metadata(bench.replica().join(name)).unwrap().ino();
        assert_eq!(fs::read_to_string(bench.replica().join("b")).unwrap(), "2");
        assert_eq!(theirs("b") == theirs("c") && theirs("b") == theirs("d/a"), hard_links);
        if hard_links {
            bench.assert_equal();
        }
    }
}

#[test]
fn two_writes_within_a_tick_of_the_clock_are_told_apart() {
    let bench = Bench::new();
    let path = bench.source().join("file");
    bench.write("file", "one");
    assert_eq!(bench.tell(&["/file"]), SUCCESS);
    // The same size, and a time that is not newer than when it was sent.
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "two").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert_eq!(bench.tell(&["/file"]), SUCCESS);
    assert_eq!(fs::read_to_string(bench.replica().join("file")).unwrap(), "two");
    // Within one second.
    let second = |text: &str, nanos: u32| {
        fs::write(&path, text).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, nanos);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(bench.tell(&["/file"]), SUCCESS);
        assert_eq!(fs::read_to_string(bench.replica().join("file")).unwrap(), text);
    };
    second("abc", 1);
    second("xyz", 2);
}

#[test]
fn many_deletions_are_held_back_until_they_are_released() {
    let mut bench = Bench::new();
    bench.settings.max_delete = MaxDelete { count: 10, percent: 100 };
    for n in 0..20 {
        bench.write(&format!("d/{n}"), "x");
    }
    let all: Vec<String> = ["/d/".to_owned()].into_iter().chain((0..20).map(|n| format!("/d/{n}"))).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(bench.tell(&all), SUCCESS);
    fs::remove_dir_all(bench.source().join("d")).unwrap();
    bench.write("new", "x");
    for _ in 0..2 {
        assert_eq!(bench.tell(&["/d/", "/new", "/.bascule/beat.70"]), AGAIN);
        let state = bench.state();
        assert_eq!((state.held, state.phase, state.failing_since), (Some(20), Phase::Following, None));
        assert!(state.behind_since.is_some() && state.trouble.unwrap().contains("release-deletions"));
        assert!(bench.replica().join("new").exists(), "the rest is sent");
        assert_eq!(fs::read_dir(bench.replica().join("d")).unwrap().count(), 20);
        bench.write("new", "xx");
    }
    assert!(
        bench.state().canary == 0 && tree::canary(&bench.replica()) != Some(70),
        "it would say that they have arrived"
    );
    fs::write(bench.place.release(), "").unwrap();
    assert_eq!(bench.tell(&["/d/", "/new", "/.bascule/beat.70"]), SUCCESS);
    assert_eq!((bench.state().canary, tree::canary(&bench.replica())), (70, Some(70)));
    assert!(!bench.replica().join("d").exists());
    assert_eq!((bench.state().held, bench.state().trouble), (None, None));
    // It was for once.
    for n in 0..20 {
        bench.write(&format!("d/{n}"), "x");
    }
    assert_eq!(bench.tell(&all), SUCCESS);
    fs::remove_dir_all(bench.source().join("d")).unwrap();
    assert_eq!(bench.tell(&["/d/"]), AGAIN);
}

#[test]
fn an_emptied_tree_deletes_nothing() {
    let bench = Bench::new();
    bench.write("a", "x");
    bench.write("b", "x");
    assert_eq!(bench.tell(&["/a", "/b"]), SUCCESS);
    bench.know(Standing::Source { confirmed: true }, true);
    fs::remove_file(bench.source().join("a")).unwrap();
    fs::remove_file(bench.source().join("b")).unwrap();
    assert_eq!(bench.tell(&["/a", "/b"]), AGAIN);
    assert!(bench.replica().join("a").exists() && bench.replica().join("b").exists());
    let state = bench.state();
    assert!(state.trouble.unwrap().contains("is empty") && state.failing_since.is_none());
}

#[test]
fn the_canary_follows_what_it_stands_for() {
    let bench = Bench::new();
    tree::write_canary(bench.source(), 5).unwrap();
    bench.write("a", "x");
    bench.set_state(&PeerState { canary: 5, ..bench.state() });
    assert_eq!(bench.tell(&["/a"]), SUCCESS);
    assert_eq!(tree::latest_beat(bench.source()), 6, "written after what it stands for");
    let state = bench.state();
    assert!(state.behind_since.is_some() && state.last_success.is_some() && state.canary == 5);
    // Its own event brings it over.
    assert_eq!(
        bench.tell(&["/.bascule/", "/.bascule/beat.6", "/.bascule/beat.5", "/.bascule/beat.6"]),
        SUCCESS
    );
    assert_eq!(tree::canary(&bench.replica()), Some(6));
    assert_eq!((bench.state().canary, bench.state().behind_since), (6, None));
    assert_eq!(tree::latest_beat(bench.source()), 6, "one that carries nothing else is followed by none");
    assert!(!bench.replica().join(".bascule/beat.6").exists());
}

#[test]
fn a_number_that_the_list_does_not_tell_of_proves_nothing() {
    let bench = Bench::new();
    tree::write_canary(bench.source(), 6).unwrap();
    bench.write("a", "x");
    // Written before the push, after lsyncd made the list: with a change in between that the list does not have.
    bench.write("b", "x");
    tree::write_canary(bench.source(), 7).unwrap();
    assert_eq!(bench.tell(&["/a", "/.bascule/beat.6"]), SUCCESS);
    assert_eq!((bench.state().canary, tree::canary(&bench.replica())), (6, Some(6)));
    assert!(bench.state().behind_since.is_some());
    assert_eq!(tree::latest_beat(bench.source()), 7, "one is on its way");
    assert_eq!(bench.tell(&["/b", "/.bascule/beat.6", "/.bascule/beat.7"]), SUCCESS);
    assert_eq!((bench.state().canary, tree::canary(&bench.replica())), (7, Some(7)));
    assert_eq!(tree::latest_beat(bench.source()), 8, "what came with it is proved by the next");
    assert_eq!(bench.tell(&["/.bascule/beat.8"]), SUCCESS);
    assert_eq!((bench.state().canary, bench.state().behind_since), (8, None));
}

#[test]
fn a_peer_that_needs_a_whole_pass_gets_no_lists() {
    let bench = Bench::new();
    bench.write("a", "x");
    for phase in [Phase::Lost, Phase::Syncing] {
        bench.set_state(&PeerState { phase, ..bench.state() });
        assert_eq!(bench.tell(&["/a"]), SUCCESS);
        assert!(!bench.replica().join("a").exists());
        assert!(bench.state().phase == Phase::Lost && bench.state().behind_since.is_some());
    }
    // Nor one of which nothing is known in this generation.
    bench.set_state(&PeerState { generation: 2, phase: Phase::Following, ..PeerState::default() });
    assert_eq!(bench.tell(&["/a"]), SUCCESS);
    assert!(!bench.replica().join("a").exists());
}

#[test]
fn a_peer_that_does_not_answer_is_tried_again() {
    let mut bench = Bench::new();
    bench.silence();
    bench.write("a", "x");
    assert_eq!(bench.tell(&["/a"]), AGAIN);
    let state = bench.state();
    assert!(state.failing_since.is_some() && state.behind_since.is_some() && state.trouble.is_some());
    assert_eq!(state.phase, Phase::Following);
    // After lost_after it is given up; but with no cluster to be told of it, nothing may be dropped.
    bench.settings.lost_after = 0;
    assert_eq!(bench.tell(&["/a"]), AGAIN);
    assert_eq!(bench.state().phase, Phase::Following);
}

#[test]
fn only_a_source_pushes() {
    let bench = Bench::new();
    bench.write("a", "x");
    bench.know(Standing::InSync, true);
    assert_eq!(bench.tell(&["/a"]), AGAIN);
    bench.know(Standing::Source { confirmed: true }, true);
    assert_eq!(changed(&bench.place, "stranger", b"/a", &quiet()), AGAIN);
    assert_eq!(fs::read_dir(bench.replica()).unwrap().count(), 1, "the agent's own");
    assert_eq!(bench.tell(&["/a"]), SUCCESS);
    assert_equal(bench.source(), &bench.replica());
}

#[test]
fn a_path_that_is_too_long_is_no_success() {
    let bench = Bench::new();
    let long = "n".repeat(190);
    let chain = |first: &str, depth: usize| {
        let path = (0..depth).fold(PathBuf::from(first), |path, _| path.join(&long));
        fs::create_dir_all(bench.source().join(&path)).unwrap();
        path
    };
    // Two that are not too long become one that is, below a directory that is told of.
    let (above, _) = (chain("above", 14), chain("below", 10));
    fs::rename(bench.source().join("below"), bench.source().join(&above).join("below")).unwrap();
    let told = |depth: usize| {
        let path = (0..depth).fold(above.join("below"), |path, _| path.join(&long));
        format!("/{}/", path.display())
    };
    bench.write("good", "x");
    assert_eq!(bench.tell(&["/good", &told(6)]), SUCCESS);
    assert_eq!(bench.tell(&["/good", &told(7)]), AGAIN);
    let trouble = bench.state().trouble.unwrap();
    assert!(trouble.contains("is a longer path than there may be"), "{trouble}");
    assert!(bench.replica().join("good").exists());
    // Else it could not be looked at in order to be removed.
    fs::rename(bench.source().join(&above).join("below"), bench.source().join("below")).unwrap();
}

#[test]
fn a_number_that_went_back_with_a_restored_backup_is_not_used_again() {
    let bench = Bench::new();
    let next = || crate::standing::next_number(&bench.place, &bench.settings, &bench.generation);
    assert_eq!(next(), 1);
    tree::write_canary(bench.source(), 7).unwrap();
    assert_eq!(next(), 8);
    bench.set_state(&PeerState { canary: 19, ..bench.state() });
    assert_eq!(next(), 20, "what was sent counts too");
    let noted = StateFile::new(bench.place.acknowledged());
    noted.save(&(&bench.generation, 30)).unwrap();
    assert_eq!(next(), 31, "and what was acknowledged");
    // A pass raises it, so that whoever gets it has more than what was acknowledged.
    fs::remove_file(bench.source().join(".bascule/canary")).unwrap();
    let (_, canary) = bench.exchange(Mode::Whole).unwrap();
    assert!(canary > 30, "{canary}");
}
