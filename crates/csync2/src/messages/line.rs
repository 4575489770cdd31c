//! One line of csync2's, recognised: what it says stands in csync2's own source, and in the fixtures.

use super::{Change, Fact, Failure, Reply, Step, Test};
use crate::Text;

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Whole.
    Fact(Fact),
    /// Its beginning is known, its end is not there: it may go on after a line end in a name.
    Open,
    /// Not known.
    Nothing,
}

/// What follows `prefix` in the line.
fn after<'a>(line: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    line.strip_prefix(prefix.as_bytes())
}

/// What is between the two.
fn between<'a>(line: &'a [u8], prefix: &str, suffix: &str) -> Option<&'a [u8]> {
    after(line, prefix)?.strip_suffix(suffix.as_bytes())
}

/// The parts before and after the first (or last) `middle`.
fn split<'a>(text: &'a [u8], middle: &str, last: bool) -> Option<(&'a [u8], &'a [u8])> {
    let mut places =
        text.windows(middle.len()).enumerate().filter(|(_, window)| *window == middle.as_bytes());
    let (at, _) = if last { places.next_back()? } else { places.next()? };
    Some((text.get(..at)?, text.get(at + middle.len()..)?))
}

fn text(bytes: &[u8]) -> Text {
    Text::from(bytes)
}

fn number(bytes: &[u8]) -> Option<u32> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Recognises a line. `peer` is who the client is connected to.
pub(super) fn recognise(line: &[u8], peer: Option<&Text>) -> Seen {
    let client = pushing(line, peer);
    if client != Seen::Nothing {
        return client;
    }
    let daemon = serving(line);
    if daemon != Seen::Nothing {
        return daemon;
    }
    let fact = connecting(line).or_else(|| files(line)).or_else(|| failure(line).map(Fact::Failed));
    fact.or_else(|| is_progress(line).then_some(Fact::Progress)).map_or(Seen::Nothing, Seen::Fact)
}

/// Lines that end in something of their own, so that a name in them may have line ends.
fn pushing(line: &[u8], peer: Option<&Text>) -> Seen {
    for (prefix, change) in [("Updating ", Change::Update), ("Deleting ", Change::Remove)] {
        let (Some(rest), Some(peer)) = (after(line, prefix), peer) else { continue };
        let suffix = [b" on ", peer.bytes(), b" ..."].concat();
        return rest.strip_suffix(suffix.as_slice()).map_or(Seen::Open, |name| {
            Seen::Fact(Fact::Attempt { name: text(name), peer: peer.clone(), change })
        });
    }
    if let Some(rest) = after(line, "Running '") {
        return rest
            .strip_suffix(b"' ...")
            .map_or(Seen::Open, |command| Seen::Fact(Fact::Command { command: text(command) }));
    }
    if let Some(rest) = after(line, "response from peer(") {
        return replied(rest).map_or(Seen::Open, Seen::Fact);
    }
    Seen::Nothing
}

fn replied(rest: &[u8]) -> Option<Fact> {
    let (about, reply) = split(rest, "] <- ", true)?;
    let (name, peer) = split(about, "): ", true)?;
    let (peer, _) = split(peer, " [", true)?;
    let name = (name != b"<no file>").then(|| text(name));
    Some(Fact::Replied { name, peer: text(peer), reply: reply_of(reply) })
}

/// What the peer's answer is.
fn reply_of(reply: &[u8]) -> Reply {
    let known: [(&str, Reply); 8] = [
        ("OK (", Reply::Ok),
        ("Connection closed.", Reply::Closed),
        ("File is also marked dirty here!", Reply::AlsoDirty),
        ("Parent dir missing.", Reply::ParentMissing),
        ("Identification failed!", Reply::Identification),
        ("Permission denied for slave!", Reply::Slave),
        ("Permission denied!", Reply::Denied),
        ("SSL encrypted connection expected!", Reply::TlsExpected),
    ];
    let found = known.into_iter().find(|(start, _)| reply.starts_with(start.as_bytes()));
    found.map_or_else(|| Reply::Other(text(reply)), |(_, reply)| reply)
}

fn serving(line: &[u8]) -> Seen {
    if let Some(rest) = after(line, "Updated ") {
        let found = rest.strip_suffix(b".").and_then(|rest| split(rest, " from ", true));
        return found.map_or(Seen::Open, |(name, peer)| {
            Seen::Fact(Fact::Received { name: text(name), peer: text(peer) })
        });
    }
    if let Some(rest) = after(line, "backup ") {
        return split(rest, " for group ", true).map_or(Seen::Open, |(path, group)| {
            Seen::Fact(Fact::BackingUp { path: text(path), group: text(group) })
        });
    }
    let fact = if line == b"Csync2 daemon running. Waiting for connections." {
        Some(Fact::Ready)
    } else if let Some(rest) = between(line, "Listening on ", ".") {
        split(rest, " as ", true)
            .map(|(address, host)| Fact::Listening { address: text(address), host: text(host) })
    } else if let Some(address) = between(line, "New connection from ", ".") {
        Some(Fact::Accepted { address: text(address) })
    } else if line.starts_with(b"ERROR : ") || line.starts_with(b"csync_backup error") {
        Some(Fact::BackupFailed { text: text(line) })
    } else {
        after(line, "getaddrinfo: ").map(|why| Fact::Unresolved { why: text(why) })
    };
    fact.map_or(Seen::Nothing, Seen::Fact)
}

fn connecting(line: &[u8]) -> Option<Fact> {
    if let Some(rest) = between(line, "Connecting to host ", ") ...") {
        let (peer, how) = split(rest, " (", true)?;
        return Some(Fact::Connecting { peer: text(peer), tls: how == b"SSL" });
    }
    if let Some(rest) = between(line, "Connect to ", ").") {
        let (address, peer) = split(rest, " (", true)?;
        return Some(Fact::Connected { address: text(address), peer: text(peer) });
    }
    if let Some(why) = after(line, "Cannot resolve peername, getaddrinfo: ") {
        return Some(Fact::Unresolved { why: text(why) });
    }
    if let Some(why) = after(line, "Can't create socket: ") {
        return Some(Fact::Unconnected { why: text(why) });
    }
    if let Some(peer) = between(line, "ERROR: Connection to remote host `", "' failed.") {
        return Some(Fact::PeerFailed { peer: text(peer) });
    }
    if let Some(peer) = between(line, "ERROR: remote host ", " did not accept my identification.") {
        return Some(Fact::NotIdentified { peer: text(peer) });
    }
    if let Some(said) = after(line, "ERROR from peer: ") {
        return Some(Fact::PeerSaid { text: text(said) });
    }
    if line.starts_with(b"Adding peer x509 certificate to db: ") {
        return Some(Fact::NewCertificate);
    }
    for alert in ["SSL: warning alert received from peer: ", "SSL: fatal alert received from peer: "] {
        if let Some(why) = after(line, alert) {
            return Some(Fact::TlsAlert { why: text(why) });
        }
    }
    Some(match line {
        b"SSL command failed." => Fact::StepRefused(Step::Tls),
        b"Config command failed." => Fact::StepRefused(Step::Configuration),
        b"Group command failed." => Fact::StepRefused(Step::Groups),
        b"Host stays in dirty state. Try again later..." => Fact::PeerStays,
        b"Peer did provide a wrong SSL X509 cetrificate." => Fact::BadCertificate { changed: true },
        b"Peer did not provide an SSL X509 cetrificate." => Fact::BadCertificate { changed: false },
        b"Connection closed." => Fact::Closed,
        _ => {
            let errors = number(between(line, "Finished with ", " errors.")?)?;
            Fact::End { errors }
        }
    })
}

/// Which test, by csync2's word for it.
fn test(word: &[u8]) -> Option<Test> {
    Some(match word {
        b"first" => Test::First,
        b"younger/older" => Test::Time,
        b"bigger/smaller" => Test::Size,
        b"left/right" => Test::Side,
        b"master/slave" => Test::Slave,
        _ => return None,
    })
}

fn files(line: &[u8]) -> Option<Fact> {
    if let Some(name) = after(line, "Marking file as dirty: ") {
        return Some(Fact::Marked { name: text(name) });
    }
    if let Some(word) = between(line, "Auto-resolving conflict: Won '", "' test.") {
        return test(word).map(Fact::Won);
    }
    if let Some(word) = between(line, "Do not auto-resolve conflict: Lost '", "' test.") {
        return test(word).map(Fact::Lost);
    }
    if let Some(directory) = after(line, "missing parent dir : ") {
        return Some(Fact::ParentMissing { directory: text(directory) });
    }
    if let Some(name) = between(line, "ERROR: Cant stat ", ".") {
        return Some(Fact::Vanished { name: text(name) });
    }
    if let Some(rest) = between(line, "Removing ", ") from dirty db.") {
        let (name, peer) = split(rest, " (", true)?;
        return Some(Fact::Forgotten { name: text(name), peer: Some(text(peer)) });
    }
    if let Some(name) = between(line, "Removing ", " from file db.") {
        return Some(Fact::Forgotten { name: text(name), peer: None });
    }
    if let Some(name) = after(line, "WARNING: Parameter will be ignored: ") {
        return Some(Fact::NotSynchronised { name: text(name) });
    }
    if line.starts_with(b"File type (mode=") || line.starts_with(b"File is a symlink but radlink() failed.") {
        return Some(Fact::Unsendable);
    }
    if line.starts_with(b"I/O Error '")
        || line.starts_with(b"mkstemp ")
        || line.starts_with(b"temporary filename too long: ")
        || line.starts_with(b"ERROR while copying temp file ")
        || line.starts_with(b"Error getting mode and owner ship from ")
        || line == b"Internal error from rsync library!"
    {
        return Some(Fact::InputOutput { text: text(line) });
    }
    if split(line, " in scandir: ", false).is_some() {
        return Some(Fact::Unreadable { why: text(line) });
    }
    Some(match line {
        b"File is already up to date on peer." => Fact::UpToDate,
        b"File stays in dirty state. Try again later..." => Fact::Stays,
        b"Do not auto-resolve conflict: This is a removal." => Fact::RemovalUnsettled,
        b"ERROR: Auto-resolving failed. Giving up." => Fact::SettlingFailed,
        _ => return None,
    })
}

fn failure(line: &[u8]) -> Option<Failure> {
    configuration(line).or_else(|| database(line)).or_else(|| other_failure(line))
}

fn configuration(line: &[u8]) -> Option<Failure> {
    if let Some(path) = after(line, "Found ").filter(|path| path.ends_with(b"csync2.lock")) {
        return Some(Failure::Locked { path: text(path) });
    }
    if let Some(rest) = after(line, "Can not open config file `") {
        let (path, why) = split(rest, "': ", true)?;
        return Some(Failure::NoConfiguration { path: text(path), why: text(why) });
    }
    if let Some(path) = between(line, "Can't open included config file '", "'.") {
        return Some(Failure::NoInclude { path: text(path) });
    }
    if let Some(rest) = after(line, "Near line ") {
        let (at, said) = split(rest, ": ", false)?;
        return Some(Failure::Syntax { line: number(at)?, text: text(said) });
    }
    if let Some(path) = between(line, "Config error: Can't read keyfile ", ".") {
        return Some(Failure::NoKey { path: text(path) });
    }
    if let Some(path) = between(line, "Config error: Key in file ", " is too short.") {
        return Some(Failure::KeyShort { path: text(path) });
    }
    if line.starts_with(b"Unallowed character '") {
        // The character is part of the key: it is left out.
        let (_, path) = split(line.strip_suffix(b".")?, "' in key file ", false)?;
        return Some(Failure::KeyCharacter { path: text(path) });
    }
    if let Some(said) = after(line, "Config error: ") {
        return Some(Failure::Configuration { text: text(said) });
    }
    if let Some(host) = between(line, "This host (", ") is not a member of any configured group.") {
        return Some(Failure::NotMember { host: text(host) });
    }
    if let Some(rest) = between(line, "Prefix '", "'.") {
        let (prefix, host) = split(rest, "' is not defined for host '", true)?;
        return Some(Failure::Prefix { prefix: text(prefix), host: text(host) });
    }
    Some(match line {
        b"Config names are limited to [a-z0-9]+." => Failure::ConfigurationName,
        b"Config includes nested too deeply." => Failure::Nested,
        _ => return None,
    })
}

fn database(line: &[u8]) -> Option<Failure> {
    if line.starts_with(b"Database backend is exceedingly busy => Terminating") {
        return Some(Failure::DatabaseBusy);
    }
    if let Some(url) = after(line, "Can't open database: ") {
        return Some(Failure::NoDatabase { url: text(url) });
    }
    let said = after(line, "Database Error: ").or_else(|| after(line, "Cannot create database tables "))?;
    let says = |words: &[&str]| words.iter().any(|word| split(said, word, false).is_some());
    let said = split(said, " on executing ", false).map_or(said, |(said, _)| said);
    let text = text(said);
    Some(if says(&["file is not a database", "malformed", "file is encrypted"]) {
        Failure::DatabaseCorrupt { text }
    } else if says(&["disk is full", "No space left"]) {
        Failure::DatabaseFull { text }
    } else {
        Failure::Database { text }
    })
}

fn other_failure(line: &[u8]) -> Option<Failure> {
    if let Some(text_) = after(line, "csync2: ") {
        return Some(Failure::Usage { text: text(text_) });
    }
    if let Some(why) = after(line, "Server error: ") {
        return Some(Failure::Server { why: text(why) });
    }
    if let Some(why) = after(line, "SSL: handshake failed: ") {
        return Some(Failure::Handshake { why: text(why) });
    }
    if let Some(said) = after(line, "SSL: failed to use ") {
        return Some(Failure::OwnTls { text: text(said) });
    }
    if let Some(path) = between(line, "This should not happen: Can't stat ", ".") {
        return Some(Failure::Vanished { path: text(path) });
    }
    let broken = [
        "Read-error while ",
        "Write-error while ",
        "Format-error while ",
        "Format error in reply: ",
        "Got an error from librsync, too bad!",
        "Received line too long for buffer size",
    ];
    if broken.iter().any(|start| line.starts_with(start.as_bytes())) {
        return Some(Failure::Broken { text: text(line) });
    }
    Some(match line {
        b"Host pair not found in configuration." | b"Host pair + file not found in configuration." => {
            Failure::NoPair
        }
        b"Never run -R with -G!" => Failure::RemoveOldOfGroups,
        _ => return None,
    })
}

/// What csync2 and GnuTLS print about their progress, most of it from `-vv` on. By how it begins.
const PROGRESS: &[&str] = &[
    "Bound to ",
    "Bound local socket as ",
    "Local socket bind",
    "Cannot prepare local socket",
    "Running in-sync check for ",
    "Running check for ",
    "Running recursive check for ",
    "Running rs_",
    "Config-File: ",
    "My hostname is ",
    "Database-File: ",
    "Database is busy, sleeping a sec.",
    "Database idle in transaction. Forcing COMMIT.",
    "Waiting ",
    "Opening ",
    "Reading s",
    "SQL: ",
    "SQL Query finished.",
    "Upgrading database schema",
    "Local> ",
    "Peer> ",
    " check: ",
    "Checking ",
    "Don't check at all: ",
    "File has changed: ",
    "New file: ",
    "Not in one of my groups: ",
    "Prefix matched: ",
    "Skipped ",
    "Skipping ",
    "Dirty item ",
    "While syncing file ",
    "Match (",
    "error from peer",
    "File is different on peer",
    ">>> PEER: ",
    ">>> LOCAL: ",
    "Csync2 / Librsync: ",
    "Signature ",
    "Found diff in sig ",
    "Found EOF in local sig file.",
    "File has been ",
    "Delta has been created",
    "Sending ",
    "Receiving ",
    "Renaming tmp file",
    "Cloning ownership",
    "Got ",
    "End of query results: ",
    "Fetched tuple from peer: ",
    "getenv(",
    // The daemon keeps a version (all of this at -v).
    "mkpath full path: ",
    "mkdir ",
    "Stating original file ",
    "Changing owner of ",
    "Changing mode of ",
    "renaming backup files ",
    "Copying data from ",
    "directory. Skip generation",
    "rename not possible! Will truncate and copy instead.",
    "dropping tempdir candidate ",
    // GnuTLS, whose log goes with -vv and -vvv.
    "ASSERT: ",
    "EXT[",
    "HSK[",
    "REC[",
    "BUF[",
    "added ",
    "Keeping ciphersuite ",
    "Removing ciphersuite ",
    "Advertizing version ",
    "Peer requested CA: ",
    "Peer x509 certificate is: ",
];

fn is_progress(line: &[u8]) -> bool {
    PROGRESS.iter().any(|start| line.starts_with(start.as_bytes()))
        || (line.starts_with(b"File ") && split(line, " is different on peer (", false).is_some())
        || (line.starts_with(b"Prefix '") && split(line, "' is set to '", false).is_some())
}
