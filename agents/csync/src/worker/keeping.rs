//! What the worker does so that no version is lost: those in conflict are put aside as soon as the conflict is seen, and what csync2 has overwritten
//! is taken out of csync2's own directory, where the next but one would take its place.

use super::{Worker, seconds};
use crate::configuration::path;
use crate::kept;
use csync2::meaning::Meaning;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// So many files in conflict are put aside: what differs when the databases are made may be everything.
const MOST: usize = 200;
/// For so long is what was overwritten kept: most of it was changed by people who had seen it.
const SECONDS: u64 = 30 * 24 * 3600;

impl Worker {
    /// Puts the own versions of files in conflict aside: some of what can take their place (a directory, a link) csync2 puts there without a backup.
    pub(super) fn keep_conflicts(&mut self, meaning: &Meaning<'_>) {
        let names = self.memory.names_in_conflict();
        // Of the next conflict of a file so many versions are kept again.
        self.kept.retain(|(name, _)| names.contains(name));
        for name in names.iter().take(MOST) {
            // One that cannot be kept is no reason to send nothing at all.
            if let Err(why) = self.keep(name, meaning) {
                self.log.warning(why);
            }
        }
    }

    /// The same for what was changed again, at once: whoever wins may be sending a directory or a link already.
    pub(super) fn keep_changed(&mut self, changed: &BTreeSet<PathBuf>, meaning: &Meaning<'_>) {
        if changed.is_empty() {
            return;
        }
        let names = self.memory.names_in_conflict();
        for name in names {
            let is_changed = meaning.path(&name).is_some_and(|place| changed.contains(path(&place)));
            if is_changed && let Err(why) = self.keep(&name, meaning) {
                self.log.warning(why);
            }
        }
    }

    /// Takes what csync2 has overwritten out of its directory. There a file could also stand where csync2 wants a directory, which it never comes over.
    pub(super) fn collect_overwritten(&mut self) {
        let spool = self.place.overwritten();
        let target = self.settings.backup_dir.join("overwritten");
        for group in fs::read_dir(&spool).into_iter().flatten().flatten() {
            let from = group.path();
            let now = ocf::stamp(seconds());
            let own = format!("{now}-{}-{}", self.settings.host, group.file_name().to_string_lossy());
            let files = WalkDir::new(&from).into_iter().flatten().filter(|it| !it.file_type().is_dir());
            for file in files {
                if let Err(failure) = move_aside(file.path(), &from, &target.join(&own)) {
                    self.log.warning(failure);
                }
            }
        }
    }

    /// Lets go of what was overwritten long ago.
    pub(super) fn forget_overwritten(&self) {
        let oldest = ocf::stamp(seconds().saturating_sub(SECONDS));
        for kept in fs::read_dir(self.settings.backup_dir.join("overwritten")).into_iter().flatten().flatten()
        {
            if kept.file_name().to_string_lossy().as_ref() < oldest.as_str()
                && let Err(error) = fs::remove_dir_all(kept.path())
            {
                self.log.warning(format_args!("{}: {error}", kept.path().display()));
            }
        }
    }
}

/// Moves a file to the same place below another directory, beside what is there.
fn move_aside(file: &Path, from: &Path, to: &Path) -> Result<(), String> {
    let relative = file.strip_prefix(from).unwrap_or(file);
    let place = kept::free(to, relative).map_err(|failure| failure.reason)?;
    let said = |place: &Path, error: std::io::Error| format!("keeping {}: {error}", place.display());
    match fs::rename(file, &place) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            fs::copy(file, &place).map_err(|error| said(&place, error))?;
            fs::remove_file(file).map_err(|error| said(file, error))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|error| said(&place, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_one_second_stand_beside_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("spool"), directory.path().join("kept/T-n1-g"));
        let again = |relative: &str, text: &str| {
            let file = from.join(relative);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            move_aside(&file, &from, &to).unwrap();
            assert!(!file.exists());
        };
        again("srv/f", "one");
        again("srv/f", "two");
        fs::create_dir_all(from.join("srv/f")).unwrap();
        again("srv/f/below", "three");
        let read = |place: &str| fs::read_to_string(directory.path().join("kept").join(place)).unwrap();
        assert_eq!(read("T-n1-g/srv/f"), "one");
        assert_eq!(read("T-n1-g.1/srv/f"), "two");
        assert_eq!(read("T-n1-g.2/srv/f/below"), "three");
        assert_eq!(move_aside(&from.join("none"), &from, &to), Ok(()), "another one was quicker");
    }
}
