package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"kxsh/engine/metricstest"
)

// The command and the endpoint, where one is configured, tell of pVMs what they do.
func TestMetrics(t *testing.T) {
	h := newHome(t)
	socket := filepath.Join(h.dir, "m")
	h.env = append(h.env, "KXSH_METRICS=unix:"+socket)
	pids := strings.Fields(h.output(t, "-c", "p=$(run -d --name web $APPS/spin.kx); echo $p; fork $p; run $APPS/hello.kx >/dev/null"))
	parse := func(text string) map[string]*metricstest.Family {
		t.Helper()
		f, err := metricstest.Parse(text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		return f
	}
	f := parse(h.output(t, "stats", "--openmetrics"))
	for _, c := range []struct {
		family, sample string
		labels         []string
		least          float64
	}{
		{"kxsh_engine", "_info", []string{"hypervisor", where}, 1},
		{"kxsh_engine_cpu_seconds", "_total", nil, 0.001},
		{"kxsh_host_cpus", "", nil, 1},
		{"kxsh_host_memory_bytes", "", nil, 1 << 20},
		{"kxsh_host_free_memory_bytes", "", nil, 1 << 20},
		{"kxsh_events", "_total", []string{"type", "started"}, 2},
		{"kxsh_events", "_total", []string{"type", "forked"}, 1},
		{"kxsh_birth_seconds", "_sum", []string{"how", "run"}, 1e-6},
		{"kxsh_birth_seconds", "_count", []string{"how", "fork"}, 1},
		{"kxsh_families", "", nil, 1},
		{"kxsh_pvm_memory_bytes", "", []string{"pid", pids[1], "family", pids[0], "name", "web"}, 4096},
		{"kxsh_pvm_memory_limit_bytes", "", []string{"pid", pids[0]}, 1 << 20},
		{"kxsh_pvm_start_time_seconds", "", []string{"pid", pids[0]}, 1e9},
		{"kxsh_pvm_cpu_seconds", "_total", []string{"pid", pids[0]}, 1e-6},
	} {
		if v, ok := f[c.family].Find(c.sample, c.labels...); !ok || v < c.least {
			t.Errorf("%s%s%q: %v (%v), want %v or more", c.family, c.sample, c.labels, v, ok, c.least)
		}
	}
	if n := len(f["kxsh_pvm_cpu_seconds"].Samples); n != 2 {
		t.Errorf("%d pVMs, want the two that run", n)
	}

	// All of it is in the reference, and nothing else.
	page, err := os.ReadFile(filepath.Join(root, "docs/reference/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`(kxsh_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		named[m[1]] = true
		if f[m[1]] == nil {
			t.Errorf("the reference has %s", m[1])
		}
	}
	for name := range f {
		if !named[name] {
			t.Errorf("the reference has no %s", name)
		}
	}

	// The same from the socket that was asked for, which only its owner may use, and which goes with the engine.
	if fi, err := os.Stat(socket); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the socket of the metrics: %v, %v", fi, err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }}}
	resp, err := client.Get("http://kxsh/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	g := parse(string(text))
	if len(g) != len(f) {
		t.Errorf("%d families by the socket, %d by the command", len(g), len(f))
	}
	client.CloseIdleConnections()
	if out := h.output(t, "info"); !strings.Contains(out, "unix:"+socket) {
		t.Errorf("info: %s", out)
	}
	if err := shutdown(h.socket()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket of the metrics is left behind")
	}
}

// Nothing listens unless it was asked for, and never but where nobody else can come.
func TestMetricsRefused(t *testing.T) {
	h := newHome(t)
	h.output(t, "-c", "run $APPS/hello.kx")
	if out := h.output(t, "info", "--json"); strings.Contains(out, `"metrics"`) {
		t.Errorf("an engine serves metrics by itself: %s", out)
	}
	pid := strconv.Itoa(h.info(t).PID)
	for _, table := range []string{"tcp", "tcp6"} {
		if owned := listening(t, pid, table); owned != "" {
			t.Errorf("the engine listens: %s", owned)
		}
	}
	for addr, want := range map[string]string{
		"0.0.0.0:9273": `kxsh: --metrics 0.0.0.0:9273: "0.0.0.0" is not the loopback: `,
		"here":         "kxsh: --metrics here: HOST:PORT or unix:PATH\n",
	} {
		if out, errs, code := h.run(t, "--metrics", addr, "ps"); code != 2 || out != "" || !strings.HasPrefix(errs, want) {
			t.Errorf("%s: status %d: %s%s", addr, code, out, errs)
		}
	}
	for _, args := range [][]string{{"--openmetrics", "1"}, {"--openmetrics", "--json"}} {
		if _, errs, code := h.run(t, append([]string{"stats"}, args...)...); code != 2 || errs != "stats: --openmetrics goes alone; see: help stats\n" {
			t.Errorf("stats %q: status %d: %s", args, code, errs)
		}
	}
	// An engine that cannot serve them where it should does not start.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	other := newHome(t)
	if _, errs, code := other.run(t, "--metrics", taken.Addr().String(), "ps"); code != 1 || !strings.Contains(errs, "metrics "+taken.Addr().String()) || !strings.Contains(errs, "address already in use") {
		t.Errorf("a port that is taken: status %d: %s", code, errs)
	}
}

// listening returns the lines of a table of sockets that listen and are a process's.
func listening(t *testing.T, pid, table string) (lines string) {
	t.Helper()
	b, err := os.ReadFile("/proc/" + pid + "/net/" + table)
	if os.IsNotExist(err) {
		return "" // a kernel without it
	}
	if err != nil {
		t.Fatal(err)
	}
	links, err := filepath.Glob("/proc/" + pid + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	owned := map[string]bool{}
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil {
			owned[to] = true
		}
	}
	for line := range strings.Lines(string(b)) {
		const listen = "0A" // TCP_LISTEN
		if f := strings.Fields(line); len(f) > 9 && f[3] == listen && owned["socket:["+f[9]+"]"] {
			lines += line
		}
	}
	return lines
}
