#!/bin/sh
# build-musl.sh: builds musl, unpatched, for the arch kx64 whose system calls are calls into the
# LibOS, and prints the folder that has include/ and lib/. Built once for each state of the inputs
# and compiler; kept in ${XDG_CACHE_HOME:-$HOME/.cache}/kxsh/musl-HASH.
#
# Its mathematics is there once more: shared/libm.a is what ../Makefile makes the shared library of.
#
# The build tree is the upstream source as a farm of symbolic links, with arch x86_64 linked again
# under the name kx64, without the files that make system calls or use the red zone, and guest/lib/musl
# laid over it.
set -eu
export LC_ALL=C

die() {
	echo "build-musl: $1" >&2
	exit 1
}

version=1.2.3
here=$(cd "$(dirname "$0")" && pwd)
cc=${KX_CC:-gcc}
command -v "$cc" >/dev/null || die "$cc: not found: install it: apt-get install gcc"
command -v make >/dev/null || die "make: not found: install it: apt-get install make"

# -mno-red-zone and nothing position independent, for the LibOS; the rest says aloud what a
# distribution's gcc may have another default for. musl's configure adds its own -Os.
common="-march=x86-64 -mtune=generic -mno-red-zone -fcf-protection=none"
common="$common -fno-stack-protector -fno-asynchronous-unwind-tables -fno-unwind-tables -U_FORTIFY_SOURCE"
cflags="$common -fno-pie -fno-pic"

# What is worth -O3: musl's own choice, and all of malloc.
fast="internal/*.c malloc/*.c malloc/*/*.c string/*.c"

# What kxsh cc -shared says (../cc.go). The -fPIC is musl's own.
shared="-O2 -pipe $common -fplt"

hash=$(cd "$here" && {
	cat build-musl.sh
	grep -F "  musl_$version." sources.sha256
	find musl -type f | sort | xargs sha256sum
	"$cc" --version
} | sha256sum | cut -c 1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/kxsh
prefix=$cache/musl-$hash
mkdir -p "$cache" 2>/dev/null || die "cannot create $cache: set XDG_CACHE_HOME to a folder you may write to"
exec 9>"$cache/.musl.lock"
flock 9
if [ -d "$prefix" ]; then
	echo "$prefix"
	exit
fi

tarball=$("$here/fetch-source.sh" musl $version)
work=$(mktemp -d "$cache/.musl.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
tar -x -C "$work" -f "$tarball"
up=$work/musl-$version src=$work/src
cp -rs "$up" "$src"
cp -rs "$up/arch/x86_64" "$src/arch/kx64"
rm "$src/arch/kx64/syscall_arch.h"
for dir in "$up"/src/*/x86_64 "$up/crt/x86_64"; do
	cp -rs "$dir" "$src${dir#"$up"}/../kx64"
done
# Replaced by the overlay, or by musl's own portable C (vfork, exp2l, expm1l).
rm "$src"/src/thread/kx64/*.s "$src/src/signal/kx64/restore.s" "$src/src/process/kx64/vfork.s" "$src"/src/string/kx64/mem[cm]*.s \
	"$src/src/fenv/kx64/fenv.s" "$src/src/math/kx64/exp2l.s" "$src/src/math/kx64/expm1l.s"
cp -rL "$here/musl/." "$src/"

mkdir "$work/obj"
cd "$work/obj"
# With the floating-point environment: what else the library needed would have to be in every program.
cat >libm.mk <<'END'
include Makefile
lib/shared/libm.a: $(sort $(filter obj/src/complex/% obj/src/fenv/% obj/src/math/%,$(LOBJS)))
	mkdir -p $(@D)
	$(AR) rcD $@ $^
END
# The 9>&- keeps make's children from holding the lock after an interrupt.
{
	"$src/configure" --prefix="$prefix" --syslibdir="$prefix/lib" --disable-shared --disable-wrapper \
		CC="$cc" CFLAGS="$cflags" &&
		make ARCH=kx64 OPTIMIZE_GLOBS="$fast" -j"$(nproc)" &&
		make ARCH=kx64 DESTDIR="$work/out" install &&
		make -f libm.mk ARCH=kx64 CFLAGS_AUTO= CFLAGS="$shared" -j"$(nproc)" lib/shared/libm.a &&
		cp -r lib/shared "$work/out$prefix/"
} >"$work/log" 2>&1 9>&- || {
	cp "$work/log" "$cache/musl.log"
	die "musl $version: $(grep -m 1 -E 'error:|\*\*\*' "$work/log" || tail -n 1 "$work/log"): whole log in $cache/musl.log"
}
rm -f "$work/out$prefix/lib/rcrt1.o" "$work/out$prefix/lib/Scrt1.o"
mv "$work/out$prefix" "$prefix"
echo "$prefix"
