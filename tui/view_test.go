package tui

import (
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"kxsh/engine"
)

func snapshot(at time.Time, ps ...engine.Process) *engine.Snapshot {
	return &engine.Snapshot{Time: at, Host: "h", Hypervisor: "hosted", Processes: ps}
}

func TestRatesAreOfTheInterval(t *testing.T) {
	t0 := time.Unix(1000, 0)
	v := newView()
	v.update(snapshot(t0, engine.Process{PID: 1, Time: 10 * time.Second, CPU: 3}))
	if v.rows[0].CPU != 3 {
		t.Errorf("first frame: %v%%, want that over its life", v.rows[0].CPU)
	}
	v.update(snapshot(t0.Add(2*time.Second), engine.Process{PID: 1, Time: 11 * time.Second, CPU: 3}))
	if v.rows[0].CPU != 50 {
		t.Errorf("one of two seconds: %v%%, want 50", v.rows[0].CPU)
	}
}

// What has passed since the frame before, also of a folded family; a switch that began anew has counted less, and there is no rate.
func TestTrafficIsOfTheInterval(t *testing.T) {
	t0 := time.Unix(1000, 0)
	frame := func(at time.Duration, received, sent uint64) *engine.Snapshot {
		return snapshot(t0.Add(at),
			engine.Process{PID: 1, IP: "10.88.0.1", Traffic: &engine.Traffic{ReceivedBytes: received, SentBytes: sent}},
			engine.Process{PID: 2, PPID: 1, Traffic: &engine.Traffic{ReceivedBytes: received, SentBytes: sent}}, engine.Process{PID: 3})
	}
	v := newView()
	shown := func() (out []string) {
		for i := range v.rows {
			r := &v.rows[i]
			out = append(out, columnOf("ip").text(r)+" "+columnOf("rx").text(r)+" "+columnOf("tx").text(r))
		}
		return out
	}
	see := func(s *engine.Snapshot, want ...string) {
		t.Helper()
		v.update(s)
		if got := shown(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	v.sort = byPID
	see(frame(0, 5000, 6000), "10.88.0.1 0 0", "- 0 0", "- - -")
	see(frame(2*time.Second, 9096, 6000), "10.88.0.1 2.0K 0", "- 2.0K 0", "- - -")
	see(frame(3*time.Second, 100, 100), "10.88.0.1 0 0", "- 0 0", "- - -")
	v.tree = true
	v.fold(1)
	see(frame(4*time.Second, 200, 100), "10.88.0.1 200 0", "- - -")
	v.filter, _ = parseFilter("rx>99 ip=10.88.0.1")
	v.arrange()
	if len(v.rows) != 1 {
		t.Errorf("%q", shown())
	}
}

func TestSortIsStable(t *testing.T) {
	v := newView()
	v.update(snapshot(time.Unix(0, 0), engine.Process{PID: 3}, engine.Process{PID: 1}, engine.Process{PID: 2, CPU: 9, Memory: 5}))
	pids := func() (s string) {
		for _, p := range v.rows {
			s += string(rune('0' + p.PID))
		}
		return s
	}
	for key, want := range map[string]string{"cpu": "213", "mem": "213", "time": "123", "pid": "123", "name": "123"} {
		v.sort = order{by: columnOf(key)}
		v.arrange()
		if got := pids(); got != want {
			t.Errorf("by %v: %s, want %s", v.sort, got, want)
		}
	}
	v.sort = order{by: byPID.by, back: true}
	if v.arrange(); pids() != "321" {
		t.Errorf("by %v: %s", v.sort, pids())
	}
}

func TestLines(t *testing.T) {
	v := newView()
	v.update(snapshot(time.Unix(0, 0), engine.Process{PID: 7, Name: "web\x1b[2J", Stat: "S", Memory: 1536 << 10, Time: 61230 * time.Millisecond}))
	for width, want := range map[int]string{
		0:  "     7      0      0    S    0.0    1.5M       0   1:01.23 web?[2J",
		70: "     7      0      0    S    0.0    1.5M   1:01.23 web?[2J",
		40: "     7    S    0.0    1.5M web?[2J",
		20: "     7    S    0.0  ",
	} {
		if got := v.line(v.fitting(width), 0, width); got != want {
			t.Errorf("in %d columns %q\nwant\n%q", width, got, want)
		}
	}
}

// Rows whose %CPU looks the same do not change places.
func TestSortIsByWhatIsShown(t *testing.T) {
	v := newView()
	v.update(snapshot(time.Unix(0, 0), engine.Process{PID: 1, CPU: 0.01}, engine.Process{PID: 2, CPU: 0.04}))
	if v.rows[0].PID != 1 {
		t.Error("0.0 and 0.0 are not in the order of PIDs")
	}
}

// A name in wide characters must not wrap a line.
func TestCutCountsCells(t *testing.T) {
	for _, c := range []struct {
		s     string
		width int
		want  string
	}{{"abc", 2, "ab"}, {"├─web", 3, "├─w"}, {"域域域", 5, "域域"}, {"域", 1, ""}, {"ü", 1, "ü"}} {
		if got := cut(c.s, c.width); got != c.want {
			t.Errorf("cut(%q, %d) = %q, want %q", c.s, c.width, got, c.want)
		}
	}
}

// A PID that was given again is another pVM: it has neither the rates nor the folding of the one before.
func TestPIDGivenAgain(t *testing.T) {
	t0 := time.Unix(1000, 0)
	v := newView()
	v.tree = true
	v.update(snapshot(t0, engine.Process{PID: 1, Time: time.Hour, Started: t0}, engine.Process{PID: 2, PPID: 1}))
	v.fold(1)
	v.update(snapshot(t0.Add(time.Second), engine.Process{PID: 1, CPU: 3, Started: t0.Add(time.Second)}, engine.Process{PID: 2, PPID: 1}))
	if len(v.rows) != 2 || v.rows[0].cpu != 3 {
		t.Errorf("%+v", v.rows)
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
	text := strings.Join(screenOf(200, 60, families()).helpText(), "\n")
	for _, table := range [][]binding{append(bindings, actions...), menuKeys, pickerKeys, promptKeys} {
		used := map[string]bool{}
		for _, b := range table {
			if !strings.Contains(text, strings.Join(b.keys, " ")) || !strings.Contains(text, b.help) {
				t.Errorf("help does not mention %q: %q", b.keys, b.help)
			}
			for _, k := range b.keys {
				if used[k] {
					t.Errorf("%q is there twice", k)
				}
				used[k] = true
			}
		}
	}
}

// Help is left at once, or read to its end.
func TestHelpPages(t *testing.T) {
	for _, key := range []string{"esc", "q", "?"} {
		if m := screenOf(80, 24, families()).press("?", key); m.help != 0 {
			t.Errorf("%s does not close it", key)
		}
	}
	m := screenOf(80, 24, families()).press("?")
	pages := 0
	for ; m.help > 0 && pages < 100; pages++ {
		m = m.press("space")
	}
	if pages < 2 || pages == 100 {
		t.Errorf("%d pages", pages)
	}
}

func TestOthersDomains(t *testing.T) {
	v := newView()
	v.update(snapshot(time.Unix(0, 0), engine.Process{PID: 1, Name: "web", Stat: "R", Memory: 1 << 20},
		engine.Process{PID: 2, Name: "debian", Stat: "S", Memory: 1 << 30, Foreign: true}))
	if head := strings.Join(v.header(), "\n"); !strings.Contains(head, "pVMs: 1, 1 running   memory: 1.0M ") || !strings.HasSuffix(head, "others' domains: 1\n") {
		t.Errorf("%q", head)
	}
	if line := v.line(v.fitting(0), 1, 0); !strings.Contains(line, "   Sx ") || !strings.HasSuffix(line, " debian") {
		t.Errorf("%q", line)
	}
}

// Of columns that can be spared alike only as many go as must.
func TestColumnsGoOneByOne(t *testing.T) {
	m := screenOf(80, 24, families())
	for _, key := range []string{"priv", "uid"} {
		m.view.columns = append(m.view.columns, columnOf(key))
	}
	for width, want := range map[int]string{120: "PID PPID FAM STAT %CPU MEM SHR TIME PRIV UID NAME", 80: "PID PPID FAM STAT %CPU MEM TIME PRIV UID NAME",
		60: "PID FAM STAT %CPU MEM PRIV NAME", 52: "PID FAM STAT %CPU MEM NAME", 40: "PID STAT %CPU MEM NAME"} {
		m = m.after(tea.WindowSizeMsg{Width: width, Height: 24})
		if got := head(m); got != want {
			t.Errorf("in %d: %s, want %s", width, got, want)
		}
	}
}
