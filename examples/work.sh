#!/bin/sh
# Works the memory: processes come and go, pages are mapped, shared, copied and protected. Any page of the wrong
# content, or that is there and should not be, ends it with a status that is not 0. Its argument is the number of
# rounds, or a time as in 60s.
uname -r
n=0
while [ "$n" -lt 20 ]; do
    /bin/busybox true || exit 1
    sum=$(echo "$n and some words" | tr a-z A-Z | md5sum | cut -c 1-8)
    [ ${#sum} -eq 8 ] || exit 1
    n=$((n + 1))
done
echo "work: $n rounds of processes and pipes"
memwork "${1:-10}" || exit 1
echo "work: done"
