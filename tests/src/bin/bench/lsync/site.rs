//! Four nodes as a bench: the agent called by hand on them, files made and seen on them from outside.

use anyhow::{Context, Result, ensure};
use lab::lsync::clone_environment;
use lab::trees::quoted;
use lab::{Job, Lab, Output};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant, SystemTime};

/// The node that is the source.
pub(crate) const SOURCE: &str = "n1";
/// The nodes that are replicas.
pub(crate) const REPLICAS: [&str; 3] = ["n2", "n3", "n4"];
/// How often files are looked for.
const LOOK: Duration = Duration::from_millis(3);
/// How often the source is monitored while a replica does not follow.
const MONITOR: Duration = Duration::from_secs(10);
/// The longest that anything here may take.
pub(crate) const BOUND: Duration = Duration::from_secs(120);
/// Where a node has the agents.
pub(crate) const AGENTS: &str = "/usr/lib/ocf/resource.d/bascule";

/// The lab, and where its nodes' files are as seen from here.
pub(crate) struct Site<'a> {
    pub(crate) lab: &'a Lab,
}

/// A dataset that the agent mirrors, called by hand: Pacemaker knows nothing of it.
pub(crate) struct Dataset<'a> {
    site: &'a Site<'a>,
    pub(crate) name: String,
    options: Vec<(String, String)>,
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
        let pid = lab::find("bench", node).with_context(|| format!("{node} is off"))?;
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

    /// Waits until all these files are on all replicas, below `tree` there. Returns when that was seen.
    pub(crate) fn wait_on_replicas(&self, tree: &str, wanted: &[Wanted]) -> Result<SystemTime> {
        let begun = Instant::now();
        let mut missing = Vec::new();
        for node in REPLICAS {
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
                self.lab.fail(&format!("{tree}: {left:?} files are missing on the replicas"));
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

impl<'a> Dataset<'a> {
    /// With these parameters besides `source`, which is `/site/NAME`.
    pub(crate) fn new(site: &'a Site<'a>, name: &str, options: &[(&str, &str)]) -> Self {
        let own = [("delay", super::DELAY.to_string()), ("initial_source", SOURCE.to_owned())];
        let given = options.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let options = own.into_iter().chain(given).map(|(name, value)| (name.to_owned(), value)).collect();
        Dataset { site, name: name.to_owned(), options }
    }

    /// The directory, on every node.
    pub(crate) fn tree(&self) -> String {
        format!("/site/{}", self.name)
    }

    /// A file below `/run` that the agent keeps of it.
    pub(crate) fn kept(&self, file: &str) -> String {
        format!("/run/bascule/lsync/{}.d/{file}", self.name)
    }

    /// The environment of a call, for `env`.
    pub(crate) fn environment(&self, node: &str, interval: u32) -> String {
        let timeout = Duration::from_secs(100);
        let mut text = clone_environment(&self.name, &self.tree(), node, 4, interval, timeout);
        text.push_str("PATH=/usr/sbin:/usr/bin:/sbin:/bin ");
        for (name, value) in &self.options {
            let _infallible = write!(text, "{} ", quoted(&format!("OCF_RESKEY_{name}={value}")));
        }
        text
    }

    fn command(&self, node: &str, action: &str) -> String {
        let interval = if action == "monitor" { 10_000 } else { 0 };
        format!("exec env -i {} {AGENTS}/lsync {action}", self.environment(node, interval))
    }

    /// Calls the agent, which has to succeed.
    pub(crate) fn call(&self, node: &str, action: &str) -> Result<Output> {
        let output = self.site.lab.node(node).sh_within(&self.command(node, action), BOUND);
        ensure!(output.ok(), "{action} of {} on {node}: {} {}", self.name, output.code, output.stderr);
        Ok(output)
    }

    /// Calls it without waiting for its end.
    pub(crate) fn begin(&self, node: &str, action: &str) -> Job {
        self.site.lab.node(node).spawn(&self.command(node, action))
    }

    /// Kills lsyncd and what it has started; the source's next monitor starts it again.
    pub(crate) fn end_lsyncd(&self) -> Result<()> {
        let file = self.kept("source.json");
        let text = self.site.run(SOURCE, &format!("cat {file}"))?;
        let pid = text.split_once("\"pid\":").map(|(_, rest)| rest.trim_start());
        let pid = pid.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        let pid = pid.filter(|pid| !pid.is_empty()).with_context(|| format!("no process in {text}"))?;
        self.site.run(SOURCE, &format!("kill -9 {pid}")).map(drop)
    }

    /// Starts it on all nodes; the trees have to be there.
    pub(crate) fn start(&self) -> Result<()> {
        self.site.at_once(self.site.lab.nodes(), |node| self.call(node, "start").map(drop))
    }

    /// Stops it on all nodes, and takes away all that is known of it.
    pub(crate) fn end(&self) -> Result<()> {
        self.site.at_once(self.site.lab.nodes(), |node| self.call(node, "stop").map(drop))?;
        let name = &self.name;
        self.site.run_on_all(&format!("rm -rf /var/lib/bascule/lsync/{name} /run/bascule/lsync/{name}.d"))?;
        let forget = "crm_attribute --type crm_config --delete --name";
        self.site.run(SOURCE, &format!("{forget} bascule-lsync-{name} || true")).map(drop)
    }

    /// Waits until the source knows that all replicas follow. Returns when that was seen.
    pub(crate) fn wait_following(&self) -> Result<SystemTime> {
        let peers = self.site.root(SOURCE)?.join(self.kept("peers").trim_start_matches('/'));
        let follows = |node: &str| {
            let text = fs::read_to_string(peers.join(format!("{node}.json"))).unwrap_or_default();
            text.split_whitespace().collect::<String>().contains("\"phase\":\"Following\"")
        };
        let (begun, mut looked) = (Instant::now(), Instant::now());
        while !REPLICAS.into_iter().all(follows) {
            let told = || self.site.run(SOURCE, &format!("tail -n 20 {}", self.kept("peers/*.json")));
            if begun.elapsed() > BOUND {
                self.site.lab.fail(&format!("{}: not all replicas follow\n{}", self.name, told()?));
            }
            // As Pacemaker's monitor would, it brings a peer back that had to be given up.
            if looked.elapsed() > MONITOR {
                eprintln!("  after {} s not all replicas follow: {}", begun.elapsed().as_secs(), told()?);
                let _told = self.site.lab.node(SOURCE).sh_within(&self.command(SOURCE, "monitor"), BOUND);
                looked = Instant::now();
            }
            sleep(LOOK);
        }
        Ok(SystemTime::now())
    }
}

/// Bytes that do not repeat, the same in each run.
pub(crate) fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    seed |= 1;
    while bytes.len() < length {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bytes.extend_from_slice(&seed.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A directory full of files.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// 10,000 of half a KiB to 4 KiB, a hundred in each directory.
    Small,
    /// Four of 256 MiB.
    Large,
}

impl Load {
    /// For the table.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Load::Small => "10,000 small files",
            Load::Large => "1 GiB in 4 files",
        }
    }

    /// Makes it as a new directory; the files, as paths below it.
    pub(crate) fn make(self, directory: &Path, seed: u64) -> Result<Vec<Wanted>> {
        let pool = noise(64 << 20, 0x5eed ^ seed << 32);
        let mut wanted = Vec::new();
        fs::create_dir_all(directory)?;
        match self {
            Load::Small => {
                for number in 0..10_000_usize {
                    let name = PathBuf::from(format!("d{:03}/f{number:05}", number / 100));
                    let length = 512 + number * 37 % 3584;
                    if number % 100 == 0 {
                        fs::create_dir_all(directory.join(format!("d{:03}", number / 100)))?;
                    }
                    let begin = number * 4096 % (pool.len() - 4096);
                    fs::write(directory.join(&name), &pool[begin..begin + length])?;
                    wanted.push((name, length as u64));
                }
            }
            Load::Large => {
                for number in 0..4_usize {
                    let name = PathBuf::from(format!("large{number}"));
                    let mut file = fs::File::create(directory.join(&name))?;
                    for part in 0..4 {
                        // No two blocks of rsync's are the same.
                        file.write_all(&[number as u8 * 4 + part])?;
                        file.write_all(&pool[1..])?;
                    }
                    wanted.push((name, 4 * pool.len() as u64));
                }
            }
        }
        Ok(wanted)
    }
}

/// From one moment to another, in microseconds.
pub(crate) fn between(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).unwrap_or_default().as_secs_f64() * 1e6
}
