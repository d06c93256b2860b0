package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

const (
	// forkPatience is how long a pVM that is to be forked from outside may take to come to its safe point.
	forkPatience = 10 * time.Second
	// forkLongest bounds what the hypervisor may take for one child.
	forkLongest = 30 * time.Second
	// maxChildren is the most children of one fork from outside.
	maxChildren = 10000
)

// request is a fork from outside that a pVM was asked for.
type request struct {
	token uint64 // comes back in the pVM's call
	count int
	done  chan struct{} // closed when the rest is set
	pids  []int
	err   error
}

// callFork serves CallFork: it makes one child, or as many as somebody outside asked for.
func (e *Engine) callFork(p *pvm, call ipc.Call) {
	if e.isClosing() { // the next engine finds the call as it is
		return
	}
	var children []*pvm
	var result int64
	if call.A[2] == 0 {
		c, err := e.fork(p, call, false)
		if err == nil {
			children, result = []*pvm{c}, int64(c.pid)
		} else {
			result = -int64(forkErrno(err))
		}
	} else {
		children, result = e.forkMany(p, call)
	}
	p.calls.Answer(call, result)
	p.dom.Notify() // if it has gone: tend will see
	// Nobody hears of a child's end before it has heard of the child.
	e.tending.Add(len(children))
	for _, c := range children {
		go e.tend(c)
	}
}

// forkMany makes the children that Fork waits for.
func (e *Engine) forkMany(p *pvm, call ipc.Call) (children []*pvm, result int64) {
	e.mu.Lock()
	r := p.asked
	if r == nil || r.token != call.A[2] { // too late, or never asked for
		e.mu.Unlock()
		return nil, -int64(unix.EAGAIN)
	}
	p.asked = nil
	e.mu.Unlock()
	defer close(r.done)
	for range r.count {
		c, err := e.fork(p, call, true)
		if err != nil {
			r.err = err
			break
		}
		children = append(children, c)
		r.pids = append(r.pids, c.pid)
	}
	if len(children) == 0 {
		return nil, -int64(forkErrno(r.err))
	}
	return children, int64(len(children))
}

// forkErrno is what fork() fails with in a program.
func forkErrno(err error) unix.Errno {
	switch {
	case errors.Is(err, xen.ErrNoMemory):
		return unix.ENOMEM
	case errors.Is(err, xen.ErrNoFork):
		return unix.ENOSYS
	}
	return unix.EAGAIN
}

// fork makes a child of a pVM that waits in a call. The caller lets it be tended. Whatever step fails,
// nothing is left.
func (e *Engine) fork(p *pvm, call ipc.Call, outside bool) (*pvm, error) {
	requested := time.Now()
	var s steps
	fail := func(err error) (*pvm, error) {
		s.unwind()
		e.refusedCall(p, "fork", err.Error())
		return nil, err
	}
	var parent record
	if err := s.do("check", func() (err error) { parent, err = e.reserve(p); return err }, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.leave(parent.Family)
	}); err != nil {
		if call.Flags&abi.ForkPatient != 0 { // it asks again
			return nil, err
		}
		return fail(err)
	}
	c := newPVM()
	c.syms, c.parent = p.syms, p.pid
	c.linked.Store(p.linked.Load())
	if c.root = p.root; p.pid == parent.Family {
		c.root = p
	}
	size := p.size.Load()
	c.size.Store(size)
	c.rec = record{
		Process: Process{
			PPID: p.pid, Family: parent.Family, Name: parent.Name, Image: parent.Image, Args: parent.Args, VCPUs: 1,
			Started: requested, UID: os.Getuid(), TTY: parent.TTY,
		},
		Request: RunRequest{
			Image: parent.Image, Args: parent.Args, Env: parent.Request.Env, Name: parent.Name, Memory: parent.Request.Memory, TTY: parent.TTY,
			Require: parent.Request.Require, Keys: parent.Request.Keys, // they hold for what it is updated with, too
			LibPath: parent.Request.LibPath, Net: parent.Request.Net, Publish: parent.Request.Publish, DNS: parent.Request.DNS,
			Mounts: parent.Request.Mounts,
		},
		ImageSHA: parent.ImageSHA, Placeholder: parent.Placeholder, Seal: parent.Seal, Libraries: parent.Libraries, Loader: parent.Loader, Dynamic: parent.Dynamic, Kept: parent.Kept,
		Requested: requested, Call: call.N, Outside: outside, Group: cmp.Or(parent.Group, p.pid), Session: cmp.Or(parent.Session, p.pid),
		FamilyLimit: parent.FamilyLimit, NoSpin: parent.NoSpin,
	}
	// The child runs before its parent's part is over. An engine that dies before the parent has its answer is
	// followed by one that ends the child.
	entered := false
	begin := func(d xen.Domain) error {
		e.attachChild(c, d)
		if err := s.do("table", func() error { return e.enter(c, p) }, nil); err != nil {
			return err
		}
		entered = true
		if c.rec.Request.networked() {
			if err := s.do("network", func() error { return e.connect(c) }, nil); err != nil {
				return err
			}
		}
		return s.do("unpause", func() error {
			if err := d.Unpause(); !errors.Is(err, xen.ErrNoDomain) {
				return err
			}
			return nil // it has run already, and has ended
		}, nil)
	}
	end := func() {
		if entered {
			e.forget(c)
			e.unplug(c, &c.rec.Request, parent.Family)
		}
		if c.dom != nil {
			c.dom.Destroy()
			<-c.dom.Gone()
			e.tellUnforked(c)
			c.release()
		}
	}
	if err := s.do("domain", func() error { return e.child(p, c, &s, call, begin) }, end); err != nil {
		end()
		return fail(err)
	}
	e.rewire(p, &parent.Request)
	token := c.dom.Token()
	e.mu.Lock()
	c.rec.Token = token
	e.mu.Unlock()
	if err := e.writeBirth(c, &s); err != nil {
		return fail(err)
	}
	text := fmt.Sprintf("child %d", c.pid)
	if outside {
		text += ", from outside"
	}
	e.births.fork.observe(time.Since(requested))
	e.events.add(Event{Type: "forked", PID: p.pid, Name: parent.Name, Child: c.pid, Text: text, Steps: s.done})
	return c, nil
}

// attachChild makes a new domain that of c.
func (e *Engine) attachChild(c *pvm, d xen.Domain) {
	c.dom, c.pid = d, int(d.ID())
	c.rec.PID = c.pid
	c.attachControl()
	c.rec.Log = filepath.Join("logs", fmt.Sprintf("%d-%d", c.pid, c.rec.Requested.UnixMilli()))
	c.log = newConsoleLog(filepath.Join(e.o.State, c.rec.Log))
}

// reserve makes room in the family for a child of p, and returns p's record.
func (e *Engine) reserve(p *pvm) (record, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.families[p.rec.Family]
	switch limit := e.limitOf(f); {
	case p.doomed:
		return record{}, errDoomed
	case f.members >= limit:
		return record{}, familyError(p.rec.Family, limit)
	}
	f.members++
	return p.rec, nil
}

// child has the hypervisor make the domain of c, whose record is there but for the PID, and has it begin.
func (e *Engine) child(p, c *pvm, s *steps, call ipc.Call, begin func(xen.Domain) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), forkLongest)
	defer cancel()
	size := c.size.Load()
	_, err := p.dom.Fork(ctx, &xen.Fork{
		Boot: xen.Boot{
			Name: c.rec.Name, Args: c.rec.Args, Env: c.rec.Request.Env, PPID: xen.DomID(c.rec.PPID), Family: xen.DomID(c.rec.Family),
			TTY: c.rec.TTY, Look: e.spins(&c.rec), Rows: int(size >> 32), Cols: int(uint32(size)),
			Mounts: mountPaths(c.rec.Request.Mounts),
		},
		RIP: call.A[0], RSP: call.A[1],
		Waits: c.rec.Request.networked(), Ready: begin,
		Step: func(name string, took time.Duration) { s.took("domain: "+name, took) },
	})
	return err
}

// Fork makes children of a running pVM from outside.
func (e *Engine) Fork(ctx context.Context, pid, count int) ([]int, error) {
	p, err := e.findLive(pid, "only pVMs can be forked")
	if err != nil {
		return nil, err
	}
	if count < 1 || count > maxChildren {
		return nil, errf(CodeInvalid, "(%d): %d children: 1 to %d", pid, count, maxChildren)
	}
	if p.isStopped() {
		return nil, errf(CodeBusy, "(%d): is stopped: kill -CONT %d first", pid, pid)
	}
	r := &request{token: rand.Uint64() | 1, count: count, done: make(chan struct{})}
	e.mu.Lock()
	busy := p.asked != nil
	if !busy {
		p.asked = r
	}
	e.mu.Unlock()
	if busy {
		return nil, errf(CodeBusy, "(%d): is being forked by somebody else: try again", pid)
	}
	if err := p.command(abi.KxCmd{Op: abi.CmdFork, A: [3]uint64{r.token}}); err != nil {
		e.withdraw(p, r)
		return nil, e.signalError(pid, err)
	}
	timer := time.NewTimer(e.patience)
	defer timer.Stop()
	select {
	case <-r.done:
	case <-p.ended:
		err = errf(CodeNoPVM, "(%d): ended before it was forked", pid)
	case <-ctx.Done():
		err = ctx.Err()
	case <-e.quit:
		err = errf(CodeEngine, "(%d): the engine is leaving", pid)
	case <-timer.C:
		err = errf(CodeBusy, "(%d): has not come to a point where it can be forked in %v: it may be in a critical section: try again", pid, e.patience)
	}
	if err != nil && e.withdraw(p, r) {
		return nil, err
	}
	<-r.done // it is being done, or was
	if r.err != nil {
		return r.pids, forkError(pid, r.err)
	}
	return r.pids, nil
}

// withdraw takes back a request that the pVM has not come to.
func (e *Engine) withdraw(p *pvm, r *request) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.asked != r {
		return false
	}
	p.asked = nil
	return true
}

// forkError says in one line why a pVM cannot be forked.
func forkError(pid int, err error) *Error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return errf(own.Code, "(%d): %s", pid, own.Msg)
	case errors.Is(err, xen.ErrNoMemory):
		return errf(CodeLimit, "(%d): %v: end other pVMs", pid, err)
	case errors.Is(err, errDoomed):
		return errf(CodeNoPVM, "(%d): %v", pid, err)
	}
	return errf(CodeInternal, "(%d): %v", pid, err)
}
