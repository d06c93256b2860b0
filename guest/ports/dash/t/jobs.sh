# Background jobs, and waiting for them.
(exit 3) &
wait $!; echo "one: $?"

(exit 1) & a=$!
(exit 2) & b=$!
(exit 3) & c=$!
[ "$a" != "$b" ] && [ "$b" != "$c" ] && [ "$a" != "$c" ] && echo "three PIDs"
wait $c; echo "c: $?"
wait $a; echo "a: $?"
wait $b; echo "b: $?"
wait $a; echo "a again: $?"

(exit 5) & (exit 6) &
wait; echo "all: $?"
wait; echo "none: $?"

# In the order in which they were started, whatever their order of ending.
spin() { n=$1; while [ "$n" -gt 0 ]; do n=$((n - 1)); done; exit "$2"; }
spin 20000 11 & a=$!
spin 100 12 & b=$!
spin 5000 13 & c=$!
for p in $a $b $c; do wait $p; echo "spun: $?"; done

# Many at once.
i=0 pids=
while [ $i -lt 40 ]; do
	(exit $i) &
	pids="$pids $!"
	i=$((i + 1))
done
sum=0
for p in $pids; do
	wait $p
	sum=$((sum + $?))
done
echo "sum of 40: $sum"

# One ended by a signal.
(while :; do :; done) & p=$!
kill $p
wait $p; echo "terminated: $?"
(while :; do :; done) & p=$!
kill -KILL $p
wait $p; echo "killed: $?"
(while :; do :; done) & p=$!
kill -STOP $p
kill -CONT $p
kill -HUP $p
wait $p; echo "hung up: $?"
kill -0 $p 2>/dev/null; echo "is gone: $?"
(while :; do :; done) & p=$!
kill -0 $p; echo "is there: $?"
kill -9 $p; wait $p

# Jobs of jobs: each waits for its own.
(
	(exit 21) & x=$!
	(exit 22) & y=$!
	wait $x; r=$?
	wait $y; echo "inside: $r $?"
	exit 23
) &
wait $!; echo "outside: $?"

# Somebody else's child cannot be waited for.
(exit 4) & p=$!
(wait $p; echo "in a subshell: $?")
wait $p; echo "here: $?"

x=before
(x=background; exit 0) &
wait; echo "$x"
{ echo "in a group"; } & wait
f() { echo "in a function $1"; return 8; }
f here & wait $!; echo $?
(exit 1) && echo never & wait $!; echo "a list: $?"
