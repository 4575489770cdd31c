//! Worker and daemon of a resource that no file knows of: whoever started them was killed before they were noted, or the files are gone. They are
//! found by what they were started as.

use crate::settings::Place;
use ocf::Failure;
use process::{Identity, Process};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

/// How long they may take to end by themselves.
const GRACE: Duration = Duration::from_secs(1);

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// `csync-agent work NAME`.
    Worker,
    /// `csync2 -ii`, with the configuration of the resource.
    Daemon,
}

/// Those that lead a session, as both do, and see the same file systems as this process. An action of csync2's may have started a service, which
/// has inherited the environment: so the command line counts as well.
pub(crate) fn strays(place: &Place, resource: &str, wanted: &[What]) -> Vec<Identity> {
    let mounts = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let ours = mounts("self");
    let own = std::process::id();
    let program = std::env::current_exe().unwrap_or_default().into_os_string();
    let is = |process: &Process| {
        let words = parts(process.pid, "cmdline");
        let word = |place: usize| words.get(place).map(Vec::as_slice).unwrap_or_default();
        let worker = word(1) == b"work" && word(2) == resource.as_bytes() && word(0) == program.as_bytes();
        let variable = [b"CSYNC2_SYSTEM_DIR=", place.system().as_os_str().as_bytes()].concat();
        let daemon =
            || words.iter().any(|word| word == b"-ii") && parts(process.pid, "environ").contains(&variable);
        (worker && wanted.contains(&What::Worker)) || (wanted.contains(&What::Daemon) && daemon())
    };
    Process::all()
        .into_iter()
        .filter(|it| it.session == it.pid && it.is_running() && u32::try_from(it.pid) != Ok(own))
        .filter(is)
        .filter(|it| it.is_of_our_namespace() && mounts(&it.pid.to_string()) == ours)
        .filter_map(|it| Identity::of(it.pid))
        .collect()
}

/// The strings of a file in `/proc` that ends each with a zero byte.
fn parts(pid: i32, file: &str) -> Vec<Vec<u8>> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// Ends them, with what they have started.
///
/// # Errors
/// One is alive still.
pub(crate) fn end(place: &Place, resource: &str, wanted: &[What], deadline: Instant) -> Result<(), Failure> {
    for stray in strays(place, resource, wanted) {
        stray.stop(GRACE, deadline)?;
    }
    Ok(())
}
