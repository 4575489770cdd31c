//! A process that SIGKILL does not end is left and reported, never waited for without bound.
//!
//! It is made of the first process of a pid namespace, which cannot end before all others of the namespace were taken notice of
//! by their parents: one of them has its parent outside, and that is stopped. For who watches, it is as stuck as one in
//! state D, which only broken hardware gives at will.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process::{Error, Identity, Process, Tool};

fn main() {
    if std::env::var_os("INSIDE").is_some() { inside() } else { outside() }
}

/// Runs with its children in a new pid namespace.
fn inside() {
    let error = Tool::new("sleep").arg("1000").run(Instant::now() + Duration::from_secs(3)).unwrap_err();
    let Error::Stuck { pid, .. } = error else { panic!("{error}") };
    assert!(error.to_string().contains(&format!("cannot be killed (pid {pid}, ")), "{error}");
    // Nor does the end of a daemon wait for ever, and it says who is left.
    let stuck = Identity::of(pid).unwrap();
    let error = stuck.stop(Duration::ZERO, Instant::now()).unwrap_err();
    let Error::Left { left } = &error else { panic!("{error}") };
    assert_eq!(left[0].pid, pid);
    assert!(error.to_string().starts_with(&format!("cannot be killed: {pid} (sleep")), "{error}");
}

fn outside() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--"]).arg(std::env::current_exe().unwrap()).env("INSIDE", "");
    let mut inside = unshare.spawn().unwrap();
    let first = until("the tool", || {
        child_of(inside.id() as i32)
            .filter(|pid| process::command_line(*pid).is_some_and(|line| line == "sleep 1000"))
    });
    let mut companion =
        Command::new("nsenter").args(["-p", "-t", &first.to_string(), "sleep", "1000"]).spawn().unwrap();
    let parent = Pid::from_raw(companion.id() as i32);
    until("its companion", || child_of(parent.as_raw()));
    kill(parent, Signal::SIGSTOP).unwrap();
    let status = inside.wait().unwrap();
    kill(parent, Signal::SIGCONT).unwrap();
    let _ = kill(Pid::from_raw(first), Signal::SIGKILL);
    companion.wait().unwrap();
    assert!(status.success());
    until("the end", || Process::of(first).is_none_or(|it| !it.is_running()).then_some(()));
    println!("an unkillable child is left and reported ... ok");
}

fn child_of(parent: i32) -> Option<i32> {
    Process::all().into_iter().find(|it| it.parent == parent).map(|it| it.pid)
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "never seen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
