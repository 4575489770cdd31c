//! An agent of the lab, promotable and with nothing to it but its role: it shows that `crates/ocf` and `crates/cluster` carry
//! promotable agents, and is made to fail in every way that the contract speaks of.

use cluster::Cluster;
use ocf::{Action, Advertised, Agent, Call, Code, Failure, Notification, Role, StateFile, Status, Within};
use std::process::ExitCode;
use std::time::Duration;

ocf::parameters! {
    /// What it is made to do.
    struct Parameters {
        /// Promotion score
        score: Within<0, 1000000> = "10" { reloadable: true },
        /// Password that is never shown
        password: Option<Within<0, 9>> { secret: true },
        /// Tool that has to be there
        tool: Option<String>,
        /// How it misbehaves
        ///
        /// One of configured, degraded, failed, panic, hang, lie (a start that does nothing).
        fault: Option<String>,
    }
}

struct Stateful(Parameters);

impl Stateful {
    fn faulty(&self, how: &str) -> bool {
        self.0.fault.as_deref() == Some(how)
    }

    fn become_role(&self, call: &Call, role: Role) -> Result<(), Failure> {
        call.state_file().save(&role.name())?;
        let cluster = Cluster::new(call.deadline.instant()).remembering(call.run_directory());
        // Without a cluster (ocf-tester) there is nobody to tell, and the action's own result stands.
        if let cluster::Written::NoCluster(why) = cluster.promotion_score_set(call.resource(), self.score()) {
            call.log.warning(why);
        }
        Ok(())
    }

    fn score(&self) -> i32 {
        i32::try_from(self.0.score.get()).unwrap_or(i32::MAX)
    }

    fn role(call: &Call) -> Result<Option<Role>, Failure> {
        Ok(call.state_file().load::<String>()?.as_deref().and_then(Role::parse))
    }
}

impl Agent for Stateful {
    type Parameters = Parameters;
    const NAME: &'static str = "stateful";
    const SHORT: &'static str = "Promotable, with nothing to it but its role";
    const LONG: &'static str = "For the tests of the lab.";
    const ACTIONS: &'static [Advertised] = &[
        Advertised::new(Action::Start, 20),
        Advertised::new(Action::Stop, 20),
        Advertised::monitor(20, 10, 0).role(Role::Promoted),
        Advertised::monitor(20, 11, 0).role(Role::Unpromoted),
        Advertised::new(Action::Promote, 20),
        Advertised::new(Action::Demote, 20),
        Advertised::new(Action::Notify, 20),
        Advertised::new(Action::ReloadAgent, 20),
        Advertised::new(Action::ValidateAll, 20),
        Advertised::new(Action::MetaData, 5),
    ];

    fn new(parameters: Parameters, _call: &Call) -> Result<Self, Failure> {
        Ok(Stateful(parameters))
    }

    fn start(&self, call: &Call) -> Result<(), Failure> {
        if self.faulty("panic") {
            #[expect(clippy::panic, reason = "it is what is tested")]
            {
                panic!("a bug of the agent");
            }
        }
        if self.faulty("hang") {
            return call.deadline.wait_for("what never comes", Duration::from_millis(5), || Ok(None));
        }
        if self.faulty("lie") {
            return Ok(());
        }
        self.become_role(call, Role::Unpromoted)
    }

    fn stop(&self, call: &Call) -> Result<(), Failure> {
        if self.faulty("lie") {
            return Ok(());
        }
        Self::stop_without_parameters(call)
    }

    fn stop_without_parameters(call: &Call) -> Result<(), Failure> {
        call.state_file().remove()
    }

    fn monitor(&self, call: &Call) -> Result<Status, Failure> {
        if let Some(tool) = self.0.tool.as_deref().filter(|tool| process::find_tool(tool).is_none()) {
            return Err(Failure::new(Code::Installed, format!("{tool} is not installed")));
        }
        if self.faulty("configured") {
            return Err(Failure::new(Code::Configured, "the peers disagree"));
        }
        Ok(match (Self::role(call)?, self.0.fault.as_deref()) {
            (None, _) => Status::Stopped,
            (Some(Role::Promoted), Some("failed")) => {
                return Err(Failure::new(Code::FailedPromoted, "the quorum is lost"));
            }
            (Some(Role::Promoted), Some("degraded")) => Status::DegradedPromoted("a peer is missing".into()),
            (Some(Role::Unpromoted), Some("degraded")) => Status::DegradedRunning("a peer is missing".into()),
            (Some(Role::Promoted), _) => Status::Promoted,
            (Some(Role::Unpromoted), _) => Status::Running,
        })
    }

    fn promote(&self, call: &Call) -> Result<(), Failure> {
        self.become_role(call, Role::Promoted)
    }

    fn demote(&self, call: &Call) -> Result<(), Failure> {
        self.become_role(call, Role::Unpromoted)
    }

    fn notify(&self, call: &Call, told: &Notification) -> Result<(), Failure> {
        let file =
            StateFile::new(call.run_directory().join(format!("{:?}-{:?}.json", told.when, told.operation)));
        let nodes = |peers: &[ocf::Peer]| peers.iter().map(|peer| peer.node.clone()).collect::<Vec<_>>();
        file.save(&(nodes(&told.promote), nodes(&told.promoted), nodes(&told.active)))
    }

    fn reload(&self, call: &Call) -> Result<(), Failure> {
        Self::role(call)?.map_or(Ok(()), |role| self.become_role(call, role))
    }
}

fn main() -> ExitCode {
    ocf::run::<Stateful>()
}
