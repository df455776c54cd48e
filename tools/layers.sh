#!/bin/bash
# Checks what the design says about who may know whom, and how large things may be: layers.sh FILE...
# Prints each breach as FILE:LINE: WHAT; exit status 1 if there is one.
set -u
bad=0

complain() {
    echo "$1"
    bad=1
}

# includes FILE: lines "LINE:PATH" of what it includes in quotes.
includes() {
    grep -noE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^"]+"' "$1" | sed 's/:.*"\(.*\)"/:\1/'
}

for file in "$@"; do
    hosted=
    case $file in
    *_test.c | *_fuzz.c | *_test.h | test/* | tools/* | bench/*) hosted=1 ;;
    esac
    while IFS=: read -r line path; do
        case $file:$path in
        paging/*:*/*)
            [ -n "$hosted" ] || [ "${path#paging/}" != "$path" ] ||
                complain "$file:$line: paging/ includes nothing but itself, not \"$path\"" ;;
        hv/*:x86/*)
            complain "$file:$line: hv/ declares what it needs of the processor in hv/machine.h: not \"$path\"" ;;
        x86/svm/*:x86/vmx/* | x86/vmx/*:x86/svm/*)
            complain "$file:$line: svm and vmx do not know each other" ;;
        x86/hw/*:x86/hw/* | x86/hw/*:paging/*) ;;
        x86/hw/*:*)
            complain "$file:$line: x86/hw has names and offsets only, and includes none of \"$path\"" ;;
        esac
    done < <(includes "$file")
    # The ABI's headers are wrapped once.
    if [ -z "$hosted" ] && [ "$file" != hv/abi.h ]; then
        while IFS=: read -r line _; do
            complain "$file:$line: only hv/abi.h includes <xen/...>"
        done < <(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*<xen/' "$file")
    fi
    case $file in
    hv/*)
        while IFS=: read -r line word; do
            complain "$file:$line: hv/ names no vendor, and here stands $word"
        done < <(grep -noiwE 'svm|vmcb|vmx|vmcs|amd|intel|ept|npt' "$file")
        ;;
    esac
    length=$(wc -l < "$file")
    [ "$length" -le 600 ] || complain "$file:601: the file has $length lines, at most 600 are allowed"
    while IFS=: read -r line text; do
        complain "$file:$line: open questions go to doc/caveats.md, not into the code: $text"
    done < <(grep -noE '\b(XXX|TODO|FIXME)\b' "$file")
done

# Functions, by ctags: lines from the first to the last.
while read -r name first last file; do
    length=$((last - first + 1))
    [ "$length" -le 80 ] || complain "$file:$first: $name has $length lines, at most 80 are allowed"
done < <(ctags -x --kinds-C=f --fields=+ne --_xformat='%N %n %{end} %F' "$@" |
    awk 'NF == 4 && $3 ~ /^[0-9]+$/')

# The core, freestanding, wants nothing from outside but what the compiler may call.
objects=$(ls build/obj/paging/*.o 2>/dev/null)
if [ -n "$objects" ]; then
    # shellcheck disable=SC2086
    wanted=$(comm -23 <(nm -u $objects | awk '$1 == "U" { print $2 }' | sort -u) \
        <(nm --defined-only $objects | awk 'NF == 3 { print $3 }' | sort -u) |
        grep -vxE 'memcpy|memset|memmove|memcmp|panic' || true)
    for symbol in $wanted; do
        complain "paging/: wants $symbol from outside; allowed are memcpy, memset, memmove, memcmp and panic"
    done
fi
exit "$bad"
