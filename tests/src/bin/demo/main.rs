//! The demo: a cluster of three nodes on this machine, resources made with `pcs`, a node that dies, a client that tells how
//! long it was without its address; then a mirrored directory, whose source dies and comes back; then configuration that is
//! kept equal.
//!
//! `demo` plays and cleans up; with `KEEP=1` the cluster stays until Ctrl-C. From another terminal `demo shell n1` enters a
//! node of it, and `demo stop` ends it. `DEMO_LABEL` gives the lab another name, so that several can be kept.

mod equal;
mod mirror;
mod scenes;
mod screen;

use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab::{Fencing, Lab, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::screen::Screen;

/// The name of the demo's lab.
fn label() -> String {
    std::env::var("DEMO_LABEL").unwrap_or_else(|_| "demo".to_owned())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        [] => play(),
        ["shell", machine] => shell(machine),
        ["stop"] => stop(),
        _ => Err(anyhow::anyhow!("usage: demo | demo shell n1|n2|n3|client | demo stop")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Screen::new().error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn play() -> Result<()> {
    if !Uid::effective().is_root() {
        bail!("the demo makes network namespaces and needs root: try sudo");
    }
    if lab::find(&label(), "switch").is_some() {
        bail!("a demo is running already; `{} stop` ends it", program());
    }
    let keep = std::env::var("KEEP").is_ok_and(|keep| !matches!(keep.as_str(), "" | "0"));
    let screen = Screen::new();
    screen.title("Bascule", "highly available resources on a real Corosync/Pacemaker cluster");
    if lab::busy() {
        screen.say("Another lab runs on this machine; this one starts when that has ended.");
    }
    screen.scene(
        "The cluster",
        "Three nodes and a client on one network, each with its own processes, disk and network \
         interface, all on this machine: Corosync, encrypted, and Pacemaker, with fencing.",
    );
    let lab = Lab::start(Options::nodes(3).fencing(Fencing::Off).label(&label()))?;
    for scene in scenes::SCENES.iter().chain(mirror::SCENES).chain(equal::SCENES) {
        screen.scene(scene.title, scene.about);
        (scene.play)(&screen, &lab)?;
    }
    if keep {
        lab.let_others_start();
        stay(&screen, &lab);
    } else {
        drop(lab);
        screen.scene("The end", "The cluster is gone, and nothing of it is left on this machine.");
        screen.hint("To play with it yourself:", &["make demo KEEP=1"]);
    }
    Ok(())
}

/// Leaves the cluster to the person, until Ctrl-C or `demo stop`.
fn stay(screen: &Screen, lab: &Lab) {
    let program = program();
    screen.scene(
        "Your turn",
        "The cluster stays until you press Ctrl-C here, and then it is gone without a trace.",
    );
    screen.hint(
        "In another terminal:",
        &[
            &format!("{program} shell n1       a shell in a node (n1, n2, n3 or client): pcs, crm_mon"),
            &format!("{program} stop           ends the cluster, as Ctrl-C here does"),
        ],
    );
    while lab.machines().alive() {
        sleep(Duration::from_millis(200));
    }
    screen.say("The cluster has been stopped.");
}

fn shell(machine: &str) -> Result<()> {
    let pid = lab::find(&label(), machine)
        .with_context(|| format!("no demo has a machine {machine} that is on"))?;
    let terminal = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    let error = lab::enter(pid)
        .arg(format!("TERM={terminal}"))
        .arg(format!("PS1={machine}# "))
        .args(["bash", "--norc", "-i"])
        .exec();
    Err(error).context("cannot run nsenter")
}

fn stop() -> Result<()> {
    let pid = lab::find(&label(), "switch").context("no demo is running")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL).context("cannot stop the demo")?;
    Ok(())
}

/// How to call this program again.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "demo".to_owned() };
    let relative =
        std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(ToOwned::to_owned));
    relative.unwrap_or(path).display().to_string()
}
