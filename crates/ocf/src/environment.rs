//! The environment of a call as plain data: what Pacemaker, ocf-tester, pcs or a person set.

use crate::value::Value;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::time::Duration;

/// The variables of the protocol, read once. A copy: deciding on them needs no process environment.
#[derive(Clone, Default)]
pub struct Environment {
    /// Those of the resource, without their prefix: every monitor looks for some fifty of them.
    parameters: BTreeMap<String, OsString>,
    others: BTreeMap<String, OsString>,
}

/// Shows the names alone: there may be secrets among the values.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.parameters.keys()).entries(self.others.keys()).finish()
    }
}

const PREFIXES: [&str; 4] = ["OCF_", "HA_", "PCMK_", "CRM_"];
const PARAMETER: &str = "OCF_RESKEY_";

impl Environment {
    /// Those of the variables that the protocol is about; names that are not UTF-8 are none of ours.
    pub fn new(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Environment::default();
        for (name, value) in variables {
            if let Some(name) = name.to_str()
                && PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            {
                environment.set(name, value);
            }
        }
        environment
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        match name.strip_prefix(PARAMETER) {
            Some(name) => self.parameters.insert(name.to_owned(), value.into()),
            None => self.others.insert(name.to_owned(), value.into()),
        };
    }

    /// A variable's bytes.
    pub fn raw(&self, name: &str) -> Option<&OsStr> {
        match name.strip_prefix(PARAMETER) {
            Some(name) => self.parameter(name),
            None => self.others.get(name).map(OsString::as_os_str),
        }
    }

    /// A variable's text; `None` also where it is empty or not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        readable(self.raw(name))
    }

    /// A parameter's bytes, by its name in the CIB.
    pub fn parameter(&self, name: &str) -> Option<&OsStr> {
        self.parameters.get(name).map(OsString::as_os_str)
    }

    /// A meta attribute's text, such as `interval`.
    pub fn meta(&self, name: &str) -> Option<&str> {
        readable(self.parameter(&["CRM_meta_", name].concat()))
    }

    fn meta_number(&self, name: &str) -> Option<u32> {
        self.meta(name)?.parse().ok()
    }

    fn meta_milliseconds(&self, name: &str) -> Option<Duration> {
        self.meta(name)?.parse().ok().map(Duration::from_millis)
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| bool::parse(text) == Ok(true))
    }

    /// The interval of the operation: `None` where the caller set none (a plain call), zero for a probe.
    pub fn interval(&self) -> Option<Duration> {
        self.meta_milliseconds("interval")
    }

    /// The operation's timeout.
    pub fn timeout(&self) -> Option<Duration> {
        self.meta_milliseconds("timeout").filter(|timeout| !timeout.is_zero())
    }

    /// `OCF_CHECK_LEVEL`, 0 where unset or unreadable.
    pub fn check_level(&self) -> u32 {
        self.text("OCF_CHECK_LEVEL").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Whether debug lines are wanted (`HA_debug`, `PCMK_debug` as a truth value or as a list of daemons).
    pub fn debug(&self) -> bool {
        let number = |name| self.text(name).and_then(|text| text.parse::<u32>().ok()).is_some_and(|n| n > 0);
        let daemons = self
            .text("PCMK_debug")
            .is_some_and(|list| list.split(',').any(|daemon| daemon.contains("execd")));
        number("HA_debug") || self.flag("PCMK_debug") || daemons
    }

    /// Whether the caller speaks a version of the protocol that this is not written for.
    pub fn foreign_version(&self) -> Option<&str> {
        self.text("OCF_RA_VERSION_MAJOR").filter(|major| *major != "1")
    }

    /// The resource's name, with the clone instance number that the older releases append.
    pub fn instance(&self) -> Option<&str> {
        self.text("OCF_RESOURCE_INSTANCE")
    }

    /// The name of this node in the cluster.
    pub fn node(&self) -> Option<&str> {
        self.meta("on_node")
    }

    /// Whether and where a trace is wanted.
    pub fn trace(&self) -> Option<Trace> {
        let wanted = self.flag("OCF_TRACE_RA") || self.flag("OCF_RESKEY_trace_ra");
        let file = self.text("OCF_RESKEY_trace_file").or(self.text("OCF_TRACE_FILE"));
        wanted.then(|| match file {
            Some(file) if matches!(file.as_bytes(), [b'3'..=b'9']) => {
                Trace::Descriptor(file.as_bytes()[0] - b'0')
            }
            Some(path) if path.starts_with('/') => Trace::File(path.into()),
            _ => Trace::Directory(self.text("OCF_RESKEY_trace_dir").map(str::to_owned)),
        })
    }

    /// The clone that this instance belongs to.
    pub fn clone_of(&self) -> Option<CloneMeta> {
        let max = self.meta_number("clone_max")?;
        let either = |new, old| self.meta_number(new).or(self.meta_number(old));
        let truth = |name| self.meta(name).is_some_and(|text| bool::parse(text) == Ok(true));
        let promoted_max = either("promoted_max", "master_max");
        Some(CloneMeta {
            number: self.meta_number("clone"),
            max,
            node_max: self.meta_number("clone_node_max"),
            globally_unique: truth("globally_unique"),
            notify: truth("notify"),
            promotable: truth("promotable") || promoted_max.is_some_and(|max| max > 0),
            promoted_max,
            promoted_node_max: either("promoted_node_max", "master_node_max"),
        })
    }

    /// What a `notify` action tells; `None` where the caller set no notify variables.
    pub fn notification(&self) -> Option<Notification> {
        let when = match self.meta("notify_type")? {
            "pre" => When::Pre,
            "post" => When::Post,
            _ => return None,
        };
        let operation = match self.meta("notify_operation")? {
            "start" => Operation::Start,
            "stop" => Operation::Stop,
            "promote" => Operation::Promote,
            "demote" => Operation::Demote,
            _ => return None,
        };
        let words = |name: &str| -> Vec<String> {
            self.meta(name).unwrap_or("").split_ascii_whitespace().map(str::to_owned).collect()
        };
        let either = |new: &str, old: &str| -> Vec<Peer> {
            [new, old]
                .iter()
                .map(|what| {
                    let nodes = words(&format!("notify_{what}_uname"));
                    let resources = words(&format!("notify_{what}_resource"));
                    resources.into_iter().zip(nodes).map(|(resource, node)| Peer { resource, node }).collect()
                })
                .find(|peers: &Vec<Peer>| !peers.is_empty())
                .unwrap_or_default()
        };
        let peers = |what| either(what, what);
        Some(Notification {
            when,
            operation,
            start: peers("start"),
            stop: peers("stop"),
            promote: peers("promote"),
            demote: peers("demote"),
            active: peers("active"),
            promoted: either("promoted", "master"),
            unpromoted: either("unpromoted", "slave"),
            inactive: words("notify_inactive_resource"),
            available_nodes: words("notify_available_uname"),
            all_nodes: words("notify_all_uname"),
        })
    }
}

/// A variable's text; `None` also where it is empty or not UTF-8.
fn readable(value: Option<&OsStr>) -> Option<&str> {
    value?.to_str().filter(|text| !text.is_empty())
}

/// Where the trace of a call goes (`trace_ra`, `trace_file`, `trace_dir`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// An open descriptor of the caller's, 3 to 9.
    Descriptor(u8),
    /// This file, appended to.
    File(String),
    /// A new file in this directory, or in the usual place.
    Directory(Option<String>),
}

/// The clone meta attributes; absent for a primitive, and always for `validate-all` run by pcs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneMeta {
    /// Number of this instance.
    pub number: Option<u32>,
    /// `clone-max`.
    pub max: u32,
    /// `clone-node-max`.
    pub node_max: Option<u32>,
    /// `globally-unique`.
    pub globally_unique: bool,
    /// `notify`.
    pub notify: bool,
    /// `promotable`, or the older `master-max` above 0.
    pub promotable: bool,
    /// `promoted-max`, or the older `master-max`.
    pub promoted_max: Option<u32>,
    /// `promoted-node-max`, or the older `master-node-max`.
    pub promoted_node_max: Option<u32>,
}

/// Whether a notification comes before or after its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before.
    Pre,
    /// After.
    Post,
}

/// The operation that a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Instances start.
    Start,
    /// Instances stop.
    Stop,
    /// Instances are promoted.
    Promote,
    /// Instances are demoted.
    Demote,
}

/// One instance of the clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its resource name, possibly with an instance number.
    pub resource: String,
    /// Its node.
    pub node: String,
}

/// A notification: the state *before* the transition (`active`, `promoted`, …) and what changes in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the protocol's notify_* variables")]
pub struct Notification {
    pub when: When,
    pub operation: Operation,
    pub start: Vec<Peer>,
    pub stop: Vec<Peer>,
    pub promote: Vec<Peer>,
    pub demote: Vec<Peer>,
    pub active: Vec<Peer>,
    pub promoted: Vec<Peer>,
    pub unpromoted: Vec<Peer>,
    pub inactive: Vec<String>,
    pub available_nodes: Vec<String>,
    pub all_nodes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::new(pairs.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn an_unset_interval_is_no_probe() {
        assert_eq!(environment(&[]).interval(), None);
        assert_eq!(environment(&[("OCF_RESKEY_CRM_meta_interval", "0")]).interval(), Some(Duration::ZERO));
        let recurring = environment(&[("OCF_RESKEY_CRM_meta_interval", "10000")]);
        assert_eq!(recurring.interval(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn older_and_newer_names_of_the_promoted_role() {
        let old = environment(&[
            ("OCF_RESKEY_CRM_meta_clone_max", "2"),
            ("OCF_RESKEY_CRM_meta_master_max", "1"),
            ("OCF_RESKEY_CRM_meta_notify_type", "post"),
            ("OCF_RESKEY_CRM_meta_notify_operation", "promote"),
            ("OCF_RESKEY_CRM_meta_notify_master_resource", "r:0"),
            ("OCF_RESKEY_CRM_meta_notify_master_uname", "n1"),
            ("OCF_RESKEY_CRM_meta_notify_slave_resource", "r:1 r:2"),
            ("OCF_RESKEY_CRM_meta_notify_slave_uname", "n2 n3"),
        ]);
        let meta = old.clone_of().unwrap();
        assert!(meta.promotable);
        assert_eq!(meta.promoted_max, Some(1));
        let told = old.notification().unwrap();
        assert_eq!(told.promoted, [Peer { resource: "r:0".into(), node: "n1".into() }]);
        assert_eq!(told.unpromoted.len(), 2);
        assert_eq!((told.when, told.operation), (When::Post, Operation::Promote));
    }

    #[test]
    fn notify_variables_may_be_absent_or_odd() {
        assert_eq!(environment(&[]).notification(), None);
        let odd =
            [("OCF_RESKEY_CRM_meta_notify_type", "soon"), ("OCF_RESKEY_CRM_meta_notify_operation", "start")];
        assert_eq!(environment(&odd).notification(), None);
    }

    #[test]
    fn traces() {
        assert_eq!(environment(&[("OCF_TRACE_FILE", "/x")]).trace(), None);
        let trace = |file| environment(&[("OCF_RESKEY_trace_ra", "1"), ("OCF_TRACE_FILE", file)]).trace();
        assert_eq!(trace("5"), Some(Trace::Descriptor(5)));
        assert_eq!(trace("/tmp/x"), Some(Trace::File("/tmp/x".into())));
        assert_eq!(trace("2"), Some(Trace::Directory(None)));
    }

    #[test]
    fn debugging_by_number_truth_value_or_daemon() {
        assert!(!environment(&[("HA_debug", "0"), ("PCMK_debug", "no")]).debug());
        assert!(environment(&[("HA_debug", "1")]).debug());
        assert!(environment(&[("PCMK_debug", "yes")]).debug());
        assert!(environment(&[("PCMK_debug", "pacemaker-based,pacemaker-execd")]).debug());
    }
}
