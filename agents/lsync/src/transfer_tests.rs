//! Tests of what rsync is told and how it is understood. What real rsyncs do with it: `push_tests.rs`.

use super::*;
use proptest::prelude::*;

/// Settings of a dataset `d` with one peer, for this module's tests and others'.
pub(crate) fn settings(source: &Path) -> Settings {
    Settings {
        dataset: "d".into(),
        io_timeout: 10,
        lost_after: 60,
        max_delete: MaxDelete { count: 1000, percent: 50 },
        hard_links: true,
        sparse: true,
        saved_dir: "/var/lib/bascule/lsync/d/saved".into(),
        ..Settings::example(source)
    }
}

fn route(settings: &Settings) -> Route<'_> {
    Route {
        settings,
        peer: &settings.peers[0],
        user: "g3-00000000000000aa",
        secret: Path::new("/run/x.secret"),
        from: &settings.source,
    }
}

#[test]
fn addresses() {
    let mut settings = settings(Path::new("/t"));
    assert_eq!(route(&settings).url(), "rsync://g3-00000000000000aa@127.0.0.1:873/d/");
    settings.peers[0].address = "fd00::2".into();
    assert_eq!(route(&settings).url(), "rsync://g3-00000000000000aa@[fd00::2]:873/d/");
}

#[test]
fn every_transfer_is_bounded_authenticated_and_leaves_the_private_directory_alone() {
    let mut settings = settings(Path::new("/t"));
    settings.exclude = vec!["+ a".into(), String::new(), "*.tmp".into()];
    settings.bwlimit = Some(70);
    let route = route(&settings);
    let whole = route.whole(&Whole { verify: false, aside: Some("p1".into()), max_delete: Some(0) });
    let list = route.list(Some(0), false);
    for arguments in [&whole, &list, &route.marks(Path::new("/stage"))] {
        for wanted in [
            "--timeout=10",
            "--contimeout=3",
            "--password-file=/run/x.secret",
            "--bwlimit=70",
            "--temp-dir=.bascule",
        ] {
            assert!(arguments.contains(&wanted.into()), "{wanted} in {arguments:?}");
        }
        assert!(!arguments.iter().any(|it| it == "--ignore-errors" || it == "--exclude"), "{arguments:?}");
    }
    for arguments in [&whole, &list] {
        for wanted in ["--max-delete=0", "--filter=- /.bascule/*", "--filter=- + a", "--filter=- *.tmp"] {
            assert!(arguments.contains(&wanted.into()), "{wanted} in {arguments:?}");
        }
        assert!(!arguments.contains(&"--filter=- ".into()));
    }
    assert!(whole.contains(&"--backup-dir=.bascule/local/saved/p1".into()));
    assert!(!list.contains(&"--recursive".into()));
    assert_eq!(whole[whole.len() - 2], "/t/");
}

#[test]
fn what_rsync_says_is_read() {
    let stdout = b"cannot delete non-empty directory: gone\n\nNumber of files: 12345 (reg: 5, dir: 7)\nNumber of created files: 10 (reg: 5)\n\
        Number of deleted files: 3\nNumber of regular files transferred: 7\nTotal file size: 6 bytes\n";
    let stderr = b"could not make way for new regular file: top1\nDeletions stopped due to --max-delete limit (9 skipped)\n";
    let report = Report::read(stdout, stderr);
    assert_eq!((report.files, report.created, report.deleted, report.transferred), (12345, 10, 3, 7));
    assert_eq!((report.skipped, report.changed), (Some(9), 0));
    assert_eq!(Report::read(b"", b"").skipped, None);
}

#[test]
fn repairs_are_told_but_for_times_of_directories() {
    let stdout = b".d..t...... ./\n<fc........ a file\n*deleting   stray\ncL+++++++++ l -> x\n.f...p..... mode\n.d...p..... dir/\nNumber of files: 5\n";
    let report = Report::read(stdout, b"");
    assert_eq!(report.changes, ["a file", "stray", "l -> x", "mode", "dir/"]);
    assert_eq!(report.changed, 5);
}

#[test]
fn shown_names_are_the_names_again() {
    let path = |name: &str| shown_path(name).into_os_string().into_vec();
    assert_eq!(path("a\\#012b\\#377 c"), b"a\nb\xff c");
    assert_eq!(path("a\\#9"), b"a\\#9");
    assert_eq!(path("link -> target"), b"link");
}

#[test]
fn exit_codes_mean_what_the_manual_says() {
    let fault = |code, stderr: &str| match outcome(Ended::Code(code), stderr.as_bytes()) {
        Outcome::Fault(fault) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(outcome(Ended::Code(0), b""), Outcome::Done);
    assert_eq!(outcome(Ended::Code(24), b"file has vanished"), Outcome::Vanished);
    assert!(matches!(fault(10, ""), Fault::Unreachable(_)));
    assert!(matches!(fault(35, ""), Fault::Unreachable(_)));
    assert!(matches!(fault(30, ""), Fault::Unreachable(_)));
    assert!(
        matches!(fault(5, "@ERROR: auth failed on module d\n"), Fault::Refused(text) if text.contains("auth failed"))
    );
    let full = "rsync: [receiver] mkstemp \"/a\" failed: Permission denied (13)\n\
        rsync: [receiver] write failed on \"/b\": No space left on device (28)\nrsync error: error in file IO (code 11) at receiver.c\n";
    assert!(matches!(fault(11, full), Fault::Failed(text) if text.contains("No space left")));
    assert!(matches!(fault(23, ""), Fault::Failed(_)));
    assert!(
        matches!(outcome(Ended::Signal(9), b""), Outcome::Fault(Fault::Failed(text)) if text.contains("SIGKILL"))
    );
}

#[test]
fn what_the_source_cannot_read_is_named() {
    let text = |stderr: &str| match outcome(Ended::Code(23), stderr.as_bytes()) {
        Outcome::Fault(Fault::Failed(text)) => text,
        other => panic!("{other:?}"),
    };
    let one = "rsync: [sender] send_files failed to open \"/proc/self/fd/5/a \"b\"/c\": Input/output error (5)\nrsync error: x";
    let told = text(one);
    assert!(
        told.starts_with("a \"b\"/c cannot be read on the source (Input/output error (5)): no replica"),
        "{told}"
    );
    let two = "rsync: [sender] opendir \"/t/d\" failed: Permission denied (13)\nrsync: [sender] readlink_stat(\"/t/e\") failed: Input/output error (5)";
    let told = text(two);
    assert!(
        told.starts_with("/t/d and 1 more cannot be read on the source (Permission denied (13))"),
        "{told}"
    );
    let long = format!("filename overflows max-path len by 125: {}/", "n".repeat(4200));
    let told = text(&long);
    assert!(
        told.starts_with("nnn") && told.contains("n… ".trim_end()) && told.contains("is a longer path"),
        "{told}"
    );
    assert!(told.chars().count() < 300, "{told}");
    let theirs = "rsync: [receiver] mkstemp \"/d/.x\" (in d) failed: No space left on device (28)";
    assert!(text(theirs).starts_with("rsync: [receiver]"));
}

#[test]
fn deletions_are_judged_by_count_and_by_share() {
    let max = MaxDelete { count: 100, percent: 50 };
    assert_eq!(guard(max, None, 10, None), Guard::Clear);
    assert_eq!(guard(max, Some(0), 10, None), Guard::Clear);
    assert_eq!(guard(max, Some(101), 1_000_000, None), Guard::Hold(101));
    assert_eq!(guard(max, Some(100), 1_000_000, None), Guard::Delete(Some(100)));
    assert_eq!(guard(max, Some(60), 40, None), Guard::Hold(60));
    assert_eq!(guard(max, Some(30), 40, None), Guard::Delete(Some(40)));
    assert_eq!(guard(max, Some(MaxDelete::FLOOR), 0, None), Guard::Delete(Some(MaxDelete::FLOOR)));
    assert_eq!(guard(max, Some(101), 0, Some(101)), Guard::Delete(Some(282)));
    assert_eq!(guard(max, Some(101), 0, Some(60)), Guard::Hold(101), "far more than was released");
}

#[test]
fn what_lsyncd_tells_is_understood() {
    let excludes = Excludes::new(&["*.tmp".into(), "cache/".into()]);
    let told = b"/d/\0/d/x\0/d/x\0/we*[ird\n?\0/-rf\0/a.tmp\0/cache/k/z\0/cache\0/.bascule/\0/.bascule/canary\0/.bascule/dataset\0\
        /.bascule/beat.41\0/.bascule/beat.42\0/.bascule/beat.7\0\0/../etc/passwd\0/lost+found/\0/\xff\xfe/";
    let changes = Changes::read(told, &excludes);
    let expected: BTreeSet<PathBuf> = [&b"d"[..], b"d/x", b"we*[ird\n?", b"-rf", b"cache", b"\xff\xfe"]
        .iter()
        .map(|name| PathBuf::from(OsString::from_vec(name.to_vec())))
        .collect();
    assert_eq!(changes, Changes { paths: expected, canary: Some(42) });
    assert_eq!(Changes::read(b"", &excludes), Changes::default());
    assert_eq!(Changes::read(b"/", &excludes).paths, BTreeSet::from([PathBuf::from(".")]), "the root itself");
    assert_eq!(listed([OsStr::new("-a"), OsStr::new("#b")]), b"./-a\0./#b\0");
}

proptest! {
    #[test]
    fn the_second_run_never_deletes_what_is_to_be_held(count in 0u64..5000, percent in 0u64..=100, due in 1u64..6000, remaining in 0u64..6000) {
        let max = MaxDelete { count, percent };
        match guard(max, Some(due), remaining, None) {
            Guard::Hold(n) => prop_assert!(n == due && max.holds_back(due, remaining)),
            Guard::Delete(Some(limit)) => {
                prop_assert!(limit >= due && !max.holds_back(limit, remaining));
                prop_assert!(max.holds_back(limit + 1, remaining));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn whatever_is_told_no_path_leads_out_or_to_what_is_private(told: Vec<u8>) {
        for path in Changes::read(&told, &Excludes::default()).paths {
            prop_assert!(path.is_relative() && !path.starts_with(".bascule"));
            prop_assert!(path == Path::new(".") || path.components().all(|it| matches!(it, std::path::Component::Normal(_))));
        }
    }

    #[test]
    fn whatever_rsync_writes_is_read(stdout: Vec<u8>, stderr: Vec<u8>, code: i32) {
        let report = Report::read(&stdout, &stderr);
        prop_assert!(report.changes.len() <= Report::CHANGES);
        let _ = outcome(Ended::Code(code), &stderr);
    }
}
