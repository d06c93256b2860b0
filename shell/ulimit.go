package shell

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/interp"
)

// hostLimit is a limit of programs of the host, as proc(5) and bash name it.
type hostLimit struct {
	flag    byte
	name    string // of /proc/PID/limits
	what    string
	unit    string
	divisor uint64 // of what proc says, for the unit
}

var hostLimits = []hostLimit{
	{'R', "Max realtime timeout", "real-time non-blocking time", "microseconds", 1},
	{'c', "Max core file size", "core file size", "blocks", 1024},
	{'d', "Max data size", "data seg size", "kbytes", 1024},
	{'e', "Max nice priority", "scheduling priority", "", 1},
	{'f', "Max file size", "file size", "blocks", 1024},
	{'i', "Max pending signals", "pending signals", "", 1},
	{'l', "Max locked memory", "max locked memory", "kbytes", 1024},
	{'m', "Max resident set", "max memory size", "kbytes", 1024},
	{'n', "Max open files", "open files", "", 1},
	{'q', "Max msgqueue size", "POSIX message queues", "bytes", 1},
	{'r', "Max realtime priority", "real-time priority", "", 1},
	{'s', "Max stack size", "stack size", "kbytes", 1024},
	{'t', "Max cpu time", "cpu time", "seconds", 1},
	{'u', "Max processes", "max user processes", "", 1},
	{'v', "Max address space", "virtual memory", "kbytes", 1024},
	{'x', "Max file locks", "file locks", "", 1},
}

// ulimit shows the limits that programs of the host are started with. They are asked of such a program: of open files kxsh itself may have
// more. To set one would be to set it for all of the session's subshells, which are of this process.
func (x *execution) ulimit() error {
	hard, chosen, labels := false, []hostLimit(nil), false
	for _, a := range x.args[1:] {
		if len(a) < 2 || a[0] != '-' {
			fmt.Fprintf(x.hc.Stderr, "ulimit: %s: kxsh sets no limits of its own: sh -c 'ulimit … && exec PROGRAM' does for a program of the host, limit and run -m for a pVM\n", a)
			return interp.ExitStatus(1)
		}
		for _, f := range []byte(a[1:]) {
			switch l := limitOf(f); {
			case f == 'H' || f == 'S':
				hard = f == 'H'
			case f == 'a':
				chosen, labels = hostLimits, true
			case l != nil:
				chosen = append(chosen, *l)
			default:
				fmt.Fprintf(x.hc.Stderr, "ulimit: -%c: no such limit; ulimit -a lists them\n", f)
				return interp.ExitStatus(2)
			}
		}
	}
	if len(chosen) == 0 {
		chosen = append(chosen, *limitOf('f'))
	}
	limits, err := exec.CommandContext(x.ctx, "cat", "/proc/self/limits").Output()
	if err != nil {
		fmt.Fprintf(x.hc.Stderr, "ulimit: /proc/self/limits: %v\n", err)
		return interp.ExitStatus(1)
	}
	var out strings.Builder
	for i := range chosen {
		l := &chosen[i]
		if labels || len(chosen) > 1 {
			fmt.Fprintf(&out, "%-20s %20s", l.what, l.label()+" ")
		}
		fmt.Fprintln(&out, l.value(string(limits), hard))
	}
	return x.write(out.String())
}

func limitOf(flag byte) *hostLimit {
	for i := range hostLimits {
		if hostLimits[i].flag == flag {
			return &hostLimits[i]
		}
	}
	return nil
}

// label is the unit and the flag.
func (l *hostLimit) label() string {
	if l.unit == "" {
		return fmt.Sprintf("(-%c)", l.flag)
	}
	return fmt.Sprintf("(%s, -%c)", l.unit, l.flag)
}

// value finds the limit in the text of proc, a line each: name, soft limit, hard limit.
func (l *hostLimit) value(limits string, hard bool) string {
	for line := range strings.Lines(limits) {
		rest, ok := strings.CutPrefix(line, l.name+" ")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 2 {
			continue
		}
		text := fields[0]
		if hard {
			text = fields[1]
		}
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return strconv.FormatUint(n/l.divisor, 10)
		}
		return text
	}
	return "unknown"
}
