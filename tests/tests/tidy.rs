//! What reviewers would otherwise look for by hand: the layering of the source.

// Test code: what goes wrong fails the test, there and then.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The code of a file without its tests and comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = product.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn modules_that_decide_touch_nothing() {
    let pure = [
        "agents/vip/src/parameters.rs",
        "agents/vip/src/values.rs",
        "agents/vip/src/config.rs",
        "agents/vip/src/facts.rs",
        "agents/vip/src/record.rs",
        "agents/vip/src/change.rs",
        "agents/vip/src/plan.rs",
        "agents/vip/src/source.rs",
        "agents/vip/src/arp.rs",
        "agents/vip/src/ndp.rs",
        "agents/vip/src/frame.rs",
        "agents/lsync/src/config.rs",
        "agents/lsync/src/control.rs",
        "agents/lsync/src/core.rs",
        "agents/lsync/src/core/text.rs",
        "agents/lsync/src/excludes.rs",
        "agents/lsync/src/lsyncd.rs",
        "agents/lsync/src/parameters.rs",
        "agents/lsync/src/peers.rs",
        "agents/lsync/src/report.rs",
        "agents/lsync/src/rsyncd.rs",
        "agents/lsync/src/settings.rs",
        "agents/lsync/src/transfer.rs",
        "agents/lsync/src/values.rs",
        "crates/csync2/src/config.rs",
        "crates/csync2/src/config/lexer.rs",
        "crates/csync2/src/config/parser.rs",
        "crates/csync2/src/config/parser/group.rs",
        "crates/csync2/src/config/print.rs",
        "crates/csync2/src/database/checked.rs",
        "crates/csync2/src/database/encoding.rs",
        "crates/csync2/src/decide.rs",
        "crates/csync2/src/decide/guard.rs",
        "crates/csync2/src/decide/settle.rs",
        "crates/csync2/src/decide/status.rs",
        "crates/csync2/src/key.rs",
        "crates/csync2/src/meaning.rs",
        "crates/csync2/src/meaning/check.rs",
        "crates/csync2/src/messages.rs",
        "crates/csync2/src/messages/line.rs",
        "crates/csync2/src/messages/read.rs",
        "crates/csync2/src/messages/run.rs",
        "crates/csync2/src/messages/table.rs",
        "crates/csync2/src/messages/trouble.rs",
        "crates/csync2/src/pattern.rs",
        "crates/csync2/src/place.rs",
        "crates/csync2/src/text.rs",
        "crates/ocf/src/action.rs",
        "crates/ocf/src/code.rs",
        "crates/ocf/src/environment.rs",
        "crates/ocf/src/manual.rs",
        "crates/ocf/src/metadata.rs",
        "crates/ocf/src/parameters.rs",
        "crates/ocf/src/value.rs",
        "crates/ocf/src/verdict.rs",
    ];
    for path in pure {
        let code = code(&root().join(path));
        for effect in [
            "std::env",
            "std::fs",
            "std::process",
            "std::thread",
            "Instant::now",
            "SystemTime::now",
            "socket(",
        ] {
            assert!(!code.contains(effect), "{path} names {effect}");
        }
    }
}

#[test]
fn crates_know_nothing_of_each_other_but_process_and_agents_nothing_of_agents() {
    let agents = ["vip-agent", "lsync-agent", "csync-agent", "drbd-promote-agent"];
    let crates = ["csync2", "ocf", "netlink", "cluster", "lab"];
    let names = |manifest: &Path, other: &str| {
        std::fs::read_to_string(manifest).unwrap().lines().any(|line| line.starts_with(&format!("{other}.")))
    };
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        for other in crates.iter().chain(&agents) {
            assert!(!names(&manifest, other), "{} depends on {other}", manifest.display());
        }
    }
    for entry in std::fs::read_dir(root().join("agents")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        for other in agents {
            assert!(!names(&manifest, other), "{} depends on {other}", manifest.display());
        }
    }
}

#[test]
fn files_can_be_read_in_one_sitting_and_say_what_they_are_for() {
    for directory in ["agents", "crates", "tests"] {
        for path in sources(&root().join(directory)) {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().count();
            assert!(lines <= 600, "{} has {lines} lines", path.display());
            assert!(text.starts_with("//!"), "{} does not say what it is for", path.display());
        }
    }
}

#[test]
fn every_manifest_inherits_licence_and_lints() {
    for directory in ["agents", "crates", "tests"] {
        let mut manifests = vec![root().join(directory).join("Cargo.toml")];
        let entries = std::fs::read_dir(root().join(directory)).unwrap();
        manifests.extend(entries.map(|entry| entry.unwrap().path().join("Cargo.toml")));
        for manifest in manifests.iter().filter(|manifest| manifest.is_file()) {
            let text = std::fs::read_to_string(manifest).unwrap();
            for line in ["license.workspace = true", "[lints]\nworkspace = true"] {
                assert!(text.contains(line), "{} lacks {line:?}", manifest.display());
            }
        }
    }
}

#[test]
fn the_changelog_knows_the_version() {
    let changelog = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(changelog.contains(concat!("\n## ", env!("CARGO_PKG_VERSION"))));
}
