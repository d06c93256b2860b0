package tui

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"kxsh/engine"
)

// pane shows more of one pVM: the one that the cursor was put on last. When that ends its pane stays, until the cursor is moved.
type pane struct {
	logs    bool // its console instead of details
	target  engine.Process
	number  int // of the pane: answers for earlier ones come too late
	top     int // lines scrolled: from the first of details, from the last of logs
	asked   bool
	details *details
	console *console
	cancel  context.CancelFunc // of what is asked for
}

// linger is how long the cursor must stay on a pVM before more is asked about it.
const linger = 100 * time.Millisecond

// paneMsg says that the cursor has stayed.
type paneMsg struct{ number int }

// openPane opens a pane, or closes it, or changes it to the other kind.
func (m model) openPane(logs bool) (model, tea.Cmd) {
	if m.pane != nil && m.pane.logs == logs || len(m.view.rows) == 0 {
		return m.closePane(), nil
	}
	return m.newPane(logs)
}

func (m model) closePane() model {
	if m.pane != nil {
		m.pane.cancel()
		m.pane = nil
	}
	return m
}

// newPane is a pane for the pVM under the cursor.
func (m model) newPane(logs bool) (model, tea.Cmd) {
	m = m.closePane()
	m.panes++
	number := m.panes
	m.pane = &pane{logs: logs, target: *m.view.rows[m.at].Process, number: number, cancel: func() {}}
	return m, tea.Tick(linger, func(time.Time) tea.Msg { return paneMsg{number} })
}

// follow makes the pane that of the pVM that the cursor is on now.
func (m model) follow() (model, tea.Cmd) {
	if m.pane == nil || len(m.view.rows) == 0 || same(m.view.rows[m.at].Process, &m.pane.target) {
		return m, nil
	}
	return m.newPane(m.pane.logs)
}

// with is a copy that was changed.
func (p pane) with(change func(*pane)) *pane {
	change(&p)
	return &p
}

// ask asks for what the pane shows: for details each frame, for the console once.
func (m model) ask() (model, tea.Cmd) {
	p := m.pane
	if p == nil || p.asked {
		return m, nil
	}
	p.cancel()
	ctx, cancel := context.WithCancel(m.ctx)
	m.pane = p.with(func(p *pane) { p.asked, p.cancel = true, cancel })
	if p.logs {
		return m, openConsole(ctx, m.api, p.target.PID, p.number)
	}
	return m, askDetails(ctx, m.api, p.target.PID, p.number)
}

// paneSpace is how many lines the pane takes, with its title: all but the last of a low screen.
func (m model) paneSpace() int {
	switch {
	case m.pane == nil:
		return 0
	case m.height < tall:
		return max(1, m.height-1)
	}
	return m.height / 2
}

// whole tells whether the pane hides the table.
func (m model) whole() bool { return m.pane != nil && m.height < tall }

// scrollPane scrolls so many lines further down.
func (m model) scrollPane(by int) model {
	if m.pane == nil {
		return m
	}
	lines, space := len(m.paneLines()), m.paneSpace()-1
	m.pane = m.pane.with(func(p *pane) {
		if p.logs {
			by = -by
		}
		p.top = max(0, min(p.top+by, lines-space))
	})
	return m
}

// paneLines is all that the pane has to show.
func (m model) paneLines() []string {
	if m.pane.logs {
		return m.pane.console.text()
	}
	return m.detailLines()
}

// panePage is the pane's part of the screen.
func (m model) panePage() []string {
	p, space := m.pane, m.paneSpace()-1
	lines := m.paneLines()
	from := p.top
	if p.logs {
		from = len(lines) - space - p.top
	}
	from = max(0, min(from, len(lines)-space))
	out := []string{m.theme.title.Render(pad(cut(m.paneTitle(), m.width), m.width))}
	for i := from; i < len(lines) && i < from+space; i++ {
		if p.logs {
			out = append(out, cut(shownLine(lines[i]), m.width))
		} else {
			out = append(out, lines[i])
		}
	}
	for len(out) <= space {
		out = append(out, "")
	}
	return out
}

// headed cuts a line, and sets off a title, which begins at the left edge.
func (m model) headed(line string, width int) string {
	line = cut(line, width)
	if line == "" || line[0] == ' ' {
		return line
	}
	return m.theme.head.Render(line)
}

func (m model) paneTitle() string {
	what := "details of "
	if m.pane.logs {
		what = "console of "
	}
	title := " " + what + nameOf(&m.pane.target)
	if !same(m.view.find(m.pane.target.PID), &m.pane.target) {
		title += ", which has ended"
	}
	return title
}
