//! What the parameters mean together, and with what the cluster says of its nodes: pure.

use crate::parameters::Parameters;
use crate::settings::{MaxDelete, Peer, Settings};
use crate::values::is_host;
use ocf::CloneMeta;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the resource is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Mirror this directory.
    Mirror(PathBuf),
    /// Run lsyncd with this file.
    Supervise(PathBuf),
}

/// What the parameters ask for.
///
/// # Errors
/// Everything that is wrong with them, each fault a sentence.
pub(crate) fn work(parameters: &Parameters, clone: Option<&CloneMeta>) -> Result<Work, Vec<String>> {
    let mut faults = Vec::new();
    let work = match (&parameters.source, &parameters.config) {
        (Some(source), None) => Some(Work::Mirror(source.to_path_buf())),
        (None, Some(config)) => Some(Work::Supervise(config.to_path_buf())),
        (None, None) => {
            faults.push(
                "source is missing: the directory to be mirrored (or config, a file of lsyncd to run)".into(),
            );
            None
        }
        (Some(_), Some(_)) => {
            faults.push("source and config exclude each other: source needs no file for lsyncd".into());
            None
        }
    };
    if let Some(Work::Mirror(source)) = &work {
        if source == Path::new("/") {
            faults.push("source=/ cannot be mirrored: expected a directory below it".into());
        }
        if let Some(saved) = parameters.saved_dir.as_deref().filter(|saved| saved.starts_with(source)) {
            faults.push(format!(
                "saved_dir={} lies in source={}: what is set aside has to be outside the tree",
                saved.display(),
                source.display()
            ));
        }
        let promoted_max = clone.and_then(|clone| clone.promoted_max).unwrap_or(1);
        if promoted_max > 1 {
            faults.push(format!(
                "promoted-max={promoted_max}: a directory has one source, expected promoted-max=1"
            ));
        }
        if clone.is_some_and(|clone| clone.globally_unique) {
            faults.push("globally-unique=true: expected false, there is one mirror on each node".into());
        }
        if clone.is_some_and(|clone| !clone.promotable) {
            faults.push(
                "the clone is not promotable: create it with \"promotable\" (pcs) or promotable=true".into(),
            );
        }
    }
    let initial = parameters.initial_source.as_deref();
    if let Some(name) = initial.filter(|name| !is_host(name)) {
        faults.push(format!("initial_source={name:?}: expected the name of a node"));
    }
    match (work, faults.is_empty()) {
        (Some(work), true) => Ok(work),
        _ => Err(faults),
    }
}

/// What is known of the cluster's nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nodes {
    /// This node's name.
    pub(crate) me: String,
    /// The names of all, this one perhaps among them.
    pub(crate) names: Vec<String>,
    /// The addresses that Corosync uses, by name.
    pub(crate) addresses: BTreeMap<String, String>,
}

/// Everything that the agent's other faces need to know.
pub(crate) fn settings(
    parameters: &Parameters,
    source: &Path,
    dataset: &str,
    nodes: &Nodes,
    agent: &Path,
) -> Settings {
    let named = parameters.peers.as_deref().unwrap_or_default();
    let address = |name: &str, given: Option<&String>| {
        given.or_else(|| nodes.addresses.get(name)).cloned().unwrap_or_else(|| name.to_owned())
    };
    let mut peers: Vec<Peer> = if named.is_empty() {
        nodes.names.iter().map(|name| Peer { name: name.clone(), address: address(name, None) }).collect()
    } else {
        let peer = |peer: &crate::values::PeerSpec| Peer {
            name: peer.name.clone(),
            address: address(&peer.name, peer.address.as_ref()),
        };
        named.iter().map(peer).collect()
    };
    peers.retain(|peer| peer.name != nodes.me);
    peers.sort_by(|a, b| a.name.cmp(&b.name));
    peers.dedup_by(|a, b| a.name == b.name);
    let number = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
    Settings {
        dataset: ocf::file_name(dataset),
        node: nodes.me.clone(),
        source: source.to_owned(),
        peers,
        port: u16::try_from(parameters.port.get()).unwrap_or(873),
        bind_address: parameters.bind_address.map(|address| address.to_string()),
        secret_file: parameters.secret_file.to_path_buf(),
        delay: parameters.delay.get(),
        connect_timeout: parameters.connect_timeout.get(),
        io_timeout: parameters.io_timeout.get(),
        lost_after: parameters.lost_after.get(),
        max_delete: MaxDelete {
            count: parameters.max_delete.get(),
            percent: parameters.max_delete_percent.get(),
        },
        exclude: parameters.exclude.as_deref().unwrap_or_default().to_vec(),
        hard_links: parameters.hard_links,
        acls: parameters.acls,
        xattrs: parameters.xattrs,
        sparse: parameters.sparse,
        bwlimit: parameters.bwlimit.map(|limit| limit.get()),
        saved_dir: parameters.saved_dir.as_deref().map_or_else(
            || Path::new(ocf::LASTING_DIRECTORY).join("lsync").join(ocf::file_name(dataset)).join("saved"),
            Path::to_path_buf,
        ),
        saved_limit: parameters.saved_limit.map(|size| size.bytes()),
        min_peers: number(parameters.min_peers.get()),
        initial_source: parameters.initial_source.clone(),
        report_degraded: parameters.report_degraded,
        rsync: parameters.rsync.clone(),
        lsyncd: parameters.lsyncd.clone(),
        agent: agent.to_owned(),
    }
}

/// The nodes in `corosync.conf(5)` and the address of each on the first link. What is not understood is passed over: the names
/// serve as addresses then.
pub(crate) fn corosync_addresses(text: &str) -> BTreeMap<String, String> {
    let mut addresses = BTreeMap::new();
    let (mut name, mut ring, mut in_node) = (None, None, false);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(section) = line.strip_suffix('{') {
            in_node = section.trim() == "node";
            (name, ring) = (None, None);
        } else if line == "}" {
            if let (true, Some(name), Some(ring)) = (in_node, name.take(), ring.take()) {
                addresses.insert(name, ring);
            }
            in_node = false;
        } else if let Some((key, value)) = line.split_once(':') {
            match key.trim() {
                "name" => name = Some(value.trim().to_owned()),
                "ring0_addr" => ring = Some(value.trim().to_owned()).filter(|address| is_host(address)),
                _ => {}
            }
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocf::Parameters as _;
    use std::ffi::{OsStr, OsString};

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        let values: BTreeMap<String, OsString> =
            pairs.iter().map(|(name, value)| (name.to_string(), OsString::from(value))).collect();
        Parameters::read(&|name| values.get(name).map(OsStr::new)).unwrap()
    }

    fn clone(promotable: bool, promoted_max: Option<u32>) -> CloneMeta {
        CloneMeta {
            number: None,
            max: 3,
            node_max: None,
            globally_unique: false,
            notify: true,
            promotable,
            promoted_max,
            promoted_node_max: None,
        }
    }

    #[test]
    fn one_of_source_and_config() {
        let mirror = work(&parameters(&[("source", "/site/a")]), Some(&clone(true, Some(1))));
        assert_eq!(mirror, Ok(Work::Mirror("/site/a".into())));
        let plain = work(&parameters(&[("config", "/etc/lsyncd.d/5.conf")]), None);
        assert_eq!(plain, Ok(Work::Supervise("/etc/lsyncd.d/5.conf".into())));
        for (wrong, fault) in [
            (vec![], "source is missing"),
            (vec![("source", "/a"), ("config", "/b")], "exclude each other"),
            (vec![("source", "/")], "source=/ cannot"),
            (vec![("source", "/a"), ("saved_dir", "/a/saved")], "outside the tree"),
            (vec![("source", "/a"), ("initial_source", "no node")], "initial_source"),
        ] {
            let faults = work(&parameters(&wrong), None).unwrap_err();
            assert!(faults.iter().any(|it| it.contains(fault)), "{faults:?}");
        }
        for (clone, fault) in
            [(clone(false, None), "not promotable"), (clone(true, Some(2)), "promoted-max=2")]
        {
            let faults = work(&parameters(&[("source", "/a")]), Some(&clone)).unwrap_err();
            assert!(faults[0].contains(fault), "{faults:?}");
        }
    }

    #[test]
    fn peers_are_all_nodes_but_this_one() {
        let nodes = Nodes {
            me: "sv2".into(),
            names: ["sv3", "sv1", "sv2"].map(str::to_owned).to_vec(),
            addresses: [("sv1".to_owned(), "192.0.2.1".to_owned())].into(),
        };
        let peers = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            let settings = settings(&parameters(pairs), Path::new("/a"), "site5", &nodes, Path::new("/x"));
            settings.peers.into_iter().map(|peer| (peer.name, peer.address)).collect()
        };
        let pair = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        assert_eq!(peers(&[]), [pair("sv1", "192.0.2.1"), pair("sv3", "sv3")]);
        assert_eq!(peers(&[("peers", "sv2 sv1=10.0.0.1 sv1")]), [pair("sv1", "10.0.0.1")]);
    }

    #[test]
    fn corosync_knows_addresses() {
        let text = "totem {\n  version: 2\n  cluster_name: lab\n}\nnodelist {\n  node {\n    name: sv1\n    nodeid: 1\n    \
            ring0_addr: 192.0.2.1\n    ring1_addr: 10.0.0.1\n  }\n  node {\n    ring0_addr: sv2.home\n    name: sv2\n  }\n  node {\n    nodeid: 3\n  }\n}\n";
        let expected = [("sv1", "192.0.2.1"), ("sv2", "sv2.home")];
        assert_eq!(corosync_addresses(text), expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
        assert!(corosync_addresses("node {").is_empty());
    }
}
