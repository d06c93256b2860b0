package shell

import (
	"fmt"
	"strings"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// varDirs is the stack of folders below the present one, the uppermost first; a subshell has a copy. The interpreter's own stack does not follow cd,
// so that its popd goes elsewhere than pushd came from.
const (
	varDirs       = "_kxsh_dirs"
	dirsSeparator = "\x01"
)

// dirStack is the whole stack, the present folder first.
func (x *execution) dirStack() []string {
	stack := []string{x.hc.Dir}
	if below := x.hc.Env.Get(varDirs).String(); below != "" {
		stack = append(stack, strings.Split(below, dirsSeparator)...)
	}
	return stack
}

// enter goes to a folder and makes others what is below it.
func (x *execution) enter(dir string, below []string) error {
	var q [2]string
	for i, s := range []string{dir, strings.Join(below, dirsSeparator)} {
		var err error
		if q[i], err = syntax.Quote(s, syntax.LangBash); err != nil {
			return interp.ExitStatus(1) // a NUL, which no argument has
		}
	}
	return x.builtin("eval", "cd "+q[0]+" && "+varDirs+"="+q[1]+" && dirs")
}

func (x *execution) pushd() error {
	stack := x.dirStack()
	switch args := x.args[1:]; {
	case len(args) > 1 || len(args) == 1 && len(args[0]) > 1 && (args[0][0] == '+' || args[0][0] == '-'):
		return x.dirsUsage("[DIR]")
	case len(args) == 1:
		return x.enter(args[0], stack)
	case len(stack) == 1:
		fmt.Fprintln(x.hc.Stderr, "pushd: no other directory")
		return interp.ExitStatus(1)
	}
	return x.enter(stack[1], append(stack[:1:1], stack[2:]...))
}

func (x *execution) popd() error {
	stack := x.dirStack()
	switch {
	case len(x.args) > 1:
		return x.dirsUsage("")
	case len(stack) == 1:
		fmt.Fprintln(x.hc.Stderr, "popd: directory stack empty")
		return interp.ExitStatus(1)
	}
	return x.enter(stack[1], stack[2:])
}

func (x *execution) dirs() error {
	separator, long := " ", false
	for _, a := range x.args[1:] {
		switch a {
		case "-c":
			return x.set(varDirs, "")
		case "-l":
			long = true
		case "-p":
			separator = "\n"
		default:
			return x.dirsUsage("[-clp]")
		}
	}
	stack := x.dirStack()
	if home := x.hc.Env.Get("HOME").String(); home != "" && !long {
		for i, dir := range stack {
			if rest, ok := strings.CutPrefix(dir, home); ok && (rest == "" || rest[0] == '/') {
				stack[i] = "~" + rest
			}
		}
	}
	return x.write(strings.Join(stack, separator) + "\n")
}

func (x *execution) dirsUsage(args string) error {
	fmt.Fprintln(x.hc.Stderr, strings.TrimSpace(x.args[0]+": usage: "+x.args[0]+" "+args))
	return interp.ExitStatus(2)
}
