//! The table of labels for source address selection (RFC 6724; `struct ifaddrlblmsg`). Pure.

use crate::message::{Request, flag};
use std::net::Ipv6Addr;

const RTM_NEWADDRLABEL: u16 = 72;
const RTM_DELADDRLABEL: u16 = 73;
const IFAL_ADDRESS: u16 = 1;
const IFAL_LABEL: u16 = 2;

fn request(kind: u16, flags: u16, ip: Ipv6Addr, value: u32) -> Request {
    // Family, reserved, prefix length, flags, index, sequence.
    Request::new(kind, flags | flag::ACK, &[10, 0, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .attribute(IFAL_ADDRESS, &ip.octets())
        .attribute(IFAL_LABEL, &value.to_ne_bytes())
}

pub(crate) fn add(ip: Ipv6Addr, value: u32) -> Request {
    request(RTM_NEWADDRLABEL, flag::CREATE | flag::EXCL, ip, value)
}

pub(crate) fn delete(ip: Ipv6Addr, value: u32) -> Request {
    request(RTM_DELADDRLABEL, 0, ip, value)
}
