package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
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
	if again := "<pre>kxsh bench --quick --csv ipc.csv --html ipc.html ipc</pre>"; !strings.Contains(string(page), again) || !strings.HasSuffix(string(page), "</html>\n") {
		t.Errorf("the report does not say %s, or has no end", again)
	}
	if len(r.Values) != 1 || r.Values[0].Value <= 0 {
		t.Errorf("values: %+v", r.Values)
	}
}

// bench runs one, and returns what it has measured, by name.
func (h *home) bench(t *testing.T, args ...string) (r bench.Report, seen map[string]*bench.Series) {
	t.Helper()
	// Half a minute of work, on a machine at rest.
	out, errs, code := h.runWithin(t, 8*patience, "", append([]string{"bench", "--quick", "--json"}, args...)...)
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

// Of several benchmarks one that fails, or has not what it needs, is said and the others go on; the files have what was measured, and the status tells it.
func TestBenchSeveral(t *testing.T) {
	h := newHome(t)
	h.env = append(h.env, "PATH="+pathWithout(t, h, "wrk"))
	out, errs, code := h.run(t, "bench", "--quick", "--json", "--csv", "some.csv", "--html", "some.html", "web", "memory", "update", "memory")
	if code != 1 {
		t.Fatalf("status %d: %s", code, errs)
	}
	var names []string
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var r bench.Report
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		names = append(names, r.Bench)
		if r.Command != "kxsh bench --quick --csv some.csv --html some.html update memory web" || len(r.Values) == 0 {
			t.Errorf("%+v", r)
		}
	}
	if !slices.Equal(names, []string{"update", "memory"}) {
		t.Errorf("%q", names)
	}
	for _, want := range []string{
		"bench: 1 of 3: update: ", "bench: 3 of 3: web: ", "bench: web: wrk: not found: install it: apt-get install wrk\n", "bench: 3 benchmarks in ", "bench: 1 of 3 benchmarks failed: web\n",
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in\n%s", want, errs)
		}
	}
	page, err := os.ReadFile(filepath.Join(h.dir, "some.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`<h2 id="update">`, `<h2 id="memory">`, `<p class="miss">wrk: not found`, "<td>5ms</td>", "</html>"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("no %s in the report", want)
		}
	}
	raw, err := os.ReadFile(filepath.Join(h.dir, "some.csv"))
	if err != nil || !strings.Contains(string(raw), "\nupdate,\"update, all of it\",1,") {
		t.Errorf("%v: %d bytes of samples", err, len(raw))
	}
}

// pathWithout is a folder of all programs of PATH but one.
func pathWithout(t *testing.T, h *home, without string) string {
	t.Helper()
	dir := filepath.Join(h.dir, "bin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, from := range filepath.SplitList(os.Getenv("PATH")) {
		list, _ := os.ReadDir(from) // some may not be there
		for _, f := range list {
			if f.Name() != without {
				os.Symlink(filepath.Join(from, f.Name()), filepath.Join(dir, f.Name())) // the first of a name is there already
			}
		}
	}
	return dir
}

// bench --list has a line for each, and what there is not is said.
func TestBenchList(t *testing.T) {
	h := newHome(t)
	out, errs, code := h.run(t, "bench", "--list")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || errs != "" || len(lines) != len(bench.Names())+1 {
		t.Errorf("status %d: %s%s", code, out, errs)
	}
	for i, name := range append(bench.Names(), "all") {
		if f := strings.Fields(lines[i]); f[0] != name || len(f) < 4 {
			t.Errorf("%q", lines[i])
		}
	}
	for args, want := range map[string]string{"bot": "bench: bot: no such benchmark: there is boot, boot-many, ", "": "bench: name some of boot, "} {
		if _, errs, code := h.run(t, append([]string{"bench"}, strings.Fields(args)...)...); code == 0 || !strings.HasPrefix(errs, want) {
			t.Errorf("%q: status %d: %s", args, code, errs)
		}
	}
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
