package tui

import (
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"

	"kxsh/engine"
)

func TestSpark(t *testing.T) {
	for _, c := range []struct {
		values []float64
		width  int
		top    float64
		want   string
	}{
		{nil, 3, 0, "   "}, {[]float64{0, 0}, 3, 0, " ▁▁"}, {[]float64{0, 0.5, 1}, 3, 1, "▁▄█"}, {[]float64{9, 1, 2}, 2, 0, "▄█"},
		{[]float64{5}, 1, 1, "█"}, {[]float64{1}, 0, 1, ""},
	} {
		if got := spark(c.values, c.width, c.top); got != c.want {
			t.Errorf("%v in %d: %q, want %q", c.values, c.width, got, c.want)
		}
	}
}

// The host's CPU use is what its CPUs were not idle; forks before the first frame do not count.
func TestHistory(t *testing.T) {
	m := screenOf(80, 24, families())
	m.history = history{}
	m.view = newView()
	at := time.Unix(1000, 0)
	frame := func(after, idle time.Duration, forks int) {
		s := families()
		s.Time = at.Add(after)
		events := make([]engine.Event, forks)
		for i := range events {
			events[i] = engine.Event{Seq: uint64(len(m.events) + i + 1), Type: "forked"}
		}
		m = m.after(newsMsg{events}, snapMsg{snap: s, info: &engine.Info{CPUs: 2, Idle: time.Hour + idle, Memory: 1 << 30, FreeMemory: 1 << 29}})
	}
	frame(0, 0, 100)
	frame(2*time.Second, time.Second, 6)
	frame(4*time.Second, 5*time.Second, 0)
	if h := m.history; len(h.cpu) != 2 || h.cpu[0] != 0.75 || h.cpu[1] != 0 || h.memory[0] != 22<<20 || len(h.forks) != 2 || h.forks[0] != 3 {
		t.Errorf("%+v", h)
	}
	for i := range 2 * historyKept {
		frame(time.Duration(i+3)*2*time.Second, time.Duration(i)*time.Second, 20)
	}
	if len(m.history.cpu) != historyKept || len(m.events) != eventsKept {
		t.Errorf("%d values, %d events are kept", len(m.history.cpu), len(m.events))
	}
}

func TestMeter(t *testing.T) {
	m := screenOf(80, 24, families())
	for _, c := range []struct {
		part  float64
		width int
		want  string
	}{{0.5, 20, "CPU [|||||||    50%]"}, {0, 20, "CPU [           50%]"}, {1, 20, "CPU [|||||||||||50%]"}, {1, 8, "CPU 50% "}, {1, 5, "CPU 5"}} {
		if got := m.meter("CPU ", c.part, "50%", c.width); got != c.want {
			t.Errorf("%v in %d: %q, want %q", c.part, c.width, got, c.want)
		}
	}
}

// The header is as wide as the screen at most, and leaves room for rows.
func TestHeaderFits(t *testing.T) {
	for width := 1; width < 200; width += 19 {
		for _, height := range []int{1, 12, 24} {
			m := lived(width, height)
			for _, line := range strings.Split(m.screen(), "\n") {
				if lipgloss.Width(line) > width {
					t.Fatalf("%dx%d: %q", width, height, line)
				}
			}
		}
	}
}
