#!/bin/sh
# Installs the Debian packages that a list names and that are missing: setup.sh LIST
# The list has one name a line; what follows a # is a comment; what follows
# `unpacked:` is not installed here (tools/tools.mk). Quick when nothing is missing.
set -eu
list=$1
wanted=$(sed 's/#.*//; /^unpacked:/d' "$list")

missing=
count=0
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$state" != installed ]; then
        missing="$missing $package"
        count=$((count + 1))
    fi
done
if [ "$count" -eq 0 ]; then
    exit 0
fi

echo "umbra: $count packages are missing:$missing"
if [ "$(id -u)" -ne 0 ]; then
    cat >&2 <<END
umbra: they cannot be installed without root. Run this, then make again:

    sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing

END
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
echo "umbra: [1/2] apt-get update: fetching the lists of packages ..."
apt-get -q update
echo "umbra: [2/2] apt-get install: fetching and unpacking $count packages and what they need ..."
# shellcheck disable=SC2086
apt-get -q install -y --no-install-recommends -o Dpkg::Use-Pty=0 $missing
echo "umbra: $count packages installed"
