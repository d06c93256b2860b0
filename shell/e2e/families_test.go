package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// cyclesC forks and waits until it is told to stop. A fork may fail with "try again", and a child may be killed;
// nothing else may happen.
const cyclesC = `
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static volatile sig_atomic_t stop;
static void told(int sig) { stop = sig; }
int main(void)
{
	setvbuf(stdout, 0, _IOLBF, 0);
	signal(SIGTERM, told);
	for (int i = 0; !stop; i++) {
		int status;
		pid_t p = fork(), w;
		if (p == 0)
			_exit(i & 63);
		if (p < 0 && errno != EAGAIN) {
			printf("fork: %s\n", strerror(errno));
			return 1;
		}
		while (p > 0 && (w = waitpid(p, &status, 0)) != p)
			if (w >= 0 || errno != EINTR) {
				printf("waitpid of %d: %d, %s\n", p, w, strerror(errno));
				return 1;
			}
		if (p > 0 && status != (i & 63) << 8 && status != SIGKILL) {
			printf("child %d of %d: status %#x\n", p, i, status);
			return 1;
		}
		if (i % 10 == 0)
			printf("%d\n", i);
	}
	return 0;
}
`

// image builds a C program.
func (h *home) image(t *testing.T, name, source string) string {
	t.Helper()
	src, image := filepath.Join(h.dir, name+".c"), filepath.Join(h.dir, name+".kx")
	if err := os.WriteFile(src, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := h.run(t, "cc", "-O1", "-o", image, src); code != 0 {
		t.Fatal(errs)
	}
	return image
}

// The engine may die at any moment of a fork: there are both or the parent alone, which goes on.
func TestEngineKilledWhileForking(t *testing.T) {
	h := newHome(t)
	out, errs, _ := h.run(t, "run", "-d", h.image(t, "cycles", cyclesC))
	pid := strings.TrimSpace(out)
	if pid == "" {
		t.Fatal(errs)
	}
	last := -1
	goesOn := func() {
		t.Helper()
		before := last
		await(t, "forks after "+strconv.Itoa(before), func() (bool, string) {
			out, errs, _ := h.run(t, "logs", "-n", "1", pid)
			n, err := strconv.Atoi(strings.TrimSpace(out))
			if err == nil {
				last = n
			}
			return err == nil && n > before+10, out + errs
		})
	}
	for range 6 {
		goesOn()
		h.killEngine(t)
	}
	goesOn()
	if out, _, _ := h.run(t, "-c", "kill "+pid+"; wait "+pid+"; echo $?; ps --no-headers %"+pid); out != "0\n" {
		logs, _, _ := h.run(t, "logs", "-n", "3", pid)
		t.Errorf("in the end: %q, its log: %q", out, logs)
	}
}
