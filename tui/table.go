package tui

import (
	"fmt"
	"strings"
	"time"
)

// column is one column of the table.
type column struct {
	title string
	width int
	spare int // 0: always there; else the higher, the earlier it goes when there is no room
	text  func(*row) string
}

// columns is all but the last one, NAME, which is as wide as it comes.
var columns = []column{
	{"PID", 6, 0, func(r *row) string { return fmt.Sprint(r.PID) }},
	{"PPID", 6, 3, func(r *row) string { return fmt.Sprint(r.PPID) }},
	{"FAM", 6, 1, func(r *row) string { return fmt.Sprint(r.Family) }},
	{"STAT", 4, 0, stat},
	{"%CPU", 6, 0, func(r *row) string { return fmt.Sprintf("%.1f", r.cpu) }},
	{"MEM", 7, 0, func(r *row) string { return size(r.memory) }},
	{"SHR", 7, 4, func(r *row) string { return size(r.Shared) }},
	{"TIME", 9, 2, func(r *row) string { return cpuTime(r.time) }},
}

// nameWidth is what names get at least, as long as a column can be spared.
const nameWidth = 12

// fitting returns the columns for which a line of width has room (0: any).
func fitting(width int) []*column {
	need := nameWidth
	for i := range columns {
		need += columns[i].width + 1
	}
	least := 5 // the lowest spare that has to go
	for width > 0 && need > width && least > 1 {
		least--
		for i := range columns {
			if columns[i].spare == least {
				need -= columns[i].width + 1
			}
		}
	}
	var out []*column
	for i := range columns {
		if columns[i].spare < least {
			out = append(out, &columns[i])
		}
	}
	return out
}

// stat marks domains that others made with x, as ps does.
func stat(r *row) string {
	if r.Foreign {
		return r.Stat + "x"
	}
	return r.Stat
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
func title(width int) string {
	return tableLine(width, func(c *column) string { return c.title }, "NAME")
}

// line is the table's row i.
func (v *view) line(i, width int) string {
	return tableLine(width, func(c *column) string { return printable(c.text(&v.rows[i])) }, v.name(i))
}

func tableLine(width int, cell func(c *column) string, name string) string {
	var b strings.Builder
	for _, c := range fitting(width) {
		s := cell(c)
		if pad := c.width - len(s); pad > 0 {
			b.WriteString("                "[:pad])
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

// printable keeps a name from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// size is a number of bytes in at most five characters.
func size(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprint(n)
	}
	f := float64(n)
	for i := range units {
		if f /= 1024; f < 1000 || i == len(units)-1 {
			if f < 10 {
				return fmt.Sprintf("%.1f%c", f, units[i])
			}
			return fmt.Sprintf("%.0f%c", f, units[i])
		}
	}
	return ""
}

// cpuTime is minutes, seconds and hundredths, as top has it.
func cpuTime(d time.Duration) string {
	cs := d / (10 * time.Millisecond)
	return fmt.Sprintf("%d:%02d.%02d", cs/6000, cs/100%60, cs%100)
}
