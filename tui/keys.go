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

// bindings is the keys that only look, actions those that do something to pVMs; help is made from them.
var bindings, actions []binding

func init() { // not an initialiser: helpText refers to the tables
	bindings = []binding{
		{[]string{"q", "f10", "ctrl+c"}, "quit", func(m model) (model, tea.Cmd) { return m, tea.Quit }},
		{[]string{"ctrl+z"}, "back to the shell, until fg", func(m model) (model, tea.Cmd) { return m, tea.Suspend }},
		{[]string{"up", "k"}, "up", func(m model) (model, tea.Cmd) { return m.move(-1), nil }},
		{[]string{"down", "j"}, "down", func(m model) (model, tea.Cmd) { return m.move(1), nil }},
		{[]string{"pgup"}, "a page up", func(m model) (model, tea.Cmd) { return m.move(-m.space()), nil }},
		{[]string{"pgdown"}, "a page down", func(m model) (model, tea.Cmd) { return m.move(m.space()), nil }},
		{[]string{"home", "g"}, "first", func(m model) (model, tea.Cmd) { return m.move(-far), nil }},
		{[]string{"end", "G"}, "last", func(m model) (model, tea.Cmd) { return m.move(far), nil }},
		{[]string{"s", ">", "f6"}, "sort by the next column", sortBeside(1)},
		{[]string{"<"}, "sort by the column before", sortBeside(-1)},
		{[]string{"P"}, "sort by %CPU", sortKey(byCPU.by)},
		{[]string{"M"}, "sort by MEM", sortKey(columnOf("mem"))},
		{[]string{"T"}, "sort by TIME", sortKey(columnOf("time"))},
		{[]string{"p"}, "sort by PID", sortKey(byPID.by)},
		{[]string{"I"}, "sort the other way round", func(m model) (model, tea.Cmd) { return m.sortBy(m.view.sort.by), nil }},
		{[]string{"t", "f5"}, "tree of families, or list", func(m model) (model, tea.Cmd) {
			m.view.tree = !m.view.tree
			m.view.arrange()
			return m, nil
		}},
		{[]string{"+", "-"}, "in the tree: fold descendants into one row, or unfold", inTree(func(m *model) { m.view.fold(m.picked) })},
		{[]string{"*"}, "in the tree: fold or unfold all", inTree(func(m *model) { m.view.foldAll() })},
		{[]string{"/", "f3"}, "search", func(m model) (model, tea.Cmd) { return m.openSearch(), nil }},
		{[]string{"n"}, "search on", func(m model) (model, tea.Cmd) { return m.find(1, 1), nil }},
		{[]string{"N"}, "search backwards", func(m model) (model, tea.Cmd) { return m.find(-1, -1), nil }},
		{[]string{"f", "f4"}, "filter", func(m model) (model, tea.Cmd) { return m.openFilter(), nil }},
		{[]string{"esc"}, "close the pane; then no filter", func(m model) (model, tea.Cmd) {
			if m.pane != nil {
				return m.closePane(), nil
			}
			return m.setFilter(filter{}), nil
		}},
		{[]string{"enter", "d"}, "details of the pVM, or close them", func(m model) (model, tea.Cmd) { return m.openPane(false) }},
		{[]string{"l"}, "its console, as it goes on", func(m model) (model, tea.Cmd) { return m.openPane(true) }},
		{[]string{"["}, "scroll details or console back", func(m model) (model, tea.Cmd) { return m.scrollPane(-m.paneSpace() / 2), nil }},
		{[]string{"]"}, "scroll them on", func(m model) (model, tea.Cmd) { return m.scrollPane(m.paneSpace() / 2), nil }},
		{[]string{"C", "f2"}, "menu of columns", func(m model) (model, tea.Cmd) { return m.openPicker(), nil }},
		{[]string{"ctrl+t"}, "the next theme", func(m model) (model, tea.Cmd) { return m.otherTheme(), nil }},
		{[]string{"?", "h", "f1"}, "this help", func(m model) (model, tea.Cmd) { m.help = 1; return m, nil }},
	}
	actions = []binding{
		{[]string{"space"}, "mark, or not any more: signals go to all that are marked", func(m model) (model, tea.Cmd) {
			if len(m.view.rows) > 0 {
				m.view.marked.toggle(m.picked)
			}
			return m.move(1), nil
		}},
		{[]string{"U"}, "mark none", func(m model) (model, tea.Cmd) { clear(m.view.marked); return m, nil }},
		{[]string{"x", "f9"}, "signal menu, at SIGTERM", openMenu(syscall.SIGTERM)},
		{[]string{"K"}, "signal menu, at SIGKILL", openMenu(syscall.SIGKILL)},
		{[]string{"z"}, "stop (SIGSTOP)", signalKey(syscall.SIGSTOP)},
		{[]string{"c"}, "continue (SIGCONT)", signalKey(syscall.SIGCONT)},
	}
}

// key handles a key press.
func (m model) key(k tea.KeyPressMsg) (model, tea.Cmd) {
	m.note = ""
	switch k.String() {
	case "ctrl+c":
		return m, tea.Quit
	case "ctrl+z":
		return m, tea.Suspend
	}
	if m.help > 0 {
		m.help += m.helpSpace()
		if slices.Contains([]string{"esc", "q", "?"}, k.String()) || m.help > len(m.helpText()) {
			m.help = 0
		}
		return m, nil
	}
	tables := [][]binding{bindings, actions}
	switch {
	case m.menu != nil:
		tables = [][]binding{menuKeys}
	case m.picker != nil:
		tables = [][]binding{pickerKeys}
	case m.prompt != nil:
		tables = [][]binding{promptKeys}
	}
	for i, table := range tables {
		for _, b := range table {
			if !slices.Contains(b.keys, k.String()) {
				continue
			}
			if i == 1 && m.o.ReadOnly {
				m.note = "read-only"
				return m, nil
			}
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

// helpText is the lines of the help, wrapped to the width of the screen. Titles begin at its left edge.
func (m model) helpText() []string {
	var out []string
	entry := func(key, text string) {
		line := fmt.Sprintf("  %-12s", key)
		for i, word := range strings.Fields(text) {
			if i > 0 && lipgloss.Width(line+" "+word) > m.width {
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
	if !m.o.ReadOnly {
		section("Actions", actions)
		section("In the signal menu", menuKeys)
	}
	section("In the menu of columns", pickerKeys)
	section("While a filter or a search is typed", promptKeys)
	for _, page := range []struct {
		title string
		lines [][2]string
	}{{"A filter or a search", filterHelp}, {"Mouse", mouseHelp}} {
		out = append(out, page.title)
		for _, line := range page.lines {
			entry(line[0], line[1])
		}
	}
	return out
}
