//! The receiving side of this node: one rsync daemon for all datasets of a port, a module for each, and the fence.
//!
//! `/run/bascule/lsync/rsyncd-PORT/` holds `rsyncd.conf`, which never changes and includes `modules.d/*.conf`, one file for each
//! dataset. The daemon reads them anew for every connection. So to shut a generation out is: replace the dataset's file, then kill
//! what began before that and may write to its tree. Between the two a mark (`NAME.fence`) remembers that the second is due.
//!
//! `datasets/NAME` says that a dataset uses the daemon; it ends with the last of them.

mod fence;
mod ports;
#[cfg(test)]
mod shared_tests;
#[cfg(test)]
pub(crate) mod tests;

use crate::core::Own;
use crate::keys::{CONTROL_USER, Key, replace, write_secret};
use crate::own;
use crate::rsyncd::{self, Modules};
use crate::settings::{Place, Settings};
use fence::Root;
use ocf::{Code, Failure, StateFile};
use process::{Guard, Identity, PidLock};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io::{ErrorKind, Read as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the daemon gets to end on SIGTERM.
const GRACE: Duration = Duration::from_millis(500);
/// Pause between two looks at a daemon that is to begin to serve.
const TICK: Duration = Duration::from_millis(10);
/// Longest that an answer is waited for on this very node.
const GREETING: Duration = Duration::from_secs(3);
/// How often a daemon that others need too is asked for an answer.
const GREETINGS: u32 = 3;
/// From this size on the daemon's log is put aside, in place of the one before.
const LOG_LIMIT: u64 = 1 << 20;

/// The daemon as it was started.
#[derive(Debug, Serialize, Deserialize)]
struct Serving {
    identity: Identity,
    bind_address: Option<String>,
}

/// The files of a port's daemon.
struct Files {
    directory: PathBuf,
}

impl Files {
    fn of(place: &Place, port: u16) -> Self {
        Files { directory: place.daemon(port) }
    }

    fn config(&self) -> PathBuf {
        self.directory.join("rsyncd.conf")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("rsyncd.log")
    }

    /// Where the daemon and its hooks write what they have to say before and beside the log.
    fn output(&self) -> PathBuf {
        self.directory.join("rsyncd.out")
    }

    fn state(&self) -> StateFile {
        StateFile::new(self.directory.join("daemon.json"))
    }

    fn users(&self) -> PathBuf {
        self.directory.join("datasets")
    }

    fn modules(&self) -> PathBuf {
        self.directory.join("modules.d")
    }

    fn module(&self, dataset: &str, extension: &str) -> PathBuf {
        self.modules().join(format!("{dataset}.{extension}"))
    }

    fn lock(&self, deadline: Instant) -> Result<Guard, Failure> {
        Ok(PidLock::at(self.directory.join("lock")).lock_until(deadline)?)
    }
}

/// Sees to it that the daemon runs and greets whoever connects, and that it goes on as long as this dataset needs it. What it lets
/// in is said by [`admit`]. A daemon that was killed is started anew, its remains ended.
///
/// # Errors
/// "Not installed" where rsync is missing; the port is taken, or the daemon ended or is deaf: the reason says by whom, or with what
/// word. Another dataset's modules bear these names.
pub(crate) fn serve(place: &Place, settings: &Settings, deadline: Instant) -> Result<(), Failure> {
    let files = Files::of(place, settings.port);
    for directory in [&files.directory, &files.modules(), &files.users()] {
        private_directory(directory)?;
    }
    let _lock = files.lock(deadline)?;
    own_names(&files, settings)?;
    let text = rsyncd::daemon(&files.log(), &files.modules()).map_err(|why| Failure::new(Code::Args, why))?;
    replace(&files.config(), text.as_bytes(), 0o600)
        .map_err(|error| Failure::generic(format!("writing {}: {error}", files.config().display())))?;
    write_secret(&files.users().join(&settings.dataset), "")?;
    let before: Option<Serving> = files.state().load().unwrap_or(None);
    if let Some(before) = before.filter(|it| it.identity.is_alive()) {
        if before.bind_address != settings.bind_address {
            same_address(&files, settings, &before)?;
        } else if rivals(settings, &before.identity).is_empty()
            && hears(&files, settings, &before.identity, deadline)?
        {
            return Ok(());
        }
        // Deaf, or elsewhere. What it has under way is tried again by those who sent it.
        before.identity.stop(GRACE, deadline)?;
    }
    let daemon = fence::Daemon { config: &files.config() };
    fence::kill_all(|| daemon.processes(), deadline)?;
    trim_log(place, settings.port);
    start(&files, settings, deadline)
}

fn start(files: &Files, settings: &Settings, deadline: Instant) -> Result<(), Failure> {
    if let Some(rival) = ports::listeners(settings.port, settings.bind_address.as_deref()).first() {
        return Err(taken(settings, rival));
    }
    let mut daemon = process::Daemon::new(&settings.rsync)
        .args(["--daemon", "--no-detach"])
        .arg(format!("--config={}", files.config().display()))
        .arg(format!("--port={}", settings.port))
        // What the hooks are given to: not what somebody's profile chose.
        .env("RSYNC_SHELL", "/bin/sh")
        .log(files.output());
    if let Some(address) = &settings.bind_address {
        daemon = daemon.arg(format!("--address={address}"));
    }
    let identity = daemon.start()?;
    let serving = Serving { identity, bind_address: settings.bind_address.clone() };
    let begun =
        files.state().save(&serving).and_then(|()| wait_for(files, settings, &serving.identity, deadline));
    if begun.is_err() {
        let _first_error_counts = serving.identity.stop(GRACE, deadline);
        let _no_more = files.state().remove();
    }
    begun
}

/// Whether the daemon is not deaf. One that others need too may take its time, as long as it accepts connections: with it would end
/// what they receive.
///
/// # Errors
/// It accepts, and says nothing; or there was no time to see whether it does.
fn hears(files: &Files, settings: &Settings, daemon: &Identity, deadline: Instant) -> Result<bool, Failure> {
    let mut trouble = match greets(settings, deadline) {
        Ok(()) => return Ok(true),
        Err(trouble) => trouble,
    };
    let others = others(files, settings)?;
    if others.is_empty() {
        return Ok(false);
    }
    for _ in 1..GREETINGS {
        match greets(settings, deadline) {
            Ok(()) => return Ok(true),
            Err(again) => trouble = again,
        }
    }
    let stands_still = ports::waiting(settings.port, daemon.pid()) > 0;
    if stands_still && Instant::now() < deadline {
        return Ok(false);
    }
    let left = format!("it is left alone, for it serves {} too", others.join(", "));
    Err(Failure::generic(format!("{}; {left}", trouble.reason)))
}

/// Waits until the daemon serves, alone, at every address that it was given.
fn wait_for(
    files: &Files,
    settings: &Settings,
    identity: &Identity,
    deadline: Instant,
) -> Result<(), Failure> {
    loop {
        let alive = identity.is_alive();
        if let Some(rival) = rivals(settings, identity).first() {
            return Err(taken(settings, rival));
        }
        if !alive {
            let said = last_word(files);
            return Err(Failure::generic(format!(
                "the rsync daemon on port {} ended at once: {said}",
                settings.port
            )));
        }
        let served = ports::listeners(settings.port, settings.bind_address.as_deref());
        let greeted = if served.is_empty() { Ok(()) } else { greets(settings, deadline) };
        if !served.is_empty() && greeted.is_ok() {
            return Ok(());
        }
        if Instant::now() + TICK >= deadline {
            let port = settings.port;
            return greeted.and(Err(Failure::generic(format!("the rsync daemon does not open port {port}"))));
        }
        std::thread::sleep(TICK);
    }
}

/// Sockets at our port and address that are not the daemon's.
fn rivals(settings: &Settings, daemon: &Identity) -> Vec<ports::Listener> {
    let mut all = ports::listeners(settings.port, settings.bind_address.as_deref());
    all.retain(|it| !ports::has(daemon.pid(), it.inode));
    all
}

fn taken(settings: &Settings, rival: &ports::Listener) -> Failure {
    let by = ports::owner(rival.inode).map_or("another program".to_owned(), |it| format!("process {it}"));
    Failure::generic(format!(
        "port {} is taken at {} by {by}: end it (a distribution's own rsync service, perhaps), or set another port for \
         all nodes",
        settings.port, rival.address
    ))
}

/// All datasets of a port have to mean the same address.
fn same_address(files: &Files, settings: &Settings, serving: &Serving) -> Result<(), Failure> {
    let others = others(files, settings)?;
    if others.is_empty() {
        return Ok(());
    }
    let shown = |address: &Option<String>| address.clone().unwrap_or("all addresses".to_owned());
    Err(Failure::new(
        Code::Args,
        format!(
            "bind_address: the rsync daemon on port {} serves {} for {}, and {} wants {}: give all datasets of a port the same \
             bind_address, or this one another port",
            settings.port,
            shown(&serving.bind_address),
            others.join(", "),
            settings.dataset,
            shown(&settings.bind_address),
        ),
    ))
}

/// The other datasets that the daemon serves.
fn others(files: &Files, settings: &Settings) -> Result<Vec<String>, Failure> {
    let users = fs::read_dir(files.users()).map_err(|error| in_file(&files.users(), &error))?;
    let names = users.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| *name != settings.dataset).collect())
}

/// That no other dataset's modules have the names of this one's, as rsync tells names apart.
fn own_names(files: &Files, settings: &Settings) -> Result<(), Failure> {
    let others = others(files, settings)?;
    match others.iter().find(|other| rsyncd::collide(&settings.dataset, other)) {
        None => Ok(()),
        Some(other) => Err(Failure::new(
            Code::Args,
            format!(
                "the resources {} and {other} cannot share the rsync daemon on port {}, which takes their modules for the same: \
                 give one of them another name or port",
                settings.dataset, settings.port
            ),
        )),
    }
}

/// What the daemon said last.
fn last_word(files: &Files) -> String {
    let last = |path: PathBuf| {
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    };
    last(files.output())
        .or_else(|| last(files.log()))
        .unwrap_or(format!("nothing is in {}", files.log().display()))
}

/// Whether the daemon lives and knows this dataset. No connection, no child process.
pub(crate) fn is_serving(place: &Place, port: u16) -> bool {
    let files = Files::of(place, port);
    let serving: Option<Serving> = files.state().load().unwrap_or(None);
    let dataset = place.lasting.file_name().unwrap_or_default().to_string_lossy();
    serving.is_some_and(|it| it.identity.is_alive()) && files.module(&dataset, "conf").exists()
}

/// Connects as a client would, and hears whether an rsync daemon answers.
///
/// # Errors
/// Nothing answers in time, or something else than an rsync daemon.
pub(crate) fn greets(settings: &Settings, deadline: Instant) -> Result<(), Failure> {
    let wrong = |what: String| {
        Failure::generic(format!("the rsync daemon on port {} does not answer: {what}", settings.port))
    };
    let hosts: Vec<&str> = match settings.bind_address.as_deref() {
        Some(address) => vec![address],
        None => vec!["127.0.0.1", "::1"],
    };
    let until = deadline.min(Instant::now() + GREETING);
    let mut trouble = "no address".to_owned();
    for host in hosts {
        let addresses =
            (host, settings.port).to_socket_addrs().map_err(|error| wrong(format!("{host}: {error}")))?;
        for address in addresses {
            match greeting(&address, until) {
                Ok(()) => return Ok(()),
                Err(why) => trouble = format!("{address}: {why}"),
            }
        }
    }
    Err(wrong(trouble))
}

fn greeting(address: &std::net::SocketAddr, until: Instant) -> Result<(), String> {
    const EXPECTED: &[u8] = b"@RSYNCD:";
    let left = || {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err("not in time".to_owned()) } else { Ok(left) }
    };
    let mut stream = TcpStream::connect_timeout(address, left()?).map_err(|error| error.to_string())?;
    let mut heard = Vec::new();
    while heard.len() < EXPECTED.len() {
        stream.set_read_timeout(Some(left()?)).map_err(|error| error.to_string())?;
        let mut bytes = [0; 8];
        match stream.read(&mut bytes) {
            Ok(0) => return Err("it closes the connection".to_owned()),
            Ok(n) => heard.extend_from_slice(&bytes[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let right = heard.starts_with(EXPECTED);
    if right { Ok(()) } else { Err(format!("it says {:?}", String::from_utf8_lossy(&heard))) }
}

/// Makes the modules of this dataset what `own` says: the control module always, the tree's only for the generation that
/// both `own` and the record on this node's disk accept (whoever looked a while ago opens nothing that was shut since). When it
/// returns, every transfer that this does not allow is dead.
///
/// # Errors
/// The key is not there, a value cannot be given to rsync, or a transfer outlives its kill. Then nothing is let in.
pub(crate) fn admit(place: &Place, settings: &Settings, own: &Own, deadline: Instant) -> Result<(), Failure> {
    let lock = PidLock::at(place.own_lock());
    let _lock = match lock.holder()? {
        Some(pid) if pid == std::process::id() as i32 => None,
        _ => Some(lock.lock_until(deadline)?),
    };
    let disk = own::load(place)?;
    let same = disk.generation() == own.generation()
        && own.generation().is_some_and(|it| own.accepts(it) && disk.accepts(it));
    let closed = Own::default();
    admit_locked(place, settings, if same { own } else { &closed }, deadline)
}

/// The same for one who holds the lock on what this node knows, and has `own` from there.
///
/// # Errors
/// As for [`admit`].
pub(crate) fn admit_locked(
    place: &Place,
    settings: &Settings,
    own: &Own,
    deadline: Instant,
) -> Result<(), Failure> {
    let files = Files::of(place, settings.port);
    let module = files.module(&settings.dataset, "conf");
    let (due, secrets) =
        (files.module(&settings.dataset, "fence"), files.module(&settings.dataset, "secrets"));
    let wanted = wanted(place, settings, own, &secrets);
    let there = fs::read_to_string(&module).ok();
    if let Ok((text, secret)) = &wanted
        && there.as_ref() == Some(text)
        && !due.exists()
    {
        private_directory(&place.answers())?;
        return write_secret(&secrets, secret);
    }
    for directory in [&files.directory, &files.modules(), &place.answers()] {
        private_directory(directory)?;
    }
    write_secret(&due, "")?;
    match &wanted {
        Ok((text, secret)) => {
            write_secret(&secrets, secret)?;
            replace(&module, text.as_bytes(), 0o600).map_err(|error| in_file(&module, &error))?;
        }
        Err(_) => {
            remove(&module)?;
            remove(&secrets)?;
        }
    }
    kill_connections(&files, &[Root::of(&settings.source)], deadline)?;
    remove(&due)?;
    wanted.map(|_| ())
}

/// Ends whatever is being received into the tree now. A sender that was killed leaves a receiver that goes on with what is on its way.
///
/// # Errors
/// Some of it outlived SIGKILL until the deadline.
pub(crate) fn end_transfers(place: &Place, settings: &Settings, deadline: Instant) -> Result<(), Failure> {
    kill_connections(&Files::of(place, settings.port), &[Root::of(&settings.source)], deadline).map(drop)
}

/// The texts of the dataset's module file and of its secrets.
fn wanted(
    place: &Place,
    settings: &Settings,
    own: &Own,
    secrets: &Path,
) -> Result<(String, String), Failure> {
    let key = Key::read(&settings.secret_file)?;
    let dataset = &settings.dataset;
    // While what runs here may write to the tree, nothing is received into it: what it writes then would be nobody's to set aside.
    let accepted = own.generation().filter(|it| own.accepts(it) && !place.promoted().exists());
    let pusher = accepted.map(Key::user);
    let text = rsyncd::modules(&Modules {
        name: &settings.module(),
        control: &settings.control_module(),
        tree: &settings.source,
        answers: &place.answers(),
        secrets,
        agent: &settings.agent,
        pusher: pusher.as_deref(),
        asker: CONTROL_USER,
        timeout: settings.io_timeout,
    })
    .map_err(|why| Failure::new(Code::Args, why))?;
    let mut secret = format!("{CONTROL_USER}:{}\n", key.control(dataset));
    if let (Some(generation), Some(pusher)) = (accepted, pusher) {
        secret.push_str(&format!("{pusher}:{}\n", key.token(dataset, generation)));
    }
    Ok((text, secret))
}

fn kill_connections(files: &Files, roots: &[Root], deadline: Instant) -> Result<usize, Failure> {
    let daemon = fence::Daemon { config: &files.config() };
    fence::kill_all(|| daemon.connections(roots), deadline)
        .map_err(|error| Failure::from(error).context("an old transfer into the tree goes on"))
}

/// Takes this dataset out: nothing is received for it any more, no question answered, all that was under way is dead. The daemon
/// ends if no other dataset uses it.
///
/// # Errors
/// Something of this dataset, or the daemon, outlives its kill.
pub(crate) fn withdraw(place: &Place, settings: &Settings, deadline: Instant) -> Result<(), Failure> {
    let files = Files::of(place, settings.port);
    if !files.directory.exists() {
        return Ok(());
    }
    shut(place, &files, settings, deadline)?;
    {
        // A hook that was under way may have opened it again before it was killed; whoever comes now finds the lock taken.
        let _lock = match PidLock::at(place.own_lock()).lock_until(deadline) {
            Err(process::Error::Io { .. }) => None,
            locked => Some(locked?),
        };
        shut(place, &files, settings, deadline)?;
    }
    let _lock = files.lock(deadline)?;
    remove(&files.users().join(&settings.dataset))?;
    if fs::read_dir(files.users()).is_ok_and(|mut users| users.next().is_some()) {
        return Ok(());
    }
    if let Some(serving) = files.state().load::<Serving>().unwrap_or(None) {
        serving.identity.stop(GRACE, deadline)?;
    }
    let daemon = fence::Daemon { config: &files.config() };
    fence::kill_all(|| daemon.processes(), deadline)?;
    files.state().remove()
}

/// Removes the dataset's modules and kills what came in by them.
fn shut(place: &Place, files: &Files, settings: &Settings, deadline: Instant) -> Result<(), Failure> {
    for extension in ["conf", "secrets", "fence"] {
        remove(&files.module(&settings.dataset, extension))?;
    }
    kill_connections(files, &[Root::of(&settings.source), Root::of(&place.answers())], deadline)?;
    fence::kill_all(|| fence::hooks(&place.answers()), deadline)?;
    Ok(())
}

/// Keeps the daemon's log, a few lines for each connection, from filling `/run`.
pub(crate) fn trim_log(place: &Place, port: u16) {
    let files = Files::of(place, port);
    let large = |path: &Path| fs::metadata(path).is_ok_and(|it| it.len() > LOG_LIMIT);
    // A log is no reason to fail.
    if large(&files.log()) {
        // The daemon opens it anew for each connection.
        let _kept = fs::rename(files.log(), files.log().with_extension("log.old"));
    }
    if large(&files.output()) {
        // This one it keeps open, to append.
        let _kept = fs::OpenOptions::new().write(true).open(files.output()).and_then(|it| it.set_len(0));
    }
}

/// Makes a directory for root alone, with its parents.
fn private_directory(path: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .map_err(|error| in_file(path, &error))
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(in_file(path, &error)),
        _ => Ok(()),
    }
}

fn in_file(path: &Path, error: &std::io::Error) -> Failure {
    Failure::generic(format!("{}: {error}", path.display()))
}
