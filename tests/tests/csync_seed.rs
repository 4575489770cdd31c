//! The seed's system with `ocf:bascule:csync`: four nodes in three groups, each with its key, encrypted and plain; changes go where they belong, an
//! action runs once for each change and is logged, what is overwritten is kept in generations, a conflict is settled by hand.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use lab::csync::{all_is_well, apart, choose, create, soon, told, until};
use lab::{Lab, Options};

/// The seed's file: n1 and n2 are its telnet and ftp, n3 and n4 its ssh and apache.
const CONFIG: &str = r#"
group g1 {
    host n1 n2;
    key /etc/csync2.key_g1;
    include /etc/xinetd.d;
    action { pattern /etc/xinetd.d/*; exec "echo restarted xinetd"; logfile "/var/log/csync2_action.log"; }
    backup-directory /var/backups/csync2/g1;
    backup-generations 3;
}
group g2 {
    host n3 n4;
    key /etc/csync2.key_g2;
    include /etc/apache;
    include /etc/ssh-conf;
    action { pattern /etc/apache/httpd.conf; exec "echo httpd gracefully restarted"; logfile "/var/log/csync2_action.log"; }
    backup-directory /var/backups/csync2/g2;
    backup-generations 3;
}
group g3 {
    host n1 n2 n3 n4;
    key /etc/csync2.key_g3;
    include /etc/hosts-all;
    action { pattern /etc/hosts-all; exec "echo hosts have changed"; logfile "/var/log/csync2_hosts.log"; do-local; }
    backup-directory /var/backups/csync2/g3;
    backup-generations 3;
}
"#;

fn seed(label: &str, plain: bool) -> Lab {
    let lab = Lab::start(Options::nodes(4).label(label)).unwrap_or_else(|error| panic!("{error:#}"));
    let agent = "/usr/lib/ocf/resource.d/bascule/csync";
    // The keys are made on one node and copied to those of the group, and to no other.
    for (group, nodes) in
        [("g1", ["n1", "n2"].as_slice()), ("g2", &["n3", "n4"]), ("g3", &["n1", "n2", "n3", "n4"])]
    {
        let file = format!("/etc/csync2.key_{group}");
        lab.node(nodes[0]).run(&format!("{agent} keygen {file} 2>/dev/null"));
        let key = lab.node(nodes[0]).run(&format!("cat {file}"));
        for node in &nodes[1..] {
            lab.node(node).run(&format!("umask 077; printf %s '{key}' >{file}"));
        }
    }
    let config = if plain { format!("nossl * *;\n{CONFIG}") } else { CONFIG.to_owned() };
    for name in lab.nodes() {
        let node = lab.node(name);
        node.run(&format!("rm -f /var/lib/csync2/*; cat >/etc/csync2.cfg <<'END'\n{config}\nEND"));
        if !plain {
            node.run(&format!("{agent} keygen --tls 2>/dev/null"));
        }
        node.run("mkdir -p /etc/xinetd.d /etc/apache /etc/ssh-conf; for file in xinetd.d/telnet apache/httpd.conf ssh-conf/sshd_config hosts-all; do
                  echo first >/etc/$file; touch -d 2020-01-01 /etc/$file; done; rm -f /var/log/csync2_action.log");
    }
    create(&lab, "check_interval=30", "clone");
    all_is_well(&lab);
    lab
}

fn story(lab: &Lab) {
    // A change goes to the nodes of its group, and to no other.
    lab.node("n2").run("echo all >>/etc/hosts-all; echo '# from ftp #' >>/etc/xinetd.d/telnet; echo '# from ftp #' >>/etc/apache/httpd.conf");
    for node in ["n1", "n3", "n4"] {
        soon(lab, node, "grep -q all /etc/hosts-all");
    }
    soon(lab, "n1", "grep -q 'from ftp' /etc/xinetd.d/telnet");
    for node in ["n3", "n4"] {
        assert!(
            !lab.node(node).sh("grep -q 'from ftp' /etc/xinetd.d/telnet /etc/apache/httpd.conf").ok(),
            "{node}"
        );
    }
    // The action has run where it was received, once, and is logged; what was overwritten is kept.
    for node in ["n1", "n2", "n3", "n4"] {
        soon(lab, node, "[ \"$(grep -c 'hosts have' /var/log/csync2_hosts.log)\" = 1 ]");
    }
    soon(lab, "n1", "[ \"$(grep -c 'restarted xinetd' /var/log/csync2_action.log)\" = 1 ]");
    assert_eq!(lab.node("n1").run("cat /var/backups/csync2/g1/etc/xinetd.d/telnet"), "first\n");
    assert_eq!(lab.node("n4").run("cat /var/backups/csync2/g3/etc/hosts-all"), "first\n");

    // Changed on two nodes at once: both keep theirs, and it is told.
    apart(
        lab,
        &[
            ("n3", "echo '# from ssh #' >>/etc/apache/httpd.conf"),
            ("n4", "echo '# from apache, longer #' >>/etc/apache/httpd.conf"),
        ],
    );
    until(lab, "the conflict is told", |lab| {
        ["n3", "n4"].iter().any(|node| told(lab, node).contains("conflicts 1: /etc/apache/httpd.conf with"))
    });
    // n3 has the right one.
    lab.node("n3").run(&choose("/etc/apache/httpd.conf"));
    soon(lab, "n4", "grep -q 'from ssh' /etc/apache/httpd.conf");
    assert!(lab.node("n4").run("cat /var/backups/csync2/g2/etc/apache/httpd.conf").contains("from apache"));
    soon(lab, "n4", "grep -q 'gracefully restarted' /var/log/csync2_action.log");
    all_is_well(lab);
}

#[test]
fn three_groups_of_four_nodes_encrypted() {
    story(&seed("csync-seed-tls", false));
}

#[test]
fn three_groups_of_four_nodes_plain() {
    story(&seed("csync-seed", true));
}
