#!/bin/sh
# Fetches Debian's kernel for cloud machines, unmodified, as a guest to run: guest-kernel.sh DIR OUT
# It is unpacked in DIR and not installed. The lists of packages are fetched into DIR too, so that neither root
# nor fresh lists on the machine are needed.
set -eu
umask 022
meta=linux-image-cloud-amd64
mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
dir=$(realpath "$1")
out=$2
opts="-o Dir::State::lists=$dir/lists -o Dir::Cache=$dir/cache -o APT::Sandbox::User=root"

echo "umbra: [1/3] guest kernel: fetching Debian's lists of packages ..."
# shellcheck disable=SC2086
apt-get $opts -qq update
# shellcheck disable=SC2086
package=$(apt-cache $opts depends --no-recommends --no-suggests "$meta" |
    sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
if [ -z "$package" ]; then
    echo "guest-kernel.sh: $meta depends on no linux-image package: apt-cache depends $meta" >&2
    exit 1
fi

echo "umbra: [2/3] guest kernel: downloading $package ..."
rm -f "$dir/$package"_*.deb
# shellcheck disable=SC2086
(cd "$dir" && apt-get $opts -qq download "$package")

echo "umbra: [3/3] guest kernel: unpacking $package ..."
rm -rf "$dir/root"
mkdir "$dir/root"
dpkg-deb -x "$dir/$package"_*.deb "$dir/root"
mkdir -p "$(dirname "$out")"
cp "$dir/root/boot/vmlinuz-${package#linux-image-}" "$out.new"
mv "$out.new" "$out"
