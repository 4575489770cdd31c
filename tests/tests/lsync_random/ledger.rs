//! What was written, where, and what of it has to be found: read from the logs of the applications, judged without touching anything.
//!
//! A *reign* is what one node wrote as the source of one generation. The rules:
//! * A reign begins with what the one before it left, at least as of its last acknowledgement: each path holds a value that
//!   it had at or after that moment. So nothing acknowledged is lost, undone, or comes back.
//!   (Where the kind of what is there changes, a link to a file say, nothing may be there: rsync cannot do that at once.)
//! * Every version that was there when a reign ended is in the next one's tree, or set aside on some node.
//! * In the end all trees are that of the last reign, and no content was ever found that nobody wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Paths and values, as the writer's log has them.
pub(crate) type Tree = BTreeMap<String, String>;

const NONE: &str = "none";

/// What was asked of the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Write { path: String, version: String },
    Rename { from: String, to: String },
    Delete { path: String },
    Mkdir { path: String },
    Link { path: String, target: String },
    Nothing,
}

/// An operation. Its end is `None` where the machine or the role was gone before it.
#[derive(Clone, Debug)]
struct Operation {
    begun: f64,
    ended: Option<f64>,
    what: What,
    /// After one that failed: what is there.
    seen: Option<Vec<(String, String)>>,
}

#[derive(Clone, Debug, Default)]
struct Session {
    name: String,
    generation: (u64, String),
    begun: f64,
    base: Tree,
    whole: bool,
    operations: Vec<Operation>,
}

/// What one application noted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    node: String,
    sessions: Vec<Session>,
    /// When an acknowledged question was asked, and in which generation.
    acknowledged: Vec<(f64, (u64, String))>,
    /// Questions that were not.
    refused: usize,
}

impl Log {
    /// Reads a log; the last line may be cut.
    pub(crate) fn read(node: &str, text: &str) -> Result<Self, String> {
        let mut log = Self { node: node.to_owned(), ..Self::default() };
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in complete.lines() {
            log.line(&line.split('\t').collect::<Vec<_>>())
                .ok_or_else(|| format!("{node}: {line:?} makes no sense"))?;
        }
        Ok(log)
    }

    fn line(&mut self, fields: &[&str]) -> Option<()> {
        let time = |text: &str| text.parse::<f64>().ok();
        match *fields {
            ["S", begun, name, number, id] => self.sessions.push(Session {
                name: name.to_owned(),
                generation: (number.parse().ok()?, id.to_owned()),
                begun: time(begun)?,
                ..Session::default()
            }),
            ["B", path, value] => {
                self.sessions.last_mut()?.base.insert(path.to_owned(), value.to_owned());
            }
            ["E"] => self.sessions.last_mut()?.whole = true,
            [">", begun, _, ref what @ ..] => {
                let what = match *what {
                    ["write", path, version, _] => What::Write { path: path.into(), version: version.into() },
                    ["rename", from, to] => What::Rename { from: from.into(), to: to.into() },
                    ["delete", path] => What::Delete { path: path.into() },
                    ["mkdir", path] => What::Mkdir { path: path.into() },
                    ["link", path, target] => What::Link { path: path.into(), target: target.into() },
                    ["chmod", _] => What::Nothing,
                    _ => return None,
                };
                let operation = Operation { begun: time(begun)?, ended: None, what, seen: None };
                self.sessions.last_mut()?.operations.push(operation);
            }
            ["O", path, value] => {
                let operation = self.sessions.last_mut()?.operations.last_mut()?;
                operation.seen.get_or_insert_default().push((path.to_owned(), value.to_owned()));
            }
            ["<", ended, _, outcome] => {
                let operation = self.sessions.last_mut()?.operations.last_mut()?;
                match outcome {
                    "ok" | "failed" => operation.ended = time(ended),
                    _ => {}
                }
                if outcome == "failed" {
                    operation.seen.get_or_insert_default();
                }
            }
            ["A", begun, _, code, number, id] => {
                if code == "8" {
                    self.acknowledged.push((time(begun)?, (number.parse().ok()?, id.to_owned())));
                } else {
                    self.refused += 1;
                }
            }
            ["X" | "#", ..] => {}
            _ => return None,
        }
        Some(())
    }
}

/// What an operation makes of a tree: paths with their new values.
fn effect(tree: &Tree, what: &What) -> Vec<(String, String)> {
    let below = |path: &str| -> Vec<(String, String)> {
        let prefix = format!("{path}/");
        let inner = tree.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        inner.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let gone = |path: &str| (path.to_owned(), NONE.to_owned());
    match what {
        What::Nothing => Vec::new(),
        What::Write { path, version } => vec![(path.clone(), format!("full:{version}"))],
        What::Mkdir { path } => vec![(path.clone(), "dir".to_owned())],
        What::Link { path, target } => vec![(path.clone(), format!("link:{target}"))],
        What::Delete { path } => {
            let inner = below(path).into_iter().map(|(name, _)| gone(&name));
            std::iter::once(gone(path)).chain(inner).collect()
        }
        What::Rename { from, to } => {
            let moved = tree.get(from).map(|value| (from.clone(), value.clone()));
            let all: Vec<(String, String)> = moved.into_iter().chain(below(from)).collect();
            let old = all.iter().map(|(name, _)| gone(name));
            let new = all.iter().filter_map(|(name, value)| {
                Some((format!("{to}{}", name.strip_prefix(from.as_str())?), value.clone()))
            });
            old.chain(new).collect()
        }
    }
}

fn put(tree: &mut Tree, path: &str, value: &str) {
    if value == NONE {
        tree.remove(path);
    } else {
        tree.insert(path.to_owned(), value.to_owned());
    }
}

fn at<'a>(tree: &'a Tree, path: &str) -> &'a str {
    tree.get(path).map_or(NONE, String::as_str)
}

/// `dir`, `link`, `file`, …
fn kind(value: &str) -> &str {
    match value.split(':').next() {
        Some("full" | "part" | "empty") | None => "file",
        Some(other) => other,
    }
}

/// A value that a path got, and when it had it for sure.
struct Change {
    by: f64,
    path: String,
    value: String,
}

/// What one node wrote as the source of one generation.
struct Reign {
    node: String,
    generation: (u64, String),
    base: Tree,
    changes: Vec<Change>,
    /// The tree in the end.
    tree: Tree,
    /// Paths of which the end is not known.
    unsure: BTreeSet<String>,
    /// Contents that have to be somewhere though their path is not known.
    homeless: BTreeSet<String>,
    acknowledged: Option<f64>,
}

impl Reign {
    fn new(node: &str, session: &Session) -> Self {
        Self {
            node: node.to_owned(),
            generation: session.generation.clone(),
            base: session.base.clone(),
            changes: Vec::new(),
            tree: session.base.clone(),
            unsure: BTreeSet::new(),
            homeless: BTreeSet::new(),
            acknowledged: None,
        }
    }

    fn name(&self) -> String {
        format!("generation {} of {}", self.generation.0, self.node)
    }

    /// A further session of the same reign: nobody else may have changed anything.
    fn goes_on(&mut self, session: &Session, faults: &mut Vec<String>) {
        for change in &mut self.changes {
            change.by = change.by.min(session.begun);
        }
        let paths: BTreeSet<&String> = self.tree.keys().chain(session.base.keys()).collect();
        for path in paths {
            let (before, found) = (at(&self.tree, path), at(&session.base, path));
            if before != found && !self.unsure.contains(path) {
                faults.push(format!(
                    "{}: {path} was {before} and is {found}, and it was not the application",
                    self.name()
                ));
            }
        }
        for path in &self.unsure {
            let value = at(&session.base, path).to_owned();
            self.changes.push(Change { by: session.begun, path: path.clone(), value });
        }
        self.tree = session.base.clone();
        self.unsure.clear();
        self.homeless.clear();
    }

    fn apply(&mut self, operation: &Operation) {
        let by = operation.ended.unwrap_or(f64::INFINITY);
        let mut change = |path: &str, value: &str| {
            self.changes.push(Change { by, path: path.to_owned(), value: value.to_owned() });
        };
        let effects = effect(&self.tree, &operation.what);
        // While it was written.
        if let What::Write { path, version } = &operation.what {
            change(path, "empty");
            change(path, &format!("part:{version}"));
        }
        if let What::Rename { from, .. } = &operation.what
            && operation.ended.is_none()
        {
            let inner =
                effects.iter().filter(|(path, _)| path == from || path.starts_with(&format!("{from}/")));
            self.homeless.extend(
                inner.map(|(path, _)| at(&self.tree, path).to_owned()).filter(|it| it.starts_with("full:")),
            );
        }
        for (path, value) in &effects {
            change(path, value);
        }
        let settled = operation.seen.as_ref().unwrap_or(&effects);
        for (path, value) in settled {
            change(path, value);
            if operation.ended.is_some() {
                put(&mut self.tree, path, value);
            }
        }
        if operation.ended.is_none() {
            self.unsure.extend(effects.into_iter().map(|(path, _)| path));
        }
    }

    /// The values that a path may have for whoever follows: those that it had when everything was last acknowledged, or later.
    fn allowed(&self, path: &str) -> BTreeSet<&str> {
        let since = self.acknowledged.unwrap_or(f64::NEG_INFINITY);
        let (mut then, mut later) = (at(&self.base, path), BTreeSet::new());
        for change in self.changes.iter().filter(|change| change.path == path) {
            if change.by <= since {
                then = &change.value;
            } else {
                later.insert(change.value.as_str());
            }
        }
        later.insert(then);
        // Something of another kind: rsync deletes the old before the new is there.
        let kinds: BTreeSet<&str> =
            later.iter().map(|value| kind(value)).filter(|kind| *kind != NONE).collect();
        if kinds.len() > 1 {
            later.insert(NONE);
        }
        later
    }

    /// What `tree` holds that it cannot have from here.
    fn breaks(&self, tree: &Tree) -> Vec<String> {
        let touched = self.changes.iter().map(|change| &change.path);
        let paths: BTreeSet<&String> = self.base.keys().chain(touched).chain(tree.keys()).collect();
        let mut breaks = Vec::new();
        for path in paths {
            let (found, allowed) = (at(tree, path), self.allowed(path));
            if !allowed.contains(found) {
                breaks.push(format!(
                    "{path} holds {found}, and in {} it held {allowed:?} since the last acknowledgement ({:?}); {}",
                    self.name(),
                    self.acknowledged,
                    self.story(path)
                ));
            }
        }
        breaks
    }

    fn story(&self, path: &str) -> String {
        let mut story = format!("its story: {}", at(&self.base, path));
        for change in self.changes.iter().filter(|change| change.path == path) {
            let _ = write!(story, ", {} by {:.2}", change.value, change.by);
        }
        story
    }

    /// The contents that were there in the end, with their paths.
    fn left(&self) -> BTreeMap<&str, &str> {
        let sure = self.tree.iter().filter(|(path, _)| !self.unsure.contains(*path));
        let mut left: BTreeMap<&str, &str> = sure
            .filter(|(_, value)| value.starts_with("full:"))
            .map(|(path, value)| (value.as_str(), path.as_str()))
            .collect();
        left.extend(self.homeless.iter().map(|value| (value.as_str(), "(being renamed)")));
        left
    }
}

/// What is on a node in the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The tree.
    pub(crate) tree: Tree,
    /// Paths and values of what is set aside; of one path there may be many.
    pub(crate) saved: Vec<(String, String)>,
    /// What is left of transfers.
    pub(crate) left: Vec<String>,
}

impl Found {
    /// Reads what `writer scan` prints.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for line in text.lines() {
            match *line.split('\t').collect::<Vec<_>>() {
                ["T", path, value] => put(&mut found.tree, path, value),
                ["S", path, value] => found.saved.push((path.to_owned(), value.to_owned())),
                ["L", _, "dir"] => {}
                ["L", path, value] => found.left.push(format!("{path} ({value})")),
                _ => return Err(format!("{line:?} makes no sense")),
            }
        }
        Ok(found)
    }
}

/// The verdict.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// What must not be.
    pub(crate) faults: Vec<String>,
    /// Reigns, versions, acknowledgements and files set aside, in words.
    pub(crate) told: String,
    /// Questions that were answered with yes.
    pub(crate) acknowledged: usize,
    /// Reigns in which something may have been written.
    pub(crate) reigns: usize,
}

/// Judges what is found on the nodes while no application writes, where the source is that of generation `number`.
pub(crate) fn judge(logs: &[Log], found: &BTreeMap<String, Found>, number: u64) -> Verdict {
    let mut verdict = Verdict::default();
    let faults = &mut verdict.faults;
    let mut reigns: BTreeMap<(u64, String), Reign> = BTreeMap::new();
    let mut written: BTreeSet<&str> = BTreeSet::new();
    for log in logs {
        for session in log.sessions.iter().filter(|session| session.whole) {
            match reigns.get_mut(&session.generation) {
                Some(reign) => reign.goes_on(session, faults),
                None => drop(reigns.insert(session.generation.clone(), Reign::new(&log.node, session))),
            }
            let Some(reign) = reigns.get_mut(&session.generation) else { continue };
            for operation in &session.operations {
                debug_assert!(operation.begun >= session.begun, "{}", session.name);
                reign.apply(operation);
                if let What::Write { version, .. } = &operation.what {
                    written.insert(version);
                }
            }
        }
        for (begun, generation) in &log.acknowledged {
            if let Some(reign) = reigns.get_mut(generation) {
                reign.acknowledged = Some(reign.acknowledged.map_or(*begun, |known| known.max(*begun)));
            }
        }
    }
    let saved: BTreeSet<&str> =
        found.values().flat_map(|found| &found.saved).map(|(_, value)| value.as_str()).collect();
    // Of one number there may be two, opened in two partitions: one of them was never in force.
    let mut steps: Vec<Vec<&Reign>> = Vec::new();
    for reign in reigns.values() {
        match steps.last_mut() {
            Some(step) if step[0].generation.0 == reign.generation.0 => step.push(reign),
            _ => steps.push(vec![reign]),
        }
    }
    let last_tree = found.values().next().map(|found| &found.tree);
    for (place, step) in steps.iter().enumerate() {
        let next: Vec<(String, &Tree)> = match steps.get(place + 1) {
            Some(next) => next.iter().map(|reign| (reign.name(), &reign.base)).collect(),
            None => last_tree.map(|tree| ("the end".to_owned(), tree)).into_iter().collect(),
        };
        for (name, tree) in &next {
            let breaks: Vec<Vec<String>> = step.iter().map(|reign| reign.breaks(tree)).collect();
            if breaks.iter().all(|breaks| !breaks.is_empty()) {
                faults.extend(breaks.into_iter().flatten().map(|text| format!("{name}: {text}")));
            }
        }
        for reign in step {
            for (content, path) in reign.left() {
                let goes_on = next.iter().any(|(_, tree)| tree.values().any(|value| value == content));
                if !goes_on && !saved.contains(content) {
                    faults.push(format!(
                        "{content} was {path} in the end of {}, and is neither in the tree after it nor set aside anywhere; {}",
                        reign.name(),
                        reign.story(path)
                    ));
                }
            }
        }
    }
    if let Some(last) = steps.last().and_then(|step| step.last())
        && last.generation.0 == number
        && let Some(tree) = last_tree
    {
        for path in last.tree.keys().chain(tree.keys()).collect::<BTreeSet<_>>() {
            if at(&last.tree, path) != at(tree, path) && !last.unsure.contains(path) {
                faults.push(format!(
                    "{path} holds {} in the end, {} is its last value",
                    at(tree, path),
                    at(&last.tree, path)
                ));
            }
        }
    }
    for (node, found) in found {
        if Some(&found.tree) != last_tree {
            faults.push(format!("the tree of {node} is another than that of the first node"));
        }
        faults.extend(found.left.iter().map(|left| format!("{node}: {left} is left of a transfer")));
        let everything = found.tree.iter().chain(found.saved.iter().map(|(path, value)| (path, value)));
        for (path, value) in everything {
            let version = value.strip_prefix("full:").or_else(|| value.strip_prefix("part:"));
            if value.starts_with("other:") || version.is_some_and(|version| !written.contains(version)) {
                faults.push(format!("{node}: {path} holds {value}, which nobody has written"));
            }
        }
    }
    verdict.acknowledged = logs.iter().map(|log| log.acknowledged.len()).sum();
    verdict.reigns = reigns.len();
    verdict.told = format!(
        "{} reigns, {} versions, {} acknowledgements and {} refused, {} files in the tree, {} set aside",
        reigns.len(),
        written.len(),
        verdict.acknowledged,
        logs.iter().map(|log| log.refused).sum::<usize>(),
        last_tree.map_or(0, BTreeMap::len),
        found.values().map(|found| found.saved.len()).sum::<usize>(),
    );
    verdict
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
