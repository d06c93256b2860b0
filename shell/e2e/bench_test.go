package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kxsh/engine/bench"
)

// bench ipc measures every kind of exchange on both sides, and says how they compare.
func TestBenchIPC(t *testing.T) {
	h := newHome(t)
	r, seen := h.bench(t, "--csv", "ipc.csv", "--html", "ipc.html", "ipc")
	for _, name := range []string{
		"pipe: make, write, read", "pipe, round trip", "pipe, one way to a sleeper", "pipe, a write of 4 KiB",
		"pipe, a write of 64 KiB", "message queue, round trip", "kill, round trip", "exit to wait",
		"shared memory, futex round trip", "shared memory, spinning round trip",
		"lineal pair, first contact", "lineal pair, after", "siblings, first contact", "siblings, after",
	} {
		linux, ours := seen[name+": Linux"], seen[name+": pVM"]
		if linux == nil || ours == nil {
			t.Fatalf("no %q in %+v", name, r)
		}
		if linux.N < 10 || ours.N != linux.N || ours.Median <= 0 || ours.P99 < ours.Median || ours.Ratio <= 0 {
			t.Errorf("%s: %+v beside %+v", name, ours, linux)
		}
	}
	samples := 0
	for _, s := range r.Series {
		samples += s.N
	}
	raw, err := os.ReadFile(filepath.Join(h.dir, "ipc.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(raw), "\n"); n != samples+1 {
		t.Errorf("%d lines for %d samples", n, samples)
	}
	page, err := os.ReadFile(filepath.Join(h.dir, "ipc.html"))
	if err != nil {
		t.Fatal(err)
	}
	if again := "<code>kxsh bench --quick --csv ipc.csv --html ipc.html ipc</code>"; !strings.Contains(string(page), again) || !strings.HasSuffix(string(page), "</html>\n") {
		t.Errorf("the report does not say %s, or has no end", again)
	}
	if len(r.Values) != 1 || r.Values[0].Value <= 0 {
		t.Errorf("values: %+v", r.Values)
	}
}

// bench runs one, and returns what it has measured, by name.
func (h *home) bench(t *testing.T, args ...string) (r bench.Report, seen map[string]*bench.Series) {
	t.Helper()
	out, errs, code := h.run(t, append([]string{"bench", "--quick", "--json"}, args...)...)
	if code != 0 {
		t.Fatalf("status %d: %s", code, errs)
	}
	unmarshal(t, out, &r)
	seen = map[string]*bench.Series{}
	for _, s := range r.Series {
		seen[s.Name] = s
	}
	return r, seen
}

// bench recycle measures both ways to start, of both sizes, and what is done later.
func TestBenchRecycle(t *testing.T) {
	h := newHome(t)
	_, seen := h.bench(t, "recycle")
	for _, size := range []string{"", ", 1 MiB"} {
		image, app := seen["pVM, pooled"+size], seen["pVM, recycled"+size]
		if image == nil || app == nil || image.N < 10 || app.N != image.N || app.Median <= 0 || app.Ratio <= 0 {
			t.Errorf("%q: %+v beside %+v", size, app, image)
		}
	}
	for _, name := range []string{"recycled: load", "later: made blank and booted again"} {
		if s := seen[name]; s == nil || s.N == 0 || s.Median <= 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
