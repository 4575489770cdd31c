//! What a lab needs from whoever provides its machines: power, cables and a way in. The network namespaces of
//! [`Namespaces`](crate::namespaces::Namespaces) are one provider; virtual machines can be another.

use std::fs::File;
use std::time::Duration;

use anyhow::Result;

use crate::job::{Job, Output};

/// Machines on switched networks, known by their names. All calls are bounded in time and may come from any thread.
pub trait Machines: Send + Sync {
    /// Starts a machine that is off; a machine that is on is left alone.
    ///
    /// # Errors
    /// If the machine does not come up far enough to run commands.
    fn power_on(&self, machine: &str) -> Result<()>;

    /// Cuts a machine's power and returns when nothing of it runs any more and nothing of it reaches a cable. Its disk
    /// remains. A machine that is off is left alone.
    ///
    /// # Errors
    /// If the machine may still be running.
    fn power_off(&self, machine: &str) -> Result<()>;

    /// Whether the machine's power is on.
    fn is_on(&self, machine: &str) -> bool;

    /// Whether the lab as a whole still exists (it does not if somebody outside has ended it).
    fn alive(&self) -> bool;

    /// Pulls (`up == false`) or plugs in the cable between a machine and one network, at the switch.
    ///
    /// # Errors
    /// If the switch refuses.
    fn set_port(&self, machine: &str, network: usize, up: bool) -> Result<()>;

    /// Makes the switch drop (`lost == true`) or pass what `from` sends to `to`, on every network. The cables of both
    /// stay up, and the way back is not touched.
    ///
    /// # Errors
    /// If the switch refuses.
    fn set_loss(&self, from: &str, to: &str, lost: bool) -> Result<()>;

    /// Makes the switch pass everything again.
    ///
    /// # Errors
    /// If the switch refuses.
    fn clear_loss(&self) -> Result<()>;

    /// Starts a shell command in a machine.
    ///
    /// # Errors
    /// If the machine is off.
    fn spawn(&self, machine: &str, command: &str) -> Result<Job>;

    /// Runs a shell command in a machine to its end.
    ///
    /// # Errors
    /// If the machine is off, or the command does not end within `bound`.
    fn exec(&self, machine: &str, command: &str, bound: Duration) -> Result<Output> {
        self.spawn(machine, command)?.wait(bound)
    }

    /// The text of a file on a machine's disk, also when the machine is off; the path has no symbolic link to an
    /// absolute path in it.
    ///
    /// # Errors
    /// If there is no such file.
    fn read_disk(&self, machine: &str, path: &str) -> Result<String>;

    /// Writes a file to a machine's disk, also when the machine is off; the path as in [`Machines::read_disk`].
    ///
    /// # Errors
    /// If it cannot be written.
    fn write_disk(&self, machine: &str, path: &str, text: &str) -> Result<()>;

    /// What the machine has logged to syslog.
    fn syslog(&self, machine: &str) -> String;

    /// The network namespace in which a test opens the client's sockets.
    ///
    /// # Errors
    /// If the client is off.
    fn client_network(&self) -> Result<File>;
}
