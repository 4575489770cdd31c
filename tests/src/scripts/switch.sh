# The switch of a lab: PID 1 of its own network, mount and pid namespaces. It owns the bridges, the machines' disks and
# the power button. It lives as long as its standard input is open, that is as long as the process that started the lab,
# and everything that the lab has made goes with it.
# Arguments: label, number of networks, names of the machines.
set -eu
label=$1 networks=$2
shift 2

mount -t tmpfs -o mode=755 lab /mnt
mkdir /mnt/power
mkfifo -m 600 /mnt/power/request
for machine in "$@"; do
    disk=/mnt/$machine
    mkdir -p "$disk/upper" "$disk/work" "$disk/root"
    mount -t overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" lab "$disk/root"
done

# The bridges are cables, not hosts: no addresses of their own.
echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
network=0
while [ "$network" -lt "$networks" ]; do
    ip link add "br$network" type bridge stp_state 0 forward_delay 0 mcast_snooping 0
    ip link set "br$network" up
    network=$((network + 1))
done
nft -f - <<'RULES'
table bridge lab {
    set lost { type ifname . ifname; }
    chain forward {
        type filter hook forward priority 0; policy accept;
        iifname . oifname @lost drop
    }
}
RULES

# /proc is still the host's: this is the number by which the host knows this process.
read -r pid _ </proc/self/stat
echo "$pid"
exec -a "bascule-lab:$label:switch" cat >/dev/null 2>&1
