package shell

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"kxsh/engine"
)

// updatePatience is for how long a library may be in use before update and rollback give up.
const updatePatience = 10 * time.Second

// canaryWatch is how long the first of several pVMs is watched before the others follow.
const canaryWatch = time.Second

var updateCommand = Command{
	Name:     "update",
	Synopsis: "[--timeout T] [--dry-run] [--symbols-only] [--watch T] [--json] PID, NEW, OLD | --all [flag…] NEW OLD",
	Short:    "replace a library of a running pVM",
	Long: `The file NEW takes the place of the library OLD, which is named as ldd has it, or by its file. The program goes on with its variables, connections and
threads as they are; for the pause that is printed it stands still. The commas may be left out. NEW has to be compatible, as abidiff has it, and signed if the pVM's
image had to be (run --require). While a thread is in OLD the update waits, at most --timeout; if there is a pointer to something that NEW lacks it is refused.
Whatever fails leaves the pVM as it was.

PID may name several pVMs, and --all means all that have OLD. Then the first one is updated alone and watched for a while (--watch): if that fails, or it ends, the
others are not touched. A pVM that has NEW already counts as updated. rollback goes back.

Exit status 0: all were updated, or with --dry-run could be; 1: not all; 2: used wrongly.`,
	Examples: []string{"update web, ./libz-new.so, libz.so", "update --dry-run 7 libz-new.so libz.so", "update --all libz-new.so libz.so"},
	Flags: func(f *pflag.FlagSet) {
		updateFlags(f)
		f.Bool("all", false, "all pVMs that have OLD")
		f.Duration("watch", canaryWatch, "how long to watch the first of several")
	},
	Args: Library,
	Run:  update,
}

var rollbackCommand = Command{
	Name:     "rollback",
	Synopsis: "[--timeout T] [--dry-run] [--symbols-only] [--json] PID LIB",
	Short:    "undo the last update of a library of a pVM",
	Long: `The file that update has replaced takes the place of the library LIB again; it must not have changed. Variables keep their values; those that only the newer
file has go. Otherwise it is an update, and can wait, and be refused, as one.`,
	Examples: []string{"rollback web libz.so"},
	Flags:    updateFlags,
	Args:     Library,
	Run: func(c *Call) error {
		if err := c.want(2, 2); err != nil {
			return err
		}
		return c.updateThose(c.Args[:1], engine.UpdateRequest{Old: c.library(c.Args[1]), Rollback: true})
	},
}

func updateFlags(f *pflag.FlagSet) {
	f.Duration("timeout", updatePatience, "for how long the library may be in use")
	f.Bool("dry-run", false, "only find out whether it could be done now")
	f.Bool("symbols-only", false, "do not compare types where there is no debug information")
	jsonFlag(f)
}

func update(c *Call) error {
	all := c.flagBool("all")
	n := 3
	if all {
		n = 2
	}
	args := withoutCommas(c.Args, n)
	if len(args) != n {
		return usagef("usage: update %s", c.cmd.Synopsis)
	}
	r := engine.UpdateRequest{New: c.Path(args[n-2]), Old: c.library(args[n-1])}
	if !all {
		return c.updateThose(args[:1], r)
	}
	pids, err := c.usersOf(r.Old)
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return fmt.Errorf("%s: no pVM has it", args[n-1])
	}
	return c.updateThose(pids, r)
}

// withoutCommas takes off the commas that may stand between n arguments, or makes n of one.
func withoutCommas(args []string, n int) (list []string) {
	if len(args) < n {
		args = strings.Split(strings.Join(args, ","), ",")
	}
	for i, a := range args {
		if a = strings.TrimSpace(a); i < len(args)-1 {
			a = strings.TrimSuffix(a, ",")
		}
		if a != "" {
			list = append(list, a)
		}
	}
	return list
}

// library is how the engine is told of a library: by a name, or a path.
func (c *Call) library(arg string) string {
	if strings.Contains(arg, "/") {
		return c.Path(arg)
	}
	return arg
}

// usersOf lists the pVMs that have a library.
func (c *Call) usersOf(library string) (pids []string, err error) {
	api, err := c.Engine()
	if err != nil {
		return nil, err
	}
	snap, err := api.Snapshot(c, false)
	if err != nil {
		return nil, err
	}
	for _, p := range snap.Processes {
		if p.Foreign || p.Exit != nil {
			continue
		}
		list, err := api.Libraries(c, p.PID)
		if err != nil && codeOf(err) != engine.CodeNoPVM { // else it has ended meanwhile
			return nil, err
		}
		if slices.ContainsFunc(list, func(l engine.Library) bool { return l.AnswersTo(library) }) {
			pids = append(pids, strconv.Itoa(p.PID))
		}
	}
	return pids, nil
}

// updated is what update --json prints of each pVM.
type updated struct {
	engine.UpdateResult
	Error   string   `json:"error,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
}

// updateThose updates what args name: the first one alone, and the others if that has worked.
func (c *Call) updateThose(args []string, r engine.UpdateRequest) error {
	r.DryRun, r.SymbolsOnly = c.flagBool("dry-run"), c.flagBool("symbols-only")
	r.Timeout, _ = c.Flags.GetDuration("timeout")
	if r.Timeout < 0 {
		return usagef("--timeout %s: at least 0", r.Timeout)
	}
	api, err := c.Engine()
	if err != nil {
		return err
	}
	list, err := targets(c, api, args, false)
	if err != nil {
		return err
	}
	results, failed, tried := []updated{}, 0, 0
	for i, t := range list {
		result, err := c.updateOne(api, t, r)
		if c.Err() != nil {
			return c.Err()
		}
		if err == nil && i == 0 && len(list) > 1 && !r.DryRun {
			err = c.watch(api, t)
		}
		tried++
		if err != nil {
			failed++
			result.Error = oneLine(aboutPVM(t.arg, err).Error())
			for _, reason := range result.Reasons {
				c.warnf("%s", printable(oneLine(reason)))
			}
			c.warnf("%s", result.Error)
		} else if !c.flagBool("json") {
			fmt.Fprint(c.Stdout, updateText(&result.UpdateResult))
		}
		results = append(results, result)
		if i == 0 && err != nil {
			break
		}
	}
	if left := len(list) - tried; left > 0 {
		c.warnf("it was the first: %d more not touched", left)
	}
	if c.flagBool("json") {
		err = writeJSON(c.Stdout, results)
	} else if len(list) > 1 {
		_, err = fmt.Fprintf(c.Stdout, "%d of %d %s\n", tried-failed, len(list), map[bool]string{false: "updated", true: "could be updated"}[r.DryRun])
	}
	if err == nil && failed > 0 {
		return Status(1)
	}
	return err
}

// updateOne updates one pVM, and tells on a terminal what it waits for.
func (c *Call) updateOne(api engine.API, t target, r engine.UpdateRequest) (updated, error) {
	out := updated{UpdateResult: engine.UpdateResult{PID: t.pid, Steps: []engine.Step{}}}
	if t.err != nil {
		return out, t.err
	}
	result, err := api.Update(c, t.pid, r, func(w engine.UpdateWait) {
		if terminalOf(c.Stderr) != nil {
			c.warnf("(%d): waits for %s", t.pid, printable(oneLine(w.String())))
		}
	})
	var own *engine.Error
	if errors.As(err, &own) {
		out.Reasons = own.Reasons
	}
	if err == nil {
		out.UpdateResult = *result
	}
	return out, err
}

// watch fails if the pVM ends in the time that the first one is watched.
func (c *Call) watch(api engine.API, t target) error {
	d, _ := c.Flags.GetDuration("watch")
	ctx, cancel := context.WithTimeout(c, d)
	defer cancel()
	x, err := api.Wait(ctx, t.pid)
	switch {
	case err == nil:
		return fmt.Errorf("(%d): was updated and has ended: exit status %d: see logs %d", t.pid, x.Code, t.pid)
	case ctx.Err() != nil && c.Err() == nil:
		return nil
	}
	return err
}

// updateText is how an update went, a line a step.
func updateText(r *engine.UpdateResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, "(%d): %s: ", r.PID, printable(r.Library))
	switch {
	case r.Already:
		fmt.Fprintf(&b, "is %s already\n", printable(r.New.Path))
		return b.String()
	case r.DryRun:
		fmt.Fprintf(&b, "%s could take the place of %s\n", printable(r.New.Path), printable(r.Old.Path))
	default:
		fmt.Fprintf(&b, "%s instead of %s\n", printable(r.New.Path), printable(r.Old.Path))
	}
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "  %-10s %7s\n", s.Name, humanDuration(s.Took))
	}
	fmt.Fprintf(&b, "pause %s, %s looked through", humanDuration(r.Pause), humanBytes(r.Scanned))
	if !r.DryRun {
		fmt.Fprintf(&b, "; functions: %d, variables: %d, pointers: %d", r.Functions, r.Variables, r.Pointers)
		if r.Pinned > 0 {
			fmt.Fprintf(&b, "; constants of the old file that are used still: %d", r.Pinned)
		}
	}
	b.WriteString("\n")
	return b.String()
}
