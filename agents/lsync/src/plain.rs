//! The plain resource: lsyncd with the administrator's own file, as the system's service manager would run it. It is supervised and surely
//! ended; what it sends where is its file's affair.

use ocf::{Call, Code, Failure, Status};
use process::{Daemon, Identity, Process, find_tool};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// How long lsyncd is watched after its start: what dislikes its file ends at once.
const TRIAL: Duration = Duration::from_millis(500);
/// How long it may take to let its transfers end.
const GRACE: Duration = Duration::from_secs(5);
/// The variable in lsyncd's environment that says whose it is: one is found by it whose starter was killed before it could write down
/// whom it had started.
const BELONGS: &str = "BASCULE_LSYNC_RESOURCE";

/// What the state file holds for the plain resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Supervised {
    /// lsyncd.
    pub(crate) lsyncd: Identity,
}

/// Whether this node could run it.
///
/// # Errors
/// lsyncd or its file is missing here.
pub(crate) fn validate(config: &Path, lsyncd: &str) -> Result<(), Failure> {
    if find_tool(lsyncd).is_none() {
        let reason = format!("{lsyncd} is not on this node: install the package lsyncd");
        return Err(Failure::new(Code::Installed, reason));
    }
    match std::fs::metadata(config) {
        Ok(file) if file.is_file() => Ok(()),
        Ok(_) => Err(Failure::new(Code::Installed, format!("config={} is not a file", config.display()))),
        Err(error) => Err(Failure::new(Code::Installed, format!("config={}: {error}", config.display()))),
    }
}

/// Starts lsyncd, unless it runs.
///
/// # Errors
/// It ended at once; its last words are in the reason.
pub(crate) fn start(call: &Call, config: &Path, lsyncd: &str) -> Result<(), Failure> {
    if state(call)?.is_some_and(|it| it.lsyncd.is_alive()) {
        return Ok(());
    }
    // What an lsyncd that was killed left running still writes to the peers.
    stop(call)?;
    validate(config, lsyncd)?;
    let log = call.run_file("log");
    let _may_not_be_there = std::fs::remove_file(&log);
    let started = Daemon::new(lsyncd)
        .arg("-nodaemon")
        .arg(config)
        .env(BELONGS, ocf::file_name(call.resource()))
        .log(&log)
        .start();
    if let Ok(daemon) = &started {
        call.state_file().save(&Supervised { lsyncd: daemon.clone() })?;
        std::thread::sleep(TRIAL.min(call.deadline.remaining()));
        if daemon.is_alive() {
            return Ok(());
        }
    }
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    if let (Err(error), true) = (started, said.trim().is_empty()) {
        // Not even executed; else it has ended before it could be looked at, and its own words say more.
        return Err(error.into());
    }
    let said = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
    // crm_mon shows the first 128 characters: the file's name is in them once.
    let prefix = format!("Error: error preparing {}: ", config.display());
    let said = said.strip_prefix(&prefix).unwrap_or(said);
    Err(Failure::generic(format!("lsyncd ended at once: {said} (config={})", config.display())))
}

/// Ends lsyncd with every transfer that it started.
///
/// # Errors
/// Some of it outlived SIGKILL.
pub(crate) fn stop(call: &Call) -> Result<(), Failure> {
    if let Some(supervised) = state(call)? {
        supervised.lsyncd.stop(GRACE, call.deadline.instant())?;
    }
    end_strays(call)?;
    call.state_file().remove()
}

/// Ends every lsyncd of this resource that is on no file.
///
/// # Errors
/// One outlived SIGKILL.
pub(crate) fn end_strays(call: &Call) -> Result<(), Failure> {
    for stray in strays(call) {
        stray.stop(GRACE, call.deadline.instant())?;
    }
    Ok(())
}

/// Those who lead a session, as a daemon does, bear this resource's name, and see the same file systems.
fn strays(call: &Call) -> Vec<Identity> {
    let name = format!("{BELONGS}={}", ocf::file_name(call.resource()));
    let bears = |pid: i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == name.as_bytes())
    };
    let mounts = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let ours = mounts("self");
    Process::all()
        .into_iter()
        .filter(|it| it.session == it.pid && it.is_running() && bears(it.pid))
        .filter(|it| it.is_of_our_namespace() && mounts(&it.pid.to_string()) == ours)
        .filter_map(|it| Identity::of(it.pid))
        .collect()
}

/// How it is.
///
/// # Errors
/// lsyncd is gone though nobody stopped it; or one runs that no start has finished.
pub(crate) fn monitor(call: &Call) -> Result<Status, Failure> {
    match state(call)? {
        None if strays(call).is_empty() => Ok(Status::Stopped),
        None => Err(Failure::generic("an lsyncd of this resource runs whose start was broken off: stop it")),
        Some(supervised) if supervised.lsyncd.is_alive() => Ok(Status::Running),
        Some(supervised) if supervised.lsyncd.processes().is_empty() && call.is_probe() => {
            Ok(Status::Stopped)
        }
        Some(_) => {
            let log = call.run_file("log");
            Err(Failure::generic(format!(
                "lsyncd has ended by itself; see its log file or {}",
                log.display()
            )))
        }
    }
}

fn state(call: &Call) -> Result<Option<Supervised>, Failure> {
    call.state_file().load()
}
