package tui

import (
	"syscall"

	tea "charm.land/bubbletea/v2"
)

// wheel is how many lines a notch of the wheel scrolls.
const wheel = 3

// mouseHelp is what help says of the mouse.
var mouseHelp = [][2]string{
	{"click", "the pVM under it; on a title: sort by that column, or the other way round"},
	{"wheel", "up and down in what is under it"},
}

// mouse handles what the mouse does: a click selects, or sorts on a title, the wheel scrolls what is under it.
func (m model) mouse(msg tea.MouseMsg) model {
	at := msg.Mouse()
	if m.help > 0 || m.prompt != nil {
		return m
	}
	switch at.Button {
	case tea.MouseWheelUp:
		return m.wheeled(at.Y, -wheel)
	case tea.MouseWheelDown:
		return m.wheeled(at.Y, wheel)
	case tea.MouseLeft:
		if _, pressed := msg.(tea.MouseClickMsg); pressed {
			m.note = ""
			return m.clicked(at.X, at.Y)
		}
	}
	return m
}

func (m model) wheeled(y, by int) model {
	switch {
	case m.menu != nil:
		return m.pickSignal(syscall.Signal(by))
	case m.picker != nil:
		return m.pickAt(m.picker.at + by)
	case m.pane != nil && y >= m.height-1-m.paneSpace():
		return m.scrollPane(by)
	}
	return m.move(by)
}

func (m model) clicked(x, y int) model {
	switch {
	case m.menu != nil:
		first, n := m.menu.shown(m.height - 1)
		if i := y - menuTop; i >= 0 && i < n && first+i <= int(lastSignal) {
			m.menu = m.menu.with(func(n *menu) { n.sig = syscall.Signal(first + i) })
		}
		return m
	case m.picker != nil:
		i := y - pickerTop + m.picker.first(m.height-1)
		if y < pickerTop || y >= m.height-1 || i >= len(m.picker.list) {
			return m
		}
		if m = m.pickAt(i); x >= 2 && x <= 4 { // the box
			m = m.pick(func(p *picker) { p.on[p.list[p.at]] = !p.on[p.list[p.at]] })
		}
		return m
	case m.whole():
		return m
	}
	switch row := y - m.headerHeight() - 1; {
	case row == -1:
		return m.sortBy(m.columnAt(x))
	case row >= 0 && row < m.space() && m.top+row < len(m.view.rows):
		m.picked = m.view.rows[m.top+row].PID
	}
	return m
}

// columnAt is the column of the table that is in a cell of the screen.
func (m model) columnAt(x int) *column {
	end := 1
	for _, c := range m.view.fitting(m.width) {
		if end += c.width + 1; x < end {
			return c
		}
	}
	return nameColumn
}
