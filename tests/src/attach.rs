//! Finding the machines of a lab that another process runs, by the names of their first processes. So no file has to say
//! where they are, and none can be left behind.

use std::fs;
use std::process::Command;

/// The tools that commands in a machine find.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The name under which the first process of a machine is listed.
pub(crate) fn process_name(label: &str, machine: &str) -> String {
    format!("bascule-lab:{label}:{machine}")
}

/// The first process of a machine (or of the `switch`, with which the whole lab ends) of the lab with this label.
#[must_use]
pub fn find(label: &str, machine: &str) -> Option<i32> {
    let name = process_name(label, machine);
    let is_it = |pid: &i32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).next() == Some(name.as_bytes())
    };
    let processes = fs::read_dir("/proc").ok()?;
    processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).find(is_it)
}

/// A command that runs in all namespaces of the machine whose first process is `pid`, with a clean environment. The
/// caller adds what to run.
#[must_use]
pub fn enter(pid: i32) -> Command {
    let mut nsenter = Command::new("nsenter");
    nsenter
        .args([
            "--target",
            &pid.to_string(),
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--root",
            "--wd",
            "--",
        ])
        .args(["env", "-i", PATH, "LANG=C.UTF-8", "HOME=/root"]);
    nsenter
}
