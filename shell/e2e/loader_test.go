package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kxsh/engine"
)

// holders counts what holds read-only pages of libraries for pVMs: memory files, or domains beside those of the pVMs.
func (h *home) holders(t *testing.T, pids ...string) int {
	t.Helper()
	if where == "xen" {
		return len(domains(t, 0)) - len(pids)
	}
	files := map[string]bool{}
	for _, pid := range pids {
		var d engine.Detail
		unmarshal(t, h.output(t, "inspect", "--json", pid), &d)
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", d.HostPID))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m) (\d+) +/memfd:kx-library:`).FindAllStringSubmatch(string(maps), -1) {
			files[m[1]] = true
		}
	}
	return len(files)
}

// Whose pages a pVM's library has: those that all have, those of pVMs of its image, or its own, as the stricter of two records says. Updates
// and the way back keep to it; a child has its parent's.
func TestLoader(t *testing.T) {
	cases := []struct {
		image, library, loader string
		sharers                string // of two pVMs of an image, and of one of another
		updated                string // when the first, the second and the last have been updated
		holders                int
	}{
		{"any", "any", "any", "3 3 3", "1 2 3", 1},
		{"app", "any", "app", "2 2 1", "1 2 1", 2},
		{"any", "app", "app", "2 2 1", "1 2 1", 2},
		{"app", "self", "self", "1 1 1", "1 1 1", 3},
	}
	if slowness > 1 { // an emulated machine takes half a minute for each: the two ends
		cases = slices.Delete(cases, 1, 3)
	}
	for _, c := range cases {
		t.Run(c.image+"-"+c.library, func(t *testing.T) {
			h := newHome(t)
			app, next := h.counter(t)
			src := filepath.Join(root, "shell/e2e/testdata/update/server.c")
			other := h.compiled(t, src, "other.kx", []string{"-O1", "-L.", "-lcounter"}, h.cc)
			same := filepath.Join(h.dir, "same.kx")
			h.output(t, "-c", fmt.Sprintf(`cd %s; pool resize 0; keygen --trust; sign --loader %s server.kx other.kx; cp server.kx same.kx
				sign --name libcounter.so --loader %s libcounter.so next.so`, h.dir, c.image, c.library))
			first, second, third := h.server(t, "--require", "signed", app), h.server(t, same), h.server(t, other)
			all := []string{first, second, third}
			sees := func(when, want string) {
				t.Helper()
				var got []string
				for _, pid := range all {
					l := h.ldd(t, pid)[0]
					if l.Loader != c.loader || l.Version != 1 || l.Signed != "Ed25519" {
						t.Errorf("%s: %+v, want loader %s", when, l, c.loader)
					}
					got = append(got, fmt.Sprint(l.Sharers))
				}
				if strings.Join(got, " ") != want {
					t.Errorf("%s: shared by %v, want %s", when, got, want)
				}
			}
			sees("at the start", c.sharers)
			await(t, fmt.Sprint("holders to be ", c.holders), func() (bool, string) { // blanks of the pool may still be there
				n := h.holders(t, all...)
				return n == c.holders, fmt.Sprint(n)
			})
			if out := h.output(t, "inspect", first); !strings.Contains(out, "libcounter.so, loader "+c.loader+"\n") {
				t.Errorf("%s", out)
			}
			if out := h.output(t, "-c", "cd "+h.dir+"; verify server.kx libcounter.so"); !strings.HasSuffix(out, "; loaded by "+c.loader+"\n") {
				t.Errorf("%s", out)
			}
			for i, pid := range all {
				h.update(t, pid, next, "libcounter.so")
				if got := fmt.Sprint(h.ldd(t, pid)[0].Sharers); got != strings.Fields(c.updated)[i] {
					t.Errorf("%d updated: shared by %s, want %s", i+1, got, c.updated)
				}
			}
			for i, pid := range all {
				h.wantSeen(t, pid, 1, 105, 2)
				if i > 0 {
					h.output(t, "rollback", pid, "libcounter.so")
				}
			}
			child := strings.TrimSpace(h.output(t, "fork", first))
			if a, b := h.ldd(t, first)[0], h.ldd(t, child)[0]; a.Sharers != 2 || b.Sharers != 2 || a.Holder != b.Holder {
				t.Errorf("a child: %+v, %+v", a, b)
			}
			h.output(t, "rollback", child, "libcounter.so")
			all = []string{child, second, third}
			sees("in the end", c.sharers)
		})
	}
}
