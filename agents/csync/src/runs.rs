//! Runs of csync2, each with its bound, and what they came to.

use crate::daemon::csync2;
use crate::settings::{Place, Settings};
use csync2::Text;
use csync2::meaning::Meaning;
use csync2::messages::table::{Difference, differences};
use csync2::messages::{Failure, PeerTrouble, Run, Source, read};
use process::{Ended, Error, Tool};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

/// Longest for a check: a full one of a large configuration on a slow disk.
const CHECK: Duration = Duration::from_secs(600);
/// Longest for what only writes to the database. csync2 waits up to 18 seconds for others that write.
const MARK: Duration = Duration::from_secs(60);
/// So many names are given to one run: the kernel bounds a command line.
pub(crate) const NAMES: usize = 400;
/// How much of what a run says is read. At `-vvv` that is some 2 KB for each file.
const SAID: usize = 16 << 20;

/// Why a run came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// In csync2's words, understood.
    Failed(Failure),
    /// It did not end in time, or could not be run.
    Not(String),
}

impl std::fmt::Display for Nothing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Nothing::Failed(failure) => failure.fmt(f),
            Nothing::Not(why) => f.write_str(why),
        }
    }
}

fn run(tool: Tool, names: &[Text], longest: Duration) -> Result<Run, Nothing> {
    let names = names.iter().map(|name| OsStr::from_bytes(name.bytes()));
    let output = tool.args(names).stderr_limit(SAID).stdout_limit(4096).run(Instant::now() + longest);
    let output = output.map_err(|error| Nothing::Not(error.to_string()))?;
    // That csync2 stays out while a lock file exists it says on standard output, alone.
    let text = [output.stderr.as_slice(), output.stdout.as_slice()].concat();
    let run = Run::of(&read(&text, Source::Client));
    match &run.failure {
        Some(failure) => Err(Nothing::Failed(failure.clone())),
        None if matches!(output.ended, Ended::Code(0 | 1)) => Ok(run),
        None => Err(Nothing::Not(format!("csync2 ended with {}", output.ended))),
    }
}

/// Notices what has changed at these names, and below them: rows of `dirty` stand for it from then on.
///
/// # Errors
/// Not all was looked at.
pub(crate) fn check(place: &Place, settings: &Settings, names: &[Text]) -> Result<(), Nothing> {
    for some in names.chunks(NAMES) {
        // With -B: else a large check keeps everybody else out of the database.
        run(csync2(place, settings).args(["-cBr", "-v"]), some, CHECK)?;
    }
    Ok(())
}

/// The same of whole directories, faster: all that is read in one transaction. csync2 itself ends one after some seconds of writing.
///
/// # Errors
/// Not all was looked at.
pub(crate) fn check_all(place: &Place, settings: &Settings, roots: &[Text]) -> Result<(), Nothing> {
    if roots.is_empty() {
        Ok(())
    } else {
        run(csync2(place, settings).args(["-cr", "-v"]), roots, CHECK).map(drop)
    }
}

/// Makes the database, with everything as it is now; nothing counts as changed.
///
/// # Errors
/// It is not made, or not whole.
pub(crate) fn first(place: &Place, settings: &Settings) -> Result<(), Nothing> {
    run(csync2(place, settings).args(["-cIr", "-v", "/"]), &[], CHECK).map(drop)
}

/// Has these files count as changed, towards all peers.
///
/// # Errors
/// Not all of them do.
pub(crate) fn mark(place: &Place, settings: &Settings, names: &[Text]) -> Result<(), Nothing> {
    for some in names.chunks(NAMES) {
        run(csync2(place, settings).args(["-m", "-v"]), some, MARK)?;
    }
    Ok(())
}

/// Has these files, which count as changed, win against whatever the peers have.
///
/// # Errors
/// Not all of them do.
pub(crate) fn force(place: &Place, settings: &Settings, names: &[Text]) -> Result<(), Nothing> {
    for some in names.chunks(NAMES) {
        run(csync2(place, settings).args(["-f", "-v"]), some, MARK)?;
    }
    Ok(())
}

/// Sends these files, if they count as changed, to one peer; those that broke off a run before each in a run of its own, after all others.
///
/// # Errors
/// Why the peer got nothing, or not all.
pub(crate) fn push(
    place: &Place,
    settings: &Settings,
    peer: &Text,
    names: &[Text],
    apart: &[Text],
) -> Result<Vec<Run>, (Vec<Run>, Pushing)> {
    let until = Instant::now() + settings.for_one_peer();
    let mut runs = Vec::new();
    for some in names.chunks(NAMES) {
        match push_some(place, settings, peer, some, until) {
            (run, None) => runs.extend(run),
            (run, Some(pushing)) => {
                runs.extend(run);
                return Err((runs, pushing));
            }
        }
    }
    for one in apart.chunks(1) {
        let (run, pushing) = push_some(place, settings, peer, one, until);
        runs.extend(run);
        match pushing {
            None | Some(Pushing::Peer(PeerTrouble::Interrupted)) => {}
            // It has all the rest: nothing speaks against the peer but this file.
            Some(Pushing::Peer(PeerTrouble::Silent)) if is_at_a_file(runs.last()) => return Ok(runs),
            Some(other) => return Err((runs, other)),
        }
    }
    Ok(runs)
}

/// Whether a run has come as far as a file.
fn is_at_a_file(run: Option<&Run>) -> bool {
    run.is_some_and(|run| run.peers.iter().any(|peer| !peer.files.is_empty()))
}

fn push_some(
    place: &Place,
    settings: &Settings,
    peer: &Text,
    names: &[Text],
    until: Instant,
) -> (Option<Run>, Option<Pushing>) {
    // csync2 tells why a file was refused at -vvv only. The keys of groups are in what it says then: it is read and dropped.
    let tool = csync2(place, settings).args(["-uB", "-vvv", "-P"]).arg(OsStr::from_bytes(peer.bytes()));
    let names: Vec<&OsStr> = names.iter().map(|name| OsStr::from_bytes(name.bytes())).collect();
    let output = match tool.args(names).stderr_limit(SAID).stdout_limit(4096).run(until) {
        Ok(output) => output,
        Err(Error::TimedOut { stderr, .. }) => {
            // At which file it fell silent.
            let run = Run::of(&read(&stderr, Source::Client));
            return (Some(run), Some(Pushing::Peer(PeerTrouble::Silent)));
        }
        // What was said at -vvv is not repeated: keys are in it.
        Err(Error::Stuck { pid, .. }) => {
            let why = format!("csync2 is not done in time and cannot be killed (pid {pid})");
            return (None, Some(Pushing::Here(Nothing::Not(why))));
        }
        Err(other) => return (None, Some(Pushing::Here(Nothing::Not(other.to_string())))),
    };
    let text = [output.stderr.as_slice(), output.stdout.as_slice()].concat();
    let run = Run::of(&read(&text, Source::Client));
    let trouble = run.troubles().next().map(|(_, trouble)| Pushing::Peer(trouble.clone()));
    let failure = run.failure.clone().map(|failure| Pushing::Here(Nothing::Failed(failure)));
    (Some(run), trouble.or(failure))
}

/// Why a push did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pushing {
    /// The peer is in error.
    Peer(PeerTrouble),
    /// The fault is here.
    Here(Nothing),
}

/// How this node's database differs from a peer's.
///
/// # Errors
/// The peer could not be asked.
pub(crate) fn compare(
    place: &Place,
    settings: &Settings,
    meaning: &Meaning<'_>,
    peer: &Text,
) -> Result<Vec<Difference>, (PeerTrouble, String)> {
    // csync2 knows both by their addresses.
    let shared = meaning.memberships().find(|it| it.peers.iter().any(|host| host.address == *peer));
    let host = shared.map_or_else(|| settings.host_text(), |membership| membership.address.clone());
    let tool = csync2(place, settings)
        .args(["-v", "-v", "-T"])
        .args([&host, peer].map(|name| OsStr::from_bytes(name.bytes())))
        .stdout_limit(SAID);
    let output = match tool.run(Instant::now() + settings.for_one_peer()) {
        Ok(output) => output,
        Err(error @ Error::TimedOut { .. }) => return Err((PeerTrouble::Silent, error.to_string())),
        Err(other) => return Err((PeerTrouble::Failed, other.to_string())),
    };
    match output.ended {
        // 2: they are the same. 0: they differ.
        Ended::Code(0 | 2) if output.truncated => Err((
            PeerTrouble::Failed,
            "too much differs for one list: bring the trees closer together by hand".to_owned(),
        )),
        // A list that breaks off is for csync2 one that ends: the peer would seem to lack the rest.
        Ended::Code(0 | 2) if !is_whole(&output.stderr) => {
            Err((PeerTrouble::Failed, "its list of files broke off; it is compared again".to_owned()))
        }
        Ended::Code(0 | 2) => {
            differences(&output.stdout).map_err(|error| (PeerTrouble::Failed, error.to_string()))
        }
        ended => {
            let run = Run::of(&read(&output.stderr, Source::Client));
            let trouble = run.troubles().next().map(|(_, trouble)| trouble.clone());
            let failure = run.failure.as_ref().map(ToString::to_string);
            let why = failure.or_else(|| trouble.as_ref().map(ToString::to_string));
            let why = why.unwrap_or_else(|| format!("csync2 -T ended with {ended}: {}", output.last_words()));
            Err((trouble.unwrap_or(PeerTrouble::Failed), why))
        }
    }
}

/// Whether the peer has said that its list is at its end. That is told by the second `-v`.
fn is_whole(stderr: &[u8]) -> bool {
    let end = b"End of query results: OK (";
    stderr.windows(end.len()).any(|said| said == end)
}

/// Opens the database for writing, which puts back what a killed run has left half done.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn recover(place: &Place, settings: &Settings) -> Result<(), Nothing> {
    let output = csync2(place, settings).arg("-M").stdout_limit(4096).run(Instant::now() + MARK);
    let output = output.map_err(|error| Nothing::Not(error.to_string()))?;
    match output.ended {
        Ended::Code(0 | 2) => Ok(()),
        _ => Err(Nothing::Not(output.last_words())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_broke_off_is_not_taken_for_whole() {
        let fetched = b"Fetched tuple from peer: /etc/a [v2:mtime=1]\n".to_vec();
        let end = b"End of query results: OK (cmd_finished).\n".to_vec();
        assert!(is_whole(&[fetched.clone(), end].concat()));
        assert!(!is_whole(&fetched) && !is_whole(b""));
    }
}
