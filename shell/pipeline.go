package shell

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"mvdan.cc/sh/v3/syntax"
)

// console 3 | console 9 copies what 3 writes to 9, through this shell and the engine. Where the two are of one family a pipe between them does
// that better, for as long as the pipeline runs: the right one asks for it when it attaches (engine.AttachOptions.From), and the left one attaches
// only then, so that what comes by the copy has been written after. Each command knows by rewriting that its neighbour is a console, and finds it at their pipe.

const (
	sideLeft  = "to"   // its left neighbour is a console, which it reads from
	sideRight = "from" // its right one, which it writes to
)

// jointPatience is how long a command waits for its neighbour to tell its pVM. One that does not run at all cannot say so.
const jointPatience = 10 * time.Second

// neighbours marks two commands of a pipeline that are both consoles with nothing redirected.
func (w *rewriter) neighbours(b *syntax.BinaryCmd) {
	left, right := b.X, b.Y
	if p, ok := left.Cmd.(*syntax.BinaryCmd); ok && p.Op == syntax.Pipe && len(left.Redirs) == 0 {
		left = p.Y
	}
	x, y := w.plainConsole(left), w.plainConsole(right)
	if x == nil || y == nil {
		return
	}
	w.mark(x, sideRight)
	w.mark(y, sideLeft)
	w.changed = true
}

func (w *rewriter) plainConsole(st *syntax.Stmt) *syntax.CallExpr {
	c, ok := st.Cmd.(*syntax.CallExpr)
	if !ok || len(st.Redirs) > 0 || len(c.Assigns) > 0 || len(c.Args) < 2 {
		return nil
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	switch c.Args[0].Lit() {
	case "console":
		if !w.s.funcs["console"] && !w.s.traced { // set -x would show it
			return c
		}
	case callConsole:
		return c
	}
	return nil
}

func (w *rewriter) mark(c *syntax.CallExpr, side string) {
	if c.Args[0].Lit() == callConsole {
		c.Args[1] = literal(c.Args[1].Lit() + "," + side)
		return
	}
	w.escapeGlobs(c)
	c.Args = append([]*syntax.Word{literal(callConsole), literal(side)}, c.Args[1:]...)
}

// pipeID is what both ends of a pipe have in common.
type pipeID struct{ dev, ino uint64 }

func pipeOf(stream any) (id pipeID, ok bool) {
	f, isFile := streamOf(stream).(*os.File)
	if !isFile || f == nil {
		return id, false
	}
	fi, err := f.Stat()
	if err != nil || fi.Mode()&os.ModeNamedPipe == 0 {
		return id, false
	}
	st := fi.Sys().(*syscall.Stat_t)
	return pipeID{uint64(st.Dev), st.Ino}, true
}

// joint is a pipe of the shell between two console commands. A nil joint is none.
type joint struct {
	id      pipeID
	ends    int           // commands that have come and not left; guarded by Shell.mu
	pids    chan int      // the left one's pVM, or 0
	came    chan struct{} // closed when the right one has come
	settled chan struct{} // closed when the right one has attached, or either has left
	once    sync.Once
}

// jointTo is the joint at a stream of the command; nil if there is no console behind it, or it does not go there.
func (c *Call) jointTo(stream any, side string) *joint {
	if !strings.Contains(c.sides, side) || side == sideLeft && c.flagBool("read-only") {
		return nil
	}
	id, ok := pipeOf(stream)
	if errs, same := pipeOf(c.Stderr); !ok || side == sideRight && same && errs == id {
		return nil
	}
	s := c.shell
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.joints[id]
	if j == nil {
		j = &joint{id: id, pids: make(chan int, 2), came: make(chan struct{}), settled: make(chan struct{})}
		s.joints[id] = j
	}
	j.ends++
	if side == sideLeft {
		close(j.came)
	}
	return j
}

// write tells the right neighbour the pVM whose output it is to have, and waits until it has attached.
func (j *joint) write(c *Call, pid int) {
	if j == nil {
		return
	}
	j.pids <- pid
	select {
	case <-j.came:
	case <-c.Done():
		return
	case <-time.After(jointPatience):
		return
	}
	select {
	case <-j.settled:
	case <-c.Done():
	}
}

// writer is the pVM of the left neighbour; 0: there is none.
func (j *joint) writer(c *Call) int {
	if j == nil {
		return 0
	}
	select {
	case pid := <-j.pids:
		return pid
	case <-c.Done():
	case <-time.After(jointPatience):
	}
	return 0
}

// settle says that the right one has attached.
func (j *joint) settle() {
	if j != nil {
		j.once.Do(func() { close(j.settled) })
	}
}

// leave says that a command has ended. Who has not done its part will not.
func (j *joint) leave(c *Call) {
	if j == nil {
		return
	}
	select {
	case j.pids <- 0:
	default:
	}
	j.settle()
	c.shell.mu.Lock()
	defer c.shell.mu.Unlock()
	if j.ends--; j.ends == 0 {
		delete(c.shell.joints, j.id)
	}
}
