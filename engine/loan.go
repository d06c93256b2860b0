package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"kxsh/ipc"
	"kxsh/ipc/abi"
)

// loan is a pipe between two members of a family that both have it for a while in place of their console: for a pipeline of the shell.
type loan struct {
	family int
	number uint32 // by which the members know it
}

// loanNap is the pause before a member that is stopped is asked again for what it was lent.
const loanNap = time.Second

// lend makes the pipe; nil: these two cannot have one, or not now. One that a session before is giving back is waited for.
func (e *Engine) lend(ctx context.Context, from, to int) *loan {
	writer, reader, err := e.pipeEnds(from, to)
	if err != nil {
		return nil
	}
	l := &loan{family: writer.rec.Family, number: newSecret()}
	for begin := time.Now(); ; {
		page, err := e.connectEnds(ctx, writer, reader, l.number, abi.TaskLend, abi.TaskBorrow)
		if err == nil {
			e.events.addf("piped", &writer.rec.Process, "standard output to %d, pipe %d, for a pipeline of the shell", to, page)
			return l
		}
		e.log.Debug("no pipe for a pipeline", "from", from, "to", to, "err", err)
		if codeOf(err) != CodeBusy || time.Since(begin) > lockPatience || ctx.Err() != nil {
			break
		}
		time.Sleep(taskNap)
	}
	go e.takeBack(l) // what the writer may have taken nevertheless
	return nil
}

// takeBack has all that were lent a pipe return it: the two, and children that they have forked since. One that is stopped does so when it goes on.
// Who has still to read what is in the pipe returns it then, by itself.
func (e *Engine) takeBack(l *loan) {
	asked := map[*pvm]int{}
	for {
		again, silent := false, false
		for _, p := range e.borrowers(l) {
			if asked[p] == 2 {
				continue
			}
			t, err := e.askMember(context.Background(), p, &ipc.Task{Op: abi.TaskReturn, A: [3]uint64{uint64(l.number)}})
			switch {
			case errors.Is(err, errGone):
			case err != nil:
				silent = true
			default:
				asked[p]++
				again = again || t.result == 1 && asked[p] == 1 // its writer has not returned it yet, perhaps
			}
		}
		if !again && !silent {
			return
		}
		if silent {
			select {
			case <-time.After(loanNap):
			case <-e.quit:
				return
			}
		}
	}
}

// borrowers are the members that say that they have been lent this pipe. One that claims so is asked twice, no more.
func (e *Engine) borrowers(l *loan) []*pvm {
	e.mu.Lock()
	members := e.those(func(p *pvm) bool { return p.rec.Family == l.family && p.rec.Exit == nil && !p.doomed })
	e.mu.Unlock()
	return slices.DeleteFunc(members, func(p *pvm) bool { return !slices.Contains(p.lent(), l.number) })
}

// lent are the numbers of what a pVM says that it has been lent, or 0.
func (p *pvm) lent() []uint32 {
	var numbers [2]uint32
	p.shared(func() error { numbers = ipc.Lent(p.dom.Control()); return nil })
	return numbers[:]
}

// takeAllBack takes back what an earlier engine has lent: nobody would ask it to any more.
func (e *Engine) takeAllBack() {
	loans := map[loan]bool{}
	for _, p := range e.live() {
		for _, number := range p.lent() {
			if number != 0 {
				loans[loan{p.rec.Family, number}] = true
			}
		}
	}
	for l := range loans {
		go e.takeBack(&l)
	}
}
