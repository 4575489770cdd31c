//! The real csync2, pointed at directories of the test's own: `/etc` and `/var/lib/csync2` are left alone.
#![allow(dead_code, unreachable_pub)]

use std::path::Path;
use std::process::{Command, Output};

/// A key that csync2 takes.
pub const KEY: &str = "abcdefghijklmnopqrstuvwxyz.0123456789_ABCDEF";

/// Runs csync2 as `host` with the configuration and the database in `directory`, for ten seconds at most.
pub fn csync2(directory: &Path, host: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    // -A: without waiting for the disk, four times as quick.
    command.args(["-k", "1", "10", "csync2", "-A", "-D"]).arg(directory).args(["-N", host]).args(arguments);
    command.env("CSYNC2_SYSTEM_DIR", directory).env("LC_ALL", "C").current_dir(directory);
    command.stdin(std::process::Stdio::null());
    command.output().expect("timeout and csync2 are installed (packaging/setup)")
}

/// Its output, both streams, as text.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
