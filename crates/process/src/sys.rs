//! The few system calls that neither std nor nix offers safely: pidfds, `close_range`, a directory's entries without a buffer of the C
//! library's, and what is done between fork and
//! exec, where only async-signal-safe calls are allowed.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, getpid, getppid, setsid};

/// A descriptor that becomes readable when the process ends, and stands for that very process even when its pid is reused.
/// Fails with ESRCH if there is none, with ENOSYS on a kernel before 5.3.
pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers, touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor (close-on-exec) for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends a signal to the process behind a pidfd; never to another one with the same pid.
pub(crate) fn pidfd_signal(process: &OwnedFd, signal: Signal) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open; a null siginfo means "as kill(2) would fill it".
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal as libc::c_int, no_info, 0)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads entries of a directory as getdents64(2) writes them, and tells how many bytes that are; 0 at the end. The buffer has to be
/// aligned to 8 bytes.
pub(crate) fn entries(directory: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `len` bytes to the buffer, which is ours alone.
    let count = unsafe {
        libc::syscall(libc::SYS_getdents64, directory.as_raw_fd(), buffer.as_mut_ptr(), buffer.len())
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Waits until one of the descriptors has something to tell, or until the instant. A signal that interrupts is no event.
pub(crate) fn wait(descriptors: &mut [PollFd<'_>], until: Instant) -> io::Result<()> {
    // Rounded up: a wait of 0.4 ms must not become a busy loop of zeros.
    let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    match poll(descriptors, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sees to it that our children can be waited for. Whoever started us may have had SIGCHLD ignored, which passes through exec and
/// has the kernel throw their exit codes away.
pub(crate) fn keep_exit_codes() {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: `action` is a valid place for the answer, and all zeros are a valid value of it; SIG_DFL is no code of ours.
    unsafe {
        libc::sigaction(libc::SIGCHLD, std::ptr::null(), action.as_mut_ptr());
        if action.assume_init().sa_sigaction == libc::SIG_IGN {
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        }
    }
}

/// Has the kernel kill the command as soon as the thread that starts it is gone: when Pacemaker kills an agent at its
/// timeout, the tool that it runs in a group of its own must not go on behind the back of the next action.
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    // SAFETY: the closure runs between fork and exec; it makes two system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the call above. It is 0 where the child was put in another pid namespace.
            let now = getppid();
            let there = now == parent || now.as_raw() == 0;
            if there { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
        });
    }
}

/// Has the command started as a grandchild that owes nothing to this process: a session of its own, default signals, umask
/// 022, no descriptor but its three streams. Its pid is written to `report` (4 bytes, native order) before it runs. The
/// child that `spawn` knows is the one in between and ends at once.
pub(crate) fn detach_at_start(command: &mut Command, report: BorrowedFd<'_>) {
    let report = report.as_raw_fd();
    // SAFETY: the closure runs between fork and exec; it makes system calls only and allocates nothing. `report` is open
    // as long as the command may be spawned: the only caller holds it across `spawn`.
    unsafe {
        command.pre_exec(move || {
            match libc::fork() {
                -1 => return Err(io::Error::last_os_error()),
                0 => {}
                _ => libc::_exit(0),
            }
            setsid()?;
            default_signals();
            libc::umask(0o022);
            let pid = libc::getpid();
            if libc::write(report, (&raw const pid).cast(), size_of_val(&pid)) < 0 {
                return Err(io::Error::last_os_error());
            }
            // Not closed but marked: std tells the parent through a descriptor of its own whether exec succeeded.
            close_range(3, RawFd::MAX, OnExec);
            Ok(())
        });
    }
}

/// When a descriptor is to be closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    OnExec,
}
use When::{Now, OnExec};

/// Closes all descriptors from 3 on but those given.
pub(crate) fn close_others(keep: &[BorrowedFd<'_>]) {
    let mut keep: Vec<RawFd> = keep.iter().map(|fd| fd.as_fd().as_raw_fd()).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep {
        if first < fd {
            close_range(first, fd - 1, Now);
        }
        first = first.max(fd.saturating_add(1));
    }
    close_range(first, RawFd::MAX, Now);
}

/// Closes or marks the descriptors of a range. Allocates nothing.
fn close_range(first: RawFd, last: RawFd, when: When) {
    let flags = if when == OnExec { libc::CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: takes integers. Descriptors that Rust objects own are closed only in a process that is about to exec or that
    // never runs the parent's destructors.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } == 0 {
        return;
    }
    // A kernel before 5.11 (5.9 for closing): one by one, as far as descriptors can go.
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    let highest = match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => RawFd::try_from(limit.rlim_cur).unwrap_or(RawFd::MAX).min(65_536),
        _ => 65_536,
    };
    for fd in first..=last.min(highest) {
        // SAFETY: as above; an fd that is not open gives EBADF.
        unsafe {
            match when {
                OnExec => libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC),
                Now => libc::close(fd),
            };
        }
    }
}

/// No signal ignored, caught or blocked, whatever the parent had.
pub(crate) fn default_signals() {
    // SAFETY: SIG_DFL installs no code of ours; the mask is initialised by sigemptyset before it is used.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Forks. The caller sees to it that the child does only what [`crate::detach()`] says.
pub(crate) fn fork() -> io::Result<ForkResult> {
    // SAFETY: documented at `detach`: the program has one thread, so that no lock is held by one that is not copied.
    Ok(unsafe { nix::unistd::fork() }?)
}

/// Sets the umask.
pub(crate) fn umask(mask: libc::mode_t) {
    // SAFETY: takes an integer and cannot fail.
    unsafe { libc::umask(mask) };
}

/// Ends this process at once: no destructors, no exit handlers, no flushed streams.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: never returns, touches nothing of ours.
    unsafe { libc::_exit(code) }
}
