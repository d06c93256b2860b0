package shell

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// prefix marks a builtin of the interpreter that the exec handler shall serve. It holds a character
// that no command name has.
const prefix = "kxsh\x01"

// startTimeout bounds how long & waits for a pVM to have its PID.
const startTimeout = 30 * time.Second

// callHandler sees every simple command before it runs. It ends commands of a job that was killed or
// a line that was interrupted, and renames the builtins that are ours.
func (s *Shell) callHandler(ctx context.Context, args []string) ([]string, error) {
	hc := interp.HandlerCtx(ctx)
	name := args[0]
	if name == callEnd {
		return args, nil
	}
	(&execution{ctx: ctx, shell: s, job: s.jobOf(ctx, hc)}).hold()
	j := s.jobOf(ctx, hc)
	if j.ending() != 0 {
		return []string{callDie}, nil
	}
	switch name {
	case callCheck:
		return s.checkpoint(j, hc.LastExitStatus), nil
	case callNew, callBang, callKeep, callSub, callLeave, callDie:
		return args, nil
	case callConsole:
		if !s.declared("console") {
			return args, nil
		}
		return append([]string{"console"}, args[2:]...), nil
	}
	if j.id != 0 && (interp.IsBuiltin(name) || s.declared(name)) {
		j.name(0) // a program of the host or a pVM gives the job its name once it has started
	}
	switch name {
	case "command", "builtin":
		if len(args) > 1 && ours[args[1]] != nil {
			return append([]string{prefix + args[1]}, args[2:]...), nil
		}
	case callShift:
		return s.shiftArgs(args), nil
	case "set":
		if !s.declared("set") {
			return setArgs(args), nil
		}
	case "unset":
		s.unsetFuncs(args[1:])
	case "alias", "unalias":
		s.words.alias(args)
	case "eval":
		if s.declared("eval") {
			return args, nil
		}
		text, err := s.rewriteText(strings.Join(args[1:], " "))
		if err != nil {
			return args, nil // the interpreter says what is wrong
		}
		return []string{"eval", text}, nil
	case "source", ".":
		return s.sourceArgs(hc, args), nil
	case "return":
		if len(args) == 1 {
			return []string{"return", strconv.Itoa(hc.LastExitStatus)}, nil
		}
	case "exec":
		s.asksToLeave.Store(j.id == 0)
	case "exit":
		s.asksToLeave.Store(j.id == 0)
		if text := j.exitTrap(); text != "" && j.id != 0 {
			code := append([]string{"exit"}, args[1:]...)
			if len(code) == 1 {
				code = append(code, strconv.Itoa(hc.LastExitStatus))
			}
			return []string{"eval", text + "\n" + strings.Join(code, " ")}, nil
		} else if text != "" {
			s.setTrap(j, "EXIT", 0, text)
		}
	}
	if ours[name] != nil && !s.declared(name) {
		return append([]string{prefix + name}, args[1:]...), nil
	}
	return args, nil
}

// checkpoint runs a pending trap, if there is one, and keeps $?.
func (s *Shell) checkpoint(j *job, last int) []string {
	keep := callKeep + " " + strconv.Itoa(last)
	if _, text := j.takePending(); text != "" {
		if text, err := s.rewriteText(text); err == nil {
			return []string{"eval", text + "\n" + keep}
		}
	}
	return []string{callKeep, strconv.Itoa(last)}
}

// declared reports whether a function of that name was declared: it goes before ours.
func (s *Shell) declared(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.funcs[name]
}

// shiftArgs has shift fail that would take more than there is: args[1] says how much that is.
func (s *Shell) shiftArgs(args []string) []string {
	shift := append([]string{"shift"}, args[2:]...)
	if n := 1; !s.declared("shift") && len(shift) <= 2 {
		if len(shift) == 2 {
			var err error
			if n, err = strconv.Atoi(shift[1]); err != nil {
				return shift // the interpreter says what is wrong
			}
		}
		if have, _ := strconv.Atoi(args[1]); n < 0 || n > have {
			return []string{callKeep, "1"}
		}
	}
	return shift
}

// unsetFuncs follows unset -f.
func (s *Shell) unsetFuncs(args []string) {
	if len(args) == 0 || args[0] == "-v" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range args {
		delete(s.funcs, a)
	}
}

// jobOf returns the job that a command runs in.
func (s *Shell) jobOf(ctx context.Context, hc interp.HandlerContext) *job {
	if id, err := strconv.Atoi(hc.Env.Get(varJob).String()); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if j := s.jobs[id]; j != nil {
			return j
		}
	}
	return jobNow(ctx, s.main)
}

// execHandler runs everything that is neither function nor a builtin left to the interpreter.
func (s *Shell) execHandler(interp.ExecHandlerFunc) interp.ExecHandlerFunc {
	return func(ctx context.Context, args []string) error {
		hc := interp.HandlerCtx(ctx)
		x := &execution{ctx: ctx, hc: hc, shell: s, job: s.jobOf(ctx, hc), args: args}
		if strings.HasPrefix(args[0], "_kxsh_") {
			return x.internal()
		}
		if name, ok := strings.CutPrefix(args[0], prefix); ok {
			x.args = append([]string{name}, args[1:]...)
			return ours[name](x)
		}
		if cmd := s.table[args[0]]; cmd != nil {
			if args[0] != "run" {
				x.job.name(0)
			}
			if cmd.Own && s.cfg.Self != nil && x.outer().shell.control != nil {
				return x.own()
			}
			return x.command(cmd)
		}
		defer x.job.name(0)
		return x.host()
	}
}

// execution is one command that the exec handler serves.
type execution struct {
	ctx   context.Context
	hc    interp.HandlerContext
	shell *Shell
	job   *job
	args  []string
	sides string // Call.sides
}

// status turns an exit status into what the interpreter wants. A writer whose reader has gone leaves
// its shell, as SIGPIPE would make it.
func (x *execution) status(n int) error {
	if n == 128+int(syscall.SIGPIPE) && brokenPipe(x.hc.Stdout) {
		return x.builtin("exit", strconv.Itoa(n))
	}
	if n == 0 {
		return nil
	}
	return interp.ExitStatus(uint8(n))
}

// builtin runs a builtin of the interpreter.
func (x *execution) builtin(args ...string) error { return x.hc.Builtin(x.ctx, args) }

// set sets a shell variable.
func (x *execution) set(name, value string) error {
	q, err := syntax.Quote(value, syntax.LangBash)
	if err != nil {
		return interp.ExitStatus(1)
	}
	return x.builtin("eval", name+"="+q)
}

// command runs a command of the table.
func (x *execution) command(cmd *Command) error {
	c := &Call{
		Context: x.ctx,
		Name:    x.args[0],
		Stdin:   x.hc.Stdin,
		Stdout:  x.hc.Stdout,
		Stderr:  x.hc.Stderr,
		Dir:     x.hc.Dir,
		Environ: exported(x.hc.Env),
		shell:   x.shell,
		job:     x.job,
		sides:   x.sides,
	}
	n := x.shell.runCommand(c, cmd, x.args[1:])
	x.job.name(0)
	if n == 128+int(syscall.SIGINT) && context.Cause(c.Context) == signalled(syscall.SIGINT) {
		jobNow(c, x.job).endInterrupted()
	}
	return x.status(n)
}

// internal serves the calls that rewrite.go puts in.
func (x *execution) internal() error {
	s := x.shell
	switch x.args[0] {
	case callNew:
		j := s.startJob(x.job, x.args[2], x.args[1] == "true")
		if !j.simple {
			j.name(0)
		}
		return x.set(varLast, strconv.Itoa(j.id))
	case callBang:
		id, _ := strconv.Atoi(x.hc.Env.Get(varLast).String())
		j := s.jobByID(id)
		if j == nil {
			return nil
		}
		select {
		case <-j.named:
		case <-time.After(startTimeout):
			j.name(0)
		}
		if s.interactive && x.job.id == 0 {
			fmt.Fprintf(x.hc.Stderr, "[%d] %d\n", j.id, j.pid())
		}
		return x.set(varPID, strconv.Itoa(j.pid()))
	case callEnd:
		n, _ := strconv.Atoi(x.args[1])
		x.job.finish(n)
		return nil
	case callKeep:
		n, _ := strconv.Atoi(x.args[1])
		if n == 0 {
			return nil
		}
		return interp.ExitStatus(uint8(n))
	case callDie:
		return x.builtin("exit", strconv.Itoa(x.job.ending()))
	case callSub:
		j := s.startJob(x.job, "", false)
		j.name(0)
		x.job.lockNow(x.ctx).adopt(j)
		return x.set(varJob, strconv.Itoa(j.id))
	case callLeave:
		n := x.args[1]
		if text := x.job.exitTrap(); text != "" && x.job.id != 0 {
			return x.builtin("eval", text+"\n"+callKeep+" "+n)
		}
		code, _ := strconv.Atoi(n)
		return x.status(code)
	case callAbove:
		fmt.Fprintf(x.hc.Stderr, "kxsh: %s: this shell has the descriptors 0, 1 and 2: name the file where it is read or written, or leave the line to sh -c\n", x.args[1])
		return interp.ExitStatus(1)
	case callConsole:
		x.sides, x.args = x.args[1], append([]string{"console"}, x.args[2:]...)
		x.job.name(0)
		return x.command(s.table["console"])
	}
	fmt.Fprintf(x.hc.Stderr, "kxsh: %s: command not found\n", x.args[0])
	return interp.ExitStatus(127)
}

// exported lists the exported variables as K=V.
func exported(env expand.Environ) []string {
	vars := map[string]string{}
	var order []string
	env.Each(func(name string, v expand.Variable) bool {
		if _, seen := vars[name]; !seen {
			order = append(order, name)
		}
		delete(vars, name)
		if v.IsSet() && v.Exported && v.Kind == expand.String {
			vars[name] = v.String()
		}
		return true
	})
	var list []string
	done := map[string]bool{}
	for _, name := range order {
		if v, ok := vars[name]; ok && !done[name] {
			list = append(list, name+"="+v)
			done[name] = true
		}
	}
	return list
}

// sourcePrefix starts the made-up path under which openHandler serves a rewritten file.
const sourcePrefix = "/\x01kxsh/"

// sourceArgs makes source read the file rewritten, if that makes a difference. What is no regular file, as a pipe of <(…), is read once.
func (s *Shell) sourceArgs(hc interp.HandlerContext, args []string) []string {
	if len(args) < 2 || s.declared(args[0]) {
		return args
	}
	path := args[1]
	if !strings.Contains(path, "/") {
		if found := findFile(hc, path); found != "" {
			path = found
		}
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(hc.Dir, path)
	}
	var data []byte
	var err error
	if path == "/dev/stdin" && hc.Stdin != nil { // the command's, which need not be the process's
		data, err = io.ReadAll(hc.Stdin)
	} else {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return args
	}
	text, err := s.rewriteText(string(data))
	if err != nil {
		text = string(data) // the interpreter says what is wrong
	}
	if fi, err := os.Stat(path); text == string(data) && err == nil && fi.Mode().IsRegular() && path != "/dev/stdin" {
		return args
	}
	s.mu.Lock()
	s.nextSource++
	key := sourcePrefix + strconv.Itoa(s.nextSource)
	s.sources[key] = text
	s.mu.Unlock()
	return append([]string{args[0], key}, args[2:]...)
}

// findFile looks for a file to source in PATH.
func findFile(hc interp.HandlerContext, name string) string {
	for _, dir := range filepath.SplitList(hc.Env.Get("PATH").String()) {
		p := filepath.Join(dir, name)
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() {
			return p
		}
	}
	return ""
}

// openHandler opens files, and the rewritten ones of sourceArgs.
func (s *Shell) openHandler(ctx context.Context, path string, flag int, perm os.FileMode) (io.ReadWriteCloser, error) {
	if strings.HasPrefix(path, sourcePrefix) {
		s.mu.Lock()
		defer s.mu.Unlock()
		text := s.sources[path]
		delete(s.sources, path)
		return &memoryFile{strings.NewReader(text)}, nil
	}
	hc := interp.HandlerCtx(ctx)
	path, replace := strings.CutSuffix(path, clobberMark)
	open := func(flag int) (io.ReadWriteCloser, error) { return interp.DefaultOpenHandler()(ctx, path, flag, perm) }
	var f io.ReadWriteCloser
	var err error
	if flag&(os.O_CREATE|os.O_TRUNC) == os.O_CREATE|os.O_TRUNC && !replace && hc.Env.Get(varNoclobber).String() != "" {
		f, err = openNew(path, open, flag)
	} else {
		f, err = open(flag)
	}
	if err != nil {
		if pe, ok := err.(*os.PathError); ok {
			return nil, &os.PathError{Op: "kxsh:", Path: path, Err: pe.Err}
		}
	}
	return f, err
}

// memoryFile is a text that is read like a file.
type memoryFile struct{ *strings.Reader }

func (*memoryFile) Write([]byte) (int, error) { return 0, os.ErrPermission }
func (*memoryFile) Close() error              { return nil }
