//! Tools with a deadline.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use process::{Daemon, Ended, Error, Process, Stopped, Tool};

use crate::{again, ample, inside, kill, runs, until};

fn sh(script: &str) -> Tool {
    Tool::new("sh").arg("-c").arg(script)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(150)
}

#[test]
fn what_it_said_and_how_it_ended() {
    let output = sh("echo out; echo one >&2; echo two >&2; exit 17").run(ample()).unwrap();
    assert_eq!(output.ended, Ended::Code(17));
    assert_eq!((output.text(), &output.stderr[..]), ("out\n".into(), &b"one\ntwo\n"[..]));
    let error = output.ok().unwrap_err().to_string();
    assert_eq!(error, "sh -c echo out; echo one >&2; echo two >&2; exit 17: exit code 17: two");
}

#[test]
fn a_signal_is_no_exit_code() {
    let output = sh("kill -KILL $$").run(ample()).unwrap();
    assert_eq!(output.ended, Ended::Signal(9));
    assert!(output.ok().unwrap_err().to_string().ends_with("killed by SIGKILL"));
}

#[test]
fn a_sleeping_child_is_ended_at_the_deadline() {
    let error = sh("echo waiting for n2 >&2; exec sleep 1000").run(soon()).unwrap_err();
    let Error::TimedOut { said, .. } = &error else { panic!("{error}") };
    assert_eq!(said, "waiting for n2");
    assert!(error.to_string().contains("killed; last said: waiting for n2"), "{error}");
}

#[test]
fn no_time_left_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ran");
    let error = Tool::new("touch").arg(&file).run(Instant::now()).unwrap_err();
    assert!(error.to_string().ends_with("not started, no time left"), "{error}");
    assert!(!file.exists());
}

#[test]
fn the_whole_group_is_killed_even_if_it_ignores_sigterm() {
    for trap in ["", "trap '' TERM;"] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pids");
        // The leader takes SIGTERM (or not); its children are to go in either case.
        let script = format!(
            "(trap '' TERM; sleep 1000) & {trap} sleep 1000 & echo $! > {0}.tmp; echo $$ >> {0}.tmp; mv {0}.tmp {0}; wait",
            file.display()
        );
        // A generous deadline is not needed: if the file is not there in time the tool is run again with more.
        let mut time = Duration::from_millis(200);
        let pids = loop {
            let error = sh(&script).run(Instant::now() + time).unwrap_err();
            assert!(matches!(error, Error::TimedOut { .. }), "{error}");
            match fs::read_to_string(&file) {
                Ok(pids) => break pids,
                Err(_) => time *= 2,
            }
        };
        for pid in pids.lines().map(|pid| pid.parse().unwrap()) {
            until("the group is gone", || !runs(pid));
        }
    }
}

#[test]
fn a_grandchild_that_holds_the_pipe_does_not_hold_us() {
    let output = sh("echo before; sleep 1000 & echo $!").run(ample()).unwrap();
    let text = output.ok().unwrap().text().into_owned();
    let sleeper = text.strip_prefix("before\n").unwrap().trim().parse().unwrap();
    assert!(runs(sleeper), "background children of a tool that ended in time are left alone");
    kill(sleeper);
}

#[test]
fn both_streams_full_at_once() {
    let output = sh("head -c 3000000 /dev/zero >&2; echo end >&2; head -c 5000000 /dev/zero; echo done")
        .run(ample())
        .unwrap();
    assert_eq!(output.stdout.len(), 5_000_005);
    assert!(!output.truncated);
    assert_eq!(output.stderr.len(), 4096, "the end is kept");
    assert!(output.stderr.ends_with(b"end\n"));
}

#[test]
fn memory_is_bounded() {
    let output = sh("head -c 50000000 /dev/zero").stdout_limit(1000).run(ample()).unwrap();
    assert!(output.is_success() && output.truncated);
    assert_eq!(output.stdout.len(), 1000);
    assert!(output.stdout.capacity() < 100_000);
}

#[test]
fn the_last_lines_are_kept_where_they_are_what_counts() {
    let output = sh("seq 1000000; seq 1000000 >&2").stdout_tail(1000).stderr_limit(20).run(ample()).unwrap();
    assert!(output.truncated);
    let text = output.text();
    assert!(text.starts_with("9998") && text.ends_with("\n1000000\n") && text.len() <= 1000, "{text}");
    assert!(
        text.lines().all(|line| line.parse::<u32>().is_ok_and(|n| n > 999_000)),
        "no part of a line: {text}"
    );
    assert_eq!(output.stderr.len(), 20);
    let all = sh("seq 10").stdout_tail(1000).run(ample()).unwrap();
    assert!(!all.truncated && all.text().lines().count() == 10);
    // A line that is longer than all that is kept.
    let none = sh("head -c 5000 /dev/zero").stdout_tail(1000).run(ample()).unwrap();
    assert!(none.truncated && none.stdout.is_empty());
}

#[test]
fn endless_output_does_not_hide_the_deadline() {
    let error = sh("yes & exec yes >&2").run(soon()).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
}

#[test]
fn input_is_given_whether_read_or_not() {
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let output = Tool::new("cat").input(bytes.clone()).run(ample()).unwrap();
    assert_eq!(output.stdout, bytes);
    assert!(Tool::new("true").input(bytes).run(ample()).unwrap().is_success());
    assert_eq!(Tool::new("cat").run(ample()).unwrap().stdout, b"", "without input there is nothing to read");
}

#[test]
fn missing_and_broken_commands_are_told_apart() {
    assert!(Tool::new("no-such-tool").run(ample()).unwrap_err().is_not_found());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tool");
    fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    let path = file.to_str().unwrap();
    assert!(Tool::new(path).run(ample()).unwrap_err().is_not_found(), "it is not executable");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Tool::new(path).run(ample()).unwrap_err();
    assert!(matches!(error, Error::Spawn { .. }), "{error}");
}

#[test]
fn locale_path_and_secrets() {
    if inside().is_none() {
        let mut command = again("tool::locale_path_and_secrets", "");
        command.env("OCF_RESKEY_password", "hunter2").env("LANG", "fr_FR.UTF-8").env("PATH", "/opt/x");
        assert!(command.env("OCF_RESOURCE_INSTANCE", "r").status().unwrap().success());
        return;
    }
    let environment = Tool::new("env").env("EXTRA", "1").run(ample()).unwrap();
    let text = environment.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(!text.contains("OCF_RESKEY") && !text.contains("LANG="), "{text}");
    for expected in
        ["LC_ALL=C", "PATH=/opt/x:/sbin:/bin:/usr/sbin:/usr/bin", "EXTRA=1", "OCF_RESOURCE_INSTANCE=r"]
    {
        assert!(lines.contains(&expected), "{text}");
    }
}

#[test]
fn ocf_tester_can_have_all_tools_missing() {
    if inside().is_none() {
        let mut command = again("tool::ocf_tester_can_have_all_tools_missing", "");
        assert!(command.env("OCF_TESTER_FAIL_HAVE_BINARY", "1").status().unwrap().success());
        return;
    }
    assert_eq!(process::find_tool("sh"), None);
}

#[test]
fn a_killed_agent_takes_its_tool_along() {
    if let Some(file) = inside() {
        let _ = sh(&format!("echo $$ > {file}.tmp; mv {file}.tmp {file}; exec sleep 1000")).run(ample());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let mut agent =
        again("tool::a_killed_agent_takes_its_tool_along", file.to_str().unwrap()).spawn().unwrap();
    until("the tool runs", || file.exists());
    let tool: i32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    assert!(runs(tool));
    agent.kill().unwrap();
    agent.wait().unwrap();
    until("the tool is gone", || !runs(tool));
}

#[test]
fn no_descriptor_or_zombie_stays() {
    if inside().is_none() {
        assert!(again("tool::no_descriptor_or_zombie_stays", "").status().unwrap().success());
        return;
    }
    let me = std::process::id() as i32;
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for _ in 0..20 {
        Tool::new("cat").input("x").run(ample()).unwrap();
        sh("exec sleep 1000").run(Instant::now() + Duration::from_millis(5)).unwrap_err();
        Tool::new("no-such-tool").run(ample()).unwrap_err();
    }
    assert_eq!(open(), before);
    let children: Vec<Process> = Process::all().into_iter().filter(|process| process.parent == me).collect();
    assert_eq!(children, []);
}

#[test]
fn an_ignored_sigchld_that_we_inherit_does_no_harm() {
    if inside().is_none() {
        let test = again("tool::an_ignored_sigchld_that_we_inherit_does_no_harm", "");
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' CHLD; exec \"$@\"", "sh"]).arg(test.get_program()).args(test.get_args());
        assert!(shell.env("INSIDE", "").status().unwrap().success());
        return;
    }
    assert_eq!(sh("exit 17").run(ample()).unwrap().ended, Ended::Code(17));
    let daemon = Daemon::new("sleep").arg("1000").start().unwrap();
    assert_eq!(daemon.stop(Duration::from_secs(30), ample()).unwrap(), Stopped::Terminated);
}
