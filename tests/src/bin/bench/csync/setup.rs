//! The resources that are measured: their trees, configurations and keys on all nodes.

use crate::site::{BOUND, Site};
use anyhow::{Context, Result, ensure};
use lab::trees::quoted;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where csync2 is on a node.
pub(crate) const CSYNC2: &str = "/usr/sbin/csync2";
/// When the files of the trees were last changed, in seconds since 1970.
const OLD: u64 = 1_577_836_800;
/// How often is looked for what takes a while.
const LOOK: Duration = Duration::from_millis(100);

/// A group of csync2: its configuration `/etc/csync2_NAME.cfg`, its tree `/srv/NAME` on all nodes.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    port: u16,
    directories: usize,
    files: usize,
}

/// What the agent has for single changes, and csync2 by hand.
pub(crate) const FEW: Group = Group { name: "few", port: 30_871, directories: 5, files: 20 };
pub(crate) const HAND: Group = Group { name: "hand", port: 30_872, directories: 5, files: 20 };
/// What is checked.
pub(crate) const MANY: Group = Group { name: "many", port: 30_873, directories: 20, files: 1000 };

impl Group {
    /// How many files the tree has.
    pub(crate) fn files(&self) -> usize {
        self.directories * self.files
    }

    pub(crate) fn tree(&self) -> String {
        format!("/srv/{}", self.name)
    }

    /// The file of this number, by its path in the tree.
    pub(crate) fn file(&self, number: usize) -> PathBuf {
        let (directory, file) = (number % self.directories, number / self.directories % self.files);
        PathBuf::from(format!("d{directory:02}/f{file:04}"))
    }

    /// csync2 as it is called by hand.
    pub(crate) fn csync2(&self, node: &str, arguments: &str) -> String {
        format!("{CSYNC2} -C {} -N {node} -p {} {arguments}", self.name, self.port)
    }

    /// Makes tree and configuration on all nodes; csync2 has never run.
    pub(crate) fn make(&self, site: &Site<'_>) -> Result<()> {
        let config = format!(
            "group {0} {{ host {1}; key /etc/csync2.key_bench; include {2}; }}",
            self.name,
            site.lab.nodes().join(" "),
            self.tree()
        );
        site.at_once(site.lab.nodes(), |node| {
            site.run(node, &format!("echo '{config}' >/etc/csync2_{}.cfg", self.name))?;
            let tree = site.root(node)?.join(self.tree().trim_start_matches('/'));
            for directory in 0..self.directories {
                fs::create_dir_all(tree.join(format!("d{directory:02}")))?;
            }
            for number in 0..self.files() {
                let path = tree.join(self.file(number));
                fs::write(&path, format!("{number:05}\n"))?;
                let file = fs::File::options().write(true).open(&path)?;
                file.set_modified(UNIX_EPOCH + Duration::from_secs(OLD))?;
            }
            site.run(node, &format!("find {} -exec touch -d @{OLD} {{}} +", self.tree())).map(drop)
        })
    }
}

/// A key of the group and a certificate for each node.
pub(crate) fn keys(site: &Site<'_>) -> Result<()> {
    let agent = format!("{}/csync", crate::site::AGENTS);
    let file = "/etc/csync2.key_bench";
    site.run("n1", &format!("{agent} keygen {file} 2>/dev/null"))?;
    let key = site.run("n1", &format!("cat {file}"))?;
    site.at_once(site.lab.nodes(), |node| {
        let copy = format!("umask 077; printf %s {} >{file}", quoted(&key));
        site.run(node, &format!("{copy}; rm -f /var/lib/csync2/*; {agent} keygen --tls 2>/dev/null"))
            .map(drop)
    })
}

/// A group that the agent keeps equal, on all nodes.
pub(crate) struct Resource<'a> {
    pub(crate) site: &'a Site<'a>,
    pub(crate) group: &'a Group,
}

impl<'a> Resource<'a> {
    /// Makes it, and waits until all is well.
    pub(crate) fn create(site: &'a Site<'a>, group: &'a Group) -> Result<Self> {
        group.make(site)?;
        let resource = Resource { site, group };
        resource.behind()?;
        let Group { name, port, .. } = group;
        site.lab.pcs(&format!(
            "resource create {name} ocf:bascule:csync config={name} port={port} check_interval=3600 \
             op monitor interval=10s clone notify=true"
        ));
        let attribute = format!("csync-{name}");
        site.lab.wait("all is well", BOUND, |lab| {
            let told = |node: &String| lab.node_attribute(node, &attribute);
            lab.nodes().iter().all(|node| told(node).as_deref() == Some("ok"))
        });
        // Who is new is compared with: what is sent arrives from then on.
        for (number, node) in site.lab.nodes().iter().enumerate() {
            let file = group.file(group.files() - 1 - number);
            let size = resource.change(node, &group.tree(), &file)?;
            site.wait_on(&resource.others(node), &group.tree(), &[(file, size)])?;
        }
        resource.quiet()?;
        Ok(resource)
    }

    /// Deletes the resource, so that it does not disturb others.
    pub(crate) fn delete(&self) -> Result<()> {
        self.site.lab.pcs(&format!("resource delete {} --force", self.group.name));
        self.site.run_on_all(&format!("rm -rf {}", self.group.tree()))
    }

    /// Where files of n1's tree have another name, of which inotify does not tell.
    pub(crate) fn behind_tree(&self) -> String {
        format!("/srv/.{}", self.group.name)
    }

    fn behind(&self) -> Result<()> {
        let (tree, behind) = (self.group.tree(), self.behind_tree());
        self.site.run("n1", &format!("cp -al {tree} {behind}")).map(drop)
    }

    /// The other nodes.
    pub(crate) fn others(&self, node: &str) -> Vec<&str> {
        self.site.lab.nodes().iter().map(String::as_str).filter(|other| *other != node).collect()
    }

    /// Adds a line to a file; its size then.
    pub(crate) fn change(&self, node: &str, tree: &str, file: &PathBuf) -> Result<u64> {
        let path = self.site.root(node)?.join(tree.trim_start_matches('/')).join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))? + "changed\n";
        fs::write(&path, &text)?;
        Ok(text.len() as u64)
    }

    /// A file that the agent keeps of it, as a path on the node.
    pub(crate) fn kept(&self, file: &str) -> String {
        format!("/run/bascule/csync/{}.d/{file}", self.group.name)
    }

    /// The same as a path from here.
    pub(crate) fn kept_here(&self, node: &str, file: &str) -> Result<PathBuf> {
        Ok(self.site.root(node)?.join(self.kept(file).trim_start_matches('/')))
    }

    /// The worker on a node: its number there, and where the kernel tells of it, as a path from here.
    pub(crate) fn worker(&self, node: &str) -> Result<(u32, PathBuf)> {
        let text = fs::read_to_string(self.kept_here(node, "worker.json")?)?;
        let pid = text.split_once("\"pid\":").map(|(_, rest)| rest.trim_start());
        let pid = pid.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        let pid: u32 = pid.and_then(|pid| pid.parse().ok()).with_context(|| format!("no pid in {text}"))?;
        let place = self.site.root(node)?.join(format!("proc/{pid}"));
        ensure!(
            fs::read_to_string(place.join("comm"))?.trim() == "csync",
            "the worker is not in {}",
            place.display()
        );
        Ok((pid, place))
    }

    /// Waits until for two seconds nothing was written to any node's status, nor received: what a change brings with it is done.
    pub(crate) fn quiet(&self) -> Result<()> {
        let begun = SystemTime::now();
        loop {
            let mut last = UNIX_EPOCH;
            for node in self.site.lab.nodes() {
                for file in ["status", "daemon.log"] {
                    let found = fs::metadata(self.kept_here(node, file)?)?;
                    last = last.max(found.modified()?);
                }
            }
            let since = last.elapsed().unwrap_or_default();
            if since >= Duration::from_secs(2) {
                return Ok(());
            }
            ensure!(begun.elapsed().unwrap_or_default() < BOUND, "{} never rests", self.group.name);
            sleep(LOOK);
        }
    }

    /// The environment of a call on a node, for `env`, as Pacemaker's.
    pub(crate) fn environment(&self, node: &str, interval: u32) -> String {
        let Group { name, port, .. } = self.group;
        let mut text = "PATH=/usr/sbin:/usr/bin:/sbin:/bin ".to_owned();
        for (variable, value) in [
            ("OCF_ROOT", "/usr/lib/ocf"),
            ("OCF_RA_VERSION_MAJOR", "1"),
            ("OCF_RA_VERSION_MINOR", "1"),
            ("OCF_EXIT_REASON_PREFIX", "ocf-exit-reason:"),
            ("OCF_RESOURCE_INSTANCE", name),
            ("OCF_RESOURCE_TYPE", "csync"),
            ("OCF_RESOURCE_PROVIDER", "bascule"),
            ("OCF_RESKEY_config", name),
            ("OCF_RESKEY_port", &port.to_string()),
            ("OCF_RESKEY_check_interval", "3600"),
            ("OCF_RESKEY_crm_feature_set", "3.16.2"),
            ("OCF_RESKEY_CRM_meta_name", "monitor"),
            ("OCF_RESKEY_CRM_meta_interval", &interval.to_string()),
            ("OCF_RESKEY_CRM_meta_timeout", "30000"),
            ("OCF_RESKEY_CRM_meta_on_node", node),
            ("OCF_RESKEY_CRM_meta_clone", "0"),
            ("OCF_RESKEY_CRM_meta_clone_max", "4"),
            ("OCF_RESKEY_CRM_meta_clone_node_max", "1"),
            ("OCF_RESKEY_CRM_meta_globally_unique", "false"),
            ("OCF_RESKEY_CRM_meta_notify", "true"),
        ] {
            let _infallible = write!(text, "{variable}={} ", quoted(value));
        }
        text
    }
}
