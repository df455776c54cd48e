# A guest is saved, restored and moved, and goes on counting, by Debian's Xen tools in the control domain:
# run=/save.sh on its kernel's command line, and work=pv, nested or shadow for which kind of guest. A PVH guest gets the
# other kind of paging in the end. work=pv-resting: it is not moved while it runs.
case ${1:-pv} in
pv | pv-resting) is='type="pv"' becomes=$is ;;
nested) is='type="pvh"; hap=1' becomes='type="pvh"; hap=0' ;;
shadow) is='type="pvh"; hap=0' becomes='type="pvh"; hap=1' ;;
*) exit 1 ;;
esac
file=/guest/pv.cfg
log=/var/log/xen/console/guest-counter.log

# Waits until the guest shows this; a minute and a half at most, or so many seconds.
shows() {
    for _ in $(seq "${2:-90}"); do
        grep -q "$1" "$log" 2> /dev/null && return
        sleep 1
    done
    echo "save: it does not show $1"
    tail -n 5 "$log"
}
# The number that it has counted to, 0 at first.
counted() {
    n=$(sed -n 's/^count: \([0-9]*\).*/\1/p' "$log" 2> /dev/null | tail -n 1)
    echo "${n:-0}"
}
# It counts on from there.
goes_on() {
    for _ in $(seq 90); do
        [ "$(counted)" -gt "$1" ] && echo "save: it counts on" && return
        sleep 1
    done
    echo "save: it does not count on from $1"
}

xl create "$file" "$is" 'name="counter"' 'memory=96' 'extra="console=hvc0 nr_cpus=1 run=/count.sh work=60"' || exit 1
shows "^count: 3"

echo "save: to a file, and the guest is gone"
xl save counter /root/counter || exit 1
at=$(counted)
xl list counter && echo "save: it is still there"
xl restore /root/counter || exit 1
rm /root/counter
goes_on "$at"

echo "save: to a file, and the guest goes on"
at=$(counted)
xl save -c counter /root/counter && goes_on "$at"

# Here is there: what xl would run over the network is run at once. The other domain has another name and log at first.
if [ "$1" != pv-resting ]; then
    echo "save: nowhere, while it runs"
    at=$(counted)
    xl migrate -s "" counter "xl migrate-receive" || exit 1
    log=/var/log/xen/console/guest-counter--incoming.log
    goes_on "$at"
fi

shows "^count: done" 300
grep "memwork" "$log"
[ "$1" != pv-resting ] || xl destroy counter # nobody waits for its end since it was saved
for _ in $(seq 45); do
    xl list | grep -q "^counter " || break
    sleep 2
done

echo "save: from a file, and it is destroyed"
log=/var/log/xen/console/guest-counter.log
: > $log
{ cat "$file"; printf '%s\nname = "counter"\nmemory = 96\n' "$becomes"; } > /root/becomes
xl restore -p /root/becomes /root/counter && xl unpause counter && shows "^count: " && xl debug-keys q && xl destroy counter
rm /root/counter
xl list
