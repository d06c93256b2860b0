package shell

import (
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/syntax"
)

// trapName is a signal's key among a job's traps.
func trapName(sig syscall.Signal) string { return strings.TrimPrefix(signalName(sig), "SIG") }

// trapSpec reads a condition of trap: a signal, EXIT or 0, ERR.
func trapSpec(s string) (string, syscall.Signal, error) {
	switch strings.ToUpper(s) {
	case "EXIT", "0":
		return "EXIT", 0, nil
	case "ERR":
		return "ERR", 0, nil
	}
	sig, err := parseSignal(s)
	if err != nil {
		return "", 0, fmt.Errorf("%s: invalid signal specification", s)
	}
	return trapName(sig), sig, nil
}

// trapCall is trap, parsed.
type trapCall struct {
	list, print bool
	action      string // "-": the default again
	specs       []string
}

func parseTrap(args []string) (t trapCall) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		switch args[0] {
		case "-l":
			t.list = true
		case "-p":
			t.print = true
		}
		end := args[0] == "--"
		args = args[1:]
		if end {
			break
		}
	}
	switch {
	case len(args) == 0:
		t.print = !t.list
	case t.print:
		t.specs = args
	case len(args) == 1:
		t.action, t.specs = "-", args
	default:
		if _, err := strconv.Atoi(args[0]); err == nil {
			t.action, t.specs = "-", args
		} else {
			t.action, t.specs = args[0], args[1:]
		}
	}
	return t
}

// trap is the builtin, for everything but ERR, which is left to the interpreter: it returns what
// that has to do.
func (s *Shell) trap(j *job, stdout, stderr io.Writer, args []string) (forERR []string, status int) {
	t := parseTrap(args)
	switch {
	case t.list:
		listSignals(stdout, nil)
		return nil, 0
	case t.print:
		s.printTraps(j, stdout, t.specs)
		return nil, 0
	}
	for _, spec := range t.specs {
		name, sig, err := trapSpec(spec)
		if err != nil {
			fmt.Fprintf(stderr, "trap: %v\n", err)
			status = 1
			continue
		}
		if name == "ERR" {
			forERR = []string{"trap", t.action, "ERR"}
			continue
		}
		s.setTrap(j, name, sig, t.action)
	}
	return forERR, status
}

func (s *Shell) setTrap(j *job, name string, sig syscall.Signal, action string) {
	j.mu.Lock()
	if action == "-" {
		delete(j.traps, name)
	} else {
		j.traps[name] = action
	}
	j.mu.Unlock()
	if j.id != 0 || sig == 0 || sig == syscall.SIGKILL || sig == syscall.SIGSTOP {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.signals == nil:
	case action == "": // host programs inherit it
		signal.Ignore(sig)
	case action == "-" && !takes(sig):
		signal.Reset(sig)
	default:
		signal.Notify(s.signals, sig)
	}
}

// takes reports whether the shell takes a signal without a trap.
func takes(sig os.Signal) bool {
	return sig == unix.SIGINT || sig == unix.SIGTERM || sig == unix.SIGHUP || sig == unix.SIGQUIT || sig == unix.SIGPIPE || sig == unix.SIGWINCH
}

func (s *Shell) printTraps(j *job, w io.Writer, specs []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	names := slices.Sorted(maps.Keys(j.traps))
	if len(specs) > 0 {
		names = nil
		for _, spec := range specs {
			if name, _, err := trapSpec(spec); err == nil && j.traps[name] != "" {
				names = append(names, name)
			}
		}
	}
	for _, name := range names {
		text, err := syntax.Quote(j.traps[name], syntax.LangBash)
		if err != nil {
			continue
		}
		if !strings.HasPrefix(text, "'") {
			text = "'" + text + "'"
		}
		label := name
		if name != "EXIT" {
			label = "SIG" + name
		}
		fmt.Fprintf(w, "trap -- %s %s\n", text, label)
	}
}

// exitTrap takes the EXIT trap of a job, so that it runs once.
func (j *job) exitTrap() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	text := j.traps["EXIT"]
	delete(j.traps, "EXIT")
	return text
}
