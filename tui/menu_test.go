package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"kxsh/engine"
)

// recorder is an engine that writes down what it is asked to send.
type recorder struct {
	engine.API
	snap *engine.Snapshot
	sent []string
	err  error

	events    []engine.Event
	inspected int          // how often
	readers   atomic.Int32 // of consoles, that are open
}

func (r *recorder) Snapshot(context.Context, bool) (*engine.Snapshot, error) { return r.snap, nil }

func (r *recorder) Info(context.Context) (*engine.Info, error) {
	return &engine.Info{CPUs: 2, Memory: 4 << 30, FreeMemory: 1 << 30, Idle: time.Hour}, nil
}

func (r *recorder) Events(_ context.Context, seq uint64, _ bool) (engine.EventReader, error) {
	return &eventList{slices.DeleteFunc(slices.Clone(r.events), func(ev engine.Event) bool { return ev.Seq <= seq })}, nil
}

type eventList struct{ list []engine.Event }

func (l *eventList) Recv() (engine.Event, error) {
	if len(l.list) == 0 {
		return engine.Event{}, io.EOF
	}
	ev := l.list[0]
	l.list = l.list[1:]
	return ev, nil
}

func (l *eventList) Close() error { return nil }

func (r *recorder) Signal(_ context.Context, pid, sig int) error {
	r.sent = append(r.sent, fmt.Sprintf("%d to %d", sig, pid))
	return r.err
}

func (r *recorder) SignalTree(_ context.Context, pid, sig int) error {
	r.sent = append(r.sent, fmt.Sprintf("%d to the tree of %d", sig, pid))
	return r.err
}

// pressed is the model after a key and what the key sets off, but not later ticks.
func (m model) pressed(key string) model {
	next, cmd := m.Update(keyPress(key))
	m = next.(model)
	if cmd != nil {
		m = m.after(cmd())
	}
	return m
}

func withRecorder(keys ...string) (model, *recorder) {
	r := &recorder{snap: families()}
	m := screenOf(80, 24, families())
	m.api = r
	return m.press("p", "home").press(keys...), r // by PID
}

func TestSignals(t *testing.T) {
	for _, c := range []struct {
		keys []string // the last one sends
		sent string
		note string
	}{
		{[]string{"x", "enter"}, "15 to 3", "SIGTERM sent to web (3)"},
		{[]string{"f9", "enter"}, "15 to 3", "SIGTERM sent to web (3)"},
		{[]string{"K", "enter"}, "9 to 3", "SIGKILL sent to web (3)"},
		{[]string{"K", "up", "up", "down", "enter"}, "8 to 3", "SIGFPE sent to web (3)"},
		{[]string{"t", "K", "tab", "enter"}, "9 to the tree of 3", "SIGKILL sent to web (3) and all descendants"},
		{[]string{"K", "tab", "tab", "enter"}, "9 to 3", "SIGKILL sent to web (3)"},
		{[]string{"down", "z"}, "19 to 4", "SIGSTOP sent to worker (4)"},
		{[]string{"c"}, "18 to 3", "SIGCONT sent to web (3)"},
		{[]string{"x", "esc"}, "", ""},
		{[]string{"x", "y"}, "", ""},
	} {
		last := len(c.keys) - 1
		m, r := withRecorder(c.keys[:last]...)
		m = m.pressed(c.keys[last])
		if got := strings.Join(r.sent, ", "); got != c.sent || m.note != c.note {
			t.Errorf("%q sent %q, note %q", c.keys, got, m.note)
		}
	}
}

func TestSignalsEndWithTheList(t *testing.T) {
	m, _ := withRecorder("K")
	for range 40 {
		m = m.press("down")
	}
	if m.menu.sig != lastSignal {
		t.Errorf("%d", m.menu.sig)
	}
	for range 40 {
		m = m.press("up")
	}
	if m.menu.sig != syscall.SIGHUP {
		t.Errorf("%d", m.menu.sig)
	}
}

func TestRefusedSignal(t *testing.T) {
	m, r := withRecorder("K")
	r.err = errors.New("not yours")
	if m = m.pressed("enter"); m.note != "web (3): not yours" {
		t.Errorf("%q", m.note)
	}
}

// The menu's target is the pVM of the moment when it was opened: rows that move do not matter, nor does
// a PID that was given again.
func TestTargetIsFrozen(t *testing.T) {
	m, r := withRecorder("down", "K")
	later := families()
	later.Time = later.Time.Add(time.Second)
	later.Processes = later.Processes[1:] // 3 has ended
	later.Processes[0].Name = "renamed"
	m = m.after(snapMsg{snap: later})
	if text := m.screen(); !strings.Contains(text, "Send a signal to worker (4)") || !strings.Contains(text, "9 SIGKILL") {
		t.Errorf("%s", text)
	}
	if m.pressed("enter"); strings.Join(r.sent, ",") != "9 to 4" {
		t.Errorf("sent %q", r.sent)
	}

	m, r = withRecorder("K", "tab")
	r.snap.Processes[0].Started = r.snap.Time // another pVM has PID 3
	if text := m.after(snapMsg{snap: r.snap}).screen(); !strings.Contains(text, "web (3) has ended") {
		t.Errorf("the menu does not tell that its pVM has ended:\n%s", text)
	}
	if m = m.pressed("enter"); r.sent != nil || m.note != "web (3) has ended: nothing sent" {
		t.Errorf("sent %q, note %q", r.sent, m.note)
	}
}

// The preview is of all that the signal would reach, also of what the filter hides or a row folds.
func TestPreview(t *testing.T) {
	m, _ := withRecorder("t", "f", "w", "e", "b", " ", "!", "c", "g", "i", "enter", "*", "K", "tab")
	text := m.screen()
	for _, want := range []string{"web (3)\n", "├─worker (4)\n", "│ └─cgi (6)\n", "└─worker (5)\n", "to all descendants too (3)"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if text = m.press("tab").screen(); strings.Contains(text, "cgi") {
		t.Errorf("alone:\n%s", text)
	}
	big := screenOf(40, 12, many(500)).press("t", "p", "home", "K", "tab").screen()
	if !strings.Contains(big, "… and ") {
		t.Errorf("%s", big)
	}
}

func TestCtrlCLeavesFromAnywhere(t *testing.T) {
	for _, keys := range [][]string{nil, {"?"}, {"K"}, {"f"}, {"/"}} {
		m, _ := withRecorder(keys...)
		_, cmd := m.Update(tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl})
		if cmd == nil {
			t.Errorf("not after %q", keys)
		} else if _, quit := cmd().(tea.QuitMsg); !quit {
			t.Errorf("not after %q", keys)
		}
	}
}
