package tui

import (
	"strings"
	"unicode"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
)

// prompt is the line being typed: a filter, or what to search for.
type prompt struct {
	search bool
	text   string
	err    error // why text is not understood, yet
	picked int   // where a search began
}

// line is the prompt as it is shown: the end of a text that is too long, then what there is to say of it.
func (p *prompt) line(width int, note string, wrong lipgloss.Style) string {
	title := "filter: "
	if p.search {
		title = "search: "
	}
	style := lipgloss.NewStyle()
	if p.err != nil {
		note, style = p.err.Error(), wrong
	}
	if note != "" {
		note = "   " + note
	}
	text, room := p.text, width-min(lipgloss.Width(note), width/2)
	for lipgloss.Width(title+text) >= room && text != "" {
		_, n := utf8.DecodeRuneInString(text)
		text = text[n:]
	}
	line := cut(title+text+"_", width)
	return line + style.Render(cut(note, width-lipgloss.Width(line)))
}

// promptKeys is what else than text is typed in the line.
var promptKeys = []binding{
	{[]string{"enter"}, "done; n and N go on to the next and to the one before", func(m model) (model, tea.Cmd) {
		if m.prompt.err == nil {
			m.prompt = nil
		}
		return m, nil
	}},
	{[]string{"esc"}, "no filter; back to where the search began", func(m model) (model, tea.Cmd) {
		if m.prompt.search {
			m.picked = m.prompt.picked
		} else {
			m = m.setFilter(filter{})
		}
		m.prompt = nil
		return m, nil
	}},
	{[]string{"backspace"}, "delete a character", func(m model) (model, tea.Cmd) {
		_, n := utf8.DecodeLastRuneInString(m.prompt.text)
		return m.typed(m.prompt.text[:len(m.prompt.text)-n]), nil
	}},
	{[]string{"ctrl+u"}, "delete all", func(m model) (model, tea.Cmd) { return m.typed(""), nil }},
}

// openSearch and openFilter begin a line; a filter goes on with the one there is.
func (m model) openSearch() model {
	m.prompt = &prompt{search: true, picked: m.picked}
	return m
}

func (m model) openFilter() model {
	m.prompt = &prompt{text: m.view.filter.text}
	return m
}

// insert adds what was typed or pasted.
func (m model) insert(s string) model {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	return m.typed(m.prompt.text + s)
}

// typed is the line's new text. It acts at once; one that is not understood leaves what there was.
func (m model) typed(text string) model {
	p := *m.prompt
	p.text = text
	var f filter
	if f, p.err = parseFilter(text); p.err == nil {
		if p.search {
			m.picked, m.search = p.picked, f
			m = m.settle().find(0, 1)
		} else {
			m = m.setFilter(f)
		}
	}
	m.prompt = &p
	return m
}

func (m model) setFilter(f filter) model {
	m.view.filter = f
	m.view.arrange()
	return m
}

// find moves the cursor to the next row that is searched for, from so many rows further on, around the ends.
func (m model) find(from, step int) model {
	n := len(m.view.rows)
	if n == 0 || m.search.empty() {
		return m
	}
	for i := range n {
		p := m.view.rows[((m.at+from+i*step)%n+n)%n].Process
		if m.search.keeps(p) {
			m.picked = p.PID
			return m
		}
	}
	m.note = "nothing found: " + m.search.text
	return m
}
