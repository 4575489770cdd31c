//! What a pass replaced or deleted here and may exist nowhere else: it is kept, outside the tree, until an administrator has
//! looked through it.
//!
//! rsync leaves it in `.bascule/local/saved/PASS` of the tree. From there it is put away to `saved_dir/TIME-generation-N/`, which holds a
//! `REPORT` for people and `files/`, the files under their paths in the tree. At every instant each file is in one of the two places
//! or in both; what was begun is found again by the pass's name in the REPORT, and goes on.

use crate::core::{Generation, Standing};
use crate::keys::replace;
use crate::settings::{Place, Settings, TREE_PRIVATE};
use crate::{own, source};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use ocf::{Failure, Log};
use process::{Ended, PidLock, Tool};
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use walkdir::WalkDir;

#[cfg(test)]
mod tests;

/// The name of the job that goes on with it: no peer's.
const JOB: &str = " put away";
/// How long that may take.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// Where passes set aside, in [`TREE_PRIVATE`]. Made by rsync when it has something to put there.
pub(crate) const SAVED: &str = "saved";
/// For people, in each set-aside directory.
const REPORT: &str = "REPORT";
/// What was set aside, in each set-aside directory.
const FILES: &str = "files";

/// Puts away what passes have set aside in the tree; what takes longer than the deadline goes on in the background. It is safe where it is.
pub(crate) fn put_away_or_later(
    place: &Place,
    settings: &Settings,
    generation: Option<&Generation>,
    deadline: Instant,
    log: &Log,
) {
    let lock = PidLock::at(place.run.join("put-away.lock"));
    let attempt = match lock.try_lock() {
        Ok(_lock) => put_away(settings, generation, deadline, log),
        // Somebody is at it.
        Err(_) => return,
    };
    if let Err(failure) = attempt {
        log.warning(format_args!("{}; it goes on in the background", failure.reason));
        in_background(place, settings, generation, log);
    }
}

/// Takes up again what an earlier call or job did not bring to its end. Costs a look at one directory, usually.
pub(crate) fn go_on(place: &Place, settings: &Settings, generation: Option<&Generation>, log: &Log) {
    if !may_wait(&settings.source) {
        return;
    }
    let waits = matches!(open_within(&settings.source), Ok(Some(within))
        if names(&PathBuf::from(format!("/proc/self/fd/{}", within.as_raw_fd()))).is_ok_and(|it| !it.is_empty()));
    let own = || own::load(place).is_ok_and(|own| own.standing != Standing::Behind);
    // While a pass may be under way, its directory is the pass's.
    if waits && own() {
        in_background(place, settings, generation, log);
    }
}

/// One call says so where no pass has left anything in the tree, and can be misled by a link only to look closer.
fn may_wait(tree: &Path) -> bool {
    fs::symlink_metadata(tree.join(TREE_PRIVATE).join(SAVED)).is_ok()
}

fn in_background(place: &Place, settings: &Settings, generation: Option<&Generation>, log: &Log) {
    let lock = PidLock::at(place.run.join("put-away.lock"));
    if !matches!(lock.holder(), Ok(None)) {
        return;
    }
    let job = source::job(place, &settings.dataset, JOB, |log| {
        let Ok(_lock) = lock.try_lock() else { return };
        if let Err(failure) = put_away(settings, generation, Instant::now() + LONGEST, log) {
            log.error(failure.reason);
        }
    });
    if let Err(failure) = job {
        log.error(failure.reason);
    }
}

/// Puts away what passes have set aside in the tree, and tells how many files that were.
///
/// # Errors
/// Something could not be moved: it stays in the tree, out of every transfer's reach, and the next call goes on.
pub(crate) fn put_away(
    settings: &Settings,
    generation: Option<&Generation>,
    deadline: Instant,
    log: &Log,
) -> Result<u64, Failure> {
    let Some(within) = open_within(&settings.source)? else { return Ok(0) };
    // Through the descriptor: nobody who may write to the tree can put a link in the way.
    let within = PathBuf::from(format!("/proc/self/fd/{}", within.as_raw_fd()));
    let mut files = 0;
    for pass in names(&within)? {
        let from = within.join(&pass);
        if !fs::symlink_metadata(&from)?.is_dir() {
            continue;
        }
        let (count, bytes) = walk(&from);
        if count == 0 {
            // Directories alone: what was in them was set aside elsewhere, or nowhere.
            fs::remove_dir_all(&from)?;
            continue;
        }
        let to = home(settings, generation, &pass, count, bytes)?;
        bring(settings, &from, &to.join(FILES), deadline).map_err(|failure| {
            failure.context(format_args!("putting away what was replaced, to {}", to.display()))
        })?;
        log.warning(format_args!(
            "{count} files here were not the source's and have been replaced or deleted; they are kept in {}",
            to.display()
        ));
        files += count;
    }
    // Only while something is in it: a monitor then has one look to take.
    if let Some(private) = open_below(&settings.source, Path::new(TREE_PRIVATE))? {
        let _not_empty = unlinkat(private, SAVED, UnlinkatFlags::RemoveDir);
    }
    Ok(files)
}

/// Opens the directory of the tree in which passes set aside: `None` if there is none.
fn open_within(tree: &Path) -> Result<Option<OwnedFd>, Failure> {
    open_below(tree, &Path::new(TREE_PRIVATE).join(SAVED))
}

/// Opens a directory of the tree, none of whose parents may be a link: `None` if there is none.
fn open_below(tree: &Path, below: &Path) -> Result<Option<OwnedFd>, Failure> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let failed = |path: &Path, error: nix::Error| Failure::generic(format!("{}: {error}", path.display()));
    let mut at = match nix::fcntl::open(tree, flags, Mode::empty()) {
        Err(nix::Error::ENOENT) => return Ok(None),
        opened => opened.map_err(|error| failed(tree, error))?,
    };
    for part in below {
        at = match openat(&at, part, flags | OFlag::O_NOFOLLOW, Mode::empty()) {
            Err(nix::Error::ENOENT) => return Ok(None),
            Err(nix::Error::ELOOP | nix::Error::ENOTDIR) => {
                let path = tree.join(below);
                return Err(Failure::generic(format!("{}: a part of it is no directory", path.display())));
            }
            opened => opened.map_err(|error| failed(&tree.join(below), error))?,
        };
    }
    Ok(Some(at))
}

/// The set-aside directory of a pass: the one that was begun for it, or a new one, with its REPORT.
fn home(
    settings: &Settings,
    generation: Option<&Generation>,
    pass: &str,
    files: u64,
    bytes: u64,
) -> Result<PathBuf, Failure> {
    let directory = &settings.saved_dir;
    let failed =
        |path: &Path, error: io::Error| Failure::generic(format!("saved_dir: {}: {error}", path.display()));
    let private = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
    private(directory).map_err(|error| failed(directory, error))?;
    let line = format!("pass {pass}");
    let begun = names(directory)?.into_iter().map(|name| directory.join(name)).find(|it| {
        fs::read_to_string(it.join(REPORT)).is_ok_and(|report| report.lines().any(|it| it == line))
    });
    if let Some(begun) = begun {
        return Ok(begun);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let number = generation.map_or(0, |it| it.number);
    let name = format!("{}-generation-{number}", ocf::stamp(now));
    let mut to = directory.join(&name);
    // Several passes within a second.
    let mut count = 2;
    while fs::symlink_metadata(&to).is_ok() {
        to = directory.join(format!("{name}.{count}"));
        count += 1;
    }
    private(&to).map_err(|error| failed(&to, error))?;
    let by = generation.map_or("an unknown source".to_owned(), |it| {
        format!("generation {} (source {})", it.number, it.origin)
    });
    let report = format!(
        "{files} files, {bytes} bytes, of the dataset {} on {}\n\
         set aside {} UTC\n\
         by {by}\n\
         {line}\n\
         \n\
         {} on this node held these files, and the source did not, or held others under\n\
         their names: they were written here while another node led the dataset, or never left this one when it was the\n\
         source. They may exist nowhere else. Below {FILES}/ they have the paths that they had there. Copy what is still\n\
         wanted to the present source, then remove this directory.\n",
        settings.dataset,
        settings.node,
        ocf::stamp(now),
        settings.source.display(),
    );
    replace(&to.join(REPORT), report.as_bytes(), 0o600).map_err(|error| failed(&to, error))?;
    Ok(to)
}

/// Moves a directory with all that is in it: at once within a file system; else copied, made durable, and only then
/// removed.
fn bring(settings: &Settings, from: &Path, to: &Path, deadline: Instant) -> Result<(), Failure> {
    match fs::symlink_metadata(to) {
        // Only a copy can have been begun.
        Ok(_) => {}
        Err(_) => match fs::rename(from, to) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::CrossesDevices => {}
            Err(error) => return Err(error.into()),
        },
    }
    let mut copy = Tool::new(&settings.rsync).args([
        "--archive",
        "--hard-links",
        "--sparse",
        "--numeric-ids",
        // Killed, it leaves no half of a file under another name; the next call writes that file again.
        "--inplace",
        "--quiet",
    ]);
    if settings.acls {
        copy = copy.arg("--acls");
    }
    if settings.xattrs {
        copy = copy.arg("--xattrs");
    }
    // The descriptor is this process's: its own path there is the same to a child.
    let from_child = fs::canonicalize(from)?;
    let with_slash = |path: &Path| {
        let mut text = path.as_os_str().to_owned();
        text.push("/");
        text
    };
    let output = copy.arg("--").arg(with_slash(&from_child)).arg(with_slash(to)).run(deadline)?;
    if output.ended != Ended::Code(0) {
        return Err(output.failure().into());
    }
    let there = fs::File::open(to)?;
    nix::unistd::syncfs(&there)?;
    Ok(fs::remove_dir_all(from)?)
}

/// The same for what passes have set aside in the tree, and nobody has put away yet.
pub(crate) fn waiting(tree: &Path) -> (u64, u64) {
    if !may_wait(tree) {
        return (0, 0);
    }
    match open_within(tree) {
        Ok(Some(within)) => walk(&PathBuf::from(format!("/proc/self/fd/{}/", within.as_raw_fd()))),
        _ => (0, 0),
    }
}

/// How many files lie set aside in this directory, and the bytes that they take up. Not counted: directories, and the REPORTs.
pub(crate) fn measure(saved_dir: &Path) -> (u64, u64) {
    let Ok(all) = names(saved_dir) else { return (0, 0) };
    // By what each REPORT says, and not by a look at every file: this is asked at every monitor.
    let counted = |name: &String| {
        let directory = saved_dir.join(name);
        let report =
            fs::read_to_string(directory.join(REPORT)).ok().filter(|_| directory.join(FILES).exists())?;
        let mut numbers = report.split_whitespace();
        let files: u64 = numbers.next()?.parse().ok()?;
        let bytes: u64 = numbers.nth(1)?.parse().ok()?;
        Some((files, bytes))
    };
    all.iter().filter_map(counted).fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
}

/// Files below a directory that are not directories, and the bytes that they take up; links are not followed.
fn walk(directory: &Path) -> (u64, u64) {
    let (mut files, mut bytes) = (0, 0);
    for entry in WalkDir::new(directory).min_depth(1).into_iter().flatten() {
        if entry.file_type().is_dir()
            || entry.depth() == 1 && entry.file_name() == REPORT && is_home(directory)
        {
            continue;
        }
        files += 1;
        bytes += entry.metadata().map_or(0, |it| it.blocks() * 512);
    }
    (files, bytes)
}

/// Whether a directory is one of those that [`home`] makes, not what was set aside.
fn is_home(directory: &Path) -> bool {
    directory.file_name().is_some_and(|name| name.to_string_lossy().contains("-generation-"))
}

/// The names in a directory, in order; those that are no text are none of ours.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = match fs::read_dir(directory) {
        Ok(entries) => entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    names.sort();
    Ok(names)
}
