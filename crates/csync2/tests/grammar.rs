//! The same files before our parser and the real csync2: both take them, or both refuse them.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

mod real;

use std::path::Path;

use csync2::config::{self, Parsed};
use csync2::{Text, key};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn ours(directory: &Path) -> Parsed {
    config::parse(&Text::from("csync2.cfg"), &mut |name| {
        let name = String::from_utf8(name.bytes().to_vec()).map_err(|error| error.to_string())?;
        std::fs::read(directory.join(name)).map_err(|error| error.to_string())
    })
}

/// Does csync2 take the configuration in `directory`? `Err` is what it said against it.
fn theirs(directory: &Path) -> Result<(), String> {
    let output = real::csync2(directory, "a", &["-H"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // -H: 2 is an empty list, and also how its scanner ends when it cannot read a file.
    match output.status.code() {
        Some(2) if said.is_empty() => Ok(()),
        Some(1) if said.starts_with("This host (a) is not a member") => Ok(()),
        Some(1 | 2) if !said.is_empty() => Err(said),
        other => panic!("csync2 ended with {other:?}: {}", real::text(&output)),
    }
}

/// A directory with what the texts below include and name as keys.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    for name in ["k", "a", "b", "x{", "a:b", "3", "uid", "first"] {
        file(name, &format!("{}\n", real::KEY));
    }
    file("short", "abc\n");
    file("inc", "group i { host a; key k; }");
    file("hosts", "\n\nhost a;\n");
    file("open", "nossl a \"b");
    file("deep", "config csync2.cfg;");
    file("semicolon", ";");
    std::fs::create_dir(directory.path().join("folder")).unwrap();
    directory
}

fn write(directory: &Path, text: &str) {
    std::fs::write(directory.join("csync2.cfg"), text).unwrap();
}

const GOOD: &[&str] = &[
    "",
    "# nothing\n",
    "group g { host a; key k; }",
    "group { host a; key k; }",
    "group g { host a; key k;}",
    "group g { host a; key k;}#",
    "group \"g h\" { host a; key \"k\"; }",
    "group g\n{\nhost a b c@d;\nhost (e f@g) h (i);\nhost;\nhost ();\nkey k;\n}\n",
    "group g { host A@B; key k; include /a /b/ *.c; include; exclude; compare; compare /x; compare /x /y; }",
    "group g { key k; auto younger; backup-directory /b; backup-generations 3; }",
    "group g { key k; backup-directory /b; backup-directory /c; backup-generations many; }",
    "group g { key k; action { } action { pattern a b; pattern; exec \"x y\" z; exec; logfile l; logfile m; do-local; do-local-only; } }",
    "group g { key k; action { exec x; } include /x; action { } }",
    "prefix p { } prefix p { on a: /b; on * : /c/; on \"b c\" : \"/d e\"; }",
    "nossl a b; nossl * *; database /x; database /y; tempdir t; ignore; ignore uid gid mod; lock-timeout 4; lock-timeout x;",
    "group g { host a; key k; include \"/x;y{}#@()\"; }",
    "group g { host a; key k; include \"/x\ny\"; }",
    "group g { host a; key k; include \"\"; } \"\"",
    "group g { host a; key k; } \"",
    "group g { host a; key k; include /x{y} {z a}; } # no end of line",
    "group g { host a; key k; include /x#comment\n; }",
    "group g { host a; key k; include a:b ::c d; }",
    "group g { host a\u{c}b; key k; }",
    "config inc;",
    "config inc inc;",
    "config inc",
    "config",
    "config;",
    "config\n inc\n;",
    "group g { config hosts; key k; }",
    "group g { host a config semicolon; key k; }",
    "config open; ;",
    "ignore uid config semicolon",
    "group x { host a; key k; }\r\n",
    "group \"config\" { host \"group\"; key k; }",
    "group groups { host hosts on1; key k; include /config; }",
];

const BAD: &[&str] = &[
    "foo",
    "foo;",
    ";",
    "}",
    "{ }",
    "group",
    "group g",
    "group g;",
    "group g h { key k; }",
    "group g { host a; key k; };",
    "group g{ host a; key k; }",
    "group g {host a; key k; }",
    "group g { host a; key k;}group h { key k; }",
    "group g { host a; }",
    "group g { host a; key k",
    "group g { host a; key k }",
    "group g { host a; key k;",
    "group g { host a; key; }",
    "group g { host a; key k k; }",
    "group g { host a; key k; key k; }",
    "group g { host a; key k;; }",
    "group g { host on; key k; }",
    "group g { host a, key k; }",
    "group g { host (a; key k; }",
    "group g { host a); key k; }",
    "group g { host ((a)); key k; }",
    "group g { host a@; key k; }",
    "group g { host a@b@c; key k; }",
    "group g { host @a; key k; }",
    "group g { host a@(b); key k; }",
    "group g { host a: b; key k; }",
    "group g { include a@b; key k; }",
    "group g { include /a exclude /b; key k; }",
    "group g { auto; key k; }",
    "group g { auto often; key k; }",
    "group g { auto none; auto none; key k; }",
    "group g { backup-directory; key k; }",
    "group g { backup-generations 1 2; key k; }",
    "group g { key k; action { }; }",
    "group g { key k; action x { } }",
    "group g { key k; action { do-local a; } }",
    "group g { key k; action { logfile; } }",
    "group g { key k; action { exec a } }",
    "group g { key k; action { include /x; } }",
    "group g { key k; action { exec a; }",
    "group g { key k; pattern a; }",
    "group g { key k; nossl a b; }",
    "group g { key k; prefix p { } }",
    "group g { key k; group h { key k; } }",
    "prefix { }",
    "prefix p { on a:/b; }",
    "prefix p { on a /b; }",
    "prefix p { on a: b; }",
    "prefix p { on : /b; }",
    "prefix p { on a b: /b; }",
    "prefix p { a: /b; }",
    "prefix p { on a: /b };",
    "nossl a;",
    "nossl a b c;",
    "nossl;",
    "database;",
    "tempdir a b;",
    "lock-timeout;",
    "ignore all;",
    "no-cygwin-lowercase;",
    "include /x;",
    "config gone;",
    "config csync2.cfg;",
    "config deep;",
    "config folder;",
    "config \"inc\";",
    "config inc # comment\n;",
    "config open;",
    "group g { key k; include \"/x; }",
    "group g { key k; } \"x",
];

#[test]
fn both_take_the_good_and_refuse_the_bad() {
    let directory = directory();
    for (texts, good) in [(GOOD, true), (BAD, false)] {
        for text in texts {
            write(directory.path(), text);
            let (ours, theirs) = (ours(directory.path()), theirs(directory.path()));
            assert_eq!(theirs.is_ok(), good, "csync2 about {text:?}: {theirs:?}");
            assert_eq!(
                ours.is_accepted(),
                good,
                "we about {text:?}: {:?}, csync2: {theirs:?}",
                ours.problems
            );
        }
    }
}

#[test]
fn both_agree_on_random_texts() {
    let words = vec![
        "group",
        "host",
        "key",
        "include",
        "compare",
        "auto",
        "action",
        "pattern",
        "exec",
        "logfile",
        "do-local",
        "prefix",
        "on",
        "nossl",
        "ignore",
        "database",
        "lock-timeout",
        "backup-directory",
        "{",
        "{",
        "}",
        "}",
        "(",
        ")",
        ";",
        ";",
        ";",
        ";",
        ":",
        "@",
        "\"",
        "#",
        "\n",
        "config",
        "a",
        "b",
        "/x/",
        "k",
        "uid",
        "first",
        "3",
        "a:b",
        "x{",
        "inc",
        "a:",
        // Whole statements, so that some of the texts are good.
        "group g {",
        "host a b;",
        "key k;",
        "include /x;",
        "action {",
        "exec \"x\";",
        "}",
        "}",
        "prefix p {",
        "on a: /b;",
        "nossl a b;",
        "config inc;",
        "auto first;",
        "host a (b@c);",
        "group i { key k; }",
        "group i { key k; }",
    ];
    let texts = prop::collection::vec(
        (prop::sample::select(words), prop::sample::select(vec![" ", " ", "\n", " ", ""])),
        0..14,
    );
    let directory = directory();
    let counts = std::cell::Cell::new((0, 0));
    let mut runner = TestRunner::new(Config { cases: 1000, failure_persistence: None, ..Config::default() });
    let result = runner.run(&texts, |pieces| {
        let text: String = pieces.into_iter().flat_map(|(word, space)| [word, space]).collect();
        write(directory.path(), &text);
        let (ours, theirs) = (ours(directory.path()), theirs(directory.path()));
        // Which files are there is the table's matter.
        prop_assume!(!theirs.as_ref().is_err_and(|said| said.contains("keyfile")));
        let (taken, refused) = counts.get();
        counts.set(if theirs.is_ok() { (taken + 1, refused) } else { (taken, refused + 1) });
        prop_assert_eq!(
            ours.is_accepted(),
            theirs.is_ok(),
            "{:?}\nours: {:?}\ncsync2: {:?}",
            text,
            ours.problems,
            theirs
        );
        if ours.is_accepted() {
            // What we print means the same to csync2 at least in that it takes it.
            write(directory.path(), &ours.config.to_string());
            let printed = self::theirs(directory.path());
            prop_assert!(printed.is_ok(), "{}: {:?}", ours.config, printed);
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let (taken, refused) = counts.get();
    assert!(taken > 50 && refused > 50, "the texts are not worth much: {taken} taken, {refused} refused");
}

#[test]
fn both_judge_keys_alike() {
    let directory = directory();
    write(directory.path(), "group g { host a; key the-key; }");
    let long = "x".repeat(1500);
    let line_of_1100_and_bad = format!("{}\u{20ac}", "x".repeat(1100));
    let keys = [
        "",
        "\n",
        "short\n",
        real::KEY,
        &format!("{}\n", real::KEY),
        &format!("{}\r\n", real::KEY),
        &format!("{} \n", real::KEY),
        &format!("{}\nsecond line!", real::KEY),
        &format!("{}-\n", real::KEY),
        &"x".repeat(31),
        &"x".repeat(32),
        &long,
        &line_of_1100_and_bad,
    ];
    for contents in keys {
        std::fs::write(directory.path().join("the-key"), contents).unwrap();
        let (ours, theirs) = (key::key(contents.as_bytes()), theirs(directory.path()));
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{contents:?}: {ours:?}, csync2: {theirs:?}");
    }
}
