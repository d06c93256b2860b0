package e2e

import (
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// otherExp makes a libm that may replace kxsh's own, in which exp(0) is 1001.
func (h *home) otherExp(t *testing.T) string {
	t.Helper()
	archive := "first-exp.a"
	flags := []string{"-O2", "-g", "-fno-builtin", "-shared", "-Wl,-soname,libm.so", "-Wl,--whole-archive," + archive, "-Wl,--no-whole-archive"}
	return h.compiled(t, filepath.Join(root, "shell/e2e/testdata/libm/exp.c"), "exp.so", flags, func(args ...string) *exec.Cmd {
		objects := filepath.Join(root, "build/guest/musl/shared/libm.a")
		if out, err := exec.Command("objcopy", "--redefine-sym", "exp=first_exp", objects, filepath.Join(h.dir, archive)).CombinedOutput(); err != nil {
			t.Fatalf("objcopy: %v\n%s", err, out)
		}
		return h.cc(args...)
	})
}

// The libm of a Redis at work is replaced, and the way back, again and again: scripts see which one is there, no client loses its connection or an answer,
// redis-benchmark nothing, and what was written is there.
func TestNetworkRedisUpdate(t *testing.T) {
	h := newHome(t)
	next := h.otherExp(t)
	pid, addr := h.redis(t, nil)
	exp := func(want string) {
		t.Helper()
		if got := redisDo(t, addr, "EVAL", "return tostring(math.exp(0))", "0"); got != want {
			t.Errorf("exp(0) is %s, want %s", got, want)
		}
	}
	exp("1")

	_, port, _ := net.SplitHostPort(addr)
	load := exec.Command("redis-benchmark", "-p", port, "-q", "--csv", "-c", "50", "-l", "-n", "1000", "eval", "return redis.call('INCRBY', KEYS[1], math.exp(0))", "1", "sum")
	var said strings.Builder
	load.Stdout, load.Stderr = &said, &said
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	defer load.Process.Kill()
	w := startWriters(t, addr, redisWriters)
	waited := longest(t, addr)
	var pauses []time.Duration
	for range max(10/slowness, 2) {
		before := redisDo(t, addr, "GET", "sum")
		u := h.update(t, "--symbols-only", pid, next, "libm.so") // kxsh's has no debug information
		exp("1001")
		pauses = append(pauses, u.Pause)
		h.output(t, "rollback", "--symbols-only", pid, "libm.so")
		exp("1")
		await(t, "more to be done", func() (bool, string) { now := redisDo(t, addr, "GET", "sum"); return now != before, now })
	}
	t.Logf("%d updates, paused for %v; a client waited for %v at most", len(pauses), pauses, waited())
	w.end()
	if zombie(load.Process.Pid) {
		t.Errorf("redis-benchmark has ended: %s", said.String())
	}
	load.Process.Kill()
	load.Wait()
	if strings.Contains(said.String(), "rror") {
		t.Errorf("redis-benchmark: %s", said.String())
	}
	redisDo(t, addr, "DEL", "sum")
	if count := wrote(t, addr, redisWriters, 0); !slices.Equal(count, w.count) || slices.Contains(count, 0) {
		t.Errorf("written %v, there %v", w.count, count)
	}
}
