//! The client outside the cluster: it pings an address, and asks everybody who has it.

use std::fs::File;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
    SockaddrLike, bind, recvmsg, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;

use crate::job::Job;
use crate::node::Node;
use crate::plan;
use crate::report::{PATIENCE, Report};
use crate::wire;

/// Marks our echo requests among others.
const IDENTIFIER: u16 = 0xba5c;

/// The machine outside the cluster. It runs commands like a [`Node`], and measures.
pub struct Client<'a> {
    node: Node<'a>,
}

impl<'a> Deref for Client<'a> {
    type Target = Node<'a>;

    fn deref(&self) -> &Node<'a> {
        &self.node
    }
}

impl<'a> Client<'a> {
    pub(crate) fn new(node: Node<'a>) -> Self {
        Self { node }
    }

    /// Starts to ping `address` at this interval, as any host does: through its neighbour table, so that an address that
    /// moves without being announced is lost. At the same interval a second interface, which the first one does not
    /// learn from, asks everybody who has the address.
    ///
    /// # Panics
    /// If `address` is no IP address of the lab's networks, or the client is off.
    #[must_use]
    #[track_caller]
    pub fn ping_every(&self, interval: Duration, address: &str) -> Ping {
        let lab = self.node.lab();
        lab.must("ping", Ping::start(lab.nodes(), lab.machines().client_network(), interval, address))
    }

    /// Starts tcpdump with a filter on an interface (`eth0`), and returns when it listens. Each line begins with the time
    /// in seconds since 1970 and the hardware addresses.
    ///
    /// # Panics
    /// If tcpdump does not start.
    #[must_use]
    #[track_caller]
    pub fn capture(&self, interface: &str, filter: &str) -> Job {
        let mut job = self
            .node
            .spawn(&format!("exec tcpdump -nn -e -tt -l --immediate-mode -i {interface} '{filter}'"));
        while job.is_running() && !job.stderr().contains("listening on") {
            sleep(Duration::from_millis(5));
        }
        assert!(job.is_running(), "tcpdump: {}", job.stderr());
        job
    }
}

/// A measurement that runs. Dropping it ends it.
pub struct Ping {
    nodes: Vec<String>,
    log: Arc<Mutex<Log>>,
    wanted: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread notes. Times are since 1970, as the kernel stamps packets.
#[derive(Default)]
struct Log {
    requests: Vec<(Duration, Option<Duration>)>,
    sightings: Vec<(Duration, [u8; 6])>,
}

impl Ping {
    fn start(nodes: &[String], network: Result<File>, interval: Duration, address: &str) -> Result<Self> {
        let target: IpAddr = address.parse().with_context(|| format!("{address:?} is no address"))?;
        let namespace = network?;
        let log = Arc::new(Mutex::new(Log::default()));
        let wanted = Arc::new(AtomicBool::new(true));
        let (ready, started) = mpsc::channel();
        let thread = spawn({
            let (log, wanted) = (Arc::clone(&log), Arc::clone(&wanted));
            move || match Sockets::open(&namespace, target) {
                Ok(sockets) => {
                    drop(namespace);
                    let _ = ready.send(Ok(()));
                    sockets.measure(interval, &log, &wanted);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        });
        started.recv().context("the measurement died")??;
        Ok(Self { nodes: nodes.to_owned(), log, wanted, thread: Some(thread) })
    }

    /// What was seen so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let start = log.requests.first().map_or_else(now, |(sent, _)| *sent);
        let since = |time: Duration| time.saturating_sub(start);
        let mut sightings: Vec<_> = log.sightings.iter().map(|(at, mac)| (since(*at), *mac)).collect();
        // They come from two sockets.
        sightings.sort_by_key(|(at, _)| *at);
        Report {
            nodes: self.nodes.clone(),
            now: since(now()),
            requests: log.requests.iter().map(|(sent, reply)| (since(*sent), reply.map(since))).collect(),
            sightings,
        }
    }

    /// Waits for the replies that are still under way, and ends the measurement.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.end();
        self.report()
    }

    fn end(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        self.end();
    }
}

/// The sockets of a measurement, opened in the client's network namespace.
struct Sockets {
    target: IpAddr,
    /// Sends echo requests the way every program does.
    echo: OwnedFd,
    /// Sees what comes in on the client's own interface.
    own: OwnedFd,
    /// Asks who has the address, and sees the answers.
    probe: OwnedFd,
    /// The question that `probe` asks.
    question: Vec<u8>,
}

impl Sockets {
    /// Moves the calling thread into the namespace, and opens them there.
    fn open(namespace: &File, target: IpAddr) -> Result<Self> {
        setns(namespace, CloneFlags::CLONE_NEWNET).context("cannot enter the client's network")?;
        let network = match target {
            IpAddr::V4(target) => usize::from(target.octets()[2]),
            IpAddr::V6(target) => usize::from(target.segments()[3]),
        };
        let (ip, mac) = plan::probe(network);
        let (family, protocol, question) = match target {
            IpAddr::V4(target) => {
                (AddressFamily::Inet, SockProtocol::Icmp, wire::arp_request(mac, ip, target))
            }
            IpAddr::V6(target) => {
                (AddressFamily::Inet6, SockProtocol::IcmpV6, wire::neighbour_solicitation(mac, target))
            }
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        Ok(Self {
            target,
            echo: socket(family, SockType::Raw, flags, protocol).context("cannot open an ICMP socket")?,
            own: packet_socket(&format!("eth{network}"))?,
            probe: packet_socket(&format!("probe{network}"))?,
            question,
        })
    }

    fn measure(&self, interval: Duration, log: &Mutex<Log>, wanted: &AtomicBool) {
        let mut next = Instant::now();
        let mut last = None;
        loop {
            let time = Instant::now();
            if !wanted.load(Ordering::Relaxed) {
                // The replies to the last requests are waited for.
                let end = *last.get_or_insert(time + PATIENCE);
                if time > end {
                    return;
                }
                next = end;
            } else if time >= next {
                self.ask(log);
                next = (next + interval).max(time);
            }
            let wait = next.saturating_duration_since(Instant::now()).as_millis().min(50);
            // Rounded up, or the last millisecond would be spent turning round.
            let wait = PollTimeout::from(u16::try_from(wait + 1).unwrap_or(50));
            let both = [&self.own, &self.probe];
            let mut ready = both.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
            let _ = poll(&mut ready, wait);
            for socket in both {
                self.listen(socket, log);
            }
        }
    }

    /// Sends a request and a question. A request that cannot be sent is a lost one.
    fn ask(&self, log: &Mutex<Log>) {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let message = wire::echo_request(
            self.target,
            IDENTIFIER,
            u64::try_from(log.requests.len()).unwrap_or_default(),
        );
        log.requests.push((now(), None));
        drop(log);
        let echo = self.echo.as_raw_fd();
        let _ = match self.target {
            IpAddr::V4(target) => {
                sendto(echo, &message, &SockaddrIn::from(SocketAddrV4::new(target, 0)), MsgFlags::empty())
            }
            IpAddr::V6(target) => sendto(
                echo,
                &message,
                &SockaddrIn6::from(SocketAddrV6::new(target, 0, 0, 0)),
                MsgFlags::empty(),
            ),
        };
        let _ = nix::unistd::write(&self.probe, &self.question);
    }

    fn listen(&self, socket: &OwnedFd, log: &Mutex<Log>) {
        while let Some((at, frame)) = receive(socket) {
            let Some(heard) = wire::parse(&frame, self.target) else { continue };
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.sightings.push((at, heard.mac));
            if let Some((IDENTIFIER, number)) = heard.echo
                && let Some((sent, reply @ None)) =
                    usize::try_from(number).ok().and_then(|number| log.requests.get_mut(number))
                && at.saturating_sub(*sent) < PATIENCE
            {
                *reply = Some(at);
            }
        }
    }
}

/// A socket that sees and sends whole frames on one interface.
fn packet_socket(interface: &str) -> Result<OwnedFd> {
    let what = || format!("cannot listen on {interface}");
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let packets =
        socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).with_context(what)?;
    setsockopt(&packets, sockopt::ReceiveTimestampns, &true).with_context(what)?;
    let address = getifaddrs()?
        .filter(|address| address.interface_name == interface)
        .filter_map(|address| address.address)
        .find(|address| address.family() == Some(AddressFamily::Packet))
        .with_context(|| {
            format!("the client has no interface {interface}: is the address of the lab's networks?")
        })?;
    bind(packets.as_raw_fd(), &address).with_context(what)?;
    Ok(packets)
}

/// The next frame and when it came, by the kernel's stamp.
fn receive(socket: &OwnedFd) -> Option<(Duration, Vec<u8>)> {
    let mut buffer = [0; 2048];
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()).ok()?;
    let stamp = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
        _ => None,
    });
    let length = message.bytes;
    Some((stamp.unwrap_or_else(now), buffer.get(..length)?.to_vec()))
}

/// The time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
