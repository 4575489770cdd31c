//! What goes wrong with csync2, and the words for it: what was found, and what to do.

use std::fmt;

use super::Test;
use crate::Text;

/// What a peer answers, when it is not `OK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It goes on.
    Ok,
    /// It closed the connection without an answer.
    Closed,
    /// "File is also marked dirty here!"
    AlsoDirty,
    /// "Parent dir missing."
    ParentMissing,
    /// "Identification failed!"
    Identification,
    /// "Permission denied for slave!"
    Slave,
    /// "Permission denied!"
    Denied,
    /// "SSL encrypted connection expected!"
    TlsExpected,
    /// Anything else, nearly always the system's words about a file.
    Other(Text),
}

/// What ends csync2, or a session of its daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are what csync2 names: a path, a host, its own words.
pub enum Failure {
    /// It was started in a way it does not know.
    Usage { text: Text },
    /// The lock file is there: somebody wants csync2 to stay out.
    Locked { path: Text },
    /// The name of the configuration has other characters than small letters and digits.
    ConfigurationName,
    /// The configuration cannot be read.
    NoConfiguration { path: Text, why: Text },
    /// An included configuration cannot be read.
    NoInclude { path: Text },
    /// The configuration includes itself.
    Nested,
    /// The configuration does not follow the grammar.
    Syntax { line: u32, text: Text },
    /// A key cannot be read.
    NoKey { path: Text },
    /// A key has a character that csync2 does not take (which is not told: it is secret).
    KeyCharacter { path: Text },
    /// A key has fewer than 32 characters.
    KeyShort { path: Text },
    /// The configuration says something else that csync2 does not take.
    Configuration { text: Text },
    /// No group has this host.
    NotMember { host: Text },
    /// A name begins with a prefix that has no place on this host.
    Prefix { prefix: Text, host: Text },
    /// Another process holds the database.
    DatabaseBusy,
    /// The database is damaged.
    DatabaseCorrupt { text: Text },
    /// There is no room for the database.
    DatabaseFull { text: Text },
    /// The database cannot be opened or made.
    NoDatabase { url: Text },
    /// The database said something else.
    Database { text: Text },
    /// The own TLS key or certificate cannot be used.
    OwnTls { text: Text },
    /// TLS did not come about.
    Handshake { why: Text },
    /// The daemon cannot listen, or not any more.
    Server { why: Text },
    /// A file has gone while it was looked at.
    Vanished { path: Text },
    /// The connection broke in the middle of a file's contents, or what came made no sense.
    Broken { text: Text },
    /// `-T` was asked for two hosts that share no group.
    NoPair,
    /// `-R` was given together with `-G`.
    RemoveOldOfGroups,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage { text } => write!(f, "csync2 does not know how it was started ({text})"),
            Self::Locked { path } => {
                write!(f, "csync2 does nothing while {path} exists: remove it when maintenance is over")
            }
            Self::ConfigurationName => {
                write!(
                    f,
                    "the name of a configuration may only have small letters and digits: choose another"
                )
            }
            Self::NoConfiguration { path, why } => {
                write!(f, "the configuration {path} cannot be read ({why}): put it there")
            }
            Self::NoInclude { path } => {
                write!(
                    f,
                    "the included configuration {path} cannot be read: put it there, or correct `config`"
                )
            }
            Self::Nested => write!(f, "configurations include each other without end: correct `config`"),
            Self::Syntax { line, text } => {
                write!(
                    f,
                    "the configuration is wrong near line {line} ({text}): validate-all tells all of it"
                )
            }
            Self::NoKey { path } => {
                write!(f, "the key {path} cannot be read: copy it from another node of its group")
            }
            Self::KeyCharacter { path } => write!(
                f,
                "the key {path} has a character that csync2 does not take (letters, digits, `.` and `_` it does): make a \
                 new one for the group"
            ),
            Self::KeyShort { path } => {
                write!(f, "the key {path} has fewer than 32 characters: make a new one for the group")
            }
            Self::Configuration { text } => write!(f, "csync2 does not take the configuration: {text}"),
            Self::NotMember { host } => write!(
                f,
                "no group of the configuration has the host {host}: add it, or correct the name it goes by"
            ),
            Self::Prefix { prefix, host } => {
                write!(f, "the prefix {prefix} has no place on {host}: add an `on {host}:` to it")
            }
            Self::DatabaseBusy => {
                write!(f, "another process held csync2's database for too long: try again, nothing is lost")
            }
            Self::DatabaseCorrupt { text } => {
                write!(f, "csync2's database is damaged ({text}): it has to be rebuilt")
            }
            Self::DatabaseFull { text } => {
                write!(f, "there is no room for csync2's database ({text}): make some")
            }
            Self::NoDatabase { url } => {
                write!(
                    f,
                    "csync2's database {url} cannot be opened: its directory has to exist and be writable"
                )
            }
            Self::Database { text } => write!(f, "csync2's database failed: {text}"),
            Self::OwnTls { text } => {
                write!(
                    f,
                    "this host's TLS key or certificate cannot be used ({text}): make the pair, or set nossl"
                )
            }
            Self::Handshake { why } => write!(
                f,
                "no TLS connection came about ({why}): the certificates of both hosts must have the same subject, and \
                 neither have expired"
            ),
            Self::Server { why } => {
                write!(
                    f,
                    "the daemon cannot listen ({why}): end whatever else has the port, or choose another"
                )
            }
            Self::Vanished { path } => {
                write!(f, "{path} went away while csync2 looked at it, and the run ended there: try again")
            }
            Self::Broken { text } => {
                write!(
                    f,
                    "a file was broken off in the middle ({text}): the csync2 on the other side says more"
                )
            }
            Self::NoPair => write!(f, "the two hosts share no group of the configuration"),
            Self::RemoveOldOfGroups => write!(f, "-R must not be limited to groups (-G)"),
        }
    }
}

/// Why a peer gets nothing, or nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the words of the system, the resolver or TLS.
pub enum PeerTrouble {
    /// Its name has no address.
    Unknown { why: Text },
    /// Nobody listens there, or nobody answers there.
    Down { why: Text },
    /// It closed the connection before the first file: only its own log says why.
    Closed,
    /// It takes no TLS, or no groups.
    Step(super::Step),
    /// TLS did not come about.
    Handshake { why: Text },
    /// It shows another certificate than before.
    CertificateChanged,
    /// It shows no certificate.
    NoCertificate,
    /// This host's own TLS key or certificate cannot be used.
    OwnTls { text: Text },
    /// It does not believe that this host is who it says it is.
    Identification,
    /// It expects TLS and is spoken to plainly.
    TlsExpected,
    /// One of the two above: csync2 does not tell them apart at `-v`.
    Refused,
    /// Nothing could be pushed to it, and without `-v` csync2 does not say why.
    Failed,
    /// It took the connection, and then nothing came: csync2 was ended while it waited for it.
    Silent,
    /// The run ended in the middle of a file.
    Interrupted,
}

impl PeerTrouble {
    /// A word for it, for a node attribute.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown",
            Self::Down { .. } => "down",
            Self::Closed => "closed",
            Self::Step(_) => "refused",
            Self::Handshake { .. } | Self::OwnTls { .. } => "tls",
            Self::CertificateChanged | Self::NoCertificate => "certificate",
            Self::Identification | Self::Refused => "identification",
            Self::TlsExpected => "tls-expected",
            Self::Failed => "failed",
            Self::Silent => "silent",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for PeerTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { why } => {
                write!(f, "its name has no address ({why}): add it to /etc/hosts or the name server")
            }
            Self::Down { why } => write!(f, "its csync2 cannot be reached ({why})"),
            Self::Closed => write!(
                f,
                "it closed the connection at once: its configuration is missing or wrong or has no group with it, or its \
                 database is busy or damaged, or (with TLS) it does not take the certificate; its own csync2 says which"
            ),
            Self::Step(super::Step::Tls) => {
                write!(f, "it does not take TLS: its csync2 is built without, set nossl on both hosts")
            }
            Self::Step(_) => write!(f, "it does not take the groups it is asked for"),
            Self::Handshake { why } => write!(
                f,
                "no TLS connection came about ({why}): the certificates of both hosts must have the same subject, and \
                 neither have expired"
            ),
            Self::CertificateChanged => write!(
                f,
                "it shows another certificate than before: if that is meant, remove its row from x509_cert in csync2's \
                 database here"
            ),
            Self::NoCertificate => write!(f, "it shows no certificate: make its pair of key and certificate"),
            Self::OwnTls { text } => {
                write!(f, "this host's own TLS key or certificate cannot be used ({text}): make the pair")
            }
            Self::Identification => write!(
                f,
                "it does not take this host for who it says it is: there, the name of this host must resolve to the address \
                 that the connection comes from, and the certificate be the one it knows"
            ),
            Self::TlsExpected => {
                write!(f, "it expects TLS: nossl must say the same on both hosts, in both directions")
            }
            Self::Refused => write!(
                f,
                "it refuses this host: there, the name of this host must resolve to the address that the connection comes \
                 from, the certificate be the one it knows, and nossl be the same"
            ),
            Self::Failed => write!(f, "nothing could be pushed to it, and csync2 has not said why"),
            Self::Silent => write!(
                f,
                "it took the connection and then said nothing until the time was over, or broke off (with TLS: has it a key \
                 and a certificate?); its own csync2 says more"
            ),
            Self::Interrupted => write!(
                f,
                "the run ended in the middle: the peer broke off (it has no room?) or the time was over; its own csync2 says more"
            ),
        }
    }
}

/// How csync2 itself has judged a conflict, where it did not settle it for this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Judged {
    /// Not at all: `auto none`.
    Not,
    /// The peer's version wins, as soon as the peer pushes it.
    Lost(Test),
    /// It is removed here and changed there: by time and size that is not settled from this side. The peer's next push wins, and
    /// the file is here again.
    Removal,
    /// This host has won, but could not bring its version there.
    Failed,
}

/// Why a peer has not taken a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileTrouble {
    /// csync2 does not say, at `-v`. At `-vvv` it does.
    Unsaid,
    /// Both have changed it: a conflict.
    Conflict(Judged),
    /// Its key of the group is another, or its groups do not have the file.
    Denied,
    /// This host is a slave there.
    Slave,
    /// The directory it belongs in is missing there, and cannot be made.
    ParentMissing,
    /// It closed the connection: its own log says why.
    Closed,
    /// It has gone here.
    Vanished,
    /// It is something that csync2 cannot send.
    Unsendable,
    /// There is no room there.
    Full,
    /// It may not be written there.
    ReadOnly,
    /// It cannot be removed there: something is in it.
    NotEmpty,
    /// Its contents could not be compared or sent, in csync2's words. A peer that cannot make a temporary file looks like this.
    InputOutput(Text),
    /// What the peer said.
    Said(Text),
}

impl FileTrouble {
    /// What a refusal means for the file.
    #[must_use]
    pub fn of(reply: &Reply) -> Self {
        match reply {
            Reply::Ok => Self::Unsaid,
            Reply::Closed => Self::Closed,
            Reply::AlsoDirty => Self::Conflict(Judged::Not),
            Reply::ParentMissing => Self::ParentMissing,
            Reply::Slave => Self::Slave,
            Reply::Denied => Self::Denied,
            Reply::Identification => Self::Said(Text::from("Identification failed!")),
            Reply::TlsExpected => Self::Said(Text::from("SSL encrypted connection expected!")),
            Reply::Other(text) => match text.bytes() {
                b"No space left on device" | b"Disk quota exceeded" => Self::Full,
                b"Read-only file system" => Self::ReadOnly,
                b"Directory not empty" => Self::NotEmpty,
                _ => Self::Said(text.clone()),
            },
        }
    }

    /// Is it a conflict?
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }
}

impl fmt::Display for FileTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsaid => write!(f, "it was not taken, and csync2 has not said why"),
            Self::Conflict(Judged::Not) => {
                write!(f, "it was changed on both hosts: choose one, and csync2 -f there and -u after it")
            }
            Self::Conflict(Judged::Lost(_)) => {
                write!(f, "it was changed on both hosts, and the peer's version wins with its next push")
            }
            Self::Conflict(Judged::Removal) => write!(
                f,
                "it was removed here and changed there: `auto` does not settle this from here, and lets the peer bring it back"
            ),
            Self::Conflict(Judged::Failed) => {
                write!(f, "it was changed on both hosts, this host won, and the peer could still not take it")
            }
            Self::Denied => write!(
                f,
                "permission denied: the key of the group must be the same on both hosts, and the group there must have the \
                 file"
            ),
            Self::Slave => write!(f, "this host is a slave there: the file is to be changed elsewhere"),
            Self::ParentMissing => {
                write!(f, "the directory it belongs in is missing there and cannot be made: make it there")
            }
            Self::Closed => write!(f, "the peer closed the connection: its own csync2 says why"),
            Self::Vanished => write!(f, "it has gone while it was pushed: the next check finds that"),
            Self::Unsendable => write!(f, "csync2 cannot send what it is: exclude it"),
            Self::Full => write!(f, "there is no room for it there: make some"),
            Self::ReadOnly => write!(f, "its file system there is read only"),
            Self::NotEmpty => {
                write!(f, "it is a directory there with something in it that csync2 does not know")
            }
            Self::InputOutput(text) => write!(
                f,
                "it cannot be read here, or there neither be read nor written beside ({text}): the file system there may be \
                 read only; the peer's own csync2 says more"
            ),
            Self::Said(text) => write!(f, "the peer said: {text}"),
        }
    }
}
