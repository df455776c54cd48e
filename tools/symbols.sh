#!/bin/sh
# Prints, as assembler for section .symbols, the functions of a linked image: how many, then
# for each its distance from image_start and that of its name from the first name, then the names.
# x86/symbols.c reads it.
set -eu

nm -n "$1" | awk '
    # All lie within 4 GiB, and awk counts exactly in the assembler only.
    { low = "0x" substr($1, length($1) - 7) }
    $3 == "image_start" { start = low }
    $2 ~ /^[tTwW]$/ && $3 !~ /^(text|image)_(start|end)$/ { name[n] = $3; address[n] = low; n++ }
    BEGIN { n = 0 }
    END {
        if (start == "" || n == 0) {
            print "symbols.sh: no functions found" > "/dev/stderr"
            exit 1
        }
        print ".section .symbols, \"a\""
        printf ".long %d\n", n
        for (i = 0; i < n; i++)
            printf ".long %s - %s\n.long name%d - names\n", address[i], start, i
        print "names:"
        for (i = 0; i < n; i++)
            printf "name%d: .asciz \"%s\"\n", i, name[i]
    }'
