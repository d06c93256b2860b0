#!/bin/sh
# externs.sh: LIBC LIBM: writes a linker script by which a program gets all of libc, but for the mathematics, which are a shared library. Only names are
# asked for, so that what a program has itself is not taken, as ever from an archive.
set -eu
export LC_ALL=C

names() {
	readelf -sW "$1" | awk '($5 == "GLOBAL" || $5 == "WEAK") && $6 == "DEFAULT" && $7 != "UND" { print $8 }' | sort -u
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
names "$1" >"$work/libc"
names "$2" >"$work/libm"
echo "EXTERN("
comm -23 "$work/libc" "$work/libm"
echo ")"
