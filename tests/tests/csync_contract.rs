//! The contract (DESIGN 5) on `csync-agent`, without a cluster: what is refused, with which code, and in which words; and a stop that ends everything
//! whatever has become of the node.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use lab::sandbox::{Agent, Ran, Sandbox};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

const KEY: &str = "abcdefghijklmnopqrstuvwxyz.0123456789_ABCDEF";
const RUN: &str = "/run/bascule/csync/test.d";

/// The sandboxes share the machine's processes, and their daemons look alike to each other: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A node with a key and a configuration, and a call of the agent as Pacemaker makes it for a clone. Its peer is at 127.0.0.2, where nobody is.
fn node() -> (Sandbox, Agent, MutexGuard<'static, ()>) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let sandbox = Sandbox::enter();
    sandbox.sh(&format!(
        "mount -t tmpfs none /var/lib; mkdir -p /run/conf /run/site; echo data >/run/site/file
        printf '127.0.0.1 n1 localhost\\n127.0.0.2 n2\\n' >/run/hosts; mount --bind /run/hosts /etc/hosts
        (umask 077; echo {KEY} >/run/conf/secret)"
    ));
    configure("nossl * *;\ngroup g {\n  host n1 n2;\n  key secret;\n  include /run/site;\n}\n");
    let agent = sandbox
        .agent("csync")
        .set("directory", "/run/conf")
        .set("peer_timeout", "30")
        .env("OCF_RESKEY_CRM_meta_timeout", "30000");
    let clone = [("clone_max", "3"), ("notify", "true"), ("on_node", "n1")];
    let agent =
        clone.iter().fold(agent, |agent, (name, value)| agent.set(&format!("CRM_meta_{name}"), value));
    (sandbox, agent, alone)
}

fn configure(text: &str) {
    fs::write("/run/conf/csync2.cfg", text).unwrap();
}

#[track_caller]
fn says(ran: &Ran, parts: &[&str]) {
    let reason = ran.reason().unwrap_or_else(|| panic!("no exit reason: {ran}"));
    for part in parts {
        assert!(reason.contains(part), "{part} in {ran}");
    }
    assert!(!format!("{ran}").contains(KEY), "the key is shown: {ran}");
}

/// Whether nothing of the agent's runs, and nothing of csync2's.
#[track_caller]
fn nothing_runs(sandbox: &Sandbox) {
    sandbox.until_ended("csync2");
    sandbox.until_ended("csync-agent");
}

#[test]
fn a_wrong_parameter_is_wrong_everywhere() {
    let (sandbox, agent, _alone) = node();
    for (name, value, parts) in [
        ("config", "Www", &["config=\"Www\"", "small letters and digits"][..]),
        ("config", "../x", &["config=", "small letters and digits"]),
        ("directory", "etc", &["directory=\"etc\"", "absolute path"]),
        ("database", "csync2", &["database=\"csync2\"", "absolute path"]),
        ("backup_dir", "kept", &["backup_dir=\"kept\"", "absolute path"]),
        ("port", "0", &["port=\"0\"", "1 to 65535"]),
        ("port", "ssh", &["port=\"ssh\"", "1 to 65535"]),
        ("check_interval", "4", &["check_interval=\"4\"", "5 to 86400"]),
        ("peer_timeout", "1", &["peer_timeout=\"1\"", "2 to 3600"]),
        ("conflict_policy", "younger", &["conflict_policy=\"younger\"", "promoted-wins", "newest"]),
        ("group_policy", "g", &["group_policy", "GROUP="]),
        ("group_policy", "g=report h=first", &["group_policy", "GROUP="]),
        ("max_delete", "-1", &["max_delete=\"-1\"", "0 to"]),
        ("max_delete_percent", "101", &["max_delete_percent", "0 to 100"]),
        ("report_degraded", "perhaps", &["report_degraded=\"perhaps\""]),
    ] {
        let wrong = agent.clone().set(name, value);
        for action in ["start", "validate-all"] {
            says(&wrong.expect(action, 6), parts);
        }
        // Whatever is wrong, nothing runs, and a stop says so.
        wrong.expect("stop", 0);
    }
    nothing_runs(&sandbox);
}

#[test]
fn what_is_wrong_on_this_node_leaves_the_others_to_be_tried_and_is_told_at_once() {
    let (sandbox, agent, _alone) = node();
    let plain = "nossl * *;\n";
    let group = |body: &str| format!("group g {{\n{body}}}\n");
    let good = group("  host n1 n2;\n  key secret;\n  include /run/site;\n");
    let refused = |config: &str, parts: &[&str]| {
        configure(config);
        // Pacemaker tries another node after 5, none after 6.
        says(&agent.expect("start", 5), parts);
        says(&agent.clone().env("OCF_CHECK_LEVEL", "10").expect("validate-all", 5), parts);
        agent.expect("validate-all", 0);
        agent.clone().interval(0).expect("monitor", 7);
        agent.expect("stop", 0);
    };
    let cfg = "/run/conf/csync2.cfg";
    let at = |line: u32| format!("{cfg}:{line}");
    // Every line that is wrong.
    refused(
        "nossl * *;\ngroup g {\n  host n1 n2\n  key secret;\n  include /run/site;\n}\ngroup h {\n  hots n1;\n  key secret;\n}\n",
        &[&at(3), "before `key`", &at(8), "`hots`"],
    );
    refused(
        &format!("{plain}{}", group("  host n2 n3;\n  key secret;\n  include /run/site;\n")),
        &[cfg, "n1, is in no group", "node_name"],
    );
    // Keys of several groups, and the certificate, all at once, each with its line; and none is shown.
    fs::write("/run/conf/open", KEY).unwrap();
    fs::set_permissions("/run/conf/open", fs::Permissions::from_mode(0o644)).unwrap();
    sandbox.sh("umask 077; echo short-key >/run/conf/short; echo 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!' >/run/conf/odd");
    let keys: String = ["gone", "open", "short", "odd"]
        .iter()
        .map(|key| format!("group {key} {{ host n1 n2; key {key}; include /run/site/{key}; }}\n"))
        .collect();
    refused(
        &keys,
        &[
            &at(1),
            "/run/conf/gone",
            &at(2),
            "others may read it (mode 0644): chmod 600 /run/conf/open",
            &at(3),
            "/run/conf/short",
            &at(4),
            "/run/conf/odd",
            "csync2_ssl_cert.pem",
            "csync2_ssl_key.pem",
            "keygen --tls",
        ],
    );
    assert!(!agent.run(&["start"]).to_string().contains("short-key"));
    // What is only missing is not mended by the start, so it does not say so.
    refused(&good, &["csync2_ssl_cert.pem", "csync2_ssl_key.pem", "nossl"]);
    sandbox.sh(&format!(
        "{} keygen --tls /run/conf 2>/dev/null; chmod 640 /run/conf/csync2_ssl_key.pem",
        agent.program().display()
    ));
    refused(&good, &["csync2_ssl_key.pem", "mode 0640", "chmod 600"]);
    fs::remove_file(cfg).unwrap();
    says(&agent.expect("start", 5), &[cfg]);
    configure(&format!("{plain}{good}"));
    says(&agent.clone().set("csync2", "no-csync2").expect("start", 5), &["no-csync2", "install"]);
    agent.clone().env("OCF_TESTER_FAIL_HAVE_BINARY", "1").interval(0).expect("monitor", 7);
    // Nothing is left of all this, and it starts once it is mended.
    nothing_runs(&sandbox);
    agent.expect("start", 0);
    agent.expect("start", 0);
    agent.clone().interval(10000).expect("monitor", 0);
    agent.expect("stop", 0);
    agent.expect("stop", 0);
    agent.clone().interval(10000).expect("monitor", 7);
    nothing_runs(&sandbox);
}

/// Waits for a shell command to succeed.
#[track_caller]
fn soon(sandbox: &Sandbox, script: &str) {
    let begin = Instant::now();
    while !sandbox.holds(script) {
        let show = || sandbox.sh(&format!("cat {RUN}/status {RUN}/*.log || true"));
        assert!(begin.elapsed() < Duration::from_secs(40), "never: {script}\n{}", show());
        sleep(Duration::from_millis(50));
    }
}

/// Somebody at the peer's address who takes connections and never says a word.
struct Silent(Child);

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn silent_peer(sandbox: &Sandbox) -> Silent {
    let code = "import socket\ns = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
                s.bind(('127.0.0.2', 30865)); s.listen(9)\nheld = []\nwhile True: held.append(s.accept())";
    let child = Command::new("python3").args(["-c", code]).stdout(Stdio::null()).spawn().unwrap();
    sandbox.until("ss -Hltn 'src 127.0.0.2' | grep -q :30865");
    Silent(child)
}

#[test]
fn a_stop_ends_everything_whatever_has_become_of_the_node() {
    let (sandbox, agent, _alone) = node();
    let config = fs::read_to_string("/run/conf/csync2.cfg").unwrap();
    let _peer = silent_peer(&sandbox);
    let worker = "pgrep --ns $$ --nslist mnt -f '[c]sync-agent work'";
    let client = "pgrep --ns $$ --nslist mnt -f '[c]sync2 .*(-uB|-T) '";
    for (what, spoil) in [
        ("nothing", "true".to_owned()),
        ("csync2.cfg broken", "echo 'group {' >/run/conf/csync2.cfg".to_owned()),
        ("csync2.cfg gone", "rm /run/conf/csync2.cfg".to_owned()),
        ("the made configuration gone", format!("rm -r {RUN}/system")),
        ("the settings gone", format!("rm {RUN}/settings.json")),
        ("the key and the database gone", "rm -r /run/conf/secret /var/lib/csync2".to_owned()),
        ("the worker stopped", format!("kill -STOP $({worker})")),
        ("the worker killed", format!("kill -KILL $({worker})")),
        ("everything stopped", format!("kill -STOP $({worker}) $(pgrep --ns $$ --nslist mnt -x csync2)")),
        (
            "the state files spoilt",
            format!("for file in {RUN}/*.json /run/bascule/csync/test.json; do echo x >$file; done"),
        ),
        ("all of /run/bascule gone", "rm -r /run/bascule".to_owned()),
    ] {
        configure(&config);
        sandbox.sh(&format!("[ -e /run/conf/secret ] || (umask 077; echo {KEY} >/run/conf/secret)"));
        agent.expect("start", 0);
        // A run is under way, towards the peer that says nothing.
        sandbox.sh(&format!("echo {} >>/run/site/file", what.replace(' ', "-")));
        soon(&sandbox, client);
        sandbox.sh(&spoil);
        let ran = agent.expect("stop", 0);
        assert!(!ran.stderr.contains("panick"), "{what}: {ran}");
        for name in ["csync2", "csync-agent"] {
            assert_eq!(sandbox.processes(name), [0_u32; 0], "{what}: {name} is left");
        }
        agent.clone().interval(10000).expect("monitor", 7);
        agent.expect("stop", 0);
    }
}
