//! The edge: one netlink socket, requests and replies in turn.

use crate::error::Error;
use crate::message::{Message, Reply, Request, messages};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, send, socket,
};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

/// The kernel's dumps come in datagrams of at most 32 KiB.
const BUFFER: usize = 64 * 1024;
/// Nearly every other answer fits in this, which costs a monitor less than a mapping of its own.
const SMALL: usize = 4 * 1024;

#[derive(Debug)]
pub(crate) struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
    deadline: Instant,
    buffer: Vec<u8>,
}

impl Socket {
    pub(crate) fn open(protocol: SockProtocol, deadline: Instant) -> Result<Self, Error> {
        let failed = |errno| Error::new("opening a netlink socket", errno, None);
        let descriptor = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .map_err(failed)?;
        option::enable(descriptor.as_fd(), option::EXT_ACK).map_err(failed)?;
        // Kernels before 4.20 do not filter dumps: they tell more, and that is read as well.
        let _older = option::enable(descriptor.as_fd(), option::GET_STRICT_CHK);
        Ok(Socket { descriptor, sequence: 0, deadline, buffer: vec![0; SMALL] })
    }

    /// Hears of changes, by a mask of groups (`RTMGRP_*`).
    pub(crate) fn subscribe(&self, groups: u32) -> Result<(), Error> {
        bind(self.descriptor.as_raw_fd(), &NetlinkAddr::new(0, groups))
            .map_err(|errno| Error::new("subscribing to netlink events", errno, None))
    }

    /// Sends a request, and returns what `read` makes of the objects of the reply. Nothing else of a long reply is kept.
    pub(crate) fn ask<T>(
        &mut self,
        what: &str,
        request: &Request,
        read: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        loop {
            let mut all = Vec::new();
            if self.try_ask(what, request, &mut |kind, body| all.extend(read(kind, body)))? {
                return Ok(all);
            }
            // What an interrupted dump told may be wrong: nothing of it is used.
            if Instant::now() >= self.deadline {
                let restless = "the kernel's table changes all the time";
                return Err(Error::new(what, Errno::ETIMEDOUT, Some(restless.into())));
            }
        }
    }

    fn try_ask(
        &mut self,
        what: &str,
        request: &Request,
        take: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<bool, Error> {
        if request.is_dump() {
            self.buffer.resize(BUFFER, 0);
        }
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        send(self.descriptor.as_raw_fd(), &request.bytes(sequence), MsgFlags::empty())
            .map_err(|errno| Error::new(what, errno, None))?;
        let single = !request.is_dump();
        let mut whole = true;
        loop {
            let length = self.receive(what)?;
            for message in messages(&self.buffer[..length]) {
                let malformed =
                    |_| Error::new(what, Errno::EBADMSG, Some("the kernel's answer makes no sense".into()));
                let Message { sequence: about, interrupted, reply } = message.map_err(malformed)?;
                if about != sequence {
                    continue;
                }
                whole &= !interrupted;
                match reply {
                    Reply::End { errno: 0, .. } => return Ok(whole),
                    Reply::End { errno, words } => {
                        return Err(Error::told(what, errno, words));
                    }
                    Reply::Object { kind, body } => take(kind, body),
                }
                // A plain question is answered by one object, without an acknowledgement.
                if single {
                    return Ok(whole);
                }
            }
        }
    }

    /// Waits for a datagram, whatever it says.
    pub(crate) fn event(&mut self, what: &str) -> Result<(), Error> {
        match self.receive(what) {
            // Too many events for the buffer: something happened, that is all that counts.
            Err(error) if error.errno() == Errno::ENOBUFS => Ok(()),
            received => received.map(drop),
        }
    }

    fn receive(&mut self, what: &str) -> Result<usize, Error> {
        let failed = |errno| Error::new(what, errno, None);
        let descriptor = self.descriptor.as_raw_fd();
        loop {
            // The kernel answers a request before `send` returns, so there is usually nothing to wait for.
            match self.make_room().and_then(|()| receive_from(descriptor, &mut self.buffer)) {
                Ok((length, _)) if length > self.buffer.len() => return Err(failed(Errno::EMSGSIZE)),
                Ok((length, from_kernel)) => {
                    if from_kernel {
                        return Ok(length);
                    }
                }
                Err(Errno::EAGAIN) => self.wait(what)?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }

    /// What does not fit in the buffer would be cut: while that is small, the length is looked at first.
    fn make_room(&mut self) -> nix::Result<()> {
        if self.buffer.len() < BUFFER {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC | MsgFlags::MSG_PEEK;
            let (length, _) = option::receive(self.descriptor.as_raw_fd(), &mut [], flags)?;
            if length > self.buffer.len() {
                self.buffer.resize(BUFFER, 0);
            }
        }
        Ok(())
    }

    fn wait(&self, what: &str) -> Result<(), Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(what, Errno::ETIMEDOUT, None));
        }
        let mut wanted = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        // Rounded up: a wait of less than a millisecond is no wait.
        let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        match poll(&mut wanted, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(Error::new(what, errno, None)),
        }
    }
}

/// Receives, and says whether it came from the kernel: any process may send to a netlink socket. The length is that of
/// the datagram, which may be more than the buffer holds.
fn receive_from(descriptor: i32, buffer: &mut [u8]) -> nix::Result<(usize, bool)> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
    let (length, sender) = option::receive(descriptor, buffer, flags)?;
    Ok((length, sender == 0))
}

/// What nix does not have.
mod option {
    #![allow(unsafe_code)]

    use nix::errno::Errno;
    use nix::sys::socket::MsgFlags;
    use std::mem::{size_of, zeroed};
    use std::os::fd::{AsRawFd, BorrowedFd};

    pub(super) const EXT_ACK: libc::c_int = libc::NETLINK_EXT_ACK;
    pub(super) const GET_STRICT_CHK: libc::c_int = libc::NETLINK_GET_STRICT_CHK;

    pub(super) fn enable(socket: BorrowedFd<'_>, option: libc::c_int) -> nix::Result<()> {
        let on: libc::c_int = 1;
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the pointer and the length are those of `on`, which outlives the call.
        let result = unsafe {
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), length)
        };
        Errno::result(result).map(drop)
    }

    /// The length of the datagram and the port of its sender, 0 for the kernel. (nix's `recvfrom` cuts the length
    /// down to the buffer's, and so hides that a datagram did not fit.)
    pub(super) fn receive(descriptor: i32, buffer: &mut [u8], flags: MsgFlags) -> nix::Result<(usize, u32)> {
        // SAFETY: all zeros is a valid sockaddr_nl.
        let mut sender: libc::sockaddr_nl = unsafe { zeroed() };
        let mut length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: both buffers are valid for writes of the lengths given, for the time of the call.
        let received = unsafe {
            libc::recvfrom(
                descriptor,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                flags.bits(),
                (&raw mut sender).cast(),
                &raw mut length,
            )
        };
        let received = Errno::result(received)?;
        Ok((usize::try_from(received).unwrap_or(0), sender.nl_pid))
    }
}
