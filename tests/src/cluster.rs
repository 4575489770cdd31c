//! A cluster of machines, and what can happen to it, one line for each event.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};

use crate::client::Client;
use crate::machines::Machines;
use crate::namespaces::Namespaces;
use crate::node::Node;
use crate::options::Options;
use crate::plan::{self, CLIENT};
use crate::power::{Fenced, PowerControl};
use crate::turn::Turn;
use crate::view::View;

/// How often [`Lab::wait`] looks.
const POLL: Duration = Duration::from_millis(50);
/// The longest that an orderly shutdown of a node may take before its power is cut.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// A cluster that runs, a client outside it, and the hands that cut power and cables. Dropping it ends everything.
pub struct Lab {
    // Dropped in this order.
    power: PowerControl,
    machines: Arc<dyn Machines>,
    options: Options,
    turn: Mutex<Option<Arc<Turn>>>,
}

impl Lab {
    /// Starts a cluster and waits until all its nodes are online.
    ///
    /// # Errors
    /// If the machines cannot be made, or the cluster is not up within [`Options::start_within`]; its logs are in the error.
    pub fn start(options: Options) -> Result<Self> {
        ensure!((1..=9).contains(&options.nodes.len()), "a lab has one to nine nodes");
        ensure!(options.networks <= 8, "a lab has at most eight networks");
        if options.agents {
            // Before the turn is taken: others may run meanwhile.
            let _ = crate::agents_dir();
        }
        let turn = options.turn.clone().map_or_else(Turn::wait, Ok)?;
        let namespaces = Arc::new(Namespaces::new(&options)?);
        let machines: Arc<dyn Machines> = namespaces.clone();
        let requests = namespaces.power_requests();
        drop(namespaces);
        let power = PowerControl::start(Arc::clone(&machines), requests, options.power_cycle)?;
        let lab = Self { power, machines, options, turn: Mutex::new(Some(turn)) };
        lab.power_on_all()?;
        let started = Instant::now();
        while !lab.all_online() {
            if started.elapsed() > lab.options.start_within {
                bail!("the cluster is not up after {:?}\n{}", lab.options.start_within, lab.logs());
            }
            sleep(POLL);
        }
        Ok(lab)
    }

    fn power_on_all(&self) -> Result<()> {
        let names = self.options.nodes.iter().map(String::as_str).chain([CLIENT]);
        scope(|scope| {
            let starts: Vec<_> =
                names.map(|name| scope.spawn(move || self.machines.power_on(name))).collect();
            starts
                .into_iter()
                .try_for_each(|start| start.join().unwrap_or_else(|_| Err(anyhow!("a start panicked"))))
        })
    }

    /// The names of the nodes.
    #[must_use]
    pub fn nodes(&self) -> &[String] {
        &self.options.nodes
    }

    /// The nodes whose power is on.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        self.nodes().iter().filter(|node| self.machines.is_on(node)).cloned().collect()
    }

    /// The node called `name`.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    #[track_caller]
    pub fn node(&self, name: &str) -> Node<'_> {
        assert!(self.nodes().iter().any(|node| node == name), "the lab has no node {name}");
        Node::new(self, name)
    }

    /// The machine outside the cluster, on the same networks.
    #[must_use]
    pub fn client(&self) -> Client<'_> {
        Client::new(Node::new(self, CLIENT))
    }

    /// The provider of the machines: for what has no call here.
    #[must_use]
    pub fn machines(&self) -> &dyn Machines {
        self.machines.as_ref()
    }

    /// Runs `pcs` with these arguments on the first node that is on, and returns what it prints.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn pcs(&self, arguments: &str) -> String {
        self.any_node().pcs(arguments)
    }

    /// Runs a shell command on the first node that is on, and returns what it prints.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn run(&self, command: &str) -> String {
        self.any_node().run(command)
    }

    #[track_caller]
    fn any_node(&self) -> Node<'_> {
        match self.running().first() {
            Some(node) => Node::new(self, node),
            None => panic!("no node is on"),
        }
    }

    /// Power loss: the node is gone at once, its disk stays.
    ///
    /// # Panics
    /// If it cannot be killed.
    #[track_caller]
    pub fn crash(&self, node: &str) {
        self.must(&format!("crash {node}"), self.machines.power_off(node));
    }

    /// Switches a node's power on. It joins the cluster when it is ready: see [`Lab::wait_online`].
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn boot(&self, node: &str) {
        self.must(&format!("boot {node}"), self.machines.power_on(node));
    }

    /// Shuts a node down in order, Pacemaker first (its resources move away), and boots it.
    ///
    /// # Panics
    /// If it does not start again.
    #[track_caller]
    pub fn reboot(&self, node: &str) {
        self.shutdown(node);
        self.boot(node);
    }

    /// Shuts a node down in order, Pacemaker first (its resources move away). Like a machine whose shutdown hangs it is
    /// switched off after a minute.
    ///
    /// # Panics
    /// If it cannot be switched off.
    #[track_caller]
    pub fn shutdown(&self, node: &str) {
        let stop = "for daemon in pacemakerd corosync; do pid=$(cat /run/bascule-lab/$daemon.pid) && kill $pid; \
                    while kill -0 $pid 2>/dev/null; do sleep 0.05; done; done";
        let _ = self.machines.exec(node, stop, SHUTDOWN);
        self.crash(node);
    }

    /// Pulls all cables of a machine (a node, or `client`) at the switch.
    ///
    /// # Panics
    /// If the switch refuses.
    #[track_caller]
    pub fn cut(&self, machine: &str) {
        for network in 0..self.options.networks {
            self.cut_network(machine, network);
        }
    }

    /// Pulls the cable between a machine and one network.
    ///
    /// # Panics
    /// If the switch refuses.
    #[track_caller]
    pub fn cut_network(&self, machine: &str, network: usize) {
        self.must(&format!("cut {machine}"), self.machines.set_port(machine, network, false));
    }

    /// Undoes [`Lab::cut`].
    ///
    /// # Panics
    /// If the switch refuses.
    #[track_caller]
    pub fn heal(&self, machine: &str) {
        for network in 0..self.options.networks {
            self.heal_network(machine, network);
        }
    }

    /// Undoes [`Lab::cut_network`].
    ///
    /// # Panics
    /// If the switch refuses.
    #[track_caller]
    pub fn heal_network(&self, machine: &str, network: usize) {
        self.must(&format!("heal {machine}"), self.machines.set_port(machine, network, true));
    }

    /// Splits the network: the groups do not hear each other any more, though every cable is in. A machine in no group
    /// (so also the client, unless it is named) hears all.
    ///
    /// # Panics
    /// If the switch refuses.
    #[track_caller]
    pub fn partition(&self, groups: &[&[&str]]) {
        for (place, group) in groups.iter().enumerate() {
            for (other_place, other) in groups.iter().enumerate() {
                if place != other_place {
                    for from in *group {
                        for to in *other {
                            self.lose(from, to);
                        }
                    }
                }
            }
        }
    }

    /// One-way loss: nothing that `from` sends reaches `to`. The way back works.
    ///
    /// # Panics
    /// If the switch refuses.
    #[track_caller]
    pub fn lose(&self, from: &str, to: &str) {
        self.must(&format!("lose {from} to {to}"), self.machines.set_loss(from, to, true));
    }

    /// Undoes [`Lab::lose`].
    ///
    /// # Panics
    /// If the switch refuses.
    #[track_caller]
    pub fn restore(&self, from: &str, to: &str) {
        self.must(&format!("restore {from} to {to}"), self.machines.set_loss(from, to, false));
    }

    /// Plugs in every cable, and ends every partition and loss.
    ///
    /// # Panics
    /// If the switch refuses.
    #[track_caller]
    pub fn heal_all(&self) {
        self.must("heal all", self.machines.clear_loss());
        for machine in self.nodes().iter().map(String::as_str).chain([CLIENT]) {
            self.heal(machine);
        }
    }

    /// Whom the cluster has fenced, in order.
    #[must_use]
    pub fn fenced(&self) -> Vec<Fenced> {
        self.power.fenced()
    }

    /// Waits until `happened` says yes, and returns how long that took.
    ///
    /// # Panics
    /// If it does not within `bound`: with `what`, and the cluster's logs of that moment.
    #[track_caller]
    pub fn wait(&self, what: &str, bound: Duration, mut happened: impl FnMut(&Self) -> bool) -> Duration {
        let started = Instant::now();
        loop {
            if happened(self) {
                return started.elapsed();
            }
            if started.elapsed() >= bound {
                self.fail(&format!("not within {bound:?}: {what}"));
            }
            sleep(POLL);
        }
    }

    /// Waits until all nodes that are on are online in one quorate cluster, and no other is.
    ///
    /// # Panics
    /// If they are not within `bound`.
    #[track_caller]
    pub fn wait_online(&self, bound: Duration) -> Duration {
        self.wait("the nodes that are on are online, the others offline", bound, Self::all_online)
    }

    fn all_online(&self) -> bool {
        let running = self.running();
        let online =
            |view: &View, node: &str| view.node(node).is_some_and(|node| node.online && !node.pending);
        !running.is_empty()
            && running.iter().all(|name| {
                Node::new(self, name).view().is_some_and(|view| {
                    view.quorum
                        && self.nodes().iter().all(|node| online(&view, node) == running.contains(node))
                })
            })
    }

    /// Waits until the cluster has nothing left to do.
    ///
    /// # Panics
    /// If it is still busy after `bound`.
    #[track_caller]
    pub fn settle(&self, bound: Duration) {
        // `crm_resource --wait` asks the same, but takes two seconds even where there is nothing to wait for.
        let plan =
            "[ \"$(crmadmin -qS \"$(crmadmin -qD)\")\" = S_IDLE ] && crm_simulate --live-check --simulate";
        self.wait("the cluster has nothing left to do", bound, |lab| {
            let node = lab.running().into_iter().next().unwrap_or_default();
            lab.machines.exec(&node, plan, bound).is_ok_and(|plan| {
                let actions = plan.stdout.split("Executing Cluster Transition:").nth(1);
                plan.ok()
                    && actions.is_some_and(|text| text.trim_start().starts_with("Revised Cluster Status:"))
            })
        });
    }

    /// The cluster as seen from the part that has quorum, or `None` if no part has.
    #[must_use]
    pub fn view(&self) -> Option<View> {
        self.running().iter().filter_map(|node| Node::new(self, node).view()).find(|view| view.quorum)
    }

    /// Where a resource runs, as seen from the part that has quorum.
    #[must_use]
    pub fn resource_location(&self, resource: &str) -> Option<String> {
        let view = self.view()?;
        view.instances(resource).flat_map(|instance| instance.nodes.clone()).next()
    }

    /// Where a promotable resource is promoted, as seen from the part that has quorum.
    #[must_use]
    pub fn promoted(&self, resource: &str) -> Vec<String> {
        self.view().map(|view| view.in_role(resource, "Promoted")).unwrap_or_default()
    }

    /// A node attribute, transient or lasting.
    ///
    /// # Panics
    /// If no node is on.
    #[must_use]
    #[track_caller]
    pub fn node_attribute(&self, node: &str, name: &str) -> Option<String> {
        self.any_node().attribute_of(node, name)
    }

    /// What the cluster looks like and has logged, of all nodes: what a failing test prints.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for name in self.nodes() {
            let on = self.machines.is_on(name);
            let _ = writeln!(text, "──── {name} ({}) ────", if on { "on" } else { "off" });
            if on {
                let status = self.machines.exec(name, "crm_mon -1 -A -f -n 2>&1", Duration::from_secs(10));
                text += &section("crm_mon", &status.map(|output| output.stdout).unwrap_or_default(), 60);
            }
            for (file, lines) in [
                ("/var/log/pacemaker/pacemaker.log", 60),
                ("/var/log/corosync/corosync.log", 20),
                ("/var/log/console.log", 10),
            ] {
                let log = self.machines.read_disk(name, file).unwrap_or_default();
                // Of every change to the CIB, Pacemaker logs each attribute.
                let told: Vec<&str> = log.lines().filter(|line| !line.contains("(cib_")).collect();
                text += &section(file, &told.join("\n"), lines);
            }
            text += &section("syslog", &self.machines.syslog(name), 30);
        }
        text
    }

    /// Lets other labs start from now on though this one goes on: for one that a person plays with.
    pub fn let_others_start(&self) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn turn(&self) -> Option<Arc<Turn>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The machine that has a hardware address.
    #[must_use]
    pub fn owner_of_mac(&self, mac: [u8; 6]) -> Option<String> {
        plan::owner(self.nodes(), mac)
    }

    /// Fails the test, with the cluster's logs.
    ///
    /// # Panics
    /// Always.
    #[track_caller]
    pub fn fail(&self, reason: &str) -> ! {
        panic!("{reason}\n{}", self.logs());
    }

    #[track_caller]
    pub(crate) fn must<T>(&self, what: &str, result: Result<T>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => self.fail(&format!("{what}: {error:#}")),
        }
    }
}

/// The last lines of a log below its name.
fn section(name: &str, text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let tail = all.get(all.len().saturating_sub(lines)..).unwrap_or_default();
    if tail.is_empty() { String::new() } else { format!("── {name}\n{}\n", tail.join("\n")) }
}
