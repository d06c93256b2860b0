package ipc

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"kxsh/ipc/abi"
)

// filesHead is the least a message of 9P has.
const filesHead = 7

// Files takes the requests that a pVM makes of folders of the host, one at a time: it does nothing until each has been answered. It is
// for one goroutine.
type Files struct {
	area  *abi.KxFiles
	looks *uint32 // abi.FilesEngine, abi.FilesPvm
	data  []byte
	taken uint32 // number of the request that Next has returned
	done  uint32
}

// NewFiles is that of a server that knows no fids. The pVM is told so before a request is taken: one that an earlier server took and did not
// answer comes again, and fails.
func NewFiles(ctl []byte) *Files {
	f := &Files{area: &control(ctl).Files, looks: &control(ctl).FilesLooks, data: part(ctl, abi.FilesVa, abi.FilesSize)}
	atomic.AndUint32(f.looks, ^uint32(abi.FilesEngine)) // an earlier server's
	f.done = atomic.LoadUint32(&f.area.Done)
	server := rand.Uint32() | 1
	for server == atomic.LoadUint32(&f.area.Server) {
		server = rand.Uint32() | 1
	}
	atomic.StoreUint32(&f.area.Server, server)
	return f
}

// Asked tells whether a request waits for an answer.
func (f *Files) Asked() bool { return atomic.LoadUint32(&f.area.Asked) != f.done }

// Next returns a copy of the request that waits for an answer, in buf, which has abi.FilesSize bytes; nil if there is none.
func (f *Files) Next(buf []byte) ([]byte, error) {
	f.taken = atomic.LoadUint32(&f.area.Asked)
	if f.taken == f.done {
		return nil, nil
	}
	copy(buf[:4], f.data)
	n := binary.LittleEndian.Uint32(buf)
	if n < filesHead || n > abi.FilesSize {
		return nil, corrupt("a request of folders of %d bytes", n)
	}
	copy(buf[4:n], f.data[4:])
	return buf[:n], nil
}

// Answer answers the request that Next returned, and tells whether the event channel must now be raised. With look, Look must follow.
func (f *Files) Answer(reply []byte, look bool) (notify bool) {
	copy(f.data, reply)
	f.done = f.taken
	if look {
		atomic.OrUint32(f.looks, abi.FilesEngine)
	}
	atomic.StoreUint32(&f.area.Done, f.done)
	return atomic.LoadUint32(f.looks)&abi.FilesPvm == 0
}

// Look waits for the next request, for so long at most, without being rung. It tells whether one has come.
func (f *Files) Look(most time.Duration) bool {
	for end := time.Now().Add(most); !f.Asked() && time.Now().Before(end); {
	}
	atomic.AndUint32(f.looks, ^uint32(abi.FilesEngine))
	return f.Asked()
}
