package engine

import (
	"context"
	"fmt"
	"io"
	"sync"

	"kxsh/ipc/abi"
)

// attachment is one attached console of an in-process engine.
type attachment struct {
	e     *Engine
	p     *pvm
	r     *logReader
	stdin bool
	gone  chan struct{}
	once  sync.Once
	loan  *loan // of a pipe from another one's console; nil: there is none
}

// Attach connects to a pVM's console. Without FromStart only what it writes from now on is seen.
func (e *Engine) Attach(ctx context.Context, pid int, o AttachOptions) (Console, error) {
	p, err := e.find(pid, fmt.Sprintf("xl console %d has its console", pid))
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	over := p.rec.Exit != nil
	e.mu.Unlock()
	if over && !o.FromStart {
		return nil, errf(CodeNoPVM, "(%d): has ended: see logs %d", pid, pid)
	}
	if o.Stdin && !p.rec.Request.Stdin && !p.rec.TTY {
		o.Stdin = false
	}
	var l *loan
	if o.From != 0 && !over {
		l = e.lend(ctx, o.From, pid)
	}
	r := p.log.reader(true, o.FromStart)
	if !o.FromStart {
		r.toEnd()
	}
	p.meetReader()
	a := &attachment{e: e, p: p, r: r, stdin: o.Stdin, gone: make(chan struct{}), loan: l}
	if o.Rows > 0 && o.Cols > 0 && !over {
		a.Resize(o.Rows, o.Cols)
	}
	return a, nil
}

func (a *attachment) Recv() (Chunk, error) { return a.r.next() }

// Send blocks while the pVM does not read. What a pVM that has ended did not read is dropped, as a
// pipe to a dead process does.
func (a *attachment) Send(data []byte) error {
	if !a.stdin {
		return errf(CodeInvalid, "(%d): its standard input is not attached: run it with -i", a.p.pid)
	}
	for len(data) > 0 {
		n, err := a.p.feed(data)
		if err != nil {
			return io.ErrClosedPipe
		}
		if data = data[n:]; n > 0 {
			continue
		}
		select {
		case <-a.p.room:
		case <-a.p.ended:
			return io.ErrClosedPipe
		case <-a.gone:
			return io.ErrClosedPipe
		}
	}
	return nil
}

func (a *attachment) CloseSend() error {
	if !a.stdin {
		return nil
	}
	return a.p.command(abi.KxCmd{Op: abi.CmdEof})
}

func (a *attachment) Resize(rows, cols int) error {
	members := []*pvm{}
	if a.p.pid == a.p.rec.Family { // its terminal is its children's
		a.e.mu.Lock()
		members = a.e.those(func(p *pvm) bool { return p.root == a.p && p.rec.Exit == nil && p.rec.TTY })
		a.e.mu.Unlock()
	}
	for _, p := range members {
		p.resize(rows, cols) // who does not listen does not see
	}
	return a.p.resize(rows, cols)
}

// Close may be called from any goroutine; it ends a Recv or Send that waits.
func (a *attachment) Close() error {
	a.once.Do(func() {
		close(a.gone)
		a.r.stop()
		if a.loan != nil {
			go a.e.takeBack(a.loan)
		}
	})
	return nil
}

// Logs reads the kept console.
func (e *Engine) Logs(_ context.Context, pid int, o LogOptions) (LogReader, error) {
	p, err := e.find(pid, fmt.Sprintf("its console is not kept here; xl console %d has it", pid))
	if err != nil {
		return nil, err
	}
	r := p.log.reader(o.Follow, false)
	k := &keptLog{r: r, since: o.Since}
	if o.Lines >= 0 {
		if err := k.tail(o.Lines); err != nil {
			r.close()
			return nil, errf(CodeInternal, "(%d): %v", pid, err)
		}
	}
	return k, nil
}
