//! How records stand in the cluster, and what refusals tell the administrator.

use super::{Generation, Reach, Record, Refusal};
use std::fmt;
use std::str::FromStr;

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (of {})", self.number, self.origin)
    }
}

/// As it stands in the CIB: `generation=7 id=00c0ffee00c0ffee origin=sv2 upon=6/00000000000000ab/4 change=3 shared=3 dataset=0123456789abcdef filled=yes in-sync=sv1,sv2`.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Generation { number, id, origin } = &self.generation;
        let set: Vec<&str> = self.in_sync.iter().map(String::as_str).collect();
        let filled = if self.filled { "yes" } else { "no" };
        let upon = match self.upon {
            Some(Reach { number, id, change }) => format!("{number}/{id:016x}/{change}"),
            None => "none".to_owned(),
        };
        write!(
            f,
            "generation={number} id={id:016x} origin={origin} upon={upon} change={} shared={} dataset={:016x} filled={filled} in-sync={}",
            self.change,
            self.shared,
            self.dataset,
            set.join(",")
        )
    }
}

impl FromStr for Record {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no record of a dataset");
        let field = |name: &str| -> Result<&str, String> {
            text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).ok_or_else(wrong)
        };
        let number = |name: &str| field(name)?.parse::<u64>().map_err(|_| wrong());
        let hex = |name: &str| u64::from_str_radix(field(name)?, 16).map_err(|_| wrong());
        let record = Record {
            generation: Generation {
                number: number("generation")?,
                id: hex("id")?,
                origin: field("origin")?.to_owned(),
            },
            upon: match field("upon")? {
                "none" => None,
                reach => Some(reach.parse()?),
            },
            change: number("change")?,
            shared: number("shared")?,
            dataset: hex("dataset")?,
            filled: field("filled")? == "yes",
            in_sync: field("in-sync")?
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        };
        // Whatever else is in there would be lost by the next who writes it.
        if record.to_string() == text && !text.contains(char::is_control) { Ok(record) } else { Err(wrong()) }
    }
}

impl FromStr for Reach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} does not say how far a record goes");
        let mut words = text.split('/');
        let mut word = || words.next().ok_or_else(wrong);
        let reach = Reach {
            number: word()?.parse().map_err(|_| wrong())?,
            id: u64::from_str_radix(word()?, 16).map_err(|_| wrong())?,
            change: word()?.parse().map_err(|_| wrong())?,
        };
        if words.next().is_none() { Ok(reach) } else { Err(wrong()) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoQuorum => f.write_str("this part of the cluster has no quorum: another part may have a source already"),
            Refusal::EmptyTree => f.write_str(
                "the tree is empty, its dataset is not: mount its file system, or let this node be filled by another source",
            ),
            Refusal::NotInSync(generation) => write!(
                f,
                "this node is not in sync with generation {generation}, which is the newest data; if its nodes are lost for good, \
                 allow this one by the node attribute that docs/lsync.md names (adopt={})",
                generation.number
            ),
            Refusal::NewerElsewhere { node, number } => write!(
                f,
                "{node} knows generation {number} or a change of it that the cluster's record lacks: its source has to write it again"
            ),
            Refusal::RecordLost(generation) => write!(
                f,
                "the cluster has lost its record of this dataset, and generation {generation} was opened by {}: only that node is \
                 sure to hold the newest data (or adopt={}, see docs/lsync.md)",
                generation.origin, generation.number
            ),
            Refusal::NotInitial(node) => write!(f, "initial_source={node} is to be the first source"),
            Refusal::Waiting(nodes) => write!(
                f,
                "first start: {} did not say yet whether they hold data; start them, or name the node with the data in initial_source",
                nodes.join(", ")
            ),
            Refusal::DataElsewhere(nodes) => write!(
                f,
                "first start: {} hold data too; name the node whose data counts in initial_source",
                nodes.join(", ")
            ),
        }
    }
}
