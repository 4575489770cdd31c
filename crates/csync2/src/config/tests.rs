//! The parser alone; `tests/grammar.rs` has it beside the real csync2.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn read(files: &[(&str, &str)]) -> Parsed {
    let files: BTreeMap<Text, &str> = files.iter().map(|(name, text)| (Text::from(*name), *text)).collect();
    parse(&Text::from("main"), &mut |name| {
        files.get(name).map(|text| text.as_bytes().to_vec()).ok_or_else(|| "no such file".to_owned())
    })
}

fn problems(text: &str) -> Vec<String> {
    read(&[("main", text)]).problems.iter().map(ToString::to_string).collect()
}

/// The tree without its places, which printing changes.
fn placeless(mut config: Config) -> Config {
    let nowhere = At { file: "".into(), line: 0 };
    let word = |word: &mut Word| word.at = nowhere.clone();
    config.files.clear();
    for said in [&mut config.ignore_uid, &mut config.ignore_gid, &mut config.ignore_mod].into_iter().flatten()
    {
        *said = nowhere.clone();
    }
    config.database.iter_mut().chain(&mut config.tempdir).for_each(word);
    config.lock_timeout.iter_mut().for_each(|number| number.at = nowhere.clone());
    for nossl in &mut config.nossl {
        word(&mut nossl.from);
        word(&mut nossl.to);
    }
    for prefix in &mut config.prefixes {
        word(&mut prefix.name);
        for place in &mut prefix.places {
            word(&mut place.hosts);
            word(&mut place.path);
        }
    }
    for group in &mut config.groups {
        group.at = nowhere.clone();
        group.hosts.iter_mut().for_each(|host| host.at = nowhere.clone());
        group.patterns.iter_mut().for_each(|pattern| pattern.at = nowhere.clone());
        group.key.iter_mut().chain(&mut group.backup_directory).for_each(word);
        group.auto.iter_mut().for_each(|(_, at)| *at = nowhere.clone());
        group.backup_generations.iter_mut().for_each(|number| number.at = nowhere.clone());
        for action in &mut group.actions {
            action.at = nowhere.clone();
            action.patterns.iter_mut().chain(&mut action.commands).chain(&mut action.logfile).for_each(word);
        }
    }
    config
}

const SEED: &str = r#"# /etc/csync2.cfg
#nossl telnet ftp ssh apache;
group g1 {
    host telnet ftp; # hosts list
    key /etc/csync2.key_g1; # pre-shared key
    include /etc/xinetd.d;
    action { # action section for apache
        pattern /etc/xinetd.d;
        exec "/etc/init.d/xinetd restart";
        logfile "/var/log/csync2_action.log";
    }
    backup-directory /var/backups/csync2/g1;
    backup-generations 3; # backup old files
}
"#;

#[test]
fn the_seed_is_understood() {
    let parsed = read(&[("main", SEED)]);
    assert_eq!(parsed.problems, []);
    let group = &parsed.config.groups[0];
    assert_eq!(group.name, "g1");
    assert_eq!(group.at.to_string(), "main:3");
    assert_eq!(group.hosts.iter().map(|host| host.name.to_string()).collect::<Vec<_>>(), ["telnet", "ftp"]);
    assert_eq!(group.key.as_ref().unwrap().text, "/etc/csync2.key_g1");
    assert_eq!(group.patterns[0].text, "/etc/xinetd.d");
    let action = &group.actions[0];
    assert_eq!(action.commands[0].text, "/etc/init.d/xinetd restart");
    assert_eq!(action.commands[0].at.line, 9);
    assert_eq!(action.runs, Runs::Receiving);
    assert_eq!(group.backup_generations.as_ref().unwrap().value, 3);
}

#[test]
fn the_whole_grammar_is_understood() {
    let text = "database /d; tempdir \"/t t\"; lock-timeout 30; ignore uid mod; nossl *-a *-b;\n\
                prefix p { on A*: /a/; on * : /b; }\n\
                group { host A b@B-if (C d@D) e; key k; include /x/ %p%; exclude *~; compare /y; auto younger;\n\
                action { do-local; } action { exec a \"b c\"; pattern /x/**; do-local-only; } }";
    let parsed = read(&[("main", text)]);
    assert_eq!(parsed.problems, []);
    let config = parsed.config;
    assert_eq!(config.database.unwrap().text, "/d");
    assert_eq!(config.tempdir.unwrap().text, "/t t");
    assert_eq!(config.lock_timeout.unwrap().value, 30);
    assert!(config.ignore_uid.is_some() && config.ignore_gid.is_none() && config.ignore_mod.is_some());
    assert_eq!(config.prefixes[0].places[0].path.text, "/a");
    let group = &config.groups[0];
    assert_eq!(group.name, "group_1");
    let hosts = group.hosts.iter().map(|host| (host.name.to_string(), host.address.to_string(), host.slave));
    let told = |name: &str, address: &str, slave| (name.to_owned(), address.to_owned(), slave);
    let expected = [
        told("a", "a", false),
        told("b", "b-if", false),
        told("c", "c", true),
        told("d", "d", true),
        told("e", "e", false),
    ];
    assert_eq!(hosts.collect::<Vec<_>>(), expected);
    assert_eq!(group.auto.as_ref().unwrap().0, Auto::Younger);
    assert_eq!(group.actions[0].runs, Runs::Both);
    assert_eq!(group.actions[1].commands[1].text, "b c");
    assert_eq!(group.actions[1].runs, Runs::Noticing);
}

#[test]
fn everything_wrong_is_found_at_once_where_it_is() {
    let text = "group one {\n  host a\n  key k;\n  auto often;\n  include /x;\n  key l;\n  frobnicate 3;\n}\n\
                group two{ host a; }\n\
                group three {\n  host a (b;\n  include /y;\n  action { exce foo; exec x; }\n}\n\
                ignore all;\nprefix p { on a:/b; on * : c; }\nnossl a;\nhost x;\n}\n};\n";
    let expected = [
        "main:2: `;` is missing at the end of `host`, before `key` (or, if this `key` is a name and not the word of \
         csync2's language, write \"key\")",
        "main:4: `auto` knows none, first, younger, older, bigger, smaller, left or right, not `often`",
        "main:6: a second key: a group has one only (the first is at main:3)",
        "main:7: a statement of a group (host, key, include, exclude, compare, auto, action, backup-…) is expected, \
         found is `frobnicate`",
        "main:9: `two{` is one word to csync2: put a space before the brace",
        "main:9: group `two{` has no key: `key FILE;` is missing (`csync2 -k FILE` makes one)",
        "main:11: `(` is never closed: `)` is missing behind the slaves of `host`",
        "main:13: a statement of an action (pattern, exec, logfile, do-local, do-local-only) is expected, found is `exce`",
        "main:10: group `three` has no key: `key FILE;` is missing (`csync2 -k FILE` makes one)",
        "main:15: `ignore` knows uid, gid and mod, not `all`",
        "main:16: `a:/b` is one word to csync2: put a space behind the colon",
        "main:16: the path of a prefix is absolute, `c` does not begin with /",
        "main:17: two patterns of host names, `nossl FROM TO;`: is expected, found is `;`",
        "main:18: `host` stands within `group NAME { … }` only",
        "main:19: `}` closes nothing: remove it, or look for what opened it",
        "main:20: `}` closes nothing: remove it, or look for what opened it",
        "main:20: `;` without a statement before it (none stands behind `}`): remove it",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn blocks_that_are_never_closed_are_named() {
    let expected = [
        "main:1: the block of group `a` is never closed: `}` is missing",
        "main:3: the block of group `b` is never closed: `}` is missing",
    ];
    assert_eq!(problems("group a {\nkey k;\ngroup b {\nkey k;\n"), expected);
    assert_eq!(
        problems("prefix p {\non a : /b;\n"),
        ["main:1: the block of prefix `p` is never closed: `}` is missing"]
    );
}

#[test]
fn what_csync2_takes_otherwise_than_meant_is_a_warning() {
    let text =
        "group g { host a; key k; compare /a /b; backup-generations 1; include \"\"; }\nlock-timeout soon;";
    let expected = [
        "main:1: warning: `\"\"` is nothing to csync2, not an empty word: remove it",
        "main:1: warning: csync2 takes `/a` as `include`, not as `compare`: only the last word of `compare` is compared. \
         Write one `compare` for each",
        "main:1: warning: with `backup-generations 1` csync2 keeps no backup at all: 2 is the least",
        "main:2: warning: `lock-timeout` wants a number of seconds, `soon` counts as 0 to csync2",
    ];
    assert_eq!(problems(text), expected);
    assert!(read(&[("main", text)]).is_accepted());
}

#[test]
fn included_files_stand_in_their_place_and_keep_their_lines() {
    let files = [
        ("main", "group g {\n  config inc more;\n  include /x;\n}\nconfig gone;\nfoo"),
        ("inc", "\n\nhost a;\nauto odd;\n"),
        ("more", "key k; # no end of line"),
    ];
    let parsed = read(&files);
    assert_eq!(parsed.config.groups[0].hosts[0].at.to_string(), "inc:3");
    assert_eq!(parsed.config.groups[0].key.as_ref().unwrap().at.to_string(), "more:1");
    assert_eq!(parsed.config.files, ["main".into(), "inc".into(), "more".into()]);
    let problems: Vec<String> = parsed.problems.iter().map(|problem| problem.at.to_string()).collect();
    assert_eq!(problems, ["main:5", "inc:4", "main:6"]);
}

#[test]
fn a_file_that_includes_itself_is_one_problem() {
    let parsed = read(&[("main", "config main main main;")]);
    assert_eq!(parsed.problems.len(), 1);
    assert!(parsed.problems[0].text.contains("nested more than 10 files deep"), "{:?}", parsed.problems);
    let files = [
        ("main", "config a a a a a a a a a a;"),
        ("a", "config b b b b b b b b b b;"),
        ("b", "config c c c c c c c c c c;"),
    ];
    let mut files = files.to_vec();
    files.push(("c", "config d d d;"));
    files.push(("d", ""));
    let parsed = read(&files);
    assert_eq!(parsed.problems.len(), 1);
    assert!(parsed.problems[0].text.contains("more than 1000 files"), "{:?}", parsed.problems);
}

#[test]
fn numbers_are_read_as_csync2_does() {
    for (text, value) in
        [("7", 7), (" +8x", 8), ("-3", -3), ("x", 0), ("", 0), ("99999999999999999999", i32::MAX)]
    {
        let parsed = read(&[("main", &format!("lock-timeout \"{text}\";"))]);
        let number = parsed.config.lock_timeout;
        if text.is_empty() {
            assert_eq!(number, None);
        } else {
            assert_eq!(number.unwrap().value, value, "{text}");
        }
    }
}

/// Pieces of which texts are made that are often nearly right.
pub(super) fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "group", "host", "key", "include", "exclude", "compare", "auto", "action", "pattern", "exec", "logfile",
            "do-local", "do-local-only", "prefix", "on", "nossl", "ignore", "database", "tempdir", "lock-timeout",
            "backup-directory", "backup-generations", "{", "}", "(", ")", ";", ";", ";", ":", "@", "\"", "#", "\n", "config",
        ]).prop_map(str::to_owned),
        3 => prop::sample::select(vec!["a", "b", "/x/", "k", "uid", "first", "3", "%p%/y", "a:b", "x{", "inc"]).prop_map(str::to_owned),
        1 => "\\PC{0,6}",
    ];
    prop::collection::vec((piece, prop::sample::select(vec![" ", " ", " ", ""])), 0..60)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(piece, space)| [piece, space.to_owned()]).collect())
}

/// A configuration without errors.
fn good() -> impl Strategy<Value = String> {
    let word =
        prop_oneof!["[a-z/%.{}:*]{1,8}[a-z]", "\"[a-z /@;()#{}é\n]{1,8}\"", Just("\"group\"".to_owned())];
    let words = prop::collection::vec(word.clone(), 0..4).prop_map(|words| words.join(" "));
    let host = prop_oneof![
        word.clone(),
        (word.clone(), word.clone()).prop_map(|(name, address)| format!("{name}@{address}")),
        words.clone().prop_map(|words| format!("({words})")),
    ];
    let action = prop::collection::vec(
        prop_oneof![
            words.clone().prop_map(|words| format!("pattern {words};")),
            words.clone().prop_map(|words| format!("exec {words};")),
            word.clone().prop_map(|word| format!("logfile {word};")),
            Just("do-local;".to_owned()),
            Just("do-local-only;".to_owned()),
        ],
        0..4,
    );
    let statement = prop_oneof![
        prop::collection::vec(host, 0..4).prop_map(|hosts| format!("host {};", hosts.join(" "))),
        words.clone().prop_map(|words| format!("include {words};")),
        words.clone().prop_map(|words| format!("exclude {words};")),
        words.clone().prop_map(|words| format!("compare {words};")),
        word.clone().prop_map(|word| format!("backup-directory {word};")),
        word.clone().prop_map(|word| format!("backup-generations {word};")),
        action.prop_map(|statements| format!("action {{ {} }}", statements.join("\n"))),
    ];
    let auto = prop::option::of(prop::sample::select(Auto::ALL.to_vec()));
    let group = (prop::option::of(word.clone()), prop::collection::vec(statement, 0..6), auto).prop_map(
        |(name, statements, auto)| {
            let auto = auto.map_or_else(String::new, |(auto, _)| format!("auto {auto};"));
            format!("group {} {{ {} key k; {auto} }}", name.unwrap_or_default(), statements.join("\n"))
        },
    );
    let place = (word.clone(), "/[a-z/]{0,5}").prop_map(|(hosts, path)| format!("on {hosts} : {path};"));
    let block = prop_oneof![
        3 => group,
        1 => (word.clone(), prop::collection::vec(place, 0..3)).prop_map(|(name, places)| format!("prefix {name} {{ {} }}", places.join(""))),
        1 => (word.clone(), word.clone()).prop_map(|(from, to)| format!("nossl {from} {to};")),
        1 => prop::sample::select(vec!["ignore uid;", "ignore;", "ignore mod gid;", "lock-timeout 5;", "tempdir /t;", "database \"d\";"])
            .prop_map(str::to_owned),
    ];
    prop::collection::vec(block, 0..5).prop_map(|blocks| blocks.join("\n"))
}

proptest! {
    #[test]
    fn any_bytes_give_a_result(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let parsed = parse(&Text::from("main"), &mut |_| Ok(bytes.clone()));
        prop_assert_eq!(parsed.is_accepted(), parsed.errors().count() == 0);
    }

    #[test]
    fn any_pieces_give_a_result_and_what_is_accepted_survives_printing(text in pieces()) {
        check_round_trip(&text, false)?;
    }

    #[test]
    fn printing_and_parsing_again_gives_the_same(text in good()) {
        check_round_trip(&text, true)?;
    }
}

fn check_round_trip(text: &str, good: bool) -> Result<(), TestCaseError> {
    let parsed = read(&[("main", text), ("inc", "group i { key k; }")]);
    prop_assert!(parsed.is_accepted() || !good, "{:?}", parsed.problems);
    if parsed.is_accepted() {
        let printed = parsed.config.to_string();
        let again = read(&[("main", &printed)]);
        prop_assert!(again.is_accepted(), "{}\n{:?}", printed, again.problems);
        prop_assert_eq!(again.config.to_string(), printed);
        prop_assert_eq!(placeless(again.config), placeless(parsed.config));
    }
    Ok(())
}
