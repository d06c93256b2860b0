package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The guest test program covers the system-call table from inside.
func TestUsertests(t *testing.T) {
	h := newHome(t)
	// With fewer children at a time where the machine is emulated.
	s := h.start(t, "run", "-m", "64M", filepath.Join(root, "guest/test/usertests.kx"), "-n", strconv.Itoa(max(20/slowness, 5)))
	line := ""
	for !strings.Contains(line, " passed, ") { // each has its time: all together they take minutes where the machine is emulated
		line = s.expect(`.*\n`)[0]
	}
	s.exit(0)
	if !strings.HasSuffix(line, " passed, 0 failed\n") {
		t.Error(s.out, s.errs)
	}
}

// And on a terminal; where the machine is emulated, those that look whether there is one.
func TestUsertestsOnATerminal(t *testing.T) {
	h := newHome(t)
	args := []string{"run", filepath.Join(root, "guest/test/usertests.kx"), "-n", "5"}
	if slowness > 1 {
		args = append(args, "tty_calls", "fork_console")
	}
	term := h.terminal(t, args...)
	term.expect(`\d+ passed, \d+ failed`)
	for line := range strings.Lines(term.out.String()) {
		if strings.Contains(line, "FAIL ") {
			t.Error(line)
		}
	}
	term.exit(0)
}

// Libc behaves in a pVM as the same source does when compiled natively.
func TestLibcLikeNative(t *testing.T) {
	srcs, err := filepath.Glob(filepath.Join(root, "guest/test/libc/*.c"))
	if err != nil || len(srcs) == 0 {
		t.Fatalf("no programs to compare: %v", err)
	}
	h := newHome(t)
	for _, src := range srcs {
		name := strings.TrimSuffix(filepath.Base(src), ".c")
		t.Run(name, func(t *testing.T) {
			// The flags are those of guest/test/libc/Makefile.
			flags := []string{"-O1", "-std=gnu11", "-w", "-lm"}
			image, cmd := h.image(t, src, flags...), exec.Command(h.program(t, src, flags...))
			cmd.Env = []string{"LC_ALL=C", "TZ=UTC"}
			want, err := cmd.Output()
			if cmd.ProcessState == nil || !cmd.ProcessState.Exited() {
				t.Fatalf("native: %v", err)
			}
			got, errs, code := h.run(t, "run", "-e", "LC_ALL=C", "-e", "TZ=UTC", image)
			if code != cmd.ProcessState.ExitCode() || errs != "" {
				t.Errorf("status %d, natively %d\n%s", code, cmd.ProcessState.ExitCode(), errs)
			}
			compare(t, got, string(want))
		})
	}
}

func compare(t *testing.T, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("line %d:\n pVM    %q\n native %q", i+1, at(g, i), at(w, i))
		}
	}
}

func at(s []string, i int) string {
	if i < len(s) {
		return s[i]
	}
	return "(nothing)"
}

// Lua, unmodified from Debian's source, computes in a pVM what it computes natively.
func TestLuaLikeNative(t *testing.T) {
	h := newHome(t)
	for _, script := range scripts(t, "lua", ".lua") {
		t.Run(filepath.Base(script), func(t *testing.T) {
			code, err := os.ReadFile(script)
			if err != nil {
				t.Fatal(err)
			}
			portOf("lua", "lua").likeNative(t, h, nil, string(code), "-")
		})
	}
	out, errs, _ := h.run(t, "-c", "echo 'print(6*7)' | kxsh -c 'run -i $PORTS/lua/lua.kx -'")
	if out != "42\n" {
		t.Errorf("6*7: %q %s", out, errs)
	}
}

// zlib's own tests.
func TestZlib(t *testing.T) {
	dir := filepath.Join(root, "guest/ports/zlib")
	h := newHome(t)
	out, errs, code := h.run(t, "run", filepath.Join(dir, "example.kx"))
	if code != 0 || !strings.Contains(out, "inflate(): hello, hello!") {
		t.Errorf("example: status %d\n%s%s", code, out, errs)
	}
	text := strings.Repeat("the quick brown fox jumps over the lazy dog\n", 5000)
	out, errs, code = h.runInput(t, text, "-c", fmt.Sprintf("run -i %[1]s/minigzip.kx | run -i %[1]s/minigzip.kx -d", dir))
	if code != 0 || out != text {
		t.Errorf("minigzip there and back: status %d, %d of %d bytes %s", code, len(out), len(text), errs)
	}
	out, errs, code = h.runInput(t, text, "-c", fmt.Sprintf("run -i %s/minigzip.kx | gzip -dc", dir))
	if code != 0 || out != text {
		t.Errorf("gzip does not read minigzip: status %d, %d of %d bytes %s", code, len(out), len(text), errs)
	}
}

// floodMiB is how much the floods write: more than is kept by far.
var floodMiB = max(100/slowness, 20)

// A hundred megabytes (fewer where the machine is emulated) to a reader who keeps up: nothing is lost. To
// nobody: what is kept is bounded, and the loss is said.
func TestFlood(t *testing.T) {
	h := newHome(t)
	sum := sha256.New()
	last := ""
	for i := range floodMiB << 20 / 64 {
		last = fmt.Sprintf("%015d the quick brown fox jumps over the lazy dog 012\n", i)
		io.WriteString(sum, last)
	}
	flood := fmt.Sprintf("$APPS/flood.kx %d", floodMiB)
	out, _, code := h.run(t, "-c", "run "+flood+" | sha256sum; run "+flood+" | tail -n 1")
	if want := fmt.Sprintf("%x  -\n%s", sum.Sum(nil), last); code != 0 || out != want {
		t.Errorf("status %d: %s, want %s", code, out, want)
	}
	out, errs, code := h.run(t, "-c", "p=$(run -d "+flood+"); wait $p; logs $p | wc -c; logs -n 1 $p")
	if code != 0 || !strings.HasSuffix(out, last) || !strings.Contains(errs, "rotated") {
		t.Errorf("status %d: %s%s", code, out, errs)
	}
}
