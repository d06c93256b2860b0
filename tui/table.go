package tui

import (
	"fmt"
	"slices"
	"strings"
)

// nameWidth is what names get at least, as long as a column can be spared.
const nameWidth = 12

// fitting returns the columns for which a line of width has room (0: any); NAME comes after them. Those that can be spared sooner go first, and
// of equals the last one.
func (v *view) fitting(width int) []*column {
	need := 1 + nameWidth
	for _, c := range v.columns {
		need += c.width + 1
	}
	out := slices.Clone(v.columns)
	for spare := spareMost; spare > 0; spare-- {
		for i := len(out) - 1; i >= 0 && width > 0 && need > width; i-- {
			if c := out[i]; c.spare == spare {
				need -= c.width + 1
				out = slices.Delete(out, i, i+1)
			}
		}
	}
	return out
}

// name is the name's cell: in the tree behind its branch, and with how many are folded into it.
func (v *view) name(i int) string {
	r := &v.rows[i]
	s := branch(v.rows, i) + printable(r.Name)
	if r.below > 0 {
		s += fmt.Sprintf(" [+%d]", r.below)
	}
	return s
}

// title is the line above the table, cut to width (0: not cut).
func title(columns []*column, width int) string {
	return tableLine(columns, width, ' ', func(c *column) string { return c.title }, nameColumn.title)
}

// line is the table's row i. A marked one begins with a star.
func (v *view) line(columns []*column, i, width int) string {
	r := &v.rows[i]
	mark := byte(' ')
	if v.marked[r.PID] {
		mark = '*'
	}
	return tableLine(columns, width, mark, func(c *column) string { return printable(c.text(r)) }, v.name(i))
}

func tableLine(columns []*column, width int, mark byte, cell func(c *column) string, name string) string {
	var b strings.Builder
	b.WriteByte(mark)
	for _, c := range columns {
		s := cell(c)
		if c.left {
			s = pad(cut(s, c.width), c.width)
		} else if n := c.width - len(s); n > 0 {
			b.WriteString("                "[:n])
		}
		b.WriteString(s)
		b.WriteByte(' ')
	}
	b.WriteString(name)
	if width > 0 {
		return cut(b.String(), width)
	}
	return b.String()
}
