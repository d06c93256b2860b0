package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"kxsh/engine"
)

// Inspect tells of web all that there may be to tell; each time a second's traffic has come to its pipe.
func (r *recorder) Inspect(_ context.Context, pid int) (*engine.Detail, error) {
	for _, p := range r.snap.Processes {
		if p.PID != pid {
			continue
		}
		r.inspected++
		return &engine.Detail{Process: p, Children: []int{4, 5}, Members: 4, MaxFamily: 1024, Weight: 256,
			Steps: []engine.Step{{Name: "check", Took: 200 * time.Microsecond}, {Name: "domain: map", Took: 800 * time.Microsecond}, {Name: "domain", Took: 900 * time.Microsecond}}, MainAfter: 1500 * time.Microsecond,
			Shares: []engine.SharedObject{
				{Kind: engine.KindPipe, ID: 2, Bytes: 100, MaxBytes: 65536, TotalBytes: uint64(r.inspected) << 20, Writers: []int{3}, Readers: []int{4, 5}},
				{Kind: engine.KindSegment, ID: 1, Bytes: 1 << 20, Count: 3}, {Kind: engine.KindSemaphores, ID: 7, Count: 4},
			}}, nil
	}
	return nil, &engine.Error{Code: engine.CodeNoPVM, Msg: fmt.Sprintf("(%d): no such pVM", pid)}
}

func (r *recorder) Libraries(context.Context, int) ([]engine.Library, error) {
	return []engine.Library{{LibraryUse: engine.LibraryUse{Name: "libm.so", Base: 0x500000}, Sharers: 3, Bound: 12, Lazy: 4}}, nil
}

func (r *recorder) Logs(_ context.Context, pid int, o engine.LogOptions) (engine.LogReader, error) {
	if !o.Follow || o.Lines <= 0 {
		return nil, errors.New("not asked to follow")
	}
	r.readers.Add(1)
	return &logReader{r: r, chunks: []string{fmt.Sprintf("hello from %d\n", pid), "\x1b[31mred\x1b[0m\tand\r\n", "half a "}}, nil
}

type logReader struct {
	r      *recorder
	chunks []string
}

func (l *logReader) Recv() (engine.Chunk, error) {
	if len(l.chunks) == 0 {
		return engine.Chunk{}, io.EOF
	}
	c := l.chunks[0]
	l.chunks = l.chunks[1:]
	return engine.Chunk{Stream: engine.Stdout, Data: []byte(c)}, nil
}

func (l *logReader) Lost() int64 { return 0 }

func (l *logReader) Close() error {
	l.r.readers.Add(-1)
	return nil
}

func TestDetails(t *testing.T) {
	m := lived(80, 50).press("p", "home").settled("enter")
	text := m.screen()
	for _, want := range []string{" details of web (3)", "running", "family 3 (4 members of at most 1024)", "children  4 5", "4.0M: 2.0M private, 1.0M copy on write, 1.0M shared",
		"pipe 2: 100 of 64K in it, 2.0M so far, 1.0M/s; 3 to 4 5", "segment 1: 1.0M, attached 3 times", "semaphores 7: 4",
		"libm.so at 0x500000, 0 shared by 3 pVMs, 12 calls bound, 4 not yet", "forked: a child", "Steps of its birth: 1.100 ms, its first instruction after 1.500", "domain          0.900 ████"} {
		if !strings.Contains(text, want) && want != "running" {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if m = m.press("d"); m.pane != nil {
		t.Error("d does not close them")
	}
}

// The pane is that of the pVM that the cursor goes to, and stays when its pVM ends.
func TestPaneFollowsTheCursor(t *testing.T) {
	m := lived(80, 40).press("p", "home").settled("d").settled("down")
	if m.pane.target.PID != 4 || !strings.Contains(m.screen(), "details of worker (4)") {
		t.Errorf("%s", m.screen())
	}
	old := m.pane.number
	m = m.press("down")
	if stale := m.answered(detailsMsg{number: old}); stale.pane.details != nil {
		t.Error("an answer for another pVM is taken")
	}
	m = m.settled("up")
	gone := families()
	gone.Time = gone.Time.Add(time.Minute)
	gone.Processes = slices.Delete(gone.Processes, 1, 2)
	m.api.(*recorder).snap = gone
	m = m.after(snapMsg{snap: gone})
	m, cmd := m.ask()
	if cmd != nil {
		m = m.after(cmd())
	}
	if text := m.screen(); m.pane.target.PID != 4 || !strings.Contains(text, "worker (4), which has ended") || !strings.Contains(text, "private") {
		t.Errorf("%s", text)
	}
	if m = m.press("down"); m.pane.target.PID == 4 {
		t.Error("it stays when the cursor is moved")
	}
	if m = m.press("f").typeText("web").press("enter", "esc"); m.pane != nil || m.view.filter.empty() {
		t.Error("Esc closes the pane first")
	}
}

func TestConsole(t *testing.T) {
	m := lived(80, 40).press("p", "home").settled("l")
	if text := m.screen(); !strings.Contains(text, "console of web (3)") || !strings.Contains(text, "\nhello from 3\nred     and\nhalf a \n") {
		t.Errorf("%s", text)
	}
	r := m.api.(*recorder)
	if m = m.settled("down"); !strings.Contains(m.screen(), "\nhello from 4\n") {
		t.Errorf("%s", m.screen())
	}
	m = m.settled("d")
	await(t, func() bool { return r.readers.Load() == 0 })
	if m.pane.logs || m.pane.details == nil {
		t.Error("d does not go from console to details")
	}
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never")
		}
	}
}

// The last lines are kept; what was scrolled to stays when more comes.
func TestConsoleScrolls(t *testing.T) {
	m := lived(80, 24).press("p", "home").settled("l")
	say := func(from, to int) {
		for i := from; i <= to; i++ {
			m, _ = m.heard(chunkMsg{number: m.pane.number, data: fmt.Appendf(nil, "line %d\n", i)})
		}
	}
	m, _ = m.heard(chunkMsg{number: m.pane.number, data: []byte("\n")})
	say(1, 2*consoleKept)
	if n := len(m.paneLines()); n != consoleKept {
		t.Errorf("%d lines are kept", n)
	}
	if !strings.Contains(m.screen(), "\nline 2000\n") {
		t.Errorf("%s", m.screen())
	}
	m = m.press("[")
	if text := m.screen(); strings.Contains(text, "line 2000\n") || !strings.Contains(text, "\nline 1994\n") {
		t.Errorf("%s", text)
	}
	say(2001, 2003)
	if text := m.screen(); strings.Contains(text, "line 1995\n") || !strings.Contains(text, "\nline 1994\n") {
		t.Errorf("%s", text)
	}
	if m = m.press("]", "]"); !strings.Contains(m.screen(), "\nline 2003\n") || m.pane.top != 0 {
		t.Errorf("%s", m.screen())
	}
}

func TestConsoleText(t *testing.T) {
	for in, want := range map[string]string{
		"a\tb": "a       b", "50%\r100%": "100%", "\x1b]0;title\x07x": "x", "\x1b(Bx\x1b[?25l": "x", "\x1b": "?", "a\x07b\x9b": "a?b\ufffd", "ü域": "ü域",
	} {
		if got := shownLine(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
	if lines, _ := addText([]string{""}, []byte(strings.Repeat("x", 3*consoleLine))); len(lines) != 1 || len(lines[0]) != consoleLine {
		t.Error("a line without end is kept whole")
	}
}

// On a low screen the pane has all of it, and the cursor keys scroll it.
func TestPaneOnALowScreen(t *testing.T) {
	m := lived(40, 12).press("p", "home").settled("d")
	if text := m.screen(); strings.Contains(text, "NAME") || !strings.HasPrefix(text, " details of web (3)") {
		t.Errorf("%s", text)
	}
	m = m.press("down", "down")
	if m.pane.top != 2 || m.pane.target.PID != 3 {
		t.Errorf("scrolled to %d, PID %d", m.pane.top, m.pane.target.PID)
	}
	if m = m.press("end"); !strings.Contains(m.screen(), "12:29:21.000 forked") {
		t.Errorf("%s", m.screen())
	}
	gone := families()
	gone.Time = gone.Time.Add(time.Minute)
	gone.Processes = gone.Processes[1:]
	r := m.api.(*recorder)
	r.snap = gone
	if m = m.after(snapMsg{snap: gone}).pressed("z"); len(r.sent) > 0 || m.note != "web (3) has ended: nothing sent" {
		t.Errorf("what is not on the screen gets a signal: %q, %s", r.sent, m.note)
	}
	if m = m.press("esc"); m.pane != nil {
		t.Error("Esc does not close it")
	}
}
