//! Options of the whole cluster: Pacemaker's own, and lasting values that agents keep beside them.

use process::{Ended, Tool};

use crate::{Cluster, NoCluster};

impl Cluster {
    /// The value of a cluster option (`stonith-enabled`, `no-quorum-policy`, …), or of a value kept with
    /// [`Cluster::property_set`]. `None` if it is not in the configuration: Pacemaker's own then have their default.
    ///
    /// # Errors
    /// [`NoCluster`].
    pub fn option(&self, name: &str) -> Result<Option<String>, NoCluster> {
        /// `crm_attribute`'s exit code for "no such object".
        const UNSET: i32 = 105;
        let output = self.run(&option(name).args(["--query", "--quiet"]))?;
        if output.ended == Ended::Code(UNSET) {
            return Ok(None);
        }
        let output = output.ok()?;
        let text = output.text();
        Ok(Some(text.strip_suffix('\n').unwrap_or(&text).to_owned()))
    }

    /// Keeps a value in the cluster's configuration (CIB, section `crm_config`): it is on every member and outlives restarts of
    /// all of them.
    ///
    /// When this returns the update has been through the designated coordinator, which puts all updates in one order, and is
    /// in this node's copy; each member writes its copy to disk by itself a moment later. What it does *not* promise:
    /// - **Quorum is not needed** (seen on 2.1.5): a partition without it takes the update too. Who must not write there asks
    ///   [`Status::quorum`](crate::Status::quorum) first.
    /// - When partitions meet again one configuration wins as a whole, the one with the higher version numbers; what was written in the other is
    ///   lost. A value that must not go back has to be kept on the nodes' disks too, and compared.
    /// - It is no compare-and-swap: of two writers the later one wins.
    ///
    /// # Errors
    /// [`NoCluster`]: whether the value was written is then not known.
    pub fn property_set(&self, name: &str, value: &str) -> Result<(), NoCluster> {
        self.ask(&option(name).arg(format!("--update={value}"))).map(drop)
    }

    /// Takes such a value away, if it is there.
    ///
    /// # Errors
    /// [`NoCluster`]: whether the value is still there is then not known.
    pub fn property_clear(&self, name: &str) -> Result<(), NoCluster> {
        self.ask(&option(name).arg("--delete")).map(drop)
    }
}

fn option(name: &str) -> Tool {
    Tool::new("crm_attribute").args(["--type=crm_config", &format!("--name={name}")])
}
