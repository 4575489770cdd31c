//! One machine of a lab, to run commands in.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::Lab;
use crate::job::{Job, Output};
use crate::plan;
use crate::view::View;

/// The bound of a command that says no other.
const BOUND: Duration = Duration::from_secs(60);

/// A node, or the client. Commands run as root, in a shell, in all namespaces of the machine.
pub struct Node<'a> {
    lab: &'a Lab,
    name: String,
}

impl<'a> Node<'a> {
    pub(crate) fn new(lab: &'a Lab, name: &str) -> Self {
        Self { lab, name: name.to_owned() }
    }

    pub(crate) fn lab(&self) -> &'a Lab {
        self.lab
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its IPv4 address on a network.
    #[must_use]
    pub fn ipv4(&self, network: usize) -> Ipv4Addr {
        plan::v4(network, plan::host(self.lab.nodes(), &self.name))
    }

    /// Its IPv6 address on a network.
    #[must_use]
    pub fn ipv6(&self, network: usize) -> Ipv6Addr {
        plan::v6(network, plan::host(self.lab.nodes(), &self.name))
    }

    /// The hardware address of its interface on a network.
    #[must_use]
    pub fn mac(&self, network: usize) -> [u8; 6] {
        plan::mac(network, plan::host(self.lab.nodes(), &self.name))
    }

    /// Whether its power is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.lab.machines().is_on(&self.name)
    }

    /// Runs a shell command and returns what it prints.
    ///
    /// # Panics
    /// If it fails or does not end within a minute.
    #[track_caller]
    pub fn run(&self, command: &str) -> String {
        let output = self.sh(command);
        if !output.ok() {
            let Output { code, stdout, stderr } = output;
            self.lab.fail(&format!("{}# {command}\nexited with {code}\n{stdout}{stderr}", self.name));
        }
        output.stdout
    }

    /// Runs `pcs` with these arguments and returns what it prints.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn pcs(&self, arguments: &str) -> String {
        self.run(&format!("pcs {arguments}"))
    }

    /// Runs a shell command that may fail.
    ///
    /// # Panics
    /// If the machine is off, or the command does not end within a minute.
    #[track_caller]
    pub fn sh(&self, command: &str) -> Output {
        self.sh_within(command, BOUND)
    }

    /// Runs a shell command that may fail, with a bound of its own.
    ///
    /// # Panics
    /// If the machine is off, or the command does not end within the bound.
    #[track_caller]
    pub fn sh_within(&self, command: &str, bound: Duration) -> Output {
        self.lab.must("a command", self.lab.machines().exec(&self.name, command, bound))
    }

    /// Starts a shell command in the background. It ends when what is returned is dropped.
    ///
    /// # Panics
    /// If the machine is off.
    #[track_caller]
    pub fn spawn(&self, command: &str) -> Job {
        self.lab.must("a command", self.lab.machines().spawn(&self.name, command))
    }

    /// The text of a file on its disk, on or off. What is in `/run` or `/tmp` is not on the disk.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        self.lab.machines().read_disk(&self.name, path).ok()
    }

    /// Writes a file to its disk, on or off.
    ///
    /// # Panics
    /// If it cannot be written.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        self.lab.must("a file", self.lab.machines().write_disk(&self.name, path, text));
    }

    /// What it has logged to syslog.
    #[must_use]
    pub fn syslog(&self) -> String {
        self.lab.machines().syslog(&self.name)
    }

    /// The cluster as this node sees it, or `None` if no cluster answers here.
    #[must_use]
    pub fn view(&self) -> Option<View> {
        let bound = Duration::from_secs(10);
        let output = self.lab.machines().exec(&self.name, "crm_mon -1 --output-as=xml", bound).ok()?;
        if output.ok() { View::parse(&output.stdout).ok() } else { None }
    }

    /// An attribute of this node, transient or lasting.
    #[must_use]
    #[track_caller]
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.attribute_of(&self.name, name)
    }

    /// An attribute of another node, as known to this one.
    #[track_caller]
    pub(crate) fn attribute_of(&self, node: &str, name: &str) -> Option<String> {
        let transient = self.sh(&format!("attrd_updater -Q -n '{name}' -N '{node}'"));
        if transient.ok() {
            // name="lag" host="n1" value="3"
            let value = transient.stdout.split("value=\"").nth(1)?.split('"').next()?;
            return Some(value.to_owned());
        }
        let lasting = self.sh(&format!("crm_attribute -N '{node}' -n '{name}' -G -q"));
        lasting.ok().then(|| lasting.stdout.trim().to_owned())
    }
}
