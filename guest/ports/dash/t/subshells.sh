# Subshells: each is a process of its own, with the shell as it was and nothing that comes back but a status.
x=outer
(x=inner; echo "inside: $x")
echo "outside: $x"

(exit 7); echo "status $?"
(exit 0) && echo yes
(exit 1) || echo no
! (exit 3); echo "negated $?"

( ( ( (exit 42); echo "four deep: $?"; exit 41); echo "three deep: $?"; exit 40); echo "two deep: $?"; exit 39)
echo "one deep: $?"

f() { x=$1; (x=$2; echo "f: $x"; exit "$3"); r=$?; echo "f: $x $r"; return $r; }
f a b 5; echo "f says $?, x is $x"

(f() { echo redefined; }; f)
f c d 0

(set -- one two three; echo "$# $1 $3"); echo "$#"
(unset x; echo "${x-unset}"); echo "${x-unset}"
(set -e; false; echo "not reached"); echo "set -e: $?"
(set -u; : "$nothing"; echo "not reached") 2>/dev/null; echo "set -u: $?"
(umask 077; umask); umask
(cd /; pwd)
(readonly z=1; echo $z); z=2; echo $z
(exit); echo "as the last: $?"
(false; exit); echo "as the last: $?"

# The parent of all subshells is one, and they say so.
me=$$
([ "$$" = "$me" ] && echo "the same \$\$")

depth() {
	[ "$1" -eq 0 ] && exit 0
	(depth $(($1 - 1)))
	exit $(($? + 1))
}
(depth 20); echo "depth $?"

# A value by exit statuses alone.
fib() {
	[ "$1" -lt 2 ] && exit "$1"
	(fib $(($1 - 1))); a=$?
	(fib $(($1 - 2)))
	exit $((a + $?))
}
(fib 7); echo "fib 7 = $?"

i=0
while [ $i -lt 10 ]; do
	(echo "round $i"; exit $((i * 10)))
	echo "says $?"
	i=$((i + 1))
done

for w in a b c; do (echo "$w$w"); done
{ (echo brace); }
(echo "to standard error" >&2) 2>/dev/null
(exec 3>/dev/null; echo lost >&3; echo kept)
(eval 'echo evaluated; exit 9'); echo $?
(echo last)
