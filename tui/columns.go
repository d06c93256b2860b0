package tui

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"kxsh/engine"
)

// column is what there is to say of each pVM, in a table, to sort by and to filter by. It has a number or a word.
type column struct {
	key   string // in a filter
	title string
	about string
	width int
	spare int  // 0: always there; else the higher, the earlier it goes when there is no room; up to spareMost
	extra bool // not there at first
	left  bool // text begins at the left
	down  bool // sorted with the largest first
	unit  unit // of a number in a filter

	text   func(*row) string
	number func(*engine.Process, *load) float64
	word   func(*engine.Process) string
	list   func(*engine.Process) []string // of words, where a pVM has several
}

const spareMost = 4

// table is all columns but the last one, NAME, which is as wide as it comes.
var table = []*column{
	{key: "pid", title: "PID", about: "process ID", width: 5,
		text:   func(r *row) string { return fmt.Sprint(r.PID) },
		number: func(p *engine.Process, _ *load) float64 { return float64(p.PID) }},
	{key: "ppid", title: "PPID", about: "parent", width: 6, spare: 3,
		text:   func(r *row) string { return fmt.Sprint(r.PPID) },
		number: func(p *engine.Process, _ *load) float64 { return float64(p.PPID) }},
	{key: "fam", title: "FAM", about: "family", width: 6, spare: 1,
		text:   func(r *row) string { return fmt.Sprint(r.Family) },
		number: func(p *engine.Process, _ *load) float64 { return float64(p.Family) }},
	{key: "stat", title: "STAT", about: "R runs, S blocked, T stopped, Z dead; x: not ours", width: 4,
		text: func(r *row) string { return stat(r.Process) }, word: stat},
	{key: "cpu", title: "%CPU", about: "of one CPU", width: 6, down: true, unit: percent,
		text:   func(r *row) string { return fmt.Sprintf("%.1f", r.cpu) },
		number: func(_ *engine.Process, l *load) float64 { return math.Round(l.cpu*10) / 10 }}, // as it is shown
	{key: "mem", title: "MEM", about: "memory", width: 7, down: true, unit: bytes,
		text:   func(r *row) string { return size(r.memory) },
		number: func(_ *engine.Process, l *load) float64 { return float64(l.memory) }},
	{key: "shr", title: "SHR", about: "memory that others have, too", width: 7, spare: 4, down: true, unit: bytes,
		text:   func(r *row) string { return size(r.Shared) },
		number: func(p *engine.Process, _ *load) float64 { return float64(p.Shared) }},
	{key: "time", title: "TIME", about: "CPU time", width: 9, spare: 2, down: true, unit: seconds,
		text:   func(r *row) string { return cpuTime(r.time) },
		number: func(_ *engine.Process, l *load) float64 { return l.time.Seconds() }},
	{key: "priv", title: "PRIV", about: "memory of its own", width: 7, spare: 1, extra: true, down: true, unit: bytes,
		text:   func(r *row) string { return size(r.Private()) },
		number: func(p *engine.Process, _ *load) float64 { return float64(p.Private()) }},
	{key: "cow", title: "COW", about: "memory that a fork shares until somebody writes to it", width: 7, spare: 1, extra: true, down: true, unit: bytes,
		text:   func(r *row) string { return size(r.CoW) },
		number: func(p *engine.Process, _ *load) float64 { return float64(p.CoW) }},
	{key: "max", title: "MAXMEM", about: "the most memory that it may have", width: 7, spare: 1, extra: true, down: true, unit: bytes,
		text:   func(r *row) string { return size(r.MaxMem) },
		number: func(p *engine.Process, _ *load) float64 { return float64(p.MaxMem) }},
	{key: "age", title: "AGE", about: "since it was started", width: 6, spare: 1, extra: true, down: true, unit: seconds,
		text:   func(r *row) string { return ageText(age(r.Process)) },
		number: func(p *engine.Process, _ *load) float64 { return age(p).Seconds() }},
	{key: "vcpus", title: "VCPUS", about: "virtual CPUs", width: 5, spare: 1, extra: true, down: true,
		text:   func(r *row) string { return fmt.Sprint(r.VCPUs) },
		number: func(p *engine.Process, _ *load) float64 { return float64(p.VCPUs) }},
	{key: "uid", title: "UID", about: "user who started it", width: 6, spare: 1, extra: true,
		text:   func(r *row) string { return fmt.Sprint(r.UID) },
		number: func(p *engine.Process, _ *load) float64 { return float64(p.UID) }},
	{key: "ip", title: "IP", about: "address", width: 15, spare: 1, extra: true, left: true,
		text: func(r *row) string { return cmp.Or(r.IP, "-") }, word: func(p *engine.Process) string { return p.IP }},
	{key: "rx", title: "RX/s", about: "bytes a second that it receives", width: 6, spare: 1, extra: true, down: true, unit: bytes,
		text:   func(r *row) string { return rate(r, r.rx) },
		number: func(_ *engine.Process, l *load) float64 { return float64(l.rx) }},
	{key: "tx", title: "TX/s", about: "bytes a second that it sends", width: 6, spare: 1, extra: true, down: true, unit: bytes,
		text:   func(r *row) string { return rate(r, r.tx) },
		number: func(_ *engine.Process, l *load) float64 { return float64(l.tx) }},
	{key: "lib", title: "LIBRARIES", about: "shared libraries", width: 18, spare: 1, extra: true, left: true,
		text: func(r *row) string { return libraries(r.Process) }, word: libraries,
		list: func(p *engine.Process) []string { return p.Libs }},
	{key: "image", title: "IMAGE", about: "its file", width: 24, spare: 1, extra: true, left: true,
		text: func(r *row) string { return r.Image }, word: func(p *engine.Process) string { return p.Image }},
	{key: "args", title: "ARGS", about: "arguments, with the program's name", width: 24, spare: 1, extra: true, left: true,
		text: func(r *row) string { return arguments(r.Process) }, word: arguments},
}

// first is the columns that are there until the user chooses others.
func first() []*column {
	var out []*column
	for _, c := range table {
		if !c.extra {
			out = append(out, c)
		}
	}
	return out
}

var nameColumn = &column{key: "name", title: "NAME", about: "name", left: true,
	word: func(p *engine.Process) string { return p.Name }}

// columnOf returns the column of this key, or nil.
func columnOf(key string) *column {
	for _, c := range table {
		if c.key == key {
			return c
		}
	}
	if key == nameColumn.key {
		return nameColumn
	}
	return nil
}

// stat marks domains that others made with x, as ps does.
func stat(p *engine.Process) string {
	if p.Foreign {
		return p.Stat + "x"
	}
	return p.Stat
}

func libraries(p *engine.Process) string { return strings.Join(p.Libs, " ") }
func arguments(p *engine.Process) string { return strings.Join(p.Args, " ") }

// age is how long ago it was started; 0: nobody knows.
func age(p *engine.Process) time.Duration {
	if p.Started.IsZero() {
		return 0
	}
	return max(0, time.Since(p.Started))
}

// rate is bytes a second over a network that a pVM has, or, folded, a descendant.
func rate(r *row, n uint64) string {
	if r.Traffic == nil && n == 0 {
		return "-"
	}
	return size(n)
}

// ageText is a time in its two largest units.
func ageText(d time.Duration) string {
	s := int(d.Seconds())
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%dh", s/86400, s/3600%24)
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

// printable keeps a name from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
