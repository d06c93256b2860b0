#!/bin/sh
# fetch-source.sh PACKAGE VERSION: gets the upstream tarball of a Debian source package, checks it
# against sources.sha256 and prints its path.
#
# Looked for first in $KXSH_SOURCES, a folder of tarballs somebody already has, then in the cache
# (${XDG_CACHE_HOME:-$HOME/.cache}/kxsh/src), then asked of the machine's package sources through
# apt with folders of its own: neither root nor a change of the machine's configuration is needed.
set -eu
export LC_ALL=C

die() {
	echo "fetch-source: $name: $1" >&2
	exit 1
}

name=${1:-}
[ $# -eq 2 ] || { name=usage; die "fetch-source.sh PACKAGE VERSION"; }
package=$1 version=$2 name="$1 $2"
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/kxsh/src

pin=$(grep -F "  ${package}_$version.orig.tar." "$here/sources.sha256") ||
	die "not pinned: add its checksum to guest/lib/sources.sha256"
sum=${pin%% *} tarball=${pin##* }

# matches FILE: is FILE the tarball that was pinned?
matches() {
	[ "$(sha256sum <"$1")" = "$sum  -" ]
}

if [ -n "${KXSH_SOURCES:-}" ] && [ -f "$KXSH_SOURCES/$tarball" ]; then
	matches "$KXSH_SOURCES/$tarball" ||
		die "$KXSH_SOURCES/$tarball: checksum differs from guest/lib/sources.sha256: remove the file"
	echo "$KXSH_SOURCES/$tarball"
	exit
fi

mkdir -p "$cache" 2>/dev/null || die "cannot create $cache: set XDG_CACHE_HOME to a folder you may write to"
exec 9>"$cache/.lock"
flock 9
if [ -f "$cache/$tarball" ]; then
	matches "$cache/$tarball" || die "$cache/$tarball: checksum differs from guest/lib/sources.sha256: remove the file"
	echo "$cache/$tarball"
	exit
fi
command -v apt-get >/dev/null ||
	die "apt-get: not found: put $tarball into a folder and name it in KXSH_SOURCES"

# The machine's package sources, both formats, turned into source-package entries.
apt=$cache/apt
mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/sources.d"
rm -f "$apt"/sources.d/*
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
	[ -f "$file" ] && sed -n 's/^[[:space:]]*deb\(-src\)\{0,1\}[[:space:]]\{1,\}/deb-src /p' "$file"
done | sort -u >"$apt/sources.d/machine.list"
for file in /etc/apt/sources.list.d/*.sources; do
	[ -f "$file" ] && sed 's/^[Tt]ypes:.*/Types: deb-src/' "$file" >"$apt/sources.d/${file##*/}"
done
cat "$apt"/sources.d/* | grep -Eq '^(deb-src |Types: deb-src)' ||
	die "no package sources in /etc/apt: put $tarball into a folder and name it in KXSH_SOURCES"

# Read after the machine's configuration; the hooks cleared here would touch folders of root's.
cat >"$apt/apt.conf" <<END
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/sources.d";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::Retries "3";
APT::Sandbox::User "";
END

# The Debian revision does not matter: it is the upstream tarball that is pinned.
revision() {
	apt-cache -c "$apt/apt.conf" showsrc "$package" 2>/dev/null |
		sed -n "s/^Version: \(\([0-9]*:\)\{0,1\}$(echo "$version" | sed 's/\./\\./g')-.*\)/\1/p" | sort -V | tail -n 1
}

# download: lets apt fetch, and verify, the package's tarballs into a folder of their own.
download() {
	found=$(revision)
	[ -n "$found" ] || return 1
	(cd "$apt/archives" && apt-get -qq -c "$apt/apt.conf" source --download-only --tar-only "$package=$found") \
		>"$apt/log" 2>&1
}

if ! download; then
	apt-get -qq -c "$apt/apt.conf" update >"$apt/log" 2>&1 || :
	[ -n "$(revision)" ] || {
		why=$(sed -n 's/^[EW]: //p' "$apt/log" | head -n 1)
		die "not in this machine's package sources (Debian 12 has it)${why:+: $why}: check /etc/apt and the network, or put $tarball into a folder and name it in KXSH_SOURCES"
	}
	download || die "apt-get source: $(sed -n 's/^E: //p' "$apt/log" | head -n 1): check the network, or put $tarball into a folder and name it in KXSH_SOURCES"
fi
[ -f "$apt/archives/$tarball" ] || die "apt-get source $package=$found brought no $tarball"
matches "$apt/archives/$tarball" || {
	rm -f "$apt/archives/$tarball"
	die "$tarball: checksum differs from guest/lib/sources.sha256: not used"
}
mv "$apt/archives/$tarball" "$cache/$tarball"
rm -f "$apt"/archives/*.tar.* "$apt"/archives/*.dsc
echo "$cache/$tarball"
