//! TCP connections: those of one address are reset, all others live.

use crate::*;
use netlink::diag::destroy_tcp;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};

/// RT_TABLE_LOCAL: the node's own addresses.
const LOCAL: u32 = 255;

/// A connection to a new listener at this address: client, server, listener.
fn connection(address: &str) -> (TcpStream, TcpStream, TcpListener) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    (client, server, listener)
}

fn is_reset(mut stream: &TcpStream) -> bool {
    let kind = stream.read(&mut [0]).unwrap_err().kind();
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
}

fn is_alive(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut reader = stream;
    let alive = reader.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    alive
}

#[test]
fn connections_of_the_address_are_reset_and_no_others() {
    fresh_namespace();
    ip("address add 10.0.0.9/32 dev lo");
    ip("address add 10.0.0.10/32 dev lo");
    ip("address add 2001:db8::9/128 dev lo nodad");
    // Even without duplicate detection the kernel routes to a new IPv6 address only a moment later, from its work queue.
    let end = soon();
    while open().route_match(addr("2001:db8::9")).unwrap().is_none_or(|route| route.table != LOCAL) {
        assert!(Instant::now() < end, "there is no route to the address");
        std::thread::sleep(Duration::from_millis(1));
    }
    let nine = connection("10.0.0.9");
    let ten = connection("10.0.0.10");
    let six = connection("2001:db8::9");
    // A client of .9 has its own end there too: the loopback takes the destination as source.
    assert_eq!(destroy_tcp(addr("10.0.0.9"), soon()).unwrap(), 2);
    assert!(is_reset(&nine.0) && is_reset(&nine.1));
    assert!([&ten.0, &ten.1, &six.0, &six.1].into_iter().all(is_alive));
    assert_eq!(destroy_tcp(addr("2001:db8::9"), soon()).unwrap(), 2);
    assert!(is_reset(&six.0) && is_reset(&six.1));
    assert!(is_alive(&ten.0) && is_alive(&ten.1));
    // The listener goes on, so that the address can come back to the same service.
    let again = TcpStream::connect(nine.2.local_addr().unwrap()).unwrap();
    assert!(is_alive(&again));
    assert_eq!(destroy_tcp(addr("10.0.0.11"), soon()).unwrap(), 0);
}

/// A server that listens on `::` for both families has its IPv4 connections in sockets of IPv6.
#[test]
fn ipv4_connections_in_ipv6_sockets_are_reset() {
    fresh_namespace();
    ip("address add 10.0.0.9/32 dev lo");
    ip("address add 10.0.0.10/32 dev lo");
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("10.0.0.9", port)).unwrap();
    let (server, peer) = listener.accept().unwrap();
    let other = TcpStream::connect(("10.0.0.10", port)).unwrap();
    let _served = listener.accept().unwrap();
    assert!(peer.is_ipv6() && server.local_addr().unwrap().is_ipv6());
    assert_eq!(destroy_tcp(addr("10.0.0.9"), soon()).unwrap(), 2);
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(is_reset(stream));
    }
    assert!(is_alive(&other));
}

/// Half-closed connections hold clients up as well.
#[test]
fn half_closed_connections_are_reset_and_many_at_once() {
    fresh_namespace();
    ip("address add 10.0.0.9/32 dev lo");
    let listener = TcpListener::bind("10.0.0.9:0").unwrap();
    let mut held = Vec::new();
    for n in 0..200 {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        if n % 2 == 0 {
            client.shutdown(std::net::Shutdown::Write).unwrap();
        }
        held.push((client, server));
    }
    assert_eq!(destroy_tcp(addr("10.0.0.9"), soon()).unwrap(), 400);
    assert_eq!(destroy_tcp(addr("10.0.0.9"), soon()).unwrap(), 0);
}
