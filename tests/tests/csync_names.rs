//! `ocf:bascule:csync` with files that are not plain: hostile names, links, what is no file at all, deep trees, owners and modes, edits that csync2
//! does not see; and with removals against changes, and directories against files, under each policy: nothing is deleted or brought back silently.

// Tests say what they expect by panicking; clippy's own exception covers only the functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use lab::csync::{KEY, RUN, all_is_well, apart, choose, create, soon, state, told, until};
use lab::{Lab, Options};

/// A group for each policy; `linked` is for a link in the path of its include.
const GROUPS: [&str; 5] = ["site", "newest", "oldest", "wins", "linked"];
const POLICIES: &str = "conflict_policy=report group_policy='newest=newest oldest=oldest wins=promoted-wins'";

/// Makes, lists or changes files with hostile names below a directory.
const HOSTILE: &str = r##"python3 - "$@" <<'END'
import hashlib, os, sys
names = [b"new\nline", b"-rf", b"--help", b"sp ace", b" before", b"after ", b"%41", b"100%", b"\xff\xe9", b"y" * 240, b"x" * 250, b"quo'te", b'dou"ble', b"back\\slash",
         b"*", b"?", b"[a-z]", b"{a,b}", b"$(touch owned)", b"`id`", b";x", b"tab\tx", b"#x", b"~", "\u00e9".encode(), b"\x01\x7f", b"..x", b"...", b"a=b", b"&x", b"|"]
root = b"/srv/site/hostile/"
if sys.argv[1] == "make":
    os.makedirs(root + b"di\nr -x", exist_ok=True)
    for name in names + [b"di\nr -x/" + name for name in names[:4]]:
        with open(root + name, "wb") as file:
            file.write(sys.argv[2].encode() + name)
elif sys.argv[1] == "list":
    found = sorted(os.path.join(at, name) for at, _, files in os.walk(root) for name in files)
    total = hashlib.sha256()
    for path in found:
        try:
            total.update(path + b"\0" + open(path, "rb").read())
        except FileNotFoundError:
            total.update(b"one of csync2's own, gone again")
    print(len(found), total.hexdigest())
END"##;

fn hostile(words: &str) -> String {
    format!("set -- {words}; {HOSTILE}")
}

/// Waits until a command prints the same on all nodes, and returns that.
#[track_caller]
fn same_everywhere(lab: &Lab, what: &str, command: &str) -> String {
    let mut shown = String::new();
    until(lab, what, |lab| {
        let all: Vec<String> = lab.nodes().iter().map(|node| lab.node(node).sh(command).stdout).collect();
        shown = all[0].clone();
        all.iter().all(|one| *one == all[0])
    });
    shown
}

fn start() -> Lab {
    let lab = Lab::start(Options::nodes(3).label("csync-names")).unwrap_or_else(|error| panic!("{error:#}"));
    let groups: String = GROUPS
        .iter()
        .map(|group| {
            let place = if *group == "linked" { "linked/data" } else { group };
            format!("group {group} {{ host n1 n2 n3; key /etc/csync2.key; include /srv/{place}; }}\n")
        })
        .collect();
    for name in lab.nodes() {
        let node = lab.node(name);
        node.run(&format!("rm -f /var/lib/csync2/*; umask 077; echo {KEY} >/etc/csync2.key"));
        node.run(&format!("cat >/etc/csync2.cfg <<'END'\nnossl * *;\n{groups}END"));
        node.run(
            "for place in site newest oldest wins linked/data; do mkdir -p /srv/$place; cd /srv/$place; \
             for file in removed replaced kept; do echo first >$file; touch -d 2020-01-01 $file; done; done",
        );
    }
    create(
        &lab,
        &format!("check_interval=15 peer_timeout=10 max_delete_percent=100 {POLICIES}"),
        "promotable promoted-max=1",
    );
    until(&lab, "somebody is promoted", |lab| lab.promoted("conf").len() == 1);
    all_is_well(&lab);
    lab
}

/// Names that shells, patterns, protocols and logs could trip over go there, are changed, and are removed.
fn names(lab: &Lab) {
    let list = hostile("list");
    lab.node("n1").run(&hostile("make one"));
    let made = lab.node("n1").run(&list);
    for words in ["", "longer"] {
        if !words.is_empty() {
            lab.node("n2").run(&hostile(&format!("make {words}")));
        }
        let node = if words.is_empty() { "n1" } else { "n2" };
        let wanted = lab.node(node).run(&list);
        until(lab, "hostile names are everywhere", |lab| {
            lab.nodes().iter().all(|node| lab.node(node).run(&list) == wanted)
        });
        // csync2 counts a file as changed until it has noted that all have it: what comes back before is a conflict.
        all_is_well(lab);
    }
    assert!(made.starts_with("35 "), "{made}");
    lab.node("n3").run("rm -r /srv/site/hostile");
    for node in ["n1", "n2"] {
        until(lab, "their removal is everywhere", |lab| {
            lab.node(node).sh("test ! -e /srv/site/hostile").ok()
        });
    }
    all_is_well(lab);
}

/// Links, deep and empty directories, modes and owners are the same everywhere; hard links are files like others.
fn kinds(lab: &Lab) {
    let deep = "twenty-bytes-of-name/".repeat(40);
    lab.node("n2").run(&format!(
        "cd /srv/site; mkdir -p deep/{deep} empty/er; echo deep >deep/{deep}file; \
         ln -s gone dangling; ln -s deep to-directory; ln -s kept to-file; \
         echo x >owned; chown 1234:4321 owned; chmod 4750 owned; mkdir dir; chmod 1777 dir; chown 77:78 dir; \
         echo hard >hard1; ln hard1 hard2"
    ));
    let list = "cd /srv/site && find . -printf '%p %y %m %U %G %l\\n' | sort && cat to-directory/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/file hard2";
    let shown = same_everywhere(lab, "all kinds are everywhere", list);
    assert!(
        shown.contains("./dangling l 777 0 0 gone") && shown.contains("./owned f 4750 1234 4321"),
        "{shown}"
    );
    assert!(shown.ends_with("deep\nhard\n"), "{shown}");
    // Both names of the file have changed; one was seen at once, the other by the next check.
    lab.node("n2").run("echo harder >>/srv/site/hard1");
    for node in ["n1", "n3"] {
        soon(lab, node, "grep -q harder /srv/site/hard1 && grep -q harder /srv/site/hard2");
    }
    all_is_well(lab);
}

/// What is neither file nor directory holds nothing up, neither when it comes nor when it goes.
fn specials(lab: &Lab) {
    lab.node("n1").run(
        "cd /srv/site; mkfifo pipe; python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('/srv/site/socket')\"; echo after >zz-after",
    );
    for node in ["n2", "n3"] {
        soon(lab, node, "grep -q after /srv/site/zz-after && test -p /srv/site/pipe");
    }
    // The socket waits for ever: csync2 takes it, and cannot give it an owner there.
    soon(lab, "n1", "! csync2 -N n1 -M | grep -v /socket");
    // csync2 never comes back from making a backup of a pipe: that is told, nothing waits for it, and people remove it there too.
    lab.node("n2").run("cd /srv/site; rm pipe; echo much later >zz-after");
    for node in ["n1", "n3"] {
        soon(lab, node, "grep -q later /srv/site/zz-after");
    }
    soon(lab, "n2", &format!("grep -q '^REFUSED /srv/site/pipe by n1: ' {RUN}/status"));
    for node in ["n1", "n3"] {
        lab.node(node).run("rm /srv/site/pipe");
    }
    lab.node("n1").run("rm /srv/site/socket");
    all_is_well(lab);
    // A pipe or a link takes a file's place, and a file theirs: what csync2 itself removes for that is no change.
    for (make, is_there) in [("mkfifo kept", "-p"), ("ln -s gone kept", "-L"), ("mkfifo kept", "-p")] {
        lab.node("n3").run(&format!("cd /srv/site; rm kept; {make}"));
        for node in ["n1", "n2"] {
            soon(lab, node, &format!("test {is_there} /srv/site/kept"));
        }
        all_is_well(lab);
        lab.node("n1").run("cd /srv/site; rm kept; echo kept >kept");
        for node in ["n2", "n3"] {
            soon(lab, node, "test -f /srv/site/kept && grep -q kept /srv/site/kept");
        }
        all_is_well(lab);
    }
}

/// A change that keeps size and second is found at level 20, and sent.
fn unseen(lab: &Lab) {
    let check = "crm_resource --resource conf --force-check=20";
    let check = if lab.node("n1").sh(check).ok() {
        check.to_owned()
    } else {
        format!(
            "OCF_ROOT=/usr/lib/ocf OCF_RA_VERSION_MAJOR=1 OCF_RESOURCE_INSTANCE=conf OCF_CHECK_LEVEL=20 OCF_RESKEY_CRM_meta_interval=60000 \
             OCF_RESKEY_CRM_meta_timeout=20000 {POLICIES_ENV} /usr/lib/ocf/resource.d/bascule/csync monitor || test $? = 8"
        )
    };
    lab.node("n1").run(&check);
    lab.node("n1").run("echo kePt >/srv/site/kept.new; touch -r /srv/site/kept /srv/site/kept.new; mv /srv/site/kept.new /srv/site/kept");
    lab.node("n1").run(&format!("touch {RUN}/nudge"));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        lab.node("n2").run("cat /srv/site/kept"),
        "kept\n",
        "csync2 sees it by itself: the check is needless"
    );
    lab.node("n1").run(&check);
    for node in ["n2", "n3"] {
        soon(lab, node, "grep -q kePt /srv/site/kept");
    }
    all_is_well(lab);
}

const POLICIES_ENV: &str = "OCF_RESKEY_conflict_policy=report OCF_RESKEY_group_policy='newest=newest oldest=oldest wins=promoted-wins'";

/// The path of an include leads through a link on one node: csync2 takes all below for removed. It is told, and nobody loses a file.
fn link_in_the_path(lab: &Lab) {
    lab.node("n2").run("mv /srv/linked /srv/real && ln -s /srv/real /srv/linked");
    lab.node("n2").run(&format!("touch {RUN}/nudge"));
    until(lab, "it is told", |lab| told(lab, "n2").contains("/srv/linked/data"));
    std::thread::sleep(Duration::from_secs(4));
    for node in lab.nodes() {
        assert_eq!(lab.node(node).run("cat /srv/linked/data/kept"), "first\n", "{node}\n{}", state(lab));
    }
    lab.node("n2").run("rm /srv/linked && mv /srv/real /srv/linked");
    lab.node("n2").run(&format!("touch {RUN}/nudge"));
    all_is_well(lab);
}

/// Removed on n1 and changed on n2; and replaced by a directory on n1 and changed on n2. Under every policy both sides stay until
/// somebody chooses, in words.
fn removed_against_changed(lab: &Lab) {
    let groups = ["site", "newest", "oldest", "wins"];
    let each = |command: &str| groups.map(|group| format!("cd /srv/{group}; {command}")).join("; ");
    apart(
        lab,
        &[
            ("n1", &each("rm removed replaced; mkdir replaced; echo inner >replaced/inner")),
            ("n2", &each("echo changed >removed; echo changed >replaced")),
        ],
    );
    for group in groups {
        for file in ["removed", "replaced"] {
            let line = format!("CONFLICT /srv/{group}/{file} with n[12]");
            until(lab, &format!("told: {line}"), |lab| {
                ["n1", "n2"]
                    .iter()
                    .any(|node| lab.node(node).sh(&format!("grep -q '^{line}$' {RUN}/status")).ok())
            });
        }
    }
    let list = "cd /srv && grep -r '' site newest oldest wins --include=removed --include=replaced --include=inner | sort";
    let third = lab.node("n3").run(list);
    // Through full rounds and several tries.
    for _ in 0..4 {
        for node in lab.nodes() {
            lab.node(node).run(&format!("touch {RUN}/nudge"));
        }
        std::thread::sleep(Duration::from_secs(2));
        for group in groups {
            lab.node("n1")
                .run(&format!("cd /srv/{group}; test ! -e removed && grep -q inner replaced/inner"));
            lab.node("n2")
                .run(&format!("cd /srv/{group}; grep -q changed removed && grep -q changed replaced"));
        }
        assert_eq!(lab.node("n3").run(list), third, "a third node gets now this and now that");
    }
    // The removal wins here, the change there; what loses is kept.
    for group in groups {
        let (removed, replaced) = if group == "site" { ("n1", "n1") } else { ("n2", "n1") };
        lab.node(removed).run(&choose(&format!("/srv/{group}/removed")));
        lab.node(replaced).run(&choose(&format!("/srv/{group}/replaced")));
    }
    for node in lab.nodes() {
        for group in ["newest", "oldest", "wins"] {
            soon(
                lab,
                node,
                &format!("cd /srv/{group}; grep -q changed removed && grep -q inner replaced/inner"),
            );
        }
    }
    let kept =
        |path: &str, text: &str| format!("grep -rlq {text} --include={path} /var/lib/bascule/csync/conf");
    lab.node("n2").run(&kept("removed", "changed"));
    lab.node("n2").run(&kept("replaced", "changed"));
    all_is_well(lab);
}

#[test]
fn whatever_a_file_is_called_or_is_it_goes_there_and_nothing_goes_silently() {
    let lab = start();
    for (what, scene) in [
        ("names", names as fn(&Lab)),
        ("kinds", kinds),
        ("specials", specials),
        ("unseen", unseen),
        ("link_in_the_path", link_in_the_path),
        ("removed_against_changed", removed_against_changed),
    ] {
        eprintln!("── {what}");
        scene(&lab);
    }
}
