//! Log lines: to stderr, where Pacemaker takes them; to syslog, with the cluster's facility; to the trace, if there is one.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How much a line matters, with its number in syslog (RFC 5424, section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error = 3,
    /// Something is not as it should be.
    Warning = 4,
    /// Something was done.
    Info = 6,
    /// Why something was done; written only when asked for.
    Debug = 7,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warning => "WARNING",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
        }
    }
}

/// The log of one call. Losing a line is never a reason to fail: errors of writing are dropped.
#[derive(Debug)]
pub struct Log {
    tag: String,
    facility: Option<u8>,
    debug: bool,
    trace: RefCell<Option<File>>,
    syslog: RefCell<Option<UnixDatagram>>,
}

impl Log {
    /// A log whose lines begin with `tag`, such as `vip(site)[123]`; `facility` is the name that `HA_LOGFACILITY`
    /// gives ("none", empty or unknown: no syslog).
    pub fn new(tag: String, facility: Option<&str>, debug: bool, trace: Option<File>) -> Self {
        let facility = facility.and_then(facility_number);
        Log { tag, facility, debug, trace: RefCell::new(trace), syslog: RefCell::new(None) }
    }

    /// Something failed.
    pub fn error(&self, text: impl fmt::Display) {
        self.write(Level::Error, &text);
    }

    /// Something is not as it should be.
    pub fn warning(&self, text: impl fmt::Display) {
        self.write(Level::Warning, &text);
    }

    /// Something was done.
    pub fn info(&self, text: impl fmt::Display) {
        self.write(Level::Info, &text);
    }

    /// Why something was done.
    pub fn debug(&self, text: impl fmt::Display) {
        self.write(Level::Debug, &text);
    }

    /// What stderr is told anyhow, as the exit reason: for syslog and the trace alone.
    pub(crate) fn reason(&self, level: Level, text: &str) {
        self.record(level, text, false);
    }

    fn write(&self, level: Level, text: &dyn fmt::Display) {
        let traced = self.trace.borrow().is_some();
        if level == Level::Debug && !self.debug && !traced {
            return;
        }
        self.record(level, &text.to_string(), true);
    }

    fn record(&self, level: Level, text: &str, on_stderr: bool) {
        let text = one_line(text);
        if let Some(file) = self.trace.borrow_mut().as_mut() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let _lost = writeln!(file, "{} {}: {text}", timestamp(now), level.word());
        }
        if level == Level::Debug && !self.debug {
            return;
        }
        if on_stderr {
            let _lost = writeln!(std::io::stderr(), "{} {}: {text}", self.tag, level.word());
        }
        self.to_syslog(level, &text);
    }

    fn to_syslog(&self, level: Level, text: &str) {
        let Some(facility) = self.facility else { return };
        let mut socket = self.syslog.borrow_mut();
        if socket.is_none() {
            *socket = UnixDatagram::unbound().ok().filter(|socket| {
                // A stuck syslog daemon must not hold the cluster up.
                socket.set_nonblocking(true).is_ok() && socket.connect("/dev/log").is_ok()
            });
        }
        if let Some(socket) = socket.as_ref() {
            let priority = facility * 8 + level as u8;
            let _lost = socket.send(format!("<{priority}>{}: {}: {text}", self.tag, level.word()).as_bytes());
        }
    }
}

/// The text on one line, without control characters: a log line is never more than one.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect();
    words.join("; ").chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn facility_number(name: &str) -> Option<u8> {
    let names = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    ];
    if let Some(number) = name.strip_prefix("local") {
        return number.parse::<u8>().ok().filter(|n| *n < 8).map(|n| 16 + n);
    }
    names.iter().position(|known| *known == name).and_then(|n| u8::try_from(n).ok())
}

/// A time since 1970 as `2026-11-21T05:20:09.123Z` (days to date after the proleptic Gregorian calendar).
pub(crate) fn timestamp(since: Duration) -> String {
    let seconds = since.as_secs();
    let (mut year, mut day) = (1970u64, seconds / 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", day + 1)
}

/// Seconds since 1970 as `20261121T052009Z`: for the name of a file.
#[must_use]
pub fn stamp(seconds: u64) -> String {
    let full = timestamp(Duration::from_secs(seconds));
    let without_millis = full.split('.').next().unwrap_or_default();
    format!("{}Z", without_millis.replace(['-', ':'], ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facilities_have_the_numbers_of_the_standard() {
        assert_eq!(facility_number("daemon"), Some(3));
        assert_eq!(facility_number("local7"), Some(23));
        for none in ["none", "", "local8", "localx"] {
            assert_eq!(facility_number(none), None, "{none}");
        }
    }

    #[test]
    fn timestamps_are_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_238_409, "2026-11-21T05:20:09.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(Duration::from_secs(seconds)), text);
        }
        assert_eq!(stamp(1_795_238_409), "20261121T052009Z");
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(one_line("a\n  b\r\n\n c\u{1b}[1m"), "a; b; c\u{fffd}[1m");
    }
}
