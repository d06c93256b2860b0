#!/bin/sh
# build-libgcc.sh OUT.a OBJECT...: the compiler's run-time library for pVMs. Takes the compiler's own
# libgcc.a, leaves out every member that keeps data below the stack pointer (event upcalls are
# delivered there), and puts our OBJECTs, which stand in for those that C programs need, in front.
#
# What is left out and has no stand-in: decimal floating point, split stacks.
set -eu
export LC_ALL=C

cc=${KX_CC:-gcc}
out=$(realpath "$1")
shift
objects=$(realpath "$@")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
cd "$work"
ar x "$("$cc" -print-libgcc-file-name)"
objdump -d --no-show-raw-insn ./*.o |
	awk '/file format/ { member = $1; sub(/:$/, "", member) } /-0x[0-9a-f]+\(%rsp\)/ { print member }' |
	sort -u | xargs rm -f
# What those were parts of, and other calling conventions.
rm -f ./*_[dst]d.o ./*_[dst]d_*.o ./bid*.o ./_isinfd*.o ./*morestack*.o ./*ms64*.o
rm -f "$out"
# The first member that defines a symbol is the one that is linked.
ar rcsD "$out" $objects ./*.o
