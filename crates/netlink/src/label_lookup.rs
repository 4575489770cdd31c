//! One IPv4 address on one link, found by the kernel itself: netlink has no such question, the older interface has
//! (`SIOCGIFADDR`, netdevice(7)): asked with a label *and* an address, it answers for just that pair.
#![allow(unsafe_code)]

use crate::error::Error;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::mem::zeroed;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

// From linux/sockios.h: libc has them in a type that is not its own `ioctl`'s, with musl.
const SIOCGIFADDR: libc::Ioctl = 0x8915;
const SIOCGIFNETMASK: libc::Ioctl = 0x891b;

/// The prefix length of this address under this label; `None` if it is not there.
pub(crate) fn prefix_of(label: &str, ip: Ipv4Addr) -> Result<Option<u8>, Error> {
    if label.len() >= libc::IFNAMSIZ || label.contains('\0') {
        return Ok(None);
    }
    let what = || format!("looking for {ip} on {label}");
    let failed = |errno| Error::new(what(), errno, None);
    let descriptor =
        socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
    let found = match ask(&descriptor, SIOCGIFADDR, label, ip) {
        Err(Errno::EADDRNOTAVAIL | Errno::ENODEV | Errno::ENXIO) => return Ok(None),
        found => found.map_err(failed)?,
    };
    // Without such an address the kernel answers with another one of that label.
    if found != ip {
        return Ok(None);
    }
    match ask(&descriptor, SIOCGIFNETMASK, label, ip) {
        Err(Errno::EADDRNOTAVAIL | Errno::ENODEV | Errno::ENXIO) => Ok(None),
        mask => Ok(u8::try_from(u32::from(mask.map_err(failed)?).leading_ones()).ok()),
    }
}

fn ask(descriptor: &OwnedFd, question: libc::Ioctl, label: &str, ip: Ipv4Addr) -> nix::Result<Ipv4Addr> {
    // SAFETY: all zeros is a valid ifreq: it consists of integers.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(label.bytes()) {
        *place = byte as libc::c_char;
    }
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(ip).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: a sockaddr_in is as large as the sockaddr in the union, whose alignment is not less.
    unsafe { (&raw mut request.ifr_ifru.ifru_addr).cast::<libc::sockaddr_in>().write(address) };
    // SAFETY: these questions read and write one ifreq, which outlives the call.
    Errno::result(unsafe { libc::ioctl(descriptor.as_raw_fd(), question, &raw mut request) })?;
    // SAFETY: the kernel has written a sockaddr_in there; before, it was one of ours.
    let answer = unsafe { (&raw const request.ifr_ifru.ifru_addr).cast::<libc::sockaddr_in>().read() };
    Ok(Ipv4Addr::from(u32::from_be(answer.sin_addr.s_addr)))
}
