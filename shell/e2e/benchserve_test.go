package e2e

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kxsh/engine/bench"
)

// mostServers is how many a quick run asks at once, at most.
var mostServers = map[string]string{"hosted": "8 servers", "xen": "2 servers"}[where]

// measuredAll wants these series, with samples, and all but the first compared.
func measuredAll(t *testing.T, seen map[string]*bench.Series, names ...string) {
	t.Helper()
	for i, name := range names {
		s := seen[name]
		if s == nil || s.N == 0 || s.Median <= 0 || (s.Ratio > 0) != (i > 0) || s.Rate != (s.PerSecond > 0) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// valuesAll wants these values.
func valuesAll(t *testing.T, r bench.Report, names ...string) {
	t.Helper()
	values := map[string]float64{}
	for _, v := range r.Values {
		values[v.Name] = v.Value
	}
	for _, name := range names {
		if values[name] <= 0 {
			t.Errorf("no %s in %+v", name, r.Values)
		}
	}
}

// bench redis measures a server under each load, and how many do together, beside both native builds.
func TestBenchRedis(t *testing.T) {
	h := newHome(t)
	r, seen := h.bench(t, "--csv", "redis.csv", "--html", "redis.html", "redis")
	kinds := []string{"native, select", "native, epoll", "pVM"}
	of := func(what string) (names []string) {
		for _, k := range kinds {
			names = append(names, what+": "+k)
		}
		return names
	}
	for _, test := range []string{"SET", "GET", "SET, -P 16", "GET, -P 16"} {
		for _, figure := range []string{"", ", p50", ", p99"} {
			measuredAll(t, seen, of(test+figure)...)
		}
		if s := seen[test+": pVM"]; !s.Rate || s.Target < 0.6 {
			t.Errorf("%s: %+v", test, s)
		}
	}
	for _, n := range []string{"1 server", mostServers} {
		measuredAll(t, seen, of("SET, "+n)...)
	}
	valuesAll(t, r, append(append(of("server, memory"), of("server, memory of its own")...), of("SET, "+mostServers+" to 1")...)...)
	samples := 0
	for _, s := range r.Series {
		samples += s.N
	}
	raw, err := os.ReadFile(filepath.Join(h.dir, "redis.csv"))
	if n := strings.Count(string(raw), "\n"); err != nil || n != samples+1 {
		t.Errorf("%d lines for %d samples, %v", n, samples, err)
	}
	page, err := os.ReadFile(filepath.Join(h.dir, "redis.html"))
	if err != nil || !strings.Contains(string(page), "k/s</td>") || !strings.HasSuffix(string(page), "</html>\n") {
		t.Errorf("the report, %v", err)
	}
}

// bench web measures both web servers, one and together, each beside its native builds.
func TestBenchWeb(t *testing.T) {
	h := newHome(t)
	r, seen := h.bench(t, "web")
	for server, kinds := range map[string][]string{"httpd": {"native", "pVM"}, "lighttpd": {"native, poll", "native, epoll", "pVM"}} {
		for _, what := range []string{"", ", p50", ", p99", ", 1 server", ", " + mostServers} {
			var names []string
			for _, k := range kinds {
				names = append(names, server+what+": "+k)
			}
			measuredAll(t, seen, names...)
		}
		valuesAll(t, r, server+", memory: pVM", server+", memory of its own: pVM", server+", "+mostServers+" to 1: pVM")
	}
}

// bench boot-many keeps all that it starts, and measures the nth as well as all of them.
func TestBenchBootMany(t *testing.T) {
	h := newHome(t)
	r, seen := h.bench(t, "boot-many")
	last := "101 to 1000"
	if where == "xen" {
		last = "11 to 100" // how many fit beyond depends on the machine
	}
	for _, part := range []string{"1 to 10", last} {
		measuredAll(t, seen, part+": posix_spawn", part+": pVM")
	}
	if _, err := exec.LookPath("xl"); err == nil && where == "xen" {
		measuredAll(t, seen, "1 to 10: posix_spawn", "1 to 10: xl create")
		valuesAll(t, r, "time to start 10: xl create")
	}
	total := last[strings.LastIndexByte(last, ' ')+1:]
	valuesAll(t, r, "time to start 10: pVM", "time to start "+total+": posix_spawn", "time to start "+total+": pVM")
}

// What a benchmark of servers needs and has not is said in a line, and how to have it; a server that does not come up leaves nothing.
func TestBenchServersRefused(t *testing.T) {
	h := newHome(t)
	programs := filepath.Join(h.dir, "programs/redis")
	if err := os.MkdirAll(programs, 0o755); err != nil {
		t.Fatal(err)
	}
	refused := func(want string, args ...string) {
		t.Helper()
		out, errs, code := h.run(t, append([]string{"bench", "--quick"}, args...)...)
		last := errs[strings.LastIndexByte(strings.TrimSpace(errs), '\n')+1:]
		if code != 1 || out != "" || !strings.Contains(last, want) {
			t.Errorf("%q: status %d\n%s%s, want %q", args, code, out, errs, want)
		}
	}
	refused("redis/redis-server.kx: no such file or directory: build it with make ports", "--programs", "programs", "redis")
	refused("httpd.kx: no such file or directory: make it with --prepare programs", "--programs", "programs", "web")
	link := func(name, target string) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(filepath.Join(programs, name)), os.Symlink(target, filepath.Join(programs, name))); err != nil {
			t.Fatal(err)
		}
	}
	link("redis-server-select.native", portOf("redis", "redis-server-select").native)
	link("redis-server.kx", filepath.Join(root, "guest/apps/crash.kx"))
	if err := os.WriteFile(filepath.Join(programs, "redis-server.native"), []byte("#!/bin/sh\necho no memory >&2; exit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	refused("native, epoll: the server ended before it answered: exit status 3: no memory", "--programs", "programs", "redis")
	link("redis-server.native", portOf("redis", "redis-server").native)
	refused("pVM: the server ended before it answered: exit status", "--programs", "programs", "redis")
	h.env = append(h.env, "PATH="+h.dir)
	refused("redis-benchmark: not found: install it: apt-get install redis-tools", "redis")
	refused("wrk: not found: install it: apt-get install wrk", "web")
}

// A signal ends a benchmark of servers and all that it has started, and no file is left.
func TestBenchServersInterrupted(t *testing.T) {
	benchInterrupted(t, newHome(t), "50 clients", 0, "--html", "redis.html", "redis")
}

// A signal also ends a benchmark of which the peer, or the pVM, has not said what is waited for, and never will.
func TestBenchSilentInterrupted(t *testing.T) {
	h := newHome(t)
	programs := filepath.Join(h.dir, "programs")
	if err := errors.Join(os.Mkdir(programs, 0o755), os.Symlink(filepath.Join(root, "guest/apps/cat.kx"), filepath.Join(programs, "ipc.kx"))); err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{"", "echo p\n"} {
		if err := os.WriteFile(filepath.Join(programs, "ipc"), []byte("#!/bin/sh\n"+says+"sleep 1000 & wait\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		benchInterrupted(t, h, "1 of 2: ipc", 2*time.Second, "--programs", "programs", "--html", "ipc.html", "ipc", "update")
	}
}

// benchInterrupted sends a benchmark a signal some time after it has said this: it ends, and leaves nothing.
func benchInterrupted(t *testing.T, h *home, when string, after time.Duration, args ...string) {
	t.Helper()
	temporary := filepath.Join(h.dir, "tmp")
	if err := os.MkdirAll(temporary, 0o755); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadDir(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	cmd := h.command(append([]string{"bench"}, args...)...)
	cmd.Env = append(cmd.Env, "TMPDIR="+temporary)
	errs, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(2*patience, func() { cmd.Process.Kill() }).Stop()
	lines, said := bufio.NewScanner(errs), ""
	for lines.Scan() {
		said += lines.Text() + "\n"
		if strings.Contains(lines.Text(), when) {
			time.AfterFunc(after, func() { cmd.Process.Signal(syscall.SIGTERM) })
		}
	}
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 143 {
		t.Errorf("status %d\n%s", cmd.ProcessState.ExitCode(), said)
	}
	left, err := os.ReadDir(temporary)
	now, e := os.ReadDir(h.dir)
	if errors.Join(err, e) != nil || len(left) > 0 || len(now) != len(before) {
		t.Errorf("left: %v, %v, %v", left, now, errors.Join(err, e))
	}
}
