package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A library is replaced, goes back and is replaced again, where a program holds its addresses on stacks, in the heap, in pages that it has protected,
// and as a handler of a signal; and then once more in it and in its child.
func TestUpdateThereAndBack(t *testing.T) {
	h := newHome(t)
	src := filepath.Join(root, "shell/e2e/testdata/update/fix.c")
	now := strings.TrimSuffix(h.library(t, src, "-g", "-O2", "-DVERSION=2"), ".so") + "2.so"
	if err := os.Rename(filepath.Join(h.dir, "libfix.so"), now); err != nil {
		t.Fatal(err)
	}
	h.library(t, src, "-g", "-O2", "-DVERSION=1")
	app := h.image(t, filepath.Join(root, "shell/e2e/testdata/update/holder.c"), "-O2", "-L.", "-lfix")
	pid := strings.TrimSpace(h.output(t, "run", "-d", app))
	h.awaitLog(t, pid, "ready\n")
	says := func(pid, words string) {
		t.Helper()
		h.output(t, "kill", "-USR1", pid)
		h.awaitLog(t, pid, words+"\n")
	}
	does := func(args ...string) {
		t.Helper()
		if out, errs, code := h.run(t, args...); code != 0 {
			t.Fatalf("%q: status %d\n%s%s", args, code, out, errs)
		}
	}
	says(pid, "0: version 1 count 1 seen 1 place 34 34 adder 11 12")
	does("update", pid, now, "libfix.so")
	says(pid, "1: version 2 count 2 seen 3 place 35 35 adder 21 22")
	does("rollback", pid, "libfix.so")
	says(pid, "2: version 1 count 3 seen 4 place 36 36 adder 11 12")
	does("update", pid, now, "libfix.so")
	child := strings.TrimSpace(h.output(t, "fork", pid))
	says(child, "3: version 2 count 4 seen 6 place 37 37 adder 21 22")
	does("rollback", child, "libfix.so")
	says(child, "4: version 1 count 5 seen 7 place 38 38 adder 11 12")
	says(pid, "3: version 2 count 4 seen 6 place 37 37 adder 21 22")
	does("rollback", pid, "libfix.so")
	says(pid, "4: version 1 count 5 seen 7 place 38 38 adder 11 12")
	does("kill", pid, child)
	if out := h.output(t, "logs", pid); strings.Contains(out, "another place") {
		t.Error(out)
	}
}
