package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"kxsh/engine"
)

// Call is one command being run. Its context ends when the user interrupts the command.
type Call struct {
	context.Context
	Name    string
	Args    []string // after the flags
	Flags   *pflag.FlagSet
	Stdin   io.Reader // may be nil: closed
	Stdout  io.Writer
	Stderr  io.Writer
	Dir     string
	Environ []string // exported variables, K=V

	shell *Shell
	job   *job // the shell itself, or the background job it runs in
	cmd   *Command
	words []string // as typed, after the name
	sides string   // of a console: on which sides its neighbours in the pipeline are consoles, too

	cancel   context.CancelCauseFunc
	mu       sync.Mutex
	onSignal func(syscall.Signal) (took bool) // takes signals instead of being cancelled

	stopsItself atomic.Bool // Ctrl-Z is a key that it passes on, and it returns when that has stopped its pVM
}

// Status ends a command with an exit status and says nothing.
type Status int

func (s Status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// UsageError is a command used wrongly: exit status 2.
type UsageError string

func (e UsageError) Error() string { return string(e) }

func usagef(format string, a ...any) error { return UsageError(fmt.Sprintf(format, a...)) }

// signalled is why a call's context ended.
type signalled syscall.Signal

func (s signalled) Error() string { return "interrupted by " + signalName(syscall.Signal(s)) }

// Engine returns the engine, starting one if there is none.
func (c *Call) Engine() (engine.API, error) { return c.shell.engine() }

// Shell returns the session.
func (c *Call) Shell() *Shell { return c.shell }

// Path makes a path of the user's absolute.
func (c *Call) Path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(c.Dir, p)
}

// variable is an exported variable, the last of its name.
func (c *Call) variable(name string) (value string, set bool) {
	for _, kv := range c.Environ {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value, set = v, true
		}
	}
	return value, set
}

// Terminal returns the terminal that w is, or nil.
func Terminal(w any) *os.File { return terminalOf(w) }

// takeSignals hands the signals that would cancel the call to f until the call ends. f reports whether it took one: what comes too late is left to the shell.
// A stop is one of them from then on; in a job that is stopped already the call waits here.
func (c *Call) takeSignals(f func(syscall.Signal) (took bool)) {
	c.hold()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onSignal = f
}

// StopsBySignal is for a command that at Ctrl-Z sends SIGTSTP to its process and waits for SIGCONT. An interactive shell takes the one, and sends the other.
func (c *Call) StopsBySignal() {
	c.takeSignals(func(sig syscall.Signal) bool {
		switch sig {
		case syscall.SIGTSTP:
		case syscall.SIGCONT:
			syscall.Kill(os.Getpid(), sig)
		default:
			c.cancel(signalled(sig))
		}
		return true
	})
}

// execution is what the call serves.
func (c *Call) execution() *execution { return &execution{ctx: c.Context, shell: c.shell, job: c.job} }

// hold waits while the job is stopped, unless the command sees to that itself. It returns an error if the call has been ended meanwhile.
func (c *Call) hold() error {
	if c.takesSignals() {
		return nil
	}
	return c.execution().hold()
}

// endsSoon tells whether a signal ends the call: the commands of a pipeline get it one after the other, and one's end may be seen before.
func (c *Call) endsSoon() bool {
	select {
	case <-c.Done():
		return true
	case <-time.After(50 * time.Millisecond):
		return false
	}
}

func (c *Call) takesSignals() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.onSignal != nil
}

// signal is what the shell got while the command ran. It reports whether the command took it.
func (c *Call) signal(sig syscall.Signal) bool {
	c.mu.Lock()
	f := c.onSignal
	c.mu.Unlock()
	if f == nil {
		c.cancel(signalled(sig))
		return false
	}
	return f(sig)
}

// runCommand parses the flags, runs the command, says what went wrong and returns the status.
func (s *Shell) runCommand(c *Call, cmd *Command, args []string) int {
	c.cmd, c.words = cmd, args
	c.Context, c.cancel = context.WithCancelCause(c.Context)
	defer c.cancel(nil)
	out := &output{c: c, w: c.Stdout}
	c.Stdout, c.Stderr = out, &output{c: c, w: c.Stderr}
	if err := c.parse(args); err != nil {
		return c.report(err)
	}
	defer c.job.leave(c)
	c.job.enter(c)
	err := c.hold()
	if err == nil {
		endPage := c.paged()
		err = cmd.Run(c)
		c.hold() // a job that is stopped does not end
		endPage()
	}
	if cause := context.Cause(c.Context); c.Err() != nil && err != nil {
		var sig signalled
		if errors.As(cause, &sig) {
			return 128 + int(sig)
		}
	}
	if out.isBroken() {
		return 128 + int(syscall.SIGPIPE)
	}
	return c.report(err)
}

// parse parses the flags into c.Flags and c.Args.
func (c *Call) parse(args []string) error {
	c.Flags = c.cmd.flagSet()
	if c.cmd.Raw {
		c.Args = args
		return nil
	}
	if c.cmd.Prepare != nil {
		args = c.cmd.Prepare(args)
	}
	if err := c.Flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			c.shell.helpOn(c.Stdout, c.cmd, styleFor(c.Stdout, c.shell.cfg.Color))
			return Status(0)
		}
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) && c.shell.isGlobal(unknown.GetSpecifiedName()) {
			return usagef("--%s: goes before the command: kxsh --%[1]s … %s", unknown.GetSpecifiedName(), c.Name)
		}
		return FlagError(c.Flags, err)
	}
	c.Args = c.Flags.Args()
	return nil
}

// isGlobal tells whether a flag is kxsh's own: a setting, and not one that a command has a flag for.
func (s *Shell) isGlobal(name string) bool {
	return slices.ContainsFunc(s.cfg.Settings, func(s Setting) bool { return s.Key == name }) &&
		!slices.ContainsFunc(s.order, func(c *Command) bool { return c.flagSet().Lookup(name) != nil })
}

// FlagError words what Parse of f said is wrong with a flag.
func FlagError(f *pflag.FlagSet, err error) error {
	var unknown *pflag.NotExistError
	var bad *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return usagef("-%.1s: no such flag", unknown.GetSpecifiedName())
	case errors.As(err, &unknown):
		var names []string
		f.VisitAll(func(flag *pflag.Flag) { names = append(names, "--"+flag.Name) })
		name := "--" + unknown.GetSpecifiedName()
		return usagef("%s: no such flag%s", name, DidYouMean(name, names))
	case errors.As(err, &bad):
		why := map[string]string{"int": "not a whole number", "int64": "not a whole number", "intSlice": "not whole numbers", "uint64": "not a whole number of 0 or more", "float64": "not a number", "bool": "true or false",
			"duration": "not a time such as 500ms or 10s"}[bad.GetFlag().Value.Type()]
		if why != "" {
			return usagef("--%s %s: %s", bad.GetFlag().Name, bad.GetValue(), why)
		}
	}
	return UsageError(err.Error())
}

// flagSet declares the command's flags anew.
func (cmd *Command) flagSet() *pflag.FlagSet {
	f := pflag.NewFlagSet(cmd.Name, pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.SortFlags = false
	f.SetInterspersed(!cmd.Leading)
	if cmd.Flags != nil {
		cmd.Flags(f)
	}
	return f
}

// report prints err as one line and returns the exit status that goes with it.
func (c *Call) report(err error) int {
	var status Status
	var usage UsageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		c.warnf("%s; see: help %s", usage, c.Name)
		return 2
	}
	c.warnf("%s", oneLine(err.Error()))
	return 1
}

// warnf prints COMMAND: … on standard error.
func (c *Call) warnf(format string, a ...any) {
	fmt.Fprintf(c.Stderr, "%s: %s\n", c.Name, fmt.Sprintf(format, a...))
}

// want refuses a wrong number of arguments; max < 0: any number.
func (c *Call) want(min, max int) error {
	if n := len(c.Args); n < min || max >= 0 && n > max {
		return usagef("usage: %s", strings.TrimSpace(c.Name+" "+c.cmd.Synopsis))
	}
	return nil
}

func (c *Call) flagBool(name string) bool { v, _ := c.Flags.GetBool(name); return v }
func (c *Call) flagString(name string) string {
	v, _ := c.Flags.GetString(name)
	return v
}
func (c *Call) flagUint(name string) uint64 { v, _ := c.Flags.GetUint64(name); return v }
func (c *Call) flagInt(name string) int     { v, _ := c.Flags.GetInt(name); return v }

// codeOf is the engine's code of err, or "".
func codeOf(err error) engine.Code {
	var e *engine.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// output is where a command writes to. What is written waits while its job is stopped, and it remembers that the reader of a pipe has gone.
type output struct {
	c      *Call
	w      io.Writer
	mu     sync.Mutex
	broken bool
}

func (o *output) Write(b []byte) (int, error) {
	if err := o.c.hold(); err != nil {
		return 0, err
	}
	n, err := o.w.Write(b)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		o.mu.Lock()
		o.broken = true
		o.mu.Unlock()
	}
	return n, err
}

func (o *output) isBroken() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.broken
}

// streamOf is what a command's output goes to: a program of the host gets that itself.
func streamOf(w any) any {
	if o, ok := w.(*output); ok {
		return o.w
	}
	return w
}
