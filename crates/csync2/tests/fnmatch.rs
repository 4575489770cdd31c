//! Our patterns beside glibc's `fnmatch`, which csync2 calls.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]
// glibc's function is the oracle.
#![allow(unsafe_code)]
#![cfg(target_env = "gnu")]

use std::ffi::CString;

use csync2::pattern::{Slashes, matches};
use proptest::prelude::*;

const LEADING_DIR: i32 = 1 << 3;

fn glibc(pattern: &[u8], name: &[u8], slashes: Slashes) -> bool {
    let flags = if slashes.separate { libc::FNM_PATHNAME } else { 0 }
        | if slashes.contents { LEADING_DIR } else { 0 };
    let (pattern, name) = (CString::new(pattern).unwrap(), CString::new(name).unwrap());
    // SAFETY: both are strings that end with a NUL and live until the call returns.
    unsafe { libc::fnmatch(pattern.as_ptr(), name.as_ptr(), flags) == 0 }
}

fn agree(pattern: &[u8], name: &[u8]) -> Result<(), TestCaseError> {
    for (separate, contents) in [(false, false), (true, false), (false, true), (true, true)] {
        let slashes = Slashes { separate, contents };
        let (ours, theirs) = (matches(pattern, name, slashes), glibc(pattern, name, slashes));
        let (pattern, name) = (String::from_utf8_lossy(pattern), String::from_utf8_lossy(name));
        prop_assert_eq!(ours, theirs, "pattern {:?}, name {:?}, {:?}", pattern, name, slashes);
    }
    Ok(())
}

#[test]
fn table() {
    let names =
        ["", "/", "a", "/a", "/a/b", "/a/b/c", "/ab", "a]", "[a", "-", "/a.c", "/.a", "A", "\u{e9}", "/a/"];
    let patterns = [
        "",
        "/",
        "*",
        "**",
        "/*",
        "/a",
        "/a/",
        "/a*",
        "/a/*",
        "/a/**",
        "/**/c",
        "*.c",
        "?",
        "/?",
        "[a]",
        "[!a]",
        "[^a]",
        "[]a]",
        "[a-z]",
        "[z-a]",
        "[a-]",
        "[-a]",
        "[",
        "[a",
        "[]",
        "[!]",
        "[[:alpha:]]",
        "[[:nosuch:]]",
        "[a[:nosuch:]]",
        "[[:alpha]",
        "[[=a=]]",
        "[/]",
        "\\*",
        "\\a",
        "\\",
        "a\\",
        "[\\a]",
        "[a\\]",
        "/[ab]*",
        "*/",
        "*\\/b",
        "/*/*",
        "*?*",
        "/a?b",
        "[[:upper:][:digit:]]",
        "[[=a]",
    ];
    for pattern in patterns {
        for name in names {
            agree(pattern.as_bytes(), name.as_bytes()).unwrap();
        }
    }
}

#[test]
fn a_pattern_made_to_be_slow_is_not() {
    let pattern = "*a".repeat(40) + "b";
    assert!(!matches(pattern.as_bytes(), "a".repeat(400).as_bytes(), csync2::pattern::NAME));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random(
        pattern in prop::collection::vec(prop::sample::select(&b"aabc/*?[]!-\\:="[..]), 0..10),
        name in prop::collection::vec(prop::sample::select(&b"aabc//[]-\\*"[..]), 0..8),
    ) {
        agree(&pattern, &name)?;
    }

    #[test]
    fn random_paths(
        pattern in prop::collection::vec(prop::sample::select(vec!["/a", "/b", "/*", "/**", "*", "?", "a", "[ab]", "/", "[a/b]", "\\"]), 0..6),
        name in prop::collection::vec(prop::sample::select(vec!["/a", "/b", "/ab", "/a.b", "a", "/"]), 0..6),
    ) {
        agree(pattern.concat().as_bytes(), name.concat().as_bytes())?;
    }
}
