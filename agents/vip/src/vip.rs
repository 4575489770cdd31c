//! The actions: each observes, asks the plan, acts, and observes again.

use crate::announcing;
use crate::change::Change;
use crate::config::Config;
use crate::conflict::{Prober, Question, Verdict};
use crate::facts::Facts;
use crate::frame::Mac;
use crate::node::{self, Node};
use crate::parameters::Parameters;
use crate::plan;
use crate::promote::PromoteSecondaries;
use crate::record::Record;
use crate::source;
use crate::values::LinkCheck;
use netlink::Link;
use ocf::{Action, Advertised, Agent, Call, Code, Failure, Status};
use std::net::IpAddr;
use std::time::Duration;

/// Virtual IP addresses.
pub(crate) struct Vip {
    config: Config,
}

impl Agent for Vip {
    type Parameters = Parameters;
    const NAME: &'static str = "vip";
    const SHORT: &'static str = "Manages virtual IPv4 and IPv6 addresses";
    const LONG: &'static str = "
        Keeps one or more virtual IP addresses on one node of the cluster: adds them to an interface, announces them to
        the network (gratuitous ARP, unsolicited neighbour advertisement), can make them the source of outgoing
        connections, and takes them away again.

        It is a drop-in replacement for ocf:heartbeat:IPaddr2 with the same parameters, and does the work of IPsrcaddr,
        IPv6addr and SendArp. It forks nothing to monitor an address, whatever the number of addresses on the node; it
        finds an address by itself, never by prefix or text, so that after a stop the address is on no link of the
        node; and what start changed, stop undoes exactly.
    ";
    const ACTIONS: &'static [Advertised] = &[
        Advertised::new(Action::Start, 20),
        Advertised::new(Action::Stop, 20),
        Advertised::monitor(20, 10, 0),
        Advertised::new(Action::ReloadAgent, 20),
        Advertised::new(Action::ValidateAll, 20),
        Advertised::new(Action::MetaData, 5),
    ];

    fn new(parameters: Parameters, call: &Call) -> Result<Self, Failure> {
        match Config::new(parameters, call.environment.clone_of().as_ref()) {
            Ok(config) => Ok(Vip { config }),
            Err(faults) => Err(Failure::new(Code::Configured, faults.join("; "))),
        }
    }

    fn validate_here(&self, call: &Call) -> Result<(), Failure> {
        let mut node = self.open(call)?.ok_or_else(|| self.no_namespace())?;
        let facts = node.facts(Some(&self.config), None)?;
        let link = node.choose_link(&self.config, None, &facts)?;
        plan::placed(&self.config, None, &link, &facts)?;
        source::wanted_routes(&self.config, link.index, &facts)
            .map_err(|what| Failure::new(Code::Args, what))?;
        Ok(())
    }

    fn start(&self, call: &Call) -> Result<(), Failure> {
        let mut node = self.open(call)?.ok_or_else(|| self.no_namespace())?;
        let earlier = node::record(call);
        let facts = node.facts(Some(&self.config), earlier.as_ref())?;
        let link = node.choose_link(&self.config, earlier.as_ref(), &facts)?;
        let start = plan::start(&self.config, earlier.as_ref(), &link, &facts)?;
        for ip in &start.found {
            call.log
                .warning(format_args!("{ip} was on {} already, without a start: taking it over", link.name));
        }
        if start.changes.is_empty() && earlier.as_ref() == Some(&start.record) {
            return Ok(());
        }
        let added = start.added();
        // On a link that is down nobody can be asked.
        let askable = link.carrier().is_up() || self.config.link_check == LinkCheck::Ignore;
        let (raise, changes): (Vec<_>, Vec<_>) =
            start.changes.iter().partition(|change| matches!(change, Change::RaiseLink { .. }));
        for change in raise {
            call.log.info(change);
            node.apply(change)?;
        }
        if askable {
            self.refuse_if_taken(call, &facts, &link, &added)?;
        }
        if let Err(failure) = announcing::end(call) {
            call.log.warning(format_args!("{}; they end by themselves", failure.reason));
        }
        call.state_file().save(&start.record)?;
        let done = self.carry_out(call, &mut node, &link, &changes);
        if done.is_err() {
            undo(call, &mut node, &start.record);
        }
        done?;
        self.announce(call, &link, &added, self.config.announcements.count);
        Ok(())
    }

    fn stop(&self, call: &Call) -> Result<(), Failure> {
        let record = node::record(call);
        stop(call, Some(&self.config), record.as_ref())
    }

    fn stop_without_parameters(call: &Call) -> Result<(), Failure> {
        match node::record(call) {
            Some(record) => stop(call, None, Some(&record)),
            None => {
                call.log.warning("nothing is known of an earlier start: taking the resource for stopped");
                announcing::end(call).or_else(|failure| {
                    call.log.warning(failure.reason);
                    Ok(())
                })
            }
        }
    }

    fn monitor(&self, call: &Call) -> Result<Status, Failure> {
        let stopping = call.is_probe() || call.action == Action::Stop;
        let Some(mut node) = self.open(call)? else {
            return if stopping {
                Ok(Status::Stopped)
            } else {
                Err(Failure::generic(self.no_namespace().reason))
            };
        };
        let record = node::record(call);
        let good = match &record {
            Some(record) => node.all_good_at_a_glance(&self.config, record)?,
            None => false,
        };
        let deep = call.action == Action::Monitor && call.check_level >= 10;
        let refresh = if call.is_recurring() { self.config.announcements.refresh } else { 0 };
        if good && !deep && refresh == 0 {
            return Ok(Status::Running);
        }
        let facts = node.facts(Some(&self.config), record.as_ref())?;
        if call.action == Action::Stop && still_there(&facts, Some(&self.config), record.as_ref()).is_empty()
        {
            // A record that could not be removed is no address that is still there.
            return Ok(Status::Stopped);
        }
        let status = plan::status(&self.config, record.as_ref(), &facts, stopping)?;
        if record.is_none()
            && status.is_active()
            && call.is_recurring()
            && let Some(adopted) = plan::adopted(&self.config, &facts)
        {
            call.log.info("it runs without a start of this agent: remembering where");
            // Without it the next monitor looks as thoroughly as this one did.
            let _best_effort = call.state_file().save(&adopted);
        }
        if status.is_active() && (deep || refresh > 0) {
            let link = node.choose_link(&self.config, record.as_ref(), &facts)?;
            // A link that carries nothing cannot be asked, and what that means was decided above.
            if deep && link.carrier().is_up() {
                self.refuse_if_shared(call, &facts, &link)?;
            }
            if refresh > 0 && announcing::none_under_way(call) {
                self.announce(call, &link, &self.config.ips(), refresh);
            }
        }
        Ok(status)
    }

    fn reload(&self, call: &Call) -> Result<(), Failure> {
        // Every action reads its parameters anew: there is nothing to hand over, only to see that it runs.
        match self.monitor(call)? {
            Status::Stopped => Err(Failure::generic("the resource does not run: there is nothing to reload")),
            _ => Ok(()),
        }
    }
}

impl Vip {
    fn open(&self, call: &Call) -> Result<Option<Node>, Failure> {
        Node::open(self.config.namespace.as_deref(), call.deadline)
    }

    fn no_namespace(&self) -> Failure {
        let name = self.config.namespace.as_deref().unwrap_or_default();
        Failure::new(
            Code::Installed,
            format!("network_namespace={name}: there is no such namespace on this node"),
        )
    }

    /// Carries out a start's changes, and sees the addresses usable.
    fn carry_out(
        &self,
        call: &Call,
        node: &mut Node,
        link: &Link,
        changes: &[&Change],
    ) -> Result<(), Failure> {
        // The kernel takes no source for a route whose duplicates it is still looking for.
        let (routes, rest): (Vec<&Change>, Vec<&Change>) =
            changes.iter().partition(|change| change.is_about_routes());
        for change in rest {
            call.log.info(change);
            node.apply(change)?;
        }
        if !self.config.nodad {
            node.await_duplicate_detection(link.index, &self.config.ips())?;
        }
        for change in routes {
            call.log.info(change);
            node.apply(change)?;
        }
        Ok(())
    }

    /// Asks the network who has the addresses, before they are taken.
    fn refuse_if_taken(
        &self,
        call: &Call,
        facts: &Facts,
        link: &Link,
        ips: &[IpAddr],
    ) -> Result<(), Failure> {
        let asked: Vec<IpAddr> =
            ips.iter().copied().filter(|ip| !self.config.conflict_check(*ip).is_zero()).collect();
        let longest = asked.iter().map(|ip| self.config.conflict_check(*ip)).max().unwrap_or_default();
        self.refuse_if_owned(call, facts, link, &asked, longest)
    }

    /// Asks the network whether somebody else has the addresses too.
    fn refuse_if_shared(&self, call: &Call, facts: &Facts, link: &Link) -> Result<(), Failure> {
        self.refuse_if_owned(call, facts, link, &self.config.ips(), self.config.deep_conflict_check())
    }

    fn refuse_if_owned(
        &self,
        call: &Call,
        facts: &Facts,
        link: &Link,
        ips: &[IpAddr],
        wait: Duration,
    ) -> Result<(), Failure> {
        if ips.is_empty() {
            return Ok(());
        }
        let port = announcing::port(link);
        let questions: Vec<_> = ips.iter().map(|ip| Question { port: port.clone(), address: *ip }).collect();
        let ours = facts.links.iter().map(|link| Mac(link.mac.clone()));
        match Prober::open(&questions, ours)?.run(wait.min(call.deadline.remaining()))? {
            Verdict::Free => Ok(()),
            Verdict::Owner(conflict) => Err(Failure::generic(conflict.to_string())),
        }
    }

    /// Announces addresses. That the network could not be told is a warning: the address is there, and is found by asking.
    fn announce(&self, call: &Call, link: &Link, ips: &[IpAddr], count: u32) {
        if let Err(failure) = announcing::announce(call, &self.config, link, ips, count) {
            call.log.warning(format_args!("announcing on {}: {}", link.name, failure.reason));
        }
    }
}

/// Stops by what is configured and what is remembered, whichever there is.
fn stop(call: &Call, config: Option<&Config>, record: Option<&Record>) -> Result<(), Failure> {
    // First, or a late announcement would take the address back from its new node.
    if let Err(failure) = announcing::end(call) {
        call.log.warning(format_args!("{}; removing the address all the same", failure.reason));
    }
    let mut namespaces = vec![config.and_then(|config| config.namespace.as_deref())];
    let then = record.map(|record| record.namespace.as_deref());
    namespaces.extend(then.filter(|then| config.is_none() || *then != namespaces[0]));
    if config.is_none() {
        namespaces.remove(0);
    }
    // The one that the process is in already (`None`) first: there is no way back to it.
    namespaces.sort_unstable();
    for namespace in namespaces {
        // A namespace that is gone took its addresses along.
        let Some(mut node) = Node::open(namespace, call.deadline)? else { continue };
        clear(call, &mut node, config, record)?;
    }
    // A file that stays is no address that stays.
    if let Err(failure) = call.state_file().remove() {
        call.log.warning(format_args!("stopped, but {}", failure.reason));
    }
    Ok(())
}

/// Removes all that is the resource's in one namespace, and looks whether it is gone.
fn clear(
    call: &Call,
    node: &mut Node,
    config: Option<&Config>,
    record: Option<&Record>,
) -> Result<(), Failure> {
    PromoteSecondaries::settle(call.deadline);
    let facts = node.facts(config, record)?;
    for route in record.map_or(Vec::new(), |record| source::lost(&record.routes, &facts)) {
        call.log.warning(format_args!("route {route} cannot be put back: its interface is down or gone"));
    }
    let mut failed = Vec::new();
    // One change that fails does not keep the others from being made: what counts is what is left.
    for change in plan::stop(config, record, &facts) {
        call.log.info(&change);
        if let Err(failure) = node.apply(&change) {
            call.log.warning(format_args!("{change}: {}", failure.reason));
            failed.push(failure.reason);
        }
        node.notes.drain(..).for_each(|note| call.log.warning(note));
    }
    let left = still_there(&node.facts(config, record)?, config, record);
    if left.is_empty() {
        return Ok(());
    }
    failed.insert(0, format!("{} still there", left.join(" and ")));
    Err(Failure::generic(failed.join(": ")))
}

fn still_there(facts: &Facts, config: Option<&Config>, record: Option<&Record>) -> Vec<String> {
    let lvs = config.map_or(record.is_some_and(|record| record.lvs), |config| config.lvs);
    let ips = plan::addresses(config, record);
    let places = ips.iter().flat_map(|ip| facts.places(*ip, lvs));
    places.map(|place| format!("{}/{} on {}", place.ip, place.prefix, facts.name(place.index))).collect()
}

/// Undoes a start that failed, as far as possible: the failure itself is what is reported.
fn undo(call: &Call, node: &mut Node, record: &Record) {
    let give_up = |failure: Failure| {
        call.log.error(format_args!("undoing the start: {}; stop will go on with it", failure.reason));
    };
    let facts = match node.facts(None, Some(record)) {
        Ok(facts) => facts,
        Err(failure) => return give_up(failure),
    };
    let mut undone = Ok(());
    for change in plan::undo(record, &facts) {
        call.log.info(format_args!("undoing: {change}"));
        // What cannot be undone does not keep the rest from it.
        undone = node.apply(&change).and(undone);
    }
    if let Err(failure) = undone.and_then(|()| call.state_file().remove()) {
        give_up(failure);
    }
}
