package engine

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/ipc/abi"
)

const (
	// MaxMessage is the most bytes of a message, MaxMoved of one IPCRead or IPCWrite.
	MaxMessage = 8192 // guest/kern/msg.c
	MaxMoved   = 1 << 20

	maxSegment = abi.FamilyPages / 2 * abi.PageSize // guest/kern/shm.c

	ipcCreate  = 0o1000 // IPC_CREAT
	ipcMode    = 0o644  // of what is made from outside
	ipcRemoved = 0o1000 // SHM_DEST
)

// IPC sees or uses what the family of a pVM shares, by one of its members.
func (e *Engine) IPC(ctx context.Context, pid int, r IPCRequest) (*IPCReply, error) {
	f, err := e.familyOf(pid)
	if err != nil {
		return nil, err
	}
	reply := &IPCReply{Family: f}
	switch r.Op {
	case IPCList:
		reply.Objects, err = e.objects(ctx, f)
	case IPCKey:
		err = e.ipcKey(ctx, f, &r, reply)
	case IPCQueue:
		err = e.ipcGet(ctx, f, &r, reply, "queue", &ipc.Task{Op: abi.TaskQueue})
	case IPCSegment:
		if r.Size > maxSegment {
			return nil, errf(CodeInvalid, "key %#x: %d bytes: a segment has at most %d", r.Key, r.Size, maxSegment)
		}
		err = e.ipcGet(ctx, f, &r, reply, "segment", &ipc.Task{Op: abi.TaskSegment, A: [3]uint64{2: r.Size}})
	case IPCSend:
		err = e.ipcSend(ctx, f, &r)
	case IPCReceive:
		err = e.ipcReceive(ctx, f, &r, reply)
	case IPCRead, IPCWrite:
		err = e.ipcMove(ctx, f, &r, reply)
	case IPCPipe:
		reply.ID, err = e.ipcPipe(ctx, pid, r.To)
	case IPCRemove:
		_, err = e.ipcDo(ctx, f, r.ID, &ipc.Task{Op: abi.TaskRemove, A: [3]uint64{uint64(r.ID)}})
	default:
		err = errf(CodeInvalid, "%q: no such request", r.Op)
	}
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// familyOf is the family of a pVM that runs or is remembered; its number names it also when nobody remembers its root.
func (e *Engine) familyOf(pid int) (int, error) {
	e.mu.Lock()
	p, there := e.table[pid], e.families[pid] != nil
	e.mu.Unlock()
	switch {
	case p != nil:
		return p.rec.Family, nil // never changes
	case there:
		return pid, nil
	}
	return 0, e.missing(pid, "only pVMs have a family")
}

// ipcDo has a task done and makes its errno an error. id is the object that it is about.
func (e *Engine) ipcDo(ctx context.Context, family, id int, ask *ipc.Task) (*task, error) {
	t, err := e.askFamily(ctx, family, ask, ask.Op == abi.TaskRead || ask.Op == abi.TaskKey || ask.Op == abi.TaskList)
	if err != nil {
		return nil, err
	}
	return t, ipcError(family, id, t.result)
}

// ipcError is what a negative result means; nil for others.
func ipcError(family, id int, result int64) error {
	if result >= 0 {
		return nil
	}
	switch errno := unix.Errno(-result); errno {
	case unix.EINVAL, unix.EIDRM:
		return errf(CodeInvalid, "(%d): family %d has no such object: ipcs lists what it has", id, family)
	case unix.ENOMSG:
		return errf(CodeBusy, "(%d): no message", id)
	case unix.EAGAIN:
		return errf(CodeBusy, "(%d): the queue is full", id)
	case unix.ERANGE:
		return errf(CodeInvalid, "(%d): the offset is beyond its end", id)
	case unix.EIO:
		return errf(CodeInternal, "(%d): a member of family %d has written nonsense there: ipcrm removes it", id, family)
	case unix.ENOSPC, unix.ENOMEM:
		return errf(CodeLimit, "family %d has no room for it: ipcrm makes some", family)
	default:
		return errf(CodeInternal, "family %d: %v", family, errno)
	}
}

func (e *Engine) ipcKey(ctx context.Context, family int, r *IPCRequest, reply *IPCReply) error {
	if len(r.Path) >= unix.PathMax || r.Path == "" || strings.ContainsRune(r.Path, 0) {
		return errf(CodeInvalid, "%q: not a path", r.Path)
	}
	t, err := e.askFamily(ctx, family, &ipc.Task{Op: abi.TaskKey, A: [3]uint64{uint64(uint8(r.Project))}, Data: []byte(r.Path)}, true)
	switch {
	case err != nil:
		return err
	case t.result < 0:
		return errf(CodeInvalid, "%s: %v, in the file system of family %d", r.Path, unix.Errno(-t.result), family)
	}
	reply.Key = uint32(t.result)
	return nil
}

// ipcGet finds or makes a queue or a segment.
func (e *Engine) ipcGet(ctx context.Context, family int, r *IPCRequest, reply *IPCReply, what string, ask *ipc.Task) error {
	ask.A[0] = uint64(r.Key)
	if r.Create {
		ask.A[1] = ipcCreate | ipcMode
	}
	t, err := e.askFamily(ctx, family, ask, !r.Create || r.Key != 0)
	switch {
	case err != nil:
		return err
	case t.result == -int64(unix.ENOENT):
		return errf(CodeInvalid, "key %#x: family %d has no such %s", r.Key, family, what)
	case t.result == -int64(unix.EINVAL):
		return errf(CodeInvalid, "key %#x: a %s has at least one byte, and that of this key has not as many", r.Key, what)
	case t.result > maxID:
		return errf(CodeInternal, "key %#x: family %d: a number that is none: %d", r.Key, family, t.result)
	}
	reply.ID = int(t.result)
	return ipcError(family, 0, t.result)
}

// maxID is the most that an object's number may be: an int's.
const maxID = 1<<31 - 1

func (e *Engine) ipcSend(ctx context.Context, family int, r *IPCRequest) error {
	switch {
	case len(r.Data) > MaxMessage:
		return errf(CodeInvalid, "(%d): %d bytes: a message has at most %d", r.ID, len(r.Data), MaxMessage)
	case r.Type < 1:
		return errf(CodeInvalid, "(%d): type %d: at least 1", r.ID, r.Type)
	}
	t, err := e.ipcMessage(ctx, family, r, &ipc.Task{Op: abi.TaskSend, Type: r.Type, Data: r.Data}, int64(unix.EAGAIN))
	if err != nil {
		return err
	}
	return ipcError(family, r.ID, t.result)
}

func (e *Engine) ipcReceive(ctx context.Context, family int, r *IPCRequest, reply *IPCReply) error {
	t, err := e.ipcMessage(ctx, family, r, &ipc.Task{Op: abi.TaskReceive, Type: r.Type}, int64(unix.ENOMSG))
	if err != nil {
		return err
	}
	reply.Type, reply.Data = t.answer.Type, t.answer.Data
	return ipcError(family, r.ID, t.result)
}

// ipcMessage sends or receives; with Wait, when it can.
func (e *Engine) ipcMessage(ctx context.Context, family int, r *IPCRequest, ask *ipc.Task, errno int64) (*task, error) {
	ask.A[0] = uint64(r.ID)
	if !r.Wait {
		return e.askFamily(ctx, family, ask, false)
	}
	ask.A[1] = 1
	return e.askPatient(ctx, family, ask, errno)
}

// ipcMove reads or writes bytes of a segment, as many as there are.
func (e *Engine) ipcMove(ctx context.Context, family int, r *IPCRequest, reply *IPCReply) error {
	ask := ipc.Task{Op: abi.TaskRead, A: [3]uint64{uint64(r.ID), r.Offset}}
	left := min(r.Size, MaxMoved)
	if r.Op == IPCWrite {
		ask.Op, left = abi.TaskWrite, uint64(len(r.Data))
	}
	for left > 0 || r.Op == IPCWrite && reply.Size == 0 {
		part := min(left, uint64(ipc.TaskRoom))
		if ask.Op == abi.TaskRead {
			ask.A[2] = part
		} else {
			ask.Data = r.Data[reply.Size:][:part]
		}
		t, err := e.ipcDo(ctx, family, r.ID, &ask)
		if err != nil {
			return err
		}
		n := min(uint64(t.result), part)
		if ask.Op == abi.TaskRead {
			n = min(n, uint64(len(t.answer.Data)))
			reply.Data = append(reply.Data, t.answer.Data[:n]...)
		}
		reply.Size += n
		if n < part || part == 0 {
			return nil
		}
		left -= n
		ask.A[1] += n
	}
	return nil
}

// objects lists what a family shares.
func (e *Engine) objects(ctx context.Context, family int) ([]SharedObject, error) {
	list := []SharedObject{}
	for page := uint64(0); ; {
		t, err := e.ipcDo(ctx, family, 0, &ipc.Task{Op: abi.TaskList, A: [3]uint64{page}})
		if err != nil {
			return nil, err
		}
		for i := range t.objects {
			list = append(list, sharedObject(family, &t.objects[i]))
		}
		next := t.answer.A[0]
		if next <= page || next >= abi.FamilyPages || len(list) >= abi.FamilyPages {
			return list, nil
		}
		page = next
	}
}

// sharedObject is an object as the API has it.
func sharedObject(family int, o *ipc.Object) SharedObject {
	s := SharedObject{Family: family, ID: int(o.ID), Key: o.Key, Mode: o.Mode & 0o777, UID: o.UID, GID: o.GID, Bytes: o.Bytes, TotalBytes: o.Total, Count: int(o.Count)}
	switch o.Kind {
	case abi.ObjectQueue:
		s.Kind, s.MaxBytes, s.Sender, s.Receiver = KindQueue, o.Room, o.PIDs[0], o.PIDs[1]
	case abi.ObjectSemaphores:
		s.Kind = KindSemaphores
	case abi.ObjectSegment:
		s.Kind, s.Maker, s.Last, s.Removed = KindSegment, o.PIDs[0], o.PIDs[1], o.Mode&ipcRemoved != 0
		s.Readers = o.Readers
	case abi.ObjectPipe:
		s.Kind, s.MaxBytes, s.Readers, s.Writers = KindPipe, o.Room, o.Readers, o.Writers
		s.ReaderCount, s.WriterCount = int(o.Held[0]), int(o.Held[1])
	}
	return s
}

// sharesOf is what a pVM has a part in, or used last; nil if it shares nothing, or nobody can tell in time.
func (e *Engine) sharesOf(ctx context.Context, p *pvm) (list []SharedObject) {
	in := false
	p.shared(func() error { in = ipc.SharesWithFamily(p.dom.Control()); return nil })
	if !in {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.patience/taskShare)
	defer cancel()
	all, err := e.objects(ctx, p.rec.Family)
	if err != nil {
		return nil
	}
	for _, o := range all {
		if slices.Contains(slices.Concat(o.Readers, o.Writers, []int{o.Sender, o.Receiver, o.Maker, o.Last}), p.pid) {
			list = append(list, o)
		}
	}
	return list
}
