//! The address plan, and the files that a node finds on its disk: Corosync's and Pacemaker's configuration. Pure: options
//! in, text out.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::options::{Fencing, Options};

/// The machine outside the cluster.
pub(crate) const CLIENT: &str = "client";
/// The host part of the client's addresses.
const CLIENT_HOST: u8 = 250;
/// The host part of the address that the client's second interface asks from. It is configured nowhere.
const PROBE_HOST: u8 = 251;

/// IPv4 address of host `host` on network `network`: 10.77.NETWORK.HOST/24.
pub(crate) fn v4(network: usize, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, octet(network), host)
}

/// IPv6 address of host `host` on network `network`: fd77:0:0:NETWORK::HOST/64.
pub(crate) fn v6(network: usize, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, u16::from(octet(network)), 0, 0, 0, u16::from(host))
}

/// The hardware address of host `host` on network `network`.
pub(crate) fn mac(network: usize, host: u8) -> [u8; 6] {
    [0x02, 0x77, 0, 0, octet(network), host]
}

/// The host part of the addresses of the machine called `name`: its place in the list of nodes, from 1.
pub(crate) fn host(nodes: &[String], name: &str) -> u8 {
    nodes.iter().position(|node| node == name).map_or(CLIENT_HOST, |place| octet(place + 1))
}

/// The address from which the client's second interface asks on `network`, and its hardware address.
pub(crate) fn probe(network: usize) -> (Ipv4Addr, [u8; 6]) {
    (v4(network, PROBE_HOST), mac(network, PROBE_HOST))
}

/// The machine that has the hardware address, if it is one of the plan's.
pub(crate) fn owner(nodes: &[String], mac: [u8; 6]) -> Option<String> {
    match mac {
        [0x02, 0x77, 0, 0, _, CLIENT_HOST | PROBE_HOST] => Some(CLIENT.to_owned()),
        [0x02, 0x77, 0, 0, _, host] => nodes.get(usize::from(host).checked_sub(1)?).cloned(),
        _ => None,
    }
}

/// The switch's end of the cable between a machine and a network.
pub(crate) fn port(machine: &str, network: usize) -> String {
    format!("{machine}-{network}")
}

/// The switch's end of the cable of the client's second interface.
pub(crate) fn probe_port(network: usize) -> String {
    format!("{CLIENT}-p{network}")
}

/// Written as the colon-separated hexadecimal that `ip` takes.
pub(crate) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The machine's own addresses, as a batch for `ip`.
pub(crate) fn network_batch(options: &Options, machine: &str) -> String {
    let host = host(&options.nodes, machine);
    let mut batch = String::new();
    for network in 0..options.networks {
        let (v4, v6) = (v4(network, host), v6(network, host));
        let _ = writeln!(batch, "link set eth{network} up");
        let _ = writeln!(batch, "address add {v4}/24 broadcast + dev eth{network}");
        let _ = writeln!(batch, "address add {v6}/64 dev eth{network} nodad");
        if machine == CLIENT {
            let _ = writeln!(batch, "link set probe{network} up");
        }
    }
    batch
}

/// Who is who, for `/etc/hosts`.
pub(crate) fn hosts(options: &Options) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
    for machine in options.nodes.iter().map(String::as_str).chain([CLIENT]) {
        let _ = writeln!(text, "{} {machine}", v4(0, host(&options.nodes, machine)));
    }
    text
}

/// `/etc/corosync/corosync.conf`: encrypted knet, a link for each network, and quick link detection.
pub(crate) fn corosync_conf(options: &Options) -> String {
    let mut text = format!(
        "totem {{\n  version: 2\n  cluster_name: lab\n  transport: knet\n  crypto_cipher: aes256\n  crypto_hash: sha256\n  \
         token: {token}\n  token_coefficient: 0\n",
        token = options.token.as_millis(),
    );
    for network in 0..options.networks {
        let _ = writeln!(
            text,
            "  interface {{\n    linknumber: {network}\n    knet_ping_interval: 50\n    knet_ping_timeout: {timeout}\n    \
             knet_pong_count: 1\n  }}",
            timeout = (options.token.as_millis() / 2).max(100),
        );
    }
    text.push_str("}\nnodelist {\n");
    for (place, node) in options.nodes.iter().enumerate() {
        let _ = writeln!(text, "  node {{\n    name: {node}\n    nodeid: {}", place + 1);
        for network in 0..options.networks {
            let _ = writeln!(text, "    ring{network}_addr: {}", v4(network, host(&options.nodes, node)));
        }
        text.push_str("  }\n");
    }
    let two_node = if options.nodes.len() == 2 { "  two_node: 1\n" } else { "" };
    let _ = write!(
        text,
        "}}\nquorum {{\n  provider: corosync_votequorum\n{two_node}}}\nlogging {{\n  to_stderr: no\n  to_syslog: no\n  \
         to_logfile: yes\n  logfile: /var/log/corosync/corosync.log\n  timestamp: hires\n}}\n"
    );
    text
}

/// The first CIB. `dc-deadtime` must be in it before the first start: a new cluster waits so long for other nodes to show
/// up (20 s unless said).
pub(crate) fn cib(options: &Options) -> String {
    let stonith = if options.fencing == Fencing::None { "false" } else { "true" };
    let mut properties = vec![
        ("dc-deadtime", "1s"),
        ("cluster-name", "lab"),
        ("have-watchdog", "false"),
        ("stonith-enabled", stonith),
    ];
    for (name, value) in &options.properties {
        properties.retain(|(known, _)| known != name);
        properties.push((name, value));
    }
    let properties: String =
        properties.iter().map(|(name, value)| nvpair("cib-bootstrap-options", name, value)).collect();
    let resources = if options.fencing == Fencing::None { String::new() } else { fencing(options) };
    // As `pcs cluster setup` does: what runs stays where it is when a node comes back.
    let stickiness = nvpair("rsc_defaults-options", "resource-stickiness", "1");
    format!(
        "<cib admin_epoch=\"0\" epoch=\"1\" num_updates=\"0\" validate-with=\"pacemaker-3.7\">\n<configuration>\n\
         <crm_config><cluster_property_set id=\"cib-bootstrap-options\">\n{properties}</cluster_property_set></crm_config>\n\
         <nodes/>\n<resources>{resources}</resources>\n<constraints/>\n\
         <rsc_defaults><meta_attributes id=\"rsc_defaults-options\">\n{stickiness}</meta_attributes></rsc_defaults>\n\
         </configuration>\n<status/>\n</cib>\n"
    )
}

fn fencing(options: &Options) -> String {
    let action = if options.fencing == Fencing::Off { "off" } else { "reboot" };
    let pairs: String = [
        ("pcmk_host_list", options.nodes.join(" ").as_str()),
        ("pcmk_host_check", "static-list"),
        ("pcmk_reboot_action", action),
    ]
    .iter()
    .map(|(name, value)| nvpair("fencing-instance_attributes", name, value))
    .collect();
    format!(
        "<primitive id=\"fencing\" class=\"stonith\" type=\"fence_lab\">\
         <instance_attributes id=\"fencing-instance_attributes\">\n{pairs}</instance_attributes>\
         <operations><op id=\"fencing-monitor-60s\" name=\"monitor\" interval=\"60s\"/></operations></primitive>"
    )
}

fn nvpair(set: &str, name: &str, value: &str) -> String {
    let value = quick_xml::escape::escape(value);
    format!("<nvpair id=\"{set}-{name}\" name=\"{name}\" value=\"{value}\"/>\n")
}

fn octet(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_leads_back_to_its_machine() {
        let nodes = Options::nodes(3).nodes;
        for name in ["n1", "n2", "n3", CLIENT] {
            assert_eq!(owner(&nodes, mac(1, host(&nodes, name))).as_deref(), Some(name));
        }
        assert_eq!(owner(&nodes, [2, 0x77, 0, 0, 0, 0]), None);
        assert_eq!(owner(&nodes, [2, 0x77, 0, 0, 0, 4]), None);
        assert_eq!(owner(&nodes, [0xff; 6]), None);
    }

    #[test]
    fn a_property_given_replaces_the_default() {
        let cib = cib(&Options::nodes(2).property("dc-deadtime", "7s").property("note", "a<b"));
        assert!(cib.contains("name=\"dc-deadtime\" value=\"7s\"") && !cib.contains("value=\"1s\""), "{cib}");
        assert!(cib.contains("a&lt;b"), "{cib}");
    }
}
