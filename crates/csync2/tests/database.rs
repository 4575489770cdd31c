//! Our reader and what the real csync2 writes: names, what files were like, marks, and a database that is not well.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

mod real;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use csync2::Text;
use csync2::database::{Checked, Database, Error, Ignored, Stat, Type};

const PATIENCE: Duration = Duration::from_millis(50);

fn setup() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::write(root.join("k"), real::KEY).unwrap();
    let tree = root.join("tree");
    std::fs::create_dir(&tree).unwrap();
    let text = format!("group g {{ host a@a-if 127.0.0.9; key k; include {}; }}", tree.display());
    std::fs::write(root.join("csync2.cfg"), text).unwrap();
    directory
}

fn database(root: &Path) -> Result<Database, Error> {
    Database::open(&root.join("a.db3"), PATIENCE)
}

fn run(root: &Path, arguments: &[&str]) {
    let output = real::csync2(root, "a", arguments);
    assert_eq!(output.status.code(), Some(0), "{}", real::text(&output));
}

fn now(path: &Path) -> Checked {
    let meta = std::fs::symlink_metadata(path).unwrap();
    let stat = Stat {
        mtime: meta.mtime(),
        mode: meta.mode(),
        uid: meta.uid(),
        gid: meta.gid(),
        size: meta.size(),
        device: meta.rdev(),
    };
    let target = std::fs::read_link(path).ok().map(|target| Text::from(target.as_os_str().as_bytes()));
    Checked::of(&stat, target.as_ref(), Ignored::default()).unwrap()
}

#[test]
fn what_csync2_writes_is_read_as_it_was() {
    let directory = setup();
    let (root, tree) = (directory.path(), directory.path().join("tree"));
    assert_eq!(database(root).err(), Some(Error::Missing));
    let names: [&[u8]; 9] = [
        b"plain",
        b"with space",
        b"new\nline",
        b"tab\there",
        b"%percent%41",
        b"quote'\"$`;",
        b"\xff\xfe",
        "\u{e9}".as_bytes(),
        b"\\:|",
    ];
    for name in names {
        std::fs::write(tree.join(OsStr::from_bytes(name)), name).unwrap();
    }
    std::fs::set_permissions(tree.join("plain"), std::fs::Permissions::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(tree.join("plain"), Some(4_294_967_294), Some(5)).unwrap();
    std::os::unix::fs::symlink("to a place%", tree.join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(tree.join("pipe")).status().unwrap();
    let node =
        std::process::Command::new("mknod").arg(tree.join("null")).args(["c", "1", "3"]).status().unwrap();
    assert!(made.success() && node.success());
    let tree_text = tree.to_str().unwrap();
    run(root, &["-h", "-r", tree_text]);
    let opened = database(root).unwrap();
    let hints = opened.hints().unwrap();
    assert_eq!(hints.len(), 1);
    assert!(hints[0].recursive && hints[0].name == tree_text);
    run(root, &["-c"]);
    assert_eq!(opened.hints().unwrap(), []);
    let files = opened.files().unwrap();
    let mut seen: Vec<&Text> = files.iter().map(|file| &file.name).collect();
    seen.sort();
    let mut expected: Vec<Text> = names
        .into_iter()
        .chain([&b"link"[..], b"socket", b"pipe", b"null"])
        .map(|name| Text::from(tree.join(OsStr::from_bytes(name)).as_os_str().as_bytes()))
        .chain([Text::from(tree_text)])
        .collect();
    expected.sort();
    assert_eq!(seen, expected.iter().collect::<Vec<_>>());
    assert_eq!(opened.file(&Text::from(format!("{tree_text}/none").as_str())).unwrap(), None);
    for file in &files {
        assert_eq!(opened.file(&file.name).unwrap().as_ref(), Some(file));
        assert_eq!(
            file.checked().unwrap(),
            now(Path::new(OsStr::from_bytes(file.name.bytes()))),
            "{}",
            file.name
        );
    }
    let kind = |name: &str| {
        let file = files.iter().find(|file| file.name.bytes().ends_with(name.as_bytes())).unwrap();
        file.checked().unwrap().kind
    };
    assert_eq!(kind("/link"), Type::Symlink { target: Text::from("to a place%") });
    assert_eq!(kind("/null"), Type::Character { device: 259 });
    assert_eq!(kind("/socket"), Type::Socket);
    assert_eq!(kind("/pipe"), Type::Pipe);
    let dirty = opened.dirty().unwrap();
    assert_eq!(dirty.len(), files.len());
    assert!(dirty.iter().all(|row| !row.forced && row.own == "a-if" && row.peer == "127.0.0.9"));
    run(root, &["-f", tree.join("plain").to_str().unwrap()]);
    let forced =
        opened.dirty().unwrap().into_iter().filter(|row| row.forced).map(|row| row.name).collect::<Vec<_>>();
    assert_eq!(forced.len(), 1);
    assert!(forced[0].bytes().ends_with(b"/plain"));
    let counts = opened.counts().unwrap();
    assert_eq!(
        (counts.files, counts.dirty, counts.hints, counts.actions),
        (files.len() as u64, dirty.len() as u64, 0, 0)
    );
    opened.check().unwrap();
    assert_eq!((opened.scheduled().unwrap(), opened.certificates().unwrap()), (vec![], vec![]));
}

#[test]
fn a_writer_is_waited_for_briefly_and_a_killed_one_told_apart() {
    let directory = setup();
    let root = directory.path();
    real::csync2(root, "a", &["-H"]);
    let path = root.join("a.db3");
    let writer = rusqlite::Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE; INSERT INTO hint VALUES ('/x', 0);").unwrap();
    assert_eq!(database(root).unwrap().counts().err(), Some(Error::Busy));
    writer.execute_batch("PRAGMA cache_size=1; CREATE TABLE junk(x); INSERT INTO junk SELECT randomblob(9000) FROM file UNION ALL SELECT randomblob(90000);").unwrap();
    // What a killed writer leaves: the database half written, and its journal beside it.
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(&path, copy.path().join("a.db3")).unwrap();
    std::fs::copy(root.join("a.db3-journal"), copy.path().join("a.db3-journal")).unwrap();
    assert_eq!(database(copy.path()).unwrap().counts().err(), Some(Error::Interrupted));
    writer.execute_batch("ROLLBACK").unwrap();
    assert_eq!(database(root).unwrap().counts().unwrap().hints, 0);
}

#[test]
fn what_is_no_database_of_csync2_is_said_to_be_none() {
    let directory = setup();
    let root = directory.path();
    let path = root.join("a.db3");
    std::fs::write(&path, "not a database at all, but long enough to be taken for one".repeat(100)).unwrap();
    assert!(matches!(database(root).unwrap().counts(), Err(Error::Corrupt(_))));
    std::fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE file (filename, checktxt); INSERT INTO file VALUES ('/a', 'v9')")
        .unwrap();
    assert!(matches!(database(root).unwrap().dirty(), Err(Error::Foreign(_))));
    let row = database(root).unwrap().files();
    assert!(matches!(&row, Err(Error::Row(said)) if said.contains("/a")), "{row:?}");
    other.execute_batch("UPDATE file SET filename = '%zz'").unwrap();
    assert!(matches!(database(root).unwrap().files(), Err(Error::Row(_))));
    drop(other);
    // A page in the middle overwritten.
    std::fs::remove_file(&path).unwrap();
    for number in 0..300 {
        std::fs::write(root.join(format!("tree/file-with-a-long-name-{number}")), "x").unwrap();
    }
    run(root, &["-cr", "/"]);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(database(root).unwrap().check(), Err(Error::Corrupt(_))));
}
