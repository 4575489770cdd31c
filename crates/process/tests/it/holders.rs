//! Who holds a path.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use process::{Error, Holder, How, Tool, holders};

use crate::ample;

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
    let mut expected = vec![
        (works.id() as i32, How::WorkingDirectory(tree.join("below"))),
        (reads.id() as i32, How::Open(file)),
    ];
    expected.sort();
    let found = seen(&tree, |found| {
        let mut found: Vec<_> = found.iter().map(|it| (it.pid, it.how.clone())).collect();
        found.sort();
        found == expected
    });
    for child in [&mut works, &mut reads, &mut beside] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    found.unwrap();
    seen(&tree, <[_]>::is_empty).unwrap();
    assert!(matches!(holders(&tree.join("none")), Err(Error::Io { .. })));
}

/// The holders of a path as soon as they are these; if never, what was found instead. (What another test is starting has this
/// process's files open until its own program runs.)
fn seen(path: &Path, these: impl Fn(&[Holder]) -> bool) -> Result<Vec<Holder>, Vec<Holder>> {
    let end = ample();
    loop {
        let found = holders(path).unwrap();
        if these(&found) {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(found);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A loop device, gone with the test.
struct Loop(String);

impl Loop {
    fn on(file: &Path) -> Self {
        let losetup = Tool::new("losetup").args(["--find", "--show"]).arg(file).run(ample());
        Self(losetup.unwrap().ok().unwrap().text().trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Tool::new("losetup").args(["--detach", &self.0]).run(ample());
    }
}

#[test]
fn who_uses_a_device() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    let device = Loop::on(&image);
    Tool::new("mkfs.ext4").args(["-q", &device.0]).run(ample()).unwrap().ok().unwrap();
    let path = Path::new(&device.0);
    let mountpoint = directory.path().join("mount point");
    fs::create_dir(&mountpoint).unwrap();
    // Mounted in a namespace of its own, that ends with its process; open under another name.
    let script = "mount \"$0\" \"$1\" && exec sleep 1000";
    let mut mounted = Command::new("unshare");
    let mut mounted =
        mounted.args(["--mount", "sh", "-c", script, &device.0]).arg(&mountpoint).spawn().unwrap();
    let name = directory.path().join("name");
    std::os::unix::fs::symlink(path, &name).unwrap();
    let mut open = Command::new("sleep").arg("1000").stdin(fs::File::open(&name).unwrap()).spawn().unwrap();
    let mountpoint = fs::canonicalize(mountpoint).unwrap();
    let expected = [
        (open.id() as i32, How::Open(path.to_owned())),
        (mounted.id() as i32, How::Mounted(mountpoint.clone())),
    ];
    // `mount` itself has the device open for a moment, and so has what another test starts just then.
    let found = seen(&name, |found| {
        found.len() == 2
            && expected.iter().all(|(pid, how)| found.iter().any(|it| it.pid == *pid && it.how == *how))
    });
    for child in [&mut mounted, &mut open] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut told: Vec<_> = found.unwrap().iter().map(ToString::to_string).collect();
    told.sort();
    let expected = [
        format!("mounted on {}", mountpoint.display()),
        format!("sleep ({}, has open {})", open.id(), device.0),
    ];
    assert_eq!(told, expected);
    seen(path, <[_]>::is_empty).unwrap();
}
