//! What csync2 prints, as typed facts: per line ([`read()`]), per run ([`Run`]), and the lists it gives ([`table`]).
//!
//! Written for `-v`, where success is silence: a file was taken by a peer if nothing follows its "Updating … on … ...". At `-v`
//! csync2 does not say why a file was refused ([`FileTrouble::Unsaid`]); it says so at `-vvv`, together with the keys of the
//! groups, which are not taken over into any fact. The output without `-v`, and with more of them, is understood as well.
//!
//! All of it is tested on `fixtures/`: recorded output of the csync2 installed here (2.0-42-g83b3644, which calls itself
//! 2.1-0rc1), made by the script `fixtures/record`.
//!
//! csync2 prints names as they are. A name with line ends in it is put together again where that can be told, but a hostile
//! one can look like any other line: no fact is a reason to overwrite or delete, the database and the disk are.

mod line;
mod read;
mod run;
pub mod table;
mod trouble;

pub use read::{Source, read};
pub use run::{Outcome, PeerRun, Pushed, Run};
pub use trouble::{Failure, FileTrouble, Judged, PeerTrouble, Reply};

use crate::Text;

/// A line of csync2's, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which process of the daemon has printed it: its number, the one who connected is always the same in a session. `None`
    /// for a client and for the daemon that listens.
    pub session: Option<u32>,
    /// What it says.
    pub fact: Fact,
}

/// What is done to a file of the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is created or made equal.
    Update,
    /// It is deleted.
    Remove,
}

/// By what csync2 itself settles a conflict (`auto`, and `(slave)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Test {
    /// `auto first`.
    First,
    /// `auto younger`, `auto older`.
    Time,
    /// `auto bigger`, `auto smaller`.
    Size,
    /// `auto left`, `auto right`.
    Side,
    /// The peer is a slave: it always loses.
    Slave,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Nothing to decide on: progress, SQL, the protocol. Its text is not kept: at `-vvv` the keys of the groups are in it.
    Progress,
    /// A line that is not known.
    Unknown(Text),

    /// A change was noticed (by a client), or a file that the peer wants to change is in conflict or refused (by the daemon).
    Marked {
        /// The file.
        name: Text,
    },
    /// What is marked or pushed next is the peer's business.
    Connecting {
        /// The peer.
        peer: Text,
        /// With TLS.
        tls: bool,
    },
    /// The connection stands.
    Connected {
        /// Where: address and port.
        address: Text,
        /// The peer.
        peer: Text,
    },
    /// The peer's name has no address.
    Unresolved {
        /// In the resolver's words.
        why: Text,
    },
    /// The connection does not come about.
    Unconnected {
        /// In the system's words.
        why: Text,
    },
    /// A step between connecting and the first file was refused.
    StepRefused(Step),
    /// The peer stays without its changes: nothing of it was pushed.
    PeerFailed {
        /// The peer.
        peer: Text,
    },
    /// The same, with nothing else to say.
    PeerStays,
    /// The peer does not take this host for who it says it is, or expects TLS (`-T` only: pushing is silent about it).
    NotIdentified {
        /// The peer.
        peer: Text,
    },
    /// The certificate of a peer was seen for the first time and is expected from now on.
    NewCertificate,
    /// A certificate was not what it has to be. Ends a client; the daemon answers "Identification failed!".
    BadCertificate {
        /// There was another one before; otherwise there was none now.
        changed: bool,
    },
    /// TLS told a warning, or what ended it.
    TlsAlert {
        /// In its words.
        why: Text,
    },

    /// A change is about to be pushed. If nothing else follows about it, it has arrived.
    Attempt {
        /// The file.
        name: Text,
        /// To whom.
        peer: Text,
        /// What.
        change: Change,
    },
    /// The peer had it already.
    UpToDate,
    /// "File is also marked dirty here!", said only when a file is to be deleted.
    AlsoDirty,
    /// csync2 settled a conflict: the version of this host goes to the peer.
    Won(Test),
    /// csync2 found that it must not settle a conflict: the peer's version is expected to win.
    Lost(Test),
    /// csync2 does not settle a conflict about a file that is removed here by time or size.
    RemovalUnsettled,
    /// csync2 won a conflict, but could not bring its version to the peer.
    SettlingFailed,
    /// The file was not taken.
    Stays,
    /// A directory is missing there; csync2 marks it and what is in it, and tries once more.
    ParentMissing {
        /// The directory.
        directory: Text,
    },
    /// The file has gone between noticing and pushing.
    Vanished {
        /// The file.
        name: Text,
    },
    /// The file is something that csync2 cannot send.
    Unsendable,
    /// What the peer said (`-vvv` only).
    Replied {
        /// About which file.
        name: Option<Text>,
        /// Who.
        peer: Text,
        /// What.
        reply: Reply,
    },
    /// The peer's words in a list (`-T`).
    PeerSaid {
        /// What.
        text: Text,
    },

    /// A command of an action is run.
    Command {
        /// With the files in it.
        command: Text,
    },
    /// `-R`: a row was removed from the database.
    Forgotten {
        /// What.
        name: Text,
        /// From `dirty`, for this peer; else from `file`.
        peer: Option<Text>,
    },
    /// A file that was given is synchronised by no group.
    NotSynchronised {
        /// The file.
        name: Text,
    },
    /// A directory could not be read: nothing in it was checked.
    Unreadable {
        /// In the system's words.
        why: Text,
    },
    /// Reading or writing a file failed.
    InputOutput {
        /// In csync2's words: why, and about what.
        text: Text,
    },

    /// The daemon listens.
    Listening {
        /// Address and port.
        address: Text,
        /// As whom.
        host: Text,
    },
    /// The daemon is ready.
    Ready,
    /// Somebody has connected.
    Accepted {
        /// Address and port.
        address: Text,
    },
    /// A file was changed or deleted here by a peer.
    Received {
        /// The file.
        name: Text,
        /// By whom.
        peer: Text,
    },
    /// The version that a peer replaces is about to be kept.
    BackingUp {
        /// The path.
        path: Text,
        /// The group whose backup directory it goes to.
        group: Text,
    },
    /// It could not be kept, and stays as it is. csync2 2.0 does not tell the peer: that takes a deletion for done, and waits
    /// without end with a change.
    BackupFailed {
        /// In csync2's words.
        text: Text,
    },

    /// What ends csync2 (exit code 1), or the daemon's session: then the peer sees no more than that it was closed.
    Failed(Failure),
    /// The end is near: of a client, or of a session.
    Closed,
    /// The end. Without it the process was ended by something else.
    End {
        /// How many errors were counted. A conflict is one.
        errors: u32,
    },
}

/// A step between connecting and the first file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// To begin with TLS.
    Tls,
    /// To agree on the configuration: whoever cannot read theirs, is in no group of it, or has trouble with the database, closes
    /// the connection here.
    Configuration,
    /// To agree on groups (`-G`).
    Groups,
}
