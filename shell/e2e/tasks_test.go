package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// What a pVM is asked to do from outside, and what it asks for itself at the same time, do not get in each other's way: messages come once
// and in order, libraries are replaced, and what it has asked for it gets.
func TestTasksMeanwhile(t *testing.T) {
	h := newHome(t)
	_, next := h.counter(t)
	h.library(t, filepath.Join(root, "shell/e2e/testdata/update/fix.c"), "-g", "-O2", "-DVERSION=1")
	app := h.image(t, filepath.Join(root, "shell/e2e/testdata/task/busy.c"), "-O2", "-rdynamic", "-L.", "-lcounter", "-ldl")
	pid := h.server(t, app)
	const rounds, each = 8, 10
	out := h.output(t, "-c", fmt.Sprintf(`q=$(msgget -F %[1]s 42)
n=0
for round in $(seq %[3]d); do
	for i in $(seq %[4]d); do n=$((n + 1)); msgsnd -F %[1]s $q 1 $n || echo message $n; done
	ipcs -F %[1]s | grep -q queue || echo no queue
	update %[1]s %[2]s libcounter.so >/dev/null || echo update $round
	rollback %[1]s libcounter.so >/dev/null || echo rollback $round
done
msgsnd -F %[1]s $q 1 0
wait %[1]s; echo $?`, pid, next, rounds, each))
	compare(t, strings.TrimSpace(out), "0")
	if log := h.output(t, "logs", pid); !strings.Contains(log, fmt.Sprintf("\n%d messages\n", rounds*each)) {
		t.Error(log)
	}
}
