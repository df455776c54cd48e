# What listeners may do wrong, and what becomes of the domains that they listen to: run=/trouble.sh work=HOW:DOM,... on
# the control domain's command line. Each domain is made to go through one of these:
#
#     killed    listeners are killed while it waits for them, and it goes on; then it is destroyed with its ring full,
#               and its pages mapped
#     brief     the same with fewer of them
#     needed    its listener is killed, and it requires one
#     dies      it is destroyed while umbra-access watches it
#     ends      it is left alone after its listener was killed, and ends by itself
#
# With 0 as DOM: tools (what /tools.sh does), vcpus (domains of more than there can be), pool (that of shadow_memory=).
out=/tmp/out
say() { echo "trouble: $(cut -d ' ' -f 1 /proc/uptime) $*"; }
time_of() { xl list "$1" 2> /dev/null | awk 'NR == 2 { print $NF }'; }
state_of() { xl list "$1" 2> /dev/null | awk 'NR == 2 { print $(NF - 1) }'; }

goes_on() {
    was=$(time_of "$dom")
    for _ in $(seq 60); do
        sleep 0.2
        [ "$(time_of "$dom")" != "$was" ] && return
    done
    say "FAILED: domain $dom does not go on after $1"
}
until_line() {
    for _ in $(seq 300); do
        grep -q "$1" $out && return
        sleep 0.1
    done
    say "FAILED: $name of domain $dom does not say $1"
    cat $out
}
until_gone() {
    for _ in $(seq 100); do
        xl list "$dom" > /dev/null 2>&1 || return
        sleep 0.1
    done
    say "FAILED: domain $dom is still there"
}

# Starts a listener, and waits until it says this.
starts() {
    name=$1 line=$2
    shift 2
    "$@" > $out 2>&1 &
    pid=$!
    until_line "$line"
}
# By number, as `kill -9` does.
ends_by() {
    kill "$1" $pid
    wait $pid 2> /dev/null
    say "$name of domain $dom ended with status $?"
}
# It is stopped first, so that the domain comes to wait for its answer.
killed() {
    starts "$@"
    sleep 0.5
    kill -STOP $pid
    sleep 0.3
    ends_by -9
}

kill_listeners() {
    killed xen-access "^starting write" xen-access "$dom" write
    goes_on xen-access
    killed umbra-access "vcpu 0 write" umbra-access "$dom" -w 0-$last rx once
    goes_on umbra-access
}
# What it has answered, or not, dies with it; the next one is there before anything else is.
kill_in_the_middle() {
    for how in unbound "asked 1" "asked 2" "asked 7" "answered 1" "answered 2" "answered 7"; do
        provoke ${how% *} "$dom" ${how##*[a-z]} > $out 2>&1
        status=$?
        umbra-access "$dom" -w 0-$last rx once --count 3 > $out.2 2>&1
        say "provoke of domain $dom, $how, ended with status $status, then umbra-access with $?"
        grep -q "summary: 3 events" $out.2 || say "FAILED: $(cat $out $out.2)"
        goes_on "$how"
    done
}
umbra_access_ends() {
    for signal in INT TERM HUP; do
        starts umbra-access "vcpu 0 write" umbra-access "$dom" -w 0-$last rx once
        ends_by -$signal
        until_line "^summary: [1-9][0-9]* events on "
        goes_on "umbra-access and $signal"
    done
    umbra-access "$dom" -w 0-$last rx pause > $out 2>&1
    say "umbra-access of domain $dom that pauses it ended with status $?"
    until_line "^summary: 1 events on 1 pages"
    until_line "^domain $dom is paused: xl unpause $dom lets it go on"
    was=$(time_of "$dom")
    sleep 0.5
    [ "$(time_of "$dom")" = "$was" ] || say "FAILED: domain $dom runs"
    say "domain $dom is $(state_of "$dom")"
    xl unpause "$dom"
    goes_on "umbra-access has paused it"
}

# The mapper and the listener go after the domain has been destroyed, each for itself.
destroy_in_use() {
    provoke map "$dom" > $out.map 2>&1 &
    mapper=$!
    starts provoke "requests of domain $dom wait" provoke silent "$dom"
    until_line "^provoke: $1 requests of domain $dom wait"
    out=$out.map until_line "frames of domain $dom are mapped"
    before=$(provoke free)
    xl destroy "$dom"
    say "xl destroy of domain $dom ended with status $?"
    sleep 0.3
    say "domain $dom is $(state_of "$dom") while it is mapped"
    ends_by -9
    sleep 0.3
    say "domain $dom is $(state_of "$dom") while it is mapped"
    kill $mapper
    wait $mapper
    sed 's/^provoke: /trouble: /; s/, sum.*//' $out.map
    until_gone
    say "domain $dom is gone, $(($(provoke free) - before)) frames are back"
}

# What cannot be had is said at once.
many_vcpus() {
    for count in 2 8; do
        xl create /guest/pv.cfg 'name="many"' vcpus=$count "$@" > $out 2>&1
        say "xl create with $count vCPUs ended with status $?"
        grep "domain creation fail" $out
    done
    xl dmesg | grep "vCPUs is refused"
}
pool() {
    xl create -p /guest/pv.cfg 'name="pool"' 'type="pvh"' hap=0 memory=96 shadow_memory=24 > $out 2>&1 || cat $out
    provoke pool "$(xl domid pool)"
    xl destroy pool
}

for each in $(echo "$1" | tr , " "); do
    [ "${each#*:}" = 0 ] || xl pause "${each#*:}"
done
for each in $(echo "$1" | tr , " "); do
    dom=${each#*:}
    if [ "$dom" != 0 ]; then
        last=$(provoke last "$dom")
        xl unpause "$dom"
    fi
    case ${each%:*} in
    tools) . /tools.sh ;;
    vcpus) many_vcpus && many_vcpus 'type="pvh"' ;;
    pool) pool ;;
    killed)
        kill_listeners
        kill_in_the_middle
        umbra_access_ends
        provoke pool "$dom" 3
        destroy_in_use 8
        ;;
    brief)
        kill_listeners
        destroy_in_use 8
        ;;
    needed)
        xl pause "$dom" # it is to write first when the listener answers no more
        starts xen-access "^starting write" xen-access -m "$dom" write
        sleep 1
        kill -STOP $pid
        xl unpause "$dom"
        sleep 0.5
        say "domain $dom is $(state_of "$dom")"
        ends_by -9
        sleep 0.5
        say "domain $dom is $(state_of "$dom")"
        xl destroy "$dom"
        until_gone
        ;;
    dies)
        starts umbra-access "vcpu 0 write" umbra-access "$dom" --default rx
        xl destroy "$dom"
        wait $pid
        say "umbra-access of domain $dom that was destroyed ended with status $?"
        until_line "^summary: [1-9][0-9]* events on "
        until_gone
        ;;
    ends)
        kill_listeners
        ;;
    esac
done
xl list
