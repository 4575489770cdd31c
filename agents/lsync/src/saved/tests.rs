//! Tests of what is set aside: nothing of it is lost, wherever the work is cut short.

use super::*;
use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::time::Duration;

struct Bench {
    directory: tempfile::TempDir,
    settings: Settings,
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    fs::create_dir_all(tree.join(".bascule/local/saved")).unwrap();
    let settings = Settings { saved_dir: directory.path().join("var/saved"), ..Settings::example(&tree) };
    Bench { directory, settings }
}

impl Bench {
    fn pass(&self, name: &str) -> PathBuf {
        self.settings.source.join(".bascule/local/saved").join(name)
    }

    fn sets_aside(&self, pass: &str, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = self.pass(pass).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    fn puts_away(&self) -> Result<u64, Failure> {
        let generation = Generation { number: 7, id: 1, origin: "n2".into() };
        let log = Log::new("test".into(), None, false, None);
        put_away(&self.settings, Some(&generation), Instant::now() + Duration::from_secs(20), &log)
    }

    /// Each file that is kept: its path below `files/`, and what it holds.
    fn kept(&self) -> BTreeMap<String, String> {
        let mut kept = BTreeMap::new();
        for home in fs::read_dir(&self.settings.saved_dir).into_iter().flatten().flatten() {
            let files = home.path().join(FILES);
            for entry in WalkDir::new(&files).into_iter().flatten().filter(|it| it.file_type().is_file()) {
                let path = entry.path().strip_prefix(&files).unwrap().to_str().unwrap().to_owned();
                let before = kept.insert(path, fs::read_to_string(entry.path()).unwrap());
                assert_eq!(before, None, "kept twice");
            }
        }
        kept
    }

    fn report(&self) -> String {
        let homes: Vec<_> = fs::read_dir(&self.settings.saved_dir).unwrap().flatten().collect();
        assert_eq!(homes.len(), 1);
        fs::read_to_string(homes[0].path().join(REPORT)).unwrap()
    }

    /// The same with `saved_dir` on another file system.
    fn elsewhere(mut self) -> Option<Self> {
        let other = tempfile::tempdir_in("/dev/shm").ok()?;
        if fs::metadata(other.path()).unwrap().dev() == fs::metadata(self.directory.path()).unwrap().dev() {
            return None;
        }
        self.settings.saved_dir = other.keep().join("saved");
        Some(self)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.settings.saved_dir.starts_with("/dev/shm") {
            let _ = fs::remove_dir_all(self.settings.saved_dir.parent().unwrap());
        }
    }
}

fn pairs(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect()
}

const FILES_OF_A_PASS: [(&str, &str); 3] = [("a", "1"), ("d/e/f", "2"), ("REPORT", "not ours")];

#[test]
fn what_was_set_aside_is_put_away_with_a_report() {
    let bench = bench();
    assert_eq!(bench.puts_away().unwrap(), 0);
    assert!(!bench.settings.saved_dir.exists() && !bench.pass("").exists());
    assert_eq!(waiting(&bench.settings.source), (0, 0));
    bench.sets_aside("p1", &FILES_OF_A_PASS);
    assert_eq!(waiting(&bench.settings.source).0, 3);
    fs::create_dir_all(bench.pass("p2/empty/dirs")).unwrap();
    assert_eq!(bench.puts_away().unwrap(), 3);
    assert_eq!(bench.kept(), pairs(&FILES_OF_A_PASS));
    assert!(!bench.pass("").exists(), "nor the directory itself");
    assert_eq!(waiting(&bench.settings.source), (0, 0));
    let report = bench.report();
    for part in [
        "3 files",
        "site5",
        "n1",
        "generation 7 (source n2)",
        "pass p1",
        bench.settings.source.to_str().unwrap(),
    ] {
        assert!(report.contains(part), "{report}");
    }
    let (files, bytes) = measure(&bench.settings.saved_dir);
    assert_eq!(files, 3, "the report is not counted, a file of that name is");
    assert!(bytes >= 3);
    for directory in WalkDir::new(&bench.settings.saved_dir).max_depth(1).into_iter().flatten() {
        assert_eq!(directory.metadata().unwrap().mode() & 0o777, 0o700, "{}", directory.path().display());
    }
    assert_eq!(bench.puts_away().unwrap(), 0);
}

#[test]
fn two_passes_keep_their_versions_of_one_file() {
    let bench = bench();
    bench.sets_aside("p1", &[("a", "first")]);
    bench.sets_aside("p2", &[("a", "second")]);
    assert_eq!(bench.puts_away().unwrap(), 2);
    let mut found: Vec<String> = WalkDir::new(&bench.settings.saved_dir)
        .into_iter()
        .flatten()
        .filter(|it| it.file_name() == "a")
        .map(|it| fs::read_to_string(it.path()).unwrap())
        .collect();
    found.sort();
    assert_eq!(found, ["first", "second"]);
}

#[test]
fn a_report_without_its_files_is_used_when_the_work_goes_on() {
    let bench = bench();
    bench.sets_aside("p1", &FILES_OF_A_PASS);
    // Killed before the move.
    home(&bench.settings, None, "p1", 3, 3).unwrap();
    assert_eq!(measure(&bench.settings.saved_dir).0, 0);
    assert_eq!(bench.puts_away().unwrap(), 3);
    assert_eq!(bench.kept(), pairs(&FILES_OF_A_PASS));
    bench.report();
}

#[test]
fn across_file_systems_files_are_copied_with_all_that_they_are() {
    let Some(bench) = bench().elsewhere() else { panic!("/dev/shm is no file system of its own here") };
    bench.sets_aside("p1", &FILES_OF_A_PASS);
    let a = bench.pass("p1/a");
    symlink("/nowhere", bench.pass("p1/link")).unwrap();
    fs::hard_link(&a, bench.pass("p1/twin")).unwrap();
    fs::set_permissions(&a, fs::Permissions::from_mode(0o4750)).unwrap();
    std::os::unix::fs::chown(&a, Some(12345), Some(54321)).unwrap();
    fs::set_permissions(&a, fs::Permissions::from_mode(0o4750)).unwrap();
    nix::unistd::mkfifo(&bench.pass("p1/fifo"), Mode::from_bits_truncate(0o600)).unwrap();
    assert_eq!(bench.puts_away().unwrap(), 6);
    assert!(!bench.pass("p1").exists());
    let homes: Vec<_> = fs::read_dir(&bench.settings.saved_dir).unwrap().flatten().collect();
    let files = homes[0].path().join(FILES);
    let kept = fs::metadata(files.join("a")).unwrap();
    assert_eq!((kept.mode() & 0o7777, kept.uid(), kept.gid(), kept.nlink()), (0o4750, 12345, 54321, 2));
    assert_eq!(fs::read_link(files.join("link")).unwrap(), Path::new("/nowhere"));
    assert!(fs::symlink_metadata(files.join("fifo")).unwrap().file_type().is_fifo());
}

#[test]
fn a_copy_that_was_cut_short_goes_on_in_its_place() {
    let Some(bench) = bench().elsewhere() else { panic!("/dev/shm is no file system of its own here") };
    bench.sets_aside("p1", &FILES_OF_A_PASS);
    // Killed in the middle: one file is there already, one in part.
    let files = home(&bench.settings, None, "p1", 3, 3).unwrap().join(FILES);
    fs::create_dir(&files).unwrap();
    fs::write(files.join("a"), "").unwrap();
    assert_eq!(bench.puts_away().unwrap(), 3);
    assert_eq!(bench.kept(), pairs(&FILES_OF_A_PASS));
    bench.report();
}

#[test]
fn what_cannot_be_put_away_stays() {
    let mut bench = bench();
    bench.sets_aside("p1", &FILES_OF_A_PASS);
    // A file in place of the directory; root could write anywhere else.
    let blocked = bench.directory.path().join("blocked");
    fs::write(&blocked, "").unwrap();
    bench.settings.saved_dir = blocked.join("saved");
    let failed = bench.puts_away().unwrap_err();
    assert!(failed.reason.contains("saved_dir"), "{}", failed.reason);
    assert_eq!(fs::read_to_string(bench.pass("p1/d/e/f")).unwrap(), "2");
}

#[test]
fn a_copy_that_fails_removes_nothing() {
    let Some(mut bench) = bench().elsewhere() else { panic!("/dev/shm is no file system of its own here") };
    bench.sets_aside("p1", &FILES_OF_A_PASS);
    bench.settings.rsync = "false".into();
    assert!(bench.puts_away().is_err());
    assert_eq!(walk(&bench.pass("p1")).0, 3);
    bench.settings.rsync = "rsync".into();
    assert_eq!(bench.puts_away().unwrap(), 3);
    assert_eq!(bench.kept(), pairs(&FILES_OF_A_PASS));
}

#[test]
fn links_that_lead_out_of_the_tree_are_not_followed() {
    for link in [".bascule", ".bascule/local", ".bascule/local/saved"] {
        let bench = bench();
        let outside = bench.directory.path().join("outside");
        for below in ["", "local", "saved", "local/saved"] {
            fs::create_dir_all(outside.join(below).join("pass")).unwrap();
            fs::write(outside.join(below).join("pass/precious"), "x").unwrap();
        }
        let at = bench.settings.source.join(link);
        fs::remove_dir_all(&at).unwrap();
        symlink(&outside, &at).unwrap();
        assert!(bench.puts_away().is_err(), "{link}");
        assert!(outside.join("local/saved/pass/precious").exists() && outside.join("pass/precious").exists());
    }
}
