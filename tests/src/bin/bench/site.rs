//! Four nodes as a bench: commands run on them, files made and seen on them from outside.

use anyhow::{Context, Result, ensure};
use lab::Lab;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant, SystemTime};

/// The label of the lab.
pub(crate) const LABEL: &str = "bench";
/// How often files are looked for.
pub(crate) const LOOK: Duration = Duration::from_millis(3);
/// The longest that anything here may take.
pub(crate) const BOUND: Duration = Duration::from_secs(120);
/// Where a node has the agents.
pub(crate) const AGENTS: &str = "/usr/lib/ocf/resource.d/bascule";

/// The lab, and where its nodes' files are as seen from here.
pub(crate) struct Site<'a> {
    pub(crate) lab: &'a Lab,
}

/// A file by its path in a tree, with its size in bytes.
pub(crate) type Wanted = (PathBuf, u64);

impl<'a> Site<'a> {
    pub(crate) fn new(lab: &'a Lab) -> Result<Self> {
        let site = Site { lab };
        for node in lab.nodes() {
            ensure!(site.root(node)?.join("etc").is_dir(), "the files of {node} cannot be seen from here");
        }
        Ok(site)
    }

    /// The root of a node's file system.
    pub(crate) fn root(&self, node: &str) -> Result<PathBuf> {
        let pid = lab::find(LABEL, node).with_context(|| format!("{node} is off"))?;
        Ok(PathBuf::from(format!("/proc/{pid}/root")))
    }

    /// Runs a shell command on a node.
    pub(crate) fn run(&self, node: &str, command: &str) -> Result<String> {
        let output = self.lab.node(node).sh_within(command, BOUND);
        ensure!(output.ok(), "{node}# {command}: {}{}", output.stdout, output.stderr);
        Ok(output.stdout)
    }

    /// Runs a shell command on all nodes at the same time.
    pub(crate) fn run_on_all(&self, command: &str) -> Result<()> {
        self.at_once(self.lab.nodes(), |node| self.run(node, command).map(drop))
    }

    /// Does something on several nodes at the same time.
    pub(crate) fn at_once<N: AsRef<str> + Sync>(
        &self,
        nodes: &[N],
        what: impl Fn(&str) -> Result<()> + Sync,
    ) -> Result<()> {
        scope(|scope| {
            let what = &what;
            let jobs: Vec<_> = nodes.iter().map(|node| scope.spawn(move || what(node.as_ref()))).collect();
            jobs.into_iter()
                .try_for_each(|job| job.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked"))))
        })
    }

    /// Waits until all these files are on all of these nodes, below `tree` there. Returns when that was seen.
    pub(crate) fn wait_on(&self, nodes: &[&str], tree: &str, wanted: &[Wanted]) -> Result<SystemTime> {
        let begun = Instant::now();
        let mut missing = Vec::new();
        for node in nodes {
            missing.push((self.root(node)?.join(tree.trim_start_matches('/')), wanted.to_vec()));
        }
        loop {
            for (root, files) in &mut missing {
                // The last one is sent last: while it is missing there is nothing else to look at.
                while let Some((path, size)) = files.last() {
                    let there = fs::symlink_metadata(root.join(path)).is_ok_and(|it| it.size() == *size);
                    if !there {
                        break;
                    }
                    files.pop();
                }
            }
            if missing.iter().all(|(_, files)| files.is_empty()) {
                return Ok(SystemTime::now());
            }
            if begun.elapsed() > BOUND {
                let left: Vec<usize> = missing.iter().map(|(_, files)| files.len()).collect();
                self.lab.fail(&format!("{tree}: {left:?} files are missing on {nodes:?}"));
            }
            sleep(LOOK);
        }
    }

    /// When a file on a node was last written.
    pub(crate) fn written(&self, node: &str, path: &str) -> Result<SystemTime> {
        let path = self.root(node)?.join(path.trim_start_matches('/'));
        let written = fs::metadata(&path).and_then(|it| it.modified());
        written.with_context(|| format!("{}", path.display()))
    }
}

/// From one moment to another, in microseconds.
pub(crate) fn between(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).unwrap_or_default().as_secs_f64() * 1e6
}
