#!/bin/sh
# Fetches Debian's source package of Zydis and unpacks it: fetch-zydis.sh DIR
# apt-get source needs a deb-src list; it is derived from the machine's own list of binary packages and kept in DIR,
# so that nothing outside the build folder changes.
set -eu
umask 022
sum=e990107f80c62afc1deb51de230023a1098db801b8ea6bf483e296d45459e234
mkdir -p "$1"
dir=$(realpath "$1")
echo "umbra: fetching the source of Zydis from Debian ..."
mkdir -p "$dir/apt/sources" "$dir/apt/lists/partial"
if [ -f /etc/apt/sources.list.d/debian.sources ]; then
    sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources > "$dir/apt/sources/src.sources"
elif [ -f /etc/apt/sources.list ]; then
    sed -n 's/^deb /deb-src /p' /etc/apt/sources.list > "$dir/apt/sources/src.list"
else
    echo "fetch-zydis.sh: neither /etc/apt/sources.list.d/debian.sources nor /etc/apt/sources.list: where does this machine get packages from?" >&2
    exit 1
fi
opts="-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$dir/apt/sources -o Dir::State::lists=$dir/apt/lists -o APT::Sandbox::User=root"
# shellcheck disable=SC2086
apt-get $opts -qq update
# shellcheck disable=SC2086
(cd "$dir" && apt-get $opts -qq source --download-only zydis)
got=$(sha256sum "$dir"/zydis_*.orig.tar.* | cut -d' ' -f1)
if [ "$got" != "$sum" ]; then
    echo "fetch-zydis.sh: the source has SHA-256 $got, expected $sum" >&2
    exit 1
fi
tar xf "$dir"/zydis_*.orig.tar.* -C "$dir" --strip-components=1
