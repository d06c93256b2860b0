package shell

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// commandTests are scripts on the fake engine. out and err are regular expressions for the whole of
// standard output and standard error.
var commandTests = []struct {
	script, out, err string
	status           int
}{
	// run
	{`run hello.kx`, "Hello from a pVM\n", "and its stderr\n", 0},
	{`run exit3.kx; echo $?`, "3\n", "", 0},
	{`run -d hello.kx; wait 1; echo $?; logs 1`, "1\n0\nHello from a pVM\n", "and its stderr\n", 0},
	{`p=$(run -d exit7.kx); wait $p; echo $?; wait $p; echo $?`, "7\n7\n", "", 0},
	{`run missing.kx; echo $?; run text.kx; echo $?`, "127\n126\n", "run: /.*/missing.kx: no such file or directory\nrun: /.*/text.kx: not a pVM image: no ELF\n", 0},
	{`touch missing.kx; run missing; echo $?`, "127\n", "run: .*: no such file or directory: did you mean missing.kx\\?\n", 0},
	{`run args.kx a 'b c' --flag -x; run -e A=1 -e HOME args.kx`, "a b c --flag -x\n\n\nA=1 HOME=.*\n", "", 0},
	{`export LOCAL=1; OTHER=2 run args.kx`, "\n(LOCAL=1 OTHER=2|OTHER=2 LOCAL=1)\n", "", 0},
	{`run crash.kx; echo $?`, "139\n", "SIGSEGV: write to address 0x0\n", 0},
	{`run abort.kx; echo $?`, "134\n", "run: abort.kx \\(1\\): aborted\n", 0},
	{`run; run --nonsense x; echo $?`, "2\n", "run: no image given; see: help run\nrun: --nonsense: no such flag; see: help run\n", 0},
	{`run --vcpus 2 x.kx; run -m lots x.kx; run --restart often x.kx; run --restart always:3 x.kx; run -e =x x.kx`, "",
		"run: --vcpus 2: .*\nrun: -m lots: not a size.*\nrun: --restart often: no, .*\nrun: --restart always:3: only .*\nrun: -e =x: not K=V.*\n", 2},
	{`run -d --restart on-failure:3 -m 64M --name web spin.kx; inspect --json web | grep -E '"(policy|max|max_memory|name)"'`,
		"1\n(?s).*\"name\": \"web\".*\"max_memory\": 67108864.*\"policy\": \"on-failure\",\\s*\"max\": 3\n", "", 0},
	{`echo one two | run -i cat.kx | tr a-z A-Z; echo x | run cat.kx`, "ONE TWO\n", "", 0},
	{`run flood.kx | head -1 | wc -c`, "1001\n", "", 0},
	{`set -o pipefail; run flood.kx | head -1 >/dev/null; echo $?; ps --no-headers`, "141\n", "", 0},
	{`./hello.kx 2>/dev/null; touch hello.kx; ./hello.kx 2>/dev/null`, "Hello from a pVM\n", "", 0},
	{`run spin.kx & kill -TERM $!; wait $!; echo $?`, "143\n", "", 0},
	{`run spin.kx & echo $!; p=$!; ps -o pid --no-headers; kill $p; wait; echo $?`, "1\n1\n143\n", "", 0},
	{`run exit5.kx & run exit6.kx & wait; echo $?; wait %1; echo $?`, "6\n5\n", "", 0},
	{`{ run spin.kx; echo not reached; } & sleep 0.3; kill $!; wait $!; echo $?; ps --no-headers`, "143\n", "", 0},
	{`run missing.kx & wait $!; echo $?`, "127\n", "run: .*\n", 0},
	{`run hello.kx 2>&1 | grep -c .; x=$(run hello.kx 2>/dev/null); echo "[$x]"`, "2\n\\[Hello from a pVM\\]\n", "", 0},
	{`for i in 1 2 3; do run -d exit$i.kx; done >/dev/null; wait; echo $?`, "3\n", "", 0},
	{`mkdir root; echo data >root/file; run -d --root root hello.kx; tar tf */roots/*.tar 2>/dev/null || tar tf roots/*.tar`, "1\nfile\n", "", 0},
	{`run -d --root nosuch hello.kx`, "", "run: --root nosuch: no such file or directory\n", 1},

	// ps and its relatives
	{`run -d --name web spin.kx >/dev/null; ps`, "PID PPID FAM STAT %CPU  MEM  SHR  TIME NAME\n  1    0   1 R     1.5 1.2M 4.0K 00:03 web\n", "", 0},
	{`run -d spin.kx >/dev/null; run -d hello.kx >/dev/null; wait 2; ps --no-headers -o pid,name,stat; ps -e --no-headers -o pid,name,exit --sort -pid`,
		"1 spin R\n2 hello 0\n1 spin  -\n", "", 0},
	{`ps --json; run -d spin.kx >/dev/null; ps --json | grep -E '"(pid|time_ns|memory)"'`, "\\[\\]\n +\"pid\": 1,\n +\"time_ns\": 3000000000,\n +\"memory\": 1258291,\n", "", 0},
	{`run -d --name web spin.kx >/dev/null; ps -o mem,shr,%shr --sort -%shr`, " MEM  SHR %SHR\n1.2M 4.0K    0\n", "", 0},
	{`ps --jsn; fork -n x 1; kill -FOO 1; kill -2x 1`, "", "ps: --jsn: no such flag: did you mean --json\\?; see: help ps\nfork: --count x: not a whole number; see: help fork\n" +
		"kill: FOO: no such signal; kill -l lists them; see: help kill\nkill: -2: no such flag; see: help kill\n", 2},
	{`ps --sort; ps -o nope; ps --sort nope; ps -z`, "", "ps: flag needs an argument: --sort; see: help ps\nps: -o nope: no such column.*\nps: --sort nope: .*\nps: -z: no such flag; see: help ps\n", 2},
	{`run -d --name a spin.kx >/dev/null; ps --no-headers -o name a nosuch 9; echo $?`, "a\n1\n", "ps: \\(nosuch\\): no such pVM\nps: \\(9\\): no such pVM\n", 0},
	{`run -d --name web1 spin.kx >/dev/null; run -d --name web2 spin.kx >/dev/null; touch webfile; ps --no-headers -o name web*; ps -f --no-headers %2 | grep -c spin`, "web1\nweb2\n1\n", "", 0},
	{`run -d --name a spin.kx >/dev/null; run -d --name b spin.kx >/dev/null; pstree -p; pstree b; pstree nosuch`, "fakehost\\(0\\)\n├─a\\(1\\)\n└─b\\(2\\)\nb\n", "pstree: \\(nosuch\\): no such pVM\n", 1},
	{`run -d --name web1 spin.kx >/dev/null; run -d --name web2 spin.kx >/dev/null; pgrep web; pgrep -l 2; pgrep -x web; echo $?; pgrep -c web; pgrep -v 1; pgrep -n web; pgrep '('`,
		"1\n2\n2 web2\n1\n2\n2\n2\n", "pgrep: \\(: not a regular expression.*\n", 2},
	{`run -d --name web1 spin.kx >/dev/null; run -d --name web2 spin.kx >/dev/null; pkill -9 'web[12]'; wait 2; echo $?; pkill nobody; echo $?`, "137\n1\n", "", 0},
	{`run -d --name w spin.kx >/dev/null; run -d --name w spin.kx >/dev/null; pidof w; pidof -s w; pidof v; echo $?`, "1 2\n2\n1\n", "", 0},

	{`run -d spin.kx >/dev/null; ldd 1; ldd --no-headers 7; echo $?; ldd`,
		"NAME     ADDRESS SHARED SHARERS LOADER VERSION SIGNED  BOUND LAZY DIGEST       PATH\nlibm.so 0x450000   4.0K       2 any          3 Ed25519     3   66 0123456789ab /lib/libm.so\n1\n",
		"ldd: \\(7\\): no such pVM\nldd: usage: ldd .*\n", 2},

	{`run -d spin.kx >/dev/null; update 1, new.so, libm.so; update 1 constants.so /lib/libm.so; update 1,same.so,libm.so; update --dry-run 1 new.so libm.so; rollback 1 libm.so`,
		"\\(1\\): libm.so: new.so instead of /lib/libm.so\n  check        1.0ms\n  functions     38µs\npause 40µs, 1.0M looked through; functions: 1, variables: 2, pointers: 3\n" +
			"(?s).*pointers: 3; constants of the old file that are used still: 1\n" +
			"\\(1\\): libm.so: is same.so already\n" +
			"\\(1\\): libm.so: new.so could take the place of /lib/libm.so\n  check        1.0ms\n  functions     38µs\npause 40µs, 1.0M looked through\n" +
			"\\(1\\): libm.so: back instead of /lib/libm.so\n.*", "", 0},
	{`run -d spin.kx >/dev/null; update 1 busy.so libm.so; echo $?; update --timeout 3s 1 other.so libm.so; update 7 new.so libm.so; update nosuch new.so libm.so; update 1 new.so libz.so; echo $?
		update 1 new.so; echo $?; update --timeout -1s 1 new.so libm.so; rollback 1; update --all new.so libz.so; echo $?`, "1\n1\n2\n1\n",
		"update: \\(1\\): libm.so is in use: thread 2 in libm.so:sin\\+0x4, 10s\nupdate: sin: gone\nupdate: cos: another type\nupdate: \\(1\\): cannot take its place: 2 reasons\n" +
			"update: \\(7\\): no such pVM\nupdate: \\(nosuch\\): no such pVM\nupdate: \\(1\\): has no library libz.so\nupdate: usage: .*\nupdate: --timeout -1s: .*\n" +
			"rollback: usage: .*\nupdate: libz.so: no pVM has it\n", 0},
	{`for i in 1 2 3; do run -d spin.kx; done >/dev/null; kill 2; update --watch 10ms --all new.so libm.so | grep -v '^ '; update --all busy.so libm.so; echo $?; update --dry-run 'sp*' new.so libm.so | tail -1`,
		"(?s)\\(1\\): .*\\(3\\): .*2 of 2 updated\n0 of 2 updated\n1\n2 of 2 could be updated\n", "update: \\(1\\): libm.so is in use.*\nupdate: it was the first: 1 more not touched\n", 0},
	{`run -d --name frail spin.kx >/dev/null; run -d --name b spin.kx >/dev/null; update --all new.so libm.so; echo $?; update --json b other.so libm.so; update --json b new.so libm.so | grep pause`,
		"0 of 2 updated\n1\n(?s)\\[\n.*\"pid\": 2,.*\"error\": .*\"reasons\": \\[.*\\]\n +\"pause_ns\": 40000,\n",
		"update: \\(1\\): was updated and has ended: exit status 139: see logs 1\nupdate: it was the first: 1 more not touched\nupdate: sin: gone\nupdate: cos: another type\nupdate: .*\n", 0},

	// What families share
	{`ipcs; msgget 5; echo $?`, "FAM KIND ID KEY PERMS UID BYTES COUNT PIDS\n1\n", "msgget: no pVM runs\n", 0},
	{`run -d spin.kx >/dev/null; ipcs; ipcs -mp --no-headers`,
		"FAM KIND       ID KEY        PERMS UID BYTES COUNT PIDS\n  1 queue      11 0x0000002a   644   0     0     0 0 > 7\n" +
			"  1 segment    12 removed      600   5    16     2 1,2\n  1 semaphores 13 0x00000000   007   0     -     3 -\n" +
			"  1 pipe       14 -              -   -     9     - 3,4,and 3 more > -\n" +
			"1 segment 12 removed 600 5 16 2 1,2\n1 pipe    14 -         - -  9 - 3,4,and 3 more > -\n", "", 0},
	{`ipcs --json; run -d spin.kx >/dev/null; ipcs -s --json`, "\\[\\]\n\\[\n  {\n    \"family\": 1,\n    \"kind\": \"semaphores\",\n    \"id\": 13,\n(?s).*\"count\": 3\n  }\n\\]\n", "", 0},
	{`run -d --name a spin.kx >/dev/null; run -d spin.kx >/dev/null; msgget -c 5; msgget -c -F a 0x10; msgget -F 2 private; ipcs -q --no-headers | wc -l; ipcs -q -F 2 --no-headers; ipcs -F 9; msgget -F nosuch 1`,
		"17\n2\n2 queue 11 0x0000002a 644 0 0 0 0 > 7\n", "msgget: 2 families run: say which with -F PID\nmsgget: key 0x0: family 2 has none\nipcs: \\(9\\): no such pVM\nmsgget: \\(nosuch\\): no such pVM\n", 1},
	{`run -d spin.kx >/dev/null; msgsnd 11 1 hello; ipcs -q --no-headers; msgrcv 11; msgsnd 11 3 ''; msgrcv 11; printf 'a\nb\n' | msgsnd 11 7; msgrcv -t -9 --json 11; msgrcv -n 11`,
		"1 queue 11 0x0000002a 644 0 5 5 0 > 7\nhello\n\n{\n  \"type\": 5,\n  \"text\": \"a\\\\nb\\\\n\"\n}\n", "msgrcv: \\(11\\): no message\n", 1},
	{`run -d spin.kx >/dev/null; msgsnd 11 0 x; msgsnd x 1 x; msgsnd 11 1; msgrcv; msgget lots; msgget 0x100000000; shmget 1 some; ftok / ab`, "",
		"msgsnd: 0: a type .*\nmsgsnd: x: not a number of .*\nmsgrcv: usage: .*\nmsgget: lots: not a key.*\nmsgget: 0x100000000: not a key.*\nshmget: some: not a size.*\nftok: ab: neither .*\n", 2},
	{`run -d spin.kx >/dev/null; shmget -- -1 64K; shmwrite 12 3 abc; shmread 12 3 4 | od -An -c; shmread 12 | wc -c; echo 0123456789 | shmwrite 12 10; echo $?; shmread 12 14`,
		"4294967296\n   a   b   c  .*\n16\n1\n45", "shmwrite: \\(12\\): the segment ends at 16\n", 0},
	{`run -d spin.kx >/dev/null; ftok /abc A; ftok /abc 3; ftok / 0x102`, "0x41000004\n0x03000004\n0x02000001\n", "", 0},
	{`run -d spin.kx >/dev/null; ipcrm 11 -q 11 -Q 42 -M 0xfffffffe -s 13; echo $?; ipcrm -m 11 -S 9 20; echo $?; ipcrm; echo $?; ipcrm -Q 0; echo $?`, "0\n1\n2\n1\n",
		"ipcrm: \\(11\\): no such segment\nipcrm: \\(9\\): no such semaphores\nipcrm: \\(20\\): no such object\nipcrm: usage: .*\nipcrm: \\(0\\): no such queue\n", 0},
	{`run -d --name a spin.kx >/dev/null; run -d spin.kx >/dev/null; fork a; pipe a 3; pipe 1 2; echo $?; pipe a 9; pipe nosuch 1; pipe 9 1; pipe 1; echo $?`, "3\n14\n1\n2\n",
		"pipe: 1 and 2 are of different families\npipe: \\(9\\): no such pVM\npipe: \\(nosuch\\): no such pVM\npipe: \\(9\\): no such pVM\npipe: usage: .*\n", 0},
	{`run -d spin.kx >/dev/null; trap 'by=INT' INT; { while kill -INT $$; do sleep 0.1; done; } & msgrcv 11; echo $? $by; kill $!`, "130 INT\n", "", 0},

	// kill and wait
	{`kill 7`, "", "kill: \\(7\\): no such pVM\n", 1},
	{`kill nosuch %9 'w*'`, "", "kill: \\(nosuch\\): no such pVM\nkill: \\(%9\\): no such pVM\nkill: \\(w\\*\\): no such pVM\n", 1},
	{`kill -NONSENSE 1; echo $?; kill; echo $?; kill -s NOPE 1; echo $?; kill -l NOPE; echo $?`, "2\n2\n2\n2\n", "kill: .*\nkill: usage: .*\nkill: NOPE: no such signal.*\nkill: -l: NOPE.*\n", 0},
	{`kill -l | grep -c TERM; kill -l 9 HUP; kill --help | head -1`, "1\nKILL\n1\nsend a signal.*\n", "", 0},
	{`run -d spin.kx >/dev/null; kill -STOP 1; ps -o stat --no-headers; kill -CONT 1; ps -o stat --no-headers; kill -0 1 && echo there; kill -s KILL 1; wait 1; echo $?; kill 1`,
		"T\nR\nthere\n137\n", "kill: \\(1\\): no such pVM\n", 1},
	{`run -d --name web1 spin.kx >/dev/null; run -d --name web2 spin.kx >/dev/null; kill -9 web*; wait; echo $?`, "137\n", "", 0},
	{`p=$(run -d spin.kx); kill -SIGINT %$p; wait $p; echo $?`, "130\n", "", 0},
	{`run spin.kx & kill %1; wait %1; echo $?`, "143\n", "", 0},
	{`run -d spin.kx >/dev/null; sleep 60 & kill %1; echo $?; kill $!; kill 1`, "1\n", "kill: \\(%1\\): both a job and a family.*\n", 0},
	{`wait 9; echo $?; wait nosuch; echo $?`, "127\n127\n", "wait: \\(9\\): no such pVM\nwait: \\(nosuch\\): no such pVM\n", 0},

	// Domains that somebody else made
	{`run -d --name web foreign.kx >/dev/null; run -d --name web1 spin.kx >/dev/null; ps --no-headers -o pid,stat,name,image,args,started 1; ps --json 1 | grep -E 'foreign|started'; ps -o name --no-headers 'w*'`,
		"1 Rx +web - +\\[web\\] -\n +\"foreign\": true\nweb\nweb1\n", "", 0},
	{`run -d --name web foreign.kx >/dev/null; pstree; pgrep -l web; pidof web; pkill -9 web; echo $?; stats --no-headers; ps --no-headers -o stat %1; inspect web`,
		"fakehost\n└─web\n1 web\n1\n1\npid +1, parent 0, family 1\nname +web\nstate +R, running, made by somebody else\nuuid +0123\nvcpus +1\nmemory +1.2M of at most 8.0M\ncpu +1.5%, 00:03\n",
		"ps: \\(%1\\): no such pVM\n", 0},
	{`run -d --name web foreign.kx >/dev/null; kill 1; kill web; kill -9 '*'; kill --force -9 '*'; taskset 1; ps --no-headers -o pid`, "1\n",
		"kill: \\(1\\): a domain that .*: --force\nkill: \\(1\\): a domain .*\nkill: \\(\\*\\): no such pVM\nkill: \\(\\*\\): no such pVM\ntaskset: \\(1\\): a domain that somebody else made: xl vcpu-list 1 shows it\n", 0},
	{`run -d --name web foreign.kx >/dev/null; kill --force -STOP web; ps --no-headers -o stat; kill --force -CONT 1; kill -9 --force web; ps --no-headers`, "Tx\n", "", 0},
	{`run -d --name web foreign.kx >/dev/null; run -d --name web spin.kx >/dev/null; kill -9 web; wait 2; echo $?; ps --no-headers -o pid`, "137\n1\n", "", 0},
	{`ps aux; ps nosuch`, "(?s).*", "ps: \\(aux\\): no such pVM: options begin with a dash: ps -f\nps: \\(nosuch\\): no such pVM\n", 1},

	// Families
	{`run -d --name web spin.kx >/dev/null; fork web; fork -n 2 2; ps --forest --no-headers -o pid,ppid,fam,name; pstree -p`,
		"2\n3\n4\n1 0 1 web\n2 1 1  \\\\_ web\n3 2 1     \\\\_ web\n4 2 1     \\\\_ web\nfakehost\\(0\\)\n└─web\\(1\\)\n  └─web\\(2\\)\n    ├─web\\(3\\)\n    └─web\\(4\\)\n", "", 0},
	{`run -d --name web spin.kx >/dev/null; fork -n 9 web; echo $?; inspect web | grep children; inspect 3 | head -1`,
		"2\n3\n4\n5\n1\nchildren +2 3 4 5\npid +3, parent 1, family 1\n", "fork: \\(1\\): family 1 has 5 members, .*\n", 0},
	{`run -d spin.kx >/dev/null; kill -STOP 1; fork 1; fork; fork -n 0 1; fork 9; fork 1 2`, "",
		"fork: \\(1\\): is stopped: kill -CONT 1 first\nfork: usage: .*\nfork: -n 0: .*\nfork: \\(9\\): no such pVM\nfork: usage: .*\n", 2},
	{`run -d --name web spin.kx >/dev/null; fork -n 2 web >/dev/null; fork 2 >/dev/null; kill -9 --tree 2; ps --no-headers -o pid,stat,name,exit; inspect 2 | grep state; ps -f --no-headers 4`,
		"1 R +web +-\n2 Z +web <defunct: SIGKILL> +137\n3 R +web +-\n4 Z +web <defunct: SIGKILL> +137\nstate +Z, ended, 1 has not waited for it\n.* spin.kx <defunct: SIGKILL>\n", "", 0},
	{`run -d --name web spin.kx >/dev/null; fork -n 2 web >/dev/null; run -d spin.kx >/dev/null; kill -9 %web; ps --no-headers -o pid,stat; ps --no-headers -o pid %1; kill %1`,
		"2 Z\n3 Z\n4 R\n2\n3\n", "kill: \\(%1\\): no such pVM\n", 1},
	{`run -d --name web spin.kx >/dev/null; fork -n 2 web >/dev/null; kill -9 web; wait web; echo $?; inspect web | head -1; ps --no-headers -o pid,stat web; kill -9 web; inspect web | head -1; ps --no-headers`,
		"137\npid +1, parent 0, family 1\n2 R\n3 R\npid +1, parent 0, family 1\n", "", 0},
	{`run -d --name web spin.kx >/dev/null; fork -n 2 web >/dev/null; kill --tree -9 'w*'; echo $?; ps --no-headers -o pid,stat; kill --tree 9; fork 1; wait; echo $?`, "0\n2 Z\n3 Z\n137\n",
		"kill: \\(9\\): no such pVM\nfork: \\(1\\): no such pVM\n", 0},
	{`run -d spin.kx >/dev/null; limit --family 16 %1; inspect 1 | grep ^family; limit --family 0 1`, "family +1 members of at most 16\n", "limit: --family 0: at least 1.*\n", 2},

	// The others
	{`run -d hello.kx >/dev/null; wait 1; logs -n 1 1; logs --since 1h 1 2>/dev/null; logs -t 1 2>/dev/null`, "Hello from a pVM\n20..-..-..T..:..:..\\.... Hello from a pVM\n", "and its stderr\n", 0},
	{`run -d --name lossy hello.kx >/dev/null; logs lossy; logs; logs 9; logs --since yesterday 1`, "Hello from a pVM\n",
		"logs: \\(1\\): the first 2.0K were rotated away\nand its stderr\nlogs: usage: .*\nlogs: \\(9\\): no such pVM\nlogs: --since yesterday: neither.*\n", 2},
	{`run -d --name web spin.kx a 'b c' >/dev/null; inspect web; inspect nosuch`, "(?s)pid +1, parent 0, family 1\nname +web\nstate +R, running\n.*args +spin.kx a 'b c'\n.*", "inspect: \\(nosuch\\): no such pVM\n", 1},
	{`echo text >x.kx; inspect ./x.kx; inspect ./nosuch`, "", "inspect: ./x.kx: not a pVM image: .*\ninspect: ./nosuch: no such file.*\n", 1},
	{`run -d --name e spin.kx >/dev/null; events; events --json`, `..:..:..\.... started   1 e run` + "\n" + `{"seq":1,.*"type":"started","pid":1,"name":"e","text":"run"}` + "\n", "", 0},
	{`info | grep hypervisor; info --json | grep '"hypervisor"'; info x`, "hypervisor +fake 1\n  \"hypervisor\": \"fake\",\n", "info: usage: info \\[--json\\]; see: help info\n", 2},
	{`run -d spin.kx >/dev/null; limit -m 128M --weight 512 --cpus 0,2-3 --no-spin 1; taskset 1; renice -n 5 1; inspect 1 | grep cpu; renice 300 1; inspect --json 1 | grep '"weight"'; taskset -c all 1; taskset 1`,
		"1: 0,2-3\ncpu .*weight 84, CPUs 0,2-3, no spin\n  \"weight\": 300,\n1: all\n", "", 0},
	{`limit 1; limit -m x 1; limit --cpus 3-1 1; renice; renice x 1; renice -n 99 1; renice 5 9`, "",
		"limit: say what.*\nlimit: -m x.*\nlimit: --cpus 3-1.*\nrenice: usage.*\nrenice: x: a weight.*\nrenice: -n 99.*\nrenice: \\(9\\): no such pVM\n", 1},
	{`pool; pool resize 9; pool list --json | grep want; pool resize x; pool fill`, "KIND        READY WANT\nblank           3    4\nplaceholder     0    0\n    \"want\": 9\n    \"want\": 0\n", "pool: resize x.*\npool: fill: list or resize.*\n", 2},
	{`cc -O2 -o x.kx 'a b.c'; echo $?; cc --help | head -1`, "cc -O2 -o x.kx a b.c\n4\ncompile C .*\n", "", 0},
	{`version; help | grep -c pstree; help ps | grep -c forest; ps --help | grep -c forest; help nosuch; help pss`, "kxsh test .*\n1\n2\n2\n",
		"help: nosuch: no such command\nhelp: pss: no such command: did you mean ps\\?\n", 1},
	{`run -d spin.kx >/dev/null; stats --no-headers; stats --json | grep -c pid`, "1 spin +1.5 +00:03 +1.2M +8.0M +4.0K +1 +- +-\n1\n", "", 0},
	{`command -v ps; type ps; type -t run; command ps --no-headers; exec ps --no-headers`, "ps\nps is a kxsh command\nbuiltin\n", "", 0},
	{`ps() { echo mine; }; ps; unset -f ps; ps --no-headers; command -v ps`, "mine\nps\n", "", 0},
	{`while :; do ps; done | head -1`, "PID PPID.*\n", "", 0},
	{`fg; bg %1; jobs -z`, "", "fg: no job: .*\nbg: .%1.: no such job.*\njobs: -z.*\n", 2},
}

func TestCommands(t *testing.T) {
	for _, c := range commandTests {
		t.Run(c.script, func(t *testing.T) {
			t.Parallel()
			got := outcome(t, kxsh(t.TempDir(), "-c", c.script), "")
			if got.status != c.status || !regexp.MustCompile("^(?:"+c.out+")$").MatchString(got.out) || !regexp.MustCompile("^(?:"+c.err+")$").MatchString(got.err) {
				t.Errorf("status %d, want %d\nstdout %q\n  want %q\nstderr %q\n  want %q", got.status, c.status, got.out, c.out, got.err, c.err)
			}
		})
	}
}

// No engine is started before a command needs one, and its absence is one line.
func TestNoEngine(t *testing.T) {
	for _, c := range []struct {
		script string
		want   result
	}{
		{"echo hi; help >/dev/null; jobs; kill -l 9; version >/dev/null; type ps >/dev/null", result{"hi\nKILL\n", "", 0}},
		{"ps", result{"", "ps: engine: cannot start: told so\n", 1}},
		{"run x.kx; kill 5; wait 5", result{"", "run: engine: cannot start: told so\nkill: engine: cannot start: told so\nwait: engine: cannot start: told so\n", 1}},
	} {
		cmd := kxsh(t.TempDir(), "-c", c.script)
		cmd.Env = append(cmd.Env, "KXSH_TEST_NO_ENGINE=1")
		if got := outcome(t, cmd, ""); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.script, got, c.want)
		}
	}
}

// Commands work without the shell around them.
func TestDirectCommands(t *testing.T) {
	if got := outcome(t, kxsh(t.TempDir(), "run", "hello.kx"), ""); got != (result{"Hello from a pVM\n", "and its stderr\n", 0}) {
		t.Errorf("%+v", got)
	}
	if got := outcome(t, kxsh(t.TempDir(), "run", "exit9.kx"), ""); got.status != 9 {
		t.Errorf("%+v", got)
	}
	if got := outcome(t, kxsh(t.TempDir(), "run", "-i", "cat.kx"), "a line\n"); got.out != "a line\n" {
		t.Errorf("%+v", got)
	}
	if got := outcome(t, exec.Command("sh", "-c", "KXSH_TEST_MAIN=1 "+os.Args[0]+" run flood.kx | head -c 3"), ""); got.out != "xxx" {
		t.Errorf("%+v", got)
	}
}

// A signal to kxsh goes to the pVM in the foreground, and ends what waits.
func TestSignalsFromOutside(t *testing.T) {
	for _, c := range []struct {
		sig    syscall.Signal
		args   []string
		first  string // its output when the signal comes
		status int
		then   string
	}{
		{syscall.SIGINT, []string{"run", "deaf.kx"}, "ready\r\n", 130, ""},
		{syscall.SIGTERM, []string{"run", "deaf.kx"}, "ready\r\n", 143, ""},
		{syscall.SIGTERM, []string{"-c", "run deaf.kx; echo not reached"}, "ready\r\n", 143, ""},
		{syscall.SIGINT, []string{"-c", "run deaf.kx; echo not reached"}, "ready\r\n", 130, ""},
		{syscall.SIGINT, []string{"-c", "run -d spin.kx; wait; echo not reached"}, "1\n", 130, ""},
		{syscall.SIGTERM, []string{"-c", "echo up; while :; do :; done"}, "up\n", 143, ""},
		{syscall.SIGINT, []string{"-c", "trap 'echo cleanup' EXIT; echo up; while :; do :; done"}, "up\n", 130, "cleanup\n"},
		{syscall.SIGTERM, []string{"-c", "trap 'echo t; exit 3' TERM; run -d spin.kx; wait"}, "1\n", 3, "t\n"},
		// It came between two commands: wait is not begun. Signal 0 changes nothing here; the script sends its own.
		{0, []string{"-c", "trap 'echo t; exit 3' TERM; p=$(run -d spin.kx); wait $(sh -c \"kill -TERM $$; sleep .3; echo $p\")"}, "", 3, "t\n"},
		{syscall.SIGTERM, []string{"-c", "echo up; sleep 60"}, "up\n", 143, ""},
		{syscall.SIGINT, []string{"-c", "echo up; events -f"}, "up\n", 130, ""},
		{syscall.SIGHUP, []string{"-c", "run deaf.kx"}, "ready\r\n", 129, ""},
	} {
		cmd := kxsh(t.TempDir(), c.args...)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
		first := make([]byte, len(c.first))
		io.ReadFull(out, first)
		cmd.Process.Signal(c.sig)
		then, _ := io.ReadAll(out)
		cmd.Wait()
		timer.Stop()
		if got := cmd.ProcessState.ExitCode(); got != c.status || string(first) != c.first || string(then) != c.then {
			t.Errorf("%v to %q: status %d %q %q, want %d %q %q", c.sig, c.args, got, first, then, c.status, c.first, c.then)
		}
	}
}

// The table is complete: every command has help, and its examples name it.
func TestTable(t *testing.T) {
	s := New(fakeConfig())
	for _, c := range s.Commands() {
		if c.Short == "" || c.Run == nil {
			t.Errorf("%s: incomplete", c.Name)
		}
		if strings.HasSuffix(c.Short, ".") || strings.Contains(c.Short, "\n") {
			t.Errorf("%s: Short is %q", c.Name, c.Short)
		}
		flags := c.flagSet()
		for name := range c.FlagArgs {
			if flags.Lookup(name) == nil {
				t.Errorf("%s: FlagArgs names %s, which is no flag", c.Name, name)
			}
		}
		for _, e := range c.Examples {
			if !strings.Contains(e, c.Name) {
				t.Errorf("%s: example %q", c.Name, e)
			}
		}
	}
}

func TestText(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 1023: "1023", 1024: "1.0K", 1258291: "1.2M", 10 << 20: "10M", 1023 << 10: "1.0M", 64 << 20: "64M", 1 << 40: "1.0T"} {
		if got := humanBytes(n); got != want {
			t.Errorf("humanBytes(%d) = %s, want %s", n, got, want)
		}
	}
	for s, want := range map[string]uint64{"65536": 65536, "64K": 65536, "1.5M": 1572864, "2GiB": 2 << 30, "1g": 1 << 30, "x": 0, "-1": 0, "1X": 0, "99999999T": 0, "": 0, "M": 0} {
		if got, err := parseSize(s); got != want || (err == nil) != (want != 0) {
			t.Errorf("parseSize(%q) = %d, %v", s, got, err)
		}
	}
	for d, want := range map[time.Duration]string{3 * time.Second: "00:03", 754 * time.Second: "12:34", 3723 * time.Second: "1:02:03"} {
		if got := clock(d); got != want {
			t.Errorf("clock(%v) = %s", d, got)
		}
	}
	if got := printable("a\x1b[2Jb\n"); got != "a?[2Jb?" {
		t.Errorf("printable: %q", got)
	}
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.Local)
	for s, want := range map[string]time.Time{"10m": now.Add(-10 * time.Minute), "15:04": time.Date(2026, 5, 6, 15, 4, 0, 0, time.Local), "2026-05-01": time.Date(2026, 5, 1, 0, 0, 0, 0, time.Local)} {
		if got, err := parseSince(s, now); err != nil || !got.Equal(want) {
			t.Errorf("parseSince(%s) = %v, %v", s, got, err)
		}
	}
	if cpus, err := parseCPUs("3,0-1,1"); err != nil || formatCPUs(cpus) != "0-1,3" {
		t.Errorf("%v %v", cpus, err)
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{{"pss", "ps", true}, {"sp", "ps", true}, {"rnu", "run", true}, {"ru", "run", true}, {"git", "kill", false}, {"ps", "ps", false}} {
		if nearMiss(c.a, c.b) != c.want {
			t.Errorf("nearMiss(%s, %s)", c.a, c.b)
		}
	}
}

// ps of a thousand pVMs has 20 ms; rendering may take little of them.
func BenchmarkPsThousand(b *testing.B) {
	f := newFake()
	for range 1000 {
		f.Run(b.Context(), engineRequest("/x/spin.kx"))
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	cfg := Config{Engine: apiOf(f), Stdout: null, StateDir: filepath.Join(b.TempDir(), "s")}
	s := New(cfg)
	for b.Loop() {
		if s.Command([]string{"ps"}) != 0 {
			b.Fatal("ps failed")
		}
	}
}
