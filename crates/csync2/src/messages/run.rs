//! What a run of csync2 came to: per peer and file.

use super::{Change, Fact, Failure, FileTrouble, Judged, Line, PeerTrouble, Reply, Step, Test};
use crate::Text;

/// What a client's run at `-v` (or more) came to.
///
/// Its exit code is no part of it: 1 is said of one side of every conflict that is settled, and of each that is not. Of a dry
/// run, what is [`Outcome::Done`] would have been done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// The changes that were noticed, in csync2's order.
    pub marked: Vec<Text>,
    /// The peers that were to get something, in csync2's order.
    pub peers: Vec<PeerRun>,
    /// How many commands of actions were run here.
    pub commands: usize,
    /// What ended the run. Then not even the peers that are well have got anything more.
    pub failure: Option<Failure>,
    /// What went wrong with files here, in csync2's words.
    pub notes: Vec<Text>,
    /// How many errors csync2 has counted; `None` if it did not come to its end: it was ended, it met a [`Failure`], or a peer
    /// broke off, of which csync2 dies (SIGPIPE), now and then, and all other peers with it.
    pub errors: Option<u32>,
    /// Lines that are not known.
    pub unknown: Vec<Text>,
}

/// What became of a peer's changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRun {
    /// The peer.
    pub peer: Text,
    /// The connection stood.
    pub connected: bool,
    /// Its certificate was seen for the first time.
    pub new_certificate: bool,
    /// The files that were pushed, in csync2's order, each once.
    pub files: Vec<Pushed>,
    /// Why it got nothing, or nothing more.
    pub trouble: Option<PeerTrouble>,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The file.
    pub name: Text,
    /// What was to be done to it.
    pub change: Change,
    /// What was done.
    pub outcome: Outcome,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The peer has it.
    Done,
    /// The peer had it.
    UpToDate,
    /// The peer had changed it as well, csync2 settled that by `auto`, and the peer has this host's version.
    Won(Test),
    /// The run ended in the middle of it: the peer may have the old version, the new one, or none.
    Unfinished,
    /// The peer has not taken it.
    Failed(FileTrouble),
}

impl Run {
    /// What the lines of one client come to.
    #[must_use]
    pub fn of(lines: &[Line]) -> Self {
        let mut reading = Reading::default();
        for line in lines {
            reading.take(&line.fact);
        }
        reading.finish()
    }

    /// Every file that a peer has not taken.
    pub fn failed(&self) -> impl Iterator<Item = (&Text, &Pushed, &FileTrouble)> {
        self.peers.iter().flat_map(|peer| {
            peer.files.iter().filter_map(move |pushed| match &pushed.outcome {
                Outcome::Failed(trouble) => Some((&peer.peer, pushed, trouble)),
                _ => None,
            })
        })
    }

    /// The conflicts that it met.
    pub fn conflicts(&self) -> impl Iterator<Item = (&Text, &Pushed, &FileTrouble)> {
        self.failed().filter(|(_, _, trouble)| trouble.is_conflict())
    }

    /// The peers in error.
    pub fn troubles(&self) -> impl Iterator<Item = (&Text, &PeerTrouble)> {
        self.peers.iter().filter_map(|peer| Some((&peer.peer, peer.trouble.as_ref()?)))
    }

    /// What csync2 has not told the reason of: to be asked again with `-uvvv -P PEER FILE...`, whose output has keys in it.
    #[must_use]
    pub fn unsaid(&self) -> Vec<(&Text, Vec<&Text>)> {
        let of = |peer: &'_ PeerRun| -> Vec<usize> {
            let unsaid = |pushed: &Pushed| pushed.outcome == Outcome::Failed(FileTrouble::Unsaid);
            peer.files.iter().enumerate().filter(|(_, file)| unsaid(file)).map(|(at, _)| at).collect()
        };
        let mut all = Vec::new();
        for peer in &self.peers {
            let files: Vec<&Text> =
                of(peer).into_iter().filter_map(|at| peer.files.get(at)).map(|file| &file.name).collect();
            if !files.is_empty() || peer.trouble == Some(PeerTrouble::Refused) {
                all.push((&peer.peer, files));
            }
        }
        all
    }

    /// Did every peer get everything?
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.errors == Some(0) && self.failure.is_none() && self.failed().next().is_none()
    }
}

#[derive(Default)]
struct Reading {
    run: Run,
    /// What the peer said last about the file that is being pushed.
    reply: Option<Reply>,
    /// A file is being pushed: the last one of the last peer.
    pushing: bool,
    /// A parent was missing: files come a second time.
    again: bool,
}

impl Reading {
    fn peer(&mut self) -> Option<&mut PeerRun> {
        self.run.peers.last_mut()
    }

    fn trouble(&mut self, trouble: PeerTrouble) {
        if let Some(peer) = self.peer() {
            peer.trouble.get_or_insert(trouble);
        }
    }

    /// Trouble with a peer that csync2 names.
    fn trouble_with(&mut self, name: &Text, trouble: PeerTrouble) {
        if self.run.peers.last().is_none_or(|peer| peer.peer != *name) {
            self.begin(name);
        }
        self.trouble(trouble);
    }

    fn begin(&mut self, peer: &Text) {
        self.pushing = false;
        self.again = false;
        self.reply = None;
        self.run.peers.push(PeerRun {
            peer: peer.clone(),
            connected: false,
            new_certificate: false,
            files: Vec::new(),
            trouble: None,
        });
    }

    fn file(&mut self) -> Option<&mut Pushed> {
        if self.pushing { self.peer()?.files.last_mut() } else { None }
    }

    fn outcome(&mut self, outcome: Outcome) {
        if let Some(file) = self.file() {
            file.outcome = outcome;
        }
    }

    fn attempt(&mut self, name: &Text, change: Change) {
        self.reply = None;
        let again = self.again;
        // A conflict that was won is pushed a second time, and stays won.
        let won =
            self.file().is_some_and(|file| file.name == *name && matches!(file.outcome, Outcome::Won(_)));
        if won {
            return;
        }
        self.pushing = true;
        if let Some(peer) = self.peer() {
            if again {
                peer.files.retain(|file| file.name != *name);
            }
            peer.files.push(Pushed { name: name.clone(), change, outcome: Outcome::Done });
        }
    }

    fn stays(&mut self) {
        let said = self.reply.take().map_or(FileTrouble::Unsaid, |reply| FileTrouble::of(&reply));
        if let Some(file) = self.file() {
            match file.outcome {
                Outcome::Failed(_) => {}
                Outcome::Won(_) => file.outcome = Outcome::Failed(FileTrouble::Conflict(Judged::Failed)),
                _ => file.outcome = Outcome::Failed(said),
            }
        }
    }

    fn replied(&mut self, reply: &Reply) {
        match reply {
            Reply::Identification => self.trouble(PeerTrouble::Identification),
            Reply::TlsExpected => self.trouble(PeerTrouble::TlsExpected),
            Reply::Ok => self.reply = None,
            _ => self.reply = Some(reply.clone()),
        }
    }

    fn failed(&mut self, failure: &Failure) {
        match failure {
            Failure::OwnTls { text } if !self.run.peers.is_empty() => {
                self.trouble(PeerTrouble::OwnTls { text: text.clone() });
            }
            Failure::Handshake { why } if !self.run.peers.is_empty() => {
                self.trouble(PeerTrouble::Handshake { why: why.clone() });
            }
            _ => self.run.failure = Some(failure.clone()),
        }
    }

    fn take(&mut self, fact: &Fact) {
        use FileTrouble::Conflict;
        match fact {
            Fact::Marked { name } => self.run.marked.push(name.clone()),
            Fact::Connecting { peer, .. } => self.begin(peer),
            Fact::Connected { .. } => {
                if let Some(peer) = self.peer() {
                    peer.connected = true;
                }
            }
            Fact::NewCertificate => {
                if let Some(peer) = self.peer() {
                    peer.new_certificate = true;
                }
            }
            Fact::Unresolved { why } => self.trouble(PeerTrouble::Unknown { why: why.clone() }),
            Fact::Unconnected { why } => self.trouble(PeerTrouble::Down { why: why.clone() }),
            Fact::StepRefused(Step::Configuration) => self.trouble(PeerTrouble::Closed),
            Fact::StepRefused(step) => self.trouble(PeerTrouble::Step(*step)),
            Fact::PeerFailed { peer } => self.trouble_with(peer, PeerTrouble::Failed),
            Fact::NotIdentified { peer } => self.trouble_with(peer, PeerTrouble::Refused),
            Fact::BadCertificate { changed: true } => self.trouble_or_note(PeerTrouble::CertificateChanged),
            Fact::BadCertificate { changed: false } => self.trouble_or_note(PeerTrouble::NoCertificate),
            Fact::Attempt { name, change, .. } => self.attempt(name, *change),
            Fact::UpToDate => self.outcome(Outcome::UpToDate),
            Fact::AlsoDirty => self.outcome(Outcome::Failed(Conflict(Judged::Not))),
            Fact::Won(test) => self.outcome(Outcome::Won(*test)),
            Fact::Lost(test) => self.outcome(Outcome::Failed(Conflict(Judged::Lost(*test)))),
            Fact::RemovalUnsettled => self.outcome(Outcome::Failed(Conflict(Judged::Removal))),
            Fact::SettlingFailed => self.outcome(Outcome::Failed(Conflict(Judged::Failed))),
            Fact::Stays => self.stays(),
            Fact::ParentMissing { .. } => {
                self.outcome(Outcome::Failed(FileTrouble::ParentMissing));
                self.again = true;
            }
            Fact::Vanished { .. } => self.outcome(Outcome::Failed(FileTrouble::Vanished)),
            Fact::Unsendable => self.outcome(Outcome::Failed(FileTrouble::Unsendable)),
            Fact::Replied { reply, .. } => self.replied(reply),
            Fact::PeerSaid { text } => self.run.notes.push(text.clone()),
            Fact::Command { .. } => self.run.commands += 1,
            Fact::Unreadable { why } => self.run.notes.push(why.clone()),
            Fact::InputOutput { text } | Fact::BackupFailed { text } => {
                self.outcome(Outcome::Failed(FileTrouble::InputOutput(text.clone())));
                self.run.notes.push(text.clone());
            }
            Fact::Failed(failure) => self.failed(failure),
            Fact::End { errors } => self.run.errors = Some(*errors),
            Fact::Unknown(text) => self.run.unknown.push(text.clone()),
            // Said of nothing that is counted here, or by the daemon only.
            Fact::Progress
            | Fact::PeerStays
            | Fact::TlsAlert { .. }
            | Fact::Forgotten { .. }
            | Fact::NotSynchronised { .. }
            | Fact::Listening { .. }
            | Fact::Ready
            | Fact::Accepted { .. }
            | Fact::Received { .. }
            | Fact::BackingUp { .. }
            | Fact::Closed => {}
        }
    }

    /// Without `-v`, csync2 does not say which peer it is about.
    fn trouble_or_note(&mut self, trouble: PeerTrouble) {
        if self.run.peers.is_empty() {
            self.run.notes.push(Text::from(format!("a peer: {trouble}").as_str()));
        } else {
            self.trouble(trouble);
        }
    }

    fn finish(mut self) -> Run {
        match self.run.errors {
            None => self.unfinished(),
            Some(errors) => self.unexplained(errors),
        }
        self.run
    }

    /// It did not come to its end: what it was about is not done.
    fn unfinished(&mut self) {
        let failed = self.run.failure.is_some();
        let pushing = self.pushing;
        let Some(peer) = self.peer().filter(|peer| peer.trouble.is_none()) else { return };
        let trouble = if !peer.connected {
            PeerTrouble::Down { why: Text::from("no answer") }
        } else if pushing || failed {
            PeerTrouble::Interrupted
        } else {
            PeerTrouble::Silent
        };
        peer.trouble = Some(trouble);
        if let Some(file) = peer.files.last_mut()
            && !matches!(file.outcome, Outcome::Failed(_))
        {
            file.outcome = Outcome::Unfinished;
        }
    }

    /// A peer that does not take this host for who it says it is gets no file, and csync2 says nothing about it.
    fn unexplained(&mut self, errors: u32) {
        let peers = &mut self.run.peers;
        let failed = |peer: &PeerRun| {
            peer.files.iter().filter(|file| matches!(file.outcome, Outcome::Failed(_))).count()
                + usize::from(peer.trouble.is_some())
        };
        let explained: usize = peers.iter().map(failed).sum();
        if usize::try_from(errors).is_ok_and(|errors| errors <= explained) {
            return;
        }
        for peer in peers.iter_mut().filter(|peer| peer.connected && peer.files.is_empty()) {
            peer.trouble.get_or_insert(PeerTrouble::Refused);
        }
    }
}
