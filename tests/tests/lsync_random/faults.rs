//! What goes wrong, by chance, and how it is undone. Everything happens inside the lab's machines.

use std::time::{Duration, Instant};

use lab::story::Story;
use lab::{Chance, Fencing, Lab};

/// A node, by its part when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The node that believes to be the source (of the newest generation, if there are several).
    Source,
    /// One of the others.
    Replica(usize),
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Crash(Who),
    CrashAll,
    Cut(Who),
    /// Nothing that the first sends reaches the second.
    OneWay(Who, Who),
    Kill(Who, &'static str),
    Halt(Who, &'static str),
    /// pacemakerd alone, or with all its daemons.
    KillPacemaker(Who, bool),
    Fill(Who),
    Unmount,
    Clock(i64),
    Rush,
    Move,
    Standby(Who),
    Reboot(Who),
}

/// A fault, when it comes in its round, and for how long it lasts.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
    pub(crate) lasts: Duration,
}

/// The longest that the schedule waits for a command.
const PATIENCE: Duration = Duration::from_secs(4);
const LSYNCD: &str = "[l]syncd .*lsyncd.conf";
const DAEMON: &str = "[r]sync --daemon";
const CLIENT: &str = "[r]sync .*rsync://";
const PUSH: &str = "[l]sync push";
const AGENT: &str = "[b]ascule/lsync ";

/// The events of a round.
pub(crate) fn schedule(chance: &mut Chance, round: Duration, fencing: Fencing) -> Vec<Event> {
    let mut events = Vec::new();
    let mut at = Duration::from_millis(500 + chance.below(2000));
    while at + Duration::from_secs(3) < round {
        let who = |chance: &mut Chance| match chance.below(5) {
            0..=2 => Who::Source,
            other => Who::Replica(usize::try_from(other).unwrap_or_default() - 3),
        };
        let fault = match chance.below(32) {
            0..=4 => Fault::Crash(who(chance)),
            5 => Fault::CrashAll,
            6..=9 => Fault::Cut(who(chance)),
            10 | 11 => match who(chance) {
                Who::Source => Fault::OneWay(Who::Source, Who::Replica(0)),
                replica => Fault::OneWay(replica, Who::Source),
            },
            12..=15 => {
                let what = chance.pick(&[LSYNCD, DAEMON, CLIENT, PUSH, AGENT]);
                Fault::Kill(who(chance), what)
            }
            16..=18 => {
                let what = chance.pick(&[
                    LSYNCD,
                    DAEMON,
                    CLIENT,
                    AGENT,
                    "^/usr/sbin/corosync",
                    "[p]acemaker-controld",
                    "[p]acemaker-based",
                    "[p]acemaker-attrd",
                ]);
                Fault::Halt(who(chance), what)
            }
            19 | 20 => Fault::KillPacemaker(who(chance), chance.below(2) == 0),
            21..=23 => Fault::Fill(Who::Replica(usize::try_from(chance.below(2)).unwrap_or_default())),
            24 | 25 => Fault::Unmount,
            26 => Fault::Clock(chance.pick(&[-7200, 7200, -1, 86_400 * 3650])),
            27 => Fault::Rush,
            28 | 29 => Fault::Move,
            30 => Fault::Standby(who(chance)),
            _ if fencing == Fencing::None => Fault::Cut(Who::Source),
            _ => Fault::Reboot(who(chance)),
        };
        let lasts = match &fault {
            Fault::Crash(_) => 1 + chance.below(8),
            Fault::CrashAll => 1,
            Fault::Halt(..) => 1 + chance.below(6),
            _ => 2 + chance.below(9),
        };
        events.push(Event { at, fault, lasts: Duration::from_secs(lasts) });
        at += Duration::from_millis(500 + chance.below(5000));
    }
    events
}

/// Does it, and keeps account of what has to be undone when.
pub(crate) struct Hand<'a> {
    lab: &'a Lab,
    fencing: Fencing,
    story: Story,
    undo: Vec<(Instant, Undo)>,
    aware: usize,
}

#[derive(Clone, Debug)]
enum Undo {
    Boot(String),
    Heal(String),
    Restore(String, String),
    Continue(String, &'static str),
    Pacemaker(String),
    Empty(String),
    Mount(String),
    Pace,
    Clear,
    Unstandby(String),
}

impl<'a> Hand<'a> {
    pub(crate) fn new(lab: &'a Lab, fencing: Fencing) -> Self {
        Self { lab, fencing, story: Story::default(), undo: Vec::new(), aware: 0 }
    }

    /// Adds a line to what has happened.
    pub(crate) fn note(&mut self, what: &str) {
        for fenced in self.lab.fenced().iter().skip(self.aware) {
            self.story.add(&format!("(the cluster has fenced {})", fenced.node));
        }
        self.aware = self.lab.fenced().len();
        self.story.note(what);
    }

    /// All that has happened, with seconds since the beginning and, in brackets, on the clock of the applications' logs.
    pub(crate) fn told(&self) -> String {
        self.story.told().to_owned()
    }

    /// Runs a command in a node that may be off, dying or halted: then nothing comes of it, and nobody waits for long.
    fn try_run(&self, node: &str, command: &str) -> Option<String> {
        let output = self.lab.machines().exec(node, command, PATIENCE).ok()?;
        output.ok().then_some(output.stdout)
    }

    /// The believed source and the others that are on.
    fn parts(&self) -> (Option<String>, Vec<String>) {
        let mut sources = Vec::new();
        for node in self.lab.running() {
            let own =
                self.lab.node(&node).read("/var/lib/bascule/lsync/site5/generation.json").unwrap_or_default();
            let number = own
                .split("\"number\":")
                .nth(1)
                .and_then(|rest| rest.split(',').next()?.trim().parse::<u64>().ok());
            if own.contains("\"Source\"") {
                sources.push((number.unwrap_or_default(), node));
            }
        }
        sources.sort();
        let source = sources.pop().map(|(_, node)| node);
        let others = self.lab.running().into_iter().filter(|node| Some(node) != source.as_ref()).collect();
        (source, others)
    }

    fn find(&self, who: Who) -> Option<String> {
        let (source, others) = self.parts();
        match who {
            Who::Source => source.or_else(|| others.first().cloned()),
            Who::Replica(place) => others.get(place % others.len().max(1)).cloned(),
        }
    }

    fn later(&mut self, lasts: Duration, undo: Undo) {
        self.undo.push((Instant::now() + lasts, undo));
    }

    /// Lets an event happen, if there is somebody to whom it can.
    pub(crate) fn act(&mut self, event: &Event) {
        let told = self.happen(event);
        let source = self.parts().0.unwrap_or_else(|| "nobody".to_owned());
        match told {
            Some(what) => {
                self.note(&format!("{what} (for {} s; then the source was {source})", event.lasts.as_secs()))
            }
            None => self.note(&format!("{:?}: to nobody", event.fault)),
        }
    }

    fn happen(&mut self, event: &Event) -> Option<String> {
        let lasts = event.lasts;
        match &event.fault {
            Fault::Crash(who) => {
                let node = self.find(*who)?;
                self.lab.crash(&node);
                self.later(lasts, Undo::Boot(node.clone()));
                Some(format!("crash {node}"))
            }
            Fault::CrashAll => {
                for node in self.lab.running() {
                    self.lab.crash(&node);
                    self.later(lasts, Undo::Boot(node));
                }
                Some("crash all".to_owned())
            }
            Fault::Cut(who) => {
                let node = self.find(*who)?;
                self.lab.cut(&node);
                self.later(lasts, Undo::Heal(node.clone()));
                Some(format!("cut {node} off"))
            }
            Fault::OneWay(from, to) => {
                let (from, to) = (self.find(*from)?, self.find(*to)?);
                if from == to {
                    return None;
                }
                self.lab.lose(&from, &to);
                self.later(lasts, Undo::Restore(from.clone(), to.clone()));
                Some(format!("lose what {from} sends to {to}"))
            }
            Fault::Kill(who, pattern) => {
                let node = self.find(*who)?;
                let found = self
                    .try_run(&node, &format!("pids=$(pgrep -f '{pattern}') && kill -9 $pids; echo $pids"));
                Some(format!("kill {pattern} on {node}: {}", found.unwrap_or_default().trim()))
            }
            Fault::Halt(who, pattern) => {
                let node = self.find(*who)?;
                let found = self
                    .try_run(&node, &format!("pids=$(pgrep -f '{pattern}') && kill -STOP $pids; echo $pids"));
                self.later(lasts, Undo::Continue(node.clone(), pattern));
                Some(format!("halt {pattern} on {node}: {}", found.unwrap_or_default().trim()))
            }
            Fault::KillPacemaker(who, all) => {
                let node = self.find(*who)?;
                let (pattern, what) =
                    if *all { ("^pacemaker", "all of Pacemaker") } else { ("^pacemakerd", "pacemakerd") };
                self.try_run(&node, &format!("kill -9 $(pgrep '{pattern}')"));
                self.later(lasts, Undo::Pacemaker(node.clone()));
                Some(format!("kill {what} on {node}"))
            }
            Fault::Fill(who) => {
                let node = self.find(*who)?;
                self.try_run(&node, "head -c 100M /dev/zero >/srv/disk/filler 2>/dev/null; true");
                self.later(lasts, Undo::Empty(node.clone()));
                Some(format!("fill the disk of {node}"))
            }
            Fault::Unmount => {
                let node = self.find(Who::Source)?;
                self.try_run(&node, "umount -l /site/site5");
                self.later(lasts, Undo::Mount(node.clone()));
                Some(format!("unmount the tree of {node}"))
            }
            Fault::Clock(offset) => {
                let node = self.find(Who::Source)?;
                self.lab.node(&node).write("/etc/lab/pace", &format!("0.04 {offset}"));
                Some(format!("{node} writes files with times {offset} s wrong"))
            }
            Fault::Rush => {
                for node in self.lab.nodes() {
                    self.lab.node(node).write("/etc/lab/pace", "0.002 0");
                }
                self.later(lasts.min(Duration::from_secs(4)), Undo::Pace);
                Some("the application is in a hurry".to_owned())
            }
            Fault::Move => {
                let (source, others) = self.parts();
                let (target, asker) = (others.first()?, source.as_ref().or(others.first())?);
                self.try_run(
                    asker,
                    &format!("crm_resource --resource site5-clone --move --promoted --node {target}"),
                );
                let told = format!("move the source to {target}");
                self.later(lasts, Undo::Clear);
                Some(told)
            }
            Fault::Standby(who) => {
                let node = self.find(*who)?;
                self.try_run(&node, &format!("crm_attribute -N {node} -n standby -v on"));
                self.later(lasts, Undo::Unstandby(node.clone()));
                Some(format!("standby {node}"))
            }
            Fault::Reboot(who) => {
                let node = self.find(*who)?;
                self.lab.shutdown(&node);
                self.later(Duration::from_secs(1), Undo::Boot(node.clone()));
                Some(format!("shut {node} down in order"))
            }
        }
    }

    /// Undoes what is due.
    pub(crate) fn undo_due(&mut self) {
        while let Some(place) = self.undo.iter().position(|(when, _)| *when <= Instant::now()) {
            let (_, undo) = self.undo.remove(place);
            self.take_back(&undo);
        }
    }

    fn take_back(&mut self, undo: &Undo) {
        let mut done = Some(String::new());
        match undo {
            Undo::Boot(node) => self.lab.boot(node),
            Undo::Heal(node) => self.lab.heal(node),
            Undo::Restore(from, to) => self.lab.restore(from, to),
            Undo::Continue(node, pattern) => {
                done = self.try_run(node, &format!("pids=$(pgrep -f '{pattern}') && kill -CONT $pids; true"));
            }
            // Where it was fenced meanwhile it has been started at boot.
            Undo::Pacemaker(node) => done = self.start_pacemaker(node),
            Undo::Empty(node) => done = self.try_run(node, "rm -f /srv/disk/filler"),
            Undo::Mount(node) => done = self.try_run(node, MOUNT),
            Undo::Pace => {
                for node in self.lab.nodes() {
                    self.lab.node(node).write("/etc/lab/pace", "0.04 0");
                }
            }
            Undo::Clear => {
                done = self.first(|it, node| it.try_run(node, "crm_resource --resource site5-clone --clear"))
            }
            Undo::Unstandby(idle) => {
                done = self
                    .first(|it, node| it.try_run(node, &format!("crm_attribute -N {idle} -n standby -D")));
            }
        }
        self.note(&format!(
            "undone: {undo:?}{}",
            if done.is_none() { ", or there was nothing to undo" } else { "" }
        ));
    }

    fn first(&self, what: impl Fn(&Self, &str) -> Option<String>) -> Option<String> {
        self.lab.running().iter().find_map(|node| what(self, node))
    }

    fn start_pacemaker(&self, node: &str) -> Option<String> {
        self.try_run(
            node,
            "kill -0 $(cat /run/bascule-lab/pacemakerd.pid) 2>/dev/null || \
             { setsid /usr/sbin/pacemakerd </dev/null >>/var/log/console.log 2>&1 & echo $! >/run/bascule-lab/pacemakerd.pid; }",
        )
    }

    /// Undoes everything, and repairs what broke of it.
    pub(crate) fn heal(&mut self) {
        for (_, undo) in std::mem::take(&mut self.undo) {
            self.take_back(&undo);
        }
        self.lab.heal_all();
        for node in self.lab.nodes() {
            if self.fencing == Fencing::None {
                self.lab.boot(node);
            }
            self.try_run(node, &format!("kill -CONT -1; rm -f /srv/disk/filler; {MOUNT}"));
            self.start_pacemaker(node);
        }
    }
}

const MOUNT: &str = "mountpoint -q /site/site5 || mount --bind /srv/disk/tree /site/site5";
