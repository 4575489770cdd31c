//! Which version of a file wins that was changed on two hosts, if any.
//!
//! Both hosts decide for themselves from the same facts, each for its own side: at most one of them forces its version, as long as
//! they know the same. So the facts are to be asked of both when the conflict stands, not remembered.
//! Nothing is decided about a file that one of them has removed: to force the removal would delete a change, to force the
//! change would bring back what somebody wanted gone.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::Text;
use crate::config::Auto;

/// How conflicts are settled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Not at all: they are told, and nothing is overwritten.
    #[default]
    Report,
    /// The version of the promoted node wins.
    PromotedWins,
    /// The version that was modified last wins.
    Newest,
    /// The version that was modified first wins.
    Oldest,
}

impl Policy {
    /// Every policy with its word.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Report, "report"),
        (Self::PromotedWins, "promoted-wins"),
        (Self::Newest, "newest"),
        (Self::Oldest, "oldest"),
    ];
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(policy, _)| policy == self).map_or("report", |(_, word)| word))
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, known)| *known == word);
        let words: Vec<&str> = Self::ALL.iter().map(|(_, word)| *word).collect();
        found.map(|(policy, _)| *policy).ok_or_else(|| format!("`{word}` is none of {}", words.join(", ")))
    }
}

/// The policy of each group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    /// For groups that are not named.
    pub default: Policy,
    /// By the name of the group.
    pub groups: BTreeMap<Text, Policy>,
}

impl Policies {
    /// The policy for a file of these groups: theirs if they agree, and to report it if they do not.
    pub fn of<'a>(&self, groups: impl IntoIterator<Item = &'a Text>) -> Policy {
        let mut policies =
            groups.into_iter().map(|group| self.groups.get(group).copied().unwrap_or(self.default));
        let Some(first) = policies.next() else { return Policy::Report };
        if policies.all(|policy| policy == first) { first } else { Policy::Report }
    }
}

/// Why the `auto` of a group works against any policy: csync2 settles by itself, before anybody is asked, says so only in its
/// log, and lets a removed file come back.
#[must_use]
pub fn contradicts(policy: Policy, auto: Auto) -> Option<String> {
    (auto != Auto::None).then(|| {
        format!(
            "`auto {auto}` settles conflicts before the policy `{policy}` is asked, keeps no version aside without a \
             backup-directory, and lets a file that was removed come back: set `auto none`"
        )
    })
}

/// A host's version of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// It has removed it.
    Removed,
    /// It has it.
    There {
        /// When it was modified, in seconds since 1970. Not known of what has no such time for csync2 (directories, symbolic
        /// links), and of a host that was not asked.
        modified: Option<i64>,
        /// It is a directory.
        directory: bool,
    },
    /// Not known: it could not be asked.
    Unknown,
}

/// Whether one version of a file was made where the other one was, and from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Descent {
    /// Neither, or it is not known.
    #[default]
    Unknown,
    /// This host had the peer's version, and changed it: nothing of that is lost.
    OwnOnTop,
    /// The peer had this host's.
    PeerOnTop,
}

/// A conflict, as one of its two hosts sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The file.
    pub name: Text,
    /// What this host is called.
    pub host: Text,
    /// The other one.
    pub peer: Text,
    /// The version of this host.
    pub own: Version,
    /// The version of the peer.
    pub other: Version,
    /// Whose version has the other's in it. csync2 sees a conflict where a file was changed on one host and then on the other one, as long as a
    /// third one lacks the first change.
    pub descent: Descent,
    /// Who is promoted.
    pub promoted: Option<Text>,
    /// The peer takes the file from this host: this one is no slave there.
    pub may_push: bool,
    /// This host takes the file from the peer.
    pub may_pull: bool,
}

/// What is to be done about a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settle {
    /// To keep both versions as they are and tell people.
    Report(Unsettled),
    /// To keep the peer's version aside there, and then force the own one (`-f`, `-u`).
    ForceOwn,
    /// To keep the own version aside, and let the peer force its own.
    YieldToPeer,
    /// To do nothing: both have removed it, and csync2 sees that itself.
    Agreed,
}

/// Why a conflict is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unsettled {
    /// The policy says so.
    Policy,
    /// This host has removed it, the peer has changed it.
    RemovedHere,
    /// The peer has removed it, this host has changed it.
    RemovedThere,
    /// One version is a directory, the other is not.
    Kinds,
    /// Nobody is promoted.
    NobodyPromoted,
    /// A third host is promoted: only its own version would win.
    OtherPromoted,
    /// Of one version it is not known when it was modified.
    NoTimes,
    /// Both were modified in the same second.
    SameTime,
    /// One version is not known.
    NotAsked,
    /// The one that would win is a slave, whose changes are not taken.
    Slave,
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policy => "the policy is to report it",
            Self::RemovedHere => "it was removed here and changed there",
            Self::RemovedThere => "it was changed here and removed there",
            Self::Kinds => "it is a directory on one host only",
            Self::NobodyPromoted => "nobody is promoted",
            Self::OtherPromoted => "the promoted host is neither of the two",
            Self::NoTimes => "it is not known when both were modified",
            Self::SameTime => "both were modified in the same second",
            Self::NotAsked => "the other version could not be asked for",
            Self::Slave => "the host that would win is a slave of the group",
        })
    }
}

/// Decides, for the host whose view the conflict is.
#[must_use]
pub fn settle(policy: Policy, conflict: &Conflict) -> Settle {
    let (own, other) = match (conflict.own, conflict.other) {
        (Version::Removed, Version::Removed) => return Settle::Agreed,
        (Version::There { directory: false, .. }, Version::There { directory: false, .. })
            if conflict.descent == Descent::OwnOnTop && conflict.may_push =>
        {
            return Settle::ForceOwn;
        }
        (Version::There { directory: false, .. }, Version::There { directory: false, .. })
            if conflict.descent == Descent::PeerOnTop && conflict.may_pull =>
        {
            return Settle::YieldToPeer;
        }
        _ if policy == Policy::Report => return Settle::Report(Unsettled::Policy),
        (Version::Unknown, _) | (_, Version::Unknown) => return Settle::Report(Unsettled::NotAsked),
        (Version::Removed, _) => return Settle::Report(Unsettled::RemovedHere),
        (_, Version::Removed) => return Settle::Report(Unsettled::RemovedThere),
        (
            Version::There { modified: own, directory: own_directory },
            Version::There { modified: other, directory: other_directory },
        ) if own_directory == other_directory => (own, other),
        (Version::There { .. }, Version::There { .. }) => return Settle::Report(Unsettled::Kinds),
    };
    let own_wins = match policy {
        Policy::Report => return Settle::Report(Unsettled::Policy),
        Policy::PromotedWins => match &conflict.promoted {
            None => return Settle::Report(Unsettled::NobodyPromoted),
            Some(promoted) if *promoted == conflict.host => true,
            Some(promoted) if *promoted == conflict.peer => false,
            Some(_) => return Settle::Report(Unsettled::OtherPromoted),
        },
        Policy::Newest | Policy::Oldest => match (own, other) {
            (Some(own), Some(other)) if own == other => return Settle::Report(Unsettled::SameTime),
            (Some(own), Some(other)) => (own > other) == (policy == Policy::Newest),
            _ => return Settle::Report(Unsettled::NoTimes),
        },
    };
    match (own_wins, conflict.may_push, conflict.may_pull) {
        (true, true, _) => Settle::ForceOwn,
        (false, _, true) => Settle::YieldToPeer,
        _ => Settle::Report(Unsettled::Slave),
    }
}
