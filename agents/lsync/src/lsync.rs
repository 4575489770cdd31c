//! The actions. A mirror: see [`replica`] and [`leader`] for its two roles; the plain resource: [`plain`].

use crate::config::{self, Nodes, Work};
use crate::parameters::Parameters;
use crate::settings::{Place, Settings};
use crate::{leader, neighbours, plain, replica, standing};
use ocf::{Action, Advertised, Agent, Call, Code, Failure, Notification, Role, StateFile, Status};
use process::find_tool;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Directories mirrored to every node.
pub(crate) struct Lsync {
    parameters: Parameters,
    work: Work,
}

/// What the state file holds while a mirror is started here.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    /// The tree.
    source: PathBuf,
    /// The port at which it is received.
    port: u16,
}

impl Agent for Lsync {
    type Parameters = Parameters;
    const NAME: &'static str = "lsync";
    const SHORT: &'static str = "Mirrors a directory to every node with lsyncd and rsync";
    const LONG: &'static str = "
        Keeps a directory the same on every node of the cluster: the promoted node is its source, where lsyncd notices
        changes and rsync sends them to the rsync daemons of all other nodes. Configuration of lsyncd and rsync, secrets and
        daemons are made and run by the agent; it needs the packages lsyncd and rsync.

        A failover never overwrites newer data. Every promotion opens a new generation, which the cluster keeps. Only a node
        that has everything of the latest one is promoted; a replica takes data only from the source of the latest one that it
        knows, so that an old source that is still alive is shut out without fencing; and what a returning node holds and the
        source does not is set aside on that node before it is replaced.

        With config instead of source it runs lsyncd with a file of your own, and only supervises it.
    ";
    const ACTIONS: &'static [Advertised] = &[
        Advertised::new(Action::Start, 60),
        Advertised::new(Action::Stop, 60),
        Advertised::new(Action::Promote, 60),
        Advertised::new(Action::Demote, 120),
        Advertised::monitor(30, 10, 0).role(Role::Promoted),
        // Without a role: Pacemaker would take one of Unpromoted for no other instance, and watch nothing of what is not promotable.
        Advertised::monitor(30, 11, 0),
        Advertised::new(Action::Notify, 30),
        Advertised::new(Action::ReloadAgent, 20),
        Advertised::new(Action::ValidateAll, 20),
        Advertised::new(Action::MetaData, 5),
    ];

    fn new(parameters: Parameters, call: &Call) -> Result<Self, Failure> {
        match config::work(&parameters, call.environment.clone_of().as_ref()) {
            Ok(work) => Ok(Lsync { parameters, work }),
            Err(faults) => Err(Failure::new(Code::Configured, faults.join("; "))),
        }
    }

    fn validate_here(&self, call: &Call) -> Result<(), Failure> {
        match &self.work {
            Work::Supervise(config) => plain::validate(config, &self.parameters.lsyncd),
            Work::Mirror(source) => self.fit(call, source),
        }
    }

    fn start(&self, call: &Call) -> Result<(), Failure> {
        let source = match &self.work {
            Work::Supervise(config) => return plain::start(call, config, &self.parameters.lsyncd),
            Work::Mirror(source) => source,
        };
        let clone = call.environment.clone_of();
        if clone.is_none() {
            let expected = "source= needs a promotable clone: pcs resource create NAME ocf:bascule:lsync source=… promotable notify=true promoted-max=1";
            return Err(Failure::new(Code::Configured, expected));
        }
        if clone.is_some_and(|clone| !clone.notify) {
            call.log.warning(
                "the clone has notify=false: nodes then learn of each other only when they are monitored",
            );
        }
        self.fit(call, source)?;
        let place = place(call);
        let settings = self.settle(call, source, &place)?;
        replica::start(call, &place, &settings)?;
        call.state_file().save(&Started { source: settings.source, port: settings.port })
    }

    fn stop(&self, call: &Call) -> Result<(), Failure> {
        stop(call)
    }

    fn stop_without_parameters(call: &Call) -> Result<(), Failure> {
        stop(call)
    }

    fn monitor(&self, call: &Call) -> Result<Status, Failure> {
        if let Work::Supervise(_) = self.work {
            return plain::monitor(call);
        }
        let place = place(call);
        if call.state_file().load::<Started>()?.is_none() {
            // Started by no action of this boot: whatever a lost state file left is ended by stop.
            return replica::remains(&place);
        }
        let settings = settings(&place)?;
        match crate::source::running(&place)? {
            Some(running) => leader::monitor(call, &place, &settings, running),
            None => replica::monitor(call, &place, &settings),
        }
    }

    fn promote(&self, call: &Call) -> Result<(), Failure> {
        let source = self.mirrored()?;
        self.fit(call, source)?;
        let place = place(call);
        // Nodes may have come and gone since the start.
        let settings = self.settle(call, source, &place)?;
        leader::promote(call, &place, &settings)
    }

    fn demote(&self, call: &Call) -> Result<(), Failure> {
        self.mirrored()?;
        let place = place(call);
        if call.state_file().load::<Started>()?.is_none() {
            return Err(Failure::new(Code::NotRunning, "it does not run here"));
        }
        leader::demote(call, &place, &settings(&place)?)
    }

    fn notify(&self, call: &Call, notification: &Notification) -> Result<(), Failure> {
        self.mirrored()?;
        let place = place(call);
        if call.state_file().load::<Started>()?.is_none() {
            return Ok(());
        }
        let mut settings = settings(&place)?;
        let unknown = |node: &String| *node != settings.node && settings.peer(node).is_none();
        if notification.start.iter().any(|started| unknown(&started.node)) {
            // The cluster has grown.
            settings = self.settle(call, self.mirrored()?, &place)?;
        }
        match crate::source::running(&place)? {
            Some(running) => leader::notify(call, &place, &settings, &running, notification),
            None => replica::notify(call, &place, &settings, notification),
        }
    }

    fn reload(&self, call: &Call) -> Result<(), Failure> {
        let source = self.mirrored()?;
        self.settle(call, source, &place(call)).map(drop)
    }
}

impl Lsync {
    fn mirrored(&self) -> Result<&Path, Failure> {
        match &self.work {
            Work::Mirror(source) => Ok(source),
            Work::Supervise(_) => {
                let plain = "a resource with config= has no roles: it is plain, not a promotable clone";
                Err(Failure::new(Code::Unimplemented, plain))
            }
        }
    }

    /// Whether this node has what a mirror needs.
    fn fit(&self, call: &Call, source: &Path) -> Result<(), Failure> {
        let installed = |reason: String| Err(Failure::new(Code::Installed, reason));
        for tool in [&self.parameters.rsync, &self.parameters.lsyncd] {
            if find_tool(tool).is_none() {
                return installed(format!(
                    "{tool} is not on this node: install the packages lsyncd and rsync"
                ));
            }
        }
        match std::fs::symlink_metadata(source) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return installed(format!("source={} is not a directory", source.display())),
            Err(error) => {
                return installed(format!("source={}: {error}; make the directory", source.display()));
            }
        }
        neighbours::none_overlaps(call, source, self.parameters.exclude.as_deref().unwrap_or_default())?;
        crate::keys::Key::read(&self.parameters.secret_file).map(drop)
    }

    /// Writes down what the parameters mean on this node now, for lsyncd's pushes and the daemon's hook.
    fn settle(&self, call: &Call, source: &Path, place: &Place) -> Result<Settings, Failure> {
        let known = settings(place).ok();
        let cluster = standing::cluster(place, call.deadline.instant());
        let me = match call.environment.node() {
            Some(name) => name.to_owned(),
            None => match (cluster.node_name(), &known) {
                (Ok(name), _) => name,
                (Err(_), Some(known)) => known.node.clone(),
                (Err(reason), None) => {
                    call.log.warning(format_args!("no cluster tells this node's name: {reason}"));
                    std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned()
                }
            },
        };
        let names = if self.parameters.peers.is_some() {
            Vec::new()
        } else {
            match cluster.status() {
                Ok(status) => status
                    .members
                    .into_iter()
                    .filter(|member| !member.remote)
                    .map(|member| member.name)
                    .collect(),
                Err(reason) => {
                    call.log.warning(format_args!("the cluster's nodes are not known: {reason}"));
                    known.iter().flat_map(|known| &known.peers).map(|peer| peer.name.clone()).collect()
                }
            }
        };
        let corosync = std::fs::read_to_string("/etc/corosync/corosync.conf").unwrap_or_default();
        let nodes = Nodes { me, names, addresses: config::corosync_addresses(&corosync) };
        let agent = std::env::current_exe()?;
        let settings = config::settings(&self.parameters, source, call.resource(), &nodes, &agent);
        StateFile::new(place.settings()).save(&settings)?;
        Ok(settings)
    }
}

/// Where everything of this resource is.
pub(crate) fn place(call: &Call) -> Place {
    Place::of(&ocf::file_name(call.resource()))
}

/// What the last start, promotion or reload wrote down.
///
/// # Errors
/// It cannot be read, or there is none.
pub(crate) fn settings(place: &Place) -> Result<Settings, Failure> {
    let path: PathBuf = place.settings();
    StateFile::new(path.clone())
        .load()?
        .ok_or_else(|| Failure::generic(format!("{} is gone: stop and start the resource", path.display())))
}

/// Ends whatever runs of this resource, in either form, by what was written down when it was started.
fn stop(call: &Call) -> Result<(), Failure> {
    let place = place(call);
    if call.state_file().load::<plain::Supervised>().is_ok_and(|it| it.is_some()) {
        return plain::stop(call);
    }
    plain::end_strays(call)?;
    crate::source::stop(&place, call.deadline.instant())?;
    if let Err(failure) = crate::source::role_ended(&place) {
        // Then nothing is received here until the next start: no reason to be fenced.
        call.log.warning(failure.reason);
    }
    let started = call.state_file().load::<Started>();
    let known = settings(&place).or_else(|failure| match started {
        Ok(Some(it)) => Ok(Settings::to_stop(&ocf::file_name(call.resource()), &it.source, it.port)),
        _ => Err(failure),
    });
    match known {
        Ok(settings) => replica::stop(call, &place, &settings)?,
        Err(failure) => call.log.info(format_args!("nothing is known of a start here: {}", failure.reason)),
    }
    call.state_file().remove()
}
