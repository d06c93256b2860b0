package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"

	"kxsh/engine"
)

// environ is the interpreter's first environment: the process's, and what rewrite.go needs.
type environ struct {
	expand.Environ
	zero expand.Variable
}

func (e *environ) Get(name string) expand.Variable {
	if name == varZero {
		return e.zero
	}
	return e.Environ.Get(name)
}

func (e *environ) Each(f func(string, expand.Variable) bool) {
	if f(varZero, e.zero) {
		e.Environ.Each(f)
	}
}

// runner makes the interpreter.
func (s *Shell) runner(env []string, dir string, in io.Reader, out, err io.Writer, args []string) (*interp.Runner, error) {
	zero := expand.Variable{Set: true, Kind: expand.String, Str: s.argv0}
	return interp.New(
		interp.Env(&environ{expand.ListEnviron(env...), zero}),
		interp.Dir(dir),
		interp.StdIO(in, out, err),
		interp.Params(append([]string{"--"}, args...)...),
		interp.Interactive(s.interactive),
		interp.CallHandler(s.callHandler),
		interp.ExecHandlers(s.execHandler),
		interp.OpenHandler(s.openHandler),
	)
}

// start makes the interpreter on the process's own streams.
func (s *Shell) start(args []string) (*interp.Runner, error) {
	return s.runner(os.Environ(), "", s.cfg.Stdin, s.cfg.Stdout, s.cfg.Stderr, args)
}

// Script runs a script given as text. argv0 is its $0, args its $1 and so on.
func (s *Shell) Script(text, argv0 string, args []string) int {
	s.argv0 = argv0
	stop := s.catchSignals()
	defer stop()
	defer s.restoreTerminal()
	r, err := s.start(args)
	if err != nil {
		s.errorf("%v", err)
		return 1
	}
	return s.program(r, text, s.cfg.Stderr)
}

// File runs a script from a file.
func (s *Shell) File(path string, args []string) int {
	data, err := os.ReadFile(path)
	if err != nil {
		hint := ""
		if !strings.Contains(path, "/") {
			hint = s.didYouMean(path)
		}
		s.errorf("%s: %v%s", path, errno(err), hint)
		if errors.Is(err, os.ErrNotExist) {
			return 127
		}
		return 126
	}
	if i := strings.IndexByte(string(data), '\n'); strings.IndexByte(string(data[:max(0, i)]), 0) >= 0 || i < 0 && strings.IndexByte(string(data), 0) >= 0 {
		s.errorf("%s: cannot execute binary file: run %s starts an image", path, path)
		return 126
	}
	return s.Script(string(data), path, args)
}

// Stdin runs a script from standard input, a line at a time and no byte further: what the script
// reads itself comes from there too.
func (s *Shell) Stdin() int {
	stop := s.catchSignals()
	defer stop()
	defer s.restoreTerminal()
	r, err := s.start(nil)
	if err != nil {
		s.errorf("%v", err)
		return 1
	}
	status, exited := 0, false
	in := &byteReader{s: s, f: s.cfg.Stdin}
	err = interactive(in, func(list []*syntax.Stmt) bool {
		status, exited = s.statements(r, list)
		return !exited
	})
	if err != nil && !exited {
		s.errorf("%v", err)
		status = 2
	}
	return s.leave(r, status)
}

// interactive parses r line by line and gives each complete line to f until that returns false.
func interactive(r io.Reader, f func([]*syntax.Stmt) bool) error {
	for list, err := range syntax.NewParser().InteractiveSeq(r) {
		if err != nil {
			return err
		}
		if len(list) > 0 && !f(list) {
			return nil
		}
	}
	return nil
}

// byteReader reads a byte at a time, so that nothing is read ahead. A last line without a newline gets
// one.
type byteReader struct {
	s    *Shell
	f    *os.File
	last byte
}

func (b *byteReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b.s.reading.Store(true)
	defer b.s.reading.Store(false)
	n, err := b.f.Read(p[:1])
	if n > 0 {
		b.last = p[0]
	} else if err == io.EOF && b.last != '\n' && b.last != 0 {
		b.last, p[0] = '\n', '\n'
		return 1, nil
	}
	return n, err
}

// program parses and runs a whole script and returns the shell's exit status.
func (s *Shell) program(r *interp.Runner, text string, stderr io.Writer) int {
	f, err := syntax.NewParser().Parse(strings.NewReader(text), s.argv0)
	if err != nil {
		fmt.Fprintf(stderr, "kxsh: %v\n", err)
		return 2
	}
	status, _ := s.statements(r, f.Stmts)
	return s.leave(r, status)
}

// statements runs statements one after the other. It returns the last status and whether the shell
// is to leave.
func (s *Shell) statements(r *interp.Runner, list []*syntax.Stmt) (status int, exited bool) {
	f := &syntax.File{Stmts: list}
	s.rewrite(f)
	for _, st := range f.Stmts {
		status = s.status(r.Run(context.Background(), st))
		if r.Exited() || s.main.ending() != 0 {
			exited = true
			break
		}
	}
	if n := s.main.ending(); n != 0 {
		status = n
	}
	return status, exited
}

// status is the exit status that an interpreter's error stands for.
func (s *Shell) status(err error) int {
	var st interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &st):
		return int(st)
	}
	s.errorf("%v", err)
	return 1
}

// leave runs the last traps and returns the shell's status.
func (s *Shell) leave(r *interp.Runner, status int) int {
	run := func(text string) {
		f, err := syntax.NewParser().Parse(strings.NewReader(text), s.argv0)
		if err != nil {
			s.errorf("trap: %v", err)
			return
		}
		s.rewrite(f)
		for _, st := range f.Stmts {
			n := s.status(r.Run(context.Background(), st))
			if r.Exited() {
				status = n
				break
			}
		}
	}
	if s.main.ending() == 0 {
		for _, text := s.main.takePending(); text != ""; _, text = s.main.takePending() {
			run(text)
		}
	}
	s.main.revive()
	if text := s.main.exitTrap(); text != "" {
		run(text)
	}
	if s.under == nil {
		s.starting.Lock() // and nothing is started any more: kill %1 was for what would have been
	}
	s.Close()
	return status
}

// connectShared gives a script run by name the engine of the shell that runs it.
func (s *Shell) connectShared() (engine.API, error) {
	api, err := s.engine()
	if err != nil {
		return nil, err
	}
	return unclosed{api}, nil
}

// unclosed is an engine that somebody else closes.
type unclosed struct{ engine.API }

func (unclosed) Close() error { return nil }
