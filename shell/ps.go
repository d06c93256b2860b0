package shell

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"kxsh/engine"
)

// column is one column of ps.
type column struct {
	name  string // as -o and --sort have it
	head  string
	right bool
	text  func(p *engine.Process, now time.Time) string
	cmp   func(a, b *engine.Process) int
}

// columns is everything -o knows.
var columns = []column{
	number("pid", "PID", func(p *engine.Process) int { return p.PID }),
	number("ppid", "PPID", func(p *engine.Process) int { return p.PPID }),
	number("fam", "FAM", func(p *engine.Process) int { return p.Family }),
	word("stat", "STAT", stat),
	{"%cpu", "%CPU", true, func(p *engine.Process, _ time.Time) string { return strconv.FormatFloat(p.CPU, 'f', 1, 64) },
		func(a, b *engine.Process) int { return cmp.Compare(a.CPU, b.CPU) }},
	size("mem", "MEM", func(p *engine.Process) uint64 { return p.Memory }),
	size("maxmem", "MAXMEM", func(p *engine.Process) uint64 { return p.MaxMem }),
	size("shr", "SHR", func(p *engine.Process) uint64 { return p.Shared }),
	size("cow", "COW", func(p *engine.Process) uint64 { return p.CoW }),
	{"%shr", "%SHR", true, func(p *engine.Process, _ time.Time) string { return strconv.FormatFloat(sharedPart(p), 'f', 0, 64) },
		func(a, b *engine.Process) int { return cmp.Compare(sharedPart(a), sharedPart(b)) }},
	{"time", "TIME", true, func(p *engine.Process, _ time.Time) string { return clock(p.Time) },
		func(a, b *engine.Process) int { return cmp.Compare(a.Time, b.Time) }},
	word("name", "NAME", func(p *engine.Process) string { return p.Name + defunct(p) }),
	word("image", "IMAGE", func(p *engine.Process) string { return cmp.Or(p.Image, "-") }),
	word("args", "ARGS", argsText),
	word("libs", "LIBS", func(p *engine.Process) string { return cmp.Or(strings.Join(p.Libs, ","), "-") }),
	number("vcpus", "VCPUS", func(p *engine.Process) int { return p.VCPUs }),
	{"started", "STARTED", false, func(p *engine.Process, now time.Time) string { return shortTime(p.Started, now) },
		func(a, b *engine.Process) int { return a.Started.Compare(b.Started) }},
	number("uid", "UID", func(p *engine.Process) int { return p.UID }),
	number("hostpid", "HOSTPID", func(p *engine.Process) int { return p.HostPID }),
	word("ip", "IP", func(p *engine.Process) string { return cmp.Or(p.IP, "-") }),
	word("vif", "VIF", func(p *engine.Process) string { return cmp.Or(p.Vif, "-") }),
	traffic("rx", "RX", func(t *engine.Traffic) uint64 { return t.ReceivedBytes }),
	traffic("tx", "TX", func(t *engine.Traffic) uint64 { return t.SentBytes }),
	{"exit", "EXIT", true, func(p *engine.Process, _ time.Time) string { return exitText(p.Exit) },
		func(a, b *engine.Process) int { return cmp.Compare(exitCode(a), exitCode(b)) }},
}

const (
	defaultColumns = "pid,ppid,fam,stat,%cpu,mem,shr,time,name"
	narrowColumns  = "pid,stat,%cpu,mem,name" // on a terminal where the others would leave no room for names
	fullColumns    = "uid,pid,ppid,fam,stat,%cpu,mem,started,time,args"

	narrow = 56 // columns of such a terminal
)

func number(name, head string, f func(*engine.Process) int) column {
	return column{name, head, true, func(p *engine.Process, _ time.Time) string { return strconv.Itoa(f(p)) },
		func(a, b *engine.Process) int { return cmp.Compare(f(a), f(b)) }}
}

func size(name, head string, f func(*engine.Process) uint64) column {
	return column{name, head, true, func(p *engine.Process, _ time.Time) string { return humanBytes(f(p)) },
		func(a, b *engine.Process) int { return cmp.Compare(f(a), f(b)) }}
}

// traffic is bytes that have passed a network device; pVMs without one have none.
func traffic(name, head string, f func(*engine.Traffic) uint64) column {
	c := size(name, head, func(p *engine.Process) uint64 {
		if p.Traffic == nil {
			return 0
		}
		return f(p.Traffic)
	})
	text := c.text
	c.text = func(p *engine.Process, now time.Time) string {
		if p.Traffic == nil {
			return "-"
		}
		return text(p, now)
	}
	return c
}

func word(name, head string, f func(*engine.Process) string) column {
	return column{name, head, false, func(p *engine.Process, _ time.Time) string { return printable(f(p)) },
		func(a, b *engine.Process) int { return cmp.Compare(f(a), f(b)) }}
}

// sharedPart is how much of its memory a pVM shares, in percent.
func sharedPart(p *engine.Process) float64 {
	if p.Memory == 0 {
		return 0
	}
	return 100 * float64(min(p.Shared, p.Memory)) / float64(p.Memory)
}

// stat marks domains that others made with x.
func stat(p *engine.Process) string {
	if p.Foreign {
		return p.Stat + "x"
	}
	return p.Stat
}

// argsText has in brackets what has no arguments, as ps of Linux does.
func argsText(p *engine.Process) string {
	if p.Foreign {
		return "[" + p.Name + "]"
	}
	return strings.Join(p.Args, " ") + defunct(p)
}

// defunct says why a zombie ended, which the engine learns a moment later.
func defunct(p *engine.Process) string {
	switch {
	case p.Stat != "Z":
		return ""
	case p.Exit == nil:
		return " <defunct>"
	case p.Exit.Signal != 0:
		return " <defunct: " + signalName(syscall.Signal(p.Exit.Signal)) + ">"
	}
	return " <defunct: exit " + strconv.Itoa(p.Exit.Code) + ">"
}

func exitText(e *engine.Exit) string {
	if e == nil {
		return "-"
	}
	return strconv.Itoa(e.Code)
}

func exitCode(p *engine.Process) int {
	if p.Exit == nil {
		return -1
	}
	return p.Exit.Code
}

// findColumn finds a column by its name; cpu does for %cpu.
func findColumn(name string) *column {
	name = strings.ToLower(strings.TrimSpace(name))
	if name == "cpu" || name == "pcpu" {
		name = "%cpu"
	}
	for i := range columns {
		if columns[i].name == name {
			return &columns[i]
		}
	}
	return nil
}

func columnNames() []string {
	var names []string
	for _, col := range columns {
		names = append(names, col.name)
	}
	return names
}

var psCommand = Command{
	Name:     "ps",
	Synopsis: "[-e] [-f] [--forest] [-o COL,…] [--sort [-]COL] [--json] [--no-headers] [PID…]",
	Short:    "list pVMs, and domains that others made",
	Long: "STAT: R runs, S blocked, T stopped, Z dead but not waited for or its frames still in use, X ended; x: a domain that somebody else made.\n" +
		"Columns: " + strings.Join(columnNames(), " ") + ".\nMEM, SHR and COW are bytes; SHR is what of MEM other domains may use too, %SHR how much of MEM that is;\n" +
		"COW is what of SHR a fork shares, until somebody writes to it. %CPU is of one CPU over its life.",
	Examples: []string{"ps", "ps -e -o pid,name,exit", "ps --sort -mem", "ps --json | jq '.[].name'"},
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("all", "e", false, "also pVMs that have ended and are remembered")
		f.BoolP("full", "f", false, "more columns")
		f.Bool("forest", false, "children under their parents")
		f.StringP("format", "o", "", "the columns, separated by commas")
		f.String("sort", "pid", "sort by `[-]COL`, - for descending")
		f.Bool("json", false, "as JSON")
		f.Bool("no-headers", false, "without the line of headers")
	},
	FlagArgs: map[string]Kind{"format": Column, "sort": Column},
	Args:     PVM,
	Pages:    true,
	Run:      ps,
}

// bsdOptions tells what fingers type after ps that know Linux.
func bsdOptions(arg string) bool { return len(arg) <= 6 && strings.Trim(arg, "aefluwx") == "" }

func ps(c *Call) error {
	cols, err := c.psColumns()
	if err != nil {
		return err
	}
	key := c.flagString("sort")
	by := findColumn(strings.TrimLeft(key, "+-"))
	if by == nil {
		return usagef("--sort %s: no such column; columns: %s", key, strings.Join(columnNames(), " "))
	}
	api, err := c.Engine()
	if err != nil {
		return err
	}
	all := c.flagBool("all")
	snap, err := api.Snapshot(c, all)
	if err != nil {
		return err
	}
	list, missing := pick(snap, c.Args)
	for _, arg := range missing {
		hint := ""
		if bsdOptions(arg) {
			hint = ": options begin with a dash: ps -f"
		}
		c.warnf("%v%s", noPVM(arg), hint)
	}
	slices.SortStableFunc(list, func(a, b engine.Process) int { return by.cmp(&a, &b) })
	if strings.HasPrefix(key, "-") {
		slices.Reverse(list)
	}
	var indent []string
	if c.flagBool("forest") {
		list, indent = forest(list)
	}
	if c.flagBool("json") {
		err = writeJSON(c.Stdout, list)
	} else {
		err = c.psTable(list, cols, indent, snap.Time)
	}
	if err == nil && len(missing) > 0 {
		return Status(1)
	}
	return err
}

// psColumns are the columns asked for.
func (c *Call) psColumns() ([]*column, error) {
	want := c.flagString("format")
	switch {
	case want == "" && c.flagBool("full"):
		want = fullColumns
	case want == "" && width(c.Stdout) > 0 && width(c.Stdout) < narrow:
		want = narrowColumns
	case want == "":
		want = defaultColumns
	}
	var cols []*column
	for name := range strings.SplitSeq(want, ",") {
		col := findColumn(name)
		if col == nil {
			return nil, usagef("-o %s: no such column; columns: %s", name, strings.Join(columnNames(), " "))
		}
		cols = append(cols, col)
	}
	return cols, nil
}

// pick returns the processes that the arguments name, each once, and the arguments that name none.
func pick(snap *engine.Snapshot, args []string) (list []engine.Process, missing []string) {
	if len(args) == 0 {
		return append([]engine.Process{}, snap.Processes...), nil
	}
	list = []engine.Process{} // JSON wants an empty array
	want := map[int]bool{}
	for _, arg := range args {
		found := match(snap, arg)
		if pid, err := strconv.Atoi(arg); err == nil {
			found = nil
			for _, p := range snap.Processes {
				if p.PID == pid {
					found = append(found, p)
				}
			}
		}
		if len(found) == 0 {
			missing = append(missing, arg)
		}
		for _, p := range found {
			want[p.PID] = true
		}
	}
	for _, p := range snap.Processes {
		if want[p.PID] {
			list = append(list, p)
		}
	}
	return list, missing
}

// forest orders the list so that children follow their parents, and returns what to put before each
// name.
func forest(list []engine.Process) ([]engine.Process, []string) {
	here := map[int]bool{}
	for _, p := range list {
		here[p.PID] = true
	}
	children := map[int][]engine.Process{}
	for _, p := range list {
		parent := p.PPID
		if !here[parent] {
			parent = 0
		}
		children[parent] = append(children[parent], p)
	}
	var out []engine.Process
	var indent []string
	var walk func(pid int, prefix string)
	walk = func(pid int, prefix string) {
		for _, p := range children[pid] {
			out = append(out, p)
			if pid == 0 {
				indent = append(indent, "")
				walk(p.PID, " ")
				continue
			}
			indent = append(indent, prefix+`\_ `)
			walk(p.PID, prefix+"   ")
		}
	}
	walk(0, "")
	return out, indent
}

// psTable prints the table.
func (c *Call) psTable(list []engine.Process, cols []*column, indent []string, now time.Time) error {
	g := grid{rows: make([][]string, 0, len(list))}
	for _, col := range cols {
		g.head = append(g.head, col.head)
		g.right = append(g.right, col.right)
	}
	for i := range list {
		row := make([]string, len(cols))
		for k, col := range cols {
			row[k] = col.text(&list[i], now)
			if indent != nil && (col.name == "name" || col.name == "args") {
				row[k] = indent[i] + row[k]
			}
		}
		g.rows = append(g.rows, row)
	}
	return g.write(c.Stdout, !c.flagBool("no-headers"), width(c.Stdout), c.style().head)
}
