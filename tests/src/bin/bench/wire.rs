//! The other end of the cable: when an address is first announced, and whether it answers then.

use anyhow::{Context, Result, anyhow};
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
    SockaddrLike, bind, recvmsg, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use std::fs::File;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

/// Sockets in the namespace `peer` of the sandbox.
pub(crate) struct Wire {
    packets: OwnedFd,
    echo4: OwnedFd,
    echo6: OwnedFd,
}

/// What was seen of one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// When the announcement came in, since 1970, by the kernel's stamp.
    pub(crate) announced: Duration,
    /// How long after it the first reply came, to echo requests sent from then on every 2 ms.
    pub(crate) answered: Option<Duration>,
}

/// How long a reply is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

impl Wire {
    /// Opens the sockets, from a thread of its own that enters the namespace.
    pub(crate) fn open() -> Result<Wire> {
        std::thread::scope(|scope| {
            scope.spawn(open).join().unwrap_or_else(|_| Err(anyhow!("the thread died")))
        })
    }

    /// Forgets what has come in so far.
    pub(crate) fn drain(&self) {
        while self.receive().is_some() {}
    }

    /// Waits for an announcement of this address, and tries the address at once. `None`: there was none in time.
    pub(crate) fn watch(&self, ip: IpAddr, patience: Duration) -> Option<Seen> {
        let announced = self.wait(patience, |frame| announces(frame, ip))?;
        let end = Instant::now() + PATIENCE;
        let mut answered = None;
        while answered.is_none() && Instant::now() < end {
            // An address that is not known yet is asked for first, and what cannot be sent is tried again.
            let _unsent = self.ask(ip);
            answered = self.wait(Duration::from_millis(2), |frame| answers(frame, ip));
        }
        Some(Seen { announced, answered: answered.map(|at| at.saturating_sub(announced)) })
    }

    /// The time of the first frame that is wanted.
    fn wait(&self, patience: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Duration> {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            let _ready =
                poll(&mut [PollFd::new(self.packets.as_fd(), PollFlags::POLLIN)], PollTimeout::from(1u8));
            while let Some((at, frame)) = self.receive() {
                if wanted(&frame) {
                    return Some(at);
                }
            }
        }
        None
    }

    fn ask(&self, ip: IpAddr) -> nix::Result<usize> {
        match ip {
            IpAddr::V4(ip) => {
                // Type 8, identifier 0xbe0c; the checksum is the complement of the sum of the words.
                let checksum = !(0x0800u16 + 0xbe0c);
                let [high, low] = checksum.to_be_bytes();
                let request = [8, 0, high, low, 0xbe, 0x0c, 0, 0];
                sendto(
                    self.echo4.as_raw_fd(),
                    &request,
                    &SockaddrIn::from(SocketAddrV4::new(ip, 0)),
                    MsgFlags::empty(),
                )
            }
            IpAddr::V6(ip) => {
                // The kernel fills the checksum in.
                let request = [128, 0, 0, 0, 0xbe, 0x0c, 0, 0];
                let to = SockaddrIn6::from(SocketAddrV6::new(ip, 0, 0, 0));
                sendto(self.echo6.as_raw_fd(), &request, &to, MsgFlags::empty())
            }
        }
    }

    fn receive(&self) -> Option<(Duration, Vec<u8>)> {
        let mut buffer = [0; 2048];
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message =
            recvmsg::<()>(self.packets.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)
                .ok()?;
        let stamp = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
            _ => None,
        });
        let length = message.bytes;
        Some((stamp.unwrap_or_else(now), buffer.get(..length)?.to_vec()))
    }
}

/// The time since 1970, as the kernel stamps packets.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn open() -> Result<Wire> {
    let peer = File::open("/run/netns/peer").context("the sandbox has no peer")?;
    setns(peer, CloneFlags::CLONE_NEWNET).context("entering the peer's namespace")?;
    let new = |family, protocol| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol);
    let packets = new(AddressFamily::Packet, SockProtocol::EthAll)?;
    setsockopt(&packets, sockopt::ReceiveTimestampns, &true)?;
    let link = getifaddrs()?
        .filter(|address| address.interface_name == "eth0")
        .filter_map(|address| address.address)
        .find(|address| address.family() == Some(AddressFamily::Packet))
        .context("the peer has no eth0")?;
    bind(packets.as_raw_fd(), &link)?;
    let echo4 = new(AddressFamily::Inet, SockProtocol::Icmp)?;
    let echo6 = new(AddressFamily::Inet6, SockProtocol::IcmpV6)?;
    Ok(Wire { packets, echo4, echo6 })
}

/// Whether an Ethernet frame says that its sender has this address: ARP of either kind, a neighbour advertisement.
fn announces(frame: &[u8], ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => at(frame, 12, &[8, 6]) && at(frame, 28, &ip.octets()),
        IpAddr::V6(ip) => icmp6(frame, 136) && at(frame, 62, &ip.octets()),
    }
}

/// Whether it is an echo reply from this address.
fn answers(frame: &[u8], ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            at(frame, 12, &[8, 0, 0x45])
                && at(frame, 23, &[1])
                && at(frame, 26, &ip.octets())
                && at(frame, 34, &[0])
        }
        IpAddr::V6(ip) => icmp6(frame, 129) && at(frame, 22, &ip.octets()),
    }
}

fn icmp6(frame: &[u8], kind: u8) -> bool {
    at(frame, 12, &[0x86, 0xdd]) && at(frame, 20, &[58]) && at(frame, 54, &[kind])
}

fn at(frame: &[u8], place: usize, bytes: &[u8]) -> bool {
    frame.get(place..place + bytes.len()) == Some(bytes)
}
