package tui

import (
	"strings"
	"testing"

	"charm.land/lipgloss/v2"

	"kxsh/engine"
)

// No screen has other characters, and all are as wide as they are with them.
func TestASCII(t *testing.T) {
	s := families()
	s.Processes = append(s.Processes, engine.Process{PID: 20, PPID: 9, Family: 8, Name: "域ü", Stat: "S"})
	for _, keys := range [][]string{nil, {"t"}, {"t", "*"}, {"t", "home", "x", "tab"}, {"?"}, {"f", "w"}, {"enter"}, {"l"}} {
		m := screenOf(80, 24, s).press(keys...)
		want := strings.Split(m.screen(), "\n")
		m.o.ASCII = true
		for i, line := range strings.Split(m.screen(), "\n") {
			if strings.Trim(line, printableASCII) != "" || lipgloss.Width(line) != lipgloss.Width(want[i]) {
				t.Errorf("%q: %q for %q", keys, line, want[i])
			}
		}
	}
}

var printableASCII = func() (s string) {
	for c := ' '; c <= '~'; c++ {
		s += string(c)
	}
	return s
}()
