//! The configuration that csync2 is run with: the administrator's, with what this agent is asked for made explicit. Pure.
//!
//! It differs from the administrator's in this: groups without this node are left out (csync2 would want their keys here), keys and the rest
//! are named by their whole path, who settles conflicts is what the policies say, and every group keeps what it overwrites.

use crate::values::Policy;
use csync2::config::{Auto, Config, Number, Word};
use csync2::{At, Text};
use std::collections::BTreeMap;

/// What is asked for beside the administrator's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    /// This node's name for csync2.
    pub(crate) host: &'a Text,
    /// The directory of the administrator's configuration.
    pub(crate) directory: &'a Text,
    /// What settles conflicts.
    pub(crate) policy: Policy,
    /// The same for single groups.
    pub(crate) groups: &'a BTreeMap<String, Policy>,
    /// Where versions that are overwritten are kept, of groups that name no directory; the group's name is put below it.
    pub(crate) kept: &'a Text,
}

impl Wanted<'_> {
    /// What settles the conflicts of a group.
    pub(crate) fn policy_of(&self, group: &Text) -> Policy {
        let name = std::str::from_utf8(group.bytes()).ok();
        name.and_then(|name| self.groups.get(name)).copied().unwrap_or(self.policy)
    }
}

/// A word put in by the agent, at the place that it belongs to.
fn word(text: Text, at: &At) -> Word {
    Word { text, at: at.clone() }
}

/// The configuration to run csync2 with.
pub(crate) fn effective(config: &Config, wanted: &Wanted<'_>) -> Config {
    let host = wanted.host.to_lowercase();
    let mut made = config.clone();
    // Both are given on the command line.
    made.database = None;
    made.groups.retain(|group| group.hosts.iter().any(|it| it.name == host));
    for group in &mut made.groups {
        if let Some(key) = group.key.as_mut().filter(|key| !key.text.is_absolute()) {
            key.text = Text::from([wanted.directory.bytes(), b"/", key.text.bytes()].concat());
        }
        if wanted.policy_of(&group.name) != Policy::Auto {
            // Else csync2 would settle before the policy is asked, and let a removed file come back.
            group.auto = Some((Auto::None, group.at.clone()));
        }
        if group.backup_directory.is_none() {
            let path = Text::from([wanted.kept.bytes(), b"/", group.name.bytes()].concat());
            group.backup_directory = Some(word(path, &group.at));
        }
        // Of fewer generations csync2 keeps nothing.
        if group.backup_generations.as_ref().is_some_and(|number| number.value < 2) {
            group.backup_generations = Some(Number { value: 2, at: group.at.clone() });
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
        nossl * *;
        database /elsewhere;
        group g1 { host Telnet ftp; key key_g1; include /etc/xinetd.d; auto bigger; backup-generations 1; }
        group g2 { host ssh apache; key /etc/key_g2; include /etc/apache; }
        group g3 { host telnet ftp ssh apache; key /etc/key_g3; include /etc/hosts; backup-directory /var/backups/g3; }
    ";

    fn made(policy: Policy, groups: &[(&str, Policy)]) -> Config {
        let parsed =
            csync2::config::parse(&Text::from("csync2.cfg"), &mut |_| Ok(CONFIG.as_bytes().to_vec()));
        assert!(parsed.is_accepted(), "{:?}", parsed.problems);
        let groups = groups.iter().map(|(name, policy)| ((*name).to_owned(), *policy)).collect();
        let wanted = Wanted {
            host: &Text::from("TELNET"),
            directory: &Text::from("/srv/etc"),
            policy,
            groups: &groups,
            kept: &Text::from("/var/kept"),
        };
        effective(&parsed.config, &wanted)
    }

    #[test]
    fn groups_without_this_node_are_left_out_and_their_keys_not_wanted() {
        let made = made(Policy::Auto, &[]);
        let names: Vec<String> = made.groups.iter().map(|group| group.name.to_string()).collect();
        assert_eq!(names, ["g1", "g3"]);
        let keys: Vec<String> =
            made.groups.iter().map(|it| it.key.as_ref().unwrap().text.to_string()).collect();
        assert_eq!(keys, ["/srv/etc/key_g1", "/etc/key_g3"]);
        assert_eq!((made.database, made.nossl.len()), (None, 1));
    }

    #[test]
    fn the_policy_of_the_group_counts_before_that_of_all_and_that_before_the_configuration() {
        let autos = |made: Config| -> Vec<Auto> {
            made.groups
                .iter()
                .map(|group| group.auto.as_ref().map_or(Auto::None, |(auto, _)| *auto))
                .collect()
        };
        assert_eq!(autos(made(Policy::Auto, &[])), [Auto::Bigger, Auto::None]);
        assert_eq!(autos(made(Policy::Report, &[])), [Auto::None, Auto::None]);
        assert_eq!(autos(made(Policy::Oldest, &[("g3", Policy::Newest)])), [Auto::None, Auto::None]);
        assert_eq!(autos(made(Policy::Auto, &[("g1", Policy::PromotedWins)])), [Auto::None, Auto::None]);
    }

    #[test]
    fn what_is_overwritten_is_kept_in_every_group() {
        let made = made(Policy::Auto, &[]);
        let kept: Vec<String> =
            made.groups.iter().map(|it| it.backup_directory.as_ref().unwrap().text.to_string()).collect();
        assert_eq!(kept, ["/var/kept/g1", "/var/backups/g3"]);
        assert_eq!(made.groups[0].backup_generations.as_ref().map(|it| it.value), Some(2));
    }

    #[test]
    fn csync2_reads_it_as_it_was_meant() {
        let made = made(Policy::Newest, &[]);
        let again = csync2::config::parse(&Text::from("made"), &mut |_| Ok(made.to_bytes()));
        assert!(again.is_accepted(), "{:?}", again.problems);
        assert_eq!(again.config.groups.len(), 2);
        assert_eq!(again.config.to_bytes(), made.to_bytes());
    }
}
