package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

// typeText presses a key for each character.
func (m model) typeText(s string) model {
	for _, r := range s {
		m = m.press(string(r))
	}
	return m
}

func TestFilterIsTyped(t *testing.T) {
	m := screenOf(80, 24, families()).press("p", "f").typeText("qwork")
	if m.prompt == nil || len(m.view.rows) != 0 || !strings.HasSuffix(m.screen(), "filter: qwork_") {
		t.Fatalf("%d rows\n%s", len(m.view.rows), m.screen())
	}
	m = m.press("ctrl+u").typeText("work")
	want(t, &m.view, "4 worker", "5 worker")
	m = m.typeText("(") // not finished: what there was stays, and Enter does not leave
	want(t, &m.view, "4 worker", "5 worker")
	if m = m.press("enter"); m.prompt == nil || !strings.Contains(m.screen(), "work(: not a regular expression") {
		t.Errorf("%s", m.screen())
	}
	m = m.press("backspace", "enter")
	if m.prompt != nil || !strings.Contains(m.screen(), "filter: work   2 of 8") {
		t.Errorf("%s", m.screen())
	}
	m = m.press("f").after(tea.PasteMsg{Content: " \x1b!4\n"}).press("enter")
	want(t, &m.view, "5 worker")
	if m = m.press("esc"); len(m.view.rows) != 8 || m.view.header()[2] != "" || m.picked != 5 {
		t.Errorf("after Esc %d\n%s", m.picked, m.screen())
	}
	if m = m.press("f").typeText("web").press("esc"); m.prompt != nil || len(m.view.rows) != 8 {
		t.Errorf("after Esc in the line\n%s", m.screen())
	}
}

// A filter that for a moment leaves nothing does not lose the cursor.
func TestCursorThroughAnEmptyFilter(t *testing.T) {
	m := screenOf(80, 24, families()).press("down", "f").typeText("zz").press("esc")
	if m.picked != 4 {
		t.Errorf("picked %d", m.picked)
	}
}

func TestSearch(t *testing.T) {
	m := screenOf(80, 24, families()).press("p", "home", "/") // by PID
	for i, step := range []struct {
		key  string
		want int
	}{{"w", 3}, {"o", 4}, {"r", 4}, {"enter", 4}, {"n", 5}, {"n", 4}, {"N", 5}, {"N", 4}, {"/", 4}, {"9", 9}, {"esc", 4}, {"/", 4}, {"z", 4}} {
		if m = m.press(step.key); m.picked != step.want {
			t.Errorf("step %d, %q: picked %d, want %d", i, step.key, m.picked, step.want)
		}
	}
	if !strings.HasSuffix(m.screen(), "search: z_   nothing found: z") {
		t.Errorf("%s", m.screen())
	}
	if len(m.view.rows) != 8 {
		t.Error("a search hides nothing")
	}
}

func TestLongLineShowsItsEnd(t *testing.T) {
	m := screenOf(40, 12, families()).press("f").typeText(strings.Repeat("a", 60) + "z")
	lines := strings.Split(m.screen(), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "filter: aaa") || !strings.HasSuffix(last, "z_") {
		t.Errorf("%q", last)
	}
}
