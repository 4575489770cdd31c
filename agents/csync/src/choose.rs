//! An administrator settles conflicts by hand: `csync-agent choose RESOURCE PATH...` on the node whose version is to win.

use crate::configuration::{self, path};
use crate::look::Files;
use crate::runs;
use crate::settings::{Place, Settings};
use crate::worker::insist;
use csync2::Text;
use csync2::database::Database;
use csync2::decide::Look;
use csync2::meaning::Meaning;
use csync2::messages::table::{Difference, Differs};
use ocf::StateFile;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a reader waits for csync2 to let go of the database.
const PATIENCE: Duration = Duration::from_secs(20);

/// The face of the program that people call.
pub(crate) fn choose(arguments: &[OsString]) -> u8 {
    let outcome = match arguments {
        [resource, paths @ ..] if !paths.is_empty() => {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            choose_these(&Place::of(&resource.to_string_lossy()), &paths)
        }
        _ => Err("usage: csync-agent choose RESOURCE PATH...  has this node's version of these files, and of all in \
                  these directories, win the conflicts that they are in"
            .to_owned()),
    };
    let (text, code) = match outcome {
        Ok(text) => (text, 0),
        Err(text) => (text, 1),
    };
    let _closed = writeln!(std::io::stderr(), "{text}");
    code
}

fn choose_these(place: &Place, paths: &[PathBuf]) -> Result<String, String> {
    if let Some(relative) = paths.iter().find(|path| !path.is_absolute()) {
        return Err(format!("{}: give the whole path, from the root", relative.display()));
    }
    let said = |failure: ocf::Failure| failure.reason;
    let settings: Settings = StateFile::new(place.settings())
        .load()
        .map_err(said)?
        .ok_or("no such resource of ocf:bascule:csync has run on this node since it was booted")?;
    let config = configuration::made(place, &settings).map_err(said)?;
    let host = settings.host_text();
    let meaning = Meaning::new(&config, &host);
    let database = Database::open(&settings.database_file(), PATIENCE).map_err(|error| error.to_string())?;
    let waiting = database.dirty().map_err(|error| error.to_string())?;
    let mut absent = Vec::new();
    // What only one side has, or only waits, counts if it is named: a directory is not meant to empty others, nor to win where nothing is in conflict.
    let named =
        |name: &Text| meaning.path(name).is_some_and(|place| paths.iter().any(|it| it == path(&place)));
    let mut names: BTreeSet<Text> = waiting.into_iter().map(|row| row.name).filter(named).collect();
    let conflicts: Vec<Vec<u8>> = StateFile::new(place.conflicts()).load().map_err(said)?.unwrap_or_default();
    let mut files = Files::new(&meaning);
    let conflicts = conflicts.into_iter().map(Text::from);
    names.extend(conflicts.filter(|name| named(name) || files.look(name) == Look::There));
    let counts = |found: &Difference| found.differs == Differs::Contents || named(&found.name);
    // What differed when the databases were made is nowhere noted as changed.
    for peer in meaning.peers() {
        match runs::compare(place, &settings, &meaning, peer) {
            Ok(found) => names.extend(found.into_iter().filter(counts).map(|found| found.name)),
            Err((_, why)) => absent.push(format!("{peer} could not be asked: {why}")),
        }
    }
    let chosen = |name: &Text| {
        let place = meaning.path(name);
        place.is_some_and(|place| paths.iter().any(|wanted| path(&place).starts_with(wanted)))
    };
    let names: Vec<Text> = names.into_iter().filter(chosen).collect();
    let shown: Vec<String> = names.iter().map(Text::to_string).chain(absent).collect();
    if names.is_empty() {
        return Err([vec!["nothing there waits or differs".to_owned()], shown].concat().join("\n"));
    }
    let failed = |nothing: runs::Nothing| nothing.to_string();
    runs::mark(place, &settings, &names).map_err(failed)?;
    insist::note(place, &names, &meaning).map_err(said)?;
    runs::force(place, &settings, &names).map_err(failed)?;
    std::fs::write::<&Path, _>(&place.nudge(), "").map_err(|error| error.to_string())?;
    Ok(format!("the version of this node, {host}, wins:\n{}", shown.join("\n")))
}
