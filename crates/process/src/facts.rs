//! Facts about processes, read from `/proc`: each is a snapshot, true when it was read.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::file::read_file;
use crate::text;

/// One process as `/proc/PID/stat` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Name, at most 15 bytes as the kernel keeps it; bytes that are no text are replaced.
    pub name: String,
    /// State: `R` running, `S` asleep, `D` waiting in the kernel, `T` stopped, `Z` zombie, …
    pub state: char,
    /// Its parent's pid.
    pub parent: i32,
    /// Its session, which is the pid of the session's leader; 0 if that is outside our pid namespace.
    pub session: i32,
    /// When it started, in clock ticks since boot. With the pid it names a process for good.
    pub start_time: u64,
}

impl Process {
    /// The process with this pid; `None` if there is none.
    pub fn of(pid: i32) -> Option<Self> {
        Self::parse(&read_file(Path::new(&format!("/proc/{pid}/stat"))).ok()?)
    }

    /// All processes that can be seen from here, zombies too.
    pub fn all() -> Vec<Self> {
        pids().into_iter().filter_map(Self::of).collect()
    }

    /// Whether it still runs: a zombie has ended, and only waits for its parent to take notice.
    pub fn is_running(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Whether it lives in the pid namespace of this process, not in a container on this machine.
    pub fn is_of_our_namespace(&self) -> bool {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = namespace("self");
        ours.is_some() && namespace(&self.pid.to_string()) == ours
    }

    /// Reads `pid (name) state parent group session …`. The name is whatever the program chose, parentheses and line feeds
    /// too: the last `)` ends it.
    fn parse(stat: &[u8]) -> Option<Self> {
        let open = stat.iter().position(|byte| *byte == b'(')?;
        let close = stat.iter().rposition(|byte| *byte == b')')?;
        let pid = std::str::from_utf8(&stat[..open]).ok()?.trim().parse().ok()?;
        let name = text::one_line(&String::from_utf8_lossy(stat.get(open + 1..close)?));
        let mut rest = std::str::from_utf8(&stat[close + 1..]).ok()?.split_ascii_whitespace();
        let state = rest.next()?.chars().next()?;
        let parent = rest.next()?.parse().ok()?;
        let session = rest.nth(1)?.parse().ok()?;
        // Field 22 of the whole line; the session was the sixth.
        let start_time = rest.nth(15)?.parse().ok()?;
        Some(Self { pid, name, state, parent, session, start_time })
    }
}

/// `1234 (rsync --daemon, waiting in the kernel)`, for messages.
impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = command_line(self.pid).unwrap_or_else(|| self.name.clone());
        write!(f, "{} ({command}, {})", self.pid, state_in_words(self.state))
    }
}

/// The command line of a process, on one line; `None` if it is gone, or a kernel thread or zombie (they have none).
pub fn command_line(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let line = words.join(" ");
    Some(text::one_line(line.trim())).filter(|line| !line.is_empty())
}

/// All pids in `/proc`.
pub(crate) fn pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

pub(crate) fn state_in_words(state: char) -> &'static str {
    match state {
        'R' => "running",
        'S' | 'I' => "asleep",
        'D' => "waiting in the kernel (D)",
        'T' | 't' => "stopped",
        'Z' => "zombie",
        _ => "state unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = b"42 (a) R (b\n) S 1 42 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 200\n";
        let process = Process::parse(stat).unwrap();
        assert_eq!((process.pid, process.name.as_str()), (42, "a) R (b?"));
        assert_eq!((process.state, process.parent, process.session), ('S', 1, 41));
        assert_eq!(process.start_time, 98765);
    }

    #[test]
    fn this_process() {
        let pid = std::process::id() as i32;
        let me = Process::of(pid).unwrap();
        assert_eq!(me.pid, pid);
        assert!(me.is_running() && me.is_of_our_namespace());
        assert!(Process::all().iter().any(|process| process.pid == pid));
        assert!(command_line(pid).unwrap().contains("process"), "the test binary's name");
        assert_eq!(Process::of(0), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Process::parse(&bytes);
        }

        #[test]
        fn the_fields_after_any_name(name in "[ -~]{0,15}", start: u64) {
            let stat = format!("7 ({name}) D 1 7 7 0 0 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0");
            let process = Process::parse(stat.as_bytes()).unwrap();
            prop_assert_eq!((process.name, process.state, process.start_time), (name, 'D', start));
        }
    }
}
