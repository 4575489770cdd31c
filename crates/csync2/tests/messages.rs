//! What csync2 prints, and what we say it means: every recorded output, the installed csync2 itself, and hostile texts.
//!
//! `fixtures/NAME.txt` was recorded from the real csync2 by `fixtures/record`; `fixtures/NAME.facts` is what must be read out of it.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

mod real;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use csync2::Text;
use csync2::database::Database;
use csync2::messages::{
    Change, Fact, Failure, FileTrouble, Judged, Line, Outcome, PeerTrouble, Reply, Run, Source, Test, read,
    table,
};
use proptest::prelude::*;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The names of all files with this extension.
fn names(extension: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let wanted = entries.filter(|path| path.extension().is_some_and(|found| found == extension));
    wanted.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// A command of a fixture.
struct Said {
    node: String,
    command: String,
    stderr: Vec<u8>,
    stdout: Vec<u8>,
    status: String,
}

impl Said {
    fn is_csync2(&self) -> bool {
        self.command.contains("csync2 ")
    }

    fn is_daemon(&self) -> bool {
        self.command == "csync2 -ii -v"
    }

    fn lines(&self) -> Vec<Line> {
        // Of the lock file, csync2 tells on stdout.
        let printed = if self.stdout.starts_with(b"Found ") { &self.stdout } else { &self.stderr };
        read(printed, if self.is_daemon() { Source::Daemon } else { Source::Client })
    }
}

fn fixture(name: &str) -> Vec<Said> {
    let bytes = std::fs::read(directory().join(format!("{name}.txt"))).unwrap();
    let mut said: Vec<Said> = Vec::new();
    let (mut begun, mut stdout) = (false, false);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if begun {
            let current = said.last_mut().unwrap();
            if let Some(status) = line.strip_prefix(b"--- rc=") {
                current.status = String::from_utf8_lossy(status).trim().to_owned();
                (begun, stdout) = (false, false);
            } else if line == b"--- stdout\n" {
                stdout = true;
            } else if stdout {
                current.stdout.extend_from_slice(line);
            } else {
                current.stderr.extend_from_slice(line);
            }
        } else {
            let line = std::str::from_utf8(line).unwrap().trim_end();
            let (node, command) = line.split_once("$ ").unwrap_or_else(|| panic!("{name}: {line}"));
            said.push(Said {
                node: node.to_owned(),
                command: command.to_owned(),
                stderr: Vec::new(),
                stdout: Vec::new(),
                status: String::new(),
            });
            begun = true;
        }
    }
    assert!(!begun && !said.is_empty(), "{name}.txt is cut");
    said
}

fn all_fixtures() -> BTreeMap<String, Vec<Said>> {
    names("txt").into_iter().map(|name| (name.clone(), fixture(&name))).collect()
}

/// What is in the lists, with times left out.
fn list(said: &Said) -> String {
    let letters: String = said.command.split(' ').filter_map(|word| word.strip_prefix('-')).collect();
    let show = |rows: Vec<String>| rows.iter().fold(String::new(), |all, row| format!("{all}  | {row}\n"));
    let rows = if letters.contains("TT") || said.stdout.is_empty() || !said.is_csync2() {
        return String::new();
    } else if letters.contains('M') {
        table::dirty(&said.stdout).unwrap().iter().map(|row| format!("{row:?}")).collect()
    } else if letters.contains('L') || letters.contains('S') {
        let timeless = |row: csync2::database::File| {
            let mut checked = row.checked().unwrap();
            checked.mtime = checked.mtime.map(|_| 0);
            format!("{} {}", checked.to_text(), row.name)
        };
        table::files(&said.stdout).unwrap().into_iter().map(timeless).collect()
    } else if letters.contains('T') {
        table::differences(&said.stdout).unwrap().iter().map(|row| format!("{row:?}")).collect()
    } else if letters.contains('H') {
        table::hints(&said.stdout).unwrap().iter().map(|row| format!("{row:?}")).collect()
    } else if letters.contains('d') {
        table::planned(&said.stdout).unwrap().iter().map(|row| format!("{row:?}")).collect()
    } else {
        return String::new();
    };
    show(rows)
}

/// What a run came to, in the words an administrator gets.
fn summary(run: &Run) -> String {
    let mut text = String::new();
    for peer in &run.peers {
        let new = if peer.new_certificate { ", new certificate" } else { "" };
        let connected = if peer.connected { "connected" } else { "not connected" };
        writeln!(text, "  = {}: {connected}{new}", peer.peer).unwrap();
        for file in &peer.files {
            writeln!(text, "    {:?} {}: {:?}", file.change, file.name, file.outcome).unwrap();
            if let Outcome::Failed(trouble) = &file.outcome {
                writeln!(text, "      {trouble}").unwrap();
            }
        }
        if let Some(trouble) = &peer.trouble {
            writeln!(text, "    {}: {trouble}", trouble.word()).unwrap();
        }
    }
    for note in &run.notes {
        writeln!(text, "  = note: {note}").unwrap();
    }
    if let Some(failure) = &run.failure {
        writeln!(text, "  = failed: {failure}").unwrap();
    }
    writeln!(text, "  = marked {}, commands {}, errors {:?}", run.marked.len(), run.commands, run.errors)
        .unwrap();
    text
}

/// A fact without what differs from recording to recording: ports, names of temporary files.
fn show(fact: &Fact) -> String {
    match fact {
        Fact::Accepted { address } => {
            let address = address.to_string();
            format!("Accepted from {}", address.rsplit_once(':').unwrap().0)
        }
        Fact::InputOutput { text } if text.to_string().starts_with("mkstemp ") => {
            format!("InputOutput mkstemp {}", text.to_string().rsplit_once(" failed: ").unwrap().1)
        }
        fact => format!("{fact:?}"),
    }
}

/// Everything that is read out of a fixture.
fn facts(said: &[Said]) -> String {
    let mut text = String::new();
    for said in said {
        writeln!(text, "{}$ {}", said.node, said.command).unwrap();
        if !said.is_csync2() {
            continue;
        }
        // The daemon's processes print side by side: each has its lines together here.
        let lines = said.lines();
        let mut sessions: Vec<Option<u32>> = vec![None];
        for line in &lines {
            if !sessions.contains(&line.session) {
                sessions.push(line.session);
            }
        }
        for (number, session) in sessions.iter().enumerate() {
            for line in lines.iter().filter(|line| line.session == *session && line.fact != Fact::Progress) {
                let session = if number > 0 { format!("<{number}> ") } else { String::new() };
                writeln!(text, "  {session}{}", show(&line.fact)).unwrap();
            }
        }
        if !said.is_daemon() {
            text.push_str(&summary(&Run::of(&lines)));
        }
        text.push_str(&list(said));
        if !said.is_daemon() {
            writeln!(text, "  = rc {}", said.status).unwrap();
        }
    }
    text
}

#[test]
fn every_recorded_output_is_read_as_it_must_be() {
    assert_eq!(names("txt"), names("facts"), "every fixture has its facts");
    let mut wrong = Vec::new();
    for (name, said) in all_fixtures() {
        let expected = std::fs::read_to_string(directory().join(format!("{name}.facts"))).unwrap();
        let found = facts(&said);
        if found != expected {
            let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.facts"));
            std::fs::write(&place, found).unwrap();
            wrong.push(format!(
                "diff {} {}",
                directory().join(format!("{name}.facts")).display(),
                place.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "what was read differs:\n{}", wrong.join("\n"));
}

#[test]
fn no_recorded_line_is_unknown() {
    for (name, said) in all_fixtures() {
        for said in said.iter().filter(|said| said.is_csync2()) {
            for line in said.lines() {
                assert!(!matches!(line.fact, Fact::Unknown(_)), "{name}: {}: {line:?}", said.command);
            }
        }
    }
}

#[test]
fn no_fact_has_a_key_in_it() {
    let keys = ["abcdefghijklmnopqrstuvwxyz.0123456789_ABCDEF", "another.key.of.more.than.32.characters"];
    let mut met = 0;
    for (name, said) in all_fixtures() {
        for said in said.iter().filter(|said| said.is_csync2()) {
            let printed = String::from_utf8_lossy(&said.stderr);
            met += usize::from(keys.iter().any(|key| printed.contains(key)));
            let lines = said.lines();
            let read = format!("{lines:?} {:?}", Run::of(&lines));
            assert!(!keys.iter().any(|key| read.contains(key)), "{name}: {}", said.command);
        }
    }
    assert!(met > 5, "csync2 -vvv prints them");
}

/// The only run of this command in the fixture, or the one with this number from 0.
fn run(name: &str, command: &str, number: usize) -> Run {
    let said = fixture(name);
    let said = said.iter().filter(|said| said.command == command).nth(number);
    Run::of(&said.unwrap_or_else(|| panic!("{name}: {command}")).lines())
}

/// The only peer's trouble, and what became of the files, by their last component.
fn came_to(run: &Run) -> (Option<PeerTrouble>, Vec<(String, Outcome)>) {
    let [peer] = &run.peers[..] else { panic!("{run:?}") };
    let last = |name: &Text| name.to_string().rsplit('/').next().unwrap().to_owned();
    let files = peer.files.iter().map(|file| (last(&file.name), file.outcome.clone()));
    (peer.trouble.clone(), files.collect())
}

#[test]
fn runs_came_to_what_they_were_made_for() {
    use FileTrouble::{Conflict, Denied, ParentMissing, Slave, Unsaid};
    use Outcome::{Done, Failed, Unfinished, UpToDate, Won};
    let file = |outcome| vec![("file".to_owned(), outcome)];
    let both = |outcome: Outcome| vec![("site".to_owned(), outcome.clone()), ("file".to_owned(), outcome)];
    let down = |why: &str| Some(PeerTrouble::Down { why: Text::from(why) });
    type Case = (&'static str, &'static str, usize, Option<PeerTrouble>, Vec<(String, Outcome)>);
    let table: Vec<Case> = vec![
        // -v does not say that it is a conflict, -vvv does.
        ("conflict-v", "csync2 -uv", 0, None, file(Failed(Unsaid))),
        ("conflict-vvv", "csync2 -uvvv", 0, None, file(Failed(Conflict(Judged::Not)))),
        ("conflict-vvv", "csync2 -uvvv", 1, None, file(Failed(Conflict(Judged::Not)))),
        ("conflict-v", "csync2 -uv", 2, None, file(Done)),
        // Of a removal, -v does.
        ("removal", "csync2 -xv", 0, None, file(Failed(Conflict(Judged::Not)))),
        ("removal", "csync2 -uv", 0, None, file(Failed(Unsaid))),
        ("removal", "csync2 -uv", 1, None, file(Done)),
        ("auto-younger", "csync2 -xv", 0, None, file(Failed(Conflict(Judged::Lost(Test::Time))))),
        ("auto-younger", "csync2 -xv", 1, None, file(Won(Test::Time))),
        ("auto-younger", "csync2 -xv", 2, None, file(Failed(Conflict(Judged::Removal)))),
        ("auto-right", "csync2 -xv", 2, None, file(Failed(Conflict(Judged::Lost(Test::Side))))),
        ("auto-first", "csync2 -xv", 2, None, file(Won(Test::First))),
        ("wrong-key", "csync2 -xv", 0, None, both(Failed(Unsaid))),
        ("wrong-key", "csync2 -uvvv", 0, None, both(Failed(Denied))),
        ("not-in-group-there", "csync2 -uvvv", 0, None, both(Failed(Denied))),
        ("slave", "csync2 -uvvv", 0, None, vec![("more".to_owned(), Failed(Slave))]),
        ("slave", "csync2 -xv", 1, None, vec![("more".to_owned(), Won(Test::Slave))]),
        ("peer-down", "csync2 -xv", 0, down("Connection refused"), vec![]),
        ("peer-unreachable", "csync2 -xv", 0, down("Network is unreachable"), vec![]),
        (
            "peer-unknown",
            "csync2 -xv",
            0,
            Some(PeerTrouble::Unknown { why: Text::from("Temporary failure in name resolution") }),
            vec![],
        ),
        ("identification", "sh -c exec csync2 -D /srv/db -xv", 0, Some(PeerTrouble::Refused), vec![]),
        (
            "identification",
            "sh -c exec csync2 -D /srv/db -uvvv",
            0,
            Some(PeerTrouble::Identification),
            vec![],
        ),
        ("tls-expected", "csync2 -xv", 0, Some(PeerTrouble::Refused), vec![]),
        ("tls-expected", "csync2 -uvvv", 0, Some(PeerTrouble::TlsExpected), vec![]),
        ("tls-own-changed", "csync2 -uvvv", 0, Some(PeerTrouble::Identification), vec![]),
        ("tls-peer-changed", "csync2 -xv", 0, Some(PeerTrouble::CertificateChanged), vec![]),
        ("tls-missing-there", "csync2 -xv", 0, Some(PeerTrouble::Silent), vec![]),
        ("bad-configuration-there", "csync2 -xv", 0, Some(PeerTrouble::Closed), vec![]),
        ("no-such-configuration-there", "csync2 -C second -xv", 0, Some(PeerTrouble::Closed), vec![]),
        ("not-a-member-there", "csync2 -xv", 0, Some(PeerTrouble::Closed), vec![]),
        ("busy-there", "csync2 -xv", 0, Some(PeerTrouble::Closed), vec![]),
        ("corrupt-there", "csync2 -xv", 0, Some(PeerTrouble::Closed), vec![]),
        (
            "prefix-undefined-there",
            "csync2 -uvvv",
            0,
            None,
            vec![("%p%".to_owned(), Failed(FileTrouble::Closed))],
        ),
        ("silent-peer", "csync2 -xv", 0, Some(PeerTrouble::Silent), vec![]),
        // The peer has kept it, and says nothing.
        ("backup-impossible", "csync2 -xv", 0, None, vec![("gone".to_owned(), Done)]),
        ("backup-impossible", "csync2 -xv", 1, Some(PeerTrouble::Interrupted), file(Unfinished)),
        // csync2 is killed by SIGPIPE.
        (
            "no-room",
            "csync2 -xv",
            0,
            Some(PeerTrouble::Interrupted),
            vec![("big".to_owned(), Failed(Unsaid))],
        ),
        ("not-empty", "csync2 -uvvv", 0, None, vec![("directory".to_owned(), Failed(FileTrouble::NotEmpty))]),
        // Both wait for each other.
        (
            "not-empty",
            "csync2 -xv",
            1,
            Some(PeerTrouble::Interrupted),
            vec![("directory".to_owned(), Unfinished)],
        ),
        ("backup", "csync2 -xv", 0, None, vec![("site".to_owned(), UpToDate), ("file".to_owned(), Done)]),
    ];
    for (name, command, number, trouble, files) in table {
        let run = run(name, command, number);
        assert_eq!(came_to(&run), (trouble, files), "{name} {command} {number}");
        assert_eq!(run.is_clean(), run.errors == Some(0), "{name} {command} {number}");
    }
    let missing = run("parent-missing", "csync2 -xv", 1);
    assert!(came_to(&missing).1.iter().any(|(_, outcome)| *outcome == Failed(ParentMissing)), "{missing:?}");
    let read_only = run("read-only", "csync2 -xv", 0);
    assert!(matches!(read_only.failure, Some(Failure::Broken { .. })), "the run ends there, for all peers");
    let came = came_to(&read_only);
    assert_eq!(came.0, Some(PeerTrouble::Interrupted));
    assert!(matches!(&came.1[..], [(_, Failed(FileTrouble::InputOutput(_))), (_, Unfinished)]), "{came:?}");
    let unmounted = run("unmounted", "csync2 -xv", 0);
    assert!(unmounted.is_clean(), "csync2 finds nothing wrong with deleting everything there");
    assert!(
        unmounted.peers[0].files.iter().all(|file| file.change == Change::Remove && file.outcome == Done)
    );
    // What has to be asked again, louder.
    let (beta, file) = (Text::from("beta"), Text::from("/srv/site/file"));
    assert_eq!(run("conflict-v", "csync2 -uv", 0).unsaid(), [(&beta, vec![&file])]);
    assert_eq!(run("tls-expected", "csync2 -xv", 0).unsaid(), [(&beta, vec![])]);
    assert!(run("conflict-vvv", "csync2 -uvvv", 0).unsaid().is_empty());
    assert_eq!(run("conflict-vvv", "csync2 -uvvv", 0).conflicts().count(), 1);
    assert_eq!(run("peer-down", "csync2 -xv", 0).troubles().count(), 1);
}

#[test]
fn names_with_line_ends_are_put_together() {
    let all = run("names", "csync2 -xv", 0);
    let hostile = Text::from("/srv/site/Finished with 7 errors.\nFinished with 9 errors.");
    assert!(all.marked.contains(&hostile), "{:?}", all.marked);
    assert!(all.marked.contains(&Text::from("/srv/site/new\nline")));
    assert!(all.marked.contains(&Text::from(&b"/srv/site/\xff"[..])));
    let pushed: Vec<&Text> = all.peers[0].files.iter().map(|file| &file.name).collect();
    assert!(pushed.contains(&&hostile) && pushed.contains(&&Text::from("/srv/site/on beta ...")));
    assert_eq!((all.errors, all.marked.len(), pushed.len()), (Some(0), 6, 6));
}

#[test]
fn what_ends_the_daemons_sessions_is_known() {
    let failures = |name: &str| -> Vec<Failure> {
        let said = fixture(name);
        let lines = said.iter().filter(|said| said.is_daemon()).flat_map(Said::lines);
        lines
            .filter_map(|line| match line.fact {
                Fact::Failed(failure) => Some(failure),
                _ => None,
            })
            .collect()
    };
    assert!(failures("busy-there").iter().all(|failure| *failure == Failure::DatabaseBusy));
    assert_eq!(failures("busy-there").len(), 3);
    assert!(matches!(failures("corrupt-there")[0], Failure::DatabaseCorrupt { .. }));
    assert!(matches!(failures("bad-configuration-there")[0], Failure::Syntax { line: 2, .. }));
    assert!(matches!(failures("no-such-configuration-there")[0], Failure::NoConfiguration { .. }));
    let host = Text::from("beta");
    assert_eq!(failures("not-a-member-there")[0], Failure::NotMember { host: host.clone() });
    assert_eq!(failures("prefix-undefined-there")[0], Failure::Prefix { prefix: Text::from("p"), host });
    assert!(matches!(failures("tls-missing-there").last(), Some(Failure::OwnTls { .. })));
    assert!(failures("conflict-v").is_empty());
    let said = fixture("backup-impossible");
    let daemon = said.iter().find(|said| said.is_daemon()).unwrap().lines();
    assert!(daemon.iter().any(|line| matches!(line.fact, Fact::BackupFailed { .. })));
    let said = fixture("backup");
    let daemon = said.iter().find(|said| said.is_daemon()).unwrap().lines();
    let received = |line: &&Line| matches!(line.fact, Fact::Received { .. });
    assert_eq!(daemon.iter().filter(received).count(), 7, "the lines that csync2 does not end hide none");
}

#[test]
fn names_may_look_like_the_rest_of_a_line() {
    let said = "<1> <2> Updated /a from b. from c.\n\
                <2> backup /a for group b for group g\n\
                <1> Updated /new\nline from b.\n\
                <1> New connection from ::1:9.";
    let text = |text: &str| Text::from(text);
    let received = |name: &str, peer: &str| Fact::Received { name: text(name), peer: text(peer) };
    let expected = [
        (2, received("/a from b.", "c")),
        (2, Fact::BackingUp { path: text("/a for group b"), group: text("g") }),
        (1, received("/new\nline", "b")),
        (1, Fact::Accepted { address: text("::1:9") }),
    ];
    let found =
        read(said.as_bytes(), Source::Daemon).into_iter().map(|line| (line.session.unwrap(), line.fact));
    assert_eq!(found.collect::<Vec<_>>(), expected);
    let said = b"response from peer(/a): b [1] <- OK): b [15] <- Permission denied!";
    let name = Some(text("/a): b [1] <- OK"));
    let expected = Fact::Replied { name, peer: text("b"), reply: Reply::Denied };
    assert_eq!(read(said, Source::Client)[0].fact, expected);
}

/// The installed csync2 says what the recorded one said.
#[test]
fn the_csync2_installed_here_refuses_in_the_same_words() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let path = |name: &str| Text::from(directory.path().join(name).as_os_str().as_bytes());
    write("k", real::KEY);
    write("short", "short");
    write("bad", &real::KEY.replace('.', "+"));
    let good = "group g { host a nowhere.invalid; key k; include /nowhere; }";
    let refused = |config: &str, arguments: &[&str]| {
        write("csync2.cfg", config);
        let output = real::csync2(directory.path(), "a", arguments);
        assert_eq!(output.status.code(), Some(1), "{}", real::text(&output));
        // Of the lock file, csync2 tells on stdout.
        let run = Run::of(&read(&[output.stdout.clone(), output.stderr.clone()].concat(), Source::Client));
        assert!(run.unknown.is_empty() || run.failure.is_some(), "{:?}", run.unknown);
        run.failure.unwrap_or_else(|| panic!("{}", real::text(&output)))
    };
    assert!(matches!(refused("group", &["-x"]), Failure::Syntax { line: 1 | 2, .. }));
    let host = Text::from("a");
    assert_eq!(refused("group g { host b; key k; }", &["-x"]), Failure::NotMember { host });
    assert_eq!(refused("group g { host a; key none; }", &["-x"]), Failure::NoKey { path: path("none") });
    assert_eq!(refused("group g { host a; key short; }", &["-x"]), Failure::KeyShort { path: path("short") });
    assert_eq!(refused("group g { host a; key bad; }", &["-x"]), Failure::KeyCharacter { path: path("bad") });
    assert!(matches!(refused("group g { host a; }", &["-x"]), Failure::Configuration { .. }));
    assert!(matches!(refused("config none.cfg;", &["-x"]), Failure::NoInclude { .. }));
    assert!(matches!(refused(good, &["-C", "none", "-x"]), Failure::NoConfiguration { .. }));
    assert_eq!(refused(good, &["-C", "NONE", "-x"]), Failure::ConfigurationName);
    assert!(matches!(refused(good, &["-z"]), Failure::Usage { .. }));
    assert_eq!(refused(good, &["-T", "a", "c"]), Failure::NoPair);
    assert_eq!(refused(good, &["-R", "-G", "g"]), Failure::RemoveOldOfGroups);
    write("a.db3", &"no database ".repeat(1000));
    assert!(matches!(refused(good, &["-x"]), Failure::DatabaseCorrupt { .. }));
    write("csync2.lock", "");
    assert_eq!(refused(good, &["-x"]), Failure::Locked { path: path("csync2.lock") });
}

/// Names that are as hard to read as csync2 lets them be, but no rows of its lists.
const NAMES: &[&[u8]] = &[
    b"plain",
    b"two  words",
    b"tab\tin",
    b"new\nline",
    b"\xff\xfe",
    b"on b ...",
    b"ends\n",
    b"%25",
    b"100%",
];

#[test]
fn lists_are_what_is_in_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    for name in NAMES {
        std::fs::write(root.join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
    }
    std::os::unix::fs::symlink("a b\nc:d", root.join("link")).unwrap();
    std::fs::write(directory.path().join("k"), real::KEY).unwrap();
    let config = format!("nossl * *; group g {{ host a b c; key k; include {}; }}", root.display());
    std::fs::write(directory.path().join("csync2.cfg"), config).unwrap();
    let run = |arguments: &[&str]| {
        let output = real::csync2(directory.path(), "a", arguments);
        assert_eq!(output.status.code(), Some(0), "{}", real::text(&output));
        output
    };
    let checked = run(&["-crv", "/"]);
    let marked = Run::of(&read(&checked.stderr, Source::Client));
    assert!(marked.is_clean() && marked.unknown.is_empty(), "{marked:?}");
    let forced = root.join("plain");
    run(&["-f", forced.to_str().unwrap()]);
    run(&["-h", forced.to_str().unwrap()]);
    run(&["-hr", root.to_str().unwrap()]);

    let database = Database::open(&directory.path().join("a.db3"), Duration::from_secs(5)).unwrap();
    let (mut files, mut dirty) = (database.files().unwrap(), database.dirty().unwrap());
    let mut hints = database.hints().unwrap();
    let mut found = table::files(&run(&["-L"]).stdout).unwrap();
    files.sort_by(|one, other| one.name.cmp(&other.name));
    found.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(found, files);
    assert_eq!(files.len(), NAMES.len() + 2);
    let names: BTreeSet<&Text> = files.iter().map(|file| &file.name).collect();
    assert_eq!(marked.marked.iter().collect::<BTreeSet<_>>(), names);
    let mut found = table::dirty(&run(&["-M"]).stdout).unwrap();
    dirty.sort();
    found.sort();
    assert_eq!(found, dirty);
    assert_eq!(dirty.iter().filter(|row| row.forced).count(), 2);
    let mut found = table::hints(&run(&["-H"]).stdout).unwrap();
    hints.sort();
    found.sort();
    assert_eq!(found, hints);
    assert_eq!(hints.iter().filter(|row| row.recursive).count(), 1);
}

#[test]
fn lists_that_are_none_are_refused() {
    assert_eq!(table::dirty(b"").unwrap(), []);
    assert!(table::dirty(b"v1:type=dir\t/x\n").is_err());
    assert!(table::files(b"chary\ta\tb\t/x\n").is_err());
    assert!(table::differences(b"Finished with 1 errors.\n").is_err());
    assert!(table::hints(b"2\t/x\n").is_err());
    assert!(table::planned(b"?Z: beta            /x\n").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(output in prop::collection::vec(any::<u8>(), 0..400)) {
        for source in [Source::Client, Source::Daemon] {
            let _ = Run::of(&read(&output, source));
        }
        let _ = (table::dirty(&output), table::files(&output), table::differences(&output), table::hints(&output));
        let _ = table::planned(&output);
    }

    /// Recorded lines in any order, cut anywhere.
    #[test]
    fn no_order_of_lines_panics(picks in prop::collection::vec(any::<prop::sample::Index>(), 0..30), cut in 0..60_usize) {
        static LINES: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(|| {
            let said = all_fixtures().into_values().flatten().filter(Said::is_csync2);
            said.flat_map(|said| said.stderr.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>()).collect()
        });
        let lines: Vec<&[u8]> = picks.iter().map(|pick| pick.get(&LINES).as_slice()).collect();
        let mut output = lines.join(&b'\n');
        output.truncate(output.len().saturating_sub(cut));
        for source in [Source::Client, Source::Daemon] {
            let run = Run::of(&read(&output, source));
            prop_assert!(!run.is_clean() || run.errors == Some(0));
        }
    }

    #[test]
    fn any_name_without_csync2s_own_lines_is_read(names in prop::collection::btree_set("/[a-z\n \t\u{e9}.]{0,12}x", 1..6)) {
        let marked: String = names.iter().map(|name| format!("Marking file as dirty: {name}\n")).collect();
        let pushed: String = names.iter().map(|name| format!("Updating {name} on b ...\n")).collect();
        let output = format!(
            "{marked}Connecting to host b (PLAIN) ...\nConnect to 127.0.0.1:1 (b).\n{pushed}Connection closed.\nFinished with 0 errors.\n"
        );
        let run = Run::of(&read(output.as_bytes(), Source::Client));
        let wanted: Vec<Text> = names.iter().map(|name| Text::from(name.as_str())).collect();
        prop_assert_eq!(&run.marked, &wanted);
        let pushed: Vec<Text> = run.peers[0].files.iter().map(|file| file.name.clone()).collect();
        prop_assert_eq!(pushed, wanted);
        prop_assert!(run.is_clean());
    }
}
