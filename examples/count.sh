#!/bin/sh
# Counts, looks each time whether what it wrote into memory at first is still there, and works the memory beside:
# for guests that are stopped, moved and go on meanwhile. Its argument is how far it counts.
head -c 8388608 /dev/urandom > /tmp/data || exit 1
sum=$(md5sum < /tmp/data)
memwork "${1:-30}s" > /tmp/memwork &
n=0
while [ "$n" -lt "${1:-30}" ]; do
    n=$((n + 1))
    [ "$(md5sum < /tmp/data)" = "$sum" ] || exit 1
    echo "count: $n"
    sleep 1
done
wait $! || exit 1
cat /tmp/memwork
echo "count: done"
