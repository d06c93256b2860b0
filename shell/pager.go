package shell

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"
)

// page is the standard output of a command on a terminal: what is longer than that goes to a pager.
type page struct {
	c      *Call
	tty    *os.File
	pager  string // a line for sh
	cols   int
	room   int // rows that are left
	column int

	held bytes.Buffer // while it still fits
	cmd  *exec.Cmd    // the pager, once it runs
	grp  *group
	in   io.WriteCloser
	gone bool // the pager has been left
}

// paged gives a command's long output to a pager, where a person looks: standard input and output are terminals, and no script runs. The returned function is for
// its end.
func (c *Call) paged() (end func()) {
	nothing := func() {}
	tty := terminalOf(c.Stdout)
	if !c.cmd.Pages || tty == nil || terminalOf(c.Stdin) == nil || dumb() || c.execution().whole().id != 0 || !c.shell.interactive && !c.shell.single {
		return nothing
	}
	if f := c.Flags.Lookup("follow"); f != nil && f.Changed {
		return nothing
	}
	cols, rows, err := term.GetSize(int(tty.Fd()))
	p := &page{c: c, tty: tty, pager: c.pager(), cols: cols, room: rows - 1}
	if err != nil || cols < 1 || rows < 2 || p.pager == "" {
		return nothing
	}
	c.Stdout = &output{c: c, w: p}
	return p.end
}

// pager is $KXSH_PAGER, else $PAGER, else less; "": none.
func (c *Call) pager() string {
	for _, k := range []string{"KXSH_PAGER", "PAGER"} {
		switch v, ok := c.variable(k); {
		case ok && (v == "" || v == "cat"):
			return ""
		case ok:
			return v
		}
	}
	if _, err := exec.LookPath("less"); err != nil {
		return ""
	}
	return "less"
}

func (p *page) Write(b []byte) (int, error) {
	if p.gone {
		return len(b), nil
	}
	if p.cmd != nil {
		return p.pass(b)
	}
	p.held.Write(b)
	for _, line := range strings.SplitAfter(string(b), "\n") {
		p.column += ansi.StringWidth(line)
		if strings.HasSuffix(line, "\n") {
			p.room -= max(1, (p.column+p.cols-1)/p.cols)
			p.column = 0
		}
	}
	if p.room < 0 {
		if err := p.start(); err != nil {
			p.c.warnf("pager %s: %v: set PAGER to another, or to cat", p.pager, errno(err))
			p.gone = true
			_, err = p.tty.Write(p.held.Bytes())
			return len(b), err
		}
		if _, err := p.pass(p.held.Bytes()); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// pass gives the pager something. When a person has left it the rest goes nowhere.
func (p *page) pass(b []byte) (int, error) {
	if _, err := p.in.Write(b); err != nil {
		p.gone = true
	}
	return len(b), nil
}

func (p *page) start() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", p.pager)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = p.c.Dir, r, p.tty, streamOf(p.c.Stderr).(io.Writer)
	cmd.Env = append([]string{"LESS=FRX"}, p.c.Environ...) // what is set goes first
	if control := p.c.shell.control; control != nil {
		j := p.c.execution().whole()
		p.grp = j.programs()
		err = p.grp.start(cmd, control.tty, control.inFront(j))
	} else {
		err = cmd.Start()
	}
	if err != nil {
		w.Close()
		return err
	}
	p.cmd, p.in = cmd, w
	return nil
}

// end writes what fits, or waits until the pager is left.
func (p *page) end() {
	if p.cmd == nil {
		if !p.gone {
			p.tty.Write(p.held.Bytes())
		}
		return
	}
	p.in.Close()
	if p.grp != nil {
		p.c.execution().end(p.cmd, p.grp)
		return
	}
	p.c.takeSignals(func(syscall.Signal) bool { return true }) // Ctrl-C is a key of pagers
	p.cmd.Wait()
}
