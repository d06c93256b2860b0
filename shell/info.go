package shell

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"kxsh/engine"
)

// jsonFlag declares --json.
func jsonFlag(f *pflag.FlagSet) { f.Bool("json", false, "as JSON") }

var infoCommand = Command{
	Name:     "info",
	Synopsis: "[--json]",
	Short:    "describe engine, hypervisor and host",
	Flags:    jsonFlag,
	Run: func(c *Call) error {
		if err := c.want(0, 0); err != nil {
			return err
		}
		api, err := c.Engine()
		if err != nil {
			return err
		}
		i, err := api.Info(c)
		if err != nil {
			return err
		}
		if c.flagBool("json") {
			return writeJSON(c.Stdout, i)
		}
		f := fields{c: c}
		f.add("engine", "%s, PID %d, up %s", i.Version, i.PID, humanDuration(time.Since(i.Started)))
		f.add("socket", "%s", i.Socket)
		f.add("state", "%s", i.State)
		f.add("host", "%s, %d CPUs, %s memory, %s free", i.Host, i.CPUs, humanBytes(i.Memory), humanBytes(i.FreeMemory))
		f.add("hypervisor", "%s %s", i.Hypervisor, i.HVVersion)
		f.add("scheduler", "%s", i.Scheduler)
		if len(i.Sandbox) > 0 {
			f.add("sandbox", "%s", strings.Join(i.Sandbox, ", "))
		}
		if i.Metrics != "" {
			f.add("metrics", "%s", i.Metrics)
		}
		f.add("pVMs", "%d running", i.Running)
		f.add("pool", "%d of %d blank domains ready", i.Pool.Ready, i.Pool.Want)
		f.add("placeholders", "%d of %d ready", i.Pool.Placeholders.Ready, i.Pool.Placeholders.Want)
		return f.write()
	},
}

// fields prints lines of key and value.
type fields struct {
	c    *Call
	keys []string
	vals []string
}

func (f *fields) add(key, format string, a ...any) {
	f.keys = append(f.keys, key)
	f.vals = append(f.vals, fmt.Sprintf(format, a...))
}

func (f *fields) write() error {
	wide := 0
	for _, k := range f.keys {
		wide = max(wide, len(k))
	}
	st := f.c.style()
	var b strings.Builder
	for i, k := range f.keys {
		b.WriteString(st.key(k) + strings.Repeat(" ", wide-len(k)+2) + printable(f.vals[i]) + "\n")
	}
	_, err := io.WriteString(f.c.Stdout, b.String())
	return err
}

var versionCommand = Command{
	Name:  "version",
	Short: "print the version",
	Run: func(c *Call) error {
		if err := c.want(0, 0); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.Stdout, "kxsh %s (%s, %s/%s)\n", c.shell.cfg.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	},
}

var eventsCommand = Command{
	Name:     "events",
	Synopsis: "[-f] [--json]",
	Short:    "print what happened",
	Long:     "--json prints one object a line, also with -f.",
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("follow", "f", false, "go on with new ones as they come")
		f.Bool("json", false, "as JSON")
	},
	Pages: true,
	Run:   events,
}

func events(c *Call) error {
	if err := c.want(0, 0); err != nil {
		return err
	}
	api, err := c.Engine()
	if err != nil {
		return err
	}
	r, err := api.Events(c, 0, c.flagBool("follow"))
	if err != nil {
		return err
	}
	defer r.Close()
	defer context.AfterFunc(c, func() { r.Close() })()
	for {
		e, err := r.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if c.flagBool("json") {
			err = writeJSONLine(c.Stdout, e)
		} else {
			_, err = fmt.Fprintln(c.Stdout, eventLine(&e))
		}
		if err != nil {
			return err
		}
	}
}

// eventLine is an event for people.
func eventLine(e *engine.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-9s", e.Time.Local().Format("15:04:05.000"), e.Type)
	if e.PID != 0 {
		fmt.Fprintf(&b, " %d", e.PID)
	}
	for _, word := range []string{e.Name, e.Text} {
		if word != "" {
			b.WriteString(" " + printable(oneLine(word)))
		}
	}
	var steps []engine.Step // without the steps of steps, which inspect and --json show
	for _, s := range e.Steps {
		if !strings.Contains(s.Name, ": ") {
			steps = append(steps, s)
		}
	}
	if len(steps) > 0 {
		b.WriteString(" [" + stepsLine(steps) + "]")
	}
	return b.String()
}

// stepsLine is named, timed steps on one line.
func stepsLine(steps []engine.Step) string {
	var parts []string
	for _, s := range steps {
		parts = append(parts, s.Name+" "+humanDuration(s.Took))
	}
	return strings.Join(parts, ", ")
}

var statsCommand = Command{
	Name:     "stats",
	Synopsis: "[--json] [--no-headers] [PID…] | --openmetrics",
	Short:    "print what each pVM uses, once",
	Long: "With --openmetrics what the engine counts and measures, as OpenMetrics text: what it serves at the address that the\n" +
		"setting metrics names, without a listener.",
	Examples: []string{"stats web", "stats --openmetrics | grep ^kxsh_pvms"},
	Flags: func(f *pflag.FlagSet) {
		f.Bool("json", false, "as JSON")
		f.Bool("no-headers", false, "without the line of headers")
		f.Bool("openmetrics", false, "the engine's metrics as OpenMetrics text")
	},
	Args:  PVM,
	Pages: true,
	Run: func(c *Call) error {
		if c.flagBool("openmetrics") && (len(c.Args) > 0 || c.flagBool("json")) {
			return usagef("--openmetrics goes alone")
		}
		api, err := c.Engine()
		if err != nil {
			return err
		}
		if c.flagBool("openmetrics") {
			text, err := api.Metrics(c)
			if err == nil {
				_, err = c.Stdout.Write(text)
			}
			return err
		}
		snap, err := api.Snapshot(c, false)
		if err != nil {
			return err
		}
		if len(c.Args) == 0 {
			snap.Processes = slices.DeleteFunc(snap.Processes, func(p engine.Process) bool { return p.Foreign })
		}
		list, missing := pick(snap, c.Args)
		for _, arg := range missing {
			c.warnf("%v", noPVM(arg))
		}
		if c.flagBool("json") {
			err = writeJSON(c.Stdout, statsOf(list))
		} else {
			var cols []*column
			for _, name := range []string{"pid", "name", "%cpu", "time", "mem", "maxmem", "shr", "vcpus", "rx", "tx"} {
				cols = append(cols, findColumn(name))
			}
			err = c.psTable(list, cols, nil, snap.Time)
		}
		if err == nil && len(missing) > 0 {
			return Status(1)
		}
		return err
	},
}

// usage is one pVM in stats --json. Bytes and nanoseconds are integers.
type usage struct {
	PID    int           `json:"pid"`
	Name   string        `json:"name"`
	CPU    float64       `json:"cpu"`
	Time   time.Duration `json:"time_ns"`
	Memory uint64        `json:"memory"`
	MaxMem uint64        `json:"max_memory"`
	Shared uint64        `json:"shared"`
	CoW    uint64        `json:"copy_on_write"`
	VCPUs  int           `json:"vcpus"`

	Traffic *engine.Traffic `json:"network,omitempty"`
}

func statsOf(list []engine.Process) []usage {
	out := make([]usage, 0, len(list))
	for _, p := range list {
		out = append(out, usage{p.PID, p.Name, p.CPU, p.Time, p.Memory, p.MaxMem, p.Shared, p.CoW, p.VCPUs, p.Traffic})
	}
	return out
}

var poolCommand = Command{
	Name:     "pool",
	Synopsis: "[list [--json] | resize [--recycle] N]",
	Short:    "show or resize the pools of domains that run draws on",
	Long: `Blank domains have nothing in them; run and fork draw on them. Placeholders have booted already, for run --recycle: they
are made from its first use on, and end a minute after the last.`,
	Examples: []string{"pool", "pool resize 8", "pool resize --recycle 4"},
	Flags: func(f *pflag.FlagSet) {
		f.Bool("recycle", false, "of placeholders")
		f.Bool("json", false, "as JSON")
		f.Bool("no-headers", false, "without the line of headers")
	},
	Args:    Choice,
	Choices: []string{"list", "resize"},
	Run:     pool,
}

func pool(c *Call) error {
	what := "list"
	if len(c.Args) > 0 {
		what = c.Args[0]
	}
	size := -1
	switch what {
	case "list":
		if err := c.want(0, 1); err != nil {
			return err
		}
	case "resize":
		if err := c.want(2, 2); err != nil {
			return err
		}
		var err error
		if size, err = strconv.Atoi(c.Args[1]); err != nil || size < 0 {
			return usagef("resize %s: not a number of domains", c.Args[1])
		}
	default:
		return usagef("%s: list or resize", what)
	}
	api, err := c.Engine()
	if err != nil {
		return err
	}
	if what == "resize" {
		kind := engine.PoolBlank
		if c.flagBool("recycle") {
			kind = engine.PoolPlaceholder
		}
		return api.PoolResize(c, kind, size)
	}
	p, err := api.Pool(c)
	if err != nil {
		return err
	}
	type row struct {
		Kind engine.PoolKind `json:"kind"`
		engine.PoolState
	}
	rows := []row{{engine.PoolBlank, p.PoolState}, {engine.PoolPlaceholder, p.Placeholders}}
	if c.flagBool("json") {
		return writeJSON(c.Stdout, rows)
	}
	g := grid{head: []string{"KIND", "READY", "WANT"}, right: []bool{false, true, true}}
	for _, r := range rows {
		g.rows = append(g.rows, []string{string(r.Kind), strconv.Itoa(r.Ready), strconv.Itoa(r.Want)})
	}
	return g.write(c.Stdout, !c.flagBool("no-headers"), width(c.Stdout), c.style().head)
}

var ccCommand = Command{
	Name:     "cc",
	Synopsis: "[CFLAGS…] -o OUT FILE.c… [-lLIB…]",
	Short:    "compile C into a pVM image",
	Long: "The machine's gcc as a cross compiler with the embedded SDK. It takes gcc's command line, so that make CC=\"kxsh cc\" builds\n" +
		"existing projects, and -kx-stack=SIZE, -kx-memory=SIZE and -kx-root=DIR|TAR, which go into the image.",
	Examples: []string{"cc -O2 -o hello.kx hello.c -lm", "make CC='kxsh cc'"},
	Raw:      true,
	Own:      true,
	Args:     File,
	Run: func(c *Call) error {
		if len(c.Args) == 1 && (c.Args[0] == "--help" || c.Args[0] == "-h") {
			c.shell.helpOn(c.Stdout, c.cmd, c.style())
			return nil
		}
		return Status(c.shell.cfg.CC(c, c.Args, c.Environ, c.Dir, c.Stdin, streamOf(c.Stdout).(io.Writer), streamOf(c.Stderr).(io.Writer)))
	},
}
