package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What keeps kxsh from its engine is said in one line, by every kind of command.
func TestEngineUnreachable(t *testing.T) {
	h := newUserHome(t)
	image := filepath.Join(h.dir, "apps/hello.kx")
	stale := filepath.Join(h.dir, "stale")
	l, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	inTheWay := h.write(t, "inway", []byte("a file\n"))
	long := filepath.Join(h.dir, strings.Repeat("long/", 20), "s")
	readOnly := filepath.Join(h.dir, "readonly")
	if err := os.Mkdir(readOnly, 0o555); err != nil {
		t.Fatal(err)
	}
	if h.uid != 0 {
		for _, f := range []string{stale, inTheWay, readOnly} {
			chown(t, f, h.uid)
		}
	}
	for _, c := range []struct {
		flags []string
		want  string // after "COMMAND: "
	}{
		{[]string{"--no-start"}, "engine: " + h.socket() + ": no engine answers: start one with kxsh engine"},
		{[]string{"--no-start", "--socket", stale}, "engine: " + stale + ": no engine answers: start one with kxsh engine"},
		{[]string{"--socket", inTheWay}, "engine: cannot start: socket " + inTheWay + ": a file is in the way"},
		{[]string{"--socket", long}, "engine: " + long + ": a socket's path has at most 107 bytes, this one " + strconv.Itoa(len(long)) + ": name a shorter one with --socket"},
		{[]string{"--state", readOnly}, "engine: cannot start: open " + readOnly + "/engine.log: permission denied"},
		{[]string{"--state", readOnly + "/below"}, "engine: cannot start: mkdir " + readOnly + "/below: permission denied"},
		{[]string{"--state", inTheWay}, "engine: cannot start: mkdir " + inTheWay + ": not a directory"},
		{[]string{"--socket", readOnly + "/s"}, "engine: cannot start: open " + readOnly + "/s.lock: permission denied"},
	} {
		for _, args := range [][]string{{"ps"}, {"run", image}, {"kill", "1"}, {"wait", "1"}, {"logs", "1"}, {"top", "-b", "-n", "1"}} {
			out, errs, code := h.run(t, append(c.flags, args...)...)
			if out != "" || code == 0 || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, args[0]+": "+c.want) {
				t.Errorf("%q %q: status %d\n got %s%swant %s: %s", c.flags, args[0], code, out, errs, args[0], c.want)
			}
		}
	}
	// Without an engine what needs none works, and a script goes on.
	if out := h.output(t, "--no-start", "-c", "ps 2>/dev/null || echo none; help ps >/dev/null && version >/dev/null && echo $((6*7))"); out != "none\n42\n" {
		t.Errorf("without an engine: %q", out)
	}
	// A socket that a dead engine left is replaced.
	if where == "xen" {
		h.uid = 0 // an engine of this user's has no hypervisor
	}
	h.env = append(h.env, "KXSH_SOCKET="+stale)
	if out := h.output(t, "-c", "run $APPS/hello.kx"); out != "Hello from a pVM\n" {
		t.Errorf("over a stale socket: %q", out)
	}
	if err := shutdown(stale); err != nil {
		t.Error(err)
	}
}
