package tui

import (
	"fmt"
	"slices"
	"syscall"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sys/unix"
)

// binding is one row of the key table: what is pressed, what help says, what happens.
type binding struct {
	keys []string // names of bubbletea; the first is shown
	help string
	do   func(model) (model, tea.Cmd)
}

// bindings is all keys; help is made from it.
var bindings []binding

func init() { // not an initialiser: helpText refers to the table
	bindings = []binding{
		{[]string{"q", "ctrl+c", "esc"}, "quit", func(m model) (model, tea.Cmd) { return m, tea.Quit }},
		{[]string{"up", "k"}, "up", func(m model) (model, tea.Cmd) { return m.move(-1), nil }},
		{[]string{"down", "j"}, "down", func(m model) (model, tea.Cmd) { return m.move(1), nil }},
		{[]string{"pgup"}, "a page up", func(m model) (model, tea.Cmd) { return m.move(-m.space()), nil }},
		{[]string{"pgdown"}, "a page down", func(m model) (model, tea.Cmd) { return m.move(m.space()), nil }},
		{[]string{"home", "g"}, "first", func(m model) (model, tea.Cmd) { return m.move(-len(m.view.rows)), nil }},
		{[]string{"end", "G"}, "last", func(m model) (model, tea.Cmd) { return m.move(len(m.view.rows)), nil }},
		{[]string{"s"}, "sort by the next column: %CPU, MEM, TIME, PID", func(m model) (model, tea.Cmd) {
			m.view.sort = (m.view.sort + 1) % orders
			m.view.arrange()
			return m, nil
		}},
		{[]string{"t"}, "terminate (SIGTERM)", signalKey(syscall.SIGTERM)},
		{[]string{"K", "f9"}, "kill (SIGKILL)", signalKey(syscall.SIGKILL)},
		{[]string{"z"}, "stop (SIGSTOP)", signalKey(syscall.SIGSTOP)},
		{[]string{"c"}, "continue (SIGCONT)", signalKey(syscall.SIGCONT)},
		{[]string{"?", "h", "f1"}, "this help", func(m model) (model, tea.Cmd) { m.help = true; return m, nil }},
	}
}

// key handles a key press.
func (m model) key(k tea.KeyPressMsg) (tea.Model, tea.Cmd) {
	m.note = ""
	if m.help {
		m.help = false
		return m, nil
	}
	if q := m.ask; q != nil {
		m.ask = nil
		if k.String() == "y" {
			return m, m.signal(q.pid, q.sig)
		}
		return m, nil
	}
	for _, b := range bindings {
		if slices.Contains(b.keys, k.String()) {
			return b.do(m)
		}
	}
	return m, nil
}

// signalKey sends sig to the pVM that is picked now. What may end it is asked first.
func signalKey(sig syscall.Signal) func(model) (model, tea.Cmd) {
	return func(m model) (model, tea.Cmd) {
		i := m.row()
		if i < 0 {
			return m, nil
		}
		p := m.view.rows[i]
		if sig == syscall.SIGCONT || sig == syscall.SIGSTOP {
			return m, m.signal(p.PID, sig)
		}
		m.ask = &question{text: fmt.Sprintf("send %s to %s (%d)?", unix.SignalName(sig), printable(p.Name), p.PID), pid: p.PID, sig: sig}
		return m, nil
	}
}

func (m model) signal(pid int, sig syscall.Signal) tea.Cmd {
	return func() tea.Msg {
		if err := m.api.Signal(m.ctx, pid, int(sig)); err != nil {
			return signalMsg{err.Error()}
		}
		return signalMsg{fmt.Sprintf("%s sent to %d", unix.SignalName(sig), pid)}
	}
}

func helpText() []string {
	out := []string{"Keys", ""}
	for _, b := range bindings {
		out = append(out, fmt.Sprintf("  %-8s %s", b.keys[0], b.help))
	}
	return append(out, "", "Any key goes back.")
}
