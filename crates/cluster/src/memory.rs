//! What was written to the cluster, kept in files, so that a monitor that finds nothing changed runs no tool.
//!
//! A memory must not lie: an attribute that the cluster forgot would never be written again. Transient attributes live
//! in the memory of one daemon on this node, pacemaker-attrd (on a remote node: of the cluster node that hosts it, behind
//! pacemaker-remoted here). What makes them vanish, and what is done about it:
//!
//! - The node or its cluster services restart, or the daemon dies and is started again (seen on 2.1.5: all of the node's
//!   attributes are gone then, from the CIB as well). The memory holds the identity of the daemon that took the value; with that one gone it is
//!   void. To check it costs the reading of two small files in `/proc`.
//! - This node leaves the cluster's partition and comes back without a restart: the daemon here keeps its own values and sends
//!   them to the others.
//! - A remote node's connection is lost and made anew: its attributes are erased, and pacemaker-remoted may live on. But the
//!   resource is probed or started then, which is done [`afresh`](crate::Cluster::afresh).
//! - Somebody deletes the attribute by hand, or something not thought of here happens: what is older than [`LIFETIME`] is written again. The
//!   daemon itself passes on to the cluster only what differs.
//!
//! The memory is erased before the attribute is written and made after: killed in between, the agent writes once too often.

use std::cell::RefCell;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use process::{Identity, Process, open_file, read_open};
use serde::{Deserialize, Serialize};

/// How long a memory is believed, by the file's time. A clock that was set back makes it look young by as much, one in the
/// future is not believed.
pub(crate) const LIFETIME: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(crate) struct Memory {
    directory: PathBuf,
    doubted: bool,
    /// The daemon that was seen alive just now.
    seen: RefCell<Option<Identity>>,
}

/// The content of one file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// The daemon that took the value.
    keeper: Identity,
    /// The value; `None` if the attribute was cleared.
    value: Option<String>,
}

impl Memory {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, doubted: false, seen: RefCell::default() }
    }

    /// Believe nothing that is written so far.
    pub(crate) fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Whether the attribute is known to have this value.
    pub(crate) fn holds(&self, attribute: &str, value: Option<&str>) -> bool {
        !self.doubted && self.recall(attribute).is_some_and(|entry| entry.value.as_deref() == value)
    }

    /// Whether anything is known of the attribute.
    pub(crate) fn has(&self, attribute: &str) -> bool {
        !self.doubted && self.recall(attribute).is_some()
    }

    fn recall(&self, attribute: &str) -> Option<Entry> {
        let file = open_file(&self.file(attribute)).ok()?;
        let written = file.metadata().ok()?.modified().ok()?;
        SystemTime::now().duration_since(written).ok().filter(|age| *age < LIFETIME)?;
        let entry: Entry = serde_json::from_slice(&read_open(&file).ok()?).ok()?;
        self.is_alive(&entry.keeper).then_some(entry)
    }

    /// Whether the daemon runs. Looked at once for what is remembered of one attribute after the other, until [`Memory::look_again`].
    fn is_alive(&self, keeper: &Identity) -> bool {
        let mut seen = self.seen.borrow_mut();
        if seen.as_ref() != Some(keeper) {
            *seen = keeper.is_alive().then(|| keeper.clone());
        }
        seen.is_some()
    }

    /// Time passes: what was seen of the daemon may be true no more.
    pub(crate) fn look_again(&self) {
        self.seen.take();
    }

    pub(crate) fn forget(&self, attribute: &str) {
        // One that cannot be erased is void by its age, if by nothing else; then nothing can be written here either.
        let _ = fs::remove_file(self.file(attribute));
    }

    /// Remembers a value, taken by the daemon that ran before it was written.
    pub(crate) fn keep(&self, attribute: &str, value: Option<&str>, keeper: Identity) -> io::Result<()> {
        let entry = Entry { keeper, value: value.map(str::to_owned) };
        DirBuilder::new().recursive(true).mode(0o755).create(&self.directory)?;
        let path = self.file(attribute);
        let new = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        serde_json::to_writer(file, &entry)?;
        fs::rename(new, path)
    }

    /// An attribute's name may hold what a file's may not.
    fn file(&self, attribute: &str) -> PathBuf {
        let mut name = String::new();
        for byte in attribute.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
                other => name.push_str(&format!("%{other:02x}")),
            }
        }
        self.directory.join(name + ".attribute")
    }
}

/// The daemon that takes this node's attributes: pacemaker-attrd, or pacemaker-remoted on a remote node (the kernel keeps 15
/// bytes of the name). Not one of a container that runs on this node and can be seen from here.
pub(crate) fn attribute_daemon() -> Option<Identity> {
    let daemons = Process::all().into_iter().filter(|it| {
        matches!(it.name.as_str(), "pacemaker-attrd" | "pacemaker-remot")
            && it.is_running()
            && it.is_of_our_namespace()
    });
    // "attrd" before "remot": a cluster node is no remote node.
    daemons.min_by(|a, b| a.name.cmp(&b.name)).and_then(|daemon| Identity::of(daemon.pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::process::Command;

    fn me() -> Identity {
        Identity::of(std::process::id() as i32).unwrap()
    }

    #[test]
    fn keeps_values_and_their_absence() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new(directory.path().join("vip/r1"));
        assert!(!memory.holds("a", Some("1")) && !memory.holds("a", None));
        memory.keep("a", Some("1"), me()).unwrap();
        assert!(memory.holds("a", Some("1")));
        assert!(!memory.holds("a", Some("2")) && !memory.holds("a", None));
        memory.keep("a", None, me()).unwrap();
        assert!(memory.holds("a", None) && !memory.holds("a", Some("1")));
        memory.forget("a");
        assert!(!memory.holds("a", None));
    }

    #[test]
    fn is_void_with_its_keeper() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new(directory.path().to_owned());
        let mut daemon = Command::new("sleep").arg("1000").spawn().unwrap();
        memory.keep("a", Some("1"), Identity::of(daemon.id() as i32).unwrap()).unwrap();
        assert!(memory.holds("a", Some("1")) && memory.has("a") && !memory.has("b"));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        memory.look_again();
        assert!(!memory.holds("a", Some("1")) && !memory.has("a"));
        assert!(memory.seen.borrow().is_none(), "the dead are not remembered as seen");
    }

    #[test]
    fn is_void_when_old_in_the_future_doubted_or_torn() {
        let directory = tempfile::tempdir().unwrap();
        let mut memory = Memory::new(directory.path().to_owned());
        memory.keep("a", Some("1"), me()).unwrap();
        let file = File::options().write(true).open(memory.file("a")).unwrap();
        let now = SystemTime::now();
        for (time, holds) in [(now - LIFETIME, false), (now - LIFETIME / 2, true), (now + LIFETIME, false)] {
            file.set_modified(time).unwrap();
            assert_eq!(memory.holds("a", Some("1")), holds, "{time:?}");
        }
        memory.keep("a", Some("1"), me()).unwrap();
        memory.doubt();
        assert!(!memory.holds("a", Some("1")));
        memory.doubted = false;
        let whole = fs::read(memory.file("a")).unwrap();
        for length in 0..whole.len() {
            fs::write(memory.file("a"), &whole[..length]).unwrap();
            assert!(!memory.holds("a", Some("1")), "{length} bytes of it");
        }
    }

    #[test]
    fn every_name_has_a_file_of_its_own() {
        let memory = Memory::new("/x".into());
        let names = ["a.b", "a/b", "../a", "a b", "A", "a", "%61", "é", ""];
        for (n, name) in names.iter().enumerate() {
            let file = memory.file(name);
            assert_eq!(file.parent(), Some(std::path::Path::new("/x")), "{name}");
            assert!(names[..n].iter().all(|other| memory.file(other) != file), "{name}");
        }
    }
}
