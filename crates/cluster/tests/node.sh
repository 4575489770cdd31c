#!/bin/sh
# The first process of a node made of namespaces: a cluster of one, with Corosync and Pacemaker. Everything that it writes is
# on file systems of its own. Run by `unshare --net --mount --pid --uts --ipc --fork`.
set -e
mount --make-rprivate /
mount -t proc proc /proc
hostname n1
ip link set lo up
for directory in /run /dev/shm /etc/corosync /var/lib/corosync /var/lib/pacemaker /var/log/corosync /var/log/pacemaker; do
    mount -t tmpfs tmpfs "$directory"
done
mkdir -p /run/lock /var/lib/pacemaker/cib /var/lib/pacemaker/pengine /var/lib/pacemaker/cores /var/lib/pacemaker/blackbox
cat > /etc/corosync/corosync.conf <<CONF
totem {
  version: 2
  cluster_name: one
  transport: knet
}
nodelist {
  node {
    ring0_addr: 127.0.0.1
    name: n1
    nodeid: 1
  }
}
quorum {
  provider: corosync_votequorum
  expected_votes: 1
}
logging {
  to_syslog: no
  to_logfile: yes
  logfile: /var/log/corosync/corosync.log
}
CONF
# Without dc-deadtime a first start takes 20 s.
cat > /var/lib/pacemaker/cib/cib.xml <<CIB
<cib crm_feature_set="3.0.0" validate-with="pacemaker-3.0" epoch="1" num_updates="0" admin_epoch="0">
<configuration><crm_config><cluster_property_set id="o">
<nvpair id="o1" name="dc-deadtime" value="1"/><nvpair id="o2" name="stonith-enabled" value="false"/>
</cluster_property_set></crm_config><nodes/><resources/><constraints/></configuration><status/></cib>
CIB
chown -R hacluster:haclient /var/lib/pacemaker /var/log/pacemaker
chmod 0750 /var/lib/pacemaker /var/lib/pacemaker/*
chmod 0600 /var/lib/pacemaker/cib/cib.xml
corosync -f &
until grep -q '@cmap' /proc/net/unix; do sleep 0.1; done
pacemakerd &
exec sleep infinity
