# Pipelines, command substitution, here-documents and loops that read.
echo one | while read x; do echo "got $x"; done
printf '3\n1\n2\n' | (while read a; do echo "a$a"; done) | (while read b; do echo "<$b>"; done)
x=$(echo in; (echo deeper; echo $(echo deepest)))
echo "$x"
y=`echo back | (read z; echo "$z $z")`
echo "$y"
while read line; do
	echo "doc: $line"
done <<END
first $x
second
END
(read a; read b; echo "$b then $a") <<'END'
1 $x
2
END
# Statuses.
false | true; echo $?
true | false; echo $?
(exit 3) | (exit 4); echo $?
! true | false; echo $?
z=$(exit 5); echo $?
# A descriptor that both sides have moves for both.
(echo a; echo b; echo c) | { read p; echo "first $p"; (read q; echo "second $q"); read r; echo "third $r"; }
# Files under open descriptors.
exec 3>/tmp/shared.$$
echo one >&3
(echo two >&3)
(echo three >&3) &
wait
echo four >&3
exec 3>&-
while read l; do echo "file: $l"; done </tmp/shared.$$
exec 4<>/tmp/rw.$$
(echo written in a child >&4)
exec 4<&-
read l </tmp/rw.$$; echo "$l"
# The writer goes when nobody reads any more.
(trap '' PIPE; while echo y; do :; done 2>/dev/null; echo "over" >&2) | (read a; echo "$a")
i=0
while :; do echo $i; i=$((i + 1)); done | (read a; read b; echo "$a $b")
# Background jobs and pipes.
(echo late) | (read a; echo "bg $a") & wait
n=0
for k in 1 2 3 4 5 6 7 8 9 10; do n=$((n + $(echo $k | (read v; echo $((v * 2)))))); done
echo $n
# Much more than a pipe holds.
i=0
while [ $i -lt 3000 ]; do echo "line $i of many that do not fit in a pipe at once"; i=$((i + 1)); done | (
	n=0
	while read l; do n=$((n + 1)); done
	echo "$n: $l"
)
echo end | (cat=; read a; echo $a) | (read a; echo $a) | (read a; echo $a) | (read a; echo $a)
