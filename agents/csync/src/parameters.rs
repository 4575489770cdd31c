//! The parameters of `ocf:bascule:csync`, declared once.

use crate::values::{ConfigName, GroupPolicy, Policy};
use ocf::{AbsolutePath, List, Within};

ocf::parameters! {
    /// Parameters of the agent, as read from the environment.
    pub(crate) struct Parameters {
        /// Configuration of csync2
        ///
        /// The name that csync2's option -C would be given: with www, csync2_www.cfg is used. Left out, csync2.cfg. Configurations side
        /// by side are resources of their own, each with its port.
        config: Option<ConfigName> { unique_group: "config" },
        /// Directory of the configuration
        ///
        /// Where csync2.cfg and the certificate (csync2_ssl_cert.pem, csync2_ssl_key.pem) are, and key files that are named without a path.
        directory: AbsolutePath = "/etc" { unique_group: "config" },
        /// Name of this node for csync2
        ///
        /// As it stands in the configuration's host lines. Left out, whichever is there: the node's name in the cluster, the name of the
        /// machine, or one of them up to its first dot.
        node_name: Option<String>,
        /// Port of csync2
        ///
        /// The TCP port at which each node listens.
        port: Within<1, 65535> = "30865" { unique_group: "port" },
        /// Directory of csync2's database
        ///
        /// On this node, not mirrored. The default is csync2's own, so that what it knows from before is known.
        database: AbsolutePath = "/var/lib/csync2",

        /// Seconds between full checks
        ///
        /// Changes are noticed at once; a full check finds what was changed while nobody looked.
        check_interval: Within<5, 86400> = "300" { reloadable: true },
        /// Seconds for one node
        ///
        /// A run of csync2 towards one node is ended when it takes longer. Other nodes do not wait for it.
        peer_timeout: Within<2, 3600> = "60" { reloadable: true },

        /// What settles a conflict
        ///
        /// report: nobody, both versions stay, it is shown and waits for you. promoted-wins: the version of the promoted node wins. newest, oldest: the
        /// version that was changed last or first. auto: csync2 by itself, as the auto lines of the configuration say, which count under no
        /// other policy. The version that loses is kept in backup_dir. A removal is no version: removed here and changed there stays a
        /// conflict under every policy but auto.
        conflict_policy: Policy = "report",
        /// The same for single groups
        ///
        /// GROUP=POLICY, separated by spaces.
        group_policy: Option<List<GroupPolicy>>,
        /// Where versions that lose are kept
        ///
        /// A directory on each node. Left out, /var/lib/bascule/csync/NAME/kept.
        backup_dir: Option<AbsolutePath>,

        /// Removals at once, number
        ///
        /// When more files than this are gone from an included directory since the last check, that is not passed on to
        /// the other nodes until you release it.
        max_delete: Within<0, 1000000000> = "100" { reloadable: true },
        /// Removals at once, percent
        ///
        /// The same as a share of the files of the directory; up to 10 are never held back for it.
        max_delete_percent: Within<0, 100> = "30" { reloadable: true },

        /// Report as degraded
        ///
        /// A node with conflicts, with removals held back, or that could not send to another one for five minutes, is shown as
        /// degraded (needs Pacemaker 2.1).
        report_degraded: bool = "false" { reloadable: true },

        /// The program csync2
        ///
        /// Name or path.
        csync2: String = "csync2",
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
