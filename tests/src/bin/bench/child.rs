//! Child processes, measured: a loop around `posix_spawn` and `wait4` that adds as little as can be, and a census by
//! `ptrace` of what a call and all its children do.
#![allow(unsafe_code)]

use anyhow::{Context, Result, bail, ensure};
use nix::libc;
use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::ptr::null_mut;
use std::time::Instant;

/// A program with its arguments and its environment, ready to run again and again.
pub(crate) struct Program {
    words: Vec<CString>,
    variables: Vec<CString>,
    code: i32,
}

/// What one run cost, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// From before the fork until the exit code was there.
    pub(crate) wall: f64,
    /// User and system time of the process and the children that it waited for.
    pub(crate) cpu: f64,
}

/// A run that has begun.
pub(crate) struct Running {
    pid: libc::pid_t,
    code: i32,
    begun: Instant,
}

impl Program {
    /// The same as `command`, of whose environment only the variables set explicitly count.
    pub(crate) fn new(command: &Command) -> Result<Self> {
        let words = [command.get_program()].into_iter().chain(command.get_args());
        let variables = command.get_envs().filter_map(|(name, value)| {
            Some(CString::new([name.as_bytes(), b"=", value?.as_bytes()].concat()))
        });
        Ok(Program {
            words: words.map(|word: &OsStr| CString::new(word.as_bytes())).collect::<Result<_, _>>()?,
            variables: variables.collect::<Result<_, _>>()?,
            code: 0,
        })
    }

    /// The same, of which this exit code is expected instead of 0.
    pub(crate) fn expecting(self, code: i32) -> Self {
        Program { code, ..self }
    }

    /// Runs it to its end, with standard streams on /dev/null.
    ///
    /// # Errors
    /// It cannot be run, or its exit code is not the one expected.
    pub(crate) fn run(&self) -> Result<Cost> {
        self.start()?.wait().with_context(|| format!("{:?} {:?}", self.words, self.variables))
    }

    /// Begins to run it; returns when the program itself has begun.
    pub(crate) fn start(&self) -> Result<Running> {
        let pointers = |texts: &[CString]| -> Vec<*mut libc::c_char> {
            texts.iter().map(|text| text.as_ptr().cast_mut()).chain([null_mut()]).collect()
        };
        let (arguments, environment) = (pointers(&self.words), pointers(&self.variables));
        let mut pid = 0;
        // SAFETY: the actions are initialised before they are used and destroyed after; the lists end with a null
        // pointer, and they and the strings that they point to outlive the call.
        let (result, begun) = unsafe {
            let mut actions = std::mem::zeroed();
            libc::posix_spawn_file_actions_init(&raw mut actions);
            for stream in 0..3 {
                let flags = libc::O_RDWR;
                libc::posix_spawn_file_actions_addopen(
                    &raw mut actions,
                    stream,
                    c"/dev/null".as_ptr(),
                    flags,
                    0,
                );
            }
            let begun = Instant::now();
            let result = libc::posix_spawn(
                &raw mut pid,
                arguments[0],
                &raw const actions,
                std::ptr::null(),
                arguments.as_ptr(),
                environment.as_ptr(),
            );
            libc::posix_spawn_file_actions_destroy(&raw mut actions);
            (result, begun)
        };
        ensure!(result == 0, "{:?}: {}", self.words, io::Error::from_raw_os_error(result));
        Ok(Running { pid, code: self.code, begun })
    }
}

impl Running {
    /// Waits for its end.
    ///
    /// # Errors
    /// Its exit code is not the one expected.
    pub(crate) fn wait(self) -> Result<Cost> {
        let mut status = 0;
        // SAFETY: all zeros is a valid rusage; both places are valid for the answer.
        let (waited, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(self.pid, &raw mut status, 0, &raw mut usage), usage)
        };
        let wall = self.begun.elapsed();
        ensure!(waited == self.pid, "wait4: {}", io::Error::last_os_error());
        if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != self.code {
            bail!("ended with wait status {status:#x}");
        }
        let microseconds = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
        Ok(Cost {
            wall: wall.as_secs_f64() * 1e6,
            cpu: microseconds(usage.ru_utime) + microseconds(usage.ru_stime),
        })
    }
}

/// What a call and all its children did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Census {
    /// Processes besides the first one.
    pub(crate) children: u32,
    /// Programs executed besides the first one.
    pub(crate) executed: u32,
    /// System calls of all of them.
    pub(crate) calls: u32,
    /// The most memory that one of them had, in KiB. (`ru_maxrss` would count what the parent had before exec.)
    pub(crate) peak: u64,
}

/// Runs a command under `ptrace` and counts.
///
/// # Errors
/// It cannot be run or traced.
pub(crate) fn census(mut command: Command) -> Result<Census> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: one system call between fork and exec, which touches no memory.
    unsafe { command.pre_exec(|| trace(libc::PTRACE_TRACEME, 0, 0)) };
    let first = i32::try_from(command.spawn().context("cannot run what is to be counted")?.id())?;
    wait(first)?;
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACEEXIT
        | libc::PTRACE_O_EXITKILL;
    trace(libc::PTRACE_SETOPTIONS, first, options)?;
    trace(libc::PTRACE_SYSCALL, first, 0)?;
    let mut census = Census::default();
    // Who is there, and whether it is inside a system call.
    let mut there = HashMap::from([(first, false)]);
    while !there.is_empty() {
        let (pid, status) = wait(-1)?;
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            there.remove(&pid);
            continue;
        }
        let born = !there.contains_key(&pid);
        let inside = there.entry(pid).or_default();
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        let mut deliver = 0;
        match (signal, event) {
            (_, libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE) => {
                census.children += 1;
            }
            (_, libc::PTRACE_EVENT_EXEC) => census.executed += 1,
            (_, libc::PTRACE_EVENT_EXIT) => census.peak = census.peak.max(peak(pid)),
            (_, 1..) => {}
            (SYSCALL, _) => {
                *inside = !*inside;
                census.calls += u32::from(*inside);
            }
            // How a traced child comes into the world.
            (libc::SIGSTOP, _) if born => {}
            (signal, _) => deliver = signal,
        }
        // One that was killed in between cannot go on, and says so in its next status.
        let _gone = trace(libc::PTRACE_SYSCALL, pid, deliver);
    }
    Ok(census)
}

/// The stop of a system call, told apart from a signal by `PTRACE_O_TRACESYSGOOD`.
const SYSCALL: i32 = libc::SIGTRAP | 0x80;

fn trace(request: libc::c_uint, pid: i32, data: i32) -> io::Result<()> {
    let (nowhere, data) = (null_mut::<libc::c_void>(), data as usize as *mut libc::c_void);
    // SAFETY: none of these requests reads or writes memory of ours: the data are options or a signal.
    let result = unsafe { libc::ptrace(request, pid, nowhere, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn wait(pid: i32) -> Result<(i32, i32)> {
    let mut status = 0;
    // SAFETY: the place is valid for the answer.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    ensure!(waited > 0, "waitpid: {}", io::Error::last_os_error());
    Ok((waited, status))
}

fn peak(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or_default()
}
