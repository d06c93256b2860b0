package engine

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
)

// updateCallGap is how long a pVM has to wait between two updates that it asks for.
const updateCallGap = time.Second

var errUpdateNames = errors.New("not the name of a library's file and that of a library")

// callUpdate serves CallUpdate: a pVM asks for another version of one of its libraries, out of the folders where its libraries are. It is held to what an update from
// outside is held to, and goes on while that is done.
func (e *Engine) callUpdate(p *pvm, call ipc.Call) int64 {
	err := e.updateFor(p, call)
	if err == nil {
		return 0
	}
	e.refusedCall(p, "update", err.Error())
	var own *Error
	switch {
	case errors.Is(err, unix.EAGAIN):
		return -int64(unix.EAGAIN)
	case errors.As(err, &own) && own.Code == CodeNoImage:
		return -int64(unix.ENOENT)
	case errors.As(err, &own) && (own.Code == CodeBusy || own.Code == CodeEngine):
		return -int64(unix.EBUSY)
	}
	return -int64(unix.EINVAL)
}

// updateFor begins the update.
func (e *Engine) updateFor(p *pvm, call ipc.Call) error {
	if time.Since(p.updated) < updateCallGap {
		return unix.EAGAIN
	}
	ask, err := ipc.TakeTask(p.dom.Control())
	if err != nil || uint64(len(ask.Data)) != call.A[0] || call.A[0] > maxLoadName || call.A[1] > uint64(1<<32-1) {
		return errUpdateNames
	}
	names := bytes.Split(ask.Data, []byte{0}) // after the last NUL is nothing
	if len(names) != 3 || len(names[0]) == 0 || len(names[1]) == 0 || len(names[2]) != 0 {
		return errUpdateNames
	}
	e.mu.Lock()
	rec := p.rec
	e.mu.Unlock()
	f := e.finder(nil, &rec.Request, nil)
	name, err := f.local(string(names[0]))
	if err != nil {
		return err
	}
	path, err := FindLibrary(name, f.folders)
	if err != nil {
		return f.nowhere(name)
	}
	old := string(names[1])
	if !slices.ContainsFunc(rec.Libraries, func(l LibraryUse) bool { return l.AnswersTo(old) }) {
		return errf(CodeInvalid, "has no library %q", old)
	}
	p.updated = time.Now()
	u := e.newUpdate(p, UpdateRequest{New: path, Old: old, Timeout: time.Duration(call.A[1]) * time.Millisecond})
	last, err := e.beginUpdate(u)
	if last != nil {
		err = u.refuse(CodeBusy, "has just been updated: try again")
	}
	if err != nil {
		return err
	}
	go u.all(context.Background(), func(UpdateWait) {}) // events tell how it went
	return nil
}
