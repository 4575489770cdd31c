//! What we say a configuration means, and what the real csync2 does with it.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

mod real;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use csync2::config::{self, Config};
use csync2::database::{Database, Dirty};
use csync2::meaning::{Meaning, Side, Verdict, verdict};
use csync2::{Text, pattern};

/// Everything below `root`, hostile names among it; `root` itself too.
const TREE: &[&str] = &[
    "etc",
    "etc/hosts",
    "etc/a.conf",
    "etc/a.conf~",
    "etc/sub",
    "etc/sub/b.conf",
    "etc/sub/deep",
    "etc/sub/deep/c.conf",
    "etc/sub/deep/x.bak",
    "etc/old.bak",
    "etc/old.bak/in",
    "etc/two words",
    "etc/new\nline",
    "etc/%p%",
    "etc/%p%/x",
    "etc/[b]",
    "etc/b",
    "etc/*",
    "etc/.hidden",
    "etc/'; DROP TABLE file; --",
    "etc/\\x",
    "home",
    "home/bob",
    "home/bob/f",
    "home/bob/temp",
    "home/bob/temp/t",
    "home/eve",
    "home/eve/f",
    "other",
    "other/f",
    "etc-more",
    "etc-more/f",
];
const DIRECTORIES: &[&str] = &[
    "etc",
    "etc/sub",
    "etc/sub/deep",
    "etc/old.bak",
    "etc/%p%",
    "home",
    "home/bob",
    "home/bob/temp",
    "home/eve",
    "other",
    "etc-more",
];

fn make(root: &Path) -> Vec<PathBuf> {
    let mut paths = vec![root.to_owned()];
    for name in TREE {
        let path = root.join(name);
        if DIRECTORIES.contains(name) {
            std::fs::create_dir(&path).unwrap();
        } else {
            std::fs::write(&path, "x").unwrap();
        }
        paths.push(path);
    }
    let strange = root.join(OsStr::from_bytes(b"etc/\xff\xfe"));
    std::fs::write(&strange, "x").unwrap();
    paths.push(strange);
    paths
}

struct World {
    directory: tempfile::TempDir,
    root: PathBuf,
    paths: Vec<PathBuf>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir(&root).unwrap();
        for key in ["k", "l"] {
            std::fs::write(directory.path().join(key), real::KEY).unwrap();
        }
        let paths = make(&root);
        Self { directory, root, paths }
    }

    /// Writes the configuration, `/R` in it standing for the root of the tree, and forgets the database.
    fn configure(&self, text: &str) -> Config {
        let text = text.replace("/R", self.root.to_str().unwrap());
        std::fs::write(self.directory.path().join("csync2.cfg"), &text).unwrap();
        let _ = std::fs::remove_file(self.directory.path().join("a.db3"));
        let parsed = config::parse(&Text::from("csync2.cfg"), &mut |_| Ok(text.clone().into_bytes()));
        assert!(parsed.is_accepted(), "{:?}", parsed.problems);
        parsed.config
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = real::csync2(self.directory.path(), "a", arguments);
        assert_eq!(output.status.code(), Some(0), "{}", real::text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn database(&self) -> Database {
        Database::open(&self.directory.path().join("a.db3"), Duration::from_millis(50)).unwrap()
    }

    fn names(&self, meaning: &Meaning<'_>) -> BTreeSet<Text> {
        let paths = self.paths.iter().map(|path| Text::from(path.as_os_str().as_bytes()));
        paths.flat_map(|path| meaning.names(&path)).collect()
    }
}

/// Every one of them has host `a`; `/R` is the root of the tree.
const CONFIGURATIONS: &[&str] = &[
    "group g { host a b; key k; include /R; }",
    "group g { host a b; key k; include /R/etc; }",
    "group g { host a b; key k; include /R/etc/; exclude /R/etc/sub; }",
    "group g { host a b; key k; exclude /R/etc/sub; include /R/etc; }",
    "group g { host a b; key k; include /R/etc; exclude /R/etc/sub; include /R/etc/sub/deep; }",
    "group g { host a b; key k; include /R/etc; exclude *.bak *~ .*; }",
    "group g { host a b; key k; exclude *.bak; include x.bak; include /R/etc; }",
    "group g { host a b; key k; include *.conf; }",
    "group g { host a b; key k; include /R/etc; exclude *; include *.conf; }",
    "group g { host a b; key k; include /R/*/*.conf; }",
    "group g { host a b; key k; include /R/**.conf; }",
    "group g { host a b; key k; include /R/et*; }",
    "group g { host a b; key k; include /R/**/deep; exclude /R/*/sub; }",
    "group g { host a b; key k; include /R/etc/sub/deep/c.conf /R/home/*/f; }",
    "group g { host a b; key k; include \"/R/etc/two words\" \"/R/etc/new\nline\" /R/etc/%p%; }",
    "group g { host a b; key k; include /R/etc/[b] /R/etc/\\*; }",
    "group g { host a b; key k; include /R/etc/\\[b\\] /R/etc/\\\\x; }",
    "group g { host a b; key k; include /R/home; exclude /R/home/bob; compare /R/home/bob/temp; }",
    "group g { host a b; key k; compare /R/home /R/other /R/etc/sub; }",
    "group g { host a b; key k; include /R/etc; } group h { host a c; key l; include /R/etc/sub /R/home; }",
    "group g { host a b c; key k; include /R/etc; } group h { host b c; key l; include /R/home; }",
    "group g { host a@a-if b@b-if; key k; include /R/etc; } group h { host A@other c b@b-if; key l; include /R/etc/sub; }",
    "group g { host b (a c) d; key k; include /R/etc; } group h { host a (b); key l; include /R/home; }",
    "group g { host a b; key k; include %p%; } prefix p { on b: /nowhere; on a: /R/home; }",
    "group g { host a b; key k; include %p%/bob; exclude %p%/bob/temp; } prefix p { on *: /R/home/; }",
    "group g { host a b; key k; include %p% /R/home/eve; exclude *emp; } prefix p { on a: /R/home; on a: /R/etc; }",
    "group g { host a b; key k; include %p% %q%/f; } prefix p { on [ab]: /R/home; } prefix q { on a: /R/home/bob; }",
    "group g { host a b; key k; include /R; include %p%; exclude /R/home; } prefix p { on a: /R/home/bob; }",
    "group g { host a b; key k; include %p%/*/f; } prefix p { on a: /R; }",
    "group g { host a b; key k; include %p%; } prefix p { on a: /R/etc; } prefix p { on a: /R/home; } prefix p { on b: /R; }",
    "group g { host a b; key k; include /; exclude /*; include /R/other; }",
    "group g { host a b; key k; }",
    "group g { host a a b; key k; include /R/etc; }",
];

#[test]
fn what_is_noticed_and_whom_it_goes_to() {
    let world = World::new();
    for text in CONFIGURATIONS {
        let config = world.configure(text);
        let meaning = Meaning::new(&config, &Text::from("A"));
        world.run(&["-cr", "/"]);
        let theirs: BTreeSet<Text> =
            world.database().files().unwrap().into_iter().map(|file| file.name).collect();
        let names = world.names(&meaning);
        let ours: BTreeSet<Text> = names.iter().filter(|name| meaning.is_noticed(name)).cloned().collect();
        // One configuration includes what lies above the tree.
        let above: BTreeSet<Text> = theirs.iter().filter(|name| names.contains(*name)).cloned().collect();
        assert_eq!(ours, above, "{text}");
        let theirs: BTreeSet<Dirty> = world.database().dirty().unwrap().into_iter().collect();
        let ours: BTreeSet<Dirty> = ours.iter().flat_map(|name| marks(&meaning, name)).collect();
        assert_eq!(ours, theirs.into_iter().filter(|row| names.contains(&row.name)).collect(), "{text}");
    }
}

fn marks(meaning: &Meaning<'_>, name: &Text) -> Vec<Dirty> {
    let peers = meaning.peers_of(name).into_iter();
    peers
        .map(|peer| Dirty {
            name: name.clone(),
            forced: false,
            own: peer.own.clone(),
            peer: peer.address.clone(),
        })
        .collect()
}

#[test]
fn what_is_synchronised_when_named() {
    let world = World::new();
    // A thousand runs: a new database of each one's own would have all of them wait for the disk.
    world.configure("group g { host a b; key k; }");
    assert_eq!(real::csync2(world.directory.path(), "a", &["-H"]).status.code(), Some(2), "nothing is there");
    let empty = world.directory.path().join("empty");
    std::fs::rename(world.directory.path().join("a.db3"), &empty).unwrap();
    for text in CONFIGURATIONS {
        let config = world.configure(text);
        let meaning = Meaning::new(&config, &Text::from("a"));
        for path in &world.paths {
            std::fs::copy(&empty, world.directory.path().join("a.db3")).unwrap();
            let output = std::process::Command::new("csync2")
                .args(["-A", "-D", world.directory.path().to_str().unwrap(), "-N", "a", "-c"])
                .arg(path)
                .env("CSYNC2_SYSTEM_DIR", world.directory.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", real::text(&output));
            let theirs: BTreeSet<Text> =
                world.database().files().unwrap().into_iter().map(|file| file.name).collect();
            let path = Text::from(path.as_os_str().as_bytes());
            let names = meaning.names(&path);
            // Of two prefixes of one name it checks the path of the other, too.
            let theirs =
                theirs.into_iter().filter(|name| meaning.path(name).as_ref() == Some(&path)).collect();
            let ours: BTreeSet<Text> =
                names.into_iter().filter(|name| meaning.groups_of(name).next().is_some()).collect();
            assert_eq!(ours, theirs, "{text}: {path}");
        }
    }
}

#[test]
fn what_is_compared() {
    let world = World::new();
    let config = world.configure(
        "group g { host a b; key k; include /R/home; exclude /R/home/bob; compare /R/home/bob/temp; }",
    );
    let listed = world.run(&["-or", world.root.to_str().unwrap()]);
    let theirs: BTreeSet<&str> = listed.lines().collect();
    let group = &config.groups[0];
    for path in &world.paths {
        let Some(name) = path.to_str().filter(|name| !name.contains('\n')) else { continue };
        let found = verdict(group, &Text::from(name));
        assert_eq!(found != Verdict::Excluded, theirs.contains(name), "{name}: {found:?}");
    }
    let temp = world.root.join("home/bob/temp/t");
    assert_eq!(verdict(group, &Text::from(temp.to_str().unwrap())), Verdict::Compared);
}

#[test]
fn which_actions_run_where_a_change_is_noticed() {
    let world = World::new();
    let patterns = [
        "",
        "pattern /R/etc;",
        "pattern /R/etc/;",
        "pattern /R/etc/*.conf;",
        "pattern *.conf;",
        "pattern **.conf;",
        "pattern *;",
        "pattern /R/home /R/etc/sub/*;",
        "pattern /R/**/deep;",
    ];
    let actions: String = patterns
        .iter()
        .enumerate()
        .map(|(number, pattern)| {
            format!("action {{ {pattern} exec \"printf '%s ' {number}:%% >>/R/../ran\"; do-local; }}\n")
        })
        .collect();
    let text = format!(
        "group g {{ host a b; key k; include /R/etc; exclude *words *line *DROP* ; {actions} action {{ exec never; }} }}"
    );
    let config = world.configure(&text);
    let meaning = Meaning::new(&config, &Text::from("a"));
    for name in ["etc/hosts", "etc/a.conf", "etc/sub", "etc/sub/b.conf", "etc/sub/deep/c.conf"] {
        let path = world.root.join(name);
        let ran = world.directory.path().join("ran");
        std::fs::remove_file(&ran).ok();
        std::fs::remove_file(world.directory.path().join("a.db3")).ok();
        world.run(&["-c", path.to_str().unwrap()]);
        let ran = std::fs::read_to_string(&ran).unwrap();
        let mut theirs: Vec<usize> =
            ran.split_whitespace().map(|one| one.split_once(':').unwrap().0.parse().unwrap()).collect();
        theirs.sort_unstable();
        let name = Text::from(path.to_str().unwrap());
        let commands = meaning.commands(&name, Side::Noticed);
        let number = |command: &Text| {
            command.to_string().split("'%s ' ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap()
        };
        let mut ours: Vec<usize> = commands.iter().map(|command| number(&command.command.text)).collect();
        ours.sort_unstable();
        assert_eq!(ours, theirs, "{name}");
        // Where it is received, only what is not local.
        let received = meaning.commands(&name, Side::Received);
        assert_eq!(received.len(), commands.len() + 1, "{name}");
    }
}

#[test]
fn keys_slaves_sides_and_plain_pairs() {
    let text = "nossl a b; nossl c* *; nossl * c*;\n\
                group one { host a b; key k; include /x; auto left; backup-directory /bak; }\n\
                group two { host (a) c; key /l; include /x /y; auto younger; backup-directory /two; backup-generations 5; }\n\
                group not { host d e; key m; include /z; backup-directory /no; backup-generations 1; }";
    let parsed = config::parse(&Text::from("c"), &mut |_| Ok(text.as_bytes().to_vec()));
    let config = parsed.config;
    let [a, b, c] = ["a", "b", "c"].map(|name| Meaning::new(&config, &Text::from(name)));
    let name = |name: &str| Text::from(name);
    let key = |meaning: &Meaning<'_>, file: &str, peer: &str| {
        meaning.key_of(&name(file), &name(peer)).map(|key| key.text.to_string())
    };
    assert_eq!(key(&a, "/x/f", "b").as_deref(), Some("k"));
    assert_eq!(key(&a, "/x/f", "c").as_deref(), Some("/l"));
    assert_eq!(key(&a, "/y", "b"), None);
    assert!(
        a.may_push(&name("/x"), &name("b"))
            && !a.may_push(&name("/x"), &name("c"))
            && c.may_push(&name("/x"), &name("a"))
    );
    assert_eq!(a.wins_by_side(&name("/x"), &name("b")), Some(true));
    assert_eq!(b.wins_by_side(&name("/x"), &name("a")), Some(false));
    assert_eq!(a.wins_by_side(&name("/x"), &name("c")), None);
    assert_eq!(a.auto_of(&name("/x"), &name("c")), config::Auto::Younger);
    let files: Vec<String> =
        a.key_files(&name("/etc")).into_iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(files, ["/etc/k", "/l", "/etc/m"]);
    assert!(
        a.is_plain_to(&name("b"))
            && !b.is_plain_to(&name("a"))
            && a.is_plain_to(&name("c"))
            && c.is_plain_to(&name("a"))
    );
    assert_eq!(a.peers().into_iter().map(ToString::to_string).collect::<Vec<_>>(), ["b", "c"]);
    let backups = a.backups(&name("/x/f"));
    let told: Vec<String> =
        backups.iter().map(|kept| format!("{} {} {}", kept.group, kept.newest, kept.older)).collect();
    assert_eq!(told, ["two /two/x/f /two/x/f.4", "one /bak/x/f /bak/x/f.2"]);
    let d = Meaning::new(&config, &name("d"));
    assert_eq!(d.backups(&name("/z")), []);
    assert!(pattern::matches(b"c*", b"c", pattern::NAME));
}

#[test]
fn what_will_be_regretted_is_said() {
    let text = "nossl a b;\n\
                group g { host a b a; key k;\n\
                exclude /etc/x;\n\
                include /etc %p%;\n\
                action { pattern *.conf;\n\
                pattern /etc/;\n\
                pattern * /etc **.c; } }\n\
                group g { host (b c); key k; include /y; }\n\
                group alone { host a; key k; include *.c; }\n\
                prefix p { on b: /x; }\n\
                prefix p { on b: /y; }";
    let parsed = config::parse(&Text::from("c"), &mut |_| Ok(text.as_bytes().to_vec()));
    let told = |host: &str| {
        let problems = Meaning::new(&parsed.config, &Text::from(host)).problems();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let expected = [
        "c:2: warning: host `a` stands in group `g` twice (first at c:2)",
        "c:3: warning: `exclude /etc/x` has no effect: the last pattern that matches decides, and that is `include /etc` at c:4. \
         Put it behind",
        "c:4: `include %p%`: the prefix has no path on this host (a): csync2 ends as soon as it gets there. Add `on a: PATH;` to it",
        "c:5: warning: this action runs nothing: `exec` is missing",
        "c:5: warning: `pattern *.conf` of an action is matched against the whole path, which begins with `/`: it never matches",
        "c:6: warning: `pattern /etc/` of an action matches nothing with the `/` at its end: remove it",
        "c:8: warning: a second group `g` (the first is at c:2): -G and messages cannot tell them apart",
        "c:8: warning: group `g` has no host that is not a slave: nobody's changes are taken",
        "c:9: warning: group `alone` has one host only: nothing is synchronised",
        "c:9: warning: group `alone` includes no path: nothing is synchronised",
        "c:11: warning: a second prefix `p`: where both have a path for a host, this one counts, not that of c:10",
        "c:1: warning: `nossl a b` is said in one direction only: a will speak plainly and b refuse it. Add `nossl b a;`",
    ];
    assert_eq!(told("a"), expected);
    assert!(told("z")[0].starts_with("c:2: this host (z) is in no group"), "{:?}", told("z"));
}
