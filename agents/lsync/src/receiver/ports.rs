//! Who listens on a TCP port, from `/proc`: an rsync daemon that gets its port for IPv6 alone serves on, and says nothing,
//! while another program answers those who come by IPv4.

use process::Process;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};

/// A socket that takes connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// The address; unspecified if it takes them on all.
    pub(super) address: IpAddr,
    /// The socket's number.
    pub(super) inode: u64,
}

/// The sockets in this network namespace that take connections on this port, at the address if one is given, or at any.
pub(super) fn listeners(port: u16, address: Option<&str>) -> Vec<Listener> {
    let wanted: Vec<IpAddr> = address
        .and_then(|address| (address, port).to_socket_addrs().ok())
        .map(|all| all.map(|it| it.ip()).collect())
        .unwrap_or_default();
    let concerned = |it: &Listener| {
        it.address.is_unspecified()
            || wanted.is_empty()
            || wanted.iter().any(|address| address.is_unspecified() || *address == it.address)
    };
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .flat_map(|table| parse(&fs::read_to_string(table).unwrap_or_default(), port))
        .map(|(listener, _)| listener)
        .filter(concerned)
        .collect()
}

/// Connections to this port that the process has not accepted yet.
pub(super) fn waiting(port: u16, pid: i32) -> u32 {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .flat_map(|table| parse(&fs::read_to_string(table).unwrap_or_default(), port))
        .filter(|(listener, _)| has(pid, listener.inode))
        .map(|(_, waiting)| waiting)
        .sum()
}

/// Reads `sl local_address rem_address st tx_queue:rx_queue … inode` (proc_net_tcp), where 0A is the state of a socket that listens; what
/// it has received are connections that wait to be accepted.
fn parse(table: &str, port: u16) -> Vec<(Listener, u32)> {
    let line = |line: &str| -> Option<(Listener, u32)> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, its_port) = words.get(1)?.split_once(':')?;
        let right = u16::from_str_radix(its_port, 16).ok()? == port && *words.get(3)? == "0A";
        right.then_some(())?;
        let waiting = u32::from_str_radix(words.get(4)?.split_once(':')?.1, 16).ok()?;
        Some((Listener { address: self::address(address)?, inode: words.get(9)?.parse().ok()? }, waiting))
    };
    table.lines().filter_map(line).collect()
}

/// Each 32 bits of an address are written as a number of this machine's byte order.
fn address(hex: &str) -> Option<IpAddr> {
    let group = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(group(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (n, part) in bytes.chunks_mut(4).enumerate() {
                part.copy_from_slice(&group(n * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// Whether this process has the socket open.
pub(super) fn has(pid: i32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
}

/// Who has the socket open, if it can be found: not where it lives in a container, or is the service manager's.
pub(super) fn owner(inode: u64) -> Option<Process> {
    Process::all().into_iter().find(|it| has(it.pid, inode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn tables_of_the_kernel() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             \x20  0: 0100007F:0369 00000000:0000 0A 00000000:0000000B 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
             \x20  1: 0100007F:0369 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n\
             \x20  2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\n\
             torn";
        if cfg!(target_endian = "little") {
            let expected = Listener { address: "127.0.0.1".parse().unwrap(), inode: 4711 };
            assert_eq!(parse(table, 873), [(expected, 11)]);
        }
        assert_eq!(parse(table, 874), []);
    }

    #[test]
    fn one_of_our_own_is_found_with_its_owner() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let socket = TcpListener::bind(at).unwrap();
            let address = socket.local_addr().unwrap();
            let inode = nix::sys::stat::fstat(&socket).unwrap().st_ino;
            // Other programs may listen on that number too, at other addresses.
            let found = |at| listeners(address.port(), at).into_iter().find(|it| it.inode == inode);
            assert_eq!(found(None), Some(Listener { address: address.ip(), inode }));
            assert_eq!(owner(inode).unwrap().pid, std::process::id() as i32);
            assert_eq!(found(Some("127.0.0.2")), None, "at another address it is nobody's rival");
            assert!(found(Some("0.0.0.0")).is_some());
        }
    }
}
