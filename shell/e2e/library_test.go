package e2e

import (
	"os"
	"path/filepath"
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
	for _, args := range [][]string{{}, {"fork"}, {"protect"}} {
		out, errs, code := h.run(t, append([]string{"run", app}, args...)...)
		for _, own := range []string{"own page: made\n", "own page: refused\n"} { // a sealed file's cannot be
			out = strings.Replace(out, own, "", 1)
		}
		if want := strings.Replace(libraryOutput, "%s", "", 1); code != 0 || out != want {
			t.Errorf("%q: status %d\n%s%s", args, code, out, errs)
		}
	}
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
