//! A change that was made on top of another node's is no conflict, though csync2 takes it for one as long as a third node lacks that: what a file was before is
//! remembered here until all have it, told where both meet ([`super::settle`]), and forced on the peers that still have that, and on no other.

use super::Worker;
use crate::look;
use crate::runs;
use crate::settling::{BEFORE, Copy};
use csync2::Text;
use csync2::database::{Database, Dirty, File, Type};
use csync2::decide::Version;
use csync2::meaning::Meaning;
use std::collections::BTreeSet;

impl Worker {
    /// Notes what these are for csync2, before it takes note of what they are now.
    pub(super) fn note_before(
        &mut self,
        names: &[Text],
        database: &Database,
        meaning: &Meaning<'_>,
    ) -> Result<(), String> {
        for name in names {
            let known = database.file(name).map_err(|error| error.to_string())?;
            let Some(copy) = known.as_ref().and_then(copy) else { continue };
            let before = self.before.entry(name.clone()).or_default();
            if copy != look::copy(meaning, name) && !before.contains(&copy) {
                before.push(copy);
                let many = before.len().saturating_sub(BEFORE);
                before.drain(..many);
            }
        }
        Ok(())
    }

    /// Forgets what all have. Where a version that was forced has arrived it wins no longer against others, who have not been asked.
    pub(super) fn end_ahead(&mut self, dirty: &[Dirty]) -> Result<(), String> {
        let waiting: BTreeSet<&Text> = dirty.iter().map(|row| &row.name).collect();
        self.before.retain(|name, _| waiting.contains(name));
        let has_arrived = |(name, peers): &(&Text, &BTreeSet<Text>)| {
            !dirty.iter().any(|row| row.name == **name && peers.contains(&row.peer))
        };
        let arrived: Vec<Text> =
            self.ahead.iter().filter(has_arrived).map(|(name, _)| name.clone()).collect();
        let is_forced = |name: &&Text| dirty.iter().any(|row| row.name == **name && row.forced);
        let forced: Vec<Text> = arrived.iter().filter(is_forced).cloned().collect();
        if !forced.is_empty() {
            runs::mark(&self.place, &self.settings, &forced).map_err(|nothing| nothing.to_string())?;
        }
        self.ahead.retain(|name, _| !arrived.contains(name));
        Ok(())
    }

    /// Whether a row that wins may go to its peer now.
    pub(super) fn may_force(&self, row: &Dirty) -> bool {
        row.forced && self.ahead.get(&row.name).is_none_or(|peers| peers.contains(&row.peer))
    }
}

/// What a regular file was like; of others csync2 keeps nothing by which two versions are told apart.
fn copy(file: &File) -> Option<Copy> {
    let checked = file.checked().ok()?;
    let Type::File { size } = checked.kind else { return None };
    Some(Copy { version: Version::There { modified: Some(checked.mtime?), directory: false }, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_known_of_regular_files() {
        let of = |text: &str| copy(&File { name: Text::from("/f"), text: Text::from(text) });
        let known = of("v1:mtime=7:mode=33188:uid=0:gid=0:type=reg:size=5");
        assert_eq!(
            known,
            Some(Copy { version: Version::There { modified: Some(7), directory: false }, size: 5 })
        );
        assert_eq!(of("v1:mode=16877:uid=0:gid=0:type=dir"), None);
        assert_eq!(of("spoilt"), None);
    }
}
