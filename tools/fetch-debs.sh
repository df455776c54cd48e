#!/bin/sh
# Fetches Debian packages and unpacks them, without installing them: fetch-debs.sh DIR ROOT PACKAGE...
# A name that ends in "!" stands for the package with a kernel that it depends on. The lists of packages are fetched
# into DIR too, so that neither root nor fresh lists on the machine are needed.
set -eu
umask 022
mkdir -p "$1/lists/partial" "$1/cache/archives/partial" "$1/debs"
dir=$(realpath "$1")
root=$2
shift 2
opts="-o Dir::State::lists=$dir/lists -o Dir::Cache=$dir/cache -o APT::Sandbox::User=root"

echo "umbra: [1/3] fetching Debian's lists of packages ..."
# shellcheck disable=SC2086
apt-get $opts -qq update
packages=
for name; do
    case $name in
    *!)
        meta=${name%!}
        # shellcheck disable=SC2086
        name=$(apt-cache $opts depends --no-recommends --no-suggests "$meta" |
            sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
        if [ -z "$name" ]; then
            echo "fetch-debs.sh: $meta depends on no linux-image package: apt-cache depends $meta" >&2
            exit 1
        fi
        ;;
    esac
    packages="$packages $name"
done

echo "umbra: [2/3] downloading:$packages ..."
rm -f "$dir"/debs/*.deb
# shellcheck disable=SC2086
(cd "$dir/debs" && apt-get $opts -qq download $packages)

echo "umbra: [3/3] unpacking ..."
rm -rf "$root.new"
mkdir -p "$root.new"
for deb in "$dir"/debs/*.deb; do
    dpkg-deb -x "$deb" "$root.new"
done
rm -rf "$root"
mv "$root.new" "$root"
touch "$root"
