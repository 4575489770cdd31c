//! The actions.

use crate::parameters::Parameters;
use crate::settings::{Place, Settings};
use crate::standing::{self, Standing};
use crate::strays::{self, What};
use crate::{configuration, daemon, deep};
use ocf::{Action, Advertised, Agent, Call, Code, Failure, Notification, Role, StateFile, Status};
use process::{Daemon, Identity, find_tool};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// How long the worker may take to end by itself: a run of csync2 goes with it.
const GRACE: Duration = Duration::from_secs(2);

/// csync2, run and watched.
pub(crate) struct Csync {
    parameters: Parameters,
}

impl Agent for Csync {
    type Parameters = Parameters;
    const NAME: &'static str = "csync";
    const SHORT: &'static str = "Keeps configuration files equal over the cluster with csync2";
    const LONG: &'static str = "
        Runs and watches the csync2 daemon on every node, notices changes of the files that csync2.cfg includes, and has csync2 send them to the
        other nodes at once. Nobody has to run csync2 by hand or from cron.

        A conflict is shown in the node's attributes within seconds. It is settled as conflict_policy says, and the version that loses is
        kept. A directory that is not mounted, or empty, or has lost too many files, is held back instead of emptying the other nodes.

        To be run as a clone; promotable if the promoted node's version is to win conflicts.
    ";
    const ACTIONS: &'static [Advertised] = &[
        Advertised::new(Action::Start, 60),
        Advertised::new(Action::Stop, 60),
        Advertised::new(Action::Promote, 20),
        Advertised::new(Action::Demote, 20),
        Advertised::monitor(30, 10, 0).role(Role::Promoted),
        // Without a role: Pacemaker would take one of Unpromoted for no other instance, and watch nothing of what is not promotable.
        Advertised::monitor(30, 11, 0),
        Advertised::new(Action::Notify, 20),
        Advertised::new(Action::ReloadAgent, 20),
        Advertised::new(Action::ValidateAll, 20),
        Advertised::new(Action::MetaData, 5),
    ];

    fn new(parameters: Parameters, _call: &Call) -> Result<Self, Failure> {
        Ok(Csync { parameters })
    }

    fn validate_here(&self, call: &Call) -> Result<(), Failure> {
        let settings = self.settings(call)?;
        let config = match configuration::read(&settings) {
            Ok(config) => config,
            Err(lines) => return Err(Failure::new(Code::Installed, lines.join("; "))),
        };
        let (mut errors, mut warnings) = configuration::problems(&settings, &config);
        let names = configuration::resolution(&settings, &config, call.deadline.instant());
        errors.extend(names.0);
        warnings.extend(names.1);
        warnings.iter().for_each(|warning| call.log.warning(warning));
        if errors.is_empty() { Ok(()) } else { Err(Failure::new(Code::Installed, errors.join("; "))) }
    }

    fn start(&self, call: &Call) -> Result<(), Failure> {
        let settings = self.settings(call)?;
        let place = place(call);
        configuration::prepare(&place, &settings)?;
        configuration::private_directory(&settings.database)?;
        StateFile::new(place.settings()).save(&settings)?;
        call.state_file().save(&settings.port)?;
        if worker(&place).is_none() {
            // One whose start was broken off would work beside it.
            strays::end(&place, call.resource(), &[What::Worker], call.deadline.instant())?;
            let _may_not_be_there = fs::remove_file(place.standing());
            let _may_not_be_there = fs::remove_file(place.release());
            let _may_not_be_there = fs::remove_file(place.conflicts());
            let begun = Daemon::new(std::env::current_exe()?.to_string_lossy())
                .args(["work", call.resource()])
                .log(place.worker_log())
                .start()?;
            if let Err(failure) = worker_file(&place).save(&begun) {
                begun.stop(Duration::ZERO, call.deadline.instant())?;
                return Err(failure);
            }
        }
        // Its first round starts csync2's daemon, or says why not.
        let ready = call.deadline.wait_for("the worker to have looked at everything once", LOOK, || {
            if worker(&place).is_none() {
                return Err(Failure::generic(format!(
                    "the worker has ended: see {}",
                    place.worker_log().display()
                )));
            }
            let standing = Standing::load(&place)?;
            if let Some(why) = standing.as_ref().and_then(|standing| standing.daemon.clone()) {
                return Err(Failure::generic(why));
            }
            Ok(standing.filter(|_| daemon::running(&place).is_some() || suspended(&place)))
        });
        if let Err(failure) = ready {
            let standing = Standing::load(&place)?;
            stop(call)?;
            let why = standing.filter(|standing| standing.daemon.is_none()).map(|standing| standing.text);
            return Err(why.map_or(failure, Failure::generic));
        }
        Ok(())
    }

    fn stop(&self, call: &Call) -> Result<(), Failure> {
        stop(call)
    }

    fn stop_without_parameters(call: &Call) -> Result<(), Failure> {
        stop(call)
    }

    fn monitor(&self, call: &Call) -> Result<Status, Failure> {
        let place = place(call);
        let started = call.state_file().load::<u16>()?.is_some();
        let (worker, daemon) = (worker(&place), daemon::running(&place));
        let promoted = place.promoted().exists();
        if !started && worker.is_none() && daemon.is_none() {
            let none = strays::strays(&place, call.resource(), &[What::Worker, What::Daemon]).is_empty();
            let broken_off =
                "a worker or a csync2 daemon of this resource runs whose start was broken off: stop it";
            return if none { Ok(Status::Stopped) } else { Err(Failure::generic(broken_off)) };
        }
        let broken = |what: &str| {
            let code = if promoted { Code::FailedPromoted } else { Code::Generic };
            Err(Failure::new(code, what))
        };
        if worker.is_none() {
            return broken("the worker has ended by itself: nothing is sent from here");
        }
        let standing = Standing::load(&place)?.unwrap_or_default();
        if daemon.is_none() && !standing.suspended {
            return broken("the csync2 daemon has ended by itself: nothing is received here");
        }
        if call.check_level >= 20 {
            self.compare_contents(call, &place)?;
        }
        let degraded = standing.degraded.filter(|_| self.parameters.report_degraded);
        Ok(match (promoted, degraded) {
            (true, None) => Status::Promoted,
            (true, Some(why)) => Status::DegradedPromoted(why),
            (false, None) => Status::Running,
            (false, Some(why)) => Status::DegradedRunning(why),
        })
    }

    fn promote(&self, call: &Call) -> Result<(), Failure> {
        let place = place(call);
        fs::write(place.promoted(), "")?;
        nudge(&place)
    }

    fn demote(&self, call: &Call) -> Result<(), Failure> {
        remove(&place(call).promoted())
    }

    fn notify(&self, call: &Call, notification: &Notification) -> Result<(), Failure> {
        if notification.when == ocf::When::Post && worker(&place(call)).is_some() {
            nudge(&place(call))?;
        }
        Ok(())
    }

    fn reload(&self, call: &Call) -> Result<(), Failure> {
        let place = place(call);
        StateFile::new(place.settings()).save(&self.settings(call)?)?;
        nudge(&place)
    }
}

/// Pause between two looks at the worker.
const LOOK: Duration = Duration::from_millis(50);

impl Csync {
    /// Level 20: what csync2 cannot see is found by its contents, and sent.
    fn compare_contents(&self, call: &Call, place: &Place) -> Result<(), Failure> {
        let Some(settings) = StateFile::new(place.settings()).load::<Settings>()? else { return Ok(()) };
        let config = configuration::made(place, &settings)?;
        let changed = deep::check(place, &settings, &config, call.deadline.instant())?;
        if !changed.is_empty() {
            let names: Vec<String> = changed.iter().take(20).map(ToString::to_string).collect();
            call.log.warning(format_args!(
                "{} files were changed within a second and kept their size, which csync2 does not see; they are sent now: {}",
                changed.len(),
                names.join(" ")
            ));
            nudge(place)?;
        }
        Ok(())
    }

    /// What the parameters mean on this node.
    fn settings(&self, call: &Call) -> Result<Settings, Failure> {
        let parameters = &self.parameters;
        if find_tool(&parameters.csync2).is_none() {
            let reason = format!("{} is not on this node: install the package csync2", parameters.csync2);
            return Err(Failure::new(Code::Installed, reason));
        }
        let place = place(call);
        let node = match call.environment.node() {
            Some(node) => node.to_owned(),
            None => standing::cluster(&place).node_name().or_else(|_| configuration::hostname())?,
        };
        let policies = parameters.group_policy.iter().flat_map(|list| list.iter());
        let settings = Settings {
            resource: ocf::file_name(call.resource()),
            host: node.clone(),
            node,
            has_interface: false,
            config: parameters.config.as_ref().map(|name| name.0.clone()),
            directory: parameters.directory.to_path_buf(),
            port: u16::try_from(parameters.port.get()).unwrap_or(u16::MAX),
            database: parameters.database.to_path_buf(),
            check_interval: parameters.check_interval.get(),
            peer_timeout: parameters.peer_timeout.get(),
            policy: parameters.conflict_policy,
            group_policy: policies.map(|it| (it.group.clone(), it.policy)).collect::<BTreeMap<_, _>>(),
            backup_dir: parameters.backup_dir.as_ref().map_or_else(|| place.kept(), |dir| dir.to_path_buf()),
            max_delete: parameters.max_delete.get(),
            max_delete_percent: u8::try_from(parameters.max_delete_percent.get()).unwrap_or(100),
            report_degraded: parameters.report_degraded,
            promotable: call.environment.clone_of().is_some_and(|clone| clone.promotable),
            csync2: parameters.csync2.clone(),
        };
        // What is wrong with it is said by those who need it.
        let Ok(config) = configuration::read(&settings) else { return Ok(settings) };
        let host = configuration::host(parameters.node_name.as_deref(), &settings.node, &config);
        let settings = Settings { host, ..settings };
        Ok(Settings { has_interface: configuration::has_interface(&settings, &config), ..settings })
    }
}

fn place(call: &Call) -> Place {
    Place::of(call.resource())
}

fn worker_file(place: &Place) -> StateFile {
    StateFile::new(place.worker())
}

/// The worker, if it was started and is alive.
fn worker(place: &Place) -> Option<Identity> {
    worker_file(place).load::<Identity>().ok().flatten().filter(Identity::is_alive)
}

/// Whether the worker keeps the daemon down on purpose.
fn suspended(place: &Place) -> bool {
    Standing::load(place).is_ok_and(|standing| standing.is_some_and(|it| it.suspended))
}

/// Has the worker look at once.
fn nudge(place: &Place) -> Result<(), Failure> {
    fs::write(place.nudge(), "").map_err(|error| Failure::generic(error.to_string()))
}

fn remove(file: &PathBuf) -> Result<(), Failure> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::generic(format!("{}: {error}", file.display())))
        }
        _ => Ok(()),
    }
}

/// Ends the worker, which starts runs, before the daemon.
fn stop(call: &Call) -> Result<(), Failure> {
    let place = place(call);
    // A file that is spoilt says nothing; whom it was about is found by other means below.
    if let Ok(Some(worker)) = worker_file(&place).load::<Identity>() {
        worker.stop(GRACE, call.deadline.instant())?;
    }
    worker_file(&place).remove()?;
    daemon::stop(&place, call.deadline.instant())?;
    strays::end(&place, call.resource(), &[What::Worker, What::Daemon], call.deadline.instant())?;
    remove(&place.promoted())?;
    let settings = StateFile::new(place.settings()).load::<Settings>();
    if let Ok(Some(settings)) = settings {
        standing::withdraw(&place, &settings, &call.log, call.deadline.instant());
    }
    call.state_file().remove()
}
