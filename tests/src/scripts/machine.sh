# A machine of a lab: PID 1 of its own network, mount, pid, uts and ipc namespaces, from the moment the power comes until
# it is killed from outside. Its disk, an overlay over the host's root, is mounted by the switch and outlives it.
# Arguments: label, name, role ("node" runs a cluster, "client" does not).
set -eu
label=$1 name=$2 role=$3
disk=/mnt/$name root=/mnt/$name/root

# /proc is still the host's: this is the number by which the host knows this process.
read -r pid _ </proc/self/stat
echo "$pid"
# The lab plugs the cables in and says so; end of file means that the lab is gone.
read -r _ || exit 1

hostname "$name"
mount -t proc proc "$root/proc"
# The kernel's own panic button works across namespaces.
[ ! -e "$root/proc/sysrq-trigger" ] || mount --bind /dev/null "$root/proc/sysrq-trigger"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o mode=755 dev "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/run/lock" "$root/run/lab"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
while read -r device major minor; do
    mknod -m 666 "$root/dev/$device" c "$major" "$minor"
done <<'DEVICES'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
DEVICES
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
# syslog is read by the lab; the power button works whatever the network does.
: >"$root/dev/log"
mount --bind "$disk/syslog" "$root/dev/log"
mount --bind /mnt/power "$root/run/lab"

cd "$root"
pivot_root . mnt
umount -l /mnt
cd /
echo up
exec </dev/null >>/var/log/console.log 2>&1

ip link set lo up
ip -batch /etc/lab/network
if [ "$role" = node ]; then
    mkdir -p /run/bascule-lab
    (
        /usr/sbin/corosync -f &
        echo $! >/run/bascule-lab/corosync.pid
        # Its sockets are abstract ones.
        until grep -q '@cmap' /proc/net/unix; do
            kill -0 $! || exit 1
            sleep 0.05
        done
        /usr/sbin/pacemakerd &
        echo $! >/run/bascule-lab/pacemakerd.pid
    )
fi

# Bash adopts and reaps whatever the daemons leave behind.
exec -a "bascule-lab:$label:$name" bash -c 'while :; do sleep 1000000 & wait $!; done'
