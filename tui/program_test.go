package tui

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/charmbracelet/x/exp/teatest/v2"

	"kxsh/engine"
)

// later is an engine where one more pVM has begun when it is asked again.
type later struct {
	*recorder
	asked atomic.Int32
}

func (l *later) Snapshot(context.Context, bool) (*engine.Snapshot, error) {
	s := families()
	if l.asked.Add(1) == 1 {
		s.Processes = slices.DeleteFunc(s.Processes, func(p engine.Process) bool { return p.Name == "cgi" })
	}
	return s, nil
}

// The program as bubbletea runs it: frames and events come, one frame after the other, keys arrive, and it leaves with the screen as it was.
func TestProgram(t *testing.T) {
	for _, size := range [][2]int{{40, 12}, {80, 24}, {200, 60}} {
		t.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(t *testing.T) {
			const patience = 20 * time.Second
			m := newModel(context.Background(), &later{recorder: &recorder{events: forkedEvents(4)}}, Options{Interval: 20 * time.Millisecond})
			m.theme = plain
			tm := teatest.NewTestModel(t, m, teatest.WithInitialTermSize(size[0], size[1]))
			all := "" // that was shown: what one wait has read is not there for the next
			shows := func(text string) {
				t.Helper()
				before := all
				teatest.WaitFor(t, tm.Output(), func(b []byte) bool {
					all = before + string(b)
					return strings.Contains(all, text)
				}, teatest.WithDuration(patience))
			}
			shows("lone")
			shows("cgi")
			tm.Type("?")
			shows("any key")
			for _, key := range []string{"esc", "/", "c", "g", "i", "enter"} {
				tm.Send(keyPress(key))
			}
			if err := tm.Quit(); err != nil {
				t.Fatal(err)
			}
			m = tm.FinalModel(t, teatest.WithFinalTimeout(patience)).(model)
			if len(m.events) != 4 {
				t.Errorf("%d events", len(m.events))
			}
			m.history = history{} // of as many frames as there was time for
			teatest.RequireEqualOutput(t, []byte(m.screen()))
		})
	}
}
