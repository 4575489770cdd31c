//! A small job of this same program that goes on in the background: forked, not executed anew.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::BorrowedFd;

use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setsid};

use crate::error::Error;
use crate::facts::Process;
use crate::identity::Identity;
use crate::sys;

/// Runs a job in a forked process that nobody waits for, and returns who it is as soon as it is on its way.
///
/// The process is a grandchild (no zombie of ours or of Pacemaker's) with a session of its own, in `/`, with umask 022, default
/// signals, standard streams on `/dev/null`, the name given (15 bytes are shown) and of all other descriptors only those
/// in `keep`. It ends with the job: no destructor, exit handler or buffered output of the parent runs a second time. A
/// panic in the job ends it without a word, exit code 101.
///
/// **Only for a program with one thread**, as the agents are: another thread's locks (the allocator's, for one) would stay
/// locked in the copy for ever. Locks by [`PidLock`](crate::PidLock) do not pass to the job: it takes its own. What the
/// job owns and is not in `keep` (a socket, a file) is closed under it.
///
/// # Errors
/// [`Error::Io`] if a process cannot be made.
pub fn detach(name: &str, keep: &[BorrowedFd<'_>], job: impl FnOnce()) -> Result<Identity, Error> {
    let failed = |source| Error::io(format!("background job {name}"), source);
    // Whatever can fail is done before the fork, where it can be told.
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(failed)?;
    let shown: Vec<u8> = name.bytes().filter(|byte| *byte != 0).take(15).collect();
    let shown = CString::new(shown).unwrap_or_default();
    let (told, tell) = pipe2(OFlag::O_CLOEXEC).map_err(|error| failed(error.into()))?;
    match sys::fork().map_err(failed)? {
        ForkResult::Parent { child } => {
            drop(tell);
            // The child in between ends at once.
            while waitpid(child, None) == Err(nix::Error::EINTR) {}
            let mut identity = String::new();
            File::from(told).read_to_string(&mut identity).map_err(failed)?;
            let mut words = identity.split(' ');
            let pid = words.next().and_then(|pid| pid.parse().ok());
            let start_time = words.next().and_then(|time| time.parse().ok());
            pid.zip(start_time)
                .and_then(|(pid, start_time)| Identity::known(pid, start_time, None))
                .ok_or_else(|| failed(std::io::Error::other("cannot be started")))
        }
        ForkResult::Child => {
            // From here on nothing may return or unwind into the parent's code.
            std::panic::set_hook(Box::new(|_| sys::exit_now(101)));
            match sys::fork() {
                Ok(ForkResult::Child) => {}
                Ok(ForkResult::Parent { .. }) => sys::exit_now(0),
                Err(_) => sys::exit_now(1),
            }
            let ready = || -> nix::Result<()> {
                setsid()?;
                sys::default_signals();
                dup2_stdin(&null)?;
                dup2_stdout(&null)?;
                dup2_stderr(&null)
            };
            if ready().is_err() || std::env::set_current_dir("/").is_err() {
                sys::exit_now(1);
            }
            sys::umask(0o022);
            // A job under its parent's name still does its work.
            let _ = prctl::set_name(&shown);
            let pid = std::process::id() as i32;
            let start_time = Process::of(pid).map_or(0, |process| process.start_time);
            let mut tell = File::from(tell);
            if write!(tell, "{pid} {start_time}").is_err() {
                sys::exit_now(1);
            }
            // Closed by hand, with `tell` and the rest: their owners' destructors never run.
            sys::close_others(keep);
            std::mem::forget(tell);
            job();
            sys::exit_now(0)
        }
    }
}
