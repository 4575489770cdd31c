use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use process::{Error, How, holders};

#[test]
fn who_uses_a_tree() {
    let directory = tempfile::tempdir().unwrap();
    let tree = fs::canonicalize(directory.path()).unwrap().join("tree");
    fs::create_dir_all(tree.join("below")).unwrap();
    let file = tree.join("below/data");
    fs::write(&file, "").unwrap();
    fs::create_dir(directory.path().join("tree-beside")).unwrap();
    let of = |directory: PathBuf, input: Stdio| {
        Command::new("sleep").arg("1000").current_dir(directory).stdin(input).spawn().unwrap()
    };
    let mut works = of(tree.join("below"), Stdio::null());
    let mut reads = of("/".into(), fs::File::open(&file).unwrap().into());
    let mut beside = of(directory.path().join("tree-beside"), Stdio::null());
    let found = holders(&tree);
    for child in [&mut works, &mut reads, &mut beside] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut found: Vec<_> = found.unwrap().into_iter().map(|it| (it.pid, it.how)).collect();
    found.sort();
    let mut expected = vec![
        (works.id() as i32, How::WorkingDirectory(tree.join("below"))),
        (reads.id() as i32, How::Open(file)),
    ];
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(holders(&tree).unwrap(), []);
    assert!(matches!(holders(&tree.join("none")), Err(Error::Io { .. })));
}
