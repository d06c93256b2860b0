package e2e

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// native compiles an example program for this machine.
func (h *home) native(t *testing.T, app string) string {
	t.Helper()
	return h.program(t, filepath.Join(root, "guest/apps", app+".c"), "-O2", "-std=gnu11")
}

// A pool of forked workers over message queues does as a family of pVMs what it does as Linux processes; one of its
// workers is killed by its job.
func TestWorkers(t *testing.T) {
	h := newHome(t)
	native := h.native(t, "workers")
	for _, args := range [][]string{{}, {"1", "5"}, {"6", "120"}} {
		want, err := exec.Command(native, args...).Output()
		if err != nil || !strings.HasSuffix(string(want), " workers, 1 died\n") {
			t.Fatalf("native: %v\n%s", err, want)
		}
		compare(t, h.output(t, append([]string{"run", filepath.Join(root, "guest/apps/workers.kx")}, args...)...), string(want))
	}
}

// A text is counted by forked children, through pipes, as natively.
func TestWordcount(t *testing.T) {
	h := newHome(t)
	var text strings.Builder
	for i := range 60000 {
		text.WriteString([]string{"the ", "quick, ", "brown\n", "fox ", "jumps "}[i*i%5])
		if i%7 == 0 {
			text.WriteString(strings.Repeat("x", i%50+1) + " ")
		}
	}
	native := h.native(t, "wordcount")
	for _, children := range []string{"1", "4", "9"} {
		cmd := exec.Command(native, children)
		cmd.Stdin = strings.NewReader(text.String())
		want, err := cmd.Output()
		if err != nil {
			t.Fatalf("native: %v", err)
		}
		got, errs, code := h.runInput(t, text.String(), "run", "-i", filepath.Join(root, "guest/apps/wordcount.kx"), children)
		if code != 0 {
			t.Fatalf("status %d: %s", code, errs)
		}
		compare(t, got, string(want))
	}
}

// The same key in two families names two objects.
func TestKeysOfFamilies(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "keys")
	for range 3 {
		pid := strconv.Itoa(h.launch(t, image))
		await(t, "three objects of its own", func() (bool, string) {
			out := h.output(t, "logs", pid)
			return out == "mine\n", out
		})
	}
}
