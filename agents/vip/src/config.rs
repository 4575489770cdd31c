//! What the parameters mean together: pure. Everything that can be judged without a look at a node is judged here.

use crate::parameters::Parameters;
use crate::values::{Broadcast, Destination, Label, LinkCheck, NAME_MAX, bits, usable};
use ocf::CloneMeta;
use std::net::IpAddr;
use std::time::Duration;

/// How long the probe of a monitor with `OCF_CHECK_LEVEL` 10 listens where no parameter says.
const PROBE_OF_MONITOR: Duration = Duration::from_millis(200);

/// One address to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) ip: IpAddr,
    /// Its prefix length, where the parameters say it.
    pub(crate) prefix: Option<u8>,
}

/// The announcements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announcements {
    pub(crate) count: u32,
    pub(crate) interval: Duration,
    pub(crate) refresh: u32,
    /// Whether start leaves all but the first to a detached process.
    pub(crate) background: bool,
}

/// Which routes get the address as their source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) destinations: Vec<Destination>,
    pub(crate) table: u32,
    pub(crate) metric: Option<u32>,
}

/// The parameters of a resource, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) nic: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) broadcast: Broadcast,
    pub(crate) proto: Option<u8>,
    pub(crate) noprefixroute: bool,
    pub(crate) preferred_lft: Option<u32>,
    pub(crate) nodad: bool,
    pub(crate) namespace: Option<String>,
    pub(crate) conflict_check_v4: Duration,
    pub(crate) conflict_check_v6: Duration,
    pub(crate) announcements: Announcements,
    pub(crate) link_check: LinkCheck,
    pub(crate) source: Option<Source>,
    pub(crate) cut_connections: bool,
    pub(crate) flush_routes: bool,
    pub(crate) lvs: bool,
    pub(crate) address_label: Option<u32>,
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Config {
    /// Judges the parameters of one instance.
    ///
    /// # Errors
    /// Every contradiction, in words for the administrator.
    pub(crate) fn new(given: Parameters, clone: Option<&CloneMeta>) -> Result<Config, Vec<String>> {
        let mut faults = Vec::new();
        let wanted = wanted(&given, clone, &mut faults);
        let has = |v4: bool| wanted.iter().any(|wanted| wanted.ip.is_ipv4() == v4);
        let (v4, v6) = (has(true), has(false));
        let mut only = |wrong: bool, name: &str, family: &str| {
            if wrong {
                faults.push(format!("{name} is for {family} addresses, and ip holds none"));
            }
        };
        only(given.broadcast.is_some() && !v4, "broadcast", "IPv4");
        only(given.lvs_support && !v4, "lvs_support", "IPv4");
        only(given.lvs_ipv6_addrlabel && !v6, "lvs_ipv6_addrlabel", "IPv6");

        let name = if given.iflabel.is_some() { "iflabel" } else { "nic" };
        let (nic, alias) = given.nic.map_or((None, None), |nic| (Some(nic.name), nic.label));
        let label = match (given.iflabel, alias) {
            (Some(label), Some(alias)) if label != alias => {
                faults
                    .push(format!("nic says label {}, iflabel says {}: give one of them", alias.0, label.0));
                None
            }
            (label, alias) => label.or(alias),
        };
        if let (Some(nic), Some(Label(label))) = (&nic, &label)
            // A longer name is an alternative one; the label is made of the other.
            && nic.len() <= NAME_MAX
            && nic.len() + 1 + label.len() > NAME_MAX
        {
            faults.push(format!(
                "{name}: {nic}:{label} is longer than {NAME_MAX} characters; choose a shorter label"
            ));
        }
        let source = given.source_for.map(|destinations| Source {
            destinations: destinations.into_vec(),
            table: given.source_table.0,
            metric: given.source_metric.map(|metric| small(metric.get())),
        });
        for destination in source.iter().flat_map(|source| &source.destinations) {
            if let Destination::Network(net, prefix) = destination
                && !has(net.is_ipv4())
            {
                faults
                    .push(format!("source_for: {net}/{prefix} is of a family of which ip holds no address"));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let conflict_check = Duration::from_millis(given.conflict_check.get());
        let arping = Duration::from_millis(if given.run_arping { 1000 } else { 0 });
        Ok(Config {
            wanted,
            nic,
            label: label.map(|label| label.0),
            broadcast: given.broadcast.unwrap_or(Broadcast::Ones),
            proto: given.proto.map(|proto| proto.0),
            noprefixroute: given.noprefixroute,
            preferred_lft: given.preferred_lft.0,
            nodad: given.nodad,
            namespace: given.network_namespace.map(|name| name.0),
            conflict_check_v4: conflict_check.max(arping),
            conflict_check_v6: conflict_check,
            announcements: Announcements {
                count: small(given.arp_count.get()),
                interval: Duration::from_millis(given.arp_interval.get()),
                refresh: small(given.arp_count_refresh.get()),
                background: given.arp_bg.unwrap_or(true),
            },
            link_check: given.check_link_status,
            source,
            cut_connections: given.cut_connections,
            flush_routes: given.flush_routes,
            lvs: given.lvs_support,
            address_label: given.lvs_ipv6_addrlabel.then(|| small(given.lvs_ipv6_addrlabel_value.get())),
        })
    }

    /// How long to look for another owner of this address before taking it.
    pub(crate) fn conflict_check(&self, ip: IpAddr) -> Duration {
        if ip.is_ipv4() { self.conflict_check_v4 } else { self.conflict_check_v6 }
    }

    /// How long a deep monitor looks for another owner.
    pub(crate) fn deep_conflict_check(&self) -> Duration {
        let longest = self.conflict_check_v4.max(self.conflict_check_v6);
        if longest.is_zero() { PROBE_OF_MONITOR } else { longest }
    }

    /// The label that an IPv4 address has on an interface of this name.
    pub(crate) fn label_on(&self, nic: &str) -> String {
        match &self.label {
            Some(label) => format!("{nic}:{label}"),
            None => nic.to_owned(),
        }
    }

    /// The addresses alone.
    pub(crate) fn ips(&self) -> Vec<IpAddr> {
        self.wanted.iter().map(|wanted| wanted.ip).collect()
    }
}

fn wanted(given: &Parameters, clone: Option<&CloneMeta>, faults: &mut Vec<String>) -> Vec<Wanted> {
    let number = match clone {
        Some(clone) if given.unique_clone_address && !clone.globally_unique => {
            faults.push("unique_clone_address needs a clone with globally-unique=true".into());
            0
        }
        Some(clone) if !given.unique_clone_address && clone.globally_unique && clone.max > 1 => {
            faults.push(
                "a globally unique clone of one address is the load sharing cluster IP, which this agent does not \
                 offer: set unique_clone_address=true, or globally-unique=false for an address on lo"
                    .into(),
            );
            0
        }
        clone => clone.filter(|_| given.unique_clone_address).and_then(|clone| clone.number).unwrap_or(0),
    };
    let families =
        (given.ip.iter().any(|spec| spec.ip.is_ipv4()), given.ip.iter().any(|spec| spec.ip.is_ipv6()));
    if let Some(mask) = given.cidr_netmask {
        if families == (true, true) && given.ip.iter().any(|spec| spec.prefix.is_none()) {
            faults.push("cidr_netmask cannot hold for both families: give each address its own, as in ip=\"192.0.2.1/24 2001:db8::1/64\"".into());
        } else if families.0 && !families.1 && mask.prefix > 32 {
            faults.push(format!("cidr_netmask={}: an IPv4 prefix has at most 32 bits", mask.prefix));
        } else if !families.0 && mask.dotted {
            faults.push(
                "cidr_netmask: a dotted netmask is for IPv4; an IPv6 prefix length is a number such as 64"
                    .into(),
            );
        }
    }
    let mut wanted: Vec<Wanted> = Vec::new();
    for spec in given.ip.iter() {
        let prefix =
            spec.prefix.or(given.cidr_netmask.map(|mask| mask.prefix).filter(|p| *p <= bits(spec.ip)));
        let Some(ip) = plus(spec.ip, number).filter(|ip| usable(*ip)) else {
            faults.push(format!(
                "ip: {} plus clone number {number} is no address that a host can have",
                spec.ip
            ));
            continue;
        };
        let twice = format!("ip: {ip} is named twice");
        if wanted.iter().any(|other| other.ip == ip) && !faults.contains(&twice) {
            faults.push(twice);
        }
        wanted.push(Wanted { ip, prefix });
    }
    wanted
}

fn plus(ip: IpAddr, number: u32) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).checked_add(number).map(|sum| IpAddr::V4(sum.into())),
        IpAddr::V6(ip) => u128::from(ip).checked_add(number.into()).map(|sum| IpAddr::V6(sum.into())),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ocf::Parameters as _;
    use std::ffi::OsStr;

    fn judged(pairs: &[(&str, &str)], clone: Option<&CloneMeta>) -> Result<Config, Vec<String>> {
        let given = Parameters::read(&|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsStr::new(*value))
        });
        let given = given.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        Config::new(given, clone)
    }

    /// The configuration that these parameters mean.
    pub(crate) fn config(pairs: &[(&str, &str)]) -> Config {
        judged(pairs, None).unwrap()
    }

    fn fault(pairs: &[(&str, &str)]) -> String {
        judged(pairs, None).unwrap_err().join("; ")
    }

    #[test]
    fn prefixes_come_from_the_address_or_from_cidr_netmask() {
        let wanted = |pairs| config(pairs).wanted.iter().map(|wanted| wanted.prefix).collect::<Vec<_>>();
        assert_eq!(wanted(&[("ip", "192.0.2.1")]), [None]);
        assert_eq!(
            wanted(&[("ip", "192.0.2.1 192.0.2.2/32"), ("netmask", "255.255.255.0")]),
            [Some(24), Some(32)]
        );
        assert_eq!(wanted(&[("ip", "192.0.2.1/24 2001:db8::1/64")]), [Some(24), Some(64)]);
    }

    #[test]
    fn contradictions_are_found_and_all_told() {
        for (pairs, part) in [
            (&[("ip", "192.0.2.1"), ("cidr_netmask", "64")][..], "at most 32"),
            (&[("ip", "2001:db8::1"), ("cidr_netmask", "255.255.255.0")], "dotted"),
            (&[("ip", "192.0.2.1 2001:db8::1"), ("cidr_netmask", "24")], "both families"),
            (&[("ip", "192.0.2.1 192.0.2.1/24")], "named twice"),
            (&[("ip", "2001:db8::1"), ("broadcast", "+")], "broadcast is for IPv4"),
            (&[("ip", "2001:db8::1"), ("lvs_support", "true")], "lvs_support is for IPv4"),
            (&[("ip", "192.0.2.1"), ("lvs_ipv6_addrlabel", "true")], "is for IPv6"),
            (&[("ip", "192.0.2.1"), ("nic", "eth0:a"), ("iflabel", "b")], "give one of them"),
            (&[("ip", "192.0.2.1"), ("nic", "a-long-name0"), ("iflabel", "web")], "longer than 15"),
            (&[("ip", "192.0.2.1"), ("source_for", "2001:db8::/32")], "of a family"),
            (&[("ip", "192.0.2.1"), ("clusterip_hash", "sourceip")], "load sharing"),
            (&[("ip", "192.0.2.1"), ("mac", "01:02:03:04:05:06")], "load sharing"),
        ] {
            assert!(fault(pairs).contains(part), "{pairs:?}: {}", fault(pairs));
        }
    }

    #[test]
    fn clones() {
        let clone = |number, globally_unique| CloneMeta {
            number: Some(number),
            max: 3,
            node_max: Some(1),
            globally_unique,
            notify: false,
            promotable: false,
            promoted_max: None,
            promoted_node_max: None,
        };
        let plain = [("ip", "192.0.2.1")];
        let unique = [("ip", "192.0.2.1"), ("unique_clone_address", "true")];
        let first = |pairs: &[(&str, &str)], clone: Option<CloneMeta>| {
            judged(pairs, clone.as_ref()).map(|config| config.ips()[0].to_string())
        };
        assert_eq!(first(&unique, Some(clone(2, true))), Ok("192.0.2.3".into()));
        assert_eq!(
            first(&unique, None),
            Ok("192.0.2.1".into()),
            "validate-all by pcs brings no clone options"
        );
        assert!(first(&unique, Some(clone(0, false))).is_err());
        assert!(first(&plain, Some(clone(0, true))).is_err());
        assert_eq!(first(&plain, Some(clone(1, false))), Ok("192.0.2.1".into()), "anycast on lo");
    }

    #[test]
    fn labels_and_conflict_checks() {
        let with_alias = config(&[("ip", "192.0.2.1"), ("nic", "eth0:web"), ("run_arping", "yes")]);
        assert_eq!(with_alias.label_on("eth0"), "eth0:web");
        assert_eq!(with_alias.conflict_check("192.0.2.1".parse().unwrap()), Duration::from_secs(1));
        assert_eq!(with_alias.conflict_check("::1".parse().unwrap()), Duration::ZERO);
        assert_eq!(config(&[("ip", "192.0.2.1")]).deep_conflict_check(), PROBE_OF_MONITOR);
    }
}
