//! TCP sockets by their local address, and their end (`SOCK_DESTROY`, sock_diag(7)).

use crate::address::{family, ip, octets};
use crate::attribute::u32_at;
use crate::error::Error;
use crate::message::{Request, flag};
use crate::socket::Socket;
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use std::net::IpAddr;
use std::time::Instant;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const IPPROTO_TCP: u8 = 6;
/// All states of a connection (include/net/tcp_states.h): not 6 (time wait), 7 (closed), 10 (listening).
const CONNECTED: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11 | 1 << 12;
/// The attribute with the kernel's filter program, and its one instruction of use here: compare the local address.
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_BC_S_COND: u8 = 7;
/// `struct inet_diag_sockid`: ports, addresses, interface, cookie.
const ID: usize = 48;

/// `struct inet_diag_req_v2`.
fn request(kind: u16, flags: u16, family: u8, states: u32, id: &[u8]) -> Request {
    let fixed = [&[family, IPPROTO_TCP, 0, 0][..], &states.to_ne_bytes(), id].concat();
    Request::new(kind, flags, &fixed)
}

/// A filter for sockets with this local address, so that a busy server does not tell of all it has: the instruction
/// (`struct inet_diag_bc_op`: code, where to go on if it holds, where if not) and its condition (`struct
/// inet_diag_hostcond`: family, prefix length, port, address). Beyond the end by four is "no". The kernel compares an
/// IPv4 address with the IPv4 part of `::ffff:…` too.
fn local_address_is(address: IpAddr) -> Vec<u8> {
    const ANY_PORT: i32 = -1;
    let bytes = octets(address);
    let prefix = bytes.len() as u8 * 8;
    let length = 12 + bytes.len() as u8;
    [
        &[INET_DIAG_BC_S_COND, length][..],
        &u16::from(length + 4).to_ne_bytes(),
        &[family(address), prefix, 0, 0],
        &ANY_PORT.to_ne_bytes(),
        &bytes,
    ]
    .concat()
}

/// A connection as `struct inet_diag_msg` tells it: family, local address, identity.
fn connection(body: &[u8]) -> Option<(u8, IpAddr, &[u8])> {
    let family = *body.first()?;
    let id = body.get(4..4 + ID)?;
    let source = if family == 2 { id.get(4..8)? } else { id.get(4..20)? };
    let _interface = u32_at(id, 36)?;
    Some((family, ip(source)?.to_canonical(), id))
}

/// Resets every TCP connection of this local address, and returns how many sockets had one. The peers are told (RST), so the
/// address has to be there still.
///
/// # Errors
/// The kernel does not offer this ([`Error::is_unsupported`]), or does not answer until the deadline.
pub fn destroy_tcp(address: IpAddr, deadline: Instant) -> Result<usize, Error> {
    let what = format!("resetting the TCP connections of {address}");
    let mut socket = Socket::open(SockProtocol::NetlinkSockDiag, deadline)?;
    let mut found: Vec<(u8, Vec<u8>)> = Vec::new();
    // A socket of IPv6 may have a connection of IPv4 (as ::ffff:…).
    let families = if address.is_ipv4() { &[2, 10][..] } else { &[10][..] };
    for of in families {
        let all = request(SOCK_DIAG_BY_FAMILY, flag::DUMP, *of, CONNECTED, &[0; ID])
            .attribute(INET_DIAG_REQ_BYTECODE, &local_address_is(address));
        let listed = socket.ask(&what, &all, |_, body| {
            connection(body)
                .filter(|(_, source, _)| *source == address)
                .map(|(family, _, id)| (family, id.to_vec()))
        });
        match listed {
            // No IPv6 in this kernel.
            Err(error) if error.errno() == Errno::ENOENT && *of != family(address) => {}
            listed => found.extend(listed?),
        }
    }
    for (of, id) in &found {
        match socket.ask(&what, &request(SOCK_DESTROY, flag::ACK, *of, CONNECTED, id), |_, _| None::<()>) {
            // It ended by itself, or by the reset of its other end on this node.
            Err(error) if error.is_gone() => {}
            done => drop(done?),
        }
    }
    Ok(found.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_are_a_connection_or_none(body: Vec<u8>) {
            let _any = connection(&body);
        }
    }
}
