//! What the source knows of each peer: one small file for each, replaced as a whole by whoever holds the peer's lock.

use serde::{Deserialize, Serialize};

/// What the source knows of one peer. Times are seconds of the boot clock (`CLOCK_BOOTTIME`): no clock that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerState {
    /// Number of the generation that this is about: what was noted under an earlier one means nothing.
    pub(crate) generation: u64,
    /// How it stands.
    pub(crate) phase: Phase,
    /// The boot-clock second of the last push or pass that succeeded.
    pub(crate) last_success: Option<u64>,
    /// Since when there are changes that it is not known to have.
    pub(crate) behind_since: Option<u64>,
    /// Since when all that was tried has failed.
    pub(crate) failing_since: Option<u64>,
    /// What went wrong last, for the administrator.
    pub(crate) trouble: Option<String>,
    /// The canary's number that it is known to have.
    pub(crate) canary: u64,
    /// Whether a push was begun and did not end well: its receiver may still write what it got, over what is newer.
    #[serde(default)]
    pub(crate) sending: bool,
    /// Whether it has had its whole pass, and joins those in sync once it has what was acknowledged during that.
    #[serde(default)]
    pub(crate) joining: bool,
    /// Deletions that are held back, if any: how many.
    pub(crate) held: Option<u64>,
    /// Files that lie set aside on it.
    pub(crate) saved: u64,
    /// Files and directories of the tree at the last whole pass: what percentages are of.
    pub(crate) entries: u64,
}

/// How a peer stands, as the source sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// It needs a whole pass, and gets nothing else until then.
    #[default]
    Lost,
    /// A whole pass is on its way.
    Syncing,
    /// It had its whole pass and follows the changes.
    Following,
}
