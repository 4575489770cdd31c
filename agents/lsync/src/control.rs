//! What nodes ask each other through the daemon's control module: [`Question`] and [`Answer`], and how they travel.
//!
//! A question is the name of a file that is asked for; the daemon's pre-transfer hook (this program) writes the answer into a
//! file of that name, which the daemon then sends. So both sides are rsync, authenticated, with its timeouts, and no other port is open.

use crate::core::{Generation, Own, Said};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// What it is about.
    pub(crate) what: Ask,
    /// Who asks.
    pub(crate) from: String,
    /// Tells two questions of one node apart.
    pub(crate) nonce: u64,
}

/// The kinds of questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// "I am the source of this generation and about to send a whole pass": have you seen it in the cluster? The replica looks, and opens its module
    /// to it.
    Claim(Generation),
    /// "A complete pass of this generation has arrived": the replica makes it durable, puts away what was set aside, and says so.
    Complete(Generation),
    /// "The cluster's record has changed, look": the replica does, and says how it stands.
    Look,
    /// How do you stand? Nothing is looked up.
    State,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// What the replica keeps on its disk, after whatever the question made it do.
    pub(crate) own: Own,
    /// The same in short, with its tree.
    pub(crate) said: Said,
    /// The number in its canary file.
    pub(crate) canary: Option<u64>,
    /// Files that lie set aside on it.
    pub(crate) saved: u64,
    /// Why it does not take a pass although the generation is right (set-aside full, tree not mounted).
    pub(crate) refuses: Option<String>,
}

/// As a file name: `claim~7~00c0ffee00c0ffee~ORIGIN~FROM~NONCE` and so on; names are encoded by [`ocf::file_name`], which leaves no `~`.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = |f: &mut fmt::Formatter<'_>, word: &str, it: &Generation| {
            write!(f, "{word}~{}~{:016x}~{}", it.number, it.id, ocf::file_name(&it.origin))
        };
        match &self.what {
            Ask::Claim(generation) => about(f, "claim", generation)?,
            Ask::Complete(generation) => about(f, "complete", generation)?,
            Ask::Look => f.write_str("look")?,
            Ask::State => f.write_str("state")?,
        }
        write!(f, "~{}~{:016x}", ocf::file_name(&self.from), self.nonce)
    }
}

impl FromStr for Question {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no question of this agent");
        let words: Vec<&str> = text.split('~').collect();
        let hex = |word: &str| u64::from_str_radix(word, 16).map_err(|_| wrong());
        let generation = |number: &str, id: &str, origin: &str| -> Result<Generation, String> {
            Ok(Generation {
                number: number.parse().map_err(|_| wrong())?,
                id: hex(id)?,
                origin: origin.to_owned(),
            })
        };
        let (what, from, nonce) = match words[..] {
            ["claim", number, id, origin, from, nonce] => {
                (Ask::Claim(generation(number, id, origin)?), from, nonce)
            }
            ["complete", number, id, origin, from, nonce] => {
                (Ask::Complete(generation(number, id, origin)?), from, nonce)
            }
            ["look", from, nonce] => (Ask::Look, from, nonce),
            ["state", from, nonce] => (Ask::State, from, nonce),
            _ => return Err(wrong()),
        };
        let question = Question { what, from: from.to_owned(), nonce: hex(nonce)? };
        if question.to_string() == text { Ok(question) } else { Err(wrong()) }
    }
}
