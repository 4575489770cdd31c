//! Arbitrary bytes in every parameter and variable: always a code of the protocol, never a signal, and where it is a
//! failure one line that a person understands, with the parameter's name.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use lab::sandbox::{Agent, Ran, Sandbox};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What nobody should give, and what somebody will.
fn nasty() -> Vec<OsString> {
    let texts = [
        " ",
        "\n",
        "\t",
        "\r\n",
        "-",
        "--",
        "-1",
        "+1",
        "0x10",
        "1e3",
        "99999999999999999999999",
        "18446744073709551616",
        "4294967295",
        "NaN",
        "%s%s%n%x",
        "${PATH}",
        "$(reboot)",
        "`reboot`",
        "; reboot",
        "'",
        "\"",
        "\\",
        "../../etc/passwd",
        "/",
        "//",
        ".",
        "..",
        "a\nb",
        "eth0\n",
        "true false",
        ",",
        ":",
        "eth0:",
        "%",
        "*",
        "?",
        "\u{202e}",
        "ÄÖÜ",
        "🦀",
        "\u{1}\u{2}\u{1b}[31m",
        "null",
        "192.0.2.10/",
        "192.0.2.10/-1",
        "192.0.2.10/24/24",
        "fe80::1%eth0",
        "::",
        "0.0.0.0",
        "ocf-exit-reason:forged",
    ];
    let mut all: Vec<OsString> = texts.iter().map(|text| (*text).into()).collect();
    for bytes in
        [&b"\xff\xfe"[..], b"\x80", b"eth0\xff", b"192.0.2.10\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
    {
        all.push(OsString::from_vec(bytes.to_vec()));
    }
    for unit in ["x", "192.0.2.10 ", "a/", "\u{fffd}", "\n"] {
        all.push(unit.repeat(10_000 / unit.len()).into());
    }
    all.push(OsStr::from_bytes(&[0xff; 10_000]).into());
    all
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    let metadata = sandbox.agent("vip").expect("meta-data", 0).stdout;
    let named = |line: &str| Some(line.split_once("<parameter name=\"")?.1.split_once('"')?.0.to_owned());
    let names: Vec<String> = metadata.lines().filter_map(named).collect();
    assert!(names.len() > 30 && names.contains(&"ip".to_owned()), "{names:?}");
    names
}

/// Judges what an action said to something nasty.
fn judge(action: &str, what: &str, name: Option<&str>, ran: &Ran) {
    let codes: &[i32] = match action {
        "stop" => &[0],
        "monitor" => &[0, 1, 2, 5, 6, 7],
        _ => &[0, 1, 2, 5, 6],
    };
    assert!(codes.contains(&ran.code), "{action} with {what}: {ran}");
    assert!(!ran.stderr.contains("internal error"), "{action} with {what}: {ran}");
    if matches!(ran.code, 0 | 7) {
        return;
    }
    let marked: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("ocf-exit-reason:")).collect();
    let [reason] = marked[..] else { panic!("{action} with {what}: one line of reason: {ran}") };
    assert_eq!(ran.stderr.lines().next_back(), Some(reason), "{action} with {what}: {ran}");
    assert!(reason.len() < 1000, "{action} with {what}: nobody reads that: {ran}");
    assert!(!reason.chars().any(char::is_control), "{action} with {what}: {ran}");
    if let Some(name) = name {
        assert!(reason.contains(name), "{action} with {what}: it does not name {name}: {ran}");
    }
}

fn shown(name: &str, value: &OsStr) -> String {
    let value = format!("{value:?}");
    format!("{name}={}", value.chars().take(60).collect::<String>())
}

fn base(sandbox: &Sandbox) -> Agent {
    let agent = sandbox.agent("vip").set("ip", "192.0.2.10").set("nic", "eth0").set("cidr_netmask", "24");
    // Nothing that is accepted may take long.
    agent.set("arp_count", "1").set("OCF_CHECK_LEVEL", "0").set("CRM_meta_timeout", "5000")
}

#[test]
fn arbitrary_bytes_in_every_parameter() {
    let sandbox = Sandbox::with_peer();
    let before = sandbox.everything();
    for name in names(&sandbox) {
        for value in nasty() {
            let agent = base(&sandbox).set(&name, &value);
            for action in ["validate-all", "monitor", "start", "stop"] {
                let ran = agent.run(&[action]);
                judge(action, &shown(&name, &value), Some(&name), &ran);
            }
            let probe = agent.interval(0).run(&["monitor"]);
            assert!([6, 7].contains(&probe.code), "a probe with {}: {probe}", shown(&name, &value));
            judge("monitor", &shown(&name, &value), Some(&name), &probe);
        }
        // For broadcast=- the kernel makes this route, and forgets it (IPaddr2's as well) while the network has others.
        sandbox.sh("ip route del broadcast 192.0.2.0 dev eth0 table local 2>/dev/null || true");
        sandbox.assert_unchanged(&before, name);
    }
}

#[test]
fn arbitrary_bytes_in_the_variables_of_the_protocol() {
    let sandbox = Sandbox::with_peer();
    let before = sandbox.everything();
    for name in [
        "OCF_RESOURCE_INSTANCE",
        "OCF_RA_VERSION_MAJOR",
        "OCF_CHECK_LEVEL",
        "OCF_EXIT_REASON_PREFIX",
        "OCF_TRACE_RA",
        "OCF_TRACE_FILE",
        "OCF_RESKEY_trace_ra",
        "OCF_RESKEY_CRM_meta_interval",
        "OCF_RESKEY_CRM_meta_timeout",
        "OCF_RESKEY_CRM_meta_clone",
        "OCF_RESKEY_CRM_meta_clone_max",
        "OCF_RESKEY_CRM_meta_globally_unique",
        "OCF_RESKEY_CRM_meta_on_node",
        "OCF_RESKEY_no_such_parameter",
        "HA_LOGFACILITY",
        "HA_debug",
        "HA_LOGFILE",
        "PCMK_debug",
        "LC_ALL",
    ] {
        for value in nasty() {
            let agent = base(&sandbox).env(name, &value);
            for action in ["validate-all", "start", "monitor", "stop"] {
                let ran = agent.run(&[action]);
                // A resource without a name, or in another version of the protocol, is none; and the caller's prefix
                // is the caller's.
                let refused = ran.code == 2 && name.starts_with("OCF_R") || ran.code == 1 && action == "stop";
                if name != "OCF_EXIT_REASON_PREFIX" && !(refused && ran.reason().is_some()) {
                    judge(action, &shown(name, &value), None, &ran);
                }
                assert!(ran.code < 10, "{action} with {}: {ran}", shown(name, &value));
            }
        }
        base(&sandbox).expect("stop", 0);
        sandbox.assert_unchanged(&before, name);
    }
    assert!(!sandbox.holds("ls /run/bascule/vip/*.json"));
    assert_eq!(sandbox.sh("ls /run/bascule"), "vip\n", "nothing outside of its directory");
}

#[test]
fn arbitrary_arguments() {
    let sandbox = Sandbox::with_peer();
    for argument in nasty() {
        let mut command = base(&sandbox).command(&[]);
        let ran = Ran::of(command.arg(&argument));
        assert!([0, 2, 3].contains(&ran.code), "{}: {ran}", shown("argument", &argument));
        for words in [["-o", "start"], ["monitor", "-o"]] {
            let mut command = base(&sandbox).command(&words);
            let ran = Ran::of(command.arg(&argument));
            assert!(ran.code < 10, "{words:?} {}: {ran}", shown("argument", &argument));
        }
    }
}
