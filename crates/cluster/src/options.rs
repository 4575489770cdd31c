//! Options of the whole cluster: Pacemaker's own, and lasting values that agents keep beside them.

use process::{Ended, Tool};
use quick_xml::escape::escape;

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
    /// - It is no compare-and-swap ([`Cluster::property_swap`] is): of two writers the later one wins.
    ///
    /// # Errors
    /// [`NoCluster`]: whether the value was written is then not known.
    pub fn property_set(&self, name: &str, value: &str) -> Result<(), NoCluster> {
        self.ask(&option(name).arg(format!("--update={value}"))).map(drop)
    }

    /// Replaces such a value if it is `old` at that moment, or makes it if `old` is `None` and there is none. `false`: it is
    /// another, and nothing was changed.
    ///
    /// It is a real compare-and-swap among all members of one partition: comparing and writing are one update, and the designated
    /// coordinator does one after the other. All else that [`Cluster::property_set`] does not promise is not promised here either:
    /// two partitions can both succeed.
    ///
    /// # Errors
    /// [`NoCluster`]: whether the value was replaced is then not known. Also, with nothing done, if a value holds control characters, which XML
    /// would change, or `old` holds both kinds of quotes.
    pub fn property_swap(&self, name: &str, old: Option<&str>, new: &str) -> Result<bool, NoCluster> {
        for text in [Some(name), old, Some(new)].into_iter().flatten() {
            if text.chars().any(char::is_control) {
                return Err(NoCluster(format!("{name}: a value of the cluster is one line, not {text:?}")));
            }
        }
        let (id, new) = (escape(property_id(name)).into_owned(), escape(new).into_owned());
        let pair = format!("<nvpair id=\"{id}\" name=\"{}\" value=\"{new}\"/>", escape(name));
        let name = quoted(name)?;
        match old {
            Some(old) => {
                let place = format!("{CRM_CONFIG}//nvpair[@name={name} and @value={}]", quoted(old)?);
                self.edit(&Tool::new("cibadmin").args(["--modify", "--xpath", &place, "--xml-text", &pair]))
            }
            None => {
                // The set is made by the first option of all, hardly ever by us.
                let set = format!("<cluster_property_set id=\"{PROPERTY_SET}\"/>");
                self.edit(&Tool::new("cibadmin").args([
                    "--create",
                    "--scope=crm_config",
                    "--xml-text",
                    &set,
                ]))?;
                // `--create` takes no XPath (seen on 2.1.5); a modified element gains the children that it lacks.
                let place = format!(
                    "{CRM_CONFIG}[not(.//nvpair[@name={name}])]/cluster_property_set[@id='{PROPERTY_SET}']"
                );
                let set =
                    format!("<cluster_property_set id=\"{PROPERTY_SET}\">{pair}</cluster_property_set>");
                self.edit(&Tool::new("cibadmin").args(["--modify", "--xpath", &place, "--xml-text", &set]))
            }
        }
    }

    /// Changes the configuration where it is as described; `false` if it is so nowhere, or what is to be made is there.
    fn edit(&self, cibadmin: &Tool) -> Result<bool, NoCluster> {
        /// `cibadmin`'s exit codes for "no such object" and "object already exists".
        const OTHER: [i32; 2] = [105, 108];
        let output = self.run(cibadmin)?;
        match output.ended {
            Ended::Code(code) if OTHER.contains(&code) => Ok(false),
            _ => output.ok().map(|_| true).map_err(NoCluster::from),
        }
    }

    /// Takes such a value away, if it is there.
    ///
    /// # Errors
    /// [`NoCluster`]: whether the value is still there is then not known.
    pub fn property_clear(&self, name: &str) -> Result<(), NoCluster> {
        self.ask(&option(name).arg("--delete")).map(drop)
    }
}

/// Where options of the cluster are.
const CRM_CONFIG: &str = "/cib/configuration/crm_config";
/// Where `crm_attribute` puts them.
const PROPERTY_SET: &str = "cib-bootstrap-options";

/// The id that `crm_attribute` gives to an option.
fn property_id(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '.' };
    format!("{PROPERTY_SET}-{}", name.chars().map(fit).collect::<String>())
}

/// A text in XPath, which knows no escapes.
fn quoted(text: &str) -> Result<String, NoCluster> {
    let quote = ['\'', '"'].into_iter().find(|quote| !text.contains(*quote));
    let quote =
        quote.ok_or_else(|| NoCluster(format!("cibadmin: no quotes are left to put around {text}")))?;
    Ok(format!("{quote}{text}{quote}"))
}

fn option(name: &str) -> Tool {
    Tool::new("crm_attribute").args(["--type=crm_config", &format!("--name={name}")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_quoted_by_what_it_does_not_hold() {
        assert_eq!(quoted("7 n1").unwrap(), "'7 n1'");
        assert_eq!(quoted("it's").unwrap(), "\"it's\"");
        assert_eq!(
            quoted("' or \"1\"='1").unwrap_err().to_string(),
            "cibadmin: no quotes are left to put around ' or \"1\"='1"
        );
    }
}
