#!/bin/sh
# unpack-lwip.sh: unpacks lwIP's source, unpatched, and prints its folder, which is kept in
# ${XDG_CACHE_HOME:-$HOME/.cache}/kxsh/lwip-HASH.
set -eu
export LC_ALL=C

die() {
	echo "unpack-lwip: $1" >&2
	exit 1
}

version=2.1.3+dfsg1
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/kxsh
folder=$cache/lwip-$(grep -F "  lwip_$version." "$here/sources.sha256" | cut -c 1-16)
if [ -d "$folder" ]; then
	echo "$folder"
	exit
fi
command -v xz >/dev/null || die "xz: not found: install it: apt-get install xz-utils"
tarball=$("$here/fetch-source.sh" lwip $version)
work=$(mktemp -d "$cache/.lwip.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
tar -x -C "$work" --strip-components=1 -f "$tarball" || die "$tarball: cannot be unpacked into $cache: is the disk full?"
# Somebody else may have been as quick.
mv -T "$work" "$folder" 2>/dev/null || [ -d "$folder" ] || die "$folder: cannot be made"
chmod 755 "$folder"
echo "$folder"
