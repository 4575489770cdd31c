//! What a client saw of an address: outages, and who answered when. Pure.

use std::fmt;
use std::time::Duration;

/// Replies that come later than this are lost.
pub(crate) const PATIENCE: Duration = Duration::from_millis(300);
/// An address that one machine answers for both before and after another within this time is served by both.
const TOGETHER: Duration = Duration::from_millis(200);

/// What a measurement has seen so far. All times count from its start.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The names of the machines, to call a hardware address by.
    pub(crate) nodes: Vec<String>,
    /// When the report was made.
    pub(crate) now: Duration,
    /// For each echo request, when it was sent and when its answer came.
    pub(crate) requests: Vec<(Duration, Option<Duration>)>,
    /// Every frame by which somebody showed that it has the address, in order.
    pub(crate) sightings: Vec<(Duration, [u8; 6])>,
}

/// A time without replies, at least two requests long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the last reply before it came.
    pub from: Duration,
    /// From that reply to the first one after it, or to the report if there is none.
    pub length: Duration,
    /// Requests without a reply.
    pub lost: usize,
    /// Whether replies have come since.
    pub over: bool,
}

/// A machine that showed that it has the address, without another in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its name, if it is a machine of the lab.
    pub node: Option<String>,
    /// When it was first heard.
    pub from: Duration,
    /// When it was last heard.
    pub to: Duration,
}

impl Report {
    /// How many requests were sent.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.requests.len()
    }

    /// How many were answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.requests.iter().filter(|(_, reply)| reply.is_some()).count()
    }

    /// The course of the measurement in steps: whether the requests sent in a step were answered, or `None` if it had
    /// none or they may still be answered.
    #[must_use]
    pub fn timeline(&self, step: Duration) -> Vec<Option<bool>> {
        let mut timeline = Vec::new();
        for (sent, reply) in
            self.requests.iter().filter(|(sent, reply)| reply.is_some() || *sent + PATIENCE < self.now)
        {
            let place = usize::try_from(sent.as_millis() / step.as_millis().max(1)).unwrap_or_default();
            if timeline.len() <= place {
                timeline.resize(place + 1, None);
            }
            if let Some(cell) = timeline.get_mut(place) {
                *cell = Some(cell.unwrap_or(true) && reply.is_some());
            }
        }
        timeline
    }

    /// The outages, in order. Requests that may still be answered do not count.
    #[must_use]
    pub fn outages(&self) -> Vec<Outage> {
        let mut outages = Vec::new();
        let (mut last_reply, mut lost) = (Duration::ZERO, 0);
        let judged =
            self.requests.iter().take_while(|(sent, reply)| reply.is_some() || *sent + PATIENCE < self.now);
        for (_, reply) in judged {
            match reply {
                None => lost += 1,
                Some(reply) => {
                    if lost > 1 {
                        let length = reply.saturating_sub(last_reply);
                        outages.push(Outage { from: last_reply, length, lost, over: true });
                    }
                    (last_reply, lost) = (*reply, 0);
                }
            }
        }
        if lost > 1 {
            let length = self.now.saturating_sub(last_reply);
            outages.push(Outage { from: last_reply, length, lost, over: false });
        }
        outages
    }

    /// The longest outage, or zero.
    #[must_use]
    pub fn longest_outage(&self) -> Duration {
        self.outages().iter().map(|outage| outage.length).max().unwrap_or_default()
    }

    /// Who answered (echo, ARP, neighbour discovery) or announced itself, one after the other.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        let mut holders: Vec<Holder> = Vec::new();
        for (at, mac) in &self.sightings {
            match holders.last_mut() {
                Some(holder) if holder.mac == *mac => holder.to = *at,
                _ => {
                    let node = crate::plan::owner(&self.nodes, *mac);
                    holders.push(Holder { mac: *mac, node, from: *at, to: *at });
                }
            }
        }
        holders
    }

    /// The moments at which two machines served the address: one that answered in the midst of another's answers. The
    /// measurement asks everybody at each interval, so no overlap longer than two intervals stays unseen.
    #[must_use]
    pub fn overlaps(&self) -> Vec<(Duration, [u8; 6], [u8; 6])> {
        let mut overlaps = Vec::new();
        let mut seen: Vec<([u8; 6], Duration)> = Vec::new();
        for (at, mac) in &self.sightings {
            if let Some((_, before)) = seen.iter().find(|(known, _)| known == mac)
                && *at - *before <= TOGETHER
            {
                let between = seen.iter().filter(|(other, when)| other != mac && *when > *before);
                overlaps.extend(between.map(|(other, _)| (*at, *mac, *other)));
            }
            seen.retain(|(known, _)| known != mac);
            seen.push((*mac, *at));
        }
        overlaps
    }

    /// Asserts that no two machines served the address at the same time.
    ///
    /// # Panics
    /// If two did, naming them.
    #[track_caller]
    pub fn assert_never_served_twice(&self) {
        let overlaps = self.overlaps();
        assert!(overlaps.is_empty(), "the address was served by two at a time: {overlaps:02x?}\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} of {} requests answered", self.answered(), self.sent())?;
        for outage in self.outages() {
            let end = if outage.over { "" } else { ", not over" };
            writeln!(
                f,
                "from {:?}: {:?} without replies ({} lost{end})",
                outage.from, outage.length, outage.lost
            )?;
        }
        for Holder { mac, node, from, to } in self.holders() {
            let name = node.unwrap_or_else(|| crate::plan::mac_text(mac));
            writeln!(f, "{from:?} to {to:?}: {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 6] = [2, 0x77, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0x77, 0, 0, 0, 2];

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn seen(sightings: &[(u64, [u8; 6])]) -> Report {
        let sightings = sightings.iter().map(|(at, mac)| (ms(*at), *mac)).collect();
        Report { nodes: vec!["n1".into(), "n2".into()], sightings, ..Report::default() }
    }

    #[test]
    fn an_outage_lasts_from_reply_to_reply() {
        let mut report = Report { now: ms(2000), ..Report::default() };
        for number in 0..50 {
            let sent = ms(number * 20);
            let lost = (10..20).contains(&number) || number == 30;
            report.requests.push((sent, (!lost).then_some(sent + ms(1))));
        }
        let outage = Outage { from: ms(181), length: ms(220), lost: 10, over: true };
        assert_eq!(report.outages(), [outage], "a single lost request is none");
        report.requests.truncate(15);
        assert_eq!(report.outages(), [Outage { length: ms(1819), lost: 5, over: false, ..outage }]);
        report.now = ms(310);
        assert_eq!(report.outages(), [], "what was sent just now may still be answered");
    }

    #[test]
    fn a_handover_is_no_overlap() {
        let report = seen(&[(0, A), (20, A), (40, B), (60, B), (80, B), (900, A), (920, A)]);
        assert_eq!(report.overlaps(), []);
        let names: Vec<_> = report.holders().into_iter().map(|holder| holder.node.unwrap()).collect();
        assert_eq!(names, ["n1", "n2", "n1"]);
    }

    #[test]
    fn answers_that_alternate_are_an_overlap() {
        assert_eq!(seen(&[(0, A), (20, B), (30, A), (40, B)]).overlaps().len(), 2);
    }
}
