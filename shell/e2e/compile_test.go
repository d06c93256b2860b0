package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// programs is where what tests have compiled is kept.
var programs = filepath.Join(root, "build/e2e")

// image has kxsh cc make an image of a source file, in the home's folder.
func (h *home) image(t *testing.T, src string, flags ...string) string {
	t.Helper()
	return h.compiled(t, src, sourceName(src)+".kx", flags, h.cc)
}

// library has kxsh cc make a shared library, libNAME.so, of NAME.c.
func (h *home) library(t *testing.T, src string, flags ...string) string {
	t.Helper()
	return h.compiled(t, src, "lib"+sourceName(src)+".so", append(flags, "-shared"), h.cc)
}

func (h *home) cc(args ...string) *exec.Cmd { return h.command(append([]string{"cc"}, args...)...) }

func sourceName(src string) string { return strings.TrimSuffix(filepath.Base(src), ".c") }

// program has gcc make a program of this machine.
func (h *home) program(t *testing.T, src string, flags ...string) string {
	t.Helper()
	return h.compiled(t, src, sourceName(src), flags, func(args ...string) *exec.Cmd { return exec.Command("gcc", args...) })
}

// compiled compiles a source file, unless that was done before: an emulated machine would take some seconds for each, but finds what the
// tests on the machine around it have kept. What is kept is named after all that it was made of.
func (h *home) compiled(t *testing.T, src, name string, flags []string, compiler func(args ...string) *exec.Cmd) string {
	t.Helper()
	out := filepath.Join(h.dir, name)
	way := sha256.Sum256(fmt.Append(nil, flags))
	kept := filepath.Join(programs, fmt.Sprintf("%s-%s-%x-", filepath.Base(filepath.Dir(src)), name, way[:2]))
	digest := sourceDigest(t, src, flags)
	if b, err := os.ReadFile(kept + digest); err == nil {
		if err := os.WriteFile(out, b, 0o755); err != nil {
			t.Fatal(err)
		}
		return out
	}
	cmd := compiler(append([]string{"-o", out, src}, flags...)...) // libraries come last
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, text)
	}
	old, _ := filepath.Glob(kept + strings.Repeat("?", len(digest)))
	for _, f := range old {
		os.Remove(f)
	}
	if err := keep(out, kept+digest); err != nil {
		t.Logf("not kept: %v", err) // compiled again the next time
	}
	return out
}

// sourceDigest is of everything that a compiler may read, but for what belongs to gcc.
func sourceDigest(t *testing.T, src string, flags []string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(src), "*.[ch]"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%x %q %q", kxshDigest(), filepath.Base(src), flags)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sum, " %d ", len(b))
		sum.Write(b)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:8])
}

// kxshDigest is of the binary, which contains the SDK.
var kxshDigest = sync.OnceValue(func() [sha256.Size]byte {
	b, err := os.ReadFile(kxsh)
	if err != nil {
		panic(err) // TestMain has seen it
	}
	return sha256.Sum256(b)
})

// keep copies a file in one step, since test processes may run side by side.
func keep(file, kept string) error {
	b, err := os.ReadFile(file)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(kept), 0o755)
	}
	if err != nil {
		return err
	}
	part := fmt.Sprintf("%s.%d", kept, os.Getpid())
	if err := os.WriteFile(part, b, 0o755); err != nil {
		return err
	}
	return os.Rename(part, kept)
}
