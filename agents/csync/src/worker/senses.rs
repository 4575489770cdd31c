//! What wakes the worker: changes below the includes, files that actions and people touch, the kernel's table of mounts, and its own runs that have
//! ended. Nothing of it costs anything while nothing happens.

use crate::settings::{Place, Settings};
use crate::watch::Watch;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use ocf::Failure;
use std::ffi::OsString;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

/// The worker's senses.
pub(super) struct Senses {
    /// Of changes below the includes.
    pub(super) watch: Watch,
    /// Of files that are touched: in the resource's directory, and beside csync2.cfg.
    calls: Inotify,
    /// The kernel's table of mounts. Of a file system that is mounted elsewhere as well inotify does not say that it was unmounted.
    mounts: File,
    woken: PipeReader,
    /// Written to by runs that have ended.
    pub(super) wake: PipeWriter,
}

/// What has happened.
pub(super) struct Sensed {
    /// Something below the includes: [`Watch::noticed`] says what.
    pub(super) watched: bool,
    /// Names of files that were touched.
    pub(super) called: Vec<OsString>,
    /// A run has ended, or something was mounted or unmounted.
    pub(super) otherwise: bool,
}

impl Senses {
    /// # Errors
    /// There is too much of inotify in use, or a directory is not there.
    pub(super) fn new(place: &Place, settings: &Settings) -> Result<Self, Failure> {
        let too_many = |error: Errno| {
            Failure::generic(format!("inotify: {error}: raise the limit fs.inotify.max_user_instances"))
        };
        let watch = Watch::new().map_err(too_many)?;
        let calls = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(too_many)?;
        if let Some(directory) = place.nudge().parent() {
            calls.add_watch(directory, AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_ATTRIB)?;
        }
        calls.add_watch(&settings.directory, AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO)?;
        let mounts = File::open("/proc/self/mountinfo")
            .map_err(|error| Failure::generic(format!("/proc/self/mountinfo: {error}")))?;
        let (woken, wake) = std::io::pipe()?;
        Ok(Senses { watch, calls, mounts, woken, wake })
    }

    /// Sleeps until something happens, but no longer than this.
    pub(super) fn wait(&mut self, longest: Duration) -> Sensed {
        let timeout = PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX);
        let (watched, called, woken, mounts) = {
            let mut all = [
                PollFd::new(self.watch.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.calls.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.mounts.as_fd(), PollFlags::POLLPRI),
            ];
            let _interrupted = poll(&mut all, timeout);
            let [watched, called, woken, mounts] = all.map(|it| it.any().unwrap_or(false));
            (watched, called, woken, mounts)
        };
        if woken {
            let mut bytes = [0; 64];
            let _some = self.woken.read(&mut bytes);
        }
        let events = if called { self.calls.read_events().unwrap_or_default() } else { Vec::new() };
        let otherwise = woken || mounts;
        Sensed { watched, otherwise, called: events.into_iter().filter_map(|event| event.name).collect() }
    }
}
