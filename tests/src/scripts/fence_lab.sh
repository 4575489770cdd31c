#!/bin/sh
# fence_lab: a fence agent that asks the lab to cut a machine's power. The request goes through a FIFO and not through the
# network, so it works while the network is cut.
action=reboot target=
while IFS= read -r line; do
    case $line in
    action=*) action=${line#*=} ;;
    port=* | plug=* | nodename=*) target=${line#*=} ;;
    esac
done

case $action in
metadata)
    cat <<'XML'
<?xml version="1.0" ?>
<resource-agent name="fence_lab" shortdesc="Fence agent of the Bascule lab">
<longdesc>Kills a machine of the lab through the lab's power control.</longdesc>
<vendor-url>https://example.invalid/</vendor-url>
<parameters>
<parameter name="action" unique="0" required="1">
<getopt mixed="-o, --action=[action]" />
<content type="string" default="reboot" />
<shortdesc lang="en">Fencing action</shortdesc>
</parameter>
<parameter name="port" unique="0" required="0">
<getopt mixed="-n, --plug=[name]" />
<content type="string" />
<shortdesc lang="en">Machine to act on</shortdesc>
</parameter>
</parameters>
<actions>
<action name="on" automatic="0"/>
<action name="off" />
<action name="reboot" />
<action name="status" />
<action name="monitor" />
<action name="list" />
<action name="metadata" />
</actions>
</resource-agent>
XML
    ;;
monitor | status | list | on)
    [ -p /run/lab/request ]
    ;;
off | reboot)
    reply=reply.$(hostname).$$
    trap 'rm -f "/run/lab/$reply"' EXIT
    mkfifo -m 600 "/run/lab/$reply" || exit 1
    echo "$action $target $reply" >/run/lab/request
    read -r answer <"/run/lab/$reply"
    [ "$answer" = ok ]
    ;;
*)
    echo "fence_lab: unknown action $action" >&2
    exit 1
    ;;
esac
