//! Messages (`struct nlmsghdr`): requests as bytes, and the replies in a datagram. Pure.

use crate::attribute::{aligned, attributes, push, text, u16_at, u32_at};

const HEADER: usize = 16;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// `NLM_F_*` of a request (linux/netlink.h).
pub(crate) mod flag {
    pub(crate) const REQUEST: u16 = 0x1;
    pub(crate) const ACK: u16 = 0x4;
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const REPLACE: u16 = 0x100;
    pub(crate) const EXCL: u16 = 0x200;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const APPEND: u16 = 0x800;
}

/// A dump during which the kernel's table changed (linux/netlink.h).
const NLM_F_DUMP_INTR: u16 = 0x10;
/// The acknowledgement carries no copy of the request.
const NLM_F_CAPPED: u16 = 0x100;
/// The acknowledgement carries attributes.
const NLM_F_ACK_TLVS: u16 = 0x200;
/// The attribute with the kernel's own words.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A request being built: type, flags, the family's fixed header, attributes.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut body = fixed.to_vec();
        body.resize(aligned(body.len()), 0);
        Request { kind, flags: flags | flag::REQUEST, body }
    }

    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        push(&mut self.body, kind, value);
        self
    }

    pub(crate) fn is_dump(&self) -> bool {
        self.flags & flag::DUMP == flag::DUMP
    }

    /// The bytes, with this sequence number.
    pub(crate) fn bytes(&self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER + self.body.len());
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&self.flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// One message of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// An object: the message type, and what follows the header.
    Object { kind: u16, body: &'a [u8] },
    /// The end of a dump, or the acknowledgement of a request: 0 or an errno, and the kernel's words on it.
    End { errno: i32, words: Option<String> },
}

/// A message with its sequence number, and whether the dump it belongs to was disturbed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) sequence: u32,
    pub(crate) interrupted: bool,
    pub(crate) reply: Reply<'a>,
}

/// The messages of a datagram. One that makes no sense ends it with `Err`.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let message = message(datagram);
        datagram = match &message {
            Some((_, length)) => datagram.get(aligned(*length)..).unwrap_or(&[]),
            None => &[],
        };
        Some(message.map(|(message, _)| message).ok_or(Malformed))
    })
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

fn message(bytes: &[u8]) -> Option<(Message<'_>, usize)> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let kind = u16_at(bytes, 4)?;
    let flags = u16_at(bytes, 6)?;
    let sequence = u32_at(bytes, 8)?;
    let body = bytes.get(HEADER..length)?;
    let reply = match kind {
        NLMSG_ERROR => {
            let code = i32::from_ne_bytes(body.get(..4)?.try_into().ok()?);
            Reply::End { errno: code.saturating_neg(), words: words(body, flags, true) }
        }
        NLMSG_DONE => {
            // The result of a dump; older kernels leave it out.
            let errno = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
            Reply::End { errno: errno.saturating_neg(), words: words(body, flags, false) }
        }
        kind => Reply::Object { kind, body },
    };
    Some((Message { sequence, interrupted: flags & NLM_F_DUMP_INTR != 0, reply }, length))
}

/// What the kernel says beside the code. An acknowledgement repeats the request first, the end of a dump does not.
fn words(body: &[u8], flags: u16, repeats_request: bool) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let request = match repeats_request {
        false => 0,
        true if flags & NLM_F_CAPPED != 0 => HEADER,
        true => usize::try_from(u32_at(body, 4)?).ok()?,
    };
    let extra = body.get(4usize.checked_add(aligned(request))?..)?;
    attributes(extra).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG).map(|(_, value)| text(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_reads_back() {
        let bytes =
            Request::new(22, flag::DUMP, &[2, 0, 0, 0, 0, 0, 0, 0]).attribute(1, &[10, 0, 0, 1]).bytes(7);
        let read: Vec<_> = messages(&bytes).collect();
        let [Ok(Message { sequence: 7, interrupted: false, reply: Reply::Object { kind: 22, body } })] =
            read[..]
        else {
            panic!("{read:?}");
        };
        assert_eq!(attributes(&body[8..]).collect::<Vec<_>>(), [(1, &[10u8, 0, 0, 1][..])]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_end(bytes: Vec<u8>) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }

        #[test]
        fn a_header_with_any_content_ends(
            kind in 0u16..4, flags: u16, declared in 0u32..80, body in proptest::collection::vec(any::<u8>(), 0..64)
        ) {
            let mut bytes = declared.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(&flags.to_ne_bytes());
            bytes.extend_from_slice(&[0; 8]);
            bytes.extend_from_slice(&body);
            prop_assert!(messages(&bytes).count() <= bytes.len());
        }
    }
}
