//! The types of this agent's parameters: pure, each says what it accepts.

use ocf::{Kind, Value};
use serde::{Deserialize, Serialize};

/// The name of one of several configurations of csync2, as its option `-C` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigName(pub(crate) String);

impl Value for ConfigName {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if text.is_empty() || text.len() > 100 || !text.bytes().all(plain) {
            return Err("small letters and digits, as csync2 wants them".to_owned());
        }
        Ok(ConfigName(text.to_owned()))
    }
}

/// What settles a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Policy {
    /// Nobody: it is shown.
    Report,
    /// The promoted node's version wins.
    PromotedWins,
    /// The version that was changed last wins.
    Newest,
    /// The version that was changed first wins.
    Oldest,
    /// csync2 itself settles, as the configuration's `auto` lines say.
    Auto,
}

impl Policy {
    const ALL: [(Policy, &'static str); 5] = [
        (Policy::Report, "report"),
        (Policy::PromotedWins, "promoted-wins"),
        (Policy::Newest, "newest"),
        (Policy::Oldest, "oldest"),
        (Policy::Auto, "auto"),
    ];
}

impl Value for Policy {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(_, word)| *word == text).map(|(policy, _)| policy);
        found.ok_or_else(|| "report, promoted-wins, newest, oldest or auto".to_owned())
    }
}

impl From<Policy> for csync2::decide::Policy {
    fn from(policy: Policy) -> Self {
        match policy {
            // What csync2 leaves unsettled waits for people.
            Policy::Report | Policy::Auto => Self::Report,
            Policy::PromotedWins => Self::PromotedWins,
            Policy::Newest => Self::Newest,
            Policy::Oldest => Self::Oldest,
        }
    }
}

/// A group with a policy of its own, `GROUP=POLICY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupPolicy {
    /// The group's name in the configuration.
    pub(crate) group: String,
    /// What settles its conflicts.
    pub(crate) policy: Policy,
}

impl Value for GroupPolicy {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let accepts = || {
            "GROUP=POLICY, such as g1=newest, with report, promoted-wins, newest, oldest or auto".to_owned()
        };
        let (group, policy) = text.split_once('=').ok_or_else(accepts)?;
        if group.is_empty() {
            return Err(accepts());
        }
        let policy = Policy::parse(policy).map_err(|_| accepts())?;
        Ok(GroupPolicy { group: group.to_owned(), policy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_named_as_csync2_does() {
        assert_eq!(ConfigName::parse("www2"), Ok(ConfigName("www2".to_owned())));
        for text in ["", "Www", "a-b", "a/b", "a b", "é", &"x".repeat(101)] {
            assert!(ConfigName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn groups_have_policies() {
        let parsed = GroupPolicy::parse("g1=newest");
        assert_eq!(parsed, Ok(GroupPolicy { group: "g1".to_owned(), policy: Policy::Newest }));
        for (policy, word) in Policy::ALL {
            assert_eq!(Policy::parse(word), Ok(policy));
        }
        for text in ["", "g1", "=newest", "g1=", "g1=younger"] {
            assert!(GroupPolicy::parse(text).is_err(), "{text}");
        }
    }
}
