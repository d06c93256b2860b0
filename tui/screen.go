package tui

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"golang.org/x/sys/unix"
)

type styles struct{ title, picked, bar lipgloss.Style }

func newStyles(color bool) styles {
	s := styles{
		title: lipgloss.NewStyle().Reverse(true), picked: lipgloss.NewStyle().Bold(true).Reverse(true),
		bar: lipgloss.NewStyle().Faint(true),
	}
	if color {
		s.title = s.title.Foreground(lipgloss.Color("2"))
		s.picked = s.picked.Foreground(lipgloss.Color("6"))
	}
	return s
}

func (m model) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
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
	default:
		out = m.table()
	}
	out = out[:min(len(out), m.height-1)]
	for len(out) < m.height-1 {
		out = append(out, "")
	}
	return strings.Join(append(out, m.styles.bar.Render(cut(m.status(), m.width))), "\n")
}

func (m model) table() []string {
	out := m.view.header()
	for i := range out {
		out[i] = cut(out[i], m.width)
	}
	out = append(out, m.styles.title.Render(pad(title(m.width), m.width)))
	for i := m.top; i < len(m.view.rows) && i < m.top+m.space(); i++ {
		line := m.view.line(i, m.width)
		if i == m.at {
			line = m.styles.picked.Render(pad(line, m.width))
		}
		out = append(out, line)
	}
	return out
}

// headerLines is how many lines of the screen are above the table's title.
const headerLines = 3

// space is how many rows of the table fit, between header, title and status.
func (m model) space() int { return max(1, m.height-headerLines-2) }

func (m model) helpPage() []string {
	var out []string
	text := helpText(m.width)
	for i := m.help - 1; i < len(text) && i < m.help-1+m.helpSpace(); i++ {
		out = append(out, cut(text[i], m.width))
	}
	return out
}

func (m model) helpSpace() int { return max(1, m.height-1) }

func (m model) status() string {
	switch {
	case m.help > 0 && m.help-1+m.helpSpace() < len(helpText(m.width)):
		return "any key: more"
	case m.help > 0:
		return "any key goes back"
	case m.prompt != nil:
		return m.prompt.line(m.width, m.note)
	case m.menu != nil:
		return fmt.Sprintf("%v: enter   tree: tab   no: esc", unix.SignalName(m.menu.sig))
	case m.note != "":
		return m.note
	}
	return fmt.Sprintf("sorted by %v   ? help   q quit", m.view.sort)
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
