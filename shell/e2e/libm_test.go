package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// functions makes the program that tells what libm's functions do, with the shared libm that is part of kxsh, and what it is to print.
func (h *home) functions(t *testing.T) (app, want string) {
	t.Helper()
	src := filepath.Join(root, "shell/e2e/testdata/libm/functions.c")
	flags := []string{"-O1", "-std=gnu11", "-fno-builtin", "-D_GNU_SOURCE"}
	static := h.compiled(t, src, "static.kx", append(flags, "-static", "-lm"), h.cc)
	want = h.output(t, "run", static)
	if !strings.Contains(want, "\nsigngam -1\nrint 1\n") {
		t.Errorf("linked statically:\n%s", want)
	}
	return h.compiled(t, src, "functions.kx", append(flags, "-lm"), h.cc), want
}

// A program with -lm finds kxsh's libm without being told where, all pVMs the same, and it computes what the static one does; also when the engine
// has died before the first call, and in a child.
func TestLibm(t *testing.T) {
	h := newHome(t)
	app, want := h.functions(t)
	compare(t, h.output(t, "run", app), want)
	compare(t, h.output(t, "run", "-e", "LD_BIND_NOW=1", app, "fork"), want+want)

	first, second := h.late(t, app), h.late(t, app)
	lists := [][]library{h.ldd(t, first), h.ldd(t, second)}
	for _, list := range lists {
		if len(list) != 1 || list[0].Name != "libm.so" || list[0].Sharers != 2 || list[0].Shared < 64<<10 || list[0].Lazy < 100 {
			t.Fatalf("%+v", list)
		}
	}
	path := lists[0][0].Path
	if path != lists[1][0].Path || !strings.HasPrefix(path, filepath.Join(h.dir, "state", "lib")+"/") {
		t.Errorf("libm.so is %s and %s", path, lists[1][0].Path)
	}
	compare(t, h.output(t, "ldd", "--no-headers", app), "libm.so "+path+"\n")
	h.killEngine(t)
	for _, pid := range []string{first, second} {
		h.output(t, "kill", "-USR1", pid)
		if _, errs, code := h.run(t, "wait", pid); code != 0 {
			t.Errorf("%s: status %d\n%s", pid, code, errs)
		}
		compare(t, h.output(t, "logs", pid), "ready\n"+want)
	}
}

// A libm of the user's own is preferred; whatever has become of the file of kxsh's, it is what kxsh has.
func TestLibmOfOthers(t *testing.T) {
	h := newHome(t)
	app, want := h.functions(t)
	if _, errs, code := h.run(t, "run", app); code != 0 {
		t.Fatalf("status %d\n%s", code, errs)
	}
	files, err := filepath.Glob(filepath.Join(h.dir, "state/lib/*/libm.so"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	file := files[0]
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, good[:len(good)/2], append(slices.Clone(good), 0)} {
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		compare(t, h.output(t, "run", app), want)
		if b, err := os.ReadFile(file); err != nil || string(b) != string(good) {
			t.Errorf("%s after %d bytes were there: %d bytes, %v", file, len(bad), len(b), err)
		}
	}

	own := filepath.Join(h.dir, "libm.so")
	if err := os.WriteFile(own, []byte("not ELF"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := h.run(t, "run", app); code != 126 || !strings.Contains(errs, own+": not a library of pVMs") {
		t.Errorf("beside the image: status %d\n%s", code, errs)
	}
	if err := os.WriteFile(own, good, 0o644); err != nil {
		t.Fatal(err)
	}
	pid := h.late(t, app)
	if list := h.ldd(t, pid); len(list) != 1 || list[0].Path != own {
		t.Errorf("%+v, want %s", list, own)
	}
	h.output(t, "kill", "--force", pid)
}

// Where an image has to be signed kxsh's own libm needs no signature, unless the image names a version of it; one of the user's does.
func TestLibmSignature(t *testing.T) {
	h := newHome(t)
	app, want := h.functions(t)
	text := "cd " + h.dir + `; r() { run --require signed ` + app + `; }
		keygen --trust >/dev/null; sign --need-signed ` + app + `; r
		cp state/lib/*/libm.so own.so; sign --need libm.so=2 ` + app + `; r
		cp own.so libm.so; sign --version 2 libm.so; r; cp own.so libm.so; sign ` + app + `; r`
	out, errs, code := h.run(t, "-c", text)
	compare(t, out, want+want)
	lines := strings.Split(strings.TrimSpace(errs), "\n")
	if code != 126 || len(lines) != 2 || !strings.Contains(lines[0], "/libm.so: refused by rule signed") || !strings.Contains(lines[1], h.dir+"/libm.so: refused by rule signed") {
		t.Errorf("status %d\n%s", code, errs)
	}
}
