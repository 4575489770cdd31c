//! What a configuration means for one host.
//!
//! Names are csync2's own: an absolute path, or `%prefix%/rest` for what lies below a prefix ([`Meaning::names`] gives all
//! names of a path). Where several groups hold a file, csync2 asks them from the last in the configuration to the first,
//! and so do the answers here. `tests/meaning.rs` has every answer beside the real csync2's.

mod check;

use std::collections::BTreeSet;

use crate::config::{Action, Auto, Config, Group, Host, Kind, Runs, Word};
use crate::pattern::{self, NAME, Slashes, matches};
use crate::{Problem, Text};

/// A configuration as one host has it.
#[derive(Clone, Debug)]
pub struct Meaning<'a> {
    config: &'a Config,
    host: Text,
    /// Prefixes that are somewhere on this host, with their path, in csync2's order: the last one first.
    prefixes: Vec<(&'a Text, &'a Text)>,
}

/// A group that the host is in.
#[derive(Clone, Debug)]
pub struct Membership<'a> {
    /// The group.
    pub group: &'a Group,
    /// What its peers know this host by.
    pub address: &'a Text,
    /// It takes, and its peers refuse what it sends.
    pub slave: bool,
    /// The other hosts of the group, in the order of the file.
    pub peers: Vec<&'a Host>,
}

/// What a group makes of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is synchronised.
    Included,
    /// It is not, but `-o` lists it and `-TT` shows it.
    Compared,
    /// It matched an exclude, or no include.
    Excluded,
}

/// A peer of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer<'a> {
    /// What to connect to, and what it stands as in the database.
    pub address: &'a Text,
    /// What this host calls itself towards it.
    pub own: &'a Text,
}

/// Why this host has a name checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The change was received from a peer.
    Received,
    /// The change was noticed here.
    Noticed,
}

/// A command that csync2 runs after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// The group whose action it is.
    pub group: &'a Text,
    /// For the shell; `%%` stands for the files.
    pub command: &'a Word,
    /// Where its output goes; nowhere without.
    pub logfile: Option<&'a Word>,
}

/// Where the version that loses is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup<'a> {
    /// The group that keeps it.
    pub group: &'a Text,
    /// The newest copy: the file's whole path below the backup directory.
    pub newest: Text,
    /// The copy before that. csync2 2.0 keeps these two, however many generations are configured.
    pub older: Text,
}

/// The files below matter.
const CONTENTS: Slashes = Slashes { separate: true, contents: true };

/// One `**` anywhere, and every star of the pattern matches slashes.
fn slashes(text: &Text, contents: bool) -> Slashes {
    Slashes { separate: !text.bytes().windows(2).any(|two| two == b"**"), contents }
}

/// Is the pattern one of paths, or of last components?
fn is_path(text: &Text) -> bool {
    matches!(text.bytes().first(), Some(b'/' | b'%'))
}

fn last_component(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| *byte == b'/').next().unwrap_or(name)
}

fn is_included(group: &Group, name: &Text, compare: bool) -> bool {
    let (mut path, mut base) = (false, true);
    for pattern in &group.patterns {
        let included = match pattern.kind {
            Kind::Include => true,
            Kind::Exclude => false,
            Kind::Compare if compare => true,
            Kind::Compare => continue,
        };
        if !is_path(&pattern.text) {
            if matches(pattern.text.bytes(), last_component(name.bytes()), NAME) {
                base = included;
            }
        } else if matches(pattern.text.bytes(), name.bytes(), slashes(&pattern.text, true)) {
            path = included;
        }
    }
    path && base
}

/// What the group makes of the name: of the patterns of paths that match, the last one decides, and so it is with those of last
/// components; both must include it, where no pattern of paths means no, and no other pattern yes.
#[must_use]
pub fn verdict(group: &Group, name: &Text) -> Verdict {
    if is_included(group, name, false) {
        Verdict::Included
    } else if is_included(group, name, true) {
        Verdict::Compared
    } else {
        Verdict::Excluded
    }
}

/// The name and all directories above it, from the top.
fn ancestors(name: &Text) -> Vec<Text> {
    let bytes = name.bytes();
    let slashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let above = slashes.map(|at| Text::from(bytes.get(..at.max(1)).unwrap_or_default()));
    above.filter(|above| above.bytes().len() < bytes.len()).collect()
}

/// Is `name` the directory or in it?
fn is_below(name: &[u8], directory: &[u8]) -> bool {
    name.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}

impl<'a> Meaning<'a> {
    /// What the configuration means for the host of this name (`hostname`, or what is given to `-N`).
    #[must_use]
    pub fn new(config: &'a Config, host: &Text) -> Self {
        let host = host.to_lowercase();
        let place = |prefix: &'a crate::config::Prefix| {
            let mut places = prefix.places.iter();
            let place = places.find(|place| matches(place.hosts.text.bytes(), host.bytes(), NAME))?;
            Some((&prefix.name.text, &place.path.text))
        };
        let prefixes = config.prefixes.iter().rev().filter_map(place).collect();
        Self { config, host, prefixes }
    }

    /// The host, in small letters.
    #[must_use]
    pub fn host(&self) -> &Text {
        &self.host
    }

    fn membership(&self, group: &'a Group) -> Option<Membership<'a>> {
        // Said twice, the last time counts.
        let own = group.hosts.iter().rfind(|host| host.name == self.host)?;
        let peers = group.hosts.iter().filter(|host| host.name != self.host).collect();
        Some(Membership { group, address: &own.address, slave: own.slave, peers })
    }

    /// The groups that this host is in, in the order of the file. Without any, csync2 refuses to run here.
    pub fn memberships(&self) -> impl Iterator<Item = Membership<'a>> {
        self.config.groups.iter().filter_map(|group| self.membership(group))
    }

    /// The groups that synchronise the name and that this host is in, in the order in which csync2 asks them.
    pub fn groups_of(&self, name: &Text) -> impl Iterator<Item = Membership<'a>> {
        let groups = self.config.groups.iter().rev().filter(move |group| is_included(group, name, false));
        groups.filter_map(|group| self.membership(group))
    }

    /// The addresses of all hosts that share a group with this one.
    #[must_use]
    pub fn peers(&self) -> BTreeSet<&'a Text> {
        self.memberships().flat_map(|membership| membership.peers).map(|host| &host.address).collect()
    }

    /// Whom a change of the name goes to, in csync2's order.
    #[must_use]
    pub fn peers_of(&self, name: &Text) -> Vec<Peer<'a>> {
        let mut peers: Vec<Peer<'a>> = Vec::new();
        for membership in self.groups_of(name) {
            for host in &membership.peers {
                if !peers.iter().any(|peer| *peer.address == host.address) {
                    peers.push(Peer { address: &host.address, own: membership.address });
                }
            }
        }
        peers
    }

    /// The key file that is used for the name towards the peer.
    #[must_use]
    pub fn key_of(&self, name: &Text, peer: &Text) -> Option<&'a Word> {
        self.groups_with(name, peer).find_map(|membership| membership.group.key.as_ref())
    }

    fn groups_with(&self, name: &Text, peer: &Text) -> impl Iterator<Item = Membership<'a>> {
        let shared =
            move |membership: &Membership<'_>| membership.peers.iter().any(|host| host.address == *peer);
        self.groups_of(name).filter(shared)
    }

    /// Does the peer take the name from this host? A slave's pushes are refused ("Permission denied for slave!"), and the
    /// peer then sends its own version.
    #[must_use]
    pub fn may_push(&self, name: &Text, peer: &Text) -> bool {
        // The peer looks for a group with the key that is sent in which this host is no slave.
        let key = self.key_of(name, peer).map(|key| &key.text);
        self.groups_with(name, peer)
            .any(|membership| !membership.slave && membership.group.key.as_ref().map(|key| &key.text) == key)
    }

    /// How csync2 itself settles a conflict about the name with the peer. `left` and `right` are told by whether this
    /// host wins: see [`Meaning::wins_by_side`].
    #[must_use]
    pub fn auto_of(&self, name: &Text, peer: &Text) -> Auto {
        let first = self.groups_with(name, peer).next();
        first.and_then(|membership| membership.group.auto.as_ref()).map_or(Auto::None, |(auto, _)| *auto)
    }

    /// Under `auto left` and `auto right`: does this host win against the peer?
    #[must_use]
    pub fn wins_by_side(&self, name: &Text, peer: &Text) -> Option<bool> {
        let membership = self.groups_with(name, peer).next()?;
        let hosts = &membership.group.hosts;
        let place = |wanted: &dyn Fn(&Host) -> bool| hosts.iter().position(wanted);
        let own = place(&|host| host.name == self.host)?;
        let other = place(&|host| host.name != self.host && host.address == *peer)?;
        match membership.group.auto.as_ref()?.0 {
            Auto::Left => Some(own < other),
            Auto::Right => Some(own > other),
            _ => None,
        }
    }

    /// The files that csync2 reads on this host before anything else, with the group of each: the keys of all groups, also those that
    /// the host is not in. `directory` is where the configuration is.
    #[must_use]
    pub fn key_files(&self, directory: &Text) -> Vec<(Text, &'a Group)> {
        let keys = self.config.groups.iter().filter_map(|group| Some((group.key.as_ref()?, group)));
        let path = |key: &Word| {
            if key.text.is_absolute() {
                key.text.clone()
            } else {
                Text::from([directory.bytes(), b"/", key.text.bytes()].concat())
            }
        };
        keys.map(|(key, group)| (path(key), group)).collect()
    }

    /// Does this host speak plainly to the peer, and take it when the peer does? As both ask with themselves as `FROM`, a
    /// `nossl` that names one direction only makes the peer refuse ("SSL encrypted connection expected!").
    #[must_use]
    pub fn is_plain_to(&self, peer: &Text) -> bool {
        self.config.nossl.iter().any(|nossl| {
            matches(nossl.from.text.bytes(), self.host.bytes(), NAME)
                && matches(nossl.to.text.bytes(), peer.bytes(), NAME)
        })
    }

    /// The path of a name: what stands for `%prefix%` put in its place. `None` where this host has no such prefix: csync2 ends with
    /// "Prefix '…' is not defined for host '…'" as soon as it meets such a name.
    #[must_use]
    pub fn path(&self, name: &Text) -> Option<Text> {
        let Some(rest) = name.bytes().strip_prefix(b"%") else { return Some(name.clone()) };
        let length = rest.iter().position(|byte| *byte == b'%').unwrap_or(rest.len());
        let (prefix, rest) = rest.split_at_checked(length)?;
        let rest = rest.strip_prefix(b"%").unwrap_or(rest);
        let (_, path) = self.prefixes.iter().find(|(known, _)| known.bytes() == prefix)?;
        Some(Text::from([path.bytes(), rest].concat()))
    }

    /// All names that csync2 has for a path: itself, and one for every prefix that it lies in.
    #[must_use]
    pub fn names(&self, path: &Text) -> Vec<Text> {
        let below = self.prefixes.iter().filter_map(|(prefix, directory)| {
            let rest = path.bytes().strip_prefix(directory.bytes())?;
            let below = rest.is_empty() || rest.first() == Some(&b'/');
            let name = Text::from([b"%", prefix.bytes(), b"%", rest].concat());
            // Of two prefixes of one name, the last one is meant.
            (below && self.path(&name).as_ref() == Some(path)).then_some(name)
        });
        std::iter::once(path.clone()).chain(below).collect()
    }

    /// Where the prefixes are on this host.
    pub fn prefixes(&self) -> impl Iterator<Item = (&'a Text, &'a Text)> {
        self.prefixes.iter().copied()
    }

    /// Does a recursive check look into this directory?
    #[must_use]
    pub fn is_entered(&self, name: &Text) -> bool {
        if name == "/" || self.groups_of(name).next().is_some() {
            return true;
        }
        // Something below is included, or a prefix lies below.
        let includes = self.memberships().flat_map(|membership| &membership.group.patterns);
        let mut includes = includes.filter(|pattern| pattern.kind == Kind::Include && is_path(&pattern.text));
        let above = |pattern: &Text| {
            let slashes = slashes(pattern, false);
            let ends =
                pattern.bytes().iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
            let mut starts = ends.map(|end| pattern.bytes().get(..end).unwrap_or_default());
            starts.any(|start| pattern::matches(start, name.bytes(), slashes))
        };
        let prefix = |directory: &Text| directory != name && is_below(directory.bytes(), name.bytes());
        includes.any(|pattern| above(&pattern.text))
            || (name.is_absolute() && self.prefixes.iter().any(|(_, directory)| prefix(directory)))
    }

    /// Does `csync2 -x` see changes of this name? It must be synchronised, and every directory above it be looked into: a file
    /// in a directory that is excluded by its last component is synchronised when it is named, but not found.
    #[must_use]
    pub fn is_noticed(&self, name: &Text) -> bool {
        let above = ancestors(name);
        let reached = match name.bytes().strip_prefix(b"%") {
            // What lies below a prefix is looked at wherever its path is.
            Some(_) => self.path(name).is_some(),
            None => true,
        };
        reached && self.groups_of(name).next().is_some() && above.iter().all(|above| self.is_entered(above))
    }

    /// The commands of the actions that apply to a change of the name.
    #[must_use]
    pub fn commands(&self, name: &Text, side: Side) -> Vec<Command<'a>> {
        let mut commands = Vec::new();
        for membership in self.groups_of(name) {
            for action in membership.group.actions.iter().filter(|action| applies(action, name, side)) {
                commands.extend(action.commands.iter().map(|command| Command {
                    group: &membership.group.name,
                    command,
                    logfile: action.logfile.as_ref(),
                }));
            }
        }
        commands
    }

    /// Where csync2 keeps what it overwrites or deletes under this name. Nothing is kept of directories and of what is no file, nor
    /// when a file gives way to something that is none.
    #[must_use]
    pub fn backups(&self, name: &Text) -> Vec<Backup<'a>> {
        let Some(path) = self.path(name) else { return Vec::new() };
        let kept = self.groups_of(name).filter_map(|membership| {
            let group = membership.group;
            let directory = group.backup_directory.as_ref()?;
            let generations = group.backup_generations.as_ref().map_or(3, |number| number.value);
            let last = generations.checked_sub(1).filter(|last| *last > 0)?;
            let newest = [directory.text.bytes(), path.bytes()].concat();
            let older = Text::from([&newest, format!(".{last}").as_bytes()].concat());
            Some(Backup { group: &group.name, newest: Text::from(newest), older })
        });
        kept.collect()
    }
}

fn applies(action: &Action, name: &Text, side: Side) -> bool {
    let here = match side {
        Side::Received => action.runs != Runs::Noticing,
        Side::Noticed => action.runs != Runs::Receiving,
    };
    let matching = |pattern: &Word| {
        let slashes = Slashes { separate: slashes(&pattern.text, true).separate, ..CONTENTS };
        matches(pattern.text.bytes(), name.bytes(), slashes)
    };
    here && (action.patterns.is_empty() || action.patterns.iter().any(matching))
}

impl Meaning<'_> {
    /// Everything about the configuration that csync2 would take, but that will not work on this host, or not as it was
    /// meant. What is on the disk is not looked at.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        check::problems(self)
    }

    pub(crate) fn config(&self) -> &Config {
        self.config
    }
}
