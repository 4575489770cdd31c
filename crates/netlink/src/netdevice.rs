//! The kernel's older questions about links and IPv4 addresses (netdevice(7)). A monitor asks these, every few seconds
//! for years: they cost a fraction of a netlink request, those about links take no lock, and with a label *and* an
//! address `SIOCGIFADDR` answers for just that pair, for which netlink has no question.
#![allow(unsafe_code)]

use crate::error::Error;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::mem::zeroed;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

// From linux/sockios.h: libc has them in a type that is not its own `ioctl`'s, with musl.
const SIOCGIFNAME: libc::Ioctl = 0x8910;
const SIOCGIFFLAGS: libc::Ioctl = 0x8913;
const SIOCGIFADDR: libc::Ioctl = 0x8915;
const SIOCGIFNETMASK: libc::Ioctl = 0x891b;
const SIOCGIFINDEX: libc::Ioctl = 0x8933;

/// The state of a link in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Its index.
    pub index: u32,
    /// Its name, also where it was asked for by an alternative one.
    pub name: String,
    /// Whether it is up and can carry traffic, as the kernel sums it up: within a second of the change.
    pub running: bool,
}

/// Where the questions go.
#[derive(Debug)]
pub(crate) struct NetDevice(OwnedFd);

impl NetDevice {
    pub(crate) fn open() -> Result<Self, Error> {
        socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
            .map(NetDevice)
            .map_err(|errno| Error::new("opening a socket", errno, None))
    }

    /// The index of the link of this name or alternative name, if that [`fits`].
    pub(crate) fn index(&self, name: &str) -> Result<Option<u32>, Error> {
        let mut request = named(name);
        if !self.ask(SIOCGIFINDEX, &mut request, || format!("looking for interface {name}"))? {
            return Ok(None);
        }
        // SAFETY: the kernel has filled this member of the union in; any bytes are valid in it.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        Ok(index.try_into().ok())
    }

    /// The state of the link of this index.
    pub(crate) fn state(&self, index: u32) -> Result<Option<LinkState>, Error> {
        let what = || format!("looking for interface {index}");
        let Ok(number) = i32::try_from(index) else { return Ok(None) };
        let mut request = named("");
        request.ifr_ifru.ifru_ifindex = number;
        if !self.ask(SIOCGIFNAME, &mut request, what)? {
            return Ok(None);
        }
        let bytes: Vec<u8> =
            request.ifr_name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
        let name = String::from_utf8_lossy(&bytes).into_owned();
        if !self.ask(SIOCGIFFLAGS, &mut request, what)? {
            return Ok(None);
        }
        // SAFETY: as above.
        let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
        let both = libc::IFF_UP | libc::IFF_RUNNING;
        Ok(Some(LinkState { index, name, running: flags & both == both }))
    }

    /// The prefix length of this address under this label; `None` if it is not there.
    pub(crate) fn prefix_of(&self, label: &str, ip: Ipv4Addr) -> Result<Option<u8>, Error> {
        if label.len() >= libc::IFNAMSIZ || label.contains('\0') {
            return Ok(None);
        }
        let what = || format!("looking for {ip} on {label}");
        let mut request = named(label);
        put(&mut request, ip);
        // Without such an address the kernel answers with another one of that label.
        if !self.ask(SIOCGIFADDR, &mut request, what)? || got(&request) != ip {
            return Ok(None);
        }
        let found = self.ask(SIOCGIFNETMASK, &mut request, what)?;
        Ok(found.then(|| u32::from(got(&request)).leading_ones()).and_then(|bits| bits.try_into().ok()))
    }

    /// Asks; `false` if there is nothing of that name.
    fn ask(
        &self,
        question: libc::Ioctl,
        request: &mut libc::ifreq,
        what: impl Fn() -> String,
    ) -> Result<bool, Error> {
        // SAFETY: these questions read and write one ifreq, which outlives the call.
        match Errno::result(unsafe { libc::ioctl(self.0.as_raw_fd(), question, &raw mut *request) }) {
            Ok(_) => Ok(true),
            Err(Errno::EADDRNOTAVAIL | Errno::ENODEV | Errno::ENXIO) => Ok(false),
            Err(errno) => Err(Error::new(what(), errno, None)),
        }
    }
}

/// Whether a link can be asked for by this name: alternative names may be longer, and these questions end at a colon,
/// which was once the mark of a label.
pub(crate) fn fits(name: &str) -> bool {
    (1..libc::IFNAMSIZ).contains(&name.len()) && !name.contains([':', '\0'])
}

fn named(name: &str) -> libc::ifreq {
    // SAFETY: all zeros is a valid ifreq: it consists of integers.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request
}

fn put(request: &mut libc::ifreq, ip: Ipv4Addr) {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(ip).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: a sockaddr_in is as large as the sockaddr in the union, whose alignment is not less.
    unsafe { (&raw mut request.ifr_ifru.ifru_addr).cast::<libc::sockaddr_in>().write(address) };
}

fn got(request: &libc::ifreq) -> Ipv4Addr {
    // SAFETY: the kernel has written a sockaddr_in there; before, it was one of ours.
    let answer = unsafe { (&raw const request.ifr_ifru.ifru_addr).cast::<libc::sockaddr_in>().read() };
    Ipv4Addr::from(u32::from_be(answer.sin_addr.s_addr))
}
