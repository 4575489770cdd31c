#!/bin/bash
# ocf:bascule:writer: an application of the lab that writes into the directory `tree` all the time. It makes files of names that
# are never used again, deletes some of them, and overwrites one. Everything is noted in /var/log/writer.log before
# (`try`, `goes`) and after it is done (`done`, `gone`, `last`). It keeps the directory open, as applications do.
run=/run/writer log=/var/log/writer.log tree=$OCF_RESKEY_tree

write() {
    cd "$tree" && [ -e .bascule/dataset ] || exit 1
    mkdir -p new
    number=$(grep -c . $log)
    until [ -e $run.stop ]; do
        number=$((number + 1))
        name=new/$HOSTNAME-$number old=new/$HOSTNAME-$((number - 7))
        echo "try $name" >>$log
        echo "content of $name" 2>/dev/null >$name && echo "done $name" >>$log
        echo "$HOSTNAME $number" 2>/dev/null >last && echo "last $HOSTNAME $number" >>$log
        if [ $((number % 5)) = 0 ] && [ -e $old ]; then
            echo "goes $old" >>$log
            rm $old && echo "gone $old" >>$log
        fi
        read -t 0.03 <>$run.never
    done
}

alive() {
    [ -s $run.pid ] && kill -0 "$(cat $run.pid)" 2>/dev/null
}

case $1 in
meta-data)
    cat <<'XML'
<?xml version="1.0"?>
<resource-agent name="writer" version="1.0"><version>1.0</version><longdesc lang="en">Writes into a directory.</longdesc>
<shortdesc lang="en">Writes</shortdesc><parameters><parameter name="tree" required="1"><longdesc lang="en">Directory</longdesc>
<shortdesc lang="en">Directory</shortdesc><content type="string"/></parameter></parameters><actions><action name="start" timeout="20s"/>
<action name="stop" timeout="20s"/><action name="monitor" timeout="20s" interval="10s"/><action name="meta-data" timeout="5s"/>
</actions></resource-agent>
XML
    ;;
start)
    alive && exit 0
    rm -f $run.stop
    touch $log
    [ -p $run.never ] || mkfifo $run.never
    write </dev/null >/dev/null 2>&1 &
    echo $! >$run.pid
    ;;
stop)
    touch $run.stop
    while alive; do sleep 0.02; done
    rm -f $run.pid
    ;;
monitor) alive || exit 7 ;;
*) exit 3 ;;
esac
