package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/interp"
)

// ours are the builtins of the interpreter that are done here. A function of the script's goes first.
var ours map[string]func(x *execution) error

func init() {
	ours = map[string]func(x *execution) error{
		"echo": (*execution).echo, "printf": (*execution).printf, "pwd": (*execution).pwd,
		"kill": (*execution).inTable, "wait": (*execution).inTable, "help": (*execution).help,
		"jobs": (*execution).jobs, "disown": (*execution).disown, "trap": (*execution).trapBuiltin,
		"command": (*execution).commandBuiltin, "type": (*execution).typeBuiltin,
		"read": (*execution).read, "umask": (*execution).umask, "ulimit": (*execution).ulimit, "history": (*execution).history,
		"pushd": (*execution).pushd, "popd": (*execution).popd, "dirs": (*execution).dirs,
		"fg": (*execution).inTable, "bg": (*execution).inTable, "suspend": (*execution).noJobControl,
	}
}

// write writes a builtin's output; a broken pipe ends the shell that wrote.
func (x *execution) write(text string) error {
	_, err := io.WriteString(x.hc.Stdout, text)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe):
		return x.builtin("exit", strconv.Itoa(128+int(syscall.SIGPIPE)))
	}
	fmt.Fprintf(x.hc.Stderr, "kxsh: %s: write error: %v\n", x.args[0], errno(err))
	return interp.ExitStatus(1)
}

func (x *execution) echo() error {
	args, newline, escapes := x.args[1:], "\n", false
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && strings.Trim(args[0][1:], "neE") == "" {
		for _, f := range args[0][1:] {
			switch f {
			case 'n':
				newline = ""
			case 'e':
				escapes = true
			case 'E':
				escapes = false
			}
		}
		args = args[1:]
	}
	text := strings.Join(args, " ")
	if escapes {
		var stop bool
		if text, stop = expandEscapes(text); stop {
			newline = ""
		}
	}
	return x.write(text + newline)
}

func (x *execution) printf() error {
	args := x.args[1:]
	into := ""
	if len(args) > 1 && args[0] == "-v" {
		into, args = args[1], args[2:]
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(x.hc.Stderr, "printf: usage: printf [-v VAR] FORMAT [ARGUMENT…]")
		return interp.ExitStatus(2)
	}
	text, failed, err := printfText(args[0], args[1:])
	for _, f := range failed {
		fmt.Fprintf(x.hc.Stderr, "printf: %s\n", f)
	}
	if into != "" && err == nil {
		return x.set(into, text)
	}
	if werr := x.write(text); werr != nil {
		return werr
	}
	if err != nil {
		fmt.Fprintf(x.hc.Stderr, "printf: %v\n", err)
	}
	if err != nil || len(failed) > 0 {
		return interp.ExitStatus(1)
	}
	return nil
}

// pwd is the interpreter's, and leaves when nobody reads.
func (x *execution) pwd() error {
	if err := x.builtin(x.args...); err != nil {
		return err
	}
	if brokenPipe(x.hc.Stdout) {
		return x.status(128 + int(syscall.SIGPIPE))
	}
	return nil
}

// inTable runs the command of the table.
func (x *execution) inTable() error { return x.command(x.shell.table[x.args[0]]) }

// helpOurs is about those of ours of which the interpreter would say that they are not there.
var helpOurs = map[string]string{
	"disown":  "disown [JOB…]\n    Take jobs off the list, the current one if none is named; they go on.\n",
	"history": "history [N]\n    List the lines typed so far, or the last N.\n",
	"jobs":    "jobs [-l] [-p]\n    List the jobs of this session; -l also their process IDs, -p only those.\n",
	"dirs":    "dirs [-c | -l -p]\n    List the stack of folders; -c empties it, -l writes out the home folder, -p has a line for each.\n",
	"popd":    "popd\n    Go back to the folder below on the stack.\n",
	"pushd":   "pushd [DIR]\n    Go to DIR, and keep the present folder on the stack; without DIR, exchange the two uppermost.\n",
	"suspend": "suspend\n    Refused: Ctrl-Z stops what is in the foreground, or, where nothing is, is ignored.\n",
	"ulimit":  "ulimit [-HS] [-a | -cdefilmnqrstuvxR]\n    Show the limits that programs of the host are started with. A pVM's are limit's.\n",
}

// help knows the shell's own builtins too.
func (x *execution) help() error {
	if len(x.args) == 2 && helpOurs[x.args[1]] != "" {
		return x.write(x.args[1] + ": " + helpOurs[x.args[1]])
	}
	if len(x.args) == 2 && !x.shell.Has(x.args[1]) && interp.IsBuiltin(x.args[1]) {
		return x.builtin(x.args...)
	}
	return x.inTable()
}

func (x *execution) jobs() error {
	long, pids := false, false
	for _, a := range x.args[1:] {
		switch a {
		case "-l":
			long = true
		case "-p":
			pids = true
		default:
			fmt.Fprintf(x.hc.Stderr, "jobs: %s: only -l and -p\n", a)
			return interp.ExitStatus(2)
		}
	}
	var out strings.Builder
	x.shell.printJobs(&out, false, long, pids)
	return x.write(out.String())
}

// disown takes jobs off the list; they go on.
func (x *execution) disown() error {
	s := x.shell
	c := &Call{Context: x.ctx, shell: s, job: x.job}
	args := x.args[1:]
	if len(args) == 0 {
		args = []string{"%+"}
	}
	for _, a := range args {
		j, err := c.jobArg(a)
		if err != nil || j == nil {
			fmt.Fprintf(x.hc.Stderr, "disown: (%s): no such job\n", a)
			return interp.ExitStatus(1)
		}
		s.disown(j)
	}
	return nil
}

func (x *execution) trapBuiltin() error {
	var out strings.Builder
	forERR, status := x.shell.trap(x.job, &out, x.hc.Stderr, x.args[1:])
	if out.Len() > 0 {
		return x.write(out.String())
	}
	if forERR != nil {
		if text, err := x.shell.rewriteText(forERR[1]); err == nil {
			forERR[1] = text
		}
		if err := x.builtin(forERR...); err != nil {
			return err
		}
	}
	return x.statusOf(status)
}

// commandBuiltin knows our commands for -v and -V, and runs ours for the rest.
func (x *execution) commandBuiltin() error {
	args := x.args[1:]
	show := byte(0)
	for len(args) > 0 && len(args[0]) == 2 && args[0][0] == '-' {
		switch args[0][1] {
		case 'v', 'V':
			show = args[0][1]
		case 'p':
		case '-':
		default:
			return x.builtin(x.args...)
		}
		end := args[0] == "--"
		if args = args[1:]; end {
			break
		}
	}
	switch {
	case show == 'V':
		x.args = append([]string{"type"}, args...)
		return x.typeBuiltin()
	case show == 'v':
		for _, name := range args {
			if x.shell.Has(name) {
				if err := x.write(name + "\n"); err != nil {
					return err
				}
				continue
			}
			if err := x.builtin("command", "-v", name); err != nil {
				return err
			}
		}
		return nil
	case len(args) == 0:
		return nil
	}
	if f := ours[args[0]]; f != nil {
		x.args = args
		return f(x)
	}
	return x.builtin(append([]string{"command", "--"}, args...)...)
}

// typeBuiltin knows our commands.
func (x *execution) typeBuiltin() error {
	var flags, rest []string
	mode := ""
	for i, a := range x.args[1:] {
		if !strings.HasPrefix(a, "-") {
			rest = x.args[1+i:]
			break
		}
		flags = append(flags, a)
		mode = a
	}
	var failed error
	for _, name := range rest {
		var err error
		switch {
		case !x.shell.Has(name) || x.shell.declared(name) || mode == "-P":
			err = x.builtin(append(append([]string{"type"}, flags...), name)...)
		case mode == "-t":
			err = x.write("builtin\n")
		case mode == "-p":
		default:
			err = x.write(name + " is a kxsh command\n")
		}
		if err != nil {
			failed = err
		}
	}
	return failed
}

// read is the interpreter's, and can be interrupted while it waits for the first byte; the prompt goes
// to standard error, and only if there is somebody to read it.
func (x *execution) read() error {
	args := []string{"read"}
	for i := 1; i < len(x.args); i++ {
		a := x.args[i]
		if strings.HasPrefix(a, "-") && strings.HasSuffix(a, "p") && i+1 < len(x.args) && !strings.HasPrefix(a, "--") {
			i++
			if terminalOf(x.hc.Stdin) != nil {
				io.WriteString(x.hc.Stderr, x.args[i])
			}
			if a = strings.TrimSuffix(a, "p"); a == "-" {
				continue
			}
		}
		args = append(args, a)
	}
	if f, ok := x.hc.Stdin.(*os.File); ok && f != nil {
		ctx, cancel := context.WithCancelCause(x.ctx)
		defer cancel(nil)
		c := &Call{Context: ctx, cancel: cancel, shell: x.shell, job: x.job}
		x.job.enter(c)
		err := c.execution().readable(f)
		x.job.leave(c)
		var sig signalled
		if err != nil && errors.As(context.Cause(ctx), &sig) {
			if syscall.Signal(sig) == syscall.SIGINT {
				jobNow(ctx, x.job).endInterrupted()
			}
			return x.statusOf(128 + int(sig))
		}
	}
	return x.builtin(args...)
}

// umask shows or sets the mask of new files, in octal.
func (x *execution) umask() error {
	if len(x.args) == 1 {
		old := unix.Umask(0)
		unix.Umask(old)
		return x.write(fmt.Sprintf("%04o\n", old))
	}
	n, err := strconv.ParseUint(x.args[1], 8, 12)
	if err != nil || n > 0o777 {
		fmt.Fprintf(x.hc.Stderr, "umask: %s: not an octal mask\n", x.args[1])
		return interp.ExitStatus(1)
	}
	unix.Umask(int(n))
	return nil
}

// history lists what was typed.
func (x *execution) history() error {
	lines := readHistory(x.shell.historyFile())
	from := 0
	if len(x.args) > 1 {
		n, err := strconv.Atoi(x.args[1])
		if err != nil || n < 0 {
			fmt.Fprintf(x.hc.Stderr, "history: %s: not a number\n", x.args[1])
			return interp.ExitStatus(2)
		}
		from = max(0, len(lines)-n)
	}
	var out strings.Builder
	for i, line := range lines[from:] {
		fmt.Fprintf(&out, "%5d  %s\n", from+i+1, line)
	}
	return x.write(out.String())
}

func (x *execution) noJobControl() error {
	fmt.Fprintf(x.hc.Stderr, "%s: this shell cannot be stopped: Ctrl-Z stops the pVM in the foreground\n", x.args[0])
	return interp.ExitStatus(1)
}

// builtinNames are the shell's own commands, for completion.
func builtinNames() []string {
	names := []string{"alias", "break", "cd", "continue", "declare", "eval", "exec", "exit", "export", "false", "getopts",
		"let", "local", "mapfile", "readonly", "return", "set", "shift", "shopt", "source", "test", "true", "unalias", "unset"}
	for name := range ours {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
