package guest

import (
	"bytes"
	"context"
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	kxelf "kxsh/elf"
)

// compile runs cc in dir and returns its standard output; it must succeed and have nothing to say.
func compile(t *testing.T, dir string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := CC(context.Background(), args, os.Environ(), dir, nil, &stdout, &stderr); status != 0 || stderr.Len() > 0 {
		t.Fatalf("cc %s: status %d\n%s", strings.Join(args, " "), status, stderr.String())
	}
	return stdout.String()
}

// write makes files below a new folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// wideSource calls for what gcc keeps in its run-time library, and a good part of libc.
const wideSource = `
#include <complex.h>
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

volatile __int128 wide = 1;
volatile unsigned __int128 uwide = 1;
volatile float _Complex cf = 1;
volatile double _Complex cd = 1;
volatile long double _Complex cl = 1;
volatile long double ld = 1;
volatile double d = 1;
volatile __float128 quad = 1;
volatile unsigned long bits = 1;
volatile int n = 3;
static __thread int per_thread = 5;

static void *run(void *p) { per_thread++; return p; }

int main(void)
{
	pthread_t t;

	wide = wide / n + wide % n;
	uwide = uwide / n + uwide % (unsigned __int128)n;
	cf = cf * cf / cf;
	cd = cd * cd / cd;
	cl = cl * cl / cl;
	ld = (long double)wide + (long double)uwide + __builtin_powil(ld, n) + exp2l(ld) + expm1l(ld);
	wide = d;
	uwide = ld;
	quad = quad * quad / quad - quad + n + (unsigned)n + bits + (long)bits;
	n = quad < 3 ? -quad : d + (double)quad;
	bits = __builtin_popcountl(bits) + __builtin_parityl(bits) + __builtin_bswap64(bits);
	fesetround(FE_UPWARD);
	feraiseexcept(FE_INEXACT);
	pthread_create(&t, 0, run, 0);
	pthread_cancel(t);
	signal(SIGTERM, exit);
	return printf("%g %Lg %d\n", d, ld, per_thread);
}
`

func TestNoRedZoneInImage(t *testing.T) {
	dir := write(t, map[string]string{"wide.c": wideSource})
	for _, level := range []string{"-O0", "-O2", "-O3 -march=native"} {
		args := append(strings.Fields(level), "-o", "wide.kx", "wide.c", "-lm", "-lpthread")
		compile(t, dir, args...)
		found, functions := faults(t, filepath.Join(dir, "wide.kx"))
		if len(found) > 0 {
			t.Errorf("%s: %s", level, strings.Join(found, "\n"))
		}
		if functions < 100 {
			t.Errorf("%s: only %d functions seen", level, functions)
		}
	}
}

func TestNoRedZoneInSDK(t *testing.T) {
	cache, err := cacheFolder(os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	sdk, err := unpackSDK(cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"libc.a", "libgcc.a", "libkx.o", "libkxnet.a", "crt1.o", "crti.o", "crtn.o"} {
		found, functions := faults(t, filepath.Join(sdk, "lib", name))
		if len(found) > 0 {
			t.Errorf("%s:\n%s", name, strings.Join(found, "\n"))
		}
		if functions == 0 {
			t.Errorf("%s: no function seen", name)
		}
	}
}

// Only programs that make sockets have the network, whether they say so themselves or one of their libraries does.
func TestNetworkOnlyForSockets(t *testing.T) {
	dir := write(t, map[string]string{
		"none.c":  "int main(void) { return 0; }",
		"makes.c": "#include <sys/socket.h>\nint main(void) { return socket(AF_INET, SOCK_STREAM, 0); }",
		"dials.c": "#include <sys/socket.h>\nint dial(void) { return socket(AF_INET, SOCK_STREAM, 0); }",
		"calls.c": "int dial(void);\nint main(void) { return dial(); }",
	})
	compile(t, dir, "-shared", "-o", "libdials.so", "dials.c")
	compile(t, dir, "-o", "none", "none.c")
	compile(t, dir, "-o", "makes", "makes.c")
	compile(t, dir, "-o", "calls", "calls.c", "-L.", "-ldials")
	for name, want := range map[string]bool{"none": false, "makes": true, "calls": true} {
		f, err := elf.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		symbols, err := f.Symbols()
		if err != nil {
			t.Fatal(err)
		}
		has := slices.ContainsFunc(symbols, func(s elf.Symbol) bool { return s.Name == "tcp_input" })
		if has != want {
			t.Errorf("%s: has the network: %t, want %t", name, has, want)
		}
		// What the network calls of the LibOS is not for the program's libraries.
		exported, _ := f.DynamicSymbols()
		for _, s := range exported {
			if strings.HasPrefix(s.Name, "kx_k_") {
				t.Errorf("%s: exports %s", name, s.Name)
			}
		}
	}
}

func TestImageLayout(t *testing.T) {
	dir := write(t, map[string]string{"a.c": wideSource})
	compile(t, dir, "-o", "a.kx", "a.c", "-kx-stack=100000", "-kx-memory=8M")
	f, err := elf.Open(filepath.Join(dir, "a.kx"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Type != elf.ET_EXEC || f.Machine != elf.EM_X86_64 {
		t.Errorf("type %v, machine %v", f.Type, f.Machine)
	}
	var flags []elf.ProgFlag
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_LOAD:
			flags = append(flags, p.Flags)
			if p.Flags&elf.PF_W != 0 && p.Flags&elf.PF_X != 0 {
				t.Errorf("segment at %#x is writable and executable", p.Vaddr)
			}
		case elf.PT_INTERP, elf.PT_DYNAMIC, elf.PT_GNU_RELRO:
			t.Errorf("image has a %v", p.Type)
		}
	}
	if len(flags) != 4 || flags[1] != elf.PF_R|elf.PF_X || flags[2] != elf.PF_R || flags[3] != elf.PF_R|elf.PF_W {
		t.Errorf("segments %v, want headers r--, text r-x, constants r--, data rw-", flags)
	}
	if f.Progs[0].Vaddr != 0x400000 {
		t.Errorf("linked at %#x", f.Progs[0].Vaddr)
	}
	img := parse(t, filepath.Join(dir, "a.kx"))
	if img.StackSize != 102400 || img.Memory != 8<<20 || img.ABI == 0 || img.HypercallPage == 0 {
		t.Errorf("notes: %+v", img)
	}
}

// parse reads an image as the engine does.
func parse(t *testing.T, path string) *kxelf.Image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	img, err := kxelf.ParseImage(f, st.Size())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return img
}
