//! The agents under the distribution's own judges, unmodified: ocf-tester, ocft with the cases that resource-agents ships
//! for IPaddr2, and the grammars of the metadata.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use lab::sandbox::{Ran, Sandbox};
use lab::{Lab, Options};
use std::fmt::Write as _;
use std::process::Command;

/// The agents, by name.
const AGENTS: [&str; 3] = ["vip", "lsync", "csync"];

/// Puts the built agents where anybody may read them, as an installation would.
fn install(sandbox: &Sandbox) {
    sandbox.sh("mkdir -p /run/ocf/bascule");
    for name in AGENTS {
        std::fs::copy(sandbox.agent(name).program(), format!("/run/ocf/bascule/{name}")).unwrap();
    }
}

#[test]
fn ocf_tester_finds_nothing_wrong() {
    let sandbox = Sandbox::with_peer();
    install(&sandbox);
    for parameters in [
        &["ip=192.0.2.10", "nic=eth0", "cidr_netmask=24"][..],
        &["ip=192.0.2.10"],
        &["ip=2001:db8::10", "nodad=true"],
        &["ip=192.0.2.10/24 2001:db8::10/64", "nic=eth0", "nodad=true", "iflabel=web"],
    ] {
        let mut command = Command::new("/usr/sbin/ocf-tester");
        command.args(["-n", "tested"]);
        parameters.iter().for_each(|parameter| {
            command.args(["-o", parameter]);
        });
        let ran = Ran::of(command.arg("/run/ocf/bascule/vip"));
        assert_eq!(ran.code, 0, "{parameters:?}: {ran}");
        assert!(ran.stdout.contains("passed all tests"), "{parameters:?}: {ran}");
    }
}

/// A mirror takes a role only in a cluster: ocf-tester runs on a node of one, whose other node does not run the resource.
#[test]
fn ocf_tester_finds_nothing_wrong_with_a_mirror_in_a_cluster() {
    let lab = Lab::start(Options::nodes(2)).unwrap();
    let node = lab.node("n1");
    node.run("mkdir -p /site/tested && echo data >/site/tested/file");
    let clone = [
        "CRM_meta_clone_max=1",
        "CRM_meta_promotable=true",
        "CRM_meta_notify=true",
        "CRM_meta_promoted_max=1",
    ];
    let options = clone.map(|option| format!("-o {option}")).join(" ");
    let ran = node.sh(&format!(
        "ocf-tester -n tested -o source=/site/tested -o initial_source=n1 {options} /usr/lib/ocf/resource.d/bascule/lsync"
    ));
    assert!(ran.ok() && ran.stdout.contains("passed all tests"), "{ran:?}\n{}", lab.logs());
    assert_eq!(node.read("/site/tested/file").as_deref(), Some("data\n"));
    let left = node.sh("pgrep -l 'lsyncd|rsync|lsync'").stdout;
    assert_eq!(left, "", "left running");
}

#[test]
fn ocf_tester_finds_nothing_wrong_with_lsyncd_that_is_only_supervised() {
    let sandbox = Sandbox::enter();
    install(&sandbox);
    sandbox.sh("mkdir -p /run/from /run/to");
    let config =
        "settings { nodaemon = true }\nsync { default.direct, source = '/run/from', target = '/run/to' }\n";
    std::fs::write("/run/lsyncd.conf", config).unwrap();
    let mut command = Command::new("/usr/sbin/ocf-tester");
    let ran =
        Ran::of(command.args(["-n", "tested", "-o", "config=/run/lsyncd.conf", "/run/ocf/bascule/lsync"]));
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains("passed all tests"), "{ran}");
    assert_eq!(sandbox.processes("lsyncd"), [0; 0]);
}

#[test]
fn ocf_tester_finds_nothing_wrong_with_csync2_in_a_cluster() {
    let lab = Lab::start(Options::nodes(2).label("tested-csync")).unwrap();
    let node = lab.node("n1");
    lab::csync::prepare(&node);
    node.run("sed -i 's/host n1 n2 n3;/host n1 n2;/' /etc/csync2.cfg");
    for clone in [
        "",
        "-o CRM_meta_clone_max=1 -o CRM_meta_promotable=true -o CRM_meta_notify=true -o CRM_meta_promoted_max=1",
    ] {
        let ran = node.sh(&format!("ocf-tester -n tested {clone} /usr/lib/ocf/resource.d/bascule/csync"));
        assert!(ran.ok() && ran.stdout.contains("passed all tests"), "{ran:?}\n{}", lab.logs());
        assert_eq!(node.read("/srv/site/same").as_deref(), Some("same\n"));
        let left = node.sh("pgrep -l csync").stdout;
        assert_eq!(left, "", "left running");
    }
}

/// The cases for IPaddr2 that do not apply to `vip`, with the reason.
const NOT_APPLICABLE: [(&str, &str); 1] = [(
    "check base env: set invalid 'OCF_RESKEY_nic'",
    "expects 6 (no node can run it) for an interface that is missing on this node; vip says 5, so that others are tried",
)];

#[test]
fn ocft_runs_the_cases_of_ipaddr2() {
    let sandbox = Sandbox::enter();
    install(&sandbox);
    // The cases bring their own address to an interface of this name; ocft writes below /var/lib.
    sandbox.sh("mount -t tmpfs none /var/lib; ip link add eth0 type veth peer name other; ip link set eth0 up; ip link set other up");
    let shipped = std::fs::read_to_string("/usr/share/resource-agents/ocft/configs/IPaddr2").unwrap();
    let (applicable, left_out) = without(&shipped, &NOT_APPLICABLE.map(|(title, _)| title));
    assert_eq!(
        left_out,
        NOT_APPLICABLE.len(),
        "a case that is listed as not applicable is not shipped any more"
    );
    let cases = applicable.matches("\nCASE \"").count();
    assert!(cases >= 19, "only {cases} cases are left");
    let ours = applicable
        .replace("Agent IPaddr2", "Agent vip")
        .replace("AgentRoot /usr/lib/ocf/resource.d/heartbeat", "AgentRoot /run/ocf/bascule");
    sandbox.sh("mkdir /run/cases");
    std::fs::write("/run/cases/vip", ours).unwrap();
    sandbox.sh("ocft make -d /run/cases vip");
    let ran = Ran::of(Command::new("ocft").args(["test", "-v", "vip"]));
    let passed = ran.stdout.matches("SUCCESS").count();
    let failed = ran.stdout.contains("FAILED") || ran.stdout.contains("ERROR");
    assert!(ran.code == 0 && !failed && passed >= cases, "{passed} of {cases} passed: {ran}");
}

/// The configuration without the cases of these titles, and how many were left out.
fn without(config: &str, titles: &[&str]) -> (String, usize) {
    let (mut kept, mut left_out, mut skipping) = (String::new(), 0, false);
    for line in config.lines() {
        if line.starts_with("CASE") {
            skipping = titles.iter().any(|title| line == format!("CASE \"{title}\""));
            left_out += usize::from(skipping);
        }
        if !skipping {
            writeln!(kept, "{line}").unwrap();
        }
    }
    (kept, left_out)
}

#[test]
fn the_metadata_passes_all_three_grammars() {
    let sandbox = Sandbox::enter();
    for name in AGENTS {
        let document = sandbox.agent(name).run(&["meta-data"]).stdout;
        let file = format!("/run/{name}.xml");
        std::fs::write(&file, document).unwrap();
        // As ocf-tester does it: the DTD is found in the current directory.
        sandbox.sh(&format!("cd /usr/share/resource-agents; xmllint --noout --valid - <{file}"));
        // The schema of OCF RA API 1.1, in the copy that pcs judges by; that pcs itself takes the agent is seen in cluster.rs.
        sandbox.sh(&format!("xmllint --noout --relaxng /usr/share/pcs/data/ocf-1.1.rng {file}"));
    }
}

#[test]
fn the_committed_metadata_is_what_the_binary_prints() {
    let sandbox = Sandbox::enter();
    for name in AGENTS {
        let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../ocf-metadata/").to_owned() + name + ".xml";
        let printed = sandbox.agent(name).run(&["meta-data"]).stdout;
        if std::env::var_os("UPDATE_METADATA").is_some() {
            std::fs::write(&committed, &printed).unwrap();
        }
        let committed = std::fs::read_to_string(&committed).unwrap_or_default();
        assert!(
            committed == printed,
            "run UPDATE_METADATA=1 cargo test -p lab --test distribution, and commit"
        );
    }
}

#[test]
fn the_manual_is_a_page_that_man_can_show() {
    let sandbox = Sandbox::enter();
    for name in AGENTS {
        let ran = sandbox.agent(name).run(&["--manual"]);
        std::fs::write("/run/page.7", &ran.stdout).unwrap();
        let shown = sandbox.sh("man --warnings -P cat -l /run/page.7 2>&1 | col -bx");
        let parameter = match name {
            "vip" => "cidr_netmask",
            "lsync" => "saved_dir",
            _ => "conflict_policy",
        };
        for part in ["NAME", "PARAMETERS", parameter, "SEE ALSO"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        assert!(!shown.contains("warning:"), "{shown}");
    }
}
