package shell

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"kxsh/engine"
)

// patternFlags are what pgrep and pkill share.
func patternFlags(f *pflag.FlagSet) {
	f.BoolP("full", "f", false, "match the arguments, not the name")
	f.BoolP("exact", "x", false, "match the whole name")
	f.BoolP("ignore-case", "i", false, "ignore case")
	f.BoolP("inverse", "v", false, "those that do not match")
	f.BoolP("newest", "n", false, "the newest only")
	f.BoolP("oldest", "o", false, "the oldest only")
	f.BoolP("count", "c", false, "print how many")
	f.StringP("parent", "P", "", "children of these `PIDs` alone, with commas between; needs no pattern")
}

var pgrepCommand = Command{
	Name:     "pgrep",
	Synopsis: "[-flxivnoc] [-P PID,…] [PATTERN]",
	Short:    "print the PIDs of pVMs whose name matches a regular expression",
	Examples: []string{"pgrep -l web", "pgrep -f 'lua.kx .*test'", "pgrep -P 7"},
	Flags: func(f *pflag.FlagSet) {
		patternFlags(f)
		f.BoolP("list-name", "l", false, "with names")
	},
	FlagArgs: map[string]Kind{"parent": PVM},
	Args:     PVMName,
	Run: func(c *Call) error {
		list, err := c.grep(true)
		if err != nil {
			return err
		}
		for _, p := range list {
			switch {
			case c.flagBool("count"):
			case c.flagBool("list-name"):
				fmt.Fprintln(c.Stdout, p.PID, printable(p.Name))
			default:
				fmt.Fprintln(c.Stdout, p.PID)
			}
		}
		return c.counted(list)
	},
}

var pkillCommand = Command{
	Name:     "pkill",
	Synopsis: "[-SIG] [-fxivno] [-P PID,…] [PATTERN]",
	Short:    "send a signal to pVMs whose name matches a regular expression",
	Examples: []string{"pkill -9 'web[0-9]'", "pkill -x worker"},
	Flags: func(f *pflag.FlagSet) {
		patternFlags(f)
		f.StringP("signal", "s", "TERM", "the signal, by name or number; also -9, -TERM")
	},
	FlagArgs: map[string]Kind{"signal": Signal, "parent": PVM},
	Prepare:  prepareSignal("fxivnocP"),
	Args:     PVMName,
	Run: func(c *Call) error {
		sig, err := parseSignal(c.flagString("signal"))
		if err != nil {
			return UsageError(err.Error())
		}
		list, err := c.grep(false)
		if err != nil {
			return err
		}
		api, err := c.Engine()
		if err != nil {
			return err
		}
		failed := false
		for _, p := range list {
			if err := api.Signal(c, p.PID, int(sig)); err != nil && codeOf(err) != engine.CodeNoPVM {
				failed = true
				c.warnf("%s", oneLine(aboutPVM(fmt.Sprint(p.PID), err).Error()))
			}
		}
		if failed {
			return Status(1)
		}
		return c.counted(list)
	},
}

// grep returns the pVMs that match the pattern; with others, also domains that somebody else made.
func (c *Call) grep(others bool) ([]engine.Process, error) {
	of, least := c.flagString("parent"), 1
	if of != "" {
		least = 0
	}
	if err := c.want(least, 1); err != nil {
		return nil, err
	}
	word := strings.Join(c.Args, "")
	pattern := word
	if c.flagBool("exact") {
		pattern = "^(?:" + pattern + ")$"
	}
	if c.flagBool("ignore-case") {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, usagef("%s: not a regular expression", word)
	}
	api, err := c.Engine()
	if err != nil {
		return nil, err
	}
	snap, err := api.Snapshot(c, false)
	if err != nil {
		return nil, err
	}
	parents := parentsOf(snap, of)
	var list []engine.Process
	for _, p := range snap.Processes {
		text := p.Name
		if c.flagBool("full") {
			text = strings.Join(p.Args, " ")
		}
		matches := re.MatchString(text) && (of == "" || parents[p.PPID])
		if (others || !p.Foreign) && matches != c.flagBool("inverse") {
			list = append(list, p)
		}
	}
	return age(list, c.flagBool("newest"), c.flagBool("oldest")), nil
}

// parentsOf are the PIDs that a list with commas means, by name or number; those that there are not have no children.
func parentsOf(snap *engine.Snapshot, list string) map[int]bool {
	parents := map[int]bool{}
	for _, word := range strings.Split(list, ",") {
		if pid, err := strconv.Atoi(word); err == nil {
			parents[pid] = true
			continue
		}
		for _, p := range match(snap, word) {
			parents[p.PID] = true
		}
	}
	return parents
}

// age keeps the newest or the oldest only, if asked for.
func age(list []engine.Process, newest, oldest bool) []engine.Process {
	if len(list) == 0 || !newest && !oldest {
		return list
	}
	best := list[0]
	for _, p := range list[1:] {
		if newest && !p.Started.Before(best.Started) || oldest && p.Started.Before(best.Started) {
			best = p
		}
	}
	return []engine.Process{best}
}

// counted prints the number of matches if asked for; none is exit status 1.
func (c *Call) counted(list []engine.Process) error {
	if c.flagBool("count") {
		fmt.Fprintln(c.Stdout, len(list))
	}
	if len(list) == 0 {
		return Status(1)
	}
	return nil
}

var pidofCommand = Command{
	Name:     "pidof",
	Synopsis: "[-s] NAME…",
	Short:    "print the PIDs of pVMs by their name",
	Examples: []string{"kill $(pidof web)"},
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("single", "s", false, "the newest only")
	},
	Args: PVMName,
	Run: func(c *Call) error {
		if err := c.want(1, -1); err != nil {
			return err
		}
		api, err := c.Engine()
		if err != nil {
			return err
		}
		snap, err := api.Snapshot(c, false)
		if err != nil {
			return err
		}
		var pids []string
		for _, name := range c.Args {
			var found []engine.Process
			for _, p := range snap.Processes {
				if p.Name == name {
					found = append(found, p)
				}
			}
			for _, p := range age(found, c.flagBool("single"), false) {
				pids = append(pids, fmt.Sprint(p.PID))
			}
		}
		if len(pids) == 0 {
			return Status(1)
		}
		_, err = fmt.Fprintln(c.Stdout, strings.Join(pids, " "))
		return err
	},
}
