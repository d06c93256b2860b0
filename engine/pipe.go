package engine

import (
	"context"
	"errors"
	"math/rand/v2"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/ipc/abi"
)

// ipcPipe connects the standard output of one member to the standard input of another of its family. The reader offers a pipe, the writer
// takes it up, and the reader settles, which it would in the end without being asked (guest/kern/offer.c): so a failure leaves a whole pipe or none.
func (e *Engine) ipcPipe(ctx context.Context, from, to int) (int, error) {
	writer, reader, err := e.pipeEnds(from, to)
	if err != nil {
		return 0, err
	}
	page, err := e.connectEnds(ctx, writer, reader, newSecret(), abi.TaskOffer, abi.TaskTake)
	if err != nil {
		return 0, err
	}
	e.events.addf("piped", &writer.rec.Process, "standard output to %d, pipe %d", to, page)
	return page, nil
}

func newSecret() uint32 { return rand.Uint32N(1<<32-1) + 1 }

// connectEnds makes a pipe of two members by two tasks, offer and take, and returns its number.
func (e *Engine) connectEnds(ctx context.Context, writer, reader *pvm, number, offer, take uint32) (int, error) {
	secret := uint64(number)
	t, err := e.askAbout(ctx, reader, &ipc.Task{Op: offer, A: [3]uint64{secret}})
	if err != nil {
		e.settle(ctx, reader, secret) // if nobody knows whether it has
		return 0, err
	}
	page := t.result
	if page <= 0 || page >= abi.FamilyPages {
		e.settle(ctx, reader, secret)
		return 0, errf(CodeInternal, "(%d): offers a pipe of a number that is none: %d", reader.pid, page)
	}
	_, err = e.askAbout(ctx, writer, &ipc.Task{Op: take, A: [3]uint64{secret, uint64(page)}})
	connected, failed := e.settle(ctx, reader, secret)
	switch {
	case connected:
		return int(page), nil
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, failed
	}
	return 0, errf(CodeInternal, "(%d): has taken its offer back", reader.pid)
}

// pipeEnds are two running members of one family.
func (e *Engine) pipeEnds(from, to int) (writer, reader *pvm, err error) {
	const why = "only pVMs have a family"
	if writer, err = e.findLive(from, why); err != nil {
		return nil, nil, err
	}
	if reader, err = e.findLive(to, why); err != nil {
		return nil, nil, err
	}
	switch {
	case writer == reader:
		return nil, nil, errf(CodeInvalid, "(%d): would read what it writes itself: name two pVMs", from)
	case writer.rec.Family != reader.rec.Family: // which never changes
		return nil, nil, errf(CodeInvalid, "%d and %d are of different families", from, to)
	}
	for _, p := range []*pvm{writer, reader} {
		if p.seemsStopped() {
			return nil, nil, errf(CodeBusy, "(%d): is stopped: kill -CONT %d first", p.pid, p.pid)
		}
	}
	return writer, reader, nil
}

// settle has the reader decide what becomes of its offer, also when nobody waits for the command any more: true: it reads the pipe.
func (e *Engine) settle(ctx context.Context, reader *pvm, secret uint64) (bool, error) {
	t, err := e.askAbout(context.WithoutCancel(ctx), reader, &ipc.Task{Op: abi.TaskSettle, A: [3]uint64{secret}})
	return err == nil && t.result == 1, err
}

// askAbout has this very member do a task, and makes what went wrong an error in one line.
func (e *Engine) askAbout(ctx context.Context, p *pvm, ask *ipc.Task) (*task, error) {
	t, err := e.askMember(ctx, p, ask)
	switch {
	case errors.Is(err, errGone):
		return nil, errf(CodeNoPVM, "(%d): has ended before it was done", p.pid)
	case errors.Is(err, errSilent), errors.Is(err, errLost), errors.Is(err, ipc.ErrCorrupt):
		return nil, errf(CodeBusy, "(%d): %v: see whether it is stopped, or end it", p.pid, err)
	case err != nil:
		return nil, err
	case t.result >= 0:
		return t, nil
	}
	switch errno := unix.Errno(-t.result); errno {
	case unix.ENOSYS:
		return nil, errf(CodeInvalid, "(%d): its image is older than pipes between running pVMs: link it again with kxsh cc", p.pid)
	case unix.EBUSY:
		return nil, errf(CodeBusy, "(%d): another pipe to it is being made: try again", p.pid)
	case unix.ENOTTY:
		return nil, errf(CodeInvalid, "(%d): its standard input or output is not its console", p.pid)
	case unix.EINVAL:
		return nil, errf(CodeBusy, "(%d): the offer of a pipe has run out: try again", p.pid)
	case unix.ENOSPC, unix.ENOMEM:
		return nil, errf(CodeLimit, "(%d): no room for a pipe: ipcrm makes some", p.pid)
	default:
		return nil, errf(CodeInternal, "(%d): %v", p.pid, errno)
	}
}
