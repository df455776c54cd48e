# What Xen's control domain does: run=/workload.sh on its kernel's command line. kind= there is the guest's type.
# With the word traced, Xen's own trace of each entry into the guest is counted, and the guest does little.
# While the workload runs, nothing else does but Xen: xl sleeps until the guest has gone.
kind=$(sed -n 's/.*\bkind=\([a-z]*\).*/\1/p' /proc/cmdline)
words=$(cat /words)
ENTERED=528385 # 0x81001, an entry into a guest that uses SVM; xen/trace.h
LOST=126977    # 0x1f001, records that found no place

# Of a trace on stdin, as words: each record has an event, words that follow it, and whether a time does, of two words.
count() {
    awk -v entered=$ENTERED -v lost=$LOST '
        skip { skip--; next }
        { event = $1 % 268435456; skip = int($1 / 268435456) % 8 + 2 * int($1 / 2147483648); seen[event]++ }
        END { print "Xen entries=" 0 + seen[entered] " lost=" 0 + seen[lost] " done=1" }'
}

if grep -qw traced /proc/cmdline; then
    words="$words bench.scale=16"
    xentrace -D -S 256 -e 0x81000 /tmp/trace &
    trace=$!
    sleep 1
fi
xl create -F /workload.xl "type=\"$kind\"" "extra=\"console=hvc0 $words\""
cat /var/log/xen/console/guest-workload.log
if [ "$trace" ]; then
    sleep 1
    kill -INT "$trace"
    wait "$trace"
    od -An -v -tu4 -w4 /tmp/trace | count
fi
