package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kxsh/engine"
)

// engineState is what an engine holds of the host. After a pVM has gone it is what it was before.
type engineState struct {
	running   int
	fds       int
	processes []string // titles of its domains' processes, blanks and zygote left out
	logs      []string // folders of kept consoles
}

// state looks at the engine that runs.
func (h *home) state(t testing.TB) engineState {
	t.Helper()
	info := h.info(t)
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", info.PID))
	if err != nil {
		t.Fatal(err)
	}
	s := engineState{running: info.Running, fds: len(fds)}
	for _, pid := range childrenOf(info.PID) {
		title, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.HasPrefix(string(title), "kx-pvm") {
			s.processes = append(s.processes, strings.TrimRight(string(title), "\x00"))
		}
	}
	logs, err := os.ReadDir(filepath.Join(h.dir, "state/logs"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, d := range logs {
		s.logs = append(s.logs, d.Name())
	}
	return s
}

// info asks the engine that runs about itself.
func (h *home) info(t testing.TB) *engine.Info {
	t.Helper()
	return infoAt(t, h.socket())
}

func infoAt(t testing.TB, socket string) *engine.Info {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := engine.Connect(ctx, socket, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	info, err := c.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// settled waits until the pool is full and nothing is left of pVMs that have ended, and returns the engine's state then.
func (h *home) settled(t testing.TB) (now engineState) {
	t.Helper()
	await(t, "a full pool, and no process of a pVM that has ended", func() (bool, string) {
		p := h.info(t).Pool
		now = h.state(t)
		return p.Ready == p.Want && len(now.processes) <= now.running, fmt.Sprintf("%v, %+v", p, now)
	})
	return now
}

// nothingLeft waits until the engine holds no more than it did before: closing connections and
// refilling the pool take their time.
func (h *home) nothingLeft(t testing.TB, before engineState) {
	t.Helper()
	await(t, fmt.Sprintf("the engine as before, %+v", before), func() (bool, string) {
		now := h.state(t)
		return now.running == before.running && now.fds <= before.fds && slices.Equal(now.processes, before.processes) &&
			slices.Equal(now.logs, before.logs), fmt.Sprintf("%+v", now)
	})
}

// awaitClients waits until the engine has so many connections: a request that has been given up is over in the engine when its connection has gone.
func (h *home) awaitClients(t testing.TB, n int) {
	t.Helper()
	await(t, fmt.Sprint(n, " clients of the engine"), func() (bool, string) {
		b, err := os.ReadFile("/proc/net/unix")
		if err != nil {
			t.Fatal(err)
		}
		sockets := strings.Count(string(b), " "+h.socket()+"\n") // one of them listens
		return sockets == n+1, fmt.Sprint(sockets - 1)
	})
}

// unmarshal reads JSON that must be what v describes, no more.
func unmarshal(t testing.TB, text string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
}

// await waits until cond holds; what it returns beside is for the report when it never does.
func await(t testing.TB, what string, cond func() (bool, string)) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		ok, now := cond()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never %s; last: %s", what, now)
		}
	}
}

// childrenOf lists the children of all threads of a process (proc(5)).
func childrenOf(pid int) []int {
	var list []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for _, word := range strings.Fields(string(b)) {
			var child int
			fmt.Sscan(word, &child)
			list = append(list, child)
		}
	}
	slices.Sort(list)
	return list
}
