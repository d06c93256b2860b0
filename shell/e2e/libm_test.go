package e2e

import (
	"fmt"
	"math/rand/v2"
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

// replacedLibm makes a program with a libm in the home's folder, and another libm that may replace that: both of the objects that kxsh's is made of, and
// of sources that have variables and constants more. In the next one no function does what it did.
func (h *home) replacedLibm(t *testing.T) (app, next string) {
	t.Helper()
	src := func(name string) string { return filepath.Join(root, "shell/e2e/testdata/libm", name+".c") }
	objects := filepath.Join(root, "build/guest/musl/shared/libm.a")
	names, err := os.ReadFile(filepath.Join(root, "shell/e2e/testdata/libm/names.h"))
	if err != nil {
		t.Fatal(err)
	}
	rename := map[string]string{}
	for _, m := range regexp.MustCompile(`[A-Z_]+\(([\w, ]+)\)`).FindAllStringSubmatch(string(names), -1) {
		for _, name := range strings.Split(m[1], ", ") {
			for _, kind := range []string{"", "f", "l"} {
				rename[name+kind] = "first_" + name + kind
			}
		}
	}
	table := ""
	for from, to := range rename {
		table += from + " " + to + "\n"
	}
	build := func(name, version, archive string, prepare func(), sources ...string) string {
		flags := append(sources[1:], "-O2", "-g", "-fno-builtin", "-shared", "-DVERSION="+version, "-Wl,-soname,libm.so", "-Wl,--whole-archive,"+archive, "-Wl,--no-whole-archive")
		return h.compiled(t, sources[0], name, flags, func(args ...string) *exec.Cmd {
			prepare()
			return h.cc(args...)
		})
	}
	build("libm.so", "1", objects, func() {}, src("own"), src("also"))
	next = build("next.so", "2", "first.a", func() {
		args := []string{"--redefine-syms=" + h.write(t, "rename", []byte(table)), objects, filepath.Join(h.dir, "first.a")}
		if out, err := exec.Command("objcopy", args...).CombinedOutput(); err != nil {
			t.Fatalf("objcopy: %v\n%s", err, out)
		}
	}, src("next"), src("own"), src("also"))
	h.library(t, src("other"), "-O2", "-L.", "-lm")
	return h.image(t, src("checker"), append(slices.Clone(functionsFlags), "-L.", "-lother", "-lm")...), next
}

// The libm of a running program is replaced by one whose functions all differ in the lowest bit and that has some more. 111 variables with random values,
// statics of one name, and pointers to functions, variables, statics and constants, wherever they are held, are as they should be; a thread in the
// old one delays it; and the way back is the same.
func TestUpdateLibm(t *testing.T) {
	h := newHome(t)
	app, next := h.replacedLibm(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	pid := h.server(t, app, fmt.Sprint(seed))
	want := func(round, version int) {
		t.Helper()
		want := fmt.Sprintf("version %d functions 261 of 261 own %d also %d wrong 0", version, round*1001001+100, (50+round)*1000+200+round)
		if got := h.sees(t, pid, round); got != want {
			t.Errorf("round %d: %s, want %s\n%s", round, got, want, h.output(t, "logs", pid))
		}
	}
	want(1, 1)
	h.thread(t, pid, "inside")
	if _, errs, code := h.run(t, "update", "--timeout", "100ms", pid, next, "libm.so"); code != 1 || !strings.Contains(errs, " in libm.so:libm_hold+0x") {
		t.Errorf("with a thread in it: status %d\n%s", code, errs)
	}
	want(2, 1)
	s := h.waiting(t, "-c", "update --json --timeout $2 $0 $1 libm.so >said", pid, next, fmt.Sprint(2*patience))
	h.output(t, "kill", "-USR2", pid)
	s.exit(0)
	var list []updated
	unmarshal(t, h.output(t, "-c", "cat said"), &list)
	if u := list[0]; u.New.Path != next || u.Functions < 261 || u.Variables < 111 || u.Pointers < 111 || u.Pinned == 0 || u.Pause <= 0 {
		t.Errorf("%+v", u)
	}
	t.Logf("pause %v, %d functions, %d variables, %d pointers, steps %v", list[0].Pause, list[0].Functions, list[0].Variables, list[0].Pointers, list[0].Steps)
	want(3, 2)
	h.output(t, "rollback", pid, "libm.so")
	want(4, 1)
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
