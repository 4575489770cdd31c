//! Announcements of the resource: the first at once, the rest by a detached process that stop can find and end.

use crate::announce::{Announcer, Claim, Schedule, announces};
use crate::config::Config;
use crate::frame::Port;
use crate::node::Node;
use netlink::Link;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ocf::{Call, Deadline, Failure};
use process::{PidLock, detach};
use std::fs;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// What the announcer needs to know of a link.
pub(crate) fn port(link: &Link) -> Port {
    Port {
        index: link.index,
        name: link.name.clone(),
        hardware_type: link.hardware_type,
        mac: link.mac.clone(),
        broadcast_mac: link.broadcast_mac.clone(),
        loopback: link.flags.loopback,
        point_to_point: link.flags.pointopoint,
        no_arp: link.flags.noarp,
    }
}

/// Whether this node forwards IPv6 packets on the link, which an advertisement has to say.
fn is_router(link: &Link) -> bool {
    let path = format!("/proc/sys/net/ipv6/conf/{}/forwarding", link.name);
    fs::read(path).is_ok_and(|value| value.trim_ascii() != b"0")
}

/// Held by the process that announces: the kernel tells who it is, and forgets it with the process.
fn lock(call: &Call) -> PidLock {
    PidLock::at(call.run_file("announcer"))
}

/// Whether no earlier announcements are still leaving.
pub(crate) fn none_under_way(call: &Call) -> bool {
    matches!(lock(call).holder(), Ok(None))
}

/// Announces the addresses `count` times: once now, and then in the background, or all of it now if so configured.
pub(crate) fn announce(
    call: &Call,
    config: &Config,
    link: &Link,
    ips: &[IpAddr],
    count: u32,
) -> Result<(), Failure> {
    let port = port(link);
    if let Err(why) = announces(&port) {
        call.log.debug(format_args!("nothing to announce on {}: {why}", link.name));
        return Ok(());
    }
    let router = ips.iter().any(IpAddr::is_ipv6) && is_router(link);
    let claims: Vec<Claim> = ips.iter().filter_map(|ip| Claim::new(&port, *ip, router).ok()).collect();
    if claims.is_empty() || count == 0 {
        return Ok(());
    }
    let announcer = Announcer::open(claims)?;
    announcer.send_once()?;
    let rest = Schedule::new(count, config.announcements.interval).after_first();
    if !config.announcements.background {
        if config.announcements.interval.saturating_mul(count) < call.deadline.remaining() {
            let outcome = announcer.rest(rest, || !call.deadline.is_over());
            return outcome.error.map_or(Ok(()), |error| Err(error.into()));
        }
        let why = "arp_bg=false: all announcements take longer than the operation may, they leave in the background";
        call.log.warning(why);
    }
    let lock = lock(call);
    let label = config.label_on(&link.name);
    let index = link.index;
    // Even with nothing left to send: closing a packet socket waits for the kernel, and nobody has to wait for that.
    let process = detach("vip-announce", &[announcer.as_fd()], || {
        let Ok(_lock) = lock.try_lock() else { return };
        // Had the start been killed before this, a stop might have come that did not find this process. It is over when
        // no operation is under way (nor is the start), and every later one finds it.
        let operation = PidLock::at(call.run_file("lock"));
        let over = || Ok(operation.holder()?.is_none().then_some(()));
        let ready = call.deadline.wait_for("start to end", Duration::from_millis(1), over);
        let still_ours = || {
            // Should a stop have missed this process all the same, the address is gone, and must not be announced.
            let deadline = Deadline::new(Instant::now(), Duration::from_secs(1));
            let node = Node::open(None, deadline);
            node.is_ok_and(|node| {
                node.is_some_and(|mut node| ips.iter().all(|ip| node.has(index, &label, *ip)))
            })
        };
        if ready.is_ok() && still_ours() {
            let _nobody_to_tell = announcer.rest(rest, still_ours);
        }
    })?;
    // From here on a stop finds it, or it has ended.
    call.deadline.wait_for("the announcer to begin", Duration::from_micros(100), || {
        Ok((lock.holder()?.is_some() || !process.is_alive()).then_some(()))
    })
}

/// Ends announcements that are still leaving, and waits until they have ended.
///
/// # Errors
/// They have not ended after a second: the caller has more important things to do than to wait for that.
pub(crate) fn end(call: &Call) -> Result<(), Failure> {
    let lock = lock(call);
    let deadline = Deadline::new(Instant::now(), call.deadline.remaining().min(Duration::from_secs(1)));
    deadline.wait_for("the announcements to end", Duration::from_millis(1), || match lock.holder()? {
        // It lives in a pid namespace that cannot be seen from here. (To kill(2), 0 and less mean many at once.)
        Some(pid) if pid <= 0 => Ok(None),
        Some(pid) => match kill(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => Ok(None),
            Err(error) => {
                Err(Failure::from(error).context(format_args!("ending process {pid}, which announces")))
            }
        },
        None => Ok(Some(())),
    })
}
