//! TCP ports for the daemons of tests. One that the kernel chose may be chosen again, by a test beside this one, before the daemon has it;
//! or for the other family, or for a connection that goes out.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// From the first on, up to where the kernel's own choice begins.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A port that nobody listens at, and that no other test of this machine is given until this goes.
#[derive(Debug)]
pub(crate) struct Port {
    /// Its number.
    pub(crate) number: u16,
    /// A name that only one process can have, and that goes with it.
    _claim: UnixDatagram,
}

impl Port {
    pub(crate) fn free() -> Self {
        let length = u32::from(RANGE.end - RANGE.start);
        // Not all from the same one on: that would be slow.
        let first = std::process::id().wrapping_mul(97) % length;
        (0..length)
            .map(|n| RANGE.start + ((first + n) % length) as u16)
            .find_map(Self::claim)
            .expect("a free port")
    }

    fn claim(number: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("bascule-test-port-{number}")).unwrap();
        let claim = UnixDatagram::bind_addr(&name).ok()?;
        // Takes both families.
        TcpListener::bind(("::", number)).ok()?;
        Some(Port { number, _claim: claim })
    }

    /// Listens there, by IPv4, as somebody who says nothing.
    pub(crate) fn listen(&self) -> TcpListener {
        TcpListener::bind(("127.0.0.1", self.number)).unwrap()
    }
}

#[test]
fn nobody_else_is_given_the_same() {
    let ports: Vec<Port> = (0..20).map(|_| Port::free()).collect();
    let mut numbers: Vec<u16> = ports.iter().map(|it| it.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 20);
    let number = ports[0].number;
    assert!(Port::claim(number).is_none());
    drop(ports);
    for address in ["127.0.0.1", "::1"] {
        let _taken = TcpListener::bind((address, number)).unwrap();
        assert!(Port::claim(number).is_none(), "{address}");
    }
}
