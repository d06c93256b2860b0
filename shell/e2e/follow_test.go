package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// logs -f goes on with the next engine, which it starts, and shows nothing twice.
func TestFollowOutlivesEngine(t *testing.T) {
	h := newHome(t)
	h.output(t, "-c", "run -d --name t $APPS/tick.kx")
	all, tail := h.start(t, "logs", "-f", "t"), h.start(t, "logs", "-f", "-n", "0", "t")
	all.expect(`tick 2\n`)
	for range 2 {
		h.killEngine(t)
		all.errs.expect(t, "its successor goes on\n")
		// What the engine that died had sent is before this; one line more is its successor's.
		all.expect(fmt.Sprintf(`tick %d\n`, strings.Count(h.output(t, "logs", "t"), "\n")+1))
	}
	h.output(t, "kill", "t")
	all.exit(0)
	tail.exit(0)
	got := all.out.String()
	want := ""
	for n := range strings.Count(got, "\n") - 1 {
		want += fmt.Sprintf("tick %d\n", n+1)
	}
	want += "tick: told to stop\n"
	if got != want {
		t.Errorf("from the start: %q", got)
	}
	if got := tail.out.String(); got == "" || !strings.HasSuffix(want, got) {
		t.Errorf("from the end: %q", got)
	}
	if got := all.errs.String(); strings.Count(got, "kxsh: the engine has gone; its successor goes on\n") != 2 {
		t.Errorf("said: %q", got)
	}
}

// events -f goes on with the next engine, which it starts, in order, without gaps or repetitions, and with fields that stay.
func TestFollowEventsOutlivesEngine(t *testing.T) {
	h := newHome(t)
	h.output(t, "-c", "run -d --name t $APPS/tick.kx")
	s := h.start(t, "events", "-f", "--json")
	s.expect(`"type":"started"`)
	for range 2 {
		time.Sleep(200 * time.Millisecond) // an engine saves events ten times a second
		h.killEngine(t)
		s.expect(`"type":"adopted".*\n`)
	}
	h.output(t, "-c", "fork t; kill --tree t")
	s.expect(`"type":"forked".*\n`)
	s.expect(`"type":"exited"(?s:.*)"type":"exited".*\n`)
	s.cmd.Process.Signal(unix.SIGINT)
	s.exit(130)
	if s.errs.String() != "" {
		t.Errorf("said: %q", s.errs.String())
	}
	followed := s.out.String()
	all := h.output(t, "events", "--json") // without what a killed engine had not saved yet
	for line := range strings.Lines(all) {
		if strings.Count(followed, line) != 1 {
			t.Errorf("%d times: %s", strings.Count(followed, line), line)
		}
	}
	if !strings.Contains(all, `"type":"started"`) {
		t.Errorf("the oldest are forgotten:\n%s", all)
	}
	seq, fields := 0.0, map[string]string{}
	for line := range strings.Lines(followed) {
		var e map[string]any
		unmarshal(t, line, &e)
		if n := e["seq"].(float64); n <= seq {
			t.Errorf("%v after %v", n, seq)
		} else {
			seq = n
		}
		if _, err := time.Parse(time.RFC3339Nano, e["time"].(string)); err != nil {
			t.Error(err)
		}
		fields[e["type"].(string)] = strings.Join(slices.Sorted(maps.Keys(e)), " ")
	}
	for typ, want := range map[string]string{
		"engine": "seq text time type", "started": "name pid seq steps text time type", "adopted": "name pid seq text time type",
		"forked": "child name pid seq steps text time type", "exited": "name pid seq text time type",
	} {
		if fields[typ] != want {
			t.Errorf("%s has %q, want %q", typ, fields[typ], want)
		}
	}
}

// Whoever follows leaves on Ctrl-C, also while there is no engine.
func TestFollowInterrupted(t *testing.T) {
	h := newHome(t)
	h.output(t, "-c", "run -d --name t $APPS/tick.kx")
	term := h.terminal(t, "logs", "-f", "t")
	term.expect("tick 2")
	term.send("\x03")
	term.exit(130)
}
