//! Transient node attributes and the promotion score, which is one of them. `crm_mon -A` shows them; they last until
//! the node leaves the cluster.

use process::Tool;

use crate::memory::attribute_daemon;
use crate::{Cluster, NoCluster, Written};

/// The score that no other outweighs.
const NEVER: &str = "-INFINITY";

impl Cluster {
    /// Gives an attribute of this node a value, if it has another.
    ///
    /// The value is shown to people, on one line, and read by tools in the locale C: characters beyond ASCII and control
    /// characters become `?`. An empty value means the same as none.
    pub fn attribute_set(&self, name: &str, value: &str) -> Written {
        let value = printable(value);
        let tool = attrd(name).arg(format!("--update={value}"));
        self.write(name, Some(&value), &tool)
    }

    /// Takes an attribute of this node away, if it has one.
    pub fn attribute_clear(&self, name: &str) -> Written {
        self.write(name, None, &attrd(name).arg("--delete"))
    }

    /// Sets this node's promotion score for a resource, if it has another: the node with the highest becomes Promoted. The
    /// resource is named by its id; an instance number (`:0`) is dropped, Pacemaker would look for a score of the same
    /// resource without it.
    ///
    /// For "not here" there are [`Cluster::promotion_forbid`] and [`Cluster::promotion_score_clear`].
    pub fn promotion_score_set(&self, resource: &str, score: i32) -> Written {
        let (name, tool) = self.promotion(resource);
        let score = score.to_string();
        self.write(&name, Some(&score), &tool.arg(format!("--update={score}")))
    }

    /// Keeps this node from becoming Promoted for a resource, whatever is configured; it goes on Unpromoted.
    ///
    /// Without a score, a constraint that merely prefers this node would have it promoted (seen on 2.1.5): Pacemaker demotes the
    /// node that serves, promotes this one, which has to refuse, and so on. Minus infinity is more than any preference.
    pub fn promotion_forbid(&self, resource: &str) -> Written {
        let (name, tool) = self.promotion(resource);
        self.write(&name, Some(NEVER), &tool.arg(format!("--update={NEVER}")))
    }

    /// Takes this node's promotion score for a resource away: it will not become Promoted, unless a constraint prefers it.
    pub fn promotion_score_clear(&self, resource: &str) -> Written {
        let (name, tool) = self.promotion(resource);
        self.write(&name, None, &tool.arg("--delete"))
    }

    /// Whether an attribute of this node is known to have been written lately, to the attribute daemon that runs now: else it may be
    /// gone, and should be written again. Starts no process.
    pub fn remembers(&self, name: &str) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.has(name))
    }

    /// The values of an attribute on all nodes that have it, by node name, as the attribute daemons know them at this moment.
    ///
    /// # Errors
    /// [`NoCluster`], also if the answer cannot be read.
    pub fn attribute_everywhere(&self, name: &str) -> Result<Vec<(String, String)>, NoCluster> {
        /// `attrd_updater`'s exit code for an attribute that no node has had.
        const UNKNOWN: i32 = 78;
        let output = self.run(&attrd(name).args(["--query", "--all"]))?;
        if output.ended == process::Ended::Code(UNKNOWN) {
            return Ok(Vec::new());
        }
        let output = output.ok()?;
        parse_values(name, &output.text())
            .map_err(|line| NoCluster(format!("attrd_updater: cannot be understood: {line}")))
    }

    /// The attribute behind a promotion score of this node, and the tool that sets it.
    fn promotion(&self, resource: &str) -> (String, Tool) {
        let (name, tool) = promotion(resource, feature_set().as_deref());
        let here = self.node.iter().map(|node| format!("--node={node}"));
        (name, tool.args(here))
    }

    /// Runs the tool unless the attribute is known to have the value.
    fn write(&self, attribute: &str, value: Option<&str>, tool: &Tool) -> Written {
        if self.memory.as_ref().is_some_and(|memory| memory.holds(attribute, value)) {
            return Written::Unchanged;
        }
        // Taken before the tool runs: a daemon that is replaced meanwhile makes the memory void.
        let Some(keeper) = attribute_daemon() else {
            return Written::NoCluster(NoCluster("pacemaker-attrd does not run on this node".into()));
        };
        if let Some(memory) = &self.memory {
            memory.forget(attribute);
        }
        if let Err(reason) = self.ask(tool) {
            return Written::NoCluster(reason);
        }
        if let Some(memory) = &self.memory {
            // What cannot be remembered is written again next time: slower, and not wrong.
            let _ = memory.keep(attribute, value, keeper);
        }
        Written::Written
    }
}

fn attrd(name: &str) -> Tool {
    Tool::new("attrd_updater").arg(format!("--name={name}"))
}

/// The attribute behind a promotion score, and the tool that sets it: `crm_attribute --promotion` since feature set 3.10,
/// `crm_master` before.
fn promotion(resource: &str, feature_set: Option<&str>) -> (String, Tool) {
    let resource = match resource.rsplit_once(':') {
        Some((id, number)) if !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()) => id,
        _ => resource,
    };
    let tool = match is_before_3_10(feature_set) {
        false => Tool::new("crm_attribute").arg(format!("--promotion={resource}")),
        true => Tool::new("crm_master").args(["-l", "reboot", "-r", resource]),
    };
    // Else the tools would take the instance from here, with its number.
    (format!("master-{resource}"), tool.env("OCF_RESOURCE_INSTANCE", resource))
}

/// Pacemaker tells its agents how old it is; by hand we take it for a recent one.
fn feature_set() -> Option<String> {
    std::env::var("OCF_RESKEY_crm_feature_set").ok()
}

fn is_before_3_10(feature_set: Option<&str>) -> bool {
    let mut numbers = feature_set.unwrap_or_default().split('.').map_while(|it| it.parse::<u32>().ok());
    numbers.next().is_some_and(|major| (major, numbers.next().unwrap_or(0)) < (3, 10))
}

fn printable(value: &str) -> String {
    value.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Reads the lines `name="N" host="H" value="V"`. The tool escapes no quote; a host name has none, so the value is all up to
/// the last one. An attribute that was deleted has the empty value until its node leaves. `Err` is the line that is of another form.
fn parse_values(name: &str, text: &str) -> Result<Vec<(String, String)>, String> {
    let before = format!("name=\"{name}\" host=\"");
    let value_of = |line: &str| {
        let (host, value) = line.strip_prefix(&before)?.split_once("\" value=\"")?;
        Some((host.to_owned(), value.strip_suffix('"')?.to_owned()))
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let values: Result<Vec<_>, String> =
        lines.map(|line| value_of(line).ok_or_else(|| line.chars().take(100).collect())).collect();
    Ok(values?.into_iter().filter(|(_, value)| !value.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(host, value)| (host.to_string(), value.to_string())).collect()
    }

    #[test]
    fn recorded_answers() {
        let lag = parse_values("bascule-lag", include_str!("../fixtures/attrd-lag.txt"));
        assert_eq!(lag, Ok(pairs(&[("n1", "4"), ("n2", "syncing 40 %")])));
        let quote = parse_values("bascule-quote", include_str!("../fixtures/attrd-quote.txt"));
        assert_eq!(quote, Ok(pairs(&[("n1", r#"a "quoted" host="n9" <x> & b"#)])));
        assert_eq!(parse_values("bascule-x", include_str!("../fixtures/attrd-cleared.txt")), Ok(vec![]));
    }

    #[test]
    fn another_form_is_refused() {
        assert_eq!(parse_values("a", "some new wording\n"), Err("some new wording".into()));
        assert_eq!(parse_values("a", ""), Ok(vec![]));
    }

    #[test]
    fn instances_have_the_score_of_their_resource() {
        for (given, name) in [
            ("db:0", "master-db"),
            ("db:12", "master-db"),
            ("db", "master-db"),
            ("db:x", "master-db:x"),
            ("db:", "master-db:"),
        ] {
            assert_eq!(promotion(given, None).0, name);
        }
    }

    #[test]
    fn the_tool_of_each_age() {
        for (feature_set, old) in [
            (Some("3.9.1"), true),
            (Some("3.0"), true),
            (Some("3"), true),
            (Some("2.99"), true),
            (Some("3.10"), false),
            (Some("3.16.1"), false),
            (Some("4"), false),
            (Some("new"), false),
            (None, false),
        ] {
            assert_eq!(is_before_3_10(feature_set), old, "{feature_set:?}");
        }
    }

    #[test]
    fn values_are_one_line_of_ascii() {
        assert_eq!(printable("-5 \"ok\"\n\x07é"), "-5 \"ok\"???");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(text: String, name: String) {
            let _ = parse_values(&name, &text);
        }

        #[test]
        fn what_is_written_is_read(values in proptest::collection::vec(("[a-z0-9.-]{1,9}", "[ -~]{1,20}"), 0..4)) {
            let text: String =
                values.iter().map(|(host, value)| format!("name=\"x\" host=\"{host}\" value=\"{value}\"\n")).collect();
            prop_assert_eq!(parse_values("x", &text), Ok(values));
        }
    }
}
