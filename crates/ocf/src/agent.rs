//! What an agent is ([`Agent`]) and what it is told about a call ([`Call`]).

use crate::environment::Environment;
use crate::state::{LASTING_DIRECTORY, RUN_DIRECTORY, StateFile, file_name};
use crate::{
    Action, Advertised, Code, Deadline, Description, Failure, Log, Notification, Parameters, Status,
};
use std::path::PathBuf;
use std::time::Duration;

/// A resource agent. [`run()`](crate::run()) calls these from `main`; it alone chooses the exit code and writes.
///
/// Each action is: observe, decide, act, observe again. A method that returns `Ok` says that the state was seen.
pub trait Agent: Sized {
    /// Its parameters, made by [`parameters!`](crate::parameters!).
    type Parameters: Parameters;
    /// Its name, as in `ocf:bascule:NAME`.
    const NAME: &'static str;
    /// One line on what it does, without a full stop.
    const SHORT: &'static str;
    /// The whole story; empty lines separate paragraphs.
    const LONG: &'static str;
    /// The actions that it knows, as it advertises them; any other is answered with 3.
    const ACTIONS: &'static [Advertised];

    /// Judges the parameters together, without a look at this node (`validate-all`, level 0).
    ///
    /// # Errors
    /// Parameters that cannot work on any node, with [`Code::Configured`].
    fn new(parameters: Self::Parameters, call: &Call) -> Result<Self, Failure>;

    /// Judges this node too (`validate-all`, level 10).
    ///
    /// # Errors
    /// What is missing here, usually with [`Code::Installed`] or [`Code::Args`].
    fn validate_here(&self, _call: &Call) -> Result<(), Failure> {
        Ok(())
    }

    /// Brings the resource up, or finds it up already. Afterwards `run` asks [`Agent::monitor`] and fails if that
    /// does not see it running.
    ///
    /// # Errors
    /// It is not up.
    fn start(&self, call: &Call) -> Result<(), Failure>;

    /// Ends the resource surely, or finds nothing to end.
    ///
    /// # Errors
    /// It is known to be active still: this node will be fenced for it.
    fn stop(&self, call: &Call) -> Result<(), Failure>;

    /// Ends what the state file says was started, when the parameters cannot be read.
    ///
    /// # Errors
    /// It is known to be active still.
    fn stop_without_parameters(call: &Call) -> Result<(), Failure>;

    /// Tells the state. `run` asks this also after start, promote, demote and stop, with those actions in `call`.
    ///
    /// # Errors
    /// It runs but is broken, or cannot be judged. The last with [`Code::Installed`] or [`Code::Args`]: after a stop
    /// those mean "not known to be active", any other failure that something is active still.
    fn monitor(&self, call: &Call) -> Result<Status, Failure>;

    /// Takes the promoted role.
    ///
    /// # Errors
    /// The role was not taken.
    fn promote(&self, _call: &Call) -> Result<(), Failure> {
        Err(unimplemented_action(Action::Promote))
    }

    /// Gives the promoted role up.
    ///
    /// # Errors
    /// The role is still held.
    fn demote(&self, _call: &Call) -> Result<(), Failure> {
        Err(unimplemented_action(Action::Demote))
    }

    /// Hears of what happens to the clone. Pacemaker ignores the result.
    ///
    /// # Errors
    /// For the log.
    fn notify(&self, _call: &Call, _notification: &Notification) -> Result<(), Failure> {
        Err(unimplemented_action(Action::Notify))
    }

    /// Makes changed reloadable parameters take effect.
    ///
    /// # Errors
    /// They did not.
    fn reload(&self, _call: &Call) -> Result<(), Failure> {
        Err(unimplemented_action(Action::ReloadAgent))
    }
}

fn unimplemented_action(action: Action) -> Failure {
    Failure::new(Code::Unimplemented, format!("{action} is not an action of this agent"))
}

/// The documents' view of an agent.
pub fn describe<A: Agent>() -> Description {
    Description {
        name: A::NAME,
        version: env!("CARGO_PKG_VERSION"),
        short: A::SHORT,
        long: A::LONG,
        parameters: A::Parameters::TABLE,
        actions: A::ACTIONS,
    }
}

/// One call of an agent: what is asked, how long it may take, who asks, and where to log.
#[derive(Debug)]
pub struct Call {
    /// The action.
    pub action: Action,
    /// The name of the resource, with a clone instance number where Pacemaker gives one.
    pub instance: String,
    /// Interval of the operation: `None` where the caller set none, zero for a probe.
    pub interval: Option<Duration>,
    /// `OCF_CHECK_LEVEL`: 0 is cheap, 10 looks at the node or end to end, 20 goes to the bottom.
    pub check_level: u32,
    /// When the call has to be over.
    pub deadline: Deadline,
    /// Everything else that the caller set.
    pub environment: Environment,
    /// Where log lines go.
    pub log: Log,
    pub(crate) agent: &'static str,
}

impl Call {
    /// Whether this is a probe: does the resource run here, of which Pacemaker did not start it (yet)?
    pub fn is_probe(&self) -> bool {
        self.action == Action::Monitor && self.interval == Some(Duration::ZERO)
    }

    /// Whether this is a monitor that Pacemaker repeats: the resource is meant to run here.
    pub fn is_recurring(&self) -> bool {
        self.action == Action::Monitor && self.interval.is_some_and(|interval| !interval.is_zero())
    }

    /// The resource's name without a clone instance number: its identity in the CIB.
    pub fn resource(&self) -> &str {
        match self.instance.rsplit_once(':') {
            Some((resource, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => {
                resource
            }
            _ => &self.instance,
        }
    }

    /// The directory of this agent's volatile state.
    pub fn run_directory(&self) -> PathBuf {
        PathBuf::from(RUN_DIRECTORY).join(self.agent)
    }

    /// A file of this resource in that directory.
    pub fn run_file(&self, extension: &str) -> PathBuf {
        self.run_directory().join(format!("{}.{extension}", file_name(&self.instance)))
    }

    /// A file of this resource that outlives a reboot.
    pub fn lasting_file(&self, extension: &str) -> PathBuf {
        let name = format!("{}.{extension}", file_name(&self.instance));
        PathBuf::from(LASTING_DIRECTORY).join(self.agent).join(name)
    }

    /// The state file of this resource.
    pub fn state_file(&self) -> StateFile {
        StateFile::new(self.run_file("json"))
    }
}
