//! What csync2 takes and an administrator will regret: checks of a whole configuration for one host.

use std::collections::BTreeMap;

use super::{Meaning, Verdict, is_path, verdict};
use crate::config::{Group, Kind};
use crate::pattern::{NAME, matches};
use crate::{At, Problem, Text};

pub(super) fn problems(meaning: &Meaning<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let config = meaning.config();
    if meaning.memberships().next().is_none() {
        let at = config.groups.first().map_or_else(
            || At { file: config.files.first().cloned().unwrap_or_else(|| "".into()), line: 1 },
            |group| group.at.clone(),
        );
        let text = format!(
            "this host ({}) is in no group: csync2 refuses to run here. Add it to a `host`, or give its name there to csync2 with -N",
            meaning.host()
        );
        problems.push(Problem::error(&at, text));
    }
    let mut names: BTreeMap<&Text, &Group> = BTreeMap::new();
    for group in &config.groups {
        if let Some(first) = names.insert(&group.name, group) {
            let text = format!(
                "a second group `{}` (the first is at {}): -G and messages cannot tell them apart",
                group.name, first.at
            );
            problems.push(Problem::warning(&group.at, text));
        }
        hosts(group, &mut problems);
        patterns(meaning, group, &mut problems);
        actions(group, &mut problems);
    }
    for (index, prefix) in config.prefixes.iter().enumerate() {
        if let Some(first) =
            config.prefixes.iter().take(index).find(|first| first.name.text == prefix.name.text)
        {
            let text = format!(
                "a second prefix `{}`: where both have a path for a host, this one counts, not that of {}",
                prefix.name.text, first.name.at
            );
            problems.push(Problem::warning(&prefix.name.at, text));
        }
    }
    nossl(meaning, &mut problems);
    problems
}

fn hosts(group: &Group, problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<&Text, &At> = BTreeMap::new();
    for host in &group.hosts {
        if let Some(first) = seen.insert(&host.name, &host.at) {
            let text =
                format!("host `{}` stands in group `{}` twice (first at {first})", host.name, group.name);
            problems.push(Problem::warning(&host.at, text));
        }
    }
    if group.hosts.iter().filter(|host| !host.slave).count() == 0 {
        let text =
            format!("group `{}` has no host that is not a slave: nobody's changes are taken", group.name);
        problems.push(Problem::warning(&group.at, text));
    } else if seen.len() < 2 {
        problems.push(Problem::warning(
            &group.at,
            format!("group `{}` has one host only: nothing is synchronised", group.name),
        ));
    }
}

fn patterns(meaning: &Meaning<'_>, group: &Group, problems: &mut Vec<Problem>) {
    let member = meaning.memberships().any(|membership| std::ptr::eq(membership.group, group));
    if !group.patterns.iter().any(|pattern| pattern.kind == Kind::Include && is_path(&pattern.text)) {
        let text = format!("group `{}` includes no path: nothing is synchronised", group.name);
        problems.push(Problem::warning(&group.at, text));
    }
    for (index, pattern) in group.patterns.iter().enumerate() {
        if pattern.text.bytes().first() == Some(&b'%') && member && meaning.path(&pattern.text).is_none() {
            let text = format!(
                "`{} {}`: the prefix has no path on this host ({}): csync2 ends as soon as it gets there. Add `on {}: PATH;` to it",
                pattern.kind,
                pattern.text,
                meaning.host(),
                meaning.host()
            );
            problems.push(Problem::error(&pattern.at, text));
        }
        // The classic: what is excluded here is included again further down.
        let undone = pattern.kind == Kind::Exclude
            && is_path(&pattern.text)
            && verdict(group, &pattern.text) == Verdict::Included;
        let by = group.patterns.get(index + 1..).unwrap_or_default().iter().rfind(|later| {
            later.kind == Kind::Include
                && is_path(&later.text)
                && matches(later.text.bytes(), pattern.text.bytes(), super::slashes(&later.text, true))
        });
        if let (true, Some(by)) = (undone, by) {
            let text = format!(
                "`exclude {}` has no effect: the last pattern that matches decides, and that is `include {}` at {}. Put it behind",
                pattern.text, by.text, by.at
            );
            problems.push(Problem::warning(&pattern.at, text));
        }
    }
}

fn actions(group: &Group, problems: &mut Vec<Problem>) {
    for action in &group.actions {
        if action.commands.is_empty() {
            problems.push(Problem::warning(&action.at, "this action runs nothing: `exec` is missing"));
        }
        // Matched against the whole path: only a star can stand for what comes before its first `/`, for nothing.
        let lost = |text: &Text| {
            let first = text.bytes().split(|byte| *byte == b'/').next().unwrap_or_default();
            !is_path(text) && super::slashes(text, true).separate && !matches(first, b"", NAME)
        };
        for pattern in action.patterns.iter().filter(|pattern| lost(&pattern.text)) {
            let text = format!(
                "`pattern {}` of an action is matched against the whole path, which begins with `/`: it never matches",
                pattern.text
            );
            problems.push(Problem::warning(&pattern.at, text));
        }
        for pattern in action.patterns.iter().filter(|pattern| pattern.text.bytes().ends_with(b"/")) {
            let text = format!(
                "`pattern {}` of an action matches nothing with the `/` at its end: remove it",
                pattern.text
            );
            problems.push(Problem::warning(&pattern.at, text));
        }
    }
}

/// A pair of which one speaks plainly and the other insists on TLS.
fn nossl(meaning: &Meaning<'_>, problems: &mut Vec<Problem>) {
    let config = meaning.config();
    for membership in meaning.memberships() {
        for peer in &membership.peers {
            let other = Meaning::new(config, &peer.name);
            let (out, back) = (meaning.is_plain_to(&peer.address), other.is_plain_to(membership.address));
            if out == back {
                continue;
            }
            let (from, to) =
                if out { (meaning.host(), &peer.address) } else { (&peer.name, membership.address) };
            let place = config.nossl.iter().find(|nossl| {
                matches(nossl.from.text.bytes(), from.bytes(), NAME)
                    && matches(nossl.to.text.bytes(), to.bytes(), NAME)
            });
            let Some(place) = place else { continue };
            let text = format!(
                "`nossl {} {}` is said in one direction only: {from} will speak plainly and {to} refuse it. \
                 Add `nossl {to} {from};`",
                place.from.text, place.to.text
            );
            let problem = Problem::warning(&place.from.at, text);
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
}
