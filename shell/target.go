package shell

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"kxsh/engine"
)

// target is one argument that names pVMs and what it names.
type target struct {
	arg    string
	pid    int
	family int   // unless it was named by its number
	err    error // the argument names nothing
}

// noPVM is the error of an argument that names nothing, as kill has it.
func noPVM(arg string) error { return fmt.Errorf("(%s): no such pVM", arg) }

// targets finds what each argument names: a PID, a name (of a family's root, not of those that it forked), a shell glob
// over names, or %family. With exited, also pVMs that have ended. A domain that somebody else made has no glob: who says '*' means
// pVMs. A number is not looked up: the engine says whether it exists.
func targets(ctx context.Context, api engine.API, args []string, exited bool) ([]target, error) {
	var snap *engine.Snapshot
	var list []target
	for _, a := range args {
		if pid, err := strconv.Atoi(a); err == nil {
			list = append(list, target{arg: a, pid: pid})
			continue
		}
		if snap == nil {
			var err error
			if snap, err = api.Snapshot(ctx, exited); err != nil {
				return nil, err
			}
		}
		found := named(snap, a)
		if plain(a) {
			found = heads(found)
		}
		found = current(found, a)
		if strings.ContainsAny(a, globChars) {
			found = slices.DeleteFunc(found, func(p engine.Process) bool { return p.Foreign })
		}
		if len(found) == 0 {
			list = append(list, target{arg: a, err: noPVM(a)})
		}
		for _, p := range found {
			list = append(list, target{arg: a, pid: p.PID, family: p.Family})
		}
	}
	return list, nil
}

// globChars begin what is special in a glob (path.Match).
const globChars = `*?[\`

// match returns the pVMs that one argument other than a number names.
func match(snap *engine.Snapshot, arg string) []engine.Process { return current(named(snap, arg), arg) }

func named(snap *engine.Snapshot, arg string) (list []engine.Process) {
	for _, p := range snap.Processes {
		if matches(snap, p, arg) {
			list = append(list, p)
		}
	}
	return list
}

// current are those that a name means now: the living, and zombies, hide the dead of the same name, of which it means the
// last. And ours hide domains of others.
func current(list []engine.Process, arg string) []engine.Process {
	glob := strings.ContainsAny(arg, globChars)
	var alive, others, dead []engine.Process
	for _, p := range list {
		switch {
		case p.Foreign && !glob:
			others = append(others, p)
		case p.Exit == nil || p.Stat == "Z":
			alive = append(alive, p)
		default:
			dead = append(dead, p)
		}
	}
	if len(alive) > 0 {
		return alive
	}
	if len(others) > 0 {
		return others
	}
	if len(dead) > 1 && plain(arg) {
		return dead[len(dead)-1:]
	}
	return dead
}

// plain tells whether an argument is a name and nothing else.
func plain(arg string) bool {
	return !strings.ContainsAny(arg, globChars) && !strings.HasPrefix(arg, "%")
}

// heads are those that nobody else in the list speaks for: a root does, also when it has ended, for those of its family,
// which have its name because it forked them.
func heads(list []engine.Process) []engine.Process {
	return slices.DeleteFunc(slices.Clone(list), func(p engine.Process) bool {
		return p.PID != p.Family && slices.ContainsFunc(list, func(root engine.Process) bool { return root.PID == p.Family && !root.Foreign })
	})
}

// matches reports whether arg names p.
func matches(snap *engine.Snapshot, p engine.Process, arg string) bool {
	if family, ok := strings.CutPrefix(arg, "%"); ok {
		if p.Foreign {
			return false
		}
		if n, err := strconv.Atoi(family); err == nil {
			return p.Family == n
		}
		for _, root := range snap.Processes {
			if root.PID == p.Family {
				return globMatch(family, root.Name)
			}
		}
		return false
	}
	return globMatch(arg, p.Name)
}

// globMatch reports whether name is, or as a shell glob matches, pattern.
func globMatch(pattern, name string) bool {
	if pattern == name {
		return true
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// one resolves an argument that must name exactly one pVM. A root speaks for those of its family that
// have the same name because it forked them.
func (c *Call) one(api engine.API, arg string, exited bool) (int, error) {
	list, err := targets(c, api, []string{arg}, exited)
	if err != nil {
		return 0, err
	}
	if list[0].err != nil {
		return 0, list[0].err
	}
	for _, root := range list {
		if root.pid == root.family && !slices.ContainsFunc(list, func(t target) bool { return t.family != root.pid }) {
			return root.pid, nil
		}
	}
	if len(list) > 1 {
		return 0, fmt.Errorf("(%s): names %d pVMs; say which PID", arg, len(list))
	}
	return list[0].pid, nil
}

// each does f to everything the arguments name, and goes on after a failure. It returns Status(1) if
// anything failed; every failure has been reported.
func (c *Call) each(args []string, exited bool, f func(api engine.API, t target) error) error {
	api, err := c.Engine()
	if err != nil {
		return err
	}
	list, err := targets(c, api, args, exited)
	if err != nil {
		return err
	}
	failed := false
	for _, t := range list {
		err := t.err
		if err == nil {
			err = f(api, t)
		}
		if c.Err() != nil {
			return c.Err()
		}
		if err != nil {
			failed = true
			c.warnf("%s", oneLine(aboutPVM(t.arg, err).Error()))
		}
	}
	if failed {
		return Status(1)
	}
	return nil
}

// aboutPVM words the engine's error about the pVM that arg names.
func aboutPVM(arg string, err error) error {
	if codeOf(err) == engine.CodeNoPVM && !strings.Contains(err.Error(), "ended") {
		return noPVM(arg)
	}
	if strings.HasPrefix(err.Error(), "(") {
		return err
	}
	return fmt.Errorf("(%s): %w", arg, err)
}
