//! What was measured on: the machine, the kernel, the packages; and the floor.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The machine in a few lines of Markdown.
pub(crate) fn facts() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let of = |key: &str| {
        let line = cpu.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim()).to_owned()
    };
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let virtual_machine =
        if of("flags").split(' ').any(|flag| flag == "hypervisor") { ", a virtual machine" } else { "" };
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!(
        "- {}, {cores} cores{virtual_machine}\n- Linux {}\n- {}\n- load average when it began: {}\n",
        of("model name"),
        read("/proc/sys/kernel/osrelease").trim(),
        packages(),
        load.join(", ")
    )
}

fn packages() -> String {
    let names = ["pacemaker", "corosync", "resource-agents", "pcs", "lsyncd", "csync2"];
    let output =
        Command::new("dpkg-query").args(["-W", "-f", "${Package} ${Version}, "]).args(names).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim_end_matches(", ").to_owned())
        .unwrap_or_default()
        + &rsync()
}

/// rsync's own word: it need not be the package's.
fn rsync() -> String {
    let output = Command::new("rsync").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let version = text.split_whitespace().skip_while(|word| *word != "version").nth(1);
    version.map(|version| format!(", rsync {version}")).unwrap_or_default()
}

/// Builds the floor: a static C program that returns 0, with the C library that the agent has. Its path, and how it
/// was built.
///
/// # Errors
/// There is no compiler.
pub(crate) fn floor(agent: &Path) -> Result<(PathBuf, &'static str)> {
    let bytes = fs::read(agent).with_context(|| format!("reading {}", agent.display()))?;
    let glibc = bytes.windows(13).any(|window| window == b"GNU C Library");
    let (compiler, name) =
        if glibc { ("cc", "cc -static (glibc)") } else { ("musl-gcc", "musl-gcc -static") };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/bench/floor.c");
    let floor = std::env::current_exe()?.with_file_name("bench-floor");
    let built = Command::new(compiler).args(["-static", "-Os", "-o"]).arg(&floor).arg(source).status();
    ensure!(built.with_context(|| format!("running {compiler}"))?.success(), "{compiler} failed");
    Ok((floor, name))
}
