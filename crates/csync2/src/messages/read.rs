//! Lines put together: names with line ends, the daemon's processes, and lines that csync2 has not ended.

use super::line::{Seen, recognise};
use super::{Fact, Failure, Line};
use crate::Text;

/// Whose output it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// What a run of `csync2 -c`, `-u`, `-x`, … prints to its stderr. (What it prints to stdout is for [`super::table`], but for
    /// [`Failure::Locked`], which stands there alone.)
    Client,
    /// What `csync2 -ii` prints: each process that serves a connection begins its lines with its number.
    Daemon,
}

/// What csync2 says when it is going to settle the conflict of a removal; it does not end the line.
const AUTO: &[u8] = b"auto resolving... response = 10";
/// The daemon does not end this one either; what is in it is cut at an arbitrary place.
const MKPATH: &[u8] = b"mkpath full path: ";

/// How many line ends a name is thought to have at most.
const MOST: usize = 64;

/// Reads whole lines of csync2's. Of a client, all of its output: that `Finished with 0 errors.` is the end, and not part of a
/// name, is told by nothing following it.
#[must_use]
pub fn read(output: &[u8], source: Source) -> Vec<Line> {
    let output = output.strip_suffix(b"\n").unwrap_or(output);
    if output.is_empty() {
        return Vec::new();
    }
    let lines: Vec<&[u8]> = output.split(|byte| *byte == b'\n').collect();
    match source {
        Source::Client => client(&lines),
        Source::Daemon => daemon(&lines),
    }
}

/// Of which line on `Connection closed.` and `Finished with … errors.` are meant.
fn end(lines: &[&[u8]]) -> usize {
    let is = |line: Option<&&[u8]>, wanted: fn(&Fact) -> bool| {
        line.is_some_and(|line| matches!(recognise(line, None), Seen::Fact(fact) if wanted(&fact)))
    };
    let mut end = lines.len();
    if is(lines.last(), |fact| matches!(fact, Fact::End { .. })) {
        end -= 1;
    }
    if end.checked_sub(1).is_some_and(|before| is(lines.get(before), |fact| *fact == Fact::Closed)) {
        end -= 1;
    }
    end
}

fn client(lines: &[&[u8]]) -> Vec<Line> {
    let mut found = Vec::new();
    let mut push = |fact| found.push(Line { session: None, fact });
    let mut peer: Option<Text> = None;
    let end = end(lines);
    let (body, tail) = lines.split_at_checked(end).unwrap_or((lines, &[]));
    let mut at = 0;
    while let Some(line) = body.get(at) {
        let mut line: &[u8] = line;
        if let Some(rest) = line.strip_prefix(AUTO) {
            push(Fact::AlsoDirty);
            line = rest;
        }
        let (fact, used) = joined(line, body.get(at + 1..).unwrap_or_default(), peer.as_ref());
        at += 1 + used;
        if let Fact::Connecting { peer: next, .. } = &fact {
            peer = Some(next.clone());
        }
        let usage = matches!(fact, Fact::Failed(Failure::Usage { .. }));
        push(fact);
        if usage {
            // Two pages of help follow.
            return found;
        }
    }
    for line in tail {
        if let Seen::Fact(fact) = recognise(line, None) {
            push(fact);
        }
    }
    found
}

/// Is it known, and not one of the lines that only count at the end?
fn is_line(line: &[u8], peer: Option<&Text>) -> bool {
    match recognise(line.strip_prefix(AUTO).unwrap_or(line), peer) {
        Seen::Fact(fact) => !matches!(fact, Fact::End { .. } | Fact::Closed),
        Seen::Open => true,
        Seen::Nothing => false,
    }
}

/// The line, with as many of those that follow as belong to it.
fn joined(line: &[u8], rest: &[&[u8]], peer: Option<&Text>) -> (Fact, usize) {
    match recognise(line, peer) {
        Seen::Fact(Fact::Marked { name }) => {
            let following = rest.iter().take(MOST).take_while(|line| !is_line(line, peer));
            let more: Vec<&[u8]> = following.copied().collect();
            let mut name = name.bytes().to_vec();
            for line in &more {
                name.push(b'\n');
                name.extend_from_slice(line);
            }
            (Fact::Marked { name: Text::from(name) }, more.len())
        }
        Seen::Fact(fact) => (fact, 0),
        Seen::Nothing if line.is_empty() => (Fact::Progress, 0),
        Seen::Nothing => (Fact::Unknown(Text::from(line)), 0),
        Seen::Open => {
            let mut whole = line.to_vec();
            for (used, next) in rest.iter().take(MOST).enumerate() {
                whole.push(b'\n');
                whole.extend_from_slice(next);
                if let Seen::Fact(fact) = recognise(&whole, peer) {
                    return (fact, used + 1);
                }
            }
            // It was cut: csync2 was ended while it printed.
            (Fact::Unknown(Text::from(line)), 0)
        }
    }
}

/// The number of the process, and the rest of the line.
fn session(line: &[u8]) -> Option<(u32, &[u8])> {
    let rest = line.strip_prefix(b"<")?;
    let length = rest.iter().position(|byte| *byte == b'>')?;
    let (number, rest) = rest.split_at_checked(length)?;
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    Some((number, rest.strip_prefix(b"> ")?))
}

/// The last of several messages on one line, all but the last of which were not ended.
fn last_message(line: &[u8], session: u32) -> &[u8] {
    if !line.starts_with(MKPATH) {
        return line;
    }
    let mark = format!("<{session}> ");
    let place = line.windows(mark.len()).rposition(|window| window == mark.as_bytes());
    place.and_then(|at| line.get(at + mark.len()..)).unwrap_or(line)
}

fn daemon(lines: &[&[u8]]) -> Vec<Line> {
    let mut found: Vec<Line> = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        let Some((number, mut line)) = session(line) else {
            let fact = match recognise(line, None) {
                Seen::Fact(fact) => fact,
                _ => Fact::Unknown(Text::from(*line)),
            };
            found.push(Line { session: None, fact });
            continue;
        };
        // Two processes may print at once: the one whose number came last has the line.
        let mut number = number;
        while let Some((next, rest)) = session(line) {
            (number, line) = (next, rest);
        }
        line = last_message(line, number);
        // What has no number of its own belongs to the line before.
        let rest = lines.get(at..).unwrap_or_default();
        let more = rest.iter().take_while(|line| session(line).is_none()).count();
        let (fact, used) = joined(line, rest.get(..more).unwrap_or_default(), None);
        at += used;
        found.push(Line { session: Some(number), fact });
    }
    found
}
