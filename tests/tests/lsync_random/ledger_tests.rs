//! The ledger on logs made up.

use super::*;

/// Lines with spaces for tabs.
fn log(node: &str, lines: &[&str]) -> Log {
    let text: String = lines.iter().map(|line| line.replace(' ', "\t") + "\n").collect();
    Log::read(node, &text).unwrap()
}

fn all(tree: &[(&str, &str)], saved: &[&str]) -> BTreeMap<String, Found> {
    let tree: Tree = tree.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
    let saved = saved.iter().map(|value| ("x".to_owned(), (*value).to_owned())).collect();
    let first = Found { tree: tree.clone(), saved, left: Vec::new() };
    BTreeMap::from([("n1".to_owned(), first), ("n2".to_owned(), Found { tree, ..Found::default() })])
}

/// a is acknowledged, its second version and b are not; then n2 takes over.
fn first() -> Log {
    log(
        "n1",
        &[
            "S 1 s 1 aa",
            "E",
            "> 2 1 write a v1 64",
            "< 2.1 1 ok",
            "A 3 3.5 8 1 aa",
            "> 4 2 write a v2 64",
            "< 4.1 2 ok",
            "> 5 3 write b v3 64",
            "< 5.1 3 ok",
        ],
    )
}

fn faults(second: &[&str], found: &BTreeMap<String, Found>) -> Vec<String> {
    judge(&[first(), log("n2", second)], found, 2).faults
}

#[test]
fn what_was_not_acknowledged_may_be_set_aside() {
    let second = ["S 6 t 2 bb", "B a full:v1", "E"];
    let end = [("a", "full:v1")];
    assert_eq!(faults(&second, &all(&end, &["full:v2", "full:v3"])), [""; 0]);
    let lost = faults(&second, &all(&end, &["full:v2"]));
    assert!(lost.len() == 1 && lost[0].contains("full:v3 was b in the end"), "{lost:?}");
    // Or it has arrived.
    let second = ["S 6 t 2 bb", "B a full:v2", "B b part:v3", "E"];
    let end = [("a", "full:v2"), ("b", "part:v3")];
    assert_eq!(faults(&second, &all(&end, &["full:v3"])), [""; 0]);
}

#[test]
fn what_was_acknowledged_is_there() {
    for (base, what) in
        [("B c full:v1", "a holds none"), ("B a full:v0", "a holds full:v0"), ("B a empty", "")]
    {
        let end = base.split(' ').collect::<Vec<_>>();
        let found =
            faults(&["S 6 t 2 bb", base, "E"], &all(&[(end[1], end[2])], &["full:v1", "full:v2", "full:v3"]));
        assert_eq!(
            found.iter().any(|fault| fault.contains("since the last acknowledgement")),
            !what.is_empty(),
            "{found:?}"
        );
        assert!(what.is_empty() || found.iter().any(|fault| fault.contains(what)), "{found:?}");
    }
}

#[test]
fn what_was_deleted_and_acknowledged_does_not_come_back() {
    let first =
        log("n1", &["S 1 s 1 aa", "B a full:w", "E", "> 2 1 delete a", "< 2.1 1 ok", "A 3 3.5 8 1 aa"]);
    let writes = log("n3", &["S 0 r 0 00", "E", "> 0.1 1 write a w 64", "< 0.2 1 ok"]);
    let second = log("n2", &["S 6 t 2 bb", "B a full:w", "E"]);
    let found = judge(&[writes.clone(), first.clone(), second], &all(&[("a", "full:w")], &[]), 2).faults;
    assert_eq!(found.len(), 1, "{found:?}");
    let second = log("n2", &["S 6 t 2 bb", "E"]);
    assert_eq!(judge(&[writes, first, second], &all(&[], &[]), 2).faults, [""; 0]);
}

#[test]
fn operations_are_followed() {
    let only = log(
        "n1",
        &[
            "S 1 s 1 aa",
            "E",
            "> 2 1 mkdir d",
            "< 2.1 1 ok",
            "> 3 2 write d/a v1 64",
            "< 3.1 2 ok",
            "> 4 3 rename d e",
            "< 4.1 3 ok",
            "> 5 4 link d x%20y",
            "< 5.1 4 ok",
            "> 6 5 write e/b v2 64",
            "O e/b part:v2",
            "< 6.1 5 failed",
            "> 7 6 write f v3 64",
            "< 7.1 6 ok",
            "> 8 7 delete e/a",
            "< 8.1 7 ok",
            "> 9 8 rename f g",
        ],
    );
    let end = [("d", "link:x%20y"), ("e", "dir"), ("e/b", "part:v2"), ("g", "full:v3")];
    assert_eq!(judge(std::slice::from_ref(&only), &all(&end, &[]), 1).faults, [""; 0]);
    let wrong = [("d", "link:x%20y"), ("e", "dir"), ("e/a", "full:v1"), ("e/b", "part:v2"), ("f", "full:v9")];
    let found = judge(&[only], &all(&wrong, &[]), 1).faults;
    for what in
        ["e/a holds full:v1 in the end", "full:v9, which nobody has written", "full:v3 was (being renamed)"]
    {
        assert!(found.iter().any(|fault| fault.contains(what)), "{what}: {found:?}");
    }
}

#[test]
fn a_source_that_is_written_by_others_is_noticed() {
    let only = log("n1", &["S 1 s 1 aa", "E", "> 2 1 write a v1 64", "< 2.1 1 ok", "X 3", "S 4 t 1 aa", "E"]);
    let found = judge(&[only], &all(&[], &["full:v1"]), 1).faults;
    assert!(found.iter().any(|fault| fault.contains("a was full:v1 and is none")), "{found:?}");
}

#[test]
fn what_changes_its_kind_may_be_missed() {
    let first = log(
        "n1",
        &[
            "S 1 s 1 aa",
            "B a link:x",
            "E",
            "A 2 3 8 1 aa",
            "> 4 1 write b v1 64",
            "< 4.1 1 ok",
            "> 5 2 rename b a",
            "< 5.1 2 ok",
        ],
    );
    let verdict = |aside: &[&str]| {
        let second = log("n2", &["S 6 t 2 bb", "E"]);
        judge(&[first.clone(), second], &all(&[], aside), 2).faults
    };
    assert_eq!(verdict(&["full:v1"]), [""; 0]);
    assert_eq!(verdict(&[]).len(), 1, "the new one is somewhere all the same");
}
