package tui

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"golang.org/x/sys/unix"
)

func (m model) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	return v
}

// screen is height lines of at most width cells.
func (m model) screen() string {
	if m.view.snap == nil || m.height == 0 {
		return "waiting for the engine …"
	}
	var out []string
	switch {
	case m.help > 0:
		out = m.helpPage()
	case m.menu != nil:
		out = m.menu.lines(&m.view, m.width, m.height-1)
	case m.picker != nil:
		out = m.pickerLines(m.height - 1)
	case m.whole():
		out = m.panePage()
	default:
		out = m.table()
		if m.pane != nil {
			out = append(out, m.panePage()...)
		}
	}
	out = out[:min(len(out), m.height-1)]
	for len(out) < m.height-1 {
		out = append(out, "")
	}
	text := strings.Join(append(out, m.status()), "\n")
	if m.o.ASCII {
		text = ascii(text)
	}
	return text
}

func (m model) table() []string {
	out := m.header()
	columns := m.view.fitting(m.width)
	out = append(out, m.title(columns))
	for i := m.top; i < len(m.view.rows) && i < m.top+m.space(); i++ {
		r, line := &m.view.rows[i], m.view.line(columns, i, m.width)
		switch {
		case i == m.at:
			line = m.theme.picked.Render(pad(line, m.width))
		case m.view.marked[r.PID]:
			line = m.theme.marked.Render(line)
		case r.Stat == "T" || r.Stat == "Z":
			line = m.theme.dead.Render(line)
		}
		out = append(out, line)
	}
	for len(out) < m.height-1-m.paneSpace() {
		out = append(out, "")
	}
	return out
}

// title is the table's, with what rows are sorted by set off.
func (m model) title(columns []*column) string {
	text := pad(title(columns, m.width), m.width)
	at, width := 1, 0
	for _, c := range append(columns, nameColumn) {
		if width = max(c.width, len(c.title)); c == m.view.sort.by {
			break
		}
		at += width + 1
	}
	from := min(at, len(text))
	to := min(from+width, len(text))
	return m.theme.title.Render(text[:from]) + m.theme.sorted.Render(text[from:to]) + m.theme.title.Render(text[to:])
}

// space is how many rows of the table fit, between header, title, pane and status.
func (m model) space() int {
	pane := m.paneSpace()
	if m.whole() {
		pane = 0
	}
	return max(1, m.height-m.headerHeight()-2-pane)
}

func (m model) helpPage() []string {
	var out []string
	text := m.helpText()
	for i := m.help - 1; i < len(text) && i < m.help-1+m.helpSpace(); i++ {
		out = append(out, m.headed(text[i], m.width))
	}
	return out
}

func (m model) helpSpace() int { return max(1, m.height-1) }

// status is the last line.
func (m model) status() string {
	if m.prompt != nil && m.help == 0 {
		return m.prompt.line(m.width, m.note, m.theme.wrong)
	}
	return m.theme.bar.Render(cut(m.statusText(), m.width))
}

func (m model) statusText() string {
	switch {
	case m.help > 0 && m.help-1+m.helpSpace() < len(m.helpText()):
		return "any key: more   esc close"
	case m.help > 0:
		return "any key goes back"
	case m.menu != nil:
		return fmt.Sprintf("%v: enter   tree: tab   no: esc", unix.SignalName(m.menu.sig))
	case m.picker != nil:
		return "show: space   move: + -   sort: s   done: esc"
	case m.note != "":
		return m.note
	case m.lost != nil:
		return printable(m.lost.Error()) + ": trying again   q quit"
	}
	text := fmt.Sprintf("sorted by %v", m.view.sort)
	if n := len(m.view.marked); n > 0 {
		text = fmt.Sprintf("%d marked   ", n) + text
	}
	hints := []string{"? help", "q quit", "d details", "l console", "t tree", "f filter", "/ search", "C columns", "x signal", "space mark"}
	if m.pane != nil {
		hints = []string{"esc close", "[ ] scroll", "? help", "q quit"}
	}
	if m.o.ReadOnly {
		text, hints = "read-only   "+text, hints[:min(len(hints), 8)] // no actions
	}
	for _, hint := range hints {
		if len(text)+3+len(hint) <= m.width {
			text += "   " + hint
		}
	}
	return text
}

func pad(s string, width int) string {
	if n := width - lipgloss.Width(s); n > 0 {
		return s + strings.Repeat(" ", n)
	}
	return s
}

// cut shortens s to as many cells of a terminal as are there; a character may take two.
func cut(s string, width int) string {
	if len(s) <= width {
		return s
	}
	for i, r := range s {
		if width -= lipgloss.Width(string(r)); width < 0 {
			return s[:i]
		}
	}
	return s
}
