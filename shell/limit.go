package shell

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"kxsh/engine"
)

// Weights of the hypervisor's scheduler: 256 is the default, as in Xen's credit scheduler.
const (
	defaultWeight = 256
	maxWeight     = 65535
)

var limitCommand = Command{
	Name:     "limit",
	Synopsis: "[-m SIZE] [--weight N] [--cpus LIST] [--family N] [--no-spin] PID…",
	Short:    "change memory cap, scheduler weight and CPUs of running pVMs, the size of their families, and how they wait",
	Long: "-m, hosted, holds a pVM to less than it was started with (run -m); on Xen it has all of that from the start, and -m cannot be less.\n" +
		"--family is about the whole family of each PID: when it has so many members, zombies included, their forks fail with EAGAIN.\n" +
		"Without it the engine's --family-limit counts.\n" +
		"Where there are several CPUs, a pVM that waits for a relative, or for a file of the host, looks for up to 50 µs whether there is something, before it sleeps:\n" +
		"--no-spin forbids it that, and to the children that it forks from now on; --no-spin=false allows it again.",
	Examples: []string{"limit -m 128M web", "limit --weight 512 --cpus 0 7", "limit --family 16 %7", "limit --no-spin 7"},
	Flags: func(f *pflag.FlagSet) {
		f.StringP("memory", "m", "", "the most memory it may have, such as 128M")
		f.Int("weight", 0, "its share of the CPUs against others'; 256 is the default")
		f.String("cpus", "", "the CPUs it may run on, such as 0,2-3; all: any")
		f.Int("family", 0, "the most members of its family")
		f.Bool("no-spin", false, "let it sleep at once when it waits for others")
	},
	Args: PVM,
	Run: func(c *Call) error {
		if err := c.want(1, -1); err != nil {
			return err
		}
		var l engine.Limits
		if m := c.flagString("memory"); m != "" {
			size, err := parseSize(m)
			if err != nil {
				return usagef("-m %v", err)
			}
			l.MaxMem = &size
		}
		if c.Flags.Changed("weight") {
			w := c.flagInt("weight")
			if w < 1 || w > maxWeight {
				return usagef("--weight %d: 1 to %d", w, maxWeight)
			}
			l.Weight = &w
		}
		if list := c.flagString("cpus"); list != "" {
			cpus, err := parseCPUs(list)
			if err != nil {
				return usagef("--cpus %v", err)
			}
			l.CPUs = &cpus
		}
		if c.Flags.Changed("family") {
			n := c.flagInt("family")
			if n < 1 {
				return usagef("--family %d: at least 1", n)
			}
			l.Family = &n
		}
		if c.Flags.Changed("no-spin") {
			spin := !c.flagBool("no-spin")
			l.Spin = &spin
		}
		if l == (engine.Limits{}) {
			return usagef("say what to change: -m, --weight, --cpus, --family or --no-spin")
		}
		return c.limitAll(c.Args, l)
	},
}

// limitAll changes the limits of everything the arguments name.
func (c *Call) limitAll(args []string, l engine.Limits) error {
	return c.each(args, false, func(api engine.API, t target) error { return api.Limit(c, t.pid, l) })
}

var reniceCommand = Command{
	Name:     "renice",
	Synopsis: "[-n] N PID…",
	Short:    "change the scheduler weight of running pVMs",
	Long: "renice N sets the weight: 256 is the default, twice the weight is twice the share of the CPU.\n" +
		"renice -n PRIO takes a nice value instead, -20 to 19, and maps it as Linux does: weight = 256 / 1.25^PRIO.",
	Examples: []string{"renice 512 web", "renice -n 10 7"},
	Flags: func(f *pflag.FlagSet) {
		f.StringP("nice", "n", "", "a nice value, -20 to 19")
	},
	Prepare: func(args []string) []string { // renice -5 PID is not a flag either
		if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0][1] >= '0' && args[0][1] <= '9' {
			return append([]string{"-n"}, args...)
		}
		return args
	},
	Args: PVM,
	Run: func(c *Call) error {
		var weight int
		pids := c.Args
		if c.Flags.Changed("nice") {
			nice, err := strconv.Atoi(c.flagString("nice"))
			if err != nil || nice < -20 || nice > 19 {
				return usagef("-n %s: -20 to 19", c.flagString("nice"))
			}
			weight = niceWeight(nice)
		} else {
			if err := c.want(2, -1); err != nil {
				return err
			}
			var err error
			if weight, err = strconv.Atoi(c.Args[0]); err != nil || weight < 1 || weight > maxWeight {
				return usagef("%s: a weight is 1 to %d", c.Args[0], maxWeight)
			}
			pids = c.Args[1:]
		}
		if len(pids) == 0 {
			return c.want(1, -1)
		}
		return c.limitAll(pids, engine.Limits{Weight: &weight})
	},
}

// niceWeight maps a nice value to a weight: each step is a factor of 1.25, as in Linux's
// sched_prio_to_weight.
func niceWeight(nice int) int {
	return max(1, int(math.Round(defaultWeight/math.Pow(1.25, float64(nice)))))
}

var tasksetCommand = Command{
	Name:     "taskset",
	Synopsis: "[-c LIST] PID",
	Short:    "show or set the CPUs a pVM may run on",
	Examples: []string{"taskset 7", "taskset -c 0 web"},
	Flags: func(f *pflag.FlagSet) {
		f.StringP("cpu-list", "c", "", "CPUs such as 0,2-3; all: any")
		f.BoolP("pid", "p", false, "accepted for Linux's sake")
	},
	Args: PVM,
	Run: func(c *Call) error {
		list := c.flagString("cpu-list")
		if err := c.want(1, -1); err != nil {
			return err
		}
		if list == "" {
			return c.each(c.Args, false, func(api engine.API, t target) error {
				d, err := api.Inspect(c, t.pid)
				if err == nil && d.Foreign {
					err = fmt.Errorf("(%s): a domain that somebody else made: xl vcpu-list %d shows it", t.arg, t.pid)
				}
				if err == nil {
					_, err = fmt.Fprintf(c.Stdout, "%d: %s\n", t.pid, formatCPUs(d.CPUs))
				}
				return err
			})
		}
		cpus, err := parseCPUs(list)
		if err != nil {
			return usagef("-c %v", err)
		}
		return c.limitAll(c.Args, engine.Limits{CPUs: &cpus})
	},
}

// maxCPU bounds a CPU's number: Xen's and Linux's own limits are below it.
const maxCPU = 8191

// parseCPUs reads 0,2-3 or all, which is no list: any CPU.
func parseCPUs(s string) ([]int, error) {
	cpus := []int{}
	if s == "all" {
		return cpus, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		a, err1 := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || a < 0 || b < a || b > maxCPU {
			return nil, fmt.Errorf("%s: not a list of CPUs such as 0,2-3", s)
		}
		for cpu := a; cpu <= b; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}

// formatCPUs writes sorted CPUs as parseCPUs reads them.
func formatCPUs(cpus []int) string {
	if len(cpus) == 0 {
		return "all"
	}
	var parts []string
	for i := 0; i < len(cpus); {
		k := i
		for k+1 < len(cpus) && cpus[k+1] == cpus[k]+1 {
			k++
		}
		if k == i {
			parts = append(parts, strconv.Itoa(cpus[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", cpus[i], cpus[k]))
		}
		i = k + 1
	}
	return strings.Join(parts, ",")
}
