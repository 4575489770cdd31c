//! Directories mirrored by `ocf:bascule:lsync` on a lab, as an administrator makes and sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::job::Output;
use crate::trees::{Snapshot, quoted};
use crate::{Lab, Node};

/// How often is looked.
const POLL: Duration = Duration::from_millis(100);

/// The program of `ocf:bascule:writer` (for [`Options::agent`](crate::Options::agent)), an application that writes into a directory and notes
/// what it does.
pub const WRITER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/scripts/writer.sh");

/// What such applications have noted, on all nodes together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Files that were made, or may have been, for a crash came between.
    pub tried: BTreeSet<String>,
    /// Files that were made.
    pub made: BTreeSet<String>,
    /// Files that were deleted, or may have been.
    pub doomed: BTreeSet<String>,
    /// Files that were deleted.
    pub deleted: BTreeSet<String>,
}

impl Noted {
    /// Adds the lines of a log.
    pub fn add(&mut self, log: &str) {
        for line in log.lines() {
            let (set, name) = match line.split_once(' ') {
                Some(("try", name)) => (&mut self.tried, name),
                Some(("done", name)) => (&mut self.made, name),
                Some(("goes", name)) => (&mut self.doomed, name),
                Some(("gone", name)) => (&mut self.deleted, name),
                _ => continue,
            };
            set.insert(name.to_owned());
        }
    }
}

/// What Pacemaker tells an action of a promotable clone of `nodes` instances on this node, for `env`: without `OCF_CHECK_LEVEL` and further
/// parameters, and with `interval` in milliseconds.
#[must_use]
pub fn clone_environment(
    name: &str,
    source: &str,
    node: &str,
    nodes: usize,
    interval: u32,
    timeout: Duration,
) -> String {
    let mut text = String::new();
    for (name, value) in [
        ("OCF_ROOT", "/usr/lib/ocf"),
        ("OCF_RA_VERSION_MAJOR", "1"),
        ("OCF_RA_VERSION_MINOR", "1"),
        ("OCF_EXIT_REASON_PREFIX", "ocf-exit-reason:"),
        ("OCF_RESOURCE_INSTANCE", name),
        ("OCF_RESOURCE_TYPE", "lsync"),
        ("OCF_RESOURCE_PROVIDER", "bascule"),
        ("OCF_RESKEY_source", source),
        ("OCF_RESKEY_crm_feature_set", "3.16.2"),
        ("OCF_RESKEY_CRM_meta_interval", &interval.to_string()),
        ("OCF_RESKEY_CRM_meta_timeout", &timeout.as_millis().to_string()),
        ("OCF_RESKEY_CRM_meta_on_node", node),
        ("OCF_RESKEY_CRM_meta_clone_max", &nodes.to_string()),
        ("OCF_RESKEY_CRM_meta_clone_node_max", "1"),
        ("OCF_RESKEY_CRM_meta_globally_unique", "false"),
        ("OCF_RESKEY_CRM_meta_notify", "true"),
        ("OCF_RESKEY_CRM_meta_promotable", "true"),
        ("OCF_RESKEY_CRM_meta_promoted_max", "1"),
        ("OCF_RESKEY_CRM_meta_promoted_node_max", "1"),
    ] {
        let _ = write!(text, "{name}={} ", quoted(value));
    }
    text
}

/// A dataset: the resource `name`, whose tree is `/site/NAME` on every node.
pub struct Mirror<'a> {
    lab: &'a Lab,
    name: String,
    options: String,
}

/// A peer as the source tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `ok`, `syncing`, `unreachable`, `held` or `failing`.
    pub state: String,
    /// How far behind it is, in seconds.
    pub lag: u64,
}

impl<'a> Mirror<'a> {
    /// Makes the trees, empty, on all nodes that are on. The resource is made by [`Mirror::create`].
    pub fn new(lab: &'a Lab, name: &str) -> Self {
        for node in lab.running() {
            lab.node(&node).run(&format!("mkdir -p /site/{name}"));
        }
        Self { lab, name: name.to_owned(), options: String::new() }
    }

    /// Makes the resource, with these further parameters (`delay=1 exclude='*.tmp'`).
    ///
    /// # Panics
    /// If `pcs` refuses.
    #[track_caller]
    #[must_use]
    pub fn create(mut self, options: &str) -> Self {
        let (name, tree) = (&self.name, self.tree());
        self.lab.pcs(&format!(
            "resource create {name} ocf:bascule:lsync source={tree} {options} \
             op monitor interval=3s role=Promoted op monitor interval=4s role=Unpromoted \
             promotable notify=true promoted-max=1"
        ));
        self.options = options.to_owned();
        self
    }

    /// The lab that it is on.
    #[must_use]
    pub fn lab(&self) -> &'a Lab {
        self.lab
    }

    /// The resource.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory.
    #[must_use]
    pub fn tree(&self) -> String {
        format!("/site/{}", self.name)
    }

    /// What a node tells of itself: `source, generation 7, in sync: n1 n3`, `replica, generation 7, behind`, …
    #[must_use]
    pub fn standing(&self, node: &str) -> String {
        self.attribute(node, "").unwrap_or_default()
    }

    fn attribute(&self, node: &str, suffix: &str) -> Option<String> {
        let name = format!("lsync-{}{suffix}", self.name);
        // As the node itself knows it, which may be parted from the others.
        let value = if self.lab.node(node).is_on() {
            self.lab.node(node).attribute(&name)
        } else {
            self.lab.node_attribute(node, &name)
        };
        value.filter(|it| !it.is_empty())
    }

    /// How many files lie set aside on a node, as it tells.
    #[must_use]
    pub fn saved(&self, node: &str) -> usize {
        self.attribute(node, "-saved").and_then(|it| it.parse().ok()).unwrap_or(0)
    }

    /// The files that lie set aside on a node: the paths that they had in the tree.
    #[track_caller]
    #[must_use]
    pub fn saved_files(&self, node: &str) -> Vec<String> {
        let saved = format!("/var/lib/bascule/lsync/{}/saved", self.name);
        // SAVED/TIME-generation-N/files/PATH, and a REPORT beside `files`.
        let found = self
            .lab
            .node(node)
            .run(&format!("[ ! -d {saved} ] || find {saved}/*/files ! -type d -printf '%P\\n'"));
        let mut files: Vec<String> = found.lines().map(str::to_owned).collect();
        files.sort();
        files
    }

    /// What is in the file of this path that lies set aside on a node (the newest of that path).
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    #[must_use]
    pub fn saved_text(&self, node: &str, path: &str) -> String {
        let saved = format!("/var/lib/bascule/lsync/{}/saved", self.name);
        self.lab
            .node(node)
            .run(&format!("cd {saved} && cat \"$(ls -td */files/{} | head -n 1)\"", quoted(path)))
    }

    /// The record in the cluster's configuration.
    #[must_use]
    pub fn record(&self) -> Option<String> {
        let node = self.lab.running().into_iter().next()?;
        let query =
            format!("crm_attribute --type crm_config --name bascule-lsync-{} --query --quiet", self.name);
        let output = self.lab.node(&node).sh(&query);
        output.ok().then(|| output.stdout.trim().to_owned())
    }

    /// The node that is promoted, if there is exactly one.
    #[must_use]
    pub fn promoted(&self) -> Option<String> {
        match &self.lab.promoted(&self.name)[..] {
            [node] => Some(node.clone()),
            _ => None,
        }
    }

    /// The node that is promoted and tells that it is the source.
    ///
    /// # Panics
    /// If there is none at this moment.
    #[track_caller]
    #[must_use]
    pub fn source(&self) -> String {
        match self.leading() {
            Some(node) => node,
            None => self.fail("there is no source"),
        }
    }

    /// As [`Mirror::source`], at a moment when there may be none.
    fn leading(&self) -> Option<String> {
        self.promoted().filter(|node| self.standing(node).starts_with("source, "))
    }

    /// The peers as the source tells of them.
    #[must_use]
    pub fn peers(&self, source: &str) -> BTreeMap<String, Peer> {
        let text = self.attribute(source, "-peers").unwrap_or_default();
        let peer = |word: &str| {
            let mut parts = word.split(':');
            let (name, state, lag) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
            Some((name.to_owned(), Peer { state: state.to_owned(), lag }))
        };
        text.split(' ').filter_map(peer).collect()
    }

    /// The number of the generation that a node tells.
    #[must_use]
    pub fn generation(&self, node: &str) -> Option<u64> {
        let standing = self.standing(node);
        standing.split("generation ").nth(1)?.split(',').next()?.trim().parse().ok()
    }

    /// Whether there is one source, with which all other nodes of these are in sync, and both sides say so.
    fn in_sync(&self, nodes: &[String]) -> Option<String> {
        let source = self.promoted()?;
        let standing = self.standing(&source);
        let (head, tail) = standing.strip_prefix("source, generation ")?.split_once(", in sync:")?;
        let replicas: Vec<&str> = tail.split_whitespace().collect();
        let agree = |node: &String| {
            *node == source
                || replicas.contains(&node.as_str())
                    && self.standing(node) == format!("replica, generation {head}, in sync")
        };
        nodes.iter().all(agree).then_some(source)
    }

    /// Waits until all nodes that are on are in sync with one source, and returns that.
    ///
    /// # Panics
    /// If they are not within `bound`.
    #[track_caller]
    pub fn wait_in_sync(&self, bound: Duration) -> String {
        let nodes = self.lab.running();
        let mut source = None;
        self.wait(&format!("one source with which {} are in sync", nodes.join(" ")), bound, |it| {
            source = it.in_sync(&nodes);
            source.is_some()
        });
        source.unwrap_or_default()
    }

    /// Waits until another node than this one is the source, and returns it.
    ///
    /// # Panics
    /// If there is none within `bound`.
    #[track_caller]
    pub fn wait_source_other_than(&self, old: &str, bound: Duration) -> String {
        let mut found = None;
        self.wait(&format!("a source other than {old}"), bound, |it| {
            found = it.promoted().filter(|node| node != old && it.standing(node).starts_with("source, "));
            found.is_some()
        });
        found.unwrap_or_default()
    }

    /// Waits until this node is the source.
    ///
    /// # Panics
    /// If it is not within `bound`.
    #[track_caller]
    pub fn wait_source(&self, node: &str, bound: Duration) {
        self.wait(&format!("{node} is the source"), bound, |it| {
            it.promoted().as_deref() == Some(node) && it.standing(node).starts_with("source, ")
        });
    }

    /// Makes the application that writes into the tree wherever the source is, from after its promotion until before its demotion.
    /// The lab needs `agent("writer", lsync::WRITER)`.
    ///
    /// # Panics
    /// If `pcs` refuses.
    #[track_caller]
    pub fn create_writer(&self) {
        let clone = format!("{}-clone", self.name);
        self.lab.pcs(&format!(
            "resource create writer ocf:bascule:writer tree={} op monitor interval=10s --disabled",
            self.tree()
        ));
        self.lab.pcs(&format!("constraint colocation add writer with Promoted {clone}"));
        self.lab.pcs(&format!("constraint order promote {clone} then start writer"));
        self.lab.pcs("resource enable writer");
    }

    /// What the application has noted on a node, on or off.
    #[must_use]
    pub fn writer_log(&self, node: &str) -> String {
        self.lab.node(node).read("/var/log/writer.log").unwrap_or_default()
    }

    /// The files that the application has made and not deleted, with what is in them.
    #[track_caller]
    #[must_use]
    pub fn written(&self, node: &str) -> BTreeMap<String, String> {
        // With `head` empty ones are shown too.
        let text = self.at(node, "find new -type f -exec head -v -n 1 {} +");
        let mut files = BTreeMap::new();
        let mut current = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("==> ").and_then(|line| line.strip_suffix(" <==")) {
                files.insert(name.to_owned(), String::new());
                current = Some(name.to_owned());
            } else if let Some(content) = current.as_ref().and_then(|name| files.get_mut(name)) {
                content.push_str(line);
            }
        }
        files
    }

    /// Runs the agent's monitor on a node by hand, as Pacemaker would at this level.
    #[track_caller]
    pub fn monitor(&self, node: &str, level: u32) -> Output {
        self.lab.node(node).sh(&self.monitor_command(node, level, Duration::from_secs(50)))
    }

    /// The exit code of the same with a timeout of its own, on a node that may be dying meanwhile.
    #[must_use]
    pub fn try_monitor(&self, node: &str, level: u32, timeout: Duration) -> Option<i32> {
        let command = self.monitor_command(node, level, timeout);
        let ended = self.lab.machines().exec(node, &command, timeout + Duration::from_secs(5));
        ended.ok().map(|output| output.code)
    }

    fn monitor_command(&self, node: &str, level: u32, timeout: Duration) -> String {
        let mut environment =
            clone_environment(&self.name, &self.tree(), node, self.lab.nodes().len(), 60_000, timeout);
        let _ = write!(environment, "OCF_CHECK_LEVEL={level} OCF_RESKEY_CRM_meta_name=monitor ");
        // The shell splits them as it did for `pcs`.
        for option in shell_words(&self.options) {
            let _ = write!(environment, "{} ", quoted(&format!("OCF_RESKEY_{option}")));
        }
        format!("env {environment} /usr/lib/ocf/resource.d/bascule/lsync monitor")
    }

    /// Waits until everything that has been written on the source by now is on every replica that is in sync.
    ///
    /// # Panics
    /// If the source does not acknowledge it within `bound`.
    #[track_caller]
    pub fn acknowledged(&self, bound: Duration) {
        let begun = Instant::now();
        loop {
            // A promotion publishes its replicas before the cluster has recorded its success: there may be no source yet.
            let said = match self.leading() {
                Some(source) => {
                    let output = self.monitor(&source, 10);
                    if output.code == 8 {
                        return;
                    }
                    format!("{}\n{}", output.code, output.stderr)
                }
                None => "there is no source".to_owned(),
            };
            if begun.elapsed() >= bound {
                self.fail(&format!("nothing is acknowledged within {bound:?}: {said}"));
            }
            sleep(POLL);
        }
    }

    /// What is in the tree of a node.
    #[track_caller]
    #[must_use]
    pub fn snapshot(&self, node: &str) -> Snapshot {
        Snapshot::take(&self.lab.node(node), &self.tree())
    }

    /// Fails unless the trees of all nodes that are on are the same; returns what is in them.
    ///
    /// # Panics
    /// If they are not, with what differs.
    #[track_caller]
    pub fn assert_same(&self) -> Snapshot {
        let snapshots: Vec<(String, Snapshot)> =
            self.lab.running().into_iter().map(|node| (node.clone(), self.snapshot(&node))).collect();
        let Some((first, expected)) = snapshots.first() else { self.fail("no node is on") };
        for (node, snapshot) in &snapshots {
            let differences = expected.compare(snapshot);
            if !differences.none() {
                self.fail(&format!("the tree of {node} is not that of {first}: {differences}"));
            }
        }
        expected.clone()
    }

    /// Waits until a shell command succeeds in the tree of a node.
    ///
    /// # Panics
    /// If it does not within `bound`.
    #[track_caller]
    pub fn wait_there(&self, node: &str, command: &str, bound: Duration) {
        let command = format!("cd {} && {command}", self.tree());
        self.wait(&format!("{node}# {command}"), bound, |it| it.lab.node(node).sh(&command).ok());
    }

    /// Runs a shell command in the tree of a node.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn at(&self, node: &str, command: &str) -> String {
        self.lab.node(node).run(&format!("cd {} && {command}", self.tree()))
    }

    /// Waits until `happened` says yes, and returns how long that took.
    ///
    /// # Panics
    /// If it does not within `bound`: with what the dataset looks like, and the cluster's logs.
    #[track_caller]
    pub fn wait(&self, what: &str, bound: Duration, mut happened: impl FnMut(&Self) -> bool) -> Duration {
        let begun = Instant::now();
        while !happened(self) {
            if begun.elapsed() >= bound {
                self.fail(&format!("not within {bound:?}: {what}"));
            }
            sleep(POLL);
        }
        begun.elapsed()
    }

    /// Fails the test, with what the dataset looks like on all nodes and the cluster's logs.
    ///
    /// # Panics
    /// Always.
    #[track_caller]
    pub fn fail(&self, reason: &str) -> ! {
        let mut text = format!("{}: {reason}\nrecord: {}\n", self.name, self.record().unwrap_or_default());
        for node in self.lab.running() {
            let node = self.lab.node(&node);
            let _ = writeln!(text, "──── {} of {} ────", self.name, node.name());
            text += &self.told(&node);
        }
        // The cluster's logs come after it, and are long.
        self.lab.fail(&text)
    }

    fn told(&self, node: &Node<'_>) -> String {
        let name = &self.name;
        let script = format!(
            "cd /run/bascule/lsync 2>/dev/null || exit 0; ps -eo pid,ppid,sid,etimes,args | grep -E '[r]sync|[l]sync-agent'
             for file in /var/lib/bascule/lsync/{name}/generation.json {name}.d/peers/*.json {name}.d/status {name}.d/lsyncd.log \
                 rsyncd-*/*log*; do
                 [ -f \"$file\" ] && echo \"── $file\" && tail -n 15 \"$file\"; echo; done"
        );
        node.sh_within(&script, Duration::from_secs(20)).stdout
    }
}

/// The words of a shell command in which only single quotes are used.
fn shell_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_application_has_noted() {
        let mut noted = Noted::default();
        noted.add("try new/a\ndone new/a\nlast a\ngoes new/a\n");
        noted.add("try new/b\n");
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let expected = Noted {
            tried: set(&["new/a", "new/b"]),
            made: set(&["new/a"]),
            doomed: set(&["new/a"]),
            deleted: set(&[]),
        };
        assert_eq!(noted, expected);
    }

    #[test]
    fn words_of_pcs() {
        assert_eq!(shell_words("a=1  'b=x y' c='*.o *.a'"), ["a=1", "b=x y", "c=*.o *.a"]);
        assert!(shell_words("").is_empty());
    }
}
