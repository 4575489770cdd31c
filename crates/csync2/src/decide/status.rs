//! What a node attribute says: how this node stands, on one short line.

use crate::Text;
use crate::messages::PeerTrouble;

/// How a node stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// How many changes peers have not got: rows of `dirty`.
    pub dirty: u64,
    /// The conflicts: the file and the peer.
    pub conflicts: Vec<(Text, Text)>,
    /// The peers in error, each once.
    pub peers: Vec<(Text, PeerTrouble)>,
    /// The roots that are held back, each with how much of it is gone.
    pub held: Vec<(Text, u64)>,
    /// What ended the last run.
    pub failed: Option<String>,
}

/// How long a name is shown, in characters.
const SHOWN: usize = 80;

/// The end of a name that is too long says more than its beginning.
fn shown(name: &Text) -> String {
    let name = name.to_string();
    let length = name.chars().count();
    if length <= SHOWN {
        return name;
    }
    let end: String = name.chars().skip(length - SHOWN + 1).collect();
    format!("…{end}")
}

/// The first of several, and how many more there are.
fn first<T>(all: &[T], show: impl Fn(&T) -> String) -> Option<String> {
    let (first, rest) = all.split_first()?;
    let first = show(first);
    Some(if rest.is_empty() { first } else { format!("{first} and {} more", rest.len()) })
}

impl Status {
    /// The text, the worst first: `ok`, or all of what is not: `held back: /srv/www, 20000 gone; conflicts 2: /etc/motd with
    /// beta and 1 more; dirty 3; peers in error: gamma down, delta silent; failed: …`. The same state is the same text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut parts = Vec::new();
        let mut held: Vec<&(Text, u64)> = self.held.iter().collect();
        held.sort();
        if let Some(first) = first(&held, |(root, gone)| format!("{}, {gone} gone", shown(root))) {
            parts.push(format!("held back: {first}"));
        }
        let mut conflicts: Vec<&(Text, Text)> = self.conflicts.iter().collect();
        conflicts.sort();
        conflicts.dedup();
        if let Some(first) = first(&conflicts, |(name, peer)| format!("{} with {peer}", shown(name))) {
            parts.push(format!("conflicts {}: {first}", conflicts.len()));
        }
        if self.dirty > 0 {
            parts.push(format!("dirty {}", self.dirty));
        }
        let mut peers: Vec<String> =
            self.peers.iter().map(|(peer, trouble)| format!("{peer} {}", trouble.word())).collect();
        peers.sort();
        peers.dedup();
        if !peers.is_empty() {
            parts.push(format!("peers in error: {}", peers.join(", ")));
        }
        if let Some(failed) = &self.failed {
            let line = Text::from(failed.as_str()).to_string();
            parts.push(format!("failed: {}", line.chars().take(2 * SHOWN).collect::<String>()));
        }
        if parts.is_empty() { "ok".to_owned() } else { parts.join("; ") }
    }
}
