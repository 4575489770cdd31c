//! `docs/benchmarks.md`: a section for each agent, written when all of the agent was measured; the others stay.

use crate::{csync, lsync};
use anyhow::{Context, Result};
use std::path::Path;

/// What the page has a section of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Vip,
    Lsync,
    Csync,
}

impl Section {
    const ALL: [Section; 3] = [Section::Vip, Section::Lsync, Section::Csync];

    /// The agent's name, and the heading.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Section::Vip => "vip",
            Section::Lsync => "lsync",
            Section::Csync => "csync",
        }
    }

    /// The heads of the columns of the two that are compared.
    pub(crate) fn compared(self) -> (&'static str, &'static str) {
        match self {
            Section::Vip => ("vip", "IPaddr2"),
            Section::Lsync => ("lsync", "by hand"),
            Section::Csync => ("csync", "csync2 -x"),
        }
    }

    fn introduction(self) -> &'static str {
        match self {
            Section::Vip => "`ocf:bascule:vip` beside `ocf:heartbeat:IPaddr2`, measured in one run.",
            Section::Lsync => {
                "`ocf:bascule:lsync` beside lsyncd and rsync set up by hand, measured in one run."
            }
            Section::Csync => "`ocf:bascule:csync` beside csync2 run by hand, measured in one run.",
        }
    }

    fn notes(self, floor: &str) -> String {
        match self {
            Section::Vip => vip_notes(floor),
            Section::Lsync => lsync::notes(),
            Section::Csync => csync::notes(),
        }
    }
}

/// Replaces the section of one agent.
pub(crate) fn write(section: Section, facts: &str, floor: &str, table: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let new = format!(
        "{}\n\n{facts}\n{table}\nTimes are medians, with the tenth percentile (the run that was least disturbed) in parentheses.\n\n{}",
        section.introduction(),
        section.notes(floor)
    );
    std::fs::write(&path, document(&before, section, &new)).context("writing docs/benchmarks.md")
}

/// The page with one section replaced.
fn document(before: &str, section: Section, new: &str) -> String {
    let mut text = String::from(
        "# Benchmarks

This page is written by `make bench`; nothing in it is written by hand. Judge by the ratios: the times are those of the machine that is
named, and of whatever else it did.
",
    );
    for each in Section::ALL {
        let kept = part(before, each);
        let content = if each == section { Some(new) } else { kept };
        if let Some(content) = content {
            text += &format!("\n## {}\n\n{}\n", each.name(), content.trim());
        }
    }
    text
}

/// What is below a section's heading.
fn part(page: &str, section: Section) -> Option<&str> {
    let (_, rest) = page.split_once(&format!("\n## {}\n", section.name()))?;
    Some(rest.split("\n## ").next().unwrap_or(rest))
}

fn vip_notes(floor: &str) -> String {
    format!(
        "- *Floor*: `int main(void) {{ return 0; }}`, built by `{floor}`, with the C library that the agent has.
- Calls are made as Pacemaker makes them, by `posix_spawn` and `wait4`, all programs in turn in a private network namespace,
  so that noise hits them alike; time is from before the fork until the exit code is there, CPU time is what `wait4` tells,
  children included. What a call does is counted under `ptrace`.
- Announcements are stamped by the kernel at the other end of a veth; at the first one an echo request is sent to the address.
- Failover: three nodes and a client in network namespaces, Corosync's token 1000 ms, fencing on. Both addresses are on the
  node that is killed, so that each crash measures both and what differs between crashes is the same for both; half way
  their names are exchanged. The client pings each every 20 ms. Some 2.2 s of an outage Corosync waits to be sure.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_section_is_replaced_and_the_other_stays() {
        let first = document("", Section::Lsync, "a\n");
        assert!(first.ends_with("\n## lsync\n\na\n"), "{first}");
        let second = document(&first, Section::Vip, "b\n");
        assert!(second.ends_with("\n## vip\n\nb\n\n## lsync\n\na\n"), "{second}");
        assert_eq!(document(&second, Section::Lsync, "a"), second);
        assert!(document(&second, Section::Lsync, "c").ends_with("\n## vip\n\nb\n\n## lsync\n\nc\n"));
    }
}
