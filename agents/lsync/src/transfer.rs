//! What rsync is told, and what it says: argument lists made from the settings, its output and exit codes read, and whether its
//! deletions may happen. Pure.
//!
//! Facts of rsync 3.5.0 towards a daemon that this rests on, each seen when run: `--max-delete` deletes nothing beyond its limit, says
//! `Deletions stopped due to --max-delete limit (N skipped)` and exits 0; a directory in the way of a file counts as such a deletion, and is
//! exit code 23 too; times are compared in whole seconds unless `--modify-window=-1` is given; a list given by `--files-from` is followed
//! through symbolic links and into excluded directories.

use crate::excludes::Excludes;
use crate::settings::{MaxDelete, Peer, Settings};
use crate::tree::beat;
use process::Ended;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Where the receiver keeps what is half-received, relative to the tree.
const TEMPORARY: &str = ".bascule";
/// So many characters of a path are shown, its beginning and its end.
const SHOWN: usize = 100;
/// Where the receiver keeps what a pass replaces and deletes, relative to the tree; a directory for each pass in it.
const SAVED: &str = ".bascule/local/saved";

/// How one node sends to another: what all transfers have in common.
pub(crate) struct Route<'a> {
    /// The dataset's settings.
    pub(crate) settings: &'a Settings,
    /// To whom.
    pub(crate) peer: &'a Peer,
    /// As whom: the generation's user.
    pub(crate) user: &'a str,
    /// The file with that user's token.
    pub(crate) secret: &'a Path,
    /// The tree, by a path that cannot come to mean another one.
    pub(crate) from: &'a Path,
}

/// What a whole pass does beyond sending what differs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whole {
    /// Compare contents, and tell what differed.
    pub(crate) verify: bool,
    /// Set aside what is replaced and deleted, in a directory of this name.
    pub(crate) aside: Option<String>,
    /// How much may be deleted; all if none.
    pub(crate) max_delete: Option<u64>,
}

impl Route<'_> {
    /// The module's address. IPv6 in brackets.
    pub(crate) fn url(&self) -> String {
        let address = &self.peer.address;
        let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
        format!("rsync://{}@{host}:{}/{}/", self.user, self.settings.port, self.settings.module())
    }

    /// The arguments of a whole pass.
    pub(crate) fn whole(&self, whole: &Whole) -> Vec<OsString> {
        let mut arguments = self.common(if whole.verify { 10 } else { 1 });
        let mut add = |text: String| arguments.push(text.into());
        add("--recursive".into());
        add("--delete".into());
        if let Some(limit) = whole.max_delete {
            add(format!("--max-delete={limit}"));
        }
        if whole.verify {
            add("--checksum".into());
            add("--itemize-changes".into());
        }
        if let Some(name) = &whole.aside {
            add("--backup".into());
            add(format!("--backup-dir={SAVED}/{name}"));
        }
        // The agent's own files go separately: they are no data that could be set aside.
        add("--filter=- /.bascule/*".into());
        self.excluded(&mut arguments);
        self.ends(self.from, arguments)
    }

    /// The arguments for a list of paths on standard input, a NUL after each: what exists is sent, what does not is deleted.
    /// `again` sends what seems to be the same, too.
    pub(crate) fn list(&self, max_delete: Option<u64>, again: bool) -> Vec<OsString> {
        let mut arguments = self.common(1);
        let mut add = |text: String| arguments.push(text.into());
        add("--files-from=-".into());
        add("--from0".into());
        add("--delete-missing-args".into());
        // In the directories that are listed with a slash, and in those alone.
        add("--delete".into());
        // Directories that are missing go with what is in them; so do those in the way of a file.
        add("--force".into());
        if let Some(limit) = max_delete {
            add(format!("--max-delete={limit}"));
        }
        if again {
            add("--ignore-times".into());
        }
        add("--filter=- /.bascule/*".into());
        self.excluded(&mut arguments);
        self.ends(self.from, arguments)
    }

    /// The arguments for the agent's own files, listed on standard input, from a directory made for that.
    pub(crate) fn marks(&self, from: &Path) -> Vec<OsString> {
        let mut arguments = self.common(1);
        for text in ["--files-from=-", "--from0", "--no-implied-dirs", "--ignore-times"] {
            arguments.push(text.into());
        }
        self.ends(from, arguments)
    }

    /// What every transfer has. `patience` stretches the time for which nothing may be heard.
    fn common(&self, patience: u64) -> Vec<OsString> {
        let settings = self.settings;
        let mut arguments: Vec<OsString> = [
            "--links",
            "--perms",
            "--times",
            "--group",
            "--owner",
            "--devices",
            "--specials",
            "--numeric-ids",
            "--modify-window=-1",
            "--no-motd",
            // Else each side waits some 40 ms for the other's acknowledgements, several times in a small transfer.
            "--sockopts=TCP_NODELAY",
            "--no-human-readable",
            "--stats",
        ]
        .map(OsString::from)
        .to_vec();
        let flags = [
            (settings.hard_links, "--hard-links"),
            (settings.acls, "--acls"),
            (settings.xattrs, "--xattrs"),
            (settings.sparse, "--sparse"),
        ];
        arguments.extend(flags.iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| OsString::from(flag)));
        arguments.push(format!("--timeout={}", settings.io_timeout.saturating_mul(patience)).into());
        arguments.push(format!("--contimeout={}", settings.connect_timeout).into());
        arguments.push(format!("--temp-dir={TEMPORARY}").into());
        if let Some(limit) = settings.bwlimit {
            arguments.push(format!("--bwlimit={limit}").into());
        }
        let mut secret = OsString::from("--password-file=");
        secret.push(self.secret);
        arguments.push(secret);
        arguments
    }

    fn excluded(&self, arguments: &mut Vec<OsString>) {
        arguments.push("--filter=- /lost+found".into());
        let patterns = self.settings.exclude.iter().filter(|pattern| !pattern.is_empty());
        arguments.extend(patterns.map(|pattern| format!("--filter={}", exclude_rule(pattern)).into()));
    }

    fn ends(&self, from: &Path, mut arguments: Vec<OsString>) -> Vec<OsString> {
        // With a slash at its end: what is in it, not itself.
        let mut from = from.as_os_str().to_owned();
        if !from.as_bytes().ends_with(b"/") {
            from.push("/");
        }
        arguments.push("--".into());
        arguments.push(from);
        arguments.push(self.url().into());
        arguments
    }
}

/// A pattern as a filter rule. (Given to `--exclude`, a `+ ` or `!` at its beginning would mean something else.)
pub(crate) fn exclude_rule(pattern: &str) -> String {
    format!("- {pattern}")
}

/// What rsync said at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Files and directories looked at.
    pub(crate) files: u64,
    /// Those made.
    pub(crate) created: u64,
    /// Those deleted.
    pub(crate) deleted: u64,
    /// Files whose content was sent.
    pub(crate) transferred: u64,
    /// Deletions that the limit kept from happening, if it did.
    pub(crate) skipped: Option<u64>,
    /// What was changed, where that was asked for: at most [`Report::CHANGES`].
    pub(crate) changes: Vec<String>,
    /// All that were changed.
    pub(crate) changed: u64,
}

impl Report {
    /// So many changes are told by name.
    pub(crate) const CHANGES: usize = 20;

    /// Reads what rsync wrote. It shows control characters in names as `\#ooo`, so that a name cannot make a line.
    pub(crate) fn read(stdout: &[u8], stderr: &[u8]) -> Report {
        let mut report = Report::default();
        let (stdout, stderr) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
        for line in stdout.lines() {
            let number = |prefix: &str| -> Option<u64> {
                line.strip_prefix(prefix)?.split([' ', ',']).next()?.parse().ok()
            };
            if let Some(n) = number("Number of files: ") {
                report.files = n;
            } else if let Some(n) = number("Number of created files: ") {
                report.created = n;
            } else if let Some(n) = number("Number of deleted files: ") {
                report.deleted = n;
            } else if let Some(n) = number("Number of regular files transferred: ") {
                report.transferred = n;
            } else if let Some(name) = change(line) {
                report.changed += 1;
                if report.changes.len() < Self::CHANGES {
                    report.changes.push(name.to_owned());
                }
            }
        }
        let skipped = |line: &str| -> Option<u64> {
            let rest = line.strip_prefix("Deletions stopped due to --max-delete limit (")?;
            rest.strip_suffix(" skipped)")?.parse().ok()
        };
        // The remote side's words come over standard error, in another version over standard output.
        report.skipped = stderr.lines().chain(stdout.lines()).find_map(skipped);
        report
    }

    /// Both of two runs that belong together.
    pub(crate) fn and(self, later: Report) -> Report {
        let mut changes = self.changes;
        changes.extend(later.changes);
        changes.truncate(Self::CHANGES);
        Report {
            files: later.files,
            created: self.created + later.created,
            deleted: self.deleted + later.deleted,
            transferred: self.transferred + later.transferred,
            skipped: later.skipped,
            changes,
            changed: self.changed + later.changed,
        }
    }
}

/// The name in a line of `--itemize-changes`, if it tells of more than a directory's time: that changes with its content, and by
/// looking at it while something is made in it.
fn change(line: &str) -> Option<&str> {
    if let Some(name) = line.strip_prefix("*deleting ") {
        return Some(name.trim_start());
    }
    let (what, name) = (line.get(..11)?, line.get(12..)?);
    let mut kinds = what.chars();
    let (update, kind) = (kinds.next()?, kinds.next()?);
    let attributes = what.get(2..)?;
    let sane = "<>ch.".contains(update) && "fdLDS".contains(kind) && line.as_bytes().get(11) == Some(&b' ');
    let only_time = update == '.' && kind == 'd' && attributes.chars().all(|it| ".t ".contains(it));
    (sane && !only_time).then_some(name)
}

/// The path that a line of `--itemize-changes` names: control characters are shown as `\#ooo`, and a link with where it leads.
pub(crate) fn shown_path(name: &str) -> PathBuf {
    let name = name.split(" -> ").next().unwrap_or(name).as_bytes();
    let mut path = Vec::new();
    let mut at = 0;
    while let Some(byte) = name.get(at) {
        let code = name.get(at + 2..at + 5).and_then(|it| std::str::from_utf8(it).ok());
        match code.and_then(|it| u8::from_str_radix(it, 8).ok()) {
            Some(shown) if name[at..].starts_with(b"\\#") => {
                path.push(shown);
                at += 5;
            }
            _ => {
                path.push(*byte);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything arrived.
    Done,
    /// Everything arrived but what was deleted here meanwhile.
    Vanished,
    /// Some or all of it did not.
    Fault(Fault),
}

/// Why something did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody answered, or not in time.
    Unreachable(String),
    /// The other side does not let this generation in.
    Refused(String),
    /// Anything else.
    Failed(String),
}

/// What an exit code and the words with it mean (`man rsync`, EXIT VALUES).
pub(crate) fn outcome(ended: Ended, stderr: &[u8]) -> Outcome {
    let said = telling(stderr);
    let text = |code: i32| {
        let meaning = meaning(code);
        if let (23, Some(left_out)) = (code, left_out(stderr)) {
            return left_out;
        }
        if said.is_empty() {
            format!("rsync: {meaning} (code {code})")
        } else {
            format!("{said} (rsync code {code}: {meaning})")
        }
    };
    match ended {
        Ended::Code(0) => Outcome::Done,
        Ended::Code(24) => Outcome::Vanished,
        Ended::Code(code @ (10 | 30 | 35)) => Outcome::Fault(Fault::Unreachable(text(code))),
        Ended::Code(code @ 5) => Outcome::Fault(Fault::Refused(text(code))),
        Ended::Code(code) => Outcome::Fault(Fault::Failed(text(code))),
        Ended::Signal(_) => Outcome::Fault(Fault::Failed(format!("rsync was {ended}"))),
    }
}

fn meaning(code: i32) -> &'static str {
    match code {
        1 => "an option it does not know, or a module that is read-only",
        2 | 4 => "the two rsyncs do not understand each other",
        3 | 11 => "a file could not be read or written",
        5 => "not let in",
        10 => "no connection",
        12 => "the connection broke",
        14 | 22 => "the system gave it no resources",
        20 => "interrupted",
        23 => "some of it was not transferred",
        30 => "nothing was heard in time",
        35 => "no connection in time",
        _ => "it failed",
    }
}

/// What the source itself could not read, and for how long that matters: nothing is the matter with the peer.
fn left_out(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let mut all = text.lines().filter_map(unreadable);
    let (path, why) = all.next()?;
    // From the source's open root, by whatever way it was held.
    let path = path
        .strip_prefix("/proc/")
        .and_then(|it| it.split_once("/fd/")?.1.split_once('/'))
        .map_or(path, |it| it.1);
    let path: Vec<char> = path.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let shown: String = match path.len() {
        0..=SHOWN => path.iter().collect(),
        n => [&path[..SHOWN / 2], &['…'], &path[n - SHOWN / 2..]].concat().iter().collect(),
    };
    let others = match all.filter(|(other, _)| !other.is_empty()).count() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    Some(format!(
        "{shown}{others} {why}: no replica gets in sync before it is removed, can be read, or is in exclude (rsync code 23)"
    ))
}

/// The path in a line that says that it cannot be read where it is sent from, and why.
fn unreadable(line: &str) -> Option<(&str, String)> {
    let too_long = line.strip_prefix("filename overflows max-path len by ");
    if let Some((_, path)) = too_long.and_then(|it| it.split_once(": ")) {
        return Some((
            path.trim_end_matches('/'),
            "is a longer path than there may be (4096 bytes)".to_owned(),
        ));
    }
    let (_, rest) = line.strip_prefix("rsync: [sender] ")?.split_once('"')?;
    let (path, rest) = rest.rsplit_once('"')?;
    let (_, error) = rest.split_once(": ")?;
    Some((path, format!("cannot be read on the source ({error})")))
}

/// The line that says most: the first complaint, not the summary at the end.
fn telling(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let noise = |line: &&str| {
        line.is_empty()
            || line.starts_with("rsync error:")
            || line.starts_with("rsync warning:")
            || line.starts_with("Deletions stopped")
            || line.starts_with("file has vanished")
    };
    let mut lines = text.lines().map(str::trim).filter(|line| !noise(line));
    let first = lines.next().unwrap_or_default();
    let full = lines.find(|line| line.contains("No space left") || line.contains("quota exceeded"));
    let chosen = full.unwrap_or(first);
    chosen.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// What is to be done about deletions that a first run without any found to be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// None are due.
    Clear,
    /// A second run may delete, up to this many; without limit if none.
    Delete(Option<u64>),
    /// Too many: nothing is deleted until an administrator releases it.
    Hold(u64),
}

/// Judges the deletions that are due in a tree that keeps `remaining` entries. `released`: so many were held back when an administrator
/// let them through; what has become far more since is held back again.
pub(crate) fn guard(max: MaxDelete, due: Option<u64>, remaining: u64, released: Option<u64>) -> Guard {
    let released = released.map(|n| n.saturating_add(n / 5).saturating_add(MaxDelete::FLOOR));
    match due {
        None | Some(0) => Guard::Clear,
        // Not counted: a few directories whose content was skipped.
        Some(n) if released.is_some_and(|most| n <= most) => {
            Guard::Delete(released.map(|most| most.saturating_mul(2)))
        }
        Some(n) if max.holds_back(n, remaining) => Guard::Hold(n),
        // rsync does not count a directory whose content it skipped: there are a few more than it said.
        Some(n) => Guard::Delete(Some(most(max, remaining).max(n))),
    }
}

/// The most deletions that are not held back.
fn most(max: MaxDelete, remaining: u64) -> u64 {
    let (mut low, mut high) = (0, max.count);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if max.holds_back(middle, remaining) { high = middle - 1 } else { low = middle }
    }
    low
}

/// What lsyncd told of: paths relative to the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// What has changed, each once. (A directory is itself, not what is in it.)
    pub(crate) paths: BTreeSet<PathBuf>,
    /// The highest number of the canary that the list tells of: what changed before it was written is in this list, or was in one before.
    pub(crate) canary: Option<u64>,
}

impl Changes {
    /// Reads the list: paths that begin with a slash, a NUL between each two; a directory's ends in a slash.
    pub(crate) fn read(list: &[u8], excludes: &Excludes) -> Changes {
        let mut changes = Changes::default();
        for told in list.split(|byte| *byte == 0) {
            let directory = told.ends_with(b"/");
            if told == b"/" {
                // Its own mode or owner.
                changes.paths.insert(PathBuf::from("."));
            }
            let Some(path) = plain(told) else { continue };
            if let Some(number) = beat(&path) {
                changes.canary = changes.canary.max(Some(number));
            } else if !(path.starts_with(".bascule")
                || path.starts_with("lost+found")
                || excludes.cover(&path, directory))
            {
                changes.paths.insert(path);
            }
        }
        changes
    }
}

/// A path without slashes around it; `None` for the root itself, and for what could lead out of the tree.
fn plain(told: &[u8]) -> Option<PathBuf> {
    let names: Vec<&[u8]> =
        told.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    if names.is_empty() || names.contains(&b"..".as_slice()) {
        return None;
    }
    Some(PathBuf::from(OsString::from_vec(names.join(&b'/'))))
}

/// Paths for [`Route::list`]. A directory with a slash at its end stands for what is directly in it too.
pub(crate) fn listed_with(paths: &BTreeSet<PathBuf>, directories: &BTreeSet<PathBuf>) -> Vec<u8> {
    let each: Vec<OsString> = paths
        .iter()
        .map(|path| {
            let mut path_text = path.clone().into_os_string();
            if directories.contains(path) {
                path_text.push("/");
            }
            path_text
        })
        .collect();
    listed(each.iter().map(OsString::as_os_str))
}

/// Paths as `--files-from` reads them with `--from0`: each begins with `./`, so that none is taken for anything else.
pub(crate) fn listed<'a>(paths: impl IntoIterator<Item = &'a OsStr>) -> Vec<u8> {
    let mut list = Vec::new();
    for path in paths {
        list.extend_from_slice(b"./");
        list.extend_from_slice(path.as_bytes());
        list.push(0);
    }
    list
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
pub(crate) mod tests;
