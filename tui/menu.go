package tui

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sys/unix"

	"kxsh/engine"
)

// menu chooses a signal for pVMs: those that were marked when it was opened, or else the one under the cursor then, whatever
// happens to rows and marks since.
type menu struct {
	targets []engine.Process
	sig     syscall.Signal
	tree    bool // also to all descendants
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
	{[]string{"tab"}, "to the pVMs alone, or to all their descendants too", func(m model) (model, tea.Cmd) {
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

// targets is copies of the marked pVMs, by PID, without any the one under the cursor, or that of the pane which hides it.
func (m model) targets() []engine.Process {
	var out []engine.Process
	for i := range m.view.all { // by PID
		if p := &m.view.all[i]; m.view.marked[p.PID] {
			out = append(out, *p)
		}
	}
	switch {
	case out != nil:
	case m.whole():
		out = append(out, m.pane.target)
	case len(m.view.rows) > 0:
		out = append(out, *m.view.rows[m.at].Process)
	}
	return out
}

// openMenu is a key that opens the menu at sig.
func openMenu(sig syscall.Signal) func(model) (model, tea.Cmd) {
	return func(m model) (model, tea.Cmd) {
		if to := m.targets(); to != nil {
			m.menu = &menu{targets: to, sig: sig}
		}
		return m, nil
	}
}

// signalKey is a key that sends, without asking, a signal that can be undone.
func signalKey(sig syscall.Signal) func(model) (model, tea.Cmd) {
	return func(m model) (model, tea.Cmd) {
		if to := m.targets(); to != nil {
			return m, m.send(menu{targets: to, sig: sig})
		}
		return m, nil
	}
}

// same tells whether p is still the pVM that was chosen: a PID may be given again.
func same(p, chosen *engine.Process) bool {
	return p != nil && p.PID == chosen.PID && p.Started.Equal(chosen.Started)
}

func nameOf(p *engine.Process) string { return fmt.Sprintf("%s (%d)", printable(p.Name), p.PID) }

// who is the target, or how many they are.
func (n *menu) who() string {
	if len(n.targets) == 1 {
		return nameOf(&n.targets[0])
	}
	return fmt.Sprintf("%d marked pVMs", len(n.targets))
}

// send sends what the menu says, but to no pVM that is not there any more: a snapshot may be old, and be read for long.
func (m model) send(n menu) tea.Cmd {
	return func() tea.Msg {
		snap, err := m.api.Snapshot(m.ctx, false)
		if err != nil {
			return signalMsg{err.Error()}
		}
		now := newView()
		now.update(snap)
		n.targets = now.reached(&n)
		var sent []*engine.Process
		var failed []string
		for i := range n.targets {
			p, send := &n.targets[i], m.api.Signal
			if n.tree {
				send = m.api.SignalTree
			}
			if !same(now.find(p.PID), p) {
				failed = append(failed, nameOf(p)+" has ended: nothing sent")
			} else if err := send(m.ctx, p.PID, int(n.sig)); err != nil {
				failed = append(failed, nameOf(p)+": "+err.Error())
			} else {
				sent = append(sent, p)
			}
		}
		return signalMsg{report(&n, sent, failed)}
	}
}

// reached is the targets without those that get the signal as descendants of others.
func (v *view) reached(n *menu) []engine.Process {
	if !n.tree {
		return n.targets
	}
	targets := map[int]*engine.Process{}
	for i := range n.targets {
		targets[n.targets[i].PID] = &n.targets[i]
	}
	return slices.DeleteFunc(slices.Clone(n.targets), func(t engine.Process) bool {
		p := v.find(t.PID)
		if !same(p, &t) {
			return false
		}
		for range v.all { // as far as a chain of ancestors can be
			if p = v.find(p.PPID); p == nil {
				return false
			}
			if above := targets[p.PID]; above != nil && same(p, above) {
				return true
			}
		}
		return false
	})
}

// report tells what became of a signal.
func report(n *menu, sent []*engine.Process, failed []string) string {
	var out []string
	if len(sent) > 0 {
		to := fmt.Sprintf("%d pVMs", len(sent))
		if len(sent) == 1 {
			to = nameOf(sent[0])
		}
		if n.tree {
			to += " and all descendants"
		}
		out = append(out, fmt.Sprintf("%s sent to %s", unix.SignalName(n.sig), to))
	}
	return strings.Join(append(out, failed...), "; ")
}

// lines draws the menu: the signals, and beside them who would get the chosen one.
func (n *menu) lines(v *view, width, height int) []string {
	hit, ended := v.hit(n)
	title := "Send a signal to " + n.who()
	switch {
	case ended == len(n.targets) && ended == 1:
		title = n.who() + " has ended"
	case ended > 0:
		title += fmt.Sprintf(", %d of which have ended", ended)
	}
	alone, all := len(n.targets)-ended, len(hit)
	it := "it"
	if len(n.targets) > 1 {
		it = "them"
	}
	who := fmt.Sprintf("to %s alone; tab: descendants too (%d)", it, all-alone)
	switch {
	case all == alone:
		who = fmt.Sprintf("to %s alone; no descendants", it)
	case n.tree:
		who = fmt.Sprintf("to all descendants too (%d); tab: alone", all-alone)
	}
	out := []string{cut(title, width), cut(who, width), ""}
	if !n.tree {
		hit = v.alone(n)
	}
	first, space := n.shown(height)
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
			line = fmt.Sprintf("%-16s%s%s", line, branch(hit, i), nameOf(hit[i].Process))
		}
		out = append(out, cut(line, width))
	}
	return out
}

// menuTop is how many lines the menu has above its signals.
const menuTop = 3

// shown is the first signal that is on a screen with room for so many lines, and for how many there is room.
func (n *menu) shown(height int) (first, space int) {
	space = max(1, height-menuTop)
	return max(1, min(int(n.sig)-space/2, int(lastSignal)-space+1)), space
}

// hit is the rows of the menu's pVMs and all that is below them, whether shown or not, and how many targets have ended.
func (v *view) hit(n *menu) (rows []row, ended int) {
	nodes, _ := link(v.all)
	p := plot{sort: byPID}
	tree := menu{targets: n.targets, tree: true}
	for i := range n.targets {
		if t := &n.targets[i]; !same(v.find(t.PID), t) {
			ended++
		}
	}
	for _, t := range v.reached(&tree) {
		if root := nodes[t.PID]; root != nil && same(root.Process, &t) {
			p.gather(root)
			p.add(root, -1, true)
		}
	}
	return p.rows, ended
}

// alone is the rows of the menu's pVMs without what is below them.
func (v *view) alone(n *menu) []row {
	var rows []row
	for i := range n.targets {
		if p := v.find(n.targets[i].PID); same(p, &n.targets[i]) {
			rows = append(rows, row{Process: p, parent: -1})
		}
	}
	return rows
}
