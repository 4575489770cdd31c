//! The parameters of `ocf:bascule:vip`, declared once. Those of `ocf:heartbeat:IPaddr2` keep name and meaning.

use crate::values::{
    AddressSpec, Broadcast, Destination, Interface, Label, Lifetime, LinkCheck, NamespaceName, Netmask,
    NoClusterIp, Protocol, Sender, Table,
};
use ocf::{List, Within};

ocf::parameters! {
    /// Parameters of the agent, as read from the environment.
    pub(crate) struct Parameters {
        /// Virtual IP addresses
        ///
        /// One IPv4 or IPv6 address, such as 192.0.2.10, or several of both families separated by spaces, which start
        /// and stop all together. Each may carry its own prefix length (192.0.2.10/24); without one, cidr_netmask
        /// holds, or else the prefix of the network that the interface is connected to.
        ip: List<AddressSpec> { required: true, unique_group: "address" },
        /// Network interface
        ///
        /// The interface that carries the addresses, by its name or an alternative name. Left out, it is the one
        /// that the kernel's routing table (longest prefix) connects to the address. The form eth0:label is taken as
        /// nic=eth0 iflabel=label.
        nic: Option<Interface> { unique_group: "address" },
        /// Prefix length
        ///
        /// Prefix length (24) or, for IPv4, netmask (255.255.255.0). Left out, it is that of the network that the
        /// interface is connected to. With addresses of both families, give each its own in ip instead.
        cidr_netmask: Option<Netmask> { alias: "netmask" },
        /// Broadcast address
        ///
        /// IPv4 only. An address, or "+" (all host bits set, which is the default) or "-" (all host bits zero).
        broadcast: Option<Broadcast>,
        /// Label of the address
        ///
        /// IPv4 only. Shown after the interface's name, as in eth0:web; both together have at most 15 characters.
        iflabel: Option<Label>,
        /// Address protocol
        ///
        /// The origin tag of the address in "ip address" (kernels since 5.18): a number from 0 to 255, or kernel_lo,
        /// kernel_ra, kernel_ll.
        proto: Option<Protocol>,
        /// No route for the prefix
        ///
        /// Adds the address without the route to its network that the kernel would make.
        noprefixroute: bool = "false",
        /// Preferred lifetime
        ///
        /// Seconds, or "forever". With 0 the address is deprecated from the start: it answers, but is not chosen as
        /// the source of outgoing connections.
        preferred_lft: Lifetime = "forever",
        /// No duplicate address detection
        ///
        /// IPv6 only. Makes the address usable at once. Otherwise start waits for the kernel's duplicate address
        /// detection, which takes a second or two, and fails if it finds another owner.
        nodad: bool = "false",
        /// Network namespace
        ///
        /// The name (as "ip netns" lists them) or absolute path of the network namespace in which to work.
        network_namespace: Option<NamespaceName> { unique_group: "address" },

        /// Check for another owner before start, ms
        ///
        /// Before it takes an address, start asks the network for this many milliseconds whether somebody else has
        /// it (RFC 5227 for IPv4, neighbour solicitation for IPv6), and fails, naming the other's hardware address.
        /// 0 does not ask. A monitor with OCF_CHECK_LEVEL 10 asks too, for as long, or for 200 ms.
        conflict_check: Within<0, 10000> = "0" { reloadable: true },
        /// Check for another IPv4 owner before start
        ///
        /// The switch of IPaddr2: the same as conflict_check=1000, for IPv4 addresses only.
        run_arping: bool = "false" { reloadable: true },

        /// Number of announcements at start
        ///
        /// How many times start announces the address, by gratuitous ARP (IPv4) or unsolicited neighbour advertisements
        /// (IPv6). The first leaves before start returns, the others in the background.
        arp_count: Within<1, 1000> = "5" { reloadable: true },
        /// Interval of announcements, ms
        ///
        /// Milliseconds between two announcements; less than 10 counts as 10.
        arp_interval: Within<1, 60000> = "200" { reloadable: true },
        /// Number of announcements at each monitor
        ///
        /// How many times every recurring monitor announces the address again, for switches and routers that forget.
        /// 0 is none.
        arp_count_refresh: Within<0, 100> = "0" { reloadable: true },
        /// Announcements in the background
        ///
        /// With true, which is the default for both families, start returns after the first announcement and the others
        /// leave in the background. With false, start returns when all have left.
        arp_bg: Option<bool> { reloadable: true },
        /// Program that sends announcements
        ///
        /// Taken for compatibility with IPaddr2: the names that it knows are accepted and make no difference, because
        /// this agent sends announcements itself, on InfiniBand too.
        arp_sender: Option<Sender> { reloadable: true },
        /// Options of that program
        ///
        /// Taken for compatibility with IPaddr2, without effect: see arp_sender.
        send_arp_opts: Option<String> { reloadable: true },

        /// What a link without carrier means
        ///
        /// With true (the default), an address on an interface that is down or has no carrier is a failure, so that it
        /// moves to another node. With degraded it is reported and stays. With false it is not looked at, and start
        /// takes an interface up that is down.
        check_link_status: LinkCheck = "true" { reloadable: true },

        /// Destinations to be reached from the address
        ///
        /// Makes the address the preferred source of the routes to these destinations: "default", networks such as
        /// 198.51.100.0/24, or several of them. Of several routes to a destination those through the address's own
        /// interface are taken, or all where none is. Stop restores them exactly as they were. This is what
        /// ocf:heartbeat:IPsrcaddr is for.
        source_for: Option<List<Destination>>,
        /// Routing table of source_for
        ///
        /// The routing table in which source_for looks: a number, or main (the default), default, local.
        source_table: Table = "main",
        /// Metric of the routes of source_for
        ///
        /// source_for changes only routes with this metric (priority). Left out, those of any metric.
        source_metric: Option<Within<0, 4294967295>>,

        /// Cut TCP connections at stop
        ///
        /// Resets the established TCP connections of the address before it goes, so that clients reconnect to the
        /// new node at once instead of waiting for a timeout.
        cut_connections: bool = "false" { reloadable: true },
        /// Flush the routing cache at stop
        ///
        /// Stop drops what the kernel has cached about routes.
        flush_routes: bool = "false" { reloadable: true },

        /// LVS direct routing
        ///
        /// IPv4 only. An address that lo carries (as on a real server of LVS-DR) is moved from there at start, and
        /// put back at stop. Found on lo only, the resource counts as not running.
        lvs_support: bool = "false",
        /// Address label for LVS direct routing
        ///
        /// IPv6 only. Gives the address a label in the kernel's table for source address selection (RFC 6724), so
        /// that it is not chosen for outgoing connections such as health checks.
        lvs_ipv6_addrlabel: bool = "false",
        /// Value of that label
        ///
        /// Value of the label that lvs_ipv6_addrlabel gives.
        lvs_ipv6_addrlabel_value: Within<0, 4294967294> = "99",
        /// Add the clone's number to the address
        ///
        /// For a clone with globally-unique=true: instance N has the address plus N.
        unique_clone_address: bool = "false",

        /// Not supported: load sharing cluster IP
        ///
        /// Not supported, see clusterip_hash.
        mac: Option<NoClusterIp>,
        /// Not supported: load sharing cluster IP
        ///
        /// Not supported: the CLUSTERIP target of iptables, on which the load sharing of IPaddr2 stands, was removed
        /// from Linux. Use several addresses (unique_clone_address) with DNS, or a load balancer (LVS, HAProxy) behind
        /// one address.
        clusterip_hash: Option<NoClusterIp>,
        /// Not supported: load sharing cluster IP
        ///
        /// Not supported, see clusterip_hash.
        clusterip_firewall: Option<NoClusterIp>,
        /// Not supported: load sharing cluster IP
        ///
        /// Not supported, see clusterip_hash.
        clusterip_hash_seed: Option<NoClusterIp>,
        /// Not supported: load sharing cluster IP
        ///
        /// Not supported, see clusterip_hash.
        clusterip_table: Option<NoClusterIp>,
        /// Not supported: load sharing cluster IP
        ///
        /// Not supported, see clusterip_hash.
        clusterip_chain: Option<NoClusterIp>,
        /// Not supported: load sharing cluster IP
        ///
        /// Not supported, see clusterip_hash.
        clusterip_mac_mangle: Option<NoClusterIp>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        assert_eq!(ocf::table_faults::<Parameters>(), [""; 0]);
    }
}
