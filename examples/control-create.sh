# Guests come and go by Debian's Xen tools in the control domain: run=/create.sh on its kernel's command line.
file=${1:-/guest/pv.cfg}

# Waits until a domain of this name is there no more and all its memory is back, or until it shows this; a minute
# and a half at most.
gone() {
    for _ in $(seq 45); do
        xl list | grep -q -e "^$1 " -e "^(null) " || return
        sleep 2
    done
    echo "create: $1 is still there"
}
shows() {
    for _ in $(seq 45); do
        grep -q "$2" "/var/log/xen/console/guest-$1.log" 2> /dev/null && return
        sleep 2
    done
    echo "create: $1 does not show $2"
}

echo "create: one that works its memory and ends"
xl create "$file" 'name="worker"' 'extra="console=hvc0 nr_cpus=1 run=/work.sh"' && gone worker
cat /var/log/xen/console/guest-worker.log
xl list

echo "create: one that is paused, asked and destroyed"
xl create "$file" && shows guest "poweroff ends this guest"
xl pause guest && xl list guest
xl unpause guest && xl vcpu-list guest
# Where input is no terminal, xl console shows only: what is typed goes to where it would write that.
timeout 10 xl console guest > /tmp/console < /dev/null &
sleep 4
echo "echo hel''lo" > "$(xenstore-read "/local/domain/$(xl domid guest)/console/tty")"
sleep 7
grep hello /tmp/console
xl destroy guest && gone guest
xl list
