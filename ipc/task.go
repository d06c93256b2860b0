package ipc

import (
	"sync/atomic"
	"unsafe"

	"kxsh/ipc/abi"
)

// taskHead is the size of struct kx_task, in bytes.
const taskHead = uint64(unsafe.Sizeof(abi.KxTask{}))

// TaskRoom is the most data of a task, in bytes.
const TaskRoom = abi.TaskSize - int(taskHead)

// Task is what a member of a family does for the engine: struct kx_task.
type Task struct {
	Op   uint32 // abi.TaskQueue and its neighbours
	A    [3]uint64
	Type int64
	Data []byte // at most TaskRoom
}

func taskAt(ctl []byte) (head *abi.KxTask, data []byte) {
	p := part(ctl, abi.TaskVa, abi.TaskSize)
	return (*abi.KxTask)(unsafe.Pointer(&p[0])), p[taskHead:]
}

// PutTask gives a task to a pVM that waits in an abi.CallTask.
func PutTask(ctl []byte, t *Task) {
	head, data := taskAt(ctl)
	n := copy(data, t.Data)
	atomic.StoreUint32(&head.Op, t.Op)
	atomic.StoreUint32(&head.Size, uint32(n))
	for i, a := range t.A {
		atomic.StoreUint64(&head.A[i], a)
	}
	atomic.StoreInt64(&head.Type, t.Type)
}

// TakeTask returns a task as a pVM has left it. All of it is the pVM's own word.
func TakeTask(ctl []byte) (*Task, error) {
	head, data := taskAt(ctl)
	size := atomic.LoadUint32(&head.Size)
	if uint64(size) > uint64(len(data)) {
		return nil, corrupt("a task of %d bytes", size)
	}
	t := &Task{Op: atomic.LoadUint32(&head.Op), Type: atomic.LoadInt64(&head.Type), Data: make([]byte, size)}
	for i := range t.A {
		t.A[i] = atomic.LoadUint64(&head.A[i])
	}
	copy(t.Data, data)
	return t, nil
}

// Object is something that a family shares, as a member has found it. Its numbers are the family's own word.
type Object struct {
	Kind             uint32 // abi.ObjectQueue to abi.ObjectPipe
	ID, Key          uint32
	Mode, UID, GID   uint32
	Count            uint32    // messages, semaphores, attachments
	Bytes, Room      uint64    // that it holds, and may hold
	Total            uint64    // bytes that have ever come into a queue or a pipe; runs freely
	PIDs             [2]int    // of a queue: last sender and receiver; of a segment: its maker, and who attached or detached last
	Held             [2]uint32 // how many members have its first and its second end
	Readers, Writers []int     // PIDs of some of them
}

// ParseObjects reads the data of an abi.TaskList.
func ParseObjects(data []byte) ([]Object, error) {
	const size = int(unsafe.Sizeof(abi.KxObject{}))
	if len(data)%size != 0 {
		return nil, corrupt("a list of %d bytes, %d each", len(data), size)
	}
	list := make([]Object, 0, len(data)/size)
	for ; len(data) > 0; data = data[size:] {
		var e abi.KxObject
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&e)), size), data)
		if e.Kind < abi.ObjectQueue || e.Kind > abi.ObjectPipe {
			return nil, corrupt("an object of kind %d", e.Kind)
		}
		o := Object{
			Kind: e.Kind, ID: e.Id, Key: e.Key, Mode: e.Mode & 0o7777, UID: e.Uid, GID: e.Gid, Count: e.Count, Bytes: e.Bytes, Room: e.Room, Total: e.Total,
			Held:    [2]uint32{min(e.Held[0], abi.Members), min(e.Held[1], abi.Members)},
			Readers: pids(e.Readers[:]), Writers: pids(e.Writers[:]),
		}
		for i, pid := range e.Pids {
			o.PIDs[i] = int(pid & maxPID)
		}
		list = append(list, o)
	}
	return list, nil
}

// maxPID has all bits that a PID may have: domain numbers end below 0x7ff0.
const maxPID = 0x7fff

// pids are those of a list that ends with the first 0.
func pids(words []uint32) (list []int) {
	for _, w := range words {
		if w&maxPID == 0 {
			break
		}
		list = append(list, int(w&maxPID))
	}
	return list
}
