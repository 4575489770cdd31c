//! The worker takes up what was changed while it runs: the resource's parameters, and csync2.cfg.

use super::round::DAEMON;
use super::{Worker, settle};
use crate::peers::Peer;
use crate::settings::Settings;
use crate::{configuration, daemon};
use csync2::config::Config;
use csync2::meaning::Meaning;
use ocf::StateFile;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

impl Worker {
    /// Takes up new parameters and a new configuration. One with problems is not taken up: the old one stays, and that is told.
    pub(super) fn refresh(&mut self) {
        let settings = match StateFile::new(self.place.settings()).load() {
            Ok(settings) => settings.unwrap_or_else(|| self.settings.clone()),
            Err(failure) => return self.memory.configuration = Some(failure.reason),
        };
        let has_interface = self.settings.has_interface;
        let settings = Settings { has_interface, ..settings };
        let reloaded = settings != self.settings;
        self.settings = settings;
        let config = match configuration::read(&self.settings) {
            Ok(config) => config,
            Err(problems) => return self.not_taken_up(problems.join("; ")),
        };
        let source = config.to_bytes();
        if reloaded || source != self.source {
            match configuration::prepare(&self.place, &self.settings) {
                Ok((made, warnings)) => {
                    warnings.iter().for_each(|warning| self.log.warning(warning));
                    self.take_up(made, source);
                    self.listen_where_it_says(configuration::has_interface(&self.settings, &config));
                }
                Err(failure) => return self.not_taken_up(failure.reason),
            }
        }
        self.memory.configuration = None;
        // A key may have been replaced.
        self.prints = configuration::fingerprints(&self.settings, &config);
    }

    /// The next round starts the daemon again.
    fn listen_where_it_says(&mut self, has_interface: bool) {
        if has_interface != self.settings.has_interface {
            self.settings.has_interface = has_interface;
            self.announce_suspension();
            let ended = daemon::stop(&self.place, Instant::now() + DAEMON);
            self.daemon_is_up = ended.is_err();
        }
    }

    fn not_taken_up(&mut self, problems: String) {
        let told = format!("csync2.cfg is not taken up, the one from before is used: {problems}");
        if self.memory.configuration.as_ref() != Some(&told) {
            self.log.error(&told);
        }
        self.memory.configuration = Some(told);
    }

    /// csync2 reads the configuration anew for each run and each connection: the daemon goes on.
    fn take_up(&mut self, made: Config, source: Vec<u8>) {
        if !self.source.is_empty() {
            self.log.info("the changed configuration is taken up");
        }
        let mut before = std::mem::take(&mut self.peers);
        let peers: BTreeMap<_, _> = Meaning::new(&made, &self.host)
            .peers()
            .into_iter()
            .map(|peer| (peer.clone(), before.remove(peer).unwrap_or_default()))
            .collect::<BTreeMap<_, Peer>>();
        self.peers = peers;
        self.config = Arc::new(made);
        self.source = source;
        self.policies = settle::policies(&self.settings);
        self.stale = true;
    }
}
