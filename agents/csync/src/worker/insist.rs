//! What was chosen by hand stays chosen until the others have it: a peer's own try with the same file has csync2 forget it.

use super::Worker;
use crate::look::Files;
use crate::settings::Place;
use crate::settling::Copy;
use crate::{daemon, look, runs};
use csync2::Text;
use csync2::database::Dirty;
use csync2::decide::{Look, Version};
use csync2::meaning::Meaning;
use ocf::{Failure, StateFile};
use serde::{Deserialize, Serialize};

/// A file whose version here was chosen, as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Chosen {
    name: Vec<u8>,
    /// Seconds since 1970; nothing for what is gone or has no such time.
    modified: Option<i64>,
    size: u64,
}

impl Chosen {
    fn now(name: &Text, meaning: &Meaning<'_>) -> Self {
        let Copy { version, size } = look::copy(meaning, name);
        let modified = if let Version::There { modified, .. } = version { modified } else { None };
        Chosen { name: name.bytes().to_vec(), modified, size }
    }
}

/// Notes that these were chosen.
///
/// # Errors
/// It cannot be written.
pub(crate) fn note(place: &Place, names: &[Text], meaning: &Meaning<'_>) -> Result<(), Failure> {
    let file = StateFile::new(place.chosen());
    let mut all: Vec<Chosen> = file.load()?.unwrap_or_default();
    all.retain(|it| names.iter().all(|name| name.bytes() != it.name));
    all.extend(names.iter().map(|name| Chosen::now(name, meaning)));
    file.save_durably(&all)
}

impl Worker {
    /// Has what was chosen win again, as long as it waits for somebody and is what it was.
    pub(super) fn insist(&mut self, dirty: &[Dirty], meaning: &Meaning<'_>) -> Result<(), String> {
        let file = StateFile::new(self.place.chosen());
        let said = |failure: Failure| failure.reason;
        let Some(before) = file.load::<Vec<Chosen>>().map_err(said)? else { return Ok(()) };
        let rows = |it: &Chosen| dirty.iter().filter(|row| row.name.bytes() == it.name).collect::<Vec<_>>();
        let holds =
            |it: &&Chosen| !rows(it).is_empty() && **it == Chosen::now(&Text::from(it.name.clone()), meaning);
        let chosen: Vec<Chosen> = before.iter().filter(holds).cloned().collect();
        let forgotten = chosen.iter().filter(|it| rows(it).iter().any(|row| !row.forced));
        let forgotten: Vec<Text> = forgotten.map(|it| Text::from(it.name.clone())).collect();
        if !forgotten.is_empty() {
            runs::force(&self.place, &self.settings, &forgotten).map_err(|nothing| nothing.to_string())?;
        }
        match chosen {
            none if none.is_empty() => file.remove().map_err(said),
            some if some != before => file.save_durably(&some).map_err(said),
            _ => Ok(()),
        }
    }

    /// What is gone here and cannot be there either is done with: forced, csync2 takes the peer's refusal for that.
    pub(super) fn force_gone(&mut self, meaning: &Meaning<'_>) -> Result<(), String> {
        let mut files = Files::new(meaning);
        let names = self.memory.gone_there().into_iter().filter(|name| files.look(name) == Look::Gone);
        let names: Vec<Text> = names.collect();
        if names.is_empty() {
            return Ok(());
        }
        runs::force(&self.place, &self.settings, &names).map_err(|nothing| nothing.to_string())
    }

    /// Ends connections that hang.
    pub(super) fn end_hung(&self) {
        let ended = daemon::end_hung(&self.place, self.settings.for_one_peer() * 2);
        if ended > 0 {
            self.log.warning(format_args!("{ended} connections to csync2's daemon hung, and were ended"));
        }
    }
}
