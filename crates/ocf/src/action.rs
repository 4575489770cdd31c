//! The actions of the protocol, and how an agent advertises them in its metadata.

use std::fmt;

/// An action that an agent may be asked for (OCF RA API 1.1, "Actions").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Brings the resource up; a promotable one in the unpromoted role.
    Start,
    /// Ends the resource surely.
    Stop,
    /// Tells the resource's state; with interval 0, a probe.
    Monitor,
    /// Takes the promoted role.
    Promote,
    /// Gives the promoted role up.
    Demote,
    /// Hears of what happens to the other instances of a clone.
    Notify,
    /// Judges the parameters, and at level 10 this node too.
    ValidateAll,
    /// Makes changed reloadable parameters take effect without a restart.
    ReloadAgent,
    /// Prints the metadata.
    MetaData,
}

impl Action {
    const ALL: [Action; 9] = [
        Action::Start,
        Action::Stop,
        Action::Monitor,
        Action::Promote,
        Action::Demote,
        Action::Notify,
        Action::ValidateAll,
        Action::ReloadAgent,
        Action::MetaData,
    ];

    /// The action of this name, as Pacemaker spells it.
    pub fn parse(word: &str) -> Option<Action> {
        Self::ALL.into_iter().find(|action| action.name() == word)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Action::Start => "start",
            Action::Stop => "stop",
            Action::Monitor => "monitor",
            Action::Promote => "promote",
            Action::Demote => "demote",
            Action::Notify => "notify",
            Action::ValidateAll => "validate-all",
            Action::ReloadAgent => "reload-agent",
            Action::MetaData => "meta-data",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The role of an instance of a promotable clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that leads (older name: Master).
    Promoted,
    /// The one that follows (older name: Slave).
    Unpromoted,
}

impl Role {
    /// The role of this name, in either vocabulary.
    pub fn parse(word: &str) -> Option<Role> {
        match word {
            "Promoted" | "Master" => Some(Role::Promoted),
            "Unpromoted" | "Slave" => Some(Role::Unpromoted),
            _ => None,
        }
    }

    /// Its name since OCF RA API 1.1.
    pub fn name(self) -> &'static str {
        match self {
            Role::Promoted => "Promoted",
            Role::Unpromoted => "Unpromoted",
        }
    }
}

/// One `<action>` line of the metadata: an action with the timings that the agent recommends.
#[derive(Clone, Copy, Debug)]
pub struct Advertised {
    /// Which action.
    pub action: Action,
    /// Recommended timeout in seconds; also the bound of a call that brings none of its own.
    pub timeout: u32,
    /// Recommended interval of a recurring monitor, in seconds.
    pub interval: Option<u32>,
    /// The `OCF_CHECK_LEVEL` that this monitor line stands for.
    pub depth: u32,
    /// The role that this monitor line is for.
    pub role: Option<Role>,
}

impl Advertised {
    /// An action with its timeout in seconds.
    pub const fn new(action: Action, timeout: u32) -> Self {
        Advertised { action, timeout, interval: None, depth: 0, role: None }
    }

    /// A recurring monitor: timeout and interval in seconds, and its depth (`OCF_CHECK_LEVEL`).
    pub const fn monitor(timeout: u32, interval: u32, depth: u32) -> Self {
        Advertised { action: Action::Monitor, timeout, interval: Some(interval), depth, role: None }
    }

    /// The same line for one role only.
    pub const fn role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_found_by_its_name_and_nothing_else_is() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.name()), Some(action));
        }
        for word in ["", "Start", "status", "reload", "migrate_to", "meta_data"] {
            assert_eq!(Action::parse(word), None, "{word}");
        }
    }

    #[test]
    fn both_vocabularies_of_roles_are_understood() {
        assert_eq!(Role::parse("Master"), Some(Role::Promoted));
        assert_eq!(Role::parse("Unpromoted"), Some(Role::Unpromoted));
        assert_eq!(Role::parse("Started"), None);
    }
}
