package tui

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"kxsh/engine"
)

// model is the state of a live top. Actions are bound to the PID that was highlighted when the key
// was pressed, never to a row.
type model struct {
	ctx    context.Context
	api    engine.API
	o      Options
	styles styles

	view   view
	picked int // PID under the cursor
	top    int // first row shown
	width  int
	height int
	help   bool
	ask    *question
	note   string // one line of news, until the next key
	frames int
	err    error
}

// question waits for a y before something that cannot be undone.
type question struct {
	text string
	pid  int
	sig  syscall.Signal
}

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

func newModel(ctx context.Context, api engine.API, o Options, s styles) model {
	return model{ctx: ctx, api: api, o: o, styles: s}
}

type (
	snapMsg struct {
		snap *engine.Snapshot
		err  error
	}
	tickMsg   struct{}
	signalMsg struct{ text string }
)

func (m model) Init() tea.Cmd { return m.sample }

func (m model) sample() tea.Msg {
	s, err := m.api.Snapshot(m.ctx, false)
	return snapMsg{s, err}
}

func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tickMsg:
		return m, m.sample
	case snapMsg:
		if msg.err != nil {
			m.err = msg.err
			return m, tea.Quit
		}
		m.view.update(msg.snap)
		m.frames++
		if m.o.Frames > 0 && m.frames >= m.o.Frames {
			return m, tea.Quit
		}
		m = m.keepPicked()
		return m, tea.Tick(m.o.Interval, func(time.Time) tea.Msg { return tickMsg{} })
	case signalMsg:
		m.note = msg.text
		return m, m.sample
	case tea.KeyPressMsg:
		return m.key(msg)
	}
	return m, nil
}

// keepPicked keeps the cursor on its pVM; when that has gone, on the row where it was.
func (m model) keepPicked() model {
	if len(m.view.rows) == 0 {
		m.picked = 0
		return m
	}
	if m.row() < 0 {
		m.picked = m.view.rows[min(m.top, len(m.view.rows)-1)].PID
	}
	return m
}

// row is the row of the picked pVM, or -1.
func (m model) row() int {
	for i := range m.view.rows {
		if m.view.rows[i].PID == m.picked {
			return i
		}
	}
	return -1
}

func (m model) move(by int) model {
	if n := len(m.view.rows); n > 0 {
		m.picked = m.view.rows[max(0, min(n-1, m.row()+by))].PID
	}
	return m
}

// space is how many rows of the table fit.
func (m model) space() int { return max(1, m.height-len(m.view.header())-2) }

func (m model) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	return v
}

func (m model) screen() string {
	if m.view.snap == nil || m.height == 0 {
		return "waiting for the engine …"
	}
	if m.help {
		return strings.Join(helpText(), "\n")
	}
	out := m.view.header()
	for i := range out {
		out[i] = cut(out[i], m.width)
	}
	lines := m.view.lines(m.width)
	out = append(out, m.styles.title.Render(pad(lines[0], m.width)))
	at := m.row()
	first := max(0, min(m.top, at))
	if space := m.space(); at >= first+space {
		first = at - space + 1
	}
	for i := first; i < len(m.view.rows) && i < first+m.space(); i++ {
		line := lines[i+1]
		if i == at {
			line = m.styles.picked.Render(pad(line, m.width))
		}
		out = append(out, line)
	}
	for len(out) < m.height-1 {
		out = append(out, "")
	}
	return strings.Join(append(out, m.styles.bar.Render(cut(m.status(), m.width))), "\n")
}

func (m model) status() string {
	switch {
	case m.ask != nil:
		return m.ask.text + " (y/n)"
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

func cut(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:max(0, width)])
	}
	return s
}
