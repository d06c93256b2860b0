# Traps: of the shell, of its subshells, and what is left of them there.
trap 'echo "usr1 in the shell"' USR1
kill -USR1 $$
(kill -USR1 $$)
echo "after both"

# From a background job; wait is interrupted, and can be asked again.
(kill -USR1 $$; exit 6) & p=$!
wait $p; r=$?
[ $r -gt 128 ] && { wait $p; r=$?; }
echo "the job: $r"

# A trap is not inherited, an ignored signal is.
trap '' USR2
(kill -USR2 $$; echo "still here")
(trap; echo "no traps")
(trap 'echo "in the subshell"; exit 5' EXIT; exit 1); echo "status $?"
trap - USR1 USR2

# A job that cleans up when it is told to end. It says that it is ready by a signal.
ready=0
trap 'ready=1' USR1
(
	trap 'exit 33' TERM
	kill -USR1 $$
	while :; do :; done
) & p=$!
while [ $ready = 0 ]; do :; done
kill $p
wait $p; echo "cleaned up: $?"

# Both ask each other.
ready=0
(
	trap 'kill -USR1 $$; exit 44' USR2
	kill -USR1 $$
	while :; do :; done
) & p=$!
while [ $ready = 0 ]; do :; done
ready=0
kill -USR2 $p
while [ $ready = 0 ]; do :; done
wait $p; echo "answered: $?"

(trap 'echo bye' EXIT; echo hello)
(trap 'echo bye again' EXIT; exit 12) & wait $!; echo "status $?"

# An interrupt is ignored in background jobs of a shell without job control.
ready=0
(
	kill -USR1 $$
	while :; do :; done
) & p=$!
while [ $ready = 0 ]; do :; done
kill -INT $p
kill -QUIT $p
kill $p
wait $p; echo "not by an interrupt: $?"

trap 'echo "the end: $?"' EXIT
exit 3
