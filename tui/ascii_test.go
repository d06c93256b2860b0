package tui

import (
	"strings"
	"testing"

	"charm.land/lipgloss/v2"

	"kxsh/engine"
)

func TestLocale(t *testing.T) {
	for _, c := range []struct {
		all, ctype, lang string
		want             bool
	}{
		{"", "", "", false}, {"", "", "C", false}, {"", "", "C.UTF-8", true}, {"", "", "de_DE.utf8@euro", true},
		{"POSIX", "", "C.UTF-8", false}, {"", "en_US.UTF-8", "C", true}, {"", "en_US.ISO-8859-1", "C.UTF-8", false}, {"UTF-8", "", "", false},
	} {
		env := map[string]string{"LC_ALL": c.all, "LC_CTYPE": c.ctype, "LANG": c.lang}
		if got := UTF8(func(name string) string { return env[name] }); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

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
