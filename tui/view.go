package tui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"kxsh/engine"
)

// view is what is on the screen: the newest snapshot, with rates since the one before, in order.
type view struct {
	snap *engine.Snapshot
	prev map[int]time.Duration // CPU time by PID in the snapshot before
	at   time.Time             // of that snapshot
	rows []engine.Process
	sort order
}

// order is what the rows are sorted by.
type order int

const (
	byCPU order = iota
	byMemory
	byTime
	byPID
	orders // how many there are
)

func (o order) String() string { return [...]string{"%CPU", "MEM", "TIME", "PID"}[o] }

func (v *view) update(s *engine.Snapshot) {
	since := s.Time.Sub(v.at)
	rows := slices.Clone(s.Processes)
	for i := range rows {
		if before, ok := v.prev[rows[i].PID]; ok && since > 0 {
			rows[i].CPU = float64(rows[i].Time-before) / float64(since) * 100
		}
	}
	v.prev = make(map[int]time.Duration, len(rows))
	for _, p := range rows {
		v.prev[p.PID] = p.Time
	}
	v.snap, v.at, v.rows = s, s.Time, rows
	v.arrange()
}

// arrange sorts the rows; equals stay in the order of their PIDs, so that rows do not dance.
func (v *view) arrange() {
	slices.SortStableFunc(v.rows, func(a, b engine.Process) int {
		switch v.sort {
		case byCPU:
			return descending(a.CPU, b.CPU, a.PID, b.PID)
		case byMemory:
			return descending(a.Memory, b.Memory, a.PID, b.PID)
		case byTime:
			return descending(a.Time, b.Time, a.PID, b.PID)
		}
		return a.PID - b.PID
	})
}

func descending[T int | uint64 | float64 | time.Duration](a, b T, pa, pb int) int {
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return pa - pb
}

func (v *view) header() []string {
	counts := map[string]int{}
	var mem uint64
	others := ""
	for _, p := range v.rows {
		if p.Foreign {
			counts["x"]++
			others = fmt.Sprintf("   others' domains: %d", counts["x"])
			continue
		}
		counts[p.Stat]++
		mem += p.Memory
	}
	return []string{
		fmt.Sprintf("kxsh top  %s  %s on %s, up %v", v.snap.Time.Format("15:04:05"), v.snap.Hypervisor, v.snap.Host, v.snap.Uptime.Round(time.Second)),
		fmt.Sprintf("pVMs: %d, %d running, %d sleeping, %d stopped, %d zombie   memory: %s   pool: %d of %d%s",
			len(v.rows)-counts["x"], counts["R"], counts["S"], counts["T"], counts["Z"], size(mem), v.snap.Pool.Ready, v.snap.Pool.Want, others),
		"",
	}
}

// column is one column of the table.
type column struct {
	title string
	width int // 0: as wide as it comes, at the end
	text  func(*engine.Process) string
}

var columns = []column{
	{"PID", 6, func(p *engine.Process) string { return fmt.Sprint(p.PID) }},
	{"PPID", 6, func(p *engine.Process) string { return fmt.Sprint(p.PPID) }},
	{"FAM", 6, func(p *engine.Process) string { return fmt.Sprint(p.Family) }},
	{"STAT", 4, stat},
	{"%CPU", 6, func(p *engine.Process) string { return fmt.Sprintf("%.1f", p.CPU) }},
	{"MEM", 7, func(p *engine.Process) string { return size(p.Memory) }},
	{"SHR", 7, func(p *engine.Process) string { return size(p.Shared) }},
	{"TIME", 9, func(p *engine.Process) string { return cpuTime(p.Time) }},
	{"NAME", 0, func(p *engine.Process) string { return p.Name }},
}

// stat marks domains that others made with x, as ps does.
func stat(p *engine.Process) string {
	if p.Foreign {
		return p.Stat + "x"
	}
	return p.Stat
}

// lines is the table: a title line, then one a pVM, cut to width (0: not cut).
func (v *view) lines(width int) []string {
	out := make([]string, 0, len(v.rows)+1)
	var b strings.Builder
	line := func(cell func(c *column) string) {
		b.Reset()
		for i := range columns {
			c := &columns[i]
			if i > 0 {
				b.WriteByte(' ')
			}
			s := cell(c)
			if pad := c.width - len(s); pad > 0 {
				b.WriteString("                "[:pad])
			}
			b.WriteString(s)
		}
		s := b.String()
		if r := []rune(s); width > 0 && len(r) > width {
			s = string(r[:width])
		}
		out = append(out, s)
	}
	line(func(c *column) string { return c.title })
	for i := range v.rows {
		line(func(c *column) string { return printable(c.text(&v.rows[i])) })
	}
	return out
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
