//! Asking another node: a file named as the question is pulled from the control module of its rsync daemon
//! ([`control`](crate::control) says why).

use crate::control::{Answer, Ask, Question};
use crate::keys::{CONTROL_USER, Key, write_secret};
use crate::settings::{Peer, Place, Settings};
use process::{Ended, Error, Tool};
use std::fmt;
use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher as _, Hasher as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// More than this is no answer.
const LONGEST: u64 = 1 << 20;
/// A question's directory that is older was left by a process that was killed.
const STALE: Duration = Duration::from_secs(600);

/// Why there is no answer. The texts name the peer and its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nobody is there, or not in time; or nothing could be asked from here.
    Unreachable(String),
    /// Somebody is there, and does not answer this question of ours.
    Refused(String),
    /// What came back is no answer.
    Nonsense(String),
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Silence::Unreachable(text) | Silence::Refused(text) | Silence::Nonsense(text) => {
                f.write_str(text)
            }
        }
    }
}

/// Asks a peer, and waits no longer than until the deadline nor than [`Settings::question_timeout`].
///
/// # Errors
/// [`Silence`].
pub(crate) fn ask(
    place: &Place,
    settings: &Settings,
    peer: &Peer,
    what: Ask,
    deadline: Instant,
) -> Result<Answer, Silence> {
    let begun = Instant::now();
    let until = deadline.min(begun + settings.question_timeout());
    let who = format!("{} ({} port {})", peer.name, peer.address, settings.port);
    let not_asked = |why: String| Silence::Unreachable(format!("{who} cannot be asked: {why}"));
    let host = host(&peer.address).ok_or_else(|| not_asked("its address is none".to_owned()))?;
    let key = Key::read(&settings.secret_file).map_err(|failure| not_asked(failure.reason))?;
    let password = place.secret(CONTROL_USER);
    write_secret(&password, &format!("{}\n", key.control(&settings.dataset)))
        .map_err(|failure| not_asked(failure.reason))?;
    let question = Question { what, from: settings.node.clone(), nonce: nonce() };
    let room = Room::make(&place.run.join("asking"), question.nonce)
        .map_err(|error| not_asked(error.to_string()))?;
    let file = room.0.join("answer");
    // In whole seconds, as rsync wants them; the deadline itself is the tool's.
    let left = until.saturating_duration_since(begun).as_secs() + 1;
    let output = Tool::new(&settings.rsync)
        // Else each side waits some 40 ms for the other's acknowledgements.
        .args(["--quiet", "--no-motd", "--sockopts=TCP_NODELAY"])
        .arg(format!("--contimeout={}", settings.connect_timeout.clamp(1, left)))
        .arg(format!("--timeout={left}"))
        .arg(format!("--max-size={LONGEST}"))
        .arg(format!("--password-file={}", password.display()))
        .arg(format!(
            "rsync://{CONTROL_USER}@{host}:{}/{}/{question}",
            settings.port,
            settings.control_module()
        ))
        .arg(&file)
        .env("RSYNC_PROXY", "")
        .run(until)
        .map_err(|error| match error {
            Error::TimedOut { after, .. } => {
                Silence::Unreachable(format!("{who} does not answer (waited {:.1} s)", after.as_secs_f64()))
            }
            other => not_asked(other.to_string()),
        })?;
    if output.ended != Ended::Code(0) {
        return Err(silence(&who, &settings.dataset, output.ended, &output.stderr));
    }
    let nonsense =
        |why: String| Silence::Nonsense(format!("{who} answers what this agent does not understand: {why}"));
    let bytes = fs::read(&file).map_err(|error| nonsense(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| nonsense(error.to_string()))
}

/// What rsync's failure means for a question.
fn silence(who: &str, dataset: &str, ended: Ended, stderr: &[u8]) -> Silence {
    let text = String::from_utf8_lossy(stderr);
    let line = |word: &str| text.lines().map(str::trim).find(|line| line.contains(word));
    if line("auth failed").is_some() {
        return Silence::Refused(format!(
            "{who} does not accept this node's key for {dataset}: secret_file has to be the same on all nodes"
        ));
    }
    if line("Unknown module").is_some() {
        return Silence::Refused(format!(
            "{who} does not serve {dataset}: the resource is not started there"
        ));
    }
    if line("pre-xfer exec").is_some() {
        return Silence::Refused(format!("{who} failed to answer about {dataset}: its log says why"));
    }
    let said = line("@ERROR").or_else(|| text.lines().map(str::trim).find(|line| !line.is_empty()));
    let said = format!("{who}: {}", said.map_or_else(|| ended.to_string(), shortened));
    match ended {
        // Socket, stream, timeouts: nobody, or nobody any more. See rsync(1).
        Ended::Code(10 | 12 | 30 | 35) => Silence::Unreachable(said),
        // A file that is not there: the hook did not write it.
        Ended::Code(23) => Silence::Nonsense(said),
        _ => Silence::Refused(said),
    }
}

fn shortened(line: &str) -> String {
    line.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// An address as it stands in a URL; `None` for what could be read as more than an address.
pub(crate) fn host(address: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:%".contains(&byte);
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if bare.is_empty() || bare.starts_with('-') || !bare.bytes().all(plain) {
        return None;
    }
    Some(if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() })
}

/// A number that no other question has: the standard library seeds its hash tables at random.
fn nonce() -> u64 {
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

/// A directory for one answer, gone with the question.
struct Room(PathBuf);

impl Room {
    fn make(directory: &Path, nonce: u64) -> std::io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        remove_stale(directory, STALE);
        let room = directory.join(format!("{nonce:016x}"));
        DirBuilder::new().mode(0o700).create(&room)?;
        Ok(Room(room))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _next_one_does = fs::remove_dir_all(&self.0);
    }
}

/// Removes what is older, or as far in a future that the clock has left again. (What another question has made since the clock was read here
/// is in the future too.)
pub(crate) fn remove_stale(directory: &Path, age: Duration) {
    let now = SystemTime::now();
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let Ok(changed) = metadata.modified() else { continue };
        if now.duration_since(changed).unwrap_or_else(|future| future.duration()) <= age {
            continue;
        }
        let _another_may_be_faster =
            if metadata.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_urls() {
        for (address, in_url) in [
            ("10.0.0.2", "10.0.0.2"),
            ("n2.example.org", "n2.example.org"),
            ("fd00::2", "[fd00::2]"),
            ("[fd00::2]", "[fd00::2]"),
            ("fe80::1%eth0", "[fe80::1%eth0]"),
        ] {
            assert_eq!(host(address).as_deref(), Some(in_url));
        }
        for wrong in ["", "a b", "a/b", "x@y", "-e", "a\nb", "[]", "a;b"] {
            assert_eq!(host(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_rsync_says_is_told_for_what_it_means() {
        let of =
            |code, text: &str| silence("n2 (10.0.0.2 port 873)", "site5", Ended::Code(code), text.as_bytes());
        assert!(
            matches!(of(5, "@ERROR: auth failed on module site5.control\nrsync error: x"), Silence::Refused(it) if it.contains("secret_file"))
        );
        assert!(
            matches!(of(5, "@ERROR: Unknown module 'site5.control'"), Silence::Refused(it) if it.contains("not started"))
        );
        assert!(
            matches!(of(10, "rsync: failed to connect"), Silence::Unreachable(it) if it.contains("n2 (10.0.0.2"))
        );
        assert!(matches!(of(23, ""), Silence::Nonsense(_)));
        assert!(matches!(of(4, "\u{7}"), Silence::Refused(it) if !it.contains('\u{7}')));
    }

    #[test]
    fn what_killed_questions_left_goes_and_a_clock_that_was_set_back_keeps_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["old", "future", "new", "newer"] {
            fs::create_dir(path(name)).unwrap();
        }
        let set = |name: &str, to: SystemTime| fs::File::open(path(name)).unwrap().set_modified(to).unwrap();
        set("old", SystemTime::now() - 2 * STALE);
        set("future", SystemTime::now() + 2 * STALE);
        // Made by another question between the look at the clock and the look at the directory.
        set("newer", SystemTime::now() + Duration::from_secs(1));
        remove_stale(directory.path(), STALE);
        assert_eq!(
            ["old", "future", "new", "newer"].map(|name| path(name).exists()),
            [false, false, true, true]
        );
    }
}
