package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/term"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// Interactive is a session on a terminal.
func (s *Shell) Interactive() int {
	s.interactive = true
	giveBack := takeForeground(s.cfg.Stdin)
	defer giveBack()
	s.control = newJobControl(s.cfg.Stdin, s.main)
	stop := s.catchSignals()
	defer stop()
	defer s.restoreTerminal()
	r, err := s.start(nil)
	if err != nil {
		s.errorf("%v", err)
		return 1
	}
	history := s.historyFile()
	if history != "" {
		if f, err := os.OpenFile(history, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600); err == nil {
			f.Close()
		} else if err := os.MkdirAll(s.cfg.StateDir, 0o700); err != nil {
			history = ""
		}
	}
	if old, err := term.GetState(int(s.cfg.Stdin.Fd())); err == nil { // whatever happens in between
		s.atExit = func() {
			if !dumb() {
				fmt.Fprint(s.cfg.Stdout, pasteOff)
			}
			term.Restore(int(s.cfg.Stdin.Fd()), old)
			giveBack()
		}
		defer term.Restore(int(s.cfg.Stdin.Fd()), old)
	}
	paint := &highlighter{pens: pensFor(s.cfg.Stdout, s.cfg.Color), known: s.knows}
	s.words.wanted = paint.pens != pens{}
	ed, err := newEditor(s.cfg.Stdin, s.cfg.Stdout, &s.ahead, history, s.complete, paint)
	if err != nil {
		s.errorf("terminal: %v", err)
		return 1
	}
	defer ed.Close()
	go s.watchCount()
	status, exited := s.startFile(r)
	if !exited {
		status, r = s.session(r, ed)
	}
	return s.leave(r, status)
}

// startFile runs the user's start file.
func (s *Shell) startFile(r *interp.Runner) (status int, exited bool) {
	path := s.cfg.RC
	if path == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return 0, false
		}
		path = filepath.Join(dir, "kxsh", "kxshrc")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	f, err := syntax.NewParser().Parse(strings.NewReader(string(data)), path)
	if err != nil {
		s.errorf("%v", err)
		return 0, false
	}
	status, exited = s.statements(r, f.Stmts)
	if exited && s.main.ending() != 0 {
		s.main.revive()
		exited = false
	}
	return status, exited
}

// session reads and runs lines until the user leaves. It returns the status and the interpreter to leave with.
func (s *Shell) session(r *interp.Runner, ed editor) (status int, _ *interp.Runner) {
	warned := false
	for {
		s.printJobs(s.cfg.Stderr, true, false, false)
		s.words.gather(r)
		list, err := s.readProgram(ed)
		leaves := errors.Is(err, io.EOF)
		switch {
		case leaves:
		case errors.Is(err, errInterrupt):
			status = s.setStatus(r, 130)
			continue
		case err != nil:
			fmt.Fprintf(s.cfg.Stderr, "kxsh: %v\n", err)
			status = s.setStatus(r, 2)
			continue
		default:
			s.main.revive()
			status, r, leaves = s.line(r, list)
			for _, trap := s.main.takePending(); trap != "" && s.main.ending() == 0 && !leaves; _, trap = s.main.takePending() {
				if f, err := syntax.NewParser().Parse(strings.NewReader(trap), "trap"); err != nil {
					s.errorf("trap: %v", err)
				} else {
					_, r, leaves = s.line(r, f.Stmts)
					status = s.setStatus(r, status)
				}
			}
		}
		n := s.main.ending()
		switch {
		case n == 130:
			fmt.Fprintln(s.cfg.Stderr)
			s.main.revive()
			status = s.setStatus(r, 130)
		case n != 0: // asked to leave by a signal
			return n, r
		case leaves && !warned && s.anyStopped():
			fmt.Fprintln(s.cfg.Stderr, "kxsh: there are stopped jobs: exit again to leave them")
			warned = true
			continue
		case leaves:
			return status, r
		}
		warned = false
	}
}

// line runs the statements of a line, and reports whether that is to be the last one. What ends a script ends the line only, but for exit, exec and set -e.
func (s *Shell) line(r *interp.Runner, list []*syntax.Stmt) (status int, _ *interp.Runner, leaves bool) {
	f := &syntax.File{Stmts: list}
	texts := map[*syntax.Stmt]string{}
	for _, st := range list {
		texts[st] = source(st)
	}
	s.rewrite(f)
	for _, st := range f.Stmts {
		s.asksToLeave.Store(false)
		status, r = s.typed(r, st, texts[st])
		if s.main.ending() != 0 {
			return status, r, false
		}
		if r.Exited() {
			leaves = s.asksToLeave.Load() || s.status(r.Run(context.Background(), errexitSet)) == 0
			if !leaves {
				status = s.setStatus(r, status)
			}
			return status, r, leaves
		}
	}
	return status, r, false
}

// errexitSet is [[ -o errexit ]].
var errexitSet = &syntax.TestClause{X: &syntax.UnaryTest{Op: syntax.TsOptSet, X: literal("errexit")}}

// setStatus sets $?.
func (s *Shell) setStatus(r *interp.Runner, n int) int {
	return s.status(r.Run(context.Background(), callStmt(callKeep, literal(strconv.Itoa(n)))))
}

// readProgram reads lines until they are a whole program, and remembers it.
func (s *Shell) readProgram(ed editor) ([]*syntax.Stmt, error) {
	text := ""
	for {
		prompt := s.prompt()
		if text != "" {
			prompt = "> "
		}
		s.reading.Store(true)
		line, err := ed.ReadLine(prompt, text)
		s.reading.Store(false)
		if err == io.EOF && text != "" {
			return nil, errors.New("unexpected end of file")
		}
		if err != nil {
			return nil, err
		}
		text += line + "\n"
		f, err := syntax.NewParser().Parse(strings.NewReader(text), "")
		if err != nil && syntax.IsIncomplete(err) || err == nil && goesOn(text) {
			continue
		}
		if entry := historyLine(text); entry != "" {
			ed.Remember(entry)
		}
		if err != nil {
			return nil, err
		}
		return f.Stmts, nil
	}
}

// goesOn tells whether the last line of a program ends in a backslash that makes one line of it and the next.
func goesOn(text string) bool {
	text = strings.TrimSuffix(text, "\n")
	if n := len(text) - len(strings.TrimRight(text, `\`)); n%2 == 0 {
		return false
	}
	f, err := syntax.NewParser(syntax.KeepComments(true)).Parse(strings.NewReader(text), "")
	comment := false
	if err == nil {
		syntax.Walk(f, func(n syntax.Node) bool {
			c, ok := n.(*syntax.Comment)
			comment = comment || ok && int(c.End().Offset()) >= len(text)
			return true
		})
	}
	return !comment
}

// countInterval is how often the number of pVMs in the prompt is refreshed.
const countInterval = time.Second

// running is the number of pVMs last seen; -1: not known.
var running atomic.Int64

// watchCount keeps the number of pVMs for the prompt up to date, without starting an engine.
func (s *Shell) watchCount() {
	running.Store(-1)
	for {
		s.count()
		time.Sleep(countInterval)
	}
}

// count asks an engine that runs how many pVMs there are.
func (s *Shell) count() {
	api := s.peek()
	if api == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), countInterval)
	defer cancel()
	snap, err := api.Snapshot(ctx, false)
	if err != nil {
		s.dropPeeked()
		running.Store(-1)
		return
	}
	n := 0
	for i := range snap.Processes {
		if !snap.Processes[i].Foreign {
			n++
		}
	}
	running.Store(int64(n))
}

// promptPatience is how long a prompt waits for a fresh number of pVMs.
var promptPatience = 20 * time.Millisecond

// prompt shows host and number of pVMs: kxsh@host 3> .
func (s *Shell) prompt() string {
	fresh := make(chan struct{})
	go func() {
		s.count()
		close(fresh)
	}()
	select {
	case <-fresh:
	case <-time.After(promptPatience):
	}
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	host, _, _ = strings.Cut(host, ".")
	st := styleFor(s.cfg.Stdout, s.cfg.Color)
	text := st.key("kxsh@" + host)
	if n := running.Load(); n > 0 {
		text += fmt.Sprintf(" %d", n)
	}
	return text + "> "
}
