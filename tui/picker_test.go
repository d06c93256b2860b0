package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

// head is the title of the table as it is on the screen.
func head(m model) string {
	return strings.Join(strings.Fields(strings.Split(m.screen(), "\n")[m.headerHeight()]), " ")
}

func TestColumnsAreChosen(t *testing.T) {
	for _, c := range []struct {
		keys []string
		want string
	}{
		{[]string{"C", "space", "esc"}, "PPID FAM STAT %CPU MEM SHR TIME NAME"},
		{[]string{"C", "down", "+", "+", "up", "space", "q"}, "PID FAM PPID %CPU MEM SHR TIME NAME"},
		{[]string{"C", "-", "+", "enter"}, "PPID PID FAM STAT %CPU MEM SHR TIME NAME"},
		{[]string{"C", "end", "down", "down", "down", "down", "down", "down", "down", "down", "space", "C"}, "PID PPID FAM STAT %CPU MEM SHR TIME PRIV NAME"},
		{[]string{"C", "space", "down", "space", "D", "esc"}, "PID PPID FAM STAT %CPU MEM SHR TIME NAME"},
	} {
		m := screenOf(120, 24, families()).press(c.keys...)
		if got := head(m); got != c.want || m.picker != nil {
			t.Errorf("%q: %s, want %s", c.keys, got, c.want)
		}
	}
	m := screenOf(120, 24, families()).press("C", "down", "down", "down", "s", "esc")
	if m.view.sort.by.key != "stat" || m.view.rows[0].Stat != "R" {
		t.Errorf("sorted by %v", m.view.sort)
	}
	if m = m.press("I"); m.view.rows[0].Stat != "T" {
		t.Errorf("sorted by %v", m.view.sort)
	}
}

// Every column has something to show and to say, can be sorted by and found by its key, and is as wide as it says.
func TestEveryColumn(t *testing.T) {
	s := families()
	s.Processes[0].Libs = []string{"libm.so", "libcrypt.so", "libz.so.1.2.3"}
	m := screenOf(400, 60, s)
	m.view.columns = table
	seen := map[string]bool{}
	for _, c := range append(append([]*column(nil), table...), nameColumn) {
		if c.about == "" || seen[c.key] || columnOf(c.key) != c || (c.number == nil) == (c.word == nil) {
			t.Errorf("%+v", c)
		}
		seen[c.key] = true
		m = m.sortBy(c)
		m = m.sortBy(c)
		if _, err := parseFilter(c.key + "!=1"); err != nil {
			t.Errorf("%v", err)
		}
	}
	m = m.press("p", "home")
	title := title(m.view.fitting(400), 400)
	for i := range m.view.rows {
		if line := m.view.line(m.view.fitting(400), i, 400); line[strings.Index(title, "NAME")-1] != ' ' || !strings.HasPrefix(line[strings.Index(title, "NAME"):], m.view.rows[i].Name) {
			t.Errorf("%q below %q", line, title)
		}
	}
}

func at(x, y int) tea.Mouse { return tea.Mouse{X: x, Y: y, Button: tea.MouseLeft} }

func TestMouse(t *testing.T) {
	m := lived(80, 24).press("p", "home") // the title is line 5, 3 is on line 6
	click := func(x, y int) { m = m.after(tea.MouseClickMsg(at(x, y))) }
	wheel := func(x, y int, down bool) {
		b := tea.MouseWheelUp
		if down {
			b = tea.MouseWheelDown
		}
		m = m.after(tea.MouseWheelMsg{X: x, Y: y, Button: b})
	}
	if click(10, 8); m.picked != 5 {
		t.Errorf("picked %d", m.picked)
	}
	click(10, 20) // below the rows
	click(10, 0)
	m = m.after(tea.MouseReleaseMsg(at(10, 6)), tea.MouseClickMsg{X: 10, Y: 6, Button: tea.MouseRight})
	if m.picked != 5 {
		t.Errorf("picked %d", m.picked)
	}
	for _, c := range []struct {
		x    int
		want string
	}{{1, "PID, backwards"}, {28, "%CPU"}, {30, "%CPU, backwards"}, {70, "NAME"}, {79, "NAME, backwards"}, {0, "PID"}} {
		if click(c.x, 5); m.view.sort.String() != c.want {
			t.Errorf("a click at %d: sorted by %v, want %s", c.x, m.view.sort, c.want)
		}
	}
	m = m.press("p", "home")
	if wheel(0, 10, true); m.at != 3 {
		t.Errorf("row %d", m.at)
	}
	if wheel(0, 10, false); m.at != 0 {
		t.Errorf("row %d", m.at)
	}
	m = m.settled("d")
	if wheel(0, 20, true); m.pane.top != 3 || m.at != 0 {
		t.Errorf("the pane at %d, row %d", m.pane.top, m.at)
	}
	if click(0, 7); m.pane.target.PID != 4 || m.pane.details != nil {
		t.Error("the pane does not follow a click")
	}
	m = m.press("esc", "x")
	if click(3, 4); m.menu.sig != 6 || len(m.api.(*recorder).sent) > 0 {
		t.Errorf("signal %d", m.menu.sig)
	}
	if wheel(0, 0, true); m.menu.sig != 9 {
		t.Errorf("signal %d", m.menu.sig)
	}
	m = m.press("esc", "C")
	click(8, 3) // beside the box
	if m.picker.at != 1 || head(m.press("esc")) != "PID PPID FAM STAT %CPU MEM SHR TIME NAME" {
		t.Errorf("%s", m.screen())
	}
	if click(3, 4); head(m.press("esc")) != "PID PPID STAT %CPU MEM SHR TIME NAME" {
		t.Errorf("%s", m.screen())
	}
	m = m.press("esc", "?")
	wheel(0, 0, true)
	if click(5, 5); m.help == 0 {
		t.Error("a click leaves the help")
	}
}
