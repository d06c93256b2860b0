package tui

import (
	"strings"
	"testing"
	"time"

	"kxsh/engine"
)

func snapshot(at time.Time, ps ...engine.Process) *engine.Snapshot {
	return &engine.Snapshot{Time: at, Host: "h", Hypervisor: "hosted", Processes: ps}
}

func TestRatesAreOfTheInterval(t *testing.T) {
	t0 := time.Unix(1000, 0)
	var v view
	v.update(snapshot(t0, engine.Process{PID: 1, Time: 10 * time.Second, CPU: 3}))
	if v.rows[0].CPU != 3 {
		t.Errorf("first frame: %v%%, want that over its life", v.rows[0].CPU)
	}
	v.update(snapshot(t0.Add(2*time.Second), engine.Process{PID: 1, Time: 11 * time.Second, CPU: 3}))
	if v.rows[0].CPU != 50 {
		t.Errorf("one of two seconds: %v%%, want 50", v.rows[0].CPU)
	}
}

func TestSortIsStable(t *testing.T) {
	var v view
	v.update(snapshot(time.Unix(0, 0), engine.Process{PID: 3}, engine.Process{PID: 1}, engine.Process{PID: 2, CPU: 9, Memory: 5}))
	pids := func() (s string) {
		for _, p := range v.rows {
			s += string(rune('0' + p.PID))
		}
		return s
	}
	for _, want := range []string{"213", "213", "123", "123"} {
		v.arrange()
		if got := pids(); got != want {
			t.Errorf("by %v: %s, want %s", v.sort, got, want)
		}
		v.sort++
	}
}

func TestLines(t *testing.T) {
	var v view
	v.update(snapshot(time.Unix(0, 0), engine.Process{PID: 7, Name: "web\x1b[2J", Stat: "S", Memory: 1536 << 10, Time: 61230 * time.Millisecond}))
	lines := v.lines(0)
	if want := "     7      0      0    S    0.0    1.5M       0   1:01.23 web?[2J"; lines[1] != want {
		t.Errorf("%q\nwant\n%q", lines[1], want)
	}
	for _, l := range v.lines(20) {
		if len(l) > 20 {
			t.Errorf("%q is wider than 20", l)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 1023: "1023", 1024: "1.0K", 150 << 10: "150K", 1000 << 10: "1.0M", 3 << 30: "3.0G"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestHelpNamesEveryKey(t *testing.T) {
	text := strings.Join(helpText(), "\n")
	for _, b := range bindings {
		if !strings.Contains(text, b.help) {
			t.Errorf("help does not mention %q", b.help)
		}
	}
}

func TestOthersDomains(t *testing.T) {
	var v view
	v.update(snapshot(time.Unix(0, 0), engine.Process{PID: 1, Name: "web", Stat: "R", Memory: 1 << 20},
		engine.Process{PID: 2, Name: "debian", Stat: "S", Memory: 1 << 30, Foreign: true}))
	if head := strings.Join(v.header(), "\n"); !strings.Contains(head, "pVMs: 1, 1 running, 0 sleeping, 0 stopped, 0 zombie   memory: 1.0M ") || !strings.HasSuffix(head, "others' domains: 1\n") {
		t.Errorf("%q", head)
	}
	if line := v.lines(0)[2]; !strings.Contains(line, "   Sx ") || !strings.HasSuffix(line, " debian") {
		t.Errorf("%q", line)
	}
}
