//! A command line with its environment, and where the command is found.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{AccessFlags, access};

use crate::error::Error;
use crate::text;

/// Where administrators' commands live; Pacemaker's own PATH need not hold them.
const SYSTEM: [&str; 4] = ["/sbin", "/bin", "/usr/sbin", "/usr/bin"];

/// Finds a command as a shell would: in `PATH`, then in `/sbin`, `/bin`, `/usr/sbin` and `/usr/bin`. A name with a slash is
/// taken as it is. `None` if there is no such executable file, or if ocf-tester wants all of them missing
/// (`OCF_TESTER_FAIL_HAVE_BINARY`).
pub fn find_tool(name: &str) -> Option<PathBuf> {
    if env::var_os("OCF_TESTER_FAIL_HAVE_BINARY").is_some() {
        return None;
    }
    let executable = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| executable(path));
    }
    env::split_paths(&search_path()).map(|directory| directory.join(name)).find(|path| executable(path))
}

/// `PATH` with the system's directories at its end, each once.
fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    let had: Vec<PathBuf> = env::split_paths(&path).collect();
    for directory in SYSTEM.iter().filter(|directory| !had.iter().any(|had| had == Path::new(directory))) {
        if !path.is_empty() {
            path.push(":");
        }
        path.push(directory);
    }
    path
}

/// Program, arguments and changes of the environment.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    program: String,
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Invocation {
    pub(crate) fn new(program: impl Into<String>) -> Self {
        Self { program: program.into(), args: Vec::new(), environment: Vec::new() }
    }

    pub(crate) fn arg(&mut self, arg: impl AsRef<OsStr>) {
        self.args.push(arg.as_ref().to_owned());
    }

    pub(crate) fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
    }

    /// The command, ready but for its streams: locale C (what it says is read by programs), a PATH that holds the system's
    /// directories, and without the resource's parameters (some are secrets, and a child's environment outlives the
    /// action).
    pub(crate) fn command(&self) -> Result<Command, Error> {
        let path = find_tool(&self.program).ok_or_else(|| Error::NotFound { tool: self.program.clone() })?;
        let mut command = Command::new(path);
        command.arg0(&self.program).args(&self.args);
        for (name, _) in env::vars_os() {
            if name.as_bytes().starts_with(b"OCF_RESKEY_") {
                command.env_remove(name);
            }
        }
        command.env("PATH", search_path()).env("LC_ALL", "C").env_remove("LANG").env_remove("LANGUAGE");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

/// As a person would type it, on one line, for messages.
impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.program.clone();
        for arg in &self.args {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        f.write_str(&text::one_line(&line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_can_be_run_and_only_that() {
        assert!(find_tool("sh").is_some_and(|path| path.ends_with("sh")));
        assert_eq!(find_tool("/bin/sh"), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find_tool("no-such-command"), None);
        assert_eq!(find_tool("/etc/passwd"), None, "not executable");
        assert_eq!(find_tool("/etc"), None, "a directory");
        assert_eq!(find_tool(""), None);
    }

    #[test]
    fn a_missing_command_is_told_apart() {
        let error = Invocation::new("no-such-command").command().unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), "no-such-command: command not found");
    }
}
