//! The same mirror set up by hand: rsync daemons on the replicas, lsyncd with `default.rsync` on the source.

use super::DELAY;
use super::site::{REPLICAS, SOURCE};
use crate::site::Site;
use anyhow::{Result, ensure};
use lab::Job;
use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Where its daemons listen. (The agent's has the usual port.)
const PORT: u16 = 8730;
/// lsyncd's configuration on the source. Its time is when lsyncd was started.
pub(crate) const CONFIGURATION: &str = "/run/bare/lsyncd.conf";
/// Where the replicas have its trees.
pub(crate) const TREES: &str = "/bare";

/// The daemons. They end when this is dropped.
pub(crate) struct Bare<'a> {
    site: &'a Site<'a>,
    _daemons: Vec<Job>,
}

impl<'a> Bare<'a> {
    /// Starts the daemons.
    pub(crate) fn start(site: &'a Site<'a>) -> Result<Self> {
        site.run_on_all("mkdir -p /run/bare; : >/run/bare/rsyncd.conf")?;
        let mut daemons = Vec::new();
        for node in REPLICAS {
            let command =
                format!("exec rsync --daemon --no-detach --config=/run/bare/rsyncd.conf --port={PORT}");
            daemons.push(site.lab.node(node).spawn(&command));
        }
        let begun = Instant::now();
        for node in REPLICAS {
            let listens = || site.run(node, "ss -ltn").is_ok_and(|text| text.contains(&format!(":{PORT} ")));
            while !listens() {
                ensure!(begun.elapsed() < Duration::from_secs(10), "the daemon on {node} does not listen");
                sleep(Duration::from_millis(20));
            }
        }
        Ok(Bare { site, _daemons: daemons })
    }

    /// Makes a module for a tree, empty, on the replicas; a config for a source tree. Starts lsyncd, in the same moment in which
    /// its configuration is written. It ends when what is returned is dropped.
    pub(crate) fn mirror(&self, source: &str, name: &str) -> Result<Job> {
        let module = format!(
            "uid = root\ngid = root\nuse chroot = true\nmax connections = 10\nlock file = /run/bare/rsyncd.lock\n\
             [{name}]\n path = {TREES}/{name}\n read only = false\n write only = true\n list = true\n"
        );
        self.site.at_once(&REPLICAS, |node| {
            let make = format!("mkdir -p {TREES}/{name}; cat >/run/bare/rsyncd.conf <<'END'\n{module}END\n");
            self.site.run(node, &make).map(drop)
        })?;
        let mut text =
            "settings { logfile = \"/run/bare/lsyncd.log\", statusFile = \"/run/bare/lsyncd.status\", \
                        statusInterval = 10, insist = true }\n"
                .to_owned();
        for node in REPLICAS {
            let address = self.site.lab.node(node).ipv4(0);
            let _infallible = writeln!(
                text,
                "sync {{ default.rsync, source = \"{source}\", target = \"rsync://{address}:{PORT}/{name}/\", \
                 delay = {DELAY}, rsync = {{ perms = true, owner = true, group = true }} }}"
            );
        }
        let start = format!(
            "cat >{CONFIGURATION} <<'END'\n{text}END\nexec lsyncd -nodaemon {CONFIGURATION} >/run/bare/lsyncd.out 2>&1"
        );
        Ok(self.site.lab.node(SOURCE).spawn(&start))
    }
}
