//! csync2's database, as it stands: read only, never created, never waited for long.
//!
//! The sqlite file `/var/lib/csync2/HOST[_CONFIGURATION].db3`, or what `database` and `-D` say. csync2 keeps names encoded
//! ([`decode`]) and what a file was like as a text ([`Checked`]).

mod checked;
mod encoding;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};

use crate::Text;
pub use checked::{BadChecked, Checked, Ignored, Stat, Type};
pub use encoding::{decode, encode};

/// An open database of csync2.
#[derive(Debug)]
pub struct Database(Connection);

/// Why there is no answer from the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// There is no such file: csync2 has never run with this configuration here.
    Missing,
    /// Somebody is writing: ask again later.
    Busy,
    /// Who wrote it was killed: csync2's next run recovers it, a reader cannot.
    Interrupted,
    /// It is damaged, or no database at all.
    Corrupt(String),
    /// It is a database, but csync2 has not made (all of) its tables in it.
    Foreign(String),
    /// The row has what csync2 does not write there.
    Row(String),
    /// Anything else, in sqlite's words.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => {
                write!(f, "csync2's database does not exist: csync2 has not run yet with this configuration")
            }
            Self::Busy => write!(f, "csync2's database is locked by a writer"),
            Self::Interrupted => {
                write!(f, "csync2's database was left by a killed writer: the next run of csync2 recovers it")
            }
            Self::Corrupt(said) => {
                write!(f, "csync2's database is damaged ({said}): move it away, and csync2 makes a new one")
            }
            Self::Foreign(said) => write!(f, "this is no database of csync2's ({said})"),
            Self::Row(said) => write!(f, "csync2's database has a row that is not understood: {said}"),
            Self::Other(said) => write!(f, "csync2's database cannot be read: {said}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let said = error.to_string();
        let rusqlite::Error::SqliteFailure(failure, _) = &error else {
            return if said.starts_with("no such") { Self::Foreign(said) } else { Self::Other(said) };
        };
        match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(said),
            // A journal to be rolled back, which needs writing.
            ErrorCode::ReadOnly => Self::Interrupted,
            _ if said.contains("no such table") || said.contains("no such column") => Self::Foreign(said),
            _ => Self::Other(said),
        }
    }
}

/// A row of `file`: what csync2 knows of, as it last saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name: a path, or `%prefix%/rest`.
    pub name: Text,
    /// What it was like, as csync2 writes it ([`Checked`]). Most are only compared with what is there now, as they are.
    pub text: Text,
}

impl File {
    /// What it was like.
    ///
    /// # Errors
    /// csync2 2.0 does not write such a text.
    pub fn checked(&self) -> Result<Checked, BadChecked> {
        Checked::parse(&self.text)
    }

    /// It was a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        // The last part: a directory has neither size nor target.
        self.text.bytes().ends_with(b":type=dir")
    }
}

/// A row of `dirty`: a change that a peer has not got.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dirty {
    /// The file.
    pub name: Text,
    /// It wins the next conflict (`-f`).
    pub forced: bool,
    /// What this host calls itself towards the peer.
    pub own: Text,
    /// The peer.
    pub peer: Text,
}

/// A row of `hint`: to be checked by the next `-c`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hint {
    /// What.
    pub name: Text,
    /// And what is in it.
    pub recursive: bool,
}

/// A row of `action`: a command that is to be run. Rows that stay after a run were left by one that was killed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scheduled {
    /// The file that changed.
    pub name: Text,
    /// For the shell.
    pub command: Text,
    /// Where its output goes.
    pub logfile: Text,
}

/// A row of `x509_cert`: the certificate that a peer showed first, and has to show ever after.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Certificate {
    /// The peer.
    pub peer: Text,
    /// Its certificate, DER in hexadecimal, large letters.
    pub hexadecimal: Text,
}

/// How many rows there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of `file`.
    pub files: u64,
    /// Of `dirty`.
    pub dirty: u64,
    /// Of `hint`.
    pub hints: u64,
    /// Of `action`.
    pub actions: u64,
}

fn bytes<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a [u8], Error> {
    match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(bytes),
        other => Err(Error::Row(format!("column {column} is {:?}, not text", other.data_type()))),
    }
}

fn text(row: &Row<'_>, column: usize) -> Result<Text, Error> {
    let bytes = bytes(row, column)?;
    decode(bytes).ok_or_else(|| Error::Row(format!("`{}` is not encoded as csync2 does", Text::from(bytes))))
}

/// csync2 reads these with `atoi`.
fn flag(row: &Row<'_>, column: usize) -> Result<bool, Error> {
    match row.get_ref(column)? {
        ValueRef::Integer(number) => Ok(number != 0),
        ValueRef::Text(text) => Ok(text != b"0"),
        other => Err(Error::Row(format!("column {column} is {:?}, not a number", other.data_type()))),
    }
}

impl Database {
    /// Opens the database for reading. `patience` is how long each question waits for a writer to finish.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none; what sqlite said otherwise. Whether it is a database at all is only found out with
    /// the first question.
    pub fn open(path: &Path, patience: Duration) -> Result<Self, Error> {
        if !path.exists() {
            return Err(Error::Missing);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(patience)?;
        Ok(Self(connection))
    }

    fn rows<T>(
        &self,
        question: &str,
        mut row: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.0.prepare(question)?;
        let mut rows = statement.query([])?;
        let mut all = Vec::new();
        while let Some(found) = rows.next()? {
            all.push(row(found)?);
        }
        Ok(all)
    }

    /// Everything that csync2 knows of, by name.
    ///
    /// # Errors
    /// The database cannot be read, or has what csync2 does not write.
    pub fn files(&self) -> Result<Vec<File>, Error> {
        self.rows("SELECT filename, checktxt FROM file ORDER BY filename", |row| {
            let file = File { name: text(row, 0)?, text: text(row, 1)? };
            let known = file.text.bytes().starts_with(b"v1:");
            if known {
                Ok(file)
            } else {
                Err(Error::Row(format!("{}: {}", file.name, BadChecked::of(&file.text))))
            }
        })
    }

    /// Whether it knows of a name, or of anything below it. A question for one row, not a list.
    ///
    /// # Errors
    /// As for [`Self::files`].
    pub fn knows(&self, name: &Text) -> Result<bool, Error> {
        let name = encode(name);
        // `0` follows `/`.
        let (first, last) = ([&name, b"/".as_slice()].concat(), [&name, b"0".as_slice()].concat());
        // csync2 writes names as text, which is not always UTF-8.
        let text = |bytes| ToSqlOutput::Borrowed(ValueRef::Text(bytes));
        let question = "SELECT 1 FROM file WHERE filename = ?1 OR (filename > ?2 AND filename < ?3) LIMIT 1";
        let mut statement = self.0.prepare(question)?;
        Ok(statement.exists([text(&name), text(&first), text(&last)])?)
    }

    /// What it knows of one name.
    ///
    /// # Errors
    /// As for [`Self::files`].
    pub fn file(&self, name: &Text) -> Result<Option<File>, Error> {
        let encoded = encode(name);
        let mut statement = self.0.prepare("SELECT filename, checktxt FROM file WHERE filename = ?1")?;
        let mut rows = statement.query([ToSqlOutput::Borrowed(ValueRef::Text(&encoded))])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(File { name: text(row, 0)?, text: text(row, 1)? }))
    }

    /// What peers have not got, by name and peer.
    ///
    /// # Errors
    /// As for [`Self::files`].
    pub fn dirty(&self) -> Result<Vec<Dirty>, Error> {
        self.rows("SELECT filename, forced, myname, peername FROM dirty ORDER BY filename, peername", |row| {
            Ok(Dirty { name: text(row, 0)?, forced: flag(row, 1)?, own: text(row, 2)?, peer: text(row, 3)? })
        })
    }

    /// What the next `-c` checks.
    ///
    /// # Errors
    /// As for [`Self::files`].
    pub fn hints(&self) -> Result<Vec<Hint>, Error> {
        self.rows("SELECT filename, recursive FROM hint ORDER BY filename, recursive", |row| {
            Ok(Hint { name: text(row, 0)?, recursive: flag(row, 1)? })
        })
    }

    /// Commands that are still to be run.
    ///
    /// # Errors
    /// As for [`Self::files`].
    pub fn scheduled(&self) -> Result<Vec<Scheduled>, Error> {
        self.rows("SELECT filename, command, logfile FROM action ORDER BY filename, command", |row| {
            Ok(Scheduled { name: text(row, 0)?, command: text(row, 1)?, logfile: text(row, 2)? })
        })
    }

    /// The certificates that are expected of peers.
    ///
    /// # Errors
    /// As for [`Self::files`].
    pub fn certificates(&self) -> Result<Vec<Certificate>, Error> {
        self.rows("SELECT peername, certdata FROM x509_cert ORDER BY peername", |row| {
            Ok(Certificate { peer: text(row, 0)?, hexadecimal: text(row, 1)? })
        })
    }

    /// How many rows there are, as of one moment.
    ///
    /// # Errors
    /// As for [`Self::files`].
    pub fn counts(&self) -> Result<Counts, Error> {
        let question = "SELECT (SELECT count(*) FROM file), (SELECT count(*) FROM dirty), \
                        (SELECT count(*) FROM hint), (SELECT count(*) FROM action)";
        let count =
            |row: &Row<'_>, column| Ok::<_, Error>(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0));
        let rows = self.rows(question, |row| {
            Ok(Counts {
                files: count(row, 0)?,
                dirty: count(row, 1)?,
                hints: count(row, 2)?,
                actions: count(row, 3)?,
            })
        })?;
        Ok(rows.first().copied().unwrap_or_default())
    }

    /// Is the file sound? Reads all of it: for a deep check, not for a monitor.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the first of sqlite's findings.
    pub fn check(&self) -> Result<(), Error> {
        let findings = self.rows("PRAGMA integrity_check(1)", |row| Ok(bytes(row, 0)?.to_vec()))?;
        match findings.first() {
            Some(finding) if finding != b"ok" => {
                Err(Error::Corrupt(String::from_utf8_lossy(finding).into_owned()))
            }
            _ => Ok(()),
        }
    }
}
