package tui

import (
	"fmt"
	"slices"

	tea "charm.land/bubbletea/v2"
)

// picker is the menu of columns: those that are shown in their order, then the others. NAME is always the last one.
type picker struct {
	list []*column
	on   map[*column]bool
	at   int
}

// pickerKeys is the keys of the menu.
var pickerKeys = []binding{
	{[]string{"space"}, "show the column, or not", func(m model) (model, tea.Cmd) {
		return m.pick(func(p *picker) { p.on[p.list[p.at]] = !p.on[p.list[p.at]] }), nil
	}},
	{[]string{"up", "k"}, "the column before", func(m model) (model, tea.Cmd) { return m.pickAt(m.picker.at - 1), nil }},
	{[]string{"down", "j"}, "the next column", func(m model) (model, tea.Cmd) { return m.pickAt(m.picker.at + 1), nil }},
	{[]string{"-", "K"}, "move it up, to the left", func(m model) (model, tea.Cmd) { return m.pick(func(p *picker) { p.move(-1) }), nil }},
	{[]string{"+", "J"}, "move it down, to the right", func(m model) (model, tea.Cmd) { return m.pick(func(p *picker) { p.move(1) }), nil }},
	{[]string{"s"}, "sort by it, or the other way round", func(m model) (model, tea.Cmd) { return m.sortBy(m.picker.list[m.picker.at]), nil }},
	{[]string{"D"}, "the columns that there were at first", func(m model) (model, tea.Cmd) {
		m.view.columns = first()
		return m.openPicker(), nil
	}},
	{[]string{"enter", "esc", "q", "C", "f2"}, "done", func(m model) (model, tea.Cmd) { m.picker = nil; return m, nil }},
}

// openPicker opens the menu.
func (m model) openPicker() model {
	p := &picker{list: slices.Clone(m.view.columns), on: map[*column]bool{}}
	for _, c := range m.view.columns {
		p.on[c] = true
	}
	for _, c := range table {
		if !p.on[c] {
			p.list = append(p.list, c)
		}
	}
	m.picker = p
	return m
}

// pick changes the menu, and the table at once.
func (m model) pick(change func(*picker)) model {
	p := *m.picker
	p.list, p.on = slices.Clone(p.list), make(map[*column]bool, len(p.on))
	for c, on := range m.picker.on {
		p.on[c] = on
	}
	change(&p)
	m.picker = &p
	m.view.columns = nil
	for _, c := range p.list {
		if p.on[c] {
			m.view.columns = append(m.view.columns, c)
		}
	}
	return m
}

func (m model) pickAt(at int) model {
	p := *m.picker
	p.at = max(0, min(len(p.list)-1, at))
	m.picker = &p
	return m
}

// move changes places with the column so many further down.
func (p *picker) move(by int) {
	if to := p.at + by; to >= 0 && to < len(p.list) {
		p.list[p.at], p.list[to] = p.list[to], p.list[p.at]
		p.at = to
	}
}

// pickerTop is how many lines the menu has above its columns.
const pickerTop = 2

// first is the first column that is on a screen with room for so many lines.
func (p *picker) first(height int) int {
	space := max(1, height-pickerTop)
	return max(0, min(p.at-space/2, len(p.list)-space))
}

func (m model) pickerLines(height int) []string {
	p := m.picker
	fit := m.view.fitting(m.width)
	out := []string{m.headed("Columns, from left to right; NAME is the last", m.width), ""}
	for i := p.first(height); i < len(p.list) && len(out) < height; i++ {
		c := p.list[i]
		mark, cursor := ' ', ' '
		about := c.about
		if p.on[c] {
			if mark = 'x'; !slices.Contains(fit, c) {
				about = "(no room) " + about
			}
		}
		if i == p.at {
			cursor = '>'
		}
		line := cut(fmt.Sprintf("%c [%c] %-9s  %s", cursor, mark, c.title, about), m.width)
		if i == p.at {
			line = m.theme.picked.Render(pad(line, m.width))
		}
		out = append(out, line)
	}
	return out
}
