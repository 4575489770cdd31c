//! What goes wrong, by chance, and how it is undone.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use lab::story::Story;
use lab::{Chance, Lab};

use crate::WRITER;

/// What happens to a node, given by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Crash(usize),
    Cut(usize),
    /// Nothing that the first sends reaches the second.
    OneWay(usize, usize),
    Kill(usize, &'static str),
    Halt(usize, &'static str),
    /// The resource is stopped there.
    Standby(usize),
    /// The include is emptied there, and comes back.
    Empty(usize),
    /// The same, and is given up: its removal is released.
    Drop(usize),
    /// The applications hurry.
    Rush,
}

/// A fault, when it comes in its round, and for how long it lasts.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    fault: Fault,
    lasts: Duration,
}

const WORKER: &str = "[c]sync work";
const DAEMON: &str = "[c]sync2 .*-ii";
const PUSH: &str = "[c]sync2 .*-uB";
const CHECK: &str = "[c]sync2 .*-cBr";
/// The longest that the schedule waits for a command.
const PATIENCE: Duration = Duration::from_secs(6);

/// The events of a round.
pub(crate) fn schedule(chance: &mut Chance, round: Duration) -> Vec<Event> {
    let mut events = Vec::new();
    let mut at = Duration::from_millis(500 + chance.below(1500));
    while at + Duration::from_secs(2) < round {
        let node = usize::try_from(chance.below(3)).unwrap_or_default();
        let what = chance.pick(&[WORKER, DAEMON, DAEMON, PUSH, PUSH, CHECK]);
        let fault = match chance.below(20) {
            0..=4 => Fault::Cut(node),
            5 | 6 => Fault::OneWay(node, (node + 1) % 3),
            7..=10 => Fault::Kill(node, what),
            11..=13 => Fault::Halt(node, what),
            14 | 15 => Fault::Crash(node),
            16 => Fault::Standby(node),
            17 => Fault::Empty(node),
            18 => Fault::Drop(node),
            _ => Fault::Rush,
        };
        let lasts = Duration::from_millis(1000 + chance.below(6000));
        events.push(Event { at, fault, lasts });
        at += Duration::from_millis(300 + chance.below(3000));
    }
    events
}

/// Does it, and keeps account of what has to be undone when.
pub(crate) struct Hand<'a> {
    lab: &'a Lab,
    story: Story,
    undo: Vec<(Instant, Fault)>,
}

impl<'a> Hand<'a> {
    pub(crate) fn new(lab: &'a Lab) -> Self {
        Self { lab, story: Story::default(), undo: Vec::new() }
    }

    /// Adds a line to what has happened, with seconds since the beginning and the clock of the writers' logs.
    pub(crate) fn note(&mut self, what: &str) {
        self.story.note(what);
    }

    /// All that has happened.
    pub(crate) fn told(&self) -> String {
        self.story.told().to_owned()
    }

    fn name(&self, node: usize) -> &'a str {
        &self.lab.nodes()[node]
    }

    /// Runs a command in a node that may be off, dying or halted: then nothing comes of it, and nobody waits for long.
    fn try_run(&self, node: usize, command: &str) -> Option<String> {
        let output = self.lab.machines().exec(self.name(node), command, PATIENCE).ok()?;
        output.ok().then_some(output.stdout)
    }

    /// Lets an event happen, unless the like happens to that node already.
    pub(crate) fn act(&mut self, event: &Event) {
        let emptied = |fault: &Fault| match fault {
            Fault::Empty(node) | Fault::Drop(node) => Some(*node),
            _ => None,
        };
        let under_way = self.undo.iter().any(|(_, it)| {
            *it == event.fault || (emptied(it).is_some() && emptied(it) == emptied(&event.fault))
        });
        if under_way {
            return;
        }
        let mut told = format!("{:?} for {:.1} s", event.fault, event.lasts.as_secs_f64());
        match event.fault {
            Fault::Crash(node) => self.lab.crash(self.name(node)),
            Fault::Cut(node) => self.lab.cut(self.name(node)),
            Fault::OneWay(from, to) => self.lab.lose(self.name(from), self.name(to)),
            Fault::Kill(node, pattern) => {
                let found =
                    self.try_run(node, &format!("pids=$(pgrep -f '{pattern}') && kill -9 $pids; echo $pids"));
                let _ = write!(told, ": {}", found.unwrap_or_default().trim());
            }
            Fault::Halt(node, pattern) => {
                let found = self
                    .try_run(node, &format!("pids=$(pgrep -f '{pattern}') && kill -STOP $pids; echo $pids"));
                let _ = write!(told, ": {}", found.unwrap_or_default().trim());
            }
            Fault::Standby(node) => self.standby(node, "-v on"),
            Fault::Empty(node) | Fault::Drop(node) => {
                if self.writer(node, "empty").is_none() {
                    told.push_str(": not to be had");
                }
            }
            Fault::Rush => self.pace("0.02"),
        }
        self.undo.push((Instant::now() + event.lasts, event.fault));
        self.note(&told);
    }

    fn standby(&self, node: usize, how: &str) {
        let command = format!("crm_attribute -N {} -n standby {how}", self.name(node));
        let _nobody_may_be_there = (0..3).find_map(|asked| self.try_run(asked, &command));
    }

    fn writer(&self, node: usize, action: &str) -> Option<String> {
        self.try_run(node, &format!("{WRITER} {action}"))
    }

    /// Tells the applications how quickly to act, or not to.
    pub(crate) fn pace(&self, pace: &str) {
        for node in self.lab.nodes() {
            self.lab.node(node).write("/etc/lab/pace", pace);
        }
    }

    /// Undoes what is due.
    pub(crate) fn undo_due(&mut self) {
        while let Some(place) = self.undo.iter().position(|(when, _)| *when <= Instant::now()) {
            let (_, fault) = self.undo.remove(place);
            self.take_back(fault);
        }
    }

    fn take_back(&mut self, fault: Fault) {
        match fault {
            Fault::Crash(node) => self.boot(node),
            Fault::Cut(node) => self.lab.heal(self.name(node)),
            Fault::OneWay(from, to) => self.lab.restore(self.name(from), self.name(to)),
            Fault::Kill(..) => return,
            Fault::Halt(node, _) => drop(self.try_run(node, "kill -CONT -1")),
            Fault::Standby(node) => self.standby(node, "-D"),
            Fault::Empty(node) => drop(self.writer(node, "refill")),
            Fault::Drop(node) => {
                let _may_be_off = self.try_run(node, "touch /run/bascule/csync/conf.d/release-deletions");
                let _may_be_off = self.writer(node, "drop");
            }
            Fault::Rush => self.pace(crate::PACE),
        }
        self.note(&format!("undone: {fault:?}"));
    }

    /// The node, with its application.
    pub(crate) fn boot(&self, node: usize) {
        self.lab.boot(self.name(node));
        let _refused =
            self.try_run(node, &format!("setsid -f {WRITER} go >>/var/log/writer.err 2>&1 </dev/null"));
    }

    /// Undoes everything, and repairs what broke of it.
    pub(crate) fn heal(&mut self) {
        for (_, fault) in std::mem::take(&mut self.undo) {
            self.take_back(fault);
        }
        self.lab.heal_all();
        for node in 0..self.lab.nodes().len() {
            self.boot(node);
            self.try_run(node, "kill -CONT -1");
            if self.try_run(node, "test -e /var/lib/writer.hold").is_some() {
                // It was off when its include was to come back.
                self.writer(node, "refill");
            }
            self.standby(node, "-D");
        }
    }
}
