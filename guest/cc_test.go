package guest

import (
	"archive/tar"
	"bytes"
	"context"
	debugelf "debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kxsh/elf"
)

// cant runs cc, which must fail, and returns its status and what it said.
func cant(t *testing.T, dir string, env []string, args ...string) (int, string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status := CC(context.Background(), args, env, dir, nil, &stdout, &stderr)
	if status == 0 || stdout.Len() > 0 {
		t.Errorf("cc %s: status %d, stdout %q", strings.Join(args, " "), status, stdout.String())
	}
	return status, stderr.String()
}

func exists(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("not made: %v", err)
		}
	}
}

// TestProject builds as a project's makefile does: objects with dependency files, an archive, a
// program with libraries.
func TestProject(t *testing.T) {
	dir := write(t, map[string]string{
		"main.c":      "#include <math.h>\n#include <pthread.h>\n#include \"add.h\"\nint main(void) { return add(TWO, (int)sqrt(pthread_self() != 0)); }\n",
		"inc/add.h":   "int add(int, int);\n",
		"add.c":       "#include \"add.h\"\nint add(int a, int b) { return a + b + zero; }\n",
		"zero.h":      "enum { zero };\n",
		"start.S":     "#ifndef TWO\n#error TWO\n#endif\n.globl label\nlabel: ret\n.section .note.GNU-stack,\"\",@progbits\n",
		"args":        "-O2 '-DTWO=1 +1' -I\\\ninc -Iinc",
		"sub/empty.c": "extern int nothing;\n",
	})
	compile(t, dir, "@args", "-Wall", "-Werror", "-MMD", "-MP", "-c", "main.c", "-o", "main.o")
	deps, err := os.ReadFile(filepath.Join(dir, "main.d"))
	if err != nil || !strings.Contains(string(deps), "inc/add.h") || strings.Contains(string(deps), "math.h") {
		t.Errorf("main.d: %v\n%s", err, deps)
	}
	compile(t, dir, "-Iinc", "-include", "zero.h", "-g", "-std=c11", "-c", "add.c", "sub/empty.c")
	compile(t, dir, "-DTWO", "-c", "start.S", "-nostdlib", "-shared") // a linker's flags do nothing here
	exists(t, dir, "add.o", "empty.o", "start.o")
	if out, err := exec.Command("ar", "rcs", filepath.Join(dir, "libadd.a"), filepath.Join(dir, "add.o")).CombinedOutput(); err != nil {
		t.Fatalf("ar: %v\n%s", err, out)
	}
	compile(t, dir, "-o", "p.kx", "main.o", "start.o", "-L.", "-ladd", "-lm", "-lpthread", "-lrt", "-ldl", "-lutil", "-lcrypt", "-lresolv", "-Wl,-Map=p.map")
	parse(t, filepath.Join(dir, "p.kx"))
	exists(t, dir, "p.map")

	compile(t, dir, "main.o", "add.o")
	parse(t, filepath.Join(dir, "a.out"))
	compile(t, dir, "-flto", "-O2", "-DTWO=2", "-include", "zero.h", "-Iinc", "-pie", "-fPIE", "main.c", "add.c", "-olto.kx", "-s")
	parse(t, filepath.Join(dir, "lto.kx"))
	compile(t, dir, "-r", "-nostdlib", "-o", "both.o", "main.o", "add.o")
	compile(t, dir, "-o", "both.kx", "both.o")
	compile(t, dir, "-x", "c", "-DTWO=2", "-Iinc", "main.c", "-x", "none", "add.o", "-o", "x.kx")
	compile(t, dir, "-S", "-o", "-", "-Iinc", "-DTWO=2", "main.c")
	if text := compile(t, dir, "-E", "-dM", "-x", "c", "/dev/null"); !strings.Contains(text, "#define __kxsh__ 1\n") ||
		strings.Contains(text, "__PIE__") || strings.Contains(text, "__CET__") || strings.Contains(text, "_FORTIFY_SOURCE") {
		t.Errorf("predefined macros:\n%s", text)
	}
	compile(t, dir, "main.o", "add.o", "-o", "/dev/null")
	if out := compile(t, dir, "-print-file-name=libc.a"); !strings.Contains(out, "sdk-") {
		t.Errorf("-print-file-name=libc.a: %s", out)
	}
	if out := compile(t, dir, "--version"); !strings.Contains(out, "gcc") {
		t.Errorf("--version: %s", out)
	}
}

// TestShared builds libraries, and programs with them, as a project's makefile does.
func TestShared(t *testing.T) {
	dir := write(t, map[string]string{
		"one.c":  "#include <stdio.h>\nint two(void);\nint count;\nint one(void) { return puts(\"one\") + two() + count; }\n",
		"two.c":  "int two(void) { return 2; }\n",
		"main.c": "int one(void);\nextern int count;\nint main(void) { return one() + count; }\n",
		"tls.c":  "__thread int t = 1;\nint *own(void) { return &t; }\n",
	})
	compile(t, dir, "-O2", "-fPIC", "-c", "two.c", "-o", "two.o")
	compile(t, dir, "-shared", "-o", "libtwo.so", "two.o")
	compile(t, dir, "-O2", "-shared", "one.c", "-L.", "-ltwo", "-o", "libone.so.1", "-Wl,-soname,libone.so")
	if err := os.Rename(filepath.Join(dir, "libone.so.1"), filepath.Join(dir, "libone.so")); err != nil {
		t.Fatal(err)
	}
	for _, lib := range []string{"-L. -lone", "libone.so", "-L. -l:libone.so"} {
		compile(t, dir, append([]string{"-o", "p.kx", "main.c"}, strings.Fields(lib)...)...)
		img := parse(t, filepath.Join(dir, "p.kx"))
		if img.Dynamic == nil || !slices.Equal(img.Dynamic.Needed, []string{"libone.so"}) {
			t.Fatalf("%s: %+v", lib, img.Dynamic)
		}
	}
	one := parseLibrary(t, filepath.Join(dir, "libone.so"))
	if one.Soname != "libone.so" || !slices.Equal(one.Needed, []string{"libtwo.so"}) {
		t.Errorf("libone.so: %q needs %q", one.Soname, one.Needed)
	}
	if two := parseLibrary(t, filepath.Join(dir, "libtwo.so")); two.Soname != "libtwo.so" || len(two.Needed) != 0 {
		t.Errorf("libtwo.so: %q needs %q", two.Soname, two.Needed)
	}
	// Without a shared library an image has nothing of one, also of code for one, and with -static where there is one.
	if out, err := exec.Command("ar", "rcs", filepath.Join(dir, "libtwo.a"), filepath.Join(dir, "two.o")).CombinedOutput(); err != nil {
		t.Fatalf("ar: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "use.c"), []byte("int two(void);\nint main(void) { return two(); }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"use.c two.o", "-static use.c -L. -ltwo"} {
		compile(t, dir, append([]string{"-o", "s.kx"}, strings.Fields(args)...)...)
		if img := parse(t, filepath.Join(dir, "s.kx")); img.Dynamic != nil {
			t.Errorf("%s: %+v", args, img.Dynamic)
		}
	}
	for args, want := range map[string]string{
		"-shared -o l.so tls.c":                "cc: l.so: not a library of pVMs: thread-local variables (TLS)",
		"-shared -o l.so one.c -Wl,-Bsymbolic": "cc: l.so: not a library of pVMs: binds its own symbols to itself",
	} {
		if status, said := cant(t, dir, os.Environ(), strings.Fields(args)...); status != exitFailed || !strings.Contains(said, want) {
			t.Errorf("cc %s: status %d, %q", args, status, said)
		}
		if _, err := os.Stat(filepath.Join(dir, "l.so")); err == nil {
			t.Errorf("cc %s: l.so is there", args)
		}
	}
}

// A program that loads libraries has all of libc for them, but what it has itself, and needs none.
func TestOpens(t *testing.T) {
	dir := write(t, map[string]string{
		"p.c": "#include <stdlib.h>\nint own(void) { return 1; }\nvoid qsort(void *a, size_t b, size_t c, int (*d)(const void *, const void *)) {}\nint main(void) { return 0; }\n",
	})
	for _, option := range []string{"-rdynamic", "-Wl,-E"} {
		compile(t, dir, "-O2", option, "-o", "p.kx", "p.c", "-ldl")
		if img := parse(t, filepath.Join(dir, "p.kx")); img.Dynamic == nil || len(img.Dynamic.Needed) != 0 {
			t.Fatalf("%s: %+v", option, img.Dynamic)
		}
		f, err := debugelf.Open(filepath.Join(dir, "p.kx"))
		if err != nil {
			t.Fatal(err)
		}
		symbols, err := f.DynamicSymbols()
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"own", "qsort", "strtok_r", "pthread_create", "dlopen", "fopen", elf.TableSymbol} {
			if !slices.ContainsFunc(symbols, func(s debugelf.Symbol) bool { return s.Name == name && s.Section != debugelf.SHN_UNDEF }) {
				t.Errorf("%s: %s is not there", option, name)
			}
		}
	}
	compile(t, dir, "-static", "-rdynamic", "-o", "s.kx", "p.c")
	if img := parse(t, filepath.Join(dir, "s.kx")); img.Dynamic != nil {
		t.Errorf("-static: %+v", img.Dynamic)
	}
}

func parseLibrary(t *testing.T, path string) *elf.Library {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := elf.ParseLibrary(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return l
}

func TestStdin(t *testing.T) {
	dir := t.TempDir()
	var stderr bytes.Buffer
	status := CC(context.Background(), []string{"-x", "c", "-", "-o", "a.kx"}, os.Environ(), dir, strings.NewReader("int main(void) { return 0; }"), io.Discard, &stderr)
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr.String())
	}
	parse(t, filepath.Join(dir, "a.kx"))
}

// TestRefused: what cannot work is refused in one line, before gcc runs.
func TestRefused(t *testing.T) {
	tests := []struct{ args, want string }{
		{"-mred-zone a.c", "cc: -mred-zone: "},
		{"-shared -nostdlib -o a.so a.c", "cc: -nostdlib: "},
		{"-shared -kx-stack=64K -o a.so a.c", "cc: -shared: -kx-stack, -kx-memory and -kx-root are for programs\n"},
		{"-static-pie a.c", "cc: -static-pie: "},
		{"-m32 -c a.c", "cc: -m32: a pVM is a 64-bit program\n"},
		{"-nostdlib a.c", "cc: -nostdlib: "},
		{"-fsanitize=address a.c", "cc: -fsanitize=address: "},
		{"-fopenmp -c a.c", "cc: -fopenmp: "},
		{"a.cpp", "cc: a.cpp: C++ is not supported"},
		{"-x c++ a.c", "cc: -x c++: C++ is not supported"},
		{"a.c -o", "cc: -o: needs an argument\n"},
		{"-kx-stack a.c", "cc: -kx-stack: needs a value"},
		{"-kx-stack=lots a.c", "cc: -kx-stack=lots: not a size"},
		{"-kx-stack=12 a.c", "cc: -kx-stack=12: out of range"},
		{"-kx-memory=99999999999999999999 a.c", "cc: -kx-memory=99999999999999999999: not a size"},
		{"-kx-memory=18446744073709551615G a.c", "cc: -kx-memory=18446744073709551615G: not a size"},
		{"-kx-colour=red a.c", "cc: -kx-colour: no such option"},
	}
	for _, tt := range tests {
		status, said := cant(t, t.TempDir(), os.Environ(), strings.Fields(tt.args)...)
		if status != exitUsage || !strings.HasPrefix(said, tt.want) || strings.Count(said, "\n") != 1 {
			t.Errorf("cc %s: status %d, %q", tt.args, status, said)
		}
	}
}

// TestFailures: gcc's own failures keep gcc's words and status.
func TestFailures(t *testing.T) {
	dir := write(t, map[string]string{
		"bad.c":  "int main(void) { return none; }\n",
		"host.c": "int adler32(void); int main(void) { return adler32(); }\n",
		"ok.c":   "int main(void) { return 0; }\n",
	})
	for args, want := range map[string]string{
		"bad.c":              "undeclared",
		"nosuch.c":           "nosuch.c: No such file",
		"":                   "no input files",
		"host.c -lz":         "cannot find -lz", // never the host's library
		"host.c":             "adler32",
		"-x c /dev/null -oa": "main",
	} {
		var stdout, stderr bytes.Buffer
		status := CC(context.Background(), strings.Fields(args), os.Environ(), dir, nil, &stdout, &stderr)
		if status != 1 || !strings.Contains(stderr.String(), want) {
			t.Errorf("cc %s: status %d\n%s", args, status, stderr.String())
		}
	}
	// A linker option that makes the program's pages writable and executable gives no image.
	status, said := cant(t, dir, os.Environ(), "-Wl,-N", "-o", "n.kx", "ok.c")
	if status != exitFailed || !strings.Contains(said, "cc: n.kx: not a pVM image: ") {
		t.Errorf("-Wl,-N: status %d, %q", status, said)
	}
	if _, err := os.Stat(filepath.Join(dir, "n.kx")); err == nil {
		t.Error("n.kx is there although cc failed")
	}
}

func TestNoCompiler(t *testing.T) {
	status, said := cant(t, t.TempDir(), []string{"PATH=" + t.TempDir(), "HOME=/nonexistent"}, "a.c")
	if status != exitNotFound || said != "cc: gcc: not found: install it: apt-get install gcc\n" {
		t.Errorf("status %d, %q", status, said)
	}
}

func TestNoCache(t *testing.T) {
	path := "PATH=" + os.Getenv("PATH")
	if status, said := cant(t, "", []string{path}, "a.c"); status != exitFailed || !strings.HasSuffix(said, ": set HOME or XDG_CACHE_HOME\n") {
		t.Errorf("status %d, %q", status, said)
	}
	file := filepath.Join(write(t, map[string]string{"f": ""}), "f")
	if status, said := cant(t, "", []string{path, "XDG_CACHE_HOME=" + file}, "a.c"); status != exitFailed || !strings.Contains(said, "cache folder") {
		t.Errorf("status %d, %q", status, said)
	}
}

// TestUnpackTogether: many processes may be the first.
func TestUnpackTogether(t *testing.T) {
	cache := t.TempDir()
	errs := make(chan error)
	for range 8 {
		go func() {
			_, err := unpackSDK(cache)
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(cache)
	if err != nil || len(left) != 1 {
		t.Errorf("in the cache: %v %v", left, err)
	}
}

func TestRoot(t *testing.T) {
	dir := write(t, map[string]string{
		"a.c": "int main(void) { return 0; }\n", "root/etc/motd": "hello\n", "root/run.lua": strings.Repeat("x", 1000),
		"root/" + strings.Repeat("long/", 40) + "name": "deep\n", "notar": "text\n",
	})
	if err := os.Symlink("etc/motd", filepath.Join(dir, "root/link")); err != nil {
		t.Fatal(err)
	}
	compile(t, dir, "-kx-root=root", "-o", "a.kx", "a.c")
	img := parse(t, filepath.Join(dir, "a.kx"))
	if img.Root.Len == 0 {
		t.Fatal("no root in the image")
	}
	data, err := os.ReadFile(filepath.Join(dir, "a.kx"))
	if err != nil {
		t.Fatal(err)
	}
	archive := data[img.Root.Off:]
	var names []string
	for tr := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Name == "link" && h.Linkname != "etc/motd" {
			t.Errorf("link to %q", h.Linkname)
		}
	}
	for _, want := range []string{"etc/", "etc/motd", "run.lua", "link", strings.Repeat("long/", 40) + "name"} {
		if !slices.Contains(names, want) {
			t.Errorf("not in the root: %s (it has %q)", want, names)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "root.tar"), archive, 0o644); err != nil {
		t.Fatal(err)
	}
	compile(t, dir, "-kx-root=root.tar", "-o", "b.kx", "a.c")
	if again, err := os.ReadFile(filepath.Join(dir, "b.kx")); err != nil || !bytes.Equal(again, data) {
		t.Errorf("root from a folder and from its tar file differ (%v)", err)
	}
	for _, root := range []string{"notar", "nosuch"} {
		if _, said := cant(t, dir, os.Environ(), "-kx-root="+root, "-o", "c.kx", "a.c"); !strings.HasPrefix(said, "cc: c.kx: ") {
			t.Errorf("-kx-root=%s: %q", root, said)
		}
	}
}

func TestSplitWords(t *testing.T) {
	got := splitWords("a 'b c' \"d'e\"f\\ g\n\t\\\\ '' -D'X=\"y\"'")
	want := []string{"a", "b c", "d'ef g", "\\", "", "-DX=\"y\""}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestNestedFiles(t *testing.T) {
	dir := write(t, map[string]string{"loop": "@loop", "one": "-c @two", "two": "a.c"})
	if _, err := parseCC([]string{"@loop"}, dir); err == nil {
		t.Error("a file that names itself was accepted")
	}
	a, err := parseCC([]string{"@one", "@nosuch"}, dir)
	if err != nil || !slices.Equal(a.pass, []string{"-c", "a.c", "@nosuch"}) {
		t.Errorf("%v %v", a, err)
	}
}
