package tui

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
)

// binding is one row of the key table: what is pressed, what help says, what happens.
type binding struct {
	keys []string // names of bubbletea
	help string
	do   func(model) (model, tea.Cmd)
}

// bindings is all keys; help is made from it.
var bindings []binding

func init() { // not an initialiser: helpText refers to the table
	bindings = []binding{
		{[]string{"q", "f10", "ctrl+c"}, "quit", func(m model) (model, tea.Cmd) { return m, tea.Quit }},
		{[]string{"up", "k"}, "up", func(m model) (model, tea.Cmd) { return m.move(-1), nil }},
		{[]string{"down", "j"}, "down", func(m model) (model, tea.Cmd) { return m.move(1), nil }},
		{[]string{"pgup"}, "a page up", func(m model) (model, tea.Cmd) { return m.move(-m.space()), nil }},
		{[]string{"pgdown"}, "a page down", func(m model) (model, tea.Cmd) { return m.move(m.space()), nil }},
		{[]string{"home", "g"}, "first", func(m model) (model, tea.Cmd) { return m.move(-len(m.view.rows)), nil }},
		{[]string{"end", "G"}, "last", func(m model) (model, tea.Cmd) { return m.move(len(m.view.rows)), nil }},
		{[]string{"s", "f6"}, "sort by the next column: %CPU, MEM, TIME, PID", func(m model) (model, tea.Cmd) {
			m.view.sort = (m.view.sort + 1) % orders
			m.view.arrange()
			return m, nil
		}},
		{[]string{"t", "f5"}, "tree of families, or list", func(m model) (model, tea.Cmd) {
			m.view.tree = !m.view.tree
			m.view.arrange()
			return m, nil
		}},
		{[]string{"space", "+", "-"}, "in the tree: fold descendants into one row, or unfold", inTree(func(m *model) { m.view.fold(m.picked) })},
		{[]string{"*"}, "in the tree: fold or unfold all", inTree(func(m *model) { m.view.foldAll() })},
		{[]string{"/", "f3"}, "search", func(m model) (model, tea.Cmd) { return m.openSearch(), nil }},
		{[]string{"n"}, "search on", func(m model) (model, tea.Cmd) { return m.find(1, 1), nil }},
		{[]string{"N"}, "search backwards", func(m model) (model, tea.Cmd) { return m.find(-1, -1), nil }},
		{[]string{"f", "f4"}, "filter", func(m model) (model, tea.Cmd) { return m.openFilter(), nil }},
		{[]string{"esc"}, "no filter", func(m model) (model, tea.Cmd) { return m.setFilter(filter{}), nil }},
		{[]string{"x", "f9"}, "signal menu, at SIGTERM", openMenu(syscall.SIGTERM)},
		{[]string{"K"}, "signal menu, at SIGKILL", openMenu(syscall.SIGKILL)},
		{[]string{"z"}, "stop (SIGSTOP)", signalKey(syscall.SIGSTOP)},
		{[]string{"c"}, "continue (SIGCONT)", signalKey(syscall.SIGCONT)},
		{[]string{"?", "h", "f1"}, "this help", func(m model) (model, tea.Cmd) { m.help = 1; return m, nil }},
	}
}

// key handles a key press.
func (m model) key(k tea.KeyPressMsg) (model, tea.Cmd) {
	m.note = ""
	if k.String() == "ctrl+c" {
		return m, tea.Quit
	}
	if m.help > 0 {
		if m.help += m.helpSpace(); m.help > len(helpText(m.width)) {
			m.help = 0
		}
		return m, nil
	}
	table := bindings
	switch {
	case m.menu != nil:
		table = menuKeys
	case m.prompt != nil:
		table = promptKeys
	}
	for _, b := range table {
		if slices.Contains(b.keys, k.String()) {
			return b.do(m)
		}
	}
	if m.prompt != nil {
		m = m.insert(k.Text)
	}
	return m, nil
}

// inTree does what only the tree view has.
func inTree(do func(*model)) func(model) (model, tea.Cmd) {
	return func(m model) (model, tea.Cmd) {
		if m.view.tree {
			do(&m)
		}
		return m, nil
	}
}

// helpText is the lines of the help, wrapped to width.
func helpText(width int) []string {
	var out []string
	entry := func(key, text string) {
		line := fmt.Sprintf("  %-12s", key)
		for i, word := range strings.Fields(text) {
			if i > 0 && lipgloss.Width(line+" "+word) > width {
				out = append(out, line)
				line = strings.Repeat(" ", 14)
			}
			line += " " + word
		}
		out = append(out, line)
	}
	section := func(title string, table []binding) {
		out = append(out, title)
		for _, b := range table {
			entry(strings.Join(b.keys, " "), b.help)
		}
	}
	section("Keys", bindings)
	section("In the signal menu", menuKeys)
	section("While a filter or a search is typed", promptKeys)
	out = append(out, "Words of a filter or a search")
	for _, s := range filterHelp {
		entry(s[0], s[1])
	}
	return out
}
