# Watches other domains with Debian's xen-access: run=/watch.sh watch=HOW:DOMID,... on the kernel's command line, HOW being
# write, exec, or what else it knows; or with umbra-access and the symbols in /watch.map: rules:DOMID by the rules in /watch.rules, rules-pv:DOMID by /watch-pv.rules. A domain stands still until it is watched, and is watched until it has ended.
for word in $(cat /proc/cmdline); do
    case $word in
    watch=*) all=$(echo "${word#watch=}" | tr , " ") ;;
    esac
done

# Waits until grep finds one, or a domain has ended; two minutes at most.
until_line() {
    for _ in $(seq 200); do
        grep -q "$@" 2> /dev/null && return
        sleep 0.2
    done
}
until_end() {
    for _ in $(seq 120); do
        xl list | grep -q -E "^\(null\) +$1 .* ---s" && return
        sleep 1
    done
}

watch() {
    case $1 in
    rules) umbra-access "$2" --rules /watch.rules --map /watch.map ;;
    rules-pv) umbra-access "$2" --rules /watch-pv.rules --map /watch.map ;;
    *) xen-access "$2" "$1" ;;
    esac > "/tmp/watch.$2" 2> "/tmp/said.$2" & # apart: what is printed comes in pieces of 4096 bytes
    watcher=$!
    until_line -e "^starting $1 $2" -e "^domain $2 is watched" "/tmp/watch.$2" "/tmp/said.$2"
    sleep 2
    xl unpause "$2" 2> /dev/null
    until_end "$2"
    [ "${1%-pv}" = rules ] || kill $watcher
    wait $watcher
    status=$?
    cat "/tmp/said.$2" >> "/tmp/watch.$2"
    echo "watch $2: xen-access $1 ended with status $status" >> "/tmp/watch.$2"
}

for each in $all; do
    xl pause "${each#*:}" 2> /dev/null
done
for each in $all; do
    watch "${each%:*}" "${each#*:}" &
done
wait
for each in $all; do
    grep -v "^Got event" "/tmp/watch.${each#*:}" | sed "/^watch/!s/^/watch ${each#*:}: /"
done
