package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
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

// library is what ldd --json says of one.
type library struct {
	Name, Path, SHA256   string
	Base, Bytes, Shared  uint64
	Sharers, Bound, Lazy int
}

// script runs a script, whose output is JSON values, and reads them.
func (h *home) script(t *testing.T, text string, into ...any) {
	t.Helper()
	out := json.NewDecoder(strings.NewReader(h.output(t, "-c", text)))
	for _, v := range into {
		if err := out.Decode(v); err != nil {
			t.Fatal(err)
		}
	}
}

// Calls are bound when they are made first, also when the engine has died meanwhile; ldd tells which are. Where an engine finds other
// files than those that an earlier one has linked, a program that needs them ends.
func TestLibraryCalls(t *testing.T) {
	h := newHome(t)
	app := h.libraries(t)
	var pids [4]int
	var lists [3][]library
	var statuses [2]int
	h.script(t, `for bind in '' '' '' 1; do run -d -e LD_BIND_NOW=$bind `+app+` late; done >pids; set -- $(cat pids)
		for p; do until case $(logs $p) in *ready*) true;; *) false;; esac; do sleep 0.1; done; done
		echo "[$1, $2, $3, $4]"; ldd --json $1; ldd --json $2; ldd --json $4; kill -USR1 $1; wait $1; echo $?`,
		&pids, &lists[0], &lists[1], &lists[2], &statuses[0])
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
	h.killEngine(t)
	var list []library
	h.script(t, fmt.Sprintf(`ldd --json %d; kill -USR1 %[1]d; wait %[1]d; echo $?`, pids[1]), &list, &statuses[1])
	if statuses != [2]int{} {
		t.Errorf("with its engine and without: statuses %d\n%s", statuses, h.output(t, "logs", strconv.Itoa(pids[1])))
	}
	if len(list) != 3 || list[1].Lazy != lists[1][1].Lazy || list[1].Sharers != 3 {
		t.Errorf("of another engine: %+v", list)
	}
	h.killEngine(t)
	if err := os.Rename(filepath.Join(h.dir, "libbase.so"), filepath.Join(h.dir, "libold.so")); err != nil {
		t.Fatal(err)
	}
	h.script(t, fmt.Sprintf(`ldd --json %d; kill -USR1 %d %d; wait %[1]d; echo $?; wait %[2]d; echo $?`, pids[3], pids[2], pids[3]), &list, &statuses[0], &statuses[1])
	events := h.output(t, "events")
	if len(list) != 3 || list[1].Bound != -1 || statuses != [2]int{0, 127} || !strings.Contains(events, "libbase.so") {
		t.Errorf("without the file: %+v; statuses %d of one that was bound before and one that was not\n%s", list, statuses, events)
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
