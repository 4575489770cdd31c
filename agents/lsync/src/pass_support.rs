//! A source and a replica behind a real rsync daemon, for tests of what is sent. The replica's answers come from a shell script.

use super::super::*;
use crate::core::{Record, Said};
use crate::source;
use crate::test_port::Port;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A source here and a replica behind a real daemon, both in a directory that goes with it.
pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) place: Place,
    pub(crate) settings: Settings,
    pub(crate) generation: Generation,
    daemon: Option<Child>,
    /// The daemon's.
    _port: Port,
    mounted: bool,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_replica_of(None)
    }

    /// The replica's tree on a file system of its own, of this many KiB.
    pub(crate) fn with_replica_of(kib: Option<u64>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["source", "replica", "answers"] {
            fs::create_dir(at(name)).unwrap();
        }
        if let Some(kib) = kib {
            let status = Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "test"])
                .arg(at("replica"))
                .status();
            assert!(status.unwrap().success(), "tests run as root");
        }
        let generation = Generation { number: 3, id: 0xabc, origin: "n1".into() };
        let mut settings = crate::transfer::tests::settings(&at("source"));
        settings.secret_file = at("key");
        settings.saved_dir = at("saved");
        let port = Port::free();
        settings.port = port.number;
        let place = Place::below(directory.path(), "d");
        fs::create_dir_all(&place.run).unwrap();
        keys::write_secret(&settings.secret_file, "0123456789abcdef0123456789abcdef").unwrap();
        tree::prepare(&settings.source).unwrap();
        tree::write_marker(&settings.source, 7, "d").unwrap();
        tree::prepare(&at("replica")).unwrap();
        let bench = Bench {
            place,
            settings,
            generation,
            daemon: None,
            _port: port,
            mounted: kib.is_some(),
            directory,
        };
        bench.know(Standing::Source { confirmed: true }, false);
        StateFile::new(bench.place.settings()).save(&bench.settings).unwrap();
        source::pretend(&bench.place, &bench.generation, tree::device(bench.source()).unwrap());
        bench.answers(Standing::InSync, None);
        bench.follows();
        bench.serving()
    }

    /// Starts the daemon.
    fn serving(mut self) -> Self {
        let at = |name: &str| self.directory.path().join(name);
        let key = Key::read(&self.settings.secret_file).unwrap();
        let user = Key::user(&self.generation);
        let secrets = format!("{user}:{}\ncontrol:{}\n", key.token("d", &self.generation), key.control("d"));
        keys::write_secret(&at("secrets"), &secrets).unwrap();
        let hook = "#!/bin/sh\nname=${RSYNC_REQUEST##*/}\ncp \"$RSYNC_MODULE_PATH/../${name%%~*}.json\" \"$RSYNC_MODULE_PATH/$name\"\n";
        fs::write(at("hook"), hook).unwrap();
        fs::set_permissions(at("hook"), fs::Permissions::from_mode(0o755)).unwrap();
        let conf = format!(
            "use chroot = yes\nuid = root\ngid = root\nnumeric ids = yes\nmunge symlinks = no\nreverse lookup = no\nsecrets file = {0}/secrets\n\
             [d]\npath = {0}/replica\nread only = no\nauth users = {user}\n\
             [d.control]\npath = {0}/answers\nauth users = control\nread only = yes\npre-xfer exec = {0}/hook\n",
            self.directory.path().display()
        );
        fs::write(at("rsyncd.conf"), conf).unwrap();
        let log = fs::File::create(at("rsyncd.log")).unwrap();
        let daemon = Command::new("rsync")
            .args(["--daemon", "--no-detach", "--address=127.0.0.1"])
            .arg(format!("--port={}", self.settings.port))
            .arg(format!("--config={}", at("rsyncd.conf").display()))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.daemon = Some(daemon.unwrap());
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.settings.port)).is_err() {
            assert!(Instant::now() < until, "{}", fs::read_to_string(at("rsyncd.log")).unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
        self
    }

    /// Ends the daemon: the peer is unreachable from now on.
    pub(crate) fn silence(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let group = nix::unistd::Pid::from_raw(daemon.id() as i32);
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            let _ = daemon.wait();
        }
    }

    pub(crate) fn source(&self) -> &Path {
        &self.settings.source
    }

    pub(crate) fn replica(&self) -> PathBuf {
        self.directory.path().join("replica")
    }

    fn record(&self, filled: bool) -> Record {
        let in_sync = BTreeSet::from(["n1".to_owned()]);
        let generation = self.generation.clone();
        Record { generation, upon: None, change: 1, shared: 0, dataset: 7, filled, in_sync }
    }

    /// What this node knows.
    pub(crate) fn know(&self, standing: Standing, filled: bool) {
        let own = Own { latest: Some(self.record(filled)), standing };
        StateFile::new(self.place.own()).save(&own).unwrap();
    }

    /// What the peer says when the generation is claimed.
    pub(crate) fn answers(&self, standing: Standing, refuses: Option<&str>) {
        let answer = |standing| Answer {
            own: Own { latest: Some(self.record(true)), standing },
            said: Said { number: 3, id: 0xabc, change: 1, tree: Tree::Filled },
            canary: None,
            saved: 4,
            refuses: refuses.map(String::from),
        };
        for (name, answer) in [("claim", answer(standing)), ("complete", answer(Standing::InSync))] {
            let path = self.directory.path().join(format!("{name}.json"));
            fs::write(path, serde_json::to_string(&answer).unwrap()).unwrap();
        }
    }

    pub(crate) fn state(&self) -> PeerState {
        peer_files::load(&self.place, "n2").unwrap()
    }

    pub(crate) fn set_state(&self, state: &PeerState) {
        peer_files::save(&self.place, "n2", state).unwrap();
    }

    /// The peer has had its whole pass.
    pub(crate) fn follows(&self) {
        let state =
            PeerState { generation: 3, phase: Phase::Following, entries: 100, ..PeerState::default() };
        self.set_state(&state);
    }

    pub(crate) fn pass(&self, mode: Mode) -> Pass<'_> {
        let deadline = Instant::now() + Duration::from_secs(120);
        let (place, settings, generation) = (&self.place, &self.settings, &self.generation);
        Pass { place, settings, peer: &settings.peers[0], generation, mode, deadline }
    }

    pub(crate) fn exchange(&self, mode: Mode) -> Result<(Passed, u64), Trouble> {
        self.pass(mode).exchange(&self.state())
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        write(&self.source().join(name), text.as_bytes());
    }

    pub(crate) fn assert_equal(&self) {
        assert_equal(self.source(), &self.replica());
        assert_eq!(half_received(&self.replica()), 0);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.silence();
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(self.replica()).status();
        }
    }
}

/// A process's whole command line.
pub(crate) fn words(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
}

/// How many files there are that rsync had begun to receive.
pub(crate) fn half_received(root: &Path) -> usize {
    let entries = fs::read_dir(root.join(".bascule")).unwrap().flatten();
    entries
        .filter(|entry| !["dataset", "canary", "local"].iter().any(|ours| entry.file_name() == *ours))
        .count()
}

/// A log that nobody reads.
pub(crate) fn quiet() -> Log {
    Log::new("test".into(), None, false, None)
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Everything of a tree that is mirrored.
pub(crate) fn snapshot(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut links: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let walk = walkdir::WalkDir::new(root).sort_by_file_name().into_iter();
    let entries = walk.filter_entry(|entry| entry.path() != root.join(".bascule")).map(Result::unwrap);
    let describe = |entry: walkdir::DirEntry| {
        let path = entry.path().strip_prefix(root).unwrap().to_owned();
        let it = fs::symlink_metadata(entry.path()).unwrap();
        let kind = it.file_type();
        let content = if kind.is_file() {
            let bytes = fs::read(entry.path()).unwrap();
            format!("{} bytes {:x}", bytes.len(), hash(&bytes))
        } else if kind.is_symlink() {
            format!("-> {:?}", fs::read_link(entry.path()).unwrap())
        } else if kind.is_block_device() || kind.is_char_device() {
            format!("device {}", it.rdev())
        } else {
            String::new()
        };
        let twin = match kind.is_dir() {
            true => path.clone(),
            false => links.entry(it.ino()).or_insert_with(|| path.clone()).clone(),
        };
        let time = if path.as_os_str().is_empty() { 0 } else { it.mtime() * 1_000_000_000 + it.mtime_nsec() };
        let text = format!("{kind:?} {:o} {}:{} {time} {content} as {twin:?}", it.mode(), it.uid(), it.gid());
        (path, text)
    };
    entries.map(describe).collect()
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

pub(crate) fn assert_equal(left: &Path, right: &Path) {
    let (left, right) = (snapshot(left), snapshot(right));
    for path in left.keys().chain(right.keys()) {
        assert_eq!(left.get(path), right.get(path), "{}", path.display());
    }
}

/// Names with which something could go wrong.
pub(crate) fn hostile_names() -> Vec<PathBuf> {
    let mut names: Vec<Vec<u8>> = [
        "plain",
        "with blank",
        " leading",
        "trailing ",
        "new\nline",
        "\n",
        "quote'\"",
        "*",
        "?",
        "[a]",
        "[",
        "]",
        "-rf",
        "--delete",
        "#x",
        ";y",
        "!",
        "+ a",
        "- a",
        "\\",
        "\\#012",
        "a\\nb",
        "%s",
        "$HOME",
        "`id`",
        "{a,b}",
        "~",
        "é",
        ".hidden",
        "..x",
        "a:b",
        "host::module",
        "tab\t",
        "\x1b[31m",
        "Deletions stopped due to --max-delete limit (0 skipped)",
        "\nNumber of files: 99999999",
    ]
    .map(|name| name.as_bytes().to_vec())
    .to_vec();
    names.extend([b"\xff\xfe".to_vec(), b"\xc3".to_vec(), vec![b'n'; 255], vec![0xe9; 255]]);
    names.iter().map(|name| PathBuf::from(OsString::from_vec(name.clone()))).collect()
}
