//! Packet sockets: frames out on a link, frames in from a link. The only place of this agent that has `unsafe`
//! blocks for the network, because nix offers neither `sockaddr_ll` with long hardware addresses nor socket filters.
//!
//! Closing a packet socket waits for a grace period of the kernel (8 to 20 ms, measured), while opening one and
//! sending take microseconds. Where that matters, hand the socket to a process that nobody waits for.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::frame::{Frame, Mac, Port, Protocol, Received};

/// How long a full send queue may take to drain before sending fails.
const SEND_PATIENCE: Duration = Duration::from_millis(100);
/// Neighbour discovery and ARP packets are far shorter; what is cut off here does not parse.
const LARGEST_PACKET: usize = 2048;

/// A packet socket.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Opens a socket that sends on any link and receives nothing, until [`Socket::listen`] is called.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, or where the kernel has no packet sockets.
    pub(crate) fn open() -> Result<Self, Error> {
        // Protocol 0 leaves it deaf: with one, it would hear every link between here and `bind`.
        socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
            .map(Self)
            .map_err(|errno| Error { attempt: "cannot open a packet socket".into(), errno })
    }

    /// From now on receives what arrives on one link for one protocol: all of ARP, but of IPv6 only neighbour
    /// solicitations and advertisements.
    ///
    /// # Errors
    /// If the link is gone.
    pub(crate) fn listen(&self, port: &Port, protocol: Protocol) -> Result<(), Error> {
        if protocol == Protocol::Ipv6 {
            sys::attach_neighbour_discovery_filter(self.as_fd())
                .map_err(on(port, "cannot filter packets on"))?;
        }
        let address = sys::LinkAddress::new(port.index, protocol.number(), &[]);
        sys::bind(self.as_fd(), &address).map_err(on(port, "cannot listen on"))
    }

    /// Makes the interface let packets for a hardware group through, while this socket is open.
    ///
    /// # Errors
    /// If the link is gone or takes no more groups.
    pub(crate) fn join(&self, port: &Port, group_mac: &[u8]) -> Result<(), Error> {
        sys::join(self.as_fd(), port.index, group_mac).map_err(on(port, "cannot join a multicast group on"))
    }

    /// Sends one packet; the driver of the link writes the link header.
    ///
    /// # Errors
    /// If the link is down or gone, or its queue stays full.
    pub(crate) fn send(&self, port: &Port, frame: &Frame) -> Result<(), Error> {
        let address = sys::LinkAddress::new(port.index, frame.protocol.number(), &frame.destination);
        let send = || retry_interrupted(|| sys::send(self.as_fd(), &frame.payload, &address));
        let mut result = send();
        if result == Err(Errno::EAGAIN) {
            let writable = PollFd::new(self.as_fd(), PollFlags::POLLOUT);
            // Whatever poll says, the next attempt tells how it stands.
            let _ = poll(&mut [writable], timeout(SEND_PATIENCE));
            result = send();
        }
        result.map_err(on(port, "cannot send on"))
    }

    /// The next packet that has arrived and concerns this station, if there is one. Does not wait.
    ///
    /// # Errors
    /// If the link went down or is gone.
    pub(crate) fn receive(&self, port: &Port) -> Result<Option<Received>, Error> {
        let mut buffer = [0; LARGEST_PACKET];
        loop {
            match retry_interrupted(|| sys::receive(self.as_fd(), &mut buffer)) {
                Ok((length, from)) if concerns_this_station(from.packet_type) => {
                    let source = Mac(from.hardware_address().to_vec());
                    return Ok(Some(Received { source, payload: buffer[..length].to_vec() }));
                }
                Ok(_) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(on(port, "cannot receive on")(errno)),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of the sockets has something to say, or the deadline has come.
///
/// # Errors
/// Only if the kernel is out of memory.
pub(crate) fn wait<'a>(sockets: impl Iterator<Item = &'a Socket>, deadline: Instant) -> Result<(), Error> {
    let mut polled: Vec<_> = sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    match poll(&mut polled, timeout(deadline.saturating_duration_since(Instant::now()))) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(Error { attempt: "cannot wait for packets".into(), errno }),
    }
}

/// In whole milliseconds, rounded up: rounded down, the last millisecond of a wait would be spent spinning.
fn timeout(wait: Duration) -> PollTimeout {
    PollTimeout::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
}

fn retry_interrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// Not what this machine sent (`PACKET_OUTGOING`), and not what is for others (`PACKET_OTHERHOST`): that is also how
/// the kernel marks frames of a VLAN that is not configured here, and a neighbour there is no neighbour of ours.
fn concerns_this_station(packet_type: u8) -> bool {
    matches!(packet_type, libc::PACKET_HOST | libc::PACKET_BROADCAST | libc::PACKET_MULTICAST)
}

/// Why a packet socket could not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    attempt: String,
    errno: Errno,
}

fn on(port: &Port, attempt: &'static str) -> impl FnOnce(Errno) -> Error {
    let attempt = format!("{attempt} {}", port.name);
    move |errno| Error { attempt, errno }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.errno {
            Errno::ENETDOWN => "the link is down",
            Errno::ENODEV | Errno::ENXIO => "there is no such link any more",
            Errno::EPERM | Errno::EACCES => "not permitted (CAP_NET_RAW is needed)",
            Errno::EAGAIN | Errno::ENOBUFS => "its send queue stays full",
            errno => errno.desc(),
        };
        write!(f, "{}: {reason}", self.attempt)
    }
}

impl std::error::Error for Error {}

/// The system calls that nix does not have.
mod sys {
    #![allow(unsafe_code)]

    use std::mem::{offset_of, size_of};
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::ptr;

    use nix::errno::Errno;

    use crate::ndp;

    /// Longest hardware address of the kernel (`MAX_ADDR_LEN`).
    const LONGEST_ADDRESS: usize = 32;

    /// `struct sockaddr_ll` with room for every hardware address: the one of libc ends after eight bytes, an IPoIB
    /// address has twenty.
    #[repr(C)]
    pub(super) struct LinkAddress {
        family: u16,
        /// In network byte order.
        protocol: u16,
        index: i32,
        hardware_type: u16,
        pub(super) packet_type: u8,
        length: u8,
        address: [u8; LONGEST_ADDRESS],
    }

    const SIZE: libc::socklen_t = size_of::<LinkAddress>() as libc::socklen_t;
    const _: () = assert!(offset_of!(LinkAddress, address) == offset_of!(libc::sockaddr_ll, sll_addr));

    impl LinkAddress {
        /// `protocol` in host byte order; a hardware address longer than any kernel's is cut.
        pub(super) fn new(index: u32, protocol: u16, hardware_address: &[u8]) -> Self {
            let (length, address) = padded(hardware_address);
            Self {
                family: libc::AF_PACKET as u16,
                protocol: protocol.to_be(),
                // The kernel's own type for an index is int.
                index: index as i32,
                hardware_type: 0,
                packet_type: 0,
                length,
                address,
            }
        }

        pub(super) fn hardware_address(&self) -> &[u8] {
            &self.address[..usize::from(self.length).min(LONGEST_ADDRESS)]
        }
    }

    fn padded(hardware_address: &[u8]) -> (u8, [u8; LONGEST_ADDRESS]) {
        let length = hardware_address.len().min(LONGEST_ADDRESS);
        let mut address = [0; LONGEST_ADDRESS];
        address[..length].copy_from_slice(&hardware_address[..length]);
        (length as u8, address)
    }

    pub(super) fn bind(socket: BorrowedFd<'_>, address: &LinkAddress) -> nix::Result<()> {
        // SAFETY: `address` is a live `sockaddr_ll`, longer than the original, of the size given.
        let result = unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(address).cast(), SIZE) };
        Errno::result(result).map(drop)
    }

    pub(super) fn send(socket: BorrowedFd<'_>, payload: &[u8], to: &LinkAddress) -> nix::Result<()> {
        // SAFETY: `payload` is readable for its length; `to` is a live `sockaddr_ll` of the size given.
        let result = unsafe {
            libc::sendto(
                socket.as_raw_fd(),
                payload.as_ptr().cast(),
                payload.len(),
                libc::MSG_DONTWAIT,
                ptr::from_ref(to).cast(),
                SIZE,
            )
        };
        Errno::result(result).map(drop)
    }

    pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<(usize, LinkAddress)> {
        let mut from = LinkAddress::new(0, 0, &[]);
        let mut size = SIZE;
        // SAFETY: `buffer` is writable for its length, `from` for `size` bytes, and any bytes are valid in it.
        let result = unsafe {
            libc::recvfrom(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                ptr::from_mut(&mut from).cast(),
                &raw mut size,
            )
        };
        // Not negative after `result`, and at most the length of the buffer.
        Errno::result(result).map(|length| (length as usize, from))
    }

    /// `struct packet_mreq` with room for every hardware address.
    #[repr(C)]
    struct Membership {
        index: libc::c_int,
        kind: u16,
        length: u16,
        address: [u8; LONGEST_ADDRESS],
    }

    pub(super) fn join(socket: BorrowedFd<'_>, index: u32, group: &[u8]) -> nix::Result<()> {
        let (length, address) = padded(group);
        let length = u16::from(length);
        let membership = Membership {
            index: index as libc::c_int,
            kind: libc::PACKET_MR_MULTICAST as u16,
            length,
            address,
        };
        set_option(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)
    }

    /// Lets through neighbour solicitations and advertisements only, so that a busy link does not wake us for
    /// every packet. On this kind of socket a packet begins with its IPv6 header.
    pub(super) fn attach_neighbour_discovery_filter(socket: BorrowedFd<'_>) -> nix::Result<()> {
        const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
        const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
        const NEXT_HEADER: u32 = 6;
        let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        let mut program = [
            instruction(LOAD_BYTE, 0, 0, NEXT_HEADER),
            instruction(JUMP_IF_EQUAL, 0, 4, ndp::ICMPV6.into()),
            instruction(LOAD_BYTE, 0, 0, ndp::IPV6_HEADER as u32),
            instruction(JUMP_IF_EQUAL, 1, 0, ndp::SOLICITATION.into()),
            instruction(JUMP_IF_EQUAL, 0, 1, ndp::ADVERTISEMENT.into()),
            instruction(RETURN, 0, 0, u32::MAX),
            instruction(RETURN, 0, 0, 0),
        ];
        // The pointer stays valid through the call, which copies the program.
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    fn set_option<T>(
        socket: BorrowedFd<'_>,
        level: libc::c_int,
        option: libc::c_int,
        value: &T,
    ) -> nix::Result<()> {
        let size = size_of::<T>() as libc::socklen_t;
        // SAFETY: `value` is readable for its size, and the kernel only reads it.
        let result =
            unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(value).cast(), size) };
        Errno::result(result).map(drop)
    }
}
