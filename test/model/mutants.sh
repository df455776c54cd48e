#!/bin/sh
# Plants each defect of mutants.txt in a copy of the core and soaks it: a survivor is dead code or a
# weak test. Usage: test/model/mutants.sh [SOURCE-DIRECTORY]; prints one line each, exit status 1 if
# one survived, 2 if one could not be planted.
set -u
root=$(cd "${1:-.}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

soak() { # directory
    (cd "$1" && ${CC:-gcc} -std=gnu11 -O1 -I. $(ls test/model/*.c | grep -v _test.c) \
        $(ls paging/*.c | grep -v -e _test.c -e _fuzz.c) -o soak) || return 3
    for seed in 1 2 3; do
        timeout 60 "$1/soak" --seed $seed --ops 12000 --modes 64,off --vcpus 2 --tlbs 2 --audit 16 --shrink 0 \
            > "$1/out" 2>&1 || return 1
        timeout 60 "$1/soak" --seed $seed --ops 8000 --modes 64,32,pae,off --tlbs 2 --audit 16 --shrink 0 \
            > "$1/out" 2>&1 || return 1
    done
    return 0
}

grep -v -e '^#' -e '^$' "$root/test/model/mutants.txt" > "$work/list"
while IFS= read -r line; do
    file=${line%%: *}
    rest=${line#*: }
    change=${rest%: *}
    what=${rest##*: }
    rm -rf "$work/tree"
    mkdir -p "$work/tree/test"
    cp -r "$root/paging" "$work/tree/paging"
    cp -rL "$root/test/model" "$work/tree/test/model"
    sed -i "$change" "$work/tree/$file"
    if cmp -s "$root/$file" "$work/tree/$file"; then
        echo "NOT PLANTED  $file: $what"
        status=2
        continue
    fi
    soak "$work/tree"
    case $? in
    0) echo "SURVIVED     $file: $what"; [ $status -eq 0 ] && status=1 ;;
    3) echo "NOT COMPILED $file: $what"; status=2 ;;
    *) echo "found        $file: $what ($(grep -m1 -o 'step.*' "$work/tree/out"))" ;;
    esac
done < "$work/list"
exit $status
