# Guests of each kind come and go, and one is saved meanwhile, by Debian's Xen tools in the control domain: run=/create.sh
# on its kernel's command line; work=long for those that work, too.
file=/guest/pv.cfg
name=

create() {
    name=$1
    shift
    echo "create: $name"
    xl create "$file" "name=\"$name\"" "$@"
}

# Waits until the guest is there no more and all its memory is back, or until it shows this; two minutes at most.
gone() {
    for _ in $(seq 120); do
        xl list | grep -q -e "^$name " -e "^(null) " || return
        sleep 1
    done
    echo "create: $name is still there"
}
shows() {
    for _ in $(seq 120); do
        grep -q "$1" "/var/log/xen/console/guest-$name.log" 2> /dev/null && return
        sleep 1
    done
    echo "create: $name does not show $1"
}

# Where input is no terminal, xl console shows only: what is typed goes to where it would write that.
typed() {
    xl console "$name" > /tmp/console < /dev/null &
    for _ in $(seq 30); do
        sleep 1
        grep -q "hello from $name" /tmp/console && break
        echo "echo hel''lo from $name" > "$(xenstore-read "/local/domain/$(xl domid "$name")/console/tty")"
    done
    grep -m 1 "^hello from" /tmp/console
    kill $!
}

# It is saved and gone, and goes on.
kept() {
    xl save "$name" /root/kept && ! xl list "$name" && xl restore /root/kept && rm /root/kept && typed
}

asked() {
    shows "poweroff ends this guest"
    xl pause "$name" && xl list "$name"
    xl unpause "$name" && xl vcpu-list "$name"
    typed
}

worked() {
    create "$@" 'extra="console=hvc0 nr_cpus=1 run=/work.sh"' && gone
    cat "/var/log/xen/console/guest-$name.log"
}

if [ "$1" = long ]; then
    worked pv-works
    worked nested-works 'type="pvh"' hap=1
    worked shadow-works 'type="pvh"' hap=0
fi
create pv && asked && xl destroy pv && gone
create nested 'type="pvh"' hap=1 && asked && xl shutdown nested && gone
create shadow 'type="pvh"' hap=0 && asked && kept && xl destroy shadow && gone
xl list
