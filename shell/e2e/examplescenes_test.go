package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// examples are the scenes that need nothing but processors and memory.
var examples = []scene{
	{name: "run", prepare: recycled, steps: []typing{
		do(`cp $APPS/hello.kx $PORTS/lua/lua.kx .; cp $APPS/spin.kx x.kx; mkdir data site; echo inside | tee data/in >site/in`, ``),
		ex(`run hello.kx`, `Hello from a pVM\n`),
		ex(`run -d --name web -m 64M web.kx 8080`, `\d+\n`),
		do(`while ! logs web | grep .; do sleep 0.1; done; ps -o args --no-headers`, `web on 8080\nweb.kx 8080\n`),
		ex(`echo 'print(6*7)' | run -i lua.kx -`, `42\n`),
		ex(`run x.kx & kill $!; wait $!`, ``).ends(143),
		do(`cp $APPS/hello.kx x.kx`, ``),
		ex(`run x.kx & wait $!`, `Hello from a pVM\n`),
		ex(`p=$(run -d x.kx); wait $p; echo $?`, `0\n`),
		ex(`run -v ./data:/data -v ./site:/srv:ro web.kx`, `/data/in: inside\n/srv/in: inside\n/data/out: written\n/srv/out: Read-only file system\nweb on no port\n`),
		do(`cat data/out; ls site`, `put\nin\n`),
		ex(`run --recycle job.so 7`, `(?s)2 arguments.*argv\[1\] 7\n.*`).ends(7),
		ex(`pool`, `(?s)KIND +READY WANT\nblank +.*placeholder .*`),
		ex(`pool resize 8`, ``),
		ex(`pool resize --recycle 4`, ``),
		do(`pool --no-headers | awk '{ print $1, $3 }'`, `blank 8\nplaceholder 4\n`),
	}},
	{name: "state", steps: []typing{
		// On Xen a pVM has all of its memory from the start, hosted it never gets more.
		do(`cp $APPS/hello.kx $APPS/tick.kx $PORTS/lua/lua.kx .; web=$(run -d --name web -m $([ -e /dev/xen/privcmd ] && echo 16M || echo 160M) web.kx 80); seven=$(run -d --name seven web.kx 81)`, ``),
		do(`while ! { logs web && logs seven; } | grep -q 81; do sleep 0.1; done`, ``),
		ex(`ps`, `PID .*\n.* web\n.* seven\n`),
		ex(`ps -e -o pid,name,exit`, ` *PID NAME +EXIT\n *\d+ web +-\n *\d+ seven +-\n`),
		ex(`ps --sort -mem`, `PID .*\n.* (web\n.* seven|seven\n.* web)\n`),
		ex(`ps --json | jq '.[].name'`, `"web"\n"seven"\n`),
		ex(`pstree -p`, `\S+\(0\)\n├─web\(\d+\)\n└─seven\(\d+\)\n`),
		ex(`pstree web`, `web\n`),
		ex(`pgrep -l web`, `\d+ web\n`),
		ex(`inspect web`, `(?s)pid .*\nname +web\n.*\nargs +web\.kx 80\n.*`),
		ex(`inspect --json 7 | jq .steps`, `(?s)\[\n  \{\n    "name": "check",\n    "took_ns": \d.*\]\n`).with("7=$seven"),
		ex(`inspect ./hello.kx`, `(?s)image +\./hello\.kx, .*\nentry +0x.*`),
		ex(`stats web`, `PID .*\n *\d+ web .*\n`),
		ex(`stats --openmetrics | grep ^kxsh_pvms`, `(kxsh_pvms\{state="\w+"\} \d\n){4}`),
		ex(`top -b -n 1 | head`, `(?s)kxsh top .*\npVMs: 2, .* web\n.*`),
		ex(`top --json -n 2 -d 0.5 | jq '.processes[0].name'`, `("(web|seven)"\n){2}`),
		ex(`logs web`, `web on 80\n`),
		ex(`limit -m 128M web`, ``),
		ex(`limit --weight 512 --cpus 0 7`, ``).with("0=$cpu", "7=$seven"),
		do(`inspect --json seven | jq -c "[.weight, .cpus == [$cpu]]"; inspect --json web | jq .max_memory`, `\[512,true\]\n134217728\n`),
		ex(`limit --family 16 %7`, ``).with("7=$seven"),
		ex(`limit --no-spin 7`, ``).with("7=$seven"),
		do(`inspect --json seven | jq -c '[.max_family, .no_spin]'`, `\[16,true\]\n`),
		ex(`renice 512 web`, ``),
		ex(`renice -n 10 7`, ``).with("7=$seven"),
		ex(`taskset -c 0 web`, ``).with("0=$cpu"),
		do(`inspect --json web | jq -c "[.weight, .cpus == [$cpu]]"; inspect --json seven | jq .weight`, `\[512,true\]\n27\n`),
		ex(`taskset 7`, `\d+: \d+\n`).with("7=$seven"),
		// One that ends, for else it goes on.
		do(`ticks=$(run -d --name ticks tick.kx 1)`, ``),
		ex(`logs -f -n 5 --since 10m 7`, `tick 1\n`).with("7=$ticks"),
		do(`ticks=$(run -d --name ticks tick.kx 2)`, ``),
		ex(`console -r 7`, `(?s).*tick 2\n(\[.*ended\]\n)?`).with("7=$ticks"),
		do(`lua=$(run -d lua.kx -e 'repeat until false' some.test)`, ``),
		ex(`pgrep -f 'lua.kx .*test'`, `\d+\n`),
		do(`kill -9 $lua`, ``),
	}},
	{name: "signals", steps: []typing{
		do(`web=$(run -d --name web web.kx 80); seven=$(run -d --name seven web.kx 81)`, ``),
		do(`while ! { logs web && logs seven; } | grep -q 81; do sleep 0.1; done`, ``),
		ex(`fork web`, `\d+\n`),
		ex(`fork -n 10 7`, `(\d+\n){10}`).with("7=$seven"),
		ex(`pgrep -P 7`, `(\d+\n){10}`).with("7=$seven"),
		do(`ps --json | jq "map(select(.family == $seven)) | length"`, `11\n`),
		ex(`kill -STOP %3`, ``).with("3=$seven"),
		do(`ps --no-headers -o stat %$seven | sort | uniq -c`, ` *11 T\n`),
		do(`kill -CONT %$seven`, ``),
		ex(`kill -KILL --tree 7`, ``).with("7=$seven"),
		do(`wait $seven; echo $?; ps --no-headers -o name`, `137\nweb\nweb\n`),
		ex(`kill 7`, ``).with("7=$web"),
		do(`wait $web`, ``).ends(143),
		do(`web=$(run -d --name web web.kx 80)`, ``),
		ex(`kill $(pidof web)`, ``),
		do(`wait $web`, ``).ends(143),
		do(`run -d --name web1 web.kx 80 >pids; run -d --name web2 web.kx 80 >>pids; run -d --name website web.kx 80 >>pids; run -d --name worker web.kx 80 >>pids; run -d --name workers web.kx 80 >>pids`, ``),
		ex(`pkill -9 'web[0-9]'`, ``),
		ex(`pkill -x worker`, ``),
		do(`while pidof web1 web2 worker >pids; do sleep 0.1; done; ps --no-headers -o name,ppid | awk '$2 == 0 { print $1 }'`, `website\nworkers\n`),
		ex(`kill -9 'web*'`, ``),
		do(`while pidof website >pids; do sleep 0.1; done; ps --no-headers -o name`, `(web\n)?workers\n`),
		ex(`kill -l TERM`, `15\n`),
	}},
	{name: "debian", only: "xen", why: "hosted there are no domains of others", prepare: debian, steps: []typing{
		ex(`kill --force -9 debian`, ``).with("debian=$debian"), // without xenstore it has no name
		do(`while ps --no-headers $debian >of; do sleep 0.1; done`, `ps: \(\d+\): no such pVM\n`),
	}},
	{name: "ipc", steps: []typing{
		do(`mkdir -p root/etc; echo >root/etc/app; printf 'a\0b' >picture; seq 3 >table; run -d --name web --root root web.kx 80 >pid`, ``),
		do(`while ! logs web | grep -q .; do sleep 0.1; done`, ``),
		ex(`msgget -c $(ftok /etc/app A)`, `\d+\n`),
		ex(`q=$(msgget -c 42)`, ``),
		ex(`msgget -c -F web private`, `\d+\n`),
		ex(`msgsnd $q 1 'resize 800'`, ``),
		ex(`msgsnd $q 2 <picture`, ``),
		ex(`msgrcv -t 1 $q`, `resize 800\n`),
		do(`msgrcv $q | head -c 3 | cmp - picture; msgsnd $q 1 one; msgsnd $q 2 two`, ``),
		ex(`while m=$(msgrcv -n $q); do echo "got $m"; done`, `got one\ngot two\nmsgrcv: \(\d+\): no message\n`),
		ex(`s=$(shmget 7 64K)`, ``),
		ex(`shmwrite $s 0 go`, ``),
		ex(`shmread $s | xxd | head`, `(?s)00000000: 676f 0000 .*\n`),
		do(`shmwrite $s 0x100 'sixteen bytes ..'`, ``),
		ex(`shmread $s 0x100 16`, `sixteen bytes \.\.`),
		ex(`shmwrite $s 0x1000 <table`, ``),
		do(`shmread $s 0x1000 6`, `1\n2\n3\n`),
		ex(`ipcs -q`, ` *FAM .*\n( *\d+ queue .*\n){3}`),
		ex(`ipcs -F web --json | jq '.[].bytes'`, `(\d+\n){4}`),
		ex(`ipcrm $q`, ``),
		do(`q=$(msgget -c 42)`, ``),
		ex(`ipcrm -Q 42 -M 7`, ``),
		do(`ipcs --json | jq length`, `2\n`),
	}},
	{name: "streams", prepare: readerAndWriter, steps: []typing{
		ex(`pipe 3 9`, `\d+\n`).with("3=$three", "9=$nine"),
		do(`while ! logs $nine | grep -q .; do sleep 0.1; done; kill -9 $three; wait $three`, ``).ends(137),
		do(`cp $APPS/tick.kx $APPS/cat.kx .; three=$(run -d tick.kx 3); nine=$(run -d -i cat.kx)`, ``),
		ex(`console 3 | console 9`, `(tick \d\n)*(\[\d+ has ended\]\n)*`).with("3=$three", "9=$nine"),
		do(`while ! logs $nine | grep 'tick 3'; do sleep 0.1; done`, `tick 3\n`),
	}},
	{name: "libraries", prepare: libz, steps: []typing{
		do(`run -d --name web app.kx >pid; seven=$(run -d --name seven app.kx)`, ``),
		do(`while ! { logs web | grep -q ready && logs seven | grep -q ready; }; do sleep 0.1; done`, ``),
		ex(`ldd web`, `NAME .*\nlibz\.so .*\n`),
		ex(`ldd --json 7 | jq '.[].base'`, `(\d+\n)+`).with("7=$seven"),
		ex(`ldd ./app.kx`, `NAME .*\nlibz\.so .*\n`),
		ex(`abidiff libz.so libz-new.so && echo compatible`, `compatible; functions: 8, .*\ncompatible\n`),
		ex(`update --dry-run 7 libz-new.so libz.so`, `(?s)\(\d+\): libz\.so: \S+/libz-new\.so could take the place of .*pause .*`).with("7=$seven"),
		ex(`update web, ./libz-new.so, libz.so`, `(?s)\(\d+\): libz\.so: \S+/libz-new\.so instead of .*pause .*`),
		do(`ldd web | grep -c libz-new.so; ldd seven | grep -c libz-new.so`, `1\n0\n`).ends(1),
		ex(`update --all libz-new.so libz.so`, `(?s)\(\d+\): libz\.so: is .* already\n.* instead of .*\n2 of 2 updated\n`),
		do(`ldd seven | grep -c libz-new.so`, `1\n`),
		ex(`rollback web libz.so`, `(?s)\(\d+\): libz\.so: \S+/libz\.so instead of .*pause .*`),
		do(`ldd web | grep -c libz-new.so`, `0\n`).ends(1),
	}},
	{name: "keys", prepare: libz, steps: []typing{
		ex(`keygen --trust`, `\S+/sign\.key Ed25519 [0-9a-f]{32}\n`),
		ex(`keygen -t rsa release.key`, `\S+/release\.key RSA 3072 [0-9a-f]{32}\n`),
		ex(`sign --version 3 web.kx`, ``),
		ex(`verify web.kx`, `web\.kx: web version 3, .*\n`),
		ex(`run --require version=3+,no-rollback web.kx`, `web on no port\n`),
		do(`run --require version=4+ web.kx`, `run: .*version.*\n`).ends(126),
		do(`cp libz.so libm.so; sign --key release.key --version 2 libm.so`, ``),
		ex(`sign --key release.key --need libm.so=2 --need-signed web.kx`, ``),
		ex(`verify --key release.key.pub --require version=3+ web.kx libm.so`, `web\.kx: web version 3, .*\nlibm\.so: libm\.so version 2, .*\n`),
		do(`verify web.kx`, `verify: web\.kx: refused by rule key: .*\n`).ends(1),
	}},
	{name: "settings", prepare: configured, steps: []typing{
		ex(`config show`, `(?s)KEY .*\nfamily-limit +100 +file .*`),
		ex(`config show --json | jq -r '.[] | select(.origin == "file") | .key'`, `family-limit\n`),
	}},
	{name: "compile", steps: []typing{
		do(`cp $APPS/hello.c .; printf 'made.kx: hello.c\n\t$(CC) -o $@ $<\n' >Makefile`, ``),
		ex(`cc -O2 -o hello.kx hello.c -lm`, ``),
		do(`run hello.kx`, `Hello from a pVM\n`),
		ex(`make CC='kxsh cc'`, `kxsh cc -o made\.kx hello\.c\n`),
		do(`run made.kx`, `Hello from a pVM\n`),
	}},
	{name: "complete", in: "bash", steps: []typing{
		ex(`source <(kxsh completion bash)`, ``),
		do(`complete -p kxsh`, `complete .* kxsh\n`),
		do(`mkdir -p ~/.config/fish/completions`, ``),
		ex(`kxsh completion fish > ~/.config/fish/completions/kxsh.fish`, ``),
		do(`grep -c '^complete -c kxsh' ~/.config/fish/completions/kxsh.fish`, `\d+\n`),
	}},
	{name: "jobs", in: "terminal", steps: []typing{
		do(`run --name one web.kx 1`, `web on 1`).left("\x1a"),
		do(`run --name two web.kx 2`, `web on 2`).left("\x1a"),
		ex(`bg`, `\[2\] run --name two web.kx 2 &`),
		ex(`fg %2`, `run --name two web.kx 2`).hears("back").left("\x1a"),
		do(`jobs`, `Stopped +run --name two`),
		ex(`bg %2`, `\[2\] run --name two web.kx 2 &`),
		ex(`fg`, `run --name one web.kx 1`).left("\x03"),
		do(`echo status $?`, `status 130`),
		do(`kill %2; wait %2; echo status $?`, `status 143`),
	}},
	{name: "screens", in: "terminal", steps: []typing{
		do(`run -d --name web $APPS/tick.kx`, `\d+`),
		ex(`console web`, `tick \d`).left("\x1d"),
		ex(`watch ps --forest`, `(?s)ps --forest.* web`).left("\x03"),
		ex(`watch -n 0.5 'ps --json | jq length'`, `Every 500ms: .*\n\s*1`).left("\x03"),
		ex(`top`, `(?s)kxsh top.* web`).left("q"),
		ex(`top --read-only --theme high-contrast`, `(?s)kxsh top.* web`).left("q"),
	}},
	{name: "bench", only: "hosted", why: "it takes a minute on an emulated machine: TestBench", steps: []typing{
		ex(`bench memory`, `(bench: resident .*\n)+memory, .*\n\n( +memory of one of 100 pVMs .*\n){2} +what 2 MiB of a library add .*\n`),
		ex(`bench --quick --json update recycle | jq .series`, `(?s).*"median_ns".*`),
		ex(`bench --quick --csv ipc.csv --html ipc.html ipc`, `(?s).*pipe.*`),
		ex(`bench --quick --html report.html all`, `(?s).*`).with("all=memory"), // all take minutes
		do(`wc -c ipc.csv ipc.html report.html | awk '$1 < 1000'`, ``),
		ex(`bench --prepare programs`, `(?s).*`),
		do(`ls programs | grep '^ipc.kx'`, `ipc.kx\n`),
	}},
}

var networkExamples = []scene{
	{name: "publish", prepare: freePortOf8080, steps: []typing{
		do(`cp $APPS/httpd.kx .`, ``),
		ex(`run -d --publish 8080:80 httpd.kx`, `\d+\n`).with("8080=$port"),
		do(`bash -c 'until exec 3<>/dev/tcp/127.0.0.1/$port; do sleep 0.1; done 2>refused; printf "GET /nothing HTTP/1.0\r\n\r\n" >&3; head -n 1 <&3'`, `HTTP/1.1 404 Not Found\r\n`),
	}},
}

// recycled makes job.so.
func recycled(t *testing.T, h *home) {
	h.compiled(t, recycleSource("job"), "job.so", []string{"-O2", "-shared"}, h.cc)
}

// libz makes app.kx, a libz.so that it is linked with, and one that may replace that.
func libz(t *testing.T, h *home) {
	src := func(name string) string { return filepath.Join(root, "shell/e2e/testdata/update", name+".c") }
	flags := []string{"-O2", "-g", "-shared", "-Wl,-soname,libz.so"}
	h.compiled(t, src("counter"), "libz.so", append(slices.Clone(flags), "-DVERSION=1"), h.cc)
	h.compiled(t, src("counter"), "libz-new.so", append(slices.Clone(flags), "-DVERSION=2"), h.cc)
	h.compiled(t, src("server"), "app.kx", []string{"-O2", "-L.", "-lz"}, h.cc)
}

// configured has a configuration file; a kxsh reads it when it starts.
func configured(t *testing.T, h *home) {
	if err := os.MkdirAll(filepath.Join(h.dir, ".config/kxsh"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.write(t, ".config/kxsh/config.yaml", []byte("family-limit: 100\n"))
}

// debian is somebody else's domain.
func debian(t *testing.T, h *home) {
	theirs := newHome(t)
	theirs.noPool(t)
	h.env = append(h.env, "debian="+strings.TrimSpace(theirs.output(t, "-c", "run -d --name debian $APPS/spin.kx")))
}

// readerAndWriter are two of a family.
func readerAndWriter(t *testing.T, h *home) {
	f := h.flow(t, h.compileFork(t, "flow"))
	h.env = append(h.env, "three="+f.writer, "nine="+f.reader)
}

// freePortOf8080 stands for the port that somebody may have taken.
func freePortOf8080(t *testing.T, h *home) { h.env = append(h.env, "port="+freePort(t)) }
