package tui

import (
	"fmt"
	"syscall"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sys/unix"

	"kxsh/engine"
)

// menu chooses a signal for one pVM: the one under the cursor when it was opened, whatever happens to rows since.
type menu struct {
	target engine.Process
	sig    syscall.Signal
	tree   bool // also to all descendants
}

// lastSignal is the last one in the menu; what comes after it are the real-time ones.
const lastSignal = unix.SIGSYS

// menuKeys is the keys of the menu.
var menuKeys = []binding{
	{[]string{"enter"}, "send the signal", func(m model) (model, tea.Cmd) {
		cmd := m.send(*m.menu)
		m.menu = nil
		return m, cmd
	}},
	{[]string{"tab"}, "to it alone, or to all its descendants too", func(m model) (model, tea.Cmd) {
		m.menu = m.menu.with(func(n *menu) { n.tree = !n.tree })
		return m, nil
	}},
	{[]string{"up", "k"}, "the signal before", func(m model) (model, tea.Cmd) { return m.pickSignal(-1), nil }},
	{[]string{"down", "j"}, "the next signal", func(m model) (model, tea.Cmd) { return m.pickSignal(1), nil }},
	{[]string{"esc", "q"}, "send nothing", func(m model) (model, tea.Cmd) { m.menu = nil; return m, nil }},
}

// with is a copy that was changed: a model shares nothing that changes with those before it.
func (n menu) with(change func(*menu)) *menu {
	change(&n)
	return &n
}

func (m model) pickSignal(by syscall.Signal) model {
	m.menu = m.menu.with(func(n *menu) { n.sig = max(1, min(lastSignal, n.sig+by)) })
	return m
}

// openMenu is a key that opens the menu at sig.
func openMenu(sig syscall.Signal) func(model) (model, tea.Cmd) {
	return func(m model) (model, tea.Cmd) {
		if len(m.view.rows) > 0 {
			m.menu = &menu{target: *m.view.rows[m.at].Process, sig: sig}
		}
		return m, nil
	}
}

// signalKey is a key that sends, without asking, a signal that can be undone.
func signalKey(sig syscall.Signal) func(model) (model, tea.Cmd) {
	return func(m model) (model, tea.Cmd) {
		if len(m.view.rows) == 0 {
			return m, nil
		}
		return m, m.send(menu{target: *m.view.rows[m.at].Process, sig: sig})
	}
}

// same tells whether p is still the pVM that was chosen: a PID may be given again.
func (n *menu) same(p *engine.Process) bool {
	return p.PID == n.target.PID && p.Started.Equal(n.target.Started)
}

func (n *menu) name() string { return fmt.Sprintf("%s (%d)", printable(n.target.Name), n.target.PID) }

// send sends what the menu says, unless its pVM is not there any more: a snapshot may be old, and be read for long.
func (m model) send(n menu) tea.Cmd {
	return func() tea.Msg {
		snap, err := m.api.Snapshot(m.ctx, false)
		if err != nil {
			return signalMsg{err.Error()}
		}
		there := false
		for i := range snap.Processes {
			there = there || n.same(&snap.Processes[i])
		}
		if !there {
			return signalMsg{n.name() + " has ended: nothing sent"}
		}
		to, send := n.name(), m.api.Signal
		if n.tree {
			to, send = to+" and its descendants", m.api.SignalTree
		}
		if err := send(m.ctx, n.target.PID, int(n.sig)); err != nil {
			return signalMsg{n.name() + ": " + err.Error()}
		}
		return signalMsg{fmt.Sprintf("%s sent to %s", unix.SignalName(n.sig), to)}
	}
}

// lines draws the menu: the signals, and beside them who would get the chosen one.
func (n *menu) lines(v *view, width, height int) []string {
	hit := v.family(n)
	title := "Send a signal to " + n.name()
	if len(hit) == 0 {
		title = n.name() + " has ended"
	}
	others := max(0, len(hit)-1)
	who := fmt.Sprintf("to it alone; tab: descendants too (%d)", others)
	switch {
	case others == 0:
		who = "to it alone; it has no descendants"
	case n.tree:
		who = fmt.Sprintf("to its descendants too (%d); tab: alone", others)
	}
	out := []string{cut(title, width), cut(who, width), ""}
	if !n.tree {
		hit = hit[:min(1, len(hit))]
	}
	space := max(1, height-len(out))
	first := max(1, min(int(n.sig)-space/2, int(lastSignal)-space+1))
	for i := range space {
		line := ""
		if sig := syscall.Signal(first + i); sig <= lastSignal {
			mark := ' '
			if sig == n.sig {
				mark = '>'
			}
			line = fmt.Sprintf("%c %2d %-10s", mark, int(sig), unix.SignalName(sig))
		}
		switch left := len(hit) - i; {
		case i == space-1 && left > 1:
			line = fmt.Sprintf("%-16s… and %d more", line, left)
		case left > 0:
			line = fmt.Sprintf("%-16s%s%s (%d)", line, branch(hit, i), printable(hit[i].Name), hit[i].PID)
		}
		out = append(out, cut(line, width))
	}
	return out
}

// family is the rows of the menu's pVM and all that is below it, whether shown or not; none when it has ended.
func (v *view) family(n *menu) []row {
	nodes, _ := link(v.all)
	root := nodes[n.target.PID]
	if root == nil || !n.same(root.Process) {
		return nil
	}
	p := plot{sort: byPID}
	p.gather(root)
	p.add(root, -1, true)
	return p.rows
}
