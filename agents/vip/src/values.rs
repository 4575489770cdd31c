//! The types of this agent's parameters: pure, each says what it accepts.

use ocf::{Kind, Value};
use std::net::{IpAddr, Ipv4Addr};

/// The longest name of an interface, or of an interface with a label, in bytes (`IFNAMSIZ` less the final zero).
pub(crate) const NAME_MAX: usize = 15;

/// How many bits an address of this family has.
pub(crate) fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn prefix(text: &str, ip: IpAddr) -> Option<u8> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|prefix| plain && *prefix <= bits(ip))
}

/// Whether it is an address that a host can have.
pub(crate) fn usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && ip.to_ipv4_mapped().is_none(),
    }
}

/// An address, possibly with its own prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressSpec {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: Option<u8>,
}

impl Value for AddressSpec {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let accepts = || "an IPv4 or IPv6 address, such as 192.0.2.10 or 192.0.2.10/24".to_owned();
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let ip: IpAddr = address.parse().map_err(|_| accepts())?;
        if !usable(ip) {
            return Err("an address that a host can have".into());
        }
        match length {
            None => Ok(AddressSpec { ip, prefix: None }),
            Some(length) => {
                let prefix = prefix(length, ip).filter(|prefix| *prefix > 0).ok_or_else(accepts)?;
                Ok(AddressSpec { ip, prefix: Some(prefix) })
            }
        }
    }
}

/// A prefix length, or the netmask that means the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Netmask {
    pub(crate) prefix: u8,
    /// A dotted mask speaks of IPv4 alone.
    pub(crate) dotted: bool,
}

impl Value for Netmask {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let length =
            text.parse::<u8>().ok().filter(|length| (1..=128).contains(length) && !text.starts_with('+'));
        if let Some(prefix) = length {
            return Ok(Netmask { prefix, dotted: false });
        }
        let mask = text.parse::<Ipv4Addr>().ok().map(u32::from);
        match mask {
            Some(mask) if mask != 0 && mask.leading_ones() + mask.trailing_zeros() == 32 => {
                Ok(Netmask { prefix: u8::try_from(mask.leading_ones()).unwrap_or(32), dotted: true })
            }
            _ => Err("a prefix length (24) or a netmask (255.255.255.0)".into()),
        }
    }
}

/// An interface's name, with the label that IPaddr2 lets one append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) label: Option<Label>,
}

impl Value for Interface {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let accepts = "the name of a network interface".to_owned();
        let (name, label) = match text.split_once(':') {
            Some((name, label)) => (name, Some(Label::parse(label)?)),
            None => (text, None),
        };
        // An alternative name may have up to 127 bytes.
        let plain = |c: char| c.is_ascii_graphic() && c != '/' && c != '%';
        if name.is_empty() || name.len() > 127 || !name.chars().all(plain) || name == "." || name == ".." {
            return Err(accepts);
        }
        Ok(Interface { name: name.to_owned(), label })
    }
}

/// The part of an address's label behind the colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label(pub(crate) String);

impl Value for Label {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if text.is_empty() || text.len() > NAME_MAX - 2 || !text.chars().all(plain) {
            return Err(format!("a label of 1 to {} letters, digits, _, - or .", NAME_MAX - 2));
        }
        Ok(Label(text.to_owned()))
    }
}

/// Which broadcast address an IPv4 address gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broadcast {
    /// All host bits set.
    Ones,
    /// All host bits zero.
    Zeros,
    /// This one.
    Address(Ipv4Addr),
}

impl Value for Broadcast {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "+" => Ok(Broadcast::Ones),
            "-" => Ok(Broadcast::Zeros),
            _ => match text.parse() {
                Ok(address) => Ok(Broadcast::Address(address)),
                Err(_) => Err("an IPv4 address, + or -".into()),
            },
        }
    }
}

/// The origin tag of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Protocol(pub(crate) u8);

impl Value for Protocol {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        // include/uapi/linux/if_addr.h, IFAPROT_*
        let number = match text {
            "kernel_lo" => Ok(1),
            "kernel_ra" => Ok(2),
            "kernel_ll" => Ok(3),
            _ => text.parse(),
        };
        number.map(Protocol).map_err(|_| "a number from 0 to 255, kernel_lo, kernel_ra or kernel_ll".into())
    }
}

/// A lifetime in seconds; `None` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime(pub(crate) Option<u32>);

impl Value for Lifetime {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "forever" | "infinity" | "infinite" => Ok(Lifetime(None)),
            _ => match text.parse() {
                Ok(u32::MAX) => Ok(Lifetime(None)),
                Ok(seconds) => Ok(Lifetime(Some(seconds))),
                Err(_) => Err("a number of seconds, or forever".into()),
            },
        }
    }
}

/// What a link without carrier means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkCheck {
    /// A failure.
    Fail,
    /// Degraded (190).
    Degraded,
    /// Nothing.
    Ignore,
}

impl Value for LinkCheck {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        match (bool::parse(text), text) {
            (Ok(true), _) => Ok(LinkCheck::Fail),
            (Ok(false), _) => Ok(LinkCheck::Ignore),
            (Err(_), "degraded") => Ok(LinkCheck::Degraded),
            (Err(accepts), _) => Err(format!("{accepts}, or degraded")),
        }
    }
}

/// The name of a network namespace, or its absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamespaceName(pub(crate) String);

impl Value for NamespaceName {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let name =
            text.chars().all(|c| c.is_ascii_graphic()) && (text.starts_with('/') || !text.contains('/'));
        if !name || text == "." || text == ".." || text.len() > 255 {
            return Err("the name or the absolute path of a network namespace".into());
        }
        Ok(NamespaceName(text.to_owned()))
    }
}

/// A destination of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The default route of the address's family.
    Default,
    /// A network.
    Network(IpAddr, u8),
}

impl Value for Destination {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let accepts = || "default, or a network such as 198.51.100.0/24".to_owned();
        if text == "default" {
            return Ok(Destination::Default);
        }
        let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        let ip: IpAddr = address.parse().map_err(|_| accepts())?;
        let prefix = match length {
            Some(length) => prefix(length, ip).ok_or_else(accepts)?,
            None => bits(ip),
        };
        if network(ip, prefix) != ip {
            return Err(format!(
                "a network: {ip}/{prefix} has host bits set, meant may be {}/{prefix}",
                network(ip, prefix)
            ));
        }
        Ok(Destination::Network(ip, prefix))
    }
}

/// The network part of an address.
pub(crate) fn network(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

/// A routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Table(pub(crate) u32);

impl Value for Table {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "default" => Ok(Table(253)),
            "main" => Ok(Table(254)),
            "local" => Ok(Table(255)),
            _ => match text.parse() {
                Ok(number) if number > 0 => Ok(Table(number)),
                _ => Err("the number of a routing table, or main, default, local".into()),
            },
        }
    }
}

/// A program that IPaddr2 would send announcements with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender;

impl Value for Sender {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "send_arp" | "iputils_arping" | "libnet_arping" | "ipoibarping" => Ok(Sender),
            _ => Err("send_arp, iputils_arping, libnet_arping or ipoibarping".into()),
        }
    }
}

/// A parameter of the load sharing cluster IP: refused, whatever its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoClusterIp {}

impl Value for NoClusterIp {
    const KIND: Kind = Kind::String;

    fn parse(_: &str) -> Result<Self, String> {
        Err("no value: the load sharing cluster IP of iptables is gone from Linux; use several addresses \
             (unique_clone_address=true) or a load balancer behind one address"
            .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reads<T: Value + PartialEq + std::fmt::Debug>(good: &[(&str, T)], bad: &[&str]) {
        for (text, value) in good {
            assert_eq!(T::parse(text).as_ref(), Ok(value), "{text}");
        }
        for text in bad {
            assert!(T::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        let spec = |ip: &str, prefix| AddressSpec { ip: ip.parse().unwrap(), prefix };
        reads(
            &[
                ("192.0.2.1", spec("192.0.2.1", None)),
                ("192.0.2.1/24", spec("192.0.2.1", Some(24))),
                ("2001:DB8::0:1/64", spec("2001:db8::1", Some(64))),
            ],
            &[
                "x.300",
                "192.0.2.1/33",
                "192.0.2.1/",
                "192.0.2.1/0",
                "192.0.2.1/+8",
                "0.0.0.0",
                "::",
                "224.0.0.1",
            ],
        );
        reads::<AddressSpec>(
            &[],
            &["ff02::1", "255.255.255.255", "192.0.2", "::ffff:192.0.2.1", "fe80::1%eth0"],
        );
    }

    #[test]
    fn netmasks() {
        let mask = |prefix, dotted| Netmask { prefix, dotted };
        reads(
            &[
                ("24", mask(24, false)),
                ("255.255.255.0", mask(24, true)),
                ("255.255.255.255", mask(32, true)),
            ],
            &["0", "129", "255.0.255.0", "0.0.0.0", "not_netmask", "/24", "+24", "-1"],
        );
    }

    #[test]
    fn interfaces_and_labels() {
        let nic = |name: &str, label: Option<&str>| Interface {
            name: name.into(),
            label: label.map(|label| Label(label.into())),
        };
        reads(
            &[
                ("eth0", nic("eth0", None)),
                ("eth0:web", nic("eth0", Some("web"))),
                ("br-lan.5", nic("br-lan.5", None)),
            ],
            &["", "eth0:", "a/b", "..", "with space", "%d", "eth0:a:b"],
        );
        reads::<Label>(&[], &["with space", "", "fourteen-bytes", "$(reboot)"]);
    }

    #[test]
    fn destinations() {
        reads(
            &[
                ("default", Destination::Default),
                ("198.51.100.0/24", Destination::Network("198.51.100.0".parse().unwrap(), 24)),
                ("0.0.0.0/0", Destination::Network("0.0.0.0".parse().unwrap(), 0)),
                ("2001:db8::/32", Destination::Network("2001:db8::".parse().unwrap(), 32)),
            ],
            &["198.51.100.1/24", "all", "10.0.0.0/33", "10.0.0.0/"],
        );
    }

    #[test]
    fn other_values() {
        reads(
            &[
                ("+", Broadcast::Ones),
                ("-", Broadcast::Zeros),
                ("192.0.2.7", Broadcast::Address([192, 0, 2, 7].into())),
            ],
            &["not_broadcast", "fd00::1"],
        );
        reads(&[("forever", Lifetime(None)), ("0", Lifetime(Some(0)))], &["-1", "never", "1.5"]);
        reads(
            &[("true", LinkCheck::Fail), ("no", LinkCheck::Ignore), ("degraded", LinkCheck::Degraded)],
            &["maybe", "Degraded "],
        );
        reads(&[("main", Table(254)), ("1000", Table(1000))], &["0", "-1", "mine"]);
        reads(&[("kernel_ra", Protocol(2)), ("255", Protocol(255))], &["256", "static"]);
        reads(&[("blue", NamespaceName("blue".into()))], &["../x", "a b", ".."]);
        reads::<NoClusterIp>(&[], &["sourceip", "01:00:5e:00:00:01"]);
        reads(&[("send_arp", Sender)], &["arp"]);
    }

    #[test]
    fn networks() {
        let network = |ip: &str, prefix| network(ip.parse().unwrap(), prefix).to_string();
        assert_eq!(network("10.1.2.3", 8), "10.0.0.0");
        assert_eq!(network("10.1.2.3", 0), "0.0.0.0");
        assert_eq!(network("10.1.2.3", 32), "10.1.2.3");
        assert_eq!(network("fd00::1:2", 112), "fd00::1:0");
        assert_eq!(network("fd00::1", 0), "::");
    }

    proptest! {
        #[test]
        fn no_text_makes_any_of_them_panic(text in "\\PC*") {
            let _any = (AddressSpec::parse(&text), Netmask::parse(&text), Interface::parse(&text), Label::parse(&text));
            let _any = (Broadcast::parse(&text), Protocol::parse(&text), Lifetime::parse(&text), Table::parse(&text));
            let _any = (LinkCheck::parse(&text), NamespaceName::parse(&text), Destination::parse(&text));
        }
    }
}
