//! The content check (level 20): csync2 sees a change by time and size, and not one that keeps both within a second. Each file's contents are hashed
//! and compared with what they were when time and size were last the same.

use crate::configuration::path;
use crate::runs;
use crate::settings::{Place, Settings};
use csync2::Text;
use csync2::config::Config;
use csync2::database::Database;
use csync2::meaning::Meaning;
use ocf::{Failure, StateFile};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest that is left for marking.
const MARKING: Duration = Duration::from_secs(20);
/// How long a reader waits for csync2 to let go of the database.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a file was like: what csync2 goes by, and its contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// Seconds since 1970.
    modified: i64,
    /// Bytes.
    size: u64,
    /// SHA-256 of the contents.
    hash: [u8; 32],
}

/// What is kept of it.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// With which file the next check begins.
    next: Vec<u8>,
    /// As pairs: the names are bytes, which are no keys in JSON.
    seen: Vec<(Vec<u8>, Seen)>,
}

/// By path.
type Known = BTreeMap<Vec<u8>, Seen>;

/// Reads every file that csync2 knows, as far as the time goes, and has those count as changed whose contents changed unseen. Returns their names.
///
/// # Errors
/// The database cannot be read, or they could not be marked.
pub(crate) fn check(
    place: &Place,
    settings: &Settings,
    config: &Config,
    deadline: Instant,
) -> Result<Vec<Text>, Failure> {
    let host = settings.host_text();
    let meaning = Meaning::new(config, &host);
    let file = StateFile::new(place.hashes());
    // One that is spoilt says nothing: then this time is the first.
    let kept: Kept = file.load().ok().flatten().unwrap_or_default();
    let before: Known = kept.seen.into_iter().collect();
    // What is left is for marking and noting.
    let left = deadline.saturating_duration_since(Instant::now());
    let until = deadline.checked_sub((left / 3).min(MARKING)).unwrap_or(deadline);
    let wrong = |error: csync2::database::Error| Failure::generic(error.to_string());
    let mut files =
        Database::open(&settings.database_file(), PATIENCE).and_then(|it| it.files()).map_err(wrong)?;
    // Where the time was up, it goes on.
    let begin = files.iter().position(|row| row.name.bytes() >= kept.next.as_slice()).unwrap_or(0);
    files.rotate_left(begin);
    let (mut now, mut changed, mut next) = (Known::new(), Vec::new(), None);
    for row in files {
        let Some(name) = meaning.path(&row.name) else { continue };
        let old = before.get(row.name.bytes());
        if next.is_some() || Instant::now() >= until {
            // What there was no time for is compared the next time.
            next.get_or_insert_with(|| row.name.bytes().to_vec());
            now.extend(old.map(|old| (row.name.bytes().to_vec(), old.clone())));
            continue;
        }
        let Some(seen) = look(path(&name)) else { continue };
        if old.is_some_and(|old| is_unseen(old, &seen)) {
            changed.push(row.name.clone());
        }
        now.insert(row.name.bytes().to_vec(), seen);
    }
    if !changed.is_empty() {
        runs::mark(place, settings, &changed).map_err(|nothing| Failure::generic(nothing.to_string()))?;
    }
    file.save_durably(&Kept { next: next.unwrap_or_default(), seen: now.into_iter().collect() })?;
    Ok(changed)
}

/// Whether csync2 sees nothing of the change.
fn is_unseen(old: &Seen, new: &Seen) -> bool {
    (old.modified, old.size) == (new.modified, new.size) && old.hash != new.hash
}

/// What a file is like; `None` for what has no contents, and what changes or vanishes while it is read.
fn look(file: &Path) -> Option<Seen> {
    let found = fs::symlink_metadata(file).ok().filter(fs::Metadata::is_file)?;
    let mut contents = File::open(file).ok()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match contents.read(&mut buffer).ok()? {
            0 => break,
            read => hasher.update(buffer.get(..read)?),
        }
    }
    let after = contents.metadata().ok()?;
    let same = (after.mtime(), after.mtime_nsec(), after.size())
        == (found.mtime(), found.mtime_nsec(), found.size());
    same.then(|| Seen { modified: found.mtime(), size: found.size(), hash: hasher.finalize().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_keeps_time_and_size_is_seen_by_its_contents() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f");
        let write = |text: &str, time: u64| {
            fs::write(&file, text).unwrap();
            let time = std::time::UNIX_EPOCH + Duration::from_secs(time);
            File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
            look(&file).unwrap()
        };
        let old = write("one", 1000);
        assert!(is_unseen(&old, &write("two", 1000)));
        assert!(!is_unseen(&old, &write("one", 1000)), "nothing has changed");
        assert!(!is_unseen(&old, &write("two", 1001)), "csync2 sees its time");
        assert!(!is_unseen(&old, &write("three", 1000)), "csync2 sees its size");
        assert_eq!(look(directory.path()), None);
        assert_eq!(look(&directory.path().join("none")), None);
    }
}
