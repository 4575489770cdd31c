//! csync2's database: opened for each round, made where there is none, put aside when it is damaged.

use super::{PATIENCE, Worker, seconds};
use crate::look::Files;
use crate::memory::{LOST, NEW, whole};
use crate::{daemon, runs};
use csync2::Text;
use csync2::database::{self, Database};
use csync2::decide::Look;
use csync2::meaning::Meaning;
use ocf::StateFile;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

impl Worker {
    /// csync2's database, made if there is none.
    pub(super) fn database(&mut self) -> Result<Database, String> {
        let file = self.settings.database_file();
        if self.place.first_run().exists() {
            // It was killed: what it had not come to would count as changed here.
            remove_all(&file)?;
        }
        let usable = match Database::open(&file, PATIENCE) {
            Err(database::Error::Missing) => None,
            Err(other) => return Err(other.to_string()),
            Ok(database) => match database.counts() {
                Ok(_) => Some(database),
                Err(database::Error::Corrupt(why) | database::Error::Foreign(why)) => {
                    drop(database);
                    self.put_aside(&file, &why)?;
                    None
                }
                // Nothing of it is lost: a first run would take changes for known.
                Err(database::Error::Interrupted) => {
                    drop(database);
                    runs::recover(&self.place, &self.settings).map_err(|nothing| nothing.to_string())?;
                    Some(Database::open(&file, PATIENCE).map_err(|error| error.to_string())?)
                }
                Err(other) => return Err(other.to_string()),
            },
        };
        let is_new = usable.is_none();
        let database = match usable {
            Some(database) => database,
            None => {
                self.first_run()?;
                Database::open(&file, PATIENCE).map_err(|error| error.to_string())?
            }
        };
        self.recognize(&file, is_new)?;
        Ok(database)
    }

    /// After a round that came to nothing: damage that opening the database does not show. The next round makes it anew.
    pub(super) fn look_for_damage(&mut self) {
        let file = self.settings.database_file();
        let Err(database::Error::Corrupt(why)) = Database::open(&file, PATIENCE).and_then(|it| it.check())
        else {
            return;
        };
        if let Err(failed) = self.put_aside(&file, &why) {
            self.log.error(failed);
        }
    }

    /// What the damaged database knew is lost: the daemon must not go on with it.
    fn put_aside(&mut self, file: &Path, why: &str) -> Result<(), String> {
        let aside = file.with_extension(format!("db3.damaged-{}", ocf::stamp(seconds())));
        self.log.error(format_args!(
            "csync2's database is damaged ({why}): it is put aside as {} and made anew; versions that differ are then shown as conflicts, none \
             is overwritten",
            aside.display()
        ));
        self.announce_suspension();
        daemon::stop(&self.place, Instant::now() + Duration::from_secs(20))
            .map_err(|failure| failure.reason)?;
        self.daemon_is_up = false;
        // What a killed run has left to be put back belongs to the old one, and would spoil the new one.
        for end in ENDS {
            match fs::rename(with_end(file, end), with_end(&aside, end)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(format!("{}: {error}", aside.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Which database it is. Where it is not the one of before, that one is lost, and with it what was removed here and what the others had.
    fn recognize(&mut self, file: &Path, is_new: bool) -> Result<(), String> {
        let known: Option<String> =
            StateFile::new(self.place.database()).load().map_err(|failure| failure.reason)?;
        let own = identity(file);
        let is_of = |known: &str| whole(known).split_once('@').is_some_and(|(_, file)| file == own);
        // Numbers of files are used again.
        let own = format!("{}@{own}", token());
        let now = match known {
            Some(known) if is_of(&known) => known,
            Some(_) => {
                // What had gone on purpose goes again, to whomever still has it.
                let mut gone: Vec<Text> = self.let_through.iter().cloned().collect();
                let config = Arc::clone(&self.config);
                let meaning = Meaning::new(&config, &self.host);
                gone.retain(|name| Files::new(&meaning).look(name) == Look::Gone);
                if !gone.is_empty() {
                    runs::mark(&self.place, &self.settings, &gone).map_err(|nothing| nothing.to_string())?;
                }
                own + LOST
            }
            None if is_new => own + NEW,
            // From before this agent came.
            None => own,
        };
        if now != self.memory.own_database {
            self.note_database(now)?;
        }
        Ok(())
    }

    /// Whatever was lost with the former database, or not known with a new one, is sorted out with all peers.
    pub(super) fn recognize_as_whole(&mut self) -> Result<(), String> {
        let now = whole(&self.memory.own_database).to_owned();
        let is_over = now != self.memory.own_database && self.memory.is_sorted_out(self.peers.keys());
        if is_over { self.note_database(now) } else { Ok(()) }
    }

    fn note_database(&mut self, now: String) -> Result<(), String> {
        let saved = StateFile::new(self.place.database()).save_durably(&now);
        saved.map_err(|failure| failure.reason)?;
        self.memory.own_database = now;
        Ok(())
    }

    /// Takes everything as it is now for known. Nothing is sent to a peer before both have been compared: it is another database.
    fn first_run(&mut self) -> Result<(), String> {
        self.log.info(
            "csync2's database is made: everything counts as known, and is compared with each peer before anything is sent there",
        );
        let mark = self.place.first_run();
        let failed = |error: std::io::Error| format!("{}: {error}", mark.display());
        StateFile::new(mark.clone()).save_durably(&()).map_err(|failure| failure.reason)?;
        runs::first(&self.place, &self.settings).map_err(|nothing| nothing.to_string())?;
        fs::remove_file(&mark).map_err(failed)
    }
}

/// Tells a database from one that was there before or is on another node: outlives reboots, and changes with the file.
fn identity(file: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(found) = fs::metadata(file) else { return String::new() };
    let made = found.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    format!("{}.{}", found.ino(), made.map_or(0, |made| made.as_millis()))
}

/// No other database of this node gets the same.
fn token() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}", now.as_nanos())
}

/// What a database's files end with.
const ENDS: [&str; 4] = ["", "-journal", "-wal", "-shm"];

fn with_end(file: &Path, end: &str) -> PathBuf {
    PathBuf::from([file.as_os_str(), OsStr::new(end)].join(OsStr::new("")))
}

fn remove_all(file: &Path) -> Result<(), String> {
    for end in ENDS {
        let file = with_end(file, end);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(format!("{}: {error}", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
