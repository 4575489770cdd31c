//! Datasets of the agent, called by hand on the nodes, and what is mirrored by them.

use crate::site::{AGENTS, BOUND, LOOK, Site, Wanted};
use anyhow::{Context, Result, ensure};
use lab::lsync::clone_environment;
use lab::trees::quoted;
use lab::{Job, Output};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// The node that is the source.
pub(crate) const SOURCE: &str = "n1";
/// The nodes that are replicas.
pub(crate) const REPLICAS: [&str; 3] = ["n2", "n3", "n4"];
/// How often the source is monitored while a replica does not follow.
const MONITOR: Duration = Duration::from_secs(10);
/// A dataset that the agent mirrors, called by hand: Pacemaker knows nothing of it.
pub(crate) struct Dataset<'a> {
    site: &'a Site<'a>,
    pub(crate) name: String,
    options: Vec<(String, String)>,
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
