//! What csync2 would notice: everything on the disk where it looks, beside what it remembers, by its own rules.
//!
//! A full check that finds nothing new needs no run of csync2: it asks its database about each file by itself, which costs several times as
//! much. What is new or other here is then given to csync2 by name, and it has the last word.

use crate::configuration::path;
use crate::look::{Files, is_below_link};
use csync2::Text;
use csync2::config::Config;
use csync2::database::{Checked, File, Ignored, Stat};
use csync2::decide::Look;
use csync2::meaning::Meaning;
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What is on the disk.
pub(crate) struct Scan<'a> {
    meaning: &'a Meaning<'a>,
    ignored: Ignored,
    rows: &'a [File],
    by_name: HashMap<&'a [u8], usize>,
    /// Which rows' files were met.
    met: Vec<bool>,
    changed: Vec<Text>,
    /// Directories that are file systems of their own.
    mounts: Vec<Text>,
    others: Files<'a>,
    text: Vec<u8>,
}

impl<'a> Scan<'a> {
    /// Looks below these roots, paths without wildcards. `rows` is what csync2 remembers.
    pub(crate) fn of(
        roots: impl Iterator<Item = &'a Text>,
        rows: &'a [File],
        config: &Config,
        meaning: &'a Meaning<'a>,
    ) -> Self {
        let ignored = Ignored {
            uid: config.ignore_uid.is_some(),
            gid: config.ignore_gid.is_some(),
            mode: config.ignore_mod.is_some(),
        };
        let by_name = rows.iter().enumerate().map(|(index, row)| (row.name.bytes(), index)).collect();
        let mut scan = Scan {
            meaning,
            ignored,
            rows,
            by_name,
            met: vec![false; rows.len()],
            changed: Vec::new(),
            mounts: Vec::new(),
            others: Files::new(meaning),
            text: Vec::new(),
        };
        let mut roots: Vec<&Text> = roots.collect();
        roots.sort();
        let mut done: Vec<&Path> = Vec::new();
        for root in roots {
            let place = path(root);
            // What lies in another one was looked at with that, if that looks into it.
            let again = done.iter().any(|other| place.starts_with(other)) && scan.has_met(root);
            if !again && !place.parent().is_some_and(is_below_link) {
                scan.place(place);
                done.push(place);
            }
        }
        scan
    }

    /// Names that csync2 does not know, or that are not as it remembers them.
    pub(crate) fn changed(&self) -> &[Text] {
        &self.changed
    }

    /// Directories below the roots, not those themselves, on which another file system is mounted.
    pub(crate) fn mounts(&self) -> &[Text] {
        &self.mounts
    }

    /// Whether csync2 knows a name.
    pub(crate) fn is_known(&self, name: &Text) -> bool {
        self.by_name.contains_key(name.bytes())
    }

    /// Whether a name that csync2 knows is there.
    pub(crate) fn look(&mut self, name: &Text) -> Look {
        if self.has_met(name) { Look::There } else { self.others.look(name) }
    }

    fn has_met(&self, name: &Text) -> bool {
        let index = self.by_name.get(name.bytes());
        index.and_then(|index| self.met.get(*index)).is_some_and(|met| *met)
    }

    fn place(&mut self, place: &Path) {
        if let Ok(found) = fs::symlink_metadata(place) {
            let names = self.meaning.names(&Text::from(place.as_os_str().as_bytes()));
            self.entry(place, &names, &found);
        }
    }

    /// A file or directory that is there, and what is in it.
    fn entry(&mut self, place: &Path, names: &[Text], found: &Metadata) {
        // Where a link points. Rare: what else would be in a path is not made for every file.
        let target = found.is_symlink().then(|| fs::read_link(place).ok()).flatten();
        let target = target.map(|target| Text::from(target.as_os_str().as_bytes()));
        for name in names {
            self.compare(name, found, target.as_ref());
        }
        if found.is_dir() && names.iter().any(|name| self.meaning.is_entered(name)) {
            self.directory(place, names, found.dev());
        }
    }

    fn directory(&mut self, place: &Path, names: &[Text], device: u64) {
        // What cannot be read is looked for by name, and then is unclear.
        let Ok(entries) = fs::read_dir(place) else { return };
        let prefixes = self.meaning.prefixes().next().is_some();
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else { continue };
            let base = entry.file_name();
            let below = |name: &Text| {
                let slash: &[u8] = if name.bytes().ends_with(b"/") { b"" } else { b"/" };
                Text::from([name.bytes(), slash, base.as_bytes()].concat())
            };
            let names: Vec<Text> = match names {
                // A prefix may begin here.
                _ if prefixes => self.meaning.names(&Text::from(place.join(&base).as_os_str().as_bytes())),
                names => names.iter().map(below).collect(),
            };
            if found.is_dir() || found.is_symlink() {
                if found.is_dir() && found.dev() != device {
                    self.mounts.push(Text::from(place.join(&base).as_os_str().as_bytes()));
                }
                self.entry(&place.join(&base), &names, &found);
            } else {
                names.iter().for_each(|name| self.compare(name, &found, None));
            }
        }
    }

    fn compare(&mut self, name: &Text, found: &Metadata, target: Option<&Text>) {
        let row = self.by_name.get(name.bytes()).copied();
        if let Some(met) = row.and_then(|row| self.met.get_mut(row)) {
            *met = true;
        }
        let stat = Stat {
            mtime: found.mtime(),
            mode: found.mode(),
            uid: found.uid(),
            gid: found.gid(),
            size: found.size(),
            device: found.rdev(),
        };
        // csync2 asks where a link points under its name, which below a prefix is no path.
        let target = target.filter(|_| name.is_absolute());
        // A type that it does not know it passes over.
        let Some(checked) = Checked::of(&stat, target, self.ignored) else { return };
        self.text.clear();
        checked.write(&mut self.text);
        let known = row.and_then(|row| self.rows.get(row)).map(|row| row.text.bytes());
        if known != Some(self.text.as_slice()) && self.meaning.groups_of(name).next().is_some() {
            self.changed.push(name.clone());
        }
    }
}

#[cfg(test)]
#[path = "scan/tests.rs"]
mod tests;
