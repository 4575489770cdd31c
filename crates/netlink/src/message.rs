//! Netlink framing, pure: requests are built here, datagrams are cut into messages, answers of the kernel are read.
//!
//! Attributes are read with `netlink-packet-core`'s iterator; what is malformed is an error, never a panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::NlasIterator;

/// Bytes of a netlink message header.
pub(crate) const HEADER: usize = 16;
/// The bits of an attribute's kind that are flags (nested, byte order).
const KIND_FLAGS: u16 = 0xc000;
/// The attribute of an extended acknowledgement that holds the kernel's words.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// What came from the kernel cannot be read; says which part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// A request under construction: header, fixed part, attributes. Sent by the socket, which numbers it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A request of this kind (`RTM_…`) and these flags beside `NLM_F_REQUEST`; `body` is its fixed part, or all of it.
    pub(crate) fn new(kind: u16, flags: i32, body: &[u8]) -> Self {
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        let mut bytes = Vec::with_capacity(HEADER + body.len() + 64);
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(body);
        Self { bytes }
    }

    /// The same with one more attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        put_attribute(&mut self.bytes, kind, value);
        self
    }

    /// The bytes to send, under this sequence number.
    pub(crate) fn numbered(&mut self, sequence: u32) -> &[u8] {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        &self.bytes
    }
}

/// Appends an attribute, padded. The kind keeps its flag bits. Values of 64 KiB and more do not exist in netlink: callers
/// pass addresses, names and numbers, or attributes that were read before.
pub(crate) fn put_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = (4 + value.len()) as u16;
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: i32,
    pub(crate) sequence: u32,
    pub(crate) body: &'a [u8],
}

impl Frame<'_> {
    /// What an error or acknowledgement (`NLMSG_ERROR`), or the end of a dump (`NLMSG_DONE`), says; `None` for other kinds.
    pub(crate) fn outcome(&self) -> Result<Option<Outcome>, Malformed> {
        let done = i32::from(self.kind) == libc::NLMSG_DONE;
        if !done && i32::from(self.kind) != libc::NLMSG_ERROR {
            return Ok(None);
        }
        let code = match self.body.first_chunk() {
            Some(&bytes) => i32::from_ne_bytes(bytes),
            // The end of a dump may come without a code.
            None if done => 0,
            None => return Err(Malformed("an answer without its code")),
        };
        let mut text = None;
        if self.flags & libc::NLM_F_ACK_TLVS != 0 {
            // The refused request stands between the code and the attributes, its payload only if not capped.
            let skipped = match self.body.get(4..8).and_then(|b| b.first_chunk()) {
                _ if done => 4,
                Some(_) if self.flags & libc::NLM_F_CAPPED != 0 => 4 + HEADER,
                Some(&length) => 4 + (u32::from_ne_bytes(length) as usize).max(HEADER).next_multiple_of(4),
                None => return Err(Malformed("an answer without the header that it answers")),
            };
            let attributes = self.body.get(skipped..).unwrap_or_default();
            text = find(attributes, NLMSGERR_ATTR_MSG)?.map(string);
        }
        Ok(Some(Outcome { errno: code.checked_neg().unwrap_or(libc::EPROTO), text }))
    }
}

/// How the kernel answered a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Outcome {
    /// 0 for success.
    pub(crate) errno: i32,
    /// The kernel's own words, where it has any.
    pub(crate) text: Option<String>,
}

/// The messages of a datagram, in order. The first malformed one ends the iteration.
pub(crate) fn frames(datagram: &[u8]) -> impl Iterator<Item = Result<Frame<'_>, Malformed>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let frame = first_frame(rest);
        rest = match frame {
            Ok((_, length)) => rest.get(length.next_multiple_of(4)..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(frame.map(|(frame, _)| frame))
    })
}

fn first_frame(bytes: &[u8]) -> Result<(Frame<'_>, usize), Malformed> {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return Err(Malformed("a message shorter than its header"));
    };
    let long = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let short = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let length = long(0) as usize;
    let Some(body) = bytes.get(HEADER..length) else {
        return Err(Malformed("a message longer than its datagram"));
    };
    Ok((Frame { kind: short(4), flags: short(6).into(), sequence: long(8), body }, length))
}

/// One attribute: its kind without the flag bits, its kind as it came, its value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Attribute<'a> {
    pub(crate) kind: u16,
    pub(crate) full_kind: u16,
    pub(crate) value: &'a [u8],
}

/// The attributes in `bytes`, in order. The first malformed one ends the iteration.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<Attribute<'_>, Malformed>> {
    NlasIterator::new(bytes).map(|item| {
        let nla = item.map_err(|_| Malformed("a cut attribute"))?;
        let raw = nla.into_inner();
        // The iterator has checked that the length is at least the header's and within the bytes.
        let (length, kind) = (u16::from_ne_bytes([raw[0], raw[1]]), u16::from_ne_bytes([raw[2], raw[3]]));
        let value = raw.get(4..length.into()).ok_or(Malformed("a cut attribute"))?;
        Ok(Attribute { kind: kind & !KIND_FLAGS, full_kind: kind, value })
    })
}

/// The value of the first attribute of this kind.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Result<Option<&[u8]>, Malformed> {
    for attribute in attributes(bytes) {
        let attribute = attribute?;
        if attribute.kind == kind {
            return Ok(Some(attribute.value));
        }
    }
    Ok(None)
}

/// A 32-bit number in the machine's byte order.
pub(crate) fn number(value: &[u8]) -> Result<u32, Malformed> {
    value.try_into().map(u32::from_ne_bytes).map_err(|_| Malformed("a number of other than 4 bytes"))
}

/// An 8-bit number.
pub(crate) fn octet(value: &[u8]) -> Result<u8, Malformed> {
    match value {
        [octet] => Ok(*octet),
        _ => Err(Malformed("a number of other than 1 byte")),
    }
}

/// Text up to its end mark; what is not UTF-8 is replaced.
pub(crate) fn string(value: &[u8]) -> String {
    let end = value.iter().position(|&b| b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// An address of either family, told apart by its length.
pub(crate) fn address(value: &[u8]) -> Result<IpAddr, Malformed> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        Ok(Ipv4Addr::from(v4).into())
    } else if let Ok(v6) = <[u8; 16]>::try_from(value) {
        Ok(Ipv6Addr::from(v6).into())
    } else {
        Err(Malformed("an address of other than 4 or 16 bytes"))
    }
}

/// An address as attributes hold it.
pub(crate) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The protocol family of an address, as headers hold it.
pub(crate) fn family(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

/// The prefix length of a single address of this family: 32 or 128.
pub(crate) fn host_prefix(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}
