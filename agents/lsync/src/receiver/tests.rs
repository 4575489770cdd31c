//! Tests of the receiver, with real rsync daemons and transfers on the loopback interface.

use super::*;
use crate::core::{Generation, Record, Standing};
use crate::test_port::Port;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Child, Command, Stdio};

/// A node of its own below a temporary directory, with a daemon on a port that was free.
pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
    port: Port,
    datasets: std::cell::RefCell<Vec<(Place, Settings)>>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("authkey");
        fs::write(&key, [42; 64]).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
        Bench { directory, port: Port::free(), datasets: Vec::new().into() }
    }

    pub(crate) fn dataset(&self, name: &str) -> (Place, Settings) {
        self.dataset_at(name, &self.directory.path().join("trees").join(name))
    }

    pub(crate) fn dataset_at(&self, name: &str, tree: &Path) -> (Place, Settings) {
        fs::create_dir_all(tree.join(".bascule/local/tmp")).unwrap();
        let place = Place::below(self.directory.path(), name);
        let settings = Settings {
            dataset: name.into(),
            port: self.port.number,
            secret_file: self.directory.path().join("authkey"),
            saved_dir: place.lasting.join("saved"),
            ..Settings::example(tree)
        };
        self.datasets.borrow_mut().push((place.clone(), settings.clone()));
        (place, settings)
    }

    /// The same, serving, with nothing let in.
    pub(crate) fn serving(&self, name: &str) -> (Place, Settings) {
        let (place, settings) = self.dataset(name);
        serve(&place, &settings, soon()).unwrap();
        (place, settings)
    }

    fn daemon_processes(&self) -> Vec<process::Process> {
        let config = Files::of(&Place::below(self.directory.path(), "any"), self.port.number).config();
        fence::Daemon { config: &config }.processes()
    }

    pub(crate) fn daemon(&self) -> Identity {
        let files = Files::of(&Place::below(self.directory.path(), "any"), self.port.number);
        files.state().load::<Serving>().unwrap().unwrap().identity
    }

    /// A file that takes longer to send, at this pace, than any test runs.
    pub(crate) fn endless(&self, settings: &Settings, generation: &Generation) -> Transfer {
        let file = self.directory.path().join("endless");
        fs::write(&file, vec![7; 64 << 20]).unwrap();
        self.transfer(settings, generation, &file, "1000")
    }

    /// Sends a file at so many KiB a second; returns when its bytes arrive.
    fn transfer(&self, settings: &Settings, generation: &Generation, file: &Path, pace: &str) -> Transfer {
        let mut command = self.rsync(settings, generation);
        command
            .arg(format!("--bwlimit={pace}"))
            .arg(file)
            .arg(url(settings, generation))
            .stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let incoming = settings.source.join(".bascule/local/tmp");
        wait(|| {
            fs::read_dir(&incoming).unwrap().flatten().any(|it| it.metadata().is_ok_and(|it| it.len() > 0))
        });
        Transfer(child)
    }

    fn rsync(&self, settings: &Settings, generation: &Generation) -> Command {
        let token = Key::read(&settings.secret_file).unwrap().token(&settings.dataset, generation);
        let password = self.directory.path().join(format!("password-{}", Key::user(generation)));
        write_secret(&password, &token).unwrap();
        let mut command = Command::new("rsync");
        command.args([
            "-rlptgoD",
            "--numeric-ids",
            "--temp-dir=.bascule/local/tmp",
            "--exclude=/.bascule/local",
        ]);
        command.arg(format!("--password-file={}", password.display()));
        command
    }

    /// The exit code of a push of a whole directory.
    pub(crate) fn push(&self, settings: &Settings, generation: &Generation, from: &Path) -> i32 {
        let mut from = from.as_os_str().to_owned();
        from.push("/");
        let pushed = self
            .rsync(settings, generation)
            .arg("--delete")
            .arg(from)
            .arg(url(settings, generation))
            .output();
        pushed.unwrap().status.code().unwrap()
    }

    /// A directory with these files, each holding its own name.
    pub(crate) fn content(&self, name: &str, files: &[&str]) -> PathBuf {
        let directory = self.directory.path().join(name);
        fs::create_dir_all(&directory).unwrap();
        for file in files {
            fs::write(directory.join(file), file).unwrap();
        }
        directory
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for (place, settings) in self.datasets.borrow().iter() {
            let _reported_by_the_test = withdraw(place, settings, soon());
        }
    }
}

/// An rsync that sends; it does not outlive the test.
pub(crate) struct Transfer(Child);

impl Transfer {
    pub(crate) fn goes_on(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    pub(crate) fn code(&mut self) -> i32 {
        self.0.wait().unwrap().code().unwrap()
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn wait(mut until: impl FnMut() -> bool) {
    let deadline = soon();
    while !until() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn generation(number: u64) -> Generation {
    Generation { number, id: 0xc0ffee + number, origin: "n2".into() }
}

pub(crate) fn knows(number: u64, standing: Standing) -> Own {
    let record = Record {
        generation: generation(number),
        upon: None,
        change: 0,
        shared: 0,
        dataset: 1,
        filled: true,
        in_sync: BTreeSet::new(),
    };
    Own { latest: Some(record), standing }
}

pub(crate) fn learns(place: &Place, settings: &Settings, own: &Own) {
    own::update(place, settings, soon(), |_| own.clone()).unwrap();
}

fn url(settings: &Settings, generation: &Generation) -> String {
    format!("rsync://{}@127.0.0.1:{}/{}/", Key::user(generation), settings.port, settings.module())
}

/// Everything in a tree but what belongs to the node: names, contents, and when anything was last touched.
fn snapshot(tree: &Path) -> BTreeMap<PathBuf, (u64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in walkdir::WalkDir::new(tree).into_iter().flatten() {
        if entry.path().starts_with(tree.join(".bascule")) {
            continue;
        }
        let it = entry.metadata().unwrap();
        let content = if it.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
        all.insert(entry.path().to_owned(), (it.ino(), it.ctime_nsec(), content));
    }
    all
}

#[test]
fn an_older_generation_changes_not_one_byte() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    let (old, new) = (bench.content("old", &["a", "b"]), bench.content("new", &["a", "c"]));
    assert_eq!(bench.push(&settings, &generation(1), &old), 5, "nothing is let in yet");
    learns(&place, &settings, &knows(1, Standing::Behind));
    assert_eq!(bench.push(&settings, &generation(1), &old), 0);
    assert!(settings.source.join("b").exists());
    learns(&place, &settings, &knows(2, Standing::Behind));
    let before = snapshot(&settings.source);
    assert_eq!(bench.push(&settings, &generation(1), &new), 5);
    assert_eq!(bench.push(&settings, &generation(3), &new), 5, "nor one that is not known here");
    let forged = Generation { id: 1, ..generation(2) };
    assert_eq!(bench.push(&settings, &forged, &new), 5);
    assert_eq!(snapshot(&settings.source), before);
    assert_eq!(bench.push(&settings, &generation(2), &new), 0);
    assert!(settings.source.join("c").exists() && !settings.source.join("b").exists());
    let opening = Standing::Opening { before: Box::default(), replaces: None };
    for standing in [Standing::Source { confirmed: true }, opening] {
        learns(&place, &settings, &knows(2, standing));
        assert_eq!(bench.push(&settings, &generation(2), &old), 5, "a source receives nothing");
    }
}

#[test]
fn a_newer_generation_kills_what_the_older_has_under_way_and_nothing_else() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    let (other_place, other) = bench.serving("site6");
    learns(&place, &settings, &knows(1, Standing::Behind));
    learns(&other_place, &other, &knows(1, Standing::Behind));
    let mut old = bench.endless(&settings, &generation(1));
    let large = bench.directory.path().join("large");
    fs::write(&large, vec![5; 3 << 20]).unwrap();
    let mut bystander = bench.transfer(&other, &generation(1), &large, "1500");
    let listener = bench.daemon();
    let before = snapshot(&settings.source);

    learns(&place, &settings, &knows(2, Standing::Behind));
    let root = Root::of(&settings.source);
    let daemon = fence::Daemon { config: &Files::of(&place, settings.port).config() };
    assert_eq!(daemon.connections(&[root]), [], "dead when it returns, not a moment later");
    assert_eq!(snapshot(&settings.source), before, "no part of what was under way is in the tree");
    assert_ne!(old.code(), 0);
    assert_eq!(snapshot(&settings.source), before);
    assert!(listener.is_alive());
    assert!(bystander.goes_on());
    assert_eq!(bystander.code(), 0);
    assert_eq!(fs::read(other.source.join("large")).unwrap(), vec![5; 3 << 20]);
}

#[test]
fn a_connection_that_may_have_read_the_old_configuration_is_dead_too() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    learns(&place, &settings, &knows(1, Standing::Behind));
    let mut slow = TcpStream::connect(("127.0.0.1", settings.port)).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    slow.write_all(b"@RSYNCD: 31.0 sha512 sha256\nsite5\n").unwrap();
    let mut heard = String::new();
    while !heard.contains("AUTHREQD") {
        let mut bytes = [0; 512];
        let n = slow.read(&mut bytes).unwrap();
        assert_ne!(n, 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&bytes[..n]));
    }
    // It has the old module, and waits for the password.
    learns(&place, &settings, &knows(2, Standing::Behind));
    match slow.read(&mut [0; 512]) {
        Ok(n) => assert_eq!(n, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[test]
fn what_is_so_already_is_left_alone() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    let own = knows(1, Standing::Behind);
    learns(&place, &settings, &own);
    let module = Files::of(&place, settings.port).module("site5", "conf");
    let inode = fs::metadata(&module).unwrap().ino();
    let mut transfer = bench.endless(&settings, &generation(1));
    serve(&place, &settings, soon()).unwrap();
    admit(&place, &settings, &own, soon()).unwrap();
    learns(&place, &settings, &knows(1, Standing::InSync));
    assert_eq!(fs::metadata(&module).unwrap().ino(), inode);
    assert!(transfer.goes_on());
    // And what somebody took away comes back.
    fs::remove_file(&module).unwrap();
    assert!(!is_serving(&place, settings.port));
    admit(&place, &settings, &knows(1, Standing::InSync), soon()).unwrap();
    assert!(is_serving(&place, settings.port));
}

#[test]
fn what_a_killed_fence_left_undone_is_done_by_the_next() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    learns(&place, &settings, &knows(1, Standing::Behind));
    let mut old = bench.endless(&settings, &generation(1));
    // As a process leaves it that is killed after the module was replaced, before anything was killed.
    let files = Files::of(&place, settings.port);
    let newer = knows(2, Standing::Behind);
    StateFile::new(place.own()).save_durably(&newer).unwrap();
    let secrets = files.module("site5", "secrets");
    let (text, secret) = wanted(&place, &settings, &newer, &secrets).unwrap();
    write_secret(&files.module("site5", "fence"), "").unwrap();
    write_secret(&secrets, &secret).unwrap();
    replace(&files.module("site5", "conf"), text.as_bytes(), 0o600).unwrap();
    assert!(old.goes_on());
    admit(&place, &settings, &newer, soon()).unwrap();
    assert_eq!(daemon_connections(&place, &settings), []);
    assert_ne!(old.code(), 0);
    assert!(!files.module("site5", "fence").exists());
}

fn daemon_connections(place: &Place, settings: &Settings) -> Vec<process::Process> {
    let config = Files::of(place, settings.port).config();
    fence::Daemon { config: &config }.connections(&[Root::of(&settings.source)])
}

#[test]
fn who_looked_a_while_ago_opens_nothing_that_was_shut_since() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    let looked = knows(1, Standing::InSync);
    learns(&place, &settings, &looked);
    learns(&place, &settings, &knows(2, Standing::Behind));
    let from = bench.content("from", &["a"]);
    admit(&place, &settings, &looked, soon()).unwrap();
    assert_eq!(bench.push(&settings, &generation(1), &from), 5);
    admit(&place, &settings, &knows(2, Standing::Behind), soon()).unwrap();
    assert_eq!(bench.push(&settings, &generation(2), &from), 0);
    // And nothing is let in while the cluster's word is awaited.
    admit(&place, &settings, &Own::default(), soon()).unwrap();
    assert_eq!(bench.push(&settings, &generation(2), &from), 5);
}

#[test]
fn a_daemon_that_was_killed_serves_again_and_leaves_no_orphans() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    learns(&place, &settings, &knows(1, Standing::Behind));
    let mut orphaned = bench.endless(&settings, &generation(1));
    let daemon = bench.daemon();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon.pid()), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    wait(|| !daemon.is_alive());
    assert!(!is_serving(&place, settings.port));
    assert!(orphaned.goes_on(), "as rsync is: a transfer outlives its daemon");
    // Without a daemon the fence works as well.
    learns(&place, &settings, &knows(2, Standing::Behind));
    assert_ne!(orphaned.code(), 0);
    serve(&place, &settings, soon()).unwrap();
    assert!(is_serving(&place, settings.port));
    assert_ne!(bench.daemon(), daemon);
    assert_eq!(bench.push(&settings, &generation(2), &bench.content("from", &["a"])), 0);
    assert_eq!(bench.daemon_processes().iter().filter(|it| it.session == it.pid).count(), 1);
}

#[test]
fn a_daemon_whose_state_file_is_lost_is_found() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    let lost = bench.daemon();
    Files::of(&place, settings.port).state().remove().unwrap();
    serve(&place, &settings, soon()).unwrap();
    assert!(!lost.is_alive() && bench.daemon().is_alive());
    Files::of(&place, settings.port).state().remove().unwrap();
    withdraw(&place, &settings, soon()).unwrap();
    assert_eq!(bench.daemon_processes(), []);
}

#[test]
fn a_daemon_that_is_deaf_is_replaced() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    learns(&place, &settings, &Own::default());
    let deaf = bench.daemon();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(deaf.pid()), nix::sys::signal::Signal::SIGSTOP)
        .unwrap();
    let refused = greets(&settings, soon()).unwrap_err();
    assert!(refused.reason.contains(&settings.port.to_string()), "{}", refused.reason);
    assert!(is_serving(&place, settings.port), "nothing but a connection can tell");
    serve(&place, &settings, soon()).unwrap();
    assert!(!deaf.is_alive());
    greets(&settings, soon()).unwrap();
}

#[test]
fn a_port_that_is_taken_is_told_with_its_holder() {
    let bench = Bench::new();
    let (place, settings) = bench.dataset("site5");
    // For IPv4 alone: the daemon would get the other half, and seem to run.
    for address in ["127.0.0.1", "0.0.0.0", "::1"] {
        let _rival = TcpListener::bind((address, settings.port)).unwrap();
        let refused = serve(&place, &settings, soon()).unwrap_err().reason;
        for part in [settings.port.to_string(), std::process::id().to_string(), address.to_owned()] {
            assert!(refused.contains(&part), "{refused}");
        }
        assert_eq!(bench.daemon_processes(), []);
        assert!(!is_serving(&place, settings.port));
    }
    serve(&place, &settings, soon()).unwrap();
}

#[test]
fn one_address_for_all_datasets_of_a_port() {
    let bench = Bench::new();
    let (place, mut settings) = bench.dataset("site5");
    settings.bind_address = Some("127.0.0.1".into());
    serve(&place, &settings, soon()).unwrap();
    let elsewhere = ports::listeners(settings.port, None);
    assert_eq!(elsewhere.iter().map(|it| it.address.to_string()).collect::<Vec<_>>(), ["127.0.0.1"]);
    let (other_place, other) = bench.dataset("site6");
    let refused = serve(&other_place, &other, soon()).unwrap_err();
    assert!(
        refused.reason.contains("bind_address") && refused.reason.contains("site5"),
        "{}",
        refused.reason
    );
    withdraw(&place, &settings, soon()).unwrap();
    serve(&other_place, &other, soon()).unwrap();
    // Alone, it may change its mind.
    let changed = Settings { bind_address: Some("127.0.0.1".into()), ..other };
    serve(&other_place, &changed, soon()).unwrap();
    assert_eq!(ports::listeners(changed.port, None).len(), 1);
}

#[test]
fn a_dataset_goes_without_touching_the_others_and_the_last_one_takes_the_daemon_along() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    let (other_place, other) = bench.serving("site6");
    learns(&place, &settings, &knows(1, Standing::Behind));
    learns(&other_place, &other, &knows(1, Standing::Behind));
    let mut ended = bench.endless(&settings, &generation(1));
    let mut bystander = bench.endless(&other, &generation(1));
    withdraw(&place, &settings, soon()).unwrap();
    assert_ne!(ended.code(), 0);
    assert!(bystander.goes_on());
    assert!(is_serving(&other_place, other.port) && !is_serving(&place, settings.port));
    assert_eq!(bench.push(&settings, &generation(1), &bench.content("from", &["a"])), 5);
    withdraw(&other_place, &other, soon()).unwrap();
    assert_ne!(bystander.code(), 0);
    assert_eq!(bench.daemon_processes(), []);
    assert_eq!(ports::listeners(other.port, None), []);
    withdraw(&other_place, &other, soon()).unwrap();
    withdraw(&place, &settings, soon()).unwrap();
}

#[test]
fn a_dataset_that_is_about_to_open_its_module_keeps_the_daemon() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    // Served, but nothing admitted yet.
    let (other_place, other) = bench.serving("site6");
    learns(&place, &settings, &knows(1, Standing::Behind));
    withdraw(&place, &settings, soon()).unwrap();
    learns(&other_place, &other, &knows(1, Standing::Behind));
    assert_eq!(bench.push(&other, &generation(1), &bench.content("from", &["a"])), 0);
}

#[test]
fn hostile_paths_are_received_into_or_refused() {
    let bench = Bench::new();
    let from = bench.content("from", &["a"]);
    let names = [
        "a b  c",
        "a#b",
        "#a",
        "a]b[c",
        "a;b=c",
        "a\"b'c",
        "a\\b",
        "a\\",
        "a ",
        "a  ",
        "50%",
        "%a%",
        "%C3%A9",
        "é\u{1F600}",
        "a\u{A0}",
        "-a",
        "~",
        "$HOME",
        "`id`",
        "*",
        "%RSYNC_USER_NAME",
        "&include x",
        "...",
    ];
    for (n, name) in names.into_iter().enumerate() {
        let tree = bench.directory.path().join("hostile").join(name);
        let (place, settings) = bench.dataset_at(&format!("set{n}"), &tree);
        serve(&place, &settings, soon()).unwrap();
        learns(&place, &settings, &knows(1, Standing::Behind));
        assert_eq!(bench.push(&settings, &generation(1), &from), 0, "{name:?}");
        assert_eq!(fs::read_to_string(tree.join("a")).unwrap(), "a", "{name:?}");
    }
    for (n, name) in
        ["a\nread only = no", "a\r", "%RSYNC_USER_NAME%", "100%%", "x/./y", "x/../y"].into_iter().enumerate()
    {
        let tree = bench.directory.path().join("hostile").join(name);
        let (place, settings) = bench.dataset_at(&format!("no{n}"), &tree);
        serve(&place, &settings, soon()).unwrap();
        let refused = own::update(&place, &settings, soon(), |_| knows(1, Standing::Behind)).unwrap_err();
        assert!(refused.reason.contains("source"), "{}", refused.reason);
        assert_eq!(bench.push(&settings, &generation(1), &from), 5, "{name:?}");
        assert!(!tree.join("a").exists());
    }
}

#[test]
fn without_the_key_what_was_let_in_is_shut_out() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    learns(&place, &settings, &knows(1, Standing::Behind));
    let mut old = bench.endless(&settings, &generation(1));
    let keyless = Settings { secret_file: bench.directory.path().join("none"), ..settings.clone() };
    let refused = own::update(&place, &keyless, soon(), |_| knows(2, Standing::Behind)).unwrap_err();
    assert!(refused.reason.contains("secret_file"), "{}", refused.reason);
    assert_ne!(old.code(), 0);
    assert_eq!(own::load(&place).unwrap(), knows(2, Standing::Behind), "it is durable all the same");
    assert!(!Files::of(&place, settings.port).module("site5", "conf").exists());
}

#[test]
fn secrets_are_for_root_alone_and_on_no_command_line() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    learns(&place, &settings, &knows(1, Standing::Behind));
    let _running = bench.endless(&settings, &generation(1));
    let key = Key::read(&settings.secret_file).unwrap();
    let secrets = [key.token("site5", &generation(1)), key.control("site5")];
    let files = Files::of(&place, settings.port);
    let text = fs::read_to_string(files.module("site5", "secrets")).unwrap();
    assert!(secrets.iter().all(|it| text.contains(it)));
    for entry in walkdir::WalkDir::new(bench.directory.path().join("run")).into_iter().flatten() {
        let mode = entry.metadata().unwrap().mode() & 0o777;
        let holds = entry.file_type().is_file()
            && fs::read(entry.path())
                .is_ok_and(|it| secrets.iter().any(|one| String::from_utf8_lossy(&it).contains(one)));
        assert!(!holds || mode == 0o600, "{} has mode {mode:o}", entry.path().display());
    }
    assert_eq!(fs::metadata(files.modules()).unwrap().mode() & 0o777, 0o700);
    for process in process::Process::all() {
        let (line, environment) = (
            fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default(),
            fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default(),
        );
        for secret in &secrets {
            let shown = [&line, &environment].iter().any(|it| String::from_utf8_lossy(it).contains(secret));
            assert!(!shown, "{process}");
        }
    }
}

#[test]
fn an_rsync_that_is_missing_or_no_daemon_is_told() {
    let bench = Bench::new();
    let (place, settings) = bench.dataset("site5");
    let missing = Settings { rsync: "/no/such/rsync".into(), ..settings.clone() };
    assert_eq!(serve(&place, &missing, soon()).unwrap_err().code, Code::Installed);
    let other = Settings { rsync: "false".into(), ..settings };
    let refused = serve(&place, &other, soon()).unwrap_err().reason;
    assert!(refused.contains("ended at once"), "{refused}");
}

#[test]
fn a_log_does_not_fill_the_disk() {
    let bench = Bench::new();
    let (place, settings) = bench.serving("site5");
    let files = Files::of(&place, settings.port);
    fs::OpenOptions::new().append(true).open(files.log()).unwrap().write_all(&vec![b'x'; 2 << 20]).unwrap();
    trim_log(&place, settings.port);
    greets(&settings, soon()).unwrap();
    wait(|| fs::read_to_string(files.log()).is_ok_and(|it| it.contains("connect from")));
    assert!(fs::metadata(files.log()).unwrap().len() < LOG_LIMIT);
}
