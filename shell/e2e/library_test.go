package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kxsh/engine"
)

// librarySource is the source of a library of the tests, or of their program.
func librarySource(name string) string {
	return filepath.Join(root, "shell/e2e/testdata/library", name+".c")
}

// libraries makes a program with three libraries in the home's folder: a diamond, and two that need each other.
func (h *home) libraries(t *testing.T) (app string) {
	t.Helper()
	h.library(t, librarySource("base"), "-O2")
	h.library(t, librarySource("right"), "-O2", "-L.", "-lbase") // of which left has what it needs
	h.library(t, librarySource("left"), "-O2", "-L.", "-lright", "-lbase")
	h.library(t, librarySource("right"), "-O2", "-L.", "-lbase", "-lleft")
	return h.image(t, librarySource("app"), "-O2", "-L.", "-lleft", "-lbase")
}

const libraryOutput = "begin base\nbegin right\nbegin left\nbegin app\n%s0 failed\nend left\nend right\nend base\n"

// A program calls its libraries, and they each other and the program; constructors run after those of what they need. What forks
// change is their own.
func TestLibraries(t *testing.T) {
	h := newHome(t)
	app := h.libraries(t)
	for _, args := range [][]string{{app}, {app, "fork"}, {app, "protect"}, {"-e", "LD_BIND_NOW=1", app, "fork"}} {
		out, errs, code := h.run(t, append([]string{"run"}, args...)...)
		for _, own := range []string{"own page: made\n", "own page: refused\n"} { // a sealed file's cannot be
			out = strings.Replace(out, own, "", 1)
		}
		if want := strings.Replace(libraryOutput, "%s", "", 1); code != 0 || out != want {
			t.Errorf("%q: status %d\n%s%s", args, code, out, errs)
		}
	}
	if out, errs, code := h.run(t, "run", app, "crash"); code != 139 || !strings.Contains(errs, "libbase.so:base_crash+0x") {
		t.Errorf("a fault in a library: status %d\n%s%s", code, out, errs)
	}
}

// What has a file's name and is none is refused at once: nobody waits for somebody to write to a FIFO.
func TestFIFOs(t *testing.T) {
	h := newHome(t)
	app := h.libraries(t)
	fifo, library := filepath.Join(h.dir, "fifo"), filepath.Join(h.dir, "libbase.so")
	if err := errors.Join(os.Remove(library), syscall.Mkfifo(library, 0o600), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"run", fifo}, {"inspect", fifo}, {"ldd", fifo}, {"run", "--root", fifo, filepath.Join(root, "guest/apps/hello.kx")}, {"run", app}, {"ldd", app},
	} {
		begin := time.Now()
		out, errs, code := h.run(t, args...)
		if code == 0 || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "not a regular file") || time.Since(begin) > patience {
			t.Errorf("%q: status %d after %v: %s%s", args, code, time.Since(begin), out, errs)
		}
	}
}

// library is what ldd --json says of one.
type library struct {
	Name, Path, SHA256   string
	Base, Bytes, Shared  uint64
	Loader, Holder       string
	Item                 int
	Sharers, Bound, Lazy int
	Previous             *engine.LibraryFile
	Version              uint64
	Signed               string
}

func (h *home) ldd(t *testing.T, pid string) (list []library) {
	t.Helper()
	unmarshal(t, h.output(t, "ldd", "--json", pid), &list)
	return list
}

// late starts the program so that it waits before its first calls.
func (h *home) late(t *testing.T, args ...string) (pid string) {
	t.Helper()
	pid = strings.TrimSpace(h.output(t, append(append([]string{"run", "-d"}, args...), "late")...))
	h.awaitLog(t, pid, "ready\n")
	return pid
}

func (h *home) awaitLog(t *testing.T, pid, words string) {
	t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(h.output(t, "logs", pid), words); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: waited in vain for %q\n%s\n%s\n%s", pid, words, h.output(t, "logs", pid), h.output(t, "inspect", pid), h.output(t, "events"))
		}
	}
}

// sharesLibraries wants the pages of its libraries in what a pVM that nobody has forked shares.
func (h *home) sharesLibraries(t *testing.T, pid int, list []library) {
	t.Helper()
	var of uint64
	for _, l := range list {
		of += l.Shared
	}
	if p := h.members(t, pid)[0]; p.CoW != 0 || p.Shared < of || p.Memory < p.Shared {
		t.Errorf("%d copy on write of %d shared of %d; its libraries have %d", p.CoW, p.Shared, p.Memory, of)
	}
}

// Calls are bound when they are made first, also when the engine has died meanwhile, and its successor finds other files; ldd tells which are, as
// long as they are the same.
func TestLibraryCalls(t *testing.T) {
	h := newHome(t)
	app := h.libraries(t)
	first, second, now := h.late(t, app), h.late(t, app), h.late(t, "-e", "LD_BIND_NOW=1", app)
	other := h.late(t, app) // the next engine starts none: what it links it alone needs
	lists := [][]library{h.ldd(t, first), h.ldd(t, second), h.ldd(t, now)}
	for i, list := range lists {
		if len(list) != 3 || list[0].Name != "libleft.so" || list[1].Name != "libbase.so" || list[2].Name != "libright.so" {
			t.Fatalf("%+v", list)
		}
		for k, l := range list {
			if l.Sharers != 4 || l.Shared == 0 || l.Shared >= l.Bytes || l.Path != filepath.Join(h.dir, l.Name) || len(l.SHA256) != 64 || l.Base == 0 {
				t.Errorf("%+v", l)
			}
			if lazy := i < 2; l.Lazy == 0 == lazy || l.Bound == 0 != lazy || l.Bound+l.Lazy != lists[0][k].Bound+lists[0][k].Lazy {
				t.Errorf("start %d: %s: %d bound, %d lazy", i, l.Name, l.Bound, l.Lazy)
			}
		}
	}
	if lists[0][0].Base == lists[1][0].Base && lists[1][0].Base == lists[2][0].Base {
		t.Errorf("the libraries of three pVMs are all at %#x", lists[0][0].Base)
	}
	h.sharesLibraries(t, number(t, second), lists[1])
	h.output(t, "kill", "-USR1", first)
	if _, errs, code := h.run(t, "wait", first); code != 0 {
		t.Errorf("first: status %d\n%s%s", code, errs, h.output(t, "logs", first))
	}
	h.killEngine(t)
	if list := h.ldd(t, second); list[1].Lazy != lists[1][1].Lazy || list[1].Sharers != 3 {
		t.Errorf("of another engine: %+v", list)
	}
	h.sharesLibraries(t, number(t, second), lists[1])
	if out := h.output(t, "-c", "ps --json "+second+" | jq -c '.[0].libs'; ps --no-headers -o libs "+second); out != `["libleft.so","libbase.so","libright.so"]`+"\nlibleft.so,libbase.so,libright.so\n" {
		t.Errorf("ps tells of the libraries %s", out)
	}
	h.output(t, "kill", "-USR1", second)
	if _, errs, code := h.run(t, "wait", second); code != 0 {
		t.Errorf("second: status %d\n%s%s", code, errs, h.output(t, "logs", second))
	}
	h.killEngine(t)
	if err := os.Rename(filepath.Join(h.dir, "libbase.so"), filepath.Join(h.dir, "libold.so")); err != nil {
		t.Fatal(err)
	}
	if list := h.ldd(t, now); len(list) != 3 || list[1].Bound != -1 {
		t.Errorf("without the file: %+v", list)
	}
	h.output(t, "kill", "-USR1", now, other)
	if _, errs, code := h.run(t, "wait", now); code != 0 {
		t.Errorf("bound before: status %d\n%s%s", code, errs, h.output(t, "logs", now))
	}
	if _, errs, code := h.run(t, "wait", other); code != 0 {
		t.Errorf("not bound before: status %d\n%s%s", code, errs, h.output(t, "logs", other))
	}
}

// ldd of an image finds what run would.
func TestLibrariesOfImage(t *testing.T) {
	h := newHome(t)
	app := h.libraries(t)
	want := "NAME        PATH\n"
	for _, name := range []string{"libleft.so", "libbase.so", "libright.so"} {
		want += fmt.Sprintf("%-11s %s\n", name, filepath.Join(h.dir, name))
	}
	compare(t, h.output(t, "ldd", app), want)
	if err := os.Remove(filepath.Join(h.dir, "libright.so")); err != nil {
		t.Fatal(err)
	}
	out, errs, code := h.run(t, "ldd", "--no-headers", app)
	compare(t, out+errs, strings.Replace(strings.TrimPrefix(want, "NAME        PATH\n"), filepath.Join(h.dir, "libright.so"), "not found", 1))
	if code != 1 {
		t.Errorf("status %d", code)
	}
	compare(t, h.output(t, "ldd", "--no-headers", filepath.Join(root, "guest/apps/hello.kx")), "")
}

// Where libraries are looked for, and what is refused, with the mend. Whatever is refused leaves nothing (home.end).
func TestLibraryRefusals(t *testing.T) {
	h := newHome(t)
	app := h.libraries(t)
	file := func(name string) string { return filepath.Join(h.dir, name) }
	want := func(code int, words string, args ...string) {
		t.Helper()
		out, errs, got := h.run(t, append([]string{"run"}, args...)...)
		if got != code || !strings.Contains(errs, words) || code != 0 && (strings.Count(errs, "\n") != 1 || out != "") {
			t.Errorf("%q: status %d, want %d and %q\n%s%s", args, got, code, words, out, errs)
		}
	}
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(file(from), file(to)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(file("elsewhere"), 0o755); err != nil {
		t.Fatal(err)
	}
	move("libbase.so", "elsewhere/libbase.so")
	want(126, "app.kx: it needs libbase.so, which is not in "+h.dir+": name its folder with --lib-path", app)
	want(0, "", "--lib-path", file("elsewhere"), app)
	want(0, "", "--lib-path", file("nowhere"), "--lib-path", "elsewhere", app)
	h.env = append(h.env, "KXSH_LIBRARY_PATH="+file("elsewhere"))
	want(0, "", app)
	h.env = h.env[:len(h.env)-1]

	move("libright.so", "libbase.so")
	want(126, "libright.so", app)
	move("libbase.so", "libright.so")
	for _, bad := range []struct{ text, words string }{
		{"not ELF", "libbase.so: not a library of pVMs: not an ELF file"},
		{"", "libbase.so: not a library of pVMs: not an ELF file: it is empty"},
	} {
		if err := os.WriteFile(file("libbase.so"), []byte(bad.text), 0o644); err != nil {
			t.Fatal(err)
		}
		want(126, bad.words, app)
	}
	b, err := os.ReadFile(app)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("libbase.so"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	want(126, "libbase.so: not a library of pVMs: a program, not a library: link it with kxsh cc -shared", app)
	// Another one of that name, which lacks what is needed.
	b, err = os.ReadFile(file("libleft.so"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("libbase.so"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	want(126, "which neither the image nor any of its libraries has: link the image again", app)
}

// Where the image has to be signed its libraries have to be, too: each under its own name, and as new as the image wants it.
func TestLibrarySignatures(t *testing.T) {
	h := newHome(t)
	app := h.libraries(t)
	text := "cd " + h.dir + `; r() { run --require signed ` + app + ` | tail -1; }
		keygen --trust >/dev/null; cp libbase.so plain.so; sign ` + app + `; r
		sign libleft.so libright.so libbase.so; r
		sign --need libbase.so=2 ` + app + `; r; sign --version 2 libbase.so; r
		sign --name libright.so libbase.so; r; cp plain.so libbase.so; r; run ` + app + ` | tail -1; events | grep -c 'refused .*lib'`
	out, errs, code := h.run(t, "-c", text)
	want := []string{"libleft.so: refused by rule signed", "libbase.so: refused by rule version: version 1, want 2 or later",
		"libbase.so: refused by rule name: it is libright.so, want libbase.so", "libbase.so: refused by rule signed"}
	lines := strings.Split(strings.TrimSpace(errs), "\n")
	if code != 0 || len(lines) != len(want) {
		t.Fatalf("status %d\n%s%s", code, out, errs)
	}
	for i, line := range lines {
		if !strings.Contains(line, want[i]) {
			t.Errorf("%q, want %q", line, want[i])
		}
	}
	if n := strings.Count(out, "end base\n"); n != 3 || !strings.HasSuffix(out, "end base\n4\n") {
		t.Errorf("%d ran to their end\n%s", n, out)
	}
}
