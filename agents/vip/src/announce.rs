//! Announcements: telling the neighbours on a link where an address is now, by gratuitous ARP and by unsolicited
//! neighbour advertisement. Which links announce, what is sent and when are decided here without touching the
//! network; [`Announcer`] sends it.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::Duration;

use crate::frame::{Frame, LinkType, Port, Protocol};
use crate::wire::{Error, Socket};
use crate::{arp, ndp};

/// Why a link does not announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silent {
    /// Nobody else is on it.
    Loopback,
    /// The other end needs no hardware address.
    PointToPoint,
    /// The link resolves no addresses (`IFF_NOARP`).
    NoArp,
    /// A link type without ARP, or one whose ARP we do not speak; with its `ARPHRD_*` number.
    LinkType(u16),
    /// The link has no hardware address (yet), or one that its type cannot have.
    NoHardwareAddress,
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("it is a loopback link"),
            Self::PointToPoint => f.write_str("it is a point-to-point link"),
            Self::NoArp => f.write_str("the link resolves no addresses (NOARP)"),
            Self::LinkType(number) => write!(f, "links of type {number} have no announcements"),
            Self::NoHardwareAddress => f.write_str("the link has no usable hardware address"),
        }
    }
}

/// Whether addresses on this link are announced at all.
///
/// # Errors
/// The reason why not, which is no failure.
pub(crate) fn announces(port: &Port) -> Result<LinkType, Silent> {
    if port.loopback {
        return Err(Silent::Loopback);
    }
    if port.point_to_point {
        return Err(Silent::PointToPoint);
    }
    if port.no_arp {
        return Err(Silent::NoArp);
    }
    let link_type = port.link_type().ok_or(Silent::LinkType(port.hardware_type))?;
    let usable = |mac: &[u8]| mac.len() == link_type.address_length() && mac.iter().any(|&byte| byte != 0);
    if !usable(&port.mac) || !usable(&port.broadcast_mac) {
        return Err(Silent::NoHardwareAddress);
    }
    Ok(link_type)
}

/// How often an address is announced, and how far apart. Both are bounded, whatever the parameters say: announcements
/// are broadcasts, and every station on the link pays for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    count: u32,
    interval: Duration,
}

impl Schedule {
    /// Most announcements in one schedule.
    pub(crate) const MAX_COUNT: u32 = 1000;
    /// Shortest time between two announcements.
    pub(crate) const MIN_INTERVAL: Duration = Duration::from_millis(10);
    /// Longest time between two announcements.
    pub(crate) const MAX_INTERVAL: Duration = Duration::from_secs(60);

    /// `count` announcements, `interval` apart; values beyond the bounds are brought within them. A count of 0 is
    /// none at all, which is what a refresh count of 0 means.
    pub(crate) fn new(count: u32, interval: Duration) -> Self {
        Self {
            count: count.min(Self::MAX_COUNT),
            interval: interval.clamp(Self::MIN_INTERVAL, Self::MAX_INTERVAL),
        }
    }

    /// What is left once the first announcement is out.
    pub(crate) fn after_first(self) -> Self {
        Self { count: self.count.saturating_sub(1), ..self }
    }
}

/// One address on one link, to be announced: the frames are made once, sending them is all that is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    port: Port,
    frames: Vec<Frame>,
}

impl Claim {
    /// An announcement to all neighbours. `router` matters to IPv6 only, and must say whether this node forwards
    /// packets on the link: neighbours that use the address as their router drop it when an advertisement denies it.
    ///
    /// IPv4 is announced in both forms, since some stations heed only the one and some only the other.
    ///
    /// # Errors
    /// The reason why this link does not announce.
    pub(crate) fn new(port: &Port, address: IpAddr, router: bool) -> Result<Self, Silent> {
        announces(port)?;
        let frames = match address {
            IpAddr::V4(address) => [
                arp::Packet::announce_by_request(port, address),
                arp::Packet::announce_by_reply(port, address),
            ]
            .map(|packet| Frame {
                protocol: Protocol::Arp,
                destination: port.broadcast_mac.clone(),
                payload: packet.encode(),
            })
            .to_vec(),
            IpAddr::V6(address) => vec![Frame {
                protocol: Protocol::Ipv6,
                destination: port.group_mac(ndp::ALL_NODES).ok_or(Silent::NoHardwareAddress)?,
                payload: ndp::Packet::announce(port, address, router).encode(),
            }],
        };
        Ok(Self { port: port.clone(), frames })
    }
}

/// Sends claims. Opened before the addresses are added, so that the first announcement leaves the moment they are.
#[derive(Debug)]
pub(crate) struct Announcer {
    socket: Socket,
    claims: Vec<Claim>,
}

/// How a schedule of later announcements ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Announcements made.
    pub(crate) sent: u32,
    /// The addresses were still ours to the end.
    pub(crate) completed: bool,
    /// The last announcement that did not leave in full, if any.
    pub(crate) error: Option<Error>,
}

impl Announcer {
    /// Opens the socket; sends nothing yet.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`.
    pub(crate) fn open(claims: Vec<Claim>) -> Result<Self, Error> {
        Ok(Self { socket: Socket::open()?, claims })
    }

    /// Announces every claim once, now.
    ///
    /// # Errors
    /// The first frame that did not leave; the others were sent all the same.
    pub(crate) fn send_once(&self) -> Result<(), Error> {
        let mut result = Ok(());
        for claim in &self.claims {
            for frame in &claim.frames {
                result = result.and(self.socket.send(&claim.port, frame));
            }
        }
        result
    }

    /// Makes the announcements of `schedule`, the first of them after one interval. Before each, `still_ours` is
    /// asked, and with the first no it ends: an announcement after the address has moved would take it back from its
    /// new owner. A link that is down does not end it, since what comes after is what the neighbours will hear.
    ///
    /// This is for a detached process, which must keep the descriptor (see [`AsFd`]) open. Even with an empty schedule
    /// it is worth leaving the announcer to such a process if there is one, because closing the socket takes
    /// longer than all else (see [`crate::wire`]).
    pub(crate) fn rest(&self, schedule: Schedule, mut still_ours: impl FnMut() -> bool) -> Outcome {
        let mut outcome = Outcome { sent: 0, completed: true, error: None };
        for _ in 0..schedule.count {
            thread::sleep(schedule.interval);
            if !still_ours() {
                outcome.completed = false;
                break;
            }
            match self.send_once() {
                Ok(()) => outcome.sent += 1,
                Err(error) => outcome.error = Some(error),
            }
        }
        outcome
    }
}

impl AsFd for Announcer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BROADCAST: [u8; 6] = [0xff; 6];

    fn ethernet() -> Port {
        Port {
            index: 2,
            name: "eth0".into(),
            hardware_type: 1,
            mac: vec![2, 0, 0, 0, 0, 10],
            broadcast_mac: BROADCAST.to_vec(),
            loopback: false,
            point_to_point: false,
            no_arp: false,
        }
    }

    fn infiniband() -> Port {
        Port { hardware_type: 32, mac: vec![1; 20], broadcast_mac: vec![0xff; 20], ..ethernet() }
    }

    #[test]
    fn which_links_announce() {
        for (port, expected) in [
            (ethernet(), Ok(LinkType::Ethernet)),
            (infiniband(), Ok(LinkType::Infiniband)),
            (Port { loopback: true, hardware_type: 772, ..ethernet() }, Err(Silent::Loopback)),
            (
                Port { point_to_point: true, hardware_type: 512, mac: vec![], ..ethernet() },
                Err(Silent::PointToPoint),
            ),
            (Port { no_arp: true, ..ethernet() }, Err(Silent::NoArp)),
            (Port { hardware_type: 768, mac: vec![10, 0, 0, 1], ..ethernet() }, Err(Silent::LinkType(768))),
            (Port { mac: vec![], ..ethernet() }, Err(Silent::NoHardwareAddress)),
            (Port { mac: vec![0; 6], ..ethernet() }, Err(Silent::NoHardwareAddress)),
            (Port { mac: vec![1; 20], ..ethernet() }, Err(Silent::NoHardwareAddress)),
            (Port { broadcast_mac: vec![], ..ethernet() }, Err(Silent::NoHardwareAddress)),
            (Port { mac: vec![1; 6], ..infiniband() }, Err(Silent::NoHardwareAddress)),
        ] {
            assert_eq!(announces(&port), expected, "{port:?}");
            assert_eq!(Claim::new(&port, "192.0.2.1".parse().unwrap(), false).is_ok(), expected.is_ok());
            assert_eq!(Claim::new(&port, "2001:db8::1".parse().unwrap(), false).is_ok(), expected.is_ok());
        }
        assert_eq!(Silent::LinkType(768).to_string(), "links of type 768 have no announcements");
    }

    #[test]
    fn schedules_are_bounded() {
        let ms = Duration::from_millis;
        let huge = Schedule::new(u32::MAX, Duration::MAX);
        assert_eq!(huge, Schedule { count: Schedule::MAX_COUNT, interval: Schedule::MAX_INTERVAL });
        assert_eq!(Schedule::new(5, ms(0)), Schedule { count: 5, interval: Schedule::MIN_INTERVAL });
        let usual = Schedule::new(5, ms(200));
        assert_eq!(usual.after_first(), Schedule { count: 4, interval: ms(200) });
        assert_eq!(Schedule::new(0, ms(200)).after_first().count, 0);
    }

    #[test]
    fn an_ipv4_claim_is_made_in_both_forms() {
        let address = "192.0.2.9".parse().unwrap();
        let claim = Claim::new(&ethernet(), IpAddr::V4(address), false).unwrap();
        let packets: Vec<_> =
            claim.frames.iter().map(|frame| arp::Packet::parse(&frame.payload).unwrap()).collect();
        assert_eq!(
            packets,
            [
                arp::Packet::announce_by_request(&ethernet(), address),
                arp::Packet::announce_by_reply(&ethernet(), address),
            ]
        );
        assert!(
            claim
                .frames
                .iter()
                .all(|frame| frame.destination == BROADCAST && frame.protocol == Protocol::Arp)
        );
    }

    #[test]
    fn an_ipv6_claim_goes_to_all_nodes() {
        let address = "2001:db8::9".parse().unwrap();
        let claim = Claim::new(&ethernet(), IpAddr::V6(address), true).unwrap();
        let [frame] = &claim.frames[..] else { panic!("{claim:?}") };
        assert_eq!((frame.protocol, &frame.destination[..]), (Protocol::Ipv6, &[0x33, 0x33, 0, 0, 0, 1][..]));
        let expected = ndp::Packet::announce(&ethernet(), address, true);
        assert_eq!(ndp::Packet::parse(&frame.payload), Some(expected));
    }

    proptest! {
        #[test]
        fn no_schedule_floods(count in any::<u32>(), interval in any::<u64>()) {
            let schedule = Schedule::new(count, Duration::from_millis(interval));
            prop_assert!(schedule.count <= Schedule::MAX_COUNT);
            prop_assert!((Schedule::MIN_INTERVAL..=Schedule::MAX_INTERVAL).contains(&schedule.interval));
        }
    }
}
