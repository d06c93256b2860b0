//go:build tree

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/creack/pty"

	"kxsh/xen/lab"
)

// The tests here run what the pages say about the tree itself: what builds, installs and measures, and what boots a machine. They
// build in the tree, so nothing else may run beside them: make pages-test.

// readerFor types in the tree, as somebody whose home is elsewhere. sudo installs below that home.
func readerFor(t *testing.T, p *page) *reader {
	h := newHome(t)
	if err := os.Mkdir(filepath.Join(h.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.write(t, "bin/sudo", []byte("#!/bin/sh\nDESTDIR=$HOME/root exec \"$@\"\n"))
	if err := os.Chmod(filepath.Join(h.dir, "bin/sudo"), 0o755); err != nil {
		t.Fatal(err)
	}
	modules, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	h.env = append(h.env, "PATH="+filepath.Join(h.dir, "bin")+":"+root+":"+os.Getenv("PATH"), "GOMODCACHE="+strings.TrimSpace(string(modules)),
		// The benchmarks that pages tell how to run whole: the shortest one of each kind, and its report elsewhere.
		"BENCH_NAMES=recycle", "BENCH_XEN=recycle", "REPORTS="+h.dir)
	return &reader{t: t, h: h, page: p, stands: map[string]string{}}
}

// eachPage calls f for each page that has blocks for a test, with them.
func eachPage(t *testing.T, test string, f func(p *page, blocks []block)) {
	t.Helper()
	files, err := pages()
	if err != nil {
		t.Fatal(err)
	}
	some := false
	for _, file := range files {
		p, err := readPage(file)
		if err != nil {
			t.Fatal(err)
		}
		var blocks []block
		for _, b := range p.blocks {
			if b.by == test {
				blocks = append(blocks, b)
			}
		}
		if len(blocks) > 0 {
			some = true
			f(p, blocks)
		}
	}
	if !some {
		t.Errorf("no page has anything for %s", test)
	}
}

// commands are those of blocks, as they stand there.
func commands(t *testing.T, blocks []block) (list []string) {
	t.Helper()
	for i := range blocks {
		all, err := blocks[i].commands()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			list = append(list, c.text)
		}
	}
	return list
}

// What builds, installs, generates and measures does so.
func TestTreeCommands(t *testing.T) { runCommands(t) }

// So does what boots a machine, and builds nothing that others use.
func TestTreeMachines(t *testing.T) {
	t.Parallel()
	runCommands(t)
}

func runCommands(t *testing.T) {
	eachPage(t, t.Name(), func(p *page, blocks []block) {
		t.Run(strings.TrimSuffix(filepath.Base(p.name), ".md"), func(t *testing.T) {
			r := readerFor(t, p)
			defer r.close()
			before := status(t)
			for i := range blocks {
				r.inBash("cd " + root)
				r.script(&blocks[i])
			}
			if after := status(t); after != before {
				t.Errorf("git status: before\n%safter\n%s", before, after)
			}
		})
	})
}

// status is what git says has changed: generated files that are not current, among others.
func status(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("git", "-C", root, "status", "--porcelain").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// What is to be typed in a fresh clone: make run opens a session, and make test is what CI runs.
func TestTreeRun(t *testing.T) {
	eachPage(t, t.Name(), func(p *page, blocks []block) {
		list := commands(t, blocks)
		if len(list) != 2 || list[1] != "make test" {
			t.Fatalf("%s: %q", p.name, list)
		}
		openSession(t, readerFor(t, p), list[0])
		ci, err := os.ReadFile(filepath.Join(root, ".ci/run"))
		if err != nil || !regexp.MustCompile(`(?m)^\S+=1 make test$`).Match(ci) {
			t.Errorf("%v: CI runs\n%s", err, ci)
		}
	})
}

// make lab is a session on real Xen.
func TestTreeLab(t *testing.T) {
	eachPage(t, t.Name(), func(p *page, blocks []block) {
		for _, command := range commands(t, blocks) {
			if out := openSession(t, readerFor(t, p), command); !strings.Contains(out, "hypervisor    xen 4.17") {
				t.Errorf("%s: no Xen:\n%s", command, out)
			}
		}
	})
}

// openSession types in the interactive kxsh that a command opens in the tree, and returns all that was seen.
func openSession(t *testing.T, r *reader, command string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir, cmd.Env = root, append(r.h.env, "TERM=xterm", "LC_ALL=C.UTF-8")
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 120})
	if err != nil {
		t.Fatal(err)
	}
	term := terminalOn(t, cmd, f)
	for _, line := range []struct{ typed, shown string }{
		{"run hello.kx", "Hello"},
		{"info", "hypervisor .*\n"},
		{"ps", "PID +PPID"},
	} {
		term.expect(`kxsh@[^ \n]+> *$`)
		term.send(line.typed + "\r")
		term.expect("(?s)" + line.typed + `\r?\n.*` + line.shown)
	}
	term.expect(`kxsh@[^ \n]+> *$`)
	term.send("exit\r")
	term.exit(0)
	return term.out.String()
}

// bootSystemd makes systemd the first process of a container in dom0; inside runs a command there.
const bootSystemd = `
printf 'mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /tmp && exec env container=lab /lib/systemd/systemd --unit=basic.target\n' >/root/init
unshare --mount --pid --fork --cgroup --mount-proc sh /root/init >/root/systemd.log 2>&1 &
outer=$!
until first=$(cat /proc/$outer/task/$outer/children) && [ -n "$first" ]; do sleep 0.1; done
inside() { nsenter -t $first -m -p -C -r -w "$@"; }
until inside test -S /run/systemd/private; do sleep 0.2; done
inside systemctl is-system-running --wait
fail() { echo "failed: $*"; inside journalctl --no-pager -u kxsh.service -u kxsh.socket | tail -n 30; exit 1; }
`

// The units are those of a dom0: on real Xen, under systemd, pVMs outlive a restart of the service, and a stop of it.
func TestTreeUnits(t *testing.T) {
	t.Parallel()
	eachPage(t, t.Name(), func(p *page, blocks []block) {
		r := readerFor(t, p)
		defer r.close()
		if out, status := r.inBash("cd " + root + " && sudo make install"); status != 0 {
			t.Fatalf("install: status %d\n%s", status, out)
		}
		script := bootSystemd
		for _, command := range commands(t, blocks) {
			script += fmt.Sprintf("echo '+' %[1]q; inside sh -c %[1]q || fail %[1]q\n", command)
			if strings.Contains(command, "kxsh info") {
				script += `inside kxsh run -d --name ticker /root/tick.kx || fail run` + "\n"
			}
		}
		script += `
[ "$(inside kxsh ps --no-headers -o name)" = ticker ] || fail ps
inside kxsh events | grep -q adopted || fail adopted
inside systemctl stop kxsh.service && inside kxsh pgrep ticker || fail 'the socket starts another engine'
inside kxsh kill ticker && inside kxsh wait ticker || fail kill
inside kxsh logs ticker | tail -n 1
inside systemctl stop kxsh.socket kxsh.service
inside systemctl --failed --no-legend
inside test -e /run/kxsh/engine.sock && fail 'the socket is still there'
echo over
`
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		installed := filepath.Join(r.h.dir, "root/usr/local")
		result, err := lab.Run(ctx, lab.Options{
			Command: []string{"sh", "-c", script}, HostRoot: true, Dom0Memory: 2048, Stdout: &out,
			Files: map[string]string{
				"/usr/local/bin/kxsh": filepath.Join(installed, "bin/kxsh"), "/usr/local/lib/systemd": filepath.Join(installed, "lib/systemd"),
				"/usr/local/bin/sudo": "/usr/bin/env", "/root/tick.kx": filepath.Join(root, "guest/apps/tick.kx"),
			},
		})
		if err != nil || result.Status != 0 || !strings.HasSuffix(out.String(), "tick: told to stop\nover\n") {
			t.Errorf("%v, status %d:\n%s", err, result.Status, &out)
		}
		if !strings.Contains(out.String(), "hypervisor    xen 4.17") {
			t.Errorf("no Xen:\n%s", &out)
		}
	})
}
