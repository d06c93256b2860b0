package engine

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kxsh/engine/metricstest"
	"kxsh/engine/porttest"
	"kxsh/xen"
)

func metricsOf(t *testing.T, api API) map[string]*metricstest.Family {
	t.Helper()
	text, err := api.Metrics(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	f, err := metricstest.Parse(string(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return f
}

func TestMetrics(t *testing.T) {
	e, host := testEngine(t)
	wait(t, e, launch(t, e, "hello"))
	pid := launch(t, e, "sleep")
	host.Other(xen.Listed{ID: 99, Name: "else's"})
	f := metricsOf(t, e)
	d, err := e.Inspect(context.Background(), pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		family, sample string
		labels         []string
		want           float64
	}{
		{"kxsh_engine", "_info", []string{"version", "test", "hypervisor", "fake"}, 1},
		{"kxsh_events", "_total", []string{"type", "started"}, 2},
		{"kxsh_events", "_total", []string{"type", "exited"}, 1},
		{"kxsh_birth_seconds", "_count", []string{"how", "run"}, 2},
		{"kxsh_birth_seconds", "_count", []string{"how", "fork"}, 0},
		{"kxsh_birth_seconds", "_bucket", []string{"how", "run", "le", "+Inf"}, 2},
		{"kxsh_families", "", nil, 1},
		{"kxsh_pvm_memory_limit_bytes", "", []string{"pid", fmt.Sprint(pid), "name", "sleep", "family", fmt.Sprint(pid)}, float64(d.MaxMem)},
	} {
		if v, ok := f[c.family].Find(c.sample, c.labels...); !ok || v != c.want {
			t.Errorf("%s%s%q: %v (%v), want %v", c.family, c.sample, c.labels, v, ok, c.want)
		}
	}
	states := 0.0
	for _, s := range f["kxsh_pvms"].Samples {
		states += s.Value
	}
	if n := len(f["kxsh_pvm_cpu_seconds"].Samples); n != 1 || states != 1 {
		t.Errorf("%d pVMs are measured and %v counted, want 1: no dead one, none of others", n, states)
	}
}

// What is odd in a label is escaped: a name is somebody's word.
func TestMetricsEscape(t *testing.T) {
	w := metricWriter{}
	w.pvms([]Process{{PID: 1, Family: 1, Stat: "R", Name: "a\"b\\c\nd\xffe"}})
	f, err := metricstest.Parse(string(w.b) + "# EOF\n")
	if err != nil {
		t.Fatalf("%v in\n%s", err, w.b)
	}
	if _, ok := f["kxsh_pvm_memory_bytes"].Find("", "name", "a\"b\\c\nd?e"); !ok {
		t.Errorf("%s", w.b)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{0, 100 * time.Microsecond, 101 * time.Microsecond, time.Second, time.Minute} {
		h.observe(d)
	}
	if h.buckets[0] != 2 || h.buckets[1] != 1 || h.buckets[len(birthBounds)-1] != 1 || h.buckets[len(birthBounds)] != 1 {
		t.Errorf("%v", h.buckets)
	}
}

func TestCheckMetrics(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:9273": "", "localhost:1": "", "[::1]:65535": "", "127.3.4.5:80": "", "unix:/run/m": "",
		"0.0.0.0:9273": "not the loopback", ":9273": "not the loopback", "[::]:9273": "not the loopback", "192.0.2.1:80": "not the loopback",
		"example.org:80": "not the loopback", "127.0.0.1": "HOST:PORT", "127.0.0.1:http": "port", "127.0.0.1:0": "port", "127.0.0.1:65536": "port",
		"unix:m": "absolute", "unix:/" + strings.Repeat("m", 107): "107 bytes", "": "HOST:PORT",
	} {
		if err := CheckMetrics(addr); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", addr, err, want)
		}
	}
}

func TestServeMetrics(t *testing.T) {
	e, _ := testEngine(t)
	socket := filepath.Join(t.TempDir(), "m")
	tcp := porttest.Free(t)
	for _, addr := range []string{tcp, "unix:" + socket} {
		stop, err := e.serveMetrics(addr)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			if addr == tcp {
				return net.Dial("tcp", tcp)
			}
			return net.Dial("unix", socket)
		}}}
		ask := func(method, path, host string) (int, string, string) {
			t.Helper()
			req, err := http.NewRequest(method, "http://"+tcp+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			return resp.StatusCode, string(b), resp.Header.Get("Content-Type")
		}
		status, text, typ := ask("GET", "/metrics", "localhost")
		if _, err := metricstest.Parse(text); err != nil || status != http.StatusOK || typ != MetricsType {
			t.Errorf("%s: %d, %s, %v:\n%s", addr, status, typ, err, text)
		}
		for _, c := range []struct {
			method, path, host string
			want               int
		}{
			{"GET", "/metrics", tcp, http.StatusOK},
			{"GET", "/metrics", "[::1]", http.StatusOK},
			{"GET", "/metrics", "evil.example:9273", map[bool]int{true: http.StatusForbidden, false: http.StatusOK}[addr == tcp]},
			{"POST", "/metrics", tcp, http.StatusMethodNotAllowed},
			{"GET", "/v1/pvms", tcp, http.StatusNotFound},
			{"GET", "/", tcp, http.StatusNotFound},
		} {
			if status, text, _ := ask(c.method, c.path, c.host); status != c.want {
				t.Errorf("%s: %s %s of %s: %d, want %d: %s", addr, c.method, c.path, c.host, status, c.want, text)
			}
		}
		if _, err := e.serveMetrics(addr); err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s twice: %v", addr, err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if conn, err := net.Dial("tcp", tcp); err == nil {
			conn.Close()
			t.Errorf("%s is still served", addr)
		}
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket is left behind")
	}
}

// Clients that say nothing take no more descriptors of the engine's than metricsClients, and when they go, others are served.
func TestSilentMetricsClients(t *testing.T) {
	e, _ := testEngine(t)
	addr := porttest.Free(t)
	stop, err := e.serveMetrics(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	descriptors := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	const silent = 3 * metricsClients
	before := descriptors()
	var conns []net.Conn
	for range silent {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	time.Sleep(50 * time.Millisecond)
	if n := descriptors() - before - silent; n > metricsClients {
		t.Errorf("%d descriptors for %d clients", n, silent)
	}
	for _, c := range conns {
		c.Close()
	}
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}
