//! The parameters of `ocf:bascule:lsync`, declared once.

use crate::values::PeerSpec;
use ocf::{AbsolutePath, List, Size, Within};
use std::net::IpAddr;

ocf::parameters! {
    /// Parameters of the agent, as read from the environment.
    pub(crate) struct Parameters {
        /// Directory to be mirrored
        ///
        /// The tree, at the same path on every node. The promoted node is its source, all others hold a mirror of it.
        /// Needs a promotable clone. The agent keeps its own files in the directory .bascule at the root of the tree.
        source: Option<AbsolutePath> { unique_group: "source" },
        /// Configuration file of lsyncd
        ///
        /// Instead of source: runs lsyncd with this file of your own, as a plain resource, and does nothing but supervise
        /// it. None of the guarantees of source hold then.
        config: Option<AbsolutePath> { unique_group: "source" },

        /// Nodes that hold the directory
        ///
        /// Names of cluster nodes separated by spaces, each with an address to reach it at if wanted (sv2=192.0.2.2); this
        /// node may be among them. Left out, all nodes of the cluster, at the addresses that Corosync uses.
        peers: Option<List<PeerSpec>>,
        /// First source
        ///
        /// The node whose data counts when the resource starts for the very first time and several nodes have data, or
        /// not all can be asked. Without effect later.
        initial_source: Option<String> { reloadable: true },
        /// Replicas to be in sync
        ///
        /// With fewer replicas in sync nothing counts as acknowledged, and with report_degraded the resource as degraded.
        min_peers: Within<0, 15> = "1" { reloadable: true },

        /// Port of the rsync daemons
        ///
        /// The TCP port at which each node receives. Resources with the same port share one daemon on each node.
        port: Within<1, 65535> = "873",
        /// Address at which to receive
        ///
        /// The rsync daemon listens there alone. Left out, at all addresses of the node. Resources that share a port have
        /// to agree.
        bind_address: Option<IpAddr>,
        /// File with the secret
        ///
        /// The keys by which nodes know each other are derived from this file, which has to be the same on all nodes and
        /// readable by root only. The default is the key of Corosync.
        secret_file: AbsolutePath = "/etc/corosync/authkey",

        /// Seconds to gather changes
        ///
        /// lsyncd sends changes at the latest after so many seconds, together.
        delay: Within<1, 3600> = "1",
        /// Seconds to connect
        ///
        /// A node that cannot be reached within this time is tried again later.
        connect_timeout: Within<1, 60> = "3" { reloadable: true },
        /// Seconds a transfer may stand still
        ///
        /// A transfer that moves no byte for so long is ended and tried again.
        io_timeout: Within<5, 3600> = "60" { reloadable: true },
        /// Seconds until a replica is given up
        ///
        /// A replica that does not take changes for so long is no longer in sync; it gets a whole pass when it can be
        /// reached again. Should exceed the time in which the cluster notices that a node is gone.
        lost_after: Within<1, 3600> = "10" { reloadable: true },
        /// Bandwidth limit, KiB a second
        ///
        /// For each replica. Left out, there is none.
        bwlimit: Option<Within<1, 1000000000>> { reloadable: true },

        /// What is not mirrored
        ///
        /// Patterns as rsync's --exclude has them, separated by spaces (write ? for a space in a name). What they match is
        /// left alone on the replicas.
        exclude: Option<List<String>>,
        /// Keep hard links
        ///
        /// Files with several names in the tree stay one file. Costs memory and time on trees with many files.
        hard_links: bool = "false" { reloadable: true },
        /// Mirror access control lists
        ///
        /// The file systems of all nodes have to know them.
        acls: bool = "false" { reloadable: true },
        /// Mirror extended attributes
        ///
        /// The file systems of all nodes have to know them.
        xattrs: bool = "false" { reloadable: true },
        /// Keep holes in files
        ///
        /// Sparse files (images of machines, say) take no more room on the replicas than on the source. Costs time with
        /// large files that have none.
        sparse: bool = "false" { reloadable: true },

        /// Deletions at once, number
        ///
        /// A pass or push that would delete more files and directories on a replica than this is held back until an
        /// administrator releases it.
        max_delete: Within<0, 1000000000> = "10000" { reloadable: true },
        /// Deletions at once, percent
        ///
        /// The same as a share of the tree; up to 20 deletions are never held back for it.
        max_delete_percent: Within<0, 100> = "30" { reloadable: true },

        /// Where diverged files are set aside
        ///
        /// A directory outside the tree where a node keeps what it held and the source did not, before that is overwritten
        /// or deleted. Left out, /var/lib/bascule/lsync/NAME/saved.
        saved_dir: Option<AbsolutePath>,
        /// Room for them
        ///
        /// With more than this in there (500M, 2G), a node takes no pass in which more would be set aside, until somebody
        /// has looked and cleared up. Left out, there is no limit.
        saved_limit: Option<Size> { reloadable: true },

        /// Report as degraded
        ///
        /// A source with too few replicas in sync, and a replica that is not in sync, are shown as degraded (needs
        /// Pacemaker 2.1).
        report_degraded: bool = "false" { reloadable: true },

        /// The program lsyncd
        ///
        /// Name or path.
        lsyncd: String = "lsyncd",
        /// The program rsync
        ///
        /// Name or path.
        rsync: String = "rsync",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        assert_eq!(ocf::table_faults::<Parameters>(), [""; 0]);
    }
}
