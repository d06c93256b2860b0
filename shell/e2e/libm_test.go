package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// functions makes the program that tells what libm's functions do, with the shared libm that is part of kxsh, and what it is to print.
func (h *home) functions(t *testing.T) (app, want string) {
	t.Helper()
	src := filepath.Join(root, "shell/e2e/testdata/libm/functions.c")
	flags := functionsFlags
	static := h.compiled(t, src, "static.kx", append(slices.Clone(flags), "-static", "-lm"), h.cc)
	want = h.output(t, "run", static)
	if !strings.Contains(want, "\nsigngam -1\nrint 1\n") {
		t.Errorf("linked statically:\n%s", want)
	}
	return h.compiled(t, src, "functions.kx", append(slices.Clone(flags), "-lm"), h.cc), want
}

var functionsFlags = []string{"-O1", "-std=gnu11", "-fno-builtin", "-D_GNU_SOURCE"}

// nextLibm makes another libm of the objects that kxsh's is made of, and tells what the program of functions is to print with it.
func (h *home) nextLibm(t *testing.T) (lib, want string) {
	t.Helper()
	dir := filepath.Join(root, "shell/e2e/testdata/libm")
	names, err := os.ReadFile(filepath.Join(dir, "names.h"))
	if err != nil {
		t.Fatal(err)
	}
	rename := ""
	for _, m := range regexp.MustCompile(`(?:ONE|TWO)\((\w+)\)`).FindAllStringSubmatch(string(names), -1) {
		for _, kind := range []string{"", "f", "l"} {
			rename += fmt.Sprintf("%[1]s%[2]s first_%[1]s%[2]s\n", m[1], kind)
		}
	}
	first := filepath.Join(h.dir, "first.a")
	flags := []string{"-O2", "-fno-builtin", "-shared", "-Wl,-soname,libm.so", "-Wl,--whole-archive,first.a", "-Wl,--no-whole-archive"}
	lib = h.compiled(t, filepath.Join(dir, "next.c"), "next.so", flags, func(args ...string) *exec.Cmd {
		table := h.write(t, "rename", []byte(rename))
		objects := filepath.Join(root, "build/guest/musl/shared/libm.a")
		if out, err := exec.Command("objcopy", "--redefine-syms="+table, objects, first).CombinedOutput(); err != nil {
			t.Fatalf("objcopy: %v\n%s", err, out)
		}
		return h.cc(args...)
	})
	next := append(slices.Clone(functionsFlags), "-static", "-DNEXT")
	return lib, h.output(t, "run", h.compiled(t, filepath.Join(dir, "functions.c"), "static-next.kx", next, h.cc))
}

// The libm of a running program is replaced by one that differs in the lowest bit of all results and has a function more; its variable keeps its value.
func TestUpdateLibm(t *testing.T) {
	h := newHome(t)
	app, want := h.functions(t)
	lib, wantNext := h.nextLibm(t)
	if want == wantNext {
		t.Error("both compute the same")
	}
	pid := strings.TrimSpace(h.output(t, "run", "-d", app, "twice"))
	h.awaitLog(t, pid, "ready\n")
	h.output(t, "kill", "-USR1", pid)
	h.awaitLog(t, pid, want+"ready\n")
	u := h.update(t, "--symbols-only", pid, lib, "libm.so")
	if u.New.Path != lib || u.Functions < 100 || u.Variables != 1 || u.Pause <= 0 {
		t.Errorf("%+v", u)
	}
	t.Logf("pause %v, %d functions, steps %v", u.Pause, u.Functions, u.Steps)
	h.output(t, "kill", "-USR1", pid)
	if _, errs, code := h.run(t, "wait", pid); code != 0 {
		t.Errorf("status %d\n%s", code, errs)
	}
	compare(t, h.output(t, "logs", pid), "ready\n"+want+"ready\n"+strings.Replace(wantNext, "signgam 0\n", "signgam 4321\n", 1))
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
