//! TCP sockets by their local address, and their end (`SOCK_DESTROY`, sock_diag(7)).

use crate::address::{family, ip};
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
/// `struct inet_diag_sockid`: ports, addresses, interface, cookie.
const ID: usize = 48;

/// `struct inet_diag_req_v2`.
fn request(kind: u16, flags: u16, family: u8, states: u32, id: &[u8]) -> Request {
    let fixed = [&[family, IPPROTO_TCP, 0, 0][..], &states.to_ne_bytes(), id].concat();
    Request::new(kind, flags, &fixed)
}

/// A connection as `struct inet_diag_msg` tells it: family, local address, identity.
fn connection(body: &[u8]) -> Option<(u8, IpAddr, &[u8])> {
    let family = *body.first()?;
    let id = body.get(4..4 + ID)?;
    let source = if family == 2 { id.get(4..8)? } else { id.get(4..20)? };
    let _interface = u32_at(id, 36)?;
    Some((family, ip(source)?.to_canonical(), id))
}

/// Resets every TCP connection of this local address, and returns how many there were. The peers are told (RST), so the
/// address has to be there still.
///
/// # Errors
/// The kernel does not offer this (`EOPNOTSUPP`), or does not answer until the deadline.
pub fn destroy_tcp(address: IpAddr, deadline: Instant) -> Result<usize, Error> {
    let what = format!("resetting the TCP connections of {address}");
    let mut socket = Socket::open(SockProtocol::NetlinkSockDiag, deadline)?;
    let mut found: Vec<(u8, Vec<u8>)> = Vec::new();
    // A socket of IPv6 may have a connection of IPv4 (as ::ffff:…).
    let families = if address.is_ipv4() { &[2, 10][..] } else { &[10][..] };
    for of in families {
        let all = request(SOCK_DIAG_BY_FAMILY, flag::DUMP, *of, CONNECTED, &[0; ID]);
        let listed = socket.ask(&what, &all, |_, body| {
            if let Some((family, source, id)) = connection(body)
                && source == address
            {
                found.push((family, id.to_vec()));
            }
        });
        match listed {
            // No IPv6 in this kernel.
            Err(error) if error.errno() == Errno::ENOENT && *of != family(address) => {}
            listed => listed?,
        }
    }
    for (of, id) in &found {
        match socket.ask(&what, &request(SOCK_DESTROY, flag::ACK, *of, CONNECTED, id), |_, _| {}) {
            // It ended by itself.
            Err(error) if error.is_gone() => {}
            done => done?,
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
