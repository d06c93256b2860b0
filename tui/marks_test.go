package tui

import (
	"strings"
	"testing"
	"time"
)

func TestMarkedGetSignals(t *testing.T) {
	for _, c := range []struct {
		keys []string // the last one sends
		sent string
		note string
	}{
		{[]string{"space", "down", "space", "K", "enter"}, "9 to 3, 9 to 5", "SIGKILL sent to 2 pVMs"},
		{[]string{"end", "space", "home", "space", "x", "enter"}, "15 to 3, 15 to 12", "SIGTERM sent to 2 pVMs"},
		{[]string{"space", "space", "z"}, "19 to 3, 19 to 4", "SIGSTOP sent to 2 pVMs"},
		{[]string{"down", "space", "end", "c"}, "18 to 4", "SIGCONT sent to worker (4)"},
		{[]string{"space", "up", "space", "end", "c"}, "18 to 12", "SIGCONT sent to debian (12)"},
		{[]string{"space", "space", "U", "c"}, "18 to 5", "SIGCONT sent to worker (5)"},
		// 4 is below 3, and 6 below 4: each gets it once.
		{[]string{"space", "space", "end", "up", "space", "K", "tab", "enter"}, "9 to the tree of 3, 9 to the tree of 9", "SIGKILL sent to 2 pVMs and all descendants"},
		// What a filter hides keeps its mark.
		{[]string{"space", "f", "l", "u", "a", "enter", "space", "K", "enter"}, "9 to 3, 9 to 9", "SIGKILL sent to 2 pVMs"},
	} {
		last := len(c.keys) - 1
		m, r := withRecorder(c.keys[:last]...)
		m = m.pressed(c.keys[last])
		if got := strings.Join(r.sent, ", "); got != c.sent || m.note != c.note {
			t.Errorf("%q sent %q, note %q", c.keys, got, m.note)
		}
	}
}

// The menu keeps those that were marked when it was opened, and tells of those that have ended.
func TestMarkedAreFrozen(t *testing.T) {
	m, r := withRecorder("space", "space", "K")
	if text := m.screen(); !strings.Contains(text, "Send a signal to 2 marked pVMs") || !strings.Contains(text, " web (3)\n") || !strings.Contains(text, " worker (4)\n") {
		t.Errorf("%s", text)
	}
	if text := m.press("tab").screen(); !strings.Contains(text, "to all descendants too (2)") || !strings.Contains(text, "├─worker (4)") || strings.Count(text, "(4)") != 1 {
		t.Errorf("%s", text)
	}
	later := families()
	later.Time = later.Time.Add(time.Second)
	later.Processes = later.Processes[1:] // 3 has ended
	r.snap = later
	m = m.after(snapMsg{snap: later})
	if text := m.screen(); !strings.Contains(text, "2 marked pVMs, 1 of which have ended") || strings.Contains(text, "web (3)") {
		t.Errorf("%s", text)
	}
	if m = m.pressed("enter"); strings.Join(r.sent, ",") != "9 to 4" || m.note != "SIGKILL sent to worker (4); web (3) has ended: nothing sent" {
		t.Errorf("sent %q, note %q", r.sent, m.note)
	}
	if text := m.press("z").screen(); !strings.Contains(text, "1 marked   sorted") {
		t.Errorf("%s", text)
	}
}

// A mark is seen without colours, and goes with its pVM.
func TestMarksAreShown(t *testing.T) {
	m := screenOf(80, 24, families()).press("p", "home", "space", "space")
	if text := m.screen(); !strings.Contains(text, "\n*    3 ") || !strings.Contains(text, "\n*    4 ") || !strings.HasPrefix(m.statusText(), "2 marked   ") {
		t.Errorf("%s", text)
	}
	again := families()
	again.Processes[0].Started = again.Time // another pVM has PID 3
	again.Processes = append(again.Processes[:1], again.Processes[2:]...)
	if m = m.after(snapMsg{snap: again}); len(m.view.marked) != 0 {
		t.Errorf("%v", m.view.marked)
	}
}

// Read-only sends nothing, whatever is pressed, and does not speak of what it does not do.
func TestReadOnly(t *testing.T) {
	m, r := withRecorder()
	m.o.ReadOnly = true
	for _, b := range actions {
		for _, k := range b.keys {
			if m = m.pressed(k); m.menu != nil || r.sent != nil || len(m.view.marked) > 0 || m.note != "read-only" {
				t.Errorf("%q: menu %v, sent %q, note %q", k, m.menu, r.sent, m.note)
			}
		}
		if text := strings.Join(m.helpText(), "\n"); strings.Contains(text, b.help) {
			t.Errorf("help speaks of %q", b.help)
		}
	}
	if m = m.press("t"); !strings.HasPrefix(m.statusText(), "read-only   sorted by") {
		t.Errorf("%q", m.statusText())
	}
}
